//! What must be in the store in the end: a ledger in one chain whose sums close, and the alerts that it counts; and
//! what must have come of each recall.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use coordinator::{
    store::{
        engine::{Direction, Engine, RocksEngine, Space},
        schema::{BlockKey, Key, LedgerGapKey, LedgerKey, range_of},
        tables::Source as _,
        values::LedgerGapRecord,
    },
    triage::ledger::GapKind,
};
use shared::{
    block::Block,
    ids::{AgentId, Lane},
    ledger::{DropReason, Hash, Interval, LossReason, SourceSums},
    time::Timestamp,
};
use tests::cluster::Coordinator;

use super::{
    Site,
    holding::{Answer, Holding, PERIOD, ms_without},
    load::{ATTACKERS, FileLoad, Shape},
};

/// How long a period that has ended waits for its turn at most, on a machine that has much else to do.
const TURN_MAX: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) intervals: u64,
    /// Intervals whose sums all close.
    pub(super) closed: u64,
    /// Gaps by what they are: how many there are.
    pub(super) gaps_by_reason: BTreeMap<&'static str, u64>,
    pub(super) unexplained: u64,
    /// Records in files.
    pub(super) written: u64,
    pub(super) read: u64,
    /// Records that the ledgers count into blocks.
    pub(super) sent: u64,
    /// Alerts in blocks that are stored.
    pub(super) stored: u64,
    /// Datagrams that were sent while nobody listened, or that a killed agent had not stored.
    pub(super) datagrams_not_read: u64,
    /// Records that were pushed and answered.
    pub(super) pushes_answered: u64,
    /// Records that were pushed and not answered: each may be stored or not.
    pub(super) pushes_unsure: u64,
    /// How often a file was rotated.
    pub(super) rotated: u64,
    pub(super) spool_waits: u64,
    pub(super) held: u64,
    pub(super) folded: u64,
    /// Records that were held or folded and are gone when all is over.
    pub(super) evicted: u64,
    pub(super) recalls: u64,
    /// Recalls of which all came.
    pub(super) recalls_whole: u64,
    /// Recalls of which the rest has a tombstone.
    pub(super) recalls_with_tombstones: u64,
    /// Recalls that were not answered because the agent was killed too often meanwhile.
    pub(super) recalls_given_up: u64,
    /// Recalls that the coordinator did not take because it was just being started.
    pub(super) recalls_refused: u64,
    /// Recalls that paused when all was over and were asked for anew.
    pub(super) recalls_asked_again: u64,
    /// The longest time from an attacker's alert that was let through to the next in which it could have been.
    pub(super) fold_gap_ms_max: u64,
    /// The like, with the time in which the agent did not run or its disk was full.
    pub(super) fold_gap_ms_max_with_troubles: u64,
    /// Alerts of attackers that stand for exactly those that came since the one before.
    pub(super) fold_counts_compared: u64,
    /// Those that stand for fewer, since the agent was killed meanwhile.
    pub(super) fold_counts_ended_by_kills: u64,
    /// Attackers of whose alerts none was let through for a period.
    pub(super) starved_keys: u64,
}

/// Opens the store of a coordinator that has stopped, and compares it with what was written. Also returns what is
/// wrong.
pub(super) fn check(coordinator: &Coordinator, sites: &[Site]) -> Result<(Found, Vec<String>)> {
    let engine = RocksEngine::open(&coordinator.store).context("open the store")?;
    let engine: &dyn Engine = &engine;
    let (mut found, mut faults) = (Found::default(), Vec::new());
    let gaps = gaps(engine)?;
    for (_, record) in &gaps {
        let kind = record.gap.kind;
        *found.gaps_by_reason.entry(kind.as_str()).or_default() += 1;
        if kind.is_unexplained() {
            found.unexplained += 1;
            faults.push(format!("L4: {record:?}"));
        }
    }
    let stored = alerts(engine)?;
    for site in sites {
        let id = site.agent.id;
        let intervals = intervals(engine, id)?;
        follow(&intervals, &mut found, &mut faults);
        let of_agent: Vec<_> = gaps.iter().filter(|(key, _)| key.agent == id).collect();
        for lane in Lane::ALL {
            let counted: u64 = intervals.iter().map(|interval| interval.in_blocks(lane)).sum();
            let is = stored.get(&(id, lane)).copied().unwrap_or_default();
            found.sent += counted;
            found.stored += is;
            if counted != is {
                faults.push(format!("L4: {lane} lane of {id}: {counted} counted, {is} stored"));
            }
        }
        files(site, &intervals, &mut found, &mut faults);
        let has_stopped = of_agent.iter().any(|(_, record)| record.gap.kind == GapKind::Stopped);
        datagrams(site, &intervals, has_stopped, &mut found, &mut faults);
        pushes(site, &intervals, &mut found, &mut faults);
        losses(&intervals, &of_agent, &mut faults);
        if let Some(holding) = &site.holding {
            found.recalls_refused += holding.refused;
            found.recalls_asked_again += holding.asked_again;
            let stored = Stored::load(engine, id)?;
            for file in &site.files {
                held_back(file, &intervals, &holding.answers, &stored, &mut found, &mut faults);
            }
            surfaced(&stored, holding, &mut found, &mut faults);
            counts(site, &stored, &mut found, &mut faults);
        }
        faults.extend(site.agent.process.errors()?);
        let status = site.agent.status()?.context("the agent has run")?;
        found.spool_waits += status.spool.waits;
    }
    faults.extend(coordinator.process.errors()?);
    Ok((found, faults))
}

