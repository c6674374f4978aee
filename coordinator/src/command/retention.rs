//! Deletes what is old: blocks and their indexes by when they were received, ledgers by when their
//! intervals ended, closed cases by when they were decided, recalls by when they were asked for, and
//! remembered answers.
//!
//! Whole ranges are dropped; what was acked and not yet decided stays as a case, and says that its
//! records are gone. A run that finds nothing stages nothing, so that the journal tells only of
//! what was deleted.

use std::collections::BTreeSet;

use shared::{ids::TenantId, recall::RecallId, time::Timestamp};

use crate::{
    command::{CommandError, block::host_key, journal},
    store::{
        engine::{Direction, Space, Staged},
        schema::{
            BlockKey, CaseBlockKey, CaseKey, EntityKey, FindingKey, IdempotencyKey, Key, KnownKey,
            LedgerGapKey, LedgerKey, RecallAgentKey, RecallKey, RecalledKey, TenantCaseKey,
            TenantRecallKey, range_of,
        },
        tables::{LoadError, Source, delete, put},
        values::{Actor, Entry, Event},
    },
    triage::case::{Case, CaseState},
};

/// Most cases that one run looks at, so that the writer is not held up.
const CASES_PER_RUN: usize = 1_000;
/// Most recalls that one run deletes; the rest goes with the next.
const RECALLS_PER_RUN: usize = 100;

/// What a run deletes of what is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it: it is older than is agreed.
    All,
    /// What takes the room: blocks with their index, and what recalls brought. Ledgers and cases stay, and say what
    /// there was.
    Room,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Whether it deleted anything.
    pub deleted: bool,
    /// Behind which case the caller runs again; nothing if all cases were looked at.
    pub next: Option<TenantCaseKey>,
}

/// Stages the deletion of what a tenant received before `before`, as far as `scope` goes, and of its cases that were
/// opened and decided before it; cases are looked at from behind `after`.
///
/// The index of entities is dropped by whole days, up to a day later than its blocks.
///
/// # Errors
/// The store cannot be read.
pub fn run(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    (before, scope): (Timestamp, Scope),
    after: Option<TenantCaseKey>,
    now: Timestamp,
) -> Result<Ran, CommandError> {
    let mut deleted = false;
    for (space, from, to) in ranges(tenant, before, scope) {
        let first = staged.scan_raw(space, &from..&to, Direction::Forward, 1);
        if !first.map_err(LoadError::from)?.is_empty() {
            staged.delete_range(space, &from..&to);
            deleted = true;
        }
    }

    deleted |= drop_recalls(staged, tenant, before)?;

    let keys = match scope {
        Scope::All => old_cases(staged, tenant, before, after)?,
        Scope::Room => Vec::new(),
    };
    let cases = staged.load_many(&keys.iter().map(|key| CaseKey(key.case)).collect::<Vec<_>>())?;
    let mut count = 0;
    for (key, case) in keys.iter().zip(cases) {
        if case.as_ref().is_none_or(|case| was_decided(case, before)) {
            drop_case(staged, key);
            if let Some(case) = case {
                forget_of_host(staged, &case)?;
            }
            count += 1;
        }
    }
    deleted |= count > 0;
    if deleted {
        let event = Event::RetentionRan { before, cases: count };
        let actor = Actor::Coordinator;
        journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    }
    let next = keys.last().copied().filter(|_| keys.len() == CASES_PER_RUN);
    Ok(Ran { deleted, next })
}

/// Returns the next cases, behind `after`, that the tenant opened before `before`.
fn old_cases(
    staged: &Staged<'_>,
    tenant: TenantId,
    before: Timestamp,
    after: Option<TenantCaseKey>,
) -> Result<Vec<TenantCaseKey>, LoadError> {
    let (first, _) = range_of::<TenantCaseKey>(tenant.as_bytes());
    let to = [first.as_slice(), &before.as_ms().to_be_bytes()].concat();
    let from = after.map_or(first, |key| [key.encode(), vec![0]].concat());
    staged.load_keys(&from..&to, Direction::Forward, CASES_PER_RUN)
}

