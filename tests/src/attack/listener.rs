//! How one may knock: too much, too little, too slowly, too often, and in somebody else's name.
//!
//! Whatever is tried, an agent that comes meanwhile is served.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, UdpPoller, udp::Transmit};
use rustls::ClientConfig;
use shared::{
    alert::Alert,
    block::BlockBuilder,
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX},
    wire::ALPN,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    Must, Suite,
    arena::{Arena, NEIGHBOUR},
    client::{Line, Session, Way, tls, tunnel},
};

/// A little longer than a handshake may take.
const PATIENCE: Duration = Duration::from_secs(16);
/// More than may knock at once without having proved their addresses.
const HALF_OPEN: usize = 400;
/// More handshakes over TCP than there may be at once.
const TUNNELS: usize = 600;
/// What an address that has not proved itself may be sent, for each byte that came from it (RFC 9000, section 8.1).
const AMPLIFICATION_MAX: usize = 3;

const TLS: Must =
    Must::new("TLS refuses it", &["closed"], &["signalbox_tunnels_refused_total{reason=\"tls\"}"]);
const LATE: Must = Must::new(
    "it is closed when its time is over, and others are served meanwhile",
    &["closed; an agent was served"],
    &["signalbox_tunnels_refused_total{reason=\"timed_out\"}"],
);
const FRAMING: Must = Must::new(
    "the tunnel is closed",
    &["closed"],
    &["signalbox_tunnels_refused_total{reason=\"framing\"}"],
);

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    garbage(suite)?;
    tunnels(suite)?;
    hellos(suite)?;
    slow(suite)?;
    amplification(suite)?;
    floods(suite)
}

/// Has a new agent store a block; returns what came of it.
async fn serve(arena: &Arena, way: Way) -> Result<String> {
    let mut builder = BlockBuilder::new();
    builder.push(&Alert::default(), b"{}")?;
    let block: Bytes = builder.finish(1);
    let line = Line::open(arena, way, Ipv4Addr::LOCALHOST).await?;
    Session::open(&line, &arena.member(NEIGHBOUR)?).await?.store(&block).await
}

/// Does something for long, and has agents served meanwhile, over both ways.
async fn beside(arena: &Arena, tried: impl Future<Output = Result<String>>) -> Result<String> {
    let served = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for way in Way::ALL {
            let stored = timeout(Duration::from_secs(5), serve(arena, way)).await;
            let stored = stored.context("an agent waits")??;
            ensure!(stored == "acked 1", "an agent is told {stored}");
        }
        Ok("an agent was served")
    };
    let (tried, served) = tokio::join!(tried, served);
    Ok(format!("{}; {}", tried?, served?))
}

/// Reads until the other end closes.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<String> {
    let mut piece = vec![0; 4096];
    let closed = async { while let Ok(1..) = stream.read(&mut piece).await {} };
    Ok(if timeout(PATIENCE, closed).await.is_ok() { "closed" } else { "it stays open" }.to_owned())
}

async fn connect(arena: &Arena) -> Result<TcpStream> {
    Ok(TcpStream::connect(arena.cluster.coordinator.ingest).await?)
}

/// What is no TLS at the port of tunnels.
fn garbage(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let noise: Vec<u8> = (0..9_000).map(|_| rand::random()).collect();
    let record = |len: u16| [&[22, 3, 1][..], &len.to_be_bytes(), &vec![7; 200]].concat();
    let requests = [
        ("HTTP at the port of tunnels", b"GET /v1/cases HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("HTTP/2 at the port of tunnels", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("SSH at the port of tunnels", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("noise at the port of tunnels", noise),
        ("a record of no length", record(0)),
        ("a record longer than any", record(u16::MAX)),
        ("a datagram without TLS", [&200_u16.to_be_bytes()[..], &[7; 200]].concat()),
    ];
    for (name, sent) in requests {
        suite.attempt(name, &TLS, async {
            let mut stream = connect(arena).await?;
            let _closed = stream.write_all(&sent).await.is_err();
            // Whoever waits for more of a record learns that no more comes.
            let _closed = stream.shutdown().await.is_err();
            until_closed(&mut stream).await
        })?;
    }
    let protocols: [&[u8]; 4] = [b"", b"h2", b"http/1.1", ALPN];
    for alpn in protocols {
        let said = String::from_utf8_lossy(alpn);
        let tls = tls(arena, None, alpn)?;
        suite.attempt(format!("a tunnel of the protocol {said:?}"), &TLS, async {
            Ok(match tunnel(arena, &tls, Ipv4Addr::LOCALHOST).await {
                Ok(mut stream) => until_closed(&mut stream).await?,
                Err(error) => format!("closed: {error:#}"),
            })
        })?;
    }
    suite.attempt("a tunnel over TLS 1.2", &TLS, async {
        let mut old =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS12])?
                .with_root_certificates(Arc::clone(&arena.roots))
                .with_no_client_auth();
        old.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
        Ok(match tunnel(arena, &Arc::new(old), Ipv4Addr::LOCALHOST).await {
            Ok(_) => "it is carried".to_owned(),
            Err(error) => format!("closed: {error:#}"),
        })
    })
}

