//! The agent's half of a session: one connection's life over a spool that outlives it.
//!
//! Invariants: a block is offered for sending only after the spool has synced it; numbers go up by
//! one on each lane; what
//! is in flight stays within the window that the coordinator gave; one block may always be in flight. Of the ledger one
//! frame is in flight, and intervals go up again after a reconnect until they are acked.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{ProtocolError, Stream, Transmit, Wake, earlier, recall::Answering};
use crate::{
    context::{ContextVersion, HostContext},
    ids::{Lane, Seq},
    ledger::Interval,
    limits::{
        ACK_TIMEOUT, GREETING_TIMEOUT, HEARTBEAT_INTERVAL, LEDGER_FRAME_BYTES_MAX,
        LEDGER_FRAME_INTERVALS_MAX, WINDOW_BLOCKS_MAX, WINDOW_BYTES_MAX,
    },
    policy::{PolicyAck, PolicyOffer},
    recall::{Recall, RecallEnd},
    renewal::RenewReply,
    time::Timestamp,
    trust::{TrustAck, TrustOffer},
    wire::{
        AgentStats, CLAIM_VERSION, CONTEXT_VERSION, Frame, Gap, GoodbyeReason, Heartbeat, Hello,
        LEDGER_VERSION, LaneHead, POLICY_VERSION, Quarantined, RECALL_VERSION, RENEW_VERSION,
        SetBack, WIRE_VERSION, Welcome,
    },
};

/// Times of a sender. The defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct SenderConfig {
    /// How long to wait for `Welcome`.
    pub greeting_timeout: Duration,
    /// How long a lane with blocks in flight may be without an ack.
    pub ack_timeout: Duration,
    /// How often to send a heartbeat.
    pub heartbeat_interval: Duration,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            greeting_timeout: GREETING_TIMEOUT,
            ack_timeout: ACK_TIMEOUT,
            heartbeat_interval: HEARTBEAT_INTERVAL,
        }
    }
}

/// What the driver must do or know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderEvent {
    /// The coordinator has greeted; blocks flow from here on. First the driver compares the checksums that came of the
    /// newest durable blocks with its own, and says by [`Sender::handle_set_back`] if one is another.
    Welcomed {
        /// What it said.
        welcome: Welcome,
        /// Checksum of the newest durable block, by lane, where the coordinator knows it.
        checks: [Option<u32>; Lane::COUNT],
    },
    /// The coordinator takes nothing, because another host uses this agent's identity since then.
    Quarantined(Timestamp),
    /// The coordinator wants the next certificate to be asked for now.
    RenewNow,
    /// All of the lane up to here is durable at the coordinator: the spool may let go of it.
    Acked {
        /// On which lane.
        lane: Lane,
        /// Up to which block.
        up_to: Seq,
    },
    /// All intervals up to here are durable at the coordinator: the ledger may let go of them.
    LedgerAcked {
        /// Number of the newest.
        up_to: u64,
    },
    /// The coordinator asks for what a rule held back: the driver answers with [`Sender::handle_recall_block`], any
    /// number of times, and [`Sender::handle_recall_end`].
    Recall(Recall),
    /// What the coordinator answers to [`Sender::handle_renewal`].
    Renewed(RenewReply),
    /// The coordinator offers a signed policy: the driver answers with [`Sender::handle_policy_ack`].
    Policy(PolicyOffer),
    /// The coordinator offers a trust bundle: the driver answers with [`Sender::handle_trust_ack`].
    Trust(TrustOffer),
    /// A heartbeat is due: the driver answers with [`Sender::handle_heartbeat`].
    HeartbeatDue,
    /// The coordinator ends the session.
    Goodbye(GoodbyeReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting { since: Instant },
    Quarantined,
    Streaming,
    Draining,
    Closed,
}

#[derive(Debug)]
struct InFlight {
    last: Seq,
    bytes: usize,
    /// When it was sent or, if that is later, when the one before it was acked.
    waits_since: Instant,
}

#[derive(Debug)]
struct LaneState {
    head: LaneHead,
    opened: bool,
    sent: Option<Seq>,
    acked: Option<Seq>,
    in_flight: VecDeque<InFlight>,
    bytes_in_flight: usize,
}

