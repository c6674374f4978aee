//! From raw values to checked ones.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::{Range, RangeInclusive},
    path::Path,
    time::Duration,
};

use shared::{
    address::Address,
    limits::{JOIN_ADDRESSES_MAX, TRUST_DISTRUSTED_MAX},
    trust::SpkiDigest,
};
use toml::Spanned;

use super::{
    ApiConfig, AuthorityConfig, AuthorityKey, ConfigError, IngestConfig, LogConfig, LogFormat,
    LogLevel, MetricsConfig, QuotaConfig, Rate, ServerIdentity, StoreConfig, meet,
    raw::{RawApi, RawAuthority, RawIngest, RawLog, RawMetrics, RawQuota, RawStore},
};
use crate::limits::CONNECTION_AGE_MAX;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A year of audits and ten of the strictest law; a day is the grain of the entity index.
const RETENTION_DAYS: RangeInclusive<i64> = 1..=3650;
const RETENTION_DAYS_DEFAULT: i64 = 30;
/// A pebibyte is more than one machine holds.
const RETENTION_GIB: RangeInclusive<i64> = 1..=1 << 20;
/// A connection that is younger than an hour costs handshakes for nothing; one older than a week
/// outlives short-lived certificates.
const CONNECTION_AGE_HOURS: RangeInclusive<i64> = 1..=7 * 24;

/// Under a day nobody renews in time; a certificate of more than a year is one that nobody takes away.
const AGENT_DAYS: RangeInclusive<i64> = 1..=366;
/// What is stolen is worth a week at most, and a coordinator that is down over a weekend makes nobody late:
/// certificates are renewed with a third of it left.
const AGENT_DAYS_DEFAULT: i64 = 7;
/// With none, whoever sleeps past the end joins again; beyond a year nobody knows any more whose host it was.
const GRACE_DAYS: RangeInclusive<i64> = 0..=366;
/// Longer than a laptop lies in a drawer over a holiday.
const GRACE_DAYS_DEFAULT: i64 = 30;

/// One a second is for tests; more than a million no machine does.
const ADDRESS_HANDSHAKES: RangeInclusive<i64> = 1..=1_000_000;
/// 6 % of a processor, and three times what a thousand agents behind one address need to come back.
const ADDRESS_HANDSHAKES_DEFAULT: u32 = 100;
/// The largest block within a second, and more than any network brings.
const QUOTA_KIB: RangeInclusive<i64> = 512..=1 << 24;
const QUOTA_BLOCKS: RangeInclusive<i64> = 1..=1 << 20;
/// KiB and blocks a second of all agents of a tenant: 160,000 alerts, a third of what two cores take.
const TENANT_QUOTA: (u64, u64) = (16 << 10, 2_000);
/// The same of one agent: 80,000 alerts, so that one host that runs wild leaves its tenant as much again.
const AGENT_QUOTA: (u64, u64) = (8 << 10, 1_000);

const INGEST_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4433);
const API_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Turns raw values into checked ones; knows the text, so that errors can name lines.
pub(super) struct Check<'a> {
    pub(super) text: &'a str,
    pub(super) base: &'a Path,
}

