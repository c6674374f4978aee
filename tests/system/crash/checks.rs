//! What must be in the store in the end: every alert that was written, once and in order, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use coordinator::{
    command::{
        journal::{ChainCheck, check as check_chain, read_after},
        tokens,
    },
    store::{
        engine::{Direction, Engine, RocksEngine, Space},
        reader::cases::findings,
        schema::{BlockKey, CaseKey, GapKey, Key, range_of},
        tables::Source as _,
        values::GapRecord,
    },
};
use shared::{
    block::Block,
    ids::{Epoch, Lane, StreamId, TenantId},
    wire::GapReason,
};
use tests::cluster::Coordinator;

use super::Site;

/// Most lost records that are named.
const EXAMPLES_MAX: usize = 3;

/// What was found, in records; and gaps, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Alerts that were written.
    pub(super) records: u64,
    /// Those that are not stored.
    pub(super) lost: u64,
    /// Stored once too often.
    pub(super) doubled: u64,
    /// Stored behind one of the same source and lane that was written later.
    pub(super) out_of_order: u64,
    /// Stored, but never written so.
    pub(super) foreign: u64,
    /// Runs of numbers that an agent said it will never use, as a kill cut the write of their blocks short. Such a gap
    /// hides nothing: its records were written again under later numbers, or they count as lost.
    pub(super) gaps: u64,
}

impl Found {
    pub(super) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        self.gaps += other.gaps;
    }

    pub(super) fn is_clean(&self) -> bool {
        *self == Self { records: self.records, gaps: self.gaps, ..Self::default() }
    }
}

/// Opens the store of a coordinator that has stopped, and compares it with what was written. Also returns what else is
/// wrong, and examples.
pub(super) fn check(coordinator: &Coordinator, sites: &[Site]) -> Result<(Found, Vec<String>)> {
    let engine = RocksEngine::open(&coordinator.store).context("open the store")?;
    let engine: &dyn Engine = &engine;
    let (mut found, mut faults) = (Found::default(), Vec::new());
    let blocks = blocks(engine)?;
    let mut alerts: BTreeMap<TenantId, u64> = BTreeMap::new();
    for (key, block) in &blocks {
        *alerts.entry(key.tenant).or_default() += u64::from(block.alerts());
        let is_known = |site: &Site| {
            (site.agent.tenant, site.agent.id) == (key.tenant, key.place.stream.agent)
        };
        if !sites.iter().any(is_known) {
            faults.push(format!("L5: a block of nobody: {key:?}"));
        }
    }
    let gaps = gaps(engine, &mut faults)?;
    found.gaps = gaps.len() as u64;
    for site in sites {
        let of_site: Vec<_> =
            blocks.iter().filter(|(key, _)| key.place.stream.agent == site.agent.id).collect();
        numbers_follow(&of_site, &gaps, &mut faults);
        found.add(records(site, &of_site, &mut faults)?);
        faults.extend(site.agent.process.errors()?);
    }
    the_rest_follows(engine, coordinator, &alerts, &mut faults)?;
    faults.extend(coordinator.process.errors()?);
    Ok((found, faults))
}

/// Returns all blocks by tenant, stream and number.
fn blocks(engine: &dyn Engine) -> Result<Vec<(BlockKey, Block)>> {
    let (from, to) = range_of::<BlockKey>(&[]);
    let rows = engine.scan(Space::Blocks, &from..&to, Direction::Forward, usize::MAX)?;
    let decode = |(key, bytes): (Bytes, Bytes)| -> Result<(BlockKey, Block)> {
        Ok((BlockKey::decode(&key)?, Block::parse(bytes)?))
    };
    let mut blocks: Vec<_> = rows.into_iter().map(decode).collect::<Result<_>>()?;
    blocks.sort_by_key(|(key, _)| (key.tenant, key.place.stream, key.place.seq));
    Ok(blocks)
}

/// Where an agent left out numbers, and the last that it left out. Any other gap is a fault: a kill damages nothing.
fn gaps(engine: &dyn Engine, faults: &mut Vec<String>) -> Result<BTreeMap<(StreamId, u64), u64>> {
    let (from, to) = range_of::<GapKey>(&[]);
    let rows = engine.load_range::<GapKey>(&from..&to, Direction::Forward, usize::MAX)?;
    let (skipped, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, gap)| gap.reason == GapReason::Skipped);
    faults.extend(others.iter().map(|(key, gap)| format!("L4: {key:?} {gap:?}")));
    let range =
        |(key, gap): (GapKey, GapRecord)| ((key.stream, key.first.as_u64()), gap.last.as_u64());
    Ok(skipped.into_iter().map(range).collect())
}

