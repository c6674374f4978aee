//! The agent's durable, bounded store of blocks not yet acked.
//!
//! A segmented log of commits. A commit holds what becomes true together: blocks made, on any lane;
//! the sources' checkpoints after them; the ledger. [`Spool`] is the one writer: [`Spool::append`]
//! takes commits in, [`Spool::sync`] writes all that were taken in since the last sync as one
//! record and makes it durable. Only then [`SpoolReader`], on any thread, shows their blocks. Whole
//! segments are deleted when all their blocks are acked.
//!
//! # Format
//! All integers are little-endian; checksums are CRC-32C. A segment is a file that begins with a
//! snapshot record, followed by commit records without anything between. A record is a head, a
//! description and blocks:
//! ```text
//! head, 92 bytes   at
//!   magic           0  "SBSL"
//!   version         4  u16: 1, or 2 of a snapshot that skips numbers
//!   kind            6  u8: 1 snapshot, 2 commit
//!   zero            7  u8
//!   epoch           8  u64
//!   segment        16  u64, the file's number
//!   offset         24  u64, where the record begins in the file: 0 for a snapshot and only for it
//!   commit         32  u64, number of the commit; of a snapshot, of the last commit before it
//!   next           40  3 x u64, number of the next block of each lane, before the record
//!   blocks         64  3 x u32, how many blocks of each lane the record has, or a snapshot skips
//!   meta_len       76  u32
//!   meta_crc       80  u32
//!   data_len       84  u32
//!   head_crc       88  u32, of the 88 bytes before it
//! description, meta_len bytes
//!   blocks         u32, then for each: lane u8 | len u32 | crc u32
//!   sources        u32, then for each: 0 u8 (forgotten) | name_len u16 | name
//!                                   or 1 u8 | name_len u16 | name | len u32 | checkpoint
//!   ledger         0 u8 (unchanged), or 1 u8 | len u32 | ledger
//! blocks, data_len bytes: one after the other, in the order of the description
//! ```
//! A snapshot has no blocks, every source and the ledger. One of version 2 says besides that the
//! numbers from `next` on, as many as `blocks` says, are never used. In all versions the head has 92 bytes and
//! begins and ends like this one, so that a version which is too new can be told from damage (L10).
//!
//! # Invariants
//! - A record is written only after the record before it was synced. So a record after a damaged
//!   place proves that what was there is lost, and not merely unfinished; only the newest record
//!   may be cut off, wholly.
//! - Blocks are seen by readers after their sync and not before (L1); a checkpoint is in the record
//!   of the blocks made up to it (L3). A block number that was once seen never gets other bytes.
//! - After a failed sync nothing is believed of the segment's unsynced end: the same commits are
//!   written again to a new segment, whose snapshot says with its commit number that they do not
//!   count in the old one. What could not be cut off there is cut off before that snapshot goes.
//! - Numbers that an end which was cut off could have had are skipped, for ever: it may have been
//!   durable and seen, and damaged since (L2). A new segment says so before the end is cut off, and
//!   readers are told [`LostReason::Skipped`]. As every block takes at least 9 bytes, what is
//!   skipped on each lane is a ninth of the bytes cut off, and one. What was given up so does not count again, also if
//!   the medium gives it back later: sources were read again from before it.
//! - A segment is deleted only when there are two newer ones, so that a damaged snapshot can be
//!   replaced by reading the segment before it, and a newer one whose snapshot is whole.
//!
//! # Limits
//! Bytes on disk: [`SpoolConfig::total_bytes_max`], of which the last tenth is for urgent blocks
//! and commits without blocks. Memory: what is not synced (at most 8 MiB of blocks), the
//! checkpoints and the ledger, and an index of 16 bytes for each 64 KiB on disk. A sync is one
//! write and one `fdatasync`, and in a new segment one `fsync` of the folder. Opening after an
//! unfinished write adds one snapshot, beside the bytes that it lets be cut off: for a moment, or as
//! long as the disk fails to cut and delete.
//!
//! Not here: when to sync, what a block is, sending; whether the newest record was lost to damage
//! instead of a crash, which cannot be told apart if nothing follows it; that the newest records
//! are gone without a trace, as when a file is shortened at the border of one.

