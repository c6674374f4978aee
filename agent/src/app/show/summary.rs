//! What the records of files became, for whoever sets up a source: which attributes were found and
//! how often, what the records hold that nothing reads, and what was not understood.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;
use shared::alert::{Action, Alert, Field, Severity};

use super::Shown;
use crate::{
    limits::{SHOWN_PLACES_MAX, SHOWN_RECORDS_MAX, SHOWN_VALUES_MAX},
    normalise::{LanePolicy, Malformed, Normaliser, Notes, Outcome, lane_of},
};

/// Attributes that are no texts, before the texts and behind them.
const HEAD: [&str; 4] = ["lane", "time", "severity", "action"];
const PORTS: [&str; 2] = ["evidences.src_endpoint.port", "evidences.dst_endpoint.port"];

/// How many of a field's values are shown, and of the places that nothing reads.
const EXAMPLES: usize = 3;
const PLACES: usize = 25;
/// Longest shown part of a value and of a record, in characters.
const VALUE_CHARS_MAX: usize = 48;
const RECORD_CHARS_MAX: usize = 96;

/// How often a value was there, and which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    count: u64,
    values: BTreeMap<String, u64>,
    /// Whether there were more different values than are kept.
    has_more: bool,
}

impl Seen {
    fn add(&mut self, value: &str) {
        self.count += 1;
        if let Some(count) = self.values.get_mut(value) {
            *count += 1;
        } else if self.values.len() < SHOWN_VALUES_MAX {
            self.values.insert(value.to_owned(), 1);
        } else {
            self.has_more = true;
        }
    }

    /// Returns the values that were there most often.
    fn examples(&self) -> String {
        let mut values: Vec<_> = self.values.iter().collect();
        values.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = values.iter().take(EXAMPLES).map(|(value, count)| match count {
            1 => shown(value, VALUE_CHARS_MAX),
            count => format!("{} ({count})", shown(value, VALUE_CHARS_MAX)),
        });
        let text = shown.collect::<Vec<_>>().join(", ");
        match (values.len().saturating_sub(EXAMPLES), self.has_more) {
            (0, false) => text,
            (more, false) => format!("{text}, {more} others"),
            (more, true) => format!("{text}, more than {more} others"),
        }
    }
}

/// Returns the first characters of a record's text, without what would move a terminal's cursor.
fn shown(text: &str, chars_max: usize) -> String {
    let cut = text.char_indices().nth(chars_max).map_or(text.len(), |(at, _)| at);
    let dots = if cut < text.len() { "..." } else { "" };
    format!("{}{dots}", text[..cut].escape_debug())
}

/// Records of which the same is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    count: u64,
    /// Number of the first of them, and what is to be seen of it.
    first: u64,
    example: String,
}

/// What the records of files became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// Alerts among them that could be read.
    pub alerts: u64,
    /// Events of another kind.
    pub others: u64,
    /// Records that could not be parsed.
    pub malformed: u64,
    /// Records that were longer than one may be, and were cut.
    pub over_long: u64,
    problems: BTreeMap<&'static str, Problem>,
    attributes: BTreeMap<&'static str, Seen>,
    places: BTreeMap<String, Seen>,
    /// Records whose places were looked at.
    looked_at: u64,
}

