//! What is known of agents: that they connected, live, and what their hosts are.

use shared::{
    context::{ContextVersion, HostContext},
    ids::{AgentId, Epoch, Lane, Seq, StreamId, TenantId},
    time::Timestamp,
    wire::{AgentStats, Heartbeat, Hello, SetBack},
};

use crate::{
    command::{CommandError, block, identities, journal, ledger, tenants},
    store::{
        engine::Staged,
        reader::agents,
        schema::{AgentKey, ContextKey, SpoolNoticeKey},
        tables::{LoadError, Source, delete, put},
        values::{
            Actor, Agent, Entry, Event, IdentityEvent, KnownContext, SpoolFault, SpoolNotice,
        },
    },
};

/// What a coordinator answers to an agent that greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The newest durable block, by lane.
    pub committed: [Option<Seq>; Lane::COUNT],
    /// That block's checksum, by lane, where it is known.
    pub checks: [Option<u32>; Lane::COUNT],
    /// The newest context that is known of its host.
    pub context: ContextVersion,
    /// The newest interval of its ledger; zero where there is none.
    pub ledger: u64,
}

/// Notes that an agent connected, makes its tenant if need be, records what its spool has lost and whether it is an
/// older one, and returns from where it goes on.
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
    let before = known.as_ref().map(|agent| agent.epoch);
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
    let (mut committed, mut checks) = ([None; Lane::COUNT], [None; Lane::COUNT]);
    let mut fault = None;
    for lane in Lane::ALL {
        let stream = StreamId { agent, epoch: hello.epoch, lane };
        let head = hello.heads[lane.index()];
        let Some((seq, check)) = block::resume(staged, tenant, stream, head, now)? else {
            continue;
        };
        (committed[lane.index()], checks[lane.index()]) = (Some(seq), check);
        fault = fault.or_else(|| {
            let after = before.filter(|before| *before != hello.epoch);
            after.map(|after| SpoolFault::Returned { after })
        });
        if head.last < Some(seq) {
            fault = Some(SpoolFault::SetBack { lane, committed: seq, last: head.last });
        }
    }
    note_spool(staged, key, hello.epoch, fault, now)?;
    let ledger = ledger::newest(staged, tenant, agent, hello.epoch)?;
    Ok(Greeting { committed, checks, context, ledger })
}

/// Notes that an agent found its spool to be an older copy, by the checksums that it was given.
///
/// # Errors
/// The store cannot be read.
pub fn set_back(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    epoch: Epoch,
    SetBack { lane, committed, last }: SetBack,
    now: Timestamp,
) -> Result<(), LoadError> {
    note_spool(staged, agent, epoch, Some(SpoolFault::SetBack { lane, committed, last }), now)
}

/// Notes what is the matter with an agent's spool, or that nothing is. The same again is journalled no second time.
fn note_spool(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    epoch: Epoch,
    fault: Option<SpoolFault>,
    now: Timestamp,
) -> Result<(), LoadError> {
    let key = SpoolNoticeKey(agent);
    let known = staged.load(&key)?.filter(|known| known.epoch == epoch);
    let fault = match (fault, known.map(|known| known.fault)) {
        // Only checksums show it while the numbers fit, and those are compared behind the greeting; and that a spool
        // has returned stays true for as long as it is used.
        (None | Some(SpoolFault::Returned { .. }), Some(known)) => Some(known),
        (fault, _) => fault,
    };
    let Some(fault) = fault else {
        delete(staged, &key);
        return Ok(());
    };
    if known.is_some_and(|known| known.fault == fault) {
        return Ok(());
    }
    put(staged, &key, SpoolNotice { epoch, fault, since: now });
    let AgentKey { tenant, agent } = agent;
    let event = Event::Identity(match fault {
        SpoolFault::SetBack { lane, committed, last } => {
            IdentityEvent::SetBack { agent, epoch, lane, committed, last }
        }
        SpoolFault::Returned { after } => IdentityEvent::SpoolReturned { agent, epoch, after },
    });
    let (actor, tenant) = (Actor::Agent(agent), Some(tenant));
    journal::append(staged, &Entry { at: now, actor, tenant, event })
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
