#![expect(clippy::disallowed_methods, reason = "a test's own start of time")]

use std::time::Duration;

use proptest::prelude::*;
use shared::alert::Severity;

use super::*;
use crate::normalise::{Kind, Outcome};

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

fn judge(prefilter: &mut Prefilter, alert: &Alert<'_>, record: &[u8], now: Instant) -> Verdict {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "border");
    prefilter.judge(Read { alert, record, reader: &reader }, now, NOW)
}

/// Reads a record as a source of this kind does, and returns which rule decides about it.
fn decided(policy: &str, kind: &str, record: &str) -> Option<u32> {
    let mut prefilter = Prefilter::new(Policy::parse(policy, NOW).unwrap(), Epoch(7));
    let mut reader = Normaliser::new(Kind::of_product(kind).unwrap(), "border");
    let mut lines = record.lines();
    let record = lines.find(|line| !reader.take_header(line.as_bytes())).unwrap().as_bytes();
    let outcome = reader.normalise(record, NOW);
    let Outcome::Alert { alert, .. } = outcome else { panic!("{outcome:?}") };
    let read = Read { alert: &alert, record, reader: &reader };
    match prefilter.judge(read, Instant::now(), NOW) {
        Verdict::Send { rule, .. } => rule,
        Verdict::Hold { rule } | Verdict::Fold { rule } => Some(rule),
    }
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
        let verdict = judge(&mut prefilter, &alert(), RECORD, Instant::now());
        let sent = Verdict::Send { handling: Handling::Sent, count: 1, rule: Some(0) };
        assert_eq!(verdict, sent, "{detection}");
    }
    for detection in
        ["{src_ip: 10.0.0.8}", "{src_port: 443}", "{alert.rev: 4}", "{action: allowed}"]
    {
        let mut prefilter = prefilter(&[(detection, "action: send")]);
        let verdict = judge(&mut prefilter, &alert(), RECORD, Instant::now());
        assert_eq!(verdict, Verdict::PASS, "{detection}");
    }
}

#[test]
fn what_was_found_in_one_record_is_not_in_the_next() {
    let mut prefilter = prefilter(&[("{alert.rev: 3}", "action: send")]);
    let mut of = |record: &[u8]| judge(&mut prefilter, &alert(), record, Instant::now());
    assert_ne!(of(RECORD), Verdict::PASS);
    assert_eq!(of(b"{}"), Verdict::PASS);
    assert_eq!(of(b"no JSON"), Verdict::PASS);
}

const SEND: &str = "signalbox: {action: send, expires: 2027-01-31}";
const HEADER: &str = "policy: acme\nversion: 1\nowner: soc\n";

#[test]
fn a_public_rule_about_windows_is_taken_as_it_is_and_means_both_of_its_kinds_of_event() {
    let policy = format!(
        "{HEADER}---\ntitle: a shell from Word\nid: shell\n\
         logsource: {{category: process_creation, product: windows}}\n\
         detection:\n  s: {{Image|endswith: \\cmd.exe, ParentImage|endswith: \\winword.exe}}\n  \
         condition: s\n{SEND}\n"
    );
    let sysmon = |id: u32| {
        r#"{"Event":{"System":{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":ID},
            "EventData":{"Image":"C:\\Windows\\CMD.exe","ParentImage":"C:\\Office\\winword.exe"}}}"#
            .replace('\n', " ")
            .replace("ID}", &format!("{id}}}"))
    };
    let security = "<Event><System><EventID>4688</EventID><Channel>Security</Channel></System>\
                    <EventData><Data Name='NewProcessName'>C:\\a\\cmd.exe</Data>\
                    <Data Name='ParentProcessName'>C:\\a\\winword.exe</Data></EventData></Event>";
    let winlogbeat = r#"{"winlog":{"channel":"Security","event_id":4688,"event_data":
        {"NewProcessName":"C:\\cmd.exe","ParentProcessName":"C:\\winword.exe"}}}"#;
    let winlogbeat = &winlogbeat.replace('\n', " ");
    for record in [&sysmon(1), security, winlogbeat] {
        assert_eq!(decided(&policy, "windows_event", record), Some(0), "{record}");
    }
    assert_eq!(decided(&policy, "windows_event", &sysmon(3)), None, "another kind of event");
    // What says nothing to people may be what a rule asks for, in either writing.
    let nothing = policy.replace(
        "Image|endswith: \\cmd.exe, ParentImage|endswith: \\winword.exe",
        "CurrentDirectory: '-', CommandLine: ''",
    );
    let xml = security.replace(
        "<EventData>",
        "<EventData><Data Name='CurrentDirectory'>-</Data><Data Name='CommandLine'/>",
    );
    let json = sysmon(1).replace("\"Image\"", r#""CurrentDirectory":"-","CommandLine":"","Image""#);
    assert_eq!(decided(&nothing, "windows_event", &xml), Some(0));
    assert_eq!(decided(&nothing, "windows_event", &json), Some(0));
    assert_eq!(decided(&nothing, "windows_event", security), None);
    let service = policy.replace("category: process_creation", "service: security");
    let service = service.replace("Image|endswith: \\cmd", "NewProcessName|endswith: \\cmd");
    let service = service.replace("ParentImage", "ParentProcessName");
    assert_eq!(decided(&service, "windows_event", security), Some(0), "a service is a channel");
    assert_eq!(decided(&service, "windows_event", &sysmon(1)), None);
}

