//! The real programs, started with certificates and configurations of their own.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use agent::{config::IdentityConfig, status::Snapshot, tls::Credentials};
use anyhow::{Context as _, Result, bail};
use certs::{AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, Leaf, PrivateKey};
use serde_json::Value;
use shared::ids::AgentId;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{
    measure::{Resident, scratch},
    records::now,
};
use crate::cluster::terminate;

/// How long anything may take that is no measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A folder with an authority, in which programs run.
pub(super) struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Site {
    pub(super) fn new() -> Result<Self> {
        let site =
            Self { folder: scratch()?, authority: Authority::create("signalbox.internal", now())? };
        fs::write(site.path("root.pem"), site.authority.root_pem())?;
        Ok(site)
    }

    /// Returns a path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Issues certificate and key of agent `number` and writes them; returns the paths.
    pub(super) fn issue_agent(&self, tenant: &str, number: u64) -> Result<IdentityConfig> {
        let agent: AgentId = format!("00000000-0000-4000-8000-{number:012x}").parse()?;
        let key = PrivateKey::generate()?;
        let tenant = tenant.parse()?;
        let leaf = self.authority.issue_agent(tenant, agent, now(), AGENT_VALIDITY, &key)?;
        self.write(&format!("agent-{number}"), &leaf)
    }

    /// Returns what the client of agent `number` connects with.
    pub(super) fn credentials(&self, tenant: &str, number: u64) -> Result<Credentials> {
        Ok(Credentials::load(&self.issue_agent(tenant, number)?)?)
    }

    fn write(&self, name: &str, leaf: &Leaf) -> Result<IdentityConfig> {
        let (certificate, key) =
            (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&certificate, &leaf.chain_pem)?;
        fs::write(&key, &leaf.key_pem)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok(IdentityConfig { certificate, key, trust_anchor: self.path("root.pem") })
    }

    /// Starts a coordinator and waits until it is ready.
    pub(super) fn start_coordinator(&self) -> Result<Coordinator> {
        let names = AlternativeNames {
            dns_names: vec!["localhost".to_owned()],
            ip_addresses: vec![[127, 0, 0, 1].into()],
        };
        let key = PrivateKey::generate()?;
        let leaf = self.authority.issue_coordinator(
            "coordinator",
            &names,
            now(),
            COORDINATOR_VALIDITY,
            &key,
        )?;
        self.write("coordinator", &leaf)?;
        let (ingest, api, metrics) = (free_udp()?, free_tcp()?, free_tcp()?);
        let config = format!(
            "trust_domain = \"signalbox.internal\"\n[store]\npath = \"store\"\n\
             [quota]\ntenant_kib_per_second = 1048576\nagent_kib_per_second = 1048576\n\
             tenant_blocks_per_second = 1000000\nagent_blocks_per_second = 1000000\n\
             [ingest]\naddress_handshakes_per_second = 1000000\n\
             listen = \"{ingest}\"\ncertificate = \"coordinator.pem\"\n\
             key = \"coordinator.key\"\nroots = \"root.pem\"\n[api]\nlisten = \"{api}\"\n\
             [metrics]\nlisten = \"{metrics}\"\n[log]\nlevel = \"warn\"\n"
        );
        let path = self.path("coordinator.toml");
        fs::write(&path, config)?;
        let program = Program::start("signalbox-coordinator", &path)?;
        let store = self.path("store");
        let coordinator = Coordinator { program, ingest, api, metrics, store };
        let ready = format!("http://{metrics}/readyz");
        eventually("the coordinator is ready", || Ok(ureq::get(&ready).call().is_ok()))?;
        Ok(coordinator)
    }

    /// Starts agent `number` over the file `eve` in the site's folder, read from its start, and what `more` says in its
    /// configuration's words.
    pub(super) fn start_agent(
        &self,
        number: u64,
        tenant: &str,
        coordinator: SocketAddr,
        more: &str,
    ) -> Result<Agent> {
        self.issue_agent(tenant, number)?;
        let config = format!(
            "[coordinator]\naddresses = [\"{coordinator}\"]\n\
             [identity]\ncertificate = \"agent-{number}.pem\"\nkey = \"agent-{number}.key\"\n\
             trust_anchor = \"root.pem\"\n[spool]\ndir = \"spool\"\nmax_bytes = \"4GiB\"\n\
             [[source]]\nname = \"eve\"\nkind = \"suricata_eve\"\npath = \"eve\"\n\
             from = \"start\"\n{more}\
             [log]\nlevel = \"warn\"\n"
        );
        let path = self.path("agent.toml");
        fs::write(&path, config)?;
        let program = Program::start("signalbox-agent", &path)?;
        Ok(Agent { program, status: self.path("spool").join("status.json") })
    }

    /// Returns a client of the coordinator's API, with its first administrator's token.
    pub(super) fn api(&self, coordinator: &Coordinator) -> Result<Api> {
        let root = Certificate::from_pem(self.authority.root_pem().as_bytes())?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(vec![root]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder().tls_config(tls).build().new_agent();
        let token = fs::read_to_string(coordinator.store.join("admin.token"))?;
        let authorisation = format!("Bearer {}", token.trim());
        Ok(Api { agent, base: format!("https://{}", coordinator.api), authorisation })
    }
}

/// The API as an analyst's program uses it.
pub(super) struct Api {
    agent: ureq::Agent,
    base: String,
    authorisation: String,
}

impl Api {
    /// Reads a document.
    pub(super) fn read(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.get(&url).header("authorization", &self.authorisation);
        let text = request.call()?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// A running coordinator.
pub(super) struct Coordinator {
    program: Program,
    /// Where agents connect.
    pub(super) ingest: SocketAddr,
    api: SocketAddr,
    metrics: SocketAddr,
    /// Its store's folder.
    pub(super) store: PathBuf,
}

impl Coordinator {
    /// Reads one number from its metrics.
    pub(super) fn metric(&self, name: &str) -> Result<u64> {
        let url = format!("http://{}/metrics", self.metrics);
        let text = ureq::get(&url).call()?.body_mut().read_to_string()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.with_context(|| format!("no metric {name}"))?.trim();
        value.parse().with_context(|| format!("metric {name} is {value}"))
    }

    pub(super) fn alerts_stored(&self) -> Result<u64> {
        self.metric("signalbox_alerts_stored_total")
    }

    pub(super) fn resident(&self) -> Result<Resident> {
        Resident::of(self.program.child.id())
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<()> {
        self.program.stop()
    }
}

/// A running agent.
pub(super) struct Agent {
    program: Program,
    status: PathBuf,
}

impl Agent {
    /// Reads what it shows of itself, at most a second old.
    pub(super) fn status(&self) -> Option<Snapshot> {
        Snapshot::load(&self.status).ok()
    }

    /// Waits until it has a session with the coordinator.
    pub(super) fn connected(&self) -> Result<()> {
        eventually("the agent is connected", || {
            let status = self.status();
            Ok(status.is_some_and(|status| {
                status.link.coordinator.is_some() && status.pid == self.program.child.id()
            }))
        })
    }

    /// Waits until all that it has is acked.
    pub(super) fn acked(&self) -> Result<()> {
        eventually("all is acked", || {
            let lanes = self.status().map(|status| status.lanes);
            Ok(lanes.is_some_and(|lanes| lanes.iter().all(|lane| lane.waiting == 0)))
        })
    }

    pub(super) fn resident(&self) -> Result<Resident> {
        Resident::of(self.program.child.id())
    }

    /// Returns its process's number.
    pub(super) fn id(&self) -> u32 {
        self.program.child.id()
    }

    /// Returns how many threads it has.
    pub(super) fn threads(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/task", self.program.child.id()))?.count())
    }

    /// Ends it in order.
    pub(super) fn stop(self) -> Result<()> {
        self.program.stop()
    }
}

/// A process, which does not outlive its value.
struct Program {
    child: Child,
    name: &'static str,
}

impl Program {
    fn start(name: &'static str, config: &Path) -> Result<Self> {
        let path = path_of(name)?;
        let mut command = Command::new(&path);
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("start {}", path.display()))?;
        Ok(Self { child, name })
    }

    fn stop(mut self) -> Result<()> {
        terminate(self.child.id()).with_context(|| format!("{} has ended by itself", self.name))?;
        eventually("the program has ended", || Ok(self.child.try_wait()?.is_some()))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended before.
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// Returns where the program `name` is: beside this one, the agent in the folder of its own profile.
pub(super) fn path_of(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = match name {
        "signalbox-agent" => own.with_file_name("../agent").join(name),
        _ => own.with_file_name(name),
    };
    if !path.exists() {
        bail!("{} is not built: use `make bench`", path.display());
    }
    Ok(path)
}

/// Waits until `holds`, for a minute at most.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("waited {} s and still not: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Returns an address that is free now.
pub(super) fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn free_tcp() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
