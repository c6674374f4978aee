//! Both halves of a session under any order of operations, loss of connection, and frames of a peer that lies.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use shared::{
    context::{ContextVersion, HostContext},
    ids::{BootId, Epoch, Lane, Seq},
    ledger::Interval,
    policy::{PolicyAck, PolicyDigest, PolicyOffer, PolicyOutcome},
    recall::{Recall, RecallEnd, RecallId, RecallOutcome},
    renewal::{RenewRefusal, RenewReply},
    session::{
        ProtocolError, Receiver, ReceiverConfig, ReceiverEvent, Sender, SenderConfig, SenderEvent,
        Stream, Transmit,
    },
    time::Timestamp,
    trust::{TrustAck, TrustOffer},
    wire::{AgentStats, Frame, Gap, GapReason, GoodbyeReason, Hello, LaneHead, WIRE_VERSION},
};

use super::input::Input;

/// Most operations of one run.
const OPS_MAX: usize = 400;

/// Most blocks a lane.
const BLOCKS_MAX: usize = 400;

/// Most intervals of the ledger that are offered at once.
const LEDGER_WINDOW: u64 = 40;

const STREAMS: [Stream; 5] = [
    Stream::Control,
    Stream::Lane(Lane::Urgent),
    Stream::Lane(Lane::Normal),
    Stream::Lane(Lane::Bulk),
    Stream::Recall,
];

/// Runs the operations that `data` says on an honest pair, and its frames on two machines with a lying peer. All that
/// was made is stored once and in order, and acked only then (L1, L2).
///
/// # Panics
/// If not so.
pub fn session_operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pair = Pair::new(&mut input);
    let mut lied_to = LiedTo::new(pair.now);
    for _ in 0..OPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            14 => lied_to.receive(&mut input),
            15 => lied_to.send(&mut input),
            op => pair.apply(op, &mut input),
        }
    }
    pair.heal();
}

/// What a spool holds under a number: bytes, or nothing any more.
type Made = Option<Bytes>;

/// An agent and a coordinator with what is durable at each, and the streams between them.
struct Pair {
    now: Instant,
    window_blocks: u32,
    sender: Sender,
    receiver: Receiver,
    /// Frames on their way, by stream: order is kept within a stream and not between them.
    up: [VecDeque<Frame>; STREAMS.len()],
    down: [VecDeque<Frame>; STREAMS.len()],
    spool: [Vec<Made>; Lane::COUNT],
    stored: [Vec<Made>; Lane::COUNT],
    /// Received and not stored yet.
    waiting: [VecDeque<Made>; Lane::COUNT],
    acked: [usize; Lane::COUNT],
    ledger: LedgerPair,
    recall: RecallPair,
    policy: OfferPair,
    trust: OfferPair,
}

/// The version that is offered and not answered, and the one that the agent has to answer.
#[derive(Default)]
struct OfferPair {
    asked: Option<u64>,
    offered: Option<u64>,
}

/// What the agent answers, and how many blocks it has sent.
#[derive(Default)]
struct RecallPair {
    asked: Option<RecallId>,
    sent: usize,
}

/// How far the ledger is, at both ends.
#[derive(Default)]
struct LedgerPair {
    made: u64,
    stored: u64,
    /// Received and not stored yet: the last number of each frame.
    waiting: VecDeque<u64>,
    acked: u64,
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn new(input: &mut Input<'_>) -> Self {
        let now = Instant::now();
        let window_blocks = u32::from(input.byte() % 6) + 1;
        Self {
            now,
            window_blocks,
            sender: Sender::new(SenderConfig::default(), hello(&Default::default()), now),
            receiver: receiver(window_blocks, now),
            up: Default::default(),
            down: Default::default(),
            spool: Default::default(),
            stored: Default::default(),
            waiting: Default::default(),
            acked: [0; Lane::COUNT],
            ledger: LedgerPair::default(),
            recall: RecallPair::default(),
            policy: OfferPair::default(),
            trust: OfferPair::default(),
        }
    }

