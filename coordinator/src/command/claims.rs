//! Whose an agent's identity is when several hosts use it: a copied image, or a host that was set up from another's
//! backup.
//!
//! Whoever is served first goes on being served. Another that greets while that one lives, from another process or
//! spool, is in quarantine: which host it is is noted, and nothing else is taken. A person decides which of them keeps
//! the identity. That one is made to renew its certificate, so that every copy of the one before is worth nothing (see
//! [`identities`](super::identities)), and with that the conflict is over.
//!
//! A host is known again by its process, and by its spool where no other has a copy of that. After a restart, one with
//! the same spool as another is a further host: which of the two it is nobody can tell.

use shared::{
    context::HostContext,
    ids::{BootId, Epoch},
    time::Timestamp,
};

use crate::{
    command::{CommandError, cases::checked_reason, journal},
    limits::{CLAIMING_HOSTS_MAX, CONFLICT_QUIET},
    store::{
        engine::Staged,
        schema::{AgentKey, ConflictKey},
        tables::{LoadError, Source, delete, put},
        values::{Actor, Claimant, ClaimingHost, Conflict, Entry, Event, IdentityEvent, Kept},
    },
};

/// How whoever greets is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As the agent.
    Served,
    /// As one of several hosts with its identity, since then.
    Quarantined(Timestamp),
}

/// What a session is to do about the identity that it was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Go on.
    Holds,
    /// Go on, and have the agent renew its certificate now.
    HoldsAndRenews,
    /// It is another host's: end.
    Lost(Timestamp),
}

/// Decides whether whoever greets is served. `rival` has a session, from another process or spool, and lives.
///
/// # Errors
/// The store cannot be read.
pub fn admit(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    claimant: &Claimant,
    rival: Option<&Claimant>,
    now: Timestamp,
) -> Result<Admission, LoadError> {
    let key = ConflictKey(agent);
    let known = staged.load(&key)?;
    let mut conflict = match (known, rival) {
        (Some(conflict), _) => conflict,
        (None, Some(rival)) if !is_same(rival, claimant) => {
            let hosts = vec![ClaimingHost::new(rival.clone(), now)];
            Conflict { since: now, hosts, kept: None }
        }
        (None, _) => return Ok(Admission::Served),
    };
    let served = served(&conflict);
    let since = conflict.since;
    let place = place_of(&conflict, claimant.epoch, claimant.boot);
    // Whoever lives beside the rival is not the rival, whatever copy it has of its spool.
    let is_rival = |host: &Claimant| rival.is_some_and(|it| is_same(it, host));
    let place = place.filter(|place| !is_rival(&conflict.hosts[*place].claimant));
    if let Some(place) = place {
        let host = &mut conflict.hosts[place];
        (host.claimant, host.last_seen_at) = (claimant.clone(), now);
    } else {
        let place = free_place(&mut conflict);
        conflict.hosts.insert(place, ClaimingHost::new(claimant.clone(), now));
        let Claimant { epoch, boot, from, .. } = claimant.clone();
        let (agent_id, served) = (agent.agent, conflict.hosts[served].claimant.boot);
        let event = IdentityEvent::Contested { agent: agent_id, epoch, boot, from, served };
        note(staged, agent, Actor::Agent(agent_id), event, now)?;
    }
    put(staged, &key, conflict);
    Ok(if place == Some(served) { Admission::Served } else { Admission::Quarantined(since) })
}

/// Notes which host a process in quarantine belongs to.
///
/// # Errors
/// The store cannot be read.
pub fn describe(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    (epoch, boot): (Epoch, BootId),
    context: &HostContext,
) -> Result<(), LoadError> {
    let key = ConflictKey(agent);
    let Some(mut conflict) = staged.load(&key)? else { return Ok(()) };
    if let Some(place) = place_of(&conflict, epoch, boot) {
        conflict.hosts[place].context = Some(context.clone());
        put(staged, &key, conflict);
    }
    Ok(())
}

/// Notes that a process in quarantine lives; returns whether it is to greet again, because there is no conflict any
/// more or it is the one that is served now.
///
/// # Errors
/// The store cannot be read.
pub fn wait(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    (epoch, boot): (Epoch, BootId),
    now: Timestamp,
) -> Result<bool, LoadError> {
    let key = ConflictKey(agent);
    let Some(mut conflict) = staged.load(&key)? else { return Ok(true) };
    let Some(place) = place_of(&conflict, epoch, boot) else { return Ok(true) };
    if place == served(&conflict) {
        return Ok(true);
    }
    conflict.hosts[place].last_seen_at = now;
    put(staged, &key, conflict);
    Ok(false)
}