fn gaps(engine: &dyn Engine) -> Result<Vec<(LedgerGapKey, LedgerGapRecord)>> {
    let (from, to) = range_of::<LedgerGapKey>(&[]);
    Ok(engine.load_range::<LedgerGapKey>(&from..&to, Direction::Forward, usize::MAX)?)
}

/// Returns the intervals of an agent, by number.
fn intervals(engine: &dyn Engine, agent: AgentId) -> Result<Vec<Interval>> {
    let (from, to) = range_of::<LedgerKey>(&[]);
    let rows = engine.load_range::<LedgerKey>(&from..&to, Direction::Forward, usize::MAX)?;
    let rows = rows.into_iter().filter(|(key, _)| key.agent == agent);
    let mut intervals: Vec<Interval> = rows.map(|(_, interval)| interval).collect();
    intervals.sort_by_key(|interval| interval.number);
    Ok(intervals)
}

/// Returns how many alerts are stored, by agent and lane.
fn alerts(engine: &dyn Engine) -> Result<BTreeMap<(AgentId, Lane), u64>> {
    let (from, to) = range_of::<BlockKey>(&[]);
    let mut alerts: BTreeMap<(AgentId, Lane), u64> = BTreeMap::new();
    for (key, bytes) in engine.scan(Space::Blocks, &from..&to, Direction::Forward, usize::MAX)? {
        let stream = BlockKey::decode(&key)?.place.stream;
        let count = Block::parse(bytes)?.alerts();
        *alerts.entry((stream.agent, stream.lane)).or_default() += u64::from(count);
    }
    Ok(alerts)
}

/// Checks that the intervals are one chain, and that each closes.
fn follow(intervals: &[Interval], found: &mut Found, faults: &mut Vec<String>) {
    let (mut number, mut previous) = (0, Hash::default());
    for interval in intervals {
        number += 1;
        found.intervals += 1;
        let open = interval.imbalances();
        found.closed += u64::from(open.is_empty());
        faults.extend(open.iter().map(|open| format!("L4: interval {number}: {open}")));
        if (interval.number, interval.previous) != (number, previous) {
            faults.push(format!("L4: {} does not follow {}", interval.number, number - 1));
        }
        previous = interval.hash();
    }
}

fn sums<'i>(intervals: &'i [Interval], source: &str) -> impl Iterator<Item = &'i SourceSums> {
    let all = intervals.iter().flat_map(|interval| &interval.sources);
    all.filter(move |sums| sums.source == source)
}

/// Checks that each record of a source's files was counted once.
fn files(site: &Site, intervals: &[Interval], found: &mut Found, faults: &mut Vec<String>) {
    let mut of_sources: BTreeMap<&str, u64> = BTreeMap::new();
    for file in &site.files {
        *of_sources.entry(file.source()).or_default() += file.written();
        found.rotated += file.rotated();
    }
    for (source, written) in of_sources {
        let read: u64 = sums(intervals, source).map(|sums| sums.read).sum();
        found.written += written;
        found.read += read;
        if read != written {
            faults.push(format!("L4: {written} records of {source:?}, {read} counted"));
        }
    }
}

/// Checks that each record was counted whose sender was told that it is safe.
fn pushes(site: &Site, intervals: &[Interval], found: &mut Found, faults: &mut Vec<String>) {
    let Some(pushes) = &site.pushes else { return };
    let read: u64 = sums(intervals, pushes.source()).map(|sums| sums.read).sum();
    let (answered, unsure) = (pushes.answered(), pushes.unsure());
    found.pushes_answered += answered;
    found.pushes_unsure += unsure;
    found.written += read;
    found.read += read;
    if read < answered || read > answered + unsure {
        faults.push(format!(
            "L1: {answered} pushed records were answered, {unsure} were not, {read} are counted"
        ));
    }
}

