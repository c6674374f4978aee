//! Reading durable blocks, from any thread, while the spool is written.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use shared::ids::{Epoch, Lane, Seq};
use thiserror::Error;

use super::{
    disk::Disk,
    index::{Index, LaneHead, Located, Place},
    scan::Scan,
    segment::{Head, Kind, Meta},
};

/// Reads the spool's durable blocks and notes which are acked. Clones share all of it.
///
/// No method waits for a write or a sync: the index is locked only to look something up.
#[derive(Clone, Debug)]
pub struct SpoolReader {
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    epoch: Epoch,
}

/// What a block number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBlock {
    /// A block, undamaged.
    Block(Bytes),
    /// The block is lost, and so are those after it up to `last`.
    Lost {
        /// The block that was asked for.
        first: Seq,
        /// The last block that is lost with it.
        last: Seq,
        /// What happened to them.
        reason: LostReason,
    },
}

/// What happened to a block that was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// Its bytes, or those that say where it is, are not what was written.
    Damaged,
    /// Its segment is not there.
    Missing,
    /// Its number was skipped when the spool was opened after an unfinished write: no block was
    /// ever seen under it, unless it is that write which was damaged after its sync.
    Skipped,
}

impl SpoolReader {
    pub(super) fn new(disk: Arc<dyn Disk>, index: Index, epoch: Epoch) -> Self {
        Self { disk, index: Arc::new(Mutex::new(index)), epoch }
    }

    /// Returns the spool's epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns what there is of every lane, in the order of [`Lane::ALL`].
    ///
    /// Acks are not kept over a restart: the first block is then the oldest on disk, acked or not.
    #[must_use]
    pub fn heads(&self) -> [LaneHead; Lane::COUNT] {
        self.index().heads()
    }

    /// Reads a durable block.
    ///
    /// # Errors
    /// See [`ReadError`]. Damage is no error but an answer.
    pub fn read(&self, lane: Lane, seq: Seq) -> Result<ReadBlock, ReadError> {
        // The lock is let go here: reading takes it again.
        let located = self.index().locate(lane, seq.as_u64());
        match located {
            Located::Acked => Err(ReadError::Acked { lane, seq }),
            Located::NotDurable => Err(ReadError::NotDurable { lane, seq }),
            Located::Missing { last } => Ok(lost(seq, last, LostReason::Missing)),
            Located::At { from, bytes, end } => match self.read_from(lane, seq, from, bytes, end) {
                Ok(read) => Ok(read),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(self.explain_missing(lane, seq, end)?)
                }
                Err(source) => Err(ReadError::Io { lane, seq, source }),
            },
        }
    }

    /// Returns whether no block was ever seen under the numbers from `first` to `last`: all of them were skipped.
    #[must_use]
    pub fn is_skipped(&self, lane: Lane, first: Seq, last: Seq) -> bool {
        let mut next = first;
        while next <= last {
            match self.read(lane, next) {
                Ok(ReadBlock::Lost { last, reason: LostReason::Skipped, .. }) => {
                    next = Seq::after(Some(last));
                }
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Notes that all blocks of `lane` up to `up_to` are acked; an older note changes nothing.
    ///
    /// # Errors
    /// [`AdvanceError`] if there is no such durable block. Nothing is changed then: the coordinator
    /// has more than this spool ever made durable, so the spool is not what it was.
    pub fn advance(&self, lane: Lane, up_to: Seq) -> Result<(), AdvanceError> {
        let mut index = self.index();
        if index.advance(lane, up_to.as_u64()) {
            return Ok(());
        }
        Err(AdvanceError { lane, up_to, last: index.heads()[lane.index()].last })
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_from(
        &self,
        lane: Lane,
        seq: Seq,
        from: Place,
        bytes: u64,
        end: u64,
    ) -> io::Result<ReadBlock> {
        let wanted = seq.as_u64();
        let mut scan = Scan::new(&*self.disk, from.segment, bytes, Some(self.epoch));
        let mut offset = from.offset;
        while let Some((head, meta)) = scan.record_from(offset)? {
            // Read again, a head may claim more than it did when the spool was opened.
            let (next, after) = (head.next[lane.index()], head.end()[lane.index()].min(end));
            if wanted < next {
                return Ok(lost(seq, next.min(end) - 1, LostReason::Damaged));
            }
            if wanted < after {
                if head.kind == Kind::Snapshot {
                    return Ok(lost(seq, after - 1, LostReason::Skipped));
                }
                self.index().hint(lane, Place { offset: head.offset, next, ..from });
                let Some(meta) = meta else {
                    return Ok(lost(seq, after - 1, LostReason::Damaged));
                };
                let block = read_block(&mut scan, lane, seq, &head, &meta)?;
                return Ok(
                    block.map_or_else(|| lost(seq, wanted, LostReason::Damaged), ReadBlock::Block)
                );
            }
            offset = head.end_offset();
        }
        Ok(lost(seq, end - 1, LostReason::Damaged))
    }

    /// Says why the segment of a block was not there when it was read.
    fn explain_missing(&self, lane: Lane, seq: Seq, end: u64) -> Result<ReadBlock, ReadError> {
        match self.index().locate(lane, seq.as_u64()) {
            Located::Acked => Err(ReadError::Acked { lane, seq }),
            _ => Ok(lost(seq, end - 1, LostReason::Missing)),
        }
    }
}

/// Reads a block of the record that begins with `head`; `None` if it is damaged.
fn read_block(
    scan: &mut Scan<'_>,
    lane: Lane,
    seq: Seq,
    head: &Head,
    meta: &Meta,
) -> io::Result<Option<Bytes>> {
    let mut number = head.next[lane.index()];
    let mut offset = head.data_offset();
    for entry in &meta.blocks {
        if entry.lane == lane {
            if number == seq.as_u64() {
                let len = entry.len as usize;
                let bytes = scan.copy(offset, len)?;
                return Ok(bytes.filter(|bytes| crc32c::crc32c(bytes) == entry.crc));
            }
            number += 1;
        }
        offset += u64::from(entry.len);
    }
    Ok(None)
}

fn lost(first: Seq, last: u64, reason: LostReason) -> ReadBlock {
    let last = Seq::new(last).map_or(first, |last| last.max(first));
    ReadBlock::Lost { first, last, reason }
}

/// Why a block was not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is acked, or older than all that is kept.
    #[error("block {seq} of lane {lane} is acked")]
    Acked {
        /// Lane that was asked.
        lane: Lane,
        /// Block that was asked for.
        seq: Seq,
    },
    /// It is not durable yet, or was never made.
    #[error("block {seq} of lane {lane} is not durable")]
    NotDurable {
        /// Lane that was asked.
        lane: Lane,
        /// Block that was asked for.
        seq: Seq,
    },
    /// The system refused for want of something: a later try may succeed.
    #[error("block {seq} of lane {lane} cannot be read now: {source}")]
    Io {
        /// Lane that was asked.
        lane: Lane,
        /// Block that was asked for.
        seq: Seq,
        /// What the system said.
        source: io::Error,
    },
}

/// An ack for a block that is not durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "block {up_to} of lane {lane} is acked, but the newest here is {}",
    last.map_or(0, Seq::as_u64)
)]
pub struct AdvanceError {
    /// Lane of the ack.
    pub lane: Lane,
    /// Block that was acked.
    pub up_to: Seq,
    /// The newest durable block of the lane.
    pub last: Option<Seq>,
}
