//! Finds files that were renamed or copied away from a path.
//!
//! Only names matter that rotation makes: the file's own with digits and punctuation behind it
//! (`eve.json.1`, `eve.json-20261102`) or before its extension (`eve-20261102.json`). A file with
//! the wanted inode is found under any name, also in the folders below, where Wazuh keeps the days
//! before. Compressed files are not read.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry},
    os::unix::fs::DirEntryExt,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::Checkpoint,
    file::{Age, Facts, FileId, TailFile},
};
use crate::limits::{ROTATED_DEPTH_MAX, ROTATED_ENTRIES_MAX};

/// What the names of compressed files end with.
const COMPRESSED: [&str; 9] = ["gz", "bz2", "xz", "zst", "zip", "lz4", "lzma", "Z", "tgz"];

/// Returns the file that the checkpoint was made of, now under another name: by its inode, else a
/// copy of it that reaches as far as the checkpoint.
pub(super) fn find(path: &Path, checkpoint: &Checkpoint) -> Option<TailFile> {
    let by_inode = entries(path, ROTATED_DEPTH_MAX)
        .into_iter()
        .filter(|entry| entry.ino() == checkpoint.inode)
        .find_map(|entry| open_like(&entry.path(), checkpoint));
    by_inode.or_else(|| find_copy(path, checkpoint))
}

/// Returns a copy of the checkpoint's file that reaches as far as the checkpoint, as `copytruncate`
/// leaves.
pub(super) fn find_copy(path: &Path, checkpoint: &Checkpoint) -> Option<TailFile> {
    // Any file begins like one of which nothing is known.
    if checkpoint.head_len == 0 {
        return None;
    }
    entries(path, 0)
        .into_iter()
        .filter(|entry| is_rotated_name(path, entry) && entry.path() != path)
        .find_map(|entry| open_like(&entry.path(), checkpoint))
}

/// Returns the oldest rotated file with something in it whose age `is_later`, and that is none of
/// `known`: the next to be read. `is_own` says whether a path is one of this file's.
///
/// A copy of what is at the path now is none: it is read there, or, if it is truncated there before
/// it was read, found then.
pub(super) fn next_after(
    path: &Path,
    is_later: impl Fn(Age) -> bool,
    known: &[FileId],
    is_own: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let mut later: Vec<(Age, PathBuf)> = entries(path, 0)
        .into_iter()
        .filter(|entry| is_rotated_name(path, entry) && is_own(&entry.path()))
        .filter_map(|entry| Some((Facts::of(&entry.metadata().ok()?), entry.path())))
        .filter(|(facts, _)| facts.len > 0 && is_later(facts.age()))
        .filter(|(facts, _)| !known.contains(&facts.id))
        .map(|(facts, path)| (facts.age(), path))
        .collect();
    later.sort();
    let present = TailFile::open(path).ok();
    let is_copy = |path: &Path| match (&present, TailFile::open(path)) {
        (Some(present), Ok(file)) => file.is_begun_copy_of(present),
        (None, _) | (_, Err(_)) => false,
    };
    later.into_iter().map(|(_, path)| path).find(|path| !is_copy(path))
}

fn open_like(path: &Path, checkpoint: &Checkpoint) -> Option<TailFile> {
    let file = TailFile::open(path).ok()?;
    let len = file.facts().ok()?.len;
    file.begins_like(checkpoint, len).then_some(file)
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

/// Returns whether the name's end says that the file is compressed, as rotation leaves files that
/// were read before: such files are never read.
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
    let (Some(own), name) = (path.file_name(), entry.file_name()) else { return false };
    let (own, name) = (own.as_encoded_bytes(), name.as_encoded_bytes());
    if name.strip_prefix(own).is_some_and(is_mark) {
        return true;
    }
    let Some(dot) = own.iter().rposition(|byte| *byte == b'.') else { return false };
    let (stem, extension) = own.split_at(dot);
    let mark = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    mark.is_some_and(is_mark)
}
