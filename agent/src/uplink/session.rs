//! The driver of one connection's session: it carries frames, blocks and time, and decides nothing.
//!
//! The machine [`Sender`] says what is wanted, what is to be sent, and when to wake it. Around it
//! run the connection's four streams (see [`super::stream`]); the driver's own waiting is
//! on queues and clocks only, all of which are cancel-safe.
//!
//! # Fairness
//! The most urgent lane is asked first, after every single block. Blocks of the other lanes that
//! are not acked yet never fill the connection's send window ([`BACKLOG_BYTES_MAX`]), so an urgent
//! block always finds room in it and is the next to be packed, whatever backlog drains beside it.

use std::{
    collections::VecDeque,
    future::pending,
    time::{Duration, Instant},
};

use quinn::{Connection, ConnectionError, VarInt};
use shared::{
    block::Block,
    ids::{BootId, Lane, Seq},
    limits::BLOCK_BYTES_MAX,
    policy::PolicyAck,
    recall::{Recall, RecallEnd, RecallId, RecallOutcome},
    renewal::RenewReply,
    session::{ProtocolError, Sender, SenderConfig, SenderEvent, Stream, Transmit},
    time::Timestamp,
    trust::{TrustOffer, TrustOutcome},
    wire::{Frame, Gap, GapReason, GoodbyeReason, Hello, LaneHead, WIRE_VERSION},
};
use thiserror::Error;
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};

use super::{
    Inputs, PolicyWord, Stop,
    renewal::{Identity, RenewError},
    stream::{
        self, ANSWER_QUEUE, CONTROL_QUEUE, EVENT_QUEUE, Event, LANE_QUEUE, Pipes, StreamError,
    },
};
use crate::{
    clock,
    held::{Query, Step},
    spool::{AdvanceError, ReadBlock, ReadError, SpoolReader},
    status::{LinkState, QUARANTINED_ADVICE},
};

/// Most bytes in flight on the lanes that are not urgent, together, before the next block of theirs
/// is sent. At 100 ms to the coordinator and back it is 20 MB/s: 160,000 alerts.
pub(super) const BACKLOG_BYTES_MAX: usize = 2 << 20;
/// Most bytes of an answer to a recall that may be in flight: what coordinators let a stream have.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes that the connection holds for resending: the backlog's share, the block that may go over
/// it, an urgent block, and the share of an answer to a recall.
pub(super) const SEND_WINDOW: usize = BACKLOG_BYTES_MAX + 2 * BLOCK_BYTES_MAX + ANSWER_BYTES_MAX;
/// How long a shutdown waits until the coordinator has the `Goodbye`.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How a session ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything is acked, and the coordinator knows that no more will come.
    Drained,
    /// The grace is over.
    Aborted,
    /// The coordinator ended it.
    Goodbye(GoodbyeReason),
    /// The agent has its next certificate, and is to connect with that.
    Renewed,
    /// There is a connection over UDP again.
    Moved,
    /// The agent was told not to believe whoever it is connected to any more.
    Disbelieved,
}

/// Why a session broke.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Connection(#[from] ConnectionError),
    /// What carried the connection over TCP is gone.
    #[error("the TCP connection was lost")]
    TcpLost,
    /// A stream ended while the connection lives.
    #[error("{stream:?} stream: {error}")]
    Stream {
        /// Which.
        stream: Stream,
        /// Why.
        error: StreamError,
    },
    /// The coordinator broke the protocol or does not answer.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The coordinator does not take what is sent on the control stream.
    #[error("coordinator takes nothing on the control stream")]
    Stuck,
    /// The spool cannot be read.
    #[error("spool: {0}")]
    Spool(#[from] ReadError),
    /// The coordinator acked what the spool does not have.
    #[error("spool: {0}")]
    Ack(#[from] AdvanceError),
}

/// One lane's way to its stream.
struct LaneLink {
    outbox: mpsc::Sender<Frame>,
    opened: bool,
    unacked: VecDeque<(Seq, usize)>,
    unacked_bytes: usize,
}

/// The ways to all streams.
struct Outboxes {
    control: mpsc::Sender<Frame>,
    lanes: [LaneLink; Lane::COUNT],
    answers: mpsc::Sender<Frame>,
}

struct Driver<'a> {
    sender: Sender,
    inputs: &'a mut Inputs,
    stop: &'a Stop,
    control: Option<mpsc::Sender<Frame>>,
    lanes: [LaneLink; Lane::COUNT],
    answers: mpsc::Sender<Frame>,
    /// What is looked for in the rings.
    query: Option<(RecallId, Query)>,
    /// The version of a policy that is offered and not answered.
    offered: Option<u64>,
    /// How it stands with the policy, as it was said last.
    standing: Option<PolicyAck>,
    welcomed: &'a mut bool,
    identity: &'a mut Identity,
}

