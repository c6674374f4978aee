//! Rows that stay decoded beside the writer.
//!
//! Cases, their findings, cursors and the journal's head are read and written again by group after group. What a
//! commit made true is kept here as it was before it was encoded, so that the next group neither
//! asks the engine for it nor decodes it.
//!
//! # Bound
//! Two generations. What is written goes into the young one; when that weighs
//! [`KEPT_BYTES_MAX`]` / 2`, it becomes the old one, and the old one before it is forgotten. So
//! what was written last stays longest, and nothing has to be counted or sorted. What is only read
//! is forgotten in the end, as that which a case knows of its findings, and then read anew each time.
//!
//! # Invariants
//! - A key that is kept has this value in the engine, durably. Only a commit that succeeded puts
//!   anything in; one whose outcome is unknown forgets everything.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{ranges::Ranges, staged::Stored};
use crate::limits::KEPT_BYTES_MAX;

/// What is known of the engine's rows.
#[derive(Default)]
pub struct Kept {
    young: HashMap<Bytes, Arc<dyn Stored>>,
    old: HashMap<Bytes, Arc<dyn Stored>>,
    /// What the young generation weighs.
    bytes: usize,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.young.len() + self.old.len();
        f.debug_struct("Kept").field("rows", &rows).finish_non_exhaustive()
    }
}

impl Kept {
    /// Returns a value that is kept.
    pub(super) fn find(&self, key: &[u8]) -> Option<&dyn Stored> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|value| &**value)
    }

    /// Returns the keys that are kept and that a range delete covers, as news of their end.
    pub(super) fn covered_by(&self, gone: &Ranges) -> Vec<(Bytes, Option<Arc<dyn Stored>>)> {
        let keys = self.young.keys().chain(self.old.keys());
        keys.filter(|key| gone.covers(key)).map(|key| (key.clone(), None)).collect()
    }

    /// Takes in what a commit made true of some keys; `None` is anything that is not kept.
    pub(super) fn take_in(&mut self, news: Vec<(Bytes, Option<Arc<dyn Stored>>)>) {
        for (key, value) in news {
            self.old.remove(&key);
            if let Some(before) = self.young.remove(&key) {
                self.bytes -= key.len() + before.weight();
            }
            let Some(value) = value else { continue };
            self.bytes += key.len() + value.weight();
            self.young.insert(key, value);
            if self.bytes >= KEPT_BYTES_MAX / 2 {
                self.old = std::mem::take(&mut self.young);
                self.bytes = 0;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
