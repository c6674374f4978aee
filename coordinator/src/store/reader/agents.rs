//! Agents with where their lanes stand, and what was known of their hosts.

use std::ops::Range;

use shared::{
    context::{ContextVersion, HostContext},
    ids::{AgentId, Lane, Seq, StreamId, TenantId},
    time::Timestamp,
};

use crate::{
    limits::{CONTEXTS_READ_MAX, GAPS_COUNTED_MAX, PAGE_ITEMS_MAX},
    store::{
        engine::Direction,
        reader::gaps,
        schema::{
            AgentKey, CertificateKey, ConflictKey, ContextKey, CursorKey, GapKey, Key, RevokedKey,
            SpoolNoticeKey, TenantKey, range_of,
        },
        tables::{LoadError, Rows, Source, Table},
        values::{Agent, Conflict, KnownCertificate, KnownContext, Revocation, SpoolNotice},
    },
    triage::queue::TenantScope,
};

/// Where one lane of an agent's present spool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStanding {
    /// Newest block that the spool held when the agent was last heard of.
    pub spooled: Option<Seq>,
    /// Newest block that is durable here.
    pub committed: Option<Seq>,
    /// How many alerts the lane has brought from this spool.
    pub alerts: u64,
}

impl LaneStanding {
    /// Returns how many blocks of the spool are not durable here, as far as the agent has said.
    #[must_use]
    pub fn lag_blocks(&self) -> u64 {
        let number = |seq: Option<Seq>| seq.map_or(0, Seq::as_u64);
        number(self.spooled).saturating_sub(number(self.committed))
    }
}

/// An agent with all that is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStanding {
    /// Whose and which.
    pub key: AgentKey,
    /// What it said of itself.
    pub agent: Agent,
    /// Its host, from the newest context.
    pub host: Option<HostContext>,
    /// Its lanes, by [`Lane::index`].
    pub lanes: [LaneStanding; Lane::COUNT],
    /// How many gaps are known of all its spools; at most [`GAPS_COUNTED_MAX`] are counted.
    pub gaps: usize,
    /// What made its identity worthless, if anything did.
    pub revoked: Option<Revocation>,
    /// The latest certificate that it has shown.
    pub certificate: Option<KnownCertificate>,
    /// The hosts that use its identity, if there are several.
    pub conflict: Option<Conflict>,
    /// What is the matter with its spool.
    pub spool_notice: Option<SpoolNotice>,
}

impl AgentStanding {
    /// Returns how many blocks of all lanes are not durable here, as far as the agent has said.
    #[must_use]
    pub fn lag_blocks(&self) -> u64 {
        self.lanes.iter().map(LaneStanding::lag_blocks).sum()
    }
}

/// Reads at most `limit` agents of the tenants in `scope` behind `after`, in order of tenant and id.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn page<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    after: Option<AgentKey>,
    limit: usize,
) -> Result<Vec<AgentStanding>, LoadError> {
    let start = after.map(|key| {
        let mut start = key.encode();
        start.push(0); // the first key behind it
        start
    });
    let ranges: Vec<(Vec<u8>, Vec<u8>)> = match scope {
        TenantScope::All => vec![range_of::<AgentKey>(&[])],
        TenantScope::Only(tenants) => {
            tenants.iter().map(|tenant| range_of::<AgentKey>(tenant.as_bytes())).collect()
        }
    };
    let mut rows: Rows<AgentKey> = Vec::new();
    for (from, to) in ranges {
        if rows.len() == limit {
            break;
        }
        let from = start.clone().map_or_else(|| from.clone(), |start| start.max(from.clone()));
        if from < to {
            let left = limit - rows.len();
            rows.extend(source.load_range::<AgentKey>(&from..&to, Direction::Forward, left)?);
        }
    }
    standings(source, rows)
}

/// Finds an agent by its id among the tenants in `scope`. Where several tenants have one of this id, which cannot be
/// unless ids were forged, the first by name is returned.
///
/// # Errors
/// The store cannot be read, or something in it is damaged.
pub fn find<S: Source + ?Sized>(
    source: &S,
    scope: &TenantScope,
    agent: AgentId,
) -> Result<Option<AgentStanding>, LoadError> {
    let among = |tenants: &mut dyn Iterator<Item = TenantId>| {
        let keys: Vec<AgentKey> = tenants.map(|tenant| AgentKey { tenant, agent }).collect();
        let found = keys.iter().copied().zip(source.load_many(&keys)?);
        let row = found.into_iter().find_map(|(key, value)| Some((key, value?)));
        Ok::<_, LoadError>(row)
    };
    let row = match scope {
        TenantScope::Only(tenants) => among(&mut tenants.iter().copied())?,
        TenantScope::All => {
            let (mut from, to) = range_of::<TenantKey>(&[]);
            loop {
                let keys: Vec<TenantKey> =
                    source.load_keys(&from..&to, Direction::Forward, PAGE_ITEMS_MAX)?;
                let row = among(&mut keys.iter().map(|key| key.0))?;
                match keys.last().filter(|_| row.is_none() && keys.len() == PAGE_ITEMS_MAX) {
                    Some(last) => {
                        from = last.encode();
                        from.push(0);
                    }
                    None => break row,
                }
            }
        }
    };
    Ok(standings(source, row.into_iter().collect())?.pop())
}

