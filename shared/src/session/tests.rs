mod policy;
mod trust;

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    context::{ContextVersion, HostContext},
    ids::{BootId, Epoch},
    ledger::Interval,
    policy::{PolicyAck, PolicyOffer},
    recall::{Recall, RecallEnd, RecallId, RecallOutcome},
    renewal::{RenewRefusal, RenewReply},
    time::Timestamp,
    trust::{TrustAck, TrustOffer},
    wire::{
        AgentStats, CLAIM_VERSION, Gap, GapReason, GoodbyeReason, Hello, LaneHead, SetBack,
        WIRE_VERSION,
    },
};

/// Both ends of a session and the spool and store behind them, with no socket and no sleep.
struct Pair {
    now: Instant,
    sender: Sender,
    receiver: Receiver,
    made: [u64; Lane::COUNT],
    stored: [Vec<Seq>; Lane::COUNT],
    committed: [Option<Seq>; Lane::COUNT],
    waiting: VecDeque<(Lane, Seq)>,
    acked: [Option<Seq>; Lane::COUNT],
    contexts: Vec<HostContext>,
    heartbeats: usize,
    commits_held: bool,
    ledger: Vec<u64>,
    ledger_waiting: VecDeque<u64>,
    ledger_acked: u64,
    recalled: Vec<Recall>,
    answers: Vec<ReceiverEvent>,
    signing_requests: Vec<Vec<u8>>,
    renewed: Vec<RenewReply>,
    /// Whether another host has the identity.
    is_contested: bool,
    quarantined: Option<Timestamp>,
    renew_asked: usize,
    alive: usize,
    checks: [Option<u32>; Lane::COUNT],
    checked: Option<[Option<u32>; Lane::COUNT]>,
    set_backs: Vec<SetBack>,
    offered: Vec<PolicyOffer>,
    policy_acks: Vec<PolicyAck>,
    bundles: Vec<TrustOffer>,
    trust_acks: Vec<TrustAck>,
}

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn head(made: u64) -> LaneHead {
    LaneHead { first: Seq::FIRST, last: Seq::new(made) }
}

