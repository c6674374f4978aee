//! Windows events: JSON as tools write it that read event logs (`Event`, `System`, `EventData`), JSON
//! as Winlogbeat writes it, and the events' own XML, with or without an element `Events` around them.
//!
//! Every event is an alert: the source is a log of detections, or what a policy chooses of another.
//! An event does not say what happened in words unless it was rendered, so its title names its
//! channel and number; those that every analyst knows have their customary words.

use shared::alert::{Action, Alert, Field, Severity};

use super::{
    Event, Notes, Product, Writing,
    paths::Slots,
    slots::{self, of},
    value,
};

pub(super) const PRODUCT: Product = Product {
    kind: "windows_event",
    name: "windows",
    table: TABLE,
    writing: Writing::JsonOrXml,
    event,
    finish,
};

const CHANNEL: u8 = slots::OWN;
const KEYWORDS: u8 = slots::OWN + 1;
const SOURCE_IP: u8 = slots::OWN + 2;
const MESSAGE: u8 = slots::OWN + 3;
/// The process that an event calls by its number alone; of one that says a new one, who made that.
const CREATOR: u8 = slots::OWN + 4;

/// A number with an attribute beside it is an object in JSON. The account in `System` is the one that wrote the event,
/// which mostly is the system, and not the user who acted.
const TABLE: &[(u8, &str)] = &[
    (slots::TIME, "/Event/System/TimeCreated/#attributes/SystemTime"),
    (slots::TIME, "/Event/System/TimeCreated/SystemTime"),
    (slots::TIME, "/@timestamp"),
    (slots::SEVERITY, "/Event/System/Level"),
    (slots::SEVERITY, "/winlog/level"),
    (slots::SEVERITY, "/log/level"),
    (KEYWORDS, "/Event/System/Keywords"),
    (CHANNEL, "/Event/System/Channel"),
    (CHANNEL, "/winlog/channel"),
    (MESSAGE, "/Event/RenderingInfo/Message"),
    (MESSAGE, "/message"),
    (of(Field::RuleUid), "/Event/System/EventID/#text"),
    (of(Field::RuleUid), "/Event/System/EventID"),
    (of(Field::RuleUid), "/winlog/event_id"),
    (of(Field::Category), "/Event/System/Provider/#attributes/Name"),
    (of(Field::Category), "/Event/System/Provider/Name"),
    (of(Field::Category), "/winlog/provider_name"),
    (of(Field::DeviceHostname), "/Event/System/Computer"),
    (of(Field::DeviceHostname), "/winlog/computer_name"),
    (of(Field::Techniques), "/Event/EventData/RuleName"),
    (of(Field::Techniques), "/winlog/event_data/RuleName"),
    (SOURCE_IP, "/Event/EventData/SourceIp"),
    (SOURCE_IP, "/Event/EventData/IpAddress"),
    (SOURCE_IP, "/Event/EventData/SourceAddress"),
    (SOURCE_IP, "/winlog/event_data/SourceIp"),
    (SOURCE_IP, "/winlog/event_data/IpAddress"),
    (SOURCE_IP, "/winlog/event_data/SourceAddress"),
    (slots::SRC_PORT, "/Event/EventData/SourcePort"),
    (slots::SRC_PORT, "/Event/EventData/IpPort"),
    (slots::SRC_PORT, "/winlog/event_data/SourcePort"),
    (slots::SRC_PORT, "/winlog/event_data/IpPort"),
    (of(Field::SrcHostname), "/Event/EventData/SourceHostname"),
    (of(Field::SrcHostname), "/Event/EventData/WorkstationName"),
    (of(Field::SrcHostname), "/winlog/event_data/WorkstationName"),
    (of(Field::DstIp), "/Event/EventData/DestinationIp"),
    (of(Field::DstIp), "/Event/EventData/DestAddress"),
    (of(Field::DstIp), "/winlog/event_data/DestinationIp"),
    (of(Field::DstIp), "/winlog/event_data/DestAddress"),
    (slots::DST_PORT, "/Event/EventData/DestinationPort"),
    (slots::DST_PORT, "/Event/EventData/DestPort"),
    (slots::DST_PORT, "/winlog/event_data/DestinationPort"),
    (slots::DST_PORT, "/winlog/event_data/DestPort"),
    (of(Field::DstHostname), "/Event/EventData/DestinationHostname"),
    (of(Field::DstHostname), "/winlog/event_data/DestinationHostname"),
    (of(Field::Protocol), "/Event/EventData/Protocol"),
    (of(Field::Protocol), "/winlog/event_data/Protocol"),
    (of(Field::User), "/Event/EventData/User"),
    (of(Field::User), "/Event/EventData/SubjectUserName"),
    (of(Field::User), "/winlog/event_data/User"),
    (of(Field::User), "/winlog/event_data/SubjectUserName"),
    (of(Field::TargetUser), "/Event/EventData/TargetUserName"),
    (of(Field::TargetUser), "/winlog/event_data/TargetUserName"),
    (of(Field::UserDomain), "/Event/EventData/SubjectDomainName"),
    (of(Field::UserDomain), "/winlog/event_data/SubjectDomainName"),
    (of(Field::UserUid), "/Event/EventData/SubjectUserSid"),
    (of(Field::UserUid), "/winlog/event_data/SubjectUserSid"),
    (of(Field::TargetUserDomain), "/Event/EventData/TargetDomainName"),
    (of(Field::TargetUserDomain), "/winlog/event_data/TargetDomainName"),
    (of(Field::TargetUserUid), "/Event/EventData/TargetUserSid"),
    (of(Field::TargetUserUid), "/Event/EventData/TargetSid"),
    (of(Field::TargetUserUid), "/winlog/event_data/TargetUserSid"),
    (of(Field::TargetUserUid), "/winlog/event_data/TargetSid"),
    (of(Field::ProcessId), "/Event/EventData/NewProcessId"),
    (of(Field::ProcessId), "/Event/EventData/SourceProcessId"),
    (of(Field::ProcessId), "/Event/EventData/ProcessId"),
    (of(Field::ProcessId), "/Event/EventData/ProcessID"),
    (of(Field::ProcessId), "/winlog/event_data/NewProcessId"),
    (of(Field::ProcessId), "/winlog/event_data/SourceProcessId"),
    (of(Field::ProcessId), "/winlog/event_data/ProcessId"),
    (of(Field::ProcessId), "/winlog/event_data/ProcessID"),
    (of(Field::ParentProcessId), "/Event/EventData/ParentProcessId"),
    (of(Field::ParentProcessId), "/winlog/event_data/ParentProcessId"),
    (CREATOR, "/Event/EventData/ProcessId"),
    (CREATOR, "/winlog/event_data/ProcessId"),
    (of(Field::Process), "/Event/EventData/Image"),
    (of(Field::Process), "/Event/EventData/NewProcessName"),
    (of(Field::Process), "/Event/EventData/SourceImage"),
    (of(Field::Process), "/Event/EventData/ProcessName"),
    (of(Field::Process), "/Event/EventData/Process Name"),
    (of(Field::Process), "/winlog/event_data/Image"),
    (of(Field::Process), "/winlog/event_data/NewProcessName"),
    (of(Field::Process), "/winlog/event_data/SourceImage"),
    (of(Field::Process), "/winlog/event_data/ProcessName"),
    (of(Field::CommandLine), "/Event/EventData/CommandLine"),
    (of(Field::CommandLine), "/Event/EventData/ProcessCommandLine"),
    (of(Field::CommandLine), "/winlog/event_data/CommandLine"),
    (of(Field::ParentProcess), "/Event/EventData/ParentImage"),
    (of(Field::ParentProcess), "/Event/EventData/ParentProcessName"),
    (of(Field::ParentProcess), "/winlog/event_data/ParentImage"),
    (of(Field::ParentProcess), "/winlog/event_data/ParentProcessName"),
    (of(Field::FileHash), "/Event/EventData/Hashes"),
    (of(Field::FileHash), "/winlog/event_data/Hashes"),
    (of(Field::FilePath), "/Event/EventData/TargetFilename"),
    (of(Field::FilePath), "/Event/EventData/ImageLoaded"),
    (of(Field::FilePath), "/Event/EventData/RelativeTargetName"),
    (of(Field::FilePath), "/Event/EventData/Path"),
    (of(Field::FilePath), "/winlog/event_data/TargetFilename"),
    (of(Field::FilePath), "/winlog/event_data/ImageLoaded"),
    (of(Field::RegistryKey), "/Event/EventData/TargetObject"),
    (of(Field::RegistryKey), "/winlog/event_data/TargetObject"),
    (of(Field::Url), "/Event/EventData/url"),
    (of(Field::Domain), "/Event/EventData/QueryName"),
    (of(Field::Domain), "/winlog/event_data/QueryName"),
];

