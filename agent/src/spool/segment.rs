//! The bytes of a segment's records: the fixed head, and what it says of the blocks, checkpoints
//! and ledger.
//!
//! The layout is in the spool's documentation. Decoding believes nothing: every length is checked
//! against what is there, and no byte string makes it panic.

use std::collections::BTreeMap;

use shared::{
    ids::{Epoch, Lane},
    limits::{BLOCK_BYTES_MAX, RECORD_BYTES_MAX},
};

use super::disk::SegmentId;
use crate::limits::READY_BYTES_MAX;

/// Size of a record's head, in bytes, the same in all versions.
pub(super) const HEAD_BYTES: usize = 92;

/// First bytes of every record.
pub(super) const MAGIC: [u8; 4] = *b"SBSL";

/// Version of the layout that is written, except where only [`VERSION_SKIP`] can say it.
pub(super) const VERSION: u16 = 1;

/// Version of a snapshot that skips numbers: older programs do not know such, and refuse it (L10).
pub(super) const VERSION_SKIP: u16 = 2;

/// Largest description of a record, in bytes: what a reader sets aside for it. The places of 65,536
/// files of a pattern fit, at some 60 bytes each, with what of them one commit changes, and a
/// thousand checkpoints of 1 kB. It was 2 MiB before there were patterns; a smaller description is as
/// it was.
pub(super) const META_BYTES_MAX: usize = 8 << 20;

/// Most bytes of blocks in one record. Three of the largest blocks, or a hundred everyday ones, are
/// made durable by one sync; until then they stay in memory.
pub(super) const DATA_BYTES_MAX: usize = 8 << 20;

/// Bytes that one block takes in a record's description.
pub(super) const BLOCK_ENTRY_BYTES: usize = 9;

const _: () = assert!(BLOCK_BYTES_MAX <= DATA_BYTES_MAX, "the largest block fits a record");
const _: () =
    assert!(READY_BYTES_MAX + 2 * RECORD_BYTES_MAX < DATA_BYTES_MAX, "so does all that waits");

/// A number for each lane, in the order of [`Lane::ALL`].
pub(super) type PerLane<T> = [T; Lane::COUNT];

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Begins a segment: all checkpoints and the ledger, as they are before its first commit.
    Snapshot,
    /// What became true together.
    Commit,
}

/// The fixed beginning of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) epoch: Epoch,
    /// Where the record is. With the epoch it makes sure that bytes which only look like a record
    /// are not taken for one, whether they come from a block or from another file.
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
    /// Number of the commit; of a snapshot, the number of the commit before it.
    pub(super) commit: u64,
    /// Number of the block that comes next in each lane, before the record.
    pub(super) next: PerLane<u64>,
    /// How many blocks the record has; of a snapshot, how many numbers it skips.
    pub(super) counts: PerLane<u32>,
    pub(super) meta_len: u32,
    pub(super) meta_crc: u32,
    pub(super) data_len: u32,
}

impl Head {
    /// Returns the bytes of the head.
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        let version = if self.is_skip() { VERSION_SKIP } else { VERSION };
        put(&version.to_le_bytes());
        put(&[if self.kind == Kind::Snapshot { 1 } else { 2 }, 0]);
        put(&self.epoch.0.to_le_bytes());
        put(&self.segment.0.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.commit.to_le_bytes());
        self.next.iter().for_each(|next| put(&next.to_le_bytes()));
        self.counts.iter().for_each(|count| put(&count.to_le_bytes()));
        put(&self.meta_len.to_le_bytes());
        put(&self.meta_crc.to_le_bytes());
        put(&self.data_len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEAD_BYTES - 4]);
        bytes[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a head from the first bytes of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let bytes = bytes.get(..HEAD_BYTES).ok_or(HeadError::Damaged)?;
        let mut input = Input(bytes);
        let head = input.head().ok_or(HeadError::Damaged)?;
        if head.magic != MAGIC || head.crc != crc32c::crc32c(&bytes[..HEAD_BYTES - 4]) {
            return Err(HeadError::Damaged);
        }
        if head.version != VERSION && head.version != VERSION_SKIP {
            return Err(HeadError::Version(head.version));
        }
        head.check().ok_or(HeadError::Damaged)
    }

    /// Returns how long the whole record is, in bytes.
    pub(super) fn record_len(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.meta_len) + u64::from(self.data_len)
    }

    /// Returns where the record ends in its segment.
    pub(super) fn end_offset(&self) -> u64 {
        self.offset.saturating_add(self.record_len())
    }

    /// Returns where the description begins in the segment.
    pub(super) fn meta_offset(&self) -> u64 {
        self.offset.saturating_add(HEAD_BYTES as u64)
    }

    /// Returns where the blocks begin in the segment.
    pub(super) fn data_offset(&self) -> u64 {
        self.meta_offset().saturating_add(u64::from(self.meta_len))
    }

    /// Tells whether the record is a snapshot that skips numbers.
    pub(super) fn is_skip(&self) -> bool {
        self.kind == Kind::Snapshot && self.counts != [0; Lane::COUNT]
    }

    /// Returns how many blocks of each lane the record has.
    pub(super) const fn block_counts(&self) -> PerLane<u32> {
        match self.kind {
            Kind::Snapshot => [0; Lane::COUNT],
            Kind::Commit => self.counts,
        }
    }

    /// Returns the number of the block that comes next in each lane, after the record.
    pub(super) fn end(&self) -> PerLane<u64> {
        std::array::from_fn(|lane| self.next[lane].saturating_add(u64::from(self.counts[lane])))
    }
}

