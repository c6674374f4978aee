//! Entries of the journal as JSON.

use serde::{Deserialize, Serialize};
use shared::{
    ids::{BootId, Lane, Seq, StreamId},
    wire::GapReason,
};
use utoipa::ToSchema;

use super::{GapReasonName, LaneName, Person, RoleName, Time, VerdictName};
use crate::{
    command::journal::Chained,
    store::values::{
        AccessEvent, Actor, Event, HaltReason, IdentityEvent, JoinEvent, PolicyEvent, Role,
        TrustEvent,
    },
    triage::case::VerdictKind,
};

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum JournalActor {
    /// The coordinator by itself.
    Coordinator,
    /// An agent.
    Agent {
        /// Its id.
        name: String,
    },
    /// A person.
    Person {
        /// The name on their token.
        name: String,
        /// The provider that they signed in at; absent where somebody made their token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// Its name for them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
}

impl From<&Actor> for JournalActor {
    fn from(actor: &Actor) -> Self {
        match actor {
            Actor::Coordinator => Self::Coordinator,
            Actor::Agent(agent) => Self::Agent { name: agent.to_string() },
            Actor::Person(name) => Self::Person { name: name.clone(), issuer: None, subject: None },
            Actor::SignedIn { name, issuer, subject } => Self::Person {
                name: name.clone(),
                issuer: Some(issuer.clone()),
                subject: Some(subject.clone()),
            },
        }
    }
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum JournalEvent {
    /// A block became durable.
    BlockCommitted {
        /// From which agent.
        agent: String,
        /// From which of its spools, in hex.
        epoch: String,
        /// On which lane.
        #[schema(value_type = LaneName)]
        lane: Lane,
        /// Its number.
        seq: u64,
        /// How many alerts it brought.
        alerts: u16,
        /// Cases that it opened, re-opened or added to.
        cases: Vec<String>,
    },
    /// Blocks were found to be lost.
    GapRecorded {
        /// Of which agent.
        agent: String,
        /// Of which of its spools, in hex.
        epoch: String,
        /// Of which lane.
        #[schema(value_type = LaneName)]
        lane: Lane,
        /// First block that is missing.
        first: u64,
        /// Last block that is missing.
        last: u64,
        /// Why.
        #[schema(value_type = GapReasonName)]
        reason: GapReason,
    },
    /// A tenant was made or changed.
    TenantChanged {
        /// Its revision from here on.
        revision: u64,
    },
    /// An agent connected.
    AgentConnected {
        /// Which.
        agent: String,
        /// With which spool, in hex.
        epoch: String,
        /// In which process, in hex.
        boot: String,
    },
    /// A host's context changed.
    ContextChanged {
        /// Whose agent.
        agent: String,
        /// To which version, in hex.
        version: String,
    },
    /// A case was claimed.
    CaseClaimed {
        /// Which.
        case: String,
        /// The claim's fence.
        fence: u64,
        /// Until when.
        until: Time,
    },
    /// A lease was extended.
    LeaseRenewed {
        /// Of which case.
        case: String,
        /// Until when.
        until: Time,
    },
    /// A case was given back.
    CaseReleased {
        /// Which.
        case: String,
        /// Why, in the analyst's words.
        reason: String,
    },
    /// A lease ran out.
    LeaseExpired {
        /// Of which case.
        case: String,
    },
    /// A case was decided.
    VerdictGiven {
        /// Which.
        case: String,
        /// The outcome.
        #[schema(value_type = VerdictName)]
        verdict: VerdictKind,
        /// Why.
        reason: String,
    },
    /// A token was made.
    TokenCreated {
        /// Its public name.
        token: String,
        /// Whose.
        holder: String,
        /// What it allows.
        #[schema(value_type = RoleName)]
        role: Role,
    },
    /// A token was revoked.
    TokenRevoked {
        /// Its public name.
        token: String,
    },
    /// Old data was deleted.
    RetentionRan {
        /// Everything received before this.
        before: Time,
        /// How many closed cases.
        cases: u32,
    },
    /// An agent's ledger shows gaps.
    LedgerGapsFound {
        /// Which agent's.
        agent: String,
        /// Of which of its spools, in hex.
        epoch: String,
        /// The newest interval that was looked at.
        up_to: u64,
        /// How many gaps are explained by what they are.
        explained: u64,
        /// How many nobody can explain.
        unexplained: u64,
    },
    /// Agents were asked for what a rule held back.
    RecallAsked {
        /// Which recall.
        recall: String,
        /// Id of the rule.
        rule: String,
        /// From when on the records happened.
        since: Time,
        /// Before when they happened.
        until: Time,
        /// How many agents.
        agents: u32,
    },
    /// An agent answered a recall.
    RecallAnswered {
        /// Which recall.
        recall: String,
        /// Which agent.
        agent: String,
        /// How many records came.
        records: u64,
        /// How many it had evicted, at most.
        evicted: u64,
        /// How many damage had taken.
        lost: u64,
        /// Whether nothing is missing.
        is_complete: bool,
    },
    /// A join token was made.
    JoinTokenCreated {
        /// Its public name.
        token: String,
        /// How many hosts it lets in.
        max_uses: u32,
        /// Until when it is good.
        expires_at: Time,
    },
    /// A join token was revoked.
    JoinTokenRevoked {
        /// Its public name.
        token: String,
    },
    /// A host became an agent.
    AgentJoined {
        /// Which.
        agent: String,
        /// By which join token.
        token: String,
        /// What the host calls itself.
        host_name: String,
        /// From which address.
        from: String,
    },
    /// A host was not let in.
    JoinRefused {
        /// With which join token; null where there is no such one.
        #[schema(required)]
        token: Option<String>,
        /// Why: unknown, expired, used, revoked, signing_request, too_many or unavailable.
        reason: String,
        /// From which address.
        from: String,
    },
    /// An agent is let in no more.
    AgentRevoked {
        /// Which.
        agent: String,
        /// Why.
        reason: String,
    },
    /// An agent has shown a later certificate: those before are refused from here on.
    AgentRenewed {
        /// Which.
        agent: String,
        /// The certificate's serial number, in hex.
        serial: String,
        /// Last instant at which it is valid.
        not_after: Time,
    },
    /// Somebody was refused who has shown a certificate from before the agent's latest.
    CertificateSuperseded {
        /// Which agent it names.
        agent: String,
        /// The certificate's serial number, in hex.
        serial: String,
        /// From which address.
        from: String,
    },
    /// A second host uses an agent's identity, and is in quarantine until a person decides.
    IdentityContested {
        /// Which agent's.
        agent: String,
        /// The second host's process, in hex.
        process: String,
        /// Its spool, in hex.
        spool: String,
        /// Its address.
        from: String,
        /// The process of the one that is served, in hex.
        served: String,
    },
    /// A person has decided which host keeps an identity.
    IdentityResolved {
        /// Which agent's.
        agent: String,
        /// The process that keeps it, in hex.
        process: String,
        /// Why.
        reason: String,
    },
    /// One host alone uses the identity again.
    IdentitySettled {
        /// Which agent's.
        agent: String,
    },
    /// An agent's spool is an older copy: nothing is taken from it.
    SpoolSetBack {
        /// Which agent's.
        agent: String,
        /// Which spool, in hex.
        spool: String,
        /// On which lane.
        #[schema(value_type = LaneName)]
        lane: Lane,
        /// The newest block here.
        committed: u64,
        /// The spool's newest; null where it has none.
        #[schema(required)]
        last: Option<u64>,
    },
    /// An agent has come back with a spool that it had before another one.
    SpoolReturned {
        /// Which agent.
        agent: String,
        /// The spool, in hex.
        spool: String,
        /// The one that it had last, in hex.
        after: String,
    },
    /// A person signed in and has a token.
    SignedIn {
        /// Its public name.
        token: String,
        /// Until when it is good.
        expires_at: Time,
        /// Who.
        person: Person,
        /// What it allows.
        #[schema(value_type = RoleName)]
        role: Role,
        /// Whose data; null for every tenant's.
        #[schema(required)]
        tenants: Option<Vec<String>>,
        /// The group of theirs that decided.
        group: String,
        /// From which address they asked for it.
        from: String,
        /// At which address their browser was; another than `from` is usual over ssh and may be a link that was sent.
        browser: String,
    },
    /// A person has shown who they are, and has no token.
    SignInRefused {
        /// Who.
        person: Person,
        /// Why: no_group or disowned.
        reason: String,
        /// From which address it was asked for.
        from: String,
    },
    /// Too much that is not good came from an address: the API does not listen to it for a while.
    LockedOut {
        /// Which.
        from: String,
        /// Until when.
        until: Time,
    },
    /// A version of a tenant's policy was brought.
    PolicyPushed {
        /// Which.
        version: u64,
        /// Short name of the key that signed it.
        key: String,
        /// Percent of the first stage.
        stage: u8,
        /// The version whose content it has again; null where it takes none back.
        #[schema(required)]
        copy_of: Option<u64>,
    },
    /// A version goes to more agents.
    PolicyAdvanced {
        /// Which.
        version: u64,
        /// Percent of the stage.
        stage: u8,
        /// Whether a person has said that what it changes is meant.
        is_meant: bool,
    },
    /// Nobody further gets a version.
    PolicyHalted {
        /// Which.
        version: u64,
        /// Why.
        reason: String,
    },
    /// A trust bundle was brought: all agents are offered it.
    TrustBundlePushed {
        /// Its sequence.
        sequence: u64,
        /// SHA-256 of what is signed with its signature, in hex.
        sha256: String,
        /// SHA-256 of the keys that were distrusted before, and that it does not name, in hex: agents believe them
        /// again.
        trusts_again: Vec<String>,
    },
    /// An agent has refused a trust bundle.
    TrustBundleRefused {
        /// Which agent.
        agent: String,
        /// Its sequence.
        sequence: u64,
        /// Why, by name.
        reason: String,
        /// What is wrong with it, in the agent's words.
        detail: String,
    },
    /// Somebody has shown a certificate of a distrusted issuer that was not issued here.
    CertificateForged {
        /// Which agent it names.
        agent: String,
        /// Its serial number, in hex.
        serial: String,
        /// From which address.
        from: String,
    },
    /// An agent has refused a version.
    PolicyRefused {
        /// Which agent.
        agent: String,
        /// Which version.
        version: u64,
        /// Why, by name.
        reason: String,
        /// What is wrong with it, in the agent's words.
        detail: String,
    },
}

impl JournalEvent {
    /// Returns the name that stands as `kind`, which is also the type of the live feed's events.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BlockCommitted { .. } => "block_committed",
            Self::GapRecorded { .. } => "gap_recorded",
            Self::TenantChanged { .. } => "tenant_changed",
            Self::AgentConnected { .. } => "agent_connected",
            Self::ContextChanged { .. } => "context_changed",
            Self::CaseClaimed { .. } => "case_claimed",
            Self::LeaseRenewed { .. } => "lease_renewed",
            Self::CaseReleased { .. } => "case_released",
            Self::LeaseExpired { .. } => "lease_expired",
            Self::VerdictGiven { .. } => "verdict_given",
            Self::TokenCreated { .. } => "token_created",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::RetentionRan { .. } => "retention_ran",
            Self::LedgerGapsFound { .. } => "ledger_gaps_found",
            Self::RecallAsked { .. } => "recall_asked",
            Self::RecallAnswered { .. } => "recall_answered",
            Self::JoinTokenCreated { .. } => "join_token_created",
            Self::JoinTokenRevoked { .. } => "join_token_revoked",
            Self::AgentJoined { .. } => "agent_joined",
            Self::JoinRefused { .. } => "join_refused",
            Self::AgentRevoked { .. } => "agent_revoked",
            Self::AgentRenewed { .. } => "agent_renewed",
            Self::CertificateSuperseded { .. } => "certificate_superseded",
            Self::IdentityContested { .. } => "identity_contested",
            Self::IdentityResolved { .. } => "identity_resolved",
            Self::IdentitySettled { .. } => "identity_settled",
            Self::SpoolSetBack { .. } => "spool_set_back",
            Self::SpoolReturned { .. } => "spool_returned",
            Self::SignedIn { .. } => "signed_in",
            Self::SignInRefused { .. } => "sign_in_refused",
            Self::LockedOut { .. } => "locked_out",
            Self::PolicyPushed { .. } => "policy_pushed",
            Self::PolicyAdvanced { .. } => "policy_advanced",
            Self::PolicyHalted { .. } => "policy_halted",
            Self::PolicyRefused { .. } => "policy_refused",
            Self::TrustBundlePushed { .. } => "trust_bundle_pushed",
            Self::TrustBundleRefused { .. } => "trust_bundle_refused",
            Self::CertificateForged { .. } => "certificate_forged",
        }
    }
}

