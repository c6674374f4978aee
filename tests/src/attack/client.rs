//! The attacker's ends of connections: over UDP or through a tunnel, with any certificate, and any bytes as frames.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use certs::{Leaf, certificates_of_pem};
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    TokenMemoryCache, TokenStore, TransportConfig, crypto::rustls::QuicClientConfig,
};
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde::de::DeserializeOwned;
use shared::{
    context::ContextVersion,
    ids::{BootId, Epoch, Lane, Seq},
    join::{JoinReply, JoinRequest, JoinSecret, encode_frame},
    limits::JOIN_FRAME_BYTES_MAX,
    renewal::{RenewReply, RenewRequest},
    tunnel::{ALPN_TUNNEL, DATAGRAM_BYTES_MAX, put, take},
    wire::{Frame, Hello, LEN_BYTES, LaneHead, WIRE_VERSION, Welcome, checked_len, codec},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::arena::{Arena, Member};
use crate::bench::client::{read, write};

/// Name in the coordinator's certificate.
const SERVER: &str = "coordinator";
/// Longer than a coordinator waits for a greeting or a handshake.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Codes by which QUIC says that TLS has failed: 0x100 and the alert's.
const TLS_CODES: std::ops::Range<u64> = 0x100..0x200;

/// How packets come to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Udp,
    Tunnel,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Udp, Self::Tunnel];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "over UDP",
            Self::Tunnel => "through a tunnel",
        }
    }
}

/// Where connections are opened from.
pub(super) struct Line {
    endpoint: Endpoint,
    to: SocketAddr,
    /// Proofs of the address that the coordinator gave; each is shown at the next handshake.
    tokens: Arc<dyn TokenStore>,
    /// What carries the packets of a tunnel; they end with it.
    _carriers: JoinSet<()>,
}

/// Returns the settings of TLS, with this certificate or none. What a server says of resumption is kept and used.
pub(super) fn tls(arena: &Arena, leaf: Option<&Leaf>, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(&arena.roots));
    let mut tls = match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain = certificates_of_pem(&leaf.chain_pem)?;
            let chain = chain.into_iter().map(CertificateDer::from).collect();
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    tls.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
    tls.enable_early_data = true;
    Ok(Arc::new(tls))
}

impl Line {
    /// Opens one from this address of the loopback.
    pub(super) async fn open(arena: &Arena, way: Way, from: Ipv4Addr) -> Result<Self> {
        let mut carriers = JoinSet::new();
        let to = match way {
            Way::Udp => arena.cluster.coordinator.ingest,
            Way::Tunnel => {
                let tls = tls(arena, None, ALPN_TUNNEL)?;
                let stream = tunnel(arena, &tls, from).await?;
                carry(stream, &mut carriers).await?
            }
        };
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(DATAGRAM_BYTES_MAX)?;
        let socket = std::net::UdpSocket::bind((from, 0))?;
        let runtime = quinn::default_runtime().context("no runtime")?;
        let endpoint = Endpoint::new(config, None, socket, runtime)?;
        let tokens = Arc::new(TokenMemoryCache::default());
        Ok(Self { endpoint, to, tokens, _carriers: carriers })
    }

    /// Shows these proofs of the address.
    pub(super) fn with_tokens(self, tokens: Arc<dyn TokenStore>) -> Self {
        Self { tokens, ..self }
    }

    /// Opens one over UDP.
    pub(super) async fn udp(arena: &Arena) -> Result<Self> {
        Self::open(arena, Way::Udp, Ipv4Addr::LOCALHOST).await
    }

    /// Begins a handshake.
    pub(super) fn knock(&self, tls: &Arc<ClientConfig>) -> Result<quinn::Connecting> {
        let crypto = QuicClientConfig::try_from(Arc::clone(tls))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport)).token_store(Arc::clone(&self.tokens));
        Ok(self.endpoint.connect_with(config, self.to, SERVER)?)
    }

    /// Connects; in TLS 1.3 that succeeds before the coordinator has looked at the certificate. What it says then is
    /// the inner result.
    pub(super) async fn dial(&self, tls: &Arc<ClientConfig>) -> Result<Result<Connection, String>> {
        Ok(self.knock(tls)?.await.map_err(|error| shut(&error)))
    }
}

/// Connects a tunnel.
pub(super) async fn tunnel(
    arena: &Arena,
    tls: &Arc<ClientConfig>,
    from: Ipv4Addr,
) -> Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(arena.cluster.coordinator.ingest).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER)?;
    Ok(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?)
}

/// Carries what comes at a UDP socket of its own through a tunnel, and back; returns the socket's address.
async fn carry(stream: TlsStream<TcpStream>, carriers: &mut JoinSet<()>) -> Result<SocketAddr> {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    let address = socket.local_addr()?;
    let (read, write) = tokio::io::split(stream);
    let client = Arc::new(OnceLock::new());
    carriers.spawn(carry_up(write, Arc::clone(&socket), Arc::clone(&client)));
    carriers.spawn(carry_down(read, socket, client));
    Ok(address)
}

