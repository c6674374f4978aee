//! Suricata's EVE: the events of type `alert` (Suricata 3 to 8).
//!
//! A rule without a message has no title: its id is what it is told by.
//!
//! `host` and `in_iface` name the sensor, which is not the host that the alert is about; they stay
//! in the record.

use shared::alert::{Alert, Field, Severity};

use super::{
    Event, Notes, Product, Writing,
    paths::{Slots, Stop},
    slots::{self, of},
    value,
};

pub(super) const PRODUCT: Product = Product {
    kind: "suricata_eve",
    name: "suricata",
    table: TABLE,
    writing: Writing::Json(Some(STOP)),
    event,
    finish,
};

const EVENT_TYPE: u8 = slots::OWN;

const TABLE: &[(u8, &str)] = &[
    (EVENT_TYPE, "event_type"),
    (slots::TIME, "timestamp"),
    (slots::SEVERITY, "alert.severity"),
    (slots::ACTION, "alert.action"),
    (of(Field::RuleUid), "alert.signature_id"),
    (of(Field::Title), "alert.signature"),
    (of(Field::RuleName), "alert.signature"),
    (of(Field::Category), "alert.category"),
    (of(Field::Techniques), "alert.metadata.mitre_technique_id"),
    (of(Field::Tactics), "alert.metadata.mitre_tactic_id"),
    (of(Field::Tactics), "alert.metadata.mitre_tactic_name"),
    (of(Field::SrcIp), "src_ip"),
    (slots::SRC_PORT, "src_port"),
    (of(Field::DstIp), "dest_ip"),
    (slots::DST_PORT, "dest_port"),
    (of(Field::Protocol), "proto"),
    (of(Field::User), "smb.ntlmssp.user"),
    (of(Field::User), "krb5.cname"),
    (of(Field::User), "mqtt.connect.username"),
    (of(Field::Url), "http.url"),
    (of(Field::UrlHost), "http.hostname"),
    (of(Field::TlsName), "tls.sni"),
    (of(Field::TlsName), "quic.sni"),
    (of(Field::Domain), "dns.query.rrname"),
    (of(Field::Domain), "dns.queries.rrname"),
    (of(Field::Domain), "dns.rrname"),
    (of(Field::FilePath), "fileinfo.filename"),
    (of(Field::FilePath), "files.filename"),
    (of(Field::FilePath), "smb.filename"),
    (of(Field::FilePath), "nfs.filename"),
    (of(Field::FilePath), "ftp_data.filename"),
    (of(Field::FileHash), "fileinfo.sha256"),
    (of(Field::FileHash), "files.sha256"),
    (of(Field::FileHash), "fileinfo.sha1"),
    (of(Field::FileHash), "files.sha1"),
    (of(Field::FileHash), "fileinfo.md5"),
    (of(Field::FileHash), "files.md5"),
    (slots::SHA1, "fileinfo.sha1"),
    (slots::SHA1, "files.sha1"),
    (slots::MD5, "fileinfo.md5"),
    (slots::MD5, "files.md5"),
];

/// An event of another type is not read further than its type: most lines of an EVE file are no
/// alerts.
const STOP: Stop = Stop { slot: EVENT_TYPE, unless: |raw| raw == "\"alert\"" };

/// Says what the event is. One without type counts as an alert if it has an `alert`.
fn event(found: &Slots<'_>) -> Event {
    let alert = [slots::SEVERITY, slots::ACTION, of(Field::RuleUid), of(Field::Title)];
    if found.raw(EVENT_TYPE).is_some() || alert.iter().any(|slot| found.raw(*slot).is_some()) {
        Event::Alert
    } else {
        Event::Untyped
    }
}

/// Sets what is Suricata's own language.
fn finish(alert: &mut Alert<'_>, found: &Slots<'_>, notes: &mut Notes) {
    if let Some(raw) = found.raw(slots::SEVERITY) {
        alert.severity = match value::number(raw) {
            Some(1) => Severity::High,
            Some(2) => Severity::Medium,
            Some(3) => Severity::Low,
            Some(4..=255) => Severity::Informational,
            _ => {
                notes.add(Notes::SEVERITY_UNKNOWN);
                Severity::Unknown
            }
        };
    }
    if let Some(text) = found.raw(slots::ACTION).and_then(value::text) {
        alert.action = slots::action(&text);
    }
}
