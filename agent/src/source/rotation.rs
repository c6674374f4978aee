//! Finds files that were renamed or copied away from a path.
//!
//! Only names matter that rotation makes: the file's own with digits and punctuation behind it
//! (`eve.json.1`, `eve.json-20261102`) or before its extension (`eve-20261102.json`). A file with
//! the wanted inode is found under any name, also in the folders below, where Wazuh keeps the days
//! before.
//!
//! A file that gzip compressed is looked at for what was not read of the checkpoint's file, and
//! is known by what it begins with when unpacked, whatever its name; so are, once there is such a
//! file, those that were compressed after it. At the end of an open file it is looked at if it is
//! newer than that and neither it nor the one that was left before. Others that are compressed were
//! read before, or are another tool's.
//!
//! A folder is listed and its files are opened one after the other, while whoever rotates them may
//! be at work: a file that is renamed meanwhile may be listed twice or not at all, and what is
//! opened under a name may be another than was listed. So a list counts when the next one says the
//! same, and a file when it is the one that was listed.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::Checkpoint,
    file::{Facts, FileId, TailFile},
};
use crate::limits::{ROTATED_DEPTH_MAX, ROTATED_ENTRIES_MAX, ROTATED_LISTINGS_MAX};

/// What the names of compressed files end with.
const COMPRESSED: [&str; 9] = ["gz", "bz2", "xz", "zst", "zip", "lz4", "lzma", "Z", "tgz"];

/// A rotated file as it was listed.
struct Listed {
    facts: Facts,
    path: PathBuf,
}

/// What comes next.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// The oldest file that can be read, if there is one.
    pub(super) file: Option<TailFile>,
    /// What the path leads to, as it was then; nothing if nothing can be opened there.
    pub(super) present: Option<TailFile>,
    /// How many older ones could not be opened: they must not keep the agent from what follows.
    pub(super) unreadable: u64,
}

/// Returns the file that the checkpoint was made of, now under another name: by its inode, else a
/// copy of it that reaches as far as the checkpoint.
///
/// # Errors
/// Files are renamed faster than they can be listed.
pub(super) fn find(path: &Path, checkpoint: &Checkpoint) -> io::Result<Option<TailFile>> {
    let has_inode = |entry: &DirEntry| inode(entry) == Some(checkpoint.inode);
    match find_among(path, ROTATED_DEPTH_MAX, has_inode, checkpoint)? {
        Some(file) => Ok(Some(file)),
        None => find_copy(path, checkpoint),
    }
}

/// Returns a copy of the checkpoint's file that reaches as far as the checkpoint, as `copytruncate`
/// leaves.
///
/// # Errors
/// Files are renamed faster than they can be listed.
pub(super) fn find_copy(path: &Path, checkpoint: &Checkpoint) -> io::Result<Option<TailFile>> {
    // Any file begins like one of which nothing is known.
    if checkpoint.head_len == 0 {
        return Ok(None);
    }
    let is_rotated = |entry: &DirEntry| is_rotated_name(path, entry) && entry.path() != path;
    find_among(path, 0, is_rotated, checkpoint)
}