#[test]
fn rules_see_the_values_of_records_that_are_not_json() {
    let zeek = "#fields\tts\tnote\tmsg\tsuppress_for\n1\tScan::Port\ta \\x09 b\t3600.000000";
    let marked = "\u{feff}{\"event_type\":\"alert\",\"alert\":{\"rev\":3}}";
    let cef = "<13>Nov 25 10:00:00 fw CEF:0|v|p|1|7|name|5|src=10.0.0.9 cs1=a \\= b cs1Label=x";
    let leef = "LEEF:1.0|v|p|1|7|src=10.0.0.9\tpolicy=a b";
    let pairs = "date=2026-11-02 time=09:12:33 devname=\"fw\" vd=\"root x\" srcip=10.0.0.5";
    let data = r#"<13>1 - fw app - - [ex@32473 iut="3" note="a\] b"][ex.of@32473 iut="4"] text"#;
    for (kind, record, detection, is_met) in [
        ("zeek_notice", zeek, "{suppress_for|gt: 3599}", true),
        ("zeek_notice", zeek, "{msg|re: 'a \\t b'}", true),
        ("zeek_notice", zeek, "{suppress_for: 1}", false),
        ("suricata_eve", marked, "{alert.rev: 3}", true),
        ("syslog", cef, "{cs1: a = b}", true),
        ("syslog", cef, "{cs2|exists: true}", false),
        ("syslog", leef, "{policy: a b}", true),
        ("syslog", pairs, "{vd: root x}", true),
        ("syslog", data, "{ex@32473.iut: 3, record.ex@32473.note: 'a] b'}", true),
        ("syslog", data, "{ex.of@32473.iut: 4}", true),
        ("syslog", data, "{iut: 3}", false),
    ] {
        let policy = format!(
            "{HEADER}---\ntitle: a rule\nid: r\nlogsource: {{}}\n\
             detection: {{s: {detection}, condition: s}}\n{SEND}\n"
        );
        assert_eq!(decided(&policy, kind, record).is_some(), is_met, "{detection}");
    }
}

#[test]
fn what_is_held_one_by_one_comes_up_when_a_correlation_says_that_it_is_too_much() {
    let policy = format!(
        "{HEADER}---\ntitle: failed\nid: failed\nlogsource: {{}}\n\
         detection: {{s: {{title: failed}}, condition: s}}\n\
         signalbox: {{action: hold, expires: 2027-01-31, expected: 1000/h, audit: 1/1000000}}\n\
         ---\ntitle: in\nid: in\nlogsource: {{}}\n\
         detection: {{s: {{title: logged in}}, condition: s}}\n\
         ---\ntitle: spray\nid: spray\ncorrelation: {{type: value_count, rules: [failed], \
         group-by: [src_ip], timespan: 10m, condition: {{gte: 3, field: user}}}}\n{SEND}\n\
         ---\ntitle: then in\nid: then-in\ncorrelation: {{type: temporal_ordered, \
         rules: [spray, in], group-by: [src_ip], timespan: 10m}}\n{}\n",
        SEND.replace("send", "send_urgent")
    );
    let mut prefilter = Prefilter::new(Policy::parse(&policy, NOW).unwrap(), Epoch(7));
    let mut of = |seconds: u64, title: &str, src: &str, user: &str| {
        let mut alert = Alert::default();
        alert.set(Field::Title, title.to_owned());
        alert.set(Field::SrcIp, src.to_owned());
        alert.set(Field::User, user.to_owned());
        alert.time = Some(Timestamp::from_ms(1_000_000 + seconds * 1_000));
        judge(&mut prefilter, &alert, b"{}", Instant::now())
    };
    let hold = Verdict::Hold { rule: 0 };
    assert_eq!(of(0, "failed", "10.0.0.9", "ada"), hold);
    assert_eq!(of(1, "failed", "10.0.0.9", "bob"), hold);
    assert_eq!(of(2, "failed", "10.0.0.8", "eve"), hold, "another source");
    assert_eq!(of(3, "failed", "10.0.0.9", "ada"), hold, "not another user");
    let sent = |handling, rule| Verdict::Send { handling, count: 1, rule: Some(rule) };
    assert_eq!(of(4, "failed", "10.0.0.9", "eve"), sent(Handling::Sent, 2));
    assert_eq!(of(5, "failed", "10.0.0.9", "eve"), hold, "it has been said");
    assert_eq!(of(6, "logged in", "10.0.0.8", "eve"), Verdict::PASS, "counted, nothing else");
    assert_eq!(of(7, "logged in", "10.0.0.9", "eve"), sent(Handling::Urgent, 3));
    assert_eq!(of(2_000, "logged in", "10.0.0.9", "eve"), Verdict::PASS, "too late");
    assert_eq!(prefilter.correlator().late(), 0);
    let counts: Vec<_> = prefilter.filter().counts().map(|(_, counts)| counts.matched).collect();
    assert_eq!(counts, [6, 3, 1, 1]);
}