/// Stages the deletion of the tenant's recalls that were asked for before `before`, with what came of them; returns
/// whether there were any.
fn drop_recalls(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    before: Timestamp,
) -> Result<bool, CommandError> {
    let (from, _) = range_of::<TenantRecallKey>(tenant.as_bytes());
    let to = TenantRecallKey { tenant, recall: RecallId::first_at(before) }.encode();
    let keys: Vec<TenantRecallKey> =
        staged.load_keys(&from..&to, Direction::Forward, RECALLS_PER_RUN)?;
    for key in &keys {
        let (from, to) = range_of::<RecallAgentKey>(key.recall.as_bytes());
        staged.delete_range(Space::Rows, &from..&to);
        let (from, to) = range_of::<RecalledKey>(&key.encode()[1..]);
        staged.delete_range(Space::Blocks, &from..&to);
        delete(staged, &RecallKey(key.recall));
        delete(staged, key);
    }
    Ok(!keys.is_empty())
}

/// Stages the deletion of all rows of a case.
fn drop_case(staged: &mut Staged<'_>, key: &TenantCaseKey) {
    let case = key.case.as_u64().to_be_bytes();
    for (from, to) in [range_of::<CaseBlockKey>(&case), range_of::<FindingKey>(&case)] {
        staged.delete_range(Space::Rows, &from..&to);
    }
    delete(staged, &KnownKey(key.case));
    delete(staged, &CaseKey(key.case));
    delete(staged, key);
}

/// Stages that new alerts of its host do not join the case.
fn forget_of_host(staged: &mut Staged<'_>, case: &Case) -> Result<(), CommandError> {
    let key = host_key(case.tenant, &case.host);
    let Some(mut host) = staged.load(&key)? else { return Ok(()) };
    host.forget(&BTreeSet::from([case.id]));
    if host.cases.is_empty() {
        delete(staged, &key);
    } else {
        put(staged, &key, host);
    }
    Ok(())
}

fn was_decided(case: &Case, before: Timestamp) -> bool {
    matches!(&case.state, CaseState::Closed(verdict) if verdict.at < before)
}

/// Returns the ranges that a run drops whole: the blocks, the index of their entities, and, if `scope` is all, the
/// ledgers that count them.
#[must_use]
pub fn ranges(tenant: TenantId, before: Timestamp, scope: Scope) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    fn up_to<K: Key>(space: Space, tenant: TenantId, end: &[u8]) -> (Space, Vec<u8>, Vec<u8>) {
        let (from, _) = range_of::<K>(tenant.as_bytes());
        let to = [from.as_slice(), end].concat();
        (space, from, to)
    }
    let at = before.as_ms().to_be_bytes();
    let mut ranges = vec![
        up_to::<BlockKey>(Space::Blocks, tenant, &at),
        up_to::<EntityKey>(Space::Rows, tenant, &EntityKey::day_of(before).to_be_bytes()),
    ];
    if scope == Scope::All {
        ranges.push(up_to::<LedgerKey>(Space::Rows, tenant, &at));
        ranges.push(up_to::<LedgerGapKey>(Space::Rows, tenant, &at));
    }
    ranges
}

/// Stages the deletion of those answers among `keys` that were remembered before `before`; returns
/// how many. Not journalled: they are nobody's data, only a guard against sending twice.
///
/// # Errors
/// The store cannot be read.
pub fn forget(
    staged: &mut Staged<'_>,
    keys: &[IdempotencyKey],
    before: Timestamp,
) -> Result<usize, CommandError> {
    let mut count = 0;
    for (key, answer) in keys.iter().zip(staged.load_many(keys)?) {
        if answer.is_some_and(|answer| answer.at < before) {
            delete(staged, key);
            count += 1;
        }
    }
    Ok(count)
}

/// Returns when the tenant's oldest block was received.
///
/// # Errors
/// The store cannot be read.
pub fn oldest_block<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
) -> Result<Option<Timestamp>, CommandError> {
    let (from, to) = range_of::<BlockKey>(tenant.as_bytes());
    let rows = source.scan_raw(Space::Blocks, &from..&to, Direction::Forward, 1);
    let rows = rows.map_err(LoadError::from)?;
    let Some((key, _)) = rows.first() else { return Ok(None) };
    let key = BlockKey::decode(key).map_err(LoadError::from)?;
    Ok(Some(key.place.received_at))
}

#[cfg(test)]
mod tests;