fn hello(made: [u64; Lane::COUNT]) -> Hello {
    Hello {
        version: WIRE_VERSION,
        epoch: Epoch(1),
        boot: BootId(1),
        heads: made.map(head),
        agent_version: String::new(),
        context: ContextVersion(0),
    }
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn new(made: [u64; Lane::COUNT]) -> Self {
        let now = Instant::now();
        let config = ReceiverConfig { window_blocks: 4, ..ReceiverConfig::default() };
        Self {
            now,
            sender: Sender::new(SenderConfig::default(), hello(made), now),
            receiver: Receiver::new(config, now),
            made,
            stored: Default::default(),
            committed: [None; Lane::COUNT],
            waiting: VecDeque::new(),
            acked: [None; Lane::COUNT],
            contexts: Vec::new(),
            heartbeats: 0,
            commits_held: false,
            ledger: Vec::new(),
            ledger_waiting: VecDeque::new(),
            ledger_acked: 0,
            recalled: Vec::new(),
            answers: Vec::new(),
            signing_requests: Vec::new(),
            renewed: Vec::new(),
            is_contested: false,
            quarantined: None,
            renew_asked: 0,
            alive: 0,
            checks: [None; Lane::COUNT],
            checked: None,
            set_backs: Vec::new(),
            offered: Vec::new(),
            policy_acks: Vec::new(),
            bundles: Vec::new(),
            trust_acks: Vec::new(),
        }
    }

    /// The connection breaks; both ends start again over the same spool and store.
    fn reconnect(&mut self) {
        self.sender = Sender::new(SenderConfig::default(), hello(self.made), self.now);
        let config = ReceiverConfig { window_blocks: 4, ..ReceiverConfig::default() };
        self.receiver = Receiver::new(config, self.now);
        self.waiting.clear();
        self.ledger_waiting.clear();
    }

    /// Offers the intervals from the first that is not acked up to `last`.
    fn offer_ledger(&mut self, last: u64) {
        let interval = |number| Interval { number, ..Interval::default() };
        let window = (self.ledger_acked + 1..=last).map(interval).collect();
        self.sender.handle_ledger(window, self.now);
    }

    fn make(&mut self, lane: Lane, count: u64) {
        self.made[lane.index()] += count;
        self.sender.handle_heads(self.made.map(head));
    }

    /// Carries the greeting, and no block.
    fn greet(&mut self) {
        while let Some(Transmit { stream, frame }) = self.sender.poll_transmit() {
            self.receiver.handle_frame(stream, frame, self.now).unwrap();
        }
        while let Some(event) = self.receiver.poll_event() {
            self.store(event);
        }
        while let Some(Transmit { stream, frame }) = self.receiver.poll_transmit() {
            self.sender.handle_frame(stream, frame, self.now).unwrap();
        }
        while let Some(event) = self.sender.poll_event() {
            if let SenderEvent::Acked { lane, up_to } = event {
                self.acked[lane.index()] = Some(up_to);
            }
        }
    }

    /// Carries everything until nothing moves.
    fn run(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        while let Some(event) = self.sender.poll_event() {
            moved = true;
            match event {
                SenderEvent::Acked { lane, up_to } => self.acked[lane.index()] = Some(up_to),
                SenderEvent::LedgerAcked { up_to } => self.ledger_acked = up_to,
                SenderEvent::HeartbeatDue => {
                    self.sender.handle_heartbeat(Timestamp::ZERO, AgentStats::default());
                }
                SenderEvent::Recall(recall) => self.recalled.push(recall),
                SenderEvent::Renewed(reply) => self.renewed.push(reply),
                SenderEvent::Welcomed { checks, .. } => self.checked = Some(checks),
                SenderEvent::Quarantined(since) => self.quarantined = Some(since),
                SenderEvent::RenewNow => self.renew_asked += 1,
                SenderEvent::Policy(offer) => self.offered.push(offer),
                SenderEvent::Trust(offer) => self.bundles.push(offer),
                SenderEvent::Goodbye(_) => {}
            }
        }
        for lane in Lane::ALL {
            while let Some(seq) = self.sender.poll_want(lane) {
                moved = true;
                self.sender.handle_block(lane, seq, Bytes::from_static(b"block"), self.now);
            }
        }
        while let Some(Transmit { stream, frame }) = self.sender.poll_transmit() {
            moved = true;
            self.receiver.handle_frame(stream, frame, self.now).unwrap();
        }
        while let Some(event) = self.receiver.poll_event() {
            moved = true;
            self.store(event);
        }
        if !self.commits_held
            && let Some((lane, up_to)) = self.waiting.pop_front()
        {
            moved = true;
            self.committed[lane.index()] = Some(up_to);
            self.receiver.handle_committed(lane, up_to);
        }
        if !self.commits_held
            && let Some(up_to) = self.ledger_waiting.pop_front()
        {
            moved = true;
            self.receiver.handle_ledger_committed(up_to);
        }
        while let Some(Transmit { stream, frame }) = self.receiver.poll_transmit() {
            moved = true;
            self.sender.handle_frame(stream, frame, self.now).unwrap();
        }
        moved
    }

    fn store(&mut self, event: ReceiverEvent) {
        match event {
            ReceiverEvent::Greeted(_) if self.is_contested => {
                assert!(self.receiver.handle_quarantine(Timestamp::from_ms(7)));
            }
            ReceiverEvent::Greeted(_) => {
                self.receiver.handle_cursors(self.committed, self.checks, ContextVersion(0));
                self.receiver.handle_ledger_committed(self.ledger.last().copied().unwrap_or(0));
            }
            ReceiverEvent::Ledger(intervals) => {
                let known = self.ledger.last().copied().unwrap_or(0);
                let numbers = intervals.iter().map(|interval| interval.number);
                self.ledger.extend(numbers.filter(|number| *number > known));
                self.ledger_waiting.extend(self.ledger.last());
            }
            ReceiverEvent::Block { lane, seq, .. } => {
                self.stored[lane.index()].push(seq);
                self.waiting.push_back((lane, seq));
            }
            ReceiverEvent::Gap { lane, gap } => self.waiting.push_back((lane, gap.last)),
            ReceiverEvent::Context(context) => self.contexts.push(*context),
            ReceiverEvent::Heartbeat(_) => self.heartbeats += 1,
            answer @ (ReceiverEvent::RecallOpened(_)
            | ReceiverEvent::RecallBlock { .. }
            | ReceiverEvent::RecallEnded(_)) => self.answers.push(answer),
            ReceiverEvent::Renew(request) => self.signing_requests.push(request),
            ReceiverEvent::Alive => self.alive += 1,
            ReceiverEvent::SetBack(set_back) => self.set_backs.push(set_back),
            ReceiverEvent::PolicyAck(ack) => self.policy_acks.push(ack),
            ReceiverEvent::TrustAck(ack) => self.trust_acks.push(ack),
            ReceiverEvent::Goodbye(_) => {}
        }
    }
}