/// Runs a session over `connection` until it ends. `welcomed` is set once the coordinator has
/// greeted.
///
/// # Errors
/// Each [`SessionError`]; the caller closes the connection.
pub(super) async fn run(
    connection: &Connection,
    inputs: &mut Inputs,
    boot: BootId,
    stop: &Stop,
    (identity, welcomed): (&mut Identity, &mut bool),
) -> Result<End, SessionError> {
    let (events, mut inbox) = mpsc::channel(EVENT_QUEUE);
    let (room, flushed, ignored) = (Notify::new(), Notify::new(), Notify::new());
    let (control, outbox) = mpsc::channel(CONTROL_QUEUE);
    let pipes = Pipes { outbox, events: events.clone(), room: &room, flushed: &flushed };
    let control_stream = stream::carry(connection, Stream::Control, pipes);
    let (lanes, [urgent, normal, bulk]) = lane_links();
    let lane_stream = |lane, outbox| {
        let pipes = Pipes { outbox, events: events.clone(), room: &room, flushed: &ignored };
        stream::carry(connection, Stream::Lane(lane), pipes)
    };
    let (answers, outbox) = mpsc::channel(ANSWER_QUEUE);
    let streams = async {
        tokio::join!(
            control_stream,
            stream::carry_answers(connection, outbox, events.clone(), &room),
            lane_stream(Lane::Urgent, urgent),
            lane_stream(Lane::Normal, normal),
            lane_stream(Lane::Bulk, bulk),
        );
        pending::<()>().await;
    };
    let outboxes = Outboxes { control, lanes, answers };
    let mut driver = Driver::new(inputs, boot, stop, outboxes, (identity, welcomed));
    tokio::select! {
        biased;
        end = driver.drive(&mut inbox, &room, &flushed) => match end {
            // The connection's own reason says more than what a stream saw of it.
            Err(SessionError::Stream { .. }) if connection.close_reason().is_some() => {
                Err(connection.close_reason().map_or(SessionError::Stuck, Into::into))
            }
            end => end,
        },
        () = streams => Err(SessionError::Stuck), // never: streams outlive their driver
    }
}

/// Closes `connection` in a way that its logs can be read.
pub(super) fn close(connection: &Connection, end: &Result<End, SessionError>) {
    let (code, reason): (u32, &[u8]) = match end {
        Ok(End::Drained) => (0, b"drained"),
        Ok(End::Aborted) => (0, b"stopped"),
        Ok(End::Goodbye(_)) => (0, b"goodbye"),
        Ok(End::Renewed) => (0, b"renewed"),
        Ok(End::Moved) => (0, b"moved to UDP"),
        Ok(End::Disbelieved) => (0, b"not believed any more"),
        Err(SessionError::Protocol(_)) => (1, b"protocol error"),
        Err(_) => (2, b"agent's fault"),
    };
    connection.close(VarInt::from_u32(code), reason);
}

/// Returns whether the spool holds nothing that is not acked.
pub(super) fn is_all_acked(spool: &SpoolReader) -> bool {
    heads(spool).iter().all(|head| head.last.is_none_or(|last| head.first > last))
}

fn heads(spool: &SpoolReader) -> [LaneHead; Lane::COUNT] {
    spool.heads().map(|head| LaneHead { first: head.first, last: head.last })
}

