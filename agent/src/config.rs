//! The agent's configuration: one TOML file in, a value whose parts fit together out.
//!
//! The file is described key by key in `agent.example.toml`, which ships with the program. Unknown
//! keys are refused: a mistyped key that is silently passed over would leave a host watched
//! otherwise than its owner believes. Every error names the file, the line and the key. Relative
//! paths are taken from the file's own folder.
//!
//! Tenant and agent are not configured: they come from the certificate (L5).

mod check;
mod inputs;
mod limits;
mod raw;
mod units;
mod veto;

pub use shared::address::Address;
pub use units::{parse_bytes, parse_duration, show_bytes};

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use shared::{limits::JOIN_ADDRESSES_MAX, policy::PolicyPublicKey};
use thiserror::Error;

use crate::{
    attribution::AttributionPolicy,
    blocks::BlockPolicy,
    ledger::LedgerPolicy,
    normalise::{Kind, LanePolicy},
    pace::CpuShare,
    source::{Pattern, Veto},
};
use check::Check;
use raw::{RawConfig, RawIdentityAlone};

/// Where the identity of a host that joined lies unless the configuration says otherwise.
pub const DEFAULT_IDENTITY_DIR: &str = "/var/lib/signalbox/identity";

/// Name of the file in that folder that says where the coordinators are.
pub const COORDINATOR_FILE: &str = "coordinator.toml";

/// Name of the file beside the certificate that says which keys may sign policies.
pub const POLICY_KEYS_FILE: &str = "policy.keys";

/// Where the configuration lies unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/signalbox/agent.toml";

/// The shipped example: every key with its default.
pub const EXAMPLE: &str = include_str!("../agent.example.toml");

/// Sources with field maps for products that write JSON lines, to be copied into a configuration.
pub const FIELD_MAPS: &str = include_str!("../field-maps.example.toml");

/// Most coordinator addresses: a handful of coordinators serve one agent, and all are tried before
/// it waits.
pub const ADDRESSES_MAX: usize = JOIN_ADDRESSES_MAX;
/// Most sources: each costs an open file and a read buffer.
pub const SOURCES_MAX: usize = 32;
/// Longest source name in bytes: it stands in every alert and every ledger line.
pub const SOURCE_NAME_BYTES_MAX: usize = 64;
/// Most conditions on the journal's entries: the units and names of a host's detectors.
pub const MATCHES_MAX: usize = 32;
/// Largest configuration file in bytes; a real one has under ten thousand.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The agent's settings; holding one means that the values fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the alerts go.
    pub coordinator: CoordinatorConfig,
    /// What proves who the agent is, and whom it believes.
    pub identity: IdentityConfig,
    /// Where blocks are kept until they are acked.
    pub spool: SpoolSettings,
    /// Where what a policy holds back or folds is kept; absent where nothing is.
    pub held: Option<HeldSettings>,
    /// Which alerts go which way.
    pub lanes: LanePolicy,
    /// When blocks are committed, and how hard they are compressed.
    pub blocks: BlockPolicy,
    /// How the ledger is made and kept.
    pub ledger: LedgerPolicy,
    /// What may be read at all.
    pub veto: Veto,
    /// What is said about the processes behind alerts' connections.
    pub attribution: AttributionPolicy,
    /// What is read; at least one.
    pub sources: Vec<SourceConfig>,
    /// File of the policy, whose rules hold, fold and send first; without one everything is sent.
    pub policy: Option<PathBuf>,
    /// File with the keys that policies from the coordinator may be signed by, one a line; without it none is taken.
    pub policy_keys: PathBuf,
    /// What the agent says about itself.
    pub log: LogConfig,
    /// File that `run` rewrites every second and `status` reads.
    pub status_path: PathBuf,
    /// What the agent may take of its host.
    pub limits: Limits,
    /// How long a shutdown waits for acks.
    pub grace: Duration,
}

/// Where the alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// Addresses, tried in turn; 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<Address>,
    /// DNS name that the coordinator's certificate must carry.
    pub server_name: String,
}

/// Files that prove who the agent is, and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The agent's certificate, followed by the intermediate's (PEM).
    pub certificate: PathBuf,
    /// The agent's private key (PEM, PKCS #8), readable by its owner only.
    pub key: PathBuf,
    /// The root's certificate (PEM).
    pub trust_anchor: PathBuf,
}

/// Where blocks are kept until they are acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Its folder, made on first start.
    pub dir: PathBuf,
    /// Most bytes on disk; at least four segments.
    pub bytes_max: u64,
    /// Bytes of one file.
    pub segment_bytes: u64,
}

