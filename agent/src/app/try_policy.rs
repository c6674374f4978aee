//! Shows what a policy would do with the records of files, for `signalbox-agent try-policy`: the same reading and the
//! same rules as a running agent's, and nothing is sent, held or remembered.
//!
//! Time goes by as the records say: rates and periods are those of their times, so that a month of records shows what
//! a month would have been like. Files are taken in the order of their first alerts' times, whatever the order in which
//! they are named. Whether a rule has ended is asked of the present.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{
    alert::{Alert, Field, Handling},
    ids::Epoch,
    time::Timestamp,
};

use super::show::{Reading, ShowError, Shown, each_record, first_time};
use crate::{
    filter,
    normalise::Outcome,
    policy::Policy,
    prefilter::{Prefilter, Read, Verdict},
};

/// The key by which samples are chosen: an agent has its own, so the samples here are others, but as many.
const KEY: Epoch = Epoch(0);

/// What becomes of alerts, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    Urgent,
    BeyondExpected,
    AuditSample,
    LetThrough,
    Folded,
    Held,
}

impl Fate {
    const ALL: [Self; 7] = [
        Self::Sent,
        Self::Urgent,
        Self::BeyondExpected,
        Self::AuditSample,
        Self::LetThrough,
        Self::Folded,
        Self::Held,
    ];

    fn of(verdict: &Verdict) -> (Self, Option<u32>) {
        match *verdict {
            Verdict::Hold { rule } => (Self::Held, Some(rule)),
            Verdict::Fold { rule } => (Self::Folded, Some(rule)),
            Verdict::Send { handling, rule, .. } => {
                let fate = match handling {
                    Handling::Sent => Self::Sent,
                    Handling::Urgent => Self::Urgent,
                    Handling::Folded => Self::LetThrough,
                    Handling::AuditSample => Self::AuditSample,
                    Handling::BeyondExpected => Self::BeyondExpected,
                };
                (fate, rule)
            }
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Urgent => "sent_urgent",
            Self::BeyondExpected => "sent_beyond_expected",
            Self::AuditSample => "sent_audit_sample",
            Self::LetThrough => "sent_of_folded",
            Self::Folded => "folded",
            Self::Held => "held",
        }
    }
}

/// What the records of files became, before the policy was asked.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Records read.
    records: u64,
    /// Alerts among them that could be read.
    alerts: u64,
    /// Events of another kind.
    others: u64,
    /// Records that could not be parsed, by what their alerts say.
    malformed: BTreeMap<&'static str, u64>,
    /// Records that were longer than one may be, and were cut.
    over_long: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, alerts, others, .. } = self;
        write!(f, "{records} records: {alerts} alerts, {others} other events")?;
        let over_long = (self.over_long > 0).then_some(("cut: too long", self.over_long));
        let malformed = self.malformed.iter().map(|(what, count)| (*what, *count));
        for (what, count) in malformed.chain(over_long) {
            write!(f, "\n{count:>8}  {what}")?;
        }
        Ok(())
    }
}

/// One alert that a rule decided about.
#[derive(Clone, Debug)]
struct Example {
    file: String,
    record: u64,
    title: String,
}

/// A policy that is being tried.
#[derive(Debug)]
pub struct Trial {
    prefilter: Prefilter,
    /// The files that were read, each with how.
    files: Vec<(String, String)>,
    counts: Counts,
    fates: [u64; Fate::ALL.len()],
    /// Alerts that stand for folded ones at a period's end.
    handed_out: u64,
    examples_max: usize,
    /// For each rule, some of the alerts of each fate.
    examples: Vec<[Vec<Example>; Fate::ALL.len()]>,
    wall: Timestamp,
    start: Instant,
    /// The first time that a record said, and how far time has gone on since.
    first: Option<Timestamp>,
    elapsed: Duration,
}

impl Trial {
    /// Begins to try a policy, at most `examples_max` examples a rule and fate.
    #[must_use]
    pub fn new(policy: Policy, examples_max: usize, now: (Timestamp, Instant)) -> Self {
        let examples = policy.rules().iter().map(|_| Default::default()).collect();
        Self {
            prefilter: Prefilter::new(policy, KEY),
            files: Vec::new(),
            counts: Counts::default(),
            fates: [0; Fate::ALL.len()],
            handed_out: 0,
            examples_max,
            examples,
            wall: now.0,
            start: now.1,
            first: None,
            elapsed: Duration::ZERO,
        }
    }

