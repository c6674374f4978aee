//! A coordinator and agents as real processes on this machine, in a temporary folder.
//!
//! What a test or a benchmark needs to run the shipped programs against each other: an authority that issues their
//! certificates, configuration files, addresses on the loopback that stay the same over restarts, and processes that
//! are started, killed, and told to stop.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use tests::cluster::{Cluster, Kind, Source};
//! # fn main() -> anyhow::Result<()> {
//! let mut cluster = Cluster::new()?;
//! let eve = Source::new("suricata", Kind::SuricataEve, "/tmp/eve.json");
//! let mut agent = cluster.agent("acme", &[eve])?;
//! cluster.coordinator.process.start()?;
//! cluster.coordinator.wait_until_ready(Duration::from_secs(10))?;
//! agent.process.start()?;
//! // ...
//! agent.process.kill()?;
//! cluster.coordinator.process.terminate(Duration::from_secs(10))?;
//! # Ok(())
//! # }
//! ```
//! Whatever still runs when its [`Process`] is dropped is killed; the folder goes with the [`Cluster`], unless it is
//! [kept](Cluster::keep).

mod cli;
mod deceived;
mod joining;
mod liar;
mod process;
mod programs;
mod relay;
mod rotation;

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use agent::{config::IdentityConfig, status::Snapshot};
use anyhow::{Context as _, Result, bail, ensure};
use certs::{
    AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, INTERMEDIATE_VALIDITY,
    LeafPaths, PrivateKey, Root, SKEW, Store,
    testing::{RawLeaf, issue_raw},
};
use coordinator::clock::Clock;
use shared::{
    identity::{Identity, Role},
    ids::{AgentId, TenantId},
    time::Timestamp,
};
use tempfile::TempDir;

pub use self::{
    cli::{Recalled, records_of},
    deceived::Deceived,
    joining::Host,
    liar::{Heard, Lie, Said, lie},
    process::{Process, terminate},
    programs::Programs,
    relay::Relay,
    rotation::whose,
};

/// Name in the coordinator's certificate, which is also where agents look for it by default.
const COORDINATOR: &str = "coordinator";
/// How old the authority is.
const AUTHORITY_AGE: Duration = Duration::from_secs(100 * 86_400);
/// Pause between two looks at something that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Below the range from which Linux gives out ports by itself, so that an address is still free after a restart.
const PORTS: Range<u16> = 10_000..32_000;
/// Draws of a port before it is given up: most of the range is free on any machine.
const PORT_DRAWS_MAX: usize = 100;

/// Which product writes a source's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Suricata's EVE.
    SuricataEve,
    /// Wazuh's `alerts.json`.
    Wazuh,
    /// Any JSON lines, with the text of the configuration's field map: the section `[source.fields]` and those below.
    JsonLines(String),
}

/// A file that an agent reads, from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    kind: Kind,
    path: PathBuf,
}

impl Source {
    /// Returns a source; its file need not exist yet.
    #[must_use]
    pub fn new(name: &str, kind: Kind, path: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), kind, path: path.into() }
    }

    fn to_toml(&self) -> String {
        let (kind, fields) = match &self.kind {
            Kind::SuricataEve => ("suricata_eve", ""),
            Kind::Wazuh => ("wazuh", ""),
            Kind::JsonLines(fields) => ("json_lines", fields.as_str()),
        };
        let Self { name, path, .. } = self;
        format!(
            "[[source]]\nname = {name:?}\nkind = {kind:?}\npath = {path:?}\n\
             from = \"start\"\n{fields}\n"
        )
    }
}

/// A coordinator, and what is needed to set up its agents.
#[derive(Debug)]
pub struct Cluster {
    /// The coordinator; it is not started by itself.
    pub coordinator: Coordinator,
    root: Arc<Root>,
    authority: Authority,
    programs: &'static Programs,
    folder: TempDir,
}

/// The coordinator's process and where it is reached.
#[derive(Debug)]
pub struct Coordinator {
    /// Its process.
    pub process: Process,
    /// Where agents connect: UDP.
    pub ingest: SocketAddr,
    /// Where analysts connect: HTTPS.
    pub api: SocketAddr,
    /// Where metrics and health are read: HTTP.
    pub metrics: SocketAddr,
    /// The store's folder.
    pub store: PathBuf,
    /// The root's certificate, which the API's leads to; its name is `coordinator`.
    pub root: PathBuf,
}

/// An agent's process and its files.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which it is.
    pub id: AgentId,
    /// The spool's folder.
    pub spool: PathBuf,
}

