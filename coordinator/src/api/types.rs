//! The JSON of the API, version 1: what handlers answer with and clients read.
//!
//! Instants are RFC 3339 in UTC with milliseconds; ids are texts; numbers that may pass 2^53 (epoch, boot) are hex.
//! What a client sends refuses unknown fields; what it receives may gain fields within `/v1`, so clients ignore
//! those that they do not know.

use serde::{Deserialize, Serialize};
use shared::{
    alert::Severity,
    ids::{Lane, TenantId},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    store::values::Role,
    triage::{case::VerdictKind, sla::Sla},
};

mod access;
mod agents;
mod authority;
mod context;
mod forms;
mod journal;
mod ledger;
mod policies;
mod recalls;

pub use access::{Me, Person, SignInBegun, SignInPoll, SignInRequest, SignInState};
pub use agents::{
    Agent, AgentCertificate, AgentRevocation, AgentStats, ClaimingHost, Gap, IdentityConflict,
    IdentityDecision, LaneState, Lanes, ResolveRequest, RevokeRequest, Revoked, SpoolFault,
    SpoolNotice,
};
pub use authority::{
    AgentTrustState, Authority, IssuerAgents, TrustBundle, TrustPush, TrustRefusals,
    TrustRefusedBy, TrustRoot,
};
pub use context::{Context, Hardware, HostContext, Interface, Listener, LoggedIn, Route};
pub use forms::{
    AgentName, CaseName, GapReasonName, LaneName, LedgerGapKindName, RoleName, SeverityName,
    TenantName, Time, TimeError, VerdictName,
};
pub use journal::{JournalActor, JournalEntry, JournalEvent, process};
pub use ledger::{LaneCounts, LedgerCoverage, LedgerGap};

/// What is wrong with a stretch of a ledger.
pub use crate::triage::ledger::GapKind as LedgerGapKind;
pub use policies::{
    AgentPolicyState, PolicyOutcomeName, PolicyPush, PolicyRefusedBy, PolicyRollout, PolicyVersion,
    RolloutAdvance, RolloutCounts, RolloutHalt, RolloutHalted, RolloutState, RolloutSums,
};
pub use recalls::{
    Evicted, Recall, RecallAnswer, RecallAnswerState, RecallDetails, RecallRequest, RecalledRecord,
};

/// Problem details (RFC 9457): why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDetails {
    /// `urn:signalbox:problem:` and the problem's name: what programs decide by.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, in words; always the same for one kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Field, query key or header that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a person can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What an ambiguous name may have meant, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order. A page may be short and still not be the last.
    pub items: Vec<T>,
    /// `cursor` of the page behind this one; null on the last page.
    #[schema(required)]
    pub next: Option<String>,
}

/// Agreed minutes from receipt to verdict, by severity, each from 1 to 129600 (90 days).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the severities' names")]
pub struct SlaMinutes {
    pub unknown: u32,
    pub informational: u32,
    pub low: u32,
    pub medium: u32,
    pub high: u32,
    pub critical: u32,
    pub fatal: u32,
}

impl From<Sla> for SlaMinutes {
    fn from(sla: Sla) -> Self {
        let [unknown, informational, low, medium, high, critical, fatal] = sla.minutes;
        Self { unknown, informational, low, medium, high, critical, fatal }
    }
}

/// Changes of agreed minutes: those that are absent stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are the severities' names")]
pub struct SlaChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub unknown: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub informational: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub low: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub medium: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub high: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub critical: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 129_600)]
    pub fatal: Option<u32>,
}

impl SlaChange {
    /// Returns `sla` with these changes.
    #[must_use]
    pub fn apply(self, mut sla: Sla) -> Sla {
        let changes = [
            self.unknown,
            self.informational,
            self.low,
            self.medium,
            self.high,
            self.critical,
            self.fatal,
        ];
        for (minutes, change) in sla.minutes.iter_mut().zip(changes) {
            *minutes = change.unwrap_or(*minutes);
        }
        sla
    }
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its id: 1 to 32 of a-z, 0-9 and inner `-`.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// Agreed times.
    pub sla_minutes: SlaMinutes,
    /// When it was first heard of or made.
    pub created_at: Time,
    /// Goes up with each change; the `ETag`.
    pub revision: u64,
    /// Cases that wait for somebody.
    pub cases_waiting: u64,
    /// Cases that somebody has.
    pub cases_claimed: u64,
}

