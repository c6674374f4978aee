//! QUIC over TCP, for networks that let no UDP out: a socket whose datagrams go through a TLS connection.
//!
//! quinn sees a socket like any other, so that nothing of what is carried differs. When the way is full, quinn waits
//! with its next packet, and packs the most urgent stream's bytes into it then: for that the system may keep little
//! that is not sent ([`TUNNEL_UNSENT_BYTES`]).

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rustls::{ClientConfig, pki_types::ServerName};
use shared::{
    limits::GREETING_TIMEOUT,
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX, put, take},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, PollSender};

use crate::limits::{TUNNEL_QUEUE, TUNNEL_UNSENT_BYTES};

/// Datagrams that are written with one call.
const WRITTEN_MAX: usize = 4;

/// A TLS connection that carries datagrams. They are carried until it is dropped.
#[derive(Debug)]
pub(super) struct Tunnel {
    lost: CancellationToken,
    /// Ended when it is dropped.
    _carriers: JoinSet<()>,
}

/// What quinn takes for a UDP socket.
#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    out: mpsc::Sender<Bytes>,
    come: Mutex<mpsc::Receiver<Bytes>>,
}

/// Waits until there is room for a datagram.
struct Room(PollSender<Bytes>);

impl Tunnel {
    /// Connects to `remote`; returns the socket, too. `tls` is what is dialled with over UDP.
    ///
    /// # Errors
    /// Whatever the system or TLS says, and that there is no answer in time.
    pub(super) async fn open(
        remote: SocketAddr,
        server_name: &str,
        tls: &ClientConfig,
    ) -> io::Result<(Self, Arc<dyn AsyncUdpSocket>)> {
        let dialled = timeout(GREETING_TIMEOUT, connect(remote, server_name, tls)).await;
        let (stream, local) = dialled.map_err(|_late| io::ErrorKind::TimedOut)??;
        let (read, write) = tokio::io::split(stream);
        let (out, outbox) = mpsc::channel(WRITTEN_MAX);
        let (inbox, come) = mpsc::channel(TUNNEL_QUEUE);
        let (lost, mut carriers) = (CancellationToken::new(), JoinSet::new());
        let ended = lost.clone();
        carriers.spawn(async move {
            let ending = tokio::select! {
                ending = bring(read, inbox) => ending,
                ending = send(write, outbox) => ending,
            };
            tracing::debug!(%remote, ?ending, "tunnel over TCP has ended");
            ended.cancel();
        });
        let socket = Arc::new(Socket { local, remote, out, come: Mutex::new(come) });
        Ok((Self { lost, _carriers: carriers }, socket))
    }

    /// Waits until the connection is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

async fn connect(
    remote: SocketAddr,
    server_name: &str,
    tls: &ClientConfig,
) -> io::Result<(TlsStream<TcpStream>, SocketAddr)> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    let stream = TcpStream::connect(remote).await?;
    stream.set_nodelay(true)?; // a datagram is not to wait for the next
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_notsent_lowat(TUNNEL_UNSENT_BYTES)?;
    #[cfg(not(target_os = "linux"))]
    SockRef::from(&stream).set_send_buffer_size(TUNNEL_UNSENT_BYTES as usize)?;
    let local = stream.local_addr()?;
    Ok((TlsConnector::from(Arc::new(tls)).connect(name, stream).await?, local))
}

/// Brings what comes to the socket.
async fn bring(
    mut from: ReadHalf<TlsStream<TcpStream>>,
    inbox: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut come = BytesMut::new();
    loop {
        while let Some(datagram) = take(&mut come).map_err(io::Error::other)? {
            if inbox.send(datagram).await.is_err() {
                return Ok(());
            }
        }
        come.reserve(DATAGRAM_BYTES_MAX.into());
        if from.read_buf(&mut come).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Sends what the socket is given.
async fn send(
    mut to: WriteHalf<TlsStream<TcpStream>>,
    mut outbox: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let (mut datagrams, mut bytes) = (Vec::new(), Vec::new());
    while outbox.recv_many(&mut datagrams, WRITTEN_MAX).await > 0 {
        datagrams.drain(..).for_each(|datagram| put(&datagram, &mut bytes));
        to.write_all(&bytes).await?;
        to.flush().await?;
        bytes.clear();
    }
    to.shutdown().await
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room(PollSender::new(self.out.clone())))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.out.try_send(Bytes::copy_from_slice(transmit.contents)) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            // Of a tunnel that is lost whoever uses it knows by another way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
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
            let datagram = match come.poll_recv(cx) {
                Poll::Ready(Some(datagram)) => datagram,
                Poll::Ready(None) | Poll::Pending => break,
            };
            let len = datagram.len().min(buf.len());
            buf[..len].copy_from_slice(&datagram[..len]);
            *meta = RecvMeta { addr: self.remote, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where nobody takes anything any more, nothing is to be waited for.
        if ready!(self.0.poll_reserve(cx)).is_ok() {
            self.0.abort_send();
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}
