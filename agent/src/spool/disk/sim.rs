//! A disk in memory that fails on command, for tests and the simulation.
//!
//! It is as bad as the contract of [`Disk`] allows. A crash keeps what was synced and any part of
//! what was not: nothing, all, a beginning, or sectors with zeros between them; a file or a
//! deletion that was not synced with its folder is there or not. After a failed sync, a later
//! success does not bring the bytes back, unless they were written again. The same seed and the
//! same calls give the same disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, SegmentId};

/// Bytes that reach a medium together.
const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: BTreeMap<SegmentId, SimFile>,
    /// Created since the folder was last synced.
    created: BTreeSet<SegmentId>,
    /// Deleted since the folder was last synced.
    deleted: BTreeMap<SegmentId, SimFile>,
    capacity: Option<u64>,
    failing_syncs: u32,
    failing_dir_syncs: u32,
    failing_truncates: u32,
    failing_deletes: u32,
    failing_reads: u32,
    sync_count: u64,
    append_count: u64,
    random: u64,
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    data: Vec<u8>,
    /// How many bytes of `data` are durable.
    synced: usize,
    /// Durable bytes after `synced` that were cut off since the last sync.
    cut: Vec<u8>,
    /// Bytes whose sync failed: durable or not, whatever later syncs say.
    doubtful: Vec<Range<usize>>,
    /// Bytes that were written again since the last sync.
    rewritten: Vec<Range<usize>>,
    /// Bytes that the medium has lost.
    unreadable: Vec<Range<u64>>,
}

impl SimFile {
    /// Takes `trusted` out of what is doubtful.
    fn trust(&mut self, trusted: &Range<usize>) {
        let doubtful = std::mem::take(&mut self.doubtful).into_iter();
        self.doubtful = doubtful
            .flat_map(|range| {
                let before = range.start..range.end.min(trusted.start);
                [before, range.start.max(trusted.end)..range.end]
            })
            .filter(|range| range.start < range.end)
            .collect();
    }
}

