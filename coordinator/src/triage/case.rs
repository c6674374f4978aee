//! A case: the unit of triage, and what may happen to it.
//!
//! ```text
//! open ──claim──▶ claimed ──verdict──▶ closed
//!   ▲                │                   │
//!   └─release,expire─┘◀── new evidence ──┘ (to open)
//! ```
//!
//! Invariants: at most one live lease (L6); `fence` goes up with each claim, and whenever a claim is over for good:
//! when the case is given back, and when new evidence re-opens it. A write that brings an older one is refused.
//! `revision` goes up with each change.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use shared::{alert::Severity, ids::TenantId, time::Timestamp};
use thiserror::Error;

use crate::{
    limits::{LEASE_MAX, LEASE_MIN},
    triage::{evidence::Headline, fold::Group, sla::Sla},
};

/// Id of a case: 60 bits of the digest of what opened it, so that it can be computed again (L9).
///
/// Written as 12 letters of Crockford's base 32, the first of which are enough to name a case on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseId(u64);

const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTER_COUNT: u32 = 12;

impl CaseId {
    /// How many letters its text has.
    pub const LETTERS: usize = LETTER_COUNT as usize;

    /// Returns the id made of the first 60 bits of `digest`.
    #[must_use]
    pub fn from_digest(digest: [u8; 16]) -> Self {
        let head = digest.first_chunk().expect("16 bytes have 8");
        Self(u64::from_be_bytes(*head) >> 4)
    }

    /// Returns the id as it stands in keys.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the id that stands in a key as `raw`.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = (0..LETTER_COUNT)
            .rev()
            .map(|place| char::from(LETTERS[(self.0 >> (place * 5) & 31) as usize]))
            .collect();
        f.pad(&text)
    }
}

/// A text that is no case id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a case id: 12 of 0-9 and a-z without i, l, o, u")]
pub struct CaseIdError(String);

impl FromStr for CaseId {
    type Err = CaseIdError;

    fn from_str(text: &str) -> Result<Self, CaseIdError> {
        let digits = text.bytes().map(|byte| LETTERS.iter().position(|letter| *letter == byte));
        let value = digits.into_iter().try_fold(0_u64, |value, digit| {
            Some(value.checked_mul(32)? | u64::try_from(digit?).ok()?)
        });
        match value {
            Some(value) if text.len() == LETTER_COUNT as usize => Ok(Self(value)),
            Some(_) | None => Err(CaseIdError(text.chars().take(32).collect())),
        }
    }
}

/// Number that makes a late writer harmless: it goes up with each claim of a case, and when a claim is over for good.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// Whether somebody has the case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaseState {
    /// Waits in the queue.
    Open,
    /// An analyst has it.
    Claimed {
        /// Who.
        holder: String,
        /// Since when.
        claimed_at: Timestamp,
        /// Until when, unless renewed.
        until: Timestamp,
    },
    /// Decided.
    Closed(Verdict),
}

/// What a case was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// An attack, or its success.
    Malicious,
    /// Not cleared up, and to be escalated.
    Suspicious,
    /// What was seen happened, and is wanted.
    BenignExpected,
    /// What the alert says did not happen.
    BenignFalsePositive,
    /// The deadline passed; the tenant's agreed default, never a person's judgement.
    OutOfTime,
}

/// A decision, and what it was based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The outcome.
    pub kind: VerdictKind,
    /// Why, in the analyst's words.
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// How many alerts the case held.
    pub alerts_seen: u64,
    /// The case's revision that was judged.
    pub revision_seen: u64,
}

/// What an analyst decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<'j> {
    /// The outcome.
    pub kind: VerdictKind,
    /// Why.
    pub reason: &'j str,
    /// Revision of the case that was read; absent where the decider does not say.
    pub revision_read: Option<u64>,
}

