//! Opening a spool: its bounds, and what is told of what was found.

use std::{collections::BTreeMap, io, sync::Arc};

use shared::ids::{Epoch, Lane, Seq};
use thiserror::Error;

use super::{
    Active, Spool, SyncError,
    disk::{Disk, SegmentId},
    index::Index,
    pending::Pending,
    reader::SpoolReader,
    recover::{FIRST_SEGMENT, Recovered, lost_between, recover},
    segment::{PerLane, State},
};

/// Smallest segment, in bytes: below it, headers are most of what is written.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Largest segment, in bytes, so that a place in one fits 32 bits with the longest record after it.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Fewest segments that a spool has room for: the two newest always stay, and one is written while
/// old ones go.
pub const SEGMENTS_MIN: u64 = 4;

/// A spool's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Length in bytes from which a segment is not appended to any more, [`SEGMENT_BYTES_MIN`] to
    /// [`SEGMENT_BYTES_MAX`]. A single commit may be longer than that.
    pub segment_bytes: u64,
    /// Most bytes of all segments together, at least [`SEGMENTS_MIN`] segments. The last tenth is
    /// kept for urgent blocks and for commits without blocks.
    pub total_bytes_max: u64,
}

impl SpoolConfig {
    fn check(self) -> Result<(), OpenError> {
        let Self { segment_bytes, total_bytes_max } = self;
        let fits = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
            && total_bytes_max / SEGMENTS_MIN >= segment_bytes;
        if fits { Ok(()) } else { Err(OpenError::Config { segment_bytes, total_bytes_max }) }
    }
}

/// What was found when a spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Every source's checkpoint.
    pub checkpoints: BTreeMap<String, Vec<u8>>,
    /// The ledger.
    pub ledger: Vec<u8>,
    /// Where the spool was damaged. Blocks are not checked here but when they are read.
    pub damage: Vec<Damage>,
    /// How many bytes were cut off the end because their sync was never finished, or cannot be told
    /// from that.
    pub torn_bytes: u64,
    /// The numbers that are not used because those bytes may have had them: lane, first, last.
    pub skipped: Vec<(Lane, Seq, Seq)>,
    /// Whether damage hit a checkpoint or the ledger, so that they may be older than the blocks.
    pub is_stale: bool,
    /// Whether there was no spool, and the caller's epoch was taken.
    pub created: bool,
}

/// A place of a spool that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Segment of the place.
    pub segment: SegmentId,
    /// Where it begins.
    pub offset: u64,
    /// How long it is; 0 if the segment is shorter than it was.
    pub bytes: u64,
    /// The blocks that were lost with it, at most: lane, first, last. Acked ones may be among them.
    pub lost: Vec<(Lane, Seq, Seq)>,
}

