//! Builds the queue view from the store and keeps it up by tailing the journal.
//!
//! The head of the journal is read before the cases are: a change that comes in between is seen by
//! the scan, by the tail, or by both, and seeing it twice changes nothing, because an older
//! revision never replaces a newer one. The tail reads the *names* of changed cases out of the
//! journal and then the cases as they are now, so it may be ahead of the journal and never behind
//! the number that it announces.
//!
//! # Cost
//! Building reads every case once. A change costs one read of its case, and changes that came
//! together are read together.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    command::journal,
    limits::{TAIL_ENTRIES_MAX, VIEW_SCAN_ROWS_MAX},
    store::{
        engine::{Direction, Engine, ReadError},
        schema::{CaseKey, Key, range_of},
        tables::{LoadError, Rows, Source},
        writer::Store,
    },
    triage::case::{Case, CaseId, CaseState},
    view::View,
};

/// How long the tail waits before it asks a store again that could not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why the queue view cannot be built or kept up: the coordinator cannot go on.
#[derive(Debug, Error)]
pub enum ViewError {
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store announced entries that are not there.
    #[error("the journal has no entry behind {after}, but its head is {head}")]
    Missing {
        /// The newest entry that was read.
        after: u64,
        /// The head.
        head: u64,
    },
    /// The writer ended, though nobody asked it to.
    #[error("the store's writer ended")]
    WriterEnded,
    /// A read was given up, because it panicked or the process ends.
    #[error("a read of the store was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

/// Builds a view of all cases that are not closed. [`follow`] keeps it up from there.
///
/// # Errors
/// The store cannot be read.
pub async fn rebuild(store: &Store) -> Result<View, ViewError> {
    let number = *store.journal_head().borrow();
    let engine = store.engine_handle();
    let view = View::new();
    let filled = view.clone();
    spawn_blocking(move || fill(&*engine, &filled, number)).await??;
    Ok(view)
}

/// Applies every case that is not closed, page by page.
fn fill(engine: &dyn Engine, view: &View, number: u64) -> Result<(), LoadError> {
    let (mut from, to) = range_of::<CaseKey>(&[]);
    loop {
        let rows: Rows<CaseKey> =
            engine.load_range(&from..&to, Direction::Forward, VIEW_SCAN_ROWS_MAX)?;
        let is_last = rows.len() < VIEW_SCAN_ROWS_MAX;
        if let Some((key, _)) = rows.last() {
            from = key.encode();
            from.push(0);
        }
        let open: Vec<_> = rows
            .into_iter()
            .filter(|(_, case)| !matches!(case.state, CaseState::Closed(_)))
            .map(|(CaseKey(id), case)| (id, Some(case)))
            .collect();
        view.apply(&open, 0);
        if is_last {
            view.apply(&[], number);
            return Ok(());
        }
    }
}

/// Keeps `view` up with the journal until cancelled.
///
/// A store that cannot answer for the moment is asked again each second.
///
/// # Errors
/// [`ViewError`]: what is stored is damaged, or the writer ended.
pub async fn follow(
    store: &Store,
    view: &View,
    cancel: &CancellationToken,
) -> Result<(), ViewError> {
    let mut head = store.journal_head();
    cancel.run_until_cancelled(tail(store, view, &mut head)).await.unwrap_or(Ok(()))
}

async fn tail(
    store: &Store,
    view: &View,
    head: &mut watch::Receiver<u64>,
) -> Result<(), ViewError> {
    loop {
        let newest = *head.borrow_and_update();
        let mut after = *view.applied().borrow();
        while after < newest {
            let engine = store.engine_handle();
            match spawn_blocking(move || changes_after(&engine, after)).await? {
                Ok(Some((cases, number))) => {
                    view.apply(&cases, number);
                    after = number;
                }
                Ok(None) => return Err(ViewError::Missing { after, head: newest }),
                Err(LoadError::Read(error @ ReadError::Unavailable { .. })) => {
                    tracing::warn!(%error, "the queue view is behind");
                    sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        head.changed().await.map_err(|_| ViewError::WriterEnded)?;
    }
}

/// Cases as they are stored now; `None` for one that is gone.
type Changed = Vec<(CaseId, Option<Case>)>;

/// Reads the cases that the entries behind `after` name, and the number of the last such entry that
/// was read; nothing if there is none.
fn changes_after(
    engine: &Arc<dyn Engine>,
    after: u64,
) -> Result<Option<(Changed, u64)>, LoadError> {
    let engine = &**engine;
    let entries = journal::read_after(engine, after, TAIL_ENTRIES_MAX)?;
    let Some(last) = entries.last() else { return Ok(None) };
    let ids: BTreeSet<CaseId> =
        entries.iter().flat_map(|chained| chained.entry.event.cases()).copied().collect();
    let keys: Vec<CaseKey> = ids.iter().copied().map(CaseKey).collect();
    let cases = ids.into_iter().zip(engine.load_many(&keys)?).collect();
    Ok(Some((cases, last.number)))
}
