//! Trust bundles in a session: who says what when.

use super::*;
use crate::{policy::PolicyDigest, trust::TrustRefusal, wire::POLICY_VERSION};

fn offer(sequence: u64) -> TrustOffer {
    TrustOffer { sequence, envelope: vec![7; 100] }
}

fn in_force(sequence: u64) -> TrustAck {
    TrustAck::in_force(sequence, PolicyDigest::of(&[7; 100]))
}

fn refused(sequence: u64) -> TrustAck {
    let digest = PolicyDigest::of(&[7; 100]);
    TrustAck::refused(sequence, digest, TrustRefusal::NotStored, "disk full")
}

#[test]
fn a_bundle_is_offered_once_the_agent_has_said_which_it_has_and_the_next_when_it_has_answered() {
    let mut pair = Pair::new([0; 3]);
    assert!(!pair.receiver.can_offer_trust(), "the agent has not greeted");
    pair.run();
    assert!(!pair.receiver.can_offer_trust(), "nor said what it has");
    pair.sender.handle_trust_ack(TrustAck::nothing());
    pair.run();
    assert!(!pair.receiver.can_offer_policy(), "policies are another matter");
    pair.receiver.handle_trust(offer(3));
    pair.run();
    assert_eq!(pair.bundles, [offer(3)]);
    assert!(!pair.receiver.can_offer_trust());
    pair.sender.handle_trust_ack(in_force(2));
    pair.run();
    assert!(!pair.receiver.can_offer_trust(), "that was about another");
    pair.sender.handle_trust_ack(refused(3));
    pair.run();
    assert!(pair.receiver.can_offer_trust());
    assert_eq!(pair.trust_acks, [TrustAck::nothing(), in_force(2), refused(3)]);

    pair.reconnect();
    pair.run();
    assert!(!pair.receiver.can_offer_trust(), "each session says it anew");
}

#[test]
fn whoever_refuses_a_bundle_that_is_not_offered_breaks_the_protocol() {
    let mut pair = Pair::new([0; 3]);
    pair.run();
    pair.sender.handle_trust_ack(TrustAck::nothing());
    pair.run();
    pair.receiver.handle_trust(offer(3));
    pair.run();
    pair.sender.handle_trust_ack(refused(3));
    pair.run();
    assert!(pair.receiver.can_offer_trust());
    for sequence in [3, 4] {
        let frame = Frame::TrustAck(Box::new(refused(sequence)));
        let said = pair.receiver.handle_frame(Stream::Control, frame, pair.now);
        assert!(matches!(said, Err(ProtocolError::Unexpected { .. })), "{sequence}");
    }
}

#[test]
fn whoever_drains_takes_no_trust_bundle() {
    let mut pair = Pair::new([0, 1, 0]);
    pair.commits_held = true;
    pair.run();
    pair.sender.handle_shutdown();
    let frame = Frame::Trust(Box::new(offer(3)));
    pair.sender.handle_frame(Stream::Control, frame, pair.now).unwrap();
    assert_eq!(pair.sender.poll_event(), None);
    pair.sender.handle_trust_ack(in_force(3));
    assert_eq!(pair.sender.poll_transmit(), None);
}

#[test]
fn neither_side_speaks_of_trust_bundles_to_an_earlier_one() {
    let mut pair = Pair::new([0; 3]);
    let old = Hello { version: POLICY_VERSION - 1, ..hello([0; 3]) };
    pair.sender = Sender::new(SenderConfig::default(), old, pair.now);
    pair.run();
    pair.sender.handle_trust_ack(TrustAck::nothing());
    assert_eq!(pair.sender.poll_transmit(), None);
    assert!(!pair.receiver.can_offer_trust());
    let ack = Frame::TrustAck(Box::new(TrustAck::nothing()));
    let refused = pair.receiver.handle_frame(Stream::Control, ack, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
    let bundle = Frame::Trust(Box::new(offer(1)));
    let refused = pair.sender.handle_frame(Stream::Control, bundle, pair.now);
    assert!(matches!(refused, Err(ProtocolError::Unexpected { .. })));
}