pub mod disk;
mod index;
mod open;
mod pending;
mod reader;
mod recover;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use bytes::Bytes;
use shared::{
    ids::{Epoch, Lane, Seq},
    limits::BLOCK_BYTES_MAX,
};
use thiserror::Error;

pub use self::{
    disk::{Disk, RealDisk, SegmentId, SimDisk},
    index::LaneHead,
    open::{
        Damage, OpenError, Opened, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_MIN, SpoolConfig,
    },
    reader::{AdvanceError, LostReason, ReadBlock, ReadError, SpoolReader},
};
use self::{
    index::SegmentIndex,
    pending::Pending,
    segment::{
        BLOCK_ENTRY_BYTES, DATA_BYTES_MAX, HEAD_BYTES, Head, Kind, META_BYTES_MAX, PerLane, State,
        change_len,
    },
};

/// How much longer than needed the buffer for descriptions may stay between syncs, in bytes: enough
/// for every sync without a new segment, and nothing an idle agent would be noticed for.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// What becomes true together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Blocks made; each gets the next number of its lane, in this order. None is empty or longer
    /// than [`BLOCK_BYTES_MAX`].
    pub blocks: Vec<(Lane, Bytes)>,
    /// Sources and how far they were read. A source's name has at most 65,535 bytes.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Names whose checkpoint is dropped; one that is not there is none to drop.
    pub forgotten: Vec<String>,
    /// The ledger after it, if it changed.
    pub ledger: Option<Vec<u8>>,
}

/// What became of an appended commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The numbers of its blocks, in the commit's order.
    pub seqs: Vec<(Lane, Seq)>,
}

/// How full a spool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Bytes in memory that the next sync writes.
    pub unsynced_bytes: u64,
}

/// The writer of a spool. Dropping it drops what was not synced.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    config: SpoolConfig,
    reader: SpoolReader,
    /// As of the newest durable commit, like `commit` and `next`.
    state: State,
    snapshot_len: usize,
    commit: u64,
    next: PerLane<u64>,
    /// How many numbers from `next` on are not used; the next snapshot says so.
    skip: PerLane<u32>,
    pending: Pending,
    /// The segment to append to; none after a failure.
    active: Option<Active>,
    /// Files that are to be deleted and could not be.
    dead: Vec<(SegmentId, u64)>,
    /// Segments of which nothing counts and which tell of the skip: dead once it is noted.
    torn: Vec<(SegmentId, u64)>,
    /// Segments that are to be cut to a length and could not be.
    strays: Vec<(SegmentId, u64)>,
    next_segment: u64,
    is_disk_full: bool,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    id: SegmentId,
    len: u64,
    /// Whether it has no commit yet.
    is_fresh: bool,
}

impl Spool {
    /// Returns a reader of the spool.
    #[must_use]
    pub fn reader(&self) -> SpoolReader {
        self.reader.clone()
    }

