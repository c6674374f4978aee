//! Reads of the store, off the threads that carry requests.

use super::problem::Problem;
use crate::store::{engine::Engine, writer::Store};

/// Runs `read` where it may block, and returns what it read.
///
/// # Errors
/// The read's own problem; `internal` if it panicked.
///
/// # Cancel safety
/// Dropped early, the read still runs to its end; it changes nothing.
pub async fn blocking<T, E, F>(store: &Store, read: F) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
    F: FnOnce(&dyn Engine) -> Result<T, E> + Send + 'static,
{
    let engine = store.engine_handle();
    match tokio::task::spawn_blocking(move || read(&*engine)).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) => Err(Problem::internal(&error)),
    }
}
