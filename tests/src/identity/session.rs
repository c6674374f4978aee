//! An agent's end of a session, as far as identities need it: it greets, shows that it lives, sends blocks and renews.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use agent::tls::Credentials;
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use shared::{
    context::ContextVersion,
    ids::{BootId, Epoch, Lane, Seq},
    renewal::RenewReply,
    wire::{Frame, Hello, LaneHead, WIRE_VERSION},
};
use tokio::sync::{Mutex, mpsc};

use crate::bench::client::{dial, read, write};

/// As which process of an agent a session is opened, and how many blocks its spool holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) epoch: Epoch,
    pub(super) boot: BootId,
    pub(super) made: u64,
}

/// How a greeting was answered.
pub(super) enum Answer {
    Welcomed(Session),
    Quarantined,
}

/// A session that was welcomed.
pub(super) struct Session {
    connection: Connection,
    control: Arc<Mutex<SendStream>>,
    renewed: mpsc::Receiver<RenewReply>,
    lane: Option<(Lane, SendStream, RecvStream)>,
}

impl Answer {
    pub(super) fn welcomed(self) -> Option<Session> {
        match self {
            Self::Welcomed(session) => Some(session),
            Self::Quarantined => None,
        }
    }
}

impl Session {
    /// Connects and greets.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        coordinator: SocketAddr,
        credentials: &Credentials,
        Process { epoch, boot, made }: Process,
    ) -> Result<Answer> {
        let connection = dial(endpoint, coordinator, credentials).await?;
        let (mut control, mut frames) = connection.open_bi().await?;
        let mut heads = [LaneHead::EMPTY; Lane::COUNT];
        // What is acked is let go of.
        let first = Seq::new(made + 1).context("a block's number")?;
        heads[Lane::Normal.index()] = LaneHead { first, last: Seq::new(made) };
        let (agent_version, context) = ("check".to_owned(), ContextVersion::default());
        let hello = Hello { version: WIRE_VERSION, epoch, boot, heads, agent_version, context };
        write(&mut control, &Frame::Hello(hello)).await?;
        loop {
            match read(&mut frames).await? {
                Frame::Welcome(_) => break,
                Frame::Checks(_) => {} // nothing of it is kept
                Frame::Quarantined(_) => return Ok(Answer::Quarantined),
                frame => bail!("{:?} in answer to a greeting", frame.kind()),
            }
        }
        let control = Arc::new(Mutex::new(control));
        let (replies, renewed) = mpsc::channel(1);
        tokio::spawn(hear(frames, Arc::clone(&control), replies));
        Ok(Answer::Welcomed(Self { connection, control, renewed, lane: None }))
    }

    /// Sends a block on a lane, each time the same, and returns up to where it is acked.
    pub(super) async fn send(&mut self, lane: Lane, number: u64, block: &Bytes) -> Result<u64> {
        if self.lane.is_none() {
            let (mut send, recv) = self.connection.open_bi().await?;
            write(&mut send, &Frame::LaneOpen(lane)).await?;
            self.lane = Some((lane, send, recv));
        }
        let (opened, send, recv) = self.lane.as_mut().context("it was opened just now")?;
        ensure!(*opened == lane, "{opened} is open");
        let seq = Seq::new(number).context("a block's number")?;
        write(send, &Frame::Block { seq, block: block.clone() }).await?;
        let Frame::Ack { up_to } = read(recv).await? else { bail!("no ack") };
        Ok(up_to.as_u64())
    }

    /// Asks for the next certificate.
    pub(super) async fn renew(&mut self, signing_request: Vec<u8>) -> Result<RenewReply> {
        write(&mut *self.control.lock().await, &Frame::Renew { signing_request }).await?;
        self.renewed.recv().await.context("the session ended")
    }

    pub(super) fn close(&self) {
        self.connection.close(0_u32.into(), b"goodbye");
    }

    /// Returns when the coordinator closes the connection.
    pub(super) fn closes(&self) -> impl Future<Output = Instant> + use<> {
        let connection = self.connection.clone();
        async move {
            connection.closed().await;
            Instant::now()
        }
    }
}

/// Reads what comes on the control stream until it ends, and shows that the agent lives when it is asked to.
async fn hear(
    mut frames: RecvStream,
    control: Arc<Mutex<SendStream>>,
    replies: mpsc::Sender<RenewReply>,
) {
    while let Ok(frame) = read(&mut frames).await {
        let is_heard = match frame {
            Frame::Probe => write(&mut *control.lock().await, &Frame::Alive).await.is_ok(),
            Frame::Renewed(reply) => replies.send(*reply).await.is_ok(),
            _ => true,
        };
        if !is_heard {
            return;
        }
    }
}
