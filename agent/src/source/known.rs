//! Where the files of a pattern stand while they are not open, and what of that is to be stored.
//!
//! # Format
//! ```text
//! <source>/files    version u8 = 1: the files that were there at first are all known
//! <source>/000..3ff bincode( version u8 = 1 | (key u64, CheckpointV1)* )
//! ```
//! A place is stored with those whose paths' keys begin with the same ten bits, so that a file that
//! moves on costs one short value, and 50,000 files cost a thousand values. A key is made of the
//! path: the path itself is not stored. Places of files that were read to their end and are at no
//! known path have a key made of their identity, until a path is found that leads to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use shared::{time::Timestamp, wire::codec};

use super::checkpoint::{Checkpoint, CheckpointError};
use crate::limits::PLACES_BYTES_MAX;

const VERSION: u8 = 1;

/// What is stored behind a source's name once the files that were there at first are known.
const SURVEYED: &str = "files";

/// By how many bits a key is longer than the number of its group.
const GROUP_SHIFT: u32 = 54;

/// Most bytes of a stored place: a dozen numbers and half a digest.
const PLACE_BYTES: usize = 80;

/// What stands for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathKey(u64);

impl PathKey {
    pub(super) fn of(path: &std::path::Path) -> Self {
        Self::digest(&[b"path", path.as_os_str().as_encoded_bytes()])
    }

    /// Returns the key of a file that is at no known path.
    fn of_file(place: &Checkpoint) -> Self {
        Self::digest(&[b"file", &place.device.to_le_bytes(), &place.inode.to_le_bytes()])
    }

    fn digest(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        parts.iter().for_each(|part| digest.update(part));
        let digest = digest.finalize();
        Self(u64::from_be_bytes(std::array::from_fn(|index| digest[index])))
    }

    fn group(self) -> u16 {
        u16::try_from(self.0 >> GROUP_SHIFT).expect("ten bits fit sixteen")
    }
}

/// A file whose place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: PathKey,
    pub(super) place: Checkpoint,
    /// The length up to which it was looked at.
    pub(super) looked_at: u64,
    /// The last pass over the folders in which its path led to it.
    pub(super) seen_in: u32,
    /// When that was, in seconds since the source was opened.
    pub(super) seen_at: u32,
    /// Whether it is open, and its place as of the last commit only.
    pub(super) is_open: bool,
}

impl Entry {
    /// Returns whether the file was read to its end and no path is known that leads to it.
    pub(super) fn is_left(&self) -> bool {
        self.key == PathKey::of_file(&self.place)
    }
}

/// Files by the keys of their paths.
#[derive(Debug, Default)]
pub(super) struct Known {
    groups: BTreeMap<u16, Vec<Entry>>,
    /// Keys by inode; of two files with one inode, on two devices, the later.
    inodes: HashMap<u64, PathKey>,
    changed: BTreeSet<u16>,
    pub(super) is_surveyed: bool,
    /// When that was, where it is known.
    pub(super) surveyed_at: Option<Timestamp>,
    is_survey_stored: bool,
    len: usize,
}

