//! What is known of agents: that they connected, live, and what their hosts are.

use shared::{
    context::{ContextVersion, HostContext},
    ids::{AgentId, Lane, Seq, StreamId, TenantId},
    time::Timestamp,
    wire::{AgentStats, Heartbeat, Hello},
};

use crate::{
    command::{CommandError, block, identities, journal, ledger, tenants},
    store::{
        engine::Staged,
        reader::agents,
        schema::{AgentKey, ContextKey},
        tables::{Source, put},
        values::{Actor, Agent, Entry, Event, KnownContext},
    },
};

/// What a coordinator answers to an agent that greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The newest durable block, by lane.
    pub committed: [Option<Seq>; Lane::COUNT],
    /// The newest context that is known of its host.
    pub context: ContextVersion,
    /// The newest interval of its ledger; zero where there is none.
    pub ledger: u64,
}

/// Notes that an agent connected, makes its tenant if need be, records what its spool has lost, and
/// returns from where
/// it goes on.
///
/// # Errors
/// The agent was revoked, or the store cannot be read.
pub fn greet(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
    hello: &Hello,
    now: Timestamp,
) -> Result<Greeting, CommandError> {
    let key = AgentKey { tenant, agent };
    if identities::revocation(&*staged, key)?.is_some() {
        return Err(CommandError::Revoked);
    }
    let actor = Actor::Agent(agent);
    tenants::ensure(staged, tenant, &actor, now)?;
    let known = staged.load(&key)?;
    let context = known.as_ref().map(|agent| agent.context).unwrap_or_default();
    let value = Agent {
        first_seen_at: known.as_ref().map_or(now, |agent| agent.first_seen_at),
        last_seen_at: now,
        epoch: hello.epoch,
        boot: hello.boot,
        version: hello.agent_version.clone(),
        context,
        spooled: hello.heads.map(|head| head.last),
        stats: known.map_or_else(AgentStats::default, |agent| agent.stats),
        clock_ahead_ms: 0,
    };
    put(staged, &key, value);
    let event = Event::AgentConnected { agent, epoch: hello.epoch, boot: hello.boot };
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    let mut committed = [None; Lane::COUNT];
    for lane in Lane::ALL {
        let stream = StreamId { agent, epoch: hello.epoch, lane };
        let head = hello.heads[lane.index()];
        committed[lane.index()] = block::resume(staged, tenant, stream, head, now)?;
    }
    let ledger = ledger::newest(staged, tenant, agent, hello.epoch)?;
    Ok(Greeting { committed, context, ledger })
}

/// Notes that an agent lives, and its counters. Not journalled: nothing of ours changes.
///
/// # Errors
/// The agent never greeted, or the store cannot be read.
pub fn heartbeat(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
    heartbeat: &Heartbeat,
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = AgentKey { tenant, agent };
    let mut value = staged.load(&key)?.ok_or_else(|| CommandError::not_found("agent", agent))?;
    value.last_seen_at = now;
    value.spooled = heartbeat.last;
    value.stats = heartbeat.stats;
    let ahead = i128::from(heartbeat.sent_at.as_ms()) - i128::from(now.as_ms());
    value.clock_ahead_ms = i64::try_from(ahead).unwrap_or(i64::MAX);
    put(staged, &key, value);
    Ok(())
}

/// Notes what an agent's host is now. The same version again makes no new one: it is noted when it was said, and what
/// goes on just now.
///
/// # Errors
/// The agent never greeted, or the store cannot be read.
pub fn set_context(
    staged: &mut Staged<'_>,
    tenant: TenantId,
    agent: AgentId,
    context: &HostContext,
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = AgentKey { tenant, agent };
    let mut value = staged.load(&key)?.ok_or_else(|| CommandError::not_found("agent", agent))?;
    let version = context.version();
    if value.context == version {
        return confirm(staged, key, context, now);
    }
    value.context = version;
    value.last_seen_at = now;
    put(staged, &key, value);
    let known = KnownContext { context: context.clone(), confirmed_at: None };
    put(staged, &ContextKey { tenant, agent, received_at: now }, known);
    let event = Event::ContextChanged { agent, version };
    let actor = Actor::Agent(agent);
    journal::append(staged, &Entry { at: now, actor, tenant: Some(tenant), event })?;
    Ok(())
}

/// Notes that the newest context still holds. Not journalled: nothing of it has changed.
fn confirm(
    staged: &mut Staged<'_>,
    key: AgentKey,
    context: &HostContext,
    now: Timestamp,
) -> Result<(), CommandError> {
    let newest = agents::contexts(&*staged, key, None, 1)?.pop();
    // The row's own version is looked at, too: an agent's first contexts may be older than its row.
    if let Some((key, known)) = newest
        && known.context.version() == context.version()
    {
        let known = KnownContext { context: context.clone(), confirmed_at: Some(now) };
        put(staged, &key, known);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