/// Checks that each stream's blocks are numbered from 1, in one epoch, without repeats and without holes other than
/// `gaps`.
fn numbers_follow(
    blocks: &[&(BlockKey, Block)],
    gaps: &BTreeMap<(StreamId, u64), u64>,
    faults: &mut Vec<String>,
) {
    let mut epochs: BTreeSet<Epoch> = BTreeSet::new();
    let mut lasts: BTreeMap<Lane, u64> = BTreeMap::new();
    for (key, _) in blocks {
        let (stream, seq) = (key.place.stream, key.place.seq.as_u64());
        epochs.insert(stream.epoch);
        let last = lasts.entry(stream.lane).or_default();
        let next = gaps.get(&(stream, *last + 1)).unwrap_or(last) + 1;
        if seq != next {
            faults.push(format!("L2: {stream:?} has block {seq} behind {last}"));
        }
        *last = seq;
    }
    if epochs.len() > 1 {
        faults.push(format!("L3: an agent began its spool anew: {epochs:?}"));
    }
}

/// Compares the records in an agent's blocks with those that its detectors wrote.
fn records(site: &Site, blocks: &[&(BlockKey, Block)], faults: &mut Vec<String>) -> Result<Found> {
    let mut found = Found::default();
    let mut expected: HashMap<&[u8], (usize, usize)> = HashMap::new();
    for (source, detector) in site.detectors.iter().enumerate() {
        for (number, record) in detector.alerts().enumerate() {
            let other = expected.insert(record, (source, number));
            assert_eq!(other, None, "each record is another: {}", String::from_utf8_lossy(record));
            found.records += 1;
        }
    }
    let mut seen: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut lasts: BTreeMap<(Lane, usize), usize> = BTreeMap::new();
    for (key, block) in blocks {
        for record in block.records()? {
            let Some(&(source, number)) = expected.get(&*record) else {
                found.foreign += 1;
                faults.push(format!("never written: {}", String::from_utf8_lossy(&record)));
                continue;
            };
            if !seen.insert((source, number)) {
                found.doubled += 1;
            } else if let Some(last) = lasts.insert((key.place.stream.lane, source), number)
                && number < last
            {
                found.out_of_order += 1;
            }
        }
    }
    found.lost = found.records - seen.len() as u64;
    let mut lost: Vec<_> = expected.iter().filter(|(_, place)| !seen.contains(place)).collect();
    lost.sort_by_key(|(_, place)| **place);
    faults.extend(lost.iter().take(EXAMPLES_MAX).map(|(record, (source, number))| {
        let path = site.detectors[*source].path().display();
        format!("L1: lost: alert {number} of {path}: {}", String::from_utf8_lossy(record))
    }));
    Ok(found)
}

/// Checks what the coordinator made of the alerts: the cases count each once, the journal is whole, and the first
/// token opens the API although it may have been killed while it made it.
fn the_rest_follows(
    engine: &dyn Engine,
    coordinator: &Coordinator,
    alerts: &BTreeMap<TenantId, u64>,
    faults: &mut Vec<String>,
) -> Result<()> {
    let (from, to) = range_of::<CaseKey>(&[]);
    let mut counted: BTreeMap<TenantId, u64> = BTreeMap::new();
    for (_, case) in engine.load_range::<CaseKey>(&from..&to, Direction::Forward, usize::MAX)? {
        *counted.entry(case.tenant).or_default() += case.alert_count;
        let named: u64 = findings(engine, &case)?.iter().map(|finding| finding.count).sum();
        if named + case.other_count != case.alert_count {
            faults.push(format!("L2: case {} counts otherwise than its findings", case.id));
        }
    }
    if counted != *alerts {
        faults.push(format!("L2: alerts in cases {counted:?}, in blocks {alerts:?}"));
    }
    let entries = read_after(engine, 0, usize::MAX)?;
    let chain = check_chain(&entries, 0, [0; 32]);
    if chain != ChainCheck::Whole {
        faults.push(format!("the journal is {chain:?}"));
    }
    let token = coordinator.admin_token()?;
    if engine.load(&tokens::key_of(&token))?.is_none() {
        faults.push(format!("the first administrator's token {token:?} is not the store's"));
    }
    Ok(())
}
