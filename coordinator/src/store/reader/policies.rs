//! Policies of a tenant, where they stand at its agents, and what is seen of a roll-out.

use std::collections::{BTreeMap, BTreeSet};

use shared::{
    ids::{AgentId, TenantId},
    policy::{PolicyOutcome, PolicyRefusal},
    time::Timestamp,
};

use crate::{
    limits::{
        LEDGER_ROWS_LOOKED, LEDGER_ROWS_READ, ROLLOUT_AGENTS_MAX, ROLLOUT_BASELINE,
        ROLLOUT_SILENT_AFTER, ROLLOUT_SILENT_WITHIN,
    },
    store::{
        engine::Direction,
        schema::{AgentKey, AgentPolicyKey, Key, LedgerKey, PolicyKey, RolloutKey, range_of},
        tables::{LoadError, Rows, Source},
        values::{Agent, AgentPolicy, RefusedPolicy, Rollout},
    },
    triage::rollout::{Seen, Sums},
};

/// Reads at most `limit` versions of a tenant's policy below `before`, the newest first.
///
/// # Errors
/// The store cannot be read, or a version is damaged.
pub fn page<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    before: Option<u64>,
    limit: usize,
) -> Result<Rows<PolicyKey>, LoadError> {
    let (from, mut to) = range_of::<PolicyKey>(tenant.as_bytes());
    if let Some(version) = before {
        to = PolicyKey { tenant, version }.encode();
    }
    source.load_range(&from..&to, Direction::Backward, limit)
}

/// An agent of a tenant, with where the policy stands at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStanding {
    /// Which agent.
    pub agent: AgentId,
    /// When it first connected.
    pub first_seen_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// Where the policy stands, if it has said that.
    pub policy: Option<AgentPolicy>,
}

/// Reads at most `limit` of a tenant's agents behind `after`, in the order of their ids.
///
/// # Errors
/// The store cannot be read, or a row is damaged.
pub fn agents<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    after: Option<AgentId>,
    limit: usize,
) -> Result<Vec<AgentStanding>, LoadError> {
    let (mut from, to) = range_of::<AgentKey>(tenant.as_bytes());
    if let Some(agent) = after {
        from = AgentKey { tenant, agent }.encode();
        from.push(0);
    }
    let agents: Rows<AgentKey> = source.load_range(&from..&to, Direction::Forward, limit)?;
    let keys: Vec<AgentPolicyKey> = agents.iter().map(|(key, _)| AgentPolicyKey(*key)).collect();
    let standing = |((key, agent), policy): ((AgentKey, Agent), Option<AgentPolicy>)| {
        let Agent { first_seen_at, last_seen_at, .. } = agent;
        AgentStanding { agent: key.agent, first_seen_at, last_seen_at, policy }
    };
    Ok(agents.into_iter().zip(source.load_many(&keys)?).map(standing).collect())
}

/// Reads at most `limit` of the tenants behind `after` that have a policy.
///
/// # Errors
/// The store cannot be read.
pub fn tenants<S: Source + ?Sized>(
    source: &S,
    after: Option<TenantId>,
    limit: usize,
) -> Result<Vec<RolloutKey>, LoadError> {
    let (mut from, to) = range_of::<RolloutKey>(&[]);
    if let Some(after) = after {
        from = RolloutKey(after).encode();
        from.push(0);
    }
    source.load_keys(&from..&to, Direction::Forward, limit)
}

/// Reads what is seen of a roll-out at `now`, of the agents in its stage: what they answered, who fell silent soon
/// after that, and what became of records of those in which it is in force, before and since. Of the ledgers the newest
/// [`LEDGER_ROWS_LOOKED`] rows are looked at on either side.
///
/// # Errors
/// The store cannot be read, or a row is damaged.
pub fn seen<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    rollout: &Rollout,
    now: Timestamp,
) -> Result<Seen, LoadError> {
    let version = rollout.version;
    let record = source.load(&PolicyKey { tenant, version })?;
    let is_copy = record.is_some_and(|record| record.copy_of.is_some());
    let mut seen = Seen { is_copy, ..Seen::default() };
    let mut in_force: BTreeSet<AgentId> = BTreeSet::new();
    for standing in agents(source, tenant, None, ROLLOUT_AGENTS_MAX)? {
        let AgentStanding { agent, first_seen_at, last_seen_at, policy } = standing;
        let is_in_stage = rollout.has_in_stage(AgentKey { tenant, agent }, first_seen_at);
        let Some(policy) = policy.filter(|_| is_in_stage) else { continue };
        let is_early = |refused: &RefusedPolicy| refused.reason == PolicyRefusal::NotYet;
        if policy.refuses(rollout) {
            // A clock that is behind says nothing about the policy.
            if policy.refused.as_ref().is_some_and(is_early) {
                continue;
            }
            seen.answered += 1;
            seen.refused += 1;
        } else if policy.is_of(rollout) {
            seen.answered += 1;
            let is_away = now.since(last_seen_at) >= ROLLOUT_SILENT_AFTER;
            let is_soon = last_seen_at.since(policy.since) < ROLLOUT_SILENT_WITHIN;
            seen.silent += u64::from(is_away && is_soon);
            if policy.outcome == PolicyOutcome::InForce {
                in_force.insert(agent);
            }
        }
    }
    let began = rollout.began_at;
    let of = |from: Timestamp, until: Timestamp, wanted: &dyn Fn(u64) -> bool| {
        sums(source, tenant, (from, until), &in_force, wanted)
    };
    let before = of(began.saturating_sub(ROLLOUT_BASELINE), began, &|other| other != version)?;
    let after = of(began, Timestamp::MAX, &|same| same == version)?;
    let all =
        |sums: &BTreeMap<AgentId, Sums>| sums.values().copied().fold(Sums::default(), Sums::plus);
    (seen.before, seen.after) = (all(&before), all(&after));
    let one = |sums: &BTreeMap<AgentId, Sums>, agent| sums.get(agent).copied().unwrap_or_default();
    seen.each = in_force.iter().map(|agent| (one(&before, agent), one(&after, agent))).collect();
    Ok(seen)
}

/// Adds up, by agent, the intervals of some that ended from one instant until another, under the versions that are
/// wanted, the newest first.
fn sums<S: Source + ?Sized>(
    source: &S,
    tenant: TenantId,
    (from, until): (Timestamp, Timestamp),
    of: &BTreeSet<AgentId>,
    wanted: &dyn Fn(u64) -> bool,
) -> Result<BTreeMap<AgentId, Sums>, LoadError> {
    let mut sums: BTreeMap<AgentId, Sums> = BTreeMap::new();
    if of.is_empty() {
        return Ok(sums);
    }
    let bound = |at: Timestamp| {
        let (mut key, to) = range_of::<LedgerKey>(tenant.as_bytes());
        if at == Timestamp::MAX {
            return to;
        }
        key.extend_from_slice(&at.as_ms().to_be_bytes());
        key
    };
    let (from, mut to) = (bound(from), bound(until));
    for _ in 0..LEDGER_ROWS_LOOKED.div_ceil(LEDGER_ROWS_READ) {
        let rows: Rows<LedgerKey> =
            source.load_range(&from..&to, Direction::Backward, LEDGER_ROWS_READ)?;
        let is_last = rows.len() < LEDGER_ROWS_READ;
        for (key, interval) in &rows {
            if of.contains(&key.agent) && wanted(interval.policy) {
                sums.entry(key.agent).or_default().add(interval);
            }
        }
        let Some((oldest, _)) = rows.last().filter(|_| !is_last) else { break };
        to = oldest.encode();
    }
    Ok(sums)
}
