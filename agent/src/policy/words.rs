//! What the log sources of rules mean: which alerts, and by what names these have their fields.
//!
//! Those of Windows' events mean what Sigma's taxonomy says: a service is a channel, a category some of Sysmon's
//! events, or of others that are like them. So public rules need no change but a mapping `signalbox`.
//!
//! Of other log sources the product is an alert's, and the service is the agent's source. What else they mean a policy
//! says in its first document, which goes before what is known here:
//! ```text
//! mapping:
//!   fields: {c-uri: url}                   # for all rules: the rules' name, then the alert's or the record's
//!   logsources:
//!     - category: proxy                    # which rules: category, product, service
//!       where: {product: [squid, zscaler]} # which alerts
//!       fields: {cs-host: domain}          # for these rules
//!   placeholders:
//!     admin_hosts: [10.0.0.5, adm-*]       # what `|expand` puts in
//! ```
//!
//! Sources: Sigma's taxonomy appendix, version 2.1; Microsoft's and Sysmon's documents for channels and events.

use shared::sigma::{Logsource, LogsourceMapping, Mapping, Node};

use super::{Fault, terms::fault};

/// The key of the first document.
pub(super) const KEY: &str = "mapping";

const WINDOWS: &str = "windows";

/// Services of Windows, and the channels that they are.
const SERVICES: &[(&str, &[&str])] = &[
    ("application", &["Application"]),
    ("security", &["Security"]),
    ("system", &["System"]),
    (SYSMON, &["Microsoft-Windows-Sysmon/Operational"]),
    (POWERSHELL, &["Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"]),
    (POWERSHELL_CLASSIC, &["Windows PowerShell"]),
    (DEFENDER, &["Microsoft-Windows-Windows Defender/Operational"]),
    (
        "applocker",
        &[
            "Microsoft-Windows-AppLocker/MSI and Script",
            "Microsoft-Windows-AppLocker/EXE and DLL",
            "Microsoft-Windows-AppLocker/Packaged app-Deployment",
            "Microsoft-Windows-AppLocker/Packaged app-Execution",
        ],
    ),
    (
        "application-experience",
        &[
            "Microsoft-Windows-Application-Experience/Program-Telemetry",
            "Microsoft-Windows-Application-Experience/Program-Compatibility-Assistant",
        ],
    ),
    ("appmodel-runtime", &["Microsoft-Windows-AppModel-Runtime/Admin"]),
    ("appxdeployment-server", &["Microsoft-Windows-AppXDeploymentServer/Operational"]),
    ("appxpackaging-om", &["Microsoft-Windows-AppxPackaging/Operational"]),
    ("bitlocker", &["Microsoft-Windows-BitLocker/BitLocker Management"]),
    ("bits-client", &["Microsoft-Windows-Bits-Client/Operational"]),
    ("capi2", &["Microsoft-Windows-CAPI2/Operational"]),
    (
        "certificateservicesclient-lifecycle-system",
        &["Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational"],
    ),
    ("codeintegrity-operational", &["Microsoft-Windows-CodeIntegrity/Operational"]),
    ("dhcp", &["Microsoft-Windows-DHCP-Server/Operational"]),
    ("diagnosis-scripted", &["Microsoft-Windows-Diagnosis-Scripted/Operational"]),
    ("dns-client", &["Microsoft-Windows-DNS Client Events/Operational"]),
    ("dns-server", &["DNS Server"]),
    ("dns-server-analytic", &["Microsoft-Windows-DNS-Server/Analytical"]),
    ("dns-server-audit", &["Microsoft-Windows-DNS-Server/Audit"]),
    ("driver-framework", &["Microsoft-Windows-DriverFrameworks-UserMode/Operational"]),
    ("firewall-as", &["Microsoft-Windows-Windows Firewall With Advanced Security/Firewall"]),
    ("hyper-v-worker", &["Microsoft-Windows-Hyper-V-Worker"]),
    ("iis-configuration", &["Microsoft-IIS-Configuration/Operational"]),
    ("kernel-event-tracing", &["Microsoft-Windows-Kernel-EventTracing"]),
    (
        "kernel-shimengine",
        &[
            "Microsoft-Windows-Kernel-ShimEngine/Operational",
            "Microsoft-Windows-Kernel-ShimEngine/Diagnostic",
        ],
    ),
    ("ldap", &["Microsoft-Windows-LDAP-Client/Debug"]),
    ("lsa-server", &["Microsoft-Windows-LSA/Operational"]),
    ("msexchange-management", &["MSExchange Management"]),
    ("ntfs", &["Microsoft-Windows-Ntfs/Operational"]),
    ("ntlm", &["Microsoft-Windows-NTLM/Operational"]),
    ("openssh", &["OpenSSH/Operational"]),
    ("printservice-admin", &["Microsoft-Windows-PrintService/Admin"]),
    ("printservice-operational", &["Microsoft-Windows-PrintService/Operational"]),
    (
        "security-mitigations",
        &[
            "Microsoft-Windows-Security-Mitigations/Kernel Mode",
            "Microsoft-Windows-Security-Mitigations/User Mode",
        ],
    ),
    ("sense", &["Microsoft-Windows-SENSE/Operational"]),
    (
        "servicebus-client",
        &["Microsoft-ServiceBus-Client/Admin", "Microsoft-ServiceBus-Client/Operational"],
    ),
    ("shell-core", &["Microsoft-Windows-Shell-Core/Operational"]),
    ("smbclient-connectivity", &["Microsoft-Windows-SmbClient/Connectivity"]),
    ("smbclient-security", &["Microsoft-Windows-SmbClient/Security"]),
    ("smbserver-connectivity", &["Microsoft-Windows-SMBServer/Connectivity"]),
    ("taskscheduler", &["Microsoft-Windows-TaskScheduler/Operational"]),
    (
        "terminalservices-localsessionmanager",
        &["Microsoft-Windows-TerminalServices-LocalSessionManager/Operational"],
    ),
    ("vhdmp", &["Microsoft-Windows-VHDMP/Operational"]),
    ("wmi", &["Microsoft-Windows-WMI-Activity/Operational"]),
];