    fn apply(&mut self, op: u8, input: &mut Input<'_>) {
        let lane = input.choose(&Lane::ALL);
        let stream = usize::from(input.byte()) % STREAMS.len();
        match op {
            0 | 1 => self.make(lane, usize::from(input.byte() % 8), op == 0),
            2 | 3 => _ = self.offer(lane),
            4 => _ = self.pump(),
            5 | 6 => _ = self.deliver_up(stream),
            7 | 8 => _ = self.deliver_down(stream),
            9 => match input.byte() {
                count @ 0..128 => _ = self.commit(lane, usize::from(count % 4)),
                count @ 128..192 => self.close(u64::from(count % 8)),
                192.. => _ = self.commit_ledger(),
            },
            10 => self.disconnect(usize::from(input.byte() % 4)),
            11 => self.pass_time(Duration::from_secs(u64::from(input.byte() % 16))),
            12 => self.say(input.byte()),
            _ => match input.byte() {
                0..192 => _ = self.offer(lane) && self.pump() && self.deliver_up(stream),
                what @ 192..224 => self.recall(what),
                what @ 224..240 => self.policy(what),
                what => self.trust(what),
            },
        }
    }

    /// Asks for something, or goes on with the answer; the machines keep the turns (one after the other).
    fn recall(&mut self, what: u8) {
        match (self.recall.asked, what % 4) {
            (None, 0) if self.receiver.can_recall() => {
                let id = RecallId::from_bytes([what; 16]);
                let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
                let recall = Recall { id, rule: "rule".into(), since, until, bytes_max: 64 };
                self.receiver.handle_recall(recall);
            }
            (Some(_), 1 | 2) if self.recall.sent < 64 => {
                self.recall.sent += 1;
                self.sender.handle_recall_block(Bytes::from_static(b"b"));
            }
            (Some(id), 3) => {
                self.sender.handle_recall_end(RecallEnd::empty(id, RecallOutcome::Answered));
                self.recall = RecallPair::default();
            }
            _ => {}
        }
    }

    /// Says which policy the agent has, offers it one, or answers the offer; the machines keep the turns.
    fn policy(&mut self, what: u8) {
        let version = u64::from(what);
        match (self.policy.offered, what % 2) {
            (None, 0) if self.receiver.can_offer_policy() => {
                self.policy.asked = Some(version);
                self.receiver.handle_policy(PolicyOffer { version, envelope: vec![what] });
            }
            (Some(version), 1) => {
                self.sender.handle_policy_ack(PolicyAck {
                    version,
                    outcome: PolicyOutcome::InForce,
                    ..PolicyAck::nothing()
                });
                self.policy.offered = None;
            }
            (None, _) => self.sender.handle_policy_ack(PolicyAck::nothing()),
            (Some(_), _) => {}
        }
    }

    /// The same with trust bundles.
    fn trust(&mut self, what: u8) {
        let sequence = u64::from(what);
        match (self.trust.offered, what % 2) {
            (None, 0) if self.receiver.can_offer_trust() => {
                self.trust.asked = Some(sequence);
                self.receiver.handle_trust(TrustOffer { sequence, envelope: vec![what] });
            }
            (Some(sequence), 1) => {
                self.sender.handle_trust_ack(TrustAck::in_force(sequence, PolicyDigest::default()));
                self.trust.offered = None;
            }
            (None, _) => self.sender.handle_trust_ack(TrustAck::nothing()),
            (Some(_), _) => {}
        }
    }

    /// Makes blocks durable at the agent, or makes them and loses them.
    fn make(&mut self, lane: Lane, count: usize, is_kept: bool) {
        let spool = &mut self.spool[lane.index()];
        for _ in 0..count.min(BLOCKS_MAX - spool.len().min(BLOCKS_MAX)) {
            let text = format!("{lane} {}", spool.len() + 1);
            spool.push(is_kept.then(|| Bytes::from(text)));
        }
        self.sender.handle_heads(heads(&self.spool));
    }