impl From<&Event> for JournalEvent {
    fn from(event: &Event) -> Self {
        let names = |stream: &StreamId| (stream.agent.to_string(), stream.epoch.to_string());
        match event {
            Event::BlockCommitted { stream, seq, alerts, cases } => {
                let ((agent, epoch), lane) = (names(stream), stream.lane);
                let cases = cases.iter().map(ToString::to_string).collect();
                let (seq, alerts) = (seq.as_u64(), *alerts);
                Self::BlockCommitted { agent, epoch, lane, seq, alerts, cases }
            }
            Event::GapRecorded { stream, gap } => {
                let ((agent, epoch), lane, reason) = (names(stream), stream.lane, gap.reason);
                let (first, last) = (gap.first.as_u64(), gap.last.as_u64());
                Self::GapRecorded { agent, epoch, lane, first, last, reason }
            }
            Event::TenantChanged { revision } => Self::TenantChanged { revision: *revision },
            Event::AgentConnected { agent, epoch, boot } => {
                let (agent, epoch, boot) = (agent.to_string(), epoch.to_string(), process(*boot));
                Self::AgentConnected { agent, epoch, boot }
            }
            Event::ContextChanged { agent, version } => {
                let (agent, version) = (agent.to_string(), format!("{:016x}", version.0));
                Self::ContextChanged { agent, version }
            }
            Event::CaseClaimed { case, fence, until } => {
                Self::CaseClaimed { case: case.to_string(), fence: *fence, until: Time(*until) }
            }
            Event::LeaseRenewed { case, until } => {
                Self::LeaseRenewed { case: case.to_string(), until: Time(*until) }
            }
            Event::CaseReleased { case, reason } => {
                Self::CaseReleased { case: case.to_string(), reason: reason.clone() }
            }
            Event::LeaseExpired { case } => Self::LeaseExpired { case: case.to_string() },
            Event::VerdictGiven { case, verdict: is, reason } => {
                Self::VerdictGiven { case: case.to_string(), verdict: *is, reason: reason.clone() }
            }
            Event::TokenCreated { token, holder, role } => {
                Self::TokenCreated { token: token.clone(), holder: holder.clone(), role: *role }
            }
            Event::TokenRevoked { token } => Self::TokenRevoked { token: token.clone() },
            Event::RetentionRan { before, cases } => {
                Self::RetentionRan { before: Time(*before), cases: *cases }
            }
            Event::LedgerGapsFound { agent, epoch, up_to, explained, unexplained } => {
                let (agent, epoch) = (agent.to_string(), epoch.to_string());
                let (up_to, explained, unexplained) = (*up_to, *explained, *unexplained);
                Self::LedgerGapsFound { agent, epoch, up_to, explained, unexplained }
            }
            Event::RecallAsked { recall, rule, since, until, agents } => {
                let (recall, rule, agents) = (recall.to_string(), rule.clone(), *agents);
                let (since, until) = (Time(*since), Time(*until));
                Self::RecallAsked { recall, rule, since, until, agents }
            }
            Event::RecallAnswered { recall, agent, records, evicted, lost, is_complete } => {
                Self::RecallAnswered {
                    recall: recall.to_string(),
                    agent: agent.to_string(),
                    records: *records,
                    evicted: *evicted,
                    lost: *lost,
                    is_complete: *is_complete,
                }
            }
            Event::Join(event) => event.into(),
            Event::Identity(event) => event.into(),
            Event::Access(event) => event.into(),
            Event::Policy(event) => event.into(),
            Event::Trust(event) => event.into(),
        }
    }
}

