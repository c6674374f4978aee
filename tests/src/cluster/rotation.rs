//! Authorities that are replaced or stolen, in a cluster.

use std::{fs, ops::Range, path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use certs::{
    AGENT_VALIDITY, Authority, INTERMEDIATE_VALIDITY, PolicyKey, PrivateKey, Root, Store,
    certificates_of_pem, spki_digest_of_der,
    testing::{RawLeaf, issue_raw},
};
use coordinator::clock::Clock;
use serde_json::Value;
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, TenantId},
    time::Timestamp,
    trust::{SpkiDigest, TrustBundle},
};

use super::{Agent, COORDINATOR, Cluster, Coordinator, Process, Source, certify};

impl Cluster {
    /// Returns a new root.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn next_root(&self) -> Result<Root> {
        Ok(Root::create(self.authority.trust_domain(), Clock::wall().now())?)
    }

    /// Returns the root that all stands under at first.
    #[must_use]
    pub fn root(&self) -> Arc<Root> {
        Arc::clone(&self.root)
    }

    /// Has the coordinator show and issue by the next intermediate of a root, from its next start on; agents are let in
    /// that stand under any of these roots. Returns the intermediate before.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn replace_authority(&mut self, of: &Root, roots: &[&Root]) -> Result<Authority> {
        let next = of.issue_intermediate(Clock::wall().now(), INTERMEDIATE_VALIDITY)?;
        let folder = self.folder().join(COORDINATOR);
        for name in ["certificate.pem", "key.pem", "root.pem"] {
            fs::remove_file(folder.join(name))?;
        }
        fs::remove_dir_all(self.folder().join("authority"))?;
        certify(&folder, &next)?;
        let roots: String = roots.iter().map(|root| root.root_pem()).collect();
        fs::write(folder.join("root.pem"), roots)?;
        Store::new(self.folder().join("authority")).write_intermediate(&next)?;
        Ok(std::mem::replace(&mut self.authority, next))
    }

    /// Has the coordinator distrust an intermediate, from its next start on.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn distrust(&self, stolen: &Authority) -> Result<()> {
        let line = format!("[authority]\ndistrusted = [\"{}\"]\n", spki_of(stolen)?);
        self.reconfigure("[authority]\n", &line)
    }

    /// Replaces a text in the coordinator's configuration, from its next start on.
    ///
    /// # Errors
    /// It is not there, or files cannot be written.
    pub fn reconfigure(&self, text: &str, by: &str) -> Result<()> {
        let config = self.coordinator.process.config();
        let before = fs::read_to_string(config)?;
        ensure!(before.contains(text), "{text} is not in {before}");
        Ok(fs::write(config, before.replace(text, by))?)
    }

    /// Has the coordinator take what a new key signs, from its next start on.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn policy_key(&self) -> Result<PolicyKey> {
        let (key, path) = (PolicyKey::generate()?, self.folder().join("policy.pub"));
        fs::write(&path, format!("{}\n", key.public_key()))?;
        self.reconfigure("[store]\n", &format!("[policy]\nkeys = {path:?}\n[store]\n"))?;
        Ok(key)
    }

    /// Pushes a trust bundle by the command line; returns what that says.
    ///
    /// # Errors
    /// It is refused.
    pub fn push_trust(
        &self,
        key: &PolicyKey,
        sequence: u64,
        roots: &[&Root],
        distrusted: &[&Authority],
    ) -> Result<Value> {
        let der = |root: &&Root| Ok(certificates_of_pem(root.root_pem())?.swap_remove(0));
        let bundle = TrustBundle {
            trust_domain: self.authority.trust_domain().to_owned(),
            sequence,
            roots: roots.iter().map(der).collect::<Result<_>>()?,
            distrusted: distrusted.iter().map(|it| spki_of(it)).collect::<Result<_>>()?,
        };
        let file = self.folder().join(format!("{sequence}.trust"));
        fs::write(&file, BASE64.encode(key.sign_trust(&bundle)?))?;
        self.cli(&["authority", "push", file.to_str().context("a path in UTF-8")?])
    }

    /// Sets up a host with a certificate of somebody else's agent, made by whoever has this intermediate, which dials
    /// `coordinator`; it is not started.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn impostor(
        &self,
        (tenant, id): (TenantId, AgentId),
        by: &Authority,
        sources: &[Source],
    ) -> Result<Agent> {
        let folder = self.folder().join(format!("impostor-{}", rand::random::<u32>()));
        let (now, key) = (Clock::wall().now(), PrivateKey::generate()?);
        let leaf = by.issue_agent(tenant, id, now, AGENT_VALIDITY, &key)?;
        Store::new(&folder).write_bundle(&leaf, by.root_pem())?;
        let sources: String = sources.iter().map(Source::to_toml).collect();
        let address = self.coordinator.ingest;
        let text = format!(
            "[coordinator]\naddresses = [\"{address}\"]\n\
             [identity]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n\
             trust_anchor = \"root.pem\"\n[spool]\ndir = \"spool\"\n{sources}"
        );
        let config = folder.join("agent.toml");
        fs::write(&config, text)?;
        let process = Process::new(&self.programs.agent, &config, folder.join("log"));
        Ok(Agent { process, tenant, id, spool: folder.join("spool") })
    }

    /// Sets up another coordinator, by whoever has this intermediate; it is not started.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn false_coordinator(&self, by: &Authority) -> Result<Coordinator> {
        let folder = self.folder().join(format!("false-{}", rand::random::<u32>()));
        fs::create_dir(&folder)?;
        Coordinator::new(&folder, by, self.programs)
    }

    /// Replaces the identity of a host that has joined and was never started by one that is as old as this says.
    ///
    /// # Errors
    /// Files cannot be read or written.
    pub fn age(&self, identity: &Path, valid: Range<Timestamp>) -> Result<()> {
        let (certificate, key) = (identity.join("certificate.pem"), identity.join("key.pem"));
        let chain = certificates_of_pem(&fs::read_to_string(&certificate)?)?;
        let whose = certs::identity_of_der(&chain[0])?;
        let raw = RawLeaf::of(&whose, valid.start);
        let (not_before, not_after) = (valid.start, valid.end);
        let raw = RawLeaf { not_before, not_after, server_auth: false, ..raw };
        let leaf = issue_raw(&self.authority, &raw)?;
        fs::write(certificate, leaf.chain_pem)?;
        Ok(fs::write(key, leaf.key_pem)?)
    }
}

/// Returns whose agent an identity on disk is.
///
/// # Errors
/// It is none.
pub fn whose(identity: &Path) -> Result<(TenantId, AgentId)> {
    let chain = certificates_of_pem(&fs::read_to_string(identity.join("certificate.pem"))?)?;
    match certs::identity_of_der(&chain[0])? {
        Identity { role: Role::Agent { tenant, agent }, .. } => Ok((tenant, agent)),
        other => bail!("{other} is no agent"),
    }
}

fn spki_of(authority: &Authority) -> Result<SpkiDigest> {
    let chain = certificates_of_pem(authority.intermediate_pem())?;
    Ok(spki_digest_of_der(&chain[0])?)
}
