//! What is stored of a file's reading, to go on after a restart.
//!
//! # Format
//! ```text
//! checkpoint: bincode( version u8 = 1 | CheckpointV1 )
//! ```
//! It is committed together with the blocks made from what it covers (L3). A later version gets its
//! own struct; the reader of this one stays (L10).

use serde::{Deserialize, Serialize};
use shared::wire::codec;
use thiserror::Error;

const VERSION: u8 = 1;

/// Why bytes are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Made by a version that this program does not know.
    #[error("checkpoint has version {0}, known is {VERSION}")]
    Version(u8),
    /// The bytes do not decode.
    #[error("checkpoint is malformed")]
    Malformed,
}

/// Which file was read, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The file's device. It may change when a host starts anew, so it alone decides nothing.
    pub(super) device: u64,
    pub(super) inode: u64,
    /// How many of the file's first bytes the digest is over: 0 to [`crate::limits::HEAD_BYTES`].
    pub(super) head_len: u16,
    /// The first half of their SHA-256.
    pub(super) head: [u8; 16],
    /// How many files were begun before this one.
    pub(super) generation: u64,
    /// Bytes from the start that were taken.
    pub(super) offset: u64,
    /// Whether the offset lies within an over-long line whose rest is to be skipped.
    pub(super) skipping: bool,
    /// When the file was last written to, in nanoseconds since the epoch: files rotated later are
    /// newer.
    pub(super) modified_ns: i64,
}

impl Checkpoint {
    /// Returns whether the file was empty, so that nothing is known by which to know it again.
    pub(super) const fn is_of_nothing(&self) -> bool {
        self.offset == 0 && self.head_len == 0
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(&(VERSION, self)).expect("numbers have an encoding")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(CheckpointError::Version(*other)),
            None => return Err(CheckpointError::Malformed),
        }
        let decoded: Result<(u8, Self), _> = codec::decode(bytes);
        decoded.map(|(_, checkpoint)| checkpoint).map_err(|_| CheckpointError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: Checkpoint = Checkpoint {
        device: 0xfd01,
        inode: 1_234_567,
        head_len: 256,
        head: [7; 16],
        generation: 3,
        offset: 70_000,
        skipping: false,
        modified_ns: 1_793_610_753_123_456_789,
    };

    #[test]
    fn version_1_keeps_its_bytes() {
        let mut golden = vec![1, 251, 0x01, 0xfd, 252, 0x87, 0xd6, 0x12, 0x00, 251, 0x00, 0x01];
        golden.extend([7; 16]);
        golden.extend([3, 252, 0x70, 0x11, 0x01, 0x00, 0, 253]);
        golden.extend((2 * 1_793_610_753_123_456_789_u64).to_le_bytes());
        assert_eq!(CHECKPOINT.encode(), golden);
        assert_eq!(Checkpoint::decode(&golden), Ok(CHECKPOINT));
    }

    #[test]
    fn bytes_that_are_no_checkpoint_are_refused() {
        let bytes = CHECKPOINT.encode();
        assert_eq!(Checkpoint::decode(&[]), Err(CheckpointError::Malformed));
        assert_eq!(Checkpoint::decode(&[9, 1, 2]), Err(CheckpointError::Version(9)));
        for len in 1..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..len]), Err(CheckpointError::Malformed));
        }
    }
}
