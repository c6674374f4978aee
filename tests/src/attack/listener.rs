//! How one may knock: too much, too little, too slowly, and too often.
//!
//! Whatever is tried, an agent that comes meanwhile is served.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rustls::ClientConfig;
use shared::{
    alert::Alert,
    block::BlockBuilder,
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX},
    wire::ALPN,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    Must, Suite,
    addresses::knock_and_leave,
    arena::{Arena, NEIGHBOUR},
    client::{Line, Session, Way, tls, tunnel},
};

/// A little longer than a handshake may take.
const PATIENCE: Duration = Duration::from_secs(16);
/// Most of the handshakes that there may be at once.
const HALF_OPEN: usize = 400;
/// More handshakes over TCP than there may be at once.
const TUNNELS: usize = 600;

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
    let record = |len: u16| [&[22, 3, 1][..], &len.to_be_bytes(), &[7; 200]].concat();
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
            let closed = streams.iter_mut().map(until_closed);
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

/// More handshakes than there may be.
fn floods(suite: &mut Suite<'_>) -> Result<()> {
    let arena = suite.arena;
    let forged = Must::new(
        "each is asked to prove its address, and others are served meanwhile",
        &["knocked; an agent was served"],
        &["signalbox_addresses_asked_total"],
    );
    let proven = Must::new(
        "others are served meanwhile, and the flood is let go of",
        &["knocked; an agent was served"],
        &["signalbox_handshakes_refused_total{reason=\"timed_out\"}"],
    );
    for (name, packets, heard, must) in [
        ("four hundred forged handshakes over UDP", 1, 0, forged),
        ("four hundred half-open handshakes over UDP", 2, 1, proven),
    ] {
        suite.attempt(
            name,
            &must,
            beside(arena, async {
                let knocks = (0..HALF_OPEN).map(|_| knock_and_leave(arena, packets, heard));
                let knocks = futures_util::future::join_all(knocks).await;
                knocks.into_iter().collect::<Result<Vec<_>>>()?;
                Ok("knocked".to_owned())
            }),
        )?;
    }
    let must = Must::new(
        "what is too much is refused, and agents are served over UDP",
        &["knocked; served"],
        &["signalbox_tunnels_refused_total{reason=\"too_many\"}"],
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