async fn carry_up(
    mut write: WriteHalf<TlsStream<TcpStream>>,
    socket: Arc<UdpSocket>,
    client: Arc<OnceLock<SocketAddr>>,
) {
    let (mut datagram, mut out) = (vec![0; 1 << 16], Vec::new());
    while let Ok((len, from)) = socket.recv_from(&mut datagram).await {
        let _client = client.get_or_init(|| from);
        put(&datagram[..len], &mut out);
        if write.write_all(&out).await.is_err() || write.flush().await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn carry_down(
    mut read: ReadHalf<TlsStream<TcpStream>>,
    socket: Arc<UdpSocket>,
    client: Arc<OnceLock<SocketAddr>>,
) {
    let mut come = BytesMut::new();
    while read.read_buf(&mut come).await.is_ok_and(|len| len > 0) {
        while let Ok(Some(datagram)) = take(&mut come) {
            let Some(client) = client.get() else { continue };
            // What cannot be sent is lost, as UDP may be.
            let _lost = socket.send_to(&datagram, client).await.is_err();
        }
    }
}

/// Returns in words how a connection has ended.
pub(super) fn shut(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionClosed(close) => {
            let is_tls = TLS_CODES.contains(&u64::from(close.error_code));
            format!("{}: {close}", if is_tls { "tls" } else { "transport" })
        }
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            format!("closed {}: {reason}", close.error_code)
        }
        other => format!("lost: {other}"),
    }
}

/// Waits until the coordinator closes, and returns how.
pub(super) async fn ending(connection: &Connection) -> String {
    match timeout(ENDING_TIMEOUT, connection.closed()).await {
        Ok(error) => shut(&error),
        Err(_late) => "it stays open".to_owned(),
    }
}

/// A session that was welcomed.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) control: SendStream,
    pub(super) frames: RecvStream,
    pub(super) welcome: Welcome,
    /// Streams that were opened: one that is dropped is stopped, which a coordinator takes amiss.
    kept: Vec<LaneSide>,
}

/// A lane's stream.
pub(super) struct LaneSide {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

/// Returns how a new agent's process greets.
pub(super) fn hello(epoch: u64, boot: u64) -> Hello {
    Hello {
        version: WIRE_VERSION,
        epoch: Epoch(epoch),
        boot: BootId(boot),
        heads: [LaneHead::EMPTY; Lane::COUNT],
        agent_version: "attack".to_owned(),
        context: ContextVersion::default(),
    }
}

/// Greets over a fresh connection. What the coordinator says in place of a welcome is the inner error.
pub(super) async fn greet(connection: Connection, hello: Hello) -> Result<Result<Session, String>> {
    let Ok((mut control, mut frames)) = connection.open_bi().await else {
        return Ok(Err(ending(&connection).await));
    };
    // Whoever is refused meanwhile learns it by how the connection ends.
    if write(&mut control, &Frame::Hello(hello)).await.is_err() {
        return Ok(Err(ending(&connection).await));
    }
    loop {
        match read(&mut frames).await {
            Ok(Frame::Welcome(welcome)) => {
                return Ok(Ok(Session { connection, control, frames, welcome, kept: Vec::new() }));
            }
            Ok(Frame::Checks(_)) => {}
            Ok(Frame::Quarantined(_)) => return Ok(Err("quarantined".to_owned())),
            Ok(frame) => return Ok(Err(format!("{:?}", frame.kind()))),
            Err(_) => return Ok(Err(ending(&connection).await)),
        }
    }
}

impl Session {
    /// Opens a session as an agent's first process.
    pub(super) async fn open(line: &Line, member: &Member) -> Result<Self> {
        Self::open_as(line, member, hello(1, 1)).await
    }

    /// Opens a session that greets so.
    pub(super) async fn open_as(line: &Line, member: &Member, hello: Hello) -> Result<Self> {
        let connection = line.dial(&member.tls).await?.map_err(anyhow::Error::msg)?;
        greet(connection, hello).await?.map_err(anyhow::Error::msg)
    }

    /// Sends bytes on the control stream. If it is closed already, its end says why.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let _closed = self.control.write_all(bytes).await.is_err();
    }

    /// Sends a frame on the control stream.
    pub(super) async fn send(&mut self, frame: &Frame) {
        self.raw(&bytes(frame)).await;
    }