#[test]
fn all_blocks_of_all_lanes_arrive_once_and_in_order() {
    let mut pair = Pair::new([3, 50, 7]);
    pair.run();
    pair.make(Lane::Urgent, 2);
    pair.run();
    for (lane, made) in [(0, 5), (1, 50), (2, 7)] {
        assert_eq!(pair.stored[lane], (1..=made).map(seq).collect::<Vec<_>>());
        assert_eq!(pair.acked[lane], Seq::new(made));
    }
}

#[test]
fn nothing_is_acked_before_it_is_committed() {
    let mut pair = Pair::new([0, 9, 0]);
    pair.commits_held = true;
    pair.run();
    assert_eq!(pair.acked, [None; 3]);
    assert_eq!(pair.stored[1].len(), 4, "the window bounds what is in flight");
    pair.commits_held = false;
    pair.run();
    assert_eq!(pair.acked[1], Some(seq(9)));
}

#[test]
fn a_new_connection_resumes_behind_what_was_committed() {
    let mut pair = Pair::new([0, 6, 0]);
    pair.commits_held = true;
    pair.run();
    pair.committed[1] = Some(seq(2)); // two were committed, their acks lost with the connection
    pair.reconnect();
    pair.commits_held = false;
    pair.stored[1].clear();
    pair.run();
    assert_eq!(pair.stored[1], (3..=6).map(seq).collect::<Vec<_>>());
    assert_eq!(pair.acked[1], Some(seq(6)));
}

#[test]
fn an_urgent_block_does_not_wait_for_a_full_bulk_window() {
    let mut pair = Pair::new([0, 0, 100]);
    pair.commits_held = true;
    pair.run();
    pair.make(Lane::Urgent, 1);
    pair.run();
    assert_eq!(pair.stored[0], [seq(1)]);
}

#[test]
fn a_gap_stands_in_for_blocks_that_were_lost() {
    let mut pair = Pair::new([0, 0, 0]);
    pair.run();
    pair.made[1] = 5;
    pair.sender.handle_heads(pair.made.map(head));
    let gap = Gap { first: seq(1), last: seq(3), reason: GapReason::Damaged };
    pair.sender.handle_gap(Lane::Normal, gap, pair.now);
    pair.run();
    assert_eq!(pair.stored[1], [seq(4), seq(5)]);
    assert_eq!(pair.acked[1], Some(seq(5)));
}

#[test]
fn a_coordinator_that_has_some_of_the_skipped_numbers_is_sent_the_rest_of_the_gap() {
    // The spool lost what it had sent from block 3 on and skips up to 40; 41 is new.
    for committed in [2, 3, 20, 39, 40, 41] {
        let mut pair = Pair::new([0, 41, 0]);
        pair.committed[1] = Seq::new(committed);
        while pair.sender.poll_want(Lane::Normal).is_none() && pair.acked[1].is_none() {
            pair.greet();
        }
        if let Some(first) = pair.sender.poll_want(Lane::Normal).filter(|first| *first <= seq(40)) {
            assert_eq!(first, seq(committed + 1));
            let gap = Gap { first, last: seq(40), reason: GapReason::Skipped };
            pair.sender.handle_gap(Lane::Normal, gap, pair.now);
        }
        pair.run();
        assert_eq!(pair.acked[1], Some(seq(41)), "{committed}");
        assert_eq!(pair.stored[1], if committed < 41 { vec![seq(41)] } else { vec![] });
    }
}

#[test]
fn a_context_is_sent_once_and_again_only_when_it_changes() {
    let mut pair = Pair::new([0; 3]);
    let first = HostContext { hostname: "a".into(), ..HostContext::default() };
    let second = HostContext { hostname: "b".into(), ..HostContext::default() };
    for context in [&first, &first, &second] {
        pair.sender.handle_context(context.clone());
        pair.run();
    }
    assert_eq!(pair.contexts, [first, second]);
}