/// Why bytes are not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// They are something else, or were damaged.
    Damaged,
    /// They are a whole head of a version that this program does not read.
    Version(u16),
}

/// A head's fields as read, before they are believed.
struct RawHead {
    magic: [u8; 4],
    version: u16,
    kind: u8,
    zero: u8,
    head: Head,
    crc: u32,
}

impl RawHead {
    fn check(self) -> Option<Head> {
        let kind = match self.kind {
            1 => Kind::Snapshot,
            2 => Kind::Commit,
            _ => return None,
        };
        let head = Head { kind, ..self.head };
        let snapshot_fits = head.offset == 0 && head.data_len == 0;
        let fits = self.zero == 0
            && head.is_skip() == (self.version == VERSION_SKIP)
            && head.meta_len as usize <= META_BYTES_MAX
            && head.data_len as usize <= DATA_BYTES_MAX
            && (u64::from(kind == Kind::Commit)..u64::MAX >> 1).contains(&head.commit)
            && head.next.iter().all(|next| (1..u64::MAX >> 1).contains(next))
            && (kind == Kind::Commit) == (head.offset != 0)
            && (kind == Kind::Commit || snapshot_fits);
        fits.then_some(head)
    }
}

/// One block in a record's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) lane: Lane,
    pub(super) len: u32,
    pub(super) crc: u32,
}

/// What a record's description says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The blocks, in the order of their bytes.
    pub(super) blocks: Vec<BlockEntry>,
    /// Sources' new checkpoints; `None` forgets the source.
    pub(super) changes: Vec<(String, Option<Vec<u8>>)>,
    /// The new ledger, if it changed.
    pub(super) ledger: Option<Vec<u8>>,
}

impl Meta {
    /// Reads the description of the record that begins with `head`.
    pub(super) fn decode(head: &Head, bytes: &[u8]) -> Option<Self> {
        if crc32c::crc32c(bytes) != head.meta_crc || bytes.len() != head.meta_len as usize {
            return None;
        }
        let mut input = Input(bytes);
        let count = input.u32()? as usize;
        let table = input.take(count.checked_mul(BLOCK_ENTRY_BYTES)?)?;
        let mut blocks = Vec::with_capacity(count);
        let mut counts = [0_u32; Lane::COUNT];
        let mut data_len = 0_u64;
        for entry in table.chunks_exact(BLOCK_ENTRY_BYTES) {
            let mut entry = Input(entry);
            let lane = Lane::from_index(usize::from(entry.u8()?))?;
            let block = BlockEntry { lane, len: entry.u32()?, crc: entry.u32()? };
            counts[lane.index()] += 1;
            data_len += u64::from(block.len);
            blocks.push(block);
        }
        let mut changes = Vec::new();
        for _ in 0..input.u32()? {
            changes.push(input.change()?);
        }
        let ledger = match input.u8()? {
            0 => None,
            1 => Some(input.long()?.to_vec()),
            _ => return None,
        };
        let fits = counts == head.block_counts() && data_len == u64::from(head.data_len);
        (fits && input.0.is_empty()).then_some(Self { blocks, changes, ledger })
    }
}

/// Returns how long the description of a record is, in bytes; `changes` as from [`change_len`].
pub(super) fn meta_len(blocks: usize, changes: usize, ledger: Option<&[u8]>) -> usize {
    4 + blocks * BLOCK_ENTRY_BYTES + 4 + changes + 1 + ledger.map_or(0, |ledger| 4 + ledger.len())
}

/// Returns how many bytes a source's change takes in a description.
pub(super) fn change_len(name: &str, value: Option<&[u8]>) -> usize {
    1 + 2 + name.len() + value.map_or(0, |value| 4 + value.len())
}