    /// Asks the policy about the records of files, in the order of their times; each file from its start to its end.
    ///
    /// # Errors
    /// See [`ShowError`].
    pub fn read(&mut self, files: &[(PathBuf, Reading)]) -> Result<(), ShowError> {
        let mut begun = Vec::with_capacity(files.len());
        for (path, reading) in files {
            begun.push((first_time(path, reading, (self.wall, self.start))?, path, reading));
        }
        // What says no time keeps its place, before the others.
        begun.sort_by_key(|(at, ..)| *at);
        begun.into_iter().try_for_each(|(_, path, reading)| self.read_file(path, reading))
    }

    fn read_file(&mut self, path: &Path, reading: &Reading) -> Result<(), ShowError> {
        self.files.push((path.display().to_string(), reading.to_string()));
        each_record(path, reading, (self.wall, self.start), &mut |shown| {
            self.take(path, shown);
            Ok(())
        })
    }

    /// Ends the time of the records, so that what is still folded is handed out.
    pub fn finish(&mut self) {
        self.handed_out += self.prefilter.take_all(self.start + self.elapsed).len() as u64;
    }

    /// Writes what the policy did as an object, for programs.
    ///
    /// # Errors
    /// What the output reports.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let policy = self.prefilter.policy();
        let mut fates = serde_json::Map::new();
        for fate in Fate::ALL {
            fates.insert(fate.as_str().to_owned(), json!(self.fates[fate as usize]));
        }
        fates.insert("sent_at_the_end_of_periods".to_owned(), json!(self.handed_out));
        let rules: Vec<Value> = self
            .rules()
            .map(|(place, rule, counts)| {
                json!({
                    "id": rule.id, "title": rule.title, "owner": rule.owner,
                    "action": rule.action.as_str(), "expires": rule.expires_at.to_string(),
                    "is_expired": self.is_expired(rule), "matched": counts.matched,
                    "matched_after_end": counts.expired, "sent": counts.sent, "held": counts.held,
                    "audit_samples": counts.audit_samples,
                    "beyond_expected": counts.beyond_expected, "folded": counts.folded,
                    "let_through": counts.let_through, "spared_critical": counts.spared,
                    "examples": self.examples_json(place),
                })
            })
            .collect();
        let report = json!({
            "policy": policy.name(), "version": policy.version(),
            "files": self.files.iter().map(|(file, how)| json!({ "file": file, "read": how }))
                .collect::<Vec<_>>(),
            "records": self.counts.records,
            "alerts": self.counts.alerts, "others": self.counts.others,
            "malformed": self.counts.malformed, "became": fates, "rules": rules,
        });
        writeln!(out, "{report}")
    }

    /// Writes what the policy did for people.
    ///
    /// # Errors
    /// What the output reports.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let policy = self.prefilter.policy();
        let name = policy.name().escape_debug();
        writeln!(
            out,
            "policy {name}, version {}, {} rules",
            policy.version(),
            policy.rules().len()
        )?;
        for (file, how) in &self.files {
            writeln!(out, "{}: {how}", file.escape_debug())?;
        }
        writeln!(out, "{}\n", self.counts)?;
        let sum =
            |fates: &[Fate]| -> u64 { fates.iter().map(|fate| self.fates[*fate as usize]).sum() };
        let all: u64 = self.fates.iter().sum();
        let sent = sum(&Fate::ALL) - sum(&[Fate::Held, Fate::Folded]);
        writeln!(out, "{sent:>8}  sent {}", share(sent, all))?;
        for (fate, what) in [
            (Fate::Urgent, "on the urgent lane because a rule says so"),
            (Fate::BeyondExpected, "because there were more than a rule expects"),
            (Fate::AuditSample, "as samples of what is held"),
            (Fate::LetThrough, "for others of their like that are folded"),
        ] {
            let count = self.fates[fate as usize];
            if count > 0 {
                writeln!(out, "{count:>12}  of them {what}")?;
            }
        }
        for (fate, what) in [(Fate::Held, "held back"), (Fate::Folded, "folded")] {
            let count = self.fates[fate as usize];
            writeln!(out, "{count:>8}  {what} {}", share(count, all))?;
        }
        writeln!(out, "{:>8}  sent later to stand for folded ones", self.handed_out)?;
        self.rules().try_for_each(|(place, rule, counts)| self.write_rule(out, place, rule, counts))
    }

    fn write_rule(
        &self,
        out: &mut dyn Write,
        place: usize,
        rule: &filter::Rule,
        counts: filter::Counts,
    ) -> io::Result<()> {
        let (id, title) = (rule.id.escape_debug(), rule.title.escape_debug());
        writeln!(out, "\n{:<11} {id}: {title}", rule.action.as_str())?;
        if self.is_expired(rule) {
            writeln!(out, "    ended {}: does nothing", rule.expires_at)?;
        }
        let counted = [
            (counts.matched, "matched"),
            (counts.expired, "matched after its end"),
            (counts.sent, "sent"),
            (counts.held, "held"),
            (counts.audit_samples, "sent as samples"),
            (counts.beyond_expected, "sent: more than it expects"),
            (counts.folded, "folded or let through"),
            (counts.let_through, "let through to stand for the others"),
            (counts.spared, "not suppressed: critical or fatal"),
        ];
        for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "{count:>12}  {what}")?;
        }
        if counts.matched + counts.expired == 0 {
            writeln!(out, "{:>12}  matched", 0)?;
        }
        for (fate, example) in self.examples_of(place) {
            let Example { file, record, title } = example;
            let title = title.escape_debug();
            writeln!(out, "    {}: {file}, record {record}: {title}", fate.as_str())?;
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, shown: Shown<'_>) {
        self.counts.records += 1;
        self.counts.over_long += u64::from(shown.is_cut);
        let (alert, is_malformed, reader) = match shown.became {
            None | Some((Outcome::Skip(_), _)) => {
                self.counts.others += 1;
                return;
            }
            Some((Outcome::Alert { alert, .. }, reader)) => {
                self.counts.alerts += 1;
                (alert, false, reader)
            }
            Some((Outcome::Malformed { alert, why }, reader)) => {
                *self.counts.malformed.entry(why.title()).or_default() += 1;
                (alert, true, reader)
            }
        };
        let now = self.now(&alert);
        self.handed_out += self.prefilter.take_due(now).len() as u64;
        let verdict = match is_malformed {
            false => {
                let read = Read { alert: &alert, record: shown.record, reader };
                self.prefilter.judge(read, now, self.wall)
            }
            true => Verdict::PASS,
        };
        let (fate, rule) = Fate::of(&verdict);
        self.fates[fate as usize] += 1;
        let Some(rule) = rule else { return };
        let examples = &mut self.examples[rule as usize][fate as usize];
        if examples.len() < self.examples_max {
            let title = alert.text(Field::Title).unwrap_or("an alert without a title");
            let (file, title) = (path.display().to_string(), title.to_owned());
            examples.push(Example { file, record: shown.number, title });
        }
    }

    /// Returns the time of the records, which does not go back.
    fn now(&mut self, alert: &Alert<'_>) -> Instant {
        if let Some(time) = alert.time {
            let first = *self.first.get_or_insert(time);
            self.elapsed = self.elapsed.max(time.since(first));
        }
        self.start + self.elapsed
    }

    fn rules(&self) -> impl Iterator<Item = (usize, &filter::Rule, filter::Counts)> {
        let counts = self.prefilter.filter().counts().enumerate();
        counts.map(|(place, (rule, counts))| (place, rule, counts))
    }

    fn is_expired(&self, rule: &filter::Rule) -> bool {
        self.wall >= rule.expires_at
    }

    fn examples_of(&self, rule: usize) -> impl Iterator<Item = (Fate, &Example)> {
        let of_fate = move |fate: Fate| {
            self.examples[rule][fate as usize].iter().map(move |example| (fate, example))
        };
        Fate::ALL.into_iter().flat_map(of_fate)
    }

    fn examples_json(&self, rule: usize) -> Value {
        let one = |(fate, example): (Fate, &Example)| {
            let Example { file, record, title } = example;
            json!({ "became": fate.as_str(), "file": file, "record": record, "title": title })
        };
        self.examples_of(rule).map(one).collect()
    }
}

