//! What must hold, whatever happens; each assert names its law.

use std::collections::{BTreeMap, BTreeSet};

use agent::spool::{LostReason, ReadBlock};
use bytes::Bytes;
use coordinator::{
    command::{
        journal::{ChainCheck, check, read_after},
        policies::versions,
    },
    limits::LEASE_MAX,
    store::{
        engine::{Direction, Engine, Space},
        reader::cases::findings,
        schema::{
            AgentKey, AgentPolicyKey, BlockKey, CursorKey, GapKey, Key, LedgerGapKey, LedgerKey,
            range_of,
        },
        tables::Source,
        values::{Entry, Event, GapRecord},
    },
    triage::{
        case::CaseId,
        ledger::GapKind,
        queue::{QueueView, TenantScope},
    },
};
use shared::{
    block::Block,
    ids::{Lane, Seq, StreamId, TenantId},
    ledger::{Hash, Interval},
    time::Timestamp,
    wire::GapReason,
};

use crate::{
    agent_side::{AgentSide, heads, texts},
    coordinator_side::{build_view, cases_of},
};

/// A lease as the journal tells it.
#[derive(Debug, Default)]
struct Lease {
    fence: u64,
    holder: String,
    /// Until when it is live; none if it was given back, ran out, or the case was decided.
    until: Option<Timestamp>,
}

/// What was seen of a world so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// What each block was when it was first sent.
    sent: BTreeMap<(StreamId, Seq), Bytes>,
    /// Up to where each stream was acked.
    acked: BTreeMap<(TenantId, StreamId), Seq>,
    /// Numbers that a spool will not use again, because its agent stopped in the middle of a write.
    skipped: BTreeMap<StreamId, Vec<Seq>>,
    leases: BTreeMap<CaseId, Lease>,
    /// Number and hash of the last journal entry that was checked.
    journal: (u64, [u8; 32]),
    /// Cases of which the journal told.
    pub(crate) cases: Vec<CaseId>,
}

impl Checks {
    /// A block leaves the agent: under one number it is always the same.
    pub(crate) fn sent(&mut self, stream: StreamId, seq: Seq, block: Bytes) {
        let first = self.sent.entry((stream, seq)).or_insert_with(|| block.clone());
        assert!(*first == block, "L2: block {seq} of {stream:?} has two contents");
    }

    /// An ack reaches the agent: all up to it is durable.
    pub(crate) fn acked(
        &mut self,
        engine: &dyn Engine,
        tenant: TenantId,
        stream: StreamId,
        up_to: Seq,
    ) {
        let cursor = engine.load(&CursorKey { tenant, stream }).expect("the store can be read");
        let durable = cursor.map(|cursor| cursor.committed);
        assert!(
            durable >= Some(up_to),
            "L1: {up_to} of {stream:?} is acked, durable is {durable:?}"
        );
        let acked = self.acked.entry((tenant, stream)).or_insert(up_to);
        *acked = up_to.max(*acked);
    }

    /// Checks the journal's new entries: the chain is whole, and the leases that it tells of follow one another.
    pub(crate) fn journal(&mut self, engine: &dyn Engine) {
        let (after, previous) = self.journal;
        let entries = read_after(engine, after, usize::MAX).expect("the journal can be read");
        assert_eq!(check(&entries, after, previous), ChainCheck::Whole, "the journal is broken");
        if let Some(last) = entries.last() {
            self.journal = (last.number, last.hash);
        }
        entries.iter().for_each(|chained| self.entry(&chained.entry));
    }

    fn entry(&mut self, entry: &Entry) {
        for case in entry.event.cases() {
            if !self.cases.contains(case) {
                self.cases.push(*case);
            }
        }
        let person = entry.actor.person().unwrap_or_default();
        let case = match &entry.event {
            Event::CaseClaimed { case, .. }
            | Event::LeaseRenewed { case, .. }
            | Event::CaseReleased { case, .. }
            | Event::VerdictGiven { case, .. }
            | Event::LeaseExpired { case } => case,
            Event::GapRecorded { stream, gap } => {
                assert_eq!(gap.reason, GapReason::Skipped, "L4: {gap:?}, but nothing was damaged");
                let numbers = gap.first.as_u64()..=gap.last.as_u64();
                let skipped = self.skipped.entry(*stream).or_default();
                skipped.extend(numbers.filter_map(Seq::new));
                return;
            }
            _ => return,
        };
        let lease = self.leases.entry(*case).or_default();
        // A lease that ends later than any can was given while the clock was ahead.
        let last = entry.at.saturating_add(LEASE_MAX);
        let is_live = lease.until.is_some_and(|until| entry.at < until && until <= last);
        match &entry.event {
            Event::CaseClaimed { fence, until, .. } => {
                assert!(!is_live, "L6: two live leases on {case}: {lease:?}, {entry:?}");
                assert!(*fence > lease.fence, "L6: fences of {case} go up: {lease:?}, {entry:?}");
                *lease = Lease { fence: *fence, holder: person.to_owned(), until: Some(*until) };
                return;
            }
            Event::LeaseRenewed { until, .. } => {
                assert!(is_live, "L6: {entry:?} renews what is over: {lease:?}");
                lease.until = Some(*until);
            }
            Event::LeaseExpired { .. } => {
                assert!(!is_live && lease.until.is_some(), "L6: {entry:?} ends {lease:?}");
                lease.until = None;
                return;
            }
            _ => lease.until = None,
        }
        assert_eq!(lease.holder, person, "L6: only the holder of the newest claim writes");
    }

