//! Says of each part whether it would work, and what to do if not. Serves nobody and changes nothing.
//!
//! A store that a coordinator has open is left alone: it is seen by the lock that the database keeps, which is asked
//! about and never taken. So this is not for the process that has the store open itself.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{Access, access, statvfs},
    process::{Flock, FlockType, fcntl_getlk},
};
use serde::Serialize;
use shared::time::Timestamp;

use crate::{
    api::sign_in::CALLBACK,
    command::journal::walk,
    config::{ApiConfig, AuthorityConfig, Config, ServerIdentity, StoreConfig},
    store::{
        engine::{Engine, RocksEngine},
        schema::SCHEMA_VERSION,
        upgrade,
    },
    tls::{self, Issuer, TlsError},
};

/// What to do with a journal that does not hold.
const RESTORE: &str = "keep a copy of the folder, and compare with a backup";

/// From when on a certificate's end is a matter for a person: a third of a coordinator's 90 days is the time to
/// renew without haste.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Least free space, in bytes, before a person should look: the store's log and a rewrite of its oldest file of
/// blocks take a half of it at times.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// The file in the store's folder that the database locks while it is open.
const LOCK_FILE: &str = "LOCK";

/// The file that each database has in its folder.
const DATABASE_FILE: &str = "CURRENT";

/// What was found about one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The part.
    pub part: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do about a problem.
    pub text: String,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It works.
    Ok,
    /// The coordinator runs, but a person should look.
    Warning,
    /// The coordinator does not start like this.
    Problem,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<16} {}", self.verdict.as_str(), self.part, self.text)
    }
}

/// Checks everything that a checked configuration names.
#[must_use]
pub fn check(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![identity(config, now), roots(&config.ingest.roots, now)];
    let issuing = config.authority.as_ref();
    findings
        .extend(issuing.map(|issuing| Report::of("authority", authority(issuing, config, now))));
    if config.policy_keys.is_some() {
        findings.push(Report::of("policy keys", policy_keys(config)));
    }
    if config.api.identity != config.ingest.identity {
        findings.push(Report::of("api identity", server(&config.api, now)));
    }
    findings.extend(config.api.oidc.as_ref().map(|_| Report::of("sign-in", sign_in(config, now))));
    let holder = holder_of_store(&config.store.path);
    findings.push(match holder {
        Some(holder) => Report::of("store", Ok(in_use(&config.store.path, holder))),
        None => Report::of("store", store(&config.store)),
    });
    if holder.is_none() && config.store.path.join(DATABASE_FILE).exists() {
        findings.extend(stored(&config.store.path));
    }
    let udp = |address| UdpSocket::bind(address).map(drop);
    let tcp = |address| TcpListener::bind(address).map(drop);
    let listener = |address: SocketAddr, protocol, bound| {
        listener(&format!("{address} ({protocol})"), bound, holder.is_some())
    };
    let (ingest, api, metrics) = (config.ingest.listen, config.api.listen, config.metrics.listen);
    findings.push(Report::of("ingest listener", listener(ingest, "UDP", udp(ingest))));
    let over_tcp = match config.ingest.tcp_listen {
        Some(address) => listener(address, "TCP", tcp(address)),
        None => Ok(Report::good("off: agents whose networks let no UDP out cannot connect")),
    };
    findings.push(Report::of("ingest over TCP", over_tcp));
    findings.push(Report::of("api listener", listener(api, "TCP", tcp(api))));
    let bound = listener(metrics, "TCP", tcp(metrics));
    findings.push(Report::of("metrics listener", bound.map(|report| not_for_all(metrics, report))));
    findings
}

/// What was found about a part that works.
struct Report {
    text: String,
    is_warning: bool,
}

impl Report {
    fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_warning: false }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_warning: true }
    }

    /// Makes a finding of it; an error is what is wrong and what to do.
    fn of(part: &'static str, found: Result<Self, String>) -> Finding {
        match found {
            Ok(Self { text, is_warning: false }) => Finding { part, verdict: Verdict::Ok, text },
            Ok(Self { text, is_warning: true }) => {
                Finding { part, verdict: Verdict::Warning, text }
            }
            Err(text) => Finding { part, verdict: Verdict::Problem, text },
        }
    }
}

