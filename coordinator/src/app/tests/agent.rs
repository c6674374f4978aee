//! An agent that says what the test tells it to, over real QUIC and TLS.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use certs::Leaf;
use quinn::{
    ClientConfig, Connecting, Connection, ConnectionError, Endpoint, RecvStream, SendStream,
    TokenStore, crypto::rustls::QuicClientConfig,
};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    context::ContextVersion,
    ids::{BootId, Epoch, Lane, Seq},
    limits::CONTROL_FRAME_BYTES_MAX,
    session::Stream,
    wire::{ALPN, Frame, Hello, LEN_BYTES, LaneHead, WIRE_VERSION, Welcome, checked_len},
};

use super::house::{House, seq, within};
use crate::app::Running;

pub(super) const EPOCH: Epoch = Epoch(7);

/// A connected agent.
pub(super) struct Agent {
    pub(super) connection: Connection,
    streams: Vec<(Stream, SendStream, RecvStream)>,
    _endpoint: Endpoint,
}

/// Begins to dial `running` at `port` with a certificate.
pub(super) fn dial(house: &House, leaf: &Leaf, port: u16) -> (Endpoint, Connecting) {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let to = (Ipv4Addr::LOCALHOST, port).into();
    let connecting = endpoint.connect_with(client_config(house, leaf), to, "box").unwrap();
    (endpoint, connecting)
}

fn client_config(house: &House, leaf: &Leaf) -> ClientConfig {
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(client_tls(house, leaf)).unwrap()))
}

/// Returns what an agent with this certificate needs of TLS.
pub(super) fn client_tls(house: &House, leaf: &Leaf) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = house.authority.root_pem();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls
}

/// Dials again and again with one memory of earlier sessions.
pub(super) struct Client {
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Client {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        Self { endpoint, config }
    }

    /// Shows these proofs of its address.
    pub(super) fn with_tokens(mut self, tokens: Arc<dyn TokenStore>) -> Self {
        self.config.token_store(tokens);
        self
    }

    pub(super) fn dial(&self, running: &Running) -> Connecting {
        let to = (Ipv4Addr::LOCALHOST, running.ingest_addr.port()).into();
        self.endpoint.connect_with(self.config.clone(), to, "box").unwrap()
    }
}

impl Agent {
    pub(super) async fn connect(house: &House, leaf: &Leaf, running: &Running) -> Self {
        let (endpoint, connecting) = dial(house, leaf, running.ingest_addr.port());
        let connection = within(connecting).await.unwrap();
        Self { connection, streams: Vec::new(), _endpoint: endpoint }
    }

    /// Connects and greets; returns also what the coordinator has of it.
    pub(super) async fn greeted(house: &House, leaf: &Leaf, running: &Running) -> (Self, Welcome) {
        let mut agent = Self::connect(house, leaf, running).await;
        agent.send(Stream::Control, &Frame::Hello(hello(1))).await;
        let mut first = agent.receive(Stream::Control).await;
        if matches!(first, Frame::Checks(_)) {
            first = agent.receive(Stream::Control).await;
        }
        let Frame::Welcome(welcome) = first else { panic!("a welcome comes first: {first:?}") };
        (agent, welcome)
    }

    /// Sends a frame on its stream, which is opened for the first; a lane's is named first.
    pub(super) async fn send(&mut self, stream: Stream, frame: &Frame) {
        let mut bytes = Vec::new();
        if let Stream::Lane(lane) = stream
            && !self.streams.iter().any(|(opened, ..)| *opened == stream)
        {
            bytes.extend_from_slice(&Frame::LaneOpen(lane).encode().head);
        }
        let encoded = frame.encode();
        bytes.extend_from_slice(&encoded.head);
        bytes.extend_from_slice(&encoded.tail);
        self.send_bytes(stream, &bytes).await;
    }

    /// Sends bytes that need not be a frame. A coordinator that stops to listen is no matter here.
    pub(super) async fn send_bytes(&mut self, stream: Stream, bytes: &[u8]) {
        if !self.streams.iter().any(|(opened, ..)| *opened == stream) {
            let (send, recv) = within(self.connection.open_bi()).await.unwrap();
            self.streams.push((stream, send, recv));
        }
        let (send, _) = self.stream(stream);
        drop(within(send.write_all(bytes)).await);
    }

    fn stream(&mut self, stream: Stream) -> (&mut SendStream, &mut RecvStream) {
        let found = self.streams.iter_mut().find(|(opened, ..)| *opened == stream);
        let (_, send, recv) = found.expect("the stream was opened");
        (send, recv)
    }

    pub(super) async fn send_block(&mut self, lane: Lane, number: u64, block: &Bytes) {
        let frame = Frame::Block { seq: seq(number), block: block.clone() };
        self.send(Stream::Lane(lane), &frame).await;
    }

    /// Receives the next frame of a stream.
    pub(super) async fn receive(&mut self, stream: Stream) -> Frame {
        let (_, recv) = self.stream(stream);
        within(async {
            let mut len = [0; LEN_BYTES];
            recv.read_exact(&mut len).await.unwrap();
            let mut body = vec![0; checked_len(len, CONTROL_FRAME_BYTES_MAX).unwrap()];
            recv.read_exact(&mut body).await.unwrap();
            Frame::decode(Bytes::from(body)).unwrap()
        })
        .await
    }

    /// Waits until the lane is acked up to `number`; acks may come together.
    pub(super) async fn acked(&mut self, lane: Lane, number: u64) {
        let mut acked: Option<Seq> = None;
        while acked < Some(seq(number)) {
            let Frame::Ack { up_to } = self.receive(Stream::Lane(lane)).await else {
                panic!("only acks come on a lane")
            };
            acked = Some(up_to);
        }
        assert_eq!(acked, Some(seq(number)), "no more than was sent is acked");
    }

    /// Waits until the coordinator closes; returns its code and reason.
    pub(super) async fn closed(&self) -> (u64, String) {
        match within(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
            }
            other => panic!("the coordinator says why it closes, but: {other}"),
        }
    }
}

/// Returns the greeting of an agent whose normal lane begins at block `first` and holds a thousand.
pub(super) fn hello(first: u64) -> Hello {
    let mut heads = [LaneHead::EMPTY; Lane::COUNT];
    heads[Lane::Normal.index()] = LaneHead { first: seq(first), last: Some(seq(first + 999)) };
    Hello {
        version: WIRE_VERSION,
        epoch: EPOCH,
        boot: BootId(8),
        heads,
        agent_version: "1.2.3".into(),
        context: ContextVersion::default(),
    }
}

/// Returns a block with one alert of `host`, observed now.
pub(super) fn block(house: &House, host: &str) -> Bytes {
    let mut alert = Alert::default();
    alert.observed_at = house.now();
    alert.severity = Severity::High;
    alert.set(Field::Title, "scan");
    alert.set(Field::DeviceHostname, host);
    let mut builder = BlockBuilder::new();
    builder.push(&alert, format!("record of {host}").as_bytes()).unwrap();
    builder.finish(1)
}