/// Returns the text of a file that gzip compressed, if it is the checkpoint's file and reaches as far.
///
/// # Errors
/// Files are renamed faster than they can be listed.
pub(super) fn find_packed(path: &Path, checkpoint: &Checkpoint) -> io::Result<Option<TailFile>> {
    // Any text begins like one of which nothing is known.
    if checkpoint.head_len == 0 {
        return Ok(None);
    }
    let is_packed = |entry: &DirEntry| text_name(&entry.file_name()).is_some();
    until_settled(|| {
        for listed in list(path, ROTATED_DEPTH_MAX, &is_packed)? {
            // It was compressed after its text was written, or says the same time.
            if listed.facts.modified_ns < checkpoint.modified_ns {
                continue;
            }
            match listed.open_packed(checkpoint.modified_ns) {
                Ok(Some(file)) if file.reaches(checkpoint).unwrap_or(false) => {
                    return Some(Some(file));
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return None,
            }
        }
        Some(None)
    })
}

/// Returns the text of the file that was compressed next after `packed_ns`, when the one was that was read last; of
/// files that were written to at `written_ns` or later. One that still stands beside what was made of it is none.
///
/// # Errors
/// Files are renamed faster than they can be listed.
pub(super) fn next_packed(
    path: &Path,
    packed_ns: i64,
    written_ns: i64,
) -> io::Result<Option<TailFile>> {
    let is_wanted = |entry: &DirEntry| {
        text_name(&entry.file_name()).is_some_and(|name| is_rotated_from(path, name.as_ref()))
            && !entry.path().with_extension("").exists()
    };
    until_settled(|| {
        let mut later = list(path, 0, &is_wanted)?;
        later.retain(|listed| listed.facts.modified_ns > packed_ns);
        later.sort_by(|a, b| (a.facts.age(), &a.path).cmp(&(b.facts.age(), &b.path)));
        for listed in later {
            match listed.open_packed(written_ns) {
                Ok(Some(file)) => return Some(Some(file)),
                Ok(None) => return None,
                Err(_) => {}
            }
        }
        Some(None)
    })
}

fn find_among(
    path: &Path,
    depth_max: usize,
    is_wanted: impl Fn(&DirEntry) -> bool,
    checkpoint: &Checkpoint,
) -> io::Result<Option<TailFile>> {
    until_settled(|| {
        for listed in list(path, depth_max, &is_wanted)? {
            match listed.open() {
                Ok(Some(file)) if is_of(&file, checkpoint) => return Some(Some(file)),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return None,
            }
        }
        Some(None)
    })
}

/// Returns the oldest rotated file with something in it that `is_later`, and that is none of
/// `known`: the next to be read. `is_own` says whether a path is one of this file's.
///
/// A copy of what is at the path is none: it is read there, or, if it is truncated there before it
/// was read, found then. What is at the path was opened before the folder was listed, and is the
/// same afterwards: so each rotated file is listed, or comes after what was opened.
///
/// # Errors
/// Files are rotated faster than they can be listed.
pub(super) fn next_after(
    path: &Path,
    is_later: impl Fn(&Facts) -> bool,
    known: &[FileId],
    is_own: impl Fn(&Path) -> bool,
) -> io::Result<Next> {
    let is_wanted = |entry: &DirEntry| is_rotated_name(path, entry) && is_own(&entry.path());
    until_settled(|| {
        let present = TailFile::open(path).ok();
        let mut later = list(path, 0, &is_wanted)?;
        later.retain(|Listed { facts, .. }| {
            facts.len > 0 && is_later(facts) && !known.contains(&facts.id)
        });
        later.sort_by(|a, b| (a.facts.age(), &a.path).cmp(&(b.facts.age(), &b.path)));
        let mut next = Next::default();
        for listed in later {
            match listed.open() {
                Ok(Some(file)) if present.as_ref().is_some_and(|at| file.is_begun_copy_of(at)) => {}
                Ok(Some(file)) => {
                    next.file = Some(file);
                    break;
                }
                Ok(None) => return None,
                Err(_) => next.unreadable += 1,
            }
        }
        let is_same = match (&present, TailFile::open(path).ok()) {
            (Some(before), Some(now)) => now.is_still(before),
            (before, now) => before.is_none() && now.is_none(),
        };
        next.present = present;
        is_same.then_some(next)
    })
}

/// Returns the rotated files that were last written to at this time, in nanoseconds since the epoch.
///
/// # Errors
/// Files are renamed faster than they can be listed.
pub(super) fn written_at(path: &Path, modified_ns: i64) -> io::Result<Vec<Facts>> {
    let listed = until_settled(|| list(path, 0, &|entry| is_rotated_name(path, entry)))?;
    let facts = listed.into_iter().map(|listed| listed.facts);
    Ok(facts.filter(|facts| facts.modified_ns == modified_ns).collect())
}

/// Asks until there is an answer; there is none while files are renamed.
fn until_settled<T>(mut ask: impl FnMut() -> Option<T>) -> io::Result<T> {
    let answer = (0..ROTATED_LISTINGS_MAX).find_map(|_| ask());
    answer.ok_or_else(|| io::Error::other("files are renamed faster than they can be listed"))
}

/// Returns the files whose entries are wanted, by path, or `None` if they are renamed meanwhile.
fn list(
    path: &Path,
    depth_max: usize,
    is_wanted: &impl Fn(&DirEntry) -> bool,
) -> Option<Vec<Listed>> {
    let look = || {
        let entries = entries(path, depth_max).into_iter().filter(|entry| is_wanted(entry));
        // What cannot be looked at is left out, each time.
        let mut files: Vec<Listed> = entries
            .filter_map(|entry| {
                let path = entry.path();
                Some(Listed { facts: Facts::of_entry(&path).ok()?, path })
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    };
    let (first, second) = (look(), look());
    let is_same = |(first, second): (&Listed, &Listed)| {
        first.facts.id == second.facts.id && first.path == second.path
    };
    let are_same = first.len() == second.len() && first.iter().zip(&second).all(is_same);
    are_same.then_some(second)
}

impl Listed {
    /// Opens the file; `None` if by now there is another at its path, or none.
    fn open(&self) -> io::Result<Option<TailFile>> {
        TailFile::open_seen(&self.path, self.facts.id)
    }

    /// Opens the text of a compressed file like [`Self::open`].
    fn open_packed(&self, written_ns: i64) -> io::Result<Option<TailFile>> {
        match TailFile::open_packed(&self.path, written_ns) {
            Ok(file) => Ok((file.id == self.facts.id).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether the checkpoint was made of the file, or of one that it is a copy of.
fn is_of(file: &TailFile, checkpoint: &Checkpoint) -> bool {
    file.facts().is_ok_and(|facts| file.begins_like(checkpoint, facts.len))
}

#[cfg(unix)]
fn inode(entry: &DirEntry) -> Option<u64> {
    Some(std::os::unix::fs::DirEntryExt::ino(entry))
}

#[cfg(not(unix))]
fn inode(entry: &DirEntry) -> Option<u64> {
    Some(Facts::of_entry(&entry.path()).ok()?.id.inode)
}

/// Returns the regular files in the folder of `path`, in that of the file that it links to, and
/// below.
fn entries(path: &Path, depth_max: usize) -> Vec<DirEntry> {
    let mut folders = Vec::new();
    let linked = fs::canonicalize(path).unwrap_or_default();
    for file in [path, &linked] {
        if let Some(folder) = file.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !folders.iter().any(|(known, _)| known == folder) {
                folders.push((folder.to_path_buf(), 0));
            }
        }
    }
    let (mut found, mut seen) = (Vec::new(), 0);
    while let Some((folder, depth)) = folders.pop() {
        let Ok(listed) = fs::read_dir(folder) else { continue };
        for entry in listed.flatten() {
            seen += 1;
            if seen > ROTATED_ENTRIES_MAX {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < depth_max {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                found.push(entry);
            }
        }
    }
    found
}

/// Returns what a file was called before gzip compressed it.
fn text_name(name: &OsStr) -> Option<String> {
    name.to_str()?.strip_suffix(".gz").map(str::to_owned)
}

/// Returns whether the name's end says that the file is compressed, as rotation leaves files that
/// were read before: such files are never begun with.
pub(super) fn is_compressed(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| COMPRESSED.contains(&extension))
}

/// Returns the paths of which `path` may be a rotated file.
pub(super) fn bases(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return Vec::new() };
    let dot = name.rfind('.').unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let cuts = |text: &str| -> Vec<usize> {
        let starts = text.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
        starts.filter(|at| is_mark(&text.as_bytes()[*at..])).collect()
    };
    let whole = cuts(name).into_iter().map(|at| name[..at].to_owned());
    let within = cuts(stem).into_iter().map(|at| format!("{}{extension}", &stem[..at]));
    whole.chain(within).map(|name| path.with_file_name(name)).collect()
}

/// Returns whether rotation puts such a text at the end of a name.
fn is_mark(mark: &[u8]) -> bool {
    mark.first().is_some_and(|byte| matches!(byte, b'.' | b'-' | b'_'))
        && mark.iter().any(u8::is_ascii_digit)
        && mark.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b':'))
}

fn is_rotated_name(path: &Path, entry: &DirEntry) -> bool {
    is_rotated_from(path, &entry.file_name())
}

/// Returns whether rotation gives the file at `path` such a name.
fn is_rotated_from(path: &Path, name: &OsStr) -> bool {
    let Some(own) = path.file_name() else { return false };
    let (own, name) = (own.as_encoded_bytes(), name.as_encoded_bytes());
    if name.strip_prefix(own).is_some_and(is_mark) {
        return true;
    }
    let Some(dot) = own.iter().rposition(|byte| *byte == b'.') else { return false };
    let (stem, extension) = own.split_at(dot);
    let mark = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    mark.is_some_and(is_mark)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "when a file was made cannot be set")]

    use std::{cell::Cell, time::Duration};

    use super::*;

    /// A folder in which `eve.json` is rotated: the file of the line `a` was read, `b` comes next,
    /// and `c` is at the path.
    struct World {
        dir: tempfile::TempDir,
        read: Option<TailFile>,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self { dir: tempfile::tempdir().unwrap(), read: None };
            for line in ["a", "b", "c"] {
                world.rotate();
                world.write(line);
            }
            world.read = TailFile::open(&world.path(2)).ok();
            world
        }

        fn path(&self, number: usize) -> PathBuf {
            let name = if number == 0 { "eve.json".into() } else { format!("eve.json.{number}") };
            self.dir.path().join(name)
        }

        fn write(&self, line: &str) {
            // When a file was made cannot be set, and a clock's tick may take 10 ms.
            std::thread::sleep(Duration::from_millis(20));
            fs::write(self.path(0), format!("{line}\n")).unwrap();
        }

        /// Renames each file to the next number.
        fn rotate(&self) {
            for number in (0..5).rev() {
                match fs::rename(self.path(number), self.path(number + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
                    Ok(()) | Err(_) => {}
                }
            }
        }

        /// Finds what comes after `a`, while `look` is called with how often something was looked at.
        fn next(&self, look: impl Fn(usize), list: impl Fn(usize)) -> io::Result<Next> {
            let read = self.read.as_ref().unwrap();
            let age = read.facts().unwrap().age();
            let (looks, lists) = (Cell::new(0), Cell::new(0));
            let count = |counter: &Cell<usize>| counter.replace(counter.get() + 1);
            let is_later = |other: &Facts| {
                look(count(&looks));
                other.age().is_after(age)
            };
            let is_own = |_: &Path| {
                list(count(&lists));
                true
            };
            next_after(&self.path(0), is_later, &[read.id], is_own)
        }
    }

    fn line_of(next: &Next) -> String {
        let mut bytes = [0; 10];
        let read = next.file.as_ref().unwrap().read_full(&mut bytes, 0).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    #[test]
    fn a_file_that_is_rotated_again_between_being_listed_and_opened_is_not_passed_over() {
        let world = World::new();
        assert_eq!(line_of(&world.next(|_| (), |_| ()).unwrap()), "b\n");
        let rotate_once = |looks: usize| {
            if looks == 1 {
                world.rotate();
                world.write("d");
            }
        };
        assert_eq!(line_of(&world.next(rotate_once, |_| ()).unwrap()), "b\n");
    }

    #[test]
    fn a_file_that_is_renamed_while_its_folder_is_listed_is_not_passed_over() {
        for at in 0..4 {
            let world = World::new();
            // Rotation keeps no more: the next to be read has the last name, and gets one that was not listed.
            fs::remove_file(world.path(2)).unwrap();
            let rotate_once = |lists: usize| {
                if lists == at {
                    world.rotate();
                    world.write("d");
                }
            };
            assert_eq!(line_of(&world.next(|_| (), rotate_once).unwrap()), "b\n", "{at}");
        }
    }

    #[test]
    fn files_that_are_renamed_all_the_time_are_an_error_and_not_a_loop() {
        let world = World::new();
        let swap = |looks: usize| {
            if looks.is_multiple_of(2) {
                for (from, to) in [(1, 9), (2, 1), (9, 2)] {
                    fs::rename(world.path(from), world.path(to)).unwrap();
                }
            }
        };
        let error = world.next(swap, |_| ()).unwrap_err();
        assert!(error.to_string().contains("renamed faster"), "{error}");
    }
}
