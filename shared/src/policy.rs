//! A tenant's policy as it is signed, sent and taken: what is in it, how its signature is checked, and when an agent
//! refuses it.
//!
//! The key that signs is none of TLS and none of the coordinator's: whoever has taken a coordinator over can hold a
//! policy back, and cannot make one. An agent takes what its own trusted keys signed, for its own tenant, of a version
//! above all that it ever took, and for as long as it is good.
//!
//! # Format
//! ```text
//! envelope:  1 u8 | key's id [8] | signature [64] | content
//! content:   bincode of the fields; the text is a zstd frame
//! signed:    "signalbox policy v1" | tenant [32] | length of the content u64 LE | content
//! key:       "sbpolicy1_" | base64url, unpadded, of  public key [32] | crc32c u32 LE of it
//! ```
//! Signatures are Ed25519 (RFC 8032). The bytes that were signed are the bytes that are stored and sent: nothing is
//! encoded anew on the way. All bounds stand before what is set aside.
//!
//! Not here: what the text means (the agent's), who signs (`certs`), who gets which version when (the coordinator's).

use std::{fmt, ops::RangeInclusive, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    address::Address,
    envelope::{Flaw, HEAD_BYTES, Kind},
    ids::TenantId,
    limits::{
        JOIN_ADDRESS_BYTES_MAX, JOIN_ADDRESSES_MAX, POLICY_DETAIL_BYTES_MAX,
        POLICY_ENVELOPE_BYTES_MAX, POLICY_LIFE_MAX, POLICY_SOURCE_BYTES_MAX,
    },
    time::Timestamp,
    wire::codec,
};

/// Version and length of its envelope.
const KIND: Kind = Kind { version: 1, bytes_max: POLICY_ENVELOPE_BYTES_MAX };
/// What is signed begins with it, so that no other signature of the key's can be taken for a policy's.
const DOMAIN: &[u8] = b"signalbox policy v1";
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Shares of a processor that agents can keep to, in percent.
const CPU_PERCENT: RangeInclusive<u16> = 5..=400;
/// zstd's level: a policy is packed once.
const LEVEL: i32 = 19;

/// What a policy's public key begins with as text.
pub const POLICY_KEY_PREFIX: &str = "sbpolicy1_";

/// A key that signs policies: its public half.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyPublicKey([u8; Self::LEN]);

/// Short name of a key: the beginning of its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyKeyId([u8; Self::LEN]);

impl PolicyKeyId {
    /// Its length, in bytes.
    pub const LEN: usize = 8;

    pub(crate) const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for PolicyKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PolicyKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKeyId({self})")
    }
}

impl PolicyPublicKey {
    /// Its length, in bytes.
    pub const LEN: usize = 32;

    /// Returns the key of these bytes (RFC 8032, section 5.1.5).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns its short name.
    #[must_use]
    pub fn id(&self) -> PolicyKeyId {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        PolicyKeyId(*digest.first_chunk().expect("32 bytes have 8"))
    }

    /// Reads the keys of a text, one a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// Names the line that is no key.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, PolicyKeyError> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let key = |(at, line): (usize, &str)| line.parse().map_err(|_| PolicyKeyError(at + 1));
        lines.map(key).collect()
    }
}

impl fmt::Display for PolicyPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = crc32c::crc32c(&self.0).to_le_bytes();
        let bytes = [&self.0[..], &sum].concat();
        write!(f, "{POLICY_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for PolicyPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyPublicKey({self})")
    }
}

/// A line that is no key of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("line {0} is no policy key: one begins with {POLICY_KEY_PREFIX}, copy it whole")]
pub struct PolicyKeyError(usize);

impl FromStr for PolicyPublicKey {
    type Err = PolicyKeyError;

    fn from_str(text: &str) -> Result<Self, PolicyKeyError> {
        let error = PolicyKeyError(1);
        let text = text.trim().strip_prefix(POLICY_KEY_PREFIX).ok_or(error)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| error)?;
        let (key, sum) = bytes.split_first_chunk::<{ Self::LEN }>().ok_or(error)?;
        if sum == crc32c::crc32c(key).to_le_bytes() { Ok(Self(*key)) } else { Err(error) }
    }
}

