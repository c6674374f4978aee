//! What became of records, and whether that is good enough.

use std::{collections::BTreeMap, fmt};

use agent::normalise::{Normaliser, Notes, Outcome};
use anyhow::{Context as _, Result};
use serde::Deserialize;
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

const TABLE: &str = include_str!("../../edge/samples.toml");

/// What must be read from each sample.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    sample: Vec<Wanted>,
}

/// What must be read from a sample.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    /// How many records there must be.
    records: u64,
    /// Share of the well-formed alerts that must be normalised, where it is less than elsewhere.
    normalised: Option<f64>,
    /// Why nothing is asked of the attributes, where there are no floors.
    #[serde(default)]
    why: String,
    #[serde(default)]
    floors: Vec<Floor>,
}

/// The share of the alerts that must have each of some attributes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    attributes: Vec<String>,
    /// Of those alerts only whose record has one of these texts in it.
    #[serde(default, rename = "where")]
    said: Vec<String>,
    min: f64,
    /// What the others lack.
    #[expect(dead_code, reason = "for whoever reads the table")]
    why: Option<String>,
}

/// What was read of one attribute that a floor asks for.
#[derive(Clone, Debug)]
struct Tally {
    attribute: String,
    said: Vec<String>,
    min: f64,
    of: u64,
    read: u64,
}

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
    /// What there must be; nothing for the sum of all samples.
    wanted: Option<Wanted>,
    tallies: Vec<Tally>,
}

impl Counts {
    /// Begins a sample, of which the table says what there must be.
    pub(super) fn of(sample: &str) -> Result<Self> {
        let table: Table = toml::from_str(TABLE).context("read tests/edge/samples.toml")?;
        let wanted = table.sample.into_iter().find(|wanted| wanted.name == sample);
        let wanted = wanted.with_context(|| format!("tests/edge/samples.toml has no {sample}"))?;
        Ok(Self::with(wanted))
    }

    fn with(wanted: Wanted) -> Self {
        let tallies = wanted.floors.iter().flat_map(|floor| {
            floor.attributes.iter().map(|attribute| Tally {
                attribute: attribute.clone(),
                said: floor.said.clone(),
                min: floor.min,
                of: 0,
                read: 0,
            })
        });
        Self { tallies: tallies.collect(), wanted: Some(wanted), ..Self::default() }
    }

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
                self.tally(&alert, record);
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

    fn tally(&mut self, alert: &Alert<'_>, record: &[u8]) {
        let record = String::from_utf8_lossy(record);
        let names: Vec<_> = attributes(alert).collect();
        for tally in &mut self.tallies {
            if tally.said.is_empty() || tally.said.iter().any(|text| record.contains(text)) {
                tally.of += 1;
                tally.read += u64::from(names.contains(&tally.attribute.as_str()));
            }
        }
    }

    fn describe(&mut self, alert: &Alert<'_>, schema: Option<&Schema>) {
        for name in attributes(alert) {
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

    /// Returns why the sample does not hold: too little was normalised or read, a record is not counted, or a finding
    /// is not valid.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let malformed: u64 = self.malformed.values().sum();
        let min = self.wanted.as_ref().and_then(|wanted| wanted.normalised);
        let (share, min) = (self.share(), min.unwrap_or(NORMALISED_MIN));
        if share < min {
            problems.push(format!("{share:.4} of the well-formed alerts are normalised: {min}"));
        }
        if self.records != self.normalised + self.others + self.unknown + malformed {
            problems.push("not each record is counted".to_owned());
        }
        if !self.invalid.is_empty() {
            problems.push("not each finding is valid".to_owned());
        }
        let wanted = self.wanted.as_ref().map_or(self.records, |wanted| wanted.records);
        if self.records != wanted {
            problems.push(format!("{} records: {wanted} should be", self.records));
        }
        let low = self.tallies.iter().filter(|tally| tally.share() < tally.min);
        problems.extend(low.map(|tally| {
            let Tally { attribute, said, min, of, read } = tally;
            let said = if said.is_empty() { "" } else { " that say it" };
            format!("{attribute} was read from {read} of the {of} alerts{said}: {min} should be")
        }));
        problems
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
            "floors": self.tallies.iter().map(Tally::report).collect::<Vec<_>>(),
            "nothing_asked_of_attributes": self.wanted.as_ref().map(|wanted| &wanted.why),
            "problems": self.problems(),
        })
    }
}

impl Tally {
    /// Returns the share of the alerts that say it from which it was read: nothing where none does.
    #[expect(clippy::cast_precision_loss, reason = "a share of far fewer than 2^52 records")]
    fn share(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.read as f64 / self.of as f64 }
    }

    fn report(&self) -> Value {
        let Self { attribute, said, min, of, read } = self;
        let share = self.share();
        json!({
            "attribute": attribute, "where": said, "alerts": of, "read": read, "share": share,
            "min": min,
        })
    }
}

/// Returns the names of what an alert has. What sent a message is its product only where it says so.
fn attributes<'a>(alert: &'a Alert<'_>) -> impl Iterator<Item = &'static str> + 'a {
    let texts = Field::ALL.into_iter().filter(|field| alert.text(*field).is_some());
    let others = [
        ("time", alert.time.is_some()),
        ("severity", alert.severity != Severity::Unknown),
        ("action", alert.action != shared::alert::Action::Unknown),
        ("app", alert.text(Field::Product).is_some_and(|name| name != "syslog")),
        ("evidences.src_endpoint.port", alert.src_port.is_some()),
        ("evidences.dst_endpoint.port", alert.dst_port.is_some()),
    ];
    let others = others.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name);
    texts.map(Field::ocsf_path).chain(others)
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
        for problem in self.problems() {
            write!(f, "\nproblem: {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use agent::normalise::Kind;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn problems(wanted: &str, lines: &[&str]) -> Vec<String> {
        let mut counts = Counts::with(toml::from_str(wanted).unwrap());
        let reader = Normaliser::new(Kind::of_product("syslog").unwrap(), "test");
        for line in lines {
            counts.take(&reader, line.as_bytes(), true, None, NOW);
        }
        counts.problems()
    }

    const WANTED: &str = r#"
        name = "own"
        records = 2
        floors = [{ attributes = ["evidences.src_endpoint.ip"], where = ["src="], min = 0.9 }]
    "#;
    const SAID: &str = "CEF:0|A|P|1|7|n|5|src=192.0.2.9";
    const NOT_READ: &str = "a text that says src=192.0.2.9 but is no event";

    #[test]
    fn a_floor_holds_where_what_the_records_say_was_read() {
        assert_eq!(problems(WANTED, &[SAID, "a text"]), [] as [&str; 0]);
    }

    #[test]
    fn what_records_say_and_was_not_read_is_a_problem() {
        let problems = problems(WANTED, &[SAID, NOT_READ]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("1 of the 2 alerts that say it"), "{problems:?}");
    }

    #[test]
    fn nothing_said_or_fewer_records_than_there_were_is_a_problem() {
        assert_eq!(problems(WANTED, &["a text", "another"]).len(), 1);
        assert_eq!(problems(WANTED, &[SAID]).len(), 1);
    }

    #[test]
    fn each_sample_in_the_table_has_floors_or_a_reason_to_have_none() {
        let table: Table = toml::from_str(TABLE).unwrap();
        for Wanted { name, why, floors, .. } in table.sample {
            assert!(why.is_empty() != floors.is_empty(), "{name}");
        }
    }
}