/// Writes a description to the end of `out`.
pub(super) fn encode_meta<'a>(
    out: &mut Vec<u8>,
    blocks: &[BlockEntry],
    changes: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ledger: Option<&[u8]>,
) {
    out.extend_from_slice(&len32(blocks.len()));
    for block in blocks {
        out.push(u8::try_from(block.lane.index()).expect("there are three lanes"));
        out.extend_from_slice(&block.len.to_le_bytes());
        out.extend_from_slice(&block.crc.to_le_bytes());
    }
    out.extend_from_slice(&len32(changes.len()));
    for (name, value) in changes {
        let name_len = u16::try_from(name.len()).expect("names were checked when appended");
        out.push(u8::from(value.is_some()));
        out.extend_from_slice(&name_len.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.extend_from_slice(&len32(value.len()));
            out.extend_from_slice(value);
        }
    }
    out.push(u8::from(ledger.is_some()));
    if let Some(ledger) = ledger {
        out.extend_from_slice(&len32(ledger.len()));
        out.extend_from_slice(ledger);
    }
}

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("lengths were checked when appended").to_le_bytes()
}

/// All that the commits so far amount to, except the blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) checkpoints: BTreeMap<String, Vec<u8>>,
    pub(super) ledger: Vec<u8>,
}

impl State {
    /// Takes in what a record says.
    pub(super) fn apply(&mut self, kind: Kind, meta: Meta) {
        if kind == Kind::Snapshot {
            *self = Self::default();
        }
        self.change(meta.changes, meta.ledger);
    }

    /// Sets checkpoints, or forgets sources, and sets the ledger.
    pub(super) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<Vec<u8>>)>,
        ledger: Option<Vec<u8>>,
    ) {
        for (name, value) in changes {
            match value {
                Some(value) => drop(self.checkpoints.insert(name, value)),
                None => drop(self.checkpoints.remove(&name)),
            }
        }
        if let Some(ledger) = ledger {
            self.ledger = ledger;
        }
    }

    /// Returns how long a snapshot's description is, in bytes.
    pub(super) fn snapshot_len(&self) -> usize {
        let changes = self.checkpoints.iter().map(|(name, value)| change_len(name, Some(value)));
        meta_len(0, changes.sum(), Some(&self.ledger))
    }

    /// Writes a snapshot's description to the end of `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let changes =
            self.checkpoints.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
        encode_meta(out, &[], changes, Some(&self.ledger));
    }
}