/// The intervals that may be sent, and how far they are.
#[derive(Debug, Default)]
struct LedgerState {
    window: Vec<Interval>,
    in_flight: Option<(u64, Instant)>,
    acked: u64,
}

/// The agent's half of a session.
#[derive(Debug)]
pub struct Sender {
    config: SenderConfig,
    phase: Phase,
    lanes: [LaneState; Lane::COUNT],
    window_blocks: usize,
    window_bytes: usize,
    heartbeat_at: Instant,
    /// Version of the frames that both sides use.
    version: u16,
    ledger: LedgerState,
    recall: Answering,
    /// Whether a certificate was asked for and did not come yet.
    is_renewing: bool,
    context: Option<(ContextVersion, Box<HostContext>)>,
    /// Whether that is to be sent although the coordinator has its version.
    is_context_news: bool,
    peer_context: ContextVersion,
    checks: [Option<u32>; Lane::COUNT],
    transmits: VecDeque<Transmit>,
    events: VecDeque<SenderEvent>,
}

impl Sender {
    /// Starts a session over a fresh connection; `hello` goes out first.
    #[must_use]
    pub fn new(config: SenderConfig, hello: Hello, now: Instant) -> Self {
        let lanes = hello.heads.map(|head| LaneState {
            head,
            opened: false,
            sent: None,
            acked: None,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
        });
        let hello = Transmit { stream: Stream::Control, frame: Frame::Hello(hello) };
        Self {
            config,
            phase: Phase::Greeting { since: now },
            lanes,
            window_blocks: 0,
            window_bytes: 0,
            heartbeat_at: now,
            version: 0,
            ledger: LedgerState::default(),
            recall: Answering::default(),
            is_renewing: false,
            context: None,
            is_context_news: false,
            peer_context: ContextVersion::default(),
            checks: [None; Lane::COUNT],
            transmits: VecDeque::from([hello]),
            events: VecDeque::new(),
        }
    }

    /// Takes a frame from the coordinator.
    ///
    /// # Errors
    /// The peer broke the protocol; the caller closes the connection.
    pub fn handle_frame(
        &mut self,
        stream: Stream,
        frame: Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        match (self.phase, stream, frame) {
            (Phase::Greeting { .. }, Stream::Control, Frame::Welcome(welcome)) => {
                self.resume_after(welcome, now)
            }
            (Phase::Streaming | Phase::Draining, Stream::Lane(lane), Frame::Ack { up_to }) => {
                self.acknowledge(lane, up_to, now)
            }
            (Phase::Streaming | Phase::Draining, Stream::Control, Frame::LedgerAck { up_to })
                if self.version >= LEDGER_VERSION =>
            {
                self.acknowledge_ledger(up_to, now);
                Ok(())
            }
            (Phase::Streaming, Stream::Control, Frame::Recall(recall))
                if self.version >= RECALL_VERSION =>
            {
                self.recall.handle(&recall)?;
                self.transmits.push_back(Answering::open(recall.id));
                self.events.push_back(SenderEvent::Recall(*recall));
                Ok(())
            }
            (Phase::Streaming | Phase::Draining, Stream::Control, Frame::Renewed(reply))
                if self.version >= RENEW_VERSION =>
            {
                if !std::mem::take(&mut self.is_renewing) {
                    return Err(ProtocolError::Renewal("an answer that nobody asked for"));
                }
                self.events.push_back(SenderEvent::Renewed(*reply));
                Ok(())
            }
            // Whoever drains answers nothing more; it is asked again.
            (Phase::Draining, Stream::Control, Frame::Recall(_)) => Ok(()),
            (_, Stream::Control, Frame::Goodbye(reason)) => {
                self.phase = Phase::Closed;
                self.events.push_back(SenderEvent::Goodbye(reason));
                Ok(())
            }
            (Phase::Closed, ..) => Ok(()),
            (_, Stream::Control, Frame::Policy(offer)) if self.takes_policies() => {
                // Whoever drains takes nothing new; it is offered again.
                if self.phase == Phase::Streaming {
                    self.events.push_back(SenderEvent::Policy(*offer));
                }
                Ok(())
            }
            (_, Stream::Control, Frame::Trust(offer)) if self.takes_policies() => {
                if self.phase == Phase::Streaming {
                    self.events.push_back(SenderEvent::Trust(*offer));
                }
                Ok(())
            }
            (_, stream, frame) => self.handle_claim(stream, &frame, now),
        }
    }

