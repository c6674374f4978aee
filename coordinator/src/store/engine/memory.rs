//! An engine in memory that fails and crashes on request, for simulation and tests.
//!
//! What a commit answered with `Ok` is durable: [`MemoryEngine::crash`] keeps it. Clones share one
//! state, so that a simulation can hold one clone and the coordinator under test another; all of it
//! runs in one thread and, given the seed, always the same way.
//!
//! # Faults
//! Each commit takes one fault off the plan, if there is one. In disk-full mode every commit is
//! refused, deletes too, and the plan waits.
//!
//! | fault | answer | afterwards |
//! | --- | --- | --- |
//! | [`Fault::Refused`] | refused | as before |
//! | [`Fault::UnknownApplied`] | unknown | the changes are there and durable |
//! | [`Fault::UnknownLost`] | unknown | the changes are not there and never will be |
//! | [`Fault::Torn`] | unknown | invisible; no commit until a crash, which keeps all or nothing |

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{
        Bound::{Excluded, Included},
        Range,
    },
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

use super::{Change, Changes, CommitError, Direction, Engine, ReadError, Refusal, Row, Space};

/// A way for one commit to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Does not happen, and says so.
    Refused,
    /// Happens, but says that it cannot tell.
    UnknownApplied,
    /// Does not happen, but says that it cannot tell.
    UnknownLost,
    /// Is in flight until the next crash, which decides; until then no commit is taken.
    Torn,
}

/// What a crash did to a commit in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// It is there, whole.
    Kept,
    /// It never happened.
    Lost,
}

/// Key spaces in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryEngine {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rows: BTreeMap<Bytes, Bytes>,
    blocks: BTreeMap<Bytes, Bytes>,
    plan: VecDeque<Fault>,
    in_flight: Option<Changes>,
    disk_full: bool,
    unreadable: bool,
    random: u64,
}

impl MemoryEngine {
    /// Returns an empty engine; `seed` decides which torn commits survive a crash.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            rows: BTreeMap::new(),
            blocks: BTreeMap::new(),
            plan: VecDeque::new(),
            in_flight: None,
            disk_full: false,
            unreadable: false,
            random: seed,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Adds a fault to the end of the plan: without others before it, the next commit fails so.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.lock().plan.push_back(fault);
    }

    /// Sets whether the disk is full.
    pub fn set_disk_full(&self, disk_full: bool) {
        self.lock().disk_full = disk_full;
    }

    /// Sets whether reads and scans fail as unavailable.
    pub fn set_unreadable(&self, unreadable: bool) {
        self.lock().unreadable = unreadable;
    }

    /// Returns to the last durable state and takes commits again. The plan of faults stays.
    ///
    /// Returns what became of a torn commit, if there was one.
    pub fn crash(&self) -> Option<Torn> {
        let mut state = self.lock();
        let changes = state.in_flight.take()?;
        if state.toss() {
            state.apply(changes);
            Some(Torn::Kept)
        } else {
            Some(Torn::Lost)
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no method panics while it holds the lock")
    }
}

impl State {
    fn space(&self, space: Space) -> &BTreeMap<Bytes, Bytes> {
        match space {
            Space::Rows => &self.rows,
            Space::Blocks => &self.blocks,
        }
    }

    fn space_mut(&mut self, space: Space) -> &mut BTreeMap<Bytes, Bytes> {
        match space {
            Space::Rows => &mut self.rows,
            Space::Blocks => &mut self.blocks,
        }
    }

    fn apply(&mut self, changes: Changes) {
        for change in changes {
            match change {
                Change::Put { space, key, value } => {
                    self.space_mut(space).insert(key, value);
                }
                Change::Delete { space, key } => {
                    self.space_mut(space).remove(&key);
                }
                Change::DeleteRange { space, from, to } => {
                    let rows = self.space_mut(space);
                    let mut tail = rows.split_off(&from);
                    rows.append(&mut tail.split_off(&to));
                }
            }
        }
    }

    fn check_readable(&self, space: Space) -> Result<(), ReadError> {
        if self.unreadable {
            return Err(ReadError::Unavailable { space, detail: "made unreadable".to_owned() });
        }
        Ok(())
    }

    /// Draws one bit (splitmix64).
    fn toss(&mut self) -> bool {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

impl Engine for MemoryEngine {
    fn read(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let state = self.lock();
        state.check_readable(space)?;
        let rows = state.space(space);
        Ok(keys.iter().map(|key| rows.get(*key).cloned()).collect())
    }

    fn scan(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, ReadError> {
        let state = self.lock();
        state.check_readable(space)?;
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let bounds = (Included(range.start), Excluded(range.end));
        let rows = state.space(space).range::<[u8], _>(bounds);
        let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
        Ok(match direction {
            Direction::Forward => rows.take(limit).map(owned).collect(),
            Direction::Backward => rows.rev().take(limit).map(owned).collect(),
        })
    }

    fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if state.in_flight.is_some() {
            let detail = "the outcome of an earlier commit is unknown".to_owned();
            return Err(CommitError::Refused(Refusal::Stopped { detail }));
        }
        if state.disk_full {
            let detail = "memory engine in disk-full mode".to_owned();
            return Err(CommitError::Refused(Refusal::DiskFull { detail }));
        }
        let unknown = || CommitError::Unknown { detail: "planned fault".to_owned() };
        match state.plan.pop_front() {
            None => {
                state.apply(changes);
                Ok(())
            }
            Some(Fault::Refused) => {
                let detail = "planned fault".to_owned();
                Err(CommitError::Refused(Refusal::Rejected { detail }))
            }
            Some(Fault::UnknownApplied) => {
                state.apply(changes);
                Err(unknown())
            }
            Some(Fault::UnknownLost) => Err(unknown()),
            Some(Fault::Torn) => {
                state.in_flight = Some(changes);
                Err(unknown())
            }
        }
    }

    fn approximate_bytes(&self, space: Space) -> u64 {
        let state = self.lock();
        let bytes: usize =
            state.space(space).iter().map(|(key, value)| key.len() + value.len()).sum();
        bytes as u64
    }

    fn reclaim(&self, _space: Space, _range: Range<&[u8]>) {}
}

#[cfg(test)]
mod tests;
