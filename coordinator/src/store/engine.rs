//! An ordered key space with durable, atomic commits: all that the store asks of a database.
//!
//! A command is a few bulk reads, one decision and one staged write. So an engine is small: point
//! reads in bulk, ordered scans, and a commit of staged puts, deletes and range deletes. Commands
//! do not call an engine's [`Engine::commit`] themselves; they read and stage through a [`Staged`],
//! which lets the commands of one group see what earlier ones staged, and the writer commits once
//! for the whole group.
//!
//! | engine | for | after a failed commit whose outcome is unknown |
//! | --- | --- | --- |
//! | [`RocksEngine`] | one coordinator, embedded | takes no commit until it is opened again |
//! | [`MemoryEngine`] | simulation and tests | as its fault plan says |
//!
//! # Invariants
//! - L1: when `commit` returns `Ok`, the changes survive a crash and a loss of power.
//! - All changes of a commit become true together or none does, across both spaces, also after a
//!   crash.
//! - Keys are ordered as bytes, unsigned, shorter first.
//!
//! Not here: what keys and values mean, who may write (one writer), when to commit.

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

#[cfg(test)]
mod contract;
pub mod kept;
pub mod memory;
mod ranges;
pub mod rocks;
pub mod staged;
mod wal;

pub use kept::Kept;
pub use memory::{Fault, MemoryEngine, Torn};
pub use rocks::{OpenError, RocksEngine};
pub use staged::{Found, Savepoint, Staged, Stored};

/// One of an engine's two key spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Small values: everything but the blocks.
    Rows,
    /// Values of up to 2 MiB, kept apart from their keys, so that compaction does not rewrite them.
    Blocks,
}

impl Space {
    /// Both spaces.
    pub const ALL: [Self; 2] = [Self::Rows, Self::Blocks];

    /// Returns the name used in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Blocks => "blocks",
        }
    }
}

/// Which end of a range a scan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// One staged change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key, whether or not it had one.
    Put {
        /// Where.
        space: Space,
        /// The key.
        key: Bytes,
        /// Its value from now on.
        value: Bytes,
    },
    /// Removes a key, whether or not it exists.
    Delete {
        /// Where.
        space: Space,
        /// The key.
        key: Bytes,
    },
    /// Removes all keys in `[from, to)`.
    DeleteRange {
        /// Where.
        space: Space,
        /// First key that is removed.
        from: Bytes,
        /// First key that stays.
        to: Bytes,
    },
}

/// Changes that are to become true together. They apply in order: a later one wins over an earlier
/// one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    list: Vec<Change>,
    bytes: usize,
}

impl Changes {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.list.push(Change::Put { space, key, value });
    }

    /// Adds a delete.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.list.push(Change::Delete { space, key });
    }

    /// Adds a delete of all keys in `[from, to)`. An empty range adds nothing.
    pub fn delete_range(&mut self, space: Space, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.bytes += from.len() + to.len();
            self.list.push(Change::DeleteRange { space, from, to });
        }
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the changes in the order in which they apply.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// A database under the store.
///
/// Calls block: reads for as long as the disk takes, [`Engine::commit`] for a sync. One writer
/// commits; any number of threads read.
pub trait Engine: Send + Sync + 'static {
    /// Returns the values of `keys`, in their order, with `None` for a key that does not exist.
    ///
    /// # Errors
    /// Fails if any of the keys could not be read.
    fn read(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError>;

    /// Returns at most `limit` rows with keys in `[range.start, range.end)`, from the end that
    /// `direction` names.
    ///
    /// One call sees one state: it sees a commit whole or not at all. Two calls may see two states.
    ///
    /// # Errors
    /// Fails if any of the rows could not be read.
    fn scan(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, ReadError>;

    /// Makes all `changes` true and durable before it returns (L1). Without changes it does
    /// nothing.
    ///
    /// # Errors
    /// [`CommitError::Refused`] if nothing happened; [`CommitError::Unknown`] if that cannot be
    /// told.
    fn commit(&self, changes: Changes) -> Result<(), CommitError>;

    /// Returns about how many bytes the live keys and values of `space` take.
    ///
    /// Deleted data may count until [`Engine::reclaim`] or the engine's own upkeep has removed it.
    fn approximate_bytes(&self, space: Space) -> u64;

    /// Gives back the room of what was deleted in `[range.start, range.end)`.
    ///
    /// Changes nothing that can be read. May take seconds: not for the writer's thread.
    fn reclaim(&self, space: Space, range: Range<&[u8]>);
}

/// Why a read or a scan failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The engine cannot answer now; asking again later may help.
    #[error("cannot read {}: {detail}", space.name())]
    Unavailable {
        /// Where.
        space: Space,
        /// What the engine says.
        detail: String,
    },
    /// What is stored is not what was written; asking again does not help.
    #[error("stored data of {} is damaged: {detail}", space.name())]
    Corrupt {
        /// Where.
        space: Space,
        /// What the engine says, with the file.
        detail: String,
    },
}

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// It is known not to have happened, now and after any crash.
    #[error("commit refused: {0}")]
    Refused(Refusal),
    /// It may have happened: it may be visible now, after a restart, or never.
    #[error("commit may or may not have happened: {detail}")]
    Unknown {
        /// What the engine says.
        detail: String,
    },
}

/// Why a commit is known not to have happened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no room, not even for deletes. Once some is made outside the store, a later commit
    /// may succeed.
    #[error("disk full: {detail}")]
    DiskFull {
        /// What the engine says, with the file.
        detail: String,
    },
    /// The engine takes no commits any more: it must be opened again.
    #[error("the store takes no commits: {detail}")]
    Stopped {
        /// Why.
        detail: String,
    },
    /// The engine turned this commit down; the next one may succeed.
    #[error("{detail}")]
    Rejected {
        /// Why.
        detail: String,
    },
}