    fn takes_policies(&self) -> bool {
        let has_greeted = matches!(self.phase, Phase::Streaming | Phase::Draining);
        has_greeted && self.version >= POLICY_VERSION
    }

    /// Takes a frame that is about whose the identity is.
    fn handle_claim(
        &mut self,
        stream: Stream,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let has_greeted = matches!(self.phase, Phase::Streaming | Phase::Draining);
        match (self.phase, frame) {
            (Phase::Greeting { .. }, Frame::Checks(checks)) if stream == Stream::Control => {
                self.checks = *checks;
            }
            (Phase::Greeting { .. }, Frame::Quarantined(it)) if stream == Stream::Control => {
                self.wait_in_quarantine(*it, now)?;
            }
            (_, Frame::Probe) if stream == Stream::Control && has_greeted => {
                self.transmits.push_back(Transmit { stream, frame: Frame::Alive });
            }
            (_, Frame::RenewNow) if stream == Stream::Control && has_greeted => {
                self.events.push_back(SenderEvent::RenewNow);
            }
            (phase, frame) => {
                let phase = match phase {
                    Phase::Greeting { .. } => "before the greeting",
                    Phase::Quarantined => "in quarantine",
                    Phase::Streaming | Phase::Draining | Phase::Closed => "after the greeting",
                };
                return Err(ProtocolError::Unexpected { frame: frame.kind(), stream, phase });
            }
        }
        Ok(())
    }

    /// Takes what the spool holds durably by now.
    pub fn handle_heads(&mut self, heads: [LaneHead; Lane::COUNT]) {
        for (lane, head) in self.lanes.iter_mut().zip(heads) {
            debug_assert!(head.last >= lane.head.last, "a spool does not forget what it synced");
            lane.head = head;
        }
    }

    /// Returns the block that the lane could send next: durable, in order, within the window. The driver answers with
    /// [`Self::handle_block`] or [`Self::handle_gap`]. It asks the most urgent lane first.
    #[must_use]
    pub fn poll_want(&self, lane: Lane) -> Option<Seq> {
        let state = &self.lanes[lane.index()];
        let next = Seq::after(state.sent);
        let room = state.in_flight.is_empty()
            || (state.in_flight.len() < self.window_blocks
                && state.bytes_in_flight < self.window_bytes);
        (self.phase == Phase::Streaming && room && Some(next) <= state.head.last).then_some(next)
    }

    /// Takes the bytes of the block that [`Self::poll_want`] asked for.
    ///
    /// # Panics
    /// If it is another block: a driver's mistake.
    pub fn handle_block(&mut self, lane: Lane, seq: Seq, block: Bytes, now: Instant) {
        assert_eq!(self.poll_want(lane), Some(seq), "only the block that was asked for");
        let bytes = block.len();
        self.send(lane, seq, bytes, Frame::Block { seq, block }, now);
    }

    /// Takes the news that blocks from the one asked for on are lost.
    ///
    /// # Panics
    /// If the gap begins elsewhere, or ends behind the spool's last block: a driver's mistake.
    pub fn handle_gap(&mut self, lane: Lane, gap: Gap, now: Instant) {
        assert_eq!(self.poll_want(lane), Some(gap.first), "a gap begins at the block asked for");
        assert!(
            Some(gap.last) <= self.lanes[lane.index()].head.last,
            "a gap ends within the spool"
        );
        self.send(lane, gap.last, 0, Frame::Gap(gap), now);
    }

    /// Takes the oldest intervals that are not acked, in order. Each was made durable with its number, and is offered
    /// unchanged until it is acked.
    pub fn handle_ledger(&mut self, window: Vec<Interval>, now: Instant) {
        self.ledger.window = window;
        self.send_ledger(now);
    }

