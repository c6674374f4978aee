use shared::{ids::Seq, ledger::SourceSums, wire::Gap};

use super::*;
use crate::{
    command::{block::record_gap, journal::read_after},
    limits::LEDGER_ROWS_LOOKED,
    store::{engine::MemoryEngine, reader::ledger as reader},
};

const EPOCH: Epoch = Epoch(7);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn agent() -> AgentId {
    AgentId::from_bytes([1; 16])
}

/// Returns intervals of a minute each, numbered from 1, in which nothing but reading happens.
fn intervals(count: u64) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = Vec::new();
    for number in 1..=count {
        let mut sums = SourceSums::of("eve");
        (sums.read, sums.skipped) = (number, number);
        let previous = intervals.last().map(Interval::hash).unwrap_or_default();
        let (from, until) = (at(60_000 * (number - 1)), at(60_000 * number));
        let sources = vec![sums];
        intervals.push(Interval { number, previous, from, until, sources, ..Interval::default() });
    }
    intervals
}

fn record_at(staged: &mut Staged<'_>, intervals: &[Interval], now: u64) -> Recorded {
    record(staged, acme(), agent(), EPOCH, intervals, at(now)).unwrap()
}

fn events(staged: &Staged<'_>) -> Vec<Event> {
    read_after(staged, 0, 100).unwrap().into_iter().map(|chained| chained.entry.event).collect()
}

fn gaps(staged: &Staged<'_>) -> Vec<(GapKind, u64)> {
    let window = reader::Window { from: at(0), until: Timestamp::MAX, agent: None };
    let rows = reader::gaps(staged, acme(), window, None, 100).unwrap().rows;
    rows.iter().map(|(_, record)| (record.gap.kind, record.gap.count)).collect()
}

#[test]
fn intervals_are_stored_once_and_nothing_is_said_of_a_ledger_in_order() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    assert_eq!(newest(&staged, acme(), agent(), EPOCH).unwrap(), 0);
    let all = intervals(5);
    let recorded = record_at(&mut staged, &all[..3], 200_000);
    assert_eq!((recorded.up_to, recorded.stored), (3, 3));
    let recorded = record_at(&mut staged, &all[1..], 400_000);
    assert_eq!((recorded.up_to, recorded.stored), (5, 2));
    assert_eq!(newest(&staged, acme(), agent(), EPOCH).unwrap(), 5);
    let window = reader::Window { from: at(0), until: at(400_000), agent: None };
    let rows = reader::intervals(&staged, acme(), window, None, 100).unwrap().rows;
    assert_eq!(rows.into_iter().map(|(_, interval)| interval).collect::<Vec<_>>(), all);
    assert!(gaps(&staged).is_empty() && events(&staged).is_empty());
}

#[test]
fn a_gap_is_stored_and_journalled_with_whose_it_is() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let mut all = intervals(4);
    all[3].sources[0].read += 2;
    record_at(&mut staged, &all[..1], 60_000);
    let recorded = record_at(&mut staged, &all[3..], 240_000);
    assert_eq!((recorded.up_to, recorded.gaps_unexplained), (4, 2));
    assert_eq!(gaps(&staged), [(GapKind::Missing, 2), (GapKind::Unclosed, 2)]);
    let event = Event::LedgerGapsFound {
        agent: agent(),
        epoch: EPOCH,
        up_to: 4,
        explained: 0,
        unexplained: 2,
    };
    assert_eq!(events(&staged), [event]);
}

#[test]
fn an_interval_that_comes_again_with_other_content_is_shown_and_does_not_replace_the_first() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let mut all = intervals(2);
    record_at(&mut staged, &all, 120_000);
    all[0].sources[0].skipped = 7;
    assert_eq!(record_at(&mut staged, &all, 130_000).gaps_unexplained, 1);
    assert_eq!(gaps(&staged), [(GapKind::Rewritten, 1)]);
    let window = reader::Window { from: at(0), until: at(100_000), agent: None };
    let rows = reader::intervals(&staged, acme(), window, None, 1).unwrap().rows;
    assert_eq!(rows[0].1.sources[0].skipped, 1);
}