/// Tells how a session that is served stands. A conflict that was decided and of whose other hosts nothing was heard
/// for long is over.
///
/// # Errors
/// The store cannot be read.
pub fn standing(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    (epoch, boot): (Epoch, BootId),
    now: Timestamp,
) -> Result<Standing, LoadError> {
    let key = ConflictKey(agent);
    let Some(conflict) = staged.load(&key)? else { return Ok(Standing::Holds) };
    let served = served(&conflict);
    if place_of(&conflict, epoch, boot) != Some(served) {
        return Ok(Standing::Lost(conflict.since));
    }
    if conflict.kept.is_none() {
        return Ok(Standing::Holds);
    }
    let mut others = conflict.hosts.iter().enumerate().filter(|(place, _)| *place != served);
    if others.all(|(_, host)| now.since(host.last_seen_at) >= CONFLICT_QUIET) {
        settle(staged, agent, now)?;
        return Ok(Standing::Holds);
    }
    Ok(Standing::HoldsAndRenews)
}

/// Ends a conflict that was decided, if there is one: whoever keeps the identity has shown a later certificate, and all
/// copies of those before are worth nothing.
///
/// # Errors
/// The store cannot be read.
pub fn settle_renewed(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    now: Timestamp,
) -> Result<(), LoadError> {
    let conflict = staged.load(&ConflictKey(agent))?;
    match conflict.and_then(|conflict| conflict.kept) {
        Some(_) => settle(staged, agent, now),
        None => Ok(()),
    }
}

/// Decides which host keeps an agent's identity: that of the process `boot`. A later decision takes the place of an
/// earlier one.
///
/// # Errors
/// There is no conflict, or no such process in it; the reason is empty or too long; or the store cannot be read.
pub fn resolve(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    boot: BootId,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Conflict, CommandError> {
    let reason = checked_reason(reason)?;
    let key = ConflictKey(agent);
    let conflict = staged.load(&key)?;
    let mut conflict =
        conflict.ok_or_else(|| CommandError::not_found("conflict of agent", agent.agent))?;
    let place = conflict.hosts.iter().position(|host| host.claimant.boot == boot);
    let place = place.ok_or_else(|| CommandError::Invalid {
        field: "process",
        problem: "none of the hosts that use this identity has it; read the agent again".to_owned(),
    })?;
    let host = u32::try_from(place).expect("hosts are bounded");
    conflict.kept = Some(Kept { host, at: now, by: actor.clone(), reason: reason.clone() });
    put(staged, &key, conflict.clone());
    let event = IdentityEvent::Resolved { agent: agent.agent, boot, reason };
    note(staged, agent, actor.clone(), event, now)?;
    Ok(conflict)
}

/// Returns the place of the host that is served.
#[must_use]
pub fn served(conflict: &Conflict) -> usize {
    let kept = conflict.kept.as_ref().map_or(0, |kept| kept.host as usize);
    kept.min(conflict.hosts.len().saturating_sub(1))
}

fn is_same(one: &Claimant, other: &Claimant) -> bool {
    (one.epoch, one.boot) == (other.epoch, other.boot)
}

/// Returns the place of a host that is known again.
fn place_of(conflict: &Conflict, epoch: Epoch, boot: BootId) -> Option<usize> {
    let hosts = || conflict.hosts.iter().map(|host| &host.claimant).enumerate();
    let same = hosts().find(|(_, it)| (it.epoch, it.boot) == (epoch, boot));
    let mut of_spool = hosts().filter(|(_, it)| it.epoch == epoch);
    let same = same.or_else(|| match (of_spool.next(), of_spool.next()) {
        (Some(only), None) => Some(only),
        (None | Some(_), _) => None,
    });
    same.map(|(place, _)| place)
}

/// Returns a place for one more host: the end, or that of the one in quarantine that was heard of least lately.
fn free_place(conflict: &mut Conflict) -> usize {
    if conflict.hosts.len() < CLAIMING_HOSTS_MAX {
        return conflict.hosts.len();
    }
    let served = served(conflict);
    let waiting = conflict.hosts.iter().enumerate().filter(|(place, _)| *place != served);
    let oldest = waiting.min_by_key(|(_, host)| host.last_seen_at).map_or(0, |(place, _)| place);
    conflict.hosts.remove(oldest);
    oldest
}

fn settle(staged: &mut Staged<'_>, agent: AgentKey, now: Timestamp) -> Result<(), LoadError> {
    delete(staged, &ConflictKey(agent));
    let event = IdentityEvent::Settled { agent: agent.agent };
    note(staged, agent, Actor::Agent(agent.agent), event, now)
}

fn note(
    staged: &mut Staged<'_>,
    AgentKey { tenant, .. }: AgentKey,
    actor: Actor,
    event: IdentityEvent,
    now: Timestamp,
) -> Result<(), LoadError> {
    let (tenant, event) = (Some(tenant), Event::Identity(event));
    journal::append(staged, &Entry { at: now, actor, tenant, event })?;
    Ok(())
}

impl ClaimingHost {
    fn new(claimant: Claimant, now: Timestamp) -> Self {
        Self { claimant, first_seen_at: now, last_seen_at: now, context: None }
    }
}

#[cfg(test)]
mod tests;
