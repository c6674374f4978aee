#![expect(clippy::disallowed_methods, reason = "certificates are checked against the real clock")]

use std::{
    future::Future,
    net::Ipv4Addr,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use certs::{
    AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, Leaf, PrivateKey,
    testing::{RawLeaf, impostor_of, issue_raw},
};
use quinn::{ClientConfig, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    NamedGroup,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};
use shared::time::Timestamp;

use super::*;

const DOMAIN: &str = "box.test";

fn now() -> Timestamp {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Timestamp::from_ms(u64::try_from(ms).unwrap())
}

fn agent_id() -> AgentId {
    AgentId::from_bytes([7; 16])
}

/// An authority and a coordinator whose files lie in a folder.
struct House {
    authority: Authority,
    dir: tempfile::TempDir,
    config: Config,
}

impl House {
    fn new() -> Self {
        let authority = Authority::create(DOMAIN, now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "trust_domain = {DOMAIN:?}\n[store]\npath = \"store\"\n[ingest]\n\
             certificate = \"box.pem\"\nkey = \"box.key\"\nroots = \"root.pem\"\n"
        );
        let config = Config::parse(&text, dir.path()).unwrap();
        let house = Self { authority, dir, config };
        house.write("root.pem", house.authority.root_pem());
        house.install(&house.coordinator());
        house
    }

    fn write(&self, name: &str, text: &str) {
        write_private(self.dir.path(), &self.dir.path().join(name), text.as_bytes()).unwrap();
    }

    fn install(&self, leaf: &Leaf) {
        self.write("box.pem", &leaf.chain_pem);
        self.write("box.key", &leaf.key_pem);
    }

    fn coordinator(&self) -> Leaf {
        let (key, names) = (PrivateKey::generate().unwrap(), AlternativeNames::default());
        self.authority
            .issue_coordinator("coordinator", &names, now(), COORDINATOR_VALIDITY, &key)
            .unwrap()
    }

    fn raw(&self, change: impl FnOnce(RawLeaf) -> RawLeaf) -> Leaf {
        issue_raw(&self.authority, &change(RawLeaf::of(&agent(DOMAIN), now()))).unwrap()
    }

    /// Lets a client with `leaf` (or with no certificate) shake hands; returns both ends' view.
    async fn meet(&self, leaf: Option<&Leaf>, alpn: &[u8]) -> Met {
        self.meet_with(client_config(&self.authority, leaf, alpn)).await
    }

    async fn meet_with(&self, config: rustls::ClientConfig) -> Met {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Endpoint::server(ingest(&self.config).unwrap(), any).unwrap();
        let client = Endpoint::client(any).unwrap();
        let quic = QuicClientConfig::try_from(config).unwrap();
        let config = ClientConfig::new(Arc::new(quic));
        let address = server.local_addr().unwrap();
        let dialling = client.connect_with(config, address, "coordinator").unwrap();
        let accepting = async { server.accept().await.unwrap().await };
        let (accepted, dialled) = tokio::join!(accepting, dialling);
        Met { accepted, dialled, _endpoints: (server, client) }
    }
}

struct Met {
    accepted: Result<Connection, ConnectionError>,
    dialled: Result<Connection, ConnectionError>,
    _endpoints: (Endpoint, Endpoint),
}

fn agent(domain: &str) -> Identity {
    let role = Role::Agent { tenant: "acme".parse().unwrap(), agent: agent_id() };
    Identity { trust_domain: domain.to_owned(), role }
}

fn client_config(authority: &Authority, leaf: Option<&Leaf>, alpn: &[u8]) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut client = match leaf {
        None => client.with_no_client_auth(),
        Some(leaf) => {
            let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
            client.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
        }
    };
    client.alpn_protocols = vec![alpn.to_vec()];
    client
}

#[tokio::test]
async fn an_agent_of_our_authority_is_known_by_tenant_and_agent() {
    let house = House::new();
    let (tenant, key) = ("acme".parse().unwrap(), PrivateKey::generate().unwrap());
    let issued = house.authority.issue_agent(tenant, agent_id(), now(), AGENT_VALIDITY, &key);
    let met = house.meet(Some(&issued.unwrap()), ALPN).await;
    let connection = met.accepted.unwrap();
    assert_eq!(peer_identity(&connection, DOMAIN).map(|(whom, _)| whom), Ok((tenant, agent_id())));
}

