//! From raw values to checked ones.

use std::{
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use shared::alert::Severity;
use toml::Spanned;

use super::{
    ADDRESSES_MAX, Address, COORDINATOR_FILE, ConfigError, CoordinatorConfig, DEFAULT_IDENTITY_DIR,
    HeldSettings, IdentityConfig, Input, LogConfig, LogFormat, LogLevel, SOURCE_NAME_BYTES_MAX,
    SOURCES_MAX, SourceConfig, SpoolSettings, parse_bytes, parse_duration,
    raw::{
        RawAttribution, RawBlocks, RawCoordinator, RawHeld, RawIdentity, RawLanes, RawLedger,
        RawLog, RawShutdown, RawSource, RawSpool,
    },
    show_bytes,
};
use crate::{
    attribution::AttributionPolicy,
    blocks::BlockPolicy,
    ledger::LedgerPolicy,
    limits::{BLOCK_AGE_MAX, EVENT_LOG_SOURCES_MAX},
    normalise::{Kind, LanePolicy},
};

/// Smallest and largest segment: two of the largest blocks fit the smallest, and the largest is
/// read in a second by the slowest disk.
const SEGMENT_BYTES: RangeInclusive<u64> = (8 << 20)..=(256 << 20);
const SEGMENT_BYTES_DEFAULT: u64 = 16 << 20;
const SPOOL_BYTES_DEFAULT: u64 = 1 << 30;
/// A spool smaller than this many segments could not let go of one while it fills another.
const SEGMENTS_MIN: u64 = 4;
/// Smallest and largest held ring: its files are an eighth of it, of which the smallest holds a commit and
/// the largest is what a segment can be.
const HELD_BYTES: RangeInclusive<u64> = (16 << 20)..=(8 << 30);
const HELD_BYTES_DEFAULT: u64 = 256 << 20;
/// Duplicates compress to a twentieth and less, so this is some gigabytes of them.
const FOLDED_BYTES_DEFAULT: u64 = 64 << 20;
const HELD_AGE: RangeInclusive<Duration> =
    Duration::from_secs(60 * 60)..=Duration::from_secs(366 * 24 * 60 * 60);
const HELD_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const BLOCK_AGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
/// zstd's levels that a host can spare the processor for; from 10 on it is slower than any link.
const COMPRESSION_LEVELS: RangeInclusive<i32> = 1..=9;
/// A host that asks for more spends more on it than `limits` lets it.
const LOOKUPS_PER_SECOND: RangeInclusive<u32> = 1..=1_000;
const GRACE: RangeInclusive<Duration> = Duration::from_millis(0)..=Duration::from_secs(300);
/// The kind of source that says itself where its values stand.
const JSON_LINES: &str = "json_lines";
/// A second is what tests want; after more than an hour nobody knows any more what happened in it.
const LEDGER_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60 * 60);
/// Most of the spool that the ledger waits in, as a part of it: each of its segments begins with that.
const LEDGER_SPOOL_PART: u64 = 64;
const GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Turns raw values into checked ones; knows the text, so that errors can name lines.
pub(super) struct Check<'a> {
    pub(super) text: &'a str,
    pub(super) base: &'a Path,
}

