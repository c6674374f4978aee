//! The demo's folder: one demo at a time, its files, and the programs that are started from them.
//!
//! ```text
//! .demo/lock             held while a demo runs
//!       ports            the ports of the last demo, for KEEP=1
//!       certs/           the certificate authority
//!       coordinator/     certificate.pem key.pem root.pem
//!       coordinator.toml
//!       store/           the coordinator's, with admin.token
//!       agents/TENANT/   certificate.pem key.pem root.pem agent.toml spool/ status.json
//!       input/TENANT/    eve.json alerts.json, written as if detectors did
//!       tokens/          one file a person
//!       home/            what signalbox remembers
//!       log/             one file a program
//!       signalbox        runs signalbox against the demo's coordinator
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::time::{sleep, timeout};

use crate::{
    children::{self, Children, shown},
    tenants::Tenant,
};

const FOLDER: &str = ".demo";
/// What a demo writes into its folder, and a new one removes; nothing else in it is touched.
const OURS: [&str; 10] = [
    "ports",
    "certs",
    "coordinator",
    "coordinator.toml",
    "store",
    "agents",
    "input",
    "tokens",
    "home",
    "log",
];
/// Opening a store takes well under a second; a slow disk and a busy machine take longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Ports on loopback.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// UDP, for agents.
    ingest: u16,
    /// TCP, HTTPS.
    api: u16,
    /// TCP, HTTP.
    metrics: u16,
}

/// The demo's folder, which is this process's alone while the value lives.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    programs: PathBuf,
    ports: Ports,
    /// Unlocked when it is closed, however the process ends.
    _lock: File,
}

impl Place {
    /// Takes the folder `.demo` in `here`, and empties it unless `keep`.
    ///
    /// # Errors
    /// A demo runs there already, or the folder cannot be written.
    pub(crate) async fn enter(here: &Path, keep: bool) -> Result<Self> {
        let root = here.join(FOLDER);
        fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        let lock = lock(&root)?;
        children::stop_leftovers(&root).await?;
        if !keep {
            for name in OURS {
                remove(&root.join(name))?;
            }
        }
        for name in ["log", "tokens", "home"] {
            fs::create_dir_all(root.join(name))?;
        }
        let ports = Ports::choose(&root.join("ports"))?;
        let programs = std::env::current_exe().context("find the demo's own program")?;
        let programs = programs.parent().unwrap_or(Path::new("/")).to_owned();
        let place = Self { root, programs, ports, _lock: lock };
        place.write_wrapper()?;
        Ok(place)
    }

    /// Makes the authority and the certificates that are not there yet.
    ///
    /// # Errors
    /// `certs` failed.
    pub(crate) fn make_certificates(&self, tenants: &[Tenant]) -> Result<()> {
        if !self.root.join("certs").exists() {
            self.certs(&["init"])?;
        }
        let folder = self.root.join("coordinator");
        if !folder.exists() {
            let out = text(&folder)?;
            let names = ["--dns", "localhost", "--ip", "127.0.0.1"];
            self.certs(&[&["coordinator", "coordinator", "--out", out][..], &names].concat())?;
        }
        for tenant in tenants {
            let folder = self.agent(tenant.name);
            if !folder.exists() {
                fs::create_dir_all(folder.parent().unwrap_or(&self.root))?;
                self.certs(&["agent", tenant.name, "--out", text(&folder)?])?;
            }
        }
        Ok(())
    }