impl Spool {
    /// Opens the spool on `disk`, or creates one with `fresh_epoch`, a random number, if there is
    /// none.
    ///
    /// What a crash left unfinished is cut off, and the numbers that it may have had are skipped;
    /// what is damaged is reported, and all that follows it still counts. Where the disk has no
    /// room to note what is skipped, the first [`Spool::sync`] does it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: SpoolConfig,
        fresh_epoch: u64,
    ) -> Result<(Self, Opened), OpenError> {
        config.check()?;
        let mut files = disk.list().map_err(OpenError::io("listing segments"))?;
        files.sort_unstable();
        let next_segment = files.last().map_or(FIRST_SEGMENT.0, |(id, _)| id.0.saturating_add(1));
        let recovered = recover(&*disk, &files)?;
        let created = recovered.is_none();
        let recovered = recovered.unwrap_or_else(|| unreadable(&files, Epoch(fresh_epoch)));
        let opened = Opened {
            checkpoints: recovered.state.checkpoints.clone(),
            ledger: recovered.state.ledger.clone(),
            damage: recovered.damage,
            torn_bytes: recovered.torn_bytes,
            skipped: skipped(recovered.next, recovered.skip),
            is_stale: recovered.is_stale,
            created,
        };
        let newest = recovered.segments.last().map(|newest| (newest.id, newest.bytes));
        let index = Index::new(recovered.segments, recovered.next);
        let mut spool = Self {
            reader: SpoolReader::new(Arc::clone(&disk), index, recovered.epoch),
            config,
            snapshot_len: recovered.state.snapshot_len(),
            state: recovered.state,
            commit: recovered.commit,
            next: recovered.next,
            skip: recovered.skip,
            pending: Pending::default(),
            active: newest
                .filter(|(_, len)| recovered.is_clean && *len < config.segment_bytes)
                .map(|(id, len)| Active { id, len, is_fresh: false }),
            dead: Vec::new(),
            torn: Vec::new(),
            strays: Vec::new(),
            next_segment,
            is_disk_full: false,
            buffer: Vec::new(),
            disk,
        };
        if newest.is_none() && !spool.has_skip() {
            spool.roll().map_err(|error| OpenError::Create(Box::new(error)))?;
        }
        spool.cut_torn(recovered.torn)?;
        if created {
            // They have no record. What cannot be deleted now is tried again: an error here would
            // keep what was lost from being told.
            spool.dead.extend(files);
            let _later = spool.collect();
        }
        Ok((spool, opened))
    }

    /// Notes durably which numbers are skipped, and only then cuts off the ends that may have had
    /// them: `torn`, as segment, length that counts, and bytes after it.
    fn cut_torn(&mut self, torn: Vec<(SegmentId, u64, u64)>) -> Result<(), OpenError> {
        for (id, len, bytes) in torn {
            if len == 0 {
                self.torn.push((id, bytes));
            } else {
                self.strays.push((id, len));
                self.reader.index().note_stray(id, bytes);
            }
        }
        if !self.has_skip() {
            return Ok(());
        }
        match self.note_skip() {
            // An agent must start without room. The ends stay, and say the same again.
            Ok(()) | Err(SyncError::DiskFull) => Ok(()),
            Err(SyncError::Io { doing, source }) => Err(OpenError::Io { doing, source }),
        }
    }
}

/// Returns the numbers that are skipped, as ranges.
fn skipped(next: PerLane<u64>, skip: PerLane<u32>) -> Vec<(Lane, Seq, Seq)> {
    let end = std::array::from_fn(|lane| next[lane] + u64::from(skip[lane]));
    lost_between(next, end)
}

/// Returns a new spool in place of `files`, which have no record.
fn unreadable(files: &[(SegmentId, u64)], epoch: Epoch) -> Recovered {
    let damage = |(segment, bytes): &(SegmentId, u64)| Damage {
        segment: *segment,
        offset: 0,
        bytes: *bytes,
        lost: Vec::new(),
    };
    let damage: Vec<_> = files.iter().filter(|(_, bytes)| *bytes > 0).map(damage).collect();
    Recovered {
        epoch,
        state: State::default(),
        commit: 0,
        next: [1; Lane::COUNT],
        segments: Vec::new(),
        is_stale: !damage.is_empty(),
        damage,
        torn_bytes: 0,
        torn: Vec::new(),
        skip: [0; Lane::COUNT],
        is_clean: false,
    }
}

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A newer program wrote it. Nothing was changed.
    #[error("segment {segment} has format version {version}, which this program does not read")]
    Version {
        /// Segment with that version.
        segment: SegmentId,
        /// The version.
        version: u16,
    },
    /// The bounds do not fit together.
    #[error(
        "segments of {segment_bytes} bytes in a spool of {total_bytes_max}: a segment has \
         {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes, a spool room for {SEGMENTS_MIN}"
    )]
    Config {
        /// Segment size asked for.
        segment_bytes: u64,
        /// Spool size asked for.
        total_bytes_max: u64,
    },
    /// The first segment cannot be written.
    #[error("creating the first segment: {0}")]
    Create(Box<SyncError>),
    /// The disk refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) const fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