    /// Checks what is durable on the coordinator: every acked block, each once, as it was sent, and each alert counted
    /// once in the cases.
    pub(crate) fn store(&self, engine: &dyn Engine) {
        let mut alerts: BTreeMap<TenantId, u64> = BTreeMap::new();
        let mut stored: BTreeMap<StreamId, BTreeSet<Seq>> = BTreeMap::new();
        for (key, bytes) in blocks_of(engine) {
            let (stream, seq) = (key.place.stream, key.place.seq);
            let is_new = stored.entry(stream).or_default().insert(seq);
            assert!(is_new, "L2: block {seq} of {stream:?} is stored twice");
            let sent = self.sent.get(&(stream, seq)).expect("L2: only what was sent is stored");
            assert!(*sent == bytes, "L2: block {seq} of {stream:?} is not what was sent");
            let block = Block::parse(bytes).expect("L2: a stored block is whole");
            *alerts.entry(key.tenant).or_default() += u64::from(block.alerts());
        }
        for (stream, skipped) in &self.skipped {
            for seq in skipped {
                let is_new = stored.entry(*stream).or_default().insert(*seq);
                assert!(is_new, "L2: block {seq} of {stream:?} is stored, and was given up");
            }
        }
        for (stream, seqs) in &stored {
            let last = seqs.last().map_or(0, |seq| seq.as_u64());
            assert_eq!(last, seqs.len() as u64, "L2: numbers of {stream:?} skip");
        }
        for ((_, stream), up_to) in &self.acked {
            let last = stored.get(stream).and_then(BTreeSet::last);
            assert!(last >= Some(up_to), "L1: {up_to} of {stream:?} was acked and is not stored");
        }
        let mut counted: BTreeMap<TenantId, u64> = BTreeMap::new();
        for case in cases_of(engine).expect("the store can be read") {
            *counted.entry(case.tenant).or_default() += case.alert_count;
            let findings = findings(engine, &case).expect("the store can be read");
            let named: u64 = findings.iter().map(|finding| finding.count).sum();
            assert_eq!(named + case.other_count, case.alert_count, "L2: findings of {}", case.id);
        }
        assert_eq!(counted, alerts, "L2: alerts in cases against alerts in blocks");
    }
}

/// Checks that the blocks of an agent, on its spool and on the coordinator, hold each record that its checkpoint covers
/// once and in order, and no other (L3).
pub(crate) fn records_are_whole(agent: &AgentSide, engine: &dyn Engine) {
    let Some(spool) = &agent.spool else { return };
    let reader = spool.reader();
    let mut stored: BTreeMap<(StreamId, Seq), Bytes> = BTreeMap::new();
    for (key, bytes) in blocks_of(engine).into_iter().filter(|(key, _)| key.tenant == agent.tenant)
    {
        stored.insert((key.place.stream, key.place.seq), bytes);
    }
    let skipped = skipped_of(engine, agent.tenant);
    for (lane, head) in Lane::ALL.into_iter().zip(heads(&reader)) {
        let stream = agent.stream(lane).expect("its spool is open");
        let mut found = Vec::new();
        for number in 1..=head.last.map_or(0, Seq::as_u64) {
            let seq = Seq::new(number).expect("it counts from 1");
            let block = match reader.read(lane, seq) {
                Ok(ReadBlock::Block(block)) => block,
                // The spool let go of it, and may have forgotten that over a restart: the coordinator has it, or has
                // recorded that it was never used.
                Ok(ReadBlock::Lost { reason: LostReason::Missing, .. }) | Err(_) => {
                    match stored.get(&(stream, seq)) {
                        Some(block) => block.clone(),
                        None if skipped.contains(&(stream, seq)) => continue,
                        None => panic!("L1: block {seq} of the {lane} lane is on neither side"),
                    }
                }
                // Numbers of a cut end: never sent, or they would be stored.
                Ok(ReadBlock::Lost { reason: LostReason::Skipped, .. }) => {
                    let was_sent = stored.contains_key(&(stream, seq));
                    assert!(!was_sent, "L2: skipped block {seq} of the {lane} lane is stored");
                    continue;
                }
                Ok(lost) => panic!("L3: {lost:?} of the {lane} lane"),
            };
            found.extend(texts(&block));
        }
        let expected = agent.expected(lane);
        assert!(
            found == expected,
            "L3: records of the {lane} lane are not whole:\n{found:?}\n{expected:?}"
        );
    }
}

