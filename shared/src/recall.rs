//! A recall: the coordinator asks an agent for records that a rule of its policy held back or folded, and the agent
//! answers with what it has and what it has no more.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{limits::RULE_ID_BYTES_MAX, time::Timestamp};

/// Name of a recall: when it was asked for, and a digest of what was. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecallId([u8; Self::LEN]);

impl RecallId {
    /// Width in a key, in bytes.
    pub const LEN: usize = 16;

    /// Returns the name of what was asked for at `at` and has this digest.
    #[must_use]
    pub fn new(at: Timestamp, digest: [u8; 8]) -> Self {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&at.as_ms().to_be_bytes());
        bytes[8..].copy_from_slice(&digest);
        Self(bytes)
    }

    /// Returns the first name that a recall asked for at `at` can have.
    #[must_use]
    pub fn first_at(at: Timestamp) -> Self {
        Self::new(at, [0; 8])
    }

    /// Returns the name with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Returns when it was asked for.
    #[must_use]
    pub fn asked_at(&self) -> Timestamp {
        let ms = self.0.first_chunk().expect("16 bytes have 8");
        Timestamp::from_ms(u64::from_be_bytes(*ms))
    }
}

impl fmt::Display for RecallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        f.pad(&text)
    }
}

impl fmt::Debug for RecallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecallId({self})")
    }
}

/// A text that is no recall's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no recall's id: 32 hex digits")]
pub struct RecallIdError(String);

impl FromStr for RecallId {
    type Err = RecallIdError;

    fn from_str(text: &str) -> Result<Self, RecallIdError> {
        let error = || RecallIdError(text.chars().take(64).collect());
        if text.len() != 2 * Self::LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| error())
    }
}

/// What an agent is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Its name.
    pub id: RecallId,
    /// Id of the policy rule that held the records; 1 to [`RULE_ID_BYTES_MAX`] bytes.
    pub rule: String,
    /// From when on they happened.
    pub since: Timestamp,
    /// Before when they happened.
    pub until: Timestamp,
    /// Most bytes of blocks in the answer.
    pub bytes_max: u64,
}

impl Recall {
    /// Tells whether a rule's id has a length that is allowed.
    #[must_use]
    pub fn is_rule(rule: &str) -> bool {
        (1..=RULE_ID_BYTES_MAX).contains(&rule.len())
    }
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecallOutcome {
    /// All that the agent holds was looked at.
    Answered,
    /// The agent holds nothing back: it has no ring.
    NoRing,
    /// The agent's ring cannot be read.
    Unreadable,
}

/// A tombstone: records that are gone because the ring had reached its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// How many; some of them may have happened outside the time that was asked for.
    pub count: u64,
    /// When the first of them happened.
    pub from: Timestamp,
    /// When the last of them happened.
    pub until: Timestamp,
    /// When the last of them was evicted.
    pub evicted_at: Timestamp,
}

/// The end of an answer: what was sent, and what is missing and why (L4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallEnd {
    /// What it answers.
    pub id: RecallId,
    /// How it came about.
    pub outcome: RecallOutcome,
    /// Records in the blocks that were sent.
    pub records: u64,
    /// Bytes of the blocks that were sent.
    pub bytes: u64,
    /// Records of the rule that were evicted, of a span of time that the asked one overlaps.
    pub evicted: Option<Evicted>,
    /// Records that damage took: of the rule and about the time asked for, or of any where that is not known.
    pub lost: u64,
    /// Whether the bytes that were asked for were used up before all was sent.
    pub truncated: bool,
}

impl RecallEnd {
    /// Returns the end of an answer without records.
    #[must_use]
    pub const fn empty(id: RecallId, outcome: RecallOutcome) -> Self {
        Self { id, outcome, records: 0, bytes: 0, evicted: None, lost: 0, truncated: false }
    }

    /// Tells whether the answer has every record that was ever held of what was asked for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_all_there = self.evicted.is_none() && self.lost == 0 && !self.truncated;
        is_all_there && self.outcome != RecallOutcome::Unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recalls_id_is_read_as_it_is_shown_and_later_ones_are_greater() {
        let early = RecallId::new(Timestamp::from_ms(1_760_000_000_000), [7; 8]);
        let late = RecallId::new(Timestamp::from_ms(1_760_000_000_001), [0; 8]);
        assert_eq!(early.to_string(), "00000199c82cc0000707070707070707");
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.asked_at(), Timestamp::from_ms(1_760_000_000_000));
        assert!(early < late && RecallId::first_at(late.asked_at()) <= late);
        for bad in ["", "+0000199c82cc0000707070707070707", "xyz", &"0".repeat(33)] {
            assert!(bad.parse::<RecallId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_complete_only_if_nothing_is_missing() {
        let id = RecallId::first_at(Timestamp::ZERO);
        let whole = RecallEnd::empty(id, RecallOutcome::Answered);
        assert!(whole.is_complete());
        assert!(RecallEnd::empty(id, RecallOutcome::NoRing).is_complete(), "it held nothing");
        let at = Timestamp::ZERO;
        let evicted = Some(Evicted { count: 1, from: at, until: at, evicted_at: at });
        for missing in [
            RecallEnd { evicted, ..whole },
            RecallEnd { lost: 1, ..whole },
            RecallEnd { truncated: true, ..whole },
            RecallEnd::empty(id, RecallOutcome::Unreadable),
        ] {
            assert!(!missing.is_complete(), "{missing:?}");
        }
    }
}
