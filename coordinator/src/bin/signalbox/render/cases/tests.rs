use serde_json::json;

use super::*;
use crate::render::testing::{NOW, parse, plain};

fn summary() -> serde_json::Value {
    json!({
        "id": "7k3m2a9c0d1e", "tenant": "acme", "host": "web-3", "state": "open",
        "severity": "high",
        "risk": 412, "title": "ET MALWARE Beacon", "opened_at": "2026-01-02T02:52:00.000Z",
        "deadline": "2026-01-02T03:52:00.000Z", "seconds_left": 2875,
        "first_at": "2026-01-02T02:51:58.100Z", "last_at": "2026-01-02T03:03:59.900Z",
        "alert_count": 1204, "finding_count": 2, "holder": null,
        "lease_until": null, "verdict": null,
        "reopened_count": 0, "revision": 9
    })
}

fn whole() -> serde_json::Value {
    let mut case = summary();
    let more = json!({
        "state": "claimed", "holder": "ana", "lease_until": "2026-01-02T03:19:05.000Z",
        "fence": 7, "last_holder": "ana", "other_count": 3,
        "findings": [{
            "fingerprint": "00", "product": "Suricata", "rule_uid": "2027865",
            "title": "ET MALWARE Beacon", "techniques": ["T1071.001"], "severity": "high",
            "count": 1200, "first_at": "2026-01-02T02:51:58.100Z",
            "last_at": "2026-01-02T03:03:59.900Z"
        }, {
            "fingerprint": "01", "product": "Wazuh", "rule_uid": null,
            "title": "bad\u{1b}[31mtitle\u{202e}", "techniques": [], "severity": "low",
            "count": 1, "first_at": "2026-01-02T02:55:00.000Z",
            "last_at": "2026-01-02T02:55:00.000Z"
        }]
    });
    for (key, value) in more.as_object().unwrap() {
        case[key] = value.clone();
    }
    case
}

#[test]
fn a_case_says_what_where_who_and_until_when() {
    let wanted = r"Case 7k3m2a9c0d1e  ET MALWARE Beacon
  tenant     acme
  host       web-3
  severity   high, risk 412 of 999
  state      claimed by ana until 2026-01-02 03:19:05Z (in 15m 00s)
  deadline   2026-01-02 03:52:00Z, 47m 55s left
  opened     2026-01-02 02:52:00Z, 12m 05s ago
  activity   2026-01-02 02:51:58Z to 2026-01-02 03:03:59Z
  alerts     1204 alerts of 2 findings
  claim      7, by ana
  revision   9

Findings
COUNT  SEVERITY  FINDING                     PRODUCT   RULE     TECHNIQUES  LAST
1200   high      ET MALWARE Beacon           Suricata  2027865  T1071.001   2026-01-02 03:03:59Z
1      low       bad\u{1b}[31mtitle\u{202e}  Wazuh     -        -           2026-01-02 02:55:00Z
and 3 alerts of further findings";
    assert_eq!(plain(&case(&parse(whole()), NOW, 120)), wanted);
}

#[test]
fn a_closed_case_says_who_decided_it_and_on_what() {
    let mut closed = whole();
    closed["state"] = json!("closed");
    closed["seconds_left"] = json!(null);
    closed["verdict"] = json!({
        "kind": "benign_expected", "reason": "backup job", "by": "ana",
        "at": "2026-01-02T03:03:05.000Z", "alerts_seen": 1204, "revision_seen": 8
    });
    let text = plain(&case(&parse(closed.clone()), NOW, 120));
    let wanted = "Verdict\n  outcome  benign_expected\n  reason   backup job\n  \
                  by       ana, 2026-01-02 03:03:05Z, 1m 00s ago\n  \
                  seen     1204 alerts, revision 8\n";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("  state      closed\n  deadline   2026-01-02 03:52:00Z\n"), "{text}");
    let told = plain(&decided(&parse(closed)));
    assert_eq!(told, "case 7k3m2a9c0d1e is benign_expected: 1204 alerts on web-3, decided in time");
}

