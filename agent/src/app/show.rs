//! Shows what the records of a file become, for `signalbox-agent normalise`: the same reading and
//! the same normaliser as a running agent's, and nothing is sent or remembered.

mod records;
mod summary;

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    time::Instant,
};

use shared::{alert::Alert, ocsf, time::Timestamp};
use thiserror::Error;

use self::records::Records;
pub use self::summary::Summary;
use super::input;
use crate::{
    config::Config,
    limits::GUESSED_LINES_MAX,
    normalise::{Kind, LanePolicy, Malformed, Normaliser, Outcome, SkipReason, lane_of},
    source::{ReadBuffer, ReadError, RecordEnd},
};

/// What is shown besides the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Summary,
    /// Each alert, a line a value.
    Each,
    /// Each alert as an OCSF Detection Finding, an object a line.
    Json,
}

/// How the records of files are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Absent where nobody knows whose the records are.
    normaliser: Option<Normaliser>,
    lanes: LanePolicy,
    is_guessed: bool,
}

impl Reading {
    /// Returns how records of a known product are read; nothing if `kind` is none.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<Self> {
        let normaliser = Some(Normaliser::new(Kind::of_product(kind)?, ""));
        Some(Self { normaliser, lanes: LanePolicy::default(), is_guessed: false })
    }

    /// Returns how a source of the configuration is read; nothing if it has none of this name.
    #[must_use]
    pub fn of_source(config: &Config, name: &str) -> Option<Self> {
        let source = config.sources.iter().find(|source| source.name == name)?;
        let normaliser = Normaliser::new(source.kind.clone(), name);
        let normaliser = Some(normaliser.with_utc_offset(source.utc_offset));
        Some(Self { normaliser, lanes: config.lanes, is_guessed: false })
    }

    /// Returns how records are read that look like the first ones at `path`.
    ///
    /// # Errors
    /// See [`ShowError`].
    pub fn guess(path: &Path, now: Instant) -> Result<Self, ShowError> {
        let mut buffer = ReadBuffer::new();
        // Of other products' records, nearly all end with their lines so, too.
        buffer.expect(RecordEnd::Event);
        let mut records = Records::open(path)?;
        let batch = records.next(&mut buffer, now)?;
        let lines: Vec<&[u8]> =
            batch.lines().map(|line| line.bytes).take(GUESSED_LINES_MAX).collect();
        let normaliser = Kind::guess(&lines).map(|kind| Normaliser::new(kind, ""));
        Ok(Self { normaliser, lanes: LanePolicy::default(), is_guessed: true })
    }

    fn record_end(&self) -> RecordEnd {
        self.normaliser.as_ref().map(|it| input::record_end(it.kind())).unwrap_or_default()
    }

    /// Returns whether anybody knows how the records are read.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.normaliser.is_some()
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.normaliser, self.is_guessed) {
            (None, _) => f.write_str(
                "the records look like no product's that is known: name it with --kind, or write \
                 a json_lines source with a field map and name that with --source",
            ),
            (Some(normaliser), false) => write!(f, "read as {}", normaliser.kind()),
            (Some(normaliser), true) => write!(
                f,
                "read as {}, which the first records look like (--kind names another)",
                normaliser.kind()
            ),
        }
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
    /// The file is compressed or an event log, and is not read to its end.
    #[error("{path} cannot be unpacked to its end: {why}")]
    NotUnpacked {
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

/// One record of a file.
pub(super) struct Shown<'a> {
    /// Its number among the file's.
    pub(super) number: u64,
    /// What stands there.
    pub(super) record: &'a [u8],
    /// Whether it was longer than one may be, and was cut.
    pub(super) is_cut: bool,
    /// What it became, and of what reads it; absent where nobody knows whose it is.
    pub(super) became: Option<(Outcome<'a>, &'a Normaliser)>,
}