    /// Returns the spool's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.reader.epoch()
    }

    /// Returns how full the spool is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let index = self.reader.index();
        Usage {
            bytes: index.bytes() + total(&self.dead) + total(&self.torn),
            bytes_max: self.config.total_bytes_max,
            segments: index.segment_count() + self.dead.len() + self.torn.len(),
            unsynced_bytes: self.pending.record_len() as u64,
        }
    }

    /// Returns the newest block of each lane, durable or not. The next one of a lane has the number after it.
    #[must_use]
    pub fn newest(&self) -> [Option<Seq>; Lane::COUNT] {
        let (next, counts) = (self.after_skip(), self.pending.counts);
        std::array::from_fn(|lane| Seq::new(next[lane] + u64::from(counts[lane]) - 1))
    }

    /// Takes a commit in and numbers its blocks. It is neither durable nor seen by readers before
    /// [`Self::sync`].
    ///
    /// # Errors
    /// See [`AppendError`]. Nothing is changed then.
    pub fn append(&mut self, commit: &Commit) -> Result<Appended, AppendError> {
        let changes: Vec<_> = commit
            .checkpoints
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_slice())))
            .chain(commit.forgotten.iter().map(|name| (name.as_str(), None)))
            .collect();
        self.admit(&commit.blocks, &changes, commit.ledger.as_deref())?;
        let mut seqs = Vec::with_capacity(commit.blocks.len());
        for (lane, block) in &commit.blocks {
            let at = lane.index();
            let number = self.after_skip()[at] + u64::from(self.pending.counts[at]);
            seqs.push((*lane, Seq::new(number).expect("blocks are numbered from 1")));
            self.pending.push_block(*lane, block);
        }
        for (name, value) in changes {
            self.pending.change(name, value);
        }
        if let Some(ledger) = &commit.ledger {
            self.pending.ledger = Some(ledger.clone());
        }
        Ok(Appended { seqs })
    }

    /// Drops the checkpoint of a source that was removed, with the next sync.
    ///
    /// # Errors
    /// See [`AppendError`]. Nothing is changed then.
    pub fn forget(&mut self, source: &str) -> Result<(), AppendError> {
        let is_known = self.state.checkpoints.contains_key(source)
            || self.pending.changes.contains_key(source);
        if is_known {
            self.admit(&[], &[(source, None)], None)?;
            self.pending.change(source, None);
        }
        Ok(())
    }

    /// Makes all appended commits durable, and shows their blocks to readers.
    ///
    /// # Errors
    /// See [`SyncError`]. The commits stay in memory and the next sync writes them again, to
    /// another segment unless it is certain what is in this one.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.pending.is_empty() {
            return if self.has_skip() { self.note_skip() } else { Ok(()) };
        }
        let record_len = self.pending.record_len() as u64;
        let room = self.segment_room();
        match self.active {
            Some(active) if active.is_fresh || active.len + record_len <= room => {
                self.check_bound(record_len)?;
                self.extend(active)
            }
            _ => {
                self.check_bound((HEAD_BYTES + self.snapshot_len) as u64 + record_len)?;
                self.roll()
            }
        }
    }

    /// Checks that `needed` bytes more keep the spool's bound (L7). There was room for them when the
    /// commits were taken in; what failed writes left since then may have taken it.
    fn check_bound(&mut self, needed: u64) -> Result<(), SyncError> {
        let is_over = |spool: &Self| spool.lasting_bytes() + needed > spool.config.total_bytes_max;
        if !is_over(self) {
            return Ok(());
        }
        let doing = "making room among what failed writes left";
        let failed = |source| SyncError::Io { doing, source };
        self.collect().map_err(failed)?;
        if is_over(self) && self.has_skip() {
            self.note_skip()?;
            self.collect().map_err(failed)?;
        }
        if is_over(self) { Err(failed(io::ErrorKind::StorageFull.into())) } else { Ok(()) }
    }

    /// Notes durably which numbers are skipped, in a new segment without blocks. As when the spool is opened, that one
    /// snapshot is not held to the bound: it lets what is torn go, and acked segments before it.
    fn note_skip(&mut self) -> Result<(), SyncError> {
        // Attempts that failed must not pile up.
        let doing = "deleting what failed writes left";
        self.remove_left_overs().map_err(|source| SyncError::Io { doing, source })?;
        let pending = std::mem::take(&mut self.pending);
        let noted = self.roll();
        self.pending = pending;
        noted
    }

    /// Deletes the segments of which all blocks are acked, and returns how many bytes that were.
    ///
    /// # Errors
    /// Whatever the system reports. What was not deleted is tried again by the next call.
    pub fn collect(&mut self) -> io::Result<u64> {
        let before = self.usage().bytes;
        // First: they would count, or look like damage, once the segments around them are gone.
        self.remove_left_overs()?;
        let mut done = self.reader.index().done();
        // What tells of a skip stays until that is noted, acked or not.
        done.retain(|id| self.strays.iter().all(|(stray, _)| stray != id));
        for id in &done {
            delete(&*self.disk, *id)?;
            self.reader.index().remove(*id);
        }
        if !done.is_empty() {
            self.disk.sync_dir()?;
        }
        Ok(before.saturating_sub(self.usage().bytes))
    }

    /// Tries again to be rid of what failed writes left.
    fn remove_left_overs(&mut self) -> io::Result<()> {
        // What is torn is all that tells of a skip until a snapshot does. Segments that never came to be tell of
        // nothing, and would fill the spool while the disk fails.
        if !self.has_skip() {
            while let Some((id, len)) = self.strays.last().copied() {
                self.cut(id, len)?;
                self.strays.pop();
            }
            self.dead.append(&mut self.torn);
        }
        if self.dead.is_empty() {
            return Ok(());
        }
        for (id, bytes) in &mut self.dead {
            delete(&*self.disk, *id)?;
            *bytes = 0;
        }
        self.disk.sync_dir()?;
        self.dead.clear();
        Ok(())
    }

    /// Checks that a commit may be taken in.
    fn admit(
        &mut self,
        blocks: &[(Lane, Bytes)],
        changes: &[(&str, Option<&[u8]>)],
        ledger: Option<&[u8]>,
    ) -> Result<(), AppendError> {
        if self.is_disk_full {
            return Err(AppendError::DiskFull);
        }
        let growth = Growth::of(blocks, changes, ledger)?;
        let data = self.pending.data_len + growth.data;
        let meta = self.pending.meta_len() + growth.meta;
        if data > DATA_BYTES_MAX || meta > META_BYTES_MAX {
            return Err(AppendError::Unsynced { bytes: self.pending.record_len() });
        }
        // The next segment begins with a snapshot of the state after all that is not synced.
        let state = self.snapshot_len + self.pending.state_growth() + growth.state;
        if state > META_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: state, max: META_BYTES_MAX });
        }
        let is_privileged = blocks.iter().all(|(lane, _)| *lane == Lane::Urgent);
        let total = self.config.total_bytes_max;
        let limit = if is_privileged { total } else { total - total / 10 };
        let needed = (2 * HEAD_BYTES + self.snapshot_len + data + meta) as u64;
        if self.lasting_bytes() + needed > limit {
            if let Err(error) = self.collect() {
                tracing::warn!(%error, "acked segments cannot be deleted");
            }
            if self.lasting_bytes() + needed > limit {
                if self.has_skip() {
                    // Only a sync, which notes the skip, can make room.
                    return Err(AppendError::Unsynced { bytes: self.pending.record_len() });
                }
                return Err(AppendError::Full { needed, limit });
            }
        }
        Ok(())
    }

    /// Returns up to which length a segment is appended to. Where only the reserve is left,
    /// segments are small, so that those with nothing but checkpoints soon make room again.
    fn segment_room(&self) -> u64 {
        let SpoolConfig { segment_bytes, total_bytes_max } = self.config;
        if self.usage().bytes <= total_bytes_max - total_bytes_max / 10 {
            return segment_bytes;
        }
        let snapshot = (HEAD_BYTES + self.snapshot_len) as u64;
        segment_bytes.min((total_bytes_max / 64).max(4 * snapshot))
    }

    /// Writes what is not durable to the end of the active segment.
    fn extend(&mut self, active: Active) -> Result<(), SyncError> {
        self.buffer.clear();
        self.encode_commit(active.id, active.len);
        if let Err(source) = self.write(active.id) {
            let error = self.failed("appending to a segment", source);
            let is_sound = matches!(error, SyncError::DiskFull);
            self.cut_back(active, is_sound);
            return Err(error);
        }
        if let Err(source) = self.disk.sync(active.id) {
            self.cut_back(active, false);
            return Err(self.failed("syncing a segment", source));
        }
        let len = active.len + self.pending.record_len() as u64;
        self.settle(Active { len, ..active }, active.len);
        Ok(())
    }

    /// Cuts a failed write off, durably; unless that works and the segment `is_sound`, it is not
    /// appended to again.
    fn cut_back(&mut self, active: Active, is_sound: bool) {
        let cut = self.cut(active.id, active.len);
        if cut.is_err() {
            self.strays.push((active.id, active.len));
        }
        if cut.is_err() || !is_sound {
            self.active = None;
        }
    }

    /// Cuts a segment to `len` bytes, so that the rest does not come back.
    fn cut(&self, id: SegmentId, len: u64) -> io::Result<()> {
        let cut = self.disk.truncate(id, len).and_then(|()| self.disk.sync(id));
        let stray_bytes = self.disk.size(id).map_or(0, |size| size.saturating_sub(len));
        self.reader.index().note_stray(id, stray_bytes);
        cut
    }

    /// Begins a new segment, with what is not durable in it.
    fn roll(&mut self) -> Result<(), SyncError> {
        // Never again: a file of this attempt may come back after a crash and void what is appended
        // now.
        self.active = None;
        let id = SegmentId(self.next_segment);
        self.next_segment += 1;
        self.buffer.clear();
        self.encode_snapshot(id);
        let header_len = self.buffer.len() as u64;
        if !self.pending.is_empty() {
            self.encode_commit(id, header_len);
        }
        if let Err((doing, source)) = self.create(id) {
            let len = self.disk.size(id).unwrap_or(0);
            if delete(&*self.disk, id).is_err() {
                self.dead.push((id, len));
            }
            return Err(self.failed(doing, source));
        }
        let mut segment = SegmentIndex::new(id, header_len, self.next);
        segment.has_state = true;
        self.reader.index().push(segment);
        if self.has_skip() {
            self.next = self.after_skip();
            self.skip = [0; Lane::COUNT];
            self.reader.index().skip(self.next);
            if let Err(error) = self.remove_left_overs() {
                tracing::warn!(%error, "an unfinished write cannot be cut off yet");
            }
        }
        let len = header_len + self.pending.record_len() as u64;
        let active = Active { id, len, is_fresh: self.pending.is_empty() };
        self.settle(active, header_len);
        Ok(())
    }

    fn create(&self, id: SegmentId) -> Result<(), (&'static str, io::Error)> {
        self.disk.create(id).map_err(|error| ("creating a segment", error))?;
        self.write(id).map_err(|error| ("writing a new segment", error))?;
        self.disk.sync(id).map_err(|error| ("syncing a new segment", error))?;
        self.disk.sync_dir().map_err(|error| ("syncing the folder", error))
    }

    /// Appends the buffer and the blocks in one call.
    fn write(&self, id: SegmentId) -> io::Result<()> {
        let mut parts: Vec<&[u8]> = Vec::with_capacity(1 + self.pending.blocks.len());
        parts.push(&self.buffer);
        parts.extend(self.pending.blocks.iter().map(|block| &block[..]));
        self.disk.append(id, &parts)
    }

    fn encode_commit(&mut self, id: SegmentId, offset: u64) {
        let begin = self.buffer.len();
        self.buffer.resize(begin + HEAD_BYTES, 0);
        self.pending.encode_meta(&mut self.buffer);
        let data_len = u32::try_from(self.pending.data_len).expect("checked when appended");
        let (next, counts) = (self.after_skip(), self.pending.counts);
        let head = Head { data_len, next, counts, ..self.head(id, begin) };
        let head = Head { kind: Kind::Commit, offset, commit: self.commit + 1, ..head };
        self.buffer[begin..begin + HEAD_BYTES].copy_from_slice(&head.encode());
    }

    fn encode_snapshot(&mut self, id: SegmentId) {
        self.buffer.resize(HEAD_BYTES, 0);
        self.state.encode(&mut self.buffer);
        let head = self.head(id, 0);
        self.buffer[..HEAD_BYTES].copy_from_slice(&head.encode());
    }

    /// Returns the head of a snapshot whose description follows the place `begin` in the buffer.
    fn head(&self, segment: SegmentId, begin: usize) -> Head {
        let meta = &self.buffer[begin + HEAD_BYTES..];
        Head {
            kind: Kind::Snapshot,
            epoch: self.epoch(),
            segment,
            offset: 0,
            commit: self.commit,
            next: self.next,
            counts: self.skip,
            meta_len: u32::try_from(meta.len()).expect("checked when appended"),
            meta_crc: crc32c::crc32c(meta),
            data_len: 0,
        }
    }

    /// Takes in that all commits are durable, in the record at `offset` of `active`.
    fn settle(&mut self, active: Active, offset: u64) {
        self.is_disk_full = false;
        self.active = Some(active);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        if self.pending.is_empty() {
            return;
        }
        self.active = Some(Active { is_fresh: false, ..active });
        let pending = std::mem::take(&mut self.pending);
        let first = self.next;
        for (next, count) in self.next.iter_mut().zip(pending.counts) {
            *next += u64::from(count);
        }
        self.commit += 1;
        let changed = !pending.changes.is_empty() || pending.ledger.is_some();
        self.state.change(pending.changes, pending.ledger);
        if changed {
            self.snapshot_len = self.state.snapshot_len();
        }
        self.reader.index().settle(offset, active.len, first, self.next);
    }

    fn failed(&mut self, doing: &'static str, source: io::Error) -> SyncError {
        self.is_disk_full = disk::is_full(&source);
        if self.is_disk_full { SyncError::DiskFull } else { SyncError::Io { doing, source } }
    }

    fn has_skip(&self) -> bool {
        self.skip != [0; Lane::COUNT]
    }

    /// Returns the number that the next block of each lane may have.
    fn after_skip(&self) -> PerLane<u64> {
        std::array::from_fn(|lane| self.next[lane] + u64::from(self.skip[lane]))
    }

    /// Returns how many bytes are left on disk once the skip is noted: the next sync does that first, in a new
    /// segment, so what is torn does not stand in its way.
    fn lasting_bytes(&self) -> u64 {
        let bytes = self.usage().bytes;
        if !self.has_skip() {
            return bytes;
        }
        bytes.saturating_sub(total(&self.torn) + self.reader.index().stray_bytes())
    }
}

