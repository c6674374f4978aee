//! What was appended and is not durable yet: it becomes one record.

use std::collections::BTreeMap;

use bytes::Bytes;
use shared::ids::Lane;

use super::segment::{BlockEntry, HEAD_BYTES, PerLane, change_len, encode_meta, meta_len};

/// Appended and not durable.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) blocks: Vec<Bytes>,
    entries: Vec<BlockEntry>,
    /// Sources' new checkpoints; `None` forgets the source.
    pub(super) changes: BTreeMap<String, Option<Vec<u8>>>,
    pub(super) ledger: Option<Vec<u8>>,
    pub(super) counts: PerLane<u32>,
    pub(super) data_len: usize,
    changes_len: usize,
}

impl Pending {
    /// Tells whether there is nothing to be made durable.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.changes.is_empty() && self.ledger.is_none()
    }

    /// Adds a block.
    pub(super) fn push_block(&mut self, lane: Lane, block: &Bytes) {
        let len = u32::try_from(block.len()).expect("a block's length was checked");
        self.entries.push(BlockEntry { lane, len, crc: crc32c::crc32c(block) });
        self.counts[lane.index()] += 1;
        self.data_len += block.len();
        self.blocks.push(block.clone());
    }

    /// Adds a source's new checkpoint, or forgets the source.
    pub(super) fn change(&mut self, name: &str, value: Option<&[u8]>) {
        self.changes_len += change_len(name, value);
        let value = value.map(<[u8]>::to_vec);
        if let Some(old) = self.changes.insert(name.to_owned(), value) {
            self.changes_len -= change_len(name, old.as_deref());
        }
    }

    /// Returns how long the record's description is, in bytes.
    pub(super) fn meta_len(&self) -> usize {
        meta_len(self.entries.len(), self.changes_len, self.ledger.as_deref())
    }

    /// Returns how long the record is, in bytes; 0 if there is none.
    pub(super) fn record_len(&self) -> usize {
        if self.is_empty() { 0 } else { HEAD_BYTES + self.meta_len() + self.data_len }
    }

    /// Returns by how much a snapshot can grow with what is here, in bytes.
    pub(super) fn state_growth(&self) -> usize {
        let set = self.changes.iter().filter(|(_, value)| value.is_some());
        let set_len: usize = set.map(|(name, value)| change_len(name, value.as_deref())).sum();
        set_len + self.ledger.as_ref().map_or(0, Vec::len)
    }

    /// Writes the record's description to the end of `out`.
    pub(super) fn encode_meta(&self, out: &mut Vec<u8>) {
        let changes = self.changes.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        encode_meta(out, &self.entries, changes, self.ledger.as_deref());
    }
}
