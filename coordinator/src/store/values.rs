//! What stands under the keys. Every value starts with the version of its struct, and the reader of
//! that version stays
//! (L10): a change of a struct is a new version and a new struct beside the old one.

pub mod case;

use serde::{Deserialize, Serialize};
use shared::{
    context::{ContextVersion, HostContext},
    ids::{AgentId, BootId, Epoch, Lane, Seq, StreamId, TenantId},
    ledger::Interval,
    recall::{RecallEnd, RecallId},
    time::Timestamp,
    wire::{AgentStats, Gap, GapReason, codec},
};
use thiserror::Error;

use crate::triage::{
    case::{CaseId, VerdictKind},
    fold::HostCases,
    ledger::{Chain, LedgerGap},
    sla::Sla,
};

mod access;
mod identity;
mod policy;
mod trust;

pub use access::{AccessEvent, Person, SignInRefusal, Token};
pub use identity::{
    Claimant, ClaimingHost, Conflict, IdentityEvent, Kept, KnownCertificate, RefusedCertificate,
    Revocation, SpoolFault, SpoolNotice,
};
pub use policy::{
    AgentPolicy, HaltReason, Halted, PolicyEvent, PolicyRecord, RefusedPolicy, Rollout,
};
pub use trust::{
    AgentTrust, IssuedCertificate, IssuedCertificates, RefusedTrust, TrustEvent, TrustRecord,
};

/// Bytes that are no value of the kind that the key promises.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("stored {what} cannot be read: {detail}")]
pub struct ValueError {
    /// What was to be read.
    pub what: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

/// A value of the store.
pub trait Value: Serialize + for<'de> Deserialize<'de> + Clone + Send + Sync + 'static {
    /// Version that is written.
    const VERSION: u8 = 1;
    /// What it is, for errors.
    const NAME: &'static str;

    /// Encodes the value behind its version.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        bytes.extend(codec::encode(self).expect("stored values are plain data"));
        bytes
    }

    /// Returns how many bytes it takes in memory, and so at least about as many as when it is encoded. Only kept
    /// values are weighed: one with texts or lists must count them.
    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    /// Decodes a value.
    ///
    /// # Errors
    /// The bytes are of an unknown version, or damaged.
    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        decode_newest(bytes)
    }
}

/// Decodes a value of the version that is written.
fn decode_newest<V: Value>(bytes: &[u8]) -> Result<V, ValueError> {
    let error = |detail| ValueError { what: V::NAME, detail };
    match bytes.split_first() {
        Some((version, rest)) if *version == V::VERSION => decode_as::<V, V>(rest),
        Some((version, _)) => Err(error(format!("version {version} is unknown"))),
        None => Err(error("it is empty".to_owned())),
    }
}

/// Decodes what stands behind a version of a value, as what it was then.
fn decode_as<V: Value, T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, ValueError> {
    codec::decode(bytes).map_err(|cause| ValueError { what: V::NAME, detail: cause.to_string() })
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name for people.
    pub display_name: String,
    /// Agreed times.
    pub sla: Sla,
    /// When it was first seen or made.
    pub created_at: Timestamp,
    /// Goes up with each change.
    pub revision: u64,
}

/// An installed agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// When it first connected.
    pub first_seen_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// Spool that it uses.
    pub epoch: Epoch,
    /// Start of its process.
    pub boot: BootId,
    /// Version of its program.
    pub version: String,
    /// Its host's newest context; zero where there is none.
    pub context: ContextVersion,
    /// Newest block that its spool held, by lane, when it was last heard of.
    pub spooled: [Option<Seq>; Lane::COUNT],
    /// Its counters when it was last heard of.
    pub stats: AgentStats,
    /// How far its clock was ahead of the coordinator's, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// Up to where a stream is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The newest block that is durable together with all before it.
    pub committed: Seq,
    /// When that was.
    pub committed_at: Timestamp,
    /// How many alerts the stream has brought.
    pub alerts: u64,
    /// That block's checksum; absent where a gap stands in its place, or where it was stored before this was kept.
    pub check: Option<u32>,
}

