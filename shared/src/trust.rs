//! Whom the agents of a trust domain believe: its trust bundle, as it is signed, sent and taken.
//!
//! A trust bundle (SPIFFE's word) holds the roots that coordinators may stand under, and the intermediates that were
//! stolen. It is signed by a key of policies, and not by the authority that it replaces: whoever has stolen an
//! intermediate, or a root, can make coordinators and agents, and cannot make agents believe in another root or go on
//! believing in what was taken away. Of two bundles the one with the higher sequence counts, and an agent takes none
//! that is not above all that it ever took.
//!
//! # Format
//! ```text
//! envelope:  1 u8 | key's id [8] | signature [64] | content
//! content:   bincode of the fields
//! signed:    "signalbox trust bundle v1" | length of the content u64 LE | content
//! ```
//! An intermediate is named by its public key and not by its certificate: of one certificate others can be made that
//! differ in the encoding of their signature alone, and its key may have several.
//!
//! Not here: whether a root is a certificate at all (whoever speaks TLS finds that out before it is taken), who signs
//! (`certs`), and that no bundle locks agents out (the coordinator's).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    envelope::{Flaw, HEAD_BYTES, Kind},
    identity::is_trust_domain,
    limits::{
        POLICY_DETAIL_BYTES_MAX, TRUST_DISTRUSTED_MAX, TRUST_ENVELOPE_BYTES_MAX,
        TRUST_ROOT_BYTES_MAX, TRUST_ROOTS_MAX,
    },
    policy::{PolicyDigest, PolicyKeyId, PolicyPublicKey, SIGNATURE_BYTES},
    wire::codec,
};

/// Version and length of its envelope.
const KIND: Kind = Kind { version: 1, bytes_max: TRUST_ENVELOPE_BYTES_MAX };
/// What is signed begins with it, so that no other signature of the key's can be taken for a trust bundle's.
const DOMAIN: &[u8] = b"signalbox trust bundle v1";

/// SHA-256 of a public key as certificates carry it, its SubjectPublicKeyInfo in DER. Shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpkiDigest([u8; Self::LEN]);

impl SpkiDigest {
    /// Its length, in bytes.
    pub const LEN: usize = 32;

    /// Returns the digest of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for SpkiDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpkiDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiDigest({self})")
    }
}

/// A text that is no digest of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key's digest is 64 hex digits: \"certs show\" of a certificate says it")]
pub struct SpkiDigestError;

impl FromStr for SpkiDigest {
    type Err = SpkiDigestError;

    fn from_str(text: &str) -> Result<Self, SpkiDigestError> {
        let mut bytes = [0; Self::LEN];
        if text.len() != 2 * Self::LEN || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SpkiDigestError);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or(SpkiDigestError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| SpkiDigestError)?;
        }
        Ok(Self(bytes))
    }
}

/// Whom the agents of a trust domain believe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Name space of the authority.
    pub trust_domain: String,
    /// Number of the bundle; each is above the one before.
    pub sequence: u64,
    /// The certificates of the roots, in DER.
    pub roots: Vec<Vec<u8>>,
    /// The keys of intermediates that were stolen.
    pub distrusted: Vec<SpkiDigest>,
}

/// Why a trust bundle cannot be signed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TrustBundleError(&'static str);

impl TrustBundle {
    /// Returns the content's bytes, which [`signed_bytes`] makes ready to be signed.
    ///
    /// # Errors
    /// [`TrustBundleError`]: an agent would refuse it.
    ///
    /// # Panics
    /// Never: a bundle is plain data, and what it may hold fits its envelope.
    pub fn encode(&self) -> Result<Vec<u8>, TrustBundleError> {
        self.check().map_err(TrustBundleError)?;
        let content = codec::encode(self).expect("a trust bundle is plain data");
        assert!(HEAD_BYTES + content.len() <= TRUST_ENVELOPE_BYTES_MAX, "its bounds fit");
        Ok(content)
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let bundle: Self = codec::decode(content).ok()?;
        bundle.check().is_ok().then_some(bundle)
    }

    /// Checks what every bundle keeps, whoever made it.
    fn check(&self) -> Result<(), &'static str> {
        let is_bounded = |root: &Vec<u8>| (1..=TRUST_ROOT_BYTES_MAX).contains(&root.len());
        if !is_trust_domain(&self.trust_domain) {
            Err("its trust domain is none: 1-255 of a-z, 0-9, '.', '-' and '_'")
        } else if self.sequence == 0 {
            Err("sequences begin at 1")
        } else if self.roots.is_empty() {
            Err("it holds no root: agents would believe nobody")
        } else if self.roots.len() > TRUST_ROOTS_MAX {
            Err("it holds more roots than an agent takes, which is 4")
        } else if !self.roots.iter().all(is_bounded) {
            Err("a root's certificate is empty, or longer than 4096 bytes")
        } else if has_twice(&self.roots) {
            Err("it holds a root twice")
        } else if self.distrusted.len() > TRUST_DISTRUSTED_MAX {
            Err("it names more stolen intermediates than an agent takes, which is 16")
        } else if has_twice(&self.distrusted) {
            Err("it names a stolen intermediate twice")
        } else {
            Ok(())
        }
    }
}

fn has_twice<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
}

/// Returns what is signed of a content.
#[must_use]
pub fn signed_bytes(content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u64).to_le_bytes();
    [DOMAIN, &len, content].concat()
}

/// Puts a content and its signature together.
#[must_use]
pub fn seal(key: PolicyKeyId, signature: &[u8; SIGNATURE_BYTES], content: &[u8]) -> Vec<u8> {
    KIND.seal(key, signature, content)
}

