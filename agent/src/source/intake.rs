//! What the pipeline knows of whatever records come from: [`Intake`], which each way that they come by implements in a
//! file of its own.

#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::{fmt, io, path::Path, time::Instant};

use super::{Batch, FileId, FilesStats, ReadBuffer, Status, Tail};

/// Something that has records to be read.
///
/// It is polled and read by one thread, and has none itself. What it has no use for stands here as nothing.
pub trait Intake: fmt::Debug + Send {
    /// Returns what people know it by: a path, an address, a name.
    fn label(&self) -> String;

    /// Returns how it is.
    fn status(&self) -> &Status;

    /// Returns what was counted.
    fn counts(&self) -> Counts;

    /// Goes on with what does not wait; returns whether there is something to read, or more to look at than one call
    /// may.
    fn poll(&mut self, now: Instant) -> bool;

    /// Tells `wakes` of all that is to wake the pipeline when there is something to read, as far as the system can wake
    /// for it.
    fn watch<'i>(&'i self, _wakes: &mut dyn FnMut(Wake<'i>)) {}

    /// Reads records into `buffer`: files' about `bytes_max` of them, at least one if there is one.
    ///
    /// # Errors
    /// Says why it cannot be read now; it stays usable.
    fn read_batch<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut ReadBuffer,
        bytes_max: usize,
    ) -> io::Result<Batch<'b>>;

    /// Takes no more in; returns whether there is something to read all the same: what was taken in and cannot be read
    /// again.
    fn end(&mut self) -> bool {
        false
    }

    /// Returns whether records are read as they are sent, and nothing that lay about before.
    fn is_live(&self) -> bool {
        false
    }

    /// Returns the file whose lines were read last.
    fn tail(&self) -> Option<&Tail> {
        None
    }

    /// Returns the file that it has for itself, if it reads one only.
    fn sole_tail(&self) -> Option<&Tail> {
        None
    }

    /// Returns what was found of its files, if it may have several.
    fn files(&self) -> Option<FilesStats> {
        None
    }

    /// Returns which files of several are open: two sources with the same one read each of its records.
    fn open_files(&self) -> Vec<FileId> {
        Vec::new()
    }

    /// Returns how many bytes were not looked at yet of the files that are open.
    fn behind_bytes(&self) -> u64 {
        0
    }

    /// Returns up to where its one file was read as far as is stored.
    fn stored_offset(&self) -> u64 {
        0
    }

    /// Returns whether there is another place to be stored than the last.
    fn has_changed(&self) -> bool {
        false
    }

    /// Returns whether so much changed that it is to be stored before more is read.
    fn is_full(&self) -> bool {
        false
    }

    /// Returns what is to be stored to go on from, by part: up to `end` within the last batch, or behind all that was
    /// read. A part without a name has the source's.
    fn changed(&mut self, _end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }

    /// Notes that what was to be stored is, and the fate of all records before it.
    fn stored(&mut self) {}

    /// Returns whether a sender waits until what it sent is durable.
    fn awaits_commit(&self) -> bool {
        false
    }

    /// Has senders know that nothing is taken now, where there is a way to.
    fn refuse(&mut self, _now: Instant) {}
}

/// What has something to read when there is something to do.
#[derive(Clone, Copy, Debug)]
pub enum Wake<'i> {
    /// When it is written to, or another file takes its path.
    File(&'i Path),
    /// When it has something to read.
    #[cfg(unix)]
    Readable(BorrowedFd<'i>),
}

/// What was counted of what came, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records handed out.
    pub records: u64,
    /// Their bytes; of files with what was skipped.
    pub bytes: u64,
    /// Records that were cut to the longest.
    pub over_long: u64,
    /// Times that reading went on from one file to the next.
    pub rotated: u64,
    /// Times that a file was truncated or its content replaced.
    pub truncated: u64,
    /// Files that were gone before they were read to their end.
    pub lost_files: u64,
    /// Datagrams that the system dropped because they were not read fast enough, as far as it says.
    pub dropped: u64,
    /// Connections and requests that there was no room for.
    pub refused: u64,
    /// Records that were let go of, by whoever keeps them, before they were read.
    pub gone: u64,
    /// Times that something could not be read, and files that are not read because there are too many.
    pub unread: u64,
}

impl Counts {
    /// Counts what is handed out.
    pub(super) fn count(&mut self, batch: &Batch<'_>) {
        self.records += batch.len() as u64;
        self.bytes += batch.lines().map(|record| record.bytes.len() as u64).sum::<u64>();
    }
}

/// A place to go on from that is stored whole.
#[derive(Debug, Default)]
pub(super) struct Place {
    stored: Option<Vec<u8>>,
    /// What the commit under way stores.
    offered: Option<Vec<u8>>,
}

impl Place {
    /// Returns the place that is stored.
    pub(super) fn new(stored: Option<&[u8]>) -> Self {
        Self { stored: stored.map(<[u8]>::to_vec), offered: None }
    }

    /// Returns whether `now` is a place, and another than the stored one.
    pub(super) fn is_other(&self, now: Option<&Vec<u8>>) -> bool {
        now.is_some_and(|now| self.stored.as_ref() != Some(now))
    }

    /// Returns the place, as the part of this name, if it is another than the stored one: it is to be stored.
    pub(super) fn offer(&mut self, part: &str, now: Option<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
        self.offered = now.filter(|now| self.is_other(Some(now)));
        self.offered.iter().map(|offered| (part.to_owned(), offered.clone())).collect()
    }

    /// Notes that what was offered is stored; returns whether there was something.
    pub(super) fn settle(&mut self) -> bool {
        let Some(offered) = self.offered.take() else { return false };
        self.stored = Some(offered);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_offered_until_it_is_stored() {
        let mut place = Place::new(Some(b"1"));
        assert!(!place.is_other(None) && !place.is_other(Some(&b"1".to_vec())));
        assert_eq!(place.offer("part", Some(b"1".to_vec())), []);
        assert!(!place.settle());
        let offered = [("part".to_owned(), b"2".to_vec())];
        assert_eq!(place.offer("part", Some(b"2".to_vec())), offered);
        assert!(place.is_other(Some(&b"2".to_vec())), "it is not stored yet");
        assert_eq!(place.offer("part", Some(b"2".to_vec())), offered);
        assert!(place.settle() && !place.settle());
        assert!(!place.is_other(Some(&b"2".to_vec())));
    }
}