    /// Returns whether the coordinator has all intervals that were offered, or takes none.
    #[must_use]
    pub fn is_ledger_settled(&self) -> bool {
        let LedgerState { window, in_flight, acked } = &self.ledger;
        let is_acked = window.last().is_none_or(|newest| newest.number <= *acked);
        self.version < LEDGER_VERSION || (in_flight.is_none() && is_acked)
    }

    /// Takes a block of records that were asked for.
    ///
    /// # Panics
    /// If nothing was asked for: a driver's mistake.
    pub fn handle_recall_block(&mut self, block: Bytes) {
        if self.phase == Phase::Streaming {
            let transmit = self.recall.block(block);
            self.transmits.push_back(transmit);
        }
    }

    /// Takes the end of an answer.
    ///
    /// # Panics
    /// If it answers something that was not asked for last: a driver's mistake.
    pub fn handle_recall_end(&mut self, end: RecallEnd) {
        if self.phase == Phase::Streaming {
            let transmit = self.recall.end(end);
            self.transmits.push_back(transmit);
        }
    }

    /// Takes the host's context. It is sent when the coordinator does not have its version, and, once the coordinator
    /// has greeted, also when it says more than the one before in what makes no version.
    pub fn handle_context(&mut self, context: HostContext) {
        let is_same = self.context.as_ref().is_some_and(|(_, before)| **before == context);
        self.is_context_news = self.phase == Phase::Streaming && !is_same;
        self.context = Some((context.version(), Box::new(context)));
        self.send_context();
    }

    /// Takes the news that the spool is an older copy: the coordinator's newest block of the lane, `committed`, is
    /// another than the spool's of that number. The coordinator is told so, and the session is over.
    ///
    /// # Errors
    /// Always, with what is to be said of it.
    pub fn handle_set_back(&mut self, lane: Lane, committed: Seq) -> Result<(), ProtocolError> {
        let last = self.lanes[lane.index()].head.last;
        if self.version >= CLAIM_VERSION {
            let frame = Frame::SetBack(SetBack { lane, committed, last });
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
        self.phase = Phase::Closed;
        Err(ProtocolError::SpoolSetBack { lane, committed, last })
    }

    /// Returns whether the coordinator may be asked for the next certificate: it has greeted, speaks of renewals, and
    /// has answered the last one.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        self.phase == Phase::Streaming && self.version >= RENEW_VERSION && !self.is_renewing
    }

    /// Asks for the next certificate.
    ///
    /// # Panics
    /// Unless [`Self::can_renew`]: a driver's mistake.
    pub fn handle_renewal(&mut self, signing_request: Vec<u8>) {
        assert!(self.can_renew(), "one renewal after the other");
        self.is_renewing = true;
        let frame = Frame::Renew { signing_request };
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
    }

