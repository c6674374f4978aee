//! Syslog messages (RFC 5424, and RFC 3164 with its dialects), and events in CEF and LEEF, which
//! come in such messages and by themselves.
//!
//! Every message is an alert: the source is what a detector sends, not a host's whole log. What is
//! an event says more than the message around it, which then only gives its host and time. A time
//! without a year, as in RFC 3164, says when only where its zone is known (see
//! [`super::timestamp::parse_near`]); else it stays absent.
//!
//! In place of a sentence some devices write pairs of key and value, or a mark before it: see
//! [`keyed`]. Pairs are believed only where no program's name stands before them, whose sentence
//! another could have written; those of a packet also from the kernel.
//!
//! The device of a message about a connection is the sensor, not the host that the alert is about;
//! it stays in the record. Where Linux' packet filter says that a packet came to its own host, or
//! went out from it, that host is the one.

mod head;
mod keyed;

use shared::alert::{Alert, Field, Severity};

use self::head::Head;
use super::{
    Event, Malformed, Notes, Product, Writing,
    cef::{self, EVENT_ID, EVENT_NAME, EVENT_PRODUCT, EVENT_SEVERITY},
    paths::{Slots, Take},
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
// Of a process name and number belong together, and a message may have those of several.
const SOURCE_PROCESS: u8 = slots::OWN + 4;
const SOURCE_PID: u8 = slots::OWN + 5;
const DEVICE_PROCESS: u8 = slots::OWN + 6;
const DEVICE_PID: u8 = slots::OWN + 7;

/// Syslog's severities by their number (RFC 5424, table 2).
const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

// Names of a message's parts, which no event has as keys.
const MESSAGE_TIME: &str = "message:time";
const MESSAGE_PRIORITY: &str = "message:priority";
const MESSAGE_HOSTNAME: &str = "message:host";
const MESSAGE_APP: &str = "message:app";
const MESSAGE_TEXT: &str = "message:text";
const MARK_NAME: &str = "mark:name";
const MARK_SEVERITY: &str = "mark:severity";
const MARK_SRC: &str = "mark:src";
const MARK_SRC_PORT: &str = "mark:src_port";
const MARK_DST: &str = "mark:dst";
const MARK_DST_PORT: &str = "mark:dst_port";
const MARK_PROTOCOL: &str = "mark:protocol";
const MARK_ACTION: &str = "mark:action";
const MARK_HOST: &str = "mark:host";

/// The keys are those of CEF's extension dictionary, LEEF's predefined attributes, and of Fortinet's
/// and SonicWall's pairs.
const TABLE: &[(u8, &str)] = &[
    (of(Field::Product), EVENT_PRODUCT),
    (of(Field::Product), MESSAGE_APP),
    (of(Field::RuleUid), EVENT_ID),
    (of(Field::RuleUid), MARK_NAME),
    (of(Field::RuleUid), "attackid"),
    (of(Field::RuleUid), "logid"),
    (of(Field::RuleName), EVENT_NAME),
    (of(Field::RuleName), "attack"),
    (of(Field::Title), EVENT_NAME),
    (of(Field::Title), "attack"),
    (of(Field::Title), "msg"),
    (of(Field::Title), "logdesc"),
    (of(Field::Title), EVENT_ID),
    (of(Field::Title), MESSAGE_TEXT),
    (slots::SEVERITY, EVENT_SEVERITY),
    (slots::SEVERITY, "sev"),
    (slots::SEVERITY, "severity"),
    (PRIORITY, MARK_SEVERITY),
    (PRIORITY, "level"),
    (PRIORITY, "pri"),
    (PRIORITY, MESSAGE_PRIORITY),
    (slots::ACTION, "act"),
    (slots::ACTION, "action"),
    (slots::ACTION, "status"),
    (slots::ACTION, MARK_ACTION),
    (of(Field::Category), "cat"),
    (of(Field::Category), "subtype"),
    (slots::TIME, "rt"),
    (slots::TIME, "end"),
    (slots::TIME, "start"),
    (slots::TIME, "devTime"),
    (slots::TIME, "eventtime"),
    (slots::TIME, MESSAGE_TIME),
    (of(Field::DeviceHostname), "identHostName"),
    (of(Field::DeviceHostname), MARK_HOST),
    (of(Field::DeviceIp), "identSrc"),
    (MESSAGE_HOST, MESSAGE_HOSTNAME),
    (DEVICE_HOST, "dvchost"),
    (DEVICE_HOST, "devname"),
    (DEVICE_IP, "dvc"),
    (of(Field::SrcIp), "src"),
    (of(Field::SrcIp), "srcip"),
    (of(Field::SrcIp), MARK_SRC),
    (of(Field::SrcIp), "c6a2"),
    (of(Field::SrcHostname), "shost"),
    (of(Field::SrcHostname), "srcname"),
    (slots::SRC_PORT, "spt"),
    (slots::SRC_PORT, "srcPort"),
    (slots::SRC_PORT, "srcport"),
    (slots::SRC_PORT, "src_port"),
    (slots::SRC_PORT, MARK_SRC_PORT),
    (of(Field::DstIp), "dst"),
    (of(Field::DstIp), "dstip"),
    (of(Field::DstIp), MARK_DST),
    (of(Field::DstIp), "c6a3"),
    (of(Field::DstHostname), "dhost"),
    (of(Field::DstHostname), "dstname"),
    (of(Field::DstHostname), "destinationDnsDomain"),
    (slots::DST_PORT, "dpt"),
    (slots::DST_PORT, "dstPort"),
    (slots::DST_PORT, "dstport"),
    (slots::DST_PORT, "dst_port"),
    (slots::DST_PORT, MARK_DST_PORT),
    (of(Field::Protocol), "proto"),
    (of(Field::Protocol), MARK_PROTOCOL),
    (of(Field::User), "suser"),
    (of(Field::User), "usrName"),
    (of(Field::User), "user"),
    (of(Field::TargetUser), "duser"),
    (of(Field::TargetUser), "dstuser"),
    (of(Field::UserUid), "suid"),
    (of(Field::UserDomain), "sntdom"),
    (of(Field::TargetUserUid), "duid"),
    (of(Field::TargetUserDomain), "dntdom"),
    (of(Field::ProcessId), "dpid"),
    (SOURCE_PID, "spid"),
    (DEVICE_PID, "dvcpid"),
    (of(Field::Process), "dproc"),
    (SOURCE_PROCESS, "sproc"),
    (DEVICE_PROCESS, "deviceProcessName"),
    (of(Field::FileHash), "fileHash"),
    (of(Field::FilePath), "filePath"),
    (of(Field::FilePath), "fname"),
    (of(Field::Url), "request"),
    (of(Field::Url), "url"),
    (of(Field::UrlHost), "hostname"),
];

/// Finds the values in a message.
///
/// # Errors
/// Fails on an event whose header ends early; what it has is found.
pub(super) fn read<'a>(record: &'a str, each: &mut Take<'_, 'a>) -> Result<(), Malformed> {
    let head = head::split(record);
    let mut take = |name, value: &'a str| each(&[name], Raw::plain(value));
    take(MESSAGE_TIME, head.time);
    let severity = head.priority.map(|priority| SEVERITIES[usize::from(priority % 8)]);
    take(MESSAGE_PRIORITY, severity.unwrap_or_default());
    take(MESSAGE_HOSTNAME, head.host);
    head::each_parameter(head.data, |id, name, value| {
        let names: Vec<&str> = id.split('.').chain([name]).collect();
        each(&names, Raw::quoted(value));
    });
    let mut take = |name, value: &'a str| each(&[name], Raw::plain(value));
    if let Some(event) = event(&head) {
        return cef::read(event, each);
    }
    if let Some(mark) = keyed::mark(head.body).or_else(|| keyed::mark(head.text)) {
        let connection = keyed::connection(mark.text);
        let has_app = !head.app.is_empty() && !head.app.starts_with('%');
        for (name, value) in [
            (MESSAGE_APP, if has_app { head.app } else { mark.facility }),
            (MESSAGE_TEXT, if mark.text.is_empty() { head.text } else { mark.text }),
            (MARK_NAME, mark.name),
            (MARK_SEVERITY, SEVERITIES[usize::from(mark.severity)]),
            (MARK_SRC, connection.src.0),
            (MARK_SRC_PORT, connection.src.1),
            (MARK_DST, connection.dst.0),
            (MARK_DST_PORT, connection.dst.1),
            (MARK_PROTOCOL, connection.protocol),
            (MARK_ACTION, connection.action),
        ] {
            take(name, value);
        }
        return Ok(());
    }
    // A program's name would be anybody's; a device without one has its packet filter speak for itself.
    if let Some(packet) = keyed::packet(head.text).filter(|_| matches!(head.app, "" | "kernel")) {
        keyed::each(packet.text, |key, value| match key {
            "SRC" => take(MARK_SRC, value),
            "DST" => take(MARK_DST, value),
            "SPT" => take(MARK_SRC_PORT, value),
            "DPT" => take(MARK_DST_PORT, value),
            "PROTO" => take(MARK_PROTOCOL, value),
            _ => {}
        });
        take(MARK_HOST, if packet.is_own { head.host } else { "" });
    } else if head.app.is_empty() && keyed::is_pairs(head.text) {
        keyed::each(head.text, &mut take);
    }
    take(MESSAGE_APP, head.app);
    take(MESSAGE_TEXT, if head.text.is_empty() { record.trim_ascii() } else { head.text });
    Ok(())
}