    fn certs(&self, arguments: &[&str]) -> Result<()> {
        let authority = self.root.join("certs");
        let mut command = Command::new(self.program("certs")?);
        let done = command.arg("--dir").arg(&authority).args(arguments).output();
        let done = done.context("start certs")?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr);
            bail!("certs {}: {}", arguments.join(" "), why.trim_end());
        }
        let what = arguments.iter().take_while(|argument| !argument.starts_with("--"));
        println!("  certs {}", what.copied().collect::<Vec<_>>().join(" "));
        Ok(())
    }

    /// Writes the coordinator's and the agents' configuration.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write_configuration(&self, tenants: &[Tenant]) -> Result<()> {
        let Ports { ingest, api, metrics } = self.ports;
        let text = format!(
            r#"# Written by the demo; coordinator/coordinator.example.toml describes every key.
trust_domain = "signalbox.internal"

[store]
path = "store"

[ingest]
listen = "127.0.0.1:{ingest}"
certificate = "coordinator/certificate.pem"
key = "coordinator/key.pem"
roots = "coordinator/root.pem"

[api]
listen = "127.0.0.1:{api}"

[metrics]
listen = "127.0.0.1:{metrics}"
"#
        );
        write(&self.root.join("coordinator.toml"), &text)?;
        for tenant in tenants {
            let path = self.agent(tenant.name).join("agent.toml");
            write(&path, &agent_configuration(tenant, ingest)?)?;
        }
        Ok(())
    }

    /// Starts the coordinator.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_coordinator(&self, children: &mut Children) -> Result<()> {
        let program = self.program("signalbox-coordinator")?;
        let configuration = self.root.join("coordinator.toml");
        children.start("coordinator", &program, &["run", "--config", text(&configuration)?])
    }

    /// Starts a tenant's agent.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_agent(&self, children: &mut Children, tenant: &Tenant) -> Result<()> {
        let program = self.program("signalbox-agent")?;
        let configuration = self.agent(tenant.name).join("agent.toml");
        let name = format!("agent-{}", tenant.name);
        children.start(&name, &program, &["run", "--config", text(&configuration)?])
    }

    /// Waits until the coordinator says that it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time.
    ///
    /// # Cancel safety
    /// Cancel-safe: it only asks.
    pub(crate) async fn wait_until_ready(&self, children: &mut Children) -> Result<()> {
        let url = format!("{}/readyz", self.metrics_url());
        let mut last = String::new();
        let ready = async {
            loop {
                children.check()?;
                let asked = ureq::get(&url)
                    .config()
                    .timeout_global(Some(Duration::from_secs(2)))
                    .build()
                    .call();
                match asked {
                    Ok(_) => return anyhow::Ok(()),
                    Err(error) => last = error.to_string(),
                }
                sleep(READY_INTERVAL).await;
            }
        };
        let ready = timeout(READY_TIMEOUT, ready).await;
        match ready {
            Ok(ready) => ready,
            Err(_) => bail!(
                "the coordinator is not ready after {} s ({last}); see {}",
                READY_TIMEOUT.as_secs(),
                shown(&self.log_dir().join("coordinator.log"))
            ),
        }
    }

    /// Writes the script that runs `signalbox` against this demo.
    fn write_wrapper(&self) -> Result<()> {
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let text = format!(
            "#!/bin/sh\n\
             # Runs signalbox against the demo's coordinator, as the analyst ana,\n\
             # or as the holder of the token in --token-file.\n\
             unset SIGNALBOX_TOKEN SIGNALBOX_TOKEN_FILE\n\
             export SIGNALBOX_COORDINATOR={} SIGNALBOX_ROOT={}\n\
             export XDG_CONFIG_HOME={} XDG_STATE_HOME={}\n\
             exec {} \"$@\"\n",
            self.api_url(),
            quoted(&self.root.join("coordinator/root.pem")),
            quoted(&self.root.join("home/config")),
            quoted(&self.root.join("home/state")),
            quoted(&self.program("signalbox")?),
        );
        write(&self.wrapper(), &text)?;
        let path = self.wrapper();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} executable", path.display()))
    }

    /// Returns the path of one of our programs: they lie beside this one.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.exists() {
            bail!("{} is missing: make demo builds it", path.display());
        }
        Ok(path)
    }

    /// Returns the script that runs `signalbox`.
    pub(crate) fn wrapper(&self) -> PathBuf {
        self.root.join("signalbox")
    }

    /// Returns the program of the agents.
    pub(crate) fn agent_program(&self) -> PathBuf {
        self.programs.join("signalbox-agent")
    }

    /// Returns the folder of a tenant's agent.
    pub(crate) fn agent(&self, tenant: &str) -> PathBuf {
        self.root.join("agents").join(tenant)
    }

    /// Returns the folder of the files that a tenant's agent is fed by.
    pub(crate) fn input(&self, tenant: &str) -> PathBuf {
        self.root.join("input").join(tenant)
    }

    /// Returns the file with the administrator's token.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("store/admin.token")
    }

    /// Returns the file with a person's token.
    pub(crate) fn token(&self, holder: &str) -> PathBuf {
        self.root.join("tokens").join(format!("{holder}.token"))
    }

    /// Returns the folder of the logs.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Returns the address of the API.
    pub(crate) fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// Returns the address of metrics and health.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.metrics)
    }

    /// Returns the folder as one would type it here.
    pub(crate) fn shown(&self) -> String {
        shown(&self.root)
    }
}

impl Ports {
    /// Takes the ports of the last demo if they are known and free, else any free ones, and notes them in the file at
    /// `path`: what people noted down, and what `signalbox` remembers, stays right as long as it can.
    fn choose(path: &Path) -> Result<Self> {
        let known = fs::read_to_string(path).unwrap_or_default();
        let mut known = known.split_whitespace().map(|port| port.parse().unwrap_or(0));
        let mut wanted = || SocketAddr::from((Ipv4Addr::LOCALHOST, known.next().unwrap_or(0)));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let udp = UdpSocket::bind(wanted()).or_else(|_| UdpSocket::bind(any));
        let mut tcp = || TcpListener::bind(wanted()).or_else(|_| TcpListener::bind(any));
        // All are held until all are chosen, so that they differ.
        let (udp, api, metrics) = (udp, tcp(), tcp());
        let find = "find a free port on loopback";
        let ports = Self {
            ingest: udp.and_then(|socket| socket.local_addr()).context(find)?.port(),
            api: api.and_then(|socket| socket.local_addr()).context(find)?.port(),
            metrics: metrics.and_then(|socket| socket.local_addr()).context(find)?.port(),
        };
        write(path, &format!("{} {} {}\n", ports.ingest, ports.api, ports.metrics))?;
        Ok(ports)
    }
}

fn agent_configuration(tenant: &Tenant, port: u16) -> Result<String> {
    let mut configuration = format!(
        r#"# Written by the demo; agent/agent.example.toml describes every key.
[coordinator]
addresses = ["127.0.0.1:{port}"]

[identity]
certificate = "certificate.pem"
key = "key.pem"
trust_anchor = "root.pem"

[spool]
dir = "spool"

[status]
path = "status.json"
"#
    );
    for source in &tenant.sources {
        // A JSON string is a TOML string.
        let path = serde_json::to_string(text(&source.path)?)?;
        let (name, kind) = (source.name, source.kind);
        configuration.push_str(&format!(
            "\n[[source]]\nname = \"{name}\"\nkind = \"{kind}\"\npath = {path}\nfrom = \"start\"\n"
        ));
    }
    Ok(configuration)
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let mut options = File::options();
    let mut lock = options.read(true).write(true).create(true).truncate(false).open(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            lock.read_to_string(&mut pid)?;
            bail!(
                "a demo runs already in {} (process {}): end it with Ctrl-C in its terminal",
                root.display(),
                pid.trim()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("remove {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