/// Reads what belongs to each agent: cursors in bulk, the newest context and the gaps one by one.
fn standings<S: Source + ?Sized>(
    source: &S,
    rows: Rows<AgentKey>,
) -> Result<Vec<AgentStanding>, LoadError> {
    let cursor_keys: Vec<CursorKey> = rows
        .iter()
        .flat_map(|(key, agent)| {
            Lane::ALL.map(|lane| CursorKey {
                tenant: key.tenant,
                stream: StreamId { agent: key.agent, epoch: agent.epoch, lane },
            })
        })
        .collect();
    let mut cursors = source.load_many(&cursor_keys)?.into_iter();
    let mut revocations = of_each(source, &rows, RevokedKey)?;
    let mut certificates = of_each(source, &rows, CertificateKey)?;
    let mut conflicts = of_each(source, &rows, ConflictKey)?;
    let mut notices = of_each(source, &rows, SpoolNoticeKey)?;
    let mut standings = Vec::with_capacity(rows.len());
    for (key, agent) in rows {
        let mut lanes = [LaneStanding::default(); Lane::COUNT];
        for (lane, spooled) in lanes.iter_mut().zip(agent.spooled) {
            let cursor = cursors.next().flatten();
            *lane = LaneStanding {
                spooled,
                committed: cursor.map(|cursor| cursor.committed),
                alerts: cursor.map_or(0, |cursor| cursor.alerts),
            };
        }
        let host = contexts(source, key, None, 1)?.pop().map(|(_, known)| known.context);
        let (from, to) = gaps::range(key.tenant, key.agent);
        let gaps: Vec<GapKey> =
            source.load_keys(&from..&to, Direction::Forward, GAPS_COUNTED_MAX)?;
        standings.push(AgentStanding {
            key,
            agent,
            host,
            lanes,
            gaps: gaps.len(),
            revoked: revocations.next().flatten(),
            certificate: certificates.next().flatten(),
            conflict: conflicts.next().flatten(),
            spool_notice: notices.next().flatten(),
        });
    }
    Ok(standings)
}

/// Reads the row of a family for each agent.
fn of_each<S: Source + ?Sized, K: Table>(
    source: &S,
    rows: &Rows<AgentKey>,
    key: fn(AgentKey) -> K,
) -> Result<impl Iterator<Item = Option<K::Value>> + use<S, K>, LoadError> {
    let keys: Vec<K> = rows.iter().map(|(of, _)| key(*of)).collect();
    Ok(source.load_many(&keys)?.into_iter())
}

/// Reads at most `limit` contexts of an agent's host that were received before `before`, newest first.
///
/// # Errors
/// The store cannot be read, or a context is damaged.
pub fn contexts<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    before: Option<Timestamp>,
    limit: usize,
) -> Result<Rows<ContextKey>, LoadError> {
    let (from, mut to) = range_of::<ContextKey>(&agent.encode()[1..]);
    if let Some(before) = before {
        to = context_key(agent, before).encode();
    }
    source.load_range(&from..&to, Direction::Backward, limit)
}

/// Reads the context of an agent's host that was current at `at`, by when the coordinator had it.
///
/// # Errors
/// The store cannot be read, or the context is damaged.
pub fn context_at<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    at: Timestamp,
) -> Result<Option<(ContextKey, KnownContext)>, LoadError> {
    let (from, _) = range_of::<ContextKey>(&agent.encode()[1..]);
    let mut to = context_key(agent, at).encode();
    to.push(0); // `at` itself counts
    Ok(source.load_range(&from..&to, Direction::Backward, 1)?.pop())
}

/// Reads the context under which an alert was raised: the one of the version that it names, nearest to when the alert
/// was received. A context travels on another stream than alerts, so it may have been received after them.
///
/// Looks at no more than [`CONTEXTS_READ_MAX`] contexts on either side of `received_at`.
///
/// # Errors
/// The store cannot be read, or a context is damaged.
pub fn context_of_alert<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    version: ContextVersion,
    received_at: Timestamp,
) -> Result<Option<(ContextKey, KnownContext)>, LoadError> {
    let (from, to) = range_of::<ContextKey>(&agent.encode()[1..]);
    let mut middle = context_key(agent, received_at).encode();
    middle.push(0);
    let find = |range: Range<&[u8]>, direction| {
        let rows = source.load_range::<ContextKey>(range, direction, CONTEXTS_READ_MAX)?;
        let row = rows.into_iter().find(|(_, known)| known.context.version() == version);
        Ok::<_, LoadError>(row)
    };
    match find(&from..&middle, Direction::Backward)? {
        Some(row) => Ok(Some(row)),
        None => find(&middle..&to, Direction::Forward),
    }
}

fn context_key(AgentKey { tenant, agent }: AgentKey, received_at: Timestamp) -> ContextKey {
    ContextKey { tenant, agent, received_at }
}

#[cfg(test)]
mod tests;
