//! The coordinator's half of a session.
//!
//! Invariants: nothing is acked before [`Receiver::handle_committed`] (L1); blocks leave as events
//! in the order of their
//! numbers, each once a connection; what is not committed yet stays within the window.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{ProtocolError, Stream, Transmit, Wake, recall::Asking};
use crate::{
    context::{ContextVersion, HostContext},
    ids::{Lane, Seq},
    ledger::Interval,
    limits::{GREETING_TIMEOUT, SILENCE_TIMEOUT, WINDOW_BLOCKS_MAX, WINDOW_BYTES_MAX},
    policy::{PolicyAck, PolicyOffer},
    recall::{Recall, RecallEnd, RecallId},
    renewal::RenewReply,
    time::Timestamp,
    trust::{TrustAck, TrustOffer},
    wire::{
        CLAIM_VERSION, Frame, Gap, GoodbyeReason, Heartbeat, Hello, LEDGER_VERSION, POLICY_VERSION,
        Quarantined, RECALL_VERSION, RENEW_VERSION, SetBack, WIRE_VERSION, Welcome,
    },
};

/// Most frames of the ledger that are not durable: an agent sends one after the other, and the word up to where the
/// coordinator was before may cross the first.
const LEDGER_FRAMES_MAX: usize = 2;

/// Times and windows of a receiver. The defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct ReceiverConfig {
    /// How long to wait for `Hello`.
    pub greeting_timeout: Duration,
    /// How long the agent may be silent.
    pub silence_timeout: Duration,
    /// Most blocks in flight on a lane.
    pub window_blocks: u32,
    /// Most bytes in flight on a lane; one block may always be in flight.
    pub window_bytes: u32,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            greeting_timeout: GREETING_TIMEOUT,
            silence_timeout: SILENCE_TIMEOUT,
            window_blocks: WINDOW_BLOCKS_MAX,
            window_bytes: u32::try_from(WINDOW_BYTES_MAX).unwrap_or(u32::MAX),
        }
    }
}

/// What the driver must do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverEvent {
    /// The agent has greeted: the driver reads the cursors and answers with [`Receiver::handle_cursors`], or with
    /// [`Receiver::handle_quarantine`].
    Greeted(Hello),
    /// A block to be made durable; the driver answers with [`Receiver::handle_committed`].
    Block {
        /// On which lane.
        lane: Lane,
        /// Its number.
        seq: Seq,
        /// Its bytes.
        block: Bytes,
    },
    /// Blocks that will never come, to be recorded; the driver answers with [`Receiver::handle_committed`].
    Gap {
        /// On which lane.
        lane: Lane,
        /// Which, and why.
        gap: Gap,
    },
    /// Intervals of the ledger to be made durable; the driver answers with [`Receiver::handle_ledger_committed`].
    Ledger(Vec<Interval>),
    /// The agent's host as it is now.
    Context(Box<HostContext>),
    /// The agent lives.
    Heartbeat(Heartbeat),
    /// The agent begins to answer a recall: what came of it before does not count.
    RecallOpened(RecallId),
    /// A block of records that were recalled.
    RecallBlock {
        /// By which recall.
        id: RecallId,
        /// Its bytes.
        block: Bytes,
    },
    /// The agent has answered a recall.
    RecallEnded(RecallEnd),
    /// The agent asks for its next certificate, with this signing request; the driver answers with
    /// [`Receiver::handle_renewed`].
    Renew(Vec<u8>),
    /// How it stands with a version of the policy at the agent: what it has, or what it answers to
    /// [`Receiver::handle_policy`].
    PolicyAck(PolicyAck),
    /// How it stands with a trust bundle at the agent: which it has, or what it answers to
    /// [`Receiver::handle_trust`].
    TrustAck(TrustAck),
    /// The agent lives, as it was asked to show by [`Receiver::handle_probe`].
    Alive,
    /// The agent's spool is an older copy; the agent ends the session.
    SetBack(SetBack),
    /// The agent ends the session.
    Goodbye(GoodbyeReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitingHello { since: Instant },
    AwaitingCursors { version: u16 },
    Quarantined,
    Streaming,
    Closed,
}

#[derive(Debug, Default)]
struct LaneState {
    opened: bool,
    received: Option<Seq>,
    committed: Option<Seq>,
    /// Last number and bytes of each block received and not committed.
    uncommitted: VecDeque<(Seq, usize)>,
    uncommitted_bytes: usize,
}

/// Where something that is offered in versions stands in this session: the policy, or the trust bundle.
#[derive(Debug, Default)]
struct Offering {
    /// Whether the agent has said which one it has.
    is_told: bool,
    /// The version that was offered and not answered.
    offered: Option<u64>,
}

