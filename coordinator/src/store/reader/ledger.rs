//! Intervals of agents' ledgers and the gaps that they show, by when they ended.

use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
};

use crate::{
    limits::{LEDGER_ROWS_LOOKED, LEDGER_ROWS_READ},
    store::{
        engine::Direction,
        schema::{LedgerGapKey, LedgerKey, range_of},
        tables::{LoadError, Rows, Source, Table},
    },
};

/// Which part of a tenant's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What ended then or later.
    pub from: Timestamp,
    /// What ended before.
    pub until: Timestamp,
    /// Only this agent's.
    pub agent: Option<AgentId>,
}

/// A key that begins with a tenant and an instant, and names an agent.
trait Placed: Table + Copy {
    fn agent(&self) -> AgentId;
}

impl Placed for LedgerKey {
    fn agent(&self) -> AgentId {
        self.agent
    }
}

impl Placed for LedgerGapKey {
    fn agent(&self) -> AgentId {
        self.agent
    }
}

/// Rows of a window, and where to go on.
#[expect(missing_debug_implementations, reason = "rows are printed nowhere")]
pub struct Found<K: Table> {
    /// The rows.
    pub rows: Rows<K>,
    /// The last key that was looked at, where there may be more behind it although there are fewer rows than were asked
    /// for.
    pub looked_up_to: Option<K>,
}

/// Reads intervals behind `after`, in the order in which they ended: at most `limit`, and fewer where
/// [`LEDGER_ROWS_LOOKED`] rows were looked at and most are other agents'.
///
/// # Errors
/// The store cannot be read, or an interval is damaged.
pub fn intervals<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&LedgerKey>,
    limit: usize,
) -> Result<Found<LedgerKey>, LoadError> {
    rows(source, tenant, window, after, limit)
}

/// Reads gaps behind `after`, in the order in which their intervals ended; else as [`intervals`].
///
/// # Errors
/// The store cannot be read, or a gap is damaged.
pub fn gaps<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&LedgerGapKey>,
    limit: usize,
) -> Result<Found<LedgerGapKey>, LoadError> {
    rows(source, tenant, window, after, limit)
}

/// Reads until there are `limit` rows of the window, or there are no more, or enough were looked at.
fn rows<K: Placed, S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&K>,
    limit: usize,
) -> Result<Found<K>, LoadError> {
    let bound = |at: Timestamp| {
        let (mut key, _) = range_of::<K>(tenant.as_bytes());
        key.extend_from_slice(&at.as_ms().to_be_bytes());
        key
    };
    let behind = |key: &K| [key.encode(), vec![0]].concat();
    let mut from = after.map_or_else(|| bound(window.from), behind);
    let to = match window.until {
        Timestamp::MAX => range_of::<K>(tenant.as_bytes()).1,
        until => bound(until),
    };
    let (mut rows, mut looked, mut looked_up_to) = (Vec::new(), 0, None);
    while rows.len() < limit && from < to {
        let page: Rows<K> = source.load_range(&from..&to, Direction::Forward, LEDGER_ROWS_READ)?;
        let is_last = page.len() < LEDGER_ROWS_READ;
        looked += page.len();
        let last = page.last().map(|(last, _)| *last);
        let wanted = |(key, _): &(K, K::Value)| window.agent.is_none_or(|it| it == key.agent());
        rows.extend(page.into_iter().filter(wanted));
        let Some(last) = last.filter(|_| !is_last) else { break };
        from = behind(&last);
        if looked >= LEDGER_ROWS_LOOKED && rows.len() < limit {
            looked_up_to = Some(last);
            break;
        }
    }
    rows.truncate(limit);
    Ok(Found { rows, looked_up_to })
}