/// Checks that datagrams which were not counted were sent while the agent did not run.
fn datagrams(
    site: &Site,
    intervals: &[Interval],
    has_stopped: bool,
    found: &mut Found,
    faults: &mut Vec<String>,
) {
    let Some(datagrams) = &site.datagrams else { return };
    let read: u64 = sums(intervals, "gateway").map(|sums| sums.read).sum();
    let written = datagrams.written();
    found.written += written;
    found.read += read;
    match written.checked_sub(read) {
        None => faults.push(format!("L4: {written} datagrams were sent, {read} are counted")),
        Some(0) => {}
        Some(_) if !has_stopped => {
            faults.push(format!("L4: {written} datagrams were sent, {read} are counted: no gap"));
        }
        Some(not_read) => found.datagrams_not_read += not_read,
    }
}

/// Checks that whatever the sums call dropped or lost is shown as a gap, too.
fn losses(
    intervals: &[Interval],
    gaps: &[&(LedgerGapKey, LedgerGapRecord)],
    faults: &mut Vec<String>,
) {
    let all = || intervals.iter().flat_map(|interval| &interval.sources);
    let shown = |kind: GapKind| -> u64 {
        let of_kind = gaps.iter().filter(|(_, record)| record.gap.kind == kind);
        of_kind.map(|(_, record)| record.gap.count).sum()
    };
    let dropped = all().filter_map(|sums| sums.dropped.get(&DropReason::SocketBuffer)).sum();
    let cut = all().filter_map(|sums| sums.losses.get(&LossReason::Cut)).sum();
    let pairs: [(GapKind, u64); 2] = [(GapKind::SocketBuffer, dropped), (GapKind::Cut, cut)];
    for (kind, count) in pairs {
        if shown(kind) != count {
            faults.push(format!("L4: {} {kind:?} are shown, {count} are counted", shown(kind)));
        }
    }
}

/// What is stored of an agent that holds back and folds.
#[derive(Debug, Default)]
struct Stored {
    noise: BTreeSet<u64>,
    attack: BTreeSet<u64>,
    /// Alerts of each attacker that were let through, by number.
    surfaced: BTreeMap<u64, BTreeMap<u64, LetThrough>>,
}

/// One alert of an attacker that was let through.
#[derive(Clone, Copy, Debug)]
struct LetThrough {
    /// How many it stands for.
    count: u64,
    /// When it was read.
    at: Timestamp,
}

impl Stored {
    fn load(engine: &dyn Engine, agent: AgentId) -> Result<Self> {
        let mut stored = Self::default();
        let (from, to) = range_of::<BlockKey>(&[]);
        for (key, bytes) in
            engine.scan(Space::Blocks, &from..&to, Direction::Forward, usize::MAX)?
        {
            if BlockKey::decode(&key)?.place.stream.agent != agent {
                continue;
            }
            let block = Block::parse(bytes)?;
            let bytes = block.decompress_fields()?;
            let fields = bytes.decode()?;
            for (position, record) in block.records()?.iter().enumerate() {
                let record = std::str::from_utf8(record)?;
                if let Some(number) = Shape::Noise.number_of(record) {
                    stored.noise.insert(number);
                } else {
                    let number = Shape::Attack.number_of(record).context("nobody wrote this")?;
                    stored.attack.insert(number);
                    let (count, at) = (fields.count(position), fields.observed_at(position));
                    let of_attacker = stored.surfaced.entry(number % ATTACKERS).or_default();
                    of_attacker.insert(number, LetThrough { count, at });
                }
            }
        }
        Ok(stored)
    }
}

/// Checks what came of the recalls of one file's records: all that was not sent, or a tombstone that says how much of
/// it is gone.
fn held_back(
    file: &FileLoad,
    intervals: &[Interval],
    answers: &[Answer],
    stored: &Stored,
    found: &mut Found,
    faults: &mut Vec<String>,
) {
    let shape = file.shape();
    let is_noise = shape == Shape::Noise;
    let sums = intervals.iter().flat_map(|interval| &interval.sources);
    let count: u64 = sums
        .flat_map(|sums| if is_noise { sums.held.values() } else { sums.folded.values() })
        .sum();
    *(if is_noise { &mut found.held } else { &mut found.folded }) += count;
    let stored = if is_noise { &stored.noise } else { &stored.attack };
    for answer in answers.iter().filter(|answer| answer.shape == shape) {
        found.recalls += 1;
        if !answer.is_answered && !answer.is_last {
            found.recalls_given_up += 1;
            continue;
        }
        found.recalls_whole += u64::from(answer.is_complete);
        found.recalls_with_tombstones += u64::from(answer.has_tombstone);
        faults.extend(untrue(answer, file.written(), stored).map(|fault| format!("L4: {fault}")));
        if answer.is_last && answer.window.is_none() {
            found.evicted += answer.evicted;
            let told = answer.numbers.len() as u64 + answer.evicted;
            if told != count {
                faults.push(format!("L4: {count} {shape:?} are counted, {told} came or are gone"));
            }
        }
    }
}

