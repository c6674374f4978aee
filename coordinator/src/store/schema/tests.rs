use std::fmt::Debug;

use shared::recall::RecallId;

use super::*;

fn place(received: u64, seq: u64) -> BlockPlace {
    let stream =
        StreamId { agent: AgentId::from_bytes([3; 16]), epoch: Epoch(9), lane: Lane::Bulk };
    let received_at = Timestamp::from_ms(received);
    BlockPlace { received_at, stream, seq: Seq::new(seq).unwrap() }
}

/// Keys given in their order must encode in that order, read back, and be told from other bytes.
fn check<K: Key + Ord + Debug + Clone>(keys: &[K]) {
    assert!(keys.is_sorted());
    let encoded: Vec<_> = keys.iter().map(Key::encode).collect();
    assert!(encoded.is_sorted(), "{}", K::NAME);
    for (key, bytes) in keys.iter().zip(&encoded) {
        assert_eq!(K::decode(bytes).as_ref(), Ok(key));
        assert!(K::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(K::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        let mut other = bytes.clone();
        other[0] ^= 0x40;
        assert!(K::decode(&other).is_err());
    }
    assert!(K::decode(&[]).is_err());
}

#[test]
fn byte_order_is_the_order_of_the_fields_for_every_family() {
    let [a, b]: [TenantId; 2] = ["acme", "acme-2"].map(|name| name.parse().unwrap());
    let agent = AgentId::from_bytes([1; 16]);
    let at = Timestamp::from_ms;
    let stream = place(0, 1).stream;
    let entity = |name| EntityRef::new(EntityKind::Ip, name);
    check(&[TenantKey(a), TenantKey(b)]);
    check(&[AgentKey { tenant: a, agent }, AgentKey { tenant: b, agent }]);
    check(&[a, b].map(|tenant| RevokedKey(AgentKey { tenant, agent })));
    check(&[a, b].map(|tenant| CertificateKey(AgentKey { tenant, agent })));
    check(&[CursorKey { tenant: a, stream }, CursorKey { tenant: b, stream }]);
    check(&[1, 256].map(|ms| ContextKey { tenant: a, agent, received_at: at(ms) }));
    check(&[1, 256].map(|n| CaseKey(CaseId::from_u64(n))));
    check(&[1, 256].map(|n| KnownKey(CaseId::from_u64(n))));
    let finding = |n, number| FindingKey { case: CaseId::from_u64(n), number };
    check(&[(1, 1), (1, 256), (256, 0)].map(|(n, number)| finding(n, number)));
    let case = CaseId::from_u64(1);
    check(&[1, 256].map(|ms| TenantCaseKey { tenant: a, opened_at: at(ms), case }));
    check(&[[0; 16], [9; 16]].map(|host| HostKey { tenant: a, host }));
    check(&[(1, 9), (256, 1), (256, 2)].map(|(ms, n)| CaseBlockKey { case, place: place(ms, n) }));
    let key = |day, ms| EntityKey { tenant: a, day, entity: entity("x"), place: place(ms, 1) };
    check(&[key(1, 500), key(256, 2), key(256, 3)]);
    check(&[1, 255, 256].map(JournalKey));
    check(&[[0; 32], [7; 32]].map(TokenKey));
    check(&[[0; 32], [7; 32]].map(IdempotencyKey));
    check(&[[0; 32], [7; 32]].map(JoinTokenKey));
    let joined = |key| JoinedKey { token: JoinTokenKey([7; 32]), key };
    check(&[[0; 32], [7; 32]].map(joined));
    check(&[1, 256].map(|n| GapKey { tenant: a, stream, first: Seq::new(n).unwrap() }));
    check(&[1, 256].map(|n| LedgerHeadKey { tenant: a, agent, epoch: Epoch(n) }));
    let epoch = Epoch(9);
    let interval = |ms, number| LedgerKey { tenant: a, at: at(ms), agent, epoch, number };
    check(&[(1, 256), (256, 1), (256, 2)].map(|(ms, number)| interval(ms, number)));
    let gap = |number, place| LedgerGapKey { tenant: a, at: at(1), agent, epoch, number, place };
    check(&[(1, 0), (1, 256), (256, 1)].map(|(number, place)| gap(number, place)));
    let recall = |ms| RecallId::new(at(ms), [7; 8]);
    check(&[1, 256].map(|ms| RecallKey(recall(ms))));
    check(&[1, 256].map(|ms| TenantRecallKey { tenant: a, recall: recall(ms) }));
    check(&[1, 256].map(|ms| RecallAgentKey { recall: recall(ms), agent }));
    let recalled = |number| RecalledKey { tenant: a, recall: recall(1), agent, number };
    check(&[1, 256].map(recalled));
    let (from, to) = RecalledKey::range(a, recall(1), agent);
    assert!(from < recalled(1).encode() && recalled(u32::MAX).encode() < to);
    check(&[(a, 1), (a, 256), (b, 1)].map(|(tenant, version)| PolicyKey { tenant, version }));
    check(&[a, b].map(RolloutKey));
    check(&[a, b].map(|tenant| AgentPolicyKey(AgentKey { tenant, agent })));
    check(&[(1, 9), (256, 1)].map(|(ms, n)| BlockKey { tenant: a, place: place(ms, n) }));
    check(&[MetaKey::JOURNAL, MetaKey::SCHEMA]);
}

#[test]
fn a_range_holds_its_prefix_and_ends_before_the_next() {
    let (from, to) = range_of::<CaseKey>(&[0xff, 0xff]);
    assert_eq!((from, to), (vec![6, 255, 255], vec![7]));
    let (from, to) = range_of::<CaseKey>(&[1]);
    assert_eq!((from, to), (vec![6, 1], vec![6, 2]));
}
