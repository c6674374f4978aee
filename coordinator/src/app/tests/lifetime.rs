//! How a coordinator begins, serves people, ends and goes on.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use shared::{
    alert::Severity,
    ids::Lane,
    session::Stream,
    wire::{Frame, GoodbyeReason},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::TlsConnector;

use super::{
    agent::{Agent, block, dial},
    house::{Gate, House, blocks, eventually, seq, waiting, within},
};
use crate::{
    app::{ADMIN_TOKEN_FILE, Outcome, Parts, start},
    clock::Clock,
    store::{
        engine::{Changes, Engine as _, RocksEngine, Space},
        schema::{CaseKey, Key as _, MetaKey},
        tables::Source as _,
        values::{Value as _, case::encode_whole},
    },
    triage::{
        case::{CaseId, tests::group},
        evidence::Evidence,
        sla::Sla,
    },
};

#[tokio::test]
async fn a_shutdown_stores_and_acks_what_was_taken_and_the_next_start_goes_on_from_there() {
    let house = House::new();
    let running = house.start().await;
    let leaf = house.agent("acme", 1);
    let (mut agent, _) = Agent::greeted(&house, &leaf, &running).await;
    let gate = Gate::close(&running).await;
    for number in 1..=3 {
        agent.send_block(Lane::Normal, number, &block(&house, "web")).await;
    }
    eventually("all blocks wait", || running.store.backlog().0 == 3).await;
    let stopping = running.parts.stop.clone();
    let end = async {
        within(stopping.cancelled()).await;
        drop(gate);
        agent.acked(Lane::Normal, 3).await;
        let goodbye = Frame::Goodbye(GoodbyeReason::Shutdown);
        assert_eq!(agent.receive(Stream::Control).await, goodbye);
        assert_eq!(agent.closed().await.0, 0);
    };
    let (outcome, ()) = tokio::join!(running.shut_down(), end);
    assert_eq!(outcome.unwrap(), Outcome::Drained);

    let running = house.start().await;
    assert_eq!(waiting(&running, "acme").await.len(), 1, "the queue is there again");
    let (mut agent, welcome) = Agent::greeted(&house, &leaf, &running).await;
    assert_eq!(welcome.committed[Lane::Normal.index()], Some(seq(3)));
    agent.send_block(Lane::Normal, 4, &block(&house, "web")).await;
    agent.acked(Lane::Normal, 4).await;
    assert_eq!(blocks(&running, "acme"), [1, 2, 3, 4]);
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_store_of_an_earlier_program_is_gone_on_with_and_one_of_a_later_is_left_alone() {
    let house = House::new();
    let write = |key: Vec<u8>, value: Vec<u8>| {
        let engine = RocksEngine::open(&house.config.store.path).unwrap();
        let mut changes = Changes::new();
        changes.put(Space::Rows, key, value);
        engine.commit(changes).unwrap();
    };
    let (id, tenant) = (CaseId::from_u64(1), "acme".parse().unwrap());
    let group = group("scan", Severity::High, 5);
    let rows = Evidence::open(id, tenant, &group, &Sla::default(), house.now());
    write(CaseKey(id).encode(), encode_whole(2, &rows));

    let running = house.start().await;
    assert_eq!(waiting(&running, "acme").await, [id]);
    assert_eq!(running.store.engine().load(&CaseKey(id)), Ok(Some(rows.case)));
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);

    write(MetaKey::SCHEMA.encode(), 99_u32.encode());
    let refused = start(house.config.clone(), Clock::wall()).await.unwrap_err();
    let text = format!("{refused:#}");
    assert!(text.contains("its schema has version 99, and this program reads"), "{text}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_does_not_hold_up_the_shutdown() {
    let house = House::new();
    let running = house.start().await;
    // What the client sends goes through; of what the coordinator answers only that it is to prove its address.
    let mute = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (_endpoint, connecting) =
        dial(&house, &house.agent("acme", 1), mute.local_addr().unwrap().port());
    let (onwards, to) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), running.ingest_addr);
    let relay = async {
        let (mut packet, mut answer) = ([0; 2048], [0; 2048]);
        let (len, client) = mute.recv_from(&mut packet).await.unwrap();
        onwards.send_to(&packet[..len], to).await.unwrap();
        let len = onwards.recv(&mut answer).await.unwrap();
        mute.send_to(&answer[..len], client).await.unwrap();
        loop {
            let len = mute.recv(&mut packet).await.unwrap();
            onwards.send_to(&packet[..len], to).await.unwrap();
        }
    };
    let counters = Arc::clone(&running.counters);
    tokio::select! {
        () = relay => {}
        _ = connecting => panic!("nobody answers"),
        () = eventually("a handshake goes on", || counters.handshakes_open.value() == 1) => {}
    }
    assert_eq!(running.shut_down().await.unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn the_first_token_opens_the_api_and_the_metrics_listener_says_ready() {
    let house = House::new();
    fs::create_dir(&house.config.store.path).unwrap();
    let path = house.config.store.path.join(ADMIN_TOKEN_FILE);
    fs::write(&path, "left behind by a crash before the token was good\n").unwrap();
    let running = house.start().await;
    let token = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mine = get_me(&house, running.api_addr, token.trim()).await;
    assert!(mine.starts_with("HTTP/1.1 200 ") && mine.contains("\"admin\""), "{mine}");
    let nobodys = get_me(&house, running.api_addr, "sb_wrong").await;
    assert!(nobodys.starts_with("HTTP/1.1 401 "), "{nobodys}");
    let stream = TcpStream::connect(running.metrics_addr).await.unwrap();
    let ready = get(stream, "/readyz", "").await;
    assert!(ready.starts_with("HTTP/1.1 200 ") && ready.ends_with("ready\n"), "{ready}");
    running.shut_down().await.unwrap();

    fs::remove_file(&path).unwrap();
    let running = house.start().await;
    assert!(!path.exists(), "a store that has tokens is given no more");
    let mine = get_me(&house, running.api_addr, token.trim()).await;
    assert!(mine.starts_with("HTTP/1.1 200 "), "{mine}");
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_store_or_an_address_that_is_in_use_ends_the_start_with_which() {
    let house = House::new();
    let running = house.start().await;
    let refused = start(house.config.clone(), Clock::wall()).await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("store is in use by another process"), "{refused}");
    for part in ["[ingest]", "[api]", "[metrics]"] {
        let other = House::new();
        let mut config = other.config.clone();
        match part {
            "[ingest]" => config.ingest.listen = running.ingest_addr,
            "[api]" => config.api.listen = running.api_addr,
            _ => config.metrics.listen = running.metrics_addr,
        }
        let refused = start(config, Clock::wall()).await.unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.starts_with(part) && refused.contains("in use"), "{refused}");
    }
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_part_that_ends_by_itself_ends_the_coordinator_with_an_error() {
    let parts = ["panics", "fails", "returns"];
    for how in parts {
        let house = House::new();
        let running = house.start().await;
        running.parts.spawn("test", async move {
            match how {
                "panics" => panic!("on purpose"),
                "fails" => anyhow::bail!("on purpose"),
                _ => Ok(()),
            }
        });
        within(running.failed()).await;
        let error = running.shut_down().await.unwrap_err().to_string();
        assert!(error.contains("ended by itself"), "{how}: {error}");
    }
    let parts = Parts::default();
    parts.stop.cancel();
    parts.spawn("test", async { Ok(()) });
    parts.tasks.close();
    within(parts.tasks.wait()).await;
    assert!(!parts.failed.token.is_cancelled(), "a part that was told to end may");
}

/// Asks the API over HTTPS who the token's holder is.
async fn get_me(house: &House, address: SocketAddr, token: &str) -> String {
    let mut roots = RootCertStore::empty();
    let root = house.authority.root_pem();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    get(stream, "/v1/me", &format!("Authorization: Bearer {token}\r\n")).await
}

/// Sends a request that closes its connection, and returns all that comes.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, header: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: box\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes without TLS's goodbye still has answered.
    drop(within(stream.read_to_end(&mut answer)).await);
    String::from_utf8(answer).unwrap()
}