#[test]
fn a_context_is_sent_again_where_it_says_more_although_its_version_is_known() {
    let mut pair = Pair::new([0; 3]);
    let looked_at = |ms| HostContext {
        hostname: "a".into(),
        boot_id: "b".into(),
        looked_at: Timestamp::from_ms(ms),
        ..HostContext::default()
    };
    pair.run();
    for context in [looked_at(1), looked_at(2), looked_at(2)] {
        pair.sender.handle_context(context);
        pair.run();
    }
    assert_eq!(pair.contexts, [looked_at(1), looked_at(2)]);
}

#[test]
fn a_coordinator_of_version_one_gets_contexts_in_the_first_form() {
    let mut pair = Pair::new([0; 3]);
    let old = Hello { version: 1, ..hello([0; 3]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    let context =
        HostContext { hostname: "a".into(), boot_id: "b".into(), ..HostContext::default() };
    pair.sender.handle_context(context.clone());
    pair.run();
    assert_eq!(pair.contexts, [context.in_first_form()]);
}

#[test]
fn a_certificate_is_asked_for_and_answered_one_after_the_other() {
    let mut pair = Pair::new([0, 9, 0]);
    assert!(!pair.sender.can_renew(), "nobody is asked before the greeting");
    pair.run();
    let replies =
        [RenewReply::Refused(RenewRefusal::Unavailable), RenewReply::Renewed(vec![vec![7; 9]])];
    for (number, reply) in (0..).zip(replies) {
        pair.sender.handle_renewal(vec![number]);
        assert!(!pair.sender.can_renew());
        pair.make(Lane::Normal, 3);
        pair.run();
        assert_eq!(pair.signing_requests.pop(), Some(vec![number]));
        pair.receiver.handle_renewed(reply.clone());
        pair.receiver.handle_renewed(reply.clone()); // nobody asked again
        pair.run();
        assert_eq!(std::mem::take(&mut pair.renewed), [reply]);
    }
    assert_eq!(pair.acked[1], Some(seq(15)), "blocks go on beside it");
}

#[test]
fn renewals_out_of_turn_break_the_protocol() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    let renew = Frame::Renew { signing_request: vec![1] };
    pair.receiver.handle_frame(Stream::Control, renew.clone(), pair.now).unwrap();
    let second = pair.receiver.handle_frame(Stream::Control, renew.clone(), pair.now);
    assert!(matches!(second, Err(ProtocolError::Renewal(_))));
    let reply = RenewReply::Refused(RenewRefusal::Unavailable);
    let answer = Frame::Renewed(Box::new(reply));
    let unasked = pair.sender.handle_frame(Stream::Control, answer.clone(), pair.now);
    assert!(matches!(unasked, Err(ProtocolError::Renewal(_))));

    // Who speaks version 2 knows nothing of them.
    let mut pair = Pair::new([0; 3]);
    let old = Hello { version: 2, ..hello([0; 3]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    pair.run();
    assert!(!pair.sender.can_renew());
    for refused in [
        pair.receiver.handle_frame(Stream::Control, renew, pair.now),
        pair.sender.handle_frame(Stream::Control, answer, pair.now),
    ] {
        assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
    }
}

#[test]
fn an_idle_agent_says_that_it_lives_and_a_silent_one_is_given_up() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    for _ in 0..4 {
        pair.now = pair.sender.poll_timeout().unwrap().0;
        pair.sender.handle_timeout(pair.now).unwrap();
        pair.run();
    }
    assert_eq!(pair.heartbeats, 4);
    let (at, wake) = pair.receiver.poll_timeout().unwrap();
    assert_eq!(wake, Wake::Silence);
    assert_eq!(pair.receiver.handle_timeout(at - Duration::from_millis(1)), Ok(()));
    assert_eq!(pair.receiver.handle_timeout(at), Err(ProtocolError::Timeout(Wake::Silence)));
}

#[test]
fn a_coordinator_that_does_not_answer_is_left() {
    let mut pair = Pair::new([0, 1, 0]);
    let greeting = pair.sender.poll_timeout().unwrap();
    assert_eq!(greeting.1, Wake::GreetingOverdue);
    pair.commits_held = true;
    pair.run();
    let limit = pair.now + SenderConfig::default().ack_timeout;
    let error = loop {
        let (at, _) = pair.sender.poll_timeout().unwrap();
        assert!(at <= limit);
        if let Err(error) = pair.sender.handle_timeout(at) {
            break error;
        }
    };
    assert_eq!(error, ProtocolError::Timeout(Wake::AckOverdue));
}

#[test]
fn a_coordinator_that_acks_slowly_is_not_left() {
    let mut pair = Pair::new([0, 3, 0]);
    pair.commits_held = true;
    pair.run();
    let (sent_at, step) = (pair.now, SenderConfig::default().ack_timeout * 2 / 3);
    for seq in 1..=2 {
        pair.now += step;
        let ack = Frame::Ack { up_to: Seq::new(seq).unwrap() };
        pair.sender.handle_frame(Stream::Lane(Lane::Normal), ack, pair.now).unwrap();
    }
    assert!(pair.now - sent_at > SenderConfig::default().ack_timeout);
    let overdue = pair.now + SenderConfig::default().ack_timeout;
    let error = loop {
        let (at, _) = pair.sender.poll_timeout().unwrap();
        if let Err(error) = pair.sender.handle_timeout(at) {
            assert_eq!(at, overdue);
            break error;
        }
    };
    assert_eq!(error, ProtocolError::Timeout(Wake::AckOverdue));
}

#[test]
fn shutdown_waits_for_what_is_in_flight_and_sends_nothing_new() {
    let mut pair = Pair::new([0, 9, 0]);
    pair.commits_held = true;
    pair.run();
    pair.sender.handle_shutdown();
    pair.run();
    assert!(!pair.sender.is_drained());
    pair.commits_held = false;
    pair.run();
    assert!(pair.sender.is_drained() && pair.receiver.is_closed());
    assert_eq!(pair.acked[1], Some(seq(4)));
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_how() {
    let block = |n| Frame::Block { seq: seq(n), block: Bytes::new() };
    let lane = Stream::Lane(Lane::Normal);
    let mut pair = Pair::new([0; 3]);
    let early = pair.receiver.handle_frame(lane, block(1), pair.now);
    assert!(matches!(early, Err(ProtocolError::Unexpected { phase: "before the greeting", .. })));
    pair.run();
    let unopened = pair.receiver.handle_frame(lane, block(1), pair.now);
    assert!(matches!(unopened, Err(ProtocolError::Unexpected { .. })));
    pair.receiver.handle_frame(lane, Frame::LaneOpen(Lane::Normal), pair.now).unwrap();
    assert_eq!(
        pair.receiver.handle_frame(lane, block(2), pair.now),
        Err(ProtocolError::OutOfOrder { lane: Lane::Normal, expected: seq(1), got: seq(2) })
    );
    for n in 1..=4 {
        pair.receiver.handle_frame(lane, block(n), pair.now).unwrap();
    }
    assert_eq!(
        pair.receiver.handle_frame(lane, block(5), pair.now),
        Err(ProtocolError::WindowExceeded("blocks", Lane::Normal))
    );
    assert_eq!(
        pair.sender.handle_frame(lane, Frame::Ack { up_to: seq(1) }, pair.now),
        Err(ProtocolError::AckAhead { lane: Lane::Normal, up_to: seq(1), last_sent: None })
    );
}

#[test]
fn a_spool_that_was_set_back_is_not_used_to_overwrite_the_coordinators() {
    let mut pair = Pair::new([0, 2, 0]);
    pair.receiver.handle_frame(Stream::Control, Frame::Hello(hello([0, 2, 0])), pair.now).unwrap();
    pair.receiver.handle_cursors([None, Some(seq(5)), None], [None; 3], ContextVersion(0));
    let welcome = pair.receiver.poll_transmit().unwrap();
    assert_eq!(
        pair.sender.handle_frame(welcome.stream, welcome.frame, pair.now),
        Err(ProtocolError::SpoolSetBack {
            lane: Lane::Normal,
            committed: seq(5),
            last: Some(seq(2))
        })
    );
}

#[test]
fn a_spool_that_was_set_back_and_went_on_shows_by_the_checksum_of_the_newest_durable_block() {
    let mut pair = Pair::new([0, 9, 0]);
    (pair.committed[1], pair.checks[1]) = (Some(seq(5)), Some(0xc0de));
    pair.greet();
    assert_eq!(pair.acked[1], Some(seq(5)));
    let mut pair = Pair::new([0, 9, 0]);
    (pair.committed[1], pair.checks[1]) = (Some(seq(5)), Some(0xc0de));
    while let Some(Transmit { stream, frame }) = pair.sender.poll_transmit() {
        pair.receiver.handle_frame(stream, frame, pair.now).unwrap();
    }
    let greeted = pair.receiver.poll_event().unwrap();
    pair.store(greeted);
    while let Some(Transmit { stream, frame }) = pair.receiver.poll_transmit() {
        pair.sender.handle_frame(stream, frame, pair.now).unwrap();
    }
    // Before anything is said to be acked, the driver has compared.
    let first = pair.sender.poll_event();
    assert!(
        matches!(first, Some(SenderEvent::Welcomed { checks: [None, Some(0xc0de), None], .. })),
        "{first:?}"
    );
    let (lane, committed, last) = (Lane::Normal, seq(5), Some(seq(9)));
    let failed = pair.sender.handle_set_back(lane, committed);
    assert_eq!(failed, Err(ProtocolError::SpoolSetBack { lane, committed, last }));
    assert_eq!(pair.sender.poll_want(lane), None, "nothing more is sent");
    while let Some(Transmit { stream, frame }) = pair.sender.poll_transmit() {
        pair.receiver.handle_frame(stream, frame, pair.now).unwrap();
    }
    while let Some(event) = pair.receiver.poll_event() {
        pair.store(event);
    }
    assert_eq!(pair.set_backs, [SetBack { lane, committed, last }]);
    let again = Frame::SetBack(SetBack { lane, committed: seq(6), last });
    let refused = pair.receiver.handle_frame(Stream::Control, again, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })), "L7: it is said once");
    assert!(pair.stored[1].is_empty());
}