#[test]
fn an_interval_that_comes_again_does_not_hide_what_was_wrong_with_it() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let mut all = intervals(1);
    all[0].sources[0].read += 2;
    record_at(&mut staged, &all, 60_000);
    all[0].sources[0].read -= 2;
    record_at(&mut staged, &all, 70_000);
    assert_eq!(gaps(&staged), [(GapKind::Unclosed, 2), (GapKind::Rewritten, 1)], "L4");
}

#[test]
fn a_page_of_an_agent_among_many_others_is_short_and_says_where_to_go_on() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let interval = intervals(1).remove(0);
    for number in 0..=LEDGER_ROWS_LOOKED as u64 {
        let (tenant, at, agent) = (acme(), at(number), AgentId::from_bytes([1; 16]));
        let key = LedgerKey { tenant, at, agent, epoch: EPOCH, number };
        put(&mut staged, &key, interval.clone());
    }
    let late = at(LEDGER_ROWS_LOOKED as u64 * 2);
    let key = LedgerKey {
        tenant: acme(),
        at: late,
        agent: AgentId::from_bytes([2; 16]),
        epoch: EPOCH,
        number: 1,
    };
    put(&mut staged, &key, interval);
    let window = reader::Window { from: at(0), until: Timestamp::MAX, agent: Some(key.agent) };
    let first = reader::intervals(&staged, acme(), window, None, 9).unwrap();
    assert!(first.rows.is_empty() && first.looked_up_to.is_some(), "L7");
    let after = first.looked_up_to.as_ref();
    let second = reader::intervals(&staged, acme(), window, after, 9).unwrap();
    assert_eq!((second.rows.len(), second.rows[0].0, second.looked_up_to), (1, key, None));
}

#[test]
fn alerts_in_blocks_that_were_lost_are_counted_by_the_ledger() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let stream = StreamId { agent: agent(), epoch: EPOCH, lane: Lane::Bulk };
    let mut all = intervals(2);
    (all[1].sources[0].sent[2], all[1].sources[0].skipped) = (2, 0);
    all[1].blocks[2] = Seq::new(1);
    record_at(&mut staged, &all[..1], 60_000);
    let gap = Gap { first: Seq::FIRST, last: Seq::FIRST, reason: GapReason::Damaged };
    record_gap(&mut staged, acme(), stream, gap, at(70_000)).unwrap();
    let recorded = record_at(&mut staged, &all[1..], 120_000);
    assert_eq!((recorded.gaps_explained, recorded.gaps_unexplained), (1, 0));
    assert_eq!(gaps(&staged), [(GapKind::BlocksLost, 2)]);
}

#[test]
fn a_clock_far_ahead_does_not_put_an_interval_out_of_retentions_reach() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let mut all = intervals(1);
    all[0].until = Timestamp::MAX;
    record_at(&mut staged, &all, 60_000);
    let until = at(60_000).saturating_add(FUTURE_MAX);
    let window = reader::Window { from: until, until: Timestamp::MAX, agent: None };
    let rows = reader::intervals(&staged, acme(), window, None, 9).unwrap().rows;
    assert_eq!((rows.len(), rows[0].0.at), (1, until));
}

#[test]
fn a_new_spool_begins_where_the_one_before_ended() {
    let engine = MemoryEngine::new(1);
    let mut staged = Staged::new(&engine);
    let mut all = intervals(2);
    record_at(&mut staged, &all[..1], 60_000);
    let mut first = all.remove(1);
    (first.number, first.previous, first.from) = (1, Default::default(), at(70_000));
    record(&mut staged, acme(), agent(), Epoch(8), &[first], at(120_000)).unwrap();
    assert_eq!(gaps(&staged), [(GapKind::Stopped, 10_000)]);
}
