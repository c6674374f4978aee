//! Who the coordinator is and whom it lets in, as TLS and QUIC need it.
//!
//! Agents: TLS 1.3 only, a certificate on both sides, no resumption and no early data, so that each
//! connection proves both identities anew. A peer is an agent when its certificate leads to one of
//! the configured roots and names an agent of the coordinator's own trust domain
//! ([`peer_identity`]): the root also signs other roles, and a coordinator's certificate must not
//! do (L5). A token saves an agent that comes back the proof of its address, and nothing else.
//!
//! Analysts: HTTPS without client certificates; they show a bearer token instead.
//!
//! Private keys are read only if nobody but their owner may read them.
//!
//! # Limits
//! What a connection may hold stands in [`crate::limits`]; QUIC's defaults would let each peer open
//! hundreds of streams and hold megabytes of datagrams.

mod authority;
mod ids;
mod late;
mod own;
mod provider;
mod tokens;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use certs::{CertificateError, CertificateInfo, spki_digest_of_der};
use quinn::{
    Connection, EndpointConfig, IdleTimeout, TransportConfig, ValidationTokenConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustls::{
    RootCertStore,
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, TenantId},
    join::{ALPN_JOIN, ALPN_JOIN_2},
    limits::JOIN_FRAME_BYTES_MAX,
    renewal::ALPN_RENEW,
    trust::SpkiDigest,
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX},
    wire::ALPN,
};
use thiserror::Error;

pub use self::{
    authority::{AuthorityError, ChainError, Issuer},
    own::Own,
    provider::{provider_roots, secret},
};
use self::{ids::ConnectionIds, late::Late, tokens::UsedTokens};
use crate::{
    config::{ApiConfig, Config, IngestConfig, ServerIdentity},
    limits::{
        ADDRESS_TOKEN_MARGIN, ANSWERS_MAX, CONNECTION_RECEIVE_BYTES_MAX, CONNECTION_SEND_BYTES_MAX,
        HANDSHAKE_BYTES_MAX, HANDSHAKES_MAX, IDLE_TIMEOUT, LANE_RECEIVE_BYTES_MAX, STREAMS_MAX,
    },
};

/// Largest PEM file that is read, in bytes: a chain of three certificates has under ten thousand.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Name of the file in the store's folder that holds the key of stateless resets.
pub const RESET_KEY_FILE: &str = "reset.key";

const RESET_KEY_BYTES: usize = 32;

/// How much a peer may have sent of which nothing is known: twice the largest frame of a join.
const UNPROVEN_RECEIVE_WINDOW: VarInt = VarInt::from_u32(2 * JOIN_FRAME_BYTES_MAX as u32);

/// Why the coordinator cannot show who it is.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}; {HOW_TO_ISSUE}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others than its owner may read the key.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 on it", path.display())]
    KeyExposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {expected}: {error}; {HOW_TO_ISSUE}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The certificate is not a coordinator's of the configured trust domain: agents would refuse it.
    #[error("{} is no certificate for a coordinator: {reason}; {HOW_TO_ISSUE}", path.display())]
    NotCoordinator {
        /// The certificate.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Certificate and key do not fit together.
    #[error("{} and its key do not fit together: {error}; {HOW_TO_ISSUE}", certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// Why.
        error: String,
    },
    /// The system keeps no roots where others do.
    #[error("there is no {}: name the provider's roots in api.oidc.roots", .0.display())]
    NoSystemRoots(PathBuf),
    /// The key of stateless resets cannot be read or made.
    #[error("{} cannot be read or made: {error}", path.display())]
    ResetKey {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key of stateless resets is not what was written.
    #[error(
        "{} has {len} bytes, not {RESET_KEY_BYTES}: delete it, and a new one is made",
        path.display()
    )]
    ResetKeyDamaged {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
}

const HOW_TO_ISSUE: &str = "\"certs coordinator NAME\" issues certificate and key";

/// Why a peer that TLS let through is not an agent of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// It showed no certificate, or one that names nobody.
    #[error("peer's certificate names nobody: {0}")]
    Nameless(String),
    /// It is somebody else.
    #[error("peer is {presented}, not an agent of trust domain {expected}")]
    NotAgent {
        /// Whom its certificate names.
        presented: String,
        /// Whose agents are let in.
        expected: String,
    },
}

/// What a peer of the ingest has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session: it shows a certificate that is good.
    Session,
    /// To become an agent: it shows nothing of who it is.
    Join {
        /// Whether it understands which keys sign policies.
        takes_keys: bool,
    },
    /// A certificate in place of one that may have ended.
    Renew,
}

