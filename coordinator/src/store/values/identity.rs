//! Whose an agent's identity is: what was revoked, which certificate counts, and who else uses it.

use serde::{Deserialize, Serialize};
use shared::{
    context::HostContext,
    ids::{AgentId, BootId, Epoch, Lane, Seq},
    time::Timestamp,
};

use super::Actor;

/// What made an agent's identity worthless, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: Actor,
    /// Why, in their words.
    pub reason: String,
}

/// The latest certificate that an agent has shown: those before it are worth nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCertificate {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// First instant at which it is valid.
    pub not_before: Timestamp,
    /// Last instant at which it is.
    pub not_after: Timestamp,
    /// When it was shown first.
    pub shown_at: Timestamp,
    /// The last earlier one that was shown since and that the journal has.
    pub refused: Option<RefusedCertificate>,
}

/// An earlier certificate that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCertificate {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// When.
    pub at: Timestamp,
}

/// Who greets as an agent: a process of a host, over its spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// Its spool.
    pub epoch: Epoch,
    /// Its process.
    pub boot: BootId,
    /// Its address.
    pub from: String,
    /// Version of its program.
    pub version: String,
}

/// One of the hosts that use the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimingHost {
    /// As which it greeted last.
    pub claimant: Claimant,
    /// When it was met first.
    pub first_seen_at: Timestamp,
    /// When it was heard of last.
    pub last_seen_at: Timestamp,
    /// What it says of itself, if it could.
    pub context: Option<HostContext>,
}

/// Which host keeps the identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its place among the hosts.
    pub host: u32,
    /// When that was decided.
    pub at: Timestamp,
    /// Who decided.
    pub by: Actor,
    /// Why, in their words.
    pub reason: String,
}

/// Several hosts use one identity: one is served, the others are in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Since when that is known.
    pub since: Timestamp,
    /// The hosts, at most [`CLAIMING_HOSTS_MAX`](crate::limits::CLAIMING_HOSTS_MAX); the first was there before.
    pub hosts: Vec<ClaimingHost>,
    /// Which of them keeps it; absent until a person has decided.
    pub kept: Option<Kept>,
}

/// Something about an agent's spool that a person should know, as of its last greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolNotice {
    /// Which spool.
    pub epoch: Epoch,
    /// What about it.
    pub fault: SpoolFault,
    /// Since when.
    pub since: Timestamp,
}

/// What may be wrong with an agent's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpoolFault {
    /// It is an older copy, which the coordinator has newer blocks of: nothing is taken from it.
    SetBack {
        /// On which lane.
        lane: Lane,
        /// The newest block here.
        committed: Seq,
        /// The spool's newest.
        last: Option<Seq>,
    },
    /// It was used before, and another one after it; what it holds is whole, and is taken.
    Returned {
        /// The one that was used last.
        after: Epoch,
    },
}

/// What happened to agents' identities. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityEvent {
    /// It was revoked: the agent is let in no more.
    Revoked {
        /// Which.
        agent: AgentId,
        /// Why, in the words of who did it.
        reason: String,
    },
    /// The agent has shown a later certificate: those before are worth nothing any more.
    Renewed {
        /// Which.
        agent: AgentId,
        /// The certificate's serial number, in hex.
        serial: String,
        /// Last instant at which it is valid.
        not_after: Timestamp,
    },
    /// Somebody has shown a certificate from before the agent's latest, and was refused.
    Superseded {
        /// Which agent it names.
        agent: AgentId,
        /// The certificate's serial number, in hex.
        serial: String,
        /// From which address.
        from: String,
    },
    /// A second host uses the agent's identity, and is in quarantine.
    Contested {
        /// Which agent's.
        agent: AgentId,
        /// The second host's spool.
        epoch: Epoch,
        /// Its process.
        boot: BootId,
        /// Its address.
        from: String,
        /// The process of the one that is served.
        served: BootId,
    },
    /// A person has decided which host keeps the identity.
    Resolved {
        /// Which agent's.
        agent: AgentId,
        /// The process that keeps it.
        boot: BootId,
        /// Why.
        reason: String,
    },
    /// One host alone uses the identity again.
    Settled {
        /// Which agent's.
        agent: AgentId,
    },
    /// The agent's spool is an older copy: nothing is taken from it.
    SetBack {
        /// Which agent's.
        agent: AgentId,
        /// Which spool.
        epoch: Epoch,
        /// On which lane.
        lane: Lane,
        /// The newest block here.
        committed: Seq,
        /// The spool's newest.
        last: Option<Seq>,
    },
    /// The agent has come back with a spool that it had before another one.
    SpoolReturned {
        /// Which agent.
        agent: AgentId,
        /// The spool.
        epoch: Epoch,
        /// The one that it had last.
        after: Epoch,
    },
}
