//! The samples that are at hand, and how their records are got out of them.

use std::{collections::BTreeMap, fs, path::Path};

use agent::{
    evtx,
    normalise::{FieldMap, Kind, Normaliser},
};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use shared::time::Timestamp;

use super::{
    counts::Counts,
    data::{Data, files},
};
use crate::ocsf_schema::Schema;

/// A file with the records of one product in it.
struct Sample {
    name: &'static str,
    file: &'static str,
    reader: Reader,
    /// Says what of a line is the record.
    record: fn(&[u8]) -> Result<Option<Vec<u8>>>,
}

/// How the records are read.
#[derive(Clone, Copy)]
enum Reader {
    Kind(&'static str),
    /// By the shipped field map of this name.
    Map(&'static str),
}

/// Messages, each with the form that others found it to have.
const SYSLOG: &str = "cef-syslog/lines.jsonl.gz";

/// Events that others try their rules on, each with the logs that a rule is for.
const PANTHER: &str = "panther/panther_rule_tests.dev.jsonl.gz";

const SAMPLES: [Sample; 18] = [
    Sample {
        name: "suricata",
        file: "suricata/eve_suricata_verify_sample.ndjson.gz",
        reader: Reader::Kind("suricata_eve"),
        record: eve,
    },
    Sample {
        name: "cptc2017",
        file: "cptc2017/eve_alerts.dev.jsonl.gz",
        reader: Reader::Kind("suricata_eve"),
        record: eve,
    },
    Sample {
        name: "wazuh",
        file: "wazuh/wazuh_alerts_json_snippet.jsonl",
        reader: Reader::Kind("wazuh"),
        record: whole,
    },
    Sample {
        name: "wazuh rules",
        file: "wazuh/wazuh-4.14.9-log-to-rule.dev.jsonl.gz",
        reader: Reader::Kind("wazuh"),
        record: wazuh,
    },
    Sample {
        name: "falco",
        file: "falco/falco_alerts_snippet.jsonl",
        reader: Reader::Kind("falco"),
        record: whole,
    },
    Sample {
        name: "syslog rfc 5424",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "rfc5424"),
    },
    Sample {
        name: "syslog iso time",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "iso-syslog"),
    },
    Sample {
        name: "syslog rfc 3164",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "rfc3164-nopri"),
    },
    Sample {
        name: "syslog firewalls",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "firewalls"),
    },
    Sample {
        name: "cef",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "cef"),
    },
    Sample {
        name: "leef",
        file: SYSLOG,
        reader: Reader::Kind("syslog"),
        record: |line| of_group(line, "leef"),
    },
    Sample {
        name: "sentinel",
        file: "secrl/security_alerts.dev.jsonl.gz",
        reader: Reader::Map("sentinel"),
        record: sentinel,
    },
    Sample {
        name: "cloudtrail",
        file: PANTHER,
        reader: Reader::Map("cloudtrail"),
        record: |line| tested(line, "AWS.CloudTrail"),
    },
    Sample {
        name: "kubernetes audit",
        file: PANTHER,
        reader: Reader::Map("kubernetes-audit"),
        record: |line| tested(line, "Amazon.EKS.Audit"),
    },
    Sample {
        name: "okta",
        file: PANTHER,
        reader: Reader::Map("okta"),
        record: |line| tested(line, "Okta.SystemLog"),
    },
    Sample {
        name: "github audit",
        file: PANTHER,
        reader: Reader::Map("github-audit"),
        record: |line| tested(line, "GitHub.Audit"),
    },
    Sample {
        name: "aws waf",
        file: PANTHER,
        reader: Reader::Map("aws-waf"),
        record: |line| tested(line, "AWS.WAFWebACL"),
    },
    Sample {
        name: "windows events",
        file: "evtx/hayabusa_sample_events.dev.jsonl.gz",
        reader: Reader::Kind("windows_event"),
        record: windows,
    },
];