impl From<&AccessEvent> for JournalEvent {
    fn from(event: &AccessEvent) -> Self {
        match event {
            AccessEvent::SignedIn {
                token,
                expires_at,
                person,
                role,
                tenants,
                group,
                from,
                browser,
            } => {
                let names: Vec<String> = tenants.iter().map(ToString::to_string).collect();
                Self::SignedIn {
                    token: token.clone(),
                    expires_at: Time(*expires_at),
                    person: person.into(),
                    role: *role,
                    tenants: (!names.is_empty()).then_some(names),
                    group: group.clone(),
                    from: from.clone(),
                    browser: browser.clone(),
                }
            }
            AccessEvent::SignInRefused { person, reason, from } => Self::SignInRefused {
                person: person.into(),
                reason: reason.as_str().to_owned(),
                from: from.clone(),
            },
            AccessEvent::LockedOut { from, until } => {
                Self::LockedOut { from: from.clone(), until: Time(*until) }
            }
        }
    }
}

impl From<&IdentityEvent> for JournalEvent {
    fn from(event: &IdentityEvent) -> Self {
        match event {
            IdentityEvent::Revoked { agent, reason } => {
                Self::AgentRevoked { agent: agent.to_string(), reason: reason.clone() }
            }
            IdentityEvent::Renewed { agent, serial, not_after } => Self::AgentRenewed {
                agent: agent.to_string(),
                serial: serial.clone(),
                not_after: Time(*not_after),
            },
            IdentityEvent::Superseded { agent, serial, from } => Self::CertificateSuperseded {
                agent: agent.to_string(),
                serial: serial.clone(),
                from: from.clone(),
            },
            IdentityEvent::Contested { agent, epoch, boot, from, served } => {
                Self::IdentityContested {
                    agent: agent.to_string(),
                    process: process(*boot),
                    spool: epoch.to_string(),
                    from: from.clone(),
                    served: process(*served),
                }
            }
            IdentityEvent::Resolved { agent, boot, reason } => Self::IdentityResolved {
                agent: agent.to_string(),
                process: process(*boot),
                reason: reason.clone(),
            },
            IdentityEvent::Settled { agent } => Self::IdentitySettled { agent: agent.to_string() },
            IdentityEvent::SetBack { agent, epoch, lane, committed, last } => Self::SpoolSetBack {
                agent: agent.to_string(),
                spool: epoch.to_string(),
                lane: *lane,
                committed: committed.as_u64(),
                last: last.map(Seq::as_u64),
            },
            IdentityEvent::SpoolReturned { agent, epoch, after } => Self::SpoolReturned {
                agent: agent.to_string(),
                spool: epoch.to_string(),
                after: after.to_string(),
            },
        }
    }
}

