//! Where a field that a rule names stands: in the alert, or in the record.

use shared::alert::Field;

use crate::fold::Part;

/// What precedes the name of a field that is looked for in the record although the alert has one of that name.
const IN_RECORD: &str = "record.";

/// Where the value of a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A text of the alert.
    Text(Field),
    /// A list of texts, such as ATT&CK technique ids: each is a value.
    List(Field),
    /// All hashes of the file: each is a value.
    Hashes,
    /// The names that were asked for, by DNS, HTTP or TLS: each is a value.
    NamesAskedFor,
    /// The severity's name.
    Severity,
    /// OCSF's number of the severity.
    SeverityId,
    /// What the product did: `allowed` or `denied`; absent where it does not say.
    Action,
    /// OCSF's number of what the product did.
    ActionId,
    /// The port that a connection came from.
    SrcPort,
    /// The port that a connection went to.
    DstPort,
    /// A path into the record, with dots between the names.
    Record(Box<str>),
}

/// Short names of texts.
const SHORT: &[(&str, Field)] = &[
    ("log_name", Field::LogName),
    ("product", Field::Product),
    ("rule_uid", Field::RuleUid),
    ("title", Field::Title),
    ("category", Field::Category),
    ("host", Field::DeviceHostname),
    ("host_ip", Field::DeviceIp),
    ("src_ip", Field::SrcIp),
    ("src_host", Field::SrcHostname),
    ("dst_ip", Field::DstIp),
    ("dst_host", Field::DstHostname),
    ("protocol", Field::Protocol),
    ("user", Field::User),
    ("process", Field::Process),
    ("file_path", Field::FilePath),
    ("url", Field::Url),
    ("command_line", Field::CommandLine),
    ("parent_process", Field::ParentProcess),
    ("target_user", Field::TargetUser),
    ("registry_key", Field::RegistryKey),
    ("container", Field::Container),
    ("rule_name", Field::RuleName),
    ("tactics", Field::Tactics),
    ("pid", Field::ProcessId),
    ("parent_pid", Field::ParentProcessId),
    ("user_domain", Field::UserDomain),
    ("user_uid", Field::UserUid),
    ("target_user_domain", Field::TargetUserDomain),
    ("target_user_uid", Field::TargetUserUid),
    ("dns_name", Field::Domain),
    ("url_host", Field::UrlHost),
    ("tls_name", Field::TlsName),
];

impl Place {
    /// Finds the place that a rule means by `name`: an OCSF path; else a short name (`src_ip`, `dst_port`, `user`,
    /// `severity` ...); else a path into the record, as is whatever follows `record.`.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        if let Some(path) = name.strip_prefix(IN_RECORD) {
            return Self::Record(path.into());
        }
        match name {
            "severity" => return Self::Severity,
            "severity_id" => return Self::SeverityId,
            "action" => return Self::Action,
            "action_id" => return Self::ActionId,
            "evidences.src_endpoint.port" | "src_port" => return Self::SrcPort,
            "evidences.dst_endpoint.port" | "dst_port" => return Self::DstPort,
            _ => {}
        }
        let short = || SHORT.iter().find(|(short, _)| *short == name).map(|(_, field)| *field);
        match Field::from_ocsf_path(name).or_else(short) {
            Some(field @ (Field::Techniques | Field::Tactics)) => Self::List(field),
            Some(Field::FileHash | Field::FurtherHashes) => Self::Hashes,
            Some(field) => Self::Text(field),
            None if name == "techniques" => Self::List(Field::Techniques),
            None if name == "domain" => Self::NamesAskedFor,
            None if name == "hashes" || name == "file_hash" => Self::Hashes,
            None => Self::Record(name.into()),
        }
    }

    /// Returns the part of a fold's key that this is, if it can be one.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        match self {
            Self::Text(field) => Some(Part::Text(*field)),
            Self::List(field) => Some(Part::Text(*field)),
            Self::Hashes => Some(Part::Text(Field::FileHash)),
            Self::NamesAskedFor => Some(Part::NamesAskedFor),
            Self::SrcPort => Some(Part::SrcPort),
            Self::DstPort => Some(Part::DstPort),
            Self::Severity | Self::SeverityId | Self::Action | Self::ActionId | Self::Record(_) => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ocsfs_or_short_or_the_records() {
        for (name, place) in [
            ("evidences.src_endpoint.ip", Place::Text(Field::SrcIp)),
            ("src_ip", Place::Text(Field::SrcIp)),
            ("record.src_ip", Place::Record("src_ip".into())),
            ("alert.signature_id", Place::Record("alert.signature_id".into())),
            ("dst_port", Place::DstPort),
            ("severity_id", Place::SeverityId),
            ("techniques", Place::List(Field::Techniques)),
            ("finding_info.attacks.technique.uid", Place::List(Field::Techniques)),
            ("tactics", Place::List(Field::Tactics)),
            ("domain", Place::NamesAskedFor),
            ("evidences.query.hostname", Place::Text(Field::Domain)),
            ("evidences.url.hostname", Place::Text(Field::UrlHost)),
            ("tls_name", Place::Text(Field::TlsName)),
            ("hashes", Place::Hashes),
            ("file_hash", Place::Hashes),
            ("evidences.file.hashes.value", Place::Hashes),
            ("Hashes", Place::Record("Hashes".into())),
        ] {
            assert_eq!(Place::parse(name), place, "{name}");
        }
    }

    #[test]
    fn every_short_name_means_another_field() {
        for (index, (name, field)) in SHORT.iter().enumerate() {
            let places = [Place::Text(*field), Place::List(*field)];
            assert!(places.contains(&Place::parse(name)), "{name}");
            assert!(!SHORT[..index].iter().any(|(n, f)| n == name || f == field), "{name}");
        }
    }

    #[test]
    fn what_changes_from_alert_to_alert_of_one_kind_is_no_part_of_a_key() {
        assert_eq!(Place::parse("dst_port").part(), Some(Part::DstPort));
        assert_eq!(Place::parse("severity").part(), None);
        assert_eq!(Place::parse("alert.rev").part(), None);
    }
}