const SYSMON: &str = "Microsoft-Windows-Sysmon/Operational";

/// What events are called, by channel and number.
const TITLES: &[(&str, u32, &str)] = &[
    ("Security", 1102, "audit log was cleared"),
    ("System", 104, "event log was cleared"),
    ("Security", 4624, "logon"),
    ("Security", 4625, "failed logon"),
    ("Security", 4648, "logon with explicit credentials"),
    ("Security", 4662, "operation on a directory object"),
    ("Security", 4663, "access to an object"),
    ("Security", 4672, "special privileges at logon"),
    ("Security", 4688, "process was created"),
    ("Security", 4697, "service was installed"),
    ("Security", 4698, "scheduled task was created"),
    ("Security", 4702, "scheduled task was changed"),
    ("Security", 4719, "audit policy was changed"),
    ("Security", 4720, "user account was created"),
    ("Security", 4724, "attempt to reset a password"),
    ("Security", 4728, "member was added to a global group"),
    ("Security", 4732, "member was added to a local group"),
    ("Security", 4740, "user account was locked out"),
    ("Security", 4756, "member was added to a universal group"),
    ("Security", 4768, "Kerberos ticket-granting ticket was requested"),
    ("Security", 4769, "Kerberos service ticket was requested"),
    ("Security", 4771, "Kerberos pre-authentication failed"),
    ("Security", 4776, "credentials were checked"),
    ("Security", 5136, "directory object was changed"),
    ("Security", 5140, "network share was accessed"),
    ("Security", 5145, "network share object was checked"),
    ("Security", 5156, "connection was permitted"),
    ("Security", 5157, "connection was blocked"),
    ("System", 7045, "service was installed"),
    ("Microsoft-Windows-PowerShell/Operational", 4103, "PowerShell module logging"),
    ("Microsoft-Windows-PowerShell/Operational", 4104, "PowerShell script block"),
    ("Microsoft-Windows-Windows Defender/Operational", 1116, "malware was detected"),
    ("Microsoft-Windows-Windows Defender/Operational", 1117, "malware was acted on"),
    ("Microsoft-Windows-Windows Defender/Operational", 5001, "protection was disabled"),
    (SYSMON, 1, "process was created"),
    (SYSMON, 2, "file creation time was changed"),
    (SYSMON, 3, "network connection"),
    (SYSMON, 5, "process ended"),
    (SYSMON, 6, "driver was loaded"),
    (SYSMON, 7, "image was loaded"),
    (SYSMON, 8, "remote thread was created"),
    (SYSMON, 10, "process was accessed"),
    (SYSMON, 11, "file was created"),
    (SYSMON, 12, "registry key was created or deleted"),
    (SYSMON, 13, "registry value was set"),
    (SYSMON, 17, "pipe was created"),
    (SYSMON, 18, "pipe was connected"),
    (SYSMON, 22, "DNS query"),
    (SYSMON, 25, "process was tampered with"),
];

