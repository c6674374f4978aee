//! A folder of the host as the spool's disk.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, IoSlice, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;

use super::{Disk, SegmentId};

/// Ending of a segment file's name; the rest is the segment's number as 16 hexadecimal digits.
const SUFFIX: &str = ".seg";

/// File that a process locks as long as it uses the folder.
const LOCK: &str = "lock";

/// How many files stay open for reading: one a lane, and one more while a lane goes to its next
/// segment.
const READERS_MAX: usize = 4;

/// A folder of segment files, locked against a second process.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
    handles: Mutex<Handles>,
    /// Holds the lock; the system releases it with the process, whatever ends it.
    lock: File,
}

impl Drop for RealDisk {
    /// A program that another thread is just starting has the file open as well, until it runs: the lock would
    /// outlast this handle, and whoever opens the folder next would be refused.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "folder's lock cannot be released");
        }
    }
}

/// Files kept open. The appended file stays open from its first append on: only that handle is told
/// of a write that the system failed to carry out later.
#[derive(Debug, Default)]
struct Handles {
    writer: Option<(SegmentId, Arc<File>)>,
    /// The most recently used last.
    readers: Vec<(SegmentId, Arc<File>)>,
}

impl Handles {
    fn forget(&mut self, id: SegmentId) {
        self.readers.retain(|(reader, _)| *reader != id);
        if self.writer.as_ref().is_some_and(|(writer, _)| *writer == id) {
            self.writer = None;
        }
    }
}

impl RealDisk {
    /// Opens `folder`, creating it, readable by its owner only, if it is not there.
    ///
    /// # Errors
    /// See [`OpenDiskError`].
    pub fn open(folder: &Path) -> Result<Self, OpenDiskError> {
        create_folder(folder)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenDiskError::InUse { folder: folder.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { folder: folder.to_owned(), handles: Mutex::default(), lock })
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.folder.join(format!("{id}{SUFFIX}"))
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self, id: SegmentId) -> io::Result<Arc<File>> {
        let mut handles = self.handles();
        if let Some((_, file)) = handles.writer.as_ref().filter(|(writer, _)| *writer == id) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().append(true).open(self.path(id))?);
        handles.writer = Some((id, Arc::clone(&file)));
        Ok(file)
    }

    fn reader(&self, id: SegmentId) -> io::Result<Arc<File>> {
        let mut handles = self.handles();
        let known = handles.readers.iter().position(|(reader, _)| *reader == id);
        let entry = match known {
            Some(place) => handles.readers.remove(place),
            None => (id, Arc::new(File::open(self.path(id))?)),
        };
        if handles.readers.len() == READERS_MAX {
            handles.readers.remove(0);
        }
        let file = Arc::clone(&entry.1);
        handles.readers.push(entry);
        Ok(file)
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<(SegmentId, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(id) = entry.file_name().to_str().and_then(parse_name) {
                segments.push((id, entry.metadata()?.len()));
            }
        }
        Ok(segments)
    }

    fn create(&self, id: SegmentId) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.path(id))?;
        self.handles().writer = Some((id, Arc::new(file)));
        Ok(())
    }

    fn append(&self, id: SegmentId, parts: &[&[u8]]) -> io::Result<()> {
        let file = self.writer(id)?;
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match (&*file).write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn rewrite(&self, id: SegmentId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // Opened first, so that the sync is told of what becomes of the bytes.
        self.writer(id)?;
        let file = OpenOptions::new().write(true).open(self.path(id))?;
        let mut written = 0;
        while written < bytes.len() {
            match write_once(&file, offset + written as u64, &bytes[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self, id: SegmentId) -> io::Result<()> {
        self.writer(id)?.sync_data()
    }

    fn sync_dir(&self) -> io::Result<()> {
        // Windows writes a folder's entries to its journal itself and has no call for it.
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    fn read_at(&self, id: SegmentId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.reader(id)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match read_once(&file, offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn delete(&self, id: SegmentId) -> io::Result<()> {
        self.handles().forget(id);
        fs::remove_file(self.path(id))
    }

    fn truncate(&self, id: SegmentId, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(id))?.set_len(len)
    }

    fn size(&self, id: SegmentId) -> io::Result<u64> {
        Ok(fs::metadata(self.path(id))?.len())
    }
}

fn parse_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SUFFIX)?;
    let id = SegmentId(u64::from_str_radix(digits, 16).ok()?);
    (id.to_string() == digits).then_some(id)
}

#[cfg(unix)]
fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(unix)]
fn write_once(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_once(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum OpenDiskError {
    /// Another process has it. Two agents on one spool would number different blocks alike.
    #[error("folder {} is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = RealDisk::open(folder.path()).unwrap();
        assert!(matches!(RealDisk::open(folder.path()), Err(OpenDiskError::InUse { .. })));
        drop(first);
        RealDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_was_let_go_is_free_while_a_program_that_is_being_started_has_the_lock_open() {
        let folder = tempfile::tempdir().unwrap();
        let first = RealDisk::open(folder.path()).unwrap();
        let inherited = first.lock.try_clone().unwrap();
        drop(first);
        RealDisk::open(folder.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn files_that_are_no_segments_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        for name in ["1.seg", "000000000000000G.seg", "notes.txt", "00000000000000aa.seg.bak"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        assert_eq!(disk.list().unwrap(), []);
        disk.create(SegmentId(0xaa)).unwrap();
        assert_eq!(disk.list().unwrap(), [(SegmentId(0xaa), 0)]);
    }

    #[test]
    fn many_segments_are_read_with_few_open_files() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        for id in 0..20 {
            disk.create(SegmentId(id)).unwrap();
            disk.append(SegmentId(id), &[&[u8::try_from(id).unwrap()]]).unwrap();
        }
        for id in (0..20).chain(0..20) {
            let mut byte = [0xff];
            assert_eq!(disk.read_at(SegmentId(id), 0, &mut byte).unwrap(), 1);
            assert_eq!(u64::from(byte[0]), id);
        }
        assert_eq!(disk.handles().readers.len(), READERS_MAX);
    }

    #[test]
    fn an_unusable_folder_is_refused_with_the_systems_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(RealDisk::open(&file.join("spool")), Err(OpenDiskError::Io(_))));
    }
}
