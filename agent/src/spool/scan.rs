//! Reading records from a segment of which any byte may be wrong.

use std::io;

use bytes::Bytes;
use shared::ids::Epoch;

use super::{
    disk::{Disk, SegmentId, is_bad_sector},
    segment::{HEAD_BYTES, Head, HeadError, MAGIC, Meta},
};

/// Bytes lost around one unreadable place: a disk's physical sector.
pub(super) const SECTOR: usize = 4096;

/// Bytes read at once when nothing longer is asked for.
const CHUNK: usize = 16 << 10;

/// Reads the first `end` bytes of one segment. Sectors that the medium has lost read as zeros,
/// which no checksum here takes for data.
pub(super) struct Scan<'a> {
    disk: &'a dyn Disk,
    segment: SegmentId,
    /// Epoch of the records; `None` takes any.
    epoch: Option<Epoch>,
    end: u64,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the segment.
    start: u64,
}

/// What is at some place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// No record begins here.
    Nothing,
    /// A record of another version begins here.
    Version(u16),
    /// A record begins here; its description is `None` if it was damaged or cut off.
    Record(Head, Option<Meta>),
}

impl<'a> Scan<'a> {
    /// Returns a reader of the first `end` bytes of `segment`.
    pub(super) const fn new(
        disk: &'a dyn Disk,
        segment: SegmentId,
        end: u64,
        epoch: Option<Epoch>,
    ) -> Self {
        Self { disk, segment, epoch, end, buffer: Vec::new(), start: 0 }
    }

    /// Returns what is at `offset`.
    pub(super) fn record_at(&mut self, offset: u64) -> io::Result<Found> {
        let Some(bytes) = self.bytes(offset, HEAD_BYTES)? else { return Ok(Found::Nothing) };
        let head = match Head::decode(bytes) {
            Ok(head) => head,
            Err(HeadError::Damaged) => return Ok(Found::Nothing),
            Err(HeadError::Version(version)) => return Ok(Found::Version(version)),
        };
        let epoch_fits = self.epoch.is_none_or(|epoch| epoch == head.epoch);
        if head.segment != self.segment || head.offset != offset || !epoch_fits {
            return Ok(Found::Nothing);
        }
        let meta = self.bytes(head.meta_offset(), head.meta_len as usize)?;
        let meta = meta.and_then(|bytes| Meta::decode(&head, bytes));
        Ok(Found::Record(head, meta))
    }

    /// Returns the first record that begins at `offset` or after it.
    pub(super) fn record_from(&mut self, offset: u64) -> io::Result<Option<(Head, Option<Meta>)>> {
        let mut offset = offset;
        loop {
            if let Found::Record(head, meta) = self.record_at(offset)? {
                return Ok(Some((head, meta)));
            }
            let Some(next) = self.magic_from(offset.saturating_add(1))? else { return Ok(None) };
            offset = next;
        }
    }

    /// Tells whether all blocks of a record are there and undamaged.
    pub(super) fn has_whole_data(&mut self, head: &Head, meta: &Meta) -> io::Result<bool> {
        let mut offset = head.data_offset();
        for block in &meta.blocks {
            let mut left = block.len as usize;
            let mut crc = 0;
            while left > 0 {
                let len = left.min(CHUNK);
                let Some(bytes) = self.bytes(offset, len)? else { return Ok(false) };
                crc = crc32c::crc32c_append(crc, bytes);
                offset += len as u64;
                left -= len;
            }
            if crc != block.crc {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns `len` bytes at `offset`, or `None` if the segment ends before that.
    pub(super) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(last) = offset.checked_add(len as u64).filter(|last| *last <= self.end) else {
            return Ok(None);
        };
        if offset < self.start || last > self.start + self.buffer.len() as u64 {
            let rest = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            self.buffer.resize(len.max(CHUNK).min(rest), 0);
            self.start = offset;
            let read = read_through(self.disk, self.segment, offset, &mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..from.saturating_add(len)))
    }

    /// Returns `len` bytes at `offset` to keep, or `None` if the segment ends before that.
    pub(super) fn copy(&mut self, offset: u64, len: usize) -> io::Result<Option<Bytes>> {
        if len <= CHUNK {
            return Ok(self.bytes(offset, len)?.map(Bytes::copy_from_slice));
        }
        if offset.checked_add(len as u64).is_none_or(|last| last > self.end) {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        let read = read_through(self.disk, self.segment, offset, &mut bytes)?;
        Ok((read == len).then(|| bytes.into()))
    }

    /// Returns the first place at `offset` or after it where a record may begin.
    fn magic_from(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let mut offset = offset;
        loop {
            let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            if left < HEAD_BYTES {
                return Ok(None);
            }
            let len = left.min(CHUNK);
            let Some(bytes) = self.bytes(offset, len)? else { return Ok(None) };
            let found = bytes.windows(MAGIC.len()).position(|window| window == MAGIC);
            if let Some(found) = found {
                return Ok(Some(offset + found as u64));
            }
            if len == left {
                return Ok(None);
            }
            offset += (len - (MAGIC.len() - 1)) as u64;
        }
    }
}

/// Reads like [`Disk::read_at`], except that sectors which the medium has lost read as zeros.
pub(super) fn read_through(
    disk: &dyn Disk,
    id: SegmentId,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match disk.read_at(id, offset, buffer) {
        Err(error) if is_bad_sector(&error) => {}
        done => return done,
    }
    let mut filled = 0;
    while filled < buffer.len() {
        // To the end of the sector, so that one bad sector costs no more than itself.
        let at = offset + filled as u64;
        let to_border = SECTOR - usize::try_from(at % SECTOR as u64).unwrap_or(0);
        let part_end = filled.saturating_add(to_border).min(buffer.len());
        let part = &mut buffer[filled..part_end];
        match disk.read_at(id, at, part) {
            Ok(read) if read < part.len() => return Ok(filled + read),
            Ok(_) => {}
            Err(error) if is_bad_sector(&error) => part.fill(0),
            Err(error) => return Err(error),
        }
        filled = part_end;
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::SimDisk;

    #[test]
    fn a_bad_sector_reads_as_zeros_and_its_neighbours_as_they_are() {
        let disk = SimDisk::new(0);
        disk.put(SegmentId(1), vec![7; 20_000]);
        disk.make_unreadable(SegmentId(1), 5000..5001);
        let mut buffer = vec![1; 19_000];
        assert_eq!(read_through(&disk, SegmentId(1), 1000, &mut buffer).unwrap(), 19_000);
        let zeros = buffer.iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros, 4096);
        assert!(buffer[4096 - 1000..8192 - 1000].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_magic_across_two_chunks_is_found() {
        for at in CHUNK - 6..CHUNK + 3 {
            let mut bytes = vec![0; 3 * CHUNK];
            bytes[at..at + MAGIC.len()].copy_from_slice(&MAGIC);
            let disk = SimDisk::new(0);
            disk.put(SegmentId(1), bytes);
            let mut scan = Scan::new(&disk, SegmentId(1), 3 * CHUNK as u64, None);
            assert_eq!(scan.magic_from(1).unwrap(), Some(at as u64));
            assert_eq!(scan.magic_from(at as u64 + 1).unwrap(), None);
        }
    }

    #[test]
    fn a_file_shorter_than_thought_ends_where_it_ends() {
        let disk = SimDisk::new(0);
        disk.put(SegmentId(1), vec![0; 10]);
        let mut scan = Scan::new(&disk, SegmentId(1), 1000, None);
        assert_eq!(scan.bytes(0, 20).unwrap(), None);
        assert!(scan.record_from(0).unwrap().is_none());
    }
}