fn lane_links() -> ([LaneLink; Lane::COUNT], [mpsc::Receiver<Frame>; Lane::COUNT]) {
    let mut receivers = Vec::with_capacity(Lane::COUNT);
    let links = Lane::ALL.map(|_| {
        let (outbox, receiver) = mpsc::channel(LANE_QUEUE);
        receivers.push(receiver);
        LaneLink { outbox, opened: false, unacked: VecDeque::new(), unacked_bytes: 0 }
    });
    (links, receivers.try_into().expect("one was made for each lane"))
}

impl<'a> Driver<'a> {
    fn new(
        inputs: &'a mut Inputs,
        boot: BootId,
        stop: &'a Stop,
        Outboxes { control, lanes, answers }: Outboxes,
        (identity, welcomed): (&'a mut Identity, &'a mut bool),
    ) -> Self {
        // What changes from here on wakes the driver; what is there now goes into `Hello`.
        inputs.synced.mark_unchanged();
        let context = inputs.context.borrow_and_update().clone();
        let hello = Hello {
            version: WIRE_VERSION,
            epoch: inputs.spool.epoch(),
            boot,
            heads: heads(&inputs.spool),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            context: context.version(),
        };
        let mut sender = Sender::new(SenderConfig::default(), hello, clock::now());
        sender.handle_context((*context).clone());
        let ledger = inputs.ledger.borrow_and_update().clone();
        sender.handle_ledger((*ledger).clone(), clock::now());
        let (control, query) = (Some(control), None);
        Self {
            sender,
            inputs,
            stop,
            control,
            lanes,
            answers,
            query,
            offered: None,
            standing: None,
            welcomed,
            identity,
        }
    }