/// Tunnels that carry what is no datagram.
fn tunnels(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let len = |len: u16| len.to_be_bytes().to_vec();
    let good = [len(1_200), vec![0x40; 1_200]].concat();
    for (name, sent) in [
        ("a datagram of no length", len(0)),
        ("a datagram a byte too long", len(DATAGRAM_BYTES_MAX + 1)),
        ("a datagram of 64 KiB", len(u16::MAX)),
        ("a datagram of no length behind a good one", [good, len(0)].concat()),
    ] {
        suite.attempt(name, &FRAMING, async {
            let tls = tls(arena, None, ALPN_TUNNEL)?;
            let mut stream = tunnel(arena, &tls, Ipv4Addr::LOCALHOST).await?;
            let _closed = stream.write_all(&sent).await.is_err();
            let _closed = stream.flush().await.is_err();
            until_closed(&mut stream).await
        })?;
    }
    let must =
        Must::new("it is dropped, and others are served", &["sent; an agent was served"], &[]);
    suite.attempt(
        "ten megabytes of noise through a tunnel",
        &must,
        beside(arena, async {
            let tls = tls(arena, None, ALPN_TUNNEL)?;
            let mut stream = tunnel(arena, &tls, Ipv4Addr::LOCALHOST).await?;
            for _ in 0..2_500 {
                let mut datagram = len(DATAGRAM_BYTES_MAX);
                datagram.extend((0..DATAGRAM_BYTES_MAX).map(|_| rand::random::<u8>()));
                stream.write_all(&datagram).await?;
            }
            stream.flush().await?;
            Ok("sent".to_owned())
        }),
    )
}

/// ClientHellos that are too large, over UDP and TCP.
fn hellos(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let member = arena.member(NEIGHBOUR)?;
    // Names of protocols are 255 bytes at most, and their list 64 KiB.
    let large = |count: usize| {
        let mut tls = (*member.tls).clone();
        tls.alpn_protocols = (0..count).map(|number| format!("{number:0>250}").into()).collect();
        Arc::new(tls)
    };
    for (size, count) in [("30 kB", 120), ("60 kB", 250)] {
        let must = Must::new(
            "the handshake fails",
            &["tls", "transport", "lost"],
            &["signalbox_handshakes_refused_total"],
        );
        for way in Way::ALL {
            let name = format!("a ClientHello of {size}, {}", way.as_str());
            suite.attempt(name, &must, async {
                let line = Line::open(arena, way, Ipv4Addr::LOCALHOST).await?;
                Ok(match timeout(PATIENCE, line.dial(&large(count))).await {
                    Ok(dialled) => match dialled? {
                        Ok(_) => "it is taken".to_owned(),
                        Err(ending) => ending,
                    },
                    Err(late) => format!("lost: {late}"),
                })
            })?;
        }
        suite.attempt(format!("a ClientHello of {size}, over TCP"), &TLS, async {
            Ok(match tunnel(arena, &large(count), Ipv4Addr::LOCALHOST).await {
                Ok(_) => "it is carried".to_owned(),
                Err(error) => format!("closed: {error:#}"),
            })
        })?;
    }
    Ok(())
}