impl Offering {
    fn answer(&mut self, version: u64) {
        self.is_told = true;
        self.offered.take_if(|offered| *offered == version);
    }

    fn is_free(&self) -> bool {
        self.is_told && self.offered.is_none()
    }
}

/// The coordinator's half of a session.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    phase: Phase,
    heard_at: Instant,
    lanes: [LaneState; Lane::COUNT],
    /// Version of the frames that both sides use.
    version: u16,
    /// The last number of each frame of the ledger that is not durable.
    ledger: VecDeque<u64>,
    recall: Asking,
    /// Whether a certificate was asked for and not answered yet.
    is_renewing: bool,
    /// Whether the agent has said that its spool is an older copy, which it says once.
    is_set_back: bool,
    policy: Offering,
    trust: Offering,
    transmits: VecDeque<Transmit>,
    events: VecDeque<ReceiverEvent>,
}

impl Receiver {
    /// Starts a session over a fresh connection.
    #[must_use]
    pub fn new(config: ReceiverConfig, now: Instant) -> Self {
        Self {
            config,
            phase: Phase::AwaitingHello { since: now },
            heard_at: now,
            lanes: Default::default(),
            version: 0,
            ledger: VecDeque::new(),
            recall: Asking::default(),
            is_renewing: false,
            is_set_back: false,
            policy: Offering::default(),
            trust: Offering::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a frame from the agent.
    ///
    /// # Errors
    /// The peer broke the protocol; the caller closes the connection.
    pub fn handle_frame(
        &mut self,
        stream: Stream,
        frame: Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        self.heard_at = now;
        match (self.phase, stream, frame) {
            (Phase::AwaitingHello { .. }, Stream::Control, Frame::Hello(hello)) => {
                if hello.version == 0 {
                    return Err(ProtocolError::Version(hello.version));
                }
                self.phase = Phase::AwaitingCursors { version: hello.version.min(WIRE_VERSION) };
                self.events.push_back(ReceiverEvent::Greeted(hello));
            }
            (Phase::Streaming, Stream::Control, Frame::Ledger(intervals))
                if self.version >= LEDGER_VERSION =>
            {
                self.take_ledger(intervals)?;
            }
            (Phase::Streaming, Stream::Recall, frame) => {
                self.events.push_back(self.recall.handle(frame)?);
            }
            (Phase::Streaming, Stream::Control, Frame::Renew { signing_request })
                if self.version >= RENEW_VERSION =>
            {
                self.take_renewal(signing_request)?;
            }
            (Phase::Streaming, Stream::Control, Frame::SetBack(set_back))
                if self.version >= CLAIM_VERSION && !self.is_set_back =>
            {
                self.is_set_back = true;
                self.events.push_back(ReceiverEvent::SetBack(set_back));
            }
            (_, Stream::Control, Frame::Goodbye(reason)) => {
                self.phase = Phase::Closed;
                self.events.push_back(ReceiverEvent::Goodbye(reason));
            }
            (Phase::Streaming, Stream::Lane(lane), Frame::LaneOpen(opened))
                if lane == opened && !self.lanes[lane.index()].opened =>
            {
                self.lanes[lane.index()].opened = true;
            }
            (Phase::Streaming, Stream::Lane(lane), Frame::Block { seq, block })
                if self.lanes[lane.index()].opened =>
            {
                self.receive(lane, seq, seq, block.len())?;
                self.events.push_back(ReceiverEvent::Block { lane, seq, block });
            }
            (Phase::Streaming, Stream::Lane(lane), Frame::Gap(gap))
                if self.lanes[lane.index()].opened =>
            {
                self.receive(lane, gap.first, gap.last, 0)?;
                self.events.push_back(ReceiverEvent::Gap { lane, gap });
            }
            (Phase::Closed, ..) => {}
            (_, stream, frame) => {
                let event = self.said(stream, frame)?;
                self.events.push_back(event);
            }
        }
        Ok(())
    }

    /// Returns what the agent says of itself with a frame of the control stream.
    fn said(&mut self, stream: Stream, frame: Frame) -> Result<ReceiverEvent, ProtocolError> {
        let is_served = self.phase == Phase::Streaming && self.version >= CLAIM_VERSION;
        let has_greeted = matches!(self.phase, Phase::Streaming | Phase::Quarantined);
        match frame {
            Frame::Heartbeat(heartbeat) if stream == Stream::Control && has_greeted => {
                Ok(ReceiverEvent::Heartbeat(heartbeat))
            }
            Frame::Context(context) if stream == Stream::Control && has_greeted => {
                Ok(ReceiverEvent::Context(context))
            }
            Frame::PolicyAck(ack)
                if stream == Stream::Control && is_served && self.version >= POLICY_VERSION =>
            {
                self.policy.answer(ack.version);
                Ok(ReceiverEvent::PolicyAck(*ack))
            }
            // A refusal is an answer, once for each offer: else an agent could fill the journal with them.
            Frame::TrustAck(ack)
                if stream == Stream::Control
                    && is_served
                    && self.version >= POLICY_VERSION
                    && (!ack.is_refusal() || self.trust.offered == Some(ack.sequence)) =>
            {
                self.trust.answer(ack.sequence);
                Ok(ReceiverEvent::TrustAck(*ack))
            }
            Frame::Alive if stream == Stream::Control && is_served => Ok(ReceiverEvent::Alive),
            frame => {
                let phase = match self.phase {
                    Phase::AwaitingHello { .. } => "before the greeting",
                    Phase::AwaitingCursors { .. } => "before the welcome",
                    Phase::Quarantined => "in quarantine",
                    Phase::Streaming | Phase::Closed => "after the greeting",
                };
                Err(ProtocolError::Unexpected { frame: frame.kind(), stream, phase })
            }
        }
    }

    /// Takes what is durable of each lane, with the checksum of the newest block where it is known, and the newest
    /// context known; the agent is welcomed.
    pub fn handle_cursors(
        &mut self,
        committed: [Option<Seq>; Lane::COUNT],
        checks: [Option<u32>; Lane::COUNT],
        context: ContextVersion,
    ) {
        let Phase::AwaitingCursors { version } = self.phase else { return };
        if version >= CLAIM_VERSION && checks.iter().any(Option::is_some) {
            let frame = Frame::Checks(checks);
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
        for (lane, committed) in self.lanes.iter_mut().zip(committed) {
            lane.received = committed;
            lane.committed = committed;
        }
        let (window_blocks, window_bytes) = (self.config.window_blocks, self.config.window_bytes);
        let welcome =
            Welcome { version, committed, window_blocks, window_bytes, policy: 0, context };
        self.version = version;
        let frame = Frame::Welcome(welcome);
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        self.phase = Phase::Streaming;
    }

    /// Takes the news that another host uses this agent's identity, since `since`: nothing of this one is taken but
    /// which host it is. Returns whether the agent knows what that means; if not, the caller closes the connection.
    #[must_use]
    pub fn handle_quarantine(&mut self, since: Timestamp) -> bool {
        let Phase::AwaitingCursors { version } = self.phase else { return true };
        if version < CLAIM_VERSION {
            return false;
        }
        self.version = version;
        let frame = Frame::Quarantined(Quarantined { version, since });
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        self.phase = Phase::Quarantined;
        true
    }

    /// Asks the agent to show that it lives, if it can.
    pub fn handle_probe(&mut self) {
        self.ask(Frame::Probe);
    }

    /// Returns whether the agent can be asked to renew: those of earlier versions do not know the question.
    #[must_use]
    pub fn can_renew_now(&self) -> bool {
        self.phase == Phase::Streaming && self.version >= CLAIM_VERSION
    }

    /// Asks the agent to ask for its next certificate now, if it can.
    pub fn handle_renew_now(&mut self) {
        self.ask(Frame::RenewNow);
    }

    fn ask(&mut self, frame: Frame) {
        if self.can_renew_now() {
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Takes the news that all of the lane up to `up_to` is durable: the ack starts here and nowhere else (L1).
    ///
    /// # Panics
    /// If that was not received: acking it would lose it.
    pub fn handle_committed(&mut self, lane: Lane, up_to: Seq) {
        let state = &mut self.lanes[lane.index()];
        assert!(Some(up_to) <= state.received, "L1: only what was received can be committed");
        if Some(up_to) <= state.committed {
            return;
        }
        state.committed = Some(up_to);
        while let Some((_, bytes)) = state.uncommitted.pop_front_if(|(last, _)| *last <= up_to) {
            state.uncommitted_bytes -= bytes;
        }
        // Acks of one lane that wait to be sent are one ack.
        let stream = Stream::Lane(lane);
        self.transmits.retain(|t| t.stream != stream);
        self.transmits.push_back(Transmit { stream, frame: Frame::Ack { up_to } });
    }

    /// Takes the news that the agent's ledger is durable up to the interval `up_to`, zero if there is none: the ack
    /// starts here and nowhere else (L1). Once after the greeting it says up to where it was before.
    pub fn handle_ledger_committed(&mut self, up_to: u64) {
        if self.phase != Phase::Streaming || self.version < LEDGER_VERSION || up_to == 0 {
            return;
        }
        while self.ledger.pop_front_if(|last| *last <= up_to).is_some() {}
        let frame = Frame::LedgerAck { up_to };
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
    }

    /// Returns whether the agent may be asked for something: it has greeted, speaks of recalls, and has answered the
    /// last one.
    #[must_use]
    pub fn can_recall(&self) -> bool {
        let speaks = self.phase == Phase::Streaming && self.version >= RECALL_VERSION;
        speaks && !self.recall.is_busy()
    }

    /// Takes what the agent is to be asked for.
    ///
    /// # Panics
    /// Unless [`Self::can_recall`]: a driver's mistake.
    pub fn handle_recall(&mut self, recall: Recall) {
        assert!(self.can_recall(), "one recall after the other");
        let transmit = self.recall.ask(recall);
        self.transmits.push_back(transmit);
    }

    /// Returns whether the agent may be offered a policy: it has said which one it has, and has answered the last
    /// offer.
    #[must_use]
    pub fn can_offer_policy(&self) -> bool {
        self.phase == Phase::Streaming && self.policy.is_free()
    }

    /// Takes the policy that the agent is offered.
    ///
    /// # Panics
    /// Unless [`Self::can_offer_policy`]: a driver's mistake.
    pub fn handle_policy(&mut self, offer: PolicyOffer) {
        assert!(self.can_offer_policy(), "one offer after the other");
        self.policy.offered = Some(offer.version);
        let frame = Frame::Policy(Box::new(offer));
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
    }

    /// Returns whether the agent may be offered a trust bundle: it has said which one it has, and has answered the last
    /// offer.
    #[must_use]
    pub fn can_offer_trust(&self) -> bool {
        self.phase == Phase::Streaming && self.trust.is_free()
    }

    /// Takes the trust bundle that the agent is offered.
    ///
    /// # Panics
    /// Unless [`Self::can_offer_trust`]: a driver's mistake.
    pub fn handle_trust(&mut self, offer: TrustOffer) {
        assert!(self.can_offer_trust(), "one offer after the other");
        self.trust.offered = Some(offer.sequence);
        let frame = Frame::Trust(Box::new(offer));
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
    }

    /// Answers the agent that asked for its next certificate; nobody, if nobody asked.
    pub fn handle_renewed(&mut self, reply: RenewReply) {
        if std::mem::take(&mut self.is_renewing) && self.phase == Phase::Streaming {
            let frame = Frame::Renewed(Box::new(reply));
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Ends the session from this side.
    pub fn handle_close(&mut self, reason: GoodbyeReason) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            let frame = Frame::Goodbye(reason);
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Takes the passing of time.
    ///
    /// # Errors
    /// The agent did not speak in time; the caller closes the connection.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        match self.poll_timeout() {
            Some((at, wake)) if at <= now => {
                self.phase = Phase::Closed;
                Err(ProtocolError::Timeout(wake))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the next frame to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Returns the next thing that the driver must do or know.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        self.events.pop_front()
    }

    /// Returns when to call [`Self::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        match self.phase {
            Phase::Closed | Phase::AwaitingCursors { .. } => None,
            Phase::AwaitingHello { since } => {
                Some((since + self.config.greeting_timeout, Wake::GreetingOverdue))
            }
            Phase::Streaming | Phase::Quarantined => {
                Some((self.heard_at + self.config.silence_timeout, Wake::Silence))
            }
        }
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn take_ledger(&mut self, intervals: Vec<Interval>) -> Result<(), ProtocolError> {
        if self.ledger.len() >= LEDGER_FRAMES_MAX {
            return Err(ProtocolError::LedgerAhead(LEDGER_FRAMES_MAX));
        }
        self.ledger.extend(intervals.last().map(|interval| interval.number));
        self.events.push_back(ReceiverEvent::Ledger(intervals));
        Ok(())
    }

    fn take_renewal(&mut self, signing_request: Vec<u8>) -> Result<(), ProtocolError> {
        if std::mem::replace(&mut self.is_renewing, true) {
            return Err(ProtocolError::Renewal("the one before is not answered"));
        }
        self.events.push_back(ReceiverEvent::Renew(signing_request));
        Ok(())
    }

    fn receive(
        &mut self,
        lane: Lane,
        first: Seq,
        last: Seq,
        bytes: usize,
    ) -> Result<(), ProtocolError> {
        let state = &mut self.lanes[lane.index()];
        let expected = state.received.map_or(Some(Seq::FIRST), Seq::next);
        if expected != Some(first) {
            let expected = expected.unwrap_or(Seq::FIRST);
            return Err(ProtocolError::OutOfOrder { lane, expected, got: first });
        }
        if state.uncommitted.len() >= self.config.window_blocks as usize {
            return Err(ProtocolError::WindowExceeded("blocks", lane));
        }
        if !state.uncommitted.is_empty()
            && state.uncommitted_bytes >= self.config.window_bytes as usize
        {
            return Err(ProtocolError::WindowExceeded("bytes", lane));
        }
        state.received = Some(last);
        state.uncommitted.push_back((last, bytes));
        state.uncommitted_bytes += bytes;
        Ok(())
    }
}