impl From<&PolicyEvent> for JournalEvent {
    fn from(event: &PolicyEvent) -> Self {
        match event {
            PolicyEvent::Pushed { version, key, percent, copy_of } => Self::PolicyPushed {
                version: *version,
                key: key.clone(),
                stage: *percent,
                copy_of: *copy_of,
            },
            PolicyEvent::Advanced { version, percent, is_meant } => {
                Self::PolicyAdvanced { version: *version, stage: *percent, is_meant: *is_meant }
            }
            PolicyEvent::Halted { version, why } => {
                let reason = match why {
                    HaltReason::Asked(reason) => reason.clone(),
                    HaltReason::Found(fault) => fault.to_string(),
                };
                Self::PolicyHalted { version: *version, reason }
            }
            PolicyEvent::Refused { agent, version, reason, detail } => Self::PolicyRefused {
                agent: agent.to_string(),
                version: *version,
                reason: reason.clone(),
                detail: detail.clone(),
            },
        }
    }
}

impl From<&TrustEvent> for JournalEvent {
    fn from(event: &TrustEvent) -> Self {
        match event {
            TrustEvent::Pushed { sequence, digest, trusts_again } => Self::TrustBundlePushed {
                sequence: *sequence,
                sha256: digest.clone(),
                trusts_again: trusts_again.iter().map(ToString::to_string).collect(),
            },
            TrustEvent::Refused { agent, sequence, reason, detail } => Self::TrustBundleRefused {
                agent: agent.to_string(),
                sequence: *sequence,
                reason: reason.clone(),
                detail: detail.clone(),
            },
            TrustEvent::Forged { agent, serial, from } => Self::CertificateForged {
                agent: agent.to_string(),
                serial: serial.clone(),
                from: from.clone(),
            },
        }
    }
}

