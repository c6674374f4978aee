//! The configuration file's text as it stands: names and types are checked here, values in
//! [`super`].
//!
//! Every value keeps its place in the text, so that an error about it names the line.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::normalise::FieldMap;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) coordinator: Option<RawCoordinator>,
    pub(super) identity: Option<Spanned<RawIdentity>>,
    pub(super) spool: RawSpool,
    pub(super) held: Option<Spanned<RawHeld>>,
    #[serde(default)]
    pub(super) lanes: RawLanes,
    #[serde(default)]
    pub(super) blocks: RawBlocks,
    #[serde(default)]
    pub(super) ledger: RawLedger,
    #[serde(default)]
    pub(super) attribution: RawAttribution,
    #[serde(default)]
    pub(super) source: Vec<Spanned<RawSource>>,
    pub(super) policy: Option<RawPolicy>,
    #[serde(default)]
    pub(super) log: RawLog,
    #[serde(default)]
    pub(super) status: RawStatus,
    #[serde(default)]
    pub(super) shutdown: RawShutdown,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) veto: RawVeto,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCoordinator {
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    pub(super) server_name: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub(super) dir: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) trust_anchor: Option<PathBuf>,
}

/// The whole file, of which only the identity and what belongs to it is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct RawIdentityAlone {
    pub(super) identity: Option<Spanned<RawIdentity>>,
    pub(super) spool: Option<RawStoreAlone>,
    pub(super) held: Option<RawStoreAlone>,
}

/// A folder's section, of which nothing else is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct RawStoreAlone {
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpool {
    pub(super) dir: PathBuf,
    pub(super) max_bytes: Option<Spanned<String>>,
    pub(super) segment_bytes: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeld {
    pub(super) dir: PathBuf,
    pub(super) max_bytes: Option<Spanned<String>>,
    pub(super) folded_max_bytes: Option<Spanned<String>>,
    pub(super) max_age: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLanes {
    pub(super) urgent_from: Option<Spanned<String>>,
    pub(super) bulk_up_to: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLedger {
    pub(super) interval: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBlocks {
    pub(super) age: Option<Spanned<String>>,
    pub(super) compression_level: Option<Spanned<i32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttribution {
    pub(super) enabled: Option<bool>,
    pub(super) max_per_second: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) listen: Option<Spanned<String>>,
    pub(super) input: Option<Spanned<String>>,
    #[serde(rename = "match")]
    pub(super) matches: Option<Spanned<Vec<String>>>,
    pub(super) token_file: Option<Spanned<PathBuf>>,
    pub(super) allow_remote: Option<Spanned<bool>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) senders_root: Option<Spanned<PathBuf>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) fields: Option<Spanned<FieldMap>>,
    pub(super) utc_offset: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) path: Option<PathBuf>,
    pub(super) trusted_keys: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStatus {
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShutdown {
    pub(super) grace: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) memory: Option<Spanned<String>>,
    pub(super) disk: Option<Spanned<String>>,
    pub(super) cpu: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVeto {
    pub(super) paths: Option<Vec<Spanned<PathBuf>>>,
    pub(super) sources: Option<Vec<String>>,
}
