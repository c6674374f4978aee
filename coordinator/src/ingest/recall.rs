//! Asks a session's agent for what is to be recalled, and stores what it answers.
//!
//! ```text
//! greeted, rung for, or a pause is over ─▶ look into the store ─▶ ask ─▶ begin ─▶ store ... ─▶ finish ─▶ look again
//! ```
//! One recall after the other, and of an answer one frame after the other: the next is read when this one is durable,
//! so an answer never takes more than its stream's window.

use std::{future::pending, sync::Arc};

use bytes::Bytes;
use quinn::RecvStream;
use shared::{
    block::{Block, BlockError},
    ids::{AgentId, TenantId},
    limits::COMMIT_TIMEOUT,
    recall::{Recall, RecallEnd, RecallId},
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use super::{Shared, ending::Failure};
use crate::{
    bell::{Bell, Listener},
    command::{
        CommandError,
        recalls::{self, Due},
    },
    store::{engine::Staged, writer::WriteError},
};

/// What a session has to do with recalls.
pub(super) struct Recalling {
    bell: Listener,
    /// Whether the store is looked into.
    is_looking: bool,
    /// When to look again, because an answer that broke off pauses.
    again: Option<Instant>,
    /// The answer's stream, while its last frame is being stored.
    stream: Option<RecvStream>,
}

/// What came of a step.
pub(super) enum Recalled {
    /// What the agent is to be asked for.
    Due(Due),
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
    pub(super) fn new(bell: &Bell) -> Self {
        Self { bell: bell.listen(), is_looking: false, again: None, stream: None }
    }

    /// Waits until the store is to be looked into: the bell rings, or a pause is over.
    ///
    /// # Cancel safety
    /// A ring that comes meanwhile is heard by the next call, and a pause is not begun anew.
    pub(super) async fn rung(&mut self) {
        let again = self.again;
        let paused = async {
            match again {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.bell.rung() => {}
            () = paused => self.again = None,
        }
    }

    /// Notes that the store is looked into; false if it already is.
    pub(super) fn begin_to_look(&mut self) -> bool {
        !std::mem::replace(&mut self.is_looking, true)
    }

    /// Notes that the store was looked into, and returns what the agent is to be asked for now.
    pub(super) fn has_looked(&mut self, due: Due) -> Option<Box<Recall>> {
        self.is_looking = false;
        self.again = None;
        match due {
            Due::Now(recall) => return Some(recall),
            Due::In(pause) => self.again = Some(Instant::now() + pause),
            Due::Nothing => {}
        }
        None
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
    Ok(Recalled::Due(due.map_err(|error| failed(error.to_string()))?))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_pauses_is_looked_for_again_when_the_pause_is_over_or_the_bell_rings() {
        let bell = Bell::default();
        let mut recalling = Recalling::new(&bell);
        assert!(recalling.begin_to_look() && !recalling.begin_to_look());
        assert!(recalling.has_looked(Due::In(PAUSE)).is_none());
        assert!(recalling.rung().now_or_never().is_none(), "not before the pause is over");
        let began = Instant::now();
        recalling.rung().await;
        assert!(began.elapsed() <= 50 * PAUSE);
        assert!(recalling.rung().now_or_never().is_none(), "and once only");

        assert!(recalling.has_looked(Due::In(100 * PAUSE)).is_none());
        bell.ring();
        assert!(recalling.rung().now_or_never().is_some());
        assert!(recalling.has_looked(Due::Nothing).is_none());
        assert!(timeout(PAUSE, recalling.rung()).await.is_err());
    }
}
