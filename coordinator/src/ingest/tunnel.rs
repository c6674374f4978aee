//! Agents whose networks let no UDP out: their QUIC comes through TLS over TCP (see [`shared::tunnel`]).
//!
//! All such connections together are one socket to quinn, and the TCP peer's address stands for the agent's. What is
//! met behind it is met as over UDP; here nothing is known of who it is.
//!
//! # Limits
//! As many connections as agents, as many handshakes at once as over UDP, each within its time. Through each tunnel one
//! connection is met: the tunnel counts as a handshake until somebody is let in through it, and ends with that. One
//! through which nothing comes for as long as QUIC would wait is closed. What an agent does not take is dropped, as
//! UDP would drop it, so that none holds up another; what comes faster than it is looked at waits in the network.

use std::{
    collections::HashMap,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use shared::tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX, TunnelError, put, take};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{LINGER, Shared, doors::Place};
use crate::{
    clock,
    counters::{Counters, TunnelRefused},
    limits::{
        ACCEPT_PAUSE, CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, IDLE_TIMEOUT,
        TUNNEL_COME_MAX, TUNNEL_QUEUE,
    },
};

/// Datagrams that are written with one call.
const WRITTEN_MAX: usize = 8;

/// All tunnels, as quinn sees them: a socket.
#[derive(Debug)]
pub(super) struct Tunnels {
    local: SocketAddr,
    links: Mutex<HashMap<SocketAddr, Out>>,
    come: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    counters: Arc<Counters>,
}

/// The way to a peer.
#[derive(Debug)]
struct Out {
    datagrams: mpsc::Sender<Bytes>,
    /// The one connection that may come through it, until that is met.
    way: Option<Way>,
}

/// What carries a connection; its tunnel ends when this is dropped.
#[derive(Debug)]
pub(super) struct Way {
    is_let_in: CancellationToken,
    _ended: DropGuard,
}

/// What holds a tunnel's place among the handshakes.
type Places = (OwnedSemaphorePermit, Place);

impl Way {
    /// Says that somebody is let in through the tunnel.
    pub(super) fn let_in(&self) {
        self.is_let_in.cancel();
    }
}

/// Takes the connections.
pub(super) struct Gate {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    tunnels: Arc<Tunnels>,
    inbox: mpsc::Sender<(SocketAddr, Bytes)>,
}

/// A tunnel that is known, until it is dropped.
struct Link<'t> {
    tunnels: &'t Tunnels,
    from: SocketAddr,
    datagrams: mpsc::Sender<Bytes>,
}

/// There is always room: what a tunnel has none for is dropped.
#[derive(Debug)]
struct Open;

impl Gate {
    /// Returns what takes connections from `listener`, and the socket that they are to quinn.
    ///
    /// # Errors
    /// The system does not say where it listens.
    pub(super) fn new(
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, Arc<Tunnels>)> {
        let (inbox, come) = mpsc::channel(TUNNEL_COME_MAX);
        let tunnels = Arc::new(Tunnels {
            local: listener.local_addr()?,
            links: Mutex::default(),
            come: Mutex::new(come),
            counters,
        });
        let acceptor = TlsAcceptor::from(tls);
        Ok((Self { listener, acceptor, tunnels: Arc::clone(&tunnels), inbox }, tunnels))
    }

    /// Takes connections until `cancel`; those that are open are carried for as long as `tasks` are waited for.
    pub(super) async fn run(
        self,
        shared: Arc<Shared>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let gone = cancel.clone();
        while let Some(accepted) = cancel.run_until_cancelled(self.listener.accept()).await {
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection over TCP failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(knocked) = shared.tunnel_doors.knock(from.ip(), clock::instant()) else {
                self.tunnels.counters.tunnels_refused.add_one(TunnelRefused::TooMany);
                continue;
            };
            let is_full = self.tunnels.links().len() >= CONNECTIONS_MAX;
            let Some(place) = Arc::clone(&handshakes).try_acquire_owned().ok().filter(|_| !is_full)
            else {
                self.tunnels.counters.tunnels_refused.add_one(TunnelRefused::Full);
                continue;
            };
            let (acceptor, inbox) = (self.acceptor.clone(), self.inbox.clone());
            let (tunnels, gone) = (Arc::clone(&self.tunnels), gone.clone());
            tasks.spawn(async move {
                let handshake = timeout(HANDSHAKE_TIMEOUT, shake_hands(acceptor, stream));
                let Some(met) = gone.run_until_cancelled(handshake).await else { return };
                let refused = |reason| tunnels.counters.tunnels_refused.add_one(reason);
                match met {
                    Ok(Ok(stream)) => tunnels.carry(stream, from, inbox, (place, knocked)).await,
                    Ok(Err(error)) => {
                        tracing::debug!(%from, %error, "handshake over TCP failed");
                        refused(TunnelRefused::Tls);
                    }
                    Err(_late) => refused(TunnelRefused::TimedOut),
                }
            });
        }
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?; // an ack is not to wait for the next
    let stream = acceptor.accept(stream).await?;
    match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_TUNNEL) => Ok(stream),
        _ => Err(io::Error::other("it speaks no protocol of ours")),
    }
}