/// Returns how agents are met: with both certificates, and with little memory for each. Where certificates are issued,
/// one without a certificate, or with one that ended lately, gets through the handshake, too: it is for the caller to
/// ask for its [`purpose`], and whether what it shows is good.
///
/// # Errors
/// Each [`TlsError`] but those of the reset key; the text says which file and what to do.
pub fn ingest(config: &Config) -> Result<quinn::ServerConfig, TlsError> {
    let can_join = config.authority.is_some();
    let grace = config.authority.as_ref().map(|authority| authority.grace);
    let ServerIdentity { certificate, .. } = &config.ingest.identity;
    let chain = load_certificates(certificate)?;
    check_own_name(certificate, &chain[0], &config.trust_domain)?;
    let roots = Arc::new(load_roots(&config.ingest.roots)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let verifier = if can_join { verifier.allow_unauthenticated() } else { verifier };
    let verifier = verifier
        .build()
        .map_err(|error| pem_error(&config.ingest.roots, "root's certificate", error))?;
    let verifier = match grace {
        Some(grace) => Arc::new(Late { inner: verifier, grace }),
        None => verifier,
    };
    let mismatch = |error: String| TlsError::Mismatch { certificate: certificate.clone(), error };
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| mismatch(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(shown(&config.ingest, chain)?));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    if can_join {
        let further = [ALPN_JOIN_2, ALPN_JOIN, ALPN_RENEW];
        tls.alpn_protocols.extend(further.map(<[u8]>::to_vec));
    }
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| mismatch(error.to_string()))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut tokens = ValidationTokenConfig::default();
    tokens
        .sent(1)
        .lifetime(config.ingest.connection_age + ADDRESS_TOKEN_MARGIN)
        .log(Arc::new(UsedTokens::default()));
    server
        .transport_config(Arc::new(transport(window_of(config))))
        .validation_token_config(tokens)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(HANDSHAKE_BYTES_MAX)
        .incoming_buffer_size_total(HANDSHAKE_BYTES_MAX * HANDSHAKES_MAX as u64);
    Ok(server)
}

/// Returns where tunnels are met, how, and how whoever comes through them is, from how that is met over UDP; `None`
/// where none are.
///
/// # Errors
/// As `tunnels`.
pub fn tunnelling(
    config: &Config,
    udp: &quinn::ServerConfig,
) -> Result<Option<(SocketAddr, Arc<rustls::ServerConfig>, quinn::ServerConfig)>, TlsError> {
    let Some(listen) = config.ingest.tcp_listen else { return Ok(None) };
    Ok(Some((listen, Arc::new(tunnels(&config.ingest)?), tunnelled(config, udp))))
}

/// Returns the settings of what is met through tunnels, from those of what is met over UDP.
fn tunnelled(config: &Config, udp: &quinn::ServerConfig) -> quinn::ServerConfig {
    let mut transport = transport(window_of(config));
    transport.initial_mtu(DATAGRAM_BYTES_MAX).min_mtu(DATAGRAM_BYTES_MAX);
    let mut server = udp.clone();
    // The address is that of a TCP connection, which proves it and changes with it only.
    server.transport_config(Arc::new(transport)).migration(false);
    server.validation_token.sent(0);
    server
}

/// Returns how tunnels are met: the coordinator shows its certificate, and the agent's is asked for within.
///
/// # Errors
/// Each [`TlsError`] about certificate and key; the text says which file and what to do.
fn tunnels(config: &IngestConfig) -> Result<rustls::ServerConfig, TlsError> {
    let ServerIdentity { certificate, .. } = &config.identity;
    let chain = load_certificates(certificate)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Mismatch {
            certificate: certificate.clone(),
            error: error.to_string(),
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown(config, chain)?));
    tls.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// What the coordinator shows: to a host that joins, the roots as well, of which it knows a digest only.
#[derive(Debug)]
struct Shown {
    to_agents: Arc<CertifiedKey>,
    to_hosts: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let may_join = |name: &[u8]| [ALPN_JOIN, ALPN_JOIN_2, ALPN_TUNNEL].contains(&name);
        let is_joining = hello.alpn().is_some_and(|mut names| names.any(may_join));
        Some(Arc::clone(if is_joining { &self.to_hosts } else { &self.to_agents }))
    }
}

