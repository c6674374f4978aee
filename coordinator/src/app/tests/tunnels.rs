//! What knocks at the TCP port, and what becomes of it.

use std::{collections::HashSet, sync::Arc};

use bytes::BytesMut;
use quinn::VarInt;
use rustls::pki_types::ServerName;
use shared::{
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX, put, take},
    wire::ALPN,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    agent::{client_tls, dial},
    house::{House, eventually, within},
};
use crate::{
    app::Running,
    counters::{HandshakeRefused, TunnelRefused},
};

/// Opens a tunnel, or whatever is spoken by this name.
async fn open(house: &House, running: &Running, alpn: &[u8]) -> Option<TlsStream<TcpStream>> {
    let mut tls = client_tls(house, &house.agent("acme", 1));
    tls.alpn_protocols = vec![alpn.to_vec()];
    let to = ("127.0.0.1", running.ingest_addr.port());
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("box").unwrap();
    within(TlsConnector::from(Arc::new(tls)).connect(name, stream)).await.ok()
}

/// Waits until the coordinator ends a connection; what it says before does not matter.
async fn ended(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut said = [0; 1024];
    while !matches!(within(stream.read(&mut said)).await, Ok(0) | Err(_)) {}
}

#[tokio::test]
async fn what_is_no_tunnel_is_refused_and_counted() {
    let house = House::new();
    let running = house.start().await;
    let refused = || running.counters.tunnels_refused.value(TunnelRefused::Tls);
    for (count, alpn) in (1..).zip([ALPN, b"h2"]) {
        assert!(open(&house, &running, alpn).await.is_none(), "{alpn:?}");
        eventually("it is counted", || refused() == count).await;
    }
    let to = ("127.0.0.1", running.ingest_addr.port());
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: box\r\n\r\n").await.unwrap();
    ended(stream).await;
    eventually("it is counted", || refused() == 3).await;
    assert_eq!(running.counters.tunnels_accepted.value(), 0);
    running.shut_down().await.unwrap();
}

/// Carries what is sent to the port that it returns through a tunnel; answers go to all that have sent.
#[expect(clippy::disallowed_methods, reason = "it ends with the tunnel")]
async fn relay(mut tunnel: TlsStream<TcpStream>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut clients, mut come, mut packet) = (HashSet::new(), BytesMut::new(), [0; 2048]);
        loop {
            tokio::select! {
                sent = socket.recv_from(&mut packet) => {
                    let (len, from) = sent.unwrap();
                    clients.insert(from);
                    let mut framed = Vec::new();
                    put(&packet[..len], &mut framed);
                    tunnel.write_all(&framed).await.unwrap();
                    tunnel.flush().await.unwrap();
                }
                read = tunnel.read_buf(&mut come) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    while let Some(datagram) = take(&mut come).unwrap() {
                        for client in &clients {
                            socket.send_to(&datagram, client).await.unwrap();
                        }
                    }
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn one_connection_comes_through_a_tunnel_which_ends_with_it() {
    let house = House::new();
    let running = house.start().await;
    let port = relay(open(&house, &running, ALPN_TUNNEL).await.unwrap()).await;
    let (_endpoint, connecting) = dial(&house, &house.agent("acme", 1), port);
    let connection = within(connecting).await.unwrap();
    let (_other, connecting) = dial(&house, &house.agent("acme", 2), port);
    assert!(within(connecting).await.is_err(), "its handshake would be nobody's");
    assert_eq!(running.counters.handshakes_refused.value(HandshakeRefused::TooMany), 1);
    eventually("the first is met", || running.counters.connections_open.value() == 1).await;
    assert_eq!(running.counters.tunnels_open.value(), 1);
    connection.close(VarInt::from_u32(0), b"");
    eventually("the tunnel has ended", || running.counters.tunnels_open.value() == 0).await;
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_through_which_nobody_was_let_in_ends_too() {
    let house = House::new();
    let running = house.start().await;
    let port = relay(open(&house, &running, ALPN_TUNNEL).await.unwrap()).await;
    let (_endpoint, connecting) = dial(&house, &house.raw(|raw| raw.expired_at(house.now())), port);
    let _refused = within(connecting).await;
    eventually("the tunnel has ended", || running.counters.tunnels_open.value() == 0).await;
    running.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_with_bytes_that_are_no_datagrams_is_closed_and_others_go_on() {
    let house = House::new();
    let running = house.start().await;
    let mut good = open(&house, &running, ALPN_TUNNEL).await.unwrap();
    for bytes in [&[0, 0][..], &(DATAGRAM_BYTES_MAX + 1).to_be_bytes(), &[0xff; 9]] {
        let mut bad = open(&house, &running, ALPN_TUNNEL).await.unwrap();
        bad.write_all(bytes).await.unwrap();
        ended(bad).await;
    }
    eventually("they are gone", || running.counters.tunnels_open.value() == 1).await;
    assert_eq!(running.counters.tunnels_refused.value(TunnelRefused::Framing), 3);
    // Whole datagrams that are not QUIC are no matter of the tunnel's.
    let mut noise = Vec::new();
    (0..100_u8).for_each(|number| put(&[number; 1200], &mut noise));
    good.write_all(&noise).await.unwrap();
    good.flush().await.unwrap();
    let again = open(&house, &running, ALPN_TUNNEL).await;
    eventually("both are open", || running.counters.tunnels_open.value() == 2).await;
    drop((good, again));
    eventually("all are closed", || running.counters.tunnels_open.value() == 0).await;
    assert_eq!(running.counters.handshakes_open.value(), 0);
    running.shut_down().await.unwrap();
}