impl SimDisk {
    /// Returns an empty disk; `seed` decides what crashes leave.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            created: BTreeSet::new(),
            deleted: BTreeMap::new(),
            capacity: None,
            failing_syncs: 0,
            failing_dir_syncs: 0,
            failing_truncates: 0,
            failing_deletes: 0,
            failing_reads: 0,
            sync_count: 0,
            append_count: 0,
            random: seed,
        })))
    }

    /// Loses power: what was not synced is lost, torn or kept. Drop what uses the disk first.
    pub fn crash(&self) {
        let mut state = self.state();
        for (id, file) in std::mem::take(&mut state.deleted) {
            if state.coin(2) {
                state.files.entry(id).or_insert(file);
            }
        }
        for id in std::mem::take(&mut state.created) {
            if state.coin(2) {
                state.files.remove(&id);
            }
        }
        let mut files = std::mem::take(&mut state.files);
        for file in files.values_mut() {
            state.crash_file(file);
        }
        state.files = files;
    }

    /// Sets how many bytes fit on the disk; `None` is without end. Files may hold more already.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Makes the next `count` calls of `sync` fail.
    pub fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Makes the next `count` calls of `sync_dir` fail.
    pub fn fail_dir_syncs(&self, count: u32) {
        self.state().failing_dir_syncs = count;
    }

    /// Makes the next `count` calls of `truncate` fail.
    pub fn fail_truncates(&self, count: u32) {
        self.state().failing_truncates = count;
    }

    /// Makes the next `count` calls of `delete` fail.
    pub fn fail_deletes(&self, count: u32) {
        self.state().failing_deletes = count;
    }

    /// Makes the next `count` calls of `read_at` fail, as for want of memory.
    pub fn fail_reads(&self, count: u32) {
        self.state().failing_reads = count;
    }

    /// Flips the bits `mask` of the byte at `offset`, and tells whether there is such a byte.
    pub fn flip(&self, id: SegmentId, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let byte = usize::try_from(offset)
            .ok()
            .and_then(|offset| state.files.get_mut(&id)?.data.get_mut(offset));
        byte.map(|byte| *byte ^= mask).is_some()
    }

    /// Makes reads of any of the bytes `range` fail like a bad sector.
    pub fn make_unreadable(&self, id: SegmentId, range: Range<u64>) {
        if let Some(file) = self.state().files.get_mut(&id) {
            file.unreadable.push(range);
        }
    }

    /// Returns the bytes of a segment, or `None` if there is no such segment.
    #[must_use]
    pub fn contents(&self, id: SegmentId) -> Option<Vec<u8>> {
        self.state().files.get(&id).map(|file| file.data.clone())
    }

    /// Puts a segment with durable `bytes` there, in place of any other of that number.
    pub fn put(&self, id: SegmentId, bytes: Vec<u8>) {
        let file = SimFile { synced: bytes.len(), data: bytes, ..SimFile::default() };
        self.state().files.insert(id, file);
    }

    /// Returns a disk with the same files, all durable, and no faults planned.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new(self.state().random);
        for (id, file) in &self.state().files {
            copy.put(*id, file.data.clone());
        }
        copy
    }

    /// Returns how often `append` and `sync` were called.
    #[must_use]
    pub fn call_counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.append_count, state.sync_count)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the next random number below `bound` (SplitMix64, see
    /// doi.org/10.1145/2714064.2660195).
    fn random(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or(0)
    }

    /// Returns true once in `odds` times.
    fn coin(&mut self, odds: usize) -> bool {
        self.random(odds) == 0
    }

    fn file(&self, id: SegmentId) -> io::Result<&SimFile> {
        self.files.get(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_mut(&mut self, id: SegmentId) -> io::Result<&mut SimFile> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn room(&self) -> usize {
        let used: usize = self.files.values().map(|file| file.data.len()).sum();
        self.capacity.map_or(usize::MAX, |capacity| {
            usize::try_from(capacity).unwrap_or(usize::MAX).saturating_sub(used)
        })
    }

    fn crash_file(&mut self, file: &mut SimFile) {
        let synced = file.synced;
        if !file.cut.is_empty() && self.coin(2) {
            file.data.truncate(synced);
            file.data.append(&mut file.cut);
        } else if file.data.len() > synced {
            let torn = file.data.len() - synced;
            let kept = match self.random(4) {
                0 => 0,
                1 => torn,
                _ => self.random(torn + 1),
            };
            file.data.truncate(synced + kept);
            let odds = if self.coin(2) { usize::MAX } else { 4 };
            self.zero_sectors(&mut file.data, synced..synced + kept, odds);
        }
        for range in std::mem::take(&mut file.doubtful) {
            let range = range.start..range.end.min(file.data.len());
            self.zero_sectors(&mut file.data, range, 2);
        }
        file.cut.clear();
        file.rewritten.clear();
        file.synced = file.data.len();
    }

    /// Zeroes one in `odds` of the sectors that begin in `range`.
    fn zero_sectors(&mut self, data: &mut [u8], range: Range<usize>, odds: usize) {
        let mut start = range.start;
        while start < range.end {
            let end = ((start / SECTOR + 1) * SECTOR).min(range.end);
            if self.coin(odds) {
                data[start..end].fill(0);
            }
            start = end;
        }
    }
}

/// Takes one of `count` planned failures.
fn fails(count: &mut u32) -> io::Result<()> {
    if *count == 0 {
        return Ok(());
    }
    *count -= 1;
    Err(io::Error::other("planned failure"))
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<(SegmentId, u64)>> {
        Ok(self.state().files.iter().map(|(id, file)| (*id, file.data.len() as u64)).collect())
    }

    fn create(&self, id: SegmentId) -> io::Result<()> {
        let mut state = self.state();
        if state.files.contains_key(&id) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(id, SimFile::default());
        state.created.insert(id);
        Ok(())
    }

    fn append(&self, id: SegmentId, parts: &[&[u8]]) -> io::Result<()> {
        let mut state = self.state();
        state.append_count += 1;
        let mut room = state.room();
        let file = state.file_mut(id)?;
        for part in parts {
            let fitting = part.len().min(room);
            file.data.extend_from_slice(&part[..fitting]);
            room -= fitting;
            if fitting < part.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }

    fn rewrite(&self, id: SegmentId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file_mut(id)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(bytes.len());
        if file.data.get(range.clone()) != Some(bytes) {
            return Err(io::Error::other("other bytes than are there already"));
        }
        file.rewritten.push(range);
        Ok(())
    }

    fn sync(&self, id: SegmentId) -> io::Result<()> {
        let mut state = self.state();
        state.sync_count += 1;
        let failed = fails(&mut state.failing_syncs);
        let file = state.file_mut(id)?;
        let rewritten = std::mem::take(&mut file.rewritten);
        if failed.is_err() {
            file.doubtful.push(file.synced..file.data.len());
        } else {
            rewritten.iter().for_each(|range| file.trust(range));
        }
        // A failed sync leaves the pages clean: no later sync writes them again.
        file.synced = file.data.len();
        file.cut.clear();
        failed
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        fails(&mut state.failing_dir_syncs)?;
        state.created.clear();
        state.deleted.clear();
        Ok(())
    }

    fn read_at(&self, id: SegmentId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        fails(&mut state.failing_reads)?;
        let file = state.file(id)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.data.len());
        let read = buffer.len().min(file.data.len() - start);
        let end = offset + read as u64;
        if file.unreadable.iter().any(|bad| bad.start < end && offset < bad.end) {
            let eio = if cfg!(windows) { 23 } else { 5 };
            return Err(io::Error::from_raw_os_error(eio));
        }
        buffer[..read].copy_from_slice(&file.data[start..start + read]);
        Ok(read)
    }

    fn delete(&self, id: SegmentId) -> io::Result<()> {
        let mut state = self.state();
        fails(&mut state.failing_deletes)?;
        let file = state.files.remove(&id).ok_or(io::ErrorKind::NotFound)?;
        state.created.remove(&id);
        state.deleted.insert(id, file);
        Ok(())
    }

    fn truncate(&self, id: SegmentId, len: u64) -> io::Result<()> {
        let mut state = self.state();
        fails(&mut state.failing_truncates)?;
        let file = state.file_mut(id)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(file.data.len());
        if len < file.synced {
            let mut cut = file.data[len..file.synced].to_vec();
            cut.append(&mut file.cut);
            file.cut = cut;
            file.synced = len;
        }
        file.data.truncate(len);
        file.doubtful.retain_mut(|range| {
            range.end = range.end.min(len);
            range.start < range.end
        });
        Ok(())
    }

    fn size(&self, id: SegmentId) -> io::Result<u64> {
        Ok(self.state().file(id)?.data.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SegmentId = SegmentId(1);

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut lengths = BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            disk.create(ID).unwrap();
            disk.append(ID, &[&[1; 1000]]).unwrap();
            disk.sync(ID).unwrap();
            disk.sync_dir().unwrap();
            disk.append(ID, &[&[2; 2000]]).unwrap();
            disk.crash();
            let bytes = disk.contents(ID).unwrap();
            assert_eq!(bytes[..1000], [1; 1000]);
            assert!(bytes[1000..].iter().all(|byte| *byte == 2 || *byte == 0));
            lengths.insert(bytes.len());
        }
        assert!(lengths.contains(&1000) && lengths.contains(&3000) && lengths.len() > 20);
    }

    #[test]
    fn a_file_whose_folder_was_not_synced_is_there_or_not() {
        let survivors = (0..100)
            .filter(|seed| {
                let disk = SimDisk::new(*seed);
                disk.create(ID).unwrap();
                disk.sync(ID).unwrap();
                disk.crash();
                disk.contents(ID).is_some()
            })
            .count();
        assert!((20..80).contains(&survivors), "{survivors}");
    }

    #[test]
    fn a_deletion_not_synced_may_be_undone() {
        let back = (0..100)
            .filter(|seed| {
                let disk = SimDisk::new(*seed);
                disk.put(ID, vec![1]);
                disk.delete(ID).unwrap();
                disk.crash();
                disk.contents(ID).is_some()
            })
            .count();
        assert!((20..80).contains(&back), "{back}");
    }

    #[test]
    fn a_later_sync_does_not_make_good_a_failed_one() {
        let damaged = (0..100)
            .filter(|seed| {
                let disk = SimDisk::new(*seed);
                disk.create(ID).unwrap();
                disk.sync_dir().unwrap();
                disk.append(ID, &[&[1; 700]]).unwrap();
                disk.fail_syncs(1);
                assert!(disk.sync(ID).is_err());
                disk.sync(ID).unwrap();
                disk.crash();
                disk.contents(ID).unwrap() != [1; 700]
            })
            .count();
        assert!(damaged > 50, "{damaged}");
    }

    #[test]
    fn a_sync_makes_good_what_was_written_again() {
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            disk.create(ID).unwrap();
            disk.sync_dir().unwrap();
            disk.append(ID, &[&[1; 700]]).unwrap();
            disk.fail_syncs(1);
            assert!(disk.sync(ID).is_err());
            assert!(disk.rewrite(ID, 0, &[2; 700]).is_err());
            disk.rewrite(ID, 0, &[1; 300]).unwrap();
            disk.rewrite(ID, 300, &[1; 400]).unwrap();
            disk.sync(ID).unwrap();
            disk.crash();
            assert_eq!(disk.contents(ID).unwrap(), [1; 700]);
        }
    }

    #[test]
    fn a_full_disk_takes_a_beginning_and_says_so() {
        let disk = SimDisk::new(0);
        disk.set_capacity(Some(10));
        disk.create(ID).unwrap();
        let error = disk.append(ID, &[&[1; 6], &[2; 6]]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.size(ID).unwrap(), 10);
        disk.truncate(ID, 0).unwrap();
        disk.append(ID, &[&[1; 10]]).unwrap();
    }

    #[test]
    fn the_same_seed_crashes_alike() {
        let run = |seed| {
            let disk = SimDisk::new(seed);
            disk.create(ID).unwrap();
            disk.sync_dir().unwrap();
            disk.append(ID, &[&[7; 5000]]).unwrap();
            disk.crash();
            disk.contents(ID)
        };
        assert_eq!(run(42), run(42));
    }
}
