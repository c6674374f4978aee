//! The queue view as the coordinator's parts share it: read by the API, kept up by whoever follows the journal.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::triage::{case::Case, queue::QueueView};

/// A shared handle of the queue view.
#[derive(Clone, Debug)]
pub struct View {
    queue: Arc<RwLock<QueueView>>,
    applied: watch::Receiver<u64>,
}

/// The one that keeps a [`View`] up.
#[derive(Debug)]
pub struct Applier {
    queue: Arc<RwLock<QueueView>>,
    applied: watch::Sender<u64>,
}

impl View {
    /// Returns an empty view and the one that keeps it up.
    #[must_use]
    pub fn new() -> (Self, Applier) {
        let queue = Arc::new(RwLock::new(QueueView::new()));
        let (sender, applied) = watch::channel(0);
        (Self { queue: Arc::clone(&queue), applied }, Applier { queue, applied: sender })
    }

    /// Reads the view. `read` is short: nobody applies a change meanwhile.
    pub fn with<T>(&self, read: impl FnOnce(&QueueView) -> T) -> T {
        read(&self.queue.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of the newest journal entry that was applied, and news of later ones.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }
}

impl Applier {
    /// Takes in changed cases, up to journal entry `number`.
    pub fn apply(&self, cases: &[Case], number: u64) {
        let mut queue = self.queue.write().unwrap_or_else(PoisonError::into_inner);
        cases.iter().for_each(|case| queue.apply(case));
        drop(queue);
        self.applied.send_replace(number);
    }
}
