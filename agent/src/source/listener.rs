//! Takes messages that detectors send to this host, by UDP, TCP, or TLS over TCP (RFC 5425).
//!
//! A [`Listener`] is polled: it has no thread, timer or runtime. Nothing is answered in syslog's
//! protocols, so what lies in the sockets' buffers when the agent ends is lost, and the sender does
//! not know.
//!
//! # What happens to messages
//! ```text
//! faster than they are read    by TCP the sender waits; by UDP the system drops, and its count is
//!                              shown
//! a datagram                   is one message
//! over a connection            counted or a line each (RFC 6587), all as the first one is
//! out of step with its counts  what stands where a counted message should is a malformed record
//! message too long             cut to the longest record, the rest skipped
//! connection ends within one   the message is taken as it is
//! connection pauses within one for long, the same, and the connection is closed
//! too many connections         the newest is closed at once and counted
//! nothing but blanks           skipped
//! ```

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};

#[cfg(unix)]
use super::Wake;
use super::{
    Batch, Counts, Intake, ReadBuffer, Status,
    framing::{Frame, Framing},
};
use crate::limits::{
    CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, OPEN_RETRY_INTERVAL, READ_BYTES, READ_LINES_MAX,
    UNFINISHED_MAX,
};

/// Room that is asked for before messages are dropped, in bytes: 10,000 messages, a tenth of a
/// second of a flood. The system gives less where its own bound is lower.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// Bytes asked for in one read of a connection.
const CHUNK_BYTES: usize = 8 << 10;
/// How often the system's count of dropped datagrams is read.
const DROPPED_INTERVAL: Duration = Duration::from_secs(1);
/// After how long without a byte the system asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// By what messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Loads the TLS settings, again whenever the address is bound.
pub type LoadTls = Box<dyn Fn() -> Result<Arc<ServerConfig>, String> + Send>;

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { listener: TcpListener, tls: Option<Arc<ServerConfig>>, connections: Vec<Connection> },
}

/// A connection's bytes, as they are sent or within TLS.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

#[derive(Debug)]
struct Connection<S = Stream> {
    stream: S,
    /// What was read and not handed out.
    pending: Vec<u8>,
    framing: Framing,
    /// When something came last.
    heard_at: Instant,
    /// Whether the other end will send no more.
    is_over: bool,
    /// Whether a whole message may be pending.
    is_ready: bool,
}

/// Listens at one address.
pub struct Listener {
    transport: Transport,
    load_tls: Option<LoadTls>,
    address: SocketAddr,
    socket: Option<Socket>,
    /// Which connection is read next.
    turn: usize,
    retry_at: Option<Instant>,
    dropped_at: Option<Instant>,
    /// What was dropped by the sockets before this one.
    dropped_before: u64,
    status: Status,
    counts: Counts,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        write!(f, "{scheme}://{}", self.local_address().unwrap_or(self.address))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.to_string()).finish_non_exhaustive()
    }
}

impl Listener {
    /// Returns a listener for datagrams; one that cannot listen yet says so in its status.
    #[must_use]
    pub fn udp(address: SocketAddr) -> Self {
        Self::new(Transport::Udp, address, None)
    }

    /// Returns a listener for connections; one that cannot listen yet says so in its status.
    #[must_use]
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(Transport::Tcp, address, None)
    }

    /// Returns a listener for connections within TLS; one that cannot listen yet, or has no settings,
    /// says so in its status.
    #[must_use]
    pub fn tls(address: SocketAddr, load: LoadTls) -> Self {
        Self::new(Transport::Tls, address, Some(load))
    }

    fn new(transport: Transport, address: SocketAddr, load_tls: Option<LoadTls>) -> Self {
        let mut listener = Self {
            transport,
            load_tls,
            address,
            socket: None,
            turn: 0,
            retry_at: None,
            dropped_at: None,
            dropped_before: 0,
            status: Status::Reading,
            counts: Counts::default(),
        };
        listener.bind();
        listener
    }

    /// Returns the address that it listens at, if it does: with the port that the system chose where
    /// none was named.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self.socket.as_ref()? {
            Socket::Udp(socket) => socket.local_addr().ok(),
            Socket::Tcp { listener, .. } => listener.local_addr().ok(),
        }
    }

    fn bind(&mut self) {
        let bound = match (self.transport, &self.load_tls) {
            (Transport::Udp, _) => bind_udp(self.address),
            (Transport::Tcp | Transport::Tls, None) => bind_tcp(self.address, None),
            (Transport::Tcp | Transport::Tls, Some(load)) => {
                load().map_err(io::Error::other).and_then(|tls| bind_tcp(self.address, Some(tls)))
            }
        };
        match bound {
            Ok(socket) => {
                self.socket = Some(socket);
                self.status = Status::Reading;
            }
            Err(error) => self.status = Status::Unreadable(error.to_string()),
        }
    }

    fn count_dropped(&mut self, now: Instant) {
        let Some(Socket::Udp(socket)) = &self.socket else { return };
        if self.dropped_at.is_some_and(|at| now.duration_since(at) < DROPPED_INTERVAL) {
            return;
        }
        self.dropped_at = Some(now);
        if let Some(dropped) = dropped(socket) {
            self.counts.dropped = self.dropped_before + dropped;
        }
    }
}