impl Check<'_> {
    pub(super) fn trust_domain(&self, raw: &Spanned<String>) -> Result<String, ConfigError> {
        let name = raw.get_ref();
        if certs::is_trust_domain(name) {
            return Ok(name.clone());
        }
        let message =
            format!("{name:?} is no trust domain: 1 to 255 of a-z, 0-9, '.', '-' and '_'");
        Err(self.error("trust_domain", raw.span(), message))
    }

    pub(super) fn store(&self, raw: &RawStore) -> Result<StoreConfig, ConfigError> {
        let days =
            self.number("store.retention_days", raw.retention_days.as_ref(), &RETENTION_DAYS)?;
        let days = days.unwrap_or(RETENTION_DAYS_DEFAULT.unsigned_abs());
        let gib = self.number("store.retention_gib", raw.retention_gib.as_ref(), &RETENTION_GIB)?;
        Ok(StoreConfig {
            path: self.base.join(&raw.path),
            retention: Duration::from_secs(days * DAY.as_secs()),
            bytes_max: gib.map(|gib| gib << 30),
        })
    }

    pub(super) fn ingest(&self, raw: &RawIngest) -> Result<IngestConfig, ConfigError> {
        let key = "ingest.connection_age_hours";
        let hours = self.number(key, raw.connection_age_hours.as_ref(), &CONNECTION_AGE_HOURS)?;
        let age = hours.map(|hours| Duration::from_secs(hours * HOUR.as_secs()));
        let key = "ingest.address_handshakes_per_second";
        let knocks = raw.address_handshakes_per_second.as_ref();
        let knocks = self.number(key, knocks, &ADDRESS_HANDSHAKES)?;
        let knocks = knocks.and_then(|number| u32::try_from(number).ok());
        let listen = self.address("ingest.listen", raw.listen.as_ref(), INGEST_LISTEN)?;
        let tcp_listen = match &raw.tcp_listen {
            Some(text) if text.get_ref() == "off" => None,
            text => Some(self.address("ingest.tcp_listen", text.as_ref(), listen)?),
        };
        Ok(IngestConfig {
            listen,
            tcp_listen,
            identity: ServerIdentity {
                certificate: self.base.join(&raw.certificate),
                key: self.base.join(&raw.key),
            },
            roots: self.base.join(&raw.roots),
            connection_age: age.unwrap_or(CONNECTION_AGE_MAX),
            address_handshakes: knocks.unwrap_or(ADDRESS_HANDSHAKES_DEFAULT),
        })
    }

    pub(super) fn quota(&self, raw: &RawQuota) -> Result<QuotaConfig, ConfigError> {
        let rate = |of: &str, kib: &Option<_>, blocks: &Option<_>, default: (u64, u64)| {
            let key = format!("quota.{of}_kib_per_second");
            let kib = self.number(&key, kib.as_ref(), &QUOTA_KIB)?.unwrap_or(default.0);
            let key = format!("quota.{of}_blocks_per_second");
            let blocks = self.number(&key, blocks.as_ref(), &QUOTA_BLOCKS)?;
            Ok(Rate { bytes: kib << 10, blocks: blocks.unwrap_or(default.1) })
        };
        let (kib, blocks) = (&raw.tenant_kib_per_second, &raw.tenant_blocks_per_second);
        let tenant = rate("tenant", kib, blocks, TENANT_QUOTA)?;
        let (kib, blocks) = (&raw.agent_kib_per_second, &raw.agent_blocks_per_second);
        let agent = rate("agent", kib, blocks, AGENT_QUOTA)?;
        Ok(QuotaConfig { tenant, agent })
    }

    pub(super) fn authority(
        &self,
        raw: &Spanned<RawAuthority>,
    ) -> Result<AuthorityConfig, ConfigError> {
        let (span, raw) = (raw.span(), raw.get_ref());
        let key = match (&raw.key, &raw.signer) {
            (Some(path), None) => AuthorityKey::File {
                path: self.base.join(path.get_ref()),
                passphrase_file: raw.passphrase_file.as_ref().map(|p| self.base.join(p.get_ref())),
            },
            (None, Some(command)) if command.get_ref().is_empty() => {
                let message = "name the program, and its arguments behind it".to_owned();
                return Err(self.error("authority.signer", command.span(), message));
            }
            (None, Some(command)) => match &raw.passphrase_file {
                None => AuthorityKey::Command(command.get_ref().clone()),
                Some(alone) => {
                    let message = "belongs to a key: a signer has its own".to_owned();
                    return Err(self.error("authority.passphrase_file", alone.span(), message));
                }
            },
            (Some(_), Some(both)) => {
                let message = "give it or a key, not both".to_owned();
                return Err(self.error("authority.signer", both.span(), message));
            }
            (None, None) => {
                let message = "give its key, or the command of a signer".to_owned();
                return Err(self.error("authority.key", span, message));
            }
        };
        let days = self.number("authority.agent_days", raw.agent_days.as_ref(), &AGENT_DAYS)?;
        let days = days.unwrap_or(AGENT_DAYS_DEFAULT.unsigned_abs());
        let grace = self.number("authority.grace_days", raw.grace_days.as_ref(), &GRACE_DAYS)?;
        let grace = grace.unwrap_or(GRACE_DAYS_DEFAULT.unsigned_abs());
        Ok(AuthorityConfig {
            certificate: self.base.join(&raw.certificate),
            key,
            validity: Duration::from_secs(days * DAY.as_secs()),
            grace: Duration::from_secs(grace * DAY.as_secs()),
            addresses: self.join_addresses(&raw.addresses)?,
            distrusted: self.distrusted(&raw.distrusted)?,
        })
    }

    fn distrusted(&self, raw: &[Spanned<String>]) -> Result<Vec<SpkiDigest>, ConfigError> {
        let key = "authority.distrusted";
        if let Some(beyond) = raw.get(TRUST_DISTRUSTED_MAX) {
            let message = format!("at most {TRUST_DISTRUSTED_MAX} are allowed");
            return Err(self.error(key, beyond.span(), message));
        }
        let parsed = |text: &Spanned<String>| {
            let digest = text.get_ref().parse::<SpkiDigest>();
            digest.map_err(|error| self.error(key, text.span(), error.to_string()))
        };
        raw.iter().map(parsed).collect()
    }

    fn join_addresses(
        &self,
        raw: &Spanned<Vec<Spanned<String>>>,
    ) -> Result<Vec<String>, ConfigError> {
        let key = "authority.addresses";
        let list = raw.get_ref();
        if !(1..=JOIN_ADDRESSES_MAX).contains(&list.len()) {
            let message =
                format!("{} addresses, 1 to {JOIN_ADDRESSES_MAX} are allowed", list.len());
            return Err(self.error(key, raw.span(), message));
        }
        for address in list {
            // As hosts will read it.
            Address::parse(address.get_ref())
                .map_err(|message| self.error(key, address.span(), message))?;
        }
        Ok(list.iter().map(|address| address.get_ref().clone()).collect())
    }

    pub(super) fn api(
        &self,
        raw: &RawApi,
        ingest: &ServerIdentity,
    ) -> Result<ApiConfig, ConfigError> {
        let identity = match (&raw.certificate, &raw.key) {
            (None, None) => ingest.clone(),
            (Some(certificate), Some(key)) => ServerIdentity {
                certificate: self.base.join(certificate.get_ref()),
                key: self.base.join(key.get_ref()),
            },
            (Some(alone), None) => {
                let message = "give its key, too, or neither".to_owned();
                return Err(self.error("api.certificate", alone.span(), message));
            }
            (None, Some(alone)) => {
                let message = "give its certificate, too, or neither".to_owned();
                return Err(self.error("api.key", alone.span(), message));
            }
        };
        let listen = self.address("api.listen", raw.listen.as_ref(), API_LISTEN)?;
        let oidc = raw.oidc.as_ref().map(|raw| self.oidc(raw)).transpose()?;
        Ok(ApiConfig { listen, identity, oidc })
    }

    /// Checks that nothing else listens where tunnels are to be taken.
    pub(super) fn tunnels(
        &self,
        raw: &RawIngest,
        ingest: &IngestConfig,
        others: [(&str, SocketAddr); 2],
    ) -> Result<(), ConfigError> {
        let Some(listen) = ingest.tcp_listen else { return Ok(()) };
        let Some((other, _)) = others.into_iter().find(|(_, other)| meet(*other, listen)) else {
            return Ok(());
        };
        let key = raw.tcp_listen.as_ref().or(raw.listen.as_ref());
        let span = key.map_or(0..0, Spanned::span);
        let text =
            format!("{other}.listen has {listen} over TCP: give another address, or \"off\"");
        Err(self.error("ingest.tcp_listen", span, text))
    }

    pub(super) fn metrics(
        &self,
        raw: &RawMetrics,
        api: &ApiConfig,
    ) -> Result<MetricsConfig, ConfigError> {
        let key = "metrics.listen";
        let listen = self.address(key, raw.listen.as_ref(), METRICS_LISTEN)?;
        if listen == api.listen && listen.port() != 0 {
            let span = raw.listen.as_ref().map_or(0..0, Spanned::span);
            return Err(self.error(key, span, format!("{listen} is api.listen already")));
        }
        Ok(MetricsConfig { listen })
    }

    pub(super) fn log(&self, raw: &RawLog) -> Result<LogConfig, ConfigError> {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let levels =
            [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace]
                .map(|level| (level.as_str(), level));
        let format = raw.format.as_ref().map(|raw| self.choice("log.format", raw, &formats));
        let level = raw.level.as_ref().map(|raw| self.choice("log.level", raw, &levels));
        Ok(LogConfig {
            format: format.unwrap_or(Ok(LogFormat::Text))?,
            level: level.unwrap_or(Ok(LogLevel::Info))?,
        })
    }

    /// Returns a listener's address; port 0 lets the system choose.
    fn address(
        &self,
        key: &str,
        raw: Option<&Spanned<String>>,
        default: SocketAddr,
    ) -> Result<SocketAddr, ConfigError> {
        let Some(raw) = raw else { return Ok(default) };
        raw.get_ref().parse().map_err(|_| {
            let message = format!(
                "{:?} is no address to listen at: write IP:port, and [IP]:port for IPv6",
                raw.get_ref()
            );
            self.error(key, raw.span(), message)
        })
    }

    pub(super) fn number(
        &self,
        key: &str,
        raw: Option<&Spanned<i64>>,
        range: &RangeInclusive<i64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some(raw) = raw else { return Ok(None) };
        let number = *raw.get_ref();
        if range.contains(&number) {
            return Ok(Some(number.unsigned_abs()));
        }
        let message = format!("{number} is not between {} and {}", range.start(), range.end());
        Err(self.error(key, raw.span(), message))
    }

    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        raw: &Spanned<String>,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let found = choices.iter().find(|(name, _)| name == raw.get_ref());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!("{:?} is not one of {}", raw.get_ref(), names.join(", "));
            self.error(key, raw.span(), message)
        })
    }

    pub(super) fn syntax(&self, mut error: toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim_end().replace('\n', ", ").replace('`', "\"");
        // Without its input the error writes the path of keys to where it happened, and only then.
        error.set_input(None);
        let shown = error.to_string();
        let path = shown.lines().last().and_then(|line| line.strip_prefix("in `"));
        let path = path.and_then(|path| path.strip_suffix('`')).unwrap_or_default();
        self.error(path, span, message)
    }

    pub(super) fn error(&self, key: &str, span: Range<usize>, message: String) -> ConfigError {
        let start = self.text.floor_char_boundary(span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.to_owned(),
            message,
        }
    }
}
