//! Which slot holds what, and how the slots that all products share become an alert.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use shared::{
    alert::{Action, Alert, Field, Severity},
    limits::FUTURE_MAX,
    time::Timestamp,
};

use super::{
    Notes,
    paths::{SLOTS, Slots},
    timestamp, value,
};

// Slots below Field::COUNT hold the texts of fields.
/// When it happened.
pub(super) const TIME: u8 = Field::COUNT as u8;
/// How bad the product says that it is.
pub(super) const SEVERITY: u8 = TIME + 1;
/// What the product did about it.
pub(super) const ACTION: u8 = TIME + 2;
/// Port that a connection came from.
pub(super) const SRC_PORT: u8 = TIME + 3;
/// Port that a connection went to.
pub(super) const DST_PORT: u8 = TIME + 4;
/// Hashes of the file that stand by themselves; the strongest, or all in one text, is that of the field.
pub(super) const SHA1: u8 = TIME + 5;
pub(super) const MD5: u8 = TIME + 6;
/// The first of the slots that a product uses as it likes.
pub(super) const OWN: u8 = TIME + 7;

const _: () = assert!(OWN as usize + 8 <= SLOTS, "products have slots of their own");

/// Returns the slot of a field's text.
pub(super) const fn of(field: Field) -> u8 {
    field as u8
}

/// Moves what all products say alike from `slots` into `alert`.
///
/// Severity and action are the product's own language and left to it. `utc_offset` is by how many minutes the clock of
/// who writes times without a year is ahead of UTC, if that is known.
pub(super) fn fill<'a>(
    alert: &mut Alert<'a>,
    slots: &Slots<'a>,
    utc_offset: Option<i64>,
    notes: &mut Notes,
) {
    for field in Field::ALL {
        let Some(raw) = slots.raw(of(field)) else { continue };
        let text = match field {
            Field::Techniques => value::techniques(raw),
            Field::Tactics => value::tactics(raw),
            Field::ProcessId | Field::ParentProcessId => value::pid(raw),
            Field::FileHash => value::text(raw).map(value::hash),
            Field::Protocol => value::text(raw).map(value::protocol),
            Field::SrcIp | Field::DstIp | Field::DeviceIp => value::text(raw).map(value::address),
            _ => value::text(raw),
        };
        if let Some(text) = text {
            alert.set(field, text);
        }
    }
    fill_hashes(alert, slots);
    for (domain, name, uid) in [
        (Field::UserDomain, Field::User, Field::UserUid),
        (Field::TargetUserDomain, Field::TargetUser, Field::TargetUserUid),
    ] {
        if alert.text(uid) == Some(NOBODY) {
            alert.set(uid, "");
        }
        split_domain(alert, name, domain);
        // A domain alone names nobody.
        if alert.text(name).is_none() && alert.text(uid).is_none() {
            alert.set(domain, "");
        }
    }
    alert.src_port = slots.raw(SRC_PORT).and_then(value::port);
    alert.dst_port = slots.raw(DST_PORT).and_then(value::port);
    if let Some(raw) = slots.raw(TIME) {
        let text = value::text(raw).unwrap_or_default();
        let observed_at = alert.observed_at;
        alert.time = if timestamp::is_yearless(&text) {
            // Where nobody says in which zone, it says not when; the time of reading stands in.
            timestamp::parse_near(&text, observed_at, utc_offset)
        } else {
            believed(timestamp::parse(&text), observed_at, FUTURE_MAX, notes)
        };
    }
}

/// Takes the domain off a name that has it in front, as `CORP\\bob`: one person shall not be two. What the alert says
/// of the domain besides goes before.
fn split_domain(alert: &mut Alert<'_>, name: Field, domain: Field) {
    let parts = alert.text(name).and_then(|text| text.split_once('\\'));
    let Some((before, behind)) = parts else { return };
    let is_name = |char: char| char.is_alphanumeric() || " ._-$".contains(char);
    if before.is_empty()
        || !before.chars().all(is_name)
        || behind.is_empty()
        || behind.contains('\\')
    {
        return;
    }
    let (before, behind) = (before.to_owned(), behind.to_owned());
    if alert.text(domain).is_none() {
        alert.set(domain, before);
    }
    alert.set(name, behind);
}

/// The SID that Windows writes where it knows none.
const NOBODY: &str = "S-1-0-0";