/// Events that say what was done about it: the filtering platform, AppLocker and Windows' own antivirus.
const ACTIONS: &[(&str, &[u32], Action)] = &[
    ("Security", &[5150, 5151, 5152, 5153, 5155, 5157, 5159], Action::Denied),
    ("Security", &[5154, 5156, 5158], Action::Allowed),
    ("Microsoft-Windows-AppLocker/EXE and DLL", &[8004], Action::Denied),
    ("Microsoft-Windows-AppLocker/EXE and DLL", &[8002, 8003], Action::Allowed),
    ("Microsoft-Windows-AppLocker/MSI and Script", &[8007], Action::Denied),
    ("Microsoft-Windows-AppLocker/MSI and Script", &[8005, 8006], Action::Allowed),
    (SYSMON, &[27, 28], Action::Denied),
    ("Microsoft-Windows-Windows Defender/Operational", &[1121, 1123, 1126], Action::Denied),
];

/// The bit of the keywords that says that what was audited failed, and the one that it succeeded.
const AUDIT_FAILURE: u64 = 1 << 52;
const AUDIT_SUCCESS: u64 = 1 << 53;

fn event(found: &Slots<'_>) -> Event {
    let is_event = found.raw(of(Field::RuleUid)).is_some() || found.raw(CHANNEL).is_some();
    if is_event { Event::Alert } else { Event::Untyped }
}

