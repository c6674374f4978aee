#![expect(clippy::disallowed_methods, reason = "a test's own start of time")]

use std::time::Duration;

use proptest::prelude::*;
use shared::alert::Severity;

use super::*;

/// 2026-11-25.
const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);

fn prefilter(rules: &[(&str, &str)]) -> Prefilter {
    let mut text = "policy: acme\nversion: 1\nowner: soc\n".to_owned();
    for (number, (detection, terms)) in rules.iter().enumerate() {
        text.push_str(&format!(
            "---\ntitle: rule {number}\nid: r-{number}\nlogsource: {{}}\n\
             detection: {{s: {detection}, condition: s}}\n\
             signalbox: {{expires: 2027-01-31, {terms}}}\n"
        ));
    }
    Prefilter::new(Policy::parse(&text, NOW).unwrap(), Epoch(7))
}

fn alert() -> Alert<'static> {
    let mut alert = Alert::default();
    alert.set(Field::Product, "suricata");
    alert.set(Field::RuleUid, "2010937");
    alert.set(Field::Title, "ET SCAN Suspicious inbound");
    alert.set(Field::Techniques, "T1046,T1190");
    alert.set(Field::SrcIp, "10.0.0.9");
    alert.severity = Severity::Medium;
    alert.dst_port = Some(443);
    alert
}

const RECORD: &[u8] = br#"{"alert":{"rev":3,"metadata":{"tag":["a","b"]}},"src_ip":"10.0.0.9"}"#;

#[test]
fn rules_see_the_alert_by_every_name_and_the_record_by_its_paths() {
    for detection in [
        "{evidences.src_endpoint.ip: 10.0.0.9}",
        "{src_ip: 10.0.0.9}",
        "{record.src_ip: 10.0.0.9}",
        "{src_ip|cidr: 10.0.0.0/24}",
        "{rule_uid: 2010937}",
        "{title|contains: suspicious}",
        "{techniques: T1190}",
        "{severity: medium, severity_id: 3}",
        "{dst_port: 443, dst_port|lt: 1024}",
        "{alert.rev: 3}",
        "{alert.metadata.tag: b}",
        "['suspicious INBOUND']",
    ] {
        let mut prefilter = prefilter(&[(detection, "action: send")]);
        let verdict = prefilter.judge(&alert(), RECORD, Instant::now(), NOW);
        let sent = Verdict::Send { handling: Handling::Sent, count: 1, rule: Some(0) };
        assert_eq!(verdict, sent, "{detection}");
    }
    for detection in
        ["{src_ip: 10.0.0.8}", "{src_port: 443}", "{alert.rev: 4}", "{action: allowed}"]
    {
        let mut prefilter = prefilter(&[(detection, "action: send")]);
        let verdict = prefilter.judge(&alert(), RECORD, Instant::now(), NOW);
        assert_eq!(verdict, Verdict::PASS, "{detection}");
    }
}

#[test]
fn what_was_found_in_one_record_is_not_in_the_next() {
    let mut prefilter = prefilter(&[("{alert.rev: 3}", "action: send")]);
    let mut judge = |record: &[u8]| prefilter.judge(&alert(), record, Instant::now(), NOW);
    assert_ne!(judge(RECORD), Verdict::PASS);
    assert_eq!(judge(b"{}"), Verdict::PASS);
    assert_eq!(judge(b"no JSON"), Verdict::PASS);
}

#[test]
fn an_alert_says_which_rule_decided_and_how_many_it_stands_for() {
    let fold = "action: fold, expected: 1000/h, period: 10s";
    let mut prefilter = prefilter(&[("{src_ip: 10.0.0.9}", fold)]);
    let start = Instant::now();
    let mut marked = |after| {
        let mut alert = alert();
        let now = start + Duration::from_secs(after);
        let verdict = prefilter.judge(&alert, RECORD, now, NOW);
        prefilter.mark(&verdict, &mut alert);
        (verdict, alert.handling, alert.count, alert.text(Field::PolicyRule).map(str::to_owned))
    };
    let rule = || Some("r-0".to_owned());
    let through = |count| Verdict::Send { handling: Handling::Folded, count, rule: Some(0) };
    assert_eq!(marked(0), (through(1), Handling::Folded, 1, rule()));
    assert_eq!(marked(1), (Verdict::Fold { rule: 0 }, Handling::Sent, 1, rule()));
    assert_eq!(marked(2).0, Verdict::Fold { rule: 0 });
    assert_eq!(marked(11), (through(3), Handling::Folded, 3, rule()));
    assert_eq!(marked(12).0, Verdict::Fold { rule: 0 });
    let out = prefilter.take_due(start + Duration::from_secs(21));
    let alert = prefilter.alert_of(&out[0]);
    assert_eq!(
        (alert.handling, alert.count, alert.severity),
        (Handling::Folded, 1, Severity::Medium)
    );
    assert_eq!(alert.text(Field::PolicyRule), Some("r-0"));
    let counts = prefilter.filter().counts().next().unwrap().1;
    assert_eq!((counts.folded, counts.let_through), (5, 3));
}

proptest! {
    /// Nothing vanishes: what is sent, held and folded is together what was read, and the counts of what was sent
    /// for folded ones are together how many were folded.
    #[test]
    fn sent_held_and_folded_are_together_what_was_read(
        alerts in proptest::collection::vec((0_u8..6, 0_u8..6, 0_u8..7, 0_u64..20), 1..300),
    ) {
        let mut prefilter = prefilter(&[
            ("{src_ip: 10.0.0.1}", "action: hold, expected: 20/m, audit: 1/5"),
            ("{src_ip|cidr: 10.0.0.0/30}", "action: fold, expected: 50/m, period: 10s"),
            ("{user: u5}", "action: send"),
            ("{src_ip: 10.0.0.4}", "action: hold, expected: 10/m, even_critical: true"),
        ]);
        let (start, mut seconds) = (Instant::now(), 0);
        let (mut sent, mut held, mut folded, mut stood_for, mut taken) = (0, 0, 0, 0, 0);
        let read = alerts.len();
        for (src, user, severity, step) in alerts {
            seconds += step / 4;
            let now = start + Duration::from_secs(seconds);
            for out in prefilter.take_due(now) {
                stood_for += out.count;
            }
            let (src, user) = (format!("10.0.0.{src}"), format!("u{user}"));
            let mut alert = Alert::default();
            alert.set(Field::SrcIp, src.as_str());
            alert.set(Field::User, user.as_str());
            alert.severity = Severity::from_id(severity);
            let record = format!("{src} {user} {seconds}");
            match prefilter.judge(&alert, record.as_bytes(), now, NOW) {
                Verdict::Send { handling, count, rule } => {
                    sent += 1;
                    prop_assert_eq!(rule.is_none(), handling == Handling::Sent && user != "u5");
                    if handling == Handling::Folded {
                        stood_for += count;
                        taken += 1;
                    }
                }
                Verdict::Hold { rule } => {
                    held += 1;
                    prop_assert!(user != "u5" && (severity < 5 || rule == 3));
                }
                Verdict::Fold { .. } => {
                    folded += 1;
                    taken += 1;
                    prop_assert!(user != "u5" && severity < 5);
                }
            }
        }
        prop_assert_eq!(sent + held + folded, read);
        stood_for += prefilter.take_all(start).iter().map(|out| out.count).sum::<u64>();
        prop_assert_eq!(stood_for, taken);
    }
}