impl Intake for Listener {
    fn label(&self) -> String {
        self.to_string()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes new connections. Where it cannot listen, it tries again after [`OPEN_RETRY_INTERVAL`].
    fn poll(&mut self, now: Instant) -> bool {
        if self.socket.is_none() {
            if self.retry_at.is_some_and(|at| now < at) {
                return false;
            }
            self.retry_at = Some(now + OPEN_RETRY_INTERVAL);
            self.bind();
        }
        self.count_dropped(now);
        match &mut self.socket {
            None => false,
            Some(Socket::Udp(socket)) => !would_block(socket.peek_from(&mut [0])),
            Some(Socket::Tcp { listener, tls, connections }) => {
                self.status = match accept(listener, tls.as_ref(), connections, now) {
                    Ok(()) => Status::Reading,
                    Err(error) => Status::Unreadable(error.to_string()),
                };
                let is_ready = connections.iter_mut().any(|connection| connection.poll(now));
                // While something is ready, reading it may make room.
                if !is_ready && connections.len() == CONNECTIONS_MAX {
                    self.counts.refused += refuse(listener);
                }
                is_ready
            }
        }
    }

    #[cfg(unix)]
    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        match &self.socket {
            None => {}
            Some(Socket::Udp(socket)) => wakes(Wake::Readable(socket.as_fd())),
            Some(Socket::Tcp { listener, connections, .. }) => {
                wakes(Wake::Readable(listener.as_fd()));
                connections.iter().for_each(|it| wakes(Wake::Readable(it.stream.as_fd())));
            }
        }
    }

    /// Where the socket cannot be read, the next poll opens it anew.
    fn read_batch<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut ReadBuffer,
        _bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        buffer.clear();
        let read = match &mut self.socket {
            None => Ok(()),
            Some(Socket::Udp(socket)) => {
                read_datagrams(|room| socket.recv_from(room).map(|(len, _)| len), buffer)
            }
            Some(Socket::Tcp { connections, .. }) => {
                self.counts.over_long += read_connections(connections, &mut self.turn, now, buffer);
                Ok(())
            }
        };
        if let Err(error) = read {
            self.dropped_at = None;
            self.count_dropped(now);
            self.dropped_before = self.counts.dropped;
            self.socket = None;
            self.status = Status::Unreadable(error.to_string());
            return Err(error);
        }
        let batch = Batch::new(buffer, 0);
        self.counts.count(&batch);
        Ok(batch)
    }

    fn is_live(&self) -> bool {
        true
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<Socket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Less room is no reason not to listen.
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap_or_default();
    Ok(Socket::Udp(socket))
}

fn bind_tcp(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Socket> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Socket::Tcp { listener, tls, connections: Vec::new() })
}

fn would_block<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
    })
}