fn finish<'a>(alert: &mut Alert<'a>, found: &Slots<'a>, notes: &mut Notes) {
    severity(alert, found, notes);
    let channel = found.raw(CHANNEL).and_then(value::text).unwrap_or_default();
    let number = alert.text(Field::RuleUid).unwrap_or_default().to_owned();
    let known = TITLES.iter().find(|(of, id, _)| *of == channel && number.parse() == Ok(*id));
    let number_is = |ids: &[u32]| number.parse().is_ok_and(|number: u32| ids.contains(&number));
    let acted = ACTIONS.iter().find(|(of, ids, _)| *of == channel && number_is(ids));
    alert.action = acted.map(|(.., action)| *action).unwrap_or_default();
    if channel == "Security"
        && number == "4688"
        && let Some(creator) = found.raw(CREATOR).and_then(value::pid)
    {
        alert.set(Field::ParentProcessId, creator);
    }
    let message = found.raw(MESSAGE).and_then(value::text);
    let title = match (known, &message) {
        (Some((.., title)), _) => (*title).to_owned(),
        (None, Some(message)) => message.lines().next().unwrap_or_default().trim().to_owned(),
        (None, None) => format!("{channel} event {number}").trim_start().to_owned(),
    };
    alert.set(Field::Title, title);
    if let Some(ip) = found.raw(SOURCE_IP).and_then(value::text) {
        // An IPv4 address as IPv6 writes it is one.
        let ip = ip.strip_prefix("::ffff:").map(str::to_owned).unwrap_or(ip.into_owned());
        alert.set(Field::SrcIp, ip);
    }
    if alert.src_port == Some(0) {
        alert.src_port = None;
    }
    slots::sort_out_endpoints(alert);
}

fn severity(alert: &mut Alert<'_>, found: &Slots<'_>, notes: &mut Notes) {
    let Some(raw) = found.raw(slots::SEVERITY) else { return };
    let text = value::text(raw).unwrap_or_default();
    let keywords = found.raw(KEYWORDS).and_then(value::text).unwrap_or_default();
    let bits = keywords.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let has = |bit| bits.is_some_and(|bits| bits & bit != 0);
    alert.severity = match &*text.to_ascii_lowercase() {
        "1" | "critical" => Severity::Critical,
        "2" | "error" => Severity::High,
        "3" | "warning" => Severity::Medium,
        "4" | "5" | "information" | "verbose" => Severity::Informational,
        "0" if has(AUDIT_FAILURE) => Severity::Low,
        "0" if has(AUDIT_SUCCESS) => Severity::Informational,
        "0" => Severity::Unknown,
        _ => {
            notes.add(Notes::SEVERITY_UNKNOWN);
            Severity::Unknown
        }
    };
}