    /// Takes how it stands with a version of the policy: once the coordinator has greeted with the one that the agent
    /// has, then whenever that changes, and in answer to [`SenderEvent::Policy`].
    pub fn handle_policy_ack(&mut self, ack: PolicyAck) {
        if self.phase == Phase::Streaming && self.takes_policies() {
            let frame = Frame::PolicyAck(Box::new(ack));
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Takes how it stands with a trust bundle: once the coordinator has greeted with the one that the agent has, then
    /// in answer to [`SenderEvent::Trust`].
    pub fn handle_trust_ack(&mut self, ack: TrustAck) {
        if self.phase == Phase::Streaming && self.takes_policies() {
            let frame = Frame::TrustAck(Box::new(ack));
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Takes what a heartbeat says, as an answer to [`SenderEvent::HeartbeatDue`].
    pub fn handle_heartbeat(&mut self, sent_at: Timestamp, stats: AgentStats) {
        if matches!(self.phase, Phase::Streaming | Phase::Draining | Phase::Quarantined) {
            let last = std::array::from_fn(|lane| self.lanes[lane].head.last);
            let frame = Frame::Heartbeat(Heartbeat { sent_at, last, stats });
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    /// Stops sending new blocks; `Goodbye` goes out once nothing is in flight. See [`Self::is_drained`].
    pub fn handle_shutdown(&mut self) {
        match self.phase {
            Phase::Greeting { .. } | Phase::Quarantined => self.phase = Phase::Closed,
            Phase::Streaming => {
                self.phase = Phase::Draining;
                self.finish_draining();
            }
            Phase::Draining | Phase::Closed => {}
        }
    }

    /// Takes the passing of time.
    ///
    /// # Errors
    /// The peer did not answer in time; the caller closes the connection and dials anew.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        while let Some((at, wake)) = self.poll_timeout() {
            if at > now {
                break;
            }
            match wake {
                Wake::HeartbeatDue => {
                    self.heartbeat_at = now + self.config.heartbeat_interval;
                    self.events.push_back(SenderEvent::HeartbeatDue);
                }
                Wake::GreetingOverdue | Wake::AckOverdue | Wake::Silence => {
                    self.phase = Phase::Closed;
                    return Err(ProtocolError::Timeout(wake));
                }
            }
        }
        Ok(())
    }

    /// Returns the next frame to send.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Returns the next thing that the driver must do or know.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<SenderEvent> {
        self.events.pop_front()
    }

    /// Returns when to call [`Self::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        match self.phase {
            Phase::Closed => None,
            Phase::Greeting { since } => {
                Some((since + self.config.greeting_timeout, Wake::GreetingOverdue))
            }
            Phase::Quarantined => Some((self.heartbeat_at, Wake::HeartbeatDue)),
            Phase::Streaming | Phase::Draining => {
                let oldest = self.lanes.iter().filter_map(|lane| lane.in_flight.front());
                let sent_at = oldest.map(|block| block.waits_since);
                let sent_at = sent_at.chain(self.ledger.in_flight.map(|(_, sent_at)| sent_at));
                let overdue = sent_at.min().map(|sent_at| sent_at + self.config.ack_timeout);
                let beat = (self.phase == Phase::Streaming)
                    .then_some((self.heartbeat_at, Wake::HeartbeatDue));
                earlier(overdue.map(|at| (at, Wake::AckOverdue)), beat)
            }
        }
    }

    /// Returns how many blocks of the lane are in flight.
    #[must_use]
    pub fn in_flight(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].in_flight.len()
    }

