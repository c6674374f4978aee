//! What records of each product say, by hand-made records and by real ones where they are at hand.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
};

use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;
use shared::alert::Action;

use super::*;

mod falco_zeek;
mod journald;
mod syslog;
mod windows;

const NOW: Timestamp = Timestamp::from_ms(1_793_610_800_000);

#[test]
fn an_eve_alert_says_what_suricata_said() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "edge-ids");
    let record = r#"{"timestamp":"2026-11-02T09:12:33.123456+0000","host":"sensor-1",
        "event_type":"alert","src_ip":"10.0.0.5","src_port":"40000","dest_ip":"192.0.2.7",
        "dest_port":443,"proto":"TCP","alert":{"action":"blocked","gid":1,"signature_id":2010937,
        "signature":"ET \"quoted\"","category":"Misc","severity":1,
        "metadata":{"mitre_technique_id":["T1190","T1059_003"],
        "mitre_tactic_name":["Initial_Access"],"mitre_tactic_id":["TA0001","TA0002"]}},
        "http":{"hostname":"example.org","url":"/a?b=c"},"tls":{"sni":"other.example"},
        "fileinfo":{"filename":"/tmp/x","sha256":"cafe","sha1":"c0","md5":"c1"}}"#;
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!((alert.severity, alert.action), (Severity::High, Action::Denied));
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(443)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "edge-ids"),
            (Field::Product, "suricata"),
            (Field::RuleUid, "2010937"),
            (Field::Title, "ET \"quoted\""),
            (Field::Category, "Misc"),
            (Field::Techniques, "T1190,T1059.003"),
            (Field::SrcIp, "10.0.0.5"),
            (Field::DstIp, "192.0.2.7"),
            (Field::Protocol, "tcp"),
            (Field::FileHash, "cafe"),
            (Field::FilePath, "/tmp/x"),
            (Field::Url, "/a?b=c"),
            (Field::RuleName, "ET \"quoted\""),
            (Field::Tactics, "TA0001,TA0002"),
            (Field::FurtherHashes, "c0,c1"),
            (Field::UrlHost, "example.org"),
            (Field::TlsName, "other.example"),
        ],
    );
}

#[test]
fn suricatas_severities_become_ocsfs() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    for (written, expected) in [
        ("1", Severity::High),
        ("2", Severity::Medium),
        ("\"3\"", Severity::Low),
        ("4", Severity::Informational),
        ("255", Severity::Informational),
        ("0", Severity::Unknown),
        ("\"bad\"", Severity::Unknown),
    ] {
        let record = format!(r#"{{"alert":{{"severity":{written},"signature_id":1}}}}"#);
        let (alert, notes) = alert(&reader, &record);
        assert_eq!(alert.severity, expected, "{written}");
        assert_eq!(notes.contains(Notes::SEVERITY_UNKNOWN), expected == Severity::Unknown);
    }
}

#[test]
fn the_mark_before_utf_8_hides_no_record() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let marked = "\u{feff}{\"event_type\":\"alert\",\"alert\":{\"signature\":\"s\"}}";
    assert_eq!(alert(&reader, marked).0.text(Field::Title), Some("s"));
    let mut reader = Normaliser::new(Kind::of_product("zeek_notice").unwrap(), "zeek");
    assert!(reader.take_header("\u{feff}#fields\tts\tnote\tmsg".as_bytes()));
    assert_eq!(alert(&reader, "1\tScan::Port\tall ports").0.text(Field::Title), Some("all ports"));
}

#[test]
fn a_domain_in_front_of_a_users_name_is_its_domain() {
    let reader = Normaliser::new(Kind::of_product("syslog").unwrap(), "fw");
    for (written, domain, name) in [
        (r"CORP\\bob", Some("CORP"), "bob"),
        (r"NT AUTHORITY\\SYSTEM", Some("NT AUTHORITY"), "SYSTEM"),
        (r"CORP\\bob sntdom=EU", Some("EU"), "bob"),
        ("bob@corp.example", None, "bob@corp.example"),
        (r"a\\b\\c", None, r"a\b\c"),
        (r"\\bob", None, r"\bob"),
    ] {
        let record = format!("CEF:0|v|p|1|7|name|5|src=10.0.0.9 suser={written}");
        let (alert, _) = alert(&reader, &record);
        let found = (alert.text(Field::UserDomain), alert.text(Field::User));
        assert_eq!(found, (domain, Some(name)), "{written}");
    }
}

