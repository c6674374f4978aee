//! The lines of a file as they are shown: of a text as it stands, of one that rotation compressed with gzip, and of the
//! events of a Windows event log, which a child of this program reads, as for a running agent.

use std::{
    io::{self, Read, Seek as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use flate2::read::MultiGzDecoder;

use super::ShowError;
use crate::{
    config::own_program,
    evtx::{FILE_MAGIC, SOME_UNREADABLE},
    limits::READ_BYTES,
    platform::open_regular,
    source::{Batch, Begin, LineReader, ReadBuffer, Status, Tail},
};

/// What a file begins with that gzip wrote (RFC 1952, section 2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A file that is read from its start to its end.
pub(super) enum Records {
    /// As it stands. A last line without a newline is not a record yet and is left out.
    Plain(Box<Tail>),
    /// As it was unpacked.
    Unpacked(PathBuf, LineReader<Box<dyn Read>>),
    /// As a child of this program writes it.
    Written(PathBuf, LineReader<Box<dyn Read>>, Writer),
}

/// The program that writes, which ends with what it writes for.
pub(super) struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Records {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`ShowError::NotUnpacked`] for an event log that no program can be started for. Other files that cannot be
    /// opened say so when they are read.
    pub(super) fn open(path: &Path) -> Result<Self, ShowError> {
        let plain = || {
            let tail = Tail::open(path, None, Begin::Start);
            Self::Plain(Box::new(tail.expect("there is no checkpoint to be wrong")))
        };
        let Ok(mut file) = open_regular(path) else { return Ok(plain()) };
        let mut head = Vec::new();
        let magic_bytes = FILE_MAGIC.len() as u64;
        if (&file).take(magic_bytes).read_to_end(&mut head).is_err() || file.rewind().is_err() {
            return Ok(plain());
        }
        if head.starts_with(GZIP_MAGIC) {
            let text = MultiGzDecoder::new(io::BufReader::new(file));
            return Ok(Self::Unpacked(path.to_owned(), LineReader::new(Box::new(text))));
        }
        if head != FILE_MAGIC {
            return Ok(plain());
        }
        // What cannot be read of it the program says itself.
        let mut program = Command::new(own_program());
        program.args(["events", "--"]).arg(path).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = program.spawn().map_err(|error| not_unpacked(path, &error))?;
        let lines = child.stdout.take().expect("it was just piped");
        Ok(Self::Written(path.to_owned(), LineReader::new(Box::new(lines)), Writer(child)))
    }

    /// Reads the next lines; none at the end.
    ///
    /// # Errors
    /// See [`ShowError`].
    pub(super) fn next<'b>(
        &mut self,
        buffer: &'b mut ReadBuffer,
        now: Instant,
    ) -> Result<Batch<'b>, ShowError> {
        match self {
            Self::Plain(tail) => {
                let mut batch = Batch::EMPTY;
                if tail.poll(now) {
                    batch = tail.read_batch(buffer, READ_BYTES)?;
                }
                if batch.is_empty() {
                    is_open(tail)?;
                }
                Ok(batch)
            }
            Self::Unpacked(path, lines) => {
                lines.read_batch(buffer).map_err(|error| not_unpacked(path, &error))
            }
            Self::Written(path, lines, Writer(program)) => {
                let batch = lines.read_batch(buffer).map_err(|error| not_unpacked(path, &error))?;
                if batch.is_empty() {
                    let status = program.wait().map_err(|error| not_unpacked(path, &error))?;
                    let is_read = status.success() || status.code() == Some(SOME_UNREADABLE.into());
                    if !is_read {
                        return Err(not_unpacked(path, &format!("its reader ends with {status}")));
                    }
                }
                Ok(batch)
            }
        }
    }
}

fn is_open(tail: &Tail) -> Result<(), ShowError> {
    let why = match tail.status() {
        Status::Reading | Status::Ended => return Ok(()),
        Status::Missing => "there is no such file".to_owned(),
        Status::Unreadable(why) => why.clone(),
    };
    Err(ShowError::NotOpened { path: tail.path().display().to_string(), why })
}

fn not_unpacked(path: &Path, why: &dyn std::fmt::Display) -> ShowError {
    ShowError::NotUnpacked { path: path.display().to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::clock;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(bytes: &[u8]) -> Result<Vec<String>, ShowError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eve.json.2.gz");
        fs::write(&path, bytes).unwrap();
        let (mut records, mut buffer) = (Records::open(&path)?, ReadBuffer::new());
        let mut all = Vec::new();
        loop {
            let batch = records.next(&mut buffer, clock::now())?;
            if batch.is_empty() {
                return Ok(all);
            }
            let texts = batch.lines().map(|line| String::from_utf8(line.bytes.to_vec()).unwrap());
            all.extend(texts);
        }
    }

    #[test]
    fn a_file_that_rotation_compressed_is_read_whole() {
        // More than one read's worth, in two parts as `cat a.gz b.gz` leaves them.
        let text: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
        let (first, second) = text.split_at(text.len() / 2);
        let read = lines(&[packed(first), packed(second)].concat()).unwrap();
        assert_eq!(read.len(), 200_000);
        assert!(read.iter().enumerate().all(|(at, line)| *line == format!("line {at}")));
        assert_eq!(lines(&packed("a\nthe last")).unwrap(), ["a", "the last"]);
        assert_eq!(lines(&packed("")).unwrap(), [""; 0]);
    }

    #[test]
    fn a_compressed_file_that_is_cut_off_says_so() {
        let whole = packed(&"a line\n".repeat(1_000));
        let error = lines(&whole[..whole.len() / 2]).unwrap_err().to_string();
        assert!(error.contains("eve.json.2.gz cannot be unpacked to its end: "), "{error}");
    }
}
