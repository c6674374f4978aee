//! What was found in a case, and what a group of alerts changes of it.
//!
//! A case is kept in rows of three kinds, so that a group of alerts rewrites little of it:
//!
//! ```text
//! Case      what lists and the queue show       changes with each group
//! Known     which findings there are            changes with news alone
//! Finding   one of those that are named         changes with a group that is more of it
//! ```
//!
//! [`Evidence`] is what of these some groups may change. Whoever loads it brings the case, what is known, and the
//! findings that [`Known::number_of`] says the groups are more of; all else is decided here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::{alert::Severity, ids::TenantId, time::Timestamp};

use crate::{
    limits::{FINDINGS_MAX, OTHERS_MAX},
    triage::{
        case::{Case, CaseId, CaseState},
        fold::Group,
        sla::Sla,
    },
};

/// How many findings, and how many techniques, raise a case's risk: each has one digit of it. More do not.
const RISK_DIGIT_MAX: usize = 9;

const _: () = assert!(FINDINGS_MAX < u16::MAX as usize, "findings are numbered with 16 bits");

/// The same rule about the same host, again and again: alerts of one fingerprint within a case. A change of this struct
/// is a new version in `store::values` (L10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Digest of (tenant, product, rule, entities).
    pub fingerprint: [u8; 16],
    /// Product that raised it.
    pub product: String,
    /// The rule's id in that product; empty where it has none.
    pub rule_uid: String,
    /// What it says.
    pub title: String,
    /// ATT&CK technique ids, joined by `,`.
    pub techniques: String,
    /// The worst severity among its alerts.
    pub severity: Severity,
    /// How many alerts, those included that an agent folded into one.
    pub count: u64,
    /// Event time of the earliest.
    pub first_at: Timestamp,
    /// Event time of the latest.
    pub last_at: Timestamp,
}

impl Finding {
    /// Takes in more of the same.
    fn absorb(&mut self, group: &Group) {
        self.count = self.count.saturating_add(group.count());
        self.severity = self.severity.max(group.severity);
        self.first_at = self.first_at.min(group.first_at);
        self.last_at = self.last_at.max(group.last_at);
    }
}

/// Which findings a case has. A change of this struct is a new version in `store::values` (L10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Fingerprints of the findings that are named, in order of appearance; at most [`FINDINGS_MAX`].
    pub named: Vec<[u8; 16]>,
    /// Of findings beyond those, the beginnings of their fingerprints; at most [`OTHERS_MAX`].
    pub others: Vec<u64>,
    /// Different techniques of the findings that are named, in order of appearance; as many as count for the risk.
    pub techniques: Vec<String>,
}

impl Known {
    /// Returns the number of the named finding with this fingerprint: how many are named before it.
    #[must_use]
    pub fn number_of(&self, fingerprint: &[u8; 16]) -> Option<u16> {
        let place = self.named.iter().position(|named| named == fingerprint)?;
        u16::try_from(place).ok()
    }

    /// Names a finding; returns its number.
    fn name(&mut self, finding: &Finding) -> u16 {
        let number =
            u16::try_from(self.named.len()).expect("no more are named than 16 bits number");
        self.named.push(finding.fingerprint);
        for technique in finding.techniques.split(',').filter(|technique| !technique.is_empty()) {
            let counts = self.techniques.len() < RISK_DIGIT_MAX;
            if counts && !self.techniques.iter().any(|known| known == technique) {
                self.techniques.push(technique.to_owned());
            }
        }
        number
    }

    /// Notes a finding beyond those that are named; returns whether it is new.
    fn note(&mut self, group: &Group) -> bool {
        let head = group.fingerprint.first_chunk().expect("16 bytes have 8");
        let head = u64::from_be_bytes(*head);
        let is_new = self.others.len() < OTHERS_MAX && !self.others.contains(&head);
        if is_new {
            self.others.push(head);
        }
        is_new
    }
}

/// What lists show of a case's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headline {
    /// How many findings are named.
    pub finding_count: u16,
    /// Number of the most severe of them; the earliest where several are as severe.
    pub worst: u16,
    /// Its severity.
    pub severity: Severity,
    /// Its title.
    pub title: String,
}

