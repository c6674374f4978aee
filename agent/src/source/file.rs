//! One open file and what makes it that file: device, inode and first bytes.

use std::{
    cell::RefCell,
    fs::{File, Metadata},
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use memchr::memrchr;
use sha2::{Digest, Sha256};

use super::{checkpoint::Checkpoint, packed::Unpacker, veto};
use crate::{
    limits::{HEAD_BYTES, READ_BYTES, UNPACKED_SKIP_BYTES_MAX},
    platform,
};

/// Bytes of one read backwards: most lines are shorter.
const CHUNK_BYTES: usize = 4 << 10;

/// Device and inode: what two paths that reach one file have in common. On Windows they are the volume's serial number
/// and the file's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// What a look at a file said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) id: FileId,
    pub(super) len: u64,
    pub(super) modified_ns: i64,
    /// Where the file system says so.
    created_ns: Option<i64>,
}

impl Facts {
    /// Looks at an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        look::open(file).map(Self::new)
    }

    /// Looks at what is at a path, with links followed.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        look::at(path).map(Self::new)
    }

    /// Looks at what is at a path, which may be a link.
    pub(super) fn of_entry(path: &Path) -> io::Result<Self> {
        look::of_entry(path).map(Self::new)
    }

    fn new((metadata, id): (Metadata, FileId)) -> Self {
        Self {
            id,
            len: metadata.len(),
            modified_ns: modified_ns(&metadata),
            created_ns: metadata.created().ok().and_then(nanoseconds),
        }
    }

    /// Returns when the file was last written to, and when it was created.
    pub(super) const fn age(&self) -> Age {
        Age { modified_ns: self.modified_ns, created_ns: self.created_ns }
    }
}

/// Where a file stands in the order in which files were written. Times are as coarse as the system's ticks, so that a
/// file may have been begun, written and left within the one in which the file before it was last written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    pub(super) modified_ns: i64,
    pub(super) created_ns: Option<i64>,
}

impl Age {
    /// Tells whether a file of this age was written after one of the `other`.
    pub(super) fn is_after(self, other: Self) -> bool {
        let is_younger = self.created_ns.zip(other.created_ns).is_some_and(|(own, its)| own > its);
        self.modified_ns > other.modified_ns || self.modified_ns == other.modified_ns && is_younger
    }
}

/// Returns when it was last written to.
#[cfg(unix)]
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// Returns when it was last written to; where the system does not say so, or said something before 1970, the beginning
/// of that year.
#[cfg(not(unix))]
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.modified().ok().and_then(nanoseconds).unwrap_or(0)
}

#[cfg(unix)]
mod look {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::{File, FileId, Metadata, Path, io};

    fn with_id(metadata: Metadata) -> (Metadata, FileId) {
        let id = FileId { device: metadata.dev(), inode: metadata.ino() };
        (metadata, id)
    }

    pub(super) fn open(file: &File) -> io::Result<(Metadata, FileId)> {
        file.metadata().map(with_id)
    }

    pub(super) fn at(path: &Path) -> io::Result<(Metadata, FileId)> {
        fs::metadata(path).map(with_id)
    }

    pub(super) fn of_entry(path: &Path) -> io::Result<(Metadata, FileId)> {
        fs::symlink_metadata(path).map(with_id)
    }
}

#[cfg(windows)]
mod look {
    use std::os::windows::fs::OpenOptionsExt as _;

    use super::{File, FileId, Metadata, Path, io};

    /// `FILE_FLAG_BACKUP_SEMANTICS`: folders are opened, too.
    const FOLDERS: u32 = 0x0200_0000;
    /// `FILE_FLAG_OPEN_REPARSE_POINT`: a link is opened itself.
    const LINKS: u32 = 0x0020_0000;

    pub(super) fn open(file: &File) -> io::Result<(Metadata, FileId)> {
        let found = winapi_util::file::information(file)?;
        let id = FileId { device: found.volume_serial_number(), inode: found.file_index() };
        Ok((file.metadata()?, id))
    }