/// Reads all samples; returns what became of each.
pub(super) fn read(
    data: &Data,
    maps: &BTreeMap<String, FieldMap>,
    schema: Option<&Schema>,
    now: Timestamp,
) -> Result<Vec<(String, Counts)>> {
    let take = |counts: &mut Counts, file: &mut OneFile, record: &[u8]| {
        file.take(counts, record, schema, now);
    };
    let mut read = Vec::new();
    for sample in &SAMPLES {
        let Some(normaliser) = reader(sample.reader, maps) else {
            println!("skipped: {}: the agent does not read its kind", sample.file);
            continue;
        };
        let Some(lines) = data.lines(sample.file)? else {
            println!("skipped: {} is not there", sample.file);
            continue;
        };
        let (mut counts, mut file) = (Counts::of(sample.name)?, OneFile::new(&normaliser));
        for line in lines.iter().filter(|line| !line.is_empty()) {
            let record = (sample.record)(line).with_context(|| sample.file.to_owned())?;
            record.iter().for_each(|record| take(&mut counts, &mut file, record));
        }
        read.push((sample.name.to_owned(), counts));
    }
    for (name, archive, kind) in [
        ("zeek examples", "zeek/ocsf-examples-zeek-raw.tar.gz", "zeek_notice"),
        ("zeek baseline", "zeek/zeek-btest-baseline-logs.tar.gz", "zeek_notice"),
        ("zeek json", "zeek/zeek-btest-json-logs.tar.gz", "zeek_notice"),
        ("zeek labelled", "zeek/stratosphere-labelled-zeek.dev.tar.xz", "zeek_notice"),
    ] {
        let Some(folder) = data.unpack(archive)? else {
            println!("skipped: {archive} is not there");
            continue;
        };
        let reader = reader(Reader::Kind(kind), maps).context("the agent's own kinds")?;
        let mut counts = Counts::of(name)?;
        for path in files(&folder, &["log"])? {
            of_file(&path, &reader, &mut counts, &take)?;
        }
        read.push((name.to_owned(), counts));
    }
    read.extend(logs(data, maps, &take)?);
    if let Some(counts) = event_logs(data, maps, &take)? {
        read.push(("windows event logs".to_owned(), counts));
    }
    let Some(folder) = data.replay()? else {
        println!("skipped: the alert data set or the tool that replays it is not there");
        return Ok(read);
    };
    for (name, reader_of) in [
        ("wazuh", Reader::Kind("wazuh")),
        ("suricata", Reader::Kind("suricata_eve")),
        ("aminer", Reader::Map("aminer")),
    ] {
        let reader = reader(reader_of, maps).context("the agent's own kinds and maps")?;
        let sample = format!("replayed {name}");
        let mut counts = Counts::of(&sample)?;
        for path in files(&folder, &["json"])? {
            if path.parent().is_some_and(|parent| parent.ends_with(name)) {
                of_file(&path, &reader, &mut counts, &take)?;
            }
        }
        read.push((sample, counts));
    }
    Ok(read)
}

/// Reads the logs that others find attacks in: those that begin as syslog does, and all others, which are lines of web
/// servers and applications; nothing where they are not there.
fn logs(
    data: &Data,
    maps: &BTreeMap<String, FieldMap>,
    take: &impl Fn(&mut Counts, &mut OneFile, &[u8]),
) -> Result<Vec<(String, Counts)>> {
    const ARCHIVE: &str = "crowdsec/crowdsec-hub-tests.dev.tar.xz";
    let Some(folder) = data.unpack(ARCHIVE)? else {
        println!("skipped: {ARCHIVE} is not there");
        return Ok(Vec::new());
    };
    let reader = reader(Reader::Kind("syslog"), maps).context("the agent's own kinds")?;
    let names = ["crowdsec syslog", "crowdsec other lines"];
    let mut counts = names.map(Counts::of).into_iter().collect::<Result<Vec<_>>>()?;
    for path in files(&folder, &["log"])? {
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let mut file = OneFile::new(&reader);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            take(&mut counts[usize::from(!is_rfc_3164(line))], &mut file, line);
        }
    }
    Ok(names.map(str::to_owned).into_iter().zip(counts).collect())
}

/// Reads the event logs of Windows beside Sigma's rules; nothing where they are not there.
fn event_logs(
    data: &Data,
    maps: &BTreeMap<String, FieldMap>,
    take: &impl Fn(&mut Counts, &mut OneFile, &[u8]),
) -> Result<Option<Counts>> {
    const ARCHIVE: &str = "sigma/sigmahq-regression.dev.tar.xz";
    let Some(folder) = data.unpack(ARCHIVE)? else {
        println!("skipped: {ARCHIVE} is not there");
        return Ok(None);
    };
    let reader = reader(Reader::Kind("windows_event"), maps).context("the agent's own kinds")?;
    let mut counts = Counts::of("windows event logs")?;
    for path in files(&folder, &["evtx"])? {
        let mut log = fs::File::open(&path).with_context(|| path.display().to_string())?;
        let mut lines = Vec::new();
        let found = evtx::write_events(&mut log, 0, evtx::Form::Json, &mut lines)
            .with_context(|| path.display().to_string())?;
        ensure!(found.unreadable == 0, "{}: {:?}", path.display(), found.reason);
        let mut file = OneFile::new(&reader);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            take(&mut counts, &mut file, line);
        }
    }
    Ok(Some(counts))
}

fn reader(reader: Reader, maps: &BTreeMap<String, FieldMap>) -> Option<Normaliser> {
    let kind = match reader {
        Reader::Kind(name) => Kind::of_product(name)?,
        Reader::Map(name) => Kind::JsonLines(maps.get(name)?.clone()),
    };
    // Messages without a year say when only where the clock's zone is known.
    Some(Normaliser::new(kind, "edge-check").with_utc_offset(Some(0)))
}

fn of_file(
    path: &Path,
    reader: &Normaliser,
    counts: &mut Counts,
    take: &impl Fn(&mut Counts, &mut OneFile, &[u8]),
) -> Result<()> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let mut file = OneFile::new(reader);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        take(counts, &mut file, line);
    }
    Ok(())
}

