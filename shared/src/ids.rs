//! Names and numbers that both ends use, as types that cannot be mistaken for one another.

use std::{fmt, num::NonZeroU64, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Name of a customer organisation: 1-32 of `a-z`, `0-9` and inner `-`, as in a DNS label.
///
/// Kept at a fixed width so that it can stand in a key: the unused rest is zero, and byte order is name order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId([u8; Self::LEN]);

impl TenantId {
    /// Width in a key, and longest name, in bytes.
    pub const LEN: usize = 32;

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::LEN);
        std::str::from_utf8(&self.0[..end]).expect("only ASCII is let in")
    }

    /// Returns the name padded with zeros to its width in a key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns the tenant whose padded name is `bytes`, or `None` if that is no valid name.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::LEN);
        let tenant: Self = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
        (tenant.0 == *bytes).then_some(tenant)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TenantId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = (1..=Self::LEN).contains(&bytes.len())
            && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
            && bytes.first().is_some_and(|byte| inner(*byte))
            && bytes.last().is_some_and(|byte| inner(*byte));
        if !valid {
            return Err(IdError::Tenant(text.chars().take(64).collect()));
        }
        let mut padded = [0; Self::LEN];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(padded))
    }
}

impl Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Identity of one installed agent: a random UUID (RFC 9562, version 4), given with its first certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(Uuid);

impl AgentId {
    /// Width in a key, in bytes.
    pub const LEN: usize = 16;

    /// Returns the agent whose UUID has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the UUID's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        self.0.as_bytes()
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for AgentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::try_parse(text).map(Self).map_err(|_| IdError::Agent(text.chars().take(64).collect()))
    }
}

/// Number drawn at random when a spool is created; blocks of different epochs are never the same block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Number drawn at random when an agent's process starts. It tells a restart from a second copy of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub u64);

/// Way of an alert: alerts of one lane keep their order; lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Goes before all others, also past a backlog.
    Urgent,
    /// The everyday lane.
    Normal,
    /// What can wait.
    Bulk,
}

impl Lane {
    /// How many lanes there are.
    pub const COUNT: usize = 3;
    /// All lanes, the most urgent first.
    pub const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// Returns the lane's place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the lane at `index` in [`Self::ALL`].
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// Returns the lane's name in documents, metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Number of a block within (agent, epoch, lane). The first block is 1; numbers never skip and never repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(NonZeroU64);

impl Seq {
    /// The first block of a lane.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Returns the block number `number`, or `None` for zero, which numbers no block.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// Returns the number after this one, or `None` once the space is used up.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Returns the number after `committed`: the one expected next in a lane.
    ///
    /// # Panics
    /// Once 2^64 - 1 blocks of a lane have been numbered: 58,000 years at ten million blocks a second.
    #[must_use]
    pub fn after(committed: Option<Self>) -> Self {
        committed
            .map_or(Self::FIRST, |seq| seq.next().expect("a lane's numbers outlast its hardware"))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One stream of blocks: what a cursor stands for. Within a stream, [`Seq`] counts without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Whose blocks.
    pub agent: AgentId,
    /// From which of its spools.
    pub epoch: Epoch,
    /// On which lane.
    pub lane: Lane,
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text breaks the rule for tenants' names.
    #[error("tenant name {0:?} is not 1-32 of a-z, 0-9 and inner '-'")]
    Tenant(String),
    /// The text is not a UUID.
    #[error("agent id {0:?} is not a UUID")]
    Agent(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_named_like_a_dns_label() {
        for good in ["a", "acme", "acme-2", "0-9", &"x".repeat(32)] {
            let tenant: TenantId = good.parse().unwrap();
            assert_eq!(tenant.as_str(), good);
            assert_eq!(TenantId::from_bytes(tenant.as_bytes()), Some(tenant));
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä", "a\0b", "a/b", &"x".repeat(33)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn padded_bytes_that_are_no_name_are_refused() {
        let mut bytes = [0; TenantId::LEN];
        assert_eq!(TenantId::from_bytes(&bytes), None);
        bytes[0] = b'a';
        bytes[2] = b'b';
        assert_eq!(TenantId::from_bytes(&bytes), None);
    }

    #[test]
    fn block_numbers_start_at_one_and_do_not_wrap() {
        assert_eq!(Seq::new(0), None);
        assert_eq!(Seq::after(None), Seq::FIRST);
        assert_eq!(Seq::after(Some(Seq::FIRST)).as_u64(), 2);
        assert_eq!(Seq::new(u64::MAX).unwrap().next(), None);
    }
}
