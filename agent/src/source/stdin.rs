//! Takes the lines that come by standard input.
//!
//! What is read there cannot be read again: what is not in the spool when the agent is killed is
//! lost; when it is stopped in good order, all that was read is stored, a line without its end, too.
//! While the spool takes nothing, nothing is read, and the writer waits.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use super::{Batch, ListenerStats, ReadBuffer, Status, pipe::Pipe};

/// Standard input.
#[derive(Debug)]
pub struct Stdin {
    /// Without the buffer of the standard library, in which lines could lie unseen.
    file: Option<File>,
    pipe: Pipe,
    status: Status,
    stats: ListenerStats,
}

impl Stdin {
    /// Opens standard input; where that is not possible, its status says so.
    #[must_use]
    pub fn open() -> Self {
        Self::of(io::stdin().as_fd().try_clone_to_owned().map(File::from))
    }

    fn of(file: io::Result<File>) -> Self {
        let status = match &file {
            Ok(_) => Status::Reading,
            Err(error) => Status::Unreadable(error.to_string()),
        };
        let (pipe, stats) = (Pipe::default(), ListenerStats::default());
        Self { file: file.ok(), pipe, status, stats }
    }

    /// Returns how it is.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns what was counted.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        self.stats
    }

    /// Returns what has something to read when there is something to do, until it has ended.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Reads no more. The beginning of a line that was read is a line now: nobody can read it again.
    pub fn end(&mut self) {
        self.pipe.end();
    }

    /// Returns whether there is something to read.
    pub fn poll(&mut self) -> bool {
        self.file.as_ref().is_some_and(|file| self.pipe.is_ready(file))
    }

    /// Reads lines into `buffer`.
    ///
    /// # Errors
    /// Fails if it cannot be read; it is not tried again then.
    pub fn read_batch<'b>(&mut self, buffer: &'b mut ReadBuffer) -> io::Result<Batch<'b>> {
        let Some(file) = &self.file else { return Ok(Batch::EMPTY) };
        match self.pipe.read(file, buffer) {
            Ok(split) => {
                self.stats.over_long += split.cut;
                if self.pipe.is_over() {
                    self.file = None;
                    self.status = Status::Ended;
                }
            }
            Err(error) => {
                self.file = None;
                self.status = Status::Unreadable(error.to_string());
                return Err(error);
            }
        }
        let batch = Batch::new(buffer, 0);
        self.stats.count(&batch);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::OwnedFd};

    use super::*;

    #[test]
    fn what_is_written_to_it_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stdin = Stdin::of(Ok(File::from(OwnedFd::from(reader))));
        let mut buffer = ReadBuffer::new();
        assert!(!stdin.poll());
        writer.write_all(b"a1\na2").unwrap();
        drop(writer);
        let mut lines = Vec::new();
        while stdin.poll() {
            let batch = stdin.read_batch(&mut buffer).unwrap();
            lines.extend(batch.lines().map(|line| line.bytes.to_vec()));
        }
        assert_eq!(lines, [b"a1", b"a2"]);
        assert_eq!((stdin.status(), stdin.stats().messages), (&Status::Ended, 2));
        assert!(stdin.read_batch(&mut buffer).unwrap().is_empty());
    }

    #[test]
    fn when_it_is_told_to_end_what_was_read_is_handed_out_without_its_newline() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stdin = Stdin::of(Ok(File::from(OwnedFd::from(reader))));
        let mut buffer = ReadBuffer::new();
        writer.write_all(b"a1\nbegun").unwrap();
        assert_eq!(stdin.read_batch(&mut buffer).unwrap().len(), 1);
        stdin.end();
        writer.write_all(b" and not read").unwrap();
        assert!(stdin.poll());
        let batch = stdin.read_batch(&mut buffer).unwrap();
        assert_eq!(batch.lines().map(|line| line.bytes).collect::<Vec<_>>(), [b"begun"]);
        assert!(!stdin.poll() && *stdin.status() == Status::Ended);
    }

    #[test]
    fn what_cannot_be_read_says_so_and_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut stdin = Stdin::of(File::open(folder.path()));
        let mut buffer = ReadBuffer::new();
        assert!(stdin.poll());
        assert!(stdin.read_batch(&mut buffer).is_err());
        assert!(matches!(stdin.status(), Status::Unreadable(_)) && !stdin.poll());
    }
}
