//! Policies as JSON: the versions of a tenant's, how far the newest is rolled out, and where it stands at agents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{JournalActor, Time};

/// A signed policy that is brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyPush {
    /// What is signed, with its signature, in base64: as `signalbox policy sign` makes it.
    #[schema(min_length = 1, max_length = 54_616)]
    pub envelope: String,
    /// Percent of the agents that get it first: 1, 10 or 100; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub stage: Option<u8>,
    /// The version whose content it has again, where it takes another one back: checked to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<u64>,
}

/// How a roll-out is to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutAdvance {
    /// Whether what it changes is meant: a halted one goes on, and none stops by itself any more.
    pub is_meant: bool,
    /// Whether it goes on although no agent of the stage has answered yet.
    pub anyway: bool,
}

/// Why a roll-out is to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutHalt {
    /// Why, for whoever reads it next year.
    #[schema(min_length = 1, max_length = 4096)]
    pub reason: String,
}

/// A version of a tenant's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersion {
    /// Number of the version.
    pub version: u64,
    /// From when on it is good.
    pub not_before: Time,
    /// From when on agents suppress nothing by it any more.
    pub expires_at: Time,
    /// Short name of the key that signed it.
    pub key: String,
    /// Who brought it.
    pub pushed_by: JournalActor,
    /// When.
    pub pushed_at: Time,
    /// The version whose content it has again; null where it takes none back.
    #[schema(required)]
    pub copy_of: Option<u64>,
    /// SHA-256 of its text, in hex.
    pub sha256: String,
    /// Most of one processor that agents' sources may take, in percent; null where it does not say.
    #[schema(required)]
    pub cpu_percent: Option<u16>,
    /// Where coordinators are, as it says; agents keep those that they know.
    pub coordinators: Vec<String>,
    /// The rules; only where one version is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What is signed, with its signature, in base64; only where one version is asked for. Whoever goes by it checks
    /// the signature: the rest of this answer is the coordinator's word alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 54_616)]
    pub envelope: Option<String>,
}

/// Where a roll-out stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Agents of the stage are offered it.
    Running,
    /// Nobody further is offered it.
    Halted,
}

/// Why a roll-out was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutHalted {
    /// When.
    pub at: Time,
    /// Who did it; the coordinator, where it stopped by itself.
    pub by: JournalActor,
    /// Why, in words.
    pub reason: String,
    /// What can be done now.
    pub next_step: String,
}

/// How agents stand to the newest version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutCounts {
    /// Agents of the tenant, at most 20000.
    pub agents: u64,
    /// Of those, how many are in the stage.
    pub in_stage: u64,
    /// In how many it is in force.
    pub in_force: u64,
    /// How many keep it and go by a file of their host.
    pub overridden: u64,
    /// In how many it has ended.
    pub ended: u64,
    /// How many have something else under its number, and will not take it.
    pub other: u64,
    /// How many refuse it.
    pub refused: u64,
    /// How many of the stage have not answered: not connected, or not offered it yet.
    pub waiting: u64,
    /// How many were not heard of since soon after they took it.
    pub silent: u64,
}

/// What became of records of the agents in which the newest version is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutSums {
    /// Records that came.
    pub records: u64,
    /// Of those, how many could not be parsed.
    pub malformed: u64,
    /// How many were held back or folded.
    pub held: u64,
    /// How many came and could not be kept.
    pub dropped: u64,
    /// What else is known to be lost: lines that were cut, files that were gone.
    pub lost: u64,
    /// How often agents were started again, or had sent what none of their sums counts.
    pub restarts: u64,
}

/// How far a tenant's newest policy is rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRollout {
    /// Whose.
    pub tenant: String,
    /// The newest version.
    pub version: u64,
    /// The version of those that are not in the stage; zero where they have none.
    pub base: u64,
    /// Percent of the stage: 1, 10 or 100.
    pub stage: u8,
    /// Where it stands.
    pub state: RolloutState,
    /// When the roll-out began.
    pub began_at: Time,
    /// When the stage did.
    pub stage_at: Time,
    /// Whether a person has said that what it changes is meant: it does not stop by itself any more.
    pub is_meant: bool,
    /// Why it was stopped; null while it goes on.
    #[schema(required)]
    pub halted: Option<RolloutHalted>,
    /// How agents stand to it.
    pub counts: RolloutCounts,
    /// What became of records before it: of the tenant's newest 24000 intervals before, a day at most.
    pub before: RolloutSums,
    /// And since, of the newest 24000.
    pub after: RolloutSums,
}

/// How it stands with a version at an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOutcomeName {
    /// It has not said which it has: not connected since, or of an earlier version.
    Unheard,
    /// It has none.
    Nothing,
    /// It decides what is held, folded and sent first.
    InForce,
    /// It is kept, and a file of the host decides in its place.
    Overridden,
    /// It has ended, and nothing is suppressed.
    Ended,
    /// It has something else under the number of the newest version: a coordinator was set back, or two people signed.
    Other,
}

/// A version that an agent did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRefusedBy {
    /// Which.
    pub version: u64,
    /// Why: too_large, malformed, unknown_key, bad_signature, foreign_tenant, rollback, expired, not_yet, unusable,
    /// nowhere_to_hold, not_stored or crashed.
    pub reason: String,
    /// What is wrong with it, in words.
    pub text: String,
    /// When.
    pub at: Time,
}

/// Where the policy stands at an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentPolicyState {
    /// Which agent.
    pub agent: String,
    /// Whether it is in the stage that the newest version has reached.
    pub in_stage: bool,
    /// The version that it is to have; zero for none.
    pub target: u64,
    /// The version that it has; zero for none.
    pub version: u64,
    /// How it stands with that.
    pub outcome: PolicyOutcomeName,
    /// When it said so first; null where it never did.
    #[schema(required)]
    pub since: Option<Time>,
    /// The version that it was offered last; null where none was.
    #[schema(required)]
    pub offered: Option<u64>,
    /// When.
    #[schema(required)]
    pub offered_at: Option<Time>,
    /// What it refused last, unless it has taken a later one since.
    #[schema(required)]
    pub refused: Option<PolicyRefusedBy>,
}
