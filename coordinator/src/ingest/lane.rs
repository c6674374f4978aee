//! Makes one lane's blocks durable, in the order of their numbers.
//!
//! ```text
//! inbox ─▶ preparing (decode, on the blocking pool) ─▶ storing (with the writer) ─▶ outcomes
//! ```
//! Several are under way at each step, and each step keeps their order: a block that fails ends the lane before a
//! later one is handed to the writer.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesOrdered};
use shared::{
    block::BlockError,
    ids::{Lane, Seq, StreamId, TenantId},
    limits::COMMIT_TIMEOUT,
    wire::Gap,
};
use thiserror::Error;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::Shared;
use crate::{
    clock,
    command::{
        CommandError,
        block::{self, Committed, Prepared},
    },
    store::{
        engine::Staged,
        writer::{Priority, Submitted, WriteError},
    },
};

/// Most blocks of one lane that are decoded at once: one for each core of a small machine, and the next.
const PREPARING_MAX: usize = 3;

/// What is to be made durable.
#[derive(Debug)]
pub(super) enum Work {
    /// A block.
    Block { seq: Seq, bytes: Bytes },
    /// Blocks that will never come.
    Gap(Gap),
}

/// Why a lane's work could not be made durable.
#[derive(Debug, Error)]
pub(super) enum CommitFailure {
    /// The agent sent no block.
    #[error("block {seq}: {error}")]
    Block { seq: Seq, error: BlockError },
    /// The store did not take it, or may not have taken it.
    #[error("{up_to} was not stored: {error}")]
    Write { up_to: Seq, error: WriteError<CommandError> },
    /// The store took too long.
    #[error("{0} was not stored within {limit} s", limit = COMMIT_TIMEOUT.as_secs())]
    Late(Seq),
    /// Decoding panicked: a bug, kept to this connection.
    #[error("block cannot be prepared: {0}")]
    Panicked(String),
}

/// Up to where a lane is durable, or why it will not be. The failure is boxed, because a channel sets aside room for
/// 32 of these for every connection.
pub(super) type Outcome = (StreamId, Result<Seq, Box<CommitFailure>>);

enum Ready {
    Block(Seq, Box<Prepared>, usize),
    Gap(Gap),
}

struct Storing {
    up_to: Seq,
    bytes: usize,
    alerts: u16,
    since: Instant,
    /// `None` for a gap.
    outcome: Submitted<Option<Committed>, CommandError>,
}

/// Works off `inbox` until it is closed and everything is durable, or something fails. Sends up to where the lane is
/// durable, each time that changes, and at most one failure, the last thing that is sent.
pub(super) async fn commit_lane(
    shared: Arc<Shared>,
    (tenant, stream): (TenantId, StreamId),
    mut inbox: mpsc::Receiver<Work>,
    outcomes: mpsc::Sender<Outcome>,
) {
    let mut preparing: FuturesOrdered<JoinHandle<Result<Ready, CommitFailure>>> =
        FuturesOrdered::new();
    let mut storing = FuturesOrdered::new();
    let mut is_open = true;
    while is_open || !preparing.is_empty() || !storing.is_empty() {
        let outcome = tokio::select! {
            biased;
            Some(stored) = storing.next() => stored,
            Some(ready) = preparing.next() => {
                match hand_over(&shared, tenant, stream, ready).await {
                    Ok(waiting) => {
                        storing.push_back(finish(Arc::clone(&shared), waiting));
                        continue;
                    }
                    Err(failure) => Err(failure),
                }
            }
            work = inbox.recv(), if is_open && preparing.len() < PREPARING_MAX => {
                match work {
                    Some(work) => preparing.push_back(prepare(&shared, tenant, stream, work)),
                    None => is_open = false,
                }
                continue;
            }
        };
        let has_failed = outcome.is_err();
        // A session that has gone needs no news.
        if outcomes.send((stream, outcome.map_err(Box::new))).await.is_err() || has_failed {
            return;
        }
    }
}

/// Decodes a block where that may take its time.
fn prepare(
    shared: &Shared,
    tenant: TenantId,
    stream: StreamId,
    work: Work,
) -> JoinHandle<Result<Ready, CommitFailure>> {
    shared.tasks.spawn_blocking(move || match work {
        Work::Gap(gap) => Ok(Ready::Gap(gap)),
        Work::Block { seq, bytes } => {
            let len = bytes.len();
            let prepared = Prepared::new(tenant, stream, seq, bytes)
                .map_err(|error| CommitFailure::Block { seq, error })?;
            Ok(Ready::Block(seq, Box::new(prepared), len))
        }
    })
}

/// Hands the next piece to the writer; those before it were handed over before.
async fn hand_over(
    shared: &Shared,
    tenant: TenantId,
    stream: StreamId,
    ready: Result<Result<Ready, CommitFailure>, tokio::task::JoinError>,
) -> Result<Storing, CommitFailure> {
    let ready = ready.map_err(|error| CommitFailure::Panicked(error.to_string()))??;
    let since = clock::instant();
    let now = shared.clock.now();
    let priority = match stream.lane {
        Lane::Urgent => Priority::Urgent,
        Lane::Normal | Lane::Bulk => Priority::Normal,
    };
    let (up_to, bytes, alerts, submitted) = match ready {
        Ready::Block(seq, prepared, bytes) => {
            let alerts = prepared.alerts();
            let command =
                move |staged: &mut Staged<'_>| block::commit(staged, &prepared, now).map(Some);
            let submitted = shared.store.submit(priority, command);
            (seq, bytes, alerts, timeout(COMMIT_TIMEOUT, submitted).await)
        }
        Ready::Gap(gap) => {
            let command = move |staged: &mut Staged<'_>| {
                block::record_gap(staged, tenant, stream, gap, now).map(|()| None)
            };
            let submitted = shared.store.submit(priority, command);
            (gap.last, 0, 0, timeout(COMMIT_TIMEOUT, submitted).await)
        }
    };
    let outcome = submitted
        .map_err(|_late| CommitFailure::Late(up_to))?
        .map_err(|error| CommitFailure::Write { up_to, error })?;
    Ok(Storing { up_to, bytes, alerts, since, outcome })
}

/// Waits until the writer answers, and counts.
async fn finish(shared: Arc<Shared>, storing: Storing) -> Result<Seq, CommitFailure> {
    let Storing { up_to, bytes, alerts, since, outcome } = storing;
    let outcome = timeout(COMMIT_TIMEOUT, outcome).await;
    let counters = &shared.counters;
    let outcome = match outcome {
        Ok(Ok(committed)) => committed,
        Ok(Err(error)) => {
            counters.commits_failed.add_one();
            return Err(CommitFailure::Write { up_to, error });
        }
        Err(_late) => {
            counters.commits_failed.add_one();
            return Err(CommitFailure::Late(up_to));
        }
    };
    counters.commit_seconds.observe(since.elapsed());
    match outcome {
        Some(Committed::Stored(cases)) => {
            counters.blocks_stored.add_one();
            counters.alerts_stored.add(u64::from(alerts));
            counters.bytes_stored.add(bytes as u64);
            counters.cases_touched.add(cases.len() as u64);
        }
        Some(Committed::Before) => counters.blocks_repeated.add_one(),
        None => counters.gaps_recorded.add_one(),
    }
    Ok(up_to)
}
