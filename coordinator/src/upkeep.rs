//! What the coordinator does without being asked: keeps the queue view up with the journal, brings
//! back cases whose lease ran out, stops roll-outs of policies that go wrong, deletes what is old, and writes down when
//! tokens were used.
//!
//! A driver: it carries time in and starts commands; what is expired, due or too old is decided by
//! `triage` and `command`. Each task runs until it is cancelled; one that ends with an error means
//! that the process must not go on. Reads that take long run on the blocking pool.
//!
//! Not here: starting the tasks (see `app`), and the queue's rules (see [`crate::triage::queue`]).

pub mod retention;
pub mod rollouts;
pub mod uses;
pub mod view;

use shared::time::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    command::{CommandError, cases},
    limits::{EXPIRE_CASES_MAX, EXPIRE_INTERVAL},
    store::writer::{Store, WriteError},
    view::View,
};

/// Brings cases whose lease has run out back to the queue, each second, until cancelled.
///
/// A store that does not take the change is logged, and asked again a second later.
pub async fn expire_leases(store: &Store, view: &View, clock: &Clock, cancel: &CancellationToken) {
    let mut ticks = interval(EXPIRE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        match expire_due(store, view, clock.now()).await {
            Ok(0) => {}
            Ok(cases) => tracing::info!(cases, "leases ran out"),
            Err(error) => tracing::warn!(%error, "leases that ran out stay for now"),
        }
    }
}

/// Brings back the cases whose lease has run out by `now`, the longest ago first, at most
/// [`EXPIRE_CASES_MAX`]; returns how many.
///
/// # Errors
/// The store did not take the change.
pub async fn expire_due(
    store: &Store,
    view: &View,
    now: Timestamp,
) -> Result<usize, WriteError<CommandError>> {
    let due = view.with(|queue| queue.expired(now, EXPIRE_CASES_MAX));
    if due.is_empty() {
        return Ok(0);
    }
    store.write(move |staged| cases::expire(staged, &due, now)).await
}

#[cfg(test)]
mod tests;
