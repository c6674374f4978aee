//! The coordinator's configuration: one TOML file in, a value whose parts fit together out.
//!
//! The file is described key by key in `coordinator.example.toml`, which ships with the program.
//! Unknown keys are refused: a mistyped key that is silently passed over would leave data kept
//! longer, or a listener more open, than its owner believes. Every error names the file, the line
//! and the key. Relative paths are taken from the file's own folder.

mod check;
mod oidc;
mod raw;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use shared::trust::SpkiDigest;
use thiserror::Error;

use check::Check;
pub use oidc::{GroupConfig, OidcConfig, SECRET_VARIABLE, oidc_client_secret};
use raw::RawConfig;

/// Where the configuration lies unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/signalbox/coordinator.toml";

/// The shipped example: every key with its default.
pub const EXAMPLE: &str = include_str!("../coordinator.example.toml");

/// Largest configuration file in bytes; a real one has under ten thousand.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The coordinator's settings; holding one means that the values fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name space of the authority: only its agents are let in.
    pub trust_domain: String,
    /// What is kept, where and for how long.
    pub store: StoreConfig,
    /// Where agents connect.
    pub ingest: IngestConfig,
    /// How fast tenants and agents may send.
    pub quota: QuotaConfig,
    /// What issues agents' certificates; without it they are issued elsewhere.
    pub authority: Option<AuthorityConfig>,
    /// File with the public keys that policies may be signed by, one a line; without it none is taken.
    pub policy_keys: Option<PathBuf>,
    /// Where analysts and programs connect.
    pub api: ApiConfig,
    /// Where metrics and health are read.
    pub metrics: MetricsConfig,
    /// What the coordinator says about itself.
    pub log: LogConfig,
}

/// What is kept, where and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The store's folder, made on first start.
    pub path: PathBuf,
    /// How long blocks and closed cases are kept; whole days.
    pub retention: Duration,
    /// Most bytes of blocks that are kept; the oldest go first. `None` for no such bound.
    pub bytes_max: Option<u64>,
}

/// Where agents connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// UDP address.
    pub listen: SocketAddr,
    /// TCP address, for agents whose networks let no UDP out; without one, they cannot connect.
    pub tcp_listen: Option<SocketAddr>,
    /// What proves the coordinator to agents.
    pub identity: ServerIdentity,
    /// The roots' certificates (PEM, one or more): an agent's must lead to one of them.
    pub roots: PathBuf,
    /// Greatest age of a connection; whole hours.
    pub connection_age: Duration,
    /// How many handshakes a second one address may ask for.
    pub address_handshakes: u32,
}

/// How much may come in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames: blocks, and gaps.
    pub blocks: u64,
}

/// How much each tenant and each agent may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    /// All agents of a tenant together.
    pub tenant: Rate,
    /// Each agent.
    pub agent: Rate,
}

/// What issues agents' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// The intermediate's certificate (PEM), under one of [`IngestConfig::roots`].
    pub certificate: PathBuf,
    /// The key to it.
    pub key: AuthorityKey,
    /// How long an agent's certificate is valid; whole days.
    pub validity: Duration,
    /// How long after its end a certificate may still be renewed.
    pub grace: Duration,
    /// Where hosts that join find coordinators, as `host:port`; 1 to [`shared::limits::JOIN_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// Keys of intermediates that were stolen: a certificate of theirs is worth a renewal, if it was issued here, and
    /// else nothing.
    pub distrusted: Vec<SpkiDigest>,
}

/// Where the authority's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityKey {
    /// In a file.
    File {
        /// The file (PEM, PKCS #8), readable by its owner only.
        path: PathBuf,
        /// The file whose first line opens it; without one, [`authority_passphrase`] does, if it has to be opened.
        passphrase_file: Option<PathBuf>,
    },
    /// Behind a command: program and arguments.
    Command(Vec<String>),
}

/// Variable of the environment that opens the authority's key.
pub const PASSPHRASE_VARIABLE: &str = "SIGNALBOX_AUTHORITY_PASSPHRASE";

/// Returns what the environment says that opens the authority's key.
#[must_use]
pub fn authority_passphrase() -> Option<String> {
    std::env::var(PASSPHRASE_VARIABLE).ok().filter(|text| !text.is_empty())
}

/// Where analysts and programs connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// TCP address.
    pub listen: SocketAddr,
    /// What proves the coordinator to its clients.
    pub identity: ServerIdentity,
    /// Where people sign in; without it they need a token.
    pub oidc: Option<OidcConfig>,
}

/// Where metrics and health are read, without TLS and without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// TCP address.
    pub listen: SocketAddr,
}

/// Files that prove who the coordinator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The certificate, followed by the intermediate's (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM, PKCS #8), readable by its owner only.
    pub key: PathBuf,
}

/// What the coordinator says about itself.
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
        Self::parse(&text, base)
            .map_err(|error| LoadError::Invalid { path: path.to_owned(), error })
    }

    /// Parses a configuration; relative paths are taken from `base`.
    ///
    /// # Errors
    /// Names the line, the key and what is wrong with it.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let check = Check { text, base };
        let raw: RawConfig = toml::from_str(text).map_err(|error| check.syntax(error))?;
        let mut ingest = check.ingest(&raw.ingest)?;
        let api = check.api(&raw.api, &ingest.identity)?;
        if raw.ingest.tcp_listen.is_none() && meet(api.listen, ingest.listen) {
            ingest.tcp_listen = None; // the API has had that port before there was anything else
        }
        let metrics = check.metrics(&raw.metrics, &api)?;
        check.tunnels(&raw.ingest, &ingest, [("api", api.listen), ("metrics", metrics.listen)])?;
        Ok(Self {
            trust_domain: check.trust_domain(&raw.trust_domain)?,
            store: check.store(&raw.store)?,
            metrics,
            authority: raw.authority.map(|raw| check.authority(&raw)).transpose()?,
            policy_keys: raw.policy.map(|raw| base.join(raw.keys)),
            log: check.log(&raw.log)?,
            quota: check.quota(&raw.quota)?,
            ingest,
            api,
        })
    }
}

/// Returns whether one of two TCP listeners would be in the other's place.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (is_any || one.ip() == other.ip())
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

#[cfg(test)]
mod tests;
