//! Reads lines from a pipe when it has some, and never waits for it.

#[cfg(unix)]
mod poll;
#[cfg(any(not(unix), test))]
mod thread;

use std::io::{self, Read};

#[cfg(unix)]
pub(super) use self::poll::{Polled, polled};
#[cfg(not(unix))]
pub(super) use self::thread::{Polled, polled};

use super::lines::{ReadBuffer, Split, split};
use crate::limits::READ_BYTES;

/// What is kept of a pipe between two reads.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// The beginning of a line whose end did not come yet.
    pending: Vec<u8>,
    skipping: bool,
    is_over: bool,
    /// Whether a line without an end is none when the pipe ends.
    drops_rest: bool,
    /// Whether there may be whole lines in what is pending.
    has_lines: bool,
}

impl Pipe {
    /// Returns one at whose end the beginning of a line is no line: its writer writes it again.
    pub(super) fn of_whole_lines() -> Self {
        Self { drops_rest: true, ..Self::default() }
    }

    /// Returns whether its other end is closed and all is handed out.
    pub(super) fn is_over(&self) -> bool {
        self.is_over && !self.has_lines
    }

    /// Reads no more from it; what is left of what was read is handed out by the next read.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.has_lines = !self.pending.is_empty();
    }

    /// Returns whether there is something to read.
    pub(super) fn is_ready(&self, from: &impl Poll) -> bool {
        self.has_lines || !self.is_over && from.is_readable()
    }

    /// Reads lines into `buffer`: what is there, as much as fits.
    ///
    /// # Errors
    /// Whatever the system reports; what was read before is kept.
    pub(super) fn read(
        &mut self,
        mut from: impl Read + Poll,
        buffer: &mut ReadBuffer,
    ) -> io::Result<Split> {
        let mut filled = self.pending.len();
        buffer.bytes[..filled].copy_from_slice(&self.pending);
        let mut failed = None;
        while filled < READ_BYTES && !self.is_over && from.is_readable() {
            match from.read(&mut buffer.bytes[filled..]) {
                Ok(0) => self.is_over = true,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let bytes = &buffer.bytes[..filled];
        let ends_line = self.is_over && !self.drops_rest;
        let split = split(bytes, buffer.record_end, self.skipping, ends_line, &mut buffer.spans);
        self.skipping = split.skipping;
        self.has_lines = split.full;
        self.pending.clear();
        self.pending.extend_from_slice(&bytes[split.consumed..]);
        self.pending.shrink_to(READ_BYTES / 8);
        match failed {
            Some(error) if buffer.spans.is_empty() => Err(error),
            Some(_) | None => Ok(split),
        }
    }
}

/// What can say whether a read would wait.
pub(super) trait Poll {
    /// Returns whether a read would not wait: there are bytes, or an end, or an error.
    fn is_readable(&self) -> bool;
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::io::Write;

    use shared::limits::RECORD_BYTES_MAX;

    use super::*;

    fn lines(buffer: &ReadBuffer) -> Vec<usize> {
        super::super::Batch::new(buffer, 0).lines().map(|line| line.bytes.len()).collect()
    }

    #[test]
    fn a_line_waits_for_its_end_and_nothing_waits_for_the_pipe() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut pipe, mut buffer) = (Pipe::default(), ReadBuffer::new());
        assert!(!pipe.is_ready(&reader));
        writer.write_all(b"a1\na2-be").unwrap();
        assert!(pipe.is_ready(&reader));
        pipe.read(&reader, &mut buffer).unwrap();
        assert_eq!(lines(&buffer), [2]);
        assert!(!pipe.is_ready(&reader));
        writer.write_all(b"gun\n").unwrap();
        pipe.read(&reader, &mut buffer).unwrap();
        assert_eq!(lines(&buffer), [8]);
        writer.write_all(b"last").unwrap();
        drop(writer);
        pipe.read(&reader, &mut buffer).unwrap();
        assert_eq!(lines(&buffer), [4], "the end ends a line, too");
        assert!(pipe.is_over() && !pipe.is_ready(&reader));
    }

    #[test]
    fn a_program_that_dies_within_a_line_leaves_no_half_of_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut pipe, mut buffer) = (Pipe::of_whole_lines(), ReadBuffer::new());
        writer.write_all(b"whole\nha").unwrap();
        drop(writer);
        pipe.read(&reader, &mut buffer).unwrap();
        assert_eq!(lines(&buffer), [5]);
        assert!(pipe.is_over() && !pipe.is_ready(&reader));
    }

    #[test]
    fn an_over_long_line_is_cut_and_the_next_is_whole() {
        let (reader, mut writer) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || {
            writer.write_all(&vec![b'x'; 3 * RECORD_BYTES_MAX]).unwrap();
            writer.write_all(b"\nnext\n").unwrap();
        });
        let (mut pipe, mut buffer, mut found) = (Pipe::default(), ReadBuffer::new(), Vec::new());
        while !pipe.is_over() {
            pipe.read(&reader, &mut buffer).unwrap();
            found.extend(lines(&buffer));
        }
        writing.join().unwrap();
        assert_eq!(found, [RECORD_BYTES_MAX, 4]);
    }
}
