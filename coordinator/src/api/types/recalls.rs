//! Recalls as JSON: what agents are asked for of that which a rule held back, and what they answered.

use serde::{Deserialize, Serialize};
use shared::{
    alert::Severity,
    ids::{AgentId, TenantId},
    recall::RecallOutcome,
};
use utoipa::ToSchema;

use super::{AgentName, JournalActor, SeverityName, TenantName, Time};

/// What agents are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecallRequest {
    /// Whose agents.
    #[schema(value_type = TenantName)]
    pub tenant: TenantId,
    /// Only this agent; all of the tenant's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AgentName>)]
    pub agent: Option<AgentId>,
    /// Id of the policy rule that held the records.
    #[schema(min_length = 1, max_length = 128)]
    pub rule: String,
    /// From when on the records happened; all that is held where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Before when they happened; now where absent or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Most bytes, compressed, from one agent; 16 MiB where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 67_108_864)]
    pub max_bytes: Option<u64>,
}

/// A recall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recall {
    /// Its id: 32 hex digits; later recalls have greater ones.
    pub id: String,
    /// Whose agents.
    pub tenant: String,
    /// Id of the policy rule.
    pub rule: String,
    /// From when on the records happened.
    pub since: Time,
    /// Before when they happened.
    pub until: Time,
    /// Most bytes, compressed, from one agent.
    pub max_bytes: u64,
    /// Who asked.
    pub asked_by: JournalActor,
    /// When.
    pub asked_at: Time,
    /// Until when agents are asked that are not connected.
    pub expires_at: Time,
    /// How many agents were asked.
    pub agents: u32,
    /// How many have answered.
    pub answered: u32,
    /// Whether no further answer will come: all have answered, or the time is over. Shown alone, a recall is finished
    /// also where agents were given up; a list does not look at each agent's answer.
    pub is_finished: bool,
    /// Whether all have answered and none says that something is missing.
    pub is_complete: bool,
    /// Records that came in finished answers.
    pub records: u64,
    /// Records that the agents had evicted, at most: they may have happened outside the time asked for.
    pub evicted: u64,
    /// Records that damage took from the agents.
    pub lost: u64,
}

/// Where an agent's answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecallAnswerState {
    /// The agent was not asked yet: it is not connected, or has others to answer.
    Waiting,
    /// It has begun to answer; if its connection breaks, it is asked again.
    Answering,
    /// It has answered.
    Answered,
    /// It has answered that it holds nothing back.
    NoRing,
    /// It has answered that it cannot read what it holds.
    Unreadable,
    /// It did not answer in time.
    Expired,
    /// It broke off too often.
    GivenUp,
}

impl RecallAnswerState {
    /// Tells whether nothing more will come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Answering)
    }

    /// Returns how a finished answer is shown.
    #[must_use]
    pub const fn of(outcome: RecallOutcome) -> Self {
        match outcome {
            RecallOutcome::Answered => Self::Answered,
            RecallOutcome::NoRing => Self::NoRing,
            RecallOutcome::Unreadable => Self::Unreadable,
        }
    }
}

/// A tombstone: records that are gone because the agent's ring had reached its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evicted {
    /// How many; some of them may have happened outside the time asked for.
    pub records: u64,
    /// When the first of them happened.
    pub from: Time,
    /// When the last of them happened.
    pub until: Time,
    /// When the last of them was evicted, by the agent's clock.
    pub evicted_at: Time,
}

/// An agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecallAnswer {
    /// Which agent.
    pub agent: String,
    /// Where its answer stands.
    pub state: RecallAnswerState,
    /// When that changed last.
    pub changed_at: Time,
    /// How often it has begun to answer. After the first few that broke off it is asked again after pauses that double.
    pub attempts: u32,
    /// Records that came.
    pub records: u64,
    /// Their bytes, compressed.
    pub bytes: u64,
    /// What the agent has evicted of the rule, near the time asked for; null where it has not or not answered.
    #[schema(required)]
    pub evicted: Option<Evicted>,
    /// Records that damage took: of the rule, or of any where that is not known.
    pub lost: u64,
    /// Whether `max_bytes` was used up before all was sent.
    pub is_truncated: bool,
    /// Whether it has answered, and nothing is missing.
    pub is_complete: bool,
}

/// A recall with what each agent answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecallDetails {
    /// The recall.
    pub recall: Recall,
    /// The answers, by agent.
    pub answers: Vec<RecallAnswer>,
}

/// A record that a rule had held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecalledRecord {
    /// From which agent.
    pub agent: String,
    /// From which of its sources.
    #[schema(required)]
    pub source: Option<String>,
    /// Id of the policy rule that held it.
    #[schema(required)]
    pub rule: Option<String>,
    /// When it happened, as its product says, else when the agent read it.
    pub happened_at: Time,
    /// When the agent read it.
    pub observed_at: Time,
    /// How bad its product says that it is.
    #[schema(value_type = SeverityName)]
    pub severity: Severity,
    /// What it says, in one line.
    #[schema(required)]
    pub title: Option<String>,
    /// SHA-256 of the record's bytes, in hex.
    pub sha256: String,
    /// The record as the detector wrote it; bytes that are no UTF-8 are replaced.
    pub record: String,
    /// The record's bytes in base64, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_base64: Option<String>,
}