fn total(files: &[(SegmentId, u64)]) -> u64 {
    files.iter().map(|(_, bytes)| bytes).sum()
}

/// By how much a commit makes the next record longer, in bytes, at most.
struct Growth {
    data: usize,
    meta: usize,
    /// By how much a snapshot can grow at most: nothing grows by what is forgotten.
    state: usize,
}

impl Growth {
    fn of(
        blocks: &[(Lane, Bytes)],
        changes: &[(&str, Option<&[u8]>)],
        ledger: Option<&[u8]>,
    ) -> Result<Self, AppendError> {
        let too_large = |bytes, max| Err(AppendError::TooLarge { bytes, max });
        let data: usize = blocks.iter().map(|(_, block)| block.len()).sum();
        let changes_len: usize = changes.iter().map(|(name, value)| change_len(name, *value)).sum();
        let set = changes.iter().filter(|(_, value)| value.is_some());
        let set_len: usize = set.map(|(name, value)| change_len(name, *value)).sum();
        let ledger = ledger.map_or(0, |ledger| 4 + ledger.len());
        let meta = blocks.len() * BLOCK_ENTRY_BYTES + changes_len + ledger;
        let longest = blocks.iter().map(|(_, block)| block.len()).max().unwrap_or(0);
        let longest_name = changes.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        if longest > BLOCK_BYTES_MAX {
            return too_large(longest, BLOCK_BYTES_MAX);
        }
        if longest_name > usize::from(u16::MAX) {
            return too_large(longest_name, u16::MAX.into());
        }
        if data > DATA_BYTES_MAX {
            return too_large(data, DATA_BYTES_MAX);
        }
        // A description without anything has nine bytes.
        if meta > META_BYTES_MAX - 9 {
            return too_large(meta, META_BYTES_MAX - 9);
        }
        Ok(Self { data, meta, state: set_len + ledger })
    }
}

