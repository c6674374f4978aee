//! Intervals of agents' ledgers and the gaps that they show, by when they ended.

use shared::{
    ids::{AgentId, TenantId},
    time::Timestamp,
};

use crate::{
    limits::LEDGER_ROWS_READ,
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
trait Placed: Table {
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

/// Reads intervals behind `after`, in the order in which they ended. At most `limit` rows are looked at, so that
/// another agent's rows may leave fewer; the last key that was looked at says where to go on.
///
/// # Errors
/// The store cannot be read, or an interval is damaged.
pub fn intervals<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&LedgerKey>,
    limit: usize,
) -> Result<Rows<LedgerKey>, LoadError> {
    rows(source, tenant, window, after, limit)
}

/// Reads gaps behind `after`, in the order in which their intervals ended.
///
/// # Errors
/// The store cannot be read, or a gap is damaged.
pub fn gaps<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&LedgerGapKey>,
    limit: usize,
) -> Result<Rows<LedgerGapKey>, LoadError> {
    rows(source, tenant, window, after, limit)
}

/// Reads until there are `limit` rows of the window, or there are no more.
fn rows<K: Placed, S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    window: Window,
    after: Option<&K>,
    limit: usize,
) -> Result<Rows<K>, LoadError> {
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
    let mut found = Vec::new();
    while found.len() < limit && from < to {
        let page: Rows<K> = source.load_range(&from..&to, Direction::Forward, LEDGER_ROWS_READ)?;
        let is_last = page.len() < LEDGER_ROWS_READ;
        if let Some((last, _)) = page.last() {
            from = behind(last);
        }
        let wanted = |(key, _): &(K, K::Value)| window.agent.is_none_or(|it| it == key.agent());
        found.extend(page.into_iter().filter(wanted));
        if is_last {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}