impl Summary {
    /// Counts a record; returns the alert that it became, and why it could not be read if it could not.
    pub(super) fn take<'a>(
        &mut self,
        shown: Shown<'a>,
        lanes: &LanePolicy,
    ) -> Option<(Alert<'a>, Option<Malformed>)> {
        self.records += 1;
        self.over_long += u64::from(shown.is_cut);
        let Some((outcome, normaliser)) = shown.became else {
            self.look_at(shown.record, None);
            return None;
        };
        let (alert, why) = match outcome {
            Outcome::Skip(_) => {
                self.others += 1;
                return None;
            }
            Outcome::Alert { alert, notes } => {
                self.alerts += 1;
                self.note(notes, shown.record);
                self.look_at(shown.record, Some(normaliser));
                (alert, None)
            }
            Outcome::Malformed { alert, why } => {
                self.add_malformed(why, shown.record);
                (alert, Some(why))
            }
        };
        self.add(&alert, lanes);
        Some((alert, why))
    }

    /// Counts an alert.
    fn add(&mut self, alert: &Alert<'_>, lanes: &LanePolicy) {
        for (name, value) in values(alert, lanes) {
            self.attributes.entry(name).or_default().add(&value);
        }
    }

    /// Counts what of a record was not believed or understood.
    fn note(&mut self, notes: Notes, record: &[u8]) {
        let known = [
            (Notes::TIME_UNREADABLE, "a time that cannot be read"),
            (Notes::TIME_AHEAD, "a time too far ahead to be believed"),
            (Notes::SEVERITY_UNKNOWN, "a severity that is not known"),
            (Notes::NOTHING_MAPPED, "nothing of the field map is in it"),
        ];
        for (_, what) in known.into_iter().filter(|(note, _)| notes.contains(*note)) {
            self.problem(what, record, "");
        }
    }

    /// Counts a record that could not be parsed.
    fn add_malformed(&mut self, why: Malformed, record: &[u8]) {
        self.malformed += 1;
        self.problem(why.title(), record, &format!(", {why}"));
    }

    fn problem(&mut self, what: &'static str, record: &[u8], detail: &str) {
        let first = self.records;
        let problem = self.problems.entry(what).or_insert_with(|| {
            let text = shown(&String::from_utf8_lossy(record), RECORD_CHARS_MAX);
            Problem { count: 0, first, example: format!("record {first}{detail}: {text}") }
        });
        problem.count += 1;
    }

    /// Looks for what a record holds that `normaliser` does not read; for all that it holds where
    /// there is none.
    fn look_at(&mut self, record: &[u8], normaliser: Option<&Normaliser>) {
        if self.looked_at < SHOWN_RECORDS_MAX
            && let Ok(object @ Value::Object(_)) = serde_json::from_slice(record)
        {
            self.looked_at += 1;
            self.walk(&object, &mut Vec::new(), normaliser);
        }
    }

    fn walk<'v>(
        &mut self,
        value: &'v Value,
        names: &mut Vec<&'v str>,
        normaliser: Option<&Normaliser>,
    ) {
        if normaliser.is_some_and(|normaliser| normaliser.reads(names)) {
            return;
        }
        let text = match value {
            Value::Object(object) => {
                for (name, value) in object {
                    names.push(name);
                    self.walk(value, names, normaliser);
                    names.pop();
                }
                return;
            }
            Value::Array(items) => {
                // One stands for all: a list's items are alike.
                items.first().into_iter().for_each(|item| self.walk(item, names, normaliser));
                return;
            }
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        let place = place(names);
        let is_kept = self.places.len() < SHOWN_PLACES_MAX || self.places.contains_key(&place);
        if is_kept && !text.is_empty() {
            self.places.entry(place).or_default().add(&text);
        }
    }

    fn write_attributes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = Field::ALL.into_iter().filter(|field| is_a_products(*field));
        let names: Vec<&str> =
            HEAD.into_iter().chain(texts.map(Field::ocsf_path)).chain(PORTS).collect();
        write!(f, "\n\n{:<42} {:>6}  most often", "found", "alerts")?;
        for name in &names {
            if let Some(seen) = self.attributes.get(name) {
                let share = share(seen.count, self.alerts + self.malformed);
                write!(f, "\n{name:<42} {share:>6}  {}", seen.examples())?;
            }
        }
        let absent: Vec<&str> =
            names.into_iter().filter(|name| !self.attributes.contains_key(name)).collect();
        if !absent.is_empty() {
            write!(f, "\n\nnever found: {}", absent.join(", "))?;
        }
        Ok(())
    }

    fn write_places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.count));
        let title = if self.attributes.is_empty() { "in the records" } else { "there, not read" };
        write!(f, "\n\n{title:<42} {:>6}  most often", "share")?;
        for (place, seen) in places.iter().take(PLACES) {
            let share = share(seen.count, self.looked_at);
            let place = shown(place, VALUE_CHARS_MAX);
            write!(f, "\n{place:<42} {share:>6}  {}", seen.examples())?;
        }
        match places.len().saturating_sub(PLACES) {
            0 => Ok(()),
            more => write!(f, "\nand {more} places more"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, alerts, others, malformed, .. } = self;
        write!(f, "{records} records: {alerts} alerts, {others} other events")?;
        if *malformed > 0 {
            write!(f, ", {malformed} that could not be parsed")?;
        }
        if self.over_long > 0 {
            write!(f, ", {} that were too long and were cut", self.over_long)?;
        }
        if !self.attributes.is_empty() {
            self.write_attributes(f)?;
        }
        if !self.places.is_empty() {
            self.write_places(f)?;
        }
        if !self.problems.is_empty() {
            f.write_str("\n\nnot understood")?;
        }
        for (what, Problem { count, example, .. }) in &self.problems {
            write!(f, "\n{count:>8}  {what}\n          first: {example}")?;
        }
        Ok(())
    }
}

