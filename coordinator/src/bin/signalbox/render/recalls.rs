//! Recalls, what agents answered, and the records that came.

use coordinator::api::types::{Evicted, Recall, RecallAnswer, RecallDetails, RecalledRecord};
use shared::time::Timestamp;

use super::{cell, cell_or_dash, counted, fields, heading, table, who};
use crate::text::{Paint, ago, bytes, instant, name_of, paint, safe, severity};

/// Says that something was asked for, and how to go on.
pub(crate) fn asked(recall: &Recall) -> String {
    let agents = counted(u64::from(recall.agents), "agent", "agents");
    format!(
        "Asked {agents} of {} for what {} held back; see signalbox recall {}",
        cell(&recall.tenant),
        cell(&recall.rule),
        safe(&recall.id)
    )
}

/// Says how far it is.
pub(crate) fn progress(recall: &Recall) -> String {
    let Recall { answered, agents, records, .. } = recall;
    format!("{answered} of {agents} agents have answered, {records} records came")
}

/// Writes a list of recalls.
pub(crate) fn list(recalls: &[Recall], columns: usize) -> String {
    let rows = recalls
        .iter()
        .map(|recall| {
            vec![
                safe(&recall.id),
                instant(recall.asked_at),
                who(&recall.asked_by),
                cell(&recall.rule),
                format!("{} of {}", recall.answered, recall.agents),
                recall.records.to_string(),
                state(recall),
            ]
        })
        .collect();
    let header = ["RECALL", "ASKED", "BY", "RULE", "ANSWERED", "RECORDS", "STATE"];
    table(columns, &header, rows)
}

fn state(recall: &Recall) -> String {
    match (recall.is_complete, recall.is_finished) {
        (true, _) => "complete".to_owned(),
        (false, true) => paint(Paint::Yellow, "something is missing"),
        (false, false) => "waits for answers".to_owned(),
    }
}

/// Writes a recall with its answers.
pub(crate) fn details(details: &RecallDetails, now: Timestamp, columns: usize) -> String {
    let RecallDetails { recall, answers } = details;
    let mut text =
        format!("{} {}\n", paint(Paint::Bold, "Recall"), paint(Paint::Bold, &safe(&recall.id)));
    let asked = format!(
        "{} by {}, {}",
        instant(recall.asked_at),
        who(&recall.asked_by),
        ago(now, recall.asked_at)
    );
    let missing = [(recall.evicted, "evicted at most"), (recall.lost, "lost to damage")];
    let missing = missing.iter().filter(|(count, _)| *count > 0);
    let missing: Vec<String> = missing.map(|(count, what)| format!("{count} {what}")).collect();
    text.push_str(&fields(&[
        ("tenant", Some(cell(&recall.tenant))),
        ("rule", Some(cell(&recall.rule))),
        ("from", Some(format!("{} until {}", instant(recall.since), instant(recall.until)))),
        ("asked", Some(asked)),
        ("state", Some(format!("{}: {}", state(recall), progress(recall)))),
        ("missing", Some(missing.join(", ")).filter(|text| !text.is_empty())),
    ]));
    text.push_str(&heading("Answers"));
    let rows = answers.iter().map(|answer| row(answer, now)).collect();
    text.push_str(&table(columns, &["AGENT", "STATE", "WHEN", "RECORDS", "SIZE", "MISSING"], rows));
    text.push_str(&heading("Records"));
    text
}

fn row(answer: &RecallAnswer, now: Timestamp) -> Vec<String> {
    let state = name_of(&answer.state);
    let is_again = answer.attempts > 1 && !answer.state.is_final();
    vec![
        safe(&answer.agent),
        if is_again { format!("{state}, attempt {}", answer.attempts) } else { state },
        ago(now, answer.changed_at),
        answer.records.to_string(),
        bytes(answer.bytes),
        missing(answer),
    ]
}

/// Says what an answer lacks, the tombstone first.
fn missing(answer: &RecallAnswer) -> String {
    let mut parts = Vec::new();
    if let Some(Evicted { records, from, until, evicted_at }) = answer.evicted {
        parts.push(format!(
            "{records} from {} until {} were evicted, the last {}",
            instant(from),
            instant(until),
            instant(evicted_at)
        ));
    }
    if answer.lost > 0 {
        parts.push(format!("{} lost to damage", answer.lost));
    }
    if answer.is_truncated {
        parts.push("more than the bytes asked for".to_owned());
    }
    if parts.is_empty() { "-".to_owned() } else { paint(Paint::Yellow, &parts.join("; ")) }
}

