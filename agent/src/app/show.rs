//! Shows what the records of a file become, for `signalbox-agent normalise`: the same reading and
//! the same normaliser as a running agent's, and nothing is sent or remembered.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    path::Path,
    time::Instant,
};

use serde_json::{Map, Value, json};
use shared::{
    alert::{Action, Alert, Field, Severity},
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    config::Config,
    limits::READ_BYTES,
    normalise::{Kind, LanePolicy, Normaliser, Notes, Outcome, lane_of},
    source::{Begin, ReadBuffer, ReadError, Status, Tail},
};

/// How an alert is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line a value, for people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// What the records of files became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Alerts among them that could be read.
    pub alerts: u64,
    /// Events of another kind.
    pub others: u64,
    /// Records that became alerts which say that they could not be parsed, by what they say.
    pub malformed: BTreeMap<&'static str, u64>,
    /// Values that were not believed or understood, by what they are.
    pub noted: BTreeMap<&'static str, u64>,
    /// Records that were longer than one may be, and were cut.
    pub over_long: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, alerts, others, .. } = self;
        write!(f, "{records} records: {alerts} alerts, {others} other events")?;
        let over_long = (self.over_long > 0).then_some(("cut: too long", self.over_long));
        let rest = self.malformed.iter().chain(&self.noted).map(|(what, count)| (*what, *count));
        for (what, count) in rest.chain(over_long) {
            write!(f, "\n{count:>8}  {what}")?;
        }
        Ok(())
    }
}

/// How the records of files are read.
#[derive(Clone, Debug)]
pub struct Reading {
    normaliser: Normaliser,
    lanes: LanePolicy,
}

impl Reading {
    /// Returns how records of a known product are read; nothing if `kind` is none.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<Self> {
        let normaliser = Normaliser::new(Kind::of_product(kind)?, "");
        Some(Self { normaliser, lanes: LanePolicy::default() })
    }

    /// Returns how a source of the configuration is read; nothing if it has none of this name.
    #[must_use]
    pub fn of_source(config: &Config, name: &str) -> Option<Self> {
        let source = config.sources.iter().find(|source| source.name == name)?;
        let normaliser = Normaliser::new(source.kind.clone(), name);
        Some(Self { normaliser, lanes: config.lanes })
    }
}

