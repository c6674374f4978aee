//! The API over a real socket with real certificates.
#![expect(clippy::disallowed_methods, reason = "certificates are checked against the real clock")]

use std::time::{SystemTime, UNIX_EPOCH};

use certs::{AlternativeNames, Authority, COORDINATOR_VALIDITY, PrivateKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tokio_util::task::TaskTracker;

use super::*;

struct Served {
    house: House,
    port: u16,
    roots: RootCertStore,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

async fn served() -> Served {
    let house = House::new();
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp::from_ms(u64::try_from(ms).unwrap());
    let authority = Authority::create("box.test", now).unwrap();
    let names = AlternativeNames { dns_names: vec!["localhost".into()], ..Default::default() };
    let key = PrivateKey::generate().unwrap();
    let leaf = authority.issue_coordinator("main", &names, now, COORDINATOR_VALIDITY, &key);
    let leaf = leaf.unwrap();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
    let counters = Arc::clone(&house.api.counters);
    let router = house.router.clone();
    tasks.spawn(serve(listener, Arc::new(tls), router, counters, cancel.clone(), tasks.clone()));
    Served { house, port, roots, cancel, tasks }
}

impl Served {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }
}

/// Sends a request that closes its connection, and returns all that comes.
async fn exchange(stream: &mut TlsStream<TcpStream>, token: &str) -> String {
    let sent = format!(
        "GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes without TLS's goodbye still has answered.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_client_that_trusts_the_root_is_served_and_shutdown_waits_for_nobody_idle() {
    let served = served().await;
    let token = served.house.token(Role::Analyst, &["acme"]).await;
    let idle = served.connect().await;
    let answer = exchange(&mut served.connect().await, &token).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-request-id: ") && answer.contains("\"analyst-acme\""), "{answer}");
    let answer = exchange(&mut served.connect().await, "sb_wrong").await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");

    served.cancel.cancel();
    served.tasks.close();
    served.tasks.wait().await;
    assert_eq!(served.house.api.counters.api_connections_open.value(), 0);
    drop(idle);
    assert!(TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
}