impl Known {
    /// Takes what is stored behind the source's name.
    pub(super) fn load<'s>(
        stored: impl Iterator<Item = (&'s str, &'s [u8])>,
    ) -> Result<Self, CheckpointError> {
        let mut known = Self::default();
        for (name, bytes) in stored {
            let is_group = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if name != SURVEYED && !is_group {
                continue; // an input of another kind had it
            }
            match bytes.first() {
                Some(&VERSION) => {}
                Some(other) => return Err(CheckpointError::Version(*other)),
                None => return Err(CheckpointError::Malformed),
            }
            if name == SURVEYED {
                known.is_surveyed = true;
                known.is_survey_stored = true;
                // Earlier versions did not say when.
                let ms = bytes[1..].first_chunk().map(|ms| u64::from_le_bytes(*ms));
                known.surveyed_at = ms.map(Timestamp::from_ms);
                continue;
            }
            let decoded: (u8, Vec<(u64, Checkpoint)>) =
                codec::decode(bytes).map_err(|_| CheckpointError::Malformed)?;
            for (key, place) in decoded.1 {
                known.put(PathKey(key), place, place.offset);
            }
        }
        known.changed.clear();
        Ok(known)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: PathKey) -> Option<&Entry> {
        self.groups.get(&key.group())?.iter().find(|entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: PathKey) -> Option<&mut Entry> {
        self.groups.get_mut(&key.group())?.iter_mut().find(|entry| entry.key == key)
    }

    /// Returns the file with this inode; whether the device is the same is for the caller to say.
    pub(super) fn by_inode(&self, inode: u64) -> Option<&Entry> {
        self.get(*self.inodes.get(&inode)?)
    }

    /// Notes where the file at a path stands.
    pub(super) fn put(&mut self, key: PathKey, place: Checkpoint, looked_at: u64) {
        let inode = match self.get_mut(key) {
            Some(entry) => {
                let inode = entry.place.inode;
                let has_moved = entry.place != place;
                entry.looked_at = looked_at;
                entry.place = place;
                if !has_moved {
                    return;
                }
                Some(inode)
            }
            None => {
                let entry = Entry { key, place, looked_at, seen_in: 0, seen_at: 0, is_open: false };
                self.groups.entry(key.group()).or_default().push(entry);
                self.len += 1;
                None
            }
        };
        if let Some(inode) = inode.filter(|inode| self.inodes.get(inode) == Some(&key)) {
            self.inodes.remove(&inode);
        }
        self.inodes.insert(place.inode, key);
        self.changed.insert(key.group());
    }

    /// Notes where a file stands that is at no known path, as of `seconds`.
    pub(super) fn leave(&mut self, place: Checkpoint, seconds: u32) {
        let key = PathKey::of_file(&place);
        self.put(key, place, place.offset);
        if let Some(entry) = self.get_mut(key) {
            entry.seen_at = seconds;
        }
    }

    /// Notes that another path leads to the file now.
    pub(super) fn rename(&mut self, from: PathKey, to: PathKey) {
        let Some(entry) = self.remove(from) else { return };
        self.put(to, entry.place, entry.looked_at);
    }

    fn remove(&mut self, key: PathKey) -> Option<Entry> {
        let group = self.groups.get_mut(&key.group())?;
        let at = group.iter().position(|entry| entry.key == key)?;
        let entry = group.swap_remove(at);
        if self.inodes.get(&entry.place.inode) == Some(&key) {
            self.inodes.remove(&entry.place.inode);
        }
        self.len -= 1;
        self.changed.insert(key.group());
        Some(entry)
    }

    /// Forgets the files that `is_over` says; returns how many.
    pub(super) fn forget(&mut self, is_over: impl Fn(&Entry) -> bool) -> usize {
        let entries = self.groups.values().flatten();
        let over: Vec<PathKey> =
            entries.filter(|entry| is_over(entry)).map(|entry| entry.key).collect();
        over.iter().filter_map(|key| self.remove(*key)).count()
    }

    /// Returns whether something is to be stored.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty() || self.is_surveyed != self.is_survey_stored
    }

    /// Returns whether as much is to be stored as one commit may hold, or what cannot wait.
    pub(super) fn is_full(&self) -> bool {
        // From then on files are read from their starts: that is not to be forgotten by a kill.
        if self.is_surveyed && !self.is_survey_stored {
            return true;
        }
        let len =
            |group: &u16| self.groups.get(group).map_or(0, Vec::len) * PLACE_BYTES + PLACE_BYTES;
        self.changed.iter().map(len).sum::<usize>() >= PLACES_BYTES_MAX
    }

    /// Returns what is to be stored, and behind which name.
    pub(super) fn changed(&self) -> Vec<(String, Vec<u8>)> {
        let mut values = Vec::new();
        if self.is_surveyed != self.is_survey_stored {
            let mut value = vec![VERSION];
            value.extend(self.surveyed_at.iter().flat_map(|at| at.as_ms().to_le_bytes()));
            values.push((SURVEYED.to_owned(), value));
        }
        for number in &self.changed {
            let group = self.groups.get(number).into_iter().flatten();
            let places: Vec<(u64, Checkpoint)> =
                group.map(|entry| (entry.key.0, entry.place)).collect();
            let value = codec::encode(&(VERSION, places)).expect("numbers have an encoding");
            values.push((format!("{number:03x}"), value));
        }
        values
    }

    /// Notes that all that was to be stored is.
    pub(super) fn stored(&mut self) {
        self.changed.clear();
        self.is_survey_stored = self.is_surveyed;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place(inode: u64, offset: u64) -> Checkpoint {
        Checkpoint {
            device: 1,
            inode,
            head_len: 3,
            head: [7; 16],
            generation: 0,
            offset,
            skipping: false,
            modified_ns: 5,
        }
    }

    fn reloaded(known: &Known) -> Known {
        let stored = known.changed();
        Known::load(stored.iter().map(|(name, value)| (name.as_str(), value.as_slice()))).unwrap()
    }

    #[test]
    fn what_is_stored_is_known_again() {
        let mut known = Known::default();
        for inode in 0..5_000 {
            let key = PathKey::of(Path::new(&format!("/var/log/{inode}.json")));
            known.put(key, place(inode, inode * 10), inode * 10);
        }
        known.is_surveyed = true;
        let again = reloaded(&known);
        assert_eq!((again.len(), again.is_surveyed, again.has_changed()), (5_000, true, false));
        assert_eq!(again.by_inode(4_711).unwrap().place, place(4_711, 47_110));
        assert!(again.by_inode(5_001).is_none());
    }

    #[test]
    fn only_what_changed_is_stored_again() {
        let mut known = Known::default();
        let keys = ["/a", "/b", "/c"].map(|path| PathKey::of(Path::new(path)));
        for (inode, key) in (1..).zip(keys) {
            known.put(key, place(inode, 0), 0);
        }
        known.stored();
        known.put(keys[1], place(2, 0), 0);
        assert!(!known.has_changed(), "it stands where it stood");
        known.put(keys[1], place(2, 9), 9);
        assert_eq!(known.changed().len(), 1);
    }

    #[test]
    fn a_file_that_was_left_is_known_by_its_identity_until_a_path_leads_to_it() {
        let mut known = Known::default();
        known.leave(place(8, 100), 3);
        let mut known = reloaded(&known);
        let left = *known.by_inode(8).unwrap();
        assert!(left.is_left());
        let key = PathKey::of(Path::new("/var/log/eve.json.1"));
        known.rename(left.key, key);
        assert_eq!(
            known.get(key).map(|entry| (entry.place, entry.is_left())),
            Some((place(8, 100), false))
        );
        assert_eq!(known.forget(|entry| entry.key == key), 1);
        assert_eq!(known.len(), 0);
    }

    #[test]
    fn version_1_keeps_its_bytes() {
        let mut known = Known::default();
        known.put(PathKey::of(Path::new("/a")), place(2, 9), 9);
        let (name, value) = known.changed().pop().unwrap();
        assert_eq!(name, "1d7");
        let mut golden = vec![1, 1, 253];
        golden.extend(0x75e8_6f1d_d666_cf28_u64.to_le_bytes());
        golden.extend([1, 2, 3]);
        golden.extend([7; 16]);
        golden.extend([0, 9, 0, 10]);
        assert_eq!(value, golden);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let load = |bytes: &[u8]| Known::load([("000", bytes)].into_iter()).unwrap_err();
        assert_eq!(load(&[]), CheckpointError::Malformed);
        assert_eq!(load(&[2, 0]), CheckpointError::Version(2));
        assert_eq!(load(&[1, 1, 1]), CheckpointError::Malformed);
    }
}
