//! How far a ring counts, as the spool says it.
//!
//! The ring is synced before the spool's commit that covers what was read; that commit carries the
//! mark. After a crash between the two, what lies in the ring beyond the mark is void: the
//! checkpoints are from before it, so its records are read and held again (L3).
//!
//! # Format
//! ```text
//! mark: bincode( version u8 = 1 | epoch u64 | last u64 | held u64 )
//! ```

use shared::{ids::Epoch, wire::codec};

const VERSION: u8 = 1;

/// Name of the mark among the spool's checkpoints. No source can have it, as `/` stands in no name.
pub const MARK_NAME: &str = "/held";

/// Name of the mark of the ring that has what was folded.
pub const FOLDED_MARK_NAME: &str = "/folded";

/// How far a ring counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Of the ring.
    pub(super) epoch: Epoch,
    /// The newest block that counts; 0 before the first.
    pub(super) last: u64,
    /// How many records were ever held up to there.
    pub(super) held: u64,
}

impl Mark {
    pub(super) fn encode(self) -> Vec<u8> {
        let Self { epoch, last, held } = self;
        codec::encode(&(VERSION, epoch, last, held)).expect("numbers have an encoding")
    }

    /// Reads a mark; nothing where a later version wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, epoch, last, held): (u8, Epoch, u64, u64) = codec::decode(bytes).ok()?;
        (version == VERSION).then_some(Self { epoch, last, held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_keeps_its_bytes() {
        let mark = Mark { epoch: Epoch(7), last: 300, held: 2 };
        assert_eq!(mark.encode(), [1, 7, 251, 44, 1, 2]);
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        assert_eq!(Mark::decode(&[2, 7, 1, 2]), None);
        assert_eq!(Mark::decode(&[]), None);
    }
}
