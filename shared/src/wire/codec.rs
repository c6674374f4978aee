//! The one place that knows how values become bytes.
//!
//! Values are encoded with bincode 2's standard configuration: little-endian, variable-length integers, lists with
//! their length before them. Bincode's maintainers have stopped (version 3 is an empty release); version 2 is
//! complete and pinned. Should it have to go, the byte-compatible `wincode` takes its place in this file, and the
//! golden bytes in `testdata` prove that nothing changed.

use bincode::config::standard;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{BLOCK_FIELD_BYTES_MAX, CONTROL_FRAME_BYTES_MAX};

/// Most bytes that decoding one value may set aside, whatever lengths it claims. Lists of eight-byte numbers are at
/// most eight times as large in memory as encoded.
const DECODE_BYTES_MAX: usize = 8 * BLOCK_FIELD_BYTES_MAX;
const _: () = assert!(DECODE_BYTES_MAX >= CONTROL_FRAME_BYTES_MAX, "control frames can be decoded");

/// Why a value cannot be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The value has no encoding.
    #[error("value cannot be encoded: {0}")]
    Encode(String),
    /// The bytes are not the encoding of such a value.
    #[error("value cannot be decoded: {0}")]
    Decode(String),
    /// Bytes are left over behind the value.
    #[error("{0} bytes are left over behind the value")]
    Trailing(usize),
}

/// Encodes `value`.
///
/// # Errors
/// Only for types whose own serialisation fails; none of ours does.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, standard())
        .map_err(|error| CodecError::Encode(error.to_string()))
}

/// Decodes exactly one value, which may borrow from `bytes`.
///
/// # Errors
/// Fails on anything but the encoding of one `T` and nothing behind it. Never panics, whatever the input.
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let config = standard().with_limit::<DECODE_BYTES_MAX>();
    let (value, used) = bincode::serde::borrow_decode_from_slice(bytes, config)
        .map_err(|error| CodecError::Decode(error.to_string()))?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing(bytes.len() - used)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut bytes = encode(&7_u32).unwrap();
        assert_eq!(decode::<u32>(&bytes), Ok(7));
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(CodecError::Trailing(1)));
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        // A list of 2^60 entries, claimed in nine bytes.
        let mut claim = vec![253];
        claim.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        assert!(decode::<Vec<u64>>(&claim).is_err());
        assert!(decode::<Vec<String>>(&claim).is_err());
        assert!(decode::<&str>(&claim).is_err());
    }
}