/// One file that is read: a header is its file's alone.
struct OneFile {
    normaliser: Normaliser,
    /// How many columns the header lines name, as far as they are to be seen without the agent.
    columns: Option<usize>,
    separator: char,
}

impl OneFile {
    fn new(normaliser: &Normaliser) -> Self {
        Self { normaliser: normaliser.clone(), columns: None, separator: '\t' }
    }

    fn take(
        &mut self,
        counts: &mut Counts,
        record: &[u8],
        schema: Option<&Schema>,
        now: Timestamp,
    ) {
        if self.normaliser.take_header(record) {
            self.see_header(&String::from_utf8_lossy(record));
            counts.records += 1;
            counts.well_formed += 1;
            counts.others += 1;
            return;
        }
        let is_well_formed = self.is_well_formed(record);
        counts.take(&self.normaliser, record, is_well_formed, schema, now);
    }

    fn see_header(&mut self, line: &str) {
        if let Some(code) = line.strip_prefix("#separator \\x") {
            let code = u8::from_str_radix(code.trim(), 16).unwrap_or(b'\t');
            (self.separator, self.columns) = (char::from(code), None);
        } else if line.starts_with("#fields") {
            self.columns = Some(line.split(self.separator).count() - 1);
        }
    }

    /// Returns whether another parser than the agent's can read the record.
    fn is_well_formed(&self, record: &[u8]) -> bool {
        let is = |kind: &str| Kind::of_product(kind).as_ref() == Some(self.normaliser.kind());
        let Ok(text) = str::from_utf8(record) else { return false };
        if is("syslog") {
            true
        } else if is("zeek_notice") && !text.starts_with('{') {
            self.columns == Some(text.split(self.separator).count())
        } else {
            serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "others may fail")]
fn whole(line: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Some(line.to_vec()))
}

/// A Windows event beside the file that it was taken from.
fn windows(line: &[u8]) -> Result<Option<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Row<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    let row: Row<'_> = serde_json::from_slice(line)?;
    Ok(Some(row.event.get().as_bytes().to_vec()))
}

fn eve(line: &[u8]) -> Result<Option<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        eve: &'a RawValue,
    }
    Ok(Some(serde_json::from_slice::<Line<'_>>(line)?.eve.get().into()))
}

fn sentinel(line: &[u8]) -> Result<Option<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        alert: &'a RawValue,
    }
    Ok(Some(serde_json::from_slice::<Line<'_>>(line)?.alert.get().into()))
}

/// Returns the event that a rule for this log alone is tried on. An object of less than three values is no event of the
/// log, but made up to see that the rule passes it over.
fn tested(line: &[u8], log: &str) -> Result<Option<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Line {
        log_types: Option<Vec<String>>,
        event: Value,
    }
    let Line { log_types, event } = serde_json::from_slice(line)?;
    let is_of = log_types.is_some_and(|logs| logs == [log]);
    let is_event = event.as_object().is_some_and(|event| event.len() >= 3);
    Ok((is_of && is_event).then(|| event.to_string().into_bytes()))
}

/// Where messages about connections are from, which name both ends.
const FIREWALLS: [&str; 8] = [
    "wazuh/SonicWall.ini",
    "wazuh/cisco_ios.ini",
    "wazuh/fortigate.ini",
    "wazuh/iptables.ini",
    "wazuh/junos.ini",
    "crowdsec/iptables-logs",
    "crowdsec/iptables-scan-multi-port",
    "crowdsec/unifi-logs",
];

/// Returns the message if it is of this group: its form, or the firewalls among those of RFC 3164.
fn of_group(line: &[u8], group: &str) -> Result<Option<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Line {
        src: String,
        kind: String,
        line: String,
    }
    let Line { src, kind, line } = serde_json::from_slice(line)?;
    let is_firewall = kind == "rfc3164-nopri" && FIREWALLS.contains(&src.as_str());
    let own = if is_firewall { "firewalls" } else { &kind };
    Ok((own == group).then(|| line.into()))
}

/// Returns whether a line begins as RFC 3164 says: month, day, time, host, program and a colon.
fn is_rfc_3164(line: &[u8]) -> bool {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let [month, day, time, _host, program] = [(); 5].map(|()| words.next().unwrap_or_default());
    MONTHS.split(' ').any(|known| known == month)
        && day.parse().is_ok_and(|day: u8| (1..=31).contains(&day))
        && time.len() == 8
        && time.split(':').count() == 3
        && program.ends_with(':')
}

/// Puts the alert together that Wazuh writes of a line whose rule is known.
fn wazuh(line: &[u8]) -> Result<Option<Vec<u8>>> {
    let case: Value = serde_json::from_slice(line)?;
    let mut rule = case["rule"].clone();
    if !rule.is_object() {
        return Ok(None);
    }
    rule["id"] = case["rule_id"].clone();
    rule["mitre"] = json!({ "id": rule["mitre"] });
    let record = json!({
        "timestamp": "2026-11-02T09:12:33.123+0000", "rule": rule, "full_log": case["log"],
        "agent": { "id": "007", "name": "host-7" }, "location": "/var/log/messages",
    });
    Ok(Some(record.to_string().into()))
}