/// What the agent may take of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in memory; no less than its buffers can come to.
    pub memory_bytes_max: u64,
    /// Most bytes on disk; what stores things has its bounds within.
    pub disk_bytes_max: u64,
    /// Most of the processor; without it, all that there is to do.
    pub cpu: Option<CpuShare>,
}

/// Where what a policy holds back is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSettings {
    /// Its folder, made on first start; not the spool's.
    pub dir: PathBuf,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Most bytes on disk of the originals of what is folded, beside those.
    pub folded_bytes_max: u64,
    /// How long a record is kept at most.
    pub age_max: Duration,
}

impl HeldSettings {
    /// Returns the folder of the ring with the originals of what is folded: within the other's, so that one mount and
    /// one owner serve both.
    #[must_use]
    pub fn folded_dir(&self) -> PathBuf {
        self.dir.join("folded")
    }
}

/// One stream of records that the agent reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// Its name, one of its kind in the file.
    pub name: String,
    /// What wrote the records, and for JSON lines the map of their fields.
    pub kind: Kind,
    /// Where they come from.
    pub input: Input,
    /// By how many minutes the clocks of their writers are ahead of UTC, for times that say no zone.
    pub utc_offset: Option<i64>,
}

/// Where a source's records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file that a detector writes.
    File {
        /// Where it is.
        path: PathBuf,
        /// Where to start in one that was never read before.
        from: StartFrom,
    },
    /// All files that match.
    Files {
        /// Where they are.
        pattern: Pattern,
        /// Where to start in those that were never read before and were there already.
        from: StartFrom,
    },
    /// Windows event log files: all that match.
    Evtx {
        /// Where they are.
        pattern: Pattern,
        /// Where to start in those that are there when the agent first runs.
        from: StartFrom,
    },
    /// Datagrams that are sent to this address.
    Udp(SocketAddr),
    /// Connections that are made to this address.
    Tcp(SocketAddr),
    /// Connections that are made to this address, within TLS.
    Tls {
        /// The address.
        address: SocketAddr,
        /// What is shown to senders, and who may send.
        identity: ListenerIdentity,
    },
    /// Requests that are made to this address by HTTP.
    Http {
        /// The address.
        address: SocketAddr,
        /// The file with the token that senders must have.
        token_file: PathBuf,
    },
    /// Standard input, a record a line.
    Stdin,
    /// The system's journal.
    Journal {
        /// What entries must have, as `journalctl` takes it.
        matches: Vec<String>,
        /// Where to start when it was never read before.
        from: StartFrom,
    },
}

/// What a source that listens within TLS shows to senders, and who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerIdentity {
    /// The certificate with those of its intermediates (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM, PKCS #8), readable by its owner only.
    pub key: PathBuf,
    /// The root of the certificates that senders must have (PEM); absent where anybody may send.
    pub senders_root: Option<PathBuf>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Files { pattern, .. } | Self::Evtx { pattern, .. } => pattern.fmt(f),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls { address, .. } => write!(f, "tls://{address}"),
            Self::Http { address, .. } => write!(f, "http://{address}"),
            Self::Stdin => f.write_str("stdin"),
            Self::Journal { .. } => f.write_str("journald"),
        }
    }
}

/// Where to start in a file that was never read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With its first record.
    Start,
    /// With what is written from now on.
    End,
}

/// What the agent says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// The least level that is logged.
    pub level: LogLevel,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Least level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Why a file is not a configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("{}: has more than {FILE_BYTES_MAX} bytes, so it is no configuration", _0.display())]
    TooLarge(PathBuf),
    /// Its text is not a configuration.
    #[error("{}:{error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: ConfigError,
    },
}