/// Returns what is wrong with an answer.
fn untrue(answer: &Answer, written: u64, stored: &BTreeSet<u64>) -> Option<String> {
    let came: BTreeSet<u64> = answer.numbers.iter().copied().collect();
    let (from, until) = answer.window.unwrap_or((0, u64::MAX));
    // What was written after the newest that came may have been written after the question.
    let newest = came.last().map_or(0, |newest| newest + 1);
    let until = until.min(if answer.is_last { written } else { newest });
    let missing = (from..until).filter(|number| !came.contains(number) && !stored.contains(number));
    let missing = missing.count() as u64;
    let Answer { shape, window, evicted, lost, strange, is_complete, has_tombstone, .. } = answer;
    let about = format!("recall of {shape:?} {window:?}: {} came", came.len());
    let outside = came.iter().filter(|number| !(from..until).contains(number)).count();
    let fault = if !answer.is_answered {
        "not answered".to_owned()
    } else if *strange > 0 || outside > 0 || came.len() != answer.numbers.len() {
        format!("{strange} that nobody wrote, {outside} not asked for, or some twice")
    } else if missing > *evicted || *lost > 0 {
        format!("{missing} are missing, {evicted} are said to be evicted, {lost} to be lost")
    } else if *is_complete != (*evicted == 0) || *has_tombstone != (*evicted > 0) {
        format!("{evicted} evicted, complete: {is_complete}, tombstone: {has_tombstone}")
    } else {
        return None;
    };
    Some(format!("{about}: {fault}"))
}

/// Checks that each attacker's alerts surfaced at least once in each period in which they could.
fn surfaced(stored: &Stored, holding: &Holding, found: &mut Found, faults: &mut Vec<String>) {
    let period = u64::try_from((PERIOD + TURN_MAX).as_millis()).unwrap_or(u64::MAX);
    for (attacker, alerts) in &stored.surfaced {
        let mut times: Vec<Timestamp> = alerts.values().map(|alert| alert.at).collect();
        times.sort_unstable();
        let mut is_starved = false;
        for pair in times.windows(2) {
            let ms = ms_without(&holding.troubles, pair[0], pair[1]);
            let with_troubles = pair[1].as_ms() - pair[0].as_ms();
            found.fold_gap_ms_max = found.fold_gap_ms_max.max(ms);
            found.fold_gap_ms_max_with_troubles =
                found.fold_gap_ms_max_with_troubles.max(with_troubles);
            if ms > period {
                is_starved = true;
                faults.push(format!("L8: nothing of attacker {attacker} surfaced for {ms} ms"));
            }
        }
        found.starved_keys += u64::from(is_starved);
    }
    if stored.surfaced.len() as u64 != ATTACKERS {
        faults.push(format!("L8: {:?} surfaced", stored.surfaced.keys()));
    }
}

/// Checks that each alert that was let through stands for exactly those of its attacker that came since the one
/// before, but for the first after a kill, or none: a kill takes with it what was not counted yet.
fn counts(site: &Site, stored: &Stored, found: &mut Found, faults: &mut Vec<String>) {
    let written = site.files.iter().find(|file| file.shape() == Shape::Attack);
    let written = written.map_or(0, FileLoad::written);
    for (attacker, alerts) in &stored.surfaced {
        let (mut before, mut fewer) = (0, 0);
        for (number, alert) in alerts {
            let came = number / ATTACKERS + 1;
            match alert.count.cmp(&(came - before)) {
                Ordering::Equal => found.fold_counts_compared += 1,
                Ordering::Less => fewer += 1,
                Ordering::Greater => faults.push(format!(
                    "L4: {} of attacker {attacker} came until {number}, which stands for {}",
                    came - before,
                    alert.count
                )),
            }
            before = came;
        }
        let wrote = written / ATTACKERS + u64::from(attacker < &(written % ATTACKERS));
        // What came last may have been folded before the last kill, and nothing of its like came after.
        fewer += u64::from(before < wrote);
        found.fold_counts_ended_by_kills += fewer;
        if fewer > site.kills {
            let kills = site.kills;
            faults.push(format!("L4: attacker {attacker}: {fewer} stand for fewer, {kills} kills"));
        }
        if before > wrote {
            faults.push(format!("L4: attacker {attacker}: {wrote} came, told until {before}"));
        }
    }
}