impl Cluster {
    /// Sets up a coordinator in a new temporary folder, after building the programs if that was not done yet.
    ///
    /// # Errors
    /// The programs cannot be built, or the system gives no folder or port.
    pub fn new() -> Result<Self> {
        let programs = Programs::build()?;
        let folder = tempfile::Builder::new().prefix("signalbox-").tempdir()?;
        // Old enough to have issued what has ended since.
        let founded_at = Clock::wall().now().saturating_sub(AUTHORITY_AGE);
        let root = Arc::new(Root::create("signalbox.internal", founded_at)?);
        let authority = root.issue_intermediate(founded_at, INTERMEDIATE_VALIDITY)?;
        let coordinator = Coordinator::new(&folder.path().join(COORDINATOR), &authority, programs)?;
        Ok(Self { coordinator, root, authority, programs, folder })
    }

    /// Returns the folder of all files, for the test's own beside them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns what issues the certificates.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sets up a new agent of a tenant; it is not started.
    ///
    /// # Errors
    /// `tenant` is no tenant's name, or files cannot be written.
    pub fn agent(&self, tenant: &str, sources: &[Source]) -> Result<Agent> {
        let now = Clock::wall().now();
        let until = now.saturating_add(AGENT_VALIDITY);
        self.agent_certified(tenant, sources, now.saturating_sub(SKEW)..until)
    }

    /// Sets up a new agent of a tenant whose certificate is valid for this time, which may be over; it is not started.
    ///
    /// # Errors
    /// `tenant` is no tenant's name, or files cannot be written.
    pub fn agent_certified(
        &self,
        tenant: &str,
        sources: &[Source],
        valid: Range<Timestamp>,
    ) -> Result<Agent> {
        let tenant: TenantId = tenant.parse()?;
        let id = AgentId::from_bytes(rand::random());
        let folder = self.folder.path().join(format!("agent-{tenant}-{id}"));
        let trust_domain = self.authority.trust_domain().to_owned();
        let identity = Identity { trust_domain, role: Role::Agent { tenant, agent: id } };
        let raw = RawLeaf::of(&identity, valid.start);
        let raw =
            RawLeaf { not_before: valid.start, not_after: valid.end, server_auth: false, ..raw };
        let leaf = issue_raw(&self.authority, &raw)?;
        let paths = Store::new(&folder).write_bundle(&leaf, self.authority.root_pem())?;
        let address = self.coordinator.ingest.to_string();
        let (certificate, key) = (paths.certificate, paths.key);
        let sources: String = sources.iter().map(Source::to_toml).collect();
        let text = format!(
            "[coordinator]\naddresses = [{address:?}]\n\
             [identity]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             trust_anchor = \"root.pem\"\n\
             [spool]\ndir = \"spool\"\n\
             {sources}"
        );
        let config = folder.join("agent.toml");
        fs::write(&config, text)?;
        let process = Process::new(&self.programs.agent, &config, folder.join("log"));
        Ok(Agent { process, tenant, id, spool: folder.join("spool") })
    }

    /// Issues a certificate for the agent that is `number` of a tenant's, into a folder of its own.
    ///
    /// # Errors
    /// `tenant` is no tenant's name, or files cannot be written.
    pub fn identity(&self, tenant: &str, number: u64) -> Result<(AgentId, IdentityConfig)> {
        let agent: AgentId = format!("00000000-0000-4000-8000-{number:012x}").parse()?;
        let key = PrivateKey::generate()?;
        let (now, tenant) = (Clock::wall().now(), tenant.parse()?);
        let leaf = self.authority.issue_agent(tenant, agent, now, AGENT_VALIDITY, &key)?;
        let folder = self.folder.path().join(format!("identity-{number}"));
        let paths = Store::new(&folder).write_bundle(&leaf, self.authority.root_pem())?;
        let LeafPaths { certificate, key } = paths;
        let trust_anchor = folder.join("root.pem");
        Ok((agent, IdentityConfig { certificate, key, trust_anchor }))
    }

    /// Sets up a copy of an agent that was not started yet, as another host that reads `path` where that reads
    /// `source`; it is not started.
    ///
    /// # Errors
    /// Files cannot be read or written.
    pub fn copy_of(&self, agent: &Agent, source: &Path, path: &Path) -> Result<Agent> {
        let folder = agent.spool.parent().context("an agent's folder")?;
        let copy = folder.with_extension("copy");
        copy_folder(folder, &copy)?;
        let text = fs::read_to_string(agent.process.config())?;
        let shown = |path: &Path| path.display().to_string();
        let text = text.replace(&shown(folder), &shown(&copy));
        let config = copy.join("agent.toml");
        fs::write(&config, text.replace(&shown(source), &shown(path)))?;
        let process = Process::new(&self.programs.agent, &config, copy.join("log"));
        Ok(Agent { process, tenant: agent.tenant, id: agent.id, spool: copy.join("spool") })
    }

