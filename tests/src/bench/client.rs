//! An agent's end of a connection, without an agent: what it sends was prepared before.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use agent::tls::Credentials;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig,
    crypto::rustls::QuicClientConfig,
};
use shared::{
    context::ContextVersion,
    ids::{BootId, Epoch, Lane, Seq},
    limits::{CONTROL_FRAME_BYTES_MAX, HEARTBEAT_INTERVAL},
    time::Timestamp,
    wire::{
        AgentStats, Frame, Heartbeat, Hello, LEN_BYTES, LaneHead, WIRE_VERSION, Welcome,
        checked_len,
    },
};
use tokio::sync::Semaphore;

/// A greeted session.
pub(super) struct Client {
    connection: Connection,
    control: SendStream,
    /// Held, for a stream that is dropped is stopped.
    _control_in: RecvStream,
    welcome: Welcome,
}

/// Returns an endpoint to connect from.
pub(crate) fn endpoint() -> Result<Endpoint> {
    Ok(Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?)
}

/// Connects as an agent does, with its TLS settings, and greets nobody.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    coordinator: SocketAddr,
    credentials: &Credentials,
) -> Result<Connection> {
    let crypto = QuicClientConfig::try_from(Arc::clone(&credentials.client))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(HEARTBEAT_INTERVAL));
    config.transport_config(Arc::new(transport));
    Ok(endpoint.connect_with(config, coordinator, "coordinator")?.await?)
}

impl Client {
    /// Connects and greets.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        coordinator: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Self> {
        let connection = dial(endpoint, coordinator, credentials).await?;
        let (mut control, mut control_in) = connection.open_bi().await?;
        let hello = Hello {
            version: WIRE_VERSION,
            epoch: Epoch(1),
            boot: BootId(1),
            heads: [LaneHead::EMPTY; Lane::COUNT],
            agent_version: "bench".to_owned(),
            context: ContextVersion::default(),
        };
        write(&mut control, &Frame::Hello(hello)).await?;
        let welcome = loop {
            match read(&mut control_in).await? {
                Frame::Welcome(welcome) => break welcome,
                Frame::Checks(_) => {} // its spool is new
                _ => bail!("the coordinator did not say welcome"),
            }
        };
        Ok(Self { connection, control, _control_in: control_in, welcome })
    }

    /// Says that the agent lives.
    pub(super) async fn beat(&mut self, sent_at: Timestamp) -> Result<()> {
        let stats = AgentStats::default();
        let beat = Heartbeat { sent_at, last: [None; Lane::COUNT], stats };
        write(&mut self.control, &Frame::Heartbeat(beat)).await
    }

    /// Opens a lane to send blocks on.
    pub(super) async fn open_lane(&self, lane: Lane) -> Result<LaneClient> {
        let (mut send, recv) = self.connection.open_bi().await?;
        write(&mut send, &Frame::LaneOpen(lane)).await?;
        let window = self.welcome.window_blocks as usize;
        Ok(LaneClient { send, recv, window, next: Seq::FIRST })
    }

    /// Returns how many bytes were sent in UDP datagrams.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.connection.stats().udp_tx.bytes
    }
}

/// A lane of a session.
pub(super) struct LaneClient {
    send: SendStream,
    recv: RecvStream,
    window: usize,
    next: Seq,
}

impl LaneClient {
    /// Sends `count` blocks, taken from `blocks` in turn, and waits until all are acked.
    pub(super) async fn exchange(&mut self, blocks: &[Bytes], count: usize) -> Result<()> {
        let room = Semaphore::new(self.window);
        let Self { send, recv, next, .. } = self;
        let first = next.as_u64();
        let sending = async {
            for block in blocks.iter().cycle().take(count) {
                room.acquire().await?.forget();
                write(send, &Frame::Block { seq: *next, block: block.clone() }).await?;
                *next = Seq::after(Some(*next));
            }
            anyhow::Ok(())
        };
        let hearing = async {
            let mut acked = first - 1;
            let last = acked + count as u64;
            while acked < last {
                let Frame::Ack { up_to } = read(recv).await? else { bail!("no ack") };
                let more = up_to.as_u64().checked_sub(acked).context("an ack that goes back")?;
                room.add_permits(usize::try_from(more)?);
                acked = up_to.as_u64();
            }
            Ok(())
        };
        tokio::try_join!(sending, hearing).map(|((), ())| ())
    }
}

/// Keeps sessions alive until it is dropped.
pub(super) async fn keep_alive(clients: &mut [Client], now: fn() -> Timestamp) -> Result<()> {
    loop {
        tokio::time::sleep(HEARTBEAT_INTERVAL.min(Duration::from_secs(10))).await;
        for client in &mut *clients {
            client.beat(now()).await?;
        }
    }
}

/// Writes a frame.
pub(crate) async fn write(send: &mut SendStream, frame: &Frame) -> Result<()> {
    let encoded = frame.encode();
    if encoded.tail.is_empty() {
        send.write_all(&encoded.head).await?;
    } else {
        send.write_all_chunks(&mut [encoded.head, encoded.tail]).await?;
    }
    Ok(())
}

/// Reads a frame.
pub(crate) async fn read(recv: &mut RecvStream) -> Result<Frame> {
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let mut body = vec![0; checked_len(len, CONTROL_FRAME_BYTES_MAX)?];
    recv.read_exact(&mut body).await?;
    Ok(Frame::decode(Bytes::from(body))?)
}