/// Reads `path` from its start to its end, and hands each of its records to `take`. What rotation compressed is
/// unpacked, and of a Windows event log each event is a record. A last line of a text without a newline is not a record
/// yet and is left out.
///
/// # Errors
/// See [`ShowError`]; what `take` returns ends the reading.
pub(super) fn each_record(
    path: &Path,
    reading: &Reading,
    now: (Timestamp, Instant),
    take: &mut dyn FnMut(Shown<'_>) -> Result<(), ShowError>,
) -> Result<(), ShowError> {
    let (mut records, mut buffer) = (Records::open(path)?, ReadBuffer::new());
    let mut normaliser = reading.normaliser.clone(); // a header is its file's alone
    buffer.expect(reading.record_end());
    let mut number = 0;
    loop {
        let batch = records.next(&mut buffer, now.1)?;
        if batch.is_empty() {
            return Ok(());
        }
        for line in batch.lines() {
            number += 1;
            let record = line.bytes;
            let is_header = normaliser.as_mut().is_some_and(|reader| reader.take_header(record));
            let became = normaliser.as_ref().map(|normaliser| match is_header {
                true => (Outcome::Skip(SkipReason::NotAnAlert), normaliser),
                false => (normaliser.normalise(record, now.0), normaliser),
            });
            take(Shown { number, record, is_cut: line.cut, became })?;
        }
    }
}

/// Returns when the first alert of a file happened that says so; nothing where none does.
pub(super) fn first_time(
    path: &Path,
    reading: &Reading,
    now: (Timestamp, Instant),
) -> Result<Option<Timestamp>, ShowError> {
    let Some(mut normaliser) = reading.normaliser.clone() else { return Ok(None) };
    let (mut records, mut buffer) = (Records::open(path)?, ReadBuffer::new());
    buffer.expect(reading.record_end());
    loop {
        let batch = records.next(&mut buffer, now.1)?;
        if batch.is_empty() {
            return Ok(None);
        }
        for line in batch.lines() {
            if normaliser.take_header(line.bytes) {
                continue;
            }
            if let Outcome::Alert { alert, .. } = normaliser.normalise(line.bytes, now.0)
                && alert.time.is_some()
            {
                return Ok(alert.time);
            }
        }
    }
}

/// Reads `path` to its end, unpacks it if need be, adds to `summary`, and writes what `form` says to `out`.
///
/// # Errors
/// See [`ShowError`].
pub fn show(
    path: &Path,
    reading: &Reading,
    form: Form,
    now: (Timestamp, Instant),
    out: &mut dyn Write,
    summary: &mut Summary,
) -> Result<(), ShowError> {
    let lanes = &reading.lanes;
    each_record(path, reading, now, &mut |shown| {
        let Some((alert, why)) = summary.take(shown, lanes) else { return Ok(()) };
        match form {
            Form::Summary => {}
            Form::Each => write_values(out, summary.records, &alert, lanes, why)?,
            Form::Json => write_finding(out, summary.records, &alert, lanes, why)?,
        }
        Ok(())
    })
}

fn write_values(
    out: &mut dyn Write,
    number: u64,
    alert: &Alert<'_>,
    lanes: &LanePolicy,
    why: Option<Malformed>,
) -> io::Result<()> {
    writeln!(out, "record {number}")?;
    for (name, value) in summary::values(alert, lanes) {
        // A detector's text must not move the cursor or change colours.
        writeln!(out, "  {name:<40} {}", value.escape_debug())?;
    }
    if let Some(why) = why {
        writeln!(out, "  {:<40} {why}", "malformed")?;
    }
    writeln!(out)
}

fn write_finding(
    out: &mut dyn Write,
    number: u64,
    alert: &Alert<'_>,
    lanes: &LanePolicy,
    why: Option<Malformed>,
) -> io::Result<()> {
    let mut finding = ocsf::finding(alert, &number.to_string());
    finding["unmapped"]["lane"] = lane_of(alert.severity, lanes).to_string().into();
    if let Some(why) = why {
        finding["unmapped"]["malformed"] = why.to_string().into();
    }
    writeln!(out, "{finding}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::clock;

    const NOW: Timestamp = Timestamp::from_ms(1_793_610_800_000);

    fn shown(text: &str, form: Form) -> (String, Summary, Reading) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eve.json");
        std::fs::write(&path, text).unwrap();
        let reading = Reading::guess(&path, clock::now()).unwrap();
        let (mut out, mut summary) = (Vec::new(), Summary::default());
        show(&path, &reading, form, (NOW, clock::now()), &mut out, &mut summary).unwrap();
        (String::from_utf8(out).unwrap(), summary, reading)
    }

    const RECORDS: &str = concat!(
        r#"{"event_type":"flow"}"#,
        "\n",
        r#"{"event_type":"alert","src_port":7,"tx_id":5,"#,
        r#""alert":{"signature":"a \u001b[31mred","severity":1}}"#,
        "\n{\"event_type\":\"alert\",\n",
    );

    #[test]
    fn each_alert_is_shown_as_a_finding_of_ocsf_and_the_rest_is_counted() {
        let (text, summary, _) = shown(RECORDS, Form::Json);
        let alerts: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0]["finding_info"]["uid"], "2");
        assert_eq!(alerts[0]["unmapped"]["lane"], "urgent");
        assert_eq!(alerts[0]["severity"], "High");
        assert_eq!(alerts[0]["evidences"][0]["src_endpoint"]["port"], 7);
        assert_eq!(alerts[0].get("device"), None);
        assert_eq!(alerts[1]["unmapped"]["malformed"], "JSON ends early");
        assert_eq!((summary.records, summary.alerts, summary.others), (3, 1, 1));
    }

    #[test]
    fn the_summary_says_what_was_found_what_was_not_read_and_what_was_not_understood() {
        let (text, summary, reading) = shown(RECORDS, Form::Summary);
        assert_eq!(text, "");
        let said = reading.to_string();
        assert!(said.starts_with("read as suricata_eve, which the first records"), "{said}");
        let said = summary.to_string();
        for part in [
            "3 records: 1 alerts, 1 other events, 1 that could not be parsed",
            "\nevidences.src_endpoint.port                  50 %  7\n",
            "\nnever found: time, action, ",
            "\ntx_id                                       100 %  5\n",
            "\n       1  record could not be parsed: it ends early\n",
            "first: record 3, JSON ends early: {\\\"event_type\\\":\\\"alert\\\",",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn of_records_that_nobody_knows_the_places_are_shown() {
        let (_, summary, reading) = shown("{\"a\":{\"b.c\":1}}\n{\"a\":{\"b.c\":1}}\n", Form::Each);
        assert!(!reading.is_known() && reading.to_string().contains("field map"));
        let said = summary.to_string();
        assert!(said.contains("/a/b.c  ") && said.contains("100 %  1 (2)"), "{said}");
    }

    #[test]
    fn a_records_control_characters_do_not_reach_a_terminal() {
        let (text, summary, _) = shown(RECORDS, Form::Each);
        for text in [text, summary.to_string()] {
            assert!(text.contains(r"a \u{1b}[31mred") && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let path = Path::new("/not/there.json");
        let reading = Reading::of_kind("wazuh").unwrap();
        let (mut out, mut summary) = (Vec::new(), Summary::default());
        let now = (NOW, clock::now());
        let shown = show(path, &reading, Form::Summary, now, &mut out, &mut summary);
        let guessed = Reading::guess(path, clock::now());
        for error in [shown.unwrap_err(), guessed.unwrap_err()] {
            let expected = "/not/there.json cannot be opened: there is no such file";
            assert_eq!(error.to_string(), expected);
        }
    }
}