/// Bytes still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a length of 32 bits and as many bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn change(&mut self) -> Option<(String, Option<Vec<u8>>)> {
        let has_value = self.u8()?;
        let name_len = usize::from(self.u16()?);
        let name = std::str::from_utf8(self.take(name_len)?).ok()?.to_owned();
        match has_value {
            0 => Some((name, None)),
            1 => Some((name, Some(self.long()?.to_vec()))),
            _ => None,
        }
    }

    fn head(&mut self) -> Option<RawHead> {
        let magic = self.array()?;
        let version = self.u16()?;
        let (kind, zero) = (self.u8()?, self.u8()?);
        let head = Head {
            kind: Kind::Commit,
            epoch: Epoch(self.u64()?),
            segment: SegmentId(self.u64()?),
            offset: self.u64()?,
            commit: self.u64()?,
            next: [self.u64()?, self.u64()?, self.u64()?],
            counts: [self.u32()?, self.u32()?, self.u32()?],
            meta_len: self.u32()?,
            meta_crc: self.u32()?,
            data_len: self.u32()?,
        };
        Some(RawHead { magic, version, kind, zero, head, crc: self.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> (Head, Vec<u8>, Meta) {
        let meta = Meta {
            blocks: vec![
                BlockEntry { lane: Lane::Urgent, len: 3, crc: 7 },
                BlockEntry { lane: Lane::Bulk, len: 4, crc: 8 },
            ],
            changes: vec![("eve".into(), Some(vec![1, 2])), ("gone".into(), None)],
            ledger: Some(vec![9; 5]),
        };
        let changes = meta.changes.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let mut bytes = Vec::new();
        encode_meta(&mut bytes, &meta.blocks, changes, meta.ledger.as_deref());
        let head = Head {
            kind: Kind::Commit,
            epoch: Epoch(0xe),
            segment: SegmentId(3),
            offset: 4096,
            commit: 12,
            next: [1, 2, 3],
            counts: [1, 0, 1],
            meta_len: u32::try_from(bytes.len()).unwrap(),
            meta_crc: crc32c::crc32c(&bytes),
            data_len: 7,
        };
        (head, bytes, meta)
    }

    #[test]
    fn a_record_reads_back_as_written() {
        let (head, bytes, meta) = example();
        assert_eq!(Head::decode(&head.encode()), Ok(head.clone()));
        assert_eq!(Meta::decode(&head, &bytes), Some(meta.clone()));
        let changes = meta.changes.iter().map(|(name, value)| change_len(name, value.as_deref()));
        assert_eq!(meta_len(2, changes.sum(), meta.ledger.as_deref()), bytes.len());
        assert_eq!(head.end(), [2, 2, 4]);
        assert_eq!(head.end_offset(), 4096 + 92 + bytes.len() as u64 + 7);
    }

    #[test]
    fn version_1_stays_readable_byte_by_byte() {
        let (head, meta, _) = example();
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let bytes = head.encode();
        assert_eq!(
            hex(&bytes[..76]),
            "5342534c010002000e00000000000000030000000000000000100000000000000c00000000000000\
             010000000000000002000000000000000300000000000000010000000000000001000000"
        );
        assert_eq!(
            hex(&meta),
            "02000000000300000007000000020400000008000000\
             0200000001030065766502000000010200040067 6f6e65010500000009090909 09"
                .replace(' ', "")
        );
    }

    #[test]
    fn any_flipped_bit_of_a_head_is_noticed() {
        let bytes = example().0.encode();
        for at in 0..HEAD_BYTES * 8 {
            let mut flipped = bytes;
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(Head::decode(&flipped), Err(HeadError::Damaged), "bit {at}");
        }
    }

    #[test]
    fn a_whole_head_of_another_version_is_told_from_damage() {
        let mut bytes = example().0.encode();
        bytes[4] = 9;
        let crc = crc32c::crc32c(&bytes[..HEAD_BYTES - 4]);
        bytes[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Head::decode(&bytes), Err(HeadError::Version(9)));
    }

    #[test]
    fn a_snapshot_that_skips_numbers_has_a_version_of_its_own() {
        let (head, ..) = example();
        let plain = Head { kind: Kind::Snapshot, offset: 0, counts: [0; 3], data_len: 0, ..head };
        let skip = Head { counts: [7, 7, 9], ..plain.clone() };
        assert_eq!((plain.encode()[4], skip.encode()[4]), (1, 2));
        assert_eq!(Head::decode(&skip.encode()), Ok(skip.clone()));
        assert_eq!((skip.end(), skip.block_counts()), ([8, 9, 12], [0; 3]));
        for (head, version) in [(&plain, 2), (&skip, 1), (&example().0, 2)] {
            let mut bytes = head.encode();
            bytes[4] = version;
            let crc = crc32c::crc32c(&bytes[..HEAD_BYTES - 4]);
            bytes[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Head::decode(&bytes), Err(HeadError::Damaged), "{head:?}");
        }
    }

    #[test]
    fn numbers_that_no_spool_counts_to_are_refused() {
        let (head, ..) = example();
        assert!(Head::decode(&Head { commit: 1, ..head.clone() }.encode()).is_ok());
        let lying = [
            Head { commit: 0, ..head.clone() },
            Head { commit: u64::MAX >> 1, ..head.clone() },
            Head { next: [1, 0, 1], ..head.clone() },
            Head { next: [1, u64::MAX >> 1, 1], ..head },
        ];
        for head in lying {
            assert_eq!(Head::decode(&head.encode()), Err(HeadError::Damaged), "{head:?}");
        }
    }

    #[test]
    fn a_description_that_disagrees_with_its_head_is_refused() {
        let (head, bytes, _) = example();
        let lying = [
            Head { counts: [0, 1, 1], ..head.clone() },
            Head { data_len: 8, ..head.clone() },
            Head { meta_crc: 0, ..head.clone() },
            Head { meta_len: 3, ..head },
        ];
        for head in lying {
            assert_eq!(Meta::decode(&head, &bytes), None);
        }
    }

    #[test]
    fn a_huge_count_sets_no_memory_aside() {
        let bytes = [0xff; 16];
        let (head, ..) = example();
        let head = Head { meta_len: 16, meta_crc: crc32c::crc32c(&bytes), ..head };
        assert_eq!(Meta::decode(&head, &bytes), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Head::decode(&bytes).is_err());
            let (head, ..) = example();
            let meta_len = u32::try_from(bytes.len()).unwrap();
            let head = Head { meta_len, meta_crc: crc32c::crc32c(&bytes), ..head };
            prop_assert_eq!(Meta::decode(&head, &bytes), None);
        }
    }
}
