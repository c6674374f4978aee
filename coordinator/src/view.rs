//! The one queue view of the process, shared by those who read it and the tail that keeps it up.
//!
//! A handle and nothing more: what the queue is stands in [`crate::triage::queue`], what fills it
//! in `upkeep`. Besides the view it tells up to which journal entry it is true, so that whoever
//! wrote something can wait until it can be seen.
//!
//! The lock is held for one look or one batch of changes and never across an `.await`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::triage::{
    case::{Case, CaseId},
    queue::QueueView,
};

/// A handle of the queue view; cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    queue: Arc<Mutex<QueueView>>,
    applied: watch::Sender<u64>,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// Returns a view without cases, true of a journal without entries.
    #[must_use]
    pub fn new() -> Self {
        let (applied, _) = watch::channel(0);
        Self { queue: Arc::default(), applied }
    }

    /// Looks at the queue. `look` is short: claims and the tail wait for it.
    pub fn with<T>(&self, look: impl FnOnce(&QueueView) -> T) -> T {
        look(&self.lock())
    }

    /// Takes in cases as they are stored now, `None` for one that is gone; then says that the view
    /// is true up to journal entry `number`. A smaller number than the one known changes nothing
    /// about that.
    pub fn apply(&self, cases: &[(CaseId, Option<Case>)], number: u64) {
        let mut queue = self.lock();
        for (id, case) in cases {
            match case {
                Some(case) => queue.apply(case),
                None => queue.remove(*id),
            }
        }
        drop(queue);
        self.applied.send_if_modified(|known| {
            let is_later = number > *known;
            *known = number.max(*known);
            is_later
        });
    }

    /// Returns the number of the newest journal entry that the view shows, and news of later ones.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Waits until the view shows journal entry `number`.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn reached(&self, number: u64) {
        let mut applied = self.applied();
        let waited = applied.wait_for(|known| *known >= number).await;
        drop(waited.expect("the sender is part of self"));
    }

    /// A panic in a look cannot leave the view half changed in a way that the next change would not
    /// mend, so a poisoned lock is taken all the same.
    fn lock(&self) -> MutexGuard<'_, QueueView> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shared::{alert::Severity, time::Timestamp};

    use super::*;
    use crate::triage::{case::tests::group, evidence::Evidence, queue::TenantScope, sla::Sla};

    fn waiting(view: &View) -> usize {
        view.with(|queue| queue.counts(&TenantScope::All).waiting)
    }

    #[tokio::test]
    async fn what_is_applied_can_be_seen_once_its_number_is_reached() {
        let view = View::new();
        let id = CaseId::from_u64(1);
        let group = group("scan", Severity::Low, 0);
        let tenant = "acme".parse().unwrap();
        let case = Evidence::open(id, tenant, &group, &Sla::default(), Timestamp::ZERO).case;
        let other = view.clone();
        let (seen, ()) = tokio::join!(
            async {
                other.reached(7).await;
                waiting(&other)
            },
            async { view.apply(&[(id, Some(case))], 7) }
        );
        assert_eq!(seen, 1);
        view.apply(&[(id, None)], 3);
        assert_eq!((waiting(&view), *view.applied().borrow()), (0, 7), "numbers never fall");
    }

    #[test]
    fn a_panic_while_looking_does_not_end_the_view() {
        let view = View::new();
        let looker = view.clone();
        let look = move || looker.with(|_| panic!("a look that fails"));
        assert!(std::thread::spawn(look).join().is_err());
        assert_eq!(waiting(&view), 0);
    }
}
