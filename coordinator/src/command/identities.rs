//! Agents' identities: what takes one away.
//!
//! A revocation is for good, and of the agent, whatever certificates it has or gets: whoever holds any of them is let
//! in no more. It is asked for at each handshake, in the write in which an agent greets, and for each open session when
//! the bell rings. What cannot be asked for is taken for revoked.

use shared::time::Timestamp;

use crate::{
    command::{CommandError, cases::checked_reason, journal},
    store::{
        engine::Staged,
        schema::{AgentKey, RevokedKey},
        tables::{LoadError, Source, put},
        values::{Actor, Entry, Event, IdentityEvent, Revocation},
    },
};

/// Makes an agent's identity worthless, and returns since when it is: a second revocation changes nothing.
///
/// # Errors
/// The reason is empty or too long, or the store cannot be read.
pub fn revoke(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Revocation, CommandError> {
    let reason = checked_reason(reason)?;
    if let Some(revocation) = revocation(&*staged, agent)? {
        return Ok(revocation);
    }
    let revocation = Revocation { at: now, by: actor.clone(), reason: reason.clone() };
    put(staged, &RevokedKey(agent), revocation.clone());
    let event = Event::Identity(IdentityEvent::Revoked { agent: agent.agent, reason });
    let (actor, tenant) = (actor.clone(), Some(agent.tenant));
    journal::append(staged, &Entry { at: now, actor, tenant, event })?;
    Ok(revocation)
}

/// Returns what made an agent's identity worthless, if anything did.
///
/// # Errors
/// The store cannot be read: then nobody can tell, and the agent is not to be let in.
pub fn revocation<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
) -> Result<Option<Revocation>, LoadError> {
    source.load(&RevokedKey(agent))
}

#[cfg(test)]
mod tests {
    use shared::ids::AgentId;

    use super::*;
    use crate::{
        command::journal::read_after,
        store::engine::{Engine, MemoryEngine},
    };

    #[test]
    fn a_revocation_is_for_good_and_of_one_tenants_agent_alone() {
        let engine = MemoryEngine::new(1);
        let [acme, globex] = ["acme", "globex"].map(|tenant| AgentKey {
            tenant: tenant.parse().unwrap(),
            agent: AgentId::from_bytes([1; 16]),
        });
        let (ann, bob) = (Actor::Person("ann".into()), Actor::Person("bob".into()));
        let revoke = |reason: &str, actor: &Actor, at| {
            let mut staged = Staged::new(&engine);
            let revoked = revoke(&mut staged, acme, reason, actor, Timestamp::from_ms(at));
            engine.commit(staged.into_changes()).unwrap();
            revoked
        };
        let engine: &dyn Engine = &engine;
        assert!(matches!(revoke(" ", &ann, 1), Err(CommandError::Invalid { field: "reason", .. })));
        assert_eq!(revocation(engine, acme).unwrap(), None);
        let first = revoke(" stolen ", &ann, 2).unwrap();
        assert_eq!((first.at, first.reason.as_str()), (Timestamp::from_ms(2), "stolen"));
        assert_eq!(revoke("again", &bob, 3).unwrap(), first, "the first one stays");
        assert_eq!(revocation(engine, acme).unwrap(), Some(first));
        assert_eq!(revocation(engine, globex).unwrap(), None, "L5");
        let entries = read_after(engine, 0, 10).unwrap();
        assert_eq!(entries.len(), 1, "what changes nothing is not journalled");
        assert_eq!((&entries[0].entry.actor, entries[0].entry.tenant), (&ann, Some(acme.tenant)));
    }
}