/// What a policy has an agent take of its host: less than the host's own configuration, never more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLimits {
    /// Most of one processor that the sources may take, in percent; what the host allows where absent.
    pub cpu_percent: Option<u16>,
}

/// A policy with all that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose agents it is for.
    pub tenant: TenantId,
    /// Number of the version; each is above the one before.
    pub version: u64,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// From when on it is not any more: then nothing is suppressed.
    pub expires_at: Timestamp,
    /// The rules, as in a policy's file.
    pub text: String,
    /// What agents may take of their hosts.
    pub limits: PolicyLimits,
    /// Where coordinators are, as `host:port`: tried before those of the host's own configuration, which stay.
    pub coordinators: Vec<String>,
}

/// The fields as they are encoded, version 1.
#[derive(Serialize, Deserialize)]
struct Content {
    tenant: TenantId,
    version: u64,
    not_before: Timestamp,
    expires_at: Timestamp,
    text: Vec<u8>,
    limits: PolicyLimits,
    coordinators: Vec<String>,
}

/// Why a policy cannot be signed as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Its text is too long.
    #[error("the policy's text has {0} bytes, at most {POLICY_SOURCE_BYTES_MAX} are allowed")]
    Text(usize),
    /// It does not pack small enough.
    #[error(
        "the policy takes {0} bytes when it is packed, at most {POLICY_ENVELOPE_BYTES_MAX} are \
         allowed: leave out descriptions, or put the like into one rule"
    )]
    Packed(usize),
    /// A field breaks a rule.
    #[error("{0}")]
    Field(&'static str),
}

impl Policy {
    /// Returns the content's bytes, which [`signed_bytes`] makes ready to be signed.
    ///
    /// # Errors
    /// [`PolicyError`]: an agent would refuse it.
    pub fn encode(&self) -> Result<Vec<u8>, PolicyError> {
        self.check().map_err(PolicyError::Field)?;
        if self.text.len() > POLICY_SOURCE_BYTES_MAX {
            return Err(PolicyError::Text(self.text.len()));
        }
        let text = zstd::bulk::compress(self.text.as_bytes(), LEVEL)
            .map_err(|_| PolicyError::Text(self.text.len()))?;
        let content = Content {
            tenant: self.tenant,
            version: self.version,
            not_before: self.not_before,
            expires_at: self.expires_at,
            text,
            limits: self.limits,
            coordinators: self.coordinators.clone(),
        };
        let bytes = codec::encode(&content).expect("a policy is plain data");
        let len = HEAD_BYTES + bytes.len();
        if len <= POLICY_ENVELOPE_BYTES_MAX { Ok(bytes) } else { Err(PolicyError::Packed(len)) }
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let content: Content = codec::decode(content).ok()?;
        // The bound is what is set aside, whatever the frame claims.
        let text = zstd::bulk::decompress(&content.text, POLICY_SOURCE_BYTES_MAX).ok()?;
        let Content { tenant, version, not_before, expires_at, limits, coordinators, .. } = content;
        let text = String::from_utf8(text).ok()?;
        let policy = Self { tenant, version, not_before, expires_at, text, limits, coordinators };
        policy.check().is_ok().then_some(policy)
    }

    /// Checks what every policy keeps, whoever made it. Whether its rules can be done is the agent's business.
    fn check(&self) -> Result<(), &'static str> {
        let is_address =
            |text: &String| text.len() <= JOIN_ADDRESS_BYTES_MAX && Address::parse(text).is_ok();
        let longest = self.not_before.saturating_add(POLICY_LIFE_MAX);
        if self.version == 0 {
            Err("versions begin at 1")
        } else if self.expires_at <= self.not_before {
            Err("it ends before it begins")
        } else if self.expires_at > longest {
            Err("it ends more than 400 days after it begins")
        } else if self.limits.cpu_percent.is_some_and(|percent| !CPU_PERCENT.contains(&percent)) {
            Err("the processor's share is 5 to 400 percent")
        } else if self.coordinators.len() > JOIN_ADDRESSES_MAX {
            Err("it names more coordinators than an agent tries")
        } else if !self.coordinators.iter().all(is_address) {
            Err("an address of a coordinator is none: write host:port")
        } else {
            Ok(())
        }
    }
}