#[test]
fn whoever_is_asked_shows_that_it_lives_and_renews() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    pair.receiver.handle_probe();
    assert!(pair.receiver.can_renew_now());
    pair.receiver.handle_renew_now();
    pair.run();
    assert_eq!((pair.alive, pair.renew_asked), (1, 1));

    let mut old = Pair::new([0; 3]);
    let mut hello = hello([0; 3]);
    hello.version = CLAIM_VERSION - 1;
    old.receiver.handle_frame(Stream::Control, Frame::Hello(hello.clone()), old.now).unwrap();
    old.receiver.handle_cursors([None; 3], [Some(1); 3], ContextVersion(0));
    assert!(!old.receiver.can_renew_now(), "it would not know the frame");
    old.receiver.handle_probe();
    old.receiver.handle_renew_now();
    let sent: Vec<_> = std::iter::from_fn(|| old.receiver.poll_transmit()).collect();
    assert!(matches!(&sent[..], [Transmit { frame: Frame::Welcome(_), .. }]), "{sent:?}");

    let mut old = Pair::new([0; 3]);
    old.receiver.handle_frame(Stream::Control, Frame::Hello(hello), old.now).unwrap();
    assert!(!old.receiver.handle_quarantine(Timestamp::ZERO), "it would not know the frame");
}

