//! An alert: what a record says, under the names of OCSF 1.8's Detection Finding (class 2004).
//!
//! An [`Alert`] borrows from the record it was read out of, or from the dictionary of its block; it owns a text only
//! where the record wrote it escaped. What a product does not say stays absent. The record itself is kept byte for
//! byte beside it (see [`crate::block`]).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{context::ContextVersion, time::Timestamp};

/// OCSF's `severity_id`: how bad the product says that it is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Severity {
    /// The product does not say, or says something unknown.
    #[default]
    Unknown = 0,
    /// Nothing to do.
    Informational = 1,
    /// Little to do, at leisure.
    Low = 2,
    /// To be looked at.
    Medium = 3,
    /// To be acted on soon.
    High = 4,
    /// To be acted on at once.
    Critical = 5,
    /// Damage was done or is certain.
    Fatal = 6,
}

impl Severity {
    /// All of them, by `severity_id`.
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
        Self::Fatal,
    ];

    /// Returns the severity with this `severity_id`; ids that OCSF does not define are unknown.
    #[must_use]
    pub fn from_id(id: u8) -> Self {
        Self::ALL.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// Returns the `severity_id`.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Returns the name in configuration, tables and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// OCSF's `action_id`: what the product did about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Action {
    /// The product does not say.
    #[default]
    Unknown = 0,
    /// It went through.
    Allowed = 1,
    /// It was blocked.
    Denied = 2,
}

impl Action {
    /// Returns the action with this `action_id`; others are unknown.
    #[must_use]
    pub const fn from_id(id: u8) -> Self {
        match id {
            1 => Self::Allowed,
            2 => Self::Denied,
            _ => Self::Unknown,
        }
    }
}

/// How an alert came to be sent, where the agent's policy had a say in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Handling {
    /// Sent as it came: no rule held it back.
    #[default]
    Sent = 0,
    /// Sent on the urgent lane because a rule says so.
    Urgent = 1,
    /// Sent for all of its key that were folded since the one before (see [`Alert::count`]).
    Folded = 2,
    /// A rule holds its like back; this one was sent so that people can see what is held.
    AuditSample = 3,
    /// A rule holds its like back, and there were more than it expects.
    BeyondExpected = 4,
}

impl Handling {
    /// All of them, by number.
    pub const ALL: [Self; 5] =
        [Self::Sent, Self::Urgent, Self::Folded, Self::AuditSample, Self::BeyondExpected];