/// Changes of a tenant: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantChange {
    /// Its name for people, 1 to 4096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    pub display_name: Option<String>,
    /// Agreed times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla_minutes: Option<SlaChange>,
}

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// Waits in the queue.
    Open,
    /// Somebody has it.
    Claimed,
    /// Decided.
    Closed,
}

/// A case in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaseSummary {
    /// Its id: 12 letters.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// The host that it is about; null where its alerts name none.
    #[schema(required)]
    pub host: Option<String>,
    /// Where it stands.
    pub state: CaseState,
    /// The worst severity among its alerts.
    #[schema(value_type = SeverityName)]
    pub severity: Severity,
    /// How bad it looks, from 0 to 999.
    pub risk: u16,
    /// Title of its most severe finding.
    pub title: String,
    /// When its first alert was received: the SLA's clock starts here.
    pub opened_at: Time,
    /// By when it must be decided.
    pub deadline: Time,
    /// Seconds until the deadline; negative when late, null when closed.
    #[schema(required)]
    pub seconds_left: Option<i64>,
    /// Event time of its earliest alert.
    pub first_at: Time,
    /// Event time of its latest alert.
    pub last_at: Time,
    /// How many alerts it stands for, those included that an agent folded into one.
    pub alert_count: u64,
    /// How many different findings it names.
    pub finding_count: u64,
    /// Who has it.
    #[schema(required)]
    pub holder: Option<String>,
    /// Until when they have it.
    #[schema(required)]
    pub lease_until: Option<Time>,
    /// What it was found to be, once closed.
    #[schema(required, value_type = Option<VerdictName>)]
    pub verdict: Option<VerdictKind>,
    /// How often new evidence re-opened it.
    pub reopened_count: u32,
    /// Goes up with each change.
    pub revision: u64,
}

/// Alerts of a case that say the same thing about the same host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Stable digest of what it is, in hex.
    pub fingerprint: String,
    /// Product that raised it.
    pub product: String,
    /// The rule's id in that product; null where it has none.
    #[schema(required)]
    pub rule_uid: Option<String>,
    /// What it says.
    pub title: String,
    /// ATT&CK technique ids.
    pub techniques: Vec<String>,
    /// The worst severity among its alerts.
    #[schema(value_type = SeverityName)]
    pub severity: Severity,
    /// How many alerts, those included that an agent folded into one.
    pub count: u64,
    /// Event time of the earliest.
    pub first_at: Time,
    /// Event time of the latest.
    pub last_at: Time,
}

/// A decision, and what it was based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// The outcome.
    #[schema(value_type = VerdictName)]
    pub kind: VerdictKind,
    /// Why, in the analyst's words.
    pub reason: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Time,
    /// How many alerts the case held.
    pub alerts_seen: u64,
    /// The case's revision that was judged.
    pub revision_seen: u64,
}

/// A case with all that is known about it: the fields of [`CaseSummary`], with the whole verdict, and more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Case {
    /// Its id: 12 letters.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// The host that it is about; null where its alerts name none.
    #[schema(required)]
    pub host: Option<String>,
    /// Where it stands.
    pub state: CaseState,
    /// The worst severity among its alerts.
    #[schema(value_type = SeverityName)]
    pub severity: Severity,
    /// How bad it looks, from 0 to 999.
    pub risk: u16,
    /// Title of its most severe finding.
    pub title: String,
    /// When its first alert was received: the SLA's clock starts here.
    pub opened_at: Time,
    /// By when it must be decided.
    pub deadline: Time,
    /// Seconds until the deadline; negative when late, null when closed.
    #[schema(required)]
    pub seconds_left: Option<i64>,
    /// Event time of its earliest alert.
    pub first_at: Time,
    /// Event time of its latest alert.
    pub last_at: Time,
    /// How many alerts it stands for, those included that an agent folded into one.
    pub alert_count: u64,
    /// How many different findings it names.
    pub finding_count: u64,
    /// Who has it.
    #[schema(required)]
    pub holder: Option<String>,
    /// Until when they have it.
    #[schema(required)]
    pub lease_until: Option<Time>,
    /// What it was found to be, once closed.
    #[schema(required)]
    pub verdict: Option<Verdict>,
    /// How often new evidence re-opened it.
    pub reopened_count: u32,
    /// Goes up with each change; the `ETag`.
    pub revision: u64,
    /// What was found, in order of appearance.
    pub findings: Vec<Finding>,
    /// Alerts of further findings, which are counted together.
    pub other_count: u64,
    /// Number of the newest claim, or one more where that is over for good; 0 where there was none.
    pub fence: u64,
    /// Who had the newest claim, unless it is over for good.
    #[schema(required)]
    pub last_holder: Option<String>,
}

