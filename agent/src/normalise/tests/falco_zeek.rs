//! What records of Falco and Zeek say.

use super::*;

#[test]
fn a_falco_alert_says_what_falco_said() {
    let reader = Normaliser::new(Kind::of_product("falco").unwrap(), "runtime");
    let record = r#"{"hostname":"node-7","output":"09:12:33: Error shell","priority":"Error",
        "rule":"Shell in container","source":"syscall",
        "tags":["T1059","container","mitre_execution"],
        "time":"2026-11-02T09:12:33.123456789Z","output_fields":{"evt.time":1,"user.name":"root",
        "proc.exepath":"/bin/busybox","proc.name":"sh","fd.name":"10.0.0.5:40000->192.0.2.7:443",
        "fd.l4proto":"tcp","proc.cmdline":"sh -i","proc.pname":"nginx","container.name":"<NA>",
        "container.id":"3ad7b26ded6d"}}"#;
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!(alert.severity, Severity::High);
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(443)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "runtime"),
            (Field::Product, "falco"),
            (Field::RuleUid, "Shell in container"),
            (Field::Title, "Shell in container"),
            (Field::Category, "syscall"),
            (Field::Techniques, "T1059"),
            (Field::DeviceHostname, "node-7"),
            (Field::SrcIp, "10.0.0.5"),
            (Field::DstIp, "192.0.2.7"),
            (Field::Protocol, "tcp"),
            (Field::User, "root"),
            (Field::Process, "/bin/busybox"),
            (Field::CommandLine, "sh -i"),
            (Field::ParentProcess, "nginx"),
            (Field::Container, "3ad7b26ded6d"),
            (Field::RuleName, "Shell in container"),
            (Field::Tactics, "TA0002"),
        ],
    );
}

#[test]
fn what_falco_could_not_find_out_stays_absent() {
    let reader = Normaliser::new(Kind::of_product("falco").unwrap(), "runtime");
    let record = r#"{"output":"said by itself","priority":"Warning","time":"2026-11-02T09:12:33Z",
        "output_fields":{"user.name":"<NA>","proc.name":null,"fd.name":"/etc/shadow",
        "container.id":"host"}}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.severity, Severity::Medium);
    assert_texts(
        &alert,
        &[
            (Field::LogName, "runtime"),
            (Field::Product, "falco"),
            (Field::Title, "said by itself"),
            (Field::FilePath, "/etc/shadow"),
        ],
    );
}

#[test]
fn a_port_behind_an_address_of_ipv6_is_no_part_of_it() {
    let reader = Normaliser::new(Kind::of_product("falco").unwrap(), "runtime");
    let record =
        r#"{"rule":"r","output_fields":{"fd.name":"2001:DB8::5:40000->::ffff:10.0.0.7:443"}}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(443)));
    assert_eq!(alert.text(Field::SrcIp), Some("2001:db8::5"));
    assert_eq!(alert.text(Field::DstIp), Some("10.0.0.7"));
}

#[test]
fn falcos_priorities_become_ocsfs_severities() {
    let reader = Normaliser::new(Kind::of_product("falco").unwrap(), "runtime");
    for (written, expected) in [
        ("Emergency", Severity::Fatal),
        ("Alert", Severity::Critical),
        ("CRITICAL", Severity::Critical),
        ("Error", Severity::High),
        ("Warning", Severity::Medium),
        ("Notice", Severity::Low),
        ("Informational", Severity::Informational),
        ("Debug", Severity::Informational),
        ("Dire", Severity::Unknown),
    ] {
        let record = format!(r#"{{"rule":"r","priority":"{written}"}}"#);
        let (alert, notes) = alert(&reader, &record);
        assert_eq!(alert.severity, expected, "{written}");
        let is_known = expected != Severity::Unknown;
        assert_eq!(notes.contains(Notes::SEVERITY_UNKNOWN), !is_known, "{written}");
    }
}

#[test]
fn a_zeek_notice_says_what_zeek_said_and_no_severity() {
    let reader = Normaliser::new(Kind::of_product("zeek_notice").unwrap(), "border");
    let record = r#"{"_path":"notice","ts":1793610753.123456,"uid":"CHhAvV","id.orig_h":"10.0.0.5",
        "id.orig_p":40000,"id.resp_h":"192.0.2.7","id.resp_p":22,"proto":"tcp","src":"10.0.0.9",
        "note":"SSH::Password_Guessing","msg":"10.0.0.5 guesses passwords","sub":"30 tries",
        "actions":["Notice::ACTION_LOG","Notice::ACTION_DROP"],"suppress_for":3600.0}"#;
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!((alert.severity, alert.action), (Severity::Unknown, Action::Denied));
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(22)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "border"),
            (Field::Product, "zeek"),
            (Field::RuleUid, "SSH::Password_Guessing"),
            (Field::Title, "10.0.0.5 guesses passwords"),
            (Field::SrcIp, "10.0.0.5"),
            (Field::DstIp, "192.0.2.7"),
            (Field::Protocol, "tcp"),
            (Field::RuleName, "SSH::Password_Guessing"),
        ],
    );
}