#[test]
fn a_time_that_lies_ahead_does_not_keep_a_correlation_from_counting_what_comes_after() {
    let policy = format!(
        "{HEADER}---\ntitle: failed\nid: failed\nlogsource: {{}}\n\
         detection: {{s: {{title: failed}}, condition: s}}\n\
         ---\ntitle: many\nid: many\ncorrelation: {{type: event_count, rules: [failed], \
         timespan: 10m, condition: {{gte: 3}}}}\n{SEND}\n"
    );
    let mut prefilter = Prefilter::new(Policy::parse(&policy, NOW).unwrap(), Epoch(7));
    let mut of = |time: Timestamp| {
        let mut alert = Alert::default();
        alert.set(Field::Title, "failed");
        alert.time = Some(time);
        judge(&mut prefilter, &alert, b"{}", Instant::now())
    };
    assert_eq!(of(NOW.saturating_add(Duration::from_secs(23 * 3_600))), Verdict::PASS);
    assert_eq!(of(NOW), Verdict::PASS);
    assert_ne!(of(NOW), Verdict::PASS, "three within ten minutes");
    assert_eq!(prefilter.correlator().late(), 0);
}

#[test]
fn rules_see_each_item_of_a_list_and_all_hashes() {
    let mut listed = alert();
    listed.set(Field::Tactics, "TA0001,TA0008");
    listed.set(Field::FileHash, "cafe");
    listed.set(Field::FurtherHashes, "c0,c1");
    for (detection, is_met) in [
        ("{tactics: TA0008}", true),
        ("{tactics: 'TA0001,TA0008'}", false),
        ("{hashes: c1}", true),
        ("{file_hash: c0}", true),
        ("{evidences.file.hashes.value: cafe}", true),
        ("{hashes: c2}", false),
    ] {
        let mut prefilter = prefilter(&[(detection, "action: send")]);
        let verdict = judge(&mut prefilter, &listed, RECORD, Instant::now());
        assert_eq!(verdict != Verdict::PASS, is_met, "{detection}");
    }
}

#[test]
fn rules_find_a_name_that_was_asked_for_by_whichever_protocol_or_by_one() {
    for (field, own) in
        [(Field::Domain, "dns_name"), (Field::UrlHost, "url_host"), (Field::TlsName, "tls_name")]
    {
        let mut named = alert();
        named.set(field, "bad.example");
        for name in ["domain", "dns_name", "url_host", "tls_name"] {
            let mut prefilter = prefilter(&[(&format!("{{{name}: bad.example}}"), "action: send")]);
            let verdict = judge(&mut prefilter, &named, RECORD, Instant::now());
            let is_met = name == "domain" || name == own;
            assert_eq!(verdict != Verdict::PASS, is_met, "{field:?} by {name}");
        }
    }
}

#[test]
fn an_alert_says_which_rule_decided_and_how_many_it_stands_for() {
    let fold = "action: fold, expected: 1000/h, period: 10s";
    let mut prefilter = prefilter(&[("{src_ip: 10.0.0.9}", fold)]);
    let start = Instant::now();
    let mut marked = |after| {
        let mut alert = alert();
        let now = start + Duration::from_secs(after);
        let verdict = judge(&mut prefilter, &alert, RECORD, now);
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
            match judge(&mut prefilter, &alert, record.as_bytes(), now) {
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
