//! Who the agent is and whom it believes, as TLS needs it.
//!
//! Of what the agent dials: TLS 1.3 only, both sides with certificates, no resumption and no early
//! data, so that each connection proves both identities anew. At a source of syslog, TLS 1.2 too.
//!
//! A coordinator is believed when its certificate leads to the configured root, or to one of the trust
//! bundle that took its place ([`Trust`]), carries the configured name, and names a coordinator of the
//! agent's own trust domain: the root also signs other roles, and another agent's certificate must not
//! do.
//!
//! The private key is read only if nobody but its owner may read it.

mod next;
mod trust;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use certs::{CertificateInfo, KeyError, PrivateKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use sha2::{Digest, Sha256};
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, TenantId},
    join::{ALPN_JOIN, ALPN_JOIN_2},
    renewal::ALPN_RENEW,
    time::Timestamp,
    wire::ALPN,
};
use thiserror::Error;

#[cfg(test)]
pub(crate) use self::next::tests::{NOW, World};
use self::trust::Believed;
pub use self::{
    next::{ReplaceError, drop_kept, finish, forget_next, forget_trust, is_kept},
    trust::{TRUST_FILE, Trust},
};
use crate::{
    config::{IdentityConfig, ListenerIdentity},
    platform,
};

/// Largest PEM file that is read, in bytes: a chain of three certificates has under ten thousand.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What proves the agent's identity, ready for use.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// TLS settings of every connection that the agent dials.
    pub client: Arc<ClientConfig>,
    /// Whose data the agent sends, by its certificate.
    pub tenant: TenantId,
    /// Which agent it is, by its certificate.
    pub agent: AgentId,
    /// Name space in which coordinators are believed.
    pub trust_domain: String,
    /// Whom the agent believes; what follows this certificate goes by the same.
    pub trust: Arc<Trust>,
    /// First instant at which the certificate is valid.
    pub not_before: Timestamp,
    /// Last instant at which it is.
    pub not_after: Timestamp,
}

/// Why the agent's identity cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others than its owner may read the key.
    #[error(
        "{} may be read by others (mode {mode:03o}): run chmod 600 on it", path.display()
    )]
    KeyExposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {expected}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The certificate names nobody, or somebody who is no agent.
    #[error("{} is no agent's certificate: {reason}", path.display())]
    NoAgent {
        /// The certificate.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Certificate, key and root do not fit together.
    #[error("certificate and key do not fit together: {0}")]
    Tls(#[from] rustls::Error),
    /// The root of those who may send is none.
    #[error("senders cannot be known by their root: {0}")]
    Senders(#[from] VerifierBuilderError),
}

/// Returns the TLS settings of a source at which detectors' messages are taken (RFC 5425): TLS 1.3
/// or, as many devices speak nothing newer, 1.2 with the suites that keep past messages secret
/// (RFC 9662 wants one of them); where a root of senders is configured, only for those with a
/// certificate of it.
///
/// # Errors
/// Each [`CredentialsError`] but [`CredentialsError::NoAgent`]: the certificate's name is the
/// senders' matter.
pub fn listener(config: &ListenerIdentity) -> Result<Arc<ServerConfig>, CredentialsError> {
    let chain = load_certificates(&config.certificate)?;
    let key = load_key(&config.key)?;
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let server = match &config.senders_root {
        None => server.with_no_client_auth(),
        Some(root) => {
            let roots = Arc::new(load_roots(root)?);
            let known = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            server.with_client_cert_verifier(known)
        }
    };
    let mut server = server.with_single_cert(chain, key)?;
    // Each connection proves its identity anew, and nothing is kept of one that is gone.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Arc::new(server))
}

/// Why a peer that TLS let through is not a coordinator of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// It showed no certificate, or one that names nobody.
    #[error("peer's certificate names nobody: {0}")]
    Nameless(String),
    /// It is somebody else.
    #[error("peer is {0}, not a coordinator of trust domain {1}")]
    NotCoordinator(String, String),
}

impl Credentials {
    /// Loads certificate, key and root. Until it is told of a trust bundle, the root alone says who is believed.
    ///
    /// # Errors
    /// Each [`CredentialsError`]; the text says which file and what to do.
    pub fn load(config: &IdentityConfig) -> Result<Self, CredentialsError> {
        Self::load_for(config, None)
    }

    /// Loads certificate and key; whom they believe is said by what is there already, if anything is.
    fn load_for(
        config: &IdentityConfig,
        trust: Option<&Arc<Trust>>,
    ) -> Result<Self, CredentialsError> {
        let chain = load_certificates(&config.certificate)?;
        let no_agent =
            |reason: String| CredentialsError::NoAgent { path: config.certificate.clone(), reason };
        let leaf = chain.first().ok_or_else(|| no_agent("it is empty".to_owned()))?;
        let info = CertificateInfo::from_der(leaf).map_err(|error| no_agent(error.to_string()))?;
        let identity = info.identity().map_err(|error| no_agent(error.to_string()))?;
        let CertificateInfo { not_before, not_after, .. } = info;
        let Identity { trust_domain, role: Role::Agent { tenant, agent } } = identity else {
            return Err(no_agent(format!("it names {identity}")));
        };
        let key = load_key(&config.key)?;
        let trust = match trust {
            Some(trust) => Arc::clone(trust),
            None => Trust::in_roots(load_roots(&config.trust_anchor)?, trust_domain.clone())?,
        };
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believed(Arc::clone(&trust))))
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        let client = Arc::new(client);
        Ok(Self { client, tenant, agent, trust_domain, trust, not_before, not_after })
    }

    /// Returns the TLS settings of a connection over which a certificate that has ended is renewed.
    #[must_use]
    pub fn renewing(&self) -> Arc<ClientConfig> {
        let mut client = (*self.client).clone();
        client.alpn_protocols = vec![ALPN_RENEW.to_vec()];
        Arc::new(client)
    }

    /// Returns the name of the coordinator whose verified chain is `chain`, the leaf first.
    ///
    /// # Errors
    /// [`PeerError`] if it is anybody else: the caller closes before the first frame.
    pub fn coordinator_of(&self, chain: &[CertificateDer<'_>]) -> Result<String, PeerError> {
        match peer_of(chain)? {
            Identity { trust_domain, role: Role::Coordinator { name } }
                if trust_domain == self.trust_domain =>
            {
                Ok(name)
            }
            other => Err(PeerError::NotCoordinator(other.to_string(), self.trust_domain.clone())),
        }
    }
}