/// A case as it is stored, without its findings ([`crate::triage::evidence`]). A change of this struct is a new version
/// in `store::values` (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its id.
    pub id: CaseId,
    /// Whose.
    pub tenant: TenantId,
    /// Name or address of the host that it is about; empty where its alerts name none.
    pub host: String,
    /// Whether somebody has it.
    pub state: CaseState,
    /// The worst severity among its alerts.
    pub severity: Severity,
    /// How bad it looks, from 0 to 999: orders cases of one deadline.
    pub risk: u16,
    /// When the coordinator had its first alert: the SLA's clock starts here (L11).
    pub opened_at: Timestamp,
    /// By when it must be decided.
    pub deadline: Timestamp,
    /// Event time of its earliest alert.
    pub first_at: Timestamp,
    /// Event time of its latest alert.
    pub last_at: Timestamp,
    /// How many alerts it stands for, those included that an agent folded into one.
    pub alert_count: u64,
    /// What lists show of what was found.
    pub headline: Headline,
    /// Alerts of findings beyond those that are named.
    pub other_count: u64,
    /// Of the newest claim, or newer than any that was.
    pub fence: Fence,
    /// Who had the newest claim, unless it is over for good.
    pub last_holder: Option<String>,
    /// How often new evidence re-opened it.
    pub reopened_count: u32,
    /// Goes up with each change.
    pub revision: u64,
    /// Revision with which the newest evidence came that is not more of the same.
    pub news_revision: u64,
}

/// Why nothing may be done to a case.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Somebody else has it.
    #[error("{holder} has this case until {until}")]
    Held {
        /// Who.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
    /// It is decided already.
    #[error("this case is closed")]
    Closed,
    /// The write belongs to an older claim (L6).
    #[error("fence {given} is not the case's newest claim, which is {newest}")]
    StaleFence {
        /// What the writer brought.
        given: u64,
        /// The newest claim's.
        newest: u64,
    },
    /// The claim is somebody else's.
    #[error("this claim belongs to {0}")]
    NotYours(String),
    /// The lease ran out, and the case went back to the queue.
    #[error("the lease of this case has run out")]
    LeaseExpired,
    /// What was judged is not all: evidence came that the decider has not read.
    #[error("revision {read} was read, and new evidence came with revision {news}")]
    NewEvidence {
        /// What the decider has read.
        read: u64,
        /// With which the evidence came.
        news: u64,
    },
}

