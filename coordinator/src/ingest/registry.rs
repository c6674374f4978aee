//! Which session speaks for which agent: the one that greeted last.
//!
//! Invariant: at most one session of an agent is current; the one before is told that it was replaced. Both may hand
//! blocks to the writer for a moment, which is harmless: a block takes effect once (L2).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use shared::ids::{AgentId, TenantId};
use tokio_util::sync::CancellationToken;

/// The current sessions.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    /// Of the next session; never used twice, so that a late end of an old session frees no newer one's place.
    next: u64,
    by_agent: HashMap<(TenantId, AgentId), (u64, CancellationToken)>,
}

/// A session's place; dropping it gives the place up, unless somebody else has it by then.
#[derive(Debug)]
pub(super) struct Place<'a> {
    registry: &'a Registry,
    key: (TenantId, AgentId),
    number: u64,
}

impl Registry {
    /// Makes the caller the agent's current session; `replaced` is cancelled when the next one comes. Returns also
    /// whether there was one before.
    pub(super) fn enter(
        &self,
        key: (TenantId, AgentId),
        replaced: CancellationToken,
    ) -> (Place<'_>, bool) {
        let mut sessions = self.lock();
        let number = sessions.next;
        sessions.next += 1;
        let before = sessions.by_agent.insert(key, (number, replaced));
        if let Some((_, before)) = &before {
            before.cancel();
        }
        (Place { registry: self, key, number }, before.is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // A panic elsewhere leaves the map whole: each change of it is one call.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut sessions = self.registry.lock();
        if sessions.by_agent.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            sessions.by_agent.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_session_of_an_agent_replaces_the_one_before_and_keeps_its_place() {
        let registry = Registry::default();
        let key = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let (first_place, was_there) = registry.enter(key, first.clone());
        assert!(!was_there);
        let (second_place, was_there) = registry.enter(key, second.clone());
        assert!(was_there && first.is_cancelled() && !second.is_cancelled());
        drop(first_place);
        let (third_place, was_there) = registry.enter(key, CancellationToken::new());
        assert!(was_there && second.is_cancelled(), "the old one's end does not free the place");
        drop((second_place, third_place));
        assert!(registry.lock().by_agent.is_empty());
    }

    #[test]
    fn a_session_that_ends_late_does_not_take_the_place_of_a_third() {
        let registry = Registry::default();
        let key = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
        let (first_place, _) = registry.enter(key, CancellationToken::new());
        drop(registry.enter(key, CancellationToken::new()));
        let third = CancellationToken::new();
        let (_third_place, _) = registry.enter(key, third.clone());
        drop(first_place);
        let (_fourth_place, was_there) = registry.enter(key, CancellationToken::new());
        assert!(was_there && third.is_cancelled(), "the fourth replaces the third");
    }
}