#[test]
fn a_notice_without_a_connection_names_its_own_endpoints() {
    let reader = Normaliser::new(Kind::of_product("zeek_notice").unwrap(), "border");
    let record = r#"{"ts":"2026-11-02T09:12:33.123456Z","note":"Scan::Port_Scan","msg":"m",
        "src":"10.0.0.5","dst":"192.0.2.7","p":22}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!(alert.text(Field::SrcIp), Some("10.0.0.5"));
    assert_eq!((alert.text(Field::DstIp), alert.dst_port), (Some("192.0.2.7"), Some(22)));
}

#[test]
fn records_of_zeeks_other_logs_are_no_alerts() {
    let reader = Normaliser::new(Kind::of_product("zeek_notice").unwrap(), "border");
    for record in
        [r#"{"_path":"conn","note":"x","#, r#"{"ts":1.5,"uid":"C1","id.orig_h":"10.0.0.5"}"#]
    {
        let outcome = reader.normalise(record.as_bytes(), NOW);
        assert_eq!(outcome, Outcome::Skip(SkipReason::NotAnAlert), "{record}");
    }
}

const NOTICE_HEADER: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n\
    #unset_field\t-\n#path\tnotice\n#open\t2026-11-02-09-12-33\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tnote\tmsg\tactions\n\
    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tenum\tstring\tset[enum]\n";

fn notices_after(header: &str) -> Normaliser {
    let mut reader = Normaliser::new(Kind::of_product("zeek_notice").unwrap(), "border");
    reader.begin_file(header.as_bytes());
    reader
}

#[test]
fn a_notice_in_columns_says_the_same_as_one_in_json() {
    let reader = notices_after(NOTICE_HEADER);
    let record = "1793610753.123456\tCHhAvV\t10.0.0.5\t40000\t192.0.2.7\t-\ttcp\t\
        SSH::Password_Guessing\tguesses\\x09passwords\tNotice::ACTION_LOG,Notice::ACTION_DROP";
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!((alert.severity, alert.action), (Severity::Unknown, Action::Denied));
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), None));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "border"),
            (Field::Product, "zeek"),
            (Field::RuleUid, "SSH::Password_Guessing"),
            (Field::Title, "guesses\tpasswords"),
            (Field::SrcIp, "10.0.0.5"),
            (Field::DstIp, "192.0.2.7"),
            (Field::Protocol, "tcp"),
            (Field::RuleName, "SSH::Password_Guessing"),
        ],
    );
}

#[test]
fn columns_that_no_header_names_or_not_so_many_are_malformed() {
    let record = b"1793610753.1\tC1\t-\t-\t-\t-\t-\tA::B\tm\tNotice::ACTION_LOG";
    let reader = notices_after("");
    let (alert, why) = malformed(&reader, record);
    assert_eq!((why, alert.time), (Malformed::NoHeader, None));
    let reader = notices_after(NOTICE_HEADER);
    let (alert, why) = malformed(&reader, &record[..record.len() - 20]);
    assert_eq!((why, alert.time), (Malformed::Columns { found: 9 }, None));
}

#[test]
fn a_header_says_separator_log_and_columns_until_the_next_one() {
    let mut reader = notices_after(NOTICE_HEADER);
    for line in ["#separator \\x7c", "#path|notice", "#unset_field|none", "#fields|note|msg|src"] {
        assert!(reader.take_header(line.as_bytes()));
    }
    let (alert, _) = alert(&reader, "A::B|said - so|none");
    assert_texts(
        &alert,
        &[
            (Field::LogName, "border"),
            (Field::Product, "zeek"),
            (Field::RuleUid, "A::B"),
            (Field::Title, "said - so"),
            (Field::RuleName, "A::B"),
        ],
    );
    let mut reader = reader.clone();
    reader.begin_file(NOTICE_HEADER.replace("path\tnotice", "path\tconn").as_bytes());
    let outcome = reader.normalise(b"a\tb", NOW);
    assert_eq!(outcome, Outcome::Skip(SkipReason::NotAnAlert));
    assert!(!reader.take_header(b"{}"));
    let mut eve = Normaliser::new(Kind::SURICATA_EVE, "eve");
    assert!(!eve.take_header(b"#separator"), "a line of JSON cannot be a header");
}

#[test]
fn falcos_own_events_are_read_where_they_are_at_hand() {
    let Some(lines) = real_lines("falco/falco_alerts_snippet.jsonl") else { return };
    let reader = Normaliser::new(Kind::of_product("falco").unwrap(), "runtime");
    let mut count = 0;
    for record in lines.iter().filter(|line| !line.is_empty()) {
        let (alert, notes) = alert(&reader, record);
        assert!(notes.is_empty(), "{record}");
        assert_eq!(alert.text(Field::Title), Some("Terminal shell in container"));
        assert!(alert.time.is_some() && alert.severity == Severity::Low);
        count += 1;
    }
    assert_eq!(count, 3);
}