    /// Makes intervals of the ledger, and offers the oldest that are not acked.
    fn close(&mut self, count: u64) {
        self.ledger.made += count;
        let LedgerPair { made, acked, .. } = self.ledger;
        let interval = |number| Interval { number, ..Interval::default() };
        let window = (acked + 1..=made.min(acked + LEDGER_WINDOW)).map(interval).collect();
        self.sender.handle_ledger(window, self.now);
    }

    /// Stores a frame of the ledger, and only then says so.
    fn commit_ledger(&mut self) -> bool {
        let is_stored = self.store_ledger();
        if is_stored {
            self.receiver.handle_ledger_committed(self.ledger.stored);
        }
        is_stored
    }

    fn store_ledger(&mut self) -> bool {
        let Some(last) = self.ledger.waiting.pop_front() else { return false };
        self.ledger.stored = self.ledger.stored.max(last);
        true
    }

    /// Offers the lane's next block, or what stands for it.
    fn offer(&mut self, lane: Lane) -> bool {
        let Some(seq) = self.sender.poll_want(lane) else { return false };
        let spool = &self.spool[lane.index()];
        let at = index(seq);
        if let Some(block) = &spool[at] {
            self.sender.handle_block(lane, seq, block.clone(), self.now);
            return true;
        }
        let lost = spool[at..].iter().take_while(|made| made.is_none()).count();
        let reason = if lost % 2 == 0 { GapReason::Damaged } else { GapReason::Skipped };
        let gap = Gap { first: seq, last: number(at + lost), reason };
        self.sender.handle_gap(lane, gap, self.now);
        true
    }

    /// Puts all that both ends have to say on its way.
    fn pump(&mut self) -> bool {
        let mut moved = false;
        while let Some(Transmit { stream, frame }) = self.sender.poll_transmit() {
            self.up[place(stream)].push_back(frame);
            moved = true;
        }
        while let Some(Transmit { stream, frame }) = self.receiver.poll_transmit() {
            if let (Stream::Lane(lane), Frame::Ack { up_to }) = (stream, &frame) {
                let stored = self.stored[lane.index()].len();
                assert!(index(*up_to) < stored, "L1: {lane} {up_to} is acked of {stored}");
            }
            if let Frame::LedgerAck { up_to } = &frame {
                assert!(*up_to <= self.ledger.stored, "L1: the ledger's {up_to} is acked");
            }
            self.down[place(stream)].push_back(frame);
            moved = true;
        }
        moved
    }

    fn deliver_up(&mut self, stream: usize) -> bool {
        let Some(frame) = self.up[stream].pop_front() else { return false };
        let taken = self.receiver.handle_frame(STREAMS[stream], frame, self.now);
        taken.expect("an honest agent breaks no rule");
        while let Some(event) = self.receiver.poll_event() {
            self.take(event);
        }
        true
    }

    fn take(&mut self, event: ReceiverEvent) {
        match event {
            ReceiverEvent::Greeted(hello) => {
                assert_eq!(hello.epoch, Epoch(1));
                let cursors = self.stored.each_ref().map(|stored| Seq::new(stored.len() as u64));
                self.receiver.handle_cursors(
                    cursors,
                    [None; Lane::COUNT],
                    ContextVersion::default(),
                );
                self.receiver.handle_ledger_committed(self.ledger.stored);
            }
            ReceiverEvent::Ledger(intervals) => {
                let (first, last) = (intervals[0].number, intervals[intervals.len() - 1].number);
                let LedgerPair { made, stored, waiting, .. } = &mut self.ledger;
                let due = waiting.back().map_or(*stored, |last| (*stored).max(*last)) + 1;
                assert!(first <= due && last <= *made, "the ledger goes on without a gap");
                waiting.push_back(last);
            }
            ReceiverEvent::Block { lane, seq, block } => self.queue(lane, seq, seq, Some(block)),
            ReceiverEvent::Gap { lane, gap } => self.queue(lane, gap.first, gap.last, None),
            ReceiverEvent::Renew(_) => {
                self.receiver.handle_renewed(RenewReply::Refused(RenewRefusal::Unavailable));
            }
            ReceiverEvent::PolicyAck(ack) => {
                if self.policy.asked == Some(ack.version) {
                    self.policy.asked = None;
                }
            }
            ReceiverEvent::TrustAck(ack) => {
                self.trust.asked.take_if(|asked| *asked == ack.sequence);
            }
            ReceiverEvent::RecallOpened(_)
            | ReceiverEvent::RecallBlock { .. }
            | ReceiverEvent::RecallEnded(_)
            | ReceiverEvent::Context(_)
            | ReceiverEvent::Heartbeat(_)
            | ReceiverEvent::Alive
            | ReceiverEvent::SetBack(_)
            | ReceiverEvent::Goodbye(_) => {}
        }
    }

