//! Which session speaks for which agent: the one that greeted last.
//!
//! Invariant: at most one session of an agent is current; the one before is told that it was replaced. Both may hand
//! blocks to the writer for a moment, which is harmless: a block takes effect once (L2).
//!
//! Whether another process greets in place of one that is gone, or beside one that lives, is found out here, too: the
//! current session is asked for a sign of life, and a process that comes back after it was replaced had not ended.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::ids::{AgentId, BootId, Epoch, TenantId};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{PROBE_TIMEOUT, REPLACED_MAX},
    store::values::Claimant,
};

type AgentName = (TenantId, AgentId);

/// The current sessions.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    /// Of the next session; never used twice, so that a late end of an old session frees no newer one's place.
    next: u64,
    by_agent: HashMap<AgentName, (u64, Arc<Seat>)>,
    /// Processes that were replaced, and by whom; the newest last.
    replaced: VecDeque<(AgentName, (Epoch, BootId), Claimant)>,
}

/// A session as others see it.
#[derive(Debug)]
pub(super) struct Seat {
    /// For whom it is.
    claimant: Claimant,
    /// Cancelled when the next session comes.
    pub(super) replaced: CancellationToken,
    /// Rings when it is to show that its agent lives.
    pub(super) asked: Notify,
    /// Rings when its agent has.
    pub(super) answered: Notify,
}

/// A session's place; dropping it gives the place up, unless somebody else has it by then.
#[derive(Debug)]
pub(super) struct Place<'a> {
    registry: &'a Registry,
    key: AgentName,
    number: u64,
    /// What others see of it.
    pub(super) seat: Arc<Seat>,
}

/// Whoever may live beside a process that greets.
#[derive(Clone, Debug)]
pub(super) enum Rival {
    /// Nobody.
    None,
    /// The current session's, if it shows that it lives.
    Session(Arc<Seat>),
    /// This one: it had replaced the one that greets, which therefore was not dead.
    Living(Claimant),
}

impl Rival {
    /// Returns whoever lives beside the process that greets; waits as long as a living agent needs to show it, with
    /// `rtt` for its packets.
    pub(super) async fn living(self, rtt: Duration) -> Option<Claimant> {
        match self {
            Self::None => None,
            Self::Living(claimant) => Some(claimant),
            Self::Session(seat) => {
                let mut answered = std::pin::pin!(seat.answered.notified());
                // From here on an answer counts, also one that comes before it is waited for.
                answered.as_mut().enable();
                seat.asked.notify_one();
                let lives = timeout(PROBE_TIMEOUT + 4 * rtt, answered).await.is_ok();
                lives.then(|| seat.claimant.clone())
            }
        }
    }
}

impl Seat {
    pub(super) fn new(claimant: Claimant, replaced: CancellationToken) -> Self {
        Self { claimant, replaced, asked: Notify::new(), answered: Notify::new() }
    }
}

impl Registry {
    /// Returns whoever may live beside a process that greets.
    pub(super) fn rival(&self, key: AgentName, epoch: Epoch, boot: BootId) -> Rival {
        let sessions = self.lock();
        let is_it = |claimant: &Claimant| (claimant.epoch, claimant.boot) == (epoch, boot);
        let current = sessions.by_agent.get(&key).map(|(_, seat)| seat);
        let current = current.filter(|seat| !is_it(&seat.claimant));
        let replaced = sessions.replaced.iter().rev();
        let mut by = replaced.filter(|(of, it, _)| *of == key && *it == (epoch, boot));
        match (by.next(), current) {
            // Whoever has a session now is nearer to the truth than who had one then.
            (Some(_), Some(seat)) => Rival::Living(seat.claimant.clone()),
            (Some((.., by)), None) => Rival::Living(by.clone()),
            (None, Some(seat)) => Rival::Session(Arc::clone(seat)),
            (None, None) => Rival::None,
        }
    }

    /// Makes the caller the agent's current session; the one before is told that it was replaced. Returns also whether
    /// there was one before.
    pub(super) fn enter(&self, key: AgentName, seat: Seat) -> (Place<'_>, bool) {
        let mut sessions = self.lock();
        let number = sessions.next;
        sessions.next += 1;
        let seat = Arc::new(seat);
        let before = sessions.by_agent.insert(key, (number, Arc::clone(&seat)));
        if let Some((_, before)) = &before {
            before.replaced.cancel();
            let Claimant { epoch, boot, .. } = before.claimant;
            if (epoch, boot) != (seat.claimant.epoch, seat.claimant.boot) {
                if sessions.replaced.len() >= REPLACED_MAX {
                    sessions.replaced.pop_front();
                }
                sessions.replaced.push_back((key, (epoch, boot), seat.claimant.clone()));
            }
        }
        (Place { registry: self, key, number, seat }, before.is_some())
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

    fn key() -> AgentName {
        ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]))
    }

    fn claimant(boot: u64) -> Claimant {
        let (from, version) = ("192.0.2.1:7".to_owned(), String::new());
        Claimant { epoch: Epoch(1), boot: BootId(boot), from, version }
    }

    fn enter(registry: &Registry, boot: u64) -> (Place<'_>, bool) {
        registry.enter(key(), Seat::new(claimant(boot), CancellationToken::new()))
    }

    #[test]
    fn the_newest_session_of_an_agent_replaces_the_one_before_and_keeps_its_place() {
        let registry = Registry::default();
        let (first, was_there) = enter(&registry, 1);
        assert!(!was_there);
        let (second, was_there) = enter(&registry, 1);
        let is_replaced = |place: &Place<'_>| place.seat.replaced.is_cancelled();
        assert!(was_there && is_replaced(&first) && !is_replaced(&second));
        drop(first);
        let (third, was_there) = enter(&registry, 1);
        assert!(was_there && is_replaced(&second), "the old one's end does not free the place");
        drop((second, third));
        assert!(registry.lock().by_agent.is_empty());
    }

    #[test]
    fn a_session_that_ends_late_does_not_take_the_place_of_a_third() {
        let registry = Registry::default();
        let (first, _) = enter(&registry, 1);
        drop(enter(&registry, 1));
        let (third, _) = enter(&registry, 1);
        drop(first);
        let (_fourth, was_there) = enter(&registry, 1);
        assert!(was_there && third.seat.replaced.is_cancelled(), "the fourth replaces the third");
    }

    #[tokio::test]
    async fn a_process_lives_beside_another_if_it_answers_or_comes_back_after_it_was_replaced() {
        let registry = Registry::default();
        let rival = |boot| registry.rival(key(), Epoch(1), BootId(boot)).living(Duration::ZERO);
        assert_eq!(rival(1).await, None, "nobody is there");
        let (first, _) = enter(&registry, 1);
        assert_eq!(rival(1).await, None, "it is the same");
        assert_eq!(rival(2).await, None, "it does not answer");
        let seat = Arc::clone(&first.seat);
        let answer = async {
            seat.asked.notified().await;
            seat.answered.notify_waiters();
        };
        let (living, ()) = tokio::join!(rival(2), answer);
        assert_eq!(living, Some(claimant(1)));

        let (second, _) = enter(&registry, 2);
        assert_eq!(rival(1).await, Some(claimant(2)), "it comes back");
        drop((first, second));
        assert_eq!(rival(1).await, Some(claimant(2)));
        assert_eq!(rival(3).await, None);
        for boot in 10..10 + 2 * REPLACED_MAX as u64 {
            enter(&registry, boot).0.seat.replaced.cancel();
        }
        assert!(registry.lock().replaced.len() <= REPLACED_MAX);
    }
}