impl Check<'_> {
    /// Returns the files of the identity, and the folder that they lie in if joining puts them there.
    pub(super) fn identity(
        &self,
        raw: Option<&Spanned<RawIdentity>>,
    ) -> Result<(IdentityConfig, Option<PathBuf>), ConfigError> {
        let in_dir = |dir: PathBuf| {
            let identity = IdentityConfig {
                certificate: dir.join("certificate.pem"),
                key: dir.join("key.pem"),
                trust_anchor: dir.join("root.pem"),
            };
            (identity, Some(dir))
        };
        let Some(section) = raw else { return Ok(in_dir(PathBuf::from(DEFAULT_IDENTITY_DIR))) };
        let RawIdentity { dir, certificate, key, trust_anchor } = section.get_ref();
        match (dir, certificate, key, trust_anchor) {
            (dir, None, None, None) => {
                let dir = dir.as_deref().unwrap_or(Path::new(DEFAULT_IDENTITY_DIR));
                Ok(in_dir(self.base.join(dir)))
            }
            (None, Some(certificate), Some(key), Some(trust_anchor)) => {
                let identity = IdentityConfig {
                    certificate: self.base.join(certificate),
                    key: self.base.join(key),
                    trust_anchor: self.base.join(trust_anchor),
                };
                Ok((identity, None))
            }
            (Some(_), ..) => {
                let message = "name a folder (dir), or the files, not both".to_owned();
                Err(self.error("identity.dir", section.span(), message))
            }
            (None, ..) => {
                let message = "name certificate, key and trust_anchor, or none of them".to_owned();
                Err(self.error("identity", section.span(), message))
            }
        }
    }

    /// Returns that the configuration names the files of an identity that was made elsewhere.
    pub(super) fn names_files(&self, raw: Option<&Spanned<RawIdentity>>) -> ConfigError {
        let span = raw.map_or(0..0, Spanned::span);
        let message = "names files that were made elsewhere, and the agent would go on using them: \
                       take the section out, then join";
        self.error("identity", span, message.to_owned())
    }

    /// Returns the coordinators that this host was told when it joined.
    pub(super) fn joined_coordinator(
        &self,
        dir: Option<&Path>,
        joined: impl Fn(&Path) -> Result<Option<String>, String>,
    ) -> Result<CoordinatorConfig, ConfigError> {
        let missing = || {
            let message = "is missing, and this host has not joined: run signalbox-agent join \
                           TOKEN, or write the section";
            self.error("coordinator", 0..0, message.to_owned())
        };
        let dir = dir.ok_or_else(missing)?;
        let text = joined(dir)
            .map_err(|error| self.error("coordinator", 0..0, error))?
            .ok_or_else(missing)?;
        let check = Check { text: &text, base: dir };
        let raw = toml::from_str(&text).map_err(|error| check.syntax(error));
        raw.and_then(|raw| check.coordinator(&raw)).map_err(|error| {
            let path = dir.join(COORDINATOR_FILE);
            self.error("coordinator", 0..0, format!("{}: {error}", path.display()))
        })
    }

    pub(super) fn coordinator(
        &self,
        raw: &RawCoordinator,
    ) -> Result<CoordinatorConfig, ConfigError> {
        let key = "coordinator.addresses";
        let list = raw.addresses.get_ref();
        if !(1..=ADDRESSES_MAX).contains(&list.len()) {
            let message = format!("{} addresses, 1 to {ADDRESSES_MAX} are allowed", list.len());
            return Err(self.error(key, raw.addresses.span(), message));
        }
        let address = |raw: &Spanned<String>| {
            Address::parse(raw.get_ref()).map_err(|message| self.error(key, raw.span(), message))
        };
        let addresses = list.iter().map(address).collect::<Result<_, _>>()?;
        let Some(name) = &raw.server_name else {
            return Ok(CoordinatorConfig { addresses, server_name: "coordinator".to_owned() });
        };
        if rustls::pki_types::ServerName::try_from(name.get_ref().as_str()).is_err() {
            let message = format!("{:?} is no DNS name and no address", name.get_ref());
            return Err(self.error("coordinator.server_name", name.span(), message));
        }
        Ok(CoordinatorConfig { addresses, server_name: name.get_ref().clone() })
    }

    /// Reads the spool's settings; `disk` is all that the agent may have on disk, if that is said.
    pub(super) fn spool(
        &self,
        raw: &RawSpool,
        disk: Option<u64>,
    ) -> Result<SpoolSettings, ConfigError> {
        let key = "spool.segment_bytes";
        let segment_bytes = match &raw.segment_bytes {
            None => SEGMENT_BYTES_DEFAULT,
            Some(raw) => {
                let bytes = self.bytes(key, raw)?;
                if !SEGMENT_BYTES.contains(&bytes) {
                    let (min, max) = (*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
                    let message = format!(
                        "{} is not between {} and {}",
                        raw.get_ref(),
                        show_bytes(min),
                        show_bytes(max)
                    );
                    return Err(self.error(key, raw.span(), message));
                }
                bytes
            }
        };
        let bytes_max = match &raw.max_bytes {
            None => disk.unwrap_or(SPOOL_BYTES_DEFAULT).max(SEGMENTS_MIN * segment_bytes),
            Some(raw) => {
                let key = "spool.max_bytes";
                let bytes = self.bytes(key, raw)?;
                if bytes < SEGMENTS_MIN * segment_bytes {
                    let min = show_bytes(SEGMENTS_MIN * segment_bytes);
                    let message = format!(
                        "{} is less than {min}, {SEGMENTS_MIN} times spool.segment_bytes",
                        raw.get_ref()
                    );
                    return Err(self.error(key, raw.span(), message));
                }
                bytes
            }
        };
        Ok(SpoolSettings { dir: self.base.join(&raw.dir), bytes_max, segment_bytes })
    }

    pub(super) fn held(
        &self,
        raw: Option<&Spanned<RawHeld>>,
        spool: &RawSpool,
    ) -> Result<Option<HeldSettings>, ConfigError> {
        let Some(section) = raw else { return Ok(None) };
        let raw = section.get_ref();
        let dir = self.base.join(&raw.dir);
        if dir == self.base.join(&spool.dir) {
            let message = "is the spool's folder: a held ring has its own".to_owned();
            return Err(self.error("held.dir", section.span(), message));
        }
        let bytes_max =
            self.ring_bytes("held.max_bytes", raw.max_bytes.as_ref(), HELD_BYTES_DEFAULT)?;
        let folded = raw.folded_max_bytes.as_ref();
        let folded_bytes_max =
            self.ring_bytes("held.folded_max_bytes", folded, FOLDED_BYTES_DEFAULT)?;
        let age = self.duration("held.max_age", raw.max_age.as_ref(), &HELD_AGE)?;
        let age_max = age.unwrap_or(HELD_AGE_DEFAULT);
        Ok(Some(HeldSettings { dir, bytes_max, folded_bytes_max, age_max }))
    }

    fn ring_bytes(
        &self,
        key: &str,
        raw: Option<&Spanned<String>>,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let Some(raw) = raw else { return Ok(default) };
        let bytes = self.bytes(key, raw)?;
        if !HELD_BYTES.contains(&bytes) {
            let [min, max] = [HELD_BYTES.start(), HELD_BYTES.end()].map(|b| show_bytes(*b));
            let message = format!("{} is not between {min} and {max}", raw.get_ref());
            return Err(self.error(key, raw.span(), message));
        }
        Ok(bytes)
    }

    pub(super) fn lanes(&self, raw: &RawLanes) -> Result<LanePolicy, ConfigError> {
        let (urgent_key, bulk_key) = ("lanes.urgent_from", "lanes.bulk_up_to");
        let severities = Severity::ALL.map(|severity| (severity.as_str(), Some(severity)));
        let known = [&severities[1..], &[("never", None)]].concat();
        let default = LanePolicy::default();
        let (urgent, bulk) = (raw.urgent_from.as_ref(), raw.bulk_up_to.as_ref());
        let urgent_from = urgent.map(|raw| self.choice(urgent_key, raw, &known));
        let bulk_up_to = bulk.map(|raw| self.choice(bulk_key, raw, &known));
        let urgent_from = urgent_from.unwrap_or(Ok(default.urgent_from))?;
        let bulk_up_to = bulk_up_to.unwrap_or(Ok(default.bulk_up_to))?;
        if let (Some(from), Some(up_to)) = (urgent_from, bulk_up_to)
            && up_to >= from
        {
            let (key, at) = if bulk.is_some() { (bulk_key, bulk) } else { (urgent_key, urgent) };
            let message = format!("urgent_from = {from} does not lie above bulk_up_to = {up_to}");
            return Err(self.error(key, at.map_or(0..0, Spanned::span), message));
        }
        Ok(LanePolicy { urgent_from, bulk_up_to })
    }

    pub(super) fn blocks(&self, raw: &RawBlocks) -> Result<BlockPolicy, ConfigError> {
        let age = self.duration("blocks.age", raw.age.as_ref(), &BLOCK_AGE)?;
        let level = raw.compression_level.as_ref().map_or(Ok(1), |raw| {
            let level = *raw.get_ref();
            if COMPRESSION_LEVELS.contains(&level) {
                return Ok(level);
            }
            let message = format!("{level} is not between 1 and {}", COMPRESSION_LEVELS.end());
            Err(self.error("blocks.compression_level", raw.span(), message))
        })?;
        Ok(BlockPolicy { level, age_max: age.unwrap_or(BLOCK_AGE_MAX) })
    }

    pub(super) fn ledger(
        &self,
        raw: &RawLedger,
        spool: &SpoolSettings,
    ) -> Result<LedgerPolicy, ConfigError> {
        let interval = self.duration("ledger.interval", raw.interval.as_ref(), &LEDGER_INTERVAL)?;
        let default = LedgerPolicy::default();
        let room = usize::try_from(spool.bytes_max / LEDGER_SPOOL_PART).unwrap_or(usize::MAX);
        Ok(LedgerPolicy {
            interval: interval.unwrap_or(default.interval),
            waiting_bytes_max: default.waiting_bytes_max.min(room),
        })
    }

    pub(super) fn attribution(
        &self,
        raw: &RawAttribution,
    ) -> Result<AttributionPolicy, ConfigError> {
        let default = AttributionPolicy::default();
        let per_second_max =
            raw.max_per_second.as_ref().map_or(Ok(default.per_second_max), |raw| {
                let number = *raw.get_ref();
                if LOOKUPS_PER_SECOND.contains(&number) {
                    return Ok(number);
                }
                let message = format!("{number} is not between 1 and {}", LOOKUPS_PER_SECOND.end());
                Err(self.error("attribution.max_per_second", raw.span(), message))
            })?;
        let is_enabled = raw.enabled.unwrap_or(default.is_enabled);
        Ok(AttributionPolicy { is_enabled, per_second_max })
    }

    pub(super) fn sources(
        &self,
        raw: &[Spanned<RawSource>],
    ) -> Result<Vec<SourceConfig>, ConfigError> {
        if !(1..=SOURCES_MAX).contains(&raw.len()) {
            let span = raw.last().map_or(0..0, Spanned::span);
            let message = format!(
                "{} sources, 1 to {SOURCES_MAX} are allowed: write a [[source]] section for each",
                raw.len()
            );
            return Err(self.error("source", span, message));
        }
        let mut sources: Vec<SourceConfig> = Vec::with_capacity(raw.len());
        for raw in raw {
            let source = self.source(raw)?;
            let name = &raw.get_ref().name;
            if sources.iter().any(|other| other.name == source.name) {
                let message = format!("another source is named {:?} already", source.name);
                return Err(self.error("source.name", name.span(), message));
            }
            let logs = sources.iter().filter(|it| matches!(it.input, Input::Evtx { .. })).count();
            if logs == EVENT_LOG_SOURCES_MAX && matches!(source.input, Input::Evtx { .. }) {
                let (key, span) = raw.get_ref().input_key().expect("it has a path");
                let message = format!(
                    "is one more than {EVENT_LOG_SOURCES_MAX} sources of event logs: one pattern \
                     can name them all"
                );
                return Err(self.error(key, span, message));
            }
            if let Some(other) = sources.iter().find(|other| other.input.is_same(&source.input)) {
                let message = format!("source {:?} reads {} already", other.name, source.input);
                let (key, span) = raw.get_ref().input_key().expect("one of them made the input");
                return Err(self.error(key, span, message));
            }
            sources.push(source);
        }
        Ok(sources)
    }

    fn source(&self, raw: &Spanned<RawSource>) -> Result<SourceConfig, ConfigError> {
        let section = raw.span();
        let raw = raw.get_ref();
        let name = raw.name.get_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !(1..=SOURCE_NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
            let message = format!(
                "{name:?} is no name: 1 to {SOURCE_NAME_BYTES_MAX} letters, digits, '.', '_', '-'"
            );
            return Err(self.error("source.name", raw.name.span(), message));
        }
        let kind = self.kind(raw, section.clone())?;
        let input = self.input(raw, &kind, section)?;
        let utc_offset = self.utc_offset(raw, &kind)?;
        Ok(SourceConfig { name: name.clone(), kind, input, utc_offset })
    }

    fn utc_offset(&self, raw: &RawSource, kind: &Kind) -> Result<Option<i64>, ConfigError> {
        let Some(written) = &raw.utc_offset else { return Ok(None) };
        let wrong = |message: String| Err(self.error("source.utc_offset", written.span(), message));
        if kind.product() != "syslog" {
            return wrong("only times of syslog say no zone".to_owned());
        }
        match offset_minutes(written.get_ref()) {
            Some(minutes) => Ok(Some(minutes)),
            None => wrong(format!(
                "{:?} is no offset: write what the devices' clocks are ahead of UTC, as \"+01:00\"",
                written.get_ref()
            )),
        }
    }

    fn kind(&self, raw: &RawSource, section: Range<usize>) -> Result<Kind, ConfigError> {
        let key = "source.fields";
        let name = raw.kind.get_ref().as_str();
        if name == JSON_LINES {
            return raw.fields.as_ref().map_or_else(
                || Err(self.error(key, section, "json_lines needs a field map".to_owned())),
                |fields| Ok(Kind::JsonLines(fields.get_ref().clone())),
            );
        }
        let Some(kind) = Kind::of_product(name) else {
            let kinds: Vec<&str> = Kind::of_products().chain([JSON_LINES]).collect();
            return Err(self.not_one_of("source.kind", &raw.kind, &kinds));
        };
        match &raw.fields {
            None => Ok(kind),
            Some(fields) => {
                let message = "only a json_lines source has a field map".to_owned();
                Err(self.error(key, fields.span(), message))
            }
        }
    }

    pub(super) fn grace(&self, raw: &RawShutdown) -> Result<Duration, ConfigError> {
        let grace = self.duration("shutdown.grace", raw.grace.as_ref(), &GRACE)?;
        Ok(grace.unwrap_or(GRACE_DEFAULT))
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

    pub(super) fn bytes(&self, key: &str, raw: &Spanned<String>) -> Result<u64, ConfigError> {
        parse_bytes(raw.get_ref()).map_err(|message| self.error(key, raw.span(), message))
    }

    fn duration(
        &self,
        key: &str,
        raw: Option<&Spanned<String>>,
        range: &RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(raw) = raw else { return Ok(None) };
        let duration = parse_duration(raw.get_ref())
            .map_err(|message| self.error(key, raw.span(), message))?;
        if range.contains(&duration) {
            return Ok(Some(duration));
        }
        let (min, max) = (range.start(), range.end());
        let message = format!("{} is not between {min:?} and {max:?}", raw.get_ref());
        Err(self.error(key, raw.span(), message))
    }

    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        raw: &Spanned<String>,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let found = choices.iter().find(|(name, _)| name == raw.get_ref());
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        found.map(|(_, value)| *value).ok_or_else(|| self.not_one_of(key, raw, &names()))
    }

    fn not_one_of(&self, key: &str, raw: &Spanned<String>, names: &[&str]) -> ConfigError {
        let message = format!("{:?} is not one of {}", raw.get_ref(), names.join(", "));
        self.error(key, raw.span(), message)
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

/// Reads `+hh:mm` or `-hh:mm`, up to 14 hours, which is the farthest that any place is from UTC.
fn offset_minutes(text: &str) -> Option<i64> {
    const HOURS_MAX: i64 = 14;
    let sign = match text.as_bytes() {
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = (text.get(1..3)?, text.get(4..6)?);
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= HOURS_MAX * 60).then_some(sign * total)
}