/// Why a file's records cannot be shown.
#[derive(Debug, Error)]
pub enum ShowError {
    /// The file cannot be opened.
    #[error("{path} cannot be opened: {why}")]
    NotOpened {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file cannot be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Reads `path` from its start to its end, and writes each alert that its records become to `out`.
/// A last line without a newline is not a record yet and is left out.
///
/// # Errors
/// See [`ShowError`].
pub fn show(
    path: &Path,
    reading: &Reading,
    form: Form,
    now: (Timestamp, Instant),
    out: &mut dyn Write,
    counts: &mut Counts,
) -> Result<(), ShowError> {
    let mut tail =
        Tail::open(path, None, Begin::Start).expect("there is no checkpoint to be wrong");
    let mut buffer = ReadBuffer::new();
    let mut normaliser = reading.normaliser.clone(); // a header is its file's alone
    while tail.poll(now.1) {
        let batch = tail.read_batch(&mut buffer, READ_BYTES)?;
        if batch.is_empty() {
            break;
        }
        for line in batch.lines() {
            counts.records += 1;
            counts.over_long += u64::from(line.cut);
            if normaliser.take_header(line.bytes) {
                counts.others += 1;
                continue;
            }
            let (alert, why) = match normaliser.normalise(line.bytes, now.0) {
                Outcome::Skip(_) => {
                    counts.others += 1;
                    continue;
                }
                Outcome::Alert { alert, notes } => {
                    counts.alerts += 1;
                    counts.note(notes);
                    (alert, None)
                }
                Outcome::Malformed { alert, why } => {
                    *counts.malformed.entry(why.title()).or_default() += 1;
                    (alert, Some(why.to_string()))
                }
            };
            let mut values = values(&alert, &reading.lanes);
            values.extend(why.map(|why| ("malformed", why.into())));
            write_one(out, form, counts.records, values)?;
        }
    }
    let why = match tail.status() {
        Status::Reading => return Ok(()),
        Status::Missing => "there is no such file".to_owned(),
        Status::Unreadable(why) => why.clone(),
    };
    Err(ShowError::NotOpened { path: path.display().to_string(), why })
}

impl Counts {
    fn note(&mut self, notes: Notes) {
        let known = [
            (Notes::TIME_UNREADABLE, "a time that cannot be read"),
            (Notes::TIME_AHEAD, "a time too far ahead to be believed"),
            (Notes::SEVERITY_UNKNOWN, "a severity that is not known"),
            (Notes::NOTHING_MAPPED, "nothing of the field map is in it"),
        ];
        for (note, what) in known {
            if notes.contains(note) {
                *self.noted.entry(what).or_default() += 1;
            }
        }
    }
}

/// Returns what an alert says, by OCSF's names; what it does not say is not there.
fn values(alert: &Alert<'_>, lanes: &LanePolicy) -> Vec<(&'static str, Value)> {
    let mut values = vec![("lane", json!(lane_of(alert.severity, lanes).to_string()))];
    values.extend(alert.time.map(|time| ("time", json!(time.to_string()))));
    if alert.severity != Severity::Unknown {
        values.push(("severity", json!(alert.severity.as_str())));
    }
    match alert.action {
        Action::Unknown => {}
        Action::Allowed => values.push(("action", json!("allowed"))),
        Action::Denied => values.push(("action", json!("denied"))),
    }
    for field in Field::ALL {
        values.extend(alert.text(field).map(|text| (field.ocsf_path(), json!(text))));
    }
    let ports = [
        ("evidences.src_endpoint.port", alert.src_port),
        ("evidences.dst_endpoint.port", alert.dst_port),
    ];
    values.extend(ports.into_iter().filter_map(|(name, port)| Some((name, json!(port?)))));
    values
}

fn write_one(
    out: &mut dyn Write,
    form: Form,
    number: u64,
    values: Vec<(&'static str, Value)>,
) -> io::Result<()> {
    if form == Form::Json {
        let mut object = Map::from_iter([("record".to_owned(), json!(number))]);
        object.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
        return writeln!(out, "{}", Value::Object(object));
    }
    writeln!(out, "record {number}")?;
    for (name, value) in values {
        match value {
            // A detector's text must not move the cursor or change colours.
            Value::String(text) => writeln!(out, "  {name:<40} {}", text.escape_debug())?,
            other => writeln!(out, "  {name:<40} {other}")?,
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn shown(text: &str, form: Form) -> (String, Counts) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eve.json");
        std::fs::write(&path, text).unwrap();
        let reading = Reading::of_kind("suricata_eve").unwrap();
        let (mut out, mut counts) = (Vec::new(), Counts::default());
        let now = (Timestamp::from_ms(1_793_610_800_000), clock::now());
        show(&path, &reading, form, now, &mut out, &mut counts).unwrap();
        (String::from_utf8(out).unwrap(), counts)
    }

    const RECORDS: &str = concat!(
        r#"{"event_type":"flow"}"#,
        "\n",
        r#"{"event_type":"alert","src_port":7,"#,
        r#""alert":{"signature":"a \u001b[31mred","severity":1}}"#,
        "\n{\"event_type\":\"alert\",\n",
    );

    #[test]
    fn each_alert_is_shown_by_ocsfs_names_and_the_rest_is_counted() {
        let (text, counts) = shown(RECORDS, Form::Json);
        let alerts: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0]["record"], 2);
        assert_eq!(alerts[0]["lane"], "urgent");
        assert_eq!(alerts[0]["severity"], "high");
        assert_eq!(alerts[0]["evidences.src_endpoint.port"], 7);
        assert_eq!(alerts[0].get("device.hostname"), None);
        assert_eq!(alerts[1]["malformed"], "JSON ends early");
        assert_eq!((counts.records, counts.alerts, counts.others), (3, 1, 1));
        assert_eq!(
            counts.to_string(),
            "3 records: 1 alerts, 1 other events\n       \
             1  record could not be parsed: it ends early"
        );
    }

    #[test]
    fn a_records_control_characters_do_not_reach_a_terminal() {
        let (text, _) = shown(RECORDS, Form::Text);
        assert!(text.contains(r"a \u{1b}[31mred") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let reading = Reading::of_kind("wazuh").unwrap();
        let now = (Timestamp::from_ms(0), clock::now());
        let error = show(
            Path::new("/not/there.json"),
            &reading,
            Form::Text,
            now,
            &mut Vec::new(),
            &mut Counts::default(),
        );
        let expected = "/not/there.json cannot be opened: there is no such file";
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}