#[test]
fn an_eve_event_of_another_type_is_skipped_even_if_it_is_cut_off() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    for record in [r#"{"event_type":"flow","alert":{}}"#, r#"{"event_type":"dns","dns":{"#] {
        let outcome = reader.normalise(record.as_bytes(), NOW);
        assert_eq!(outcome, Outcome::Skip(SkipReason::NotAnAlert), "{record}");
    }
}

#[test]
fn an_eve_event_without_type_counts_as_an_alert_if_it_has_one() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    assert_eq!(alert(&reader, r#"{"alert":{"signature":"s"}}"#).0.text(Field::Title), Some("s"));
    assert_eq!(malformed(&reader, b"{\"a\":1}").1, Malformed::Untyped);
}

#[test]
fn a_record_that_cannot_be_read_is_an_alert_that_says_so() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    for (record, expected) in [
        (&b"hello"[..], Malformed::NotAnObject),
        (b"", Malformed::NotAnObject),
        (b"[1]", Malformed::NotAnObject),
        (b"{\"event_type\":\"alert\"", Malformed::EndsEarly),
        (b"{\"event_type\":\"alert\",}", Malformed::Syntax { at: 23 }),
        (b"{} {}", Malformed::Syntax { at: 4 }),
        (b"{\"event_type\":\"alert\",\"a\":\"\xff\"}", Malformed::InvalidUtf8 { at: 27 }),
        (b"\xff", Malformed::InvalidUtf8 { at: 0 }),
    ] {
        let (alert, why) = malformed(&reader, record);
        assert_eq!(why, expected, "{why}");
        assert_eq!(alert.severity, Severity::Unknown);
        assert_texts(
            &alert,
            &[
                (Field::LogName, "eve"),
                (Field::Product, "suricata"),
                (Field::Title, expected.title()),
            ],
        );
        assert!(expected.title().starts_with("record could not be parsed: "));
    }
}

#[test]
fn what_stood_before_the_break_is_not_lost() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let start = br#"{"event_type":"alert","src_ip":"10.0.0.5","alert":{"severity":1},"payload":""#;
    for end in [&b"AAAA"[..], b"\xff\"}"] {
        let record = [&start[..], end].concat();
        let (alert, _) = malformed(&reader, &record);
        assert_eq!(alert.severity, Severity::High);
        assert_eq!(alert.text(Field::SrcIp), Some("10.0.0.5"));
    }
}

#[test]
fn a_value_of_an_unexpected_type_costs_itself_only() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let record = r#"{"event_type":"alert","timestamp":{},"src_ip":["10.0.0.5"],"src_port":"x",
        "dest_port":70000,"proto":6,"http":"none","dns":[[{"query":7}]],"src_ip":"again",
        "alert":{"signature_id":"7","signature":null,"severity":[2],"metadata":[]}}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!((alert.src_port, alert.dst_port, alert.time), (None, None, None));
    assert_eq!(alert.severity, Severity::Medium);
    assert_eq!(alert.text(Field::RuleUid), Some("7"));
    assert_eq!(alert.text(Field::SrcIp), Some("10.0.0.5"));
    assert_eq!(alert.text(Field::Protocol), Some("6"));
}

