//! The coordinator that is attacked, with its authority, and what it counts.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use certs::{
    AGENT_VALIDITY, Leaf, PolicyKey, PrivateKey, SKEW, certificates_of_pem,
    testing::{RawLeaf, issue_raw},
};
use coordinator::{
    api::tokens::draw_secret,
    clock::Clock,
    command::{
        joins::{self, Invitation},
        tokens::{self, Grant},
    },
    store::{
        engine::{RocksEngine, Staged},
        values::{Actor, Role},
        writer,
    },
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use shared::{
    identity::{self, Identity},
    ids::{AgentId, TenantId},
    join::{JoinSecret, JoinToken},
    policy::{Policy, PolicyLimits},
    time::Timestamp,
    trust::{SpkiDigest, TrustBundle},
    wire::ALPN,
};
use tokio::runtime::Runtime;

use super::client::tls;
use crate::cluster::Cluster;

/// Whose data are attacked.
pub(super) const VICTIM: &str = "globex";
/// Who has tokens of their own and wants more.
pub(super) const NEIGHBOUR: &str = "acme";
/// Whose agents misbehave.
pub(super) const ATTACKER: &str = "mallory";

const TIMEOUT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What every attempt is made against.
pub(super) struct Arena {
    pub(super) cluster: Cluster,
    pub(super) runtime: Runtime,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) expired: Expired,
    /// What the coordinator trusts to sign policies.
    pub(super) policy_key: PolicyKey,
}

/// Tokens that were good until two days ago.
pub(super) struct Expired {
    /// An administrator's, for the API.
    pub(super) api: String,
    pub(super) join: JoinSecret,
}

/// An agent of this process.
pub(super) struct Member {
    pub(super) tenant: TenantId,
    pub(super) agent: AgentId,
    pub(super) leaf: Leaf,
    /// With which it opens sessions.
    pub(super) tls: Arc<ClientConfig>,
}

/// What the coordinator has counted, by name and labels.
pub(super) struct Numbers(BTreeMap<String, u64>);

impl Arena {
    /// Starts a coordinator that issues certificates, takes policies and knows the tenants.
    pub(super) fn new() -> Result<Self> {
        let mut cluster = Cluster::issuing(TIMEOUT)?;
        for tenant in [VICTIM, NEIGHBOUR, ATTACKER] {
            cluster.cli(&["tenant", "set", tenant, "--display-name", tenant])?;
        }
        let runtime = Runtime::new()?;
        // Time that has passed since something was made cannot be asked for: it is written into the store.
        cluster.coordinator.process.terminate(TIMEOUT)?;
        let expired = runtime.block_on(expired(&cluster.coordinator.store))?;
        let (policy_key, keys) = (PolicyKey::generate()?, cluster.folder().join("policy.pub"));
        fs::write(&keys, policy_key.public_key().to_string())?;
        let mut config = File::options().append(true).open(cluster.coordinator.process.config())?;
        writeln!(config, "[policy]\nkeys = {keys:?}")?;
        cluster.coordinator.process.start()?;
        cluster.coordinator.wait_until_ready(TIMEOUT)?;
        let mut roots = RootCertStore::empty();
        for der in certificates_of_pem(cluster.authority().root_pem())? {
            roots.add(CertificateDer::from(der))?;
        }
        Ok(Self { cluster, runtime, roots: Arc::new(roots), expired, policy_key })
    }

    /// Returns what is counted now.
    pub(super) fn numbers(&self) -> Result<Numbers> {
        let (_, text) = self.cluster.coordinator.look_at("/metrics")?;
        let numbers = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Numbers(numbers.collect()))
    }

    /// Returns what an agent of this tenant is called in its certificate.
    pub(super) fn identity(&self, tenant: &str, agent: AgentId) -> Result<Identity> {
        let trust_domain = self.cluster.authority().trust_domain().to_owned();
        let role = identity::Role::Agent { tenant: tenant.parse()?, agent };
        Ok(Identity { trust_domain, role })
    }

    /// Returns what a good certificate of a new agent says, for a client only.
    pub(super) fn raw(&self, tenant: &str) -> Result<RawLeaf> {
        let identity = self.identity(tenant, new_agent())?;
        Ok(RawLeaf { server_auth: false, ..RawLeaf::of(&identity, now()) })
    }

    /// Issues a certificate as it is asked for.
    pub(super) fn leaf(&self, raw: &RawLeaf) -> Result<Leaf> {
        Ok(issue_raw(self.cluster.authority(), raw)?)
    }

    /// Returns a new agent of a tenant.
    pub(super) fn member(&self, tenant: &str) -> Result<Member> {
        let (agent, tenant) = (new_agent(), tenant.parse()?);
        let (now, key) = (now().saturating_sub(SKEW), PrivateKey::generate()?);
        let authority = self.cluster.authority();
        let leaf = authority.issue_agent(tenant, agent, now, AGENT_VALIDITY, &key)?;
        let tls = tls(self, Some(&leaf), ALPN)?;
        Ok(Member { tenant, agent, leaf, tls })
    }

    /// Returns a policy of a tenant that can be pushed.
    pub(super) fn policy(&self, tenant: &str, version: u64, text: &str) -> Result<Policy> {
        Ok(Policy {
            tenant: tenant.parse()?,
            version,
            not_before: now().saturating_sub(SKEW),
            expires_at: now().saturating_add(DAY),
            text: text.to_owned(),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        })
    }

    /// Returns a trust bundle of what agents trust already, without an intermediate that there never was.
    pub(super) fn trust(&self, sequence: u64) -> Result<TrustBundle> {
        let authority = self.cluster.authority();
        Ok(TrustBundle {
            trust_domain: authority.trust_domain().to_owned(),
            sequence,
            roots: certificates_of_pem(authority.root_pem())?,
            distrusted: vec![SpkiDigest::from_bytes([7; 32])],
        })
    }

    /// Returns a new join token of a tenant.
    pub(super) fn join_token(&self, tenant: &str) -> Result<JoinToken> {
        Ok(self.cluster.join_token(tenant, 1)?.parse()?)
    }
}

impl Numbers {
    /// Returns the sum of all whose names begin so.
    pub(super) fn of(&self, beginning: &str) -> u64 {
        let all = self.0.iter().filter(|(name, _)| name.starts_with(beginning));
        all.map(|(_, value)| value).sum()
    }
}

pub(super) fn now() -> Timestamp {
    Clock::wall().now()
}

pub(super) fn new_agent() -> AgentId {
    AgentId::from_bytes(rand::random())
}

/// Puts tokens into a store that nobody has open.
async fn expired(path: &Path) -> Result<Expired> {
    let (store, writer) = writer::start(Arc::new(RocksEngine::open(path)?))?;
    let then = now().saturating_sub(DAY * 2);
    let expired = Expired { api: draw_secret(), join: JoinSecret::from_bytes(rand::random()) };
    let (secret, join) = (expired.api.clone(), expired.join);
    let tenant = NEIGHBOUR.parse()?;
    let written = store.write(move |staged: &mut Staged<'_>| {
        let (holder, role) = ("late".to_owned(), Role::Admin);
        let grant = Grant { holder, role, tenants: Vec::new(), life: HOUR };
        tokens::create(staged, &secret, grant, &Actor::Coordinator, then)?;
        let invitation = Invitation { tenant, uses: 1, life: HOUR };
        joins::create(staged, &join, invitation, &Actor::Coordinator, then).map(drop)
    });
    written.await.context("store what has expired")?;
    drop(store);
    writer.join();
    Ok(expired)
}