/// Returns the name of a process.
#[must_use]
pub fn process(boot: BootId) -> String {
    format!("{:016x}", boot.0)
}

impl From<&JoinEvent> for JournalEvent {
    fn from(event: &JoinEvent) -> Self {
        match event {
            JoinEvent::TokenCreated { token, uses_max, expires_at } => Self::JoinTokenCreated {
                token: token.clone(),
                max_uses: *uses_max,
                expires_at: Time(*expires_at),
            },
            JoinEvent::TokenRevoked { token } => Self::JoinTokenRevoked { token: token.clone() },
            JoinEvent::Joined { agent, token, host_name, from } => Self::AgentJoined {
                agent: agent.to_string(),
                token: token.clone(),
                host_name: host_name.clone(),
                from: from.clone(),
            },
            JoinEvent::Refused { token, reason, from } => Self::JoinRefused {
                token: token.clone(),
                reason: reason.clone(),
                from: from.clone(),
            },
        }
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalEntry {
    /// Its number, from 1.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub actor: JournalActor,
    /// Whose data; null where it is nobody's in particular.
    #[schema(required)]
    pub tenant: Option<String>,
    /// What.
    pub event: JournalEvent,
    /// Hash of the entry before, in hex; absent for those who may not read the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Its own hash, in hex; absent for those who may not read the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl JournalEntry {
    /// Returns the entry as JSON, with its hashes if `with_hashes`.
    #[must_use]
    pub fn new(chained: &Chained, with_hashes: bool) -> Self {
        let hex = |hash: &[u8; 32]| -> String { hash.iter().map(|b| format!("{b:02x}")).collect() };
        Self {
            number: chained.number,
            at: Time(chained.entry.at),
            actor: JournalActor::from(&chained.entry.actor),
            tenant: chained.entry.tenant.map(|tenant| tenant.to_string()),
            event: JournalEvent::from(&chained.entry.event),
            previous: with_hashes.then(|| hex(&chained.previous)),
            hash: with_hashes.then(|| hex(&chained.hash)),
        }
    }
}
