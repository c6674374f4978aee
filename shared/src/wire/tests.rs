use std::{collections::BTreeMap, fmt::Write};

use proptest::prelude::*;

use super::*;
use crate::{
    context::{Interface, InterfaceAddress},
    ledger::{DropReason, Hash, LossReason, SourceSums},
    limits::{POLICY_DETAIL_BYTES_MAX, POLICY_ENVELOPE_BYTES_MAX, TRUST_ENVELOPE_BYTES_MAX},
    policy::{PolicyDigest, PolicyOutcome, PolicyRefusal},
    recall::{Evicted, RecallOutcome},
    renewal::RenewRefusal,
    trust::{TrustOutcome, TrustRefusal},
};

const RECALL: RecallId = RecallId::from_bytes([9; RecallId::LEN]);

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

/// An interval of the ledger with something in each field.
fn interval() -> Interval {
    let sums = SourceSums {
        read: 500,
        sent: [1, 200, 0],
        held: BTreeMap::from([("scan".into(), 290)]),
        dropped: BTreeMap::from([(DropReason::SocketBuffer, 9)]),
        losses: BTreeMap::from([(LossReason::LostFile, 1)]),
        ..SourceSums::of("eve")
    };
    Interval {
        number: 5,
        previous: Hash([0xab; 32]),
        from: Timestamp::from_ms(1_760_000_000_000),
        until: Timestamp::from_ms(1_760_000_060_000),
        restarts: 1,
        paused_ms: 300,
        unaccounted: true,
        policy: 2,
        blocks: [None, Some(seq(300)), None],
        sources: vec![sums],
    }
}

/// A context of the first form.
fn context() -> HostContext {
    HostContext {
        hostname: "srv1".into(),
        names: vec!["srv1.acme.example".into()],
        os: "Debian GNU/Linux 12".into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            addresses: vec![InterfaceAddress { ip: "10.0.0.1".parse().unwrap(), prefix_len: 24 }],
        }],
        agent_version: "0.1.0".into(),
        ..HostContext::default()
    }
}

/// One frame of every kind, each field with a value of its own.
fn one_of_each() -> Vec<Frame> {
    let context = context();
    let second_form = HostContext {
        boot_id: "4d2e".into(),
        looked_at: Timestamp::from_ms(1_760_000_000_002),
        ..context.clone()
    };
    let stats = AgentStats {
        records_read: 1,
        bytes_read: 300,
        malformed: 2,
        over_long: 3,
        spool_full: 4,
        spool_bytes: 70_000,
        oldest_unacked: Some(Timestamp::from_ms(1_760_000_000_000)),
    };
    vec![
        Frame::Hello(Hello {
            version: WIRE_VERSION,
            epoch: Epoch(0x0102_0304_0506_0708),
            boot: BootId(9),
            heads: [
                LaneHead { first: seq(3), last: Some(seq(300)) },
                LaneHead::EMPTY,
                LaneHead::EMPTY,
            ],
            agent_version: "0.1.0".into(),
            context: context.version(),
        }),
        Frame::Welcome(Welcome {
            version: WIRE_VERSION,
            committed: [Some(seq(2)), None, Some(seq(70_000))],
            window_blocks: 64,
            window_bytes: 8 << 20,
            policy: 0,
            context: ContextVersion(5),
        }),
        Frame::Heartbeat(Heartbeat {
            sent_at: Timestamp::from_ms(1_760_000_000_001),
            last: [Some(seq(300)), None, None],
            stats,
        }),
        Frame::Context(Box::new(context)),
        Frame::Goodbye(GoodbyeReason::MaxAge),
        Frame::LaneOpen(Lane::Bulk),
        Frame::Block { seq: seq(258), block: Bytes::from_static(b"block") },
        Frame::Gap(Gap { first: seq(1), last: seq(2), reason: GapReason::Missing }),
        Frame::Ack { up_to: seq(259) },
        Frame::Ledger(vec![interval()]),
        Frame::LedgerAck { up_to: 5 },
        Frame::Context(Box::new(second_form)),
    ]
    .into_iter()
    .chain(of_recall())
    .chain(of_renewal())
    .chain(of_claim())
    .chain(of_policy())
    .chain(of_trust())
    .collect()
}

/// The frames of a policy.
fn of_policy() -> Vec<Frame> {
    let ack = |version, outcome| {
        Frame::PolicyAck(Box::new(PolicyAck { version, outcome, ..PolicyAck::nothing() }))
    };
    vec![
        Frame::Policy(Box::new(PolicyOffer { version: 300, envelope: vec![1, 2, 3] })),
        Frame::PolicyAck(Box::new(PolicyAck::nothing())),
        Frame::PolicyAck(Box::new(PolicyAck {
            version: 300,
            digest: PolicyDigest::of(&[1, 2, 3]),
            outcome: PolicyOutcome::InForce,
        })),
        ack(300, PolicyOutcome::Overridden),
        ack(300, PolicyOutcome::Ended),
        Frame::PolicyAck(Box::new(PolicyAck::refused(9, PolicyRefusal::Unusable, "3:1: no"))),
    ]
}