#[test]
fn in_quarantine_an_agent_says_which_host_it_is_and_that_it_lives_and_nothing_more_is_taken() {
    let mut pair = Pair::new([3, 5, 0]);
    let context = HostContext { hostname: "web-3".into(), ..HostContext::default() };
    pair.sender.handle_context(context.clone());
    pair.offer_ledger(2);
    pair.is_contested = true;
    pair.run();
    assert_eq!(pair.quarantined, Some(Timestamp::from_ms(7)));
    pair.now += SenderConfig::default().heartbeat_interval;
    pair.sender.handle_timeout(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.contexts, [context]);
    assert!(pair.heartbeats >= 1 && pair.stored.iter().all(Vec::is_empty));
    assert!(pair.ledger.is_empty() && pair.acked == [None; 3] && !pair.sender.can_renew());
    let lane = Stream::Lane(Lane::Urgent);
    let taken = pair.receiver.handle_frame(lane, Frame::LaneOpen(Lane::Urgent), pair.now);
    assert!(matches!(taken, Err(ProtocolError::Unexpected { phase: "in quarantine", .. })));

    pair.receiver.handle_close(GoodbyeReason::Resolved);
    pair.run();
    pair.is_contested = false;
    pair.reconnect();
    pair.run();
    assert_eq!((pair.acked[0], pair.acked[1]), (Some(seq(3)), Some(seq(5))));
}

