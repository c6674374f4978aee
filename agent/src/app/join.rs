//! Makes this host an agent: its key here, its certificate from the coordinator that the token names.
//!
//! # Files
//! ```text
//! key.pem          the private key, for its owner alone; it never leaves the host
//! certificate.pem  who this agent is: with it the host has joined
//! root.pem         whom the agent believes
//! coordinator.toml where the coordinators are
//! policy.keys      which keys sign the policies that it takes, where the coordinator tells any
//! ```
//! New files are written beside the old ones, checked as `run` would, and put in their place, the certificate last.
//! Joining with the same token goes on where it was broken off: a key whose certificate did not come is used again, as
//! the coordinator knows it, and what came whole is put in place. Nothing is written through a link.
//!
//! Of a host that joins again the identity before ends with its key, and the next begins with its certificate. The root
//! and what else goes by it changes between the two, where there is no identity that could be used: so each is only
//! ever used with its own, and with the trust bundle that it took, if it took one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use certs::{PrivateKey, certificates_to_pem};
use sha2::{Digest, Sha256};
use shared::{
    ids::{AgentId, TenantId},
    join::{JoinRequest, JoinToken},
    policy::PolicyPublicKey,
    time::Timestamp,
};

use crate::{
    clock,
    config::{
        Address, COORDINATOR_FILE, Home, IdentityConfig, POLICY_KEYS_FILE, coordinator_text,
        policy_keys_text,
    },
    platform,
    tls::{self, Credentials, Joining},
    uplink,
};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const ROOT: &str = "root.pem";
/// Digest of the token by which the parts came; there only while they are not in place.
const TOKEN: &str = "token";
/// The one file in a spool's folder that holds nothing of an agent's.
const STATUS: &str = "status.json";
/// What the names of files end with that are not in their place yet.
const PART: &str = ".part";

/// A step on which files come to their place.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// What was to follow the identity before is thrown away.
    ForgetNext,
    /// So is the trust bundle that it went by.
    ForgetTrust,
    /// A file takes its place.
    Place(&'static str),
    /// What was done until then is durable.
    Sync,
}

/// All steps, in their order.
const STEPS: [Step; 10] = [
    Step::ForgetNext,
    Step::Place(KEY),
    // A crash of the system may undo what comes after it, and not this alone.
    Step::Sync,
    Step::ForgetTrust,
    Step::Place(ROOT),
    Step::Place(COORDINATOR_FILE),
    Step::Place(POLICY_KEYS_FILE),
    Step::Sync,
    Step::Place(CERTIFICATE),
    Step::Sync,
];

/// What this host has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose agent it is.
    pub tenant: TenantId,
    /// Which agent it is.
    pub agent: AgentId,
    /// Until when its certificate is good.
    pub not_after: Timestamp,
}

