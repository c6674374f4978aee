//! Agents' ledgers as JSON: what they cover, and their gaps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::{
    ids::{AgentId, Lane},
    ledger::{DropReason, LossReason},
};
use utoipa::ToSchema;

use super::{LaneName, LedgerGapKindName, Time};
use crate::{
    store::{schema::LedgerGapKey, values::LedgerGapRecord},
    triage::{coverage::Covered, ledger::GapKind},
};

/// A number for each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaneCounts {
    /// Goes before all others.
    pub urgent: u64,
    /// The everyday lane.
    pub normal: u64,
    /// What can wait.
    pub bulk: u64,
}

impl From<[u64; Lane::COUNT]> for LaneCounts {
    fn from([urgent, normal, bulk]: [u64; Lane::COUNT]) -> Self {
        Self { urgent, normal, bulk }
    }
}

/// What became of the records of one source, as its agent's ledger counts them: `read` is `sent` + `malformed` + `held`
/// + `folded` + `skipped` + `dropped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerCoverage {
    /// Which agent, a UUID.
    pub agent: String,
    /// The source's name.
    pub source: String,
    /// When the first interval began, by the agent's clock.
    pub from: Time,
    /// When the last one ended.
    pub until: Time,
    /// How many intervals there were.
    pub intervals: u64,
    /// Version of the policy at the end; zero where there was none.
    pub policy: u64,
    /// Records that came.
    pub read: u64,
    /// Records that were sent as alerts.
    pub sent: LaneCounts,
    /// Records that could not be parsed, and were sent as they are.
    pub malformed: LaneCounts,
    /// Alerts that were sent besides, to say how many records were folded.
    pub summaries: LaneCounts,
    /// How many of those sent a rule holds, and were sent as a sample.
    pub audited: u64,
    /// Records that were held back, by rule; `*` stands for the rules that are not named.
    pub held: BTreeMap<String, u64>,
    /// Records that only raised the count of an alert, by rule.
    pub folded: BTreeMap<String, u64>,
    /// Records that are no alerts.
    pub skipped: u64,
    /// Records that came and could not be kept, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What else is known to be lost, by reason: how many records that were is not known.
    pub losses: BTreeMap<String, u64>,
    /// Whether every record's fate is known.
    pub closes: bool,
}

impl LedgerCoverage {
    /// Returns what is covered of a source.
    #[must_use]
    pub fn new(agent: AgentId, covered: &Covered) -> Self {
        let sums = &covered.sums;
        let dropped = |(reason, count): (&DropReason, &u64)| (name(*reason), *count);
        let losses = |(reason, count): (&LossReason, &u64)| (name(*reason), *count);
        Self {
            agent: agent.to_string(),
            source: sums.source.clone(),
            from: Time(covered.from),
            until: Time(covered.until),
            intervals: covered.intervals,
            policy: covered.policy,
            read: sums.read,
            sent: sums.sent.into(),
            malformed: sums.malformed.into(),
            summaries: sums.summaries.into(),
            audited: sums.audited,
            held: sums.held.clone(),
            folded: sums.folded.clone(),
            skipped: sums.skipped,
            dropped: sums.dropped.iter().map(dropped).collect(),
            losses: sums.losses.iter().map(losses).collect(),
            closes: sums.read == sums.accounted(),
        }
    }
}

/// Returns a reason's name, which is that of the gaps of its kind.
fn name(kind: impl Into<GapKind>) -> String {
    kind.into().as_str().to_owned()
}

/// A gap in an agent's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerGap {
    /// Which agent's, a UUID.
    pub agent: String,
    /// Of which of its spools, in hex.
    pub epoch: String,
    /// Number of the interval that shows it.
    pub interval: u64,
    /// Of which source; null where it is the whole agent's.
    #[schema(required)]
    pub source: Option<String>,
    /// On which lane, where it is about blocks.
    #[schema(required, value_type = Option<LaneName>)]
    pub lane: Option<Lane>,
    /// What is wrong.
    #[schema(value_type = LedgerGapKindName)]
    pub kind: GapKind,
    /// Whether what it is explains it: nothing does where sums do not close, intervals are missing or alerts differ.
    pub explained: bool,
    /// From when, by the agent's clock.
    pub from: Time,
    /// Until when.
    pub until: Time,
    /// How much: intervals, records, alerts, files or milliseconds, as the kind says.
    pub count: u64,
    /// When it was noticed.
    pub noticed_at: Time,
}

impl LedgerGap {
    /// Returns a gap as it is stored.
    #[must_use]
    pub fn new(key: &LedgerGapKey, record: &LedgerGapRecord) -> Self {
        let gap = &record.gap;
        Self {
            agent: key.agent.to_string(),
            epoch: key.epoch.to_string(),
            interval: key.number,
            source: gap.source.clone(),
            lane: gap.lane,
            kind: gap.kind,
            explained: !gap.kind.is_unexplained(),
            from: Time(gap.from),
            until: Time(gap.until),
            count: gap.count,
            noticed_at: Time(record.noticed_at),
        }
    }
}