    pub(super) fn at(path: &Path) -> io::Result<(Metadata, FileId)> {
        with_flags(path, FOLDERS)
    }

    pub(super) fn of_entry(path: &Path) -> io::Result<(Metadata, FileId)> {
        with_flags(path, FOLDERS | LINKS)
    }

    /// Opens it to be asked about, and for nothing else: that is allowed also where reading is not.
    fn with_flags(path: &Path, flags: u32) -> io::Result<(Metadata, FileId)> {
        open(&File::options().access_mode(0).custom_flags(flags).open(path)?)
    }
}

fn nanoseconds(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// An open file. It stays readable when it is renamed or deleted.
#[derive(Debug)]
pub(super) struct TailFile {
    file: File,
    pub(super) id: FileId,
    /// When it was last written to before its first bytes were read at its opening, in nanoseconds since the epoch.
    pub(super) opened_ns: i64,
    /// Its first bytes, as they were when they were first seen.
    head: Vec<u8>,
    digest: [u8; 16],
    packed: Option<Box<Packed>>,
}

/// What is besides of a file that gzip compressed. It is read as the text that it was.
#[derive(Debug)]
struct Packed {
    text: RefCell<Unpacker>,
    /// When the text was last written to as far as it was read: the files rotated after it are newer.
    written_ns: i64,
}

impl TailFile {
    /// Opens the regular file at `path`, if the host's owner allows it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = veto::open(path)?;
        let Facts { id, modified_ns: opened_ns, .. } = Facts::of(&file)?;
        let (head, digest) = (Vec::new(), digest(&[]));
        let mut opened = Self { file, id, opened_ns, head, digest, packed: None };
        opened.has_same_head()?;
        Ok(opened)
    }

    /// Opens the text of the file at `path` that gzip compressed, as far as the host's owner allows it; it is of files
    /// that were written to at `written_ns` or later.
    pub(super) fn open_packed(path: &Path, written_ns: i64) -> io::Result<Self> {
        let file = veto::open(path)?;
        let Facts { id, modified_ns: opened_ns, .. } = Facts::of(&file)?;
        let text = RefCell::new(Unpacker::new(file.try_clone()?));
        let packed = Some(Box::new(Packed { text, written_ns }));
        let (head, digest_of) = (Vec::new(), digest(&[]));
        let mut opened = Self { file, id, opened_ns, head, digest: digest_of, packed };
        let mut head = vec![0; HEAD_BYTES];
        let len = opened.read_full(&mut head, 0)?;
        head.truncate(len);
        (opened.digest, opened.head) = (digest(&head), head);
        Ok(opened)
    }

    /// Returns whether it is the text of a compressed file.
    pub(super) const fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Returns whether it is the text of a compressed file that is broken where reading has come to.
    pub(super) fn is_broken(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.text.borrow().is_broken())
    }

    /// Returns when the file was last written to, also where its text was earlier.
    pub(super) fn own_modified_ns(&self) -> io::Result<i64> {
        Facts::of(&self.file).map(|facts| facts.modified_ns)
    }

    /// Returns whether a compressed file's text begins as the checkpoint's did and reaches as far. It has to be
    /// unpacked up to there; one that would take too long is none.
    pub(super) fn reaches(&self, checkpoint: &Checkpoint) -> io::Result<bool> {
        if !self.begins_like(checkpoint, u64::MAX) || checkpoint.offset > UNPACKED_SKIP_BYTES_MAX {
            return Ok(false);
        }
        self.read_full(&mut [], checkpoint.offset)?;
        Ok(self.facts()?.len >= checkpoint.offset)
    }

    /// Opens the file at `path` that was seen there; `None` if by now there is another, or none.
    pub(super) fn open_seen(path: &Path, seen: FileId) -> io::Result<Option<Self>> {
        match Self::open(path) {
            Ok(file) => Ok((file.id == seen).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at it; of a compressed file, at its text.
    pub(super) fn facts(&self) -> io::Result<Facts> {
        let facts = Facts::of(&self.file)?;
        Ok(match &self.packed {
            None => facts,
            Some(packed) => {
                let (len, modified_ns) = (packed.text.borrow().len(), packed.written_ns);
                Facts { len, modified_ns, ..facts }
            }
        })
    }

    /// Returns whether the file still begins as it did, and remembers more of its beginning if
    /// there is more now.
    pub(super) fn has_same_head(&mut self) -> io::Result<bool> {
        if self.is_packed() {
            return Ok(true); // nobody writes to it
        }
        let mut now = [0; HEAD_BYTES];
        let len = self.read_full(&mut now, 0)?;
        let now = &now[..len];
        if !now.starts_with(&self.head) {
            return Ok(false);
        }
        if now.len() > self.head.len() {
            self.head = now.to_vec();
            self.digest = digest(now);
        }
        Ok(true)
    }

    /// Forgets how the file began, because it was begun anew.
    pub(super) fn forget_head(&mut self) -> io::Result<()> {
        self.head.clear();
        self.digest = digest(&[]);
        self.has_same_head().map(|_| ())
    }

    pub(super) fn head_len(&self) -> u16 {
        u16::try_from(self.head.len()).expect("HEAD_BYTES fits 16 bits")
    }

    pub(super) fn head_digest(&self) -> [u8; 16] {
        self.digest
    }

    /// Returns whether the file begins as the checkpoint's did, and is long enough to be it.
    pub(super) fn begins_like(&self, checkpoint: &Checkpoint, len: u64) -> bool {
        let head_len = usize::from(checkpoint.head_len);
        len >= checkpoint.offset
            && self.head.get(..head_len).is_some_and(|head| digest(head) == checkpoint.head)
    }

    /// Returns whether the file begins like another as far as both reach, as a copy does, also one
    /// that is being made.
    pub(super) fn is_begun_copy_of(&self, other: &Self) -> bool {
        let both = self.head.len().min(other.head.len());
        both > 0 && self.head[..both] == other.head[..both]
    }

    /// Returns whether, of two openings of one path, this one found what the earlier one did; more may have been
    /// written to it, but to an empty one nothing.
    pub(super) fn is_still(&self, earlier: &Self) -> bool {
        let is_begun = !earlier.head.is_empty() || self.opened_ns == earlier.opened_ns;
        let is_empty = self.head.is_empty() == earlier.head.is_empty();
        self.id == earlier.id && is_begun && is_empty && self.head.starts_with(&earlier.head)
    }

    /// Returns whether the file begins like another, with as many bytes known of both.
    pub(super) fn has_head_like(&self, other: &Self) -> bool {
        !self.head.is_empty() && self.head == other.head
    }

    /// Reads from `offset` until `buffer` is full or the file ends; returns how many bytes were
    /// read.
    pub(super) fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(packed) = &self.packed {
            return packed.text.borrow_mut().read(buffer, offset);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            match platform::read_at(&self.file, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Returns whether the file begins with what the checkpoint's first bytes were, however long it
    /// is.
    pub(super) fn has_head_of(&self, checkpoint: &Checkpoint) -> bool {
        self.begins_like(checkpoint, u64::MAX)
    }

    /// Returns the offset behind the last newline, and whether none was found near the end, so that
    /// the end lies within a line that is too long for a record.
    pub(super) fn last_line_start(&self) -> io::Result<(u64, bool)> {
        let len = self.facts()?.len;
        let first = len.saturating_sub(READ_BYTES as u64);
        let mut buffer = [0; CHUNK_BYTES];
        let mut end = len;
        while end > first {
            let from = end.saturating_sub(CHUNK_BYTES as u64).max(first);
            let want = usize::try_from(end - from).expect("a chunk's length fits");
            let count = self.read_full(&mut buffer[..want], from)?;
            if let Some(newline) = memrchr(b'\n', &buffer[..count]) {
                return Ok((from + newline as u64 + 1, false));
            }
            end = from;
        }
        Ok(if first == 0 { (0, false) } else { (len, true) })
    }
}

fn digest(head: &[u8]) -> [u8; 16] {
    let full = Sha256::digest(head);
    std::array::from_fn(|index| full[index])
}