/// What is wrong with a configuration's text, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{line}:{column}: {}{message}", prefix(key))]
pub struct ConfigError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted name of the key; empty where the text is no TOML.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Config {
    /// Loads the configuration in the file at `path`.
    ///
    /// # Errors
    /// Each [`LoadError`].
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |error| LoadError::Read { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(LoadError::TooLarge(path.to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let joined = |dir: &Path| match std::fs::read_to_string(dir.join(COORDINATOR_FILE)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", dir.display())),
        };
        Self::parse_joined(&text, base, joined)
            .map_err(|error| LoadError::Invalid { path: path.to_owned(), error })
    }

    /// Parses a configuration; relative paths are taken from `base`.
    ///
    /// # Errors
    /// Names the line, the key and what is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        Self::parse_joined(text, base, |_| Ok(None))
    }

    /// Parses a configuration as [`Self::parse`] does; where it does not say who the coordinators are, `joined` is
    /// asked for the text of [`COORDINATOR_FILE`] in the identity's folder.
    ///
    /// # Errors
    /// Names the line, the key and what is wrong with it.
    pub fn parse_joined(
        text: &str,
        base: &Path,
        joined: impl Fn(&Path) -> Result<Option<String>, String>,
    ) -> Result<Self, ConfigError> {
        let check = Check { text, base };
        let raw: RawConfig = toml::from_str(text).map_err(|error| check.syntax(error))?;
        let disk = check.disk(&raw.limits)?;
        let held = check.held(raw.held.as_ref(), &raw.spool)?;
        let held_bytes = held.as_ref().map_or(0, |held| held.bytes_max + held.folded_bytes_max);
        let spool = check.spool(&raw.spool, disk.map(|disk| disk.saturating_sub(held_bytes)))?;
        let ledger = check.ledger(&raw.ledger, &spool)?;
        let sources = check.sources(&raw.source)?;
        let veto = check.veto(&raw.veto, &raw.source, &sources)?;
        let status_path =
            raw.status.path.map_or_else(|| spool.dir.join("status.json"), |p| base.join(p));
        let (identity, dir) = check.identity(raw.identity.as_ref())?;
        let coordinator = match &raw.coordinator {
            Some(raw) => check.coordinator(raw)?,
            None => check.joined_coordinator(dir.as_deref(), joined)?,
        };
        let keys = raw.policy.as_ref().and_then(|policy| policy.trusted_keys.as_ref());
        let policy_keys = keys.map_or_else(
            || identity.certificate.with_file_name(POLICY_KEYS_FILE),
            |path| base.join(path),
        );
        Ok(Self {
            coordinator,
            identity,
            lanes: check.lanes(&raw.lanes)?,
            blocks: check.blocks(&raw.blocks)?,
            attribution: check.attribution(&raw.attribution)?,
            ledger,
            limits: check.limits(
                &raw.limits,
                spool.bytes_max + held_bytes,
                held.is_some(),
                &sources,
                raw.policy.is_some(),
            )?,
            spool,
            held,
            veto,
            sources,
            policy: raw.policy.and_then(|policy| policy.path).map(|path| base.join(path)),
            policy_keys,
            log: check.log(&raw.log)?,
            status_path,
            grace: check.grace(&raw.shutdown)?,
        })
    }
}

/// Where the identity of a host is kept, and what belongs to that identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Folder of the identity.
    pub identity: PathBuf,
    /// Folders of what is kept for the coordinator: the spool, and what is held back.
    pub stores: Vec<PathBuf>,
}

/// Returns where this host's identity is kept once it has joined, by the configuration at `path`; the default where
/// there is no configuration yet.
///
/// # Errors
/// [`LoadError::Invalid`]: the configuration names files that were made elsewhere, and joining would change nothing.
pub fn home(path: &Path) -> Result<Home, LoadError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(LoadError::Read { path: path.to_owned(), error }),
    };
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let check = Check { text: &text, base };
    let invalid = |error| LoadError::Invalid { path: path.to_owned(), error };
    let raw: RawIdentityAlone =
        toml::from_str(&text).map_err(|error| invalid(check.syntax(error)))?;
    let (_, dir) = check.identity(raw.identity.as_ref()).map_err(invalid)?;
    let identity = dir.ok_or_else(|| invalid(check.names_files(raw.identity.as_ref())))?;
    let stores = [raw.spool, raw.held].into_iter().flatten().filter_map(|store| store.dir);
    Ok(Home { identity, stores: stores.map(|dir| base.join(dir)).collect() })
}

/// Returns the text of [`COORDINATOR_FILE`] for these coordinators.
#[must_use]
pub fn coordinator_text(addresses: &[Address], server_name: &str) -> String {
    let quoted = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>();
    format!(
        "# Written when this host joined; [coordinator] in agent.toml goes before it.\n\
         addresses = [{}]\nserver_name = \"{server_name}\"\n",
        quoted.join(", ")
    )
}

/// Returns the text of [`POLICY_KEYS_FILE`] with these keys.
#[must_use]
pub fn policy_keys_text(keys: &[PolicyPublicKey]) -> String {
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    format!("# Keys that sign the policies which this host takes, as of when it joined.\n{lines}")
}

impl LogLevel {
    /// Returns the level's name in configuration and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

/// Returns the kinds of source that need no field map.
pub fn product_kinds() -> impl Iterator<Item = &'static str> {
    Kind::of_products()
}

/// Returns this program, to be started again: on Linux also where it was replaced on disk since it was started.
#[must_use]
pub fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".into();
    }
    // Where the system does not say, it is looked for by its name.
    std::env::current_exe().unwrap_or_else(|_| "signalbox-agent".into())
}

#[cfg(test)]
mod tests;
