//! Alerts, of a case or found by a search.

use coordinator::api::types::{Alert, Time};
use serde_json::Value;
use shared::{alert::Severity, time::Timestamp};

use super::{attribution, cell, fields, table};
use crate::text::{Paint, instant, paint, safe, severity};

/// Writes alerts: as a table, or each with its record where records were asked for.
pub(crate) fn list(alerts: &[Alert], columns: usize) -> String {
    if alerts.iter().any(|alert| alert.record.is_some()) {
        return alerts.iter().map(with_record).collect();
    }
    let has_processes = alerts.iter().any(|alert| process(&alert.finding).is_some());
    let rows = alerts
        .iter()
        .map(|alert| {
            let mut row = vec![
                when(alert),
                severity(severity_of(&alert.finding)),
                host(alert),
                title(&alert.finding).unwrap_or_else(|| "-".to_owned()),
                endpoints(&alert.finding).unwrap_or_else(|| "-".to_owned()),
                text(&alert.finding, USER).unwrap_or_else(|| "-".to_owned()),
            ];
            if has_processes {
                row.push(process(&alert.finding).unwrap_or_else(|| "-".to_owned()));
            }
            row
        })
        .collect();
    let mut header = vec!["TIME", "SEVERITY", "HOST", "TITLE", "FROM > TO", "USER"];
    header.extend(has_processes.then_some("PROCESS"));
    table(columns, &header, rows)
}

const USER: &str = "evidences.actor.user.name";
const PROCESS: &str = "evidences.process.name";

/// Returns the process that the product names, else the one that the agent found behind the connection.
fn process(finding: &Value) -> Option<String> {
    text(finding, PROCESS).or_else(|| attribution::process(finding))
}

fn with_record(alert: &Alert) -> String {
    let finding = &alert.finding;
    let title = title(finding).unwrap_or_else(|| "no title".to_owned());
    let mut out = format!(
        "{}  {}  {}\n",
        paint(Paint::Bold, &when(alert)),
        severity(severity_of(finding)),
        title
    );
    let mut lines = vec![
        ("tenant", Some(cell(&alert.tenant))),
        ("host", Some(host(alert))),
        ("product", text(finding, "metadata.product.name")),
        ("rule", text(finding, "finding_info.analytic.uid")),
        ("from > to", endpoints(finding)),
        ("user", text(finding, USER)),
        ("process", text(finding, PROCESS)),
        ("command", text(finding, "evidences.process.cmd_line")),
        ("parent", text(finding, "evidences.process.parent_process.name")),
        ("on user", text(finding, "evidences.user.name")),
        ("container", text(finding, "evidences.container.name")),
        ("registry", text(finding, "evidences.reg_key.path")),
        ("file", text(finding, "evidences.file.path")),
        ("hash", text(finding, "evidences.file.hashes.value")),
        ("url", text(finding, "evidences.url.url_string")),
        ("domain", text(finding, "evidences.query.hostname")),
        ("sent as", handling(finding)),
        (
            "block",
            Some(format!(
                "{} {} {} {}, place {}",
                safe(&alert.agent),
                safe(&alert.epoch),
                alert.lane.as_str(),
                alert.seq,
                alert.position
            )),
        ),
    ];
    lines.extend(attribution::lines(finding).into_iter().map(|(end, line)| (end, Some(line))));
    // Whole: who asks for the record wants to see all of it.
    lines.push(("record", alert.record.as_deref().map(safe)));
    out.push_str(&fields(&lines));
    out.push('\n');
    out
}

/// Returns the title, and how many alerts this one stands for where it stands for more than itself.
fn title(finding: &Value) -> Option<String> {
    let title = text(finding, "finding_info.title");
    let count = finding.get("count").and_then(Value::as_u64).filter(|count| *count > 1);
    match (title, count) {
        (title, None) => title,
        (title, Some(count)) => {
            Some(format!("{} (x{count})", title.unwrap_or_else(|| "-".to_owned())))
        }
    }
}

/// Says why the agent sent it, where a rule of its policy had a say.
fn handling(finding: &Value) -> Option<String> {
    let handling = text(finding, "unmapped.handling");
    let meaning = match handling.as_deref()? {
        "urgent" => "urgent".to_owned(),
        "folded" => "one for all of its like that were folded".to_owned(),
        "audit_sample" => "a sample of what is held back".to_owned(),
        "beyond_expected" => "more than is expected of what is held back".to_owned(),
        other => other.to_owned(),
    };
    Some(match text(finding, "finding_info.related_analytics.uid") {
        Some(rule) => format!("{meaning}, by policy rule {rule}"),
        None => meaning,
    })
}

/// Event time; where the alert has none, when it was received.
fn when(alert: &Alert) -> String {
    let named = alert.finding.get("time").and_then(Value::as_u64);
    instant(named.map_or(alert.received_at, |ms| Time(Timestamp::from_ms(ms))))
}