/// Writes records, each whole: who recalls them wants to see all of them.
pub(crate) fn records(records: &[RecalledRecord]) -> String {
    records.iter().map(record).collect()
}

fn record(found: &RecalledRecord) -> String {
    let mut out = format!(
        "{}  {}  {}\n",
        paint(Paint::Bold, &instant(found.happened_at)),
        severity(found.severity),
        cell_or_dash(found.title.as_deref())
    );
    out.push_str(&fields(&[
        ("agent", Some(safe(&found.agent))),
        ("source", found.source.as_deref().map(cell)),
        ("sha256", Some(safe(&found.sha256))),
        ("record", Some(safe(&found.record))),
        ("base64", found.record_base64.as_deref().map(safe)),
    ]));
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{NOW, parse, plain};

    fn recall(answered: u32, is_complete: bool) -> serde_json::Value {
        json!({
            "id": "00000199c82cc0000707070707070707", "tenant": "acme", "rule": "dns-noise",
            "since": "1970-01-01T00:00:00.000Z", "until": "2026-01-02T03:00:00.000Z",
            "max_bytes": 16_777_216, "asked_by": {"kind": "person", "name": "ana"},
            "asked_at": "2026-01-02T03:00:00.000Z", "expires_at": "2026-01-05T03:00:00.000Z",
            "agents": 2, "answered": answered, "is_finished": answered == 2,
            "is_complete": is_complete, "records": 3, "evicted": 40, "lost": 0
        })
    }

    #[test]
    fn a_recall_is_told_with_its_tombstone() {
        let evicted = json!({
            "records": 40, "from": "2026-01-01T00:00:00.000Z",
            "until": "2026-01-01T09:00:00.000Z", "evicted_at": "2026-01-01T22:00:00.000Z"
        });
        let answer = |state: &str, evicted: serde_json::Value| {
            json!({
                "agent": "0a0b", "state": state, "changed_at": "2026-01-02T03:04:00.000Z",
                "attempts": 7, "records": 3, "bytes": 2_000, "evicted": evicted, "lost": 0,
                "is_truncated": false, "is_complete": false
            })
        };
        let answers = [answer("answered", evicted), answer("answering", json!(null))];
        let shown = parse(json!({ "recall": recall(1, false), "answers": answers }));
        let text = plain(&details(&shown, NOW, 200));
        for line in [
            "  rule     dns-noise",
            "  asked    2026-01-02 03:00:00Z by ana, 4m 05s ago",
            "  state    waits for answers: 1 of 2 agents have answered, 3 records came",
            "  missing  40 evicted at most",
            "40 from 2026-01-01 00:00:00Z until 2026-01-01 09:00:00Z were evicted, the last \
             2026-01-01 22:00:00Z",
            "0a0b   answering, attempt 7  ",
            "0a0b   answered  ",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn recalls_are_listed_with_what_became_of_them() {
        let items: Vec<Recall> =
            [(1, false), (2, false), (2, true)].map(|(n, whole)| parse(recall(n, whole))).into();
        let text = plain(&list(&items, 200));
        let states: Vec<_> =
            text.lines().skip(1).filter_map(|line| line.rsplit("  ").next()).collect();
        assert_eq!(states, ["waits for answers", "something is missing", "complete"]);
    }

    #[test]
    fn a_record_is_shown_whole_and_harmless() {
        let text = plain(&records(&[parse(json!({
            "agent": "0a0b", "source": "eve", "rule": "dns-noise",
            "happened_at": "2026-01-02T03:04:05.000Z", "observed_at": "2026-01-02T03:04:06.000Z",
            "severity": "low", "title": "query", "sha256": "ab", "record": "a\u{1b}[2Jb"
        }))]));
        assert!(text.starts_with("2026-01-02 03:04:05Z  low  query\n  agent   0a0b"), "{text}");
        assert!(text.contains("  record  a\\u{1b}[2Jb"), "{text}");
    }
}
