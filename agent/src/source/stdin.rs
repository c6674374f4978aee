//! Takes the lines that come by standard input.
//!
//! What is read there cannot be read again: what is not in the spool when the agent is killed is
//! lost; when it is stopped in good order, all that was read is stored, a line without its end, too.
//! While the spool takes nothing, nothing is read, and the writer waits.

#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::{fs::File, io, time::Instant};

#[cfg(unix)]
use super::Wake;
use super::{
    Batch, Counts, Intake, ReadBuffer, Status,
    pipe::{Pipe, Polled, polled},
};
use crate::platform::standard_input;

/// Standard input.
#[derive(Debug)]
pub struct Stdin {
    file: Option<Polled<File>>,
    pipe: Pipe,
    status: Status,
    counts: Counts,
}

impl Stdin {
    /// Opens standard input; where that is not possible, its status says so.
    #[must_use]
    pub fn open() -> Self {
        Self::of(standard_input())
    }

    fn of(file: io::Result<File>) -> Self {
        let file = file.and_then(polled);
        let status = match &file {
            Ok(_) => Status::Reading,
            Err(error) => Status::Unreadable(error.to_string()),
        };
        let (pipe, counts) = (Pipe::default(), Counts::default());
        Self { file: file.ok(), pipe, status, counts }
    }

    fn is_ready(&self) -> bool {
        self.file.as_ref().is_some_and(|file| self.pipe.is_ready(file))
    }

    fn read<'b>(&mut self, buffer: &'b mut ReadBuffer) -> io::Result<Batch<'b>> {
        let Some(file) = &mut self.file else { return Ok(Batch::EMPTY) };
        match self.pipe.read(file, buffer) {
            Ok(split) => {
                self.counts.over_long += split.cut;
                if self.pipe.is_over() {
                    self.file = None;
                    self.status = Status::Ended;
                }
            }
            Err(error) => {
                self.file = None;
                self.status = Status::Unreadable(error.to_string());
                return Err(error); // it is not tried again
            }
        }
        let batch = Batch::new(buffer, 0);
        self.counts.count(&batch);
        Ok(batch)
    }
}

impl Intake for Stdin {
    fn label(&self) -> String {
        "stdin".to_owned()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn poll(&mut self, _now: Instant) -> bool {
        self.is_ready()
    }

    #[cfg(unix)]
    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        self.file.iter().for_each(|file| wakes(Wake::Readable(file.as_fd())));
    }

    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        _bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        self.read(buffer)
    }

    /// Reads no more. The beginning of a line that was read is a line now: nobody can read it again.
    fn end(&mut self) -> bool {
        self.pipe.end();
        self.is_ready()
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::OwnedFd};

    use super::*;

    #[test]
    fn what_is_written_to_it_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stdin = Stdin::of(Ok(File::from(OwnedFd::from(reader))));
        let mut buffer = ReadBuffer::new();
        assert!(!stdin.is_ready());
        writer.write_all(b"a1\na2").unwrap();
        drop(writer);
        let mut lines = Vec::new();
        while stdin.is_ready() {
            let batch = stdin.read(&mut buffer).unwrap();
            lines.extend(batch.lines().map(|line| line.bytes.to_vec()));
        }
        assert_eq!(lines, [b"a1", b"a2"]);
        assert_eq!((stdin.status(), stdin.counts().records), (&Status::Ended, 2));
        assert!(stdin.read(&mut buffer).unwrap().is_empty());
    }

    #[test]
    fn when_it_is_told_to_end_what_was_read_is_handed_out_without_its_newline() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stdin = Stdin::of(Ok(File::from(OwnedFd::from(reader))));
        let mut buffer = ReadBuffer::new();
        writer.write_all(b"a1\nbegun").unwrap();
        assert_eq!(stdin.read(&mut buffer).unwrap().len(), 1);
        assert!(stdin.end());
        writer.write_all(b" and not read").unwrap();
        assert!(stdin.is_ready());
        let batch = stdin.read(&mut buffer).unwrap();
        assert_eq!(batch.lines().map(|line| line.bytes).collect::<Vec<_>>(), [b"begun"]);
        assert!(!stdin.is_ready() && *stdin.status() == Status::Ended);
    }

    #[test]
    fn what_cannot_be_read_says_so_and_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut stdin = Stdin::of(File::open(folder.path()));
        let mut buffer = ReadBuffer::new();
        assert!(stdin.is_ready());
        assert!(stdin.read(&mut buffer).is_err());
        assert!(matches!(stdin.status(), Status::Unreadable(_)) && !stdin.is_ready());
    }
}