#[test]
fn a_claim_says_why_and_names_the_commands_that_can_follow() {
    let claimed: Claim = parse(json!({
        "case": whole(), "fence": 7, "lease_until": "2026-01-02T03:19:05.000Z",
        "reasons": [
            {"reason": "earliest_deadline", "deadline": "2026-01-02T03:52:00.000Z",
             "minutes_left": 47},
            {"reason": "highest_risk", "risk": 412},
            {"reason": "waiting", "cases": 12}
        ]
    }));
    let text = plain(&claim(&claimed, NOW, 120));
    let wanted = "Why this case\n  \
        - no waiting case has an earlier deadline: 2026-01-02 03:52:00Z\n  \
        - it looks worst of those with this deadline: risk 412 of 999\n  \
        - 12 cases wait, this one included";
    assert!(text.ends_with(wanted), "{text}");
    let wanted = "
Yours until 2026-01-02 03:19:05Z (in 15m 00s), claim 7
  signalbox verdict 7k3m2a9c0d1e malicious --reason '...'
  signalbox verdict 7k3m2a9c0d1e suspicious --reason '...'
  signalbox verdict 7k3m2a9c0d1e benign-expected --reason '...'
  signalbox verdict 7k3m2a9c0d1e benign-false-positive --reason '...'
  signalbox release 7k3m2a9c0d1e --reason '...'
  signalbox renew 7k3m2a9c0d1e
  signalbox show 7k3m2a9c0d1e --alerts 50 --record";
    assert_eq!(plain(&next_steps(&claimed, NOW)), wanted);
}

#[test]
fn every_command_that_is_shown_is_one_that_is_understood() {
    use clap::Parser as _;
    let claimed: Claim = parse(json!({
        "case": whole(), "fence": 7, "lease_until": "2026-01-02T03:19:05.000Z", "reasons": []
    }));
    let text = plain(&next_steps(&claimed, NOW));
    let commands: Vec<_> = text.lines().filter(|line| line.contains("signalbox ")).collect();
    assert_eq!(commands.len(), 7);
    for command in commands {
        let parsed = crate::args::Cli::try_parse_from(command.split_whitespace());
        assert!(parsed.is_ok(), "{command}: {parsed:?}");
    }
}

#[test]
fn a_list_shows_what_is_late_and_who_has_it() {
    let mut late = summary();
    late["seconds_left"] = json!(-125);
    late["state"] = json!("claimed");
    late["holder"] = json!("ana");
    late["severity"] = json!("critical");
    let mut closed = summary();
    closed["seconds_left"] = json!(null);
    closed["state"] = json!("closed");
    closed["host"] = json!(null);
    closed["verdict"] = json!("out_of_time");
    let cases: Vec<CaseSummary> = parse(json!([summary(), late, closed]));
    let wanted = "\
CASE          TENANT  HOST   SEVERITY  STATE        LEFT         ALERTS  TITLE
7k3m2a9c0d1e  acme    web-3  high      open         47m 55s      1204    ET MALWARE Beacon
7k3m2a9c0d1e  acme    web-3  critical  ana          late 2m 05s  1204    ET MALWARE Beacon
7k3m2a9c0d1e  acme    -      high      out_of_time  -            1204    ET MALWARE Beacon";
    assert_eq!(plain(&list(&cases, 120)), wanted);
}

#[test]
fn the_queue_says_how_much_waits_and_what_comes_next() {
    let queued: Queue = parse(json!({
        "waiting": 14, "claimed": 3, "late": 2,
        "by_severity": {"unknown": 0, "informational": 0, "low": 10, "medium": 0, "high": 3,
                        "critical": 1, "fatal": 0},
        "head": [summary()]
    }));
    let text = plain(&queue(&queued, 120));
    let wanted = "14 waiting (2 late), 3 claimed\n1 critical, 3 high, 10 low\n\nNext\nCASE ";
    assert!(text.starts_with(wanted), "{text}");
}