/// The same as version 1 has it.
#[derive(Deserialize)]
struct CursorV1 {
    committed: Seq,
    committed_at: Timestamp,
    alerts: u64,
}

impl Value for Cursor {
    const VERSION: u8 = 2;
    const NAME: &'static str = "cursor";

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        match bytes.split_first() {
            Some((1, rest)) => {
                let CursorV1 { committed, committed_at, alerts } =
                    decode_as::<Self, CursorV1>(rest)?;
                Ok(Self { committed, committed_at, alerts, check: None })
            }
            _ => decode_newest(bytes),
        }
    }
}

/// Blocks that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// The last that is missing.
    pub last: Seq,
    /// Why.
    pub reason: GapReason,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

/// A gap that an interval of an agent's ledger shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerGapRecord {
    /// The gap.
    pub gap: LedgerGap,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

/// Which alerts of a block belong to a case: positions, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions(pub Vec<u16>);

/// What an agent's host was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownContext {
    /// As its agent said it last: what goes on just now is as old as that, all else has been so since it was received.
    pub context: HostContext,
    /// When its agent said so last; absent where it did once only.
    pub confirmed_at: Option<Timestamp>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads its own tenant.
    Customer,
    /// Reads everything in its scope, the journal included.
    Auditor,
    /// Works the queue.
    Analyst,
    /// Besides, changes tenants and looks at the journal.
    Lead,
    /// Besides, makes and revokes tokens.
    Admin,
}

/// A token by which hosts become a tenant's agents, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Public name of the token: the first eight bytes of its secret's digest in hex.
    pub id: String,
    /// Whose agents the hosts become.
    pub tenant: TenantId,
    /// How many hosts it lets in.
    pub uses_max: u32,
    /// How many it has let in.
    pub uses: u32,
    /// Who made it.
    pub created_by: Actor,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Since when it is not good any more.
    pub revoked_at: Option<Timestamp>,
}

/// A host that became an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedHost {
    /// Which agent it is.
    pub agent: AgentId,
    /// When it became that.
    pub joined_at: Timestamp,
    /// How often it was told so.
    pub answers: u32,
}

/// The answer to a write that carried an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Digest of the request that was answered.
    pub request: [u8; 32],
    /// HTTP status.
    pub status: u16,
    /// Body of the answer.
    pub body: Vec<u8>,
    /// When.
    pub at: Timestamp,
}

/// What agents were asked for of that which a rule held back, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallRecord {
    /// Whose agents.
    pub tenant: TenantId,
    /// Id of the policy rule.
    pub rule: String,
    /// From when on the records happened.
    pub since: Timestamp,
    /// Before when they happened.
    pub until: Timestamp,
    /// Most bytes of blocks from one agent.
    pub bytes_max: u64,
    /// Who asked.
    pub asked_by: Actor,
    /// Until when agents are asked.
    pub expires_at: Timestamp,
    /// How many agents were asked.
    pub agents: u32,
    /// How many of them have answered.
    pub answered: u32,
    /// How many of those say that something is missing.
    pub incomplete: u32,
    /// Records that came, in finished answers.
    pub records: u64,
    /// Records that the agents had evicted, at most.
    pub evicted: u64,
    /// Records that damage took from the agents.
    pub lost: u64,
}

/// Where an agent's answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecallState {
    /// It was not asked yet.
    Waiting,
    /// It has begun to answer.
    Answering,
    /// It has answered.
    Answered(RecallEnd),
}

/// An agent's answer to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallAnswer {
    /// Where it stands.
    pub state: RecallState,
    /// How often it was begun.
    pub attempts: u32,
    /// Blocks that came.
    pub blocks: u32,
    /// Records in them.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When that changed last.
    pub changed_at: Timestamp,
}

/// Head of the journal: its newest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHead {
    /// Number of the newest entry.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// Who changed something. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The coordinator by itself.
    Coordinator,
    /// An agent.
    Agent(AgentId),
    /// A person, by the name on their token.
    Person(String),
    /// A person who signed in at a provider.
    SignedIn {
        /// The name on their token.
        name: String,
        /// The provider.
        issuer: String,
        /// Its name for the person.
        subject: String,
    },
}

