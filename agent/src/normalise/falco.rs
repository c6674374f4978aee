//! Falco's JSON output (`json_output: true`), one object an alert.
//!
//! What a rule prints stands under `output_fields` too, under the names of Falco's own fields, which
//! have dots in them. Its priorities are syslog's severities. A rule has no id but its name.

use std::net::IpAddr;

use shared::alert::{Alert, Field, Severity};

use super::{
    Event, Notes, Product, Writing,
    paths::Slots,
    slots::{self, of},
    value,
};

pub(super) const PRODUCT: Product = Product {
    kind: "falco",
    name: "falco",
    table: TABLE,
    writing: Writing::Json(None),
    event,
    finish,
};

const OUTPUT: u8 = slots::OWN;
const FD_NAME: u8 = slots::OWN + 1;
const TAGS: u8 = slots::OWN + 2;

const TABLE: &[(u8, &str)] = &[
    (slots::TIME, "time"),
    (slots::TIME, "/output_fields/evt.time"),
    (slots::SEVERITY, "priority"),
    (of(Field::RuleUid), "rule"),
    (of(Field::Title), "rule"),
    (of(Field::RuleName), "rule"),
    (OUTPUT, "output"),
    (of(Field::Category), "source"),
    (of(Field::Techniques), "tags"),
    (TAGS, "tags"),
    (of(Field::DeviceHostname), "hostname"),
    (of(Field::DeviceHostname), "/output_fields/evt.hostname"),
    (of(Field::User), "/output_fields/user.name"),
    (of(Field::User), "/output_fields/ka.user.name"),
    (of(Field::Process), "/output_fields/proc.exepath"),
    (of(Field::Process), "/output_fields/proc.name"),
    (of(Field::CommandLine), "/output_fields/proc.cmdline"),
    (of(Field::ParentProcess), "/output_fields/proc.pexepath"),
    (of(Field::ParentProcess), "/output_fields/proc.pname"),
    (of(Field::ProcessId), "/output_fields/proc.pid"),
    (of(Field::ParentProcessId), "/output_fields/proc.ppid"),
    (of(Field::UserUid), "/output_fields/user.uid"),
    (of(Field::Container), "/output_fields/container.name"),
    (of(Field::Container), "/output_fields/container.id"),
    (of(Field::FilePath), "/output_fields/fs.path.name"),
    (FD_NAME, "/output_fields/fd.name"),
    (of(Field::SrcIp), "/output_fields/fd.cip"),
    (slots::SRC_PORT, "/output_fields/fd.cport"),
    (of(Field::DstIp), "/output_fields/fd.sip"),
    (slots::DST_PORT, "/output_fields/fd.sport"),
    (of(Field::Protocol), "/output_fields/fd.l4proto"),
    (of(Field::DstHostname), "/output_fields/fd.sip.name"),
];

/// What Falco calls the container of what runs in none.
const NO_CONTAINER: &str = "host";

fn event(found: &Slots<'_>) -> Event {
    let alert = [of(Field::Title), OUTPUT, slots::SEVERITY];
    if alert.iter().any(|slot| found.raw(*slot).is_some()) { Event::Alert } else { Event::Untyped }
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    if let Some(priority) = found.raw(slots::SEVERITY).and_then(value::text) {
        alert.severity = slots::syslog_severity(&priority).unwrap_or_else(|| {
            notes.add(Notes::SEVERITY_UNKNOWN);
            Severity::Unknown
        });
    }
    if alert.text(Field::Title).is_none()
        && let Some(output) = found.raw(OUTPUT).and_then(value::text)
    {
        alert.set(Field::Title, output);
    }
    if let Some(tactics) = found.raw(TAGS).and_then(value::tagged_tactics) {
        alert.set(Field::Tactics, tactics);
    }
    if alert.text(Field::Container) == Some(NO_CONTAINER) {
        alert.set(Field::Container, "");
    }
    if let Some(name) = found.raw(FD_NAME).and_then(value::text) {
        if name.starts_with('/') && alert.text(Field::FilePath).is_none() {
            alert.set(Field::FilePath, name);
        } else if let Some((src, dst)) = name.split_once("->")
            && alert.text(Field::SrcIp).is_none()
            && alert.text(Field::DstIp).is_none()
        {
            alert.src_port = set_end(alert, Field::SrcIp, src).or(alert.src_port);
            alert.dst_port = set_end(alert, Field::DstIp, dst).or(alert.dst_port);
        }
    }
}

/// Takes an end of a connection, whose port stands behind its address without brackets; returns the
/// port.
fn set_end(alert: &mut Alert<'_>, field: Field, end: &str) -> Option<u16> {
    let (address, port) = end.rsplit_once(':').unwrap_or((end, ""));
    let Ok(address) = address.parse::<IpAddr>() else {
        alert.set(field, end.to_owned());
        return None;
    };
    alert.set(field, address.to_canonical().to_string());
    port.parse().ok()
}