/// The frames of a trust bundle.
fn of_trust() -> [Frame; 4] {
    let digest = PolicyDigest::of(&[1, 2, 3]);
    let refused = TrustAck::refused(300, digest, TrustRefusal::NotStored, "full");
    [
        Frame::Trust(Box::new(TrustOffer { sequence: 300, envelope: vec![1, 2, 3] })),
        Frame::TrustAck(Box::new(TrustAck::nothing())),
        Frame::TrustAck(Box::new(TrustAck::in_force(300, digest))),
        Frame::TrustAck(Box::new(refused)),
    ]
}

/// The frames about whose an identity is.
fn of_claim() -> [Frame; 6] {
    let since = Timestamp::from_ms(1_760_000_000_000);
    [
        Frame::Probe,
        Frame::Alive,
        Frame::Quarantined(Quarantined { version: WIRE_VERSION, since }),
        Frame::RenewNow,
        Frame::Checks([None, Some(0xdead_beef), Some(7)]),
        Frame::SetBack(SetBack { lane: Lane::Bulk, committed: seq(300), last: Some(seq(2)) }),
    ]
}

/// The frames of a renewal.
fn of_renewal() -> [Frame; 3] {
    let chain = vec![vec![1, 2, 3], vec![4; 300]];
    [
        Frame::Renew { signing_request: vec![9; 300] },
        Frame::Renewed(Box::new(RenewReply::Renewed(chain))),
        Frame::Renewed(Box::new(RenewReply::Refused(RenewRefusal::Unavailable))),
    ]
}

/// The frames of a recall.
fn of_recall() -> Vec<Frame> {
    vec![
        Frame::Recall(Box::new(Recall {
            id: RECALL,
            rule: "dns-noise".into(),
            since: Timestamp::from_ms(1_760_000_000_000),
            until: Timestamp::from_ms(1_760_000_600_000),
            bytes_max: 1 << 20,
        })),
        Frame::RecallOpen { id: RECALL },
        Frame::RecallBlock { block: Bytes::from_static(b"block") },
        Frame::RecallEnd(Box::new(RecallEnd {
            id: RECALL,
            outcome: RecallOutcome::Answered,
            records: 300,
            bytes: 5,
            evicted: Some(Evicted {
                count: 7,
                from: Timestamp::from_ms(1),
                until: Timestamp::from_ms(2),
                evicted_at: Timestamp::from_ms(3),
            }),
            lost: 4,
            truncated: true,
        })),
    ]
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let encoded = frame.encode();
    [encoded.head, encoded.tail].concat()
}

/// Returns the frames that a version has.
fn of_version(version: u16) -> Vec<Frame> {
    let mut frames = one_of_each();
    let is_renewal = |kind| [FrameKind::Renew, FrameKind::Renewed].contains(&kind);
    let is_claim = |kind| kind as u8 >= FrameKind::Probe as u8;
    let is_policy = |kind| (25..=28).contains(&(kind as u8));
    frames.retain(|frame| match (version, frame.kind()) {
        (1, kind) => kind as u8 <= FrameKind::Ack as u8,
        (2, kind) => !is_renewal(kind) && !is_claim(kind) && !is_policy(kind),
        (3, kind) => !is_claim(kind) && !is_policy(kind),
        (4, kind) => !is_policy(kind),
        _ => true,
    });
    for frame in &mut frames {
        match frame {
            Frame::Hello(hello) => hello.version = version,
            Frame::Welcome(welcome) => welcome.version = version,
            Frame::Quarantined(quarantined) => quarantined.version = version,
            _ => {}
        }
    }
    frames
}

#[test]
fn every_frame_has_the_bytes_that_its_version_gave_it() {
    for version in 1..=WIRE_VERSION {
        check_golden(&of_version(version), version);
    }
}

