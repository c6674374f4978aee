//! Wazuh's `alerts.json` (Wazuh 3 and 4).
//!
//! What a decoder took out of the original message stands under `data`, with numbers as texts and
//! under the names of that decoder: the common ones are read, and those of Suricata, auditd, Docker
//! and Windows.

use shared::alert::{Alert, Field, Severity};

use super::{
    Event, Notes, Product, Writing,
    paths::Slots,
    slots::{self, of},
    value,
};

pub(super) const PRODUCT: Product = Product {
    kind: "wazuh",
    name: "wazuh",
    table: TABLE,
    writing: Writing::Json(None),
    event,
    finish,
};

const AGENT_ID: u8 = slots::OWN;
const AGENT_NAME: u8 = slots::OWN + 1;
const MESSAGE_HOST: u8 = slots::OWN + 2;
/// Name of a Windows object of any type.
const OBJECT: u8 = slots::OWN + 3;
/// Number of a new process, and of the one that made it where there is such.
const NEW_PID: u8 = slots::OWN + 4;
const CREATOR: u8 = slots::OWN + 5;

const HTTP_METHODS: [&str; 9] =
    ["get", "post", "head", "put", "delete", "options", "connect", "patch", "propfind"];

const TABLE: &[(u8, &str)] = &[
    (slots::TIME, "timestamp"),
    (slots::TIME, "@timestamp"),
    (slots::SEVERITY, "rule.level"),
    (of(Field::RuleUid), "rule.id"),
    (of(Field::Title), "rule.description"),
    (of(Field::RuleName), "rule.description"),
    (of(Field::Category), "rule.groups"),
    (of(Field::Techniques), "rule.mitre.id"),
    (of(Field::Techniques), "rule.mitre.technique"),
    (of(Field::Tactics), "rule.mitre.tactic"),
    (AGENT_ID, "agent.id"),
    (AGENT_NAME, "agent.name"),
    (of(Field::DeviceIp), "agent.ip"),
    (MESSAGE_HOST, "predecoder.hostname"),
    (of(Field::SrcIp), "data.srcip"),
    (of(Field::SrcIp), "data.src_ip"),
    (of(Field::SrcIp), "data.win.eventdata.sourceIp"),
    (of(Field::SrcIp), "data.win.eventdata.ipAddress"),
    (of(Field::SrcIp), "data.aws.sourceIPAddress"),
    (of(Field::SrcIp), "data.aws.source_ip_address"),
    (of(Field::SrcIp), "data.office365.ClientIP"),
    (slots::SRC_PORT, "data.srcport"),
    (slots::SRC_PORT, "data.src_port"),
    (slots::SRC_PORT, "data.win.eventdata.sourcePort"),
    (slots::SRC_PORT, "data.win.eventdata.ipPort"),
    (of(Field::SrcHostname), "data.win.eventdata.sourceHostname"),
    (of(Field::SrcHostname), "data.win.eventdata.workstationName"),
    (of(Field::DstIp), "data.dstip"),
    (of(Field::DstIp), "data.dest_ip"),
    (of(Field::DstIp), "data.win.eventdata.destinationIp"),
    (slots::DST_PORT, "data.dstport"),
    (slots::DST_PORT, "data.dest_port"),
    (slots::DST_PORT, "data.win.eventdata.destinationPort"),
    (of(Field::DstHostname), "data.win.eventdata.destinationHostname"),
    (of(Field::DstHostname), "data.win.eventdata.targetServerName"),
    (of(Field::Protocol), "data.protocol"),
    (of(Field::Protocol), "data.proto"),
    (of(Field::Protocol), "data.win.eventdata.protocol"),
    (slots::ACTION, "data.action"),
    (slots::ACTION, "data.alert.action"),
    (of(Field::User), "data.srcuser"),
    (of(Field::User), "data.win.eventdata.user"),
    (of(Field::User), "data.win.eventdata.sourceUser"),
    (of(Field::User), "data.win.eventdata.subjectUserName"),
    (of(Field::User), "syscheck.audit.user.name"),
    (of(Field::User), "data.aws.userIdentity.userName"),
    (of(Field::User), "data.office365.UserId"),
    (of(Field::User), "data.github.actor"),
    (of(Field::TargetUser), "data.dstuser"),
    (of(Field::TargetUser), "data.win.eventdata.targetUserName"),
    (of(Field::TargetUser), "data.win.eventdata.targetUser"),
    (of(Field::UserDomain), "data.win.eventdata.subjectDomainName"),
    (of(Field::UserUid), "data.win.eventdata.subjectUserSid"),
    (of(Field::UserUid), "data.audit.uid"),
    (of(Field::UserUid), "syscheck.audit.user.id"),
    (of(Field::UserUid), "data.aws.userIdentity.principalId"),
    (of(Field::TargetUserDomain), "data.win.eventdata.targetDomainName"),
    (of(Field::TargetUserUid), "data.win.eventdata.targetUserSid"),
    (of(Field::TargetUserUid), "data.win.eventdata.targetSid"),
    (of(Field::ProcessId), "data.win.eventdata.newProcessId"),
    (of(Field::ProcessId), "data.win.eventdata.sourceProcessId"),
    (of(Field::ProcessId), "data.win.eventdata.processId"),
    (of(Field::ProcessId), "data.audit.pid"),
    (of(Field::ProcessId), "syscheck.audit.process.id"),
    (NEW_PID, "data.win.eventdata.newProcessId"),
    (CREATOR, "data.win.eventdata.processId"),
    (of(Field::ParentProcessId), "data.win.eventdata.parentProcessId"),
    (of(Field::ParentProcessId), "data.audit.ppid"),
    (of(Field::ParentProcessId), "syscheck.audit.process.ppid"),
    (of(Field::Process), "data.win.eventdata.image"),
    (of(Field::Process), "data.win.eventdata.sourceImage"),
    (of(Field::Process), "data.win.eventdata.newProcessName"),
    (of(Field::Process), "data.win.eventdata.processName"),
    (of(Field::Process), "data.audit.exe"),
    (of(Field::Process), "syscheck.audit.process.name"),
    (of(Field::CommandLine), "data.win.eventdata.commandLine"),
    (of(Field::CommandLine), "data.command"),
    (of(Field::ParentProcess), "data.win.eventdata.parentImage"),
    (of(Field::ParentProcess), "data.win.eventdata.parentProcessName"),
    (of(Field::ParentProcess), "syscheck.audit.process.parent_name"),
    (of(Field::Container), "data.docker.Actor.Attributes.name"),
    (of(Field::Container), "data.docker.Actor.ID"),
    (of(Field::FileHash), "syscheck.sha256_after"),
    (of(Field::FileHash), "syscheck.sha1_after"),
    (of(Field::FileHash), "syscheck.md5_after"),
    (of(Field::FileHash), "data.win.eventdata.hashes"),
    (of(Field::FileHash), "data.virustotal.source.sha1"),
    (of(Field::FileHash), "data.virustotal.source.md5"),
    (slots::SHA1, "syscheck.sha1_after"),
    (slots::SHA1, "data.virustotal.source.sha1"),
    (slots::MD5, "syscheck.md5_after"),
    (slots::MD5, "data.virustotal.source.md5"),
    (of(Field::FilePath), "syscheck.path"),
    (of(Field::FilePath), "data.win.eventdata.targetFilename"),
    (of(Field::FilePath), "data.audit.file.name"),
    (of(Field::FilePath), "data.virustotal.source.file"),
    (of(Field::RegistryKey), "data.win.eventdata.targetObject"),
    (OBJECT, "data.win.eventdata.objectName"),
    (of(Field::Url), "data.url"),
    (of(Field::Url), "data.http.url"),
    (of(Field::UrlHost), "data.http.hostname"),
    (of(Field::TlsName), "data.tls.sni"),
    (of(Field::Domain), "data.dns.query.rrname"),
    (of(Field::Domain), "data.dns.rrname"),
    (of(Field::Domain), "data.win.eventdata.queryName"),
];