/// An alert with its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// The case that was asked for; null in a search.
    #[schema(required)]
    pub case: Option<String>,
    /// Whose.
    pub tenant: String,
    /// From which agent.
    pub agent: String,
    /// From which of its spools, in hex.
    pub epoch: String,
    /// On which lane.
    #[schema(value_type = LaneName)]
    pub lane: Lane,
    /// In which block.
    pub seq: u64,
    /// At which place in the block, from 0.
    pub position: u16,
    /// When the coordinator had it.
    pub received_at: Time,
    /// The alert as an OCSF 1.8 Detection Finding (class 2004), with OCSF's own epoch milliseconds.
    #[schema(value_type = Object)]
    pub finding: serde_json::Value,
    /// The record as the detector wrote it, if it was asked for; bytes that are no UTF-8 are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The record's bytes in base64, if it was asked for and is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_base64: Option<String>,
    /// Why there is no record although it was asked for: the agent sent it in a form that cannot be unpacked. The rest
    /// of the alert is as the agent said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_unreadable: Option<String>,
}

/// One page of alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertPage {
    /// The alerts, newest block first. A page may be short and still not be the last.
    pub items: Vec<Alert>,
    /// `cursor` of the page behind this one; null on the last page.
    #[schema(required)]
    pub next: Option<String>,
    /// Whether retention has deleted blocks that should stand on this page.
    pub records_gone: bool,
}

/// Numbers by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are the severities' names")]
pub struct BySeverity {
    pub unknown: u64,
    pub informational: u64,
    pub low: u64,
    pub medium: u64,
    pub high: u64,
    pub critical: u64,
    pub fatal: u64,
}

impl From<[usize; Severity::ALL.len()]> for BySeverity {
    fn from(counts: [usize; Severity::ALL.len()]) -> Self {
        let [unknown, informational, low, medium, high, critical, fatal] =
            counts.map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        Self { unknown, informational, low, medium, high, critical, fatal }
    }
}

/// The queue as the caller may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Cases that wait for somebody.
    pub waiting: u64,
    /// Cases that somebody has.
    pub claimed: u64,
    /// Waiting cases whose deadline has passed.
    pub late: u64,
    /// Waiting cases by severity.
    pub by_severity: BySeverity,
    /// The next cases, in the order in which they will be given out; empty for customers.
    pub head: Vec<CaseSummary>,
}

/// What the dispatcher is asked for. An empty body asks for the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NextRequest {
    /// How long the lease shall be; 900 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 30, maximum = 3600)]
    pub lease_seconds: Option<u64>,
    /// How long to wait for a case where none waits; 0 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 30)]
    pub wait_seconds: Option<u64>,
}

/// A claim of a named case. An empty body asks for the default lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimRequest {
    /// How long the lease shall be; 900 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 30, maximum = 3600)]
    pub lease_seconds: Option<u64>,
}

/// A longer lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Number of the claim.
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub fence: u64,
    /// How long the lease shall be from now; 900 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 30, maximum = 3600)]
    pub lease_seconds: Option<u64>,
}

/// A case given back to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Number of the claim.
    pub fence: u64,
    /// Why, 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    pub reason: String,
}

