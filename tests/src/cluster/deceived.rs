//! An agent whose coordinator lies to it.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use certs::{PolicyKey, certificates_of_pem};
use coordinator::clock::Clock;
use shared::{
    policy::{Policy, PolicyLimits, PolicyOffer},
    trust::{TrustBundle, TrustOffer},
};

use super::{
    Agent, COORDINATOR, Cluster, Source, addresses,
    liar::{Heard, Lie, lie},
};

const MINUTE: Duration = Duration::from_secs(60);
/// How long the agent may take to come and to answer all: it dials after half a minute at the latest.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A rule that changes nothing, up to the day on which it ends.
const RULE: &str = "owner: soc@mssp.example
---
title: All that the detector says
id: 11111111-2222-4333-8444-555555555555
logsource: {product: suricata}
detection:
  any:
    finding_info.analytic.uid: '*'
  condition: any
level: low
signalbox: {action: send, expires: ";

/// An agent of the shipped program that dials this process, and what signs for it.
#[derive(Debug)]
pub struct Deceived {
    /// The agent; it is not started by itself.
    pub agent: Agent,
    /// The key that it trusts.
    pub key: PolicyKey,
    /// Where it looks for its coordinator.
    address: SocketAddr,
    /// Where the identity of that is: the real one's.
    identity: PathBuf,
    trust_domain: String,
    root: Vec<u8>,
}

impl Deceived {
    /// Sets one up.
    ///
    /// # Errors
    /// `tenant` is no tenant's name, or files cannot be written.
    pub fn new(cluster: &Cluster, tenant: &str, sources: &[Source]) -> Result<Self> {
        let (agent, key) = (cluster.agent(tenant, sources)?, PolicyKey::generate()?);
        let [address] = addresses()?;
        let config = agent.process.config();
        let text = fs::read_to_string(config)?;
        let dialled = cluster.coordinator.ingest.to_string();
        fs::write(config, text.replace(&dialled, &address.to_string()))?;
        fs::write(config.with_file_name("policy.keys"), key.public_key().to_string())?;
        let mut roots = certificates_of_pem(cluster.authority().root_pem())?;
        Ok(Self {
            agent,
            key,
            address,
            identity: cluster.folder().join(COORDINATOR),
            trust_domain: cluster.authority().trust_domain().to_owned(),
            root: roots.pop().context("a root")?,
        })
    }

    /// Returns a policy that it would take, if its version is above all before.
    #[must_use]
    pub fn policy(&self, version: u64) -> Policy {
        let now = Clock::wall().now();
        let ends = now.saturating_add(30 * 24 * 60 * MINUTE).to_string();
        Policy {
            tenant: self.agent.tenant,
            version,
            not_before: now.saturating_sub(MINUTE),
            expires_at: now.saturating_add(60 * MINUTE),
            text: format!("policy: acme\nversion: {version}\n{RULE}{}}}\n", &ends[..10]),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        }
    }

    /// Returns a trust bundle that it would take, if its sequence is above all before.
    #[must_use]
    pub fn bundle(&self, sequence: u64) -> TrustBundle {
        TrustBundle {
            trust_domain: self.trust_domain.clone(),
            sequence,
            roots: vec![self.root.clone()],
            distrusted: Vec::new(),
        }
    }

    /// Signs what is offered of a policy with the key that it trusts.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn signed(&self, policy: &Policy) -> Result<Lie> {
        let envelope = self.key.sign(policy)?;
        Ok(Lie::Policy(PolicyOffer { version: policy.version, envelope }))
    }

    /// Signs what is offered of a trust bundle with the key that it trusts.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn signed_trust(&self, bundle: &TrustBundle) -> Result<Lie> {
        let envelope = self.key.sign_trust(bundle)?;
        Ok(Lie::Trust(TrustOffer { sequence: bundle.sequence, envelope }))
    }

    /// Offers it one thing after the other once it has come.
    ///
    /// # Errors
    /// It does not come, or does not answer.
    pub fn lie(&self, lies: &[Lie]) -> Result<Heard> {
        lie(self.address, &self.identity, lies, TIMEOUT)
    }

    /// Returns how many policies and trust bundles it shows that it refused since its start.
    ///
    /// # Errors
    /// Its status cannot be read.
    pub fn refused(&self) -> Result<u64> {
        let status = self.agent.status()?;
        let status = status.filter(|status| Some(status.pid) == self.agent.process.id());
        Ok(status.map_or(0, |status| {
            let policies = status.policy.and_then(|policy| policy.signed);
            policies.map_or(0, |it| it.refused) + status.trust.map_or(0, |it| it.refused)
        }))
    }
}