    fn queue(&mut self, lane: Lane, first: Seq, last: Seq, made: Made) {
        let at = lane.index();
        let due = self.stored[at].len() + self.waiting[at].len();
        assert_eq!(index(first), due, "L2: {lane} goes on with its next number");
        self.waiting[at].extend((due..=index(last)).map(|_| made.clone()));
    }

    /// Stores what waits of a lane, up to `count` numbers, and only then says so.
    fn commit(&mut self, lane: Lane, count: usize) -> bool {
        let count = self.store(lane, count);
        if count > 0 {
            self.receiver.handle_committed(lane, number(self.stored[lane.index()].len()));
        }
        count > 0
    }

    fn store(&mut self, lane: Lane, count: usize) -> usize {
        let at = lane.index();
        let count = count.min(self.waiting[at].len());
        self.stored[at].extend(self.waiting[at].drain(..count));
        let stored = &self.stored[at];
        assert_eq!(stored[..], self.spool[at][..stored.len()], "L2: {lane}, in order and once");
        count
    }

    fn deliver_down(&mut self, stream: usize) -> bool {
        let Some(frame) = self.down[stream].pop_front() else { return false };
        let taken = self.sender.handle_frame(STREAMS[stream], frame, self.now);
        taken.expect("an honest coordinator breaks no rule");
        self.hear();
        true
    }

    fn hear(&mut self) {
        while let Some(event) = self.sender.poll_event() {
            match event {
                SenderEvent::Acked { lane, up_to } => {
                    let at = lane.index();
                    assert!(up_to.as_u64() <= self.stored[at].len() as u64, "L1: {lane} {up_to}");
                    assert!(index(up_to) + 1 >= self.acked[at], "acks do not go back");
                    self.acked[at] = index(up_to) + 1;
                }
                SenderEvent::LedgerAcked { up_to } => {
                    assert!(up_to <= self.ledger.stored, "L1: the ledger's {up_to}");
                    assert!(up_to >= self.ledger.acked, "acks do not go back");
                    self.ledger.acked = up_to;
                }
                SenderEvent::Recall(recall) => {
                    assert!(self.recall.asked.is_none(), "one recall after the other");
                    self.recall = RecallPair { asked: Some(recall.id), sent: 0 };
                }
                SenderEvent::HeartbeatDue => {
                    self.sender.handle_heartbeat(Timestamp::ZERO, AgentStats::default());
                    if self.sender.can_renew() {
                        self.sender.handle_renewal(vec![1]);
                    }
                }
                SenderEvent::Renewed(reply) => {
                    assert_eq!(reply, RenewReply::Refused(RenewRefusal::Unavailable));
                }
                SenderEvent::Policy(offer) => {
                    assert_eq!(Some(offer.version), self.policy.asked, "one offer at a time");
                    self.policy.offered = Some(offer.version);
                }
                SenderEvent::Trust(offer) => {
                    assert_eq!(Some(offer.sequence), self.trust.asked, "one offer at a time");
                    self.trust.offered = Some(offer.sequence);
                }
                SenderEvent::Quarantined(_) => panic!("nobody else has this identity"),
                SenderEvent::Welcomed { .. } | SenderEvent::RenewNow | SenderEvent::Goodbye(_) => {}
            }
        }
    }

