//! The configuration file's text as it stands: names and types are checked here, values in
//! [`super::check`].
//!
//! Every value that is checked keeps its place in the text, so that an error about it names the
//! line.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) trust_domain: Spanned<String>,
    pub(super) store: RawStore,
    pub(super) ingest: RawIngest,
    pub(super) authority: Option<Spanned<RawAuthority>>,
    pub(super) policy: Option<RawPolicy>,
    #[serde(default)]
    pub(super) quota: RawQuota,
    #[serde(default)]
    pub(super) api: RawApi,
    #[serde(default)]
    pub(super) metrics: RawMetrics,
    #[serde(default)]
    pub(super) log: RawLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) path: PathBuf,
    pub(super) retention_days: Option<Spanned<i64>>,
    pub(super) retention_gib: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIngest {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) tcp_listen: Option<Spanned<String>>,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) roots: PathBuf,
    pub(super) connection_age_hours: Option<Spanned<i64>>,
    pub(super) address_handshakes_per_second: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuthority {
    pub(super) certificate: PathBuf,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) passphrase_file: Option<Spanned<PathBuf>>,
    pub(super) signer: Option<Spanned<Vec<String>>>,
    pub(super) agent_days: Option<Spanned<i64>>,
    pub(super) grace_days: Option<Spanned<i64>>,
    pub(super) addresses: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) distrusted: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) keys: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuota {
    pub(super) tenant_kib_per_second: Option<Spanned<i64>>,
    pub(super) tenant_blocks_per_second: Option<Spanned<i64>>,
    pub(super) agent_kib_per_second: Option<Spanned<i64>>,
    pub(super) agent_blocks_per_second: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<PathBuf>>,
    pub(super) key: Option<Spanned<PathBuf>>,
    pub(super) oidc: Option<Spanned<RawOidc>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOidc {
    pub(super) issuer: Spanned<String>,
    pub(super) client_id: Spanned<String>,
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) public_url: Spanned<String>,
    pub(super) roots: Option<PathBuf>,
    pub(super) scopes: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) groups_claim: Option<Spanned<String>>,
    pub(super) name_claim: Option<Spanned<String>>,
    pub(super) hours: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) group: Vec<Spanned<RawGroup>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    pub(super) name: Spanned<String>,
    pub(super) role: Spanned<String>,
    pub(super) tenants: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
}