/// Reads a key that was made here and has no certificate yet.
///
/// # Errors
/// It is no key of ours.
pub(crate) fn key_of(pem: &str) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_pem(pem)
}

/// How a host that joins believes a coordinator: by its root's digest, which the token says.
#[derive(Debug)]
pub struct Joining {
    verifier: Arc<PinnedRoot>,
}

/// Verifies a server by a root of which only the digest is known; the server shows the root itself.
#[derive(Debug)]
struct PinnedRoot {
    root_sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
    /// The root, once a server has proved that it stands under it.
    root: OnceLock<CertificateDer<'static>>,
}

impl Joining {
    /// Returns how to believe whoever stands under the root with this digest.
    #[must_use]
    pub fn new(root_sha256: [u8; 32]) -> Self {
        let provider = Arc::new(ring::default_provider());
        let verifier = PinnedRoot { root_sha256, provider, root: OnceLock::new() };
        Self { verifier: Arc::new(verifier) }
    }

    /// Returns the settings of the handshake.
    ///
    /// # Errors
    /// TLS 1.3 cannot be spoken.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let provider = Arc::clone(&self.verifier.provider);
        let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&self.verifier) as _;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN_JOIN_2.to_vec(), ALPN_JOIN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        Ok(Arc::new(client))
    }

    /// Refuses a peer that stands under the root and is no coordinator: the root vouches for agents, too.
    ///
    /// # Errors
    /// [`PeerError`].
    pub(crate) fn check_peer(&self, chain: &[CertificateDer<'_>]) -> Result<(), PeerError> {
        match peer_of(chain)? {
            Identity { role: Role::Coordinator { .. }, .. } => Ok(()),
            other => Err(PeerError::NotCoordinator(other.to_string(), "the token's".to_owned())),
        }
    }

    /// Returns the root's certificate in DER, once a coordinator has proved that it stands under it.
    #[must_use]
    pub fn root(&self) -> Option<&[u8]> {
        self.verifier.root.get().map(AsRef::as_ref)
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_pinned = |der: &&CertificateDer<'_>| *Sha256::digest(der) == self.root_sha256;
        let root = intermediates.iter().find(is_pinned);
        let root = root.ok_or(rustls::CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let known = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified =
            known.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.root.get_or_init(|| root.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns whom a peer's verified chain names, the leaf first.
fn peer_of(chain: &[CertificateDer<'_>]) -> Result<Identity, PeerError> {
    let leaf = chain.first().ok_or_else(|| PeerError::Nameless("no certificate".to_owned()))?;
    certs::identity_of_der(leaf).map_err(|error| PeerError::Nameless(error.to_string()))
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let pem = |error: String| CredentialsError::Pem {
        path: path.to_owned(),
        expected: "certificate in PEM",
        error,
    };
    let bytes = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(error.to_string()))?;
    if chain.is_empty() { Err(pem("there is none in it".to_owned())) } else { Ok(chain) }
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    check_key_permissions(path)?;
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| CredentialsError::Pem {
        path: path.to_owned(),
        expected: "private key in PEM",
        error: error.to_string(),
    })
}

fn load_roots(path: &Path) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(path)? {
        roots.add(certificate).map_err(|error| CredentialsError::Pem {
            path: path.to_owned(),
            expected: "root's certificate",
            error: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// Refuses a key that others than its owner may read. Where files have no permission bits it cannot
/// tell.
fn check_key_permissions(path: &Path) -> Result<(), CredentialsError> {
    let metadata = fs::metadata(path)
        .map_err(|error| CredentialsError::Read { path: path.to_owned(), error })?;
    match platform::mode(&metadata).filter(|mode| mode & 0o077 != 0) {
        Some(mode) => Err(CredentialsError::KeyExposed { path: path.to_owned(), mode }),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    use io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| CredentialsError::Read { path: path.to_owned(), error })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused_with_what_to_do() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("agent.key");
        fs::write(&key, "").unwrap();
        for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
            let refused = matches!(
                load_key(&key),
                Err(CredentialsError::KeyExposed { mode: found, .. }) if found == mode
            );
            assert_eq!(refused, exposed, "{mode:o}");
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let text = load_key(&key).unwrap_err().to_string();
        assert!(text.ends_with("may be read by others (mode 644): run chmod 600 on it"), "{text}");
    }

    #[test]
    fn a_file_that_is_missing_or_holds_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.pem");
        let missing = load_certificates(&path).unwrap_err().to_string();
        assert!(missing.contains("agent.pem cannot be read"), "{missing}");
        fs::write(&path, "hello").unwrap();
        let other = load_certificates(&path).unwrap_err().to_string();
        assert!(other.contains("holds no certificate in PEM"), "{other}");
    }
}
