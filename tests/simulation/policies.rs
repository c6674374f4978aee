//! Signed policies: who signs them, and what an agent has taken.

use std::{sync::OnceLock, time::Duration};

use certs::PolicyKey;
use shared::{
    ids::TenantId,
    policy::{
        Policy, PolicyAck, PolicyDigest, PolicyLimits, PolicyOffer, PolicyOutcome, PolicyRefusal,
        accept,
    },
    time::Timestamp,
};

/// Longer than any clock jumps.
const LIFE: Duration = Duration::from_secs(190 * 86_400);

/// Returns the provider's key. It differs from run to run, and nothing that happens depends on it.
pub(crate) fn key() -> &'static PolicyKey {
    static KEY: OnceLock<PolicyKey> = OnceLock::new();
    KEY.get_or_init(|| PolicyKey::generate().expect("there is randomness"))
}

/// Signs a version for a tenant.
pub(crate) fn sign(tenant: TenantId, version: u64, now: Timestamp) -> Vec<u8> {
    let policy = Policy {
        tenant,
        version,
        not_before: now.saturating_sub(LIFE),
        expires_at: now.saturating_add(LIFE),
        text: format!("version {version} of {tenant}"),
        limits: PolicyLimits::default(),
        coordinators: Vec::new(),
    };
    key().sign(&policy).expect("it is within its bounds")
}

/// What an agent has taken, as the file beside its spool has it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) version: u64,
    envelope: Vec<u8>,
}

impl Taken {
    /// Returns what the agent says behind the greeting.
    pub(crate) fn standing(&self) -> PolicyAck {
        match self.version {
            0 => PolicyAck::nothing(),
            version => {
                let digest = PolicyDigest::of(&self.envelope);
                PolicyAck { version, digest, outcome: PolicyOutcome::InForce }
            }
        }
    }

    /// Takes or refuses what is offered. An honest coordinator offers nothing that is another tenant's or forged, and
    /// nothing older than what the agent has said that it has.
    pub(crate) fn take(
        &mut self,
        offer: &PolicyOffer,
        tenant: TenantId,
        now: Timestamp,
    ) -> PolicyAck {
        if offer.envelope == self.envelope {
            return self.standing();
        }
        match accept(&offer.envelope, &[key().public_key()], tenant, self.version, now) {
            Ok(policy) => {
                assert_eq!((policy.tenant, policy.version), (tenant, offer.version), "L5");
                assert!(policy.version > self.version, "no policy goes back");
                (self.version, self.envelope) = (policy.version, offer.envelope.clone());
                self.standing()
            }
            Err(refusal) => {
                let is_honest = matches!(
                    refusal,
                    PolicyRefusal::Rollback | PolicyRefusal::Expired | PolicyRefusal::NotYet
                );
                assert!(is_honest, "L5: {refusal}");
                let digest = PolicyDigest::of(&offer.envelope);
                PolicyAck::refused(offer.version, refusal, "").about(digest)
            }
        }
    }
}
