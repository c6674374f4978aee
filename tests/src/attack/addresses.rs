//! Who says that they are somewhere: in somebody else's name, and with proofs of addresses that are not theirs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, TokenStore, UdpPoller, udp::Transmit};
use shared::wire::ALPN;
use tokio::{net::UdpSocket, time::timeout};

use super::{
    Must, Suite,
    arena::{Arena, NEIGHBOUR},
    client::{Line, Way, tls},
};

/// A little longer than a handshake may take.
const PATIENCE: Duration = Duration::from_secs(12);
const TIMEOUT: Duration = Duration::from_secs(5);
const ASKED: &str = "signalbox_addresses_asked_total";
/// Where nobody has been before.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 23);

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    handshakes(suite)?;
    datagrams(suite)?;
    tokens(suite)
}

/// A socket that sends a handshake's first packets, and lets no more than a few answers through: what an address that
/// is forged gets, its owner does not understand.
#[derive(Debug)]
struct Deaf {
    socket: Arc<dyn AsyncUdpSocket>,
    sent: AtomicUsize,
    answered: AtomicUsize,
    /// Only so many datagrams are sent.
    packets_max: usize,
    packets: AtomicUsize,
    /// Only so many are let through.
    heard_max: usize,
    heard: AtomicUsize,
}