/// Checks that every record that was written is stored on the coordinator, once and in order within its lane.
pub(crate) fn all_arrived(agent: &AgentSide, engine: &dyn Engine) {
    for lane in Lane::ALL {
        let mut blocks: Vec<(Seq, Bytes)> = Vec::new();
        for (key, bytes) in blocks_of(engine) {
            if key.place.stream.agent == agent.id && key.place.stream.lane == lane {
                assert_eq!(key.tenant, agent.tenant, "L5: a block is its agent's tenant's");
                blocks.push((key.place.seq, bytes));
            }
        }
        blocks.sort_by_key(|(seq, _)| *seq);
        let found: Vec<String> = blocks.iter().flat_map(|(_, block)| texts(block)).collect();
        assert_eq!(found, agent.expected(lane), "L2: what arrived on the {lane} lane");
    }
}

/// Checks that the ledger that arrived follows in one chain, that each of its sums closes, and that it counts each
/// record once, whatever crashed (L4).
pub(crate) fn ledger_is_whole(agent: &AgentSide, engine: &dyn Engine) {
    let (from, to) = range_of::<LedgerKey>(agent.tenant.as_bytes());
    let rows = engine.load_range::<LedgerKey>(&from..&to, Direction::Forward, usize::MAX);
    let rows = rows.expect("the store can be read").into_iter();
    let mut intervals: Vec<Interval> =
        rows.filter(|(key, _)| key.agent == agent.id).map(|(_, interval)| interval).collect();
    intervals.sort_by_key(|interval| interval.number);
    let (mut number, mut previous) = (0, Hash::default());
    for interval in &intervals {
        number += 1;
        assert_eq!((interval.number, interval.previous), (number, previous), "L4: the chain");
        assert_eq!(interval.imbalances(), [], "L4: interval {number}");
        previous = interval.hash();
    }
    for lane in Lane::ALL {
        let counted: u64 = intervals.iter().map(|interval| interval.in_blocks(lane)).sum();
        let written = agent.expected(lane).len() as u64;
        assert_eq!(counted, written, "L4: records of the {lane} lane, counted and written");
    }
    let (from, to) = range_of::<LedgerGapKey>(agent.tenant.as_bytes());
    let gaps = engine.load_range::<LedgerGapKey>(&from..&to, Direction::Forward, usize::MAX);
    for (_, record) in gaps.expect("the store can be read") {
        assert_eq!(record.gap.kind, GapKind::Stopped, "L4: {record:?}, but nothing was lost");
    }
}

/// Checks that what the coordinator knows of an agent's policy is what the agent said, and that nobody has a version
/// that is not stored.
pub(crate) fn policy_is_known(agent: &AgentSide, engine: &dyn Engine) {
    let key = AgentKey { tenant: agent.tenant, agent: agent.id };
    let known = engine.load(&AgentPolicyKey(key)).expect("the store can be read");
    let newest = versions(engine, agent.tenant).expect("the store can be read").pop();
    let said = known.map_or(0, |it| it.version);
    assert!(said <= agent.policy.version, "L1: it has {said}, as the coordinator thinks");
    assert!(agent.policy.version <= newest.unwrap_or(0), "L1: a policy that nobody stored");
}

/// Checks that the view that was kept up from the journal is the one that the store gives.
pub(crate) fn view_is_fresh(view: &QueueView, engine: &dyn Engine, now: Timestamp) {
    let rebuilt = build_view(engine).expect("the store can be read");
    let all = &TenantScope::All;
    let shown = |view: &QueueView| {
        let heads = view.head(all, 10_000);
        (heads, view.expired(Timestamp::MAX, 10_000), view.counts(all), view.totals(now))
    };
    assert_eq!(shown(view), shown(&rebuilt), "the queue's view is not the store's");
}

/// Returns the numbers that a tenant's agents have given up.
fn skipped_of(engine: &dyn Engine, tenant: TenantId) -> BTreeSet<(StreamId, Seq)> {
    let (from, to) = range_of::<GapKey>(tenant.as_bytes());
    let gaps = engine.load_range::<GapKey>(&from..&to, Direction::Forward, usize::MAX);
    let numbers = |(key, gap): (GapKey, GapRecord)| {
        let numbers = key.first.as_u64()..=gap.last.as_u64();
        numbers.filter_map(Seq::new).map(move |seq| (key.stream, seq))
    };
    gaps.expect("the store can be read").into_iter().flat_map(numbers).collect()
}

/// Returns all blocks that are stored.
fn blocks_of(engine: &dyn Engine) -> Vec<(BlockKey, Bytes)> {
    let (from, to) = range_of::<BlockKey>(&[]);
    let rows = engine.scan(Space::Blocks, &from..&to, Direction::Forward, usize::MAX);
    let rows = rows.expect("the store can be read");
    let decode = |(key, bytes): (Bytes, Bytes)| {
        (BlockKey::decode(&key).expect("L2: each key is a block's"), bytes)
    };
    rows.into_iter().map(decode).collect()
}