    /// Returns whether everything is acked that was sent, and no more will be sent.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn wait_in_quarantine(
        &mut self,
        Quarantined { version, since }: Quarantined,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if !(CLAIM_VERSION..=WIRE_VERSION).contains(&version) {
            return Err(ProtocolError::Version(version));
        }
        self.version = version;
        self.phase = Phase::Quarantined;
        self.heartbeat_at = now;
        self.events.push_back(SenderEvent::Quarantined(since));
        self.send_context();
        Ok(())
    }

    fn resume_after(&mut self, welcome: Welcome, now: Instant) -> Result<(), ProtocolError> {
        if welcome.version == 0 || welcome.version > WIRE_VERSION {
            return Err(ProtocolError::Version(welcome.version));
        }
        for (lane, committed) in Lane::ALL.into_iter().zip(welcome.committed) {
            let last = self.lanes[lane.index()].head.last;
            if let Some(committed) = committed.filter(|seq| Some(*seq) > last) {
                return Err(ProtocolError::SpoolSetBack { lane, committed, last });
            }
        }
        // Before what is acked: the driver still has the blocks to compare.
        let (committed, checks) = (welcome.committed, self.checks);
        self.events.push_back(SenderEvent::Welcomed { welcome: welcome.clone(), checks });
        for (lane, committed) in Lane::ALL.into_iter().zip(committed) {
            let state = &mut self.lanes[lane.index()];
            state.sent = committed;
            state.acked = committed;
            if let Some(up_to) = committed {
                self.events.push_back(SenderEvent::Acked { lane, up_to });
            }
        }
        self.phase = Phase::Streaming;
        self.heartbeat_at = now;
        self.window_blocks = welcome.window_blocks.clamp(1, WINDOW_BLOCKS_MAX) as usize;
        self.window_bytes = (welcome.window_bytes as usize).min(WINDOW_BYTES_MAX);
        self.peer_context = welcome.context;
        self.version = welcome.version;
        self.send_context();
        self.send_ledger(now);
        Ok(())
    }

    fn acknowledge(&mut self, lane: Lane, up_to: Seq, now: Instant) -> Result<(), ProtocolError> {
        let state = &mut self.lanes[lane.index()];
        if Some(up_to) > state.sent {
            return Err(ProtocolError::AckAhead { lane, up_to, last_sent: state.sent });
        }
        if Some(up_to) <= state.acked {
            return Ok(()); // an older ack that was overtaken says nothing new
        }
        while let Some(block) = state.in_flight.pop_front_if(|block| block.last <= up_to) {
            state.bytes_in_flight -= block.bytes;
        }
        // A coordinator that takes one after the other, as slowly as its quotas say, is there.
        if let Some(next) = state.in_flight.front_mut() {
            next.waits_since = now;
        }
        state.acked = Some(up_to);
        self.events.push_back(SenderEvent::Acked { lane, up_to });
        if self.phase == Phase::Draining {
            self.finish_draining();
        }
        Ok(())
    }

    /// Takes an ack of the ledger. A number that was never offered is no error: the coordinator may have had it from a
    /// spool that was set back since, and whoever keeps the ledger knows what that means.
    fn acknowledge_ledger(&mut self, up_to: u64, now: Instant) {
        if self.ledger.in_flight.is_some_and(|(last, _)| last <= up_to) {
            self.ledger.in_flight = None;
        }
        if up_to > self.ledger.acked {
            self.ledger.acked = up_to;
            self.events.push_back(SenderEvent::LedgerAcked { up_to });
        }
        self.send_ledger(now);
        if self.phase == Phase::Draining {
            self.finish_draining();
        }
    }

    /// Sends the next frame of the ledger, unless one is in flight.
    fn send_ledger(&mut self, now: Instant) {
        let is_open = self.phase == Phase::Streaming && self.version >= LEDGER_VERSION;
        if !is_open || self.ledger.in_flight.is_some() {
            return;
        }
        let mut bytes = 0;
        let acked = self.ledger.acked;
        let mut due = self.ledger.window.iter().filter(|interval| interval.number > acked);
        let fits = |interval: &&Interval| {
            bytes += interval.encode().len();
            bytes <= LEDGER_FRAME_BYTES_MAX
        };
        let Some(first) = due.next() else { return };
        let rest = due.take(LEDGER_FRAME_INTERVALS_MAX - 1).take_while(fits);
        let intervals: Vec<Interval> = [first].into_iter().chain(rest).cloned().collect();
        let last = intervals.last().map_or(0, |interval| interval.number);
        self.ledger.in_flight = Some((last, now));
        let frame = Frame::Ledger(intervals);
        self.transmits.push_back(Transmit { stream: Stream::Control, frame });
    }

    fn send(&mut self, lane: Lane, last: Seq, bytes: usize, frame: Frame, now: Instant) {
        let state = &mut self.lanes[lane.index()];
        let stream = Stream::Lane(lane);
        if !std::mem::replace(&mut state.opened, true) {
            self.transmits.push_back(Transmit { stream, frame: Frame::LaneOpen(lane) });
        }
        state.sent = Some(last);
        state.in_flight.push_back(InFlight { last, bytes, waits_since: now });
        state.bytes_in_flight += bytes;
        self.transmits.push_back(Transmit { stream, frame });
    }

    fn send_context(&mut self) {
        if !matches!(self.phase, Phase::Streaming | Phase::Quarantined) {
            return;
        }
        let Some((version, context)) = &self.context else { return };
        let (version, context) = if self.version < CONTEXT_VERSION {
            let first = context.in_first_form();
            (first.version(), Box::new(first))
        } else {
            (*version, context.clone())
        };
        if version != self.peer_context || std::mem::take(&mut self.is_context_news) {
            self.peer_context = version;
            let frame = Frame::Context(context);
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
        }
    }

    fn finish_draining(&mut self) {
        let is_ledger_done = self.ledger.in_flight.is_none();
        if is_ledger_done && self.lanes.iter().all(|lane| lane.in_flight.is_empty()) {
            let frame = Frame::Goodbye(GoodbyeReason::Shutdown);
            self.transmits.push_back(Transmit { stream: Stream::Control, frame });
            self.phase = Phase::Closed;
        }
    }
}
