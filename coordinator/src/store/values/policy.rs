//! Policies of tenants, how far they are rolled out, and where they stand at agents.

use serde::{Deserialize, Serialize};
use shared::{
    ids::AgentId,
    policy::{PolicyDigest, PolicyOutcome, PolicyRefusal},
    time::Timestamp,
};

use super::Actor;
use crate::{
    store::schema::AgentKey,
    triage::rollout::{Fault, cut_of_newcomers, place},
};

/// A version of a tenant's policy. Its envelope was checked before it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// What is signed, with its signature: what agents are sent.
    pub envelope: Vec<u8>,
    /// Who brought it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// The version whose content it has again, where it takes another one back.
    pub copy_of: Option<u64>,
    /// From when on it is good no more, as it says.
    pub expires_at: Timestamp,
}

/// How far a tenant's newest policy is rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The newest version.
    pub version: u64,
    /// The version of those who do not get it yet; zero where they have none.
    pub base: u64,
    /// Percent of the stage.
    pub percent: u8,
    /// Up to which place agents are in it.
    pub cut: u64,
    /// When the roll-out began.
    pub began_at: Timestamp,
    /// When the stage did.
    pub stage_at: Timestamp,
    /// Why nobody further gets it; absent while it goes on.
    pub halted: Option<Halted>,
    /// Whether a person has said that what it changes is meant: it does not stop by itself any more.
    pub is_meant: bool,
    /// Of which envelope the newest version is.
    pub digest: PolicyDigest,
}

impl Rollout {
    /// Returns whether an agent is in the stage that the roll-out has reached, which was first seen at this time.
    #[must_use]
    pub fn has_in_stage(
        &self,
        AgentKey { tenant, agent }: AgentKey,
        first_seen_at: Timestamp,
    ) -> bool {
        let is_newcomer = first_seen_at > self.stage_at;
        let cut = if is_newcomer { cut_of_newcomers(self.percent, self.cut) } else { self.cut };
        place(tenant, self.version, agent) <= cut
    }
}

/// A roll-out that was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: Actor,
    /// Why.
    pub why: HaltReason,
}

/// Why a roll-out was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HaltReason {
    /// In the words of who did it.
    Asked(String),
    /// By itself.
    Found(Fault),
}

/// Where the policy stands at an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPolicy {
    /// The version that it has, as it said last; zero where it has none.
    pub version: u64,
    /// How it stands with that.
    pub outcome: PolicyOutcome,
    /// When it said so first.
    pub since: Timestamp,
    /// The version that it was offered last, and when.
    pub offered: Option<(u64, Timestamp)>,
    /// What it refused last, unless it has taken a later one since.
    pub refused: Option<RefusedPolicy>,
    /// Of which envelope it has that version; zero where it has none.
    pub digest: PolicyDigest,
    /// A version, and which of its refusals are in the journal: a bit for each reason, by its place in
    /// [`PolicyRefusal::ALL`].
    pub noted: Option<(u64, u16)>,
}

impl AgentPolicy {
    /// Returns whether it refuses the newest version, by what it said last of it.
    #[must_use]
    pub fn refuses(&self, rollout: &Rollout) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.version == rollout.version)
    }

    /// Notes that a refusal is in the journal; returns whether it was not before.
    pub(crate) fn note(&mut self, version: u64, reason: PolicyRefusal) -> bool {
        let at = PolicyRefusal::ALL.iter().position(|it| *it == reason).unwrap_or_default();
        let before = self.noted.filter(|(of, _)| *of == version).map_or(0, |(_, reasons)| reasons);
        let reasons = before | (1 << at);
        self.noted = Some((version, reasons));
        reasons != before
    }

    /// Returns whether it has the newest version: not only its number, but what is in it.
    #[must_use]
    pub fn is_of(&self, rollout: &Rollout) -> bool {
        (self.version, self.digest) == (rollout.version, rollout.digest)
    }

    /// Returns whether it has something else under the number of the newest version.
    #[must_use]
    pub fn is_other(&self, rollout: &Rollout) -> bool {
        self.version == rollout.version && self.digest != rollout.digest
    }
}

/// A version that an agent did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedPolicy {
    /// Which.
    pub version: u64,
    /// Why.
    pub reason: PolicyRefusal,
    /// What is wrong with it, in the agent's words.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// What happened to policies. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyEvent {
    /// A version was brought.
    Pushed {
        /// Which.
        version: u64,
        /// Short name of the key that signed it.
        key: String,
        /// Percent of the first stage.
        percent: u8,
        /// The version whose content it has again.
        copy_of: Option<u64>,
    },
    /// It goes to more agents.
    Advanced {
        /// Which version.
        version: u64,
        /// Percent of the stage.
        percent: u8,
        /// Whether a person has said that what it changes is meant.
        is_meant: bool,
    },
    /// Nobody further gets it.
    Halted {
        /// Which version.
        version: u64,
        /// Why.
        why: HaltReason,
    },
    /// An agent has refused one.
    Refused {
        /// Which agent.
        agent: AgentId,
        /// Which version.
        version: u64,
        /// Why: a name of `PolicyRefusal`.
        reason: String,
        /// What is wrong with it, in the agent's words.
        detail: String,
    },
}

const _: () = assert!(PolicyRefusal::ALL.len() <= 16, "each reason has a bit");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::values::{Entry, Event, Value};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn values_of_version_1_keep_their_bytes() {
        let at = Timestamp::from_ms(7);
        let record = PolicyRecord {
            envelope: vec![1, 2, 3],
            by: Actor::Person("ana".into()),
            at,
            copy_of: Some(4),
            expires_at: Timestamp::from_ms(9),
        };
        assert_eq!(hex(&record.encode()), "01030102030203616e6107010409");
        let halted = |why| Halted { at, by: Actor::Coordinator, why };
        let rollout = |halted| Rollout {
            version: 9,
            base: 8,
            percent: 10,
            cut: 300,
            began_at: at,
            stage_at: Timestamp::from_ms(8),
            halted,
            is_meant: true,
            digest: PolicyDigest::from_bytes([0xab; 8]),
        };
        assert_eq!(hex(&rollout(None).encode()), "0109080afb2c0107080001abababababababab");
        let asked = halted(HaltReason::Asked("no".into()));
        assert_eq!(
            hex(&rollout(Some(asked)).encode()),
            "0109080afb2c01070801070000026e6f01abababababababab"
        );
        let found = halted(HaltReason::Found(Fault::Held { before: 1, after: 300 }));
        assert_eq!(
            hex(&rollout(Some(found)).encode()),
            "0109080afb2c010708010700010301fb2c0101abababababababab"
        );
        let refused =
            RefusedPolicy { version: 9, reason: PolicyRefusal::Unusable, detail: "3:1".into(), at };
        let agent = AgentPolicy {
            version: 8,
            outcome: PolicyOutcome::InForce,
            since: at,
            offered: Some((9, at)),
            refused: Some(refused),
            digest: PolicyDigest::from_bytes([0xab; 8]),
            noted: Some((9, 3)),
        };
        assert_eq!(hex(&agent.encode()), "0108010701090701090803333a3107abababababababab010903");
        assert_eq!(PolicyRecord::decode(&record.encode()), Ok(record));
        assert_eq!(AgentPolicy::decode(&agent.encode()), Ok(agent));
        let refused = PolicyEvent::Refused {
            agent: AgentId::from_bytes([1; 16]),
            version: 9,
            reason: "unusable".into(),
            detail: String::new(),
        };
        let event = Event::Policy(refused);
        let entry = Entry { at, actor: Actor::Coordinator, tenant: None, event };
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}
