//! Makes this host an agent: its key here, its certificate from the coordinator that the token names.
//!
//! # Files
//! ```text
//! key.pem          the private key, for its owner alone; it never leaves the host
//! certificate.pem  who this agent is: with it the host has joined
//! root.pem         whom the agent believes
//! coordinator.toml where the coordinators are
//! ```
//! New files are written beside the old ones, checked as `run` would, and put in their place, the certificate last. A
//! key whose certificate did not come is used again: the coordinator knows it, and the token's use is not lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use certs::{PrivateKey, certificates_to_pem};
use shared::{
    ids::{AgentId, TenantId},
    join::{JoinRequest, JoinToken, Joined},
    time::Timestamp,
};

use crate::{
    config::{Address, COORDINATOR_FILE, IdentityConfig, coordinator_text},
    platform,
    tls::{self, Credentials, Joining},
    uplink,
};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const ROOT: &str = "root.pem";
/// What the names of files end with that are not in their place yet.
const PART: &str = ".part";

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

/// Joins with `token` and keeps the identity in `dir`; `again` makes a host that has joined another agent.
///
/// # Errors
/// Says which part did not work and what to do. What was there before stays.
pub async fn join(dir: &Path, token: &JoinToken, host_name: String, again: bool) -> Result<Member> {
    let certificate = dir.join(CERTIFICATE);
    if !again && certificate.exists() {
        bail!(
            "this host has joined already: {} is there; signalbox-agent join --again makes it \
             another agent, and what is not sent yet is sent as that one's",
            certificate.display()
        );
    }
    let addresses = token.addresses.iter().map(|text| Address::parse(text));
    let addresses: Result<Vec<_>, String> = addresses.collect();
    let addresses = addresses.map_err(anyhow::Error::msg).context("read the token")?;
    let folder = Folder::open(dir)?;
    let key = folder.pending_key(again)?;
    let signing_request = key.signing_request().context("make a signing request")?;
    let request = JoinRequest {
        secret: token.secret,
        signing_request,
        host_name,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let joining = Joining::new(token.root_sha256);
    let joined = uplink::join(token, &request, &joining).await?;
    let root = joining.root().context("the coordinator has shown no root")?;
    folder.write(ROOT, &certificates_to_pem(&[root])?)?;
    folder.write(COORDINATOR_FILE, &coordinator_text(&addresses, &token.server_name))?;
    folder.write(CERTIFICATE, &certificates_to_pem(&joined.chain)?)?;
    let member = folder.check(&joined)?;
    for name in [ROOT, COORDINATOR_FILE, KEY, CERTIFICATE] {
        folder.put_in_place(name)?;
    }
    folder.sync()?;
    Ok(member)
}

/// The folder of an identity.
struct Folder {
    dir: PathBuf,
    metadata: fs::Metadata,
}

impl Folder {
    fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            platform::create_private_dir(dir)
                .with_context(|| format!("make the folder {}", dir.display()))?;
        }
        let metadata = fs::metadata(dir).with_context(|| format!("look at {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), metadata })
    }

    fn part(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{PART}"))
    }

    /// Returns the key that waits for its certificate, made now if there is none.
    fn pending_key(&self, again: bool) -> Result<PrivateKey> {
        let (part, placed) = (self.part(KEY), self.dir.join(KEY));
        // Broken off between putting the key and the certificate in their places.
        if !again && placed.exists() && !part.exists() {
            fs::rename(&placed, &part)
                .with_context(|| format!("move {} aside", placed.display()))?;
        }
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
        platform::write_private(&part, text.as_bytes(), &self.metadata)
            .with_context(|| format!("write {}", part.display()))
    }

    /// Refuses an answer that `run` could not use, that certifies another key, or is about somebody else.
    fn check(&self, joined: &Joined) -> Result<Member> {
        let identity = IdentityConfig {
            certificate: self.part(CERTIFICATE),
            key: self.part(KEY),
            trust_anchor: self.part(ROOT),
        };
        let credentials = Credentials::load(&identity)
            .context("the coordinator's answer cannot be used: tell your provider")?;
        let Credentials { tenant, agent, not_after, .. } = credentials;
        ensure!(
            (tenant, agent) == (joined.tenant, joined.agent),
            "the coordinator says {} {} and certifies {tenant} {agent}: tell your provider",
            joined.tenant,
            joined.agent
        );
        Ok(Member { tenant, agent, not_after })
    }

    fn put_in_place(&self, name: &str) -> Result<()> {
        let (part, placed) = (self.part(name), self.dir.join(name));
        fs::rename(&part, &placed).with_context(|| format!("put {} in place", placed.display()))
    }

    fn sync(&self) -> Result<()> {
        platform::sync_dir(&self.dir).with_context(|| format!("sync {}", self.dir.display()))
    }
}