impl Headline {
    /// Takes in that the finding with this number is new or has changed. A finding's severity never falls.
    fn follow(&mut self, number: u16, finding: &Finding) {
        let is_first = self.finding_count == 0;
        let is_as_severe = finding.severity == self.severity && number < self.worst;
        if is_first || is_as_severe || finding.severity > self.severity {
            self.worst = number;
            self.severity = finding.severity;
            self.title.clone_from(&finding.title);
        }
        self.finding_count = self.finding_count.max(number + 1);
    }
}

/// A case with what groups of alerts may change of its findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The case.
    pub case: Case,
    /// Which findings it has.
    pub known: Known,
    /// Whether `known` changed since it was loaded.
    pub knows_more: bool,
    /// Findings by number: those that the groups are more of, and those that they begin.
    pub findings: BTreeMap<u16, Finding>,
}

impl Evidence {
    /// Opens a case with its first group of alerts.
    #[must_use]
    pub fn open(id: CaseId, tenant: TenantId, group: &Group, sla: &Sla, now: Timestamp) -> Self {
        let case = Case::without_evidence(id, tenant, group, sla, now);
        let mut opened = Self::of(case, Known::default());
        opened.absorb(group, sla, now);
        opened
    }

    /// Returns a stored case with what it knows, and without findings yet.
    #[must_use]
    pub fn of(case: Case, known: Known) -> Self {
        Self { case, known, knows_more: false, findings: BTreeMap::new() }
    }

    /// Returns a case that was kept whole, in rows: `findings` are those that it names, in order of appearance, and
    /// `others` the beginnings of the fingerprints of others.
    #[must_use]
    pub fn of_whole(case: Case, findings: Vec<Finding>, others: Vec<u64>) -> Self {
        let known = Known { others, ..Known::default() };
        let mut whole = Self { knows_more: true, ..Self::of(case, known) };
        for finding in findings {
            whole.name(finding);
        }
        whole
    }

    /// Takes in a group of alerts that belong to this case. A closed case is opened again by evidence that was not
    /// judged: another finding, or a worse severity. More of the same is counted and nobody is asked again; so is a
    /// finding beyond those that the case can know.
    ///
    /// # Panics
    /// The finding that the group is more of was not loaded.
    pub fn absorb(&mut self, group: &Group, sla: &Sla, now: Timestamp) {
        let is_new = self.find(group);
        let case = &mut self.case;
        let is_news = is_new || group.severity > case.severity;
        case.alert_count = case.alert_count.saturating_add(group.count());
        case.first_at = case.first_at.min(group.first_at);
        case.last_at = case.last_at.max(group.last_at);
        case.severity = case.severity.max(group.severity);
        let deadline = sla.deadline(group.severity, now);
        if is_news && matches!(case.state, CaseState::Closed(_)) {
            // The claim that closed it judged something else.
            *case = case.given_back();
            case.reopened_count += 1;
            case.deadline = deadline;
        }
        // A worse severity may bring the deadline forward, never push it back.
        case.deadline = case.deadline.min(deadline);
        if is_news {
            case.risk = risk(case.severity, &self.known);
        }
        case.revision += 1;
        if is_news {
            case.news_revision = case.revision;
        }
    }

    /// Puts a group to the finding that it is more of, or begins one; returns whether it is new.
    fn find(&mut self, group: &Group) -> bool {
        match self.known.number_of(&group.fingerprint) {
            Some(number) => {
                let finding = self.findings.get_mut(&number);
                let finding = finding.expect("whoever absorbs a group has loaded its finding");
                finding.absorb(group);
                self.case.headline.follow(number, finding);
                false
            }
            None if self.known.named.len() < FINDINGS_MAX => {
                self.name(group.finding());
                true
            }
            None => {
                self.case.other_count = self.case.other_count.saturating_add(group.count());
                let is_new = self.known.note(group);
                self.knows_more |= is_new;
                is_new
            }
        }
    }

    /// Names a finding.
    fn name(&mut self, finding: Finding) {
        let number = self.known.name(&finding);
        self.knows_more = true;
        self.case.headline.follow(number, &finding);
        self.findings.insert(number, finding);
    }
}

/// Severity counts most, then how many different things were found, then how many techniques they name.
fn risk(severity: Severity, known: &Known) -> u16 {
    let severity = match severity {
        Severity::Unknown => Severity::Medium.id(),
        known => known.id(),
    };
    let findings = known.named.len().min(RISK_DIGIT_MAX);
    let small = findings * 10 + known.techniques.len().min(RISK_DIGIT_MAX);
    u16::from(severity) * 100 + u16::try_from(small).unwrap_or(99)
}

#[cfg(test)]
mod tests;