fn severity_of(finding: &Value) -> Severity {
    let id = finding.get("severity_id").and_then(Value::as_u64).unwrap_or_default();
    u8::try_from(id).map_or(Severity::Unknown, Severity::from_id)
}

fn host(alert: &Alert) -> String {
    text(&alert.finding, "device.hostname")
        .or_else(|| text(&alert.finding, "device.ip"))
        .unwrap_or_else(|| "-".to_owned())
}

fn endpoints(finding: &Value) -> Option<String> {
    let of = |end: &str| {
        text(finding, &format!("evidences.{end}.ip"))
            .or_else(|| text(finding, &format!("evidences.{end}.hostname")))
    };
    match (of("src_endpoint"), of("dst_endpoint")) {
        (None, None) => None,
        (from, to) => {
            let or_any = |end: Option<String>| end.unwrap_or_else(|| "?".to_owned());
            Some(format!("{} > {}", or_any(from), or_any(to)))
        }
    }
}

/// Returns the first text or number at an OCSF path; of a list, of its first item that has it.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Value::Array(items) = value {
        return items.iter().find_map(|item| find(item, path));
    }
    match path.split_once('.') {
        Some((name, rest)) => find(value.get(name)?, rest),
        None if path.is_empty() => Some(value),
        None => find(value.get(path)?, ""),
    }
}

fn text(finding: &Value, path: &str) -> Option<String> {
    match find(finding, path)? {
        Value::String(text) if !text.is_empty() => Some(cell(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::testing::{parse, plain};

    fn alert(record: Option<&str>) -> Alert {
        parse(json!({
            "case": null, "tenant": "acme", "agent": "018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01",
            "epoch": "00000000000000a1", "lane": "normal", "seq": 12, "position": 3,
            "received_at": "2026-01-02T03:04:05.000Z", "record": record,
            "finding": {
                "class_uid": 2004, "time": 1_767_322_999_000_u64, "severity_id": 4,
                "finding_info": {"title": "beacon\u{9b}2J", "analytic": {"uid": "2027865"}},
                "device": {"hostname": "web-3"},
                "evidences": [{"src_endpoint": {"ip": "10.0.0.3"},
                               "dst_endpoint": {"ip": "198.51.100.7"},
                               "file": {"hashes": [{"value": "d41d8c"}]}}]
            }
        }))
    }

    #[test]
    fn alerts_are_told_in_a_line_each() {
        let wanted = "\
TIME                  SEVERITY  HOST   TITLE           FROM > TO                USER
2026-01-02 03:03:19Z  high      web-3  beacon\\u{9b}2J  10.0.0.3 > 198.51.100.7  -";
        assert_eq!(plain(&list(&[alert(None)], 120)), wanted);
    }

    #[test]
    fn a_process_stands_in_the_line_where_any_alert_has_one() {
        let mut found = alert(None);
        let data = json!({"src": {"outcome": "found", "process": {"pid": 812, "name": "curl"}}});
        found.finding["enrichments"] = json!([{"name": "evidences", "value": "", "data": data}]);
        let text = plain(&list(&[alert(None), found.clone()], 120));
        assert!(text.lines().next().unwrap().ends_with("USER  PROCESS"), "{text}");
        assert!(text.ends_with("-     curl"), "{text}");
        found.record = Some("{}".to_owned());
        let text = plain(&list(&[found], 120));
        assert!(text.contains("\n  from       curl, process 812\n"), "{text}");
    }

    #[test]
    fn a_record_is_shown_whole_and_harmless() {
        let record = format!("{{\"a\":\"\u{1b}[2J{}\"}}", "x".repeat(500));
        let text = plain(&list(&[alert(Some(&record))], 80));
        assert!(
            text.contains(&format!("  record     {{\"a\":\"\\u{{1b}}[2J{}\"}}", "x".repeat(500))),
            "{text}"
        );
        assert!(text.contains("\n  hash       d41d8c\n"), "{text}");
    }

    #[test]
    fn one_that_stands_for_many_says_for_how_many_and_by_which_rule() {
        let mut folded = alert(Some("record"));
        folded.finding["count"] = json!(90);
        folded.finding["unmapped"] = json!({ "handling": "folded" });
        folded.finding["finding_info"]["related_analytics"] = json!([{ "uid": "noisy" }]);
        let text = plain(&list(&[folded], 120));
        assert!(text.contains("beacon\\u{9b}2J (x90)\n"), "{text}");
        assert!(text.contains("one for all of its like that were folded, by policy rule noisy"));
    }

    #[test]
    fn values_are_found_with_and_without_lists() {
        for finding in [json!({"a": {"b": "x"}}), json!({"a": [{"c": 1}, {"b": ["x"]}]})] {
            assert_eq!(text(&finding, "a.b").as_deref(), Some("x"), "{finding}");
        }
        assert_eq!(text(&json!({"a": {"b": {"c": 1}}}), "a.b"), None);
    }
}