/// Why a trust bundle is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum TrustRefusal {
    /// It is longer than any may be.
    #[error("it is longer than any trust bundle may be")]
    TooLarge,
    /// Its bytes are no trust bundle of a known version, or a root in it is none.
    #[error("its bytes are no trust bundle of a version that is known here")]
    Malformed,
    /// No trusted key has the id that it names.
    #[error("the key that it names is not trusted here")]
    UnknownKey,
    /// A trusted key is named, and did not sign this.
    #[error("its signature is not the key's, or it was changed since")]
    BadSignature,
    /// It is another trust domain's.
    #[error("it is another trust domain's")]
    ForeignDomain,
    /// Its sequence is not above all that were taken before.
    #[error("its sequence is not above the one that was taken before")]
    Rollback,
    /// The agent cannot store it.
    #[error("it cannot be stored")]
    NotStored,
}

impl TrustRefusal {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownKey,
        Self::BadSignature,
        Self::ForeignDomain,
        Self::Rollback,
        Self::NotStored,
    ];

    /// Returns its name in counters and documents, which is its serde name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::ForeignDomain => "foreign_domain",
            Self::Rollback => "rollback",
            Self::NotStored => "not_stored",
        }
    }
}

impl From<Flaw> for TrustRefusal {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::TooLarge => Self::TooLarge,
            Flaw::Malformed => Self::Malformed,
            Flaw::UnknownKey => Self::UnknownKey,
            Flaw::BadSignature => Self::BadSignature,
        }
    }
}

/// Reads an envelope that one of `keys` signed. Nothing of the content is looked at before its signature is good.
///
/// # Errors
/// [`TrustRefusal`], of those that are about its bytes and its key. Never panics, whatever the input.
pub fn open(envelope: &[u8], keys: &[PolicyPublicKey]) -> Result<TrustBundle, TrustRefusal> {
    let content = KIND.open(envelope, keys, |content| Some(signed_bytes(content)))?;
    TrustBundle::decode(content).ok_or(TrustRefusal::Malformed)
}

/// Reads an envelope without its signature, for whoever has checked that before: a coordinator shows what it stores,
/// also when the key has been replaced since.
#[must_use]
pub fn peek(envelope: &[u8]) -> Option<(PolicyKeyId, TrustBundle)> {
    let (id, content) = KIND.peek(envelope)?;
    TrustBundle::decode(content).map(|bundle| (id, bundle))
}

/// Decides whether an agent of `trust_domain` takes an envelope: signed by one of its `keys`, for its own domain, of a
/// sequence above `highest`, which is the highest that it ever took.
///
/// # Errors
/// [`TrustRefusal`]. Never panics, whatever the input.
pub fn accept(
    envelope: &[u8],
    keys: &[PolicyPublicKey],
    trust_domain: &str,
    highest: u64,
) -> Result<TrustBundle, TrustRefusal> {
    let bundle = open(envelope, keys)?;
    if bundle.trust_domain != trust_domain {
        Err(TrustRefusal::ForeignDomain)
    } else if bundle.sequence <= highest {
        Err(TrustRefusal::Rollback)
    } else {
        Ok(bundle)
    }
}

/// A trust bundle that a coordinator offers to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustOffer {
    /// Its sequence, for the answer; what counts is the one that is signed.
    pub sequence: u64,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

impl TrustOffer {
    /// Returns whether it is within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        (1..=TRUST_ENVELOPE_BYTES_MAX).contains(&self.envelope.len())
    }
}

/// How it stands with a trust bundle at an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustOutcome {
    /// The agent has taken none yet, and goes by the root that it was given.
    Nothing,
    /// It says whom the agent believes.
    InForce,
    /// It is not taken; what was believed before is.
    Refused {
        /// Why.
        reason: TrustRefusal,
        /// What is wrong with it, for a person; may be empty.
        detail: String,
    },
}

/// What an agent says of trust bundles: after each greeting which it has, then in answer to each offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustAck {
    /// Of which sequence; zero where it has none.
    pub sequence: u64,
    /// Of which envelope; zero where it has none.
    pub digest: PolicyDigest,
    /// How it stands with it.
    pub outcome: TrustOutcome,
}

impl TrustAck {
    /// Returns what an agent says that has taken no trust bundle.
    #[must_use]
    pub const fn nothing() -> Self {
        let digest = PolicyDigest::from_bytes([0; PolicyDigest::LEN]);
        Self { sequence: 0, digest, outcome: TrustOutcome::Nothing }
    }

    /// Returns that the one with this digest is in force.
    #[must_use]
    pub const fn in_force(sequence: u64, digest: PolicyDigest) -> Self {
        Self { sequence, digest, outcome: TrustOutcome::InForce }
    }

    /// Returns whether one is refused.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self.outcome, TrustOutcome::Refused { .. })
    }

    /// Returns that the one with this digest is refused, with as much of `detail` as may be sent.
    #[must_use]
    pub fn refused(
        sequence: u64,
        digest: PolicyDigest,
        reason: TrustRefusal,
        detail: &str,
    ) -> Self {
        let end = detail.floor_char_boundary(POLICY_DETAIL_BYTES_MAX);
        let outcome = TrustOutcome::Refused { reason, detail: detail[..end].to_owned() };
        Self { sequence, digest, outcome }
    }

    /// Returns whether it is within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match &self.outcome {
            TrustOutcome::Refused { detail, .. } => detail.len() <= POLICY_DETAIL_BYTES_MAX,
            TrustOutcome::Nothing | TrustOutcome::InForce => true,
        }
    }
}

#[cfg(test)]
mod tests;