    /// Loses the connection; what waits at the coordinator's writer is stored up to `count`.
    fn disconnect(&mut self, count: usize) {
        for lane in Lane::ALL {
            self.store(lane, count);
        }
        if count > 1 {
            self.store_ledger();
        }
        self.ledger.waiting.clear();
        self.recall = RecallPair::default();
        self.policy = OfferPair::default();
        self.trust = OfferPair::default();
        self.waiting = Default::default();
        self.up = Default::default();
        self.down = Default::default();
        self.sender = Sender::new(SenderConfig::default(), hello(&self.spool), self.now);
        self.receiver = receiver(self.window_blocks, self.now);
        self.close(0);
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        let ends = [self.sender.handle_timeout(self.now), self.receiver.handle_timeout(self.now)];
        for end in &ends {
            assert!(matches!(end, Ok(()) | Err(ProtocolError::Timeout(_))), "{end:?}");
        }
        self.hear();
        if ends.iter().any(Result::is_err) {
            self.disconnect(1);
        }
    }

    fn say(&mut self, what: u8) {
        match what % 4 {
            0 => self.sender.handle_shutdown(),
            1 => self.receiver.handle_close(GoodbyeReason::MaxAge),
            _ => {
                let hostname = format!("host-{}", what / 4);
                let context = HostContext { hostname, ..HostContext::default() };
                self.sender.handle_context(context);
            }
        }
    }

    /// Connects anew and carries everything, until nothing moves: then nothing is missing.
    fn heal(&mut self) {
        self.disconnect(0);
        let mut moved = true;
        while moved {
            moved = self.pump();
            for stream in 0..STREAMS.len() {
                moved |= self.deliver_up(stream) || self.deliver_down(stream);
            }
            for lane in Lane::ALL {
                moved |= self.offer(lane) | self.commit(lane, usize::MAX);
            }
            moved |= self.commit_ledger();
            if self.ledger.acked < self.ledger.made && !moved {
                assert!(self.sender.is_ledger_settled(), "the ledger moves on");
                self.close(0);
                moved = true;
            }
        }
        assert_eq!(self.ledger.acked, self.ledger.made, "L4: the whole ledger is acked");
        assert_eq!(self.stored, self.spool, "L4: all is stored");
        for (acked, spool) in self.acked.iter().zip(&self.spool) {
            assert_eq!(*acked, spool.len(), "all is acked");
        }
    }
}

/// A receiver and a sender whose peers send whatever they like.
struct LiedTo {
    now: Instant,
    receiver: Receiver,
    committed: [u64; Lane::COUNT],
    received: [u64; Lane::COUNT],
    sender: Sender,
    sent: [u64; Lane::COUNT],
}

impl LiedTo {
    fn new(now: Instant) -> Self {
        Self {
            now,
            receiver: receiver(4, now),
            committed: [0; Lane::COUNT],
            received: [0; Lane::COUNT],
            sender: Self::sender(now),
            sent: [0; Lane::COUNT],
        }
    }

    fn sender(now: Instant) -> Sender {
        let spool = [20, 20, 20].map(|len| vec![None; len]);
        Sender::new(SenderConfig::default(), hello(&spool), now)
    }