impl AsyncUdpSocket for Deaf {
    fn create_io_poller(self: Arc<Self>) -> std::pin::Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.packets.fetch_add(1, Relaxed) < self.packets_max {
            self.sent.fetch_add(transmit.contents.len(), Relaxed);
            return self.socket.try_send(transmit);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut std::task::Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [quinn::udp::RecvMeta],
    ) -> std::task::Poll<io::Result<usize>> {
        loop {
            match self.socket.poll_recv(cx, bufs, meta) {
                std::task::Poll::Ready(Ok(count)) => {
                    let bytes: usize = meta[..count].iter().map(|it| it.len).sum();
                    self.answered.fetch_add(bytes, Relaxed);
                    if count > 0 && self.heard.fetch_add(1, Relaxed) < self.heard_max {
                        return std::task::Poll::Ready(Ok(1));
                    }
                }
                other => return other,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }
}

/// Knocks with so many datagrams, hears so many answers, and says no more; returns how many bytes were sent, and how
/// many came back.
pub(super) async fn knock_and_leave(
    arena: &Arena,
    packets_max: usize,
    heard_max: usize,
) -> Result<(usize, usize)> {
    let runtime = quinn::default_runtime().context("no runtime")?;
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = runtime.wrap_udp_socket(socket)?;
    let (sent, answered, packets, heard) = Default::default();
    let deaf = Deaf { socket, sent, answered, packets_max, packets, heard_max, heard };
    let deaf = Arc::new(deaf);
    let abstracted: Arc<dyn AsyncUdpSocket> = Arc::clone(&deaf) as _;
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new_with_abstract_socket(config, None, abstracted, runtime)?;
    let tls = tls(arena, None, ALPN)?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting =
        endpoint.connect_with(config, arena.cluster.coordinator.ingest, "coordinator")?;
    // As long as the coordinator keeps it.
    let _late = timeout(PATIENCE, connecting).await.is_err();
    Ok((deaf.sent.load(Relaxed), deaf.answered.load(Relaxed)))
}

/// What is sent to an address that may be anybody's, and what becomes of one that proves itself and says no more.
fn handshakes(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let must = Must::new("it is asked to prove its address, in fewer bytes", &["fewer"], &[ASKED]);
    for packets in [1, 2] {
        let name = format!("a forged handshake of {packets} datagrams");
        suite.attempt(name, &must, async {
            let (sent, answered) = knock_and_leave(arena, packets, 0).await?;
            ensure!(sent > 0 && answered > 0, "{sent} bytes sent, {answered} came");
            let how = if answered < sent { "fewer" } else { "more" };
            Ok(format!("{how}: {answered} bytes for {sent}"))
        })?;
    }
    let must = Must::new(
        "it is let go of when its time is over",
        &["sent"],
        &["signalbox_handshakes_refused_total{reason=\"timed_out\"}"],
    );
    suite.attempt("a handshake that ends with the proof of its address", &must, async {
        let (sent, answered) = knock_and_leave(arena, 2, 1).await?;
        Ok(format!("sent {sent} bytes, and {answered} came"))
    })
}

/// What is answered to what begins no handshake.
fn datagrams(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let silent = Must::new("nothing larger comes back", &["no more comes back"], &[]);
    // A long header of an unknown version, one of the known with nothing in it, and a short one of nobody's connection.
    let mut unknown = vec![0xc0, 0xfa, 0xce, 0xb0, 0x0c, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    unknown.resize(1_200, 0);
    let mut initial = vec![0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x96];
    initial.resize(1_200, 7);
    let mut short = vec![0x40; 60];
    short.resize(60, 9);
    let small = initial[..100].to_vec();
    for (name, sent) in [
        ("a packet of an unknown version", unknown),
        ("an Initial that cannot be opened", initial),
        ("an Initial in a datagram that is too small", small),
        ("a packet of nobody's connection", short),
        ("a byte", vec![0]),
        ("noise", (0..1_400).map(|_| rand::random()).collect()),
    ] {
        suite.attempt(format!("{name}, as a datagram"), &silent, async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.send_to(&sent, arena.cluster.coordinator.ingest).await?;
            let (mut answered, mut datagram) = (0, vec![0; 1 << 16]);
            while let Ok(len) =
                timeout(Duration::from_millis(500), socket.recv(&mut datagram)).await
            {
                answered += len?;
            }
            let is_within = answered <= sent.len();
            let how = if is_within { "no more" } else { "more" };
            Ok(format!("{how} comes back: {answered} bytes for {}", sent.len()))
        })?;
    }
    Ok(())
}

/// Keeps the first token that comes, and shows it each time.
#[derive(Default)]
struct Copied(Mutex<Option<Bytes>>);

impl Copied {
    fn of(token: Bytes) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(token))))
    }

    fn token(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TokenStore for Copied {
    fn insert(&self, _server_name: &str, token: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(token);
    }

    fn take(&self, _server_name: &str) -> Option<Bytes> {
        self.token()
    }
}

/// Has an agent come from an address with a token; returns whether it is asked to prove its address nevertheless.
async fn come(arena: &Arena, from: Ipv4Addr, tokens: &Arc<Copied>) -> Result<&'static str> {
    let before = arena.numbers()?.of(ASKED);
    let member = arena.member(NEIGHBOUR)?;
    let line = Line::open(arena, Way::Udp, from).await?.with_tokens(Arc::clone(tokens) as _);
    let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
    let token = async {
        while connection.stats().frame_rx.new_token == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TIMEOUT, token).await.context("no token comes")?;
    Ok(if arena.numbers()?.of(ASKED) > before { "asked" } else { "believed" })
}

/// Proofs of an address that are used again, elsewhere, or that nobody gave.
fn tokens(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let must = Must::new("an address is asked, and asked again", &["asked"], &[ASKED]);
    let tokens = Arc::new(Copied::default());
    suite.attempt("an agent that comes for the first time", &must, async {
        Ok(come(arena, Ipv4Addr::LOCALHOST, &tokens).await?.to_owned())
    })?;
    let token = tokens.token().context("a token")?;
    let believed = Must::new("its address is not asked for again", &["believed"], &[]);
    let mut changed = token.to_vec();
    changed[0] ^= 1;
    for (name, from, token, must) in [
        ("a token from another address", ELSEWHERE, token.clone(), &must),
        ("a token with a flipped bit", Ipv4Addr::LOCALHOST, Bytes::from(changed), &must),
        ("a token of noise", Ipv4Addr::LOCALHOST, Bytes::from_static(&[7; 60]), &must),
        ("a token as it was given", Ipv4Addr::LOCALHOST, token.clone(), &believed),
        ("a token that was used", Ipv4Addr::LOCALHOST, token.clone(), &must),
    ] {
        suite.attempt(name, must, async {
            Ok(come(arena, from, &Copied::of(token)).await?.to_owned())
        })?;
    }
    Ok(())
}