#[tokio::test]
async fn who_is_no_agent_of_ours_is_refused_after_the_handshake_by_what_it_presented() {
    let house = House::new();
    let cases = [
        (house.coordinator(), "peer is spiffe://box.test/coordinator/coordinator, not an agent"),
        (
            house.raw(|raw| raw.with_uris(&[&agent("other.test").to_string()])),
            "peer is spiffe://other.test/tenant/acme/agent/07070707",
        ),
        (
            house.raw(|raw| raw.with_uris(&[])),
            "peer's certificate names nobody: certificate carrie",
        ),
        (
            house.raw(|raw| raw.with_uris(&["spiffe://box.test/user/ann"])),
            "peer's certificate names nobody: certificate's URI is no identity",
        ),
    ];
    for (leaf, expected) in cases {
        let met = house.meet(Some(&leaf), ALPN).await;
        let refused = peer_identity(&met.accepted.unwrap(), DOMAIN).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}\nshould start with {expected}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_prove_its_holder_ends_the_handshake() {
    let house = House::new();
    let impostor = impostor_of(&house.authority, now()).unwrap();
    let raw = RawLeaf::of(&agent(DOMAIN), now());
    let foreign = issue_raw(&impostor, &raw).unwrap();
    let expired = house.raw(|raw| raw.expired_at(now()));
    let server_only = house.raw(|raw| RawLeaf { client_auth: false, ..raw });
    let cases = [
        ("another authority's", Some(&foreign)),
        ("expired", Some(&expired)),
        ("for servers only", Some(&server_only)),
        ("none", None),
    ];
    for (what, leaf) in cases {
        assert!(house.meet(leaf, ALPN).await.accepted.is_err(), "{what}");
    }
    let good = house.raw(|raw| raw);
    assert!(house.meet(Some(&good), b"signalbox/9").await.accepted.is_err(), "another protocol");
    assert!(house.meet(Some(&good), ALPN).await.accepted.is_ok());
}

#[tokio::test]
async fn an_agent_may_open_its_four_streams_and_one_to_answer_and_nothing_else() {
    let house = House::new();
    let met = house.meet(Some(&house.raw(|raw| raw)), ALPN).await;
    let connection = met.dialled.unwrap();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(connection.open_bi().await.unwrap());
    }
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(connection.open_bi()).poll(&mut context).is_pending(), "L7");
    let mut answers = Vec::new();
    for _ in 0..ANSWERS_MAX {
        answers.push(connection.open_uni().await.unwrap());
    }
    assert!(pin!(connection.open_uni()).poll(&mut context).is_pending(), "L7");
    assert_eq!(connection.max_datagram_size(), None, "L7");
}

#[tokio::test]
async fn no_agent_is_given_a_ticket_that_would_skip_the_certificate_check() {
    let house = House::new();
    let mut config = client_config(&house.authority, Some(&house.raw(|raw| raw)), ALPN);
    let tickets = Arc::new(Tickets::default());
    config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    let met = house.meet_with(config).await;
    let (dialled, accepted) = (met.dialled.unwrap(), met.accepted.unwrap());
    // Tickets, if there were any, would be sent before this answer.
    let (mut ask, mut answer) = dialled.open_bi().await.unwrap();
    ask.write_all(b"?").await.unwrap();
    let (mut reply, _asked) = accepted.accept_bi().await.unwrap();
    reply.write_all(b"!").await.unwrap();
    answer.read_exact(&mut [0; 1]).await.unwrap();
    assert_eq!(tickets.0.load(Ordering::Relaxed), 0);
}

/// Counts the tickets that a client is given.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[test]
fn a_certificate_that_agents_would_refuse_is_refused_at_the_start() {
    let house = House::new();
    house.install(&house.raw(|raw| raw));
    let refused = ingest(&house.config).unwrap_err().to_string();
    assert!(refused.contains("box.pem is no certificate for a coordinator: it names"), "{refused}");
    assert!(refused.ends_with("\"certs coordinator NAME\" issues certificate and key"));
    house.install(&house.coordinator());
    let elsewhere = Config { trust_domain: "other.test".to_owned(), ..house.config.clone() };
    let refused = ingest(&elsewhere).unwrap_err().to_string();
    assert!(refused.contains("and trust_domain is other.test"), "{refused}");
}

#[test]
fn files_that_are_missing_or_do_not_fit_are_named() {
    let house = House::new();
    house.write("box.key", &house.coordinator().key_pem);
    let refused = ingest(&house.config).unwrap_err();
    assert!(matches!(refused, TlsError::Mismatch { .. }), "{refused}");
    house.write("root.pem", "hello");
    let refused = ingest(&house.config).unwrap_err().to_string();
    assert!(refused.contains("root.pem holds no certificate in PEM"), "{refused}");
    fs::remove_file(house.dir.path().join("box.pem")).unwrap();
    for refused in [ingest(&house.config).unwrap_err(), api(&house.config.api).unwrap_err()] {
        assert!(refused.to_string().contains("box.pem cannot be read"), "{refused}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let key = house.dir.path().join("box.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = ingest(&house.config).unwrap_err().to_string();
    assert!(
        refused.ends_with("may be read by others (mode 640): run chmod 600 on it"),
        "{refused}"
    );
}

#[test]
fn the_api_speaks_h2_to_clients_without_a_certificate() {
    let house = House::new();
    let server = Arc::new(api(&house.config.api).unwrap());
    let client = Arc::new(client_config(&house.authority, None, b"h2"));
    let name = ServerName::try_from("coordinator").unwrap();
    let mut client = rustls::ClientConnection::new(client, name).unwrap();
    let mut server = rustls::ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert_eq!(server.alpn_protocol(), Some(b"h2".as_slice()));
}

#[test]
fn the_reset_key_outlives_the_process_and_is_its_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let first = reset_key(&store).unwrap();
    assert_eq!(reset_key(&store).unwrap(), first);
    assert!(endpoint_config(&store).is_ok());
    assert_ne!(reset_key(&dir.path().join("other")).unwrap(), first);
    let path = store.join(RESET_KEY_FILE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(reset_key(&store), Err(TlsError::KeyExposed { mode: 0o644, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(&path, [1; 31]).unwrap();
    let damaged = reset_key(&store).unwrap_err().to_string();
    assert!(damaged.contains("reset.key has 31 bytes, not 32: delete it"), "{damaged}");
}

#[test]
fn a_silent_connection_outlives_the_session_that_would_close_it() {
    assert!(IDLE_TIMEOUT > shared::limits::SILENCE_TIMEOUT);
    assert_eq!(Duration::from_millis(IDLE_TIMEOUT_MS.into()), IDLE_TIMEOUT);
}