#[test]
fn a_coordinator_that_ends_the_session_says_why() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    pair.receiver.handle_close(GoodbyeReason::MaxAge);
    while let Some(Transmit { stream, frame }) = pair.receiver.poll_transmit() {
        pair.sender.handle_frame(stream, frame, pair.now).unwrap();
    }
    assert_eq!(pair.sender.poll_event(), Some(SenderEvent::Goodbye(GoodbyeReason::MaxAge)));
}

#[test]
fn the_ledger_arrives_once_and_in_order_and_what_was_not_acked_comes_again() {
    let mut pair = Pair::new([0, 3, 0]);
    pair.offer_ledger(40);
    pair.run();
    assert_eq!(pair.ledger, (1..=40).collect::<Vec<_>>());
    assert_eq!(pair.ledger_acked, 40);
    pair.commits_held = true;
    pair.offer_ledger(44);
    pair.run();
    assert_eq!((pair.ledger.len(), pair.ledger_acked), (44, 40), "L1: no ack before the commit");
    assert!(!pair.sender.is_ledger_settled());
    pair.reconnect();
    pair.commits_held = false;
    pair.offer_ledger(45);
    pair.run();
    assert_eq!(pair.ledger, (1..=45).collect::<Vec<_>>());
    assert_eq!(pair.ledger_acked, 45);
    assert!(pair.sender.is_ledger_settled());
}

#[test]
fn intervals_that_were_stored_and_not_acked_are_not_sent_again_once_that_is_known() {
    let mut pair = Pair::new([0; 3]);
    pair.ledger = vec![1, 2, 3]; // stored before; the acks were lost with the connection
    pair.run();
    assert_eq!(pair.ledger_acked, 3);
    let window = (1..=3).map(|number| Interval { number, ..Interval::default() }).collect();
    pair.sender.handle_ledger(window, pair.now);
    assert_eq!(pair.sender.poll_transmit(), None);
}

#[test]
fn an_ack_of_intervals_that_were_never_made_is_passed_on() {
    let mut pair = Pair::new([0; 3]);
    pair.ledger = vec![99];
    pair.offer_ledger(5);
    pair.run();
    assert_eq!(pair.ledger_acked, 99, "the agent's ledger was set back");
}

#[test]
fn an_ack_of_the_ledger_that_does_not_come_is_missed() {
    let mut pair = Pair::new([0; 3]);
    pair.commits_held = true;
    pair.offer_ledger(1);
    pair.run();
    let late = pair.now + SenderConfig::default().ack_timeout;
    let missed = pair.sender.handle_timeout(late);
    assert_eq!(missed, Err(ProtocolError::Timeout(Wake::AckOverdue)));
}