fn shown(config: &IngestConfig, chain: Vec<CertificateDer<'static>>) -> Result<Shown, TlsError> {
    let ServerIdentity { certificate, key } = &config.identity;
    let whole = [chain.clone(), load_certificates(&config.roots)?].concat();
    let key = load_key(key)?;
    let certified = |chain| {
        CertifiedKey::from_der(chain, key.clone_key(), &provider()).map(Arc::new).map_err(|error| {
            TlsError::Mismatch { certificate: certificate.clone(), error: error.to_string() }
        })
    };
    Ok(Shown { to_agents: certified(chain)?, to_hosts: certified(whole)? })
}

/// Returns what the peer has come for, by the protocol that it speaks.
#[must_use]
pub fn purpose(connection: &Connection) -> Purpose {
    let data = connection.handshake_data().and_then(|any| any.downcast::<HandshakeData>().ok());
    let protocol = data.and_then(|data| data.protocol);
    match protocol.as_deref() {
        Some(ALPN_JOIN) => Purpose::Join { takes_keys: false },
        Some(ALPN_JOIN_2) => Purpose::Join { takes_keys: true },
        Some(ALPN_RENEW) => Purpose::Renew,
        Some(_) | None => Purpose::Session,
    }
}

/// Returns the first DNS name of the coordinator's certificate: what hosts that join are told to expect.
///
/// # Errors
/// The certificate cannot be read, or has none.
pub fn server_name(config: &IngestConfig) -> Result<String, TlsError> {
    let path = &config.identity.certificate;
    let refused = |reason| TlsError::NotCoordinator { path: path.clone(), reason };
    let info = CertificateInfo::from_der(&load_certificates(path)?[0])
        .map_err(|error| refused(error.to_string()))?;
    let name = info.dns_names.into_iter().next();
    name.ok_or_else(|| refused("it carries no DNS name".to_owned()))
}

/// Returns how analysts and programs are met over HTTPS.
///
/// # Errors
/// Each [`TlsError`] about certificate and key; the text says which file and what to do.
pub fn api(config: &ApiConfig) -> Result<rustls::ServerConfig, TlsError> {
    let ServerIdentity { certificate, key } = &config.identity;
    let mismatch = |error: rustls::Error| TlsError::Mismatch {
        certificate: certificate.clone(),
        error: error.to_string(),
    };
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(load_certificates(certificate)?, load_key(key)?)
        .map_err(mismatch)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Returns the endpoint's settings, with a key of stateless resets that outlives the process: an
/// agent of a restarted coordinator learns at its next packet that its connection is gone.
///
/// The key is made at the first start, in `store_dir`, which is made, too.
///
/// # Errors
/// [`TlsError::ResetKey`] and [`TlsError::ResetKeyDamaged`], and [`TlsError::KeyExposed`].
pub fn endpoint_config(store_dir: &Path) -> Result<EndpointConfig, TlsError> {
    let secret = reset_key(store_dir)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    // A packet whose connection id is not of our making is dropped without a word, so ids must be known again, too.
    let id_key = hmac::sign(&key, b"signalbox connection ids");
    let ids = ConnectionIds::new(id_key.as_ref());
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(ids.clone()));
    Ok(config)
}

/// Returns whose agent is at the other end (L5), and what its certificate says.
///
/// # Errors
/// [`PeerError`] if it is anybody else: the caller closes before the first frame.
pub fn peer_identity(
    connection: &Connection,
    trust_domain: &str,
) -> Result<((TenantId, AgentId), CertificateInfo), PeerError> {
    let chain = chain_of(connection);
    let leaf = chain.first().ok_or_else(|| PeerError::Nameless("no certificate".to_owned()))?;
    let nameless = |error: CertificateError| PeerError::Nameless(error.to_string());
    let info = CertificateInfo::from_der(leaf).map_err(nameless)?;
    match info.identity().map_err(nameless)? {
        Identity { trust_domain: domain, role: Role::Agent { tenant, agent } }
            if domain == trust_domain =>
        {
            Ok(((tenant, agent), info))
        }
        other => Err(PeerError::NotAgent {
            presented: other.to_string(),
            expected: trust_domain.to_owned(),
        }),
    }
}

/// Returns the keys of those that the peer's chain shows as issuers, the one that issued its certificate first.
///
/// # Errors
/// [`PeerError::Nameless`]: one of them cannot be read, so nobody can tell whether it is distrusted.
pub fn peer_issuers(connection: &Connection) -> Result<Vec<SpkiDigest>, PeerError> {
    let chain = chain_of(connection);
    let read = |der: &CertificateDer<'_>| {
        spki_digest_of_der(der).map_err(|error| PeerError::Nameless(error.to_string()))
    };
    chain.iter().skip(1).map(read).collect()
}

