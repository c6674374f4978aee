//! Where the system says whether a read would wait.

use std::{io, os::fd::AsFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Poll;

/// A pipe that can be polled: any.
pub(in crate::source) type Polled<R> = R;

/// Returns the pipe as one that can be polled.
///
/// # Errors
/// None here.
pub(in crate::source) fn polled<R>(from: R) -> io::Result<Polled<R>> {
    Ok(from)
}

impl<F: AsFd> Poll for F {
    fn is_readable(&self) -> bool {
        let mut polled = [PollFd::new(self, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut polled, Some(&at_once)), Ok(1..))
    }
}
