//! What the detectors write: the repository's recordings over and over with new times and numbers, or a whole network
//! of the AIT Alert Data Set.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::cluster::Kind;

use super::detector::Record;

/// Records of one source made from recordings.
const RECORDS: usize = 3_000;
/// One record in so many is cut off and cannot be parsed; an alert says so.
const BROKEN_ONE_IN: usize = 211;
/// The smallest network of the data set, with some 45,000 alerts.
const NETWORK: &str = "russellmitchell";
/// Where AMiner's alerts, which no common product writes, have what.
const AMINER_FIELDS: &str = r#"
[source.fields]
product = "aminer"
[source.fields.paths]
time = "LogData.Timestamp"
"finding_info.title" = "AnalysisComponent.AnalysisComponentName"
"device.hostname" = "LogData.Host"
"device.ip" = "LogData.HostAddress"
"#;

/// What one source gets.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) records: Vec<Record>,
}

/// Returns the inputs of a customer of `tests/recordings`.
pub(super) fn recorded(customer: &str) -> Result<Vec<Input>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(customer);
    let read = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| name.to_owned());
    let eve = repeat(&read("eve.json")?, "\"flow_id\":", ',')?;
    let wazuh = repeat(&read("alerts.json")?, "\"id\":\"1793", '"')?;
    Ok(vec![
        Input { name: "suricata", kind: Kind::SuricataEve, records: eve },
        Input { name: "wazuh", kind: Kind::Wazuh, records: wazuh },
    ])
}

/// Repeats recorded lines with a time of their own each, and a number of their own where they have one: between
/// `before` and `after`.
fn repeat(text: &str, before: &str, after: char) -> Result<Vec<Record>> {
    let templates: Vec<&str> = text.lines().collect();
    let number = |number: usize| -> Result<Record> {
        let line = templates[number % templates.len()];
        let start = line.find(before).context("a line without a number")? + before.len();
        let end = start + line[start..].find(after).context("a number without an end")?;
        let mut line = format!("{}{number}{}", &line[..start], &line[end..]);
        let time_at = "{\"timestamp\":\"2026-11-02T".len();
        ensure!(line.starts_with("{\"timestamp\":\"2026-11-02T"), "a line of another form: {line}");
        line.replace_range(time_at..time_at + "08:00:30.509".len(), &time_of_day(number * 7));
        let is_alert =
            !line.contains("\"event_type\":") || line.contains("\"event_type\":\"alert\"");
        if is_alert && number % BROKEN_ONE_IN == BROKEN_ONE_IN - 1 {
            line.truncate(line.floor_char_boundary(line.len() * 3 / 4));
        }
        Ok(Record { bytes: line.into_bytes(), is_alert })
    };
    (0..RECORDS).map(number).collect()
}

/// Returns the time so many milliseconds after eight in the morning.
fn time_of_day(ms: usize) -> String {
    let seconds = ms / 1000 + 8 * 60 * 60;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, ms % 1000)
}

/// A network of the data set as detectors' files.
#[derive(Debug)]
pub(super) struct Network {
    folder: TempDir,
}

impl Network {
    /// Writes the detectors' files, where the data set and the tool for it are.
    pub(super) fn find() -> Option<Self> {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let data = env::var_os("SIGNALBOX_DATA").map_or_else(default, PathBuf::from);
        let tool = data.join("../tools/ait_replay.py");
        let alerts = data.join("ait-ads/alerts.dev.zip");
        if !tool.is_file() || !alerts.is_file() {
            return None;
        }
        let folder = tempfile::tempdir().ok()?;
        let mut command = Command::new("python3");
        command.arg(tool).arg(alerts).arg(data.join("ait-ads/hosts.dev.tsv")).arg(folder.path());
        command.args(["--tenant", NETWORK]).arg("--wazuh-rules");
        command.arg(data.join("wazuh/wazuh-4.14.9-rules-xml.tar.gz"));
        let written = command.output().ok()?;
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        Some(Self { folder })
    }

    /// Returns its inputs: one for each detector.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        let read = |file: &str| -> Result<Vec<Record>> {
            let text = fs::read(self.folder.path().join(NETWORK).join(file))?;
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            Ok(lines.map(|line| Record { bytes: line.to_vec(), is_alert: true }).collect())
        };
        let aminer = Kind::JsonLines(AMINER_FIELDS.to_owned());
        Ok(vec![
            Input {
                name: "suricata",
                kind: Kind::SuricataEve,
                records: read("suricata/eve.json")?,
            },
            Input { name: "wazuh", kind: Kind::Wazuh, records: read("wazuh/alerts.json")? },
            Input { name: "aminer", kind: aminer, records: read("aminer/alerts.json")? },
        ])
    }
}