/// What a person may find a case to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An attack, or its success.
    Malicious,
    /// Not cleared up, and to be escalated.
    Suspicious,
    /// What was seen happened, and is wanted.
    BenignExpected,
    /// What the alert says did not happen.
    BenignFalsePositive,
}

impl From<Outcome> for VerdictKind {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Malicious => Self::Malicious,
            Outcome::Suspicious => Self::Suspicious,
            Outcome::BenignExpected => Self::BenignExpected,
            Outcome::BenignFalsePositive => Self::BenignFalsePositive,
        }
    }
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerdictRequest {
    /// Number of the claim.
    pub fence: u64,
    /// What the case was found to be.
    pub verdict: Outcome,
    /// Why, 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096, pattern = r"\S")]
    pub reason: String,
    /// Revision of the case that was read. With it a verdict is refused where evidence came since that is not more of
    /// the same; without it whatever the case holds by now counts as judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// Why the dispatcher chose a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum ClaimReason {
    /// No waiting case that the caller may see has an earlier deadline.
    EarliestDeadline {
        /// The deadline.
        deadline: Time,
        /// Minutes left; negative once it has passed.
        minutes_left: i64,
    },
    /// Among cases of one deadline it looks worst.
    HighestRisk {
        /// From 0 to 999.
        risk: u16,
    },
    /// How many cases wait that the caller may see, this one included.
    Waiting {
        /// The number.
        cases: u64,
    },
    /// A lead named it.
    Named,
}

/// A case that the caller has from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// The case.
    pub case: Case,
    /// Number of the claim: goes with each write about the case.
    pub fence: u64,
    /// Until when the caller has it, unless renewed.
    pub lease_until: Time,
    /// Why this case.
    pub reasons: Vec<ClaimReason>,
}

/// A lease that was extended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The case's id.
    pub case: String,
    /// Number of the claim.
    pub fence: u64,
    /// Until when the caller has it, unless renewed.
    pub lease_until: Time,
}

/// A bearer token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its public name.
    pub id: String,
    /// Whose.
    pub holder: String,
    /// What it allows.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Whose data; null for every tenant's.
    #[schema(required)]
    pub tenants: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Time,
    /// Until when it is good.
    pub expires_at: Time,
    /// Since when it is not good any more.
    #[schema(required)]
    pub revoked_at: Option<Time>,
    /// Whether it is good now.
    pub is_good: bool,
    /// When it was used last; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// Who signed in for it; absent where somebody made it for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose: 1 to 64 of a-z, A-Z, 0-9 and `._-@`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    pub holder: String,
    /// What it shall allow.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Whose data; absent for every tenant's. A customer's token names exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<TenantName>>, min_items = 1, max_items = 1000)]
    pub tenants: Option<Vec<TenantId>>,
    /// For how many days; 90 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 366)]
    pub expires_in_days: Option<u32>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// The token.
    pub token: Token,
    /// Its secret, shown this once and kept nowhere; absent when the answer is a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A token by which hosts become a tenant's agents, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinToken {
    /// Its public name.
    pub id: String,
    /// Whose agents the hosts become.
    pub tenant: String,
    /// How many hosts it lets in.
    pub max_uses: u32,
    /// How many it has let in.
    pub uses: u32,
    /// Who made it.
    pub created_by: JournalActor,
    /// When it was made.
    pub created_at: Time,
    /// Until when it is good.
    pub expires_at: Time,
    /// Since when it is not good any more.
    #[schema(required)]
    pub revoked_at: Option<Time>,
    /// Whether it lets a host in now.
    pub is_good: bool,
}

/// A join token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// Whose agents the hosts become.
    #[schema(value_type = TenantName)]
    pub tenant: TenantId,
    /// How many hosts it lets in; one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub uses: Option<u32>,
    /// For how many hours; 24 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 8784)]
    pub expires_in_hours: Option<u32>,
}

/// A join token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewJoinToken {
    /// The token.
    pub token: JoinToken,
    /// What is given to the host, shown this once and kept nowhere; absent when the answer is a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items on the page; 50 where absent.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
    /// `next` of the page before, with the same filter.
    #[param(max_length = 512)]
    pub cursor: Option<String>,
}