fn check_golden(frames: &[Frame], version: u16) {
    let mut text = String::new();
    for frame in frames {
        let hex = bytes_of(frame).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(text, "{:?} {hex}", frame.kind()).unwrap();
    }
    let path = format!("{}/testdata/frames_v{version}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}

#[test]
fn every_reason_of_a_gap_keeps_its_byte() {
    let reasons = [GapReason::Damaged, GapReason::Missing, GapReason::Skipped];
    for (byte, reason) in (0_u8..).zip(reasons) {
        let frame = Frame::Gap(Gap { first: seq(1), last: seq(2), reason });
        assert_eq!(bytes_of(&frame), [4, 0, 0, 0, 8, 1, 2, byte]);
        assert_eq!(Frame::decode(Bytes::from(bytes_of(&frame)).slice(LEN_BYTES..)), Ok(frame));
    }
}

#[test]
fn every_frame_reads_back_as_it_was_written() {
    for frame in one_of_each() {
        let bytes = Bytes::from(bytes_of(&frame));
        let len = checked_len(*bytes.first_chunk().unwrap(), FRAME_BYTES_MAX).unwrap();
        assert_eq!(len, bytes.len() - LEN_BYTES);
        assert_eq!(Frame::decode(bytes.slice(LEN_BYTES..)), Ok(frame));
    }
}

#[test]
fn a_length_is_refused_before_anything_is_set_aside() {
    assert_eq!(checked_len([0; 4], 100), Err(DecodeError::Length { len: 0, max: 100 }));
    assert_eq!(
        checked_len(101_u32.to_le_bytes(), 100),
        Err(DecodeError::Length { len: 101, max: 100 })
    );
    assert_eq!(checked_len(100_u32.to_le_bytes(), 100), Ok(100));
}

#[test]
fn a_frame_that_breaks_a_rule_is_refused_by_name() {
    assert_eq!(Frame::decode(Bytes::from_static(&[99])), Err(DecodeError::UnknownKind(99)));
    let refused = |frame: &Frame| {
        matches!(
            Frame::decode(Bytes::from(bytes_of(frame)).slice(LEN_BYTES..)),
            Err(DecodeError::Invalid { .. })
        )
    };
    assert!(refused(&Frame::Gap(Gap { first: seq(2), last: seq(1), reason: GapReason::Damaged })));
    let Frame::Hello(mut hello) = one_of_each().swap_remove(0) else { unreachable!() };
    hello.heads[0].first = seq(302);
    assert!(refused(&Frame::Hello(hello.clone())));
    hello.heads[0].first = seq(301);
    assert!(!refused(&Frame::Hello(hello.clone())));
    hello.agent_version = "x".repeat(CONTEXT_TEXT_BYTES_MAX + 1);
    assert!(refused(&Frame::Hello(hello)));
    let Some(Frame::Ledger(intervals)) = one_of_each().into_iter().nth(9) else { unreachable!() };
    let interval = |number| Interval { number, ..intervals[0].clone() };
    assert!(!refused(&Frame::Ledger(vec![interval(1), interval(2)])));
    assert!(refused(&Frame::Ledger(vec![interval(1), interval(3)])));
    assert!(refused(&Frame::Ledger(vec![interval(0)])));
    assert!(refused(&Frame::Ledger(vec![])));
    assert!(refused(&Frame::Ledger((1..=17).map(interval).collect())));
    let recall = |rule: String| {
        let at = Timestamp::ZERO;
        let recall = Recall { id: RECALL, rule, since: at, until: at, bytes_max: 1 };
        Frame::Recall(Box::new(recall))
    };
    assert!(refused(&recall(String::new())) && refused(&recall("x".repeat(129))));
    assert!(!refused(&recall("x".repeat(128))));
    assert!(refused(&Frame::Renew { signing_request: Vec::new() }));
    assert!(refused(&Frame::Renew { signing_request: vec![0; SIGNING_REQUEST_BYTES_MAX + 1] }));
    assert!(refused(&Frame::Renewed(Box::new(RenewReply::Renewed(Vec::new())))));
    let policy = |len| PolicyOffer { version: 1, envelope: vec![0; len] };
    assert!(refused(&Frame::Policy(Box::new(policy(0)))));
    assert!(refused(&Frame::Policy(Box::new(policy(POLICY_ENVELOPE_BYTES_MAX + 1)))));
    assert!(!refused(&Frame::Policy(Box::new(policy(POLICY_ENVELOPE_BYTES_MAX)))));
    let detail = "x".repeat(POLICY_DETAIL_BYTES_MAX + 1);
    let outcome = PolicyOutcome::Refused { reason: PolicyRefusal::Unusable, detail };
    assert!(refused(&Frame::PolicyAck(Box::new(PolicyAck {
        version: 1,
        outcome,
        ..PolicyAck::nothing()
    }))));
    let bundle = |len| TrustOffer { sequence: 1, envelope: vec![0; len] };
    assert!(refused(&Frame::Trust(Box::new(bundle(0)))));
    assert!(refused(&Frame::Trust(Box::new(bundle(TRUST_ENVELOPE_BYTES_MAX + 1)))));
    assert!(!refused(&Frame::Trust(Box::new(bundle(TRUST_ENVELOPE_BYTES_MAX)))));
    let detail = "x".repeat(POLICY_DETAIL_BYTES_MAX + 1);
    let outcome = TrustOutcome::Refused { reason: TrustRefusal::NotStored, detail };
    assert!(refused(&Frame::TrustAck(Box::new(TrustAck { outcome, ..TrustAck::nothing() }))));
    let zero_seq = Bytes::from_static(&[7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(Frame::decode(zero_seq), Err(DecodeError::Invalid { .. })));
}

#[test]
fn bytes_left_over_behind_a_frame_are_refused() {
    for frame in one_of_each() {
        if [FrameKind::Block, FrameKind::RecallBlock].contains(&frame.kind()) {
            continue; // a block's own header says its length
        }
        let mut bytes = bytes_of(&frame).split_off(LEN_BYTES);
        bytes.push(0);
        let decoded = Frame::decode(Bytes::from(bytes));
        assert!(matches!(decoded, Err(DecodeError::Payload { .. })), "{decoded:?}");
    }
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Frame::decode(Bytes::from(bytes)));
    }
}