const SYSMON: &str = "sysmon";
const POWERSHELL: &str = "powershell";
const POWERSHELL_CLASSIC: &str = "powershell-classic";
const DEFENDER: &str = "windefend";

/// A category of Windows' events.
struct Category {
    name: &'static str,
    service: &'static str,
    /// Numbers of its events.
    events: &'static [&'static str],
    /// The types of event that it has, where the number does not say enough.
    types: &'static [&'static str],
    /// The rules' names, and the events'.
    fields: &'static [(&'static str, &'static str)],
}

const fn sysmon(name: &'static str, events: &'static [&'static str]) -> Category {
    Category { name, service: SYSMON, events, types: &[], fields: &[] }
}

const fn powershell(
    name: &'static str,
    service: &'static str,
    event: &'static [&'static str],
) -> Category {
    Category { name, service, events: event, types: &[], fields: &[] }
}

const CATEGORIES: &[Category] = &[
    sysmon("process_creation", &["1"]),
    // Not the user: rules ask for a domain and a name, which stand apart here.
    Category {
        name: "process_creation",
        service: "security",
        events: &["4688"],
        types: &[],
        fields: &[
            ("Image", "NewProcessName"),
            ("ParentImage", "ParentProcessName"),
            ("ProcessId", "NewProcessId"),
            ("ParentProcessId", "ProcessId"),
            ("LogonId", "SubjectLogonId"),
        ],
    },
    sysmon("file_change", &["2"]),
    sysmon("network_connection", &["3"]),
    sysmon("sysmon_status", &["4", "16"]),
    sysmon("process_termination", &["5"]),
    sysmon("driver_load", &["6"]),
    sysmon("image_load", &["7"]),
    sysmon("create_remote_thread", &["8"]),
    sysmon("raw_access_thread", &["9"]),
    sysmon("process_access", &["10"]),
    sysmon("file_event", &["11"]),
    sysmon("registry_event", &["12", "13", "14"]),
    Category { types: &["CreateKey"], ..sysmon("registry_add", &["12"]) },
    Category { types: &["DeleteKey", "DeleteValue"], ..sysmon("registry_delete", &["12"]) },
    sysmon("registry_set", &["13"]),
    sysmon("registry_rename", &["14"]),
    sysmon("create_stream_hash", &["15"]),
    sysmon("pipe_created", &["17", "18"]),
    sysmon("wmi_event", &["19", "20", "21"]),
    sysmon("dns_query", &["22"]),
    sysmon("file_delete", &["23"]),
    sysmon("clipboard_change", &["24"]),
    sysmon("clipboard_capture", &["24"]),
    sysmon("process_tampering", &["25"]),
    sysmon("file_delete_detected", &["26"]),
    sysmon("file_block_executable", &["27"]),
    sysmon("file_block_shredding", &["28"]),
    sysmon("file_executable_detected", &["29"]),
    sysmon("sysmon_error", &["255"]),
    powershell("ps_module", POWERSHELL, &["4103"]),
    powershell("ps_script", POWERSHELL, &["4104"]),
    powershell("ps_classic_start", POWERSHELL_CLASSIC, &["400"]),
    powershell("ps_classic_provider_start", POWERSHELL_CLASSIC, &["600"]),
    powershell("ps_classic_script", POWERSHELL_CLASSIC, &["800"]),
];

/// Events of Windows' own antivirus that name a threat or its file. Their category is every product's.
const ANTIVIRUS: Category = Category {
    name: "antivirus",
    service: DEFENDER,
    events: &[
        "1006", "1007", "1008", "1009", "1010", "1011", "1012", "1017", "1018", "1019", "1115",
        "1116",
    ],
    types: &[],
    fields: &[("Signature", "ThreatName"), ("Filename", "Path")],
};