/// Returns what is signed of a content.
#[must_use]
pub fn signed_bytes(tenant: TenantId, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u64).to_le_bytes();
    [DOMAIN, tenant.as_bytes(), &len, content].concat()
}

/// Puts a content and its signature together.
#[must_use]
pub fn seal(key: PolicyKeyId, signature: &[u8; SIGNATURE_BYTES], content: &[u8]) -> Vec<u8> {
    KIND.seal(key, signature, content)
}

/// Why a policy is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum PolicyRefusal {
    /// It is longer than any may be.
    #[error("it is longer than any policy may be")]
    TooLarge,
    /// Its bytes are no policy of a known version.
    #[error("its bytes are no policy of a version that is known here")]
    Malformed,
    /// No trusted key has the id that it names.
    #[error("the key that it names is not trusted here")]
    UnknownKey,
    /// A trusted key is named, and did not sign this.
    #[error("its signature is not the key's, or it was changed since")]
    BadSignature,
    /// It is another tenant's.
    #[error("it is another tenant's")]
    ForeignTenant,
    /// Its version is not above all that were taken before.
    #[error("its version is not above the one that was taken before")]
    Rollback,
    /// It has ended.
    #[error("it has ended")]
    Expired,
    /// It has not begun.
    #[error("it is not good yet")]
    NotYet,
    /// Its rules cannot be done.
    #[error("its rules cannot be done")]
    Unusable,
    /// It holds or folds, and the agent has no place for the originals.
    #[error("it holds or folds, and there is nowhere to keep the originals: configure [held]")]
    NowhereToHold,
    /// The agent cannot store it.
    #[error("it cannot be stored")]
    NotStored,
    /// The agent has ended soon after it put it in force, again and again.
    #[error("the agent ended within minutes of it, several times in a row")]
    Crashed,
}

impl PolicyRefusal {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownKey,
        Self::BadSignature,
        Self::ForeignTenant,
        Self::Rollback,
        Self::Expired,
        Self::NotYet,
        Self::Unusable,
        Self::NowhereToHold,
        Self::NotStored,
        Self::Crashed,
    ];

    /// Returns its name in counters and documents, which is its serde name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::ForeignTenant => "foreign_tenant",
            Self::Rollback => "rollback",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Unusable => "unusable",
            Self::NowhereToHold => "nowhere_to_hold",
            Self::NotStored => "not_stored",
            Self::Crashed => "crashed",
        }
    }
}

/// Reads an envelope that one of `keys` signed. Nothing of the content is looked at before its signature is good.
///
/// # Errors
/// [`PolicyRefusal`], of those that are about its bytes and its key. Never panics, whatever the input.
pub fn open(envelope: &[u8], keys: &[PolicyPublicKey]) -> Result<Policy, PolicyRefusal> {
    // The tenant stands at the content's beginning and is signed twice: read only to be checked against it.
    let message = |content: &[u8]| Some(signed_bytes(tenant_of(content)?, content));
    let content = KIND.open(envelope, keys, message)?;
    let policy = Policy::decode(content).ok_or(PolicyRefusal::Malformed)?;
    if tenant_of(content) == Some(policy.tenant) {
        Ok(policy)
    } else {
        Err(PolicyRefusal::Malformed)
    }
}

impl From<Flaw> for PolicyRefusal {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::TooLarge => Self::TooLarge,
            Flaw::Malformed => Self::Malformed,
            Flaw::UnknownKey => Self::UnknownKey,
            Flaw::BadSignature => Self::BadSignature,
        }
    }
}

/// Returns the key that an envelope names; whether that signed it is another matter.
#[must_use]
pub fn key_of(envelope: &[u8]) -> Option<PolicyKeyId> {
    envelope.get(1..)?.first_chunk().map(|id| PolicyKeyId(*id))
}

/// Reads an envelope without its signature, for whoever has checked that before: a coordinator shows what it stores,
/// also when the key has been replaced since.
#[must_use]
pub fn peek(envelope: &[u8]) -> Option<(PolicyKeyId, Policy)> {
    let (id, content) = KIND.peek(envelope)?;
    Policy::decode(content).map(|policy| (id, policy))
}

