//! Syslog messages (RFC 5424, and RFC 3164 with its dialects), and events in CEF and LEEF, which
//! come in such messages and by themselves.
//!
//! Every message is an alert: the source is what a detector sends, not a host's whole log. What is
//! an event says more than the message around it, which then only gives its host and time. A time
//! without a year, as in RFC 3164, does not say when; it stays absent.
//!
//! The device of a message about a connection is the sensor, not the host that the alert is about;
//! it stays in the record.

use chrono::Utc;
use shared::alert::{Alert, Field, Severity};
use syslog_loose::Variant;

use super::{
    Event, Malformed, Notes, Product, Writing,
    cef::{self, EVENT_ID, EVENT_NAME, EVENT_PRODUCT, EVENT_SEVERITY},
    paths::{Paths, Slots},
    slots::{self, of},
    value::{self, Raw},
};

pub(super) const PRODUCT: Product = Product {
    kind: "syslog",
    name: "syslog",
    table: TABLE,
    writing: Writing::Syslog,
    event: |_| Event::Alert,
    finish,
};

const PRIORITY: u8 = slots::OWN;
const MESSAGE_HOST: u8 = slots::OWN + 1;
const DEVICE_HOST: u8 = slots::OWN + 2;
const DEVICE_IP: u8 = slots::OWN + 3;

/// A year that has every date.
const LEAP_YEAR: i32 = 2000;

// Names of a message's parts, which no event has as keys.
const MESSAGE_TIME: &str = "message:time";
const MESSAGE_PRIORITY: &str = "message:priority";
const MESSAGE_HOSTNAME: &str = "message:host";
const MESSAGE_APP: &str = "message:app";
const MESSAGE_TEXT: &str = "message:text";

/// The keys are those of CEF's extension dictionary and LEEF's predefined attributes.
const TABLE: &[(u8, &str)] = &[
    (of(Field::Product), EVENT_PRODUCT),
    (of(Field::Product), MESSAGE_APP),
    (of(Field::RuleUid), EVENT_ID),
    (of(Field::Title), EVENT_NAME),
    (of(Field::Title), "msg"),
    (of(Field::Title), EVENT_ID),
    (of(Field::Title), MESSAGE_TEXT),
    (slots::SEVERITY, EVENT_SEVERITY),
    (slots::SEVERITY, "sev"),
    (PRIORITY, MESSAGE_PRIORITY),
    (slots::ACTION, "act"),
    (slots::ACTION, "action"),
    (of(Field::Category), "cat"),
    (slots::TIME, "rt"),
    (slots::TIME, "end"),
    (slots::TIME, "start"),
    (slots::TIME, "devTime"),
    (slots::TIME, MESSAGE_TIME),
    (of(Field::DeviceHostname), "identHostName"),
    (of(Field::DeviceIp), "identSrc"),
    (MESSAGE_HOST, MESSAGE_HOSTNAME),
    (DEVICE_HOST, "dvchost"),
    (DEVICE_IP, "dvc"),
    (of(Field::SrcIp), "src"),
    (of(Field::SrcIp), "c6a2"),
    (of(Field::SrcHostname), "shost"),
    (slots::SRC_PORT, "spt"),
    (slots::SRC_PORT, "srcPort"),
    (of(Field::DstIp), "dst"),
    (of(Field::DstIp), "c6a3"),
    (of(Field::DstHostname), "dhost"),
    (slots::DST_PORT, "dpt"),
    (slots::DST_PORT, "dstPort"),
    (of(Field::Protocol), "proto"),
    (of(Field::User), "duser"),
    (of(Field::User), "suser"),
    (of(Field::User), "usrName"),
    (of(Field::Process), "dproc"),
    (of(Field::Process), "sproc"),
    (of(Field::Process), "deviceProcessName"),
    (of(Field::FileHash), "fileHash"),
    (of(Field::FilePath), "filePath"),
    (of(Field::FilePath), "fname"),
    (of(Field::Url), "request"),
    (of(Field::Url), "url"),
    (of(Field::Domain), "destinationDnsDomain"),
];

/// Finds the values in a message.
///
/// # Errors
/// Fails on an event whose header ends early; what it has is found.
pub(super) fn read<'a>(
    record: &'a str,
    paths: &Paths,
    found: &mut Slots<'a>,
) -> Result<(), Malformed> {
    let event = cef::find(record);
    let head = event.map_or(record, |at| &record[..at]);
    read_message(head, event.is_none(), paths, found);
    event.map_or(Ok(()), |at| cef::read(&record[at..], paths, found))
}

/// Finds the values of the message itself, its text only if that is all there is.
fn read_message<'a>(text: &'a str, is_all: bool, paths: &Paths, found: &mut Slots<'a>) {
    let mut take = |name, value: &'a str| {
        if !matches!(value, "" | "-") {
            paths.take(name, Raw::plain(value), found);
        }
    };
    take(MESSAGE_TIME, time(text));
    // Asked for where a time lacks year or offset; such a time is not used.
    let (year, offset) = (|_| LEAP_YEAR, Some(Utc));
    let either = Variant::Either;
    let parsed = syslog_loose::parse_message_with_year_exact_tz(text, year, offset, either);
    let Ok(message) = parsed else {
        if is_all {
            take(MESSAGE_TEXT, text.trim_ascii());
        }
        return;
    };
    if let Some(severity) = message.severity {
        take(MESSAGE_PRIORITY, severity.as_str());
    }
    take(MESSAGE_HOSTNAME, message.hostname.unwrap_or_default());
    if is_all {
        take(MESSAGE_APP, message.appname.unwrap_or_default());
        let said = message.msg.trim_ascii();
        take(MESSAGE_TEXT, if said.is_empty() { text.trim_ascii() } else { said });
    }
}

/// Returns a message's time, if it is one with a year: the first word behind the priority and the
/// version.
fn time(text: &str) -> &str {
    let text = text.trim_ascii_start();
    let behind = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let text = behind.map_or(text, |(_, rest)| rest);
    let text = text.strip_prefix("1 ").unwrap_or(text);
    let word = text.split(' ').next().unwrap_or_default();
    let is_date = word.len() >= 19 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
    if is_date { word } else { "" }
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    let severity = found.raw(slots::SEVERITY).and_then(value::text);
    let priority = found.raw(PRIORITY).and_then(value::text);
    let known = match (&severity, &priority) {
        (Some(word), _) => cef::severity(word),
        (None, Some(priority)) => slots::syslog_severity(priority),
        (None, None) => Some(Severity::Unknown),
    };
    if known.is_none() {
        notes.add(Notes::SEVERITY_UNKNOWN);
    }
    alert.severity = known.unwrap_or_default();
    if let Some(text) = found.raw(slots::ACTION).and_then(value::text) {
        alert.action = slots::action(&text);
    }
    slots::sort_out_endpoints(alert);
    let ends = [Field::SrcIp, Field::SrcHostname, Field::DstIp, Field::DstHostname];
    if ends.iter().any(|field| alert.text(*field).is_some()) {
        return;
    }
    for (field, first, second) in [
        (Field::DeviceHostname, DEVICE_HOST, Some(MESSAGE_HOST)),
        (Field::DeviceIp, DEVICE_IP, None),
    ] {
        let raw = found.raw(first).or_else(|| second.and_then(|second| found.raw(second)));
        if let (None, Some(text)) = (alert.text(field), raw.and_then(value::text)) {
            alert.set(field, text);
        }
    }
}
