//! Alerts, of a case or found by a search.

use coordinator::api::types::{Alert, Time};
use serde_json::Value;
use shared::{alert::Severity, time::Timestamp};

use super::{attribution, cell, fields, table};
use crate::text::{Paint, instant, paint, safe, severity};

/// Writes alerts: as a table, or each with its record where records were asked for.
pub(crate) fn list(alerts: &[Alert], columns: usize) -> String {
    let has_record = |alert: &Alert| alert.record.is_some() || alert.record_unreadable.is_some();
    if alerts.iter().any(has_record) {
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
        ("rule", rule(finding)),
        ("ATT&CK", attacks(finding)),
        ("from > to", endpoints(finding)),
        ("user", user(finding, "evidences.actor.user")),
        ("process", numbered(finding, "evidences.process")),
        ("command", text(finding, "evidences.process.cmd_line")),
        ("parent", numbered(finding, "evidences.process.parent_process")),
        ("on user", user(finding, "evidences.user")),
        ("container", text(finding, "evidences.container.name")),
        ("registry", text(finding, "evidences.reg_key.path")),
        ("file", text(finding, "evidences.file.path")),
        ("hash", hashes(finding)),
        ("url", url(finding)),
        ("DNS name", text(finding, "evidences.query.hostname")),
        ("TLS name", text(finding, "evidences.tls.sni")),
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
    let unreadable = alert.record_unreadable.as_deref();
    lines
        .push(("no record", unreadable.map(|why| format!("it cannot be unpacked: {}", safe(why)))));
    out.push_str(&fields(&lines));
    out.push('\n');
    out
}

/// Returns the URL, else its path.
fn url(finding: &Value) -> Option<String> {
    let path = || {
        let path = text(finding, "evidences.url.path")?;
        let query = text(finding, "evidences.url.query_string");
        Some(query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
    };
    text(finding, "evidences.url.url_string").or_else(path)
}

/// Returns the rule's id, with its name where the title does not say it.
fn rule(finding: &Value) -> Option<String> {
    let (uid, title) =
        (text(finding, "finding_info.analytic.uid"), text(finding, "finding_info.title"));
    let name = text(finding, "finding_info.analytic.name");
    let name = name.filter(|name| Some(name) != title.as_ref());
    match (uid, name) {
        (Some(uid), Some(name)) if uid != name => Some(format!("{uid} ({name})")),
        (uid, name) => uid.or(name),
    }
}

/// Returns the ids of techniques and tactics.
fn attacks(finding: &Value) -> Option<String> {
    let attacks = find(finding, "finding_info")?.get("attacks")?.as_array()?;
    let uid = |attack| {
        ["sub_technique.uid", "technique.uid", "tactic.uid"]
            .into_iter()
            .find_map(|path| text(attack, path))
    };
    joined(attacks.iter().filter_map(uid))
}

/// Returns a user with domain and number, as far as they are known.
fn user(finding: &Value, path: &str) -> Option<String> {
    let part = |name: &str| text(finding, &format!("{path}.{name}"));
    let name = match (part("domain"), part("name")) {
        (Some(domain), Some(name)) if !name.contains('\\') => Some(format!("{domain}\\{name}")),
        (_, name) => name,
    };
    match (name, part("uid")) {
        (Some(name), Some(uid)) => Some(format!("{name} ({uid})")),
        (name, uid) => name.or(uid),
    }
}

/// Returns a process with its number, as far as they are known.
fn numbered(finding: &Value, path: &str) -> Option<String> {
    let pid = text(finding, &format!("{path}.pid")).map(|pid| format!("process {pid}"));
    joined(text(finding, &format!("{path}.name")).into_iter().chain(pid))
}

fn hashes(finding: &Value) -> Option<String> {
    let hashes = find(finding, "evidences.file")?.get("hashes")?.as_array()?;
    joined(hashes.iter().filter_map(|hash| text(hash, "value")))
}

fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    Some(texts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
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
    fn an_alert_whose_record_cannot_be_unpacked_is_shown_with_why() {
        let mut broken = alert(None);
        broken.record_unreadable = Some("block's records \u{1b}[2J".to_owned());
        let text = plain(&list(&[alert(Some("{}")), broken], 120));
        let line = "\n  no record  it cannot be unpacked: block's records \\u{1b}[2J\n";
        assert!(text.contains(line) && text.contains("\n  hash       d41d8c\n"), "{text}");
    }

    #[test]
    fn rule_attack_users_processes_and_hashes_say_all_that_is_known() {
        let mut known = alert(Some("record"));
        known.finding["finding_info"]["analytic"]["name"] = json!("C2 beacon");
        known.finding["finding_info"]["attacks"] = json!([
            {"technique": {"uid": "T1071"}, "sub_technique": {"uid": "T1071.001"}},
            {"tactic": {"uid": "TA0011"}},
        ]);
        known.finding["evidences"][0]["actor"] =
            json!({"user": {"name": "ada", "domain": "ACME", "uid": "S-1-5-21-1"}});
        known.finding["evidences"][0]["user"] = json!({"uid": "0"});
        known.finding["evidences"][0]["process"] =
            json!({"name": "/bin/sh", "pid": 812, "parent_process": {"pid": 1}});
        known.finding["evidences"][0]["file"]["hashes"] =
            json!([{"value": "d41d8c"}, {"value": "da39a3"}]);
        let text = plain(&list(&[known], 120));
        for line in [
            "rule       2027865 (C2 beacon)",
            "ATT&CK     T1071.001, TA0011",
            "user       ACME\\ada (S-1-5-21-1)",
            "process    /bin/sh, process 812",
            "parent     process 1",
            "on user    0",
            "hash       d41d8c, da39a3",
        ] {
            assert!(text.contains(&format!("\n  {line}\n")), "{line} is not in\n{text}");
        }
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