fn chain_of(connection: &Connection) -> Vec<CertificateDer<'static>> {
    let chain = connection.peer_identity().and_then(|any| any.downcast().ok());
    let chain: Option<Box<Vec<CertificateDer<'static>>>> = chain;
    chain.map_or_else(Vec::new, |chain| *chain)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// How much an agent may have sent that was not read yet, once it is known that it is one.
pub const RECEIVE_WINDOW: VarInt = VarInt::from_u32(CONNECTION_RECEIVE_BYTES_MAX);

/// Returns how much a peer may have sent at first. Where hosts can join, one of which nothing is known yet may hold
/// little.
const fn window_of(config: &Config) -> VarInt {
    if config.authority.is_some() { UNPROVEN_RECEIVE_WINDOW } else { RECEIVE_WINDOW }
}

/// What one agent may hold of the coordinator. The agent keeps the connection alive, not we.
fn transport(window: VarInt) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(ANSWERS_MAX))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(LANE_RECEIVE_BYTES_MAX))
        .receive_window(window)
        .send_window(CONNECTION_SEND_BYTES_MAX)
        // What we send fits a packet or two. With offload every connection keeps a buffer of eleven, 12 kB.
        .enable_segmentation_offload(false)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(None);
    transport
}

const IDLE_TIMEOUT_MS: u32 = {
    let ms = IDLE_TIMEOUT.as_millis();
    assert!(ms <= u32::MAX as u128, "fits QUIC's own field");
    ms as u32
};

/// Refuses a certificate that agents would refuse, before the first of them does.
fn check_own_name(path: &Path, leaf: &CertificateDer<'_>, domain: &str) -> Result<(), TlsError> {
    let reason = match certs::identity_of_der(leaf) {
        Ok(Identity { trust_domain, role: Role::Coordinator { .. } }) if trust_domain == domain => {
            return Ok(());
        }
        Ok(other) => format!("it names {other}, and trust_domain is {domain}"),
        Err(error) => error.to_string(),
    };
    Err(TlsError::NotCoordinator { path: path.to_owned(), reason })
}

/// Reads a chain; there is at least one certificate in it.
fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const EXPECTED: &str = "certificate in PEM";
    let bytes = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(path, EXPECTED, error))?;
    if chain.is_empty() {
        return Err(pem_error(path, EXPECTED, "there is none in it"));
    }
    Ok(chain)
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_permissions(path).map_err(|refused| match refused {
        Exposed::Unknown(error) => TlsError::Read { path: path.to_owned(), error },
        Exposed::To(mode) => TlsError::KeyExposed { path: path.to_owned(), mode },
    })?;
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| pem_error(path, "private key in PEM", error))
}

fn load_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| pem_error(path, "root's certificate", error))?;
    }
    Ok(roots)
}

fn pem_error(path: &Path, expected: &'static str, error: impl ToString) -> TlsError {
    TlsError::Pem { path: path.to_owned(), expected, error: error.to_string() }
}

/// Reads the key of stateless resets, or makes it if it is not there.
fn reset_key(store_dir: &Path) -> Result<[u8; RESET_KEY_BYTES], TlsError> {
    let path = store_dir.join(RESET_KEY_FILE);
    let failed = |error| TlsError::ResetKey { path: path.clone(), error };
    match fs::read(&path) {
        Ok(bytes) => {
            check_permissions(&path).map_err(|refused| match refused {
                Exposed::Unknown(error) => failed(error),
                Exposed::To(mode) => TlsError::KeyExposed { path: path.clone(), mode },
            })?;
            let len = bytes.len();
            bytes.try_into().map_err(|_| TlsError::ResetKeyDamaged { path: path.clone(), len })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; RESET_KEY_BYTES];
            SystemRandom::new()
                .fill(&mut key)
                .map_err(|_| failed(io::Error::other("the system gives no random bytes")))?;
            write_private(store_dir, &path, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that only its owner may read; a crash leaves it whole or not at all.
fn write_private(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    fs::create_dir_all(dir)?;
    let half = path.with_extension("key.part");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    #[cfg(unix)]
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

enum Exposed {
    Unknown(io::Error),
    To(u32),
}

/// Refuses a key that others than its owner may read. Where files have no permission bits it cannot
/// tell.
#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), Exposed> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(Exposed::Unknown)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Exposed::To(mode)) }
}

#[cfg(not(unix))]
fn check_permissions(_path: &Path) -> Result<(), Exposed> {
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| TlsError::Read { path: path.to_owned(), error })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
