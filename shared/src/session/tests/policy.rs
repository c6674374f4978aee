//! Policies in a session: who says what when.

use super::*;
use crate::{
    policy::{PolicyOutcome, PolicyRefusal},
    wire::POLICY_VERSION,
};

fn offer(version: u64) -> PolicyOffer {
    PolicyOffer { version, envelope: vec![7; 100] }
}

fn in_force(version: u64) -> PolicyAck {
    PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() }
}

/// A pair whose agent has said which policy it has.
fn told() -> Pair {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    pair.sender.handle_policy_ack(PolicyAck::nothing());
    pair.run();
    pair
}

#[test]
fn a_policy_is_offered_once_the_agent_has_said_which_it_has_and_the_next_when_it_has_answered() {
    let mut pair = Pair::new([0; 3]);
    assert!(!pair.receiver.can_offer_policy(), "the agent has not greeted");
    pair.run();
    assert!(!pair.receiver.can_offer_policy(), "nor said what it has");
    pair.sender.handle_policy_ack(PolicyAck::nothing());
    pair.run();
    pair.receiver.handle_policy(offer(3));
    pair.run();
    assert_eq!(pair.offered, [offer(3)]);
    assert!(!pair.receiver.can_offer_policy());
    pair.sender.handle_policy_ack(in_force(2));
    pair.run();
    assert!(!pair.receiver.can_offer_policy(), "that was about another");
    pair.sender.handle_policy_ack(PolicyAck::refused(3, PolicyRefusal::Rollback, ""));
    pair.run();
    assert!(pair.receiver.can_offer_policy());
    let refused = PolicyAck::refused(3, PolicyRefusal::Rollback, "");
    assert_eq!(pair.policy_acks, [PolicyAck::nothing(), in_force(2), refused]);

    pair.reconnect();
    pair.run();
    assert!(!pair.receiver.can_offer_policy(), "each session says it anew");
}

#[test]
fn blocks_flow_while_a_policy_is_not_answered() {
    let mut pair = told();
    pair.receiver.handle_policy(offer(3));
    pair.make(Lane::Urgent, 2);
    pair.run();
    assert_eq!(pair.acked[0], Seq::new(2));
}

#[test]
fn whoever_drains_takes_no_policy() {
    let mut pair = Pair::new([0, 1, 0]);
    pair.commits_held = true;
    pair.run();
    pair.sender.handle_shutdown();
    let frame = Frame::Policy(Box::new(offer(3)));
    pair.sender.handle_frame(Stream::Control, frame, pair.now).unwrap();
    assert_eq!(pair.sender.poll_event(), None);
    pair.sender.handle_policy_ack(in_force(3));
    assert_eq!(pair.sender.poll_transmit(), None);
}

#[test]
fn neither_side_speaks_of_policies_to_an_earlier_one() {
    let mut pair = Pair::new([0; 3]);
    let old = Hello { version: POLICY_VERSION - 1, ..hello([0; 3]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    pair.run();
    pair.sender.handle_policy_ack(PolicyAck::nothing());
    assert_eq!(pair.sender.poll_transmit(), None);
    assert!(!pair.receiver.can_offer_policy());
    let ack = Frame::PolicyAck(Box::new(PolicyAck::nothing()));
    let refused = pair.receiver.handle_frame(Stream::Control, ack, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
    let policy = Frame::Policy(Box::new(offer(1)));
    let refused = pair.sender.handle_frame(Stream::Control, policy, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
}
