//! Lets the pipeline's thread sleep where the system does not say which of its pipes and files have something to read:
//! it looks at everything often.

use std::{
    convert::Infallible,
    io,
    marker::PhantomData,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

/// What would wake.
#[derive(Debug, Default)]
pub(super) struct Watch<'w> {
    files: PhantomData<&'w Path>,
}

impl<'w> Watch<'w> {
    /// Adds a file that may change, or come to be.
    pub(super) fn file(&mut self, _: &'w Path) {}
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something to do, or the time is over.
    GoOn,
    /// The pipeline is to stop.
    Stop,
}

/// Says, by being dropped, that the pipeline is to stop.
pub(super) type StopWriter = Sender<Infallible>;

/// Returns what hears that the pipeline is to stop, and what says so.
///
/// # Errors
/// None here.
pub(super) fn stop() -> io::Result<(Receiver<Infallible>, StopWriter)> {
    let (said, heard) = channel();
    Ok((heard, said))
}

/// Sleeps for the pipeline.
#[derive(Debug)]
pub(super) struct Sleeper {
    /// Its other end is dropped when the pipeline is to stop.
    stop: Receiver<Infallible>,
}

impl Sleeper {
    pub(super) const fn new(stop: Receiver<Infallible>) -> Self {
        Self { stop }
    }

    /// Waits for a time, or for the end.
    pub(super) fn wait(&self, wait: Duration) -> Woken {
        match self.stop.recv_timeout(wait) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => Woken::GoOn,
            Err(RecvTimeoutError::Disconnected) => Woken::Stop,
        }
    }

    /// Sleeps for `short`: nothing tells of changes here.
    pub(super) fn sleep(&mut self, _: &Watch<'_>, short: Duration, _longest: Duration) -> Woken {
        self.wait(short)
    }
}