/// Without any rule it is an event of an archive.
fn event(found: &Slots<'_>) -> Event {
    let rule = [slots::SEVERITY, of(Field::RuleUid), of(Field::Title)];
    if rule.iter().any(|slot| found.raw(*slot).is_some()) { Event::Alert } else { Event::Other }
}

/// Sets what is Wazuh's own language.
fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    if let Some(raw) = found.raw(slots::SEVERITY) {
        alert.severity = match value::number(raw) {
            Some(0..=3) => Severity::Informational,
            Some(4..=6) => Severity::Low,
            Some(7..=11) => Severity::Medium,
            Some(12..=14) => Severity::High,
            Some(15..) => Severity::Critical,
            Some(..0) | None => {
                notes.add(Notes::SEVERITY_UNKNOWN);
                Severity::Unknown
            }
        };
    }
    if let Some(text) = found.raw(slots::ACTION).and_then(value::text) {
        alert.action = slots::action(&text);
    }
    if found.raw(NEW_PID).is_some()
        && let Some(creator) = found.raw(CREATOR).and_then(value::pid)
    {
        alert.set(Field::ParentProcessId, creator);
    }
    // Agent 000 is the manager itself: it also reads what other hosts send by syslog, and says who
    // in the message.
    let agent = found.raw(AGENT_ID).and_then(value::text);
    let manager = matches!(agent.as_deref(), Some("000" | "0"));
    let (first, second) =
        if manager { (MESSAGE_HOST, AGENT_NAME) } else { (AGENT_NAME, MESSAGE_HOST) };
    let name = found.raw(first).or(found.raw(second)).and_then(value::text);
    if let Some(name) = name {
        alert.set(Field::DeviceHostname, name);
    }
    // The decoder of web servers' logs calls the request's method its protocol.
    if alert.text(Field::Protocol).is_some_and(|text| HTTP_METHODS.contains(&text)) {
        alert.set(Field::Protocol, "");
    }
    if alert.text(Field::DeviceIp) == Some("any") {
        alert.set(Field::DeviceIp, "");
    }
    if let Some(object) = found.raw(OBJECT).and_then(value::text)
        && alert.text(Field::FilePath).is_none()
        && object.contains('\\')
    {
        alert.set(Field::FilePath, object);
    }
    slots::sort_out_registry(alert);
}