/// Checks the keys that policies may be signed by.
fn policy_keys(config: &Config) -> Result<Report, String> {
    let keys = super::policy_keys(config).map_err(|error| format!("{error:#}"))?;
    let ids = keys.iter().map(|key| key.id().to_string()).collect::<Vec<_>>().join(", ");
    Ok(match keys.len() {
        0 => Report::warning("the file names no key: no policy is taken"),
        _ => Report::good(format!("policies may be signed by {ids}")),
    })
}

/// Checks what proves the coordinator to agents, but not the roots, which have a finding of their own.
fn identity(config: &Config, now: Timestamp) -> Finding {
    let roots = &config.ingest.roots;
    let found = match tls::ingest(config) {
        Err(TlsError::Read { path, .. } | TlsError::Pem { path, .. }) if path == *roots => {
            let ServerIdentity { certificate, key } = config.ingest.identity.clone();
            let identity = ServerIdentity { certificate, key };
            server(&ApiConfig { listen: config.ingest.listen, identity, oidc: None }, now)
        }
        Err(error) => Err(error.to_string()),
        Ok(_) => validity("", &config.ingest.identity.certificate, now),
    };
    Report::of("identity", found)
}

fn server(config: &ApiConfig, now: Timestamp) -> Result<Report, String> {
    tls::api(config).map_err(|error| error.to_string())?;
    validity("", &config.identity.certificate, now)
}

fn roots(path: &Path, now: Timestamp) -> Finding {
    let count = certificates(path).map(|found| found.len());
    Report::of("roots", count.and_then(|count| validity(&format!("{count} in "), path, now)))
}

/// Checks that hosts can join, but not what a signer elsewhere does: that would issue a certificate to nobody.
fn authority(config: &AuthorityConfig, whole: &Config, now: Timestamp) -> Result<Report, String> {
    Issuer::load(config, whole).map_err(|error| error.to_string())?;
    let name = tls::server_name(&whole.ingest).map_err(|error| error.to_string())?;
    let mut report = validity("", &config.certificate, now)?;
    let addresses = config.addresses.join(", ");
    report.text = format!("{}; hosts join at {addresses}, and expect {name}", report.text);
    Ok(report)
}

/// Checks that people can sign in. A provider that is away is a warning: the coordinator starts without it.
fn sign_in(config: &Config, now: Timestamp) -> Result<Report, String> {
    let sign_ins = super::sign_in::sign_ins(&config.api).map_err(|error| format!("{error:#}"))?;
    let (Some(sign_ins), Some(oidc)) = (sign_ins, &config.api.oidc) else {
        return Ok(Report::good("not configured"));
    };
    let back = format!("{}{CALLBACK}", oidc.public_url);
    match sign_ins.probe(now) {
        Ok(at) => {
            Ok(Report::good(format!("people sign in at {at}; the provider must know {back}")))
        }
        Err(error) => Ok(Report::warning(format!(
            "{}: {error}: nobody can sign in until it answers; tokens go on working",
            oidc.issuer
        ))),
    }
}