/// Takes the connections that wait, as many as there is room for.
fn accept(
    listener: &TcpListener,
    tls: Option<&Arc<ServerConfig>>,
    connections: &mut Vec<Connection>,
    now: Instant,
) -> io::Result<()> {
    while connections.len() < CONNECTIONS_MAX {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The other end went away again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        stream.set_nonblocking(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let session = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        connections.push(Connection {
            stream,
            pending: Vec::new(),
            framing: Framing::default(),
            heard_at: now,
            is_over: false,
            is_ready: false,
        });
    }
    Ok(())
}

/// Closes the connections that wait; returns how many.
fn refuse(listener: &TcpListener) -> u64 {
    let waiting = std::iter::from_fn(|| listener.accept().ok()).take(CONNECTIONS_MAX);
    waiting.map(drop).count() as u64
}

/// Takes the datagrams that `receive` gives.
fn read_datagrams(
    mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    buffer: &mut ReadBuffer,
) -> io::Result<()> {
    // Empty ones take no room, and must not keep it here.
    for _ in 0..READ_LINES_MAX {
        let Some(room) = buffer.room(DATAGRAM_BYTES_MAX) else { break };
        match receive(room) {
            Ok(len) => buffer.took(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // What came before it is handed out first.
            Err(_) if !buffer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives each connection a turn, beginning with the one whose turn it is; returns how many messages
/// were cut.
fn read_connections(
    connections: &mut Vec<Connection>,
    turn: &mut usize,
    now: Instant,
    buffer: &mut ReadBuffer,
) -> u64 {
    let mut over_long = 0;
    for step in 0..connections.len() {
        let index = (*turn + step) % connections.len();
        let (cut, has_room) = connections[index].read(now, buffer);
        over_long += cut;
        if !has_room {
            *turn = index + 1;
            break;
        }
    }
    connections.retain(|connection| !connection.is_over || connection.is_ready);
    *turn = if connections.is_empty() { 0 } else { *turn % connections.len() };
    over_long
}

impl Connection {
    /// Returns whether there is something to read, or an end to be made.
    fn poll(&mut self, now: Instant) -> bool {
        if self.is_ready || self.stream.is_readable() {
            return true;
        }
        // Only with nothing left to read: what came while nobody polled is not its sender's pause.
        let is_unfinished = !self.pending.is_empty() || self.stream.is_handshaking();
        if is_unfinished && now.duration_since(self.heard_at) >= UNFINISHED_MAX {
            self.is_over = true;
            self.is_ready = true;
        }
        self.is_ready
    }
}

impl Stream {
    /// Returns whether a read gives something, an end, or an error.
    fn is_readable(&mut self) -> bool {
        match self {
            Self::Plain(stream) => !would_block(stream.peek(&mut [0])),
            Self::Tls(stream) => {
                let decrypted = stream.conn.process_new_packets();
                // An error is met again by the read.
                decrypted.map_or(true, |state| state.plaintext_bytes_to_read() > 0)
                    || !would_block(stream.sock.peek(&mut [0]))
            }
        }
    }

    fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.conn.is_handshaking())
    }
}

#[cfg(unix)]
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl<S: io::Read> Connection<S> {
    /// Reads what is there, as much as fits the buffer; returns how many messages were cut, and
    /// whether the buffer still had room.
    fn read(&mut self, now: Instant, buffer: &mut ReadBuffer) -> (u64, bool) {
        let (mut over_long, mut taken) = (0, 0);
        loop {
            let (cut, has_room) = self.hand_out(buffer);
            over_long += cut;
            self.is_ready = !has_room;
            // What is skipped takes no room, and must not keep it here.
            if !has_room || self.is_over || taken >= READ_BYTES {
                return (over_long, has_room);
            }
            let filled = self.pending.len();
            self.pending.reserve_exact(CHUNK_BYTES);
            self.pending.resize(filled + CHUNK_BYTES, 0);
            let read = self.stream.read(&mut self.pending[filled..]);
            self.pending.truncate(filled + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => self.is_over = true,
                Ok(len) => {
                    taken += len;
                    self.heard_at = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (over_long, true);
                }
                // Broken off: what came before is as good as from one that ended.
                Err(_) => self.is_over = true,
            }
        }
    }

    /// Puts the whole messages that are pending into the buffer.
    fn hand_out(&mut self, buffer: &mut ReadBuffer) -> (u64, bool) {
        let (mut done, mut over_long, mut has_room) = (0, 0, true);
        loop {
            let rest = &self.pending[done..];
            let before = self.framing;
            match self.framing.next(rest, self.is_over) {
                Frame::More => break,
                Frame::Skip(count) => done += count,
                Frame::Message { head, len, consumed, cut, stray } => {
                    let message = &rest[head..head + len];
                    let is_taken = match stray {
                        true => buffer.push_stray(message),
                        false => buffer.push(message, cut),
                    };
                    if !is_taken {
                        self.framing = before;
                        has_room = false;
                        break;
                    }
                    done += consumed;
                    over_long += u64::from(cut);
                }
            }
        }
        self.pending.drain(..done);
        if self.pending.is_empty() {
            self.pending.shrink_to(CHUNK_BYTES);
        }
        (over_long, has_room)
    }
}

/// Returns how many datagrams the system dropped because nobody read them in time; none where it
/// does not say.
#[cfg(target_os = "linux")]
fn dropped(socket: &UdpSocket) -> Option<u64> {
    use std::{fs, os::fd::AsRawFd as _};
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
    let table =
        if socket.local_addr().ok()?.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    let table = fs::read_to_string(table).ok()?;
    let columns = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        (columns.get(9) == Some(&inode.as_str())).then(|| columns.last()?.parse().ok()).flatten()
    };
    table.lines().find_map(columns)
}

#[cfg(not(target_os = "linux"))]
fn dropped(_: &UdpSocket) -> Option<u64> {
    None
}

const _: () = assert!(READ_BYTES > DATAGRAM_BYTES_MAX, "a datagram fits the buffer");

#[cfg(test)]
mod tests;