    /// Reads the next frame of the control stream; the inner error is how the connection has ended.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        match read(&mut self.frames).await {
            Ok(frame) => Ok(frame),
            Err(_) => Err(ending(&self.connection).await),
        }
    }

    /// Opens a lane.
    pub(super) async fn lane(&self, lane: Lane) -> Result<LaneSide> {
        let mut side = self.stream().await?;
        side.raw(&bytes(&Frame::LaneOpen(lane))).await;
        Ok(side)
    }

    /// Opens a stream and says nothing on it.
    pub(super) async fn stream(&self) -> Result<LaneSide> {
        let (send, recv) = self.connection.open_bi().await?;
        Ok(LaneSide { send, recv })
    }

    /// Sends bytes on a stream of their own, which stays open.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        let mut side = self.stream().await?;
        side.raw(bytes).await;
        self.kept.push(side);
        Ok(())
    }

    /// Sends a block on the normal lane as the first there; returns what came of it.
    pub(super) async fn store(&self, block: &Bytes) -> Result<String> {
        let mut lane = self.lane(Lane::Normal).await?;
        lane.block(1, block).await;
        Ok(lane.answer(&self.connection).await)
    }

    /// Says goodbye and waits until that is taken: the next session of the agent finds none.
    pub(super) async fn leave(self) {
        self.connection.close(0_u32.into(), b"goodbye");
        self.connection.closed().await;
        // The coordinator learns it by a packet that is on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl LaneSide {
    /// Sends bytes. If it is closed already, the connection's end says why.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let _closed = self.send.write_all(bytes).await.is_err();
    }

    /// Sends a block.
    pub(super) async fn block(&mut self, number: u64, block: &Bytes) {
        let Some(seq) = Seq::new(number) else { return };
        self.raw(&bytes(&Frame::Block { seq, block: block.clone() })).await;
    }

    /// Returns what comes next on it, or how the connection has ended.
    pub(super) async fn answer(&mut self, connection: &Connection) -> String {
        match read(&mut self.recv).await {
            Ok(Frame::Ack { up_to }) => format!("acked {up_to}"),
            Ok(frame) => format!("{:?}", frame.kind()),
            Err(_) => ending(connection).await,
        }
    }
}

/// Returns a frame's bytes.
pub(super) fn bytes(frame: &Frame) -> Vec<u8> {
    let encoded = frame.encode();
    [encoded.head, encoded.tail].concat()
}

/// Returns the bytes of a frame of any kind with any payload.
pub(super) fn raw_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX);
    [&len.to_le_bytes()[..], &[kind], payload].concat()
}

/// Sends bytes over a stream of their own and reads the one answer to them; the inner error is how the connection has
/// ended.
pub(super) async fn exchange<T: DeserializeOwned>(
    connection: &Connection,
    request: &[u8],
) -> Result<Result<T, String>> {
    let exchanged = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(request).await?;
        let _finished = send.finish().is_ok();
        let mut len = [0; LEN_BYTES];
        recv.read_exact(&mut len).await?;
        let mut body = vec![0; checked_len(len, JOIN_FRAME_BYTES_MAX)?];
        recv.read_exact(&mut body).await?;
        anyhow::Ok(codec::decode(&body)?)
    };
    match exchanged.await {
        Ok(answer) => Ok(Ok(answer)),
        Err(_) => Ok(Err(ending(connection).await)),
    }
}

/// Asks to join, and returns what came of it.
pub(super) async fn ask_to_join(
    connection: &Connection,
    secret: JoinSecret,
    signing_request: Vec<u8>,
) -> Result<String> {
    let (host_name, agent_version) = ("attacker".to_owned(), "attack".to_owned());
    let request = JoinRequest { secret, signing_request, host_name, agent_version };
    Ok(match exchange(connection, &encode_frame(&request)?).await? {
        Ok(JoinReply::Joined(joined)) => {
            let named = certs::identity_of_der(joined.chain.first().context("a certificate")?)?;
            format!("joined {} as {named}", joined.tenant)
        }
        Ok(JoinReply::Refused(refusal)) => format!("refused {}", refusal.as_str()),
        Err(ending) => ending,
    })
}

/// Asks for the next certificate over the protocol of those whose last one has ended; returns what came of it.
pub(super) async fn ask_for_renewal(
    connection: &Connection,
    signing_request: Vec<u8>,
) -> Result<String> {
    let request = encode_frame(&RenewRequest { signing_request })?;
    Ok(match exchange::<RenewReply>(connection, &request).await? {
        Ok(reply) => renewed(&reply)?,
        Err(ending) => ending,
    })
}

/// Returns in words what an agent is answered that asks for its next certificate.
pub(super) fn renewed(reply: &RenewReply) -> Result<String> {
    Ok(match reply {
        RenewReply::Renewed(chain) => {
            let named = certs::identity_of_der(chain.first().context("a certificate")?)?;
            format!("renewed as {named}")
        }
        RenewReply::Refused(refusal) => format!("refused {refusal:?}"),
    })
}