#[test]
fn a_time_that_is_not_believed_is_absent_and_noted() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    for (time, expected, note) in [
        ("2026-11-03T09:12:00Z", true, Notes::default()),
        ("2026-11-03T09:14:00Z", false, Notes::TIME_AHEAD),
        ("soon", false, Notes::TIME_UNREADABLE),
    ] {
        let record = format!(r#"{{"event_type":"alert","timestamp":"{time}"}}"#);
        let (alert, notes) = alert(&reader, &record);
        assert_eq!((alert.time.is_some(), notes), (expected, note), "{time}");
    }
    let (alert, notes) = alert(&reader, r#"{"event_type":"alert"}"#);
    assert_eq!((alert.time, notes), (None, Notes::default()), "absent stays absent");
}

#[test]
fn a_wazuh_alert_says_what_wazuh_said() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let record = r#"{"timestamp":"2026-11-02T09:12:33.123+0000","rule":{"level":10,"id":"5712",
        "description":"sshd: brute force","groups":["sshd","authentication_failures"],
        "mitre":{"id":["T1110"],"technique":["Brute Force"],"tactic":["Credential Access"]}},
        "agent":{"id":"018","name":"web-1","ip":"10.1.2.3"},"predecoder":{"hostname":"web-1.lan"},
        "data":{"srcip":"192.0.2.9","srcport":"4711","srcuser":"eve","dstuser":"root",
        "url":"/login","protocol":"POST","dstip":"-"}}"#;
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!((alert.severity, alert.src_port), (Severity::Medium, Some(4711)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "wazuh"),
            (Field::Product, "wazuh"),
            (Field::RuleUid, "5712"),
            (Field::Title, "sshd: brute force"),
            (Field::Category, "sshd,authentication_failures"),
            (Field::Techniques, "T1110"),
            (Field::DeviceHostname, "web-1"),
            (Field::DeviceIp, "10.1.2.3"),
            (Field::SrcIp, "192.0.2.9"),
            (Field::User, "eve"),
            (Field::Url, "/login"),
            (Field::TargetUser, "root"),
            (Field::RuleName, "sshd: brute force"),
            (Field::Tactics, "TA0006"),
        ],
    );
}

#[test]
fn wazuhs_levels_become_ocsfs_severities() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let expected = |level| match level {
        0..=3 => Severity::Informational,
        4..=6 => Severity::Low,
        7..=11 => Severity::Medium,
        12..=14 => Severity::High,
        _ => Severity::Critical,
    };
    for level in 0..=16 {
        let record = format!(r#"{{"rule":{{"level":{level}}}}}"#);
        assert_eq!(alert(&reader, &record).0.severity, expected(level), "level {level}");
    }
    let outcome = reader.normalise(br#"{"full_log":"archived"}"#, NOW);
    assert_eq!(outcome, Outcome::Skip(SkipReason::NotAnAlert));
}

#[test]
fn wazuhs_manager_names_the_host_that_the_message_names() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    for (id, message, expected) in [
        ("000", r#""predecoder":{"hostname":"router"},"#, "router"),
        ("000", "", "manager"),
        ("001", r#""predecoder":{"hostname":"router"},"#, "manager"),
    ] {
        let record = format!(
            r#"{{{message}"agent":{{"id":"{id}","name":"manager","ip":"any"}},"rule":{{"id":1}}}}"#
        );
        let (alert, _) = alert(&reader, &record);
        assert_eq!(alert.text(Field::DeviceHostname), Some(expected));
        assert_eq!(alert.text(Field::DeviceIp), None);
    }
}

#[test]
fn wazuhs_windows_and_file_events_give_process_user_and_file() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let record = r#"{"rule":{"level":12,"id":"92000"},"data":{"win":{"eventdata":{
        "image":"C:\\Windows\\cmd.exe","user":"ACME\\eve","hashes":"SHA1=aa,SHA256=bb",
        "commandLine":"cmd /c dir","parentImage":"C:\\Windows\\explorer.exe",
        "processId":"0x1a2c","parentProcessId":"812","subjectDomainName":"ACME",
        "subjectUserSid":"S-1-5-21-1","targetDomainName":"NT AUTHORITY","targetSid":"S-1-5-18",
        "targetUserName":"root","targetObject":"HKLM\\Software\\Run",
        "sourceIp":"10.0.0.1","sourcePort":"50000","destinationPort":"445",
        "destinationIp":"10.0.0.2"}}},"syscheck":{"path":"/etc/passwd"}}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!((alert.src_port, alert.dst_port), (Some(50_000), Some(445)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "wazuh"),
            (Field::Product, "wazuh"),
            (Field::RuleUid, "92000"),
            (Field::SrcIp, "10.0.0.1"),
            (Field::DstIp, "10.0.0.2"),
            (Field::User, "eve"),
            (Field::Process, "C:\\Windows\\cmd.exe"),
            (Field::FileHash, "bb"),
            (Field::FilePath, "/etc/passwd"),
            (Field::CommandLine, "cmd /c dir"),
            (Field::ParentProcess, r"C:\Windows\explorer.exe"),
            (Field::TargetUser, "root"),
            (Field::RegistryKey, r"HKLM\Software\Run"),
            (Field::ProcessId, "6700"),
            (Field::ParentProcessId, "812"),
            (Field::UserDomain, "ACME"),
            (Field::UserUid, "S-1-5-21-1"),
            (Field::TargetUserDomain, "NT AUTHORITY"),
            (Field::TargetUserUid, "S-1-5-18"),
            (Field::FurtherHashes, "aa"),
        ],
    );
}