    /// Returns the handling with this number; numbers of later versions count as sent.
    #[must_use]
    pub fn from_id(id: u8) -> Self {
        Self::ALL.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// Returns the name in tables and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Urgent => "urgent",
            Self::Folded => "folded",
            Self::AuditSample => "audit_sample",
            Self::BeyondExpected => "beyond_expected",
        }
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A field that holds text. The order is the order of columns in a block: append, never reorder (L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Name of the agent's source that read the record.
    LogName,
    /// Product that raised the alert.
    Product,
    /// The rule's id in that product.
    RuleUid,
    /// What the alert says, in one line.
    Title,
    /// The product's category of the alert.
    Category,
    /// ATT&CK technique ids, joined by `,`.
    Techniques,
    /// Name of the host that the alert is about.
    DeviceHostname,
    /// Address of the host that the alert is about.
    DeviceIp,
    /// Address that a connection came from.
    SrcIp,
    /// Name of the host that a connection came from.
    SrcHostname,
    /// Address that a connection went to.
    DstIp,
    /// Name of the host that a connection went to.
    DstHostname,
    /// Transport protocol, in lower case.
    Protocol,
    /// Name of the user who acted.
    User,
    /// Name or path of the process that acted.
    Process,
    /// Hash of the file concerned.
    FileHash,
    /// Path of the file concerned.
    FilePath,
    /// URL asked for.
    Url,
    /// Name asked for in a DNS query. Agents before [`Field::UrlHost`] wrote HTTP hosts and TLS names here, too.
    Domain,
    /// Command line of the process that acted.
    CommandLine,
    /// Name or path of the process that started the one that acted.
    ParentProcess,
    /// Name of the user whom it was done to.
    TargetUser,
    /// Path of the registry key concerned.
    RegistryKey,
    /// Name or id of the container that it happened in.
    Container,
    /// Id of the agent's policy rule that decided how it was sent; set by the agent, not by the product.
    PolicyRule,
    /// What the agent found out about the alert's connection on its own host, as a JSON object; set by the agent, not
    /// by the product.
    Attribution,
    /// The rule's name in that product.
    RuleName,
    /// ATT&CK tactic ids, joined by `,`.
    Tactics,
    /// Number of the process that acted, in decimal.
    ProcessId,
    /// Number of the process that started the one that acted, in decimal.
    ParentProcessId,
    /// Domain of the user who acted.
    UserDomain,
    /// Number or SID of the user who acted.
    UserUid,
    /// Domain of the user whom it was done to.
    TargetUserDomain,
    /// Number or SID of the user whom it was done to.
    TargetUserUid,
    /// Hashes of the file concerned besides [`Field::FileHash`], joined by `,`.
    FurtherHashes,
    /// Name of the host that a request by HTTP is for.
    UrlHost,
    /// Name of the server that a TLS handshake asks for.
    TlsName,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 37;

    /// All of them, in the order of columns.
    pub const ALL: [Self; Self::COUNT] = [
        Self::LogName,
        Self::Product,
        Self::RuleUid,
        Self::Title,
        Self::Category,
        Self::Techniques,
        Self::DeviceHostname,
        Self::DeviceIp,
        Self::SrcIp,
        Self::SrcHostname,
        Self::DstIp,
        Self::DstHostname,
        Self::Protocol,
        Self::User,
        Self::Process,
        Self::FileHash,
        Self::FilePath,
        Self::Url,
        Self::Domain,
        Self::CommandLine,
        Self::ParentProcess,
        Self::TargetUser,
        Self::RegistryKey,
        Self::Container,
        Self::PolicyRule,
        Self::Attribution,
        Self::RuleName,
        Self::Tactics,
        Self::ProcessId,
        Self::ParentProcessId,
        Self::UserDomain,
        Self::UserUid,
        Self::TargetUserDomain,
        Self::TargetUserUid,
        Self::FurtherHashes,
        Self::UrlHost,
        Self::TlsName,
    ];

    /// Those that hold a name that was asked for, by whichever protocol.
    pub const NAMES_ASKED_FOR: [Self; 3] = [Self::Domain, Self::UrlHost, Self::TlsName];

    /// How many of them blocks of version 1 have.
    pub(crate) const COUNT_V1: usize = 19;
    /// How many of them every block of version 2 has.
    pub(crate) const COUNT_V2: usize = 26;

    /// Returns the OCSF attribute's path in a Detection Finding; lists are named like their items.
    #[must_use]
    pub const fn ocsf_path(self) -> &'static str {
        match self {
            Self::LogName => "metadata.log_name",
            Self::Product => "metadata.product.name",
            Self::RuleUid => "finding_info.analytic.uid",
            Self::Title => "finding_info.title",
            Self::Category => "finding_info.types",
            Self::Techniques => "finding_info.attacks.technique.uid",
            Self::DeviceHostname => "device.hostname",
            Self::DeviceIp => "device.ip",
            Self::SrcIp => "evidences.src_endpoint.ip",
            Self::SrcHostname => "evidences.src_endpoint.hostname",
            Self::DstIp => "evidences.dst_endpoint.ip",
            Self::DstHostname => "evidences.dst_endpoint.hostname",
            Self::Protocol => "evidences.connection_info.protocol_name",
            Self::User => "evidences.actor.user.name",
            Self::Process => "evidences.process.name",
            Self::FileHash => "evidences.file.hashes.value",
            Self::FilePath => "evidences.file.path",
            Self::Url => "evidences.url.url_string",
            Self::Domain => "evidences.query.hostname",
            Self::CommandLine => "evidences.process.cmd_line",
            Self::ParentProcess => "evidences.process.parent_process.name",
            Self::TargetUser => "evidences.user.name",
            Self::RegistryKey => "evidences.reg_key.path",
            Self::Container => "evidences.container.name",
            Self::PolicyRule => "finding_info.related_analytics.uid",
            Self::Attribution => "enrichments.data",
            Self::RuleName => "finding_info.analytic.name",
            Self::Tactics => "finding_info.attacks.tactic.uid",
            Self::ProcessId => "evidences.process.pid",
            Self::ParentProcessId => "evidences.process.parent_process.pid",
            Self::UserDomain => "evidences.actor.user.domain",
            Self::UserUid => "evidences.actor.user.uid",
            Self::TargetUserDomain => "evidences.user.domain",
            Self::TargetUserUid => "evidences.user.uid",
            Self::FurtherHashes => "evidences.file.hashes",
            Self::UrlHost => "evidences.url.hostname",
            Self::TlsName => "evidences.tls.sni",
        }
    }

