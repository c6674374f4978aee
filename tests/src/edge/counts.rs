//! What became of records, and whether that is good enough.

use std::{collections::BTreeMap, fmt};

use agent::normalise::{Normaliser, Notes, Outcome};
use serde_json::{Value, json};
use shared::{
    alert::{Alert, Field, Severity},
    ocsf,
    time::Timestamp,
};

use super::NORMALISED_MIN;
use crate::ocsf_schema::Schema;

/// Most findings of a sample that are held against the schema: the rest are like them.
const FINDINGS_MAX: u64 = 20_000;

/// What became of the records of a sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) well_formed: u64,
    /// Well-formed records that are alerts by design and came out as such.
    pub(super) normalised: u64,
    /// Events of another kind, header lines among them.
    pub(super) others: u64,
    /// Alerts of which nothing was found.
    pub(super) unknown: u64,
    /// Records that could not be parsed, by reason; well-formed ones by themselves.
    pub(super) malformed: BTreeMap<String, u64>,
    pub(super) well_formed_malformed: u64,
    notes: BTreeMap<&'static str, u64>,
    /// How many alerts have each attribute.
    attributes: BTreeMap<&'static str, u64>,
    findings: u64,
    invalid: BTreeMap<String, u64>,
}

impl Counts {
    /// Takes a record that is well-formed, or is not.
    pub(super) fn take(
        &mut self,
        normaliser: &Normaliser,
        record: &[u8],
        is_well_formed: bool,
        schema: Option<&Schema>,
        now: Timestamp,
    ) {
        self.records += 1;
        self.well_formed += u64::from(is_well_formed);
        match normaliser.normalise(record, now) {
            Outcome::Skip(_) => self.others += 1,
            Outcome::Alert { alert, notes } => {
                self.note(notes);
                if notes.contains(Notes::NOTHING_MAPPED) {
                    self.unknown += 1;
                } else {
                    self.normalised += 1;
                }
                self.describe(&alert, schema);
            }
            Outcome::Malformed { alert, why } => {
                *self.malformed.entry(why.title().to_owned()).or_default() += 1;
                self.well_formed_malformed += u64::from(is_well_formed);
                self.describe(&alert, schema);
            }
        }
    }

    fn note(&mut self, notes: Notes) {
        let known = [
            (Notes::TIME_UNREADABLE, "time unreadable"),
            (Notes::TIME_AHEAD, "time ahead"),
            (Notes::SEVERITY_UNKNOWN, "severity unknown"),
        ];
        for (_, what) in known.into_iter().filter(|(note, _)| notes.contains(*note)) {
            *self.notes.entry(what).or_default() += 1;
        }
    }

    fn describe(&mut self, alert: &Alert<'_>, schema: Option<&Schema>) {
        let texts = Field::ALL.into_iter().filter(|field| alert.text(*field).is_some());
        let others = [
            ("time", alert.time.is_some()),
            ("severity", alert.severity != Severity::Unknown),
            ("action", alert.action != shared::alert::Action::Unknown),
        ];
        let others = others.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
        for name in texts.map(Field::ocsf_path).chain(others) {
            *self.attributes.entry(name).or_default() += 1;
        }
        let Some(schema) = schema.filter(|_| self.findings < FINDINGS_MAX) else { return };
        self.findings += 1;
        for problem in schema.problems(&ocsf::finding(alert, "record")) {
            *self.invalid.entry(problem).or_default() += 1;
        }
    }

    /// Adds another sample's.
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.well_formed += other.well_formed;
        self.normalised += other.normalised;
        self.others += other.others;
        self.unknown += other.unknown;
        self.well_formed_malformed += other.well_formed_malformed;
        self.findings += other.findings;
        for (all, of_other) in
            [(&mut self.malformed, &other.malformed), (&mut self.invalid, &other.invalid)]
        {
            for (what, count) in of_other {
                *all.entry(what.clone()).or_default() += count;
            }
        }
        for (all, of_other) in
            [(&mut self.notes, &other.notes), (&mut self.attributes, &other.attributes)]
        {
            for (what, count) in of_other {
                *all.entry(what).or_default() += count;
            }
        }
    }

    /// Returns the share of the well-formed alerts that were normalised.
    #[expect(clippy::cast_precision_loss, reason = "a share of far fewer than 2^52 records")]
    fn share(&self) -> f64 {
        let rejected = self.well_formed_malformed + self.unknown;
        let alerts = self.normalised + rejected;
        if alerts == 0 { 1.0 } else { self.normalised as f64 / alerts as f64 }
    }

    /// Returns whether enough was normalised, each record is counted, and each finding is valid.
    pub(super) fn holds(&self) -> bool {
        let malformed: u64 = self.malformed.values().sum();
        self.share() >= NORMALISED_MIN
            && self.records == self.normalised + self.others + self.unknown + malformed
            && self.invalid.is_empty()
    }

    /// Returns the counts for programs.
    pub(super) fn report(&self) -> Value {
        json!({
            "records": self.records,
            "well_formed": self.well_formed,
            "normalised": self.normalised,
            "normalised_share": self.share(),
            "other_events": self.others,
            "unknown": self.unknown,
            "malformed_by_reason": self.malformed,
            "notes": self.notes,
            "attributes": self.attributes,
            "findings": self.findings,
            "findings_invalid_by_reason": self.invalid,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, normalised, others, unknown, .. } = self;
        let malformed: u64 = self.malformed.values().sum();
        write!(
            f,
            "{records:>8} records: {normalised} alerts, {others} other events, {malformed} \
             malformed, {unknown} unknown: {:.2} % of the well-formed",
            self.share() * 100.0
        )?;
        for (what, count) in &self.malformed {
            write!(f, "\n{count:>12}  {what}")?;
        }
        for (what, count) in &self.notes {
            write!(f, "\n{count:>12}  {what}")?;
        }
        for (what, count) in &self.invalid {
            write!(f, "\n{count:>12}  invalid finding: {what}")?;
        }
        Ok(())
    }
}
