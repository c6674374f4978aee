//! Deletes what is old: blocks and their indexes by when they were received, and closed cases by
//! when they were decided.
//!
//! Whole ranges are dropped; what was acked and not yet decided stays as a case, and says that its records are gone.

use shared::{ids::TenantId, time::Timestamp};

use crate::{
    command::{CommandError, journal},
    store::{
        engine::{Direction, Space, Staged},
        schema::{BlockKey, CaseBlockKey, CaseKey, EntityKey, Key, TenantCaseKey, range_of},
        tables::{Source, delete},
        values::{Actor, Entry, Event},
    },
    triage::case::CaseState,
};

/// Most closed cases that one run deletes, so that the writer is not held up.
const CASES_PER_RUN: usize = 1_000;

/// Stages the deletion of what a tenant received before `before`.
///
/// Returns whether more closed cases may be left: the caller runs again.
///
/// # Errors
/// The store cannot be read.
pub fn run(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, CommandError> {
    let (blocks_from, _) = range_of::<BlockKey>(tenant.as_bytes());
    let mut blocks_to = blocks_from.clone();
    blocks_to.extend_from_slice(&before.as_ms().to_be_bytes());
    staged.delete_range(Space::Blocks, &blocks_from..&blocks_to);

    let (entities_from, _) = range_of::<EntityKey>(tenant.as_bytes());
    let mut entities_to = entities_from.clone();
    entities_to.extend_from_slice(&EntityKey::day_of(before).to_be_bytes());
    staged.delete_range(Space::Rows, &entities_from..&entities_to);

    let (cases_from, _) = range_of::<TenantCaseKey>(tenant.as_bytes());
    let mut cases_to = cases_from.clone();
    cases_to.extend_from_slice(&before.as_ms().to_be_bytes());
    let keys: Vec<TenantCaseKey> =
        staged.load_keys(&cases_from..&cases_to, Direction::Forward, CASES_PER_RUN)?;
    let mut count = 0;
    for key in &keys {
        let case = staged.load(&CaseKey(key.case))?;
        let is_over = case.is_none_or(
            |case| matches!(&case.state, CaseState::Closed(verdict) if verdict.at < before),
        );
        if is_over {
            let (from, to) = range_of::<CaseBlockKey>(&key.case.as_u64().to_be_bytes());
            staged.delete_range(Space::Rows, &from..&to);
            delete(staged, &CaseKey(key.case));
            delete(staged, key);
            count += 1;
        }
    }
    let event = Event::RetentionRan { before, cases: count };
    let actor = Actor::Coordinator;
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    Ok(keys.len() == CASES_PER_RUN && count > 0)
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
    let rows = rows.map_err(crate::store::tables::LoadError::from)?;
    let Some((key, _)) = rows.first() else { return Ok(None) };
    let key = BlockKey::decode(key).map_err(crate::store::tables::LoadError::from)?;
    Ok(Some(key.place.received_at))
}