/// Writes a share in percent.
fn share(count: u64, all: u64) -> impl fmt::Display {
    let tenths = (u128::from(count) * 1_000).checked_div(u128::from(all)).unwrap_or_default();
    format!("({}.{} %)", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const POLICY: &str = "\
policy: acme
version: 1
owner: soc
---
title: the scanner
id: scanner
logsource: {product: suricata}
detection: {s: {src_ip: 10.0.0.9}, condition: s}
signalbox: {action: hold, expires: 2026-12-01, expected: 3/h, audit: 1/1000000}
---
title: the noise
id: noise
logsource: {product: suricata}
detection: {s: {rule_uid: 7}, condition: s}
signalbox: {action: fold, expires: 2026-12-01, expected: 1000/h}
---
title: the old
id: old
logsource: {product: suricata}
detection: {s: {rule_uid: 7}, condition: s}
signalbox: {action: hold, expires: 2026-01-01, expected: 1000/h}
";

    fn line(second: u32, src: &str, rule: u32) -> String {
        format!(
            "{{\"timestamp\":\"2026-11-20T10:{:02}:{:02}.000000+0000\",\"event_type\":\"alert\",\
             \"src_ip\":\"{src}\",\"alert\":{{\"signature_id\":{rule},\
             \"signature\":\"a \\u001b b\",\"severity\":3}}}}\n",
            second / 60,
            second % 60
        )
    }

    fn tried() -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eve.json");
        let mut text: String = (0..5).map(|second| line(second, "10.0.0.9", 1)).collect();
        text.extend((5..20).map(|second| line(second, "10.0.0.1", 7)));
        text.push_str(&line(20, "10.0.0.2", 2));
        text.push_str("{\"event_type\":\"flow\"}\n{\"event_type\":\"alert\",\n");
        std::fs::write(&path, text).unwrap();
        let now = (Timestamp::from_ms(1_795_600_000_000), clock::now()); // 2026-11-25
        let mut trial = Trial::new(Policy::parse(POLICY, now.0).unwrap(), 2, now);
        trial.read(&[(path, Reading::of_kind("suricata_eve").unwrap())]).unwrap();
        trial.finish();
        trial
    }

    #[test]
    fn files_are_taken_in_the_order_of_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, seconds: std::ops::Range<u32>| {
            let path = folder.path().join(name);
            let text: String = seconds.map(|second| line(second * 400, "10.0.0.9", 1)).collect();
            std::fs::write(&path, text).unwrap();
            (path, Reading::of_kind("suricata_eve").unwrap())
        };
        // An alert every seven minutes is no more than the rule expects; all at once would be.
        let files = [file("eve.json", 6..8), file("eve.json.1", 3..6), file("eve.json.2", 0..3)];
        let rule = POLICY.replace("expected: 3/h", "expected: 1/m");
        let now = (Timestamp::from_ms(1_795_600_000_000), clock::now());
        let mut trial = Trial::new(Policy::parse(&rule, now.0).unwrap(), 2, now);
        trial.read(&files).unwrap();
        trial.finish();
        let mut out = Vec::new();
        trial.write_json(&mut out).unwrap();
        let report: Value = serde_json::from_slice(&out).unwrap();
        let names: Vec<&str> = report["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["file"].as_str().unwrap())
            .collect();
        assert!(names[0].ends_with("eve.json.2") && names[2].ends_with("eve.json"), "{names:?}");
        assert_eq!((&report["became"]["held"], &report["alerts"]), (&json!(8), &json!(8)));
    }

    #[test]
    fn each_alert_is_in_one_sum_and_each_rule_says_what_it_did() {
        let mut out = Vec::new();
        tried().write_json(&mut out).unwrap();
        let report: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&report["alerts"], &report["others"]), (&json!(21), &json!(1)));
        assert_eq!(
            report["became"],
            json!({
                "sent": 2, "sent_urgent": 0, "sent_beyond_expected": 2, "sent_audit_sample": 0,
                "sent_of_folded": 2, "folded": 13, "held": 3, "sent_at_the_end_of_periods": 1,
            })
        );
        let rules = report["rules"].as_array().unwrap();
        assert_eq!((&rules[0]["held"], &rules[0]["beyond_expected"]), (&json!(3), &json!(2)));
        assert_eq!((&rules[1]["folded"], &rules[1]["let_through"]), (&json!(15), &json!(3)));
        assert_eq!(
            (&rules[2]["is_expired"], &rules[2]["matched_after_end"]),
            (&json!(true), &json!(15))
        );
        let examples = rules[0]["examples"].as_array().unwrap();
        assert_eq!(examples.len(), 4, "two held ones and two that were beyond");
        assert_eq!(examples[0]["record"], 4);
    }

    #[test]
    fn people_read_shares_and_examples_without_control_characters() {
        let mut out = Vec::new();
        tried().write_text(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "policy acme, version 1, 3 rules",
            "       3  held back (13.6 %)",
            "hold        scanner: the scanner",
            "ended 2026-01-02T00:00:00.000Z: does nothing",
            "record 1: a \\u{1b} b",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