    /// Leaves the folder where it is, for a person to look at, and returns where.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

impl Coordinator {
    fn new(folder: &Path, authority: &Authority, programs: &Programs) -> Result<Self> {
        let paths = certify(folder, authority)?;
        let [ingest, api, metrics] = addresses()?;
        // All agents are behind one address.
        let (domain, certificate, key) = (authority.trust_domain(), paths.certificate, paths.key);
        let text = format!(
            "trust_domain = {domain:?}\n\
             [store]\npath = \"store\"\n\
             [ingest]\naddress_handshakes_per_second = 100000\n\
             listen = \"{ingest}\"\ncertificate = {certificate:?}\nkey = {key:?}\n\
             roots = \"root.pem\"\n\
             [api]\nlisten = \"{api}\"\n\
             [metrics]\nlisten = \"{metrics}\"\n"
        );
        let config = folder.join("coordinator.toml");
        fs::write(&config, text)?;
        let process = Process::new(&programs.coordinator, &config, folder.join("log"));
        let (store, root) = (folder.join("store"), folder.join("root.pem"));
        Ok(Self { process, ingest, api, metrics, store, root })
    }

    /// Returns what the metrics listener answers at `path`, which begins with `/`: the status and the text.
    ///
    /// # Errors
    /// Nobody answers within two seconds.
    pub fn look_at(&self, path: &str) -> Result<(u16, String)> {
        let request = ureq::get(format!("http://{}{path}", self.metrics)).config();
        let request = request.http_status_as_error(false);
        let request = request.timeout_global(Some(Duration::from_secs(2))).build();
        let mut response = request.call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// Waits until it serves with a queue that has caught up.
    ///
    /// # Errors
    /// It does not within `timeout`, or it has ended.
    pub fn wait_until_ready(&mut self, timeout: Duration) -> Result<()> {
        eventually("the coordinator to be ready", timeout, || {
            ensure!(self.process.is_running()?, "the coordinator has ended");
            Ok(matches!(self.look_at("/readyz"), Ok((200, _))).then_some(()))
        })
    }

    /// Returns the first administrator's token, which is there once it was ready.
    ///
    /// # Errors
    /// There is none.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.store.join(coordinator::app::ADMIN_TOKEN_FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }
}

impl Agent {
    /// Returns where the agent writes its status: first when it has stored where it begins to read.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        self.spool.join("status.json")
    }

    /// Returns what the agent wrote of itself last, at most a second ago while it runs; nothing before its first
    /// second.
    ///
    /// # Errors
    /// The file holds something else.
    pub fn status(&self) -> Result<Option<Snapshot>> {
        let path = self.status_path();
        Ok(if path.exists() { Some(Snapshot::load(&path)?) } else { None })
    }
}

/// Writes what proves the coordinator into its folder, with the root.
fn certify(folder: &Path, authority: &Authority) -> Result<LeafPaths> {
    let names = AlternativeNames {
        dns_names: vec!["localhost".to_owned()],
        ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
    };
    let (now, key) = (Clock::wall().now(), PrivateKey::generate()?);
    let leaf = authority.issue_coordinator(COORDINATOR, &names, now, COORDINATOR_VALIDITY, &key)?;
    Ok(Store::new(folder).write_bundle(&leaf, authority.root_pem())?)
}

/// Copies a folder and all in it.
///
/// # Errors
/// Files cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (path, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

/// Looks again and again until `look` finds something, and returns it.
///
/// # Errors
/// `look` fails, or finds nothing within `timeout`; the error says what was waited for.
#[expect(clippy::disallowed_methods, reason = "other processes can only be looked at")]
pub fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", timeout.as_secs_f32());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Appends alerts of Suricata's with these numbers to a file, which is made where it is missing; a number is the second
/// at which its alert happened.
///
/// # Errors
/// The file cannot be written.
pub fn append_alerts(path: &Path, numbers: Range<usize>) -> Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    for number in numbers {
        writeln!(
            file,
            "{{\"timestamp\":\"2026-01-01T00:00:{number:02}.000000+0000\",\"event_type\":\"alert\",\
             \"src_ip\":\"10.0.0.1\",\
             \"alert\":{{\"signature_id\":7,\"signature\":\"a\",\"severity\":3}}}}"
        )?;
    }
    Ok(())
}

/// Returns addresses on the loopback that nobody listens at, neither with UDP nor with TCP.
///
/// # Errors
/// None was found within a hundred draws.
pub fn addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut found: Vec<SocketAddr> = Vec::with_capacity(N);
    for _ in 0..PORT_DRAWS_MAX {
        let port = rand::random_range(PORTS);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let is_free = UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok();
        if is_free && !found.contains(&address) {
            found.push(address);
        }
        if let Ok(found) = found.as_slice().try_into() {
            return Ok(found);
        }
    }
    bail!("no free port among {PORT_DRAWS_MAX} of {PORTS:?}")
}