/// Deletes a file, or finds it gone.
fn delete(disk: &dyn Disk, id: SegmentId) -> io::Result<()> {
    match disk.delete(id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Why a commit was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The spool is full until blocks are acked: wait.
    #[error("spool is full: {needed} bytes more would pass {limit}")]
    Full {
        /// Bytes that what is not synced, this commit and a new segment's header need.
        needed: u64,
        /// Bytes that commits of this kind may fill.
        limit: u64,
    },
    /// The disk has no room for what was appended before: sync until it has.
    #[error("disk is full")]
    DiskFull,
    /// Too much is not synced: sync, then append again.
    #[error("{bytes} bytes are not synced")]
    Unsynced {
        /// Bytes that the next sync writes.
        bytes: usize,
    },
    /// A part of the commit is too long for any spool: the caller breaks a bound.
    #[error("{bytes} bytes where at most {max} fit")]
    TooLarge {
        /// Length of the part, or of all checkpoints and the ledger together.
        bytes: usize,
        /// Most bytes of it.
        max: usize,
    },
}

/// Why what was appended is not durable. It stays in memory for the next sync.
#[derive(Debug, Error)]
pub enum SyncError {
    /// The disk has no room. Nothing else is wrong: try again later, or after [`Spool::collect`].
    #[error("disk is full")]
    DiskFull,
    /// The disk failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
