//! Asks a session's agent for what is to be recalled, and stores what it answers.
//!
//! ```text
//! greeted, or the bell rings ─▶ look into the store ─▶ ask ─▶ begin ─▶ store ... ─▶ finish ─▶ look again
//! ```
//! One recall after the other, and of an answer one frame after the other: the next is read when this one is durable,
//! so an answer never takes more than its stream's window.

use std::sync::Arc;

use bytes::Bytes;
use quinn::RecvStream;
use shared::{
    block::{Block, BlockError},
    ids::{AgentId, TenantId},
    limits::COMMIT_TIMEOUT,
    recall::{Recall, RecallEnd, RecallId},
};
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use super::{Shared, session::Failure};
use crate::{
    command::{CommandError, recalls},
    store::{engine::Staged, writer::WriteError},
};

/// What a session has to do with recalls.
pub(super) struct Recalling {
    bell: watch::Receiver<u64>,
    /// Whether the store is looked into.
    is_looking: bool,
    /// The answer's stream, while its last frame is being stored.
    stream: Option<RecvStream>,
}

/// What came of a step.
pub(super) enum Recalled {
    /// What the agent is to be asked for, if anything.
    Due(Option<Box<Recall>>),
    /// A frame of an answer is durable, and more will come.
    Stored,
    /// An answer's end is durable.
    Finished(RecallEnd),
}

/// A step of an answer, to be stored.
pub(super) enum Part {
    Begin(RecallId),
    Block(RecallId, Bytes),
    End(RecallEnd),
}

impl Recalling {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { bell: shared.bell.listen(), is_looking: false, stream: None }
    }

    /// Waits for the bell.
    ///
    /// # Cancel safety
    /// A ring that comes meanwhile is heard by the next call.
    pub(super) async fn rung(&mut self) {
        if self.bell.changed().await.is_err() {
            std::future::pending::<()>().await; // whoever rings has gone
        }
    }

    /// Notes that the store is looked into; false if it already is.
    pub(super) fn begin_to_look(&mut self) -> bool {
        !std::mem::replace(&mut self.is_looking, true)
    }

    /// Notes that the store was looked into.
    pub(super) fn has_looked(&mut self) {
        self.is_looking = false;
    }

    /// Keeps the answer's stream until its last frame is durable.
    pub(super) fn hold(&mut self, stream: RecvStream) {
        self.stream = Some(stream);
    }

    /// Returns the answer's stream, to be read on.
    pub(super) fn release(&mut self) -> Option<RecvStream> {
        self.stream.take()
    }
}

/// Looks whether the agent is to be asked for something.
pub(super) async fn look(
    shared: Arc<Shared>,
    (tenant, agent): (TenantId, AgentId),
) -> Result<Recalled, Failure> {
    let (engine, now) = (shared.store.engine_handle(), shared.clock.now());
    let looked = spawn_blocking(move || recalls::due(&*engine, tenant, agent, now)).await;
    let failed = |error: String| Failure::Recall(format!("the store was not read: {error}"));
    let due = looked.map_err(|error| failed(error.to_string()))?;
    Ok(Recalled::Due(due.map_err(|error| failed(error.to_string()))?.map(Box::new)))
}

/// Makes a step of an answer durable.
pub(super) async fn keep(
    shared: Arc<Shared>,
    peer: (TenantId, AgentId),
    part: Part,
) -> Result<Recalled, Failure> {
    let now = shared.clock.now();
    match part {
        Part::Begin(id) => {
            let command = move |staged: &mut Staged<'_>| recalls::begin(staged, peer, id, now);
            write(&shared, command).await.map(|()| Recalled::Stored)
        }
        Part::Block(id, bytes) => {
            let checked = bytes.clone();
            let checked = spawn_blocking(move || records_of(checked)).await;
            let checked = checked.map_err(|error| Failure::Recall(error.to_string()))?;
            let records = checked.map_err(Failure::RecalledBlock)?;
            let block = (bytes, records);
            let command =
                move |staged: &mut Staged<'_>| recalls::store(staged, peer, id, block, now);
            write(&shared, command).await.map(|()| Recalled::Stored)
        }
        Part::End(end) => {
            let command = move |staged: &mut Staged<'_>| recalls::finish(staged, peer, &end, now);
            write(&shared, command).await.map(|()| Recalled::Finished(end))
        }
    }
}

/// Checks that all of a block can be read, and returns how many records it has.
fn records_of(bytes: Bytes) -> Result<u16, BlockError> {
    let block = Block::parse(bytes)?;
    block.records()?;
    Ok(block.alerts())
}

async fn write<F>(shared: &Shared, command: F) -> Result<(), Failure>
where
    F: FnOnce(&mut Staged<'_>) -> Result<(), CommandError> + Send + 'static,
{
    let written: Result<Result<(), WriteError<CommandError>>, _> =
        timeout(COMMIT_TIMEOUT, shared.store.write(command)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::Control { what: "answer to a recall", error }),
        Err(_late) => Err(Failure::ControlLate("answer to a recall")),
    }
}