/// Says until when all certificates in a file are valid.
fn validity(what: &str, path: &Path, now: Timestamp) -> Result<Report, String> {
    let shown = format!("{what}{}", path.display());
    let ends: Result<Vec<Timestamp>, _> =
        certificates(path)?.iter().map(|der| certs::not_after_of_der(der)).collect();
    let ends = ends.map_err(|error| format!("{shown}: {error}"))?;
    let Some(until) = ends.into_iter().min() else {
        return Err(format!("{shown} holds no certificate in PEM"));
    };
    if until <= now {
        Err(format!("{shown}: a certificate expired {until}: issue a new one"))
    } else if until.since(now) < EXPIRY_WARNING {
        Ok(Report::warning(format!("{shown}: a certificate expires {until}: renew it soon")))
    } else {
        Ok(Report::good(format!("{shown}, valid until {until}")))
    }
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let pem = fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    certs::certificates_of_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns which process has the store open. Nobody can have one open that is not there or cannot be read.
fn holder_of_store(dir: &Path) -> Option<i32> {
    let file = fs::File::open(dir.join(LOCK_FILE)).ok()?;
    let held = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok()??;
    // Another machine's process, on a shared disk, has no number here.
    Some(held.pid.map_or(0, |pid| pid.as_raw_nonzero().get()))
}

fn in_use(dir: &Path, holder: i32) -> Report {
    let dir = dir.display();
    Report::good(format!("{dir} is in use by process {holder}: a coordinator is running"))
}

fn store(config: &StoreConfig) -> Result<Report, String> {
    let dir = config.path.as_path();
    let shown = dir.display();
    let (folder, how) = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => (dir, format!("{shown} is writable")),
        Ok(_) => return Err(format!("{shown} is no folder: set store.path")),
        // It will be made inside the nearest folder that there is.
        Err(_) => (
            dir.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(Path::new(".")),
            format!("{shown} will be made at the first start"),
        ),
    };
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let folder = folder.display();
        format!("{folder} is not writable: {error}: give the coordinator's user the right to write")
    })?;
    let room = statvfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let text = format!("{how}, {} free", show_gib(free));
    let most = config.bytes_max.unwrap_or(0);
    if free < FREE_BYTES_MIN {
        return Ok(Report::warning(format!("{text}: make room, or blocks are soon refused")));
    }
    if most > free.saturating_add(bytes_in(folder, dir)) {
        let most = show_gib(most);
        let text = format!("{text}, less than store.retention_gib allows ({most}): lower it");
        return Ok(Report::warning(text));
    }
    Ok(Report::good(text))
}

/// Opens the store without changing it, and looks at what stands in it.
fn stored(dir: &Path) -> Vec<Finding> {
    match RocksEngine::open_to_read(dir) {
        Ok(engine) => {
            vec![Report::of("schema", schema(&engine)), Report::of("journal", journal(&engine))]
        }
        Err(error) => vec![Report::of("journal", Err(error.to_string()))],
    }
}

/// Says whether this program reads the store, and whether it rewrites it first.
fn schema(engine: &dyn Engine) -> Result<Report, String> {
    let stored = upgrade::version(engine).map_err(|error| error.to_string())?;
    if stored == SCHEMA_VERSION {
        return Ok(Report::good(format!("version {stored}")));
    }
    Ok(Report::warning(format!(
        "version {stored}: the next start makes it version {SCHEMA_VERSION}, which earlier \
         programs do not read: keep a copy of the folder to go back"
    )))
}

/// Follows the journal's chain from its first entry to its last.
fn journal(engine: &dyn Engine) -> Result<Report, String> {
    let walked = walk(engine).map_err(|error| format!("{error}: {RESTORE}"))?;
    let end = walked.map_err(|what| format!("{what}: somebody changed it: {RESTORE}"))?;
    let hash: String = end.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Report::good(format!("{} entries follow one another; the last has hash {hash}", end.number)))
}

/// Returns how many bytes the store's files have by now.
fn bytes_in(folder: &Path, store: &Path) -> u64 {
    if folder != store {
        return 0;
    }
    let files = fs::read_dir(store).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn show_gib(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// Says whether an address can be listened at. One that is in use is taken for the running coordinator's own.
fn listener(shown: &str, bound: io::Result<()>, is_running: bool) -> Result<Report, String> {
    let error = match bound {
        Ok(()) => return Ok(Report::good(format!("{shown} is free"))),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse if is_running => {
            Ok(Report::good(format!("{shown} is in use, and a coordinator is running")))
        }
        io::ErrorKind::AddrInUse => {
            Err(format!("{shown} is in use by another program: end it, or listen elsewhere"))
        }
        io::ErrorKind::AddrNotAvailable => {
            Err(format!("{shown} is no address of this machine: listen at one that is"))
        }
        io::ErrorKind::PermissionDenied => {
            Err(format!("{shown} is not allowed: take a port from 1024 on, or give the right to"))
        }
        _ => Err(format!("{shown} cannot be listened at: {error}")),
    }
}

/// Warns about metrics, which need no token, on an address that others may reach.
fn not_for_all(listen: SocketAddr, report: Report) -> Report {
    if listen.ip().is_loopback() {
        return report;
    }
    let text = format!("{}; whoever reaches it reads it: let only operators", report.text);
    Report::warning(text)
}

#[cfg(test)]
mod tests;