    async fn drive(
        &mut self,
        inbox: &mut mpsc::Receiver<Event>,
        room: &Notify,
        flushed: &Notify,
    ) -> Result<End, SessionError> {
        let mut draining = false;
        loop {
            match self.carry() {
                Ok(Some(end)) => {
                    if end == End::Disbelieved {
                        self.flush(flushed).await; // the coordinator is to know why
                    }
                    return Ok(end);
                }
                Ok(None) => {}
                Err(error) => {
                    if matches!(error, SessionError::Protocol(ProtocolError::SpoolSetBack { .. })) {
                        self.flush(flushed).await;
                    }
                    return Err(error);
                }
            }
            let is_settled = self.sender.is_ledger_settled();
            if draining && is_settled && is_all_acked(&self.inputs.spool) {
                return self.say_goodbye(flushed).await;
            }
            let wake = self.wake_at().map(Into::into);
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.abort.cancelled() => return Ok(End::Aborted),
                event = inbox.recv() => {
                    let Some(event) = event else { return Err(SessionError::Stuck) };
                    self.take(event)?;
                    while let Ok(event) = inbox.try_recv() {
                        self.take(event)?;
                    }
                }
                () = timer => {
                    self.sender.handle_timeout(clock::now())?;
                    self.renew_if_due();
                }
                Ok(()) = self.inputs.synced.changed() => {
                    self.sender.handle_heads(heads(&self.inputs.spool));
                }
                () = room.notified() => {}
                // Everything else goes first, and the streams have their turn between two steps.
                () = tokio::task::yield_now(), if self.can_answer() => self.answer(),
                Ok(()) = self.inputs.context.changed() => {
                    let context = self.inputs.context.borrow_and_update().clone();
                    self.sender.handle_context((*context).clone());
                }
                Ok(()) = self.inputs.ledger.changed() => self.take_ledger(),
                Ok(()) = self.inputs.policy_word.changed() => self.say_policy(),
                () = self.stop.drain.cancelled(), if !draining => {
                    draining = true;
                    self.take_ledger();
                    self.sender.handle_heads(heads(&self.inputs.spool));
                }
            }
        }
    }

    /// Returns when there is something to do, whatever comes until then.
    fn wake_at(&self) -> Option<Instant> {
        let wake = self.sender.poll_timeout().map(|(at, _)| at);
        let can_renew = self.can_renew().then(|| self.identity.due_in(clock::wall()));
        // The wall clock may be set meanwhile: the heartbeat looks again.
        let renew_at = can_renew.and_then(|due_in| clock::now().checked_add(due_in));
        wake.into_iter().chain(renew_at).min()
    }

    fn can_renew(&self) -> bool {
        self.sender.can_renew() && !self.stop.drain.is_cancelled()
    }

    fn take_ledger(&mut self) {
        let window = self.inputs.ledger.borrow_and_update().clone();
        self.sender.handle_ledger((*window).clone(), clock::now());
    }

    /// Says what has become of the policy that was offered, or how it stands with the one that the agent has.
    fn say_policy(&mut self) {
        let PolicyWord { standing, answer, .. } =
            self.inputs.policy_word.borrow_and_update().clone();
        let answer = answer.filter(|answer| self.offered == Some(answer.version));
        if let Some(answer) = answer {
            self.offered = None;
            self.sender.handle_policy_ack(answer.clone());
            if answer == standing {
                self.standing = Some(answer);
            }
        }
        if self.standing.as_ref() != Some(&standing) {
            self.sender.handle_policy_ack(standing.clone());
            self.standing = Some(standing);
        }
    }

    /// Takes a trust bundle, or refuses it; returns whether the session may go on.
    fn trusts_on(&mut self, offer: &TrustOffer) -> Result<bool, SessionError> {
        let (trust, now) = (&self.identity.credentials().trust, clock::wall());
        let answer = trust.take(offer, now);
        self.inputs.status.set_trust(trust.status());
        let is_taken = answer.outcome == TrustOutcome::InForce;
        self.sender.handle_trust_ack(answer);
        if !is_taken || self.identity.believes_peer(now) {
            return Ok(true);
        }
        while let Some(transmit) = self.sender.poll_transmit() {
            self.transmit(transmit)?;
        }
        Ok(false)
    }

    fn take(&mut self, (stream, frame): Event) -> Result<(), SessionError> {
        let frame = frame.map_err(|error| SessionError::Stream { stream, error })?;
        Ok(self.sender.handle_frame(stream, frame, clock::now())?)
    }

    /// Carries out everything that the machine says, until it says nothing more.
    fn carry(&mut self) -> Result<Option<End>, SessionError> {
        loop {
            while let Some(event) = self.sender.poll_event() {
                match event {
                    SenderEvent::Welcomed { welcome, checks } => {
                        self.identity.welcomed();
                        self.compare(&welcome.committed, &checks)?;
                        *self.welcomed = true;
                        self.standing = None; // nothing that was said before the greeting was sent
                        self.say_policy();
                        let standing = self.identity.credentials().trust.standing();
                        self.sender.handle_trust_ack(standing);
                        self.renew_if_due();
                    }
                    SenderEvent::Quarantined(since) => {
                        tracing::error!(
                            %since, advice = QUARANTINED_ADVICE,
                            "another host uses this agent's identity: nothing is taken from this \
                             one until a person has decided, the spool keeps all"
                        );
                        self.inputs.status.set_link(LinkState::Quarantined, None);
                    }
                    SenderEvent::RenewNow => self.renew_now(),
                    SenderEvent::Acked { lane, up_to } => self.acked(lane, up_to)?,
                    SenderEvent::LedgerAcked { up_to } => {
                        self.inputs.ledger_acked.send_replace(up_to);
                    }
                    SenderEvent::Recall(recall) => self.recalled(recall),
                    SenderEvent::Policy(offer) => {
                        tracing::info!(version = offer.version, "coordinator offers a policy");
                        self.offered = Some(offer.version);
                        self.inputs.policy_offer.send_replace(Some(offer));
                    }
                    SenderEvent::Trust(offer) => {
                        if !self.trusts_on(&offer)? {
                            return Ok(Some(End::Disbelieved));
                        }
                    }
                    SenderEvent::HeartbeatDue => {
                        self.beat();
                        self.renew_if_due();
                    }
                    SenderEvent::Renewed(reply) => {
                        if self.renewed(reply) {
                            return Ok(Some(End::Renewed));
                        }
                    }
                    SenderEvent::Goodbye(reason) => return Ok(Some(End::Goodbye(reason))),
                }
            }
            while let Some(transmit) = self.sender.poll_transmit() {
                self.transmit(transmit)?;
            }
            if !self.offer()? {
                return Ok(None);
            }
        }
    }

    /// Compares the newest blocks that the coordinator has with the spool's own, where that still has them: under the
    /// same number stands another only if the spool is an older copy, which went on by itself.
    fn compare(
        &mut self,
        committed: &[Option<Seq>; Lane::COUNT],
        checks: &[Option<u32>; Lane::COUNT],
    ) -> Result<(), SessionError> {
        for (lane, (committed, check)) in Lane::ALL.into_iter().zip(committed.iter().zip(checks)) {
            let (Some(committed), Some(check)) = (*committed, *check) else { continue };
            let Ok(ReadBlock::Block(block)) = self.inputs.spool.read(lane, committed) else {
                continue;
            };
            if Block::parse(block).is_ok_and(|block| block.checksum() == check) {
                continue;
            }
            let set_back = self.sender.handle_set_back(lane, committed);
            while let Some(transmit) = self.sender.poll_transmit() {
                self.transmit(transmit)?;
            }
            set_back?;
        }
        Ok(())
    }

    fn acked(&mut self, lane: Lane, up_to: Seq) -> Result<(), SessionError> {
        self.inputs.spool.advance(lane, up_to)?;
        let link = &mut self.lanes[lane.index()];
        while let Some((_, bytes)) = link.unacked.pop_front_if(|(seq, _)| *seq <= up_to) {
            link.unacked_bytes -= bytes;
        }
        Ok(())
    }

    /// Begins to look for what is asked for.
    fn recalled(&mut self, recall: Recall) {
        let Recall { id, rule, since, until, .. } = &recall;
        tracing::info!(%id, rule, %since, %until, "coordinator recalls what was held back");
        if self.inputs.held.is_empty() {
            self.sender.handle_recall_end(RecallEnd::empty(*id, RecallOutcome::NoRing));
        } else {
            self.query = Some((recall.id, Query::new(&self.inputs.held, recall)));
        }
    }

    fn can_answer(&self) -> bool {
        self.query.is_some() && self.answers.capacity() > 0
    }

    /// Looks at one block of a ring.
    fn answer(&mut self) {
        let Some((id, query)) = &mut self.query else { return };
        let end = match query.step() {
            Ok(Step::Again) => return,
            Ok(Step::Block(block)) => return self.sender.handle_recall_block(block),
            Ok(Step::End(end)) => end,
            Err(error) => {
                tracing::error!(%id, %error, "held ring cannot be read");
                query.give_up(RecallOutcome::Unreadable)
            }
        };
        tracing::info!(
            %id, records = end.records, lost = end.lost, is_complete = end.is_complete(),
            "recall is answered"
        );
        self.query = None;
        self.sender.handle_recall_end(end);
    }

    fn beat(&mut self) {
        let mut stats = self.inputs.status.stats();
        stats.oldest_unacked = oldest_unacked(&self.inputs.spool);
        self.inputs.status.set_oldest_unacked(stats.oldest_unacked);
        self.sender.handle_heartbeat(clock::wall(), stats);
    }

    /// Asks for the next certificate, if it is time to and nothing is ending.
    fn renew_if_due(&mut self) {
        let now = clock::wall();
        if self.can_renew() && self.identity.due_in(now).is_zero() {
            self.begin_renewal(now);
        }
    }

    /// Asks for the next certificate because the coordinator wants it, unless that was done just now.
    fn renew_now(&mut self) {
        let now = clock::wall();
        if self.can_renew() && self.identity.may_ask(now) {
            tracing::info!("coordinator wants this agent to renew its certificate now");
            self.begin_renewal(now);
        }
    }

    fn begin_renewal(&mut self, now: Timestamp) {
        match self.identity.begin(now) {
            Ok(signing_request) => self.sender.handle_renewal(signing_request),
            Err(error) => self.renewal_failed(&error),
        }
    }

    /// Takes the next certificate; returns whether it is in place.
    fn renewed(&mut self, reply: RenewReply) -> bool {
        match self.identity.take(reply, rand::random(), clock::wall()) {
            Ok(()) => true,
            Err(error) => {
                self.renewal_failed(&error);
                false
            }
        }
    }

    fn renewal_failed(&self, error: &RenewError) {
        tracing::error!(%error, "no next certificate: it is asked for again");
        self.inputs.status.set_renewal_error(error.to_string());
    }

    /// Offers one block, of the most urgent lane that wants one and has room; returns whether it
    /// did.
    fn offer(&mut self) -> Result<bool, SessionError> {
        for lane in Lane::ALL {
            if !self.has_room(lane) {
                continue;
            }
            let Some(seq) = self.sender.poll_want(lane) else { continue };
            match self.inputs.read(lane, seq)? {
                Ok(block) => {
                    let link = &mut self.lanes[lane.index()];
                    link.unacked.push_back((seq, block.len()));
                    link.unacked_bytes += block.len();
                    self.sender.handle_block(lane, seq, block, clock::now());
                }
                Err(gap) => {
                    report_gap(lane, gap);
                    // What is lost may reach to blocks that were made since the machine last heard
                    // of any.
                    self.sender.handle_heads(heads(&self.inputs.spool));
                    self.sender.handle_gap(lane, gap, clock::now());
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn has_room(&self, lane: Lane) -> bool {
        let link = &self.lanes[lane.index()];
        // The first block of a lane goes behind the frame that opens it.
        let frames = if link.opened { 1 } else { 2 };
        let backlog: usize = self.lanes[1..].iter().map(|link| link.unacked_bytes).sum();
        link.outbox.capacity() >= frames && (lane == Lane::Urgent || backlog < BACKLOG_BYTES_MAX)
    }

    fn transmit(&mut self, Transmit { stream, frame }: Transmit) -> Result<(), SessionError> {
        let outbox = match stream {
            Stream::Control => match &self.control {
                Some(control) => control,
                None => return Ok(()),
            },
            Stream::Lane(lane) => {
                let link = &mut self.lanes[lane.index()];
                link.opened = true;
                &link.outbox
            }
            Stream::Recall => &self.answers,
        };
        match outbox.try_send(frame) {
            // A stream that has ended says why in its event.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(SessionError::Stuck),
        }
    }

    /// Ends the session in good order: nothing is in flight and nothing waits.
    async fn say_goodbye(&mut self, flushed: &Notify) -> Result<End, SessionError> {
        self.sender.handle_shutdown();
        while let Some(transmit) = self.sender.poll_transmit() {
            self.transmit(transmit)?;
        }
        self.flush(flushed).await;
        Ok(End::Drained)
    }

    /// Ends the control stream, and waits a while until the coordinator has all of it.
    async fn flush(&mut self, flushed: &Notify) {
        self.control = None; // the stream's writer finishes it once it has written all
        tokio::select! {
            () = flushed.notified() => {}
            () = tokio::time::sleep(FLUSH_TIMEOUT) => {}
            () = self.stop.abort.cancelled() => {}
        }
    }
}

fn report_gap(lane: Lane, gap: Gap) {
    let Gap { first, last, reason } = gap;
    if reason == GapReason::Skipped {
        tracing::warn!(
            %lane, %first, %last,
            "numbers are not used, as the agent once stopped in the middle of a write; nothing is \
             known to be lost: the coordinator is told so"
        );
        return;
    }
    tracing::error!(
        %lane, %first, %last, ?reason, "blocks are lost: the coordinator is told so"
    );
}

/// Returns when the oldest alert was read that is not acked, as the blocks themselves say it. One
/// block a lane is opened, once a heartbeat.
fn oldest_unacked(spool: &SpoolReader) -> Option<Timestamp> {
    let oldest = |lane: Lane| {
        let head = spool.heads()[lane.index()];
        let first =
            Some(head.first).filter(|first| head.last.is_some_and(|last| *first <= last))?;
        let ReadBlock::Block(block) = spool.read(lane, first).ok()? else { return None };
        let block = Block::parse(block).ok()?;
        let fields = block.decompress_fields().ok()?;
        let fields = fields.decode().ok()?;
        (!fields.is_empty()).then(|| fields.observed_at(0))
    };
    Lane::ALL.into_iter().filter_map(oldest).min()
}
