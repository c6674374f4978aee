//! Entries of the system's journal, as `journalctl --output=json` writes them.
//!
//! Every entry is an alert: the source is what a detector writes to the journal, chosen by its unit
//! or name, not a host's whole journal. Its priorities are syslog's severities by their number.

use shared::alert::{Alert, Field, Severity};

use super::{
    Event, Notes, Product, Writing,
    paths::Slots,
    slots::{self, of},
    value,
};

pub(super) const PRODUCT: Product = Product {
    kind: "journald",
    name: "journald",
    table: TABLE,
    writing: Writing::Json(None),
    event,
    finish,
};

const CURSOR: u8 = slots::OWN;

/// A list stands for the bytes of a text that is no UTF-8; such a message is in the record only.
const TABLE: &[(u8, &str)] = &[
    (CURSOR, "__CURSOR"),
    (slots::TIME, "_SOURCE_REALTIME_TIMESTAMP"),
    (slots::TIME, "__REALTIME_TIMESTAMP"),
    (slots::SEVERITY, "PRIORITY"),
    (of(Field::Product), "SYSLOG_IDENTIFIER"),
    (of(Field::Product), "_COMM"),
    (of(Field::RuleUid), "MESSAGE_ID"),
    (of(Field::Title), "MESSAGE"),
    (of(Field::Category), "_TRANSPORT"),
    (of(Field::DeviceHostname), "_HOSTNAME"),
    (of(Field::UserUid), "_AUDIT_LOGINUID"),
    (of(Field::UserUid), "_UID"),
    (of(Field::ProcessId), "_PID"),
    (of(Field::Process), "_EXE"),
    (of(Field::Process), "_COMM"),
    (of(Field::CommandLine), "_CMDLINE"),
    (of(Field::Container), "CONTAINER_NAME"),
    (of(Field::Container), "CONTAINER_ID"),
];

/// The number that stands for a user id that is not set.
const NO_USER: &str = "4294967295";

/// Severities by the number of their priority.
const PRIORITIES: [Severity; 8] = [
    Severity::Fatal,
    Severity::Critical,
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
    Severity::Informational,
    Severity::Informational,
];

fn event(found: &Slots<'_>) -> Event {
    let entry = [CURSOR, of(Field::Title), slots::SEVERITY];
    if entry.iter().any(|slot| found.raw(*slot).is_some()) { Event::Alert } else { Event::Untyped }
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    if let Some(raw) = found.raw(slots::SEVERITY) {
        let number = value::number(raw).and_then(|number| usize::try_from(number).ok());
        alert.severity = number.and_then(|at| PRIORITIES.get(at)).copied().unwrap_or_else(|| {
            notes.add(Notes::SEVERITY_UNKNOWN);
            Severity::Unknown
        });
    }
    if found.raw(of(Field::Title)).is_some_and(|raw| raw.written().starts_with('[')) {
        alert.set(Field::Title, "");
    }
    if alert.text(Field::UserUid) == Some(NO_USER) {
        alert.set(Field::UserUid, "");
    }
}
