//! Authorities as JSON: the trust bundle, and how agents stand to it and to whoever issues their certificates.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{JournalActor, Time};

/// A signed trust bundle that is brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustPush {
    /// What is signed, with its signature, in base64: as `certs trust-bundle` makes it.
    #[schema(min_length = 1, max_length = 24_576)]
    pub envelope: String,
    /// Whether agents are to believe again what was distrusted and it does not name: an intermediate that has ended by
    /// its own date, or was not stolen.
    #[serde(default)]
    pub trusts_again: bool,
    /// Whether it is stored although agents say that they have one of its sequence or one above it.
    #[serde(default)]
    pub anyway: bool,
}

/// A root that agents believe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustRoot {
    /// Its distinguished name.
    pub subject: String,
    /// SHA-256 of its certificate, in hex.
    pub sha256: String,
    /// Last instant at which it is valid.
    pub not_after: Time,
}

/// The trust bundle that agents are offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustBundle {
    /// Its sequence: each is above the one before.
    pub sequence: u64,
    /// Short name of the key that signed it.
    pub key: String,
    /// SHA-256 of what is signed with its signature, in hex.
    pub sha256: String,
    /// Who brought it.
    pub pushed_by: JournalActor,
    /// When.
    pub pushed_at: Time,
    /// The roots that agents believe by it.
    pub roots: Vec<TrustRoot>,
    /// SHA-256 of the keys (SubjectPublicKeyInfo) of stolen intermediates, in hex.
    pub distrusted: Vec<String>,
}

/// How many agents refuse the newest trust bundle for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustRefusals {
    /// Why: too_large, malformed, unknown_key, bad_signature, foreign_domain, rollback or not_stored.
    pub reason: String,
    /// How many.
    pub agents: u64,
}

/// How many agents have a certificate of one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuerAgents {
    /// SHA-256 of its key (SubjectPublicKeyInfo), in hex; null for agents that have not greeted since that is noted.
    #[schema(required)]
    pub key: Option<String>,
    /// How many agents greeted last with a certificate of it.
    pub agents: u64,
    /// Whether it is the one that issues now.
    pub is_present: bool,
    /// Whether it is distrusted here.
    pub is_distrusted: bool,
}

/// The authorities, and how agents stand to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Authority {
    /// Name space of all identities.
    pub trust_domain: String,
    /// The newest trust bundle; null where none was brought, and each agent believes the root that it was given.
    #[schema(required)]
    pub bundle: Option<TrustBundle>,
    /// SHA-256 of the key that issues agents' certificates now, in hex; null where none are issued here.
    #[schema(required)]
    pub issuer: Option<String>,
    /// SHA-256 of the keys that `[authority] distrusted` names, in hex.
    pub distrusted: Vec<String>,
    /// Agents that may connect, of those that were looked at; those that were revoked are not among them.
    pub agents: u64,
    /// Whether there are more: the first 20000 are looked at, revoked ones among them, and no number is of all.
    pub is_partial: bool,
    /// How many of them have the newest trust bundle.
    pub trusting: u64,
    /// How many have an earlier one or none.
    pub behind: u64,
    /// How many have another one of its sequence, or one above it: they would refuse it, and are not offered it. The
    /// coordinator was set back since; the bundle has to be signed anew, with a sequence above the highest.
    pub other: u64,
    /// The highest sequence of a bundle that any of them has; zero where none has one.
    pub highest: u64,
    /// How many of those refuse the newest, by reason.
    pub refused: Vec<TrustRefusals>,
    /// How many greeted last with a certificate that was neither issued to a host that joined here nor for one of
    /// those: if its issuer is stolen, they have to join again.
    pub not_of_here: u64,
    /// Agents that were revoked.
    pub revoked: u64,
    /// Whose certificates agents have.
    pub issuers: Vec<IssuerAgents>,
}

/// A trust bundle that an agent did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustRefusedBy {
    /// Its sequence.
    pub sequence: u64,
    /// Why: too_large, malformed, unknown_key, bad_signature, foreign_domain, rollback or not_stored.
    pub reason: String,
    /// What is wrong with it, in words.
    pub text: String,
    /// When.
    pub at: Time,
}

/// How an agent stands to the authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentTrustState {
    /// Whose agent.
    pub tenant: String,
    /// Which agent.
    pub agent: String,
    /// Sequence of the trust bundle that it has; zero for none.
    pub sequence: u64,
    /// Whether that is an earlier one than the newest, or none.
    pub is_behind: bool,
    /// Whether that is another one of the newest's sequence, or one above it.
    pub is_other: bool,
    /// What it refused last, unless it has taken a later one since.
    #[schema(required)]
    pub refused: Option<TrustRefusedBy>,
    /// SHA-256 of the key of whoever issued its certificate, in hex; null where it has not greeted since that is noted.
    #[schema(required)]
    pub issuer: Option<String>,
    /// When it was last heard of.
    pub last_seen_at: Time,
}