    /// Returns the field with this OCSF path.
    #[must_use]
    pub fn from_ocsf_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.ocsf_path() == path)
    }
}

/// One alert, without its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert<'a> {
    /// When it happened, as the product says; absent where it does not say or is not believed.
    pub time: Option<Timestamp>,
    /// When the agent read it.
    pub observed_at: Timestamp,
    /// How bad the product says that it is.
    pub severity: Severity,
    /// What the product did about it.
    pub action: Action,
    /// Port that a connection came from.
    pub src_port: Option<u16>,
    /// Port that a connection went to.
    pub dst_port: Option<u16>,
    /// Host context that was current when it was read.
    pub context: ContextVersion,
    /// How it came to be sent.
    pub handling: Handling,
    /// How many alerts it stands for, itself included: OCSF's `count`; at least 1.
    pub count: u64,
    pub(crate) texts: [Option<Cow<'a, str>>; Field::COUNT],
}

impl Default for Alert<'_> {
    /// One alert that says nothing.
    fn default() -> Self {
        Self {
            time: None,
            observed_at: Timestamp::ZERO,
            severity: Severity::Unknown,
            action: Action::Unknown,
            src_port: None,
            dst_port: None,
            context: ContextVersion::default(),
            handling: Handling::Sent,
            count: 1,
            texts: [const { None }; Field::COUNT],
        }
    }
}

impl<'a> Alert<'a> {
    /// Returns the text of `field`, if the product says it.
    #[must_use]
    pub fn text(&self, field: Field) -> Option<&str> {
        self.texts[field as usize].as_deref()
    }

    /// Sets the text of `field`. An empty text says nothing and leaves the field absent.
    pub fn set(&mut self, field: Field, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        self.texts[field as usize] = (!text.is_empty()).then_some(text);
    }

    /// Returns when it happened: the product's time, else when it was read.
    #[must_use]
    pub fn event_time(&self) -> Timestamp {
        self.time.unwrap_or(self.observed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stands_at_its_own_place_and_has_its_own_path() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(Field::from_ocsf_path(field.ocsf_path()), Some(field));
        }
    }

    #[test]
    fn an_empty_text_leaves_the_field_absent() {
        let mut alert = Alert::default();
        alert.set(Field::User, "");
        assert_eq!(alert.text(Field::User), None);
        alert.set(Field::User, "root");
        assert_eq!(alert.text(Field::User), Some("root"));
    }

    #[test]
    fn severities_keep_their_ocsf_numbers() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_id(severity.id()), severity);
        }
        assert_eq!(Severity::from_id(99), Severity::Unknown);
    }
}