/// Sets what is said of the file's hashes besides the strongest.
fn fill_hashes(alert: &mut Alert<'_>, slots: &Slots<'_>) {
    let Some(raw) = slots.raw(of(Field::FileHash)) else { return };
    let own = value::text(raw).unwrap_or_default();
    let single = [SHA1, MD5].into_iter().filter_map(|slot| slots.raw(slot));
    let single = single.filter_map(value::text);
    let further = value::hashes(&own).map(Into::into).chain(single);
    let strongest = alert.text(Field::FileHash).unwrap_or_default();
    let mut all = String::new();
    for hash in further.filter(|hash| *hash != strongest) {
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&hash);
    }
    if !all.is_empty() {
        alert.set(Field::FurtherHashes, all);
    }
}

/// Returns the product's time, if it was readable and does not lie too far ahead.
fn believed(
    time: Option<Timestamp>,
    observed_at: Timestamp,
    ahead_max: Duration,
    notes: &mut Notes,
) -> Option<Timestamp> {
    let Some(time) = time else {
        notes.add(Notes::TIME_UNREADABLE);
        return None;
    };
    if time > observed_at.saturating_add(ahead_max) {
        notes.add(Notes::TIME_AHEAD);
        return None;
    }
    Some(time)
}

/// Sorts out addresses of endpoints and of the device that are names, or have their port behind them.
pub(super) fn sort_out_endpoints(alert: &mut Alert<'_>) {
    let port = sort_out(alert, Field::SrcIp, Field::SrcHostname);
    alert.src_port = alert.src_port.or(port);
    let port = sort_out(alert, Field::DstIp, Field::DstHostname);
    alert.dst_port = alert.dst_port.or(port);
    sort_out(alert, Field::DeviceIp, Field::DeviceHostname);
}

/// Returns the port that stood behind the address.
fn sort_out(alert: &mut Alert<'_>, ip: Field, hostname: Field) -> Option<u16> {
    let text = alert.text(ip)?;
    if text.parse::<IpAddr>().is_ok() {
        return None;
    }
    // SonicWall's firewalls write the interface behind the port.
    let before_last = text.rsplit_once(':').map_or(text, |(before, _)| before);
    if let Ok(end) = text.parse::<SocketAddr>().or_else(|_| before_last.parse()) {
        alert.set(ip, end.ip().to_canonical().to_string());
        return Some(end.port());
    }
    let text = text.to_owned();
    alert.set(ip, "");
    if alert.text(hostname).is_none() {
        alert.set(hostname, text);
    }
    None
}

/// Moves the path of a file that is one of the Windows registry to where such paths belong.
pub(super) fn sort_out_registry(alert: &mut Alert<'_>) {
    let is_key = |path: &str| {
        let root = path.strip_prefix('\\').unwrap_or(path).split('\\').next();
        root.is_some_and(|root| {
            let is = |name: &str| root.eq_ignore_ascii_case(name);
            is("REGISTRY")
                || is("HKLM")
                || is("HKU")
                || is("HKCU")
                || is("HKCR")
                || is("HKCC")
                || root.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("HKEY_"))
        })
    };
    if let Some(path) = alert.text(Field::FilePath).filter(|path| is_key(path)) {
        let path = path.to_owned();
        alert.set(Field::FilePath, "");
        if alert.text(Field::RegistryKey).is_none() {
            alert.set(Field::RegistryKey, path);
        }
    }
}

/// Reads a severity that is written as OCSF's number or name; `info` is known too.
pub(super) fn ocsf_severity(text: &str) -> Option<Severity> {
    if text.eq_ignore_ascii_case("info") {
        return Some(Severity::Informational);
    }
    Severity::ALL.into_iter().find(|severity| {
        text.eq_ignore_ascii_case(severity.as_str())
            || text.parse::<u8>().is_ok_and(|id| id == severity.id())
    })
}

/// Reads a severity of syslog by its name, or one of the customary short ones (RFC 5424, table 2).
pub(super) fn syslog_severity(text: &str) -> Option<Severity> {
    let known = [
        ("emergency", Severity::Fatal),
        ("emerg", Severity::Fatal),
        ("alert", Severity::Critical),
        ("critical", Severity::Critical),
        ("crit", Severity::Critical),
        ("error", Severity::High),
        ("err", Severity::High),
        ("warning", Severity::Medium),
        ("notice", Severity::Low),
        ("informational", Severity::Informational),
        ("info", Severity::Informational),
        ("debug", Severity::Informational),
    ];
    let is_it = |(name, _): &(&str, Severity)| text.eq_ignore_ascii_case(name);
    known.into_iter().find(is_it).map(|(_, severity)| severity)
}

/// Reads an action from the words of detectors.
pub(super) fn action(text: &str) -> Action {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["allowed", "allow", "pass", "passed", "accept", "accepted", "permit", "permitted"]) {
        Action::Allowed
    } else if is(&["blocked", "block", "denied", "deny", "drop", "dropped", "reject"]) {
        Action::Denied
    } else {
        Action::Unknown
    }
}