#[test]
fn the_ledger_stays_at_home_where_the_other_side_is_of_version_one() {
    let mut pair = Pair::new([0, 1, 0]);
    let old = Hello { version: 1, ..hello([0, 1, 0]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    pair.offer_ledger(3);
    pair.run();
    assert_eq!((pair.acked[1], pair.ledger.len()), (Some(seq(1)), 0), "blocks flow");
    assert!(pair.sender.is_ledger_settled(), "nobody waits for what is not sent");
    let frame = Frame::Ledger(vec![Interval { number: 1, ..Interval::default() }]);
    let refused = pair.receiver.handle_frame(Stream::Control, frame, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
    let ack = pair.sender.handle_frame(Stream::Control, Frame::LedgerAck { up_to: 1 }, pair.now);
    assert!(matches!(ack, Err(ProtocolError::Unexpected { .. })));
}

#[test]
fn more_of_the_ledger_than_was_asked_for_ends_the_session() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    let frame = |number| Frame::Ledger(vec![Interval { number, ..Interval::default() }]);
    let mut send = |number| pair.receiver.handle_frame(Stream::Control, frame(number), pair.now);
    send(1).unwrap();
    send(2).unwrap();
    assert_eq!(send(3), Err(ProtocolError::LedgerAhead(2)));
}

fn recall(number: u8) -> Recall {
    let id = RecallId::from_bytes([number; 16]);
    let (since, until) = (Timestamp::ZERO, Timestamp::MAX);
    Recall { id, rule: "dns-noise".into(), since, until, bytes_max: 10 }
}

#[test]
fn a_recall_is_answered_on_its_own_stream_and_the_next_waits_for_its_end() {
    let mut pair = Pair::new([0, 5, 0]);
    assert!(!pair.receiver.can_recall(), "the agent has not greeted");
    pair.run();
    let Recall { id, .. } = recall(1);
    pair.receiver.handle_recall(recall(1));
    pair.run();
    assert_eq!(pair.recalled, [recall(1)]);
    assert_eq!(pair.answers, [ReceiverEvent::RecallOpened(id)]);
    assert!(!pair.receiver.can_recall());
    let block = Bytes::from_static(b"block");
    pair.sender.handle_recall_block(block.clone());
    pair.sender.handle_recall_block(block.clone());
    let end = RecallEnd { records: 2, ..RecallEnd::empty(id, RecallOutcome::Answered) };
    pair.sender.handle_recall_end(end);
    pair.run();
    let block = ReceiverEvent::RecallBlock { id, block };
    assert_eq!(pair.answers[1..], [block.clone(), block, ReceiverEvent::RecallEnded(end)]);
    pair.receiver.handle_recall(recall(2));
    pair.run();
    assert_eq!(pair.recalled.len(), 2);
    pair.reconnect();
    pair.run();
    assert!(pair.receiver.can_recall(), "what a lost connection cut off is asked for again");
    pair.receiver.handle_recall(recall(2));
    pair.run();
    assert_eq!(pair.recalled.len(), 3);
}

#[test]
fn an_answer_out_of_turn_or_over_its_bound_ends_the_session() {
    let open = |number| Frame::RecallOpen { id: recall(number).id };
    let block = |len| Frame::RecallBlock { block: vec![0; len].into() };
    let end = |number| RecallEnd::empty(recall(number).id, RecallOutcome::Answered);
    let end = |number| Frame::RecallEnd(Box::new(end(number)));
    for (asks, frames) in [
        (false, vec![open(1)]),
        (true, vec![open(2)]),
        (true, vec![block(1)]),
        (true, vec![end(1)]),
        (true, vec![open(1), open(1)]),
        (true, vec![open(1), end(2)]),
        (true, vec![open(1), block(6), block(5)]),
        (true, vec![open(1), Frame::Ack { up_to: Seq::FIRST }]),
    ] {
        let mut pair = Pair::new([0; 3]);
        pair.run();
        if asks {
            pair.receiver.handle_recall(recall(1));
        }
        let take = |frame| pair.receiver.handle_frame(Stream::Recall, frame, pair.now);
        let outcomes: Vec<_> = frames.into_iter().map(take).collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok));
        assert!(matches!(last, Err(ProtocolError::Recall(_))), "{outcomes:?}");
    }
}

#[test]
fn a_recall_before_the_last_ones_answer_ends_the_session_and_none_reaches_an_agent_that_drains() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    let frame = || Frame::Recall(Box::new(recall(1)));
    pair.sender.handle_frame(Stream::Control, frame(), pair.now).unwrap();
    let second = pair.sender.handle_frame(Stream::Control, frame(), pair.now);
    assert!(matches!(second, Err(ProtocolError::Recall(_))));

    let mut pair = Pair::new([0, 1, 0]);
    pair.commits_held = true;
    pair.run();
    pair.sender.handle_shutdown();
    pair.sender.handle_frame(Stream::Control, frame(), pair.now).unwrap();
    assert_eq!(pair.sender.poll_event(), None);
}

#[test]
fn nobody_of_version_one_is_asked() {
    let mut pair = Pair::new([0; 3]);
    let old = Hello { version: 1, ..hello([0; 3]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    pair.run();
    assert!(!pair.receiver.can_recall());
    let frame = Frame::Recall(Box::new(recall(1)));
    let refused = pair.sender.handle_frame(Stream::Control, frame, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
}
