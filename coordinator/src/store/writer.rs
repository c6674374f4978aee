//! The one thread through which every change goes.
//!
//! Waiting commands run one after the other against one overlay, so each sees what the earlier ones
//! of its group staged; a command that is refused stages nothing. The group is committed with one
//! sync, and only then is anybody answered (L1).
//!
//! # Priority
//! Urgent commands, which are people's and the urgent lane's, go before all others that wait, and
//! end the group that they came into: they wait for the command that runs and for the sync, not for
//! a backlog. Each group takes as many other commands as it has urgent ones, and while others wait
//! urgent ones fill half of it at most: a flood on one agent's urgent lane slows the others and never
//! starves them. Within a priority commands take effect in the order in which they were accepted.
//!
//! # End
//! It ends when the last [`Store`] is dropped, or when the outcome of a commit is unknown: the engine
//! takes nothing more then, and what is true must be read anew from the disk. Whoever follows
//! the journal sees it end; the process must, too.
//!
//! # Cost
//! One sync a group: with N commands waiting, each pays an Nth of it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::{self, JoinHandle},
};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    limits::{GROUP_BYTES_MAX, GROUP_COMMANDS_MAX, WRITER_QUEUE_MAX},
    store::{
        engine::{CommitError, Engine, Kept, Refusal, Staged},
        schema::MetaKey,
        tables::{LoadError, Source},
    },
};

/// Why a command did not take effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError<E> {
    /// The command refused; nothing was stored.
    #[error(transparent)]
    Refused(E),
    /// Nothing was stored; trying again later may help.
    #[error("the store did not take the change: {0}")]
    NotStored(String),
    /// It cannot be told whether it was stored: read before trying again.
    #[error("the store may or may not have taken the change: {0}")]
    Unknown(String),
    /// The writer has stopped.
    #[error("the store is shut down")]
    Stopped,
}

type Reply = Box<dyn FnOnce(&Result<(), CommitError>) + Send>;
type Job = Box<dyn FnOnce(&mut Staged<'_>) -> Reply + Send>;

/// Which commands go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before all others: somebody waits for it.
    Urgent,
    /// In the order in which they come.
    Normal,
}

/// The store: reads go to the engine, changes to the writer.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
    urgent: mpsc::Sender<Job>,
    normal: mpsc::Sender<Job>,
    head: watch::Receiver<u64>,
}

/// The writer's thread; it ends when the last [`Store`] is dropped.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
}

impl Writer {
    /// Waits until everything that was accepted is stored.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the writer's thread panicked");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

/// Starts the writer over an engine.
///
/// # Errors
/// The head of the journal cannot be read, or no thread can be started.
pub fn start(engine: Arc<dyn Engine>) -> Result<(Store, Writer), StartError> {
    let number = (*engine).load(&MetaKey::JOURNAL)?.map_or(0, |head| head.number);
    let (urgent, urgent_inbox) = mpsc::channel(WRITER_QUEUE_MAX);
    let (normal, normal_inbox) = mpsc::channel(WRITER_QUEUE_MAX);
    let inbox = Inbox { urgent: urgent_inbox, normal: normal_inbox };
    // It drives nothing: the writer's thread only waits in it for whichever inbox is first.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (announce, head) = watch::channel(number);
    let writer_engine = Arc::clone(&engine);
    let thread = thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || run(&*writer_engine, &runtime, inbox, &announce))?;
    Ok((Store { engine, urgent, normal, head }, Writer { thread }))
}