impl Case {
    /// Returns the case that a group opens, before any alert is counted.
    pub(super) fn without_evidence(
        id: CaseId,
        tenant: TenantId,
        group: &Group,
        sla: &Sla,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            host: group.host.clone(),
            state: CaseState::Open,
            severity: group.severity,
            risk: 0,
            opened_at: now,
            deadline: sla.deadline(group.severity, now),
            first_at: group.first_at,
            last_at: group.last_at,
            alert_count: 0,
            headline: Headline::default(),
            other_count: 0,
            fence: Fence(0),
            last_holder: None,
            reopened_count: 0,
            revision: 0,
            news_revision: 0,
        }
    }

    /// Gives the case to `holder` for `lease`.
    ///
    /// # Errors
    /// The case is closed, or somebody has a live lease (L6).
    pub fn claim(&self, holder: &str, lease: Duration, now: Timestamp) -> Result<Self, Refused> {
        match &self.state {
            CaseState::Closed(_) => Err(Refused::Closed),
            CaseState::Claimed { holder, until, .. } if is_live(*until, now) => {
                Err(Refused::Held { holder: holder.clone(), until: *until })
            }
            CaseState::Claimed { .. } | CaseState::Open => {
                let until = now.saturating_add(bounded(lease));
                let state =
                    CaseState::Claimed { holder: holder.to_owned(), claimed_at: now, until };
                let last_holder = Some(holder.to_owned());
                let fence = Fence(self.fence.0 + 1);
                Ok(Self { fence, last_holder, ..self.changed(state) })
            }
        }
    }

    /// Extends a live lease to `lease` from now.
    ///
    /// # Errors
    /// The claim is not the caller's newest, or has run out.
    pub fn renew(
        &self,
        holder: &str,
        fence: Fence,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.check_fence(holder, fence)?;
        match &self.state {
            CaseState::Closed(_) => Err(Refused::Closed),
            CaseState::Claimed { claimed_at, until, .. } if is_live(*until, now) => {
                let until = now.saturating_add(bounded(lease));
                let (holder, claimed_at) = (holder.to_owned(), *claimed_at);
                Ok(self.changed(CaseState::Claimed { holder, claimed_at, until }))
            }
            CaseState::Claimed { .. } | CaseState::Open => Err(Refused::LeaseExpired),
        }
    }

    /// Gives the case back to the queue, at the place that its deadline gives.
    ///
    /// # Errors
    /// The claim is not the caller's newest, or the case is not claimed any more.
    pub fn release(&self, holder: &str, fence: Fence) -> Result<Self, Refused> {
        self.check_fence(holder, fence)?;
        match self.state {
            CaseState::Closed(_) => Err(Refused::Closed),
            CaseState::Open => Err(Refused::LeaseExpired),
            CaseState::Claimed { .. } => Ok(self.given_back()),
        }
    }

    /// Closes the case. A verdict on a lease that ran out still counts while nobody else has claimed the case and
    /// nothing re-opened it: the fence proves it.
    ///
    /// # Errors
    /// The claim is not the caller's newest, or the case is closed, or evidence came that the decider has not read.
    pub fn decide(
        &self,
        holder: &str,
        fence: Fence,
        judgement: Judgement<'_>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        self.check_fence(holder, fence)?;
        if matches!(self.state, CaseState::Closed(_)) {
            return Err(Refused::Closed);
        }
        let read = judgement.revision_read.unwrap_or(self.revision).min(self.revision);
        if read < self.news_revision {
            return Err(Refused::NewEvidence { read, news: self.news_revision });
        }
        let verdict = Verdict {
            kind: judgement.kind,
            reason: judgement.reason.to_owned(),
            by: holder.to_owned(),
            at: now,
            alerts_seen: self.alert_count,
            revision_seen: read,
        };
        Ok(self.changed(CaseState::Closed(verdict)))
    }

    /// Returns the case back in the queue if its lease has run out.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> Option<Self> {
        match &self.state {
            CaseState::Claimed { until, .. } if !is_live(*until, now) => {
                Some(self.changed(CaseState::Open))
            }
            CaseState::Claimed { .. } | CaseState::Open | CaseState::Closed(_) => None,
        }
    }

    fn check_fence(&self, holder: &str, fence: Fence) -> Result<(), Refused> {
        if fence != self.fence || fence == Fence(0) {
            return Err(Refused::StaleFence { given: fence.0, newest: self.fence.0 });
        }
        match &self.last_holder {
            Some(last) if last != holder => Err(Refused::NotYours(last.clone())),
            Some(_) => Ok(()),
            // The number that a claim left behind which is over for good: nobody was given it.
            None => Err(Refused::LeaseExpired),
        }
    }

    /// Returns the case back in the queue, and the claim over: its fence is good for nothing any more.
    pub(super) fn given_back(&self) -> Self {
        let fence = Fence(self.fence.0 + 1);
        Self { fence, last_holder: None, ..self.changed(CaseState::Open) }
    }

    fn changed(&self, state: CaseState) -> Self {
        Self { state, revision: self.revision + 1, ..self.clone() }
    }
}

/// Returns whether a lease is live. One that ends later than any that can be given was given while the clock was wrong.
#[must_use]
pub fn is_live(until: Timestamp, now: Timestamp) -> bool {
    now < until && until <= now.saturating_add(LEASE_MAX)
}

/// Brings a lease that was asked for within its bounds.
fn bounded(lease: Duration) -> Duration {
    lease.clamp(LEASE_MIN, LEASE_MAX)
}

#[cfg(test)]
pub(crate) mod tests;