/// Returns whether a product's record can say `field`: others are set by the agent.
const fn is_a_products(field: Field) -> bool {
    !matches!(field, Field::LogName | Field::PolicyRule | Field::Attribution)
}

fn share(count: u64, of: u64) -> String {
    match count * 100 / of.max(1) {
        0 => "< 1 %".to_owned(),
        share => format!("{share} %"),
    }
}

/// Returns the path of a place as a field map takes it.
fn place(names: &[&str]) -> String {
    if names.iter().all(|name| !name.contains(['.', '/', '~'])) {
        return names.join(".");
    }
    let escaped = names.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
    escaped.fold(String::new(), |path, name| path + "/" + &name)
}

/// Returns what an alert says, by OCSF's names; what it does not say is not there.
pub(super) fn values(alert: &Alert<'_>, lanes: &LanePolicy) -> Vec<(&'static str, String)> {
    let mut values = vec![("lane", lane_of(alert.severity, lanes).to_string())];
    values.extend(alert.time.map(|time| ("time", time.to_string())));
    if alert.severity != Severity::Unknown {
        values.push(("severity", alert.severity.to_string()));
    }
    match alert.action {
        Action::Unknown => {}
        Action::Allowed => values.push(("action", "allowed".to_owned())),
        Action::Denied => values.push(("action", "denied".to_owned())),
    }
    for field in Field::ALL {
        values.extend(alert.text(field).map(|text| (field.ocsf_path(), text.to_owned())));
    }
    let ports = PORTS.into_iter().zip([alert.src_port, alert.dst_port]);
    values.extend(ports.filter_map(|(name, port)| Some((name, port?.to_string()))));
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalise::Kind;

    #[test]
    fn the_values_that_are_there_most_often_are_shown_first_and_few_of_them() {
        let mut seen = Seen::default();
        for value in ["rare", "often", "often", "b", "c", "d"] {
            seen.add(value);
        }
        assert_eq!(seen.examples(), "often (2), b, c, 2 others");
        (0..2 * SHOWN_VALUES_MAX).for_each(|number| seen.add(&number.to_string()));
        assert_eq!(seen.values.len(), SHOWN_VALUES_MAX);
        assert!(seen.examples().contains("more than"), "{}", seen.examples());
    }

    #[test]
    fn a_place_is_named_as_a_field_map_takes_it() {
        assert_eq!(place(&["a", "b"]), "a.b");
        assert_eq!(place(&["a", "b.c", "d/e~"]), "/a/b.c/d~1e~0");
    }

    #[test]
    fn only_what_nothing_reads_is_named_as_not_read() {
        let normaliser = Normaliser::new(Kind::SURICATA_EVE, "");
        let record = br#"{"src_ip":"10.0.0.5","alert":{"rev":3,"severity":1},"vlan":[7],"a":null}"#;
        let mut summary = Summary::default();
        summary.look_at(record, Some(&normaliser));
        let places: Vec<&str> = summary.places.keys().map(String::as_str).collect();
        assert_eq!(places, ["alert.rev", "vlan"]);
        let mut summary = Summary::default();
        summary.look_at(record, None);
        assert_eq!(summary.places.len(), 4);
    }

    #[test]
    fn a_share_that_is_not_nothing_is_not_shown_as_nothing() {
        assert_eq!([share(1, 1_000), share(1, 2), share(0, 0)], ["< 1 %", "50 %", "< 1 %"]);
    }
}
