//! The trust bundle, where it stands at agents, and which certificates were issued here.

use serde::{Deserialize, Serialize};
use shared::{
    ids::AgentId,
    policy::PolicyDigest,
    time::Timestamp,
    trust::{SpkiDigest, TrustRefusal},
};

use super::{Actor, RefusedCertificate};

/// The newest trust bundle. Its envelope was checked before it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRecord {
    /// Its sequence, as it is signed.
    pub sequence: u64,
    /// What is signed, with its signature: what agents are sent.
    pub envelope: Vec<u8>,
    /// Who brought it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// How an agent stands to the authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTrust {
    /// Sequence of the trust bundle that it has, as it said last; zero where it has none.
    pub sequence: u64,
    /// Of which envelope that is; zero where it has none.
    pub digest: PolicyDigest,
    /// When it said so first.
    pub since: Timestamp,
    /// What it refused last, unless it has taken a later one since.
    pub refused: Option<RefusedTrust>,
    /// Key of whoever issued the certificate that it greeted with last.
    pub issuer: Option<SpkiDigest>,
    /// Whether that certificate is of the line that began here, so that the agent can be re-keyed if its issuer is
    /// stolen.
    pub is_of_here: bool,
    /// The last certificate that names it, comes from a distrusted issuer and not from here, and that the journal has.
    pub forged: Option<RefusedCertificate>,
}

/// A trust bundle that an agent did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedTrust {
    /// Its sequence.
    pub sequence: u64,
    /// Why.
    pub reason: TrustRefusal,
    /// What is wrong with it, in the agent's words.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// The certificates that were issued here to an agent, of which one may be in its hands; the newest last. The first was
/// issued to a host that joined, and each further one to whoever had one of those before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificates(pub Vec<IssuedCertificate>);

/// A certificate that was issued here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// Key that it certifies: whoever forges a certificate can choose its number, and has not this key.
    pub holder: SpkiDigest,
    /// Key of whoever issued it.
    pub issuer: SpkiDigest,
    /// When.
    pub at: Timestamp,
    /// Whether the agent has greeted with it.
    pub is_shown: bool,
}

/// What happened about whom agents believe. Append, never reorder (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustEvent {
    /// A trust bundle was brought: all agents are offered it.
    Pushed {
        /// Its sequence.
        sequence: u64,
        /// SHA-256 of its envelope, in hex.
        digest: String,
        /// Keys that were distrusted before, and that it does not name: agents believe them again.
        trusts_again: Vec<SpkiDigest>,
    },
    /// An agent has refused one.
    Refused {
        /// Which agent.
        agent: AgentId,
        /// Its sequence.
        sequence: u64,
        /// Why: a name of `TrustRefusal`.
        reason: String,
        /// What is wrong with it, in the agent's words.
        detail: String,
    },
    /// Somebody has shown a certificate of a distrusted issuer that was not issued here, and was refused.
    Forged {
        /// Which agent it names.
        agent: AgentId,
        /// The certificate's serial number, in hex.
        serial: String,
        /// From which address.
        from: String,
    },
}

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
        let by = Actor::Person("ana".into());
        let record = TrustRecord { sequence: 300, envelope: vec![1, 2, 3], by, at };
        assert_eq!(hex(&record.encode()), "01fb2c01030102030203616e6107");
        let issuer = SpkiDigest::from_bytes([9; 32]);
        let agent = AgentTrust {
            sequence: 300,
            digest: PolicyDigest::from_bytes([0xab; 8]),
            since: at,
            refused: Some(RefusedTrust {
                sequence: 301,
                reason: TrustRefusal::NotStored,
                detail: "no".into(),
                at,
            }),
            issuer: Some(issuer),
            is_of_here: true,
            forged: Some(RefusedCertificate { serial: vec![5], at }),
        };
        let nines = "09".repeat(32);
        let abs = "ab".repeat(8);
        let expected = format!("01fb2c01{abs}0701fb2d0106026e6f0701{nines}0101010507");
        assert_eq!(hex(&agent.encode()), expected);
        let holder = SpkiDigest::from_bytes([8; 32]);
        let issued = IssuedCertificate { serial: vec![1, 2], holder, issuer, at, is_shown: true };
        let issued = IssuedCertificates(vec![issued]);
        let eights = "08".repeat(32);
        assert_eq!(hex(&issued.encode()), format!("0101020102{eights}{nines}0701"));
        assert_eq!(TrustRecord::decode(&record.encode()), Ok(record));
        assert_eq!(AgentTrust::decode(&agent.encode()), Ok(agent));
        assert_eq!(IssuedCertificates::decode(&issued.encode()), Ok(issued));
        let forged = TrustEvent::Forged {
            agent: AgentId::from_bytes([1; 16]),
            serial: "05".into(),
            from: "192.0.2.1:7".into(),
        };
        let entry =
            Entry { at, actor: Actor::Coordinator, tenant: None, event: Event::Trust(forged) };
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}