/// Returns the event that is the message's whole text. One that stands further within was put there
/// by whom the message is about.
fn event<'a>(head: &Head<'a>) -> Option<&'a str> {
    // Without a time before it, the first word may be a host.
    let behind_host = head.body.split_once(' ').filter(|_| !head.has_time);
    let places = [Some(head.body), Some(head.text), behind_host.map(|(_, rest)| rest)];
    places.into_iter().flatten().find(|text| cef::is_event(text))
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    let severity = found.raw(slots::SEVERITY).and_then(value::text);
    let priority = found.raw(PRIORITY).and_then(value::text);
    let known = match (&severity, &priority) {
        (Some(word), _) => cef::severity(word).or_else(|| slots::ocsf_severity(word)),
        (None, Some(priority)) => {
            let number = priority.parse().ok().and_then(|number: usize| SEVERITIES.get(number));
            slots::syslog_severity(number.copied().unwrap_or(priority))
        }
        (None, None) => Some(Severity::Unknown),
    };
    if known.is_none() {
        notes.add(Notes::SEVERITY_UNKNOWN);
    }
    alert.severity = known.unwrap_or_default();
    if let Some(text) = found.raw(slots::ACTION).and_then(value::text) {
        alert.action = slots::action(&text);
    }
    if alert.text(Field::Process).is_none() && alert.text(Field::ProcessId).is_none() {
        let pairs = [(SOURCE_PROCESS, SOURCE_PID), (DEVICE_PROCESS, DEVICE_PID)];
        let pairs = pairs.map(|(name, pid)| (found.raw(name), found.raw(pid)));
        if let Some((name, pid)) = pairs.into_iter().find(|(name, pid)| name.or(*pid).is_some()) {
            alert.set(Field::Process, name.and_then(value::text).unwrap_or_default());
            alert.set(Field::ProcessId, pid.and_then(value::pid).unwrap_or_default());
        }
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