impl Actor {
    /// Returns the name of a person.
    #[must_use]
    pub fn person(&self) -> Option<&str> {
        match self {
            Self::Person(name) | Self::SignedIn { name, .. } => Some(name),
            Self::Coordinator | Self::Agent(_) => None,
        }
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Whose data; absent where it is nobody's in particular.
    pub tenant: Option<TenantId>,
    /// What.
    pub event: Event,
}

/// What changed. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A block became durable.
    BlockCommitted {
        /// Its stream.
        stream: StreamId,
        /// Its number.
        seq: Seq,
        /// How many alerts it brought.
        alerts: u16,
        /// Cases that it opened, re-opened or added to.
        cases: Vec<CaseId>,
    },
    /// Blocks were found to be lost.
    GapRecorded {
        /// Their stream.
        stream: StreamId,
        /// Which, and why.
        gap: Gap,
    },
    /// A tenant was made or changed.
    TenantChanged {
        /// Its revision from here on.
        revision: u64,
    },
    /// An agent connected.
    AgentConnected {
        /// Which.
        agent: AgentId,
        /// With which spool.
        epoch: Epoch,
        /// In which process.
        boot: BootId,
    },
    /// A host's context changed.
    ContextChanged {
        /// Whose agent.
        agent: AgentId,
        /// To which version.
        version: ContextVersion,
    },
    /// A case was claimed.
    CaseClaimed {
        /// Which.
        case: CaseId,
        /// The claim's fence.
        fence: u64,
        /// Until when.
        until: Timestamp,
    },
    /// A lease was extended.
    LeaseRenewed {
        /// Of which case.
        case: CaseId,
        /// Until when.
        until: Timestamp,
    },
    /// A case was given back.
    CaseReleased {
        /// Which.
        case: CaseId,
        /// Why, in the analyst's words.
        reason: String,
    },
    /// A lease ran out.
    LeaseExpired {
        /// Of which case.
        case: CaseId,
    },
    /// A case was decided.
    VerdictGiven {
        /// Which.
        case: CaseId,
        /// The outcome.
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
        before: Timestamp,
        /// How many closed cases.
        cases: u32,
    },
    /// An agent's ledger shows gaps.
    LedgerGapsFound {
        /// Whose ledger.
        agent: AgentId,
        /// Of which of its spools.
        epoch: Epoch,
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
        recall: RecallId,
        /// Id of the rule.
        rule: String,
        /// From when on the records happened.
        since: Timestamp,
        /// Before when they happened.
        until: Timestamp,
        /// How many agents.
        agents: u32,
    },
    /// An agent answered a recall.
    RecallAnswered {
        /// Which recall.
        recall: RecallId,
        /// Which agent.
        agent: AgentId,
        /// How many records came.
        records: u64,
        /// How many it had evicted, at most.
        evicted: u64,
        /// How many damage had taken.
        lost: u64,
        /// Whether nothing is missing.
        is_complete: bool,
    },
    /// Something about hosts that become agents.
    Join(JoinEvent),
    /// Something about an agent's identity.
    Identity(IdentityEvent),
    /// Something at the API's door.
    Access(AccessEvent),
    /// Something about a tenant's policy.
    Policy(PolicyEvent),
    /// Something about whom agents believe.
    Trust(TrustEvent),
}

/// What happened about hosts that become agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinEvent {
    /// A join token was made.
    TokenCreated {
        /// Its public name.
        token: String,
        /// How many hosts it lets in.
        uses_max: u32,
        /// Until when it is good.
        expires_at: Timestamp,
    },
    /// A join token was revoked.
    TokenRevoked {
        /// Its public name.
        token: String,
    },
    /// A host became an agent.
    Joined {
        /// Which.
        agent: AgentId,
        /// By which join token.
        token: String,
        /// What the host calls itself.
        host_name: String,
        /// From which address.
        from: String,
    },
    /// A host was not let in.
    Refused {
        /// With which join token, if there is such a one.
        token: Option<String>,
        /// Why: a name of `JoinRefusal`.
        reason: String,
        /// From which address.
        from: String,
    },
}

