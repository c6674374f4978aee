//! What came signed, as it is kept: its envelope, behind what none that is taken later may be below.
//!
//! The envelope is stored as it came, so that each start checks its signature anew. The highest number that was ever
//! taken stands before it with a checksum of its own: it counts also where the envelope cannot be believed any more,
//! because its key was taken out of the file or its bytes are damaged. Then the very same envelope may be taken once
//! more, and nothing else of that number. Whether the bytes are those that were taken the digest says, without a key.
//!
//! # Format
//! ```text
//! file: 1 u8 | highest number u64 LE | SHA-256 of its envelope [32] | whose [32] | crc32c u32 LE of what is before it
//!       | envelope (see shared::policy and shared::trust)
//! ```
//! Who it is for is a tenant, or the digest of a trust domain: what was taken for one counts for no other.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::platform;

/// Version of the file's bytes.
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 32;
const HEAD_BYTES: usize = 1 + 8 + DIGEST_BYTES + DIGEST_BYTES + 4;

/// Who an envelope is for.
pub(crate) type Whose = [u8; DIGEST_BYTES];

/// What was taken last: nothing is taken that is not above it, but the same once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    number: u64,
    digest: [u8; DIGEST_BYTES],
}

impl Floor {
    /// Returns the floor once the envelope of this number was taken.
    pub(crate) fn of(number: u64, envelope: &[u8]) -> Self {
        Self { number, digest: Sha256::digest(envelope).into() }
    }

    /// Returns the number that an envelope has to be above.
    pub(crate) fn below(&self, envelope: &[u8]) -> u64 {
        self.number.saturating_sub(u64::from(self.is_of(envelope)))
    }

    /// Returns whether it is that of these bytes.
    pub(crate) fn is_of(&self, envelope: &[u8]) -> bool {
        let digest: [u8; DIGEST_BYTES] = Sha256::digest(envelope).into();
        self.digest == digest
    }
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What was taken last for whoever asks; none where that was for somebody else.
    pub(crate) floor: Floor,
    /// The envelope, whoever it is for.
    pub(crate) envelope: Vec<u8>,
}

impl Stored {
    /// Reads a file, if there is one; envelopes in it have at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It cannot be read, or its beginning is damaged or of another version.
    pub(crate) fn load(path: &Path, whose: &Whose, bytes_max: usize) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let most = (HEAD_BYTES + bytes_max) as u64 + 1;
        match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?.take(most).read_to_end(&mut bytes)?,
        };
        let damaged = match bytes.first() {
            Some(&VERSION) => "its beginning is damaged".to_owned(),
            Some(version) => format!("version {version} is not known"),
            None => "it is empty".to_owned(),
        };
        let stored = Self::decode(&bytes, whose);
        stored.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, damaged))
    }

    fn decode(bytes: &[u8], whose: &Whose) -> Option<Self> {
        let (head, envelope) = bytes.split_at_checked(HEAD_BYTES)?;
        let (head, sum) = head.split_last_chunk()?;
        let (version, rest) = head.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (digest, stored_for) = rest.split_first_chunk()?;
        let is_whole = *version == VERSION && u32::from_le_bytes(*sum) == crc32c::crc32c(head);
        let floor = Floor { number: u64::from_le_bytes(*number), digest: *digest };
        let floor = if stored_for == whose { floor } else { Floor::default() };
        is_whole.then(|| Self { floor, envelope: envelope.to_vec() })
    }

    /// Puts a taken envelope in the file's place: whole or not at all.
    ///
    /// # Errors
    /// What was there before is still there.
    pub(crate) fn place(
        path: &Path,
        whose: &Whose,
        floor: Floor,
        envelope: &[u8],
    ) -> io::Result<()> {
        let head = [&[VERSION][..], &floor.number.to_le_bytes(), &floor.digest, whose].concat();
        let sum = crc32c::crc32c(&head).to_le_bytes();
        platform::place(path, &[&head, &sum[..], envelope].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: Whose = [1; 32];

    fn stored(path: &Path, whose: &Whose) -> io::Result<Option<Stored>> {
        Stored::load(path, whose, 100)
    }

    #[test]
    fn what_was_taken_counts_although_its_envelope_is_damaged_and_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        assert_eq!(stored(&path, &ACME).unwrap(), None);
        let floor = Floor::of(7, b"seven");
        Stored::place(&path, &ACME, floor, b"seven").unwrap();
        let whole = Stored { floor, envelope: b"seven".to_vec() };
        assert_eq!(stored(&path, &ACME).unwrap(), Some(whole.clone()));
        let foreign = stored(&path, &[2; 32]).unwrap().unwrap();
        assert_eq!((foreign.floor, &foreign.envelope), (Floor::default(), &whole.envelope));

        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            fs::write(&path, changed).unwrap();
            match stored(&path, &ACME) {
                Ok(stored) => {
                    assert!(at >= HEAD_BYTES);
                    assert_eq!(stored.unwrap().floor, floor);
                }
                Err(error) => assert!(at < HEAD_BYTES, "{error}"),
            }
        }
        for cut in 0..HEAD_BYTES {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert!(stored(&path, &ACME).is_err());
        }
    }

    #[test]
    fn only_the_same_envelope_may_be_taken_once_more() {
        let floor = Floor::of(7, b"seven");
        assert_eq!((floor.below(b"seven"), floor.below(b"other")), (6, 7));
        assert_eq!(Floor::default().below(b"first"), 0);
    }
}
