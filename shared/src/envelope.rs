//! What a key of policies signs, whatever it says: a version, the key's short name, the signature, and the content.
//!
//! # Format
//! ```text
//! envelope: version u8 | key's id [8] | signature [64] | content
//! ```
//! Each kind begins what is signed with a text of its own, so that no signature can be taken for one of another kind.
//! Nothing of a content is believed before its signature is good.

use ring::signature::{ED25519, UnparsedPublicKey};

use crate::policy::{PolicyKeyId, PolicyPublicKey, SIGNATURE_BYTES};

/// Bytes before the content.
pub(crate) const HEAD_BYTES: usize = 1 + PolicyKeyId::LEN + SIGNATURE_BYTES;

/// A kind of envelope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Version of its bytes.
    pub(crate) version: u8,
    /// Longest one, in bytes.
    pub(crate) bytes_max: usize,
}

/// What is wrong with an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is longer than any may be.
    TooLarge,
    /// It has not even a head of this version.
    Malformed,
    /// No key that is trusted has the name that it says.
    UnknownKey,
    /// A trusted key is named, and did not sign this.
    BadSignature,
}

impl Kind {
    /// Puts a content and its signature together.
    pub(crate) fn seal(
        self,
        key: PolicyKeyId,
        signature: &[u8; SIGNATURE_BYTES],
        content: &[u8],
    ) -> Vec<u8> {
        [&[self.version][..], key.as_bytes(), signature, content].concat()
    }

    /// Returns the content if one of `keys` signed it. `message` says what was signed of it, as far as it can be told.
    ///
    /// # Errors
    /// [`Flaw`]. Never panics, whatever the input.
    pub(crate) fn open<'a>(
        self,
        envelope: &'a [u8],
        keys: &[PolicyPublicKey],
        message: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<&'a [u8], Flaw> {
        if envelope.len() > self.bytes_max {
            return Err(Flaw::TooLarge);
        }
        let (id, signature, content) = self.split(envelope).ok_or(Flaw::Malformed)?;
        // Several keys of one id are as good as impossible, and harmless: the signature decides.
        let mut named = keys.iter().filter(|key| key.id() == id).peekable();
        if named.peek().is_none() {
            return Err(Flaw::UnknownKey);
        }
        let message = message(content).ok_or(Flaw::BadSignature)?;
        let is_by = |key: &PolicyPublicKey| {
            UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(&message, signature).is_ok()
        };
        if named.any(is_by) { Ok(content) } else { Err(Flaw::BadSignature) }
    }

    /// Returns who says to have signed a content, and the content, without looking at the signature.
    pub(crate) fn peek(self, envelope: &[u8]) -> Option<(PolicyKeyId, &[u8])> {
        let is_bounded = envelope.len() <= self.bytes_max;
        let (id, _, content) = self.split(envelope).filter(|_| is_bounded)?;
        Some((id, content))
    }

    fn split(self, envelope: &[u8]) -> Option<(PolicyKeyId, &[u8], &[u8])> {
        let (head, content) = envelope.split_first_chunk::<HEAD_BYTES>()?;
        let (id, signature) = head[1..].split_first_chunk()?;
        (head[0] == self.version).then(|| (PolicyKeyId::from_bytes(*id), signature, content))
    }
}