#[test]
fn a_path_in_the_registry_is_no_files() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    for (place, path, is_key) in [
        ("syscheck", r"HKEY_LOCAL_MACHINE\System\Services", true),
        ("syscheck", r"\REGISTRY\MACHINE\SYSTEM", true),
        ("syscheck", r"c:\hklm\file", false),
        ("syscheck", "/etc/HKEY_x", false),
        ("object", r"\REGISTRY\MACHINE\SYSTEM", true),
        ("object", r"C:\Temp\a.txt", false),
    ] {
        let written = serde_json::json!(path);
        let rest = match place {
            "syscheck" => format!(r#""syscheck":{{"path":{written}}}"#),
            _ => format!(r#""data":{{"win":{{"eventdata":{{"objectName":{written}}}}}}}"#),
        };
        let record = format!(r#"{{"rule":{{"id":1}},{rest}}}"#);
        let (alert, _) = alert(&reader, &record);
        let found = (alert.text(Field::RegistryKey), alert.text(Field::FilePath));
        let expected = if is_key { (Some(path), None) } else { (None, Some(path)) };
        assert_eq!(found, expected, "{record}");
    }
}

#[test]
fn a_container_that_docker_names_is_named() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    for (actor, expected) in
        [(r#""Attributes":{"name":"web"},"ID":"3ad7""#, "web"), (r#""ID":"3ad7""#, "3ad7")]
    {
        let record =
            format!(r#"{{"rule":{{"id":1}},"data":{{"docker":{{"Actor":{{{actor}}}}}}}}}"#);
        assert_eq!(alert(&reader, &record).0.text(Field::Container), Some(expected));
    }
}

#[test]
fn an_address_is_spelt_in_one_way_and_a_name_in_its_place_is_a_name() {
    let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
    let record = r#"{"event_type":"alert","src_ip":"2001:0DB8:0000:0000:0000:0000:0000:0005",
        "dest_ip":"[2001:db8::7]:443"}"#;
    let (found, _) = alert(&reader, record);
    assert_eq!(found.text(Field::SrcIp), Some("2001:db8::5"));
    assert_eq!((found.text(Field::DstIp), found.dst_port), (Some("2001:db8::7"), Some(443)));
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let record = r#"{"rule":{"id":1},"agent":{"ip":"box.lan"}}"#;
    let (found, _) = alert(&reader, record);
    assert_eq!(
        (found.text(Field::DeviceIp), found.text(Field::DeviceHostname)),
        (None, Some("box.lan"))
    );
}

proptest! {
    #[test]
    fn no_bytes_make_any_products_reader_panic(
        start in r#"(\{"[a-z_.]{0,12}"[:,]|<[0-9]{1,3}>|#|CEF:0\||[a-z]+=)?"#,
        middle in r#"["{}\[\],:=|\\x0-9a-zé.%-]{0,80}"#,
        end in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let record = [start.as_bytes(), middle.as_bytes(), &end].concat();
        for kind in Kind::of_products() {
            let mut reader = Normaliser::new(Kind::of_product(kind).unwrap(), "any");
            reader.begin_file(&record);
            reader.take_header(&record);
            drop(reader.normalise(&record, NOW));
        }
    }

    #[test]
    fn no_value_makes_any_products_reader_panic_and_addresses_are_addresses(
        place in 0_usize..400,
        value in r#"("[^"\\]{0,40}"|-?[0-9]{1,20}|\["[a-zT0-9.,:%\[]{0,20}"\]|\{"a":"é"\})"#,
    ) {
        for product in PRODUCTS {
            let (_, path) = product.table[place % product.table.len()];
            let names = paths::parse_path(path).unwrap();
            let nested = names.iter().map(|name| format!("{{{}:", Value::from(&**name)));
            let open: String = nested.collect();
            let record = format!("{open}{value}{}", "}".repeat(names.len()));
            let reader = Normaliser::new(Kind::Product(product), "any");
            if let Outcome::Alert { alert, .. } = reader.normalise(record.as_bytes(), NOW) {
                for field in [Field::SrcIp, Field::DstIp, Field::DeviceIp] {
                    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
                    prop_assert!(alert.text(field).is_none_or(is_address), "{}", record);
                }
            }
        }
    }
}

#[test]
fn an_endpoint_that_is_a_name_or_has_a_port_is_sorted_out() {
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let record = r#"{"rule":{"id":1},"data":{"srcip":"client.lan","dstip":"10.0.0.2:80"}}"#;
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.text(Field::SrcIp), None);
    assert_eq!(alert.text(Field::SrcHostname), Some("client.lan"));
    assert_eq!((alert.text(Field::DstIp), alert.dst_port), (Some("10.0.0.2"), Some(80)));
}

#[test]
fn json_lines_are_read_by_their_field_map() {
    let map = toml::from_str(
        r#"
        product = "acme-ids"
        paths = { time = "ts", severity_id = "sev", action_id = "act",
                  "finding_info.title" = ["msg", "/t/x.y"],
                  "evidences.src_endpoint.ip" = "src", "evidences.dst_endpoint.port" = "dp" }
        severities = { Warning = "low", "9" = "critical" }
        actions = { quarantined = "denied" }
        "#,
    );
    let reader = Normaliser::new(Kind::JsonLines(map.unwrap()), "ids");
    let record = r#"{"ts":1793610753.123,"sev":"WARNING","act":"Quarantined","t":{"x.y":"title"},
        "src":"10.0.0.1:55","dp":"53"}"#;
    let (found, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(found.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!((found.severity, found.action), (Severity::Low, Action::Denied));
    assert_eq!((found.src_port, found.dst_port), (Some(55), Some(53)));
    assert_texts(
        &found,
        &[
            (Field::LogName, "ids"),
            (Field::Product, "acme-ids"),
            (Field::Title, "title"),
            (Field::SrcIp, "10.0.0.1"),
        ],
    );
    for (written, expected) in [
        ("9", Severity::Critical),
        ("4", Severity::High),
        ("\"High\"", Severity::High),
        ("\"info\"", Severity::Informational),
        ("\"odd\"", Severity::Unknown),
    ] {
        let record = format!("{{\"sev\":{written}}}");
        assert_eq!(alert(&reader, &record).0.severity, expected, "{written}");
    }
    assert!(alert(&reader, "{}").1.contains(Notes::NOTHING_MAPPED));
}

#[test]
fn lanes_follow_from_the_severity() {
    let policy = LanePolicy::default();
    for (severity, lane) in [
        (Severity::Unknown, Lane::Normal),
        (Severity::Informational, Lane::Bulk),
        (Severity::Low, Lane::Normal),
        (Severity::Medium, Lane::Normal),
        (Severity::High, Lane::Urgent),
        (Severity::Fatal, Lane::Urgent),
    ] {
        assert_eq!(lane_of(severity, &policy), lane, "{severity}");
    }
    let none = LanePolicy { urgent_from: None, bulk_up_to: None };
    assert!(Severity::ALL.iter().all(|severity| lane_of(*severity, &none) == Lane::Normal));
}

#[test]
fn every_real_eve_alert_gives_title_rule_and_time() {
    for (file, whole) in [
        ("suricata/eve_suricata_verify_sample.ndjson.gz", 3_218),
        ("cptc2017/eve_alerts.dev.jsonl.gz", 20_263),
    ] {
        let Some(lines) = real_lines(file) else { continue };
        let reader = Normaliser::new(Kind::SURICATA_EVE, "eve");
        let (mut alerts, mut skipped, mut untitled) = (0, 0, 0);
        for line in lines {
            let event = serde_json::from_str::<Value>(&line).unwrap()["eve"].take();
            let is_alert = event["event_type"] == "alert";
            let record = event.to_string();
            match reader.normalise(record.as_bytes(), NOW) {
                Outcome::Alert { alert, notes } => {
                    assert!(is_alert && notes.is_empty(), "{record}");
                    // A rule without message has no title.
                    let title = event["alert"]["signature"].as_str().filter(|t| !t.is_empty());
                    assert_eq!(alert.text(Field::Title), title);
                    untitled += usize::from(title.is_none());
                    let rule = event["alert"]["signature_id"].to_string();
                    assert_eq!(alert.text(Field::RuleUid), Some(rule.as_str()));
                    assert!(alert.time.is_some() && alert.severity != Severity::Unknown);
                    // Suricata writes IPv6 in full.
                    let address = event["src_ip"].as_str().map(|text| text.parse().unwrap());
                    let address = address.map(|ip: std::net::IpAddr| ip.to_canonical().to_string());
                    assert_eq!(alert.text(Field::SrcIp), address.as_deref());
                    assert_eq!(alert.dst_port.map(u64::from), event["dest_port"].as_u64());
                    alerts += 1;
                }
                Outcome::Skip(_) => {
                    assert!(!is_alert, "{record}");
                    skipped += 1;
                }
                Outcome::Malformed { why, .. } => panic!("{why}: {record}"),
            }
        }
        println!("{file}: {alerts} alerts, {untitled} untitled; {skipped} other events");
        assert_eq!(alerts, whole);
    }
}

#[test]
fn every_real_wazuh_alert_gives_title_rule_time_and_host() {
    let Some(lines) = real_lines("wazuh/wazuh_alerts_json_snippet.jsonl") else { return };
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    for record in lines {
        let (alert, notes) = alert(&reader, &record);
        assert!(notes.is_empty() && alert.time.is_some(), "{record}");
        assert_ne!(alert.severity, Severity::Unknown);
        for field in [Field::Title, Field::RuleUid, Field::DeviceHostname, Field::Category] {
            assert!(alert.text(field).is_some(), "{field:?}: {record}");
        }
    }
}

#[test]
fn wazuh_alerts_of_real_rules_keep_level_title_and_techniques() {
    let Some(lines) = real_lines("wazuh/wazuh-4.14.9-log-to-rule.dev.jsonl.gz") else { return };
    let reader = Normaliser::new(Kind::WAZUH, "wazuh");
    let mut read = 0;
    for line in lines {
        let case: Value = serde_json::from_str(&line).unwrap();
        let mut rule = case["rule"].clone();
        if !rule.is_object() {
            continue;
        }
        let ids = rule["mitre"].take();
        rule["id"] = case["rule_id"].clone();
        rule["mitre"] = serde_json::json!({ "id": ids });
        let record = serde_json::json!({
            "timestamp": "2026-11-02T09:12:33.123+0000", "rule": rule, "full_log": case["log"],
            "agent": { "id": "007", "name": "host-7" },
        });
        let text = record.to_string();
        let (alert, _) = alert(&reader, &text);
        assert_eq!(alert.text(Field::Title), case["rule"]["description"].as_str());
        assert_eq!(alert.text(Field::RuleUid), case["rule_id"].as_str());
        let ids: Vec<&str> =
            ids.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let expected = (!ids.is_empty()).then(|| ids.join(","));
        assert_eq!(alert.text(Field::Techniques), expected.as_deref(), "{text}");
        read += 1;
    }
    println!("{read} alerts");
    assert!(read > 1_000);
}

fn alert<'a>(reader: &'a Normaliser, record: &'a str) -> (Alert<'a>, Notes) {
    match reader.normalise(record.as_bytes(), NOW) {
        Outcome::Alert { alert, notes } => (alert, notes),
        other => panic!("{other:?}: {record}"),
    }
}

fn malformed<'a>(reader: &'a Normaliser, record: &'a [u8]) -> (Alert<'a>, Malformed) {
    match reader.normalise(record, NOW) {
        Outcome::Malformed { alert, why } => (alert, why),
        other => panic!("{other:?}: {record:?}"),
    }
}

/// Asserts that these fields are there and no others.
fn assert_texts(alert: &Alert<'_>, expected: &[(Field, &str)]) {
    let found = Field::ALL.into_iter().filter_map(|f| alert.text(f).map(|text| (f, text)));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

/// Returns the lines of a file of real data, or says that the test is skipped.
fn real_lines(name: &str) -> Option<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    let Ok(file) = File::open(&path) else {
        println!("skipped: {name} is not at hand");
        return None;
    };
    let reader: Box<dyn Read> =
        if name.ends_with(".gz") { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    Some(BufReader::new(reader).lines().map(Result::unwrap).collect())
}