/// Reads the tenant at the beginning of a content: its name behind one byte of length.
fn tenant_of(content: &[u8]) -> Option<TenantId> {
    let (len, rest) = content.split_first()?;
    let name = rest.get(..usize::from(*len))?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Decides whether an agent of `tenant` takes an envelope at `now`: signed by one of its `keys`, for its own tenant, of
/// a version above `highest`, which is the highest that it ever took, and good now.
///
/// # Errors
/// [`PolicyRefusal`]. Never panics, whatever the input.
pub fn accept(
    envelope: &[u8],
    keys: &[PolicyPublicKey],
    tenant: TenantId,
    highest: u64,
    now: Timestamp,
) -> Result<Policy, PolicyRefusal> {
    let policy = open(envelope, keys)?;
    if policy.tenant != tenant {
        Err(PolicyRefusal::ForeignTenant)
    } else if policy.version <= highest {
        Err(PolicyRefusal::Rollback)
    } else if policy.expires_at <= now {
        Err(PolicyRefusal::Expired)
    } else if now < policy.not_before {
        Err(PolicyRefusal::NotYet)
    } else {
        Ok(policy)
    }
}

/// A policy that a coordinator offers to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOffer {
    /// Number of its version, for the answer; what counts is the one that is signed.
    pub version: u64,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

impl PolicyOffer {
    /// Returns whether it is within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        (1..=POLICY_ENVELOPE_BYTES_MAX).contains(&self.envelope.len())
    }
}

/// The beginning of the digest of an envelope: tells two policies, or two trust bundles, of one number apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyDigest([u8; Self::LEN]);

impl PolicyDigest {
    /// Its length, in bytes.
    pub const LEN: usize = 8;

    /// Returns the digest of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns that of an envelope.
    #[must_use]
    pub fn of(envelope: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(envelope).into();
        Self(*digest.first_chunk().expect("32 bytes have 8"))
    }
}

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyDigest({self})")
    }
}

/// How it stands with a version at an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcome {
    /// The agent has taken none yet.
    Nothing,
    /// It decides what is held, folded and sent first.
    InForce,
    /// It is kept, and a policy of the host's own decides in its place.
    Overridden,
    /// It is kept, and has ended: nothing is suppressed.
    Ended,
    /// It is not taken; the one before it stays.
    Refused {
        /// Why.
        reason: PolicyRefusal,
        /// What is wrong with it, for a person; may be empty.
        detail: String,
    },
}

/// What an agent says of a version: after each greeting of the one that it has, then whenever that changes, and in
/// answer to each offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAck {
    /// Which; zero where it has none.
    pub version: u64,
    /// Of which envelope; zero where it has none.
    pub digest: PolicyDigest,
    /// How it stands with it.
    pub outcome: PolicyOutcome,
}

impl PolicyAck {
    /// Returns what an agent says that has no policy.
    #[must_use]
    pub const fn nothing() -> Self {
        let digest = PolicyDigest::from_bytes([0; PolicyDigest::LEN]);
        Self { version: 0, digest, outcome: PolicyOutcome::Nothing }
    }

    /// Returns that the version is refused, with as much of `detail` as may be sent.
    #[must_use]
    pub fn refused(version: u64, reason: PolicyRefusal, detail: &str) -> Self {
        let end = detail.floor_char_boundary(POLICY_DETAIL_BYTES_MAX);
        let outcome = PolicyOutcome::Refused { reason, detail: detail[..end].to_owned() };
        Self { version, outcome, ..Self::nothing() }
    }

    /// Returns the same about the envelope with this digest.
    #[must_use]
    pub fn about(self, digest: PolicyDigest) -> Self {
        Self { digest, ..self }
    }

    /// Returns whether it is within its bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match &self.outcome {
            PolicyOutcome::Refused { detail, .. } => detail.len() <= POLICY_DETAIL_BYTES_MAX,
            PolicyOutcome::Nothing
            | PolicyOutcome::InForce
            | PolicyOutcome::Overridden
            | PolicyOutcome::Ended => true,
        }
    }
}

#[cfg(test)]
mod tests;