    /// Gives the receiver a frame, and now and then the news that all of it is durable.
    fn receive(&mut self, input: &mut Input<'_>) {
        let stream = input.choose(&STREAMS);
        let commits = input.byte().is_multiple_of(2);
        let Some(frame) = frame(input) else { return };
        if self.receiver.handle_frame(stream, frame, self.now).is_err() {
            self.receiver = receiver(4, self.now);
            (self.committed, self.received) = ([0; Lane::COUNT], [0; Lane::COUNT]);
            return;
        }
        while let Some(event) = self.receiver.poll_event() {
            let (lane, first, last) = match event {
                ReceiverEvent::Block { lane, seq, .. } => (lane.index(), seq, seq),
                ReceiverEvent::Gap { lane, gap } => (lane.index(), gap.first, gap.last),
                ReceiverEvent::Greeted(_) if input.byte().is_multiple_of(8) => {
                    // In quarantine nothing is taken, whatever comes.
                    let _is_understood = self.receiver.handle_quarantine(Timestamp::ZERO);
                    continue;
                }
                ReceiverEvent::Greeted(_) => {
                    let committed = self.committed.map(Seq::new);
                    let checks = [commits.then_some(1); Lane::COUNT];
                    self.receiver.handle_cursors(committed, checks, ContextVersion::default());
                    self.receiver.handle_probe();
                    self.receiver.handle_ledger_committed(0);
                    continue;
                }
                ReceiverEvent::Ledger(intervals) => {
                    let last = intervals[intervals.len() - 1].number;
                    if commits {
                        self.receiver.handle_ledger_committed(last);
                    }
                    continue;
                }
                _ => continue,
            };
            assert_eq!(first.as_u64(), self.received[lane] + 1, "L2: the next number");
            assert!(last >= first);
            self.received[lane] = last.as_u64();
            if commits {
                self.committed[lane] = last.as_u64();
                self.receiver.handle_committed(Lane::ALL[lane], last);
            }
        }
        while let Some(Transmit { stream, frame }) = self.receiver.poll_transmit() {
            if let (Stream::Lane(lane), Frame::Ack { up_to }) = (stream, frame) {
                assert!(up_to.as_u64() <= self.committed[lane.index()], "L1");
            }
        }
    }

    /// Gives the sender a frame; it lets go of nothing that it has not sent, unless the coordinator claims to have had
    /// it before.
    fn send(&mut self, input: &mut Input<'_>) {
        let stream = input.choose(&STREAMS);
        let Some(frame) = frame(input) else { return };
        if let Frame::Welcome(welcome) = &frame {
            self.sent = welcome.committed.map(|seq| seq.map_or(0, Seq::as_u64));
        }
        if self.sender.handle_frame(stream, frame, self.now).is_err() {
            (self.sender, self.sent) = (Self::sender(self.now), [0; Lane::COUNT]);
            return;
        }
        while let Some(event) = self.sender.poll_event() {
            if let SenderEvent::Acked { lane, up_to } = event {
                assert!(up_to.as_u64() <= self.sent[lane.index()], "acked what was not sent");
                assert!(up_to.as_u64() <= 20, "acked what was never made");
            }
        }
        for lane in Lane::ALL {
            if let Some(seq) = self.sender.poll_want(lane) {
                self.sender.handle_block(lane, seq, Bytes::from_static(b"block"), self.now);
                self.sent[lane.index()] = seq.as_u64();
            }
        }
        let newest = u64::from(input.byte() % 4);
        let interval = |number| Interval { number, ..Interval::default() };
        self.sender.handle_ledger((1..=newest).map(interval).collect(), self.now);
        while self.sender.poll_transmit().is_some() {}
    }
}

/// Returns a frame that a liar sends: most are short, so that many fit.
fn frame(input: &mut Input<'_>) -> Option<Frame> {
    let len = usize::from(input.byte());
    Frame::decode(Bytes::copy_from_slice(input.bytes(len))).ok()
}

fn receiver(window_blocks: u32, now: Instant) -> Receiver {
    Receiver::new(ReceiverConfig { window_blocks, ..ReceiverConfig::default() }, now)
}

fn heads(spool: &[Vec<Made>; Lane::COUNT]) -> [LaneHead; Lane::COUNT] {
    spool.each_ref().map(|made| LaneHead { first: Seq::FIRST, last: Seq::new(made.len() as u64) })
}

fn hello(spool: &[Vec<Made>; Lane::COUNT]) -> Hello {
    Hello {
        version: WIRE_VERSION,
        epoch: Epoch(1),
        boot: BootId(1),
        heads: heads(spool),
        agent_version: String::new(),
        context: ContextVersion::default(),
    }
}

fn place(stream: Stream) -> usize {
    STREAMS.iter().position(|other| *other == stream).expect("all streams are listed")
}

fn index(seq: Seq) -> usize {
    usize::try_from(seq.as_u64() - 1).expect("few blocks")
}

fn number(count: usize) -> Seq {
    Seq::new(count as u64).expect("numbers begin at 1")
}