impl Tunnels {
    fn links(&self) -> MutexGuard<'_, HashMap<SocketAddr, Out>> {
        // Every change is one insertion or removal: a panic leaves nothing broken.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the way of the connection that comes from this address; `None` if one has come already.
    pub(super) fn way_of(&self, from: SocketAddr) -> Option<Way> {
        self.links().get_mut(&from).and_then(|out| out.way.take())
    }

    /// Carries datagrams both ways until the connection ends.
    async fn carry(
        &self,
        stream: TlsStream<TcpStream>,
        from: SocketAddr,
        inbox: mpsc::Sender<(SocketAddr, Bytes)>,
        places: Places,
    ) {
        let (read, write) = tokio::io::split(stream);
        let (datagrams, outbox) = mpsc::channel(TUNNEL_QUEUE);
        let (is_let_in, ended) = (CancellationToken::new(), CancellationToken::new());
        let way = Way { is_let_in: is_let_in.clone(), _ended: ended.clone().drop_guard() };
        self.links().insert(from, Out { datagrams: datagrams.clone(), way: Some(way) });
        let _link = Link { tunnels: self, from, datagrams };
        let _open = self.counters.tunnels_open.hold();
        self.counters.tunnels_accepted.add_one();
        let ending = tokio::select! {
            ending = bring(read, from, inbox) => ending,
            ending = send(write, outbox) => ending,
            () = linger(ended) => Ok(()),
            () = nobody_comes(places, is_let_in) => {
                self.counters.tunnels_refused.add_one(TunnelRefused::TimedOut);
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        let cause = ending.as_ref().err().and_then(io::Error::get_ref);
        if cause.is_some_and(|cause| cause.is::<TunnelError>()) {
            self.counters.tunnels_refused.add_one(TunnelRefused::Framing);
        }
        tracing::debug!(%from, ?ending, "connection over TCP has ended");
    }
}

/// Waits until it is too late for somebody to be let in; for ever once somebody was.
async fn nobody_comes(places: Places, is_let_in: CancellationToken) {
    if timeout(HANDSHAKE_TIMEOUT, is_let_in.cancelled()).await.is_ok() {
        drop(places);
        std::future::pending().await
    }
}

/// Waits until what a tunnel carried is over, and its last packets have left.
async fn linger(ended: CancellationToken) {
    ended.cancelled().await;
    sleep(LINGER).await;
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let mut links = self.tunnels.links();
        // The next connection may have come from the same port already.
        let is_own = |out: &Out| out.datagrams.same_channel(&self.datagrams);
        if links.get(&self.from).is_some_and(is_own) {
            links.remove(&self.from);
        }
    }
}

/// Brings what comes to the socket.
async fn bring(
    mut stream: ReadHalf<TlsStream<TcpStream>>,
    from: SocketAddr,
    inbox: mpsc::Sender<(SocketAddr, Bytes)>,
) -> io::Result<()> {
    let mut come = BytesMut::new();
    loop {
        while let Some(datagram) = take(&mut come).map_err(io::Error::other)? {
            if inbox.send((from, datagram)).await.is_err() {
                return Ok(());
            }
        }
        come.reserve(DATAGRAM_BYTES_MAX.into());
        match timeout(IDLE_TIMEOUT, stream.read_buf(&mut come)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_silent) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Sends what the socket is given.
async fn send(
    mut stream: WriteHalf<TlsStream<TcpStream>>,
    mut outbox: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let (mut datagrams, mut bytes) = (Vec::new(), Vec::new());
    while outbox.recv_many(&mut datagrams, WRITTEN_MAX).await > 0 {
        datagrams.drain(..).for_each(|datagram| put(&datagram, &mut bytes));
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        timeout(IDLE_TIMEOUT, written).await.map_err(|_stuck| io::ErrorKind::TimedOut)??;
        bytes.clear();
    }
    Ok(())
}

impl AsyncUdpSocket for Tunnels {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Open)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let links = self.links();
        let Some(out) = links.get(&transmit.destination) else { return Ok(()) };
        if out.datagrams.try_send(Bytes::copy_from_slice(transmit.contents)).is_err() {
            self.counters.tunnel_datagrams_dropped.add_one();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Poll::Ready(Some((addr, datagram))) = come.poll_recv(cx) else { break };
            let len = datagram.len().min(buf.len());
            buf[..len].copy_from_slice(&datagram[..len]);
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl UdpPoller for Open {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("tunnels", &self.tunnels).finish_non_exhaustive()
    }
}