/// Returns what is known of the words of rules, and what a policy's own mapping says of them.
pub(super) fn read(own: Option<&Node>) -> Result<Mapping, Fault> {
    let mut mapping = Mapping::default();
    if let Some(own) = own {
        read_own(own, &mut mapping)?;
    }
    let known = windows().filter(|known| {
        let is_same = |own: &LogsourceMapping| {
            let parts = |of: &Logsource| {
                [&of.category, &of.product, &of.service].map(|part| part.to_ascii_lowercase())
            };
            parts(&own.logsource) == parts(&known.logsource)
        };
        !mapping.logsources.iter().any(is_same)
    });
    let known = known.collect::<Vec<_>>();
    mapping.logsources.extend(known);
    Ok(mapping)
}

/// Returns what Sigma's taxonomy says of the events of Windows.
fn windows() -> impl Iterator<Item = LogsourceMapping> {
    let services = SERVICES.iter().map(|(service, channels)| LogsourceMapping {
        logsource: Logsource::new("", WINDOWS, service),
        conditions: channel(channels),
        ..LogsourceMapping::default()
    });
    let categories = CATEGORIES.iter().map(|category| category.mapping(WINDOWS));
    services.chain(categories).chain([ANTIVIRUS.mapping("")])
}

/// A condition: a field of events, and the values of which it has one.
type Condition = (Box<str>, Vec<Box<str>>);

fn channel(channels: &[&str]) -> Vec<Condition> {
    vec![one_of("product", &[WINDOWS]), one_of("Channel", channels)]
}

fn one_of(field: &str, values: &[&str]) -> Condition {
    (field.into(), values.iter().map(|value| Box::from(*value)).collect())
}

impl Category {
    fn mapping(&self, product: &str) -> LogsourceMapping {
        let channels = SERVICES.iter().find(|(service, _)| *service == self.service);
        let mut conditions = channel(channels.map(|(_, channels)| *channels).unwrap_or_default());
        conditions.push(one_of("EventID", self.events));
        if !self.types.is_empty() {
            conditions.push(one_of("EventType", self.types));
        }
        let fields = self.fields.iter().map(|(rules, events)| ((*rules).into(), (*events).into()));
        LogsourceMapping {
            logsource: Logsource::new(self.name, product, ""),
            conditions,
            fields: fields.collect(),
        }
    }
}

fn read_own(node: &Node, mapping: &mut Mapping) -> Result<(), Fault> {
    for (name, value) in entries(node, "is no mapping")? {
        match &*name.scalar().unwrap_or_default() {
            "fields" => mapping.fields = names(value)?,
            "logsources" => {
                let items = value.items().ok_or_else(|| wrong(value, "logsources is no list"))?;
                let each = items.iter().map(logsource).collect::<Result<Vec<_>, _>>()?;
                mapping.logsources = each;
            }
            "placeholders" => {
                for (name, values) in entries(value, "placeholders is no mapping")? {
                    mapping.placeholders.insert(text(name)?, texts(values)?);
                }
            }
            other => {
                let message = format!("{other} is not known: fields, logsources, placeholders");
                return Err(wrong(name, message));
            }
        }
    }
    Ok(())
}

fn logsource(node: &Node) -> Result<LogsourceMapping, Fault> {
    let mut own = LogsourceMapping::default();
    for (name, value) in entries(node, "a log source is no mapping")? {
        match &*name.scalar().unwrap_or_default() {
            "category" => own.logsource.category = text(value)?,
            "product" => own.logsource.product = text(value)?,
            "service" => own.logsource.service = text(value)?,
            "where" => {
                for (field, values) in entries(value, "where is no mapping")? {
                    own.conditions.push((text(field)?, texts(values)?));
                }
            }
            "fields" => own.fields = names(value)?,
            other => {
                let message =
                    format!("{other} is not known: category, product, service, where, fields");
                return Err(wrong(name, message));
            }
        }
    }
    if own.logsource == Logsource::default() {
        return Err(wrong(node, "a log source has none of category, product, service"));
    }
    if own.conditions.is_empty() {
        let message = "where is missing: what alerts have that the rules are meant for, such as \
                       {product: squid}";
        return Err(wrong(node, message));
    }
    Ok(own)
}

fn names(node: &Node) -> Result<std::collections::BTreeMap<Box<str>, Box<str>>, Fault> {
    let each = entries(node, "fields is no mapping")?.iter();
    each.map(|(rules, events)| Ok((text(rules)?, text(events)?))).collect()
}

fn texts(node: &Node) -> Result<Vec<Box<str>>, Fault> {
    let items = node.items().unwrap_or(std::slice::from_ref(node));
    if items.is_empty() {
        return Err(wrong(node, "an empty list means nothing"));
    }
    items.iter().map(text).collect()
}

fn text(node: &Node) -> Result<Box<str>, Fault> {
    let text = node.scalar().filter(|text| !text.is_empty());
    text.map(|text| Box::from(&*text)).ok_or_else(|| wrong(node, "a text is missing here"))
}

fn entries<'n>(node: &'n Node, message: &str) -> Result<&'n [(Node, Node)], Fault> {
    node.entries().ok_or_else(|| wrong(node, message))
}

fn wrong(node: &Node, message: impl Into<String>) -> Fault {
    fault(node, KEY, message)
}
