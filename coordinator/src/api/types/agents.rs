//! Agents as JSON.

use serde::{Deserialize, Serialize};
use shared::{
    ids::{Lane, TenantId},
    wire::GapReason,
};
use utoipa::ToSchema;

use super::{GapReasonName, HostContext, JournalActor, LaneName, TenantName, Time};

/// An agent's counters since its process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentStats {
    /// Records read from all sources.
    pub records_read: u64,
    /// Bytes read from all sources.
    pub bytes_read: u64,
    /// Records that could not be parsed.
    pub malformed: u64,
    /// Records that were cut because they were too long.
    pub over_long: u64,
    /// How often a full spool made the sources wait.
    pub spool_full: u64,
    /// Bytes that the spool holds.
    pub spool_bytes: u64,
}

/// One lane of an agent's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaneState {
    /// Newest block that the spool held when the agent was last heard of.
    #[schema(required)]
    pub spooled: Option<u64>,
    /// Newest block that is durable here.
    #[schema(required)]
    pub committed: Option<u64>,
    /// How many blocks lie between the two.
    pub lag_blocks: u64,
    /// How many alerts the lane has brought.
    pub alerts: u64,
}

/// An agent's lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lanes {
    /// Goes before all others.
    pub urgent: LaneState,
    /// The everyday lane.
    pub normal: LaneState,
    /// What can wait.
    pub bulk: LaneState,
}

/// An installed agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Whose.
    pub tenant: String,
    /// Its id, a UUID.
    pub agent: String,
    /// Its host's name, from the newest context.
    #[schema(required)]
    pub hostname: Option<String>,
    /// Its host's operating system, from the newest context.
    #[schema(required)]
    pub os: Option<String>,
    /// Version of its program.
    pub version: String,
    /// When it first connected.
    pub first_seen_at: Time,
    /// When it was last heard of.
    pub last_seen_at: Time,
    /// Seconds since it was last heard of.
    pub silent_seconds: u64,
    /// Its spool, in hex.
    pub epoch: String,
    /// Start of its process, in hex.
    pub boot: String,
    /// Version of its host's newest context, in hex.
    #[schema(required)]
    pub context: Option<String>,
    /// How far its clock was ahead of the coordinator's, in milliseconds; negative when behind.
    pub clock_ahead_ms: i64,
    /// Its counters.
    pub stats: AgentStats,
    /// Its lanes.
    pub lanes: Lanes,
    /// Blocks in its spool that are not durable here, over all lanes.
    pub lag_blocks: u64,
    /// Age in seconds of the oldest alert that is not durable here; null where there is none.
    #[schema(required)]
    pub lag_seconds: Option<u64>,
    /// How many gaps are known of its lanes.
    pub gaps: u64,
    /// What made its identity worthless; null while it is good.
    #[schema(required)]
    pub revoked: Option<Revoked>,
    /// The latest certificate that it has shown; earlier ones are refused.
    #[schema(required)]
    pub certificate: Option<AgentCertificate>,
    /// The hosts that use its identity, if there are several: one is served, the others are in quarantine.
    #[schema(required)]
    pub conflict: Option<IdentityConflict>,
    /// What is the matter with its spool; null where nothing is.
    #[schema(required)]
    pub spool_notice: Option<SpoolNotice>,
}

/// Several hosts that use one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityConflict {
    /// Since when that is known.
    pub since: Time,
    /// What was decided; null until somebody has.
    #[schema(required)]
    pub decision: Option<IdentityDecision>,
    /// The hosts; the first was there before.
    pub hosts: Vec<ClaimingHost>,
}

/// Which host keeps an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityDecision {
    /// Its process, in hex.
    pub process: String,
    /// When that was decided.
    pub at: Time,
    /// Who decided.
    pub by: JournalActor,
    /// Why, in their words.
    pub reason: String,
}

/// One of several hosts that use one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimingHost {
    /// Its process, in hex: what a decision names it by.
    pub process: String,
    /// Its spool, in hex. Hosts with the same one have copies of it.
    pub spool: String,
    /// Whether it is served, or in quarantine.
    pub is_served: bool,
    /// Address that it connected from.
    pub from: String,
    /// Version of its program.
    pub version: String,
    /// When it was met first.
    pub first_seen_at: Time,
    /// When it was heard of last.
    pub last_seen_at: Time,
    /// What it says of itself; null where it could not say.
    #[schema(required)]
    pub context: Option<HostContext>,
}

/// Something about an agent's spool that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpoolNotice {
    /// Which spool, in hex.
    pub spool: String,
    /// Since when.
    pub since: Time,
    /// What about it.
    #[serde(flatten)]
    pub fault: SpoolFault,
}

/// What may be the matter with a spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum SpoolFault {
    /// It is an older copy, of which there are newer blocks here: nothing is taken from it.
    SetBack {
        /// On which lane.
        #[schema(value_type = LaneName)]
        lane: Lane,
        /// The newest block here.
        committed: u64,
        /// The spool's newest; null where it has none.
        #[schema(required)]
        last: Option<u64>,
    },
    /// It was used before, and another one after it. What it holds is whole, and is taken.
    Returned {
        /// The one that was used last, in hex.
        after: String,
    },
}

/// Which of several hosts keeps the identity of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The host's process, in hex, as the conflict shows it.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub process: String,
    /// Why, 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    pub reason: String,
}

/// A certificate that an agent has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentCertificate {
    /// Its serial number, in hex.
    pub serial: String,
    /// First instant at which it is valid.
    pub not_before: Time,
    /// Last instant at which it is.
    pub not_after: Time,
    /// When it was shown first.
    pub shown_at: Time,
}

/// What made an agent's identity worthless, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Since when.
    pub at: Time,
    /// Who did it.
    pub by: JournalActor,
    /// Why, in their words.
    pub reason: String,
}

/// Why an agent is to be let in no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why, 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    pub reason: String,
    /// Whose it is; needed for an agent that was never connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TenantName>)]
    pub tenant: Option<TenantId>,
}

/// An agent that is let in no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentRevocation {
    /// Whose.
    pub tenant: String,
    /// Its id, a UUID.
    pub agent: String,
    /// Since when, by whom and why.
    pub revoked: Revoked,
}

/// Blocks that will never come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    /// Of which spool, in hex.
    pub epoch: String,
    /// Of which lane.
    #[schema(value_type = LaneName)]
    pub lane: Lane,
    /// First block that is missing.
    pub first: u64,
    /// Last block that is missing.
    pub last: u64,
    /// How many blocks.
    pub blocks: u64,
    /// Why.
    #[schema(value_type = GapReasonName)]
    pub reason: GapReason,
    /// When it was noticed.
    pub noticed_at: Time,
}
