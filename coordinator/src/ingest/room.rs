//! Room for what agents sent and is not stored yet, over all sessions: without it a thousand agents that come back with
//! their backlogs would fill the memory, each within its own window (L7).
//!
//! A frame's place is taken between its length and its body, and is free again when the last part of the body is
//! dropped, wherever that went. Whoever finds none waits, in order, and its stream with it: the agent's window does
//! the rest.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{counters::Counters, limits::IN_FLIGHT_BYTES_MAX};

/// Bytes that a permit stands for.
const GRAIN_BYTES: usize = 1 << 10;

/// The room of an endpoint.
#[derive(Clone, Debug)]
pub struct Room {
    grains: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// A place for the body of a frame.
#[derive(Debug)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A body with its place.
struct Body {
    bytes: Vec<u8>,
    _place: Place,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Room {
    /// Returns the room for [`IN_FLIGHT_BYTES_MAX`].
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self::of(IN_FLIGHT_BYTES_MAX, counters)
    }

    fn of(bytes: usize, counters: Arc<Counters>) -> Self {
        Self { grains: Arc::new(Semaphore::new(bytes / GRAIN_BYTES)), counters }
    }

    /// Waits for a place for `len` bytes.
    ///
    /// # Cancel safety
    /// Dropped, it has taken nothing, and has lost its turn.
    pub(super) async fn place(&self, len: usize) -> Place {
        let grains = u32::try_from(len.div_ceil(GRAIN_BYTES)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.grains).try_acquire_many_owned(grains) {
            return Place { _permit: Some(permit) };
        }
        self.counters.frames_waited.add_one();
        // It fails only for one that was closed, which nobody does.
        Place { _permit: Arc::clone(&self.grains).acquire_many_owned(grains).await.ok() }
    }
}

impl Place {
    /// Keeps the place until `bytes`, and all that is cut from them, are dropped.
    pub(super) fn keep_with(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Body { bytes, _place: self })
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_when_the_last_part_of_the_body_is_dropped() {
        let counters = Arc::new(Counters::default());
        let room = Room::of(10 * GRAIN_BYTES, Arc::clone(&counters));
        let body = room.place(8 * GRAIN_BYTES - 1).await.keep_with(vec![7; 8 * GRAIN_BYTES - 1]);
        let block = body.slice(5..50);
        let small = room.place(GRAIN_BYTES).await;
        assert_eq!(counters.frames_waited.value(), 0);

        let mut waiting = pin!(room.place(2 * GRAIN_BYTES));
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(counters.frames_waited.value(), 1);
        drop(body);
        assert!(poll!(&mut waiting).is_pending(), "a part of it is still somewhere");
        assert_eq!(block[..], [7; 45]);
        drop(block);
        assert!(matches!(poll!(&mut waiting), Poll::Ready(_)));
        drop(small);
    }
}