/// Why the writer cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system gives no thread.
    #[error("start the writer's thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Store {
    /// Returns the engine, to read what is durable.
    #[must_use]
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Returns a shared handle of the engine, for reads on another thread.
    #[must_use]
    pub fn engine_handle(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Returns the number of the newest durable journal entry, and news of later ones.
    #[must_use]
    pub fn journal_head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// Returns how many commands wait, and how many may.
    #[must_use]
    pub fn backlog(&self) -> (usize, usize) {
        let waiting = |queue: &mpsc::Sender<Job>| queue.max_capacity() - queue.capacity();
        (waiting(&self.urgent) + waiting(&self.normal), 2 * WRITER_QUEUE_MAX)
    }

    /// Runs `command` in its turn and makes what it staged durable. Waits while the queue is full.
    ///
    /// # Errors
    /// The command refused, or the store did not take the change.
    ///
    /// # Cancel safety
    /// Dropped before the command was accepted, nothing happens; afterwards it takes effect all the same.
    pub async fn write<T, E, F>(&self, command: F) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Staged<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Priority::Normal, command).await?.await
    }

    /// Hands `command` to the writer, behind all of its priority that were accepted before, and returns what waits for
    /// its outcome. So one caller may have several under way, and they take effect in the order in which they were
    /// accepted.
    ///
    /// # Errors
    /// The writer has stopped.
    ///
    /// # Cancel safety
    /// As [`Self::write`].
    pub async fn submit<T, E, F>(
        &self,
        priority: Priority,
        command: F,
    ) -> Result<Submitted<T, E>, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Staged<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |staged| {
            let savepoint = staged.savepoint();
            let outcome = command(staged);
            if outcome.is_err() {
                staged.rollback(savepoint);
            }
            Box::new(move |committed| {
                let result = match (outcome, committed) {
                    (Err(refused), _) => Err(WriteError::Refused(refused)),
                    (Ok(done), Ok(())) => Ok(done),
                    (Ok(_), Err(CommitError::Refused(why))) => {
                        Err(WriteError::NotStored(why.to_string()))
                    }
                    (Ok(_), Err(unknown @ CommitError::Unknown { .. })) => {
                        Err(WriteError::Unknown(unknown.to_string()))
                    }
                };
                drop(reply.send(result)); // whoever asked may have gone
            })
        });
        let queue = match priority {
            Priority::Urgent => &self.urgent,
            Priority::Normal => &self.normal,
        };
        queue.send(job).await.map_err(|_| WriteError::Stopped)?;
        Ok(Submitted(answer))
    }
}

/// The outcome of a command that the writer has accepted.
#[derive(Debug)]
#[must_use = "the outcome is known only when this is awaited"]
pub struct Submitted<T, E>(oneshot::Receiver<Result<T, WriteError<E>>>);

impl<T, E> Future for Submitted<T, E> {
    type Output = Result<T, WriteError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(WriteError::Stopped)))
    }
}

/// What waits for the writer.
struct Inbox {
    urgent: mpsc::Receiver<Job>,
    normal: mpsc::Receiver<Job>,
}

impl Inbox {
    /// Waits for a job; nothing once every [`Store`] is dropped and all that they sent was taken.
    async fn recv(&mut self) -> Option<(Priority, Job)> {
        tokio::select! {
            biased;
            Some(job) = self.urgent.recv() => Some((Priority::Urgent, job)),
            Some(job) = self.normal.recv() => Some((Priority::Normal, job)),
            else => None,
        }
    }
}

/// Runs waiting jobs into one synced commit, then answers them.
fn run(
    engine: &dyn Engine,
    runtime: &tokio::runtime::Runtime,
    mut inbox: Inbox,
    announce: &watch::Sender<u64>,
) {
    let mut kept = Kept::default();
    while let Some((priority, first)) = runtime.block_on(inbox.recv()) {
        let mut staged = Staged::over(engine, kept);
        let mut replies = vec![first(&mut staged)];
        fill(&mut staged, &mut replies, &mut inbox, priority == Priority::Urgent);
        let head = staged.load(&MetaKey::JOURNAL);
        let committed;
        (kept, committed) = staged.commit();
        match (&committed, head) {
            (Ok(()), Ok(Some(head))) => {
                announce
                    .send_if_modified(|known| std::mem::replace(known, head.number) != head.number);
            }
            (Ok(()), _) => {}
            (Err(error), _) => tracing::error!(%error, commands = replies.len(), "commit failed"),
        }
        for reply in replies {
            reply(&committed); // the ack starts here and nowhere else (L1)
        }
        let is_over = matches!(
            committed,
            Err(CommitError::Unknown { .. } | CommitError::Refused(Refusal::Stopped { .. }))
        );
        if is_over {
            return;
        }
    }
}

/// Runs what waits into the group, up to its bounds, or until as many other jobs are in it as urgent ones.
fn fill(staged: &mut Staged<'_>, replies: &mut Vec<Reply>, inbox: &mut Inbox, is_urgent: bool) {
    let (mut urgent, mut normal) = (usize::from(is_urgent), usize::from(!is_urgent));
    loop {
        let share = if inbox.normal.is_empty() { 1 } else { 2 };
        while replies.len() < GROUP_COMMANDS_MAX / share
            && staged.bytes() < GROUP_BYTES_MAX / share
            && let Ok(job) = inbox.urgent.try_recv()
        {
            urgent += 1;
            replies.push(job(staged));
        }
        if replies.len() >= GROUP_COMMANDS_MAX || staged.bytes() >= GROUP_BYTES_MAX {
            return;
        }
        let Ok(job) = inbox.normal.try_recv() else { return };
        normal += 1;
        replies.push(job(staged));
        if urgent > 0 && normal >= urgent {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