/// Joins with `token`; `again` makes a host that has joined another agent, for which nothing may be kept yet.
///
/// # Errors
/// Says which part did not work and what to do. Whoever joins again goes on where it broke off.
pub async fn join(
    home: &Home,
    token: &JoinToken,
    host_name: String,
    again: bool,
) -> Result<Member> {
    let folder = Folder::open(home)?;
    let secret = hex(&Sha256::digest(token.secret.as_bytes()));
    if let Some(member) = folder.finish(&secret)? {
        return Ok(member);
    }
    let certificate = folder.placed(CERTIFICATE);
    if certificate.exists() {
        ensure!(
            again,
            "this host has joined already: {} is there; to make it another agent, stop it and run \
             signalbox-agent join --again",
            certificate.display()
        );
        home.stores.iter().try_for_each(|store| check_empty(store))?;
    }
    let addresses = token.addresses.iter().map(|text| Address::parse(text));
    let addresses: Result<Vec<_>, String> = addresses.collect();
    let addresses = addresses.map_err(anyhow::Error::msg).context("read the token")?;
    let key = folder.pending_key()?;
    let signing_request = key.signing_request().context("make a signing request")?;
    let request = JoinRequest {
        secret: token.secret,
        signing_request,
        host_name,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let joining = Joining::new(token.root_sha256);
    let (joined, keys) = uplink::join(token, &request, &joining).await?;
    let root = joining.root().context("the coordinator has shown no root")?;
    folder.write(ROOT, &certificates_to_pem(&[root])?)?;
    folder.write(COORDINATOR_FILE, &coordinator_text(&addresses, &token.server_name))?;
    folder.write_policy_keys(&keys)?;
    folder.write(TOKEN, &secret)?;
    folder.write(CERTIFICATE, &certificates_to_pem(&joined.chain)?)?;
    let member = folder.check()?;
    ensure!(
        (member.tenant, member.agent) == (joined.tenant, joined.agent),
        "the coordinator says {} {} and certifies {} {}: tell your provider",
        joined.tenant,
        joined.agent,
        member.tenant,
        member.agent
    );
    folder.put_in_place()?;
    Ok(member)
}

/// Refuses a folder with what was not sent yet: it belongs to the agent that this host was, and perhaps to another
/// tenant (L5).
fn check_empty(store: &Path) -> Result<()> {
    let mut entries = fs::read_dir(store).into_iter().flatten().flatten();
    match entries.find(|entry| entry.file_name() != STATUS) {
        None => Ok(()),
        Some(_) => bail!(
            "what is in {} belongs to the agent that this host was: let it send what waits \
             (signalbox-agent status), stop it, and move the folder's files aside",
            store.display()
        ),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of an identity.
struct Folder {
    dir: PathBuf,
    /// Who owns what is written.
    owner: fs::Metadata,
    /// Name of a key that has no certificate yet. An image is made of a host, and another host has another name for it.
    pending_key: String,
}

impl Folder {
    fn open(home: &Home) -> Result<Self> {
        let dir = home.identity.clone();
        if !dir.is_dir() {
            platform::create_private_dir(&dir)
                .with_context(|| format!("make the folder {}", dir.display()))?;
        }
        let owner = fs::metadata(&dir).with_context(|| format!("look at {}", dir.display()))?;
        // What tells one host from another.
        let pending_key = match platform::machine_id() {
            None => format!("{KEY}{PART}"),
            Some(machine) => format!("{KEY}.{}{PART}", &hex(&Sha256::digest(machine))[..16]),
        };
        Ok(Self { dir, owner, pending_key })
    }

    fn part(&self, name: &str) -> PathBuf {
        match name {
            KEY => self.dir.join(&self.pending_key),
            name => self.dir.join(format!("{name}{PART}")),
        }
    }

    fn placed(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Puts in place what the same token brought before, where that was broken off.
    fn finish(&self, secret: &str) -> Result<Option<Member>> {
        let is_same = fs::read_to_string(self.part(TOKEN)).is_ok_and(|text| text == secret);
        if !is_same || !self.part(CERTIFICATE).exists() {
            return Ok(None);
        }
        let Ok(member) = self.check() else { return Ok(None) };
        if member.not_after <= clock::wall() {
            return Ok(None);
        }
        self.put_in_place()?;
        Ok(Some(member))
    }

    /// Returns the key that waits for its certificate, made now if there is none.
    fn pending_key(&self) -> Result<PrivateKey> {
        let part = self.part(KEY);
        match fs::read_to_string(&part) {
            Ok(pem) => tls::key_of(&pem)
                .with_context(|| format!("{} is no key: remove it", part.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = PrivateKey::generate()?;
                self.write(KEY, &key.to_pem())?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(|| format!("read {}", part.display())),
        }
    }

    /// Writes a file that is not in its place yet, for the folder's owner alone.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let part = self.part(name);
        platform::write_private(&part, text.as_bytes(), &self.owner)
            .with_context(|| format!("write {}", part.display()))
    }

    /// Writes which keys sign policies; those that are there stay where the coordinator tells none.
    fn write_policy_keys(&self, keys: &[PolicyPublicKey]) -> Result<()> {
        if !keys.is_empty() {
            return self.write(POLICY_KEYS_FILE, &policy_keys_text(keys));
        }
        // Of a token that was broken off.
        let _none = fs::remove_file(self.part(POLICY_KEYS_FILE)).is_ok();
        Ok(())
    }

    /// Refuses what `run` could not use: an answer for another key, or one that leads to no root.
    fn check(&self) -> Result<Member> {
        let newest = |name| {
            let part = self.part(name);
            if part.exists() { part } else { self.placed(name) }
        };
        let identity = IdentityConfig {
            certificate: self.part(CERTIFICATE),
            key: newest(KEY),
            trust_anchor: newest(ROOT),
        };
        let credentials = Credentials::load(&identity)
            .context("the coordinator's answer cannot be used: tell your provider")?;
        let Credentials { tenant, agent, not_after, .. } = credentials;
        Ok(Member { tenant, agent, not_after })
    }

    /// Puts the files in their place, the certificate last: with it the host has joined.
    fn put_in_place(&self) -> Result<()> {
        STEPS.into_iter().try_for_each(|step| self.take(step))?;
        // It has nothing to say any more.
        let _removed = fs::remove_file(self.part(TOKEN)).is_ok();
        Ok(())
    }

    fn take(&self, step: Step) -> Result<()> {
        match step {
            Step::ForgetNext => {
                tls::forget_next(&self.identity()).context("forget what the agent was before")
            }
            Step::ForgetTrust => tls::forget_trust(&self.identity()).context(
                "forget whom the agent believed before: when that is mended, join with the same \
                 token once more",
            ),
            Step::Place(name) => {
                let (part, placed) = (self.part(name), self.placed(name));
                // It was put there before this was broken off, or there is none.
                let may_lack = || placed.exists() || name == POLICY_KEYS_FILE;
                match fs::rename(&part, &placed) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && may_lack() => Ok(()),
                    renamed => {
                        renamed.with_context(|| format!("put {} in place", placed.display()))
                    }
                }
            }
            Step::Sync => platform::sync_dir(&self.dir)
                .with_context(|| format!("sync {}", self.dir.display())),
        }
    }

    /// Returns where the files of the identity are.
    fn identity(&self) -> IdentityConfig {
        IdentityConfig {
            certificate: self.placed(CERTIFICATE),
            key: self.placed(KEY),
            trust_anchor: self.placed(ROOT),
        }
    }
}

#[cfg(test)]
mod tests;
