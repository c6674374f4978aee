//! What the spool asks of a disk: a folder of numbered files that only grow at their end.
//!
//! Two implementations keep one contract (`contract`): [`RealDisk`] is a folder of the host, and
//! [`SimDisk`] is memory that loses, tears and damages what it holds on command.

#[cfg(test)]
mod contract;
mod real;
mod sim;

use std::{fmt, io};

pub use self::{
    real::{OpenDiskError, RealDisk},
    sim::SimDisk,
};

/// Number of a segment's file. Higher numbers are newer; a number is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A folder of segment files. All methods may be called from several threads at once, for a file
/// however only one thread appends, truncates or deletes.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Returns every segment with its length in bytes, in no particular order.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn list(&self) -> io::Result<Vec<(SegmentId, u64)>>;

    /// Creates an empty segment. It survives a power failure only after [`Self::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` if there is such a segment; otherwise whatever the system reports.
    fn create(&self, id: SegmentId) -> io::Result<()>;

    /// Writes `parts`, one after the other, at the end of a segment.
    ///
    /// # Errors
    /// `StorageFull` if there is no room; otherwise whatever the system reports. Some of the bytes
    /// may then have been written.
    fn append(&self, id: SegmentId, parts: &[&[u8]]) -> io::Result<()>;

    /// Writes `bytes`, which are at `offset` already, there again. The next sync then makes them
    /// durable even if one before it failed, in this process or an earlier one.
    ///
    /// # Errors
    /// Whatever the system reports. Nothing is worse then than it was.
    fn rewrite(&self, id: SegmentId, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all bytes and the length of a segment durable.
    ///
    /// # Errors
    /// Whatever the system reports. What was written since the last success is then lost or not,
    /// and a later success says nothing about it.
    fn sync(&self, id: SegmentId) -> io::Result<()>;

    /// Makes creations and deletions durable.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn sync_dir(&self) -> io::Result<()>;

    /// Reads from `offset` until `buffer` is full or the segment ends, and returns how many bytes
    /// it read.
    ///
    /// # Errors
    /// `NotFound` if there is no such segment; [`is_bad_sector`] if the medium has lost the bytes;
    /// otherwise whatever the system reports.
    fn read_at(&self, id: SegmentId, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Deletes a segment. It stays deleted after a power failure only after [`Self::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` if there is no such segment; otherwise whatever the system reports.
    fn delete(&self, id: SegmentId) -> io::Result<()>;

    /// Cuts a segment to `len` bytes, of which it has at least as many.
    ///
    /// # Errors
    /// Whatever the system reports.
    fn truncate(&self, id: SegmentId, len: u64) -> io::Result<()>;

    /// Returns the length of a segment in bytes.
    ///
    /// # Errors
    /// `NotFound` if there is no such segment; otherwise whatever the system reports.
    fn size(&self, id: SegmentId) -> io::Result<u64>;
}

/// Tells whether `error` says that there is no room, as opposed to anything that more room would
/// not cure.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Tells whether `error` says that the medium has lost the bytes, as opposed to a want of memory or
/// handles.
#[must_use]
pub fn is_bad_sector(error: &io::Error) -> bool {
    // `std` has no kind for it. 5 is EIO on every Unix; 23, 27 and 1117 are ERROR_CRC,
    // ERROR_SECTOR_NOT_FOUND and ERROR_IO_DEVICE.
    let codes: &[i32] = if cfg!(windows) { &[23, 27, 1117] } else { &[5] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