/// Handshakes that do not go on.
fn slow(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    suite.attempt(
        "a hundred silent connections over TCP",
        &LATE,
        beside(arena, async {
            let mut streams = Vec::new();
            for _ in 0..100 {
                streams.push(connect(arena).await?);
            }
            let closed = streams.iter_mut().map(|stream| until_closed(stream));
            let closed = futures_util::future::join_all(closed).await;
            let open = closed.into_iter().collect::<Result<Vec<_>>>()?;
            let open = open.iter().filter(|it| *it != "closed").count();
            Ok(if open == 0 { "closed".to_owned() } else { format!("{open} stay open") })
        }),
    )?;
    suite.attempt(
        "a ClientHello of a byte a second",
        &LATE,
        beside(arena, async {
            let mut stream = connect(arena).await?;
            let start = Instant::now();
            for byte in [22, 3, 1, 1, 0].into_iter().chain([1; 100]) {
                if stream.write_all(&[byte]).await.is_err() || start.elapsed() > PATIENCE {
                    break;
                }
                let mut piece = [0; 16];
                let read = timeout(Duration::from_secs(1), stream.read(&mut piece)).await;
                if matches!(read, Ok(Ok(0) | Err(_))) {
                    return Ok("closed".to_owned());
                }
            }
            Ok(format!("it stays open for {} s", start.elapsed().as_secs()))
        }),
    )
}

/// A socket that sends a handshake's first packets, and lets nothing that is answered through: the address is forged.
#[derive(Debug)]
struct Forged {
    socket: Arc<dyn AsyncUdpSocket>,
    sent: AtomicUsize,
    answered: AtomicUsize,
    /// Only so many datagrams are sent.
    packets_max: usize,
    packets: AtomicUsize,
}

impl AsyncUdpSocket for Forged {
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

/// Knocks once as somebody whose address is forged; returns how many bytes were sent and how many came back.
async fn forge(arena: &Arena, packets_max: usize) -> Result<(usize, usize)> {
    let runtime = quinn::default_runtime().context("no runtime")?;
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = runtime.wrap_udp_socket(socket)?;
    let (sent, answered, packets) = Default::default();
    let forged = Arc::new(Forged { socket, sent, answered, packets_max, packets });
    let abstracted: Arc<dyn AsyncUdpSocket> = Arc::clone(&forged) as _;
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new_with_abstract_socket(config, None, abstracted, runtime)?;
    let tls = tls(arena, None, ALPN)?;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting =
        endpoint.connect_with(config, arena.cluster.coordinator.ingest, "coordinator")?;
    // As long as the coordinator keeps it.
    let _late = timeout(Duration::from_secs(12), connecting).await.is_err();
    Ok((forged.sent.load(Relaxed), forged.answered.load(Relaxed)))
}

/// What is sent to an address that has not proved that it is anybody's.
fn amplification(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let must = Must::new(
        "no more than three bytes come back for each, until its time is over",
        &["within three times"],
        &["signalbox_handshakes_refused_total{reason=\"timed_out\"}"],
    );
    for packets in [1, 2] {
        let name = format!("a forged handshake of {packets} datagrams");
        suite.attempt(name, &must, async {
            let (sent, answered) = forge(arena, packets).await?;
            ensure!(sent > 0 && answered > 0, "{sent} bytes sent, {answered} came");
            let is_within = answered <= AMPLIFICATION_MAX * sent;
            let how = if is_within { "within" } else { "over" };
            Ok(format!("{how} three times: {answered} bytes for {sent}"))
        })?;
    }
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

/// More handshakes than there may be.
fn floods(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let must = Must::new(
        "others are served meanwhile, and the flood is let go of",
        &["knocked; an agent was served"],
        &["signalbox_handshakes_refused_total"],
    );
    suite.attempt(
        "four hundred half-open handshakes over UDP",
        &must,
        beside(arena, async {
            let forged = (0..HALF_OPEN).map(|_| forge(arena, 1));
            let forged = futures_util::future::join_all(forged).await;
            forged.into_iter().collect::<Result<Vec<_>>>()?;
            Ok("knocked".to_owned())
        }),
    )?;
    let must = Must::new(
        "what is too much is refused, and agents are served over UDP",
        &["knocked; served"],
        &["signalbox_tunnels_refused_total{reason=\"full\"}"],
    );
    suite.attempt("six hundred half-open handshakes over TCP", &must, async {
        let mut streams = Vec::new();
        for _ in 0..TUNNELS {
            streams.push(connect(arena).await?);
        }
        let stored = serve(arena, Way::Udp).await?;
        drop(streams);
        Ok(format!("knocked; {}", if stored == "acked 1" { "served" } else { &stored }))
    })?;
    let must = Must::new("an agent is served through a tunnel", &["acked 1"], &[]);
    suite.attempt("after all of that", &must, async {
        // What was half-open is closed by its ends.
        tokio::time::sleep(Duration::from_secs(1)).await;
        serve(arena, Way::Tunnel).await
    })
}
