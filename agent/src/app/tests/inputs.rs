//! What comes otherwise than by a file, through the whole agent.

use std::io::Read as _;

use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::*;

const TOKEN: &str = "a-token-of-enough-length";

/// Returns the address that the source of this number listens at.
async fn address(world: &World, source: usize) -> SocketAddr {
    eventually_some("it listens", || {
        let place = world.snapshot()?.sources.get(source)?.path.to_str()?.to_owned();
        let address = place.split_once("://")?.1.parse::<SocketAddr>().ok()?;
        (address.port() > 0).then_some(address)
    })
    .await
}

fn source(name: &str, kind: &str, input: Input) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        kind: Kind::of_product(kind).unwrap(),
        input,
        utc_offset: None,
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_two_plain_paths_lead_to_is_read_once_and_the_second_source_says_so() {
    two_paths_lead_to_one_file(true).await;
}

#[cfg(unix)]
#[tokio::test]
async fn so_it_is_with_one_that_comes_to_be_only_later() {
    two_paths_lead_to_one_file(false).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_links_lead_to_from_two_patterns_is_read_by_both_and_the_status_says_so() {
    let world = World::new();
    let log = world.path("0.log");
    fs::write(&log, "").unwrap();
    for folder in ["pods", "containers"] {
        fs::create_dir(world.path(folder)).unwrap();
        std::os::unix::fs::symlink(&log, world.path(folder).join("web.json")).unwrap();
    }
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    for folder in ["pods", "containers"] {
        let pattern = Pattern::parse(&world.path(folder).join("*.json")).unwrap();
        let input = Input::Files { pattern, from: crate::config::StartFrom::Start };
        config.sources.push(source(folder, "suricata_eve", input));
    }
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(config, Notifier::default(), stop.clone()));
    let lines: String = (0..10).map(|number| line(number) + "\n").collect();
    fs::write(&log, lines).unwrap();
    eventually("both have read it", || world.stored_count() == 20).await;
    let shown = eventually_some("it is shown", || {
        let snapshot = world.snapshot()?;
        let shared = snapshot.sources.get(2)?.shared;
        (shared == 1).then_some(snapshot)
    });
    let snapshot = shown.await;
    assert_eq!(snapshot.sources[2].shared_with.as_deref(), Some("pods"));
    assert_eq!(snapshot.sources[1].shared, 0);
    let text = snapshot.render(clock::wall());
    assert!(text.contains("links lead source pods to 1 of its files, too"), "{text}");
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}

#[cfg(unix)]
async fn two_paths_lead_to_one_file(is_there: bool) {
    let world = World::new();
    match is_there {
        true => world.write(0..10),
        false => fs::remove_file(world.path("eve.json")).unwrap(),
    }
    std::os::unix::fs::symlink(world.path("eve.json"), world.path("again.json")).unwrap();
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    let path = world.path("again.json");
    let input = Input::File { path, from: crate::config::StartFrom::Start };
    config.sources.push(source("again", "suricata_eve", input));
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(config, Notifier::default(), stop.clone()));
    if !is_there {
        eventually("it is looked for", || world.snapshot().is_some()).await;
        fs::write(world.path("eve.json"), "").unwrap();
        world.write(0..10);
    }
    eventually("one of them has read", || world.stored_count() == 10).await;
    world.write(10..20);
    eventually("it goes on", || world.stored_count() == 20).await;
    let error = eventually_some("the other says why", || {
        let errors = world.snapshot()?.sources.into_iter().filter_map(|source| source.error);
        errors.into_iter().find(|error| error.contains("its file is the one of source"))
    });
    error.await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    assert_eq!(world.stored_count(), 20);
}

#[tokio::test]
async fn what_a_device_sends_within_tls_is_stored() {
    let world = World::new();
    let leaf = world.coordinator_leaf();
    fs::write(world.path("syslog.pem"), &leaf.chain_pem).unwrap();
    write_key(&world.path("syslog.key"), &leaf.key_pem);
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    let identity = ListenerIdentity {
        certificate: world.path("syslog.pem"),
        key: world.path("syslog.key"),
        senders_root: None,
    };
    config.sources.push(source("tls", "syslog", Input::Tls { address: LOOPBACK, identity }));
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(config, Notifier::default(), stop.clone()));
    let address = address(&world, 1).await;

    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(world.authority.root_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let send = move |version, message: &str| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("coordinator").unwrap();
        let session = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut device = StreamOwned::new(session, TcpStream::connect(address).unwrap());
        device.write_all(message.as_bytes()).unwrap();
        assert_eq!(device.conn.protocol_version(), Some(version.version));
        device.conn.send_close_notify();
        device.flush().unwrap();
    };
    let device = thread::spawn(move || {
        send(&TLS13, "24 <10>Nov  2 09:12:33 gw a26 <10>Nov  2 09:12:33 gw bcd");
        // Someone who speaks no TLS is nobody.
        TcpStream::connect(address).unwrap().write_all(b"<10>plain\n").unwrap();
        send
    });
    eventually("all is stored", || world.stored_count() == 2).await;
    let send = device.join().unwrap();
    let device = thread::spawn(move || send(&TLS12, "<10>Nov  2 09:12:34 old a\n"));
    eventually("it is stored, too", || world.stored_count() == 3).await;
    device.join().unwrap();
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
    let stored = world.stored.lock().unwrap();
    let urgent = &stored.records[Lane::Urgent.index()];
    let expected =
        ["<10>Nov  2 09:12:33 gw a", "<10>Nov  2 09:12:33 gw bcd", "<10>Nov  2 09:12:34 old a"];
    assert_eq!(*urgent, expected);
}

#[test]
fn what_the_agent_dials_offers_no_tls_1_2() {
    let world = World::new();
    let credentials =
        Credentials::load(&world.config(SocketAddr::from(([127, 0, 0, 1], 1))).identity).unwrap();
    let leaf = world.coordinator_leaf();
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
    for version in [&TLS13, &TLS12] {
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key);
        let mut server = server.unwrap();
        server.alpn_protocols = credentials.client.alpn_protocols.clone();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from("coordinator").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&credentials.client), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.read_tls(&mut hello.as_slice()).unwrap();
        let answer = server.process_new_packets();
        assert_eq!(answer.is_ok(), version.version == ProtocolVersion::TLSv1_3, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_pushed_by_http_is_answered_once_it_is_stored() {
    let world = World::new();
    write_key(&world.path("token"), TOKEN);
    let coordinator = world.start_coordinator();
    let mut config = world.config(coordinator.address);
    let input = Input::Http { address: LOOPBACK, token_file: world.path("token") };
    config.sources.push(source("pushed", "suricata_eve", input));
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(config, Notifier::default(), stop.clone()));
    let address = address(&world, 1).await;
    let push = move |body: String| {
        let request = format!(
            "POST / HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        thread::spawn(move || {
            let mut sender = TcpStream::connect(address).unwrap();
            sender.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            sender.read_to_string(&mut answer).unwrap();
            answer
        })
    };
    let pushed = push(format!("[{},{}]", line(1), line(2)));
    // Nothing of it is an alert, so nothing of it is stored; it is answered all the same.
    let other = push("{\"event_type\":\"flow\"}".to_owned());
    eventually("both are answered", || pushed.is_finished() && other.is_finished()).await;
    assert!(pushed.join().unwrap().contains("{\"accepted\":2}"));
    assert!(other.join().unwrap().contains("{\"accepted\":1}"));
    eventually("all is stored", || world.stored_count() == 2).await;
    stop.cancel();
    assert_eq!(agent.await.unwrap().unwrap(), Outcome::Drained);
}
