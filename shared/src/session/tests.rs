use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    context::{ContextVersion, HostContext},
    ids::{BootId, Epoch},
    time::Timestamp,
    wire::{AgentStats, Gap, GapReason, GoodbyeReason, Hello, LaneHead, WIRE_VERSION},
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
        }
    }

    /// The connection breaks; both ends start again over the same spool and store.
    fn reconnect(&mut self) {
        self.sender = Sender::new(SenderConfig::default(), hello(self.made), self.now);
        let config = ReceiverConfig { window_blocks: 4, ..ReceiverConfig::default() };
        self.receiver = Receiver::new(config, self.now);
        self.waiting.clear();
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
                SenderEvent::HeartbeatDue => {
                    self.sender.handle_heartbeat(Timestamp::ZERO, AgentStats::default());
                }
                SenderEvent::Welcomed(_) | SenderEvent::Goodbye(_) => {}
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
        while let Some(Transmit { stream, frame }) = self.receiver.poll_transmit() {
            moved = true;
            self.sender.handle_frame(stream, frame, self.now).unwrap();
        }
        moved
    }

    fn store(&mut self, event: ReceiverEvent) {
        match event {
            ReceiverEvent::Greeted(_) => {
                self.receiver.handle_cursors(self.committed, ContextVersion(0));
            }
            ReceiverEvent::Block { lane, seq, .. } => {
                self.stored[lane.index()].push(seq);
                self.waiting.push_back((lane, seq));
            }
            ReceiverEvent::Gap { lane, gap } => self.waiting.push_back((lane, gap.last)),
            ReceiverEvent::Context(context) => self.contexts.push(*context),
            ReceiverEvent::Heartbeat(_) => self.heartbeats += 1,
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
    pair.receiver.handle_cursors([None, Some(seq(5)), None], ContextVersion(0));
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
fn a_coordinator_that_ends_the_session_says_why() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    pair.receiver.handle_close(GoodbyeReason::MaxAge);
    while let Some(Transmit { stream, frame }) = pair.receiver.poll_transmit() {
        pair.sender.handle_frame(stream, frame, pair.now).unwrap();
    }
    assert_eq!(pair.sender.poll_event(), Some(SenderEvent::Goodbye(GoodbyeReason::MaxAge)));
}
