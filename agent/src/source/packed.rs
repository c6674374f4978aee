//! The text of a file that gzip compressed, read from front to back like a file: what a rotation that compresses at
//! once has left of a file that was not read to its end.
//!
//! # Limits
//! What was unpacked behind the place that was asked for last is kept, one read's worth and a chunk, so that reading on
//! unpacks each byte once. Reading before that place begins anew.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _},
};

use flate2::read::MultiGzDecoder;

/// Bytes unpacked at once.
const CHUNK_BYTES: usize = 32 << 10;

/// Unpacks one file.
#[derive(Debug)]
pub(super) struct Unpacker {
    decoder: MultiGzDecoder<BufReader<File>>,
    /// What was unpacked from `start` on.
    recent: Vec<u8>,
    start: u64,
    ending: Option<Ending>,
}

/// How the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Whole,
    /// The file is cut off or broken, and what would follow cannot be unpacked.
    Broken,
}

impl Unpacker {
    /// Returns the unpacker of `file`, whose beginning need not be what gzip wrote.
    pub(super) fn new(file: File) -> Self {
        let decoder = MultiGzDecoder::new(BufReader::new(file));
        Self { decoder, recent: Vec::new(), start: 0, ending: None }
    }

    /// Reads from `offset` until `buffer` is full or the text ends; returns how many bytes were read.
    ///
    /// # Errors
    /// The file cannot be read. One that is broken ends there.
    pub(super) fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset < self.start {
            self.begin_anew()?;
        }
        loop {
            self.forget_before(offset);
            let there = self.from(offset).len();
            let is_there = there >= buffer.len() && self.start >= offset;
            if is_there || self.ending.is_some() {
                let len = there.min(buffer.len());
                buffer[..len].copy_from_slice(&self.from(offset)[..len]);
                return Ok(len);
            }
            self.unpack()?;
        }
    }

    /// Returns how long the text is, as far as that is known: until its end was read, longer than what was.
    pub(super) fn len(&self) -> u64 {
        let unpacked = self.start + self.recent.len() as u64;
        if self.ending.is_some() { unpacked } else { unpacked + 1 }
    }

    /// Returns whether it ended where it could not be unpacked any further.
    pub(super) fn is_broken(&self) -> bool {
        self.ending == Some(Ending::Broken)
    }

    fn from(&self, offset: u64) -> &[u8] {
        let at = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.recent.get(at..).unwrap_or_default()
    }

    fn forget_before(&mut self, offset: u64) {
        let count = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let count = count.min(self.recent.len());
        self.recent.drain(..count);
        self.start += count as u64;
    }

    fn unpack(&mut self) -> io::Result<()> {
        let before = self.recent.len();
        self.recent.resize(before + CHUNK_BYTES, 0);
        let read = self.decoder.read(&mut self.recent[before..]);
        self.recent.truncate(before + read.as_ref().copied().unwrap_or_default());
        match read {
            Ok(0) => self.ending = Some(Ending::Whole),
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidData
                | io::ErrorKind::UnexpectedEof => self.ending = Some(Ending::Broken),
                _ => return Err(error),
            },
        }
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let mut file = self.decoder.get_ref().get_ref().try_clone()?;
        file.rewind()?;
        *self = Self::new(file);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, io::Write as _, path::Path};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// Compresses `text` into a file at `path`.
    pub(in crate::source) fn pack(path: &Path, text: &[u8]) {
        let mut encoder = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap();
    }

    fn numbers(len: u32) -> Vec<u8> {
        (0..len).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn any_part_of_the_text_is_read_and_what_is_kept_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let text = numbers(500_000);
        pack(&path, &text);
        let mut unpacker = Unpacker::new(File::open(&path).unwrap());
        let mut buffer = vec![0; 100_000];
        for offset in [0, 10, 60_000, 60_000, 1_000_000, 5, 1_950_000, 2_000_000, 3_000_000] {
            let len = unpacker.read(&mut buffer, offset).unwrap();
            let from = text.len().min(usize::try_from(offset).unwrap());
            let expected = &text[from..text.len().min(from + buffer.len())];
            assert!(buffer[..len] == *expected, "{offset}");
            assert!(unpacker.recent.len() <= buffer.len() + CHUNK_BYTES, "{offset}");
        }
        assert_eq!((unpacker.len(), unpacker.is_broken()), (2_000_000, false));
    }

    #[test]
    fn a_file_that_is_cut_off_ends_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        pack(&path, &numbers(100_000));
        let packed = fs::read(&path).unwrap();
        for (bytes, is_of_gzip) in [(&packed[..packed.len() / 2], true), (b"a1\na2\n", false)] {
            fs::write(&path, bytes).unwrap();
            let mut unpacker = Unpacker::new(File::open(&path).unwrap());
            let len = unpacker.read(&mut vec![0; 400_000], 0).unwrap();
            assert_eq!((len > 0, len < 400_000), (is_of_gzip, true));
            assert_eq!((unpacker.is_broken(), unpacker.len()), (true, len as u64));
        }
    }
}