impl Event {
    /// Returns the cases that changed.
    #[must_use]
    pub fn cases(&self) -> &[CaseId] {
        match self {
            Self::BlockCommitted { cases, .. } => cases,
            Self::CaseClaimed { case, .. }
            | Self::LeaseRenewed { case, .. }
            | Self::CaseReleased { case, .. }
            | Self::LeaseExpired { case }
            | Self::VerdictGiven { case, .. } => std::slice::from_ref(case),
            Self::GapRecorded { .. }
            | Self::TenantChanged { .. }
            | Self::AgentConnected { .. }
            | Self::ContextChanged { .. }
            | Self::TokenCreated { .. }
            | Self::TokenRevoked { .. }
            | Self::RetentionRan { .. }
            | Self::LedgerGapsFound { .. }
            | Self::RecallAsked { .. }
            | Self::RecallAnswered { .. }
            | Self::Join(_)
            | Self::Identity(_)
            | Self::Access(_)
            | Self::Policy(_)
            | Self::Trust(_) => &[],
        }
    }
}

macro_rules! values {
    ($($type:ty = $name:literal),* $(,)?) => {
        $(impl Value for $type { const NAME: &'static str = $name; })*
    };
}

impl Value for HostCases {
    const NAME: &'static str = "host";

    fn weight(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.cases)
    }
}

impl Value for KnownContext {
    const VERSION: u8 = 2;
    const NAME: &'static str = "context";

    /// Version 1 held a context of the first form and nothing beside it.
    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        let error = |detail| ValueError { what: Self::NAME, detail };
        let of = |cause: codec::CodecError| error(cause.to_string());
        match bytes.split_first() {
            Some((1, rest)) => {
                let context = HostContext::decode_first(rest).map_err(of)?;
                Ok(Self { context, confirmed_at: None })
            }
            Some((2, rest)) => codec::decode(rest).map_err(of),
            Some((version, _)) => Err(error(format!("version {version} is unknown"))),
            None => Err(error("it is empty".to_owned())),
        }
    }
}

values! {
    u32 = "number", Tenant = "tenant", Agent = "agent", GapRecord = "gap",
    Chain = "head of a ledger", Interval = "interval of a ledger",
    LedgerGapRecord = "gap of a ledger",
    Positions = "positions",
    RecallRecord = "recall", RecallAnswer = "answer to a recall",
    JoinToken = "join token", JoinedHost = "joined host", Revocation = "revocation",
    KnownCertificate = "certificate", Conflict = "conflict of an identity",
    SpoolNotice = "notice of a spool",
    PolicyRecord = "policy", Rollout = "roll-out", AgentPolicy = "policy of an agent",
    TrustRecord = "trust bundle", AgentTrust = "trust of an agent",
    IssuedCertificates = "issued certificates",
    Remembered = "answer", JournalHead = "journal head", Entry = "journal entry",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_version_or_damaged_is_refused_and_says_what_it_was() {
        let head = JournalHead { number: 7, hash: [1; 32] };
        let mut bytes = head.encode();
        assert_eq!(JournalHead::decode(&bytes), Ok(head));
        assert!(JournalHead::decode(&bytes[..bytes.len() - 1]).is_err());
        bytes[0] = 9;
        let error = JournalHead::decode(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "stored journal head cannot be read: version 9 is unknown");
        assert!(JournalHead::decode(&[]).is_err());
    }

    #[test]
    fn a_context_of_version_1_stays_readable() {
        let context = HostContext { hostname: "srv1".into(), ..HostContext::default() };
        let first = [vec![1], context.encode().unwrap()].concat();
        assert_eq!(first, [1, 4, b's', b'r', b'v', b'1', 0, 0, 0, 0, 0, 0]);
        let known = KnownContext { context, confirmed_at: None };
        assert_eq!(KnownContext::decode(&first), Ok(known.clone()));
        let confirmed = KnownContext { confirmed_at: Some(Timestamp::from_ms(7)), ..known };
        assert_eq!(confirmed.encode()[0], 2);
        assert_eq!(KnownContext::decode(&confirmed.encode()), Ok(confirmed));
        for bytes in [&[][..], &[3, 0], &first[..4], &[2, 0]] {
            assert!(KnownContext::decode(bytes).is_err());
        }
    }
}
