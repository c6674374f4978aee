//! What syslog messages say, and events in CEF and LEEF.

use proptest::prelude::*;

use super::*;

fn reader() -> Normaliser {
    Normaliser::new(Kind::of_product("syslog").unwrap(), "devices")
}

#[test]
fn a_message_of_rfc_5424_says_host_program_time_and_text() {
    let reader = reader();
    let record = "<35>1 2026-11-02T10:12:33.123+01:00 gw-2 audit 77 - [m s=\"4\"] login failed";
    let (alert, notes) = alert(&reader, record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!(alert.severity, Severity::High);
    assert_texts(
        &alert,
        &[
            (Field::LogName, "devices"),
            (Field::Product, "audit"),
            (Field::Title, "login failed"),
            (Field::DeviceHostname, "gw-2"),
        ],
    );
}

#[test]
fn a_time_without_a_year_stays_absent() {
    let reader = reader();
    for record in
        ["<38>Feb 29 09:12:33 gw-2 sshd[7]: refused", "Feb 29 09:12:33 gw-2 sshd: refused"]
    {
        let (alert, notes) = alert(&reader, record);
        assert!(notes.is_empty(), "{record}");
        assert_eq!(alert.time, None, "{record}");
        assert_texts(
            &alert,
            &[
                (Field::LogName, "devices"),
                (Field::Product, "sshd"),
                (Field::Title, "refused"),
                (Field::DeviceHostname, "gw-2"),
            ],
        );
    }
}

#[test]
fn a_priority_counts_whatever_follows_it() {
    let reader = reader();
    for record in [
        "<130>date=2026-11-02 time=09:12:33 devname=fw",
        "<162>%ASA-2-106001: denied",
        "<130>text",
        "<130>1 2026-11-02T09:12:33Z gw text",
        "<130>LEEF:1.0|Acme|EP|1|exec|src=10.0.0.5",
        "<130>1 2026-11-02T09:12:33Z gw LEEF:1.0|Acme|EP|1|exec|src=10.0.0.5",
    ] {
        let (alert, _) = alert(&reader, record);
        assert_eq!(alert.severity, Severity::Critical, "{record}");
        assert!(!alert.text(Field::Title).unwrap().contains('<'), "{record}");
    }
}

#[test]
fn an_event_within_a_messages_text_is_not_believed() {
    let reader = reader();
    let record = "<130>Nov  2 09:12:33 gw sshd[7]: invalid user CEF:0|x|x|x|x|all fine|0| from a";
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!(alert.text(Field::Product), Some("sshd"));
    assert_eq!(alert.text(Field::RuleUid), None);
    let title = alert.text(Field::Title).unwrap();
    assert!(title.starts_with("invalid user CEF:0|x"), "{title}");
}

#[test]
fn pairs_of_key_and_value_say_what_their_keys_name() {
    let reader = reader();
    let record = r#"<188>date=2026-11-02 time=09:12:33 devname="fw-1" eventtime=1793610753123456789
        tz="+0100" logid="0419016384" type="utm" subtype="ips" level="alert" severity="critical"
        srcip=192.0.2.9 srcport=40000 dstip=10.0.0.5 dstport=443 action="dropped" proto=6
        attack="Web.Server.Traversal" attackid=12345 user="N/A" hostname="shop.example" url="/..""#;
    let record = record.replace("\n       ", "");
    let (alert, notes) = alert(&reader, &record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    assert_eq!((alert.severity, alert.action), (Severity::Critical, Action::Denied));
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(443)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "devices"),
            (Field::Product, "syslog"),
            (Field::RuleUid, "12345"),
            (Field::Title, "Web.Server.Traversal"),
            (Field::Category, "ips"),
            (Field::SrcIp, "192.0.2.9"),
            (Field::DstIp, "10.0.0.5"),
            (Field::Protocol, "6"),
            (Field::Url, "/.."),
            (Field::RuleName, "Web.Server.Traversal"),
            (Field::UrlHost, "shop.example"),
        ],
    );
}

#[test]
fn an_interface_behind_a_port_is_no_part_of_the_address() {
    let reader = reader();
    let record = "<134>id=firewall sn=1 fw=192.0.2.1 pri=4 m=98 msg=\"Connection Opened\" \
        src=10.0.0.5:36701:X0 dst=192.0.2.9:50000:X1 proto=tcp/50000";
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.severity, Severity::Medium);
    assert_eq!((alert.src_port, alert.dst_port), (Some(36_701), Some(50_000)));
    assert_eq!(alert.text(Field::SrcIp), Some("10.0.0.5"));
    assert_eq!(alert.text(Field::DstIp), Some("192.0.2.9"));
    assert_eq!(alert.text(Field::Title), Some("Connection Opened"));
}

#[test]
fn pairs_that_a_program_writes_are_its_text() {
    let reader = reader();
    let record = "<130>Nov  2 09:12:33 gw app[7]: src=192.0.2.9 attack=none user=eve sev=1";
    let (alert, _) = alert(&reader, record);
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!((alert.text(Field::SrcIp), alert.text(Field::User)), (None, None));
}

#[test]
fn a_mark_of_ciscos_gives_rule_and_severity() {
    let reader = reader();
    for (record, product) in [
        ("Oct 10 2018 12:34:56 gw CiscoASA[9]: %ASA-4-106023: Deny tcp", "CiscoASA"),
        ("<190>Oct 10 2018 12:34:56: %ASA-4-106023: Deny tcp", "ASA"),
    ] {
        let (alert, _) = alert(&reader, record);
        assert_eq!(alert.severity, Severity::Medium, "{record}");
        assert_eq!(alert.text(Field::Product), Some(product), "{record}");
        assert_eq!(alert.text(Field::RuleUid), Some("106023"), "{record}");
        assert_eq!(alert.text(Field::Title), Some("Deny tcp"), "{record}");
    }
}

#[test]
fn a_process_has_its_own_number_and_no_others() {
    for (extension, process, pid) in [
        ("dproc=sshd dpid=7 sproc=curl spid=9", Some("sshd"), Some("7")),
        ("dproc=sshd spid=9", Some("sshd"), None),
        ("sproc=curl spid=9 deviceProcessName=auditd", Some("curl"), Some("9")),
        ("deviceProcessName=auditd dvcpid=3", Some("auditd"), Some("3")),
        ("spid=9", None, Some("9")),
    ] {
        let (record, reader) = (format!("CEF:0|A|P|1|7|n|5|{extension}"), reader());
        let (alert, _) = alert(&reader, &record);
        let found = (alert.text(Field::Process), alert.text(Field::ProcessId));
        assert_eq!(found, (process, pid), "{extension}");
    }
}

#[test]
fn an_event_in_cef_says_more_than_the_message_around_it() {
    let reader = reader();
    let record = r"<131>Nov  2 09:12:33 relay fw:CEF:0|Acme|Wall\|2|1.0|4711|Port \\ scan|8|
        rt=Nov 02 2026 09:12:33 UTC src=10.0.0.5 spt=40000 dst=192.0.2.7 dpt=22 proto=TCP
        act=blocked suser=- duser=eve smith request=https://a.example/?x=1&y\=2 cs1Label=a b
        cs1=c dvchost=fw-1";
    let record = record.replace("\n       ", "");
    let (alert, notes) = alert(&reader, &record);
    assert!(notes.is_empty());
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_000)));
    assert_eq!((alert.severity, alert.action), (Severity::High, Action::Denied));
    assert_eq!((alert.src_port, alert.dst_port), (Some(40_000), Some(22)));
    assert_texts(
        &alert,
        &[
            (Field::LogName, "devices"),
            (Field::Product, "Wall|2"),
            (Field::RuleUid, "4711"),
            (Field::Title, r"Port \ scan"),
            (Field::SrcIp, "10.0.0.5"),
            (Field::DstIp, "192.0.2.7"),
            (Field::Protocol, "tcp"),
            (Field::Url, "https://a.example/?x=1&y=2"),
            (Field::TargetUser, "eve smith"),
            (Field::RuleName, r"Port \ scan"),
        ],
    );
}

#[test]
fn an_event_without_endpoints_is_about_the_device_that_it_names() {
    let reader = reader();
    for (record, host) in [
        ("Nov  2 09:12:33 relay CEF: 0|A|P|1|7|n|Low|dvchost=box-1", "box-1"),
        ("Nov  2 09:12:33 relay CEF:1|A|P|1|7|n|Low|cat=x", "relay"),
    ] {
        let (alert, _) = alert(&reader, record);
        assert_eq!(alert.text(Field::DeviceHostname), Some(host), "{record}");
        assert_eq!(alert.severity, Severity::Low);
    }
}

#[test]
fn leefs_attributes_are_read_by_the_delimiter_that_it_names() {
    let reader = reader();
    for record in [
        "LEEF:1.0|Acme|EP|1|exec|sev=7\tsrc=10.0.0.5\tusrName=eve smith\tcat=a=b",
        "LEEF:2.0|Acme|EP|1|exec||sev=7\tsrc=10.0.0.5\tusrName=eve smith\tcat=a=b",
        "LEEF:2.0|Acme|EP|1|exec|^|sev=7^src=10.0.0.5^usrName=eve smith^cat=a=b",
        "LEEF:2.0|Acme|EP|1|exec|0x5E|sev=7^src=10.0.0.5^usrName=eve smith^cat=a=b",
        "LEEF:2.0|Acme|EP|1|exec|x5E|sev=7^src=10.0.0.5^usrName=eve smith^cat=a=b",
        "LEEF:1.0|Acme|EP|1|exec|sev=7 src=10.0.0.5 usrName=eve smith cat=a=b",
    ] {
        let (alert, notes) = alert(&reader, record);
        assert!(notes.is_empty(), "{record}");
        assert_eq!(alert.severity, Severity::High, "{record}");
        assert_texts(
            &alert,
            &[
                (Field::LogName, "devices"),
                (Field::Product, "EP"),
                (Field::RuleUid, "exec"),
                (Field::Title, "exec"),
                (Field::Category, "a=b"),
                (Field::SrcIp, "10.0.0.5"),
                (Field::User, "eve smith"),
            ],
        );
    }
}

#[test]
fn an_event_whose_header_ends_early_is_malformed_and_keeps_what_it_has() {
    let reader = reader();
    for record in ["gw CEF:0|Acme|Wall|1.0|4711|Port sc", "LEEF:1.0|Acme|Wall|1|4711"] {
        let (alert, why) = malformed(&reader, record.as_bytes());
        assert_eq!(why, Malformed::EventHeader, "{record}");
        assert_eq!(alert.text(Field::RuleUid), Some("4711"), "{record}");
    }
}

#[test]
fn severities_of_events_become_ocsfs() {
    let reader = reader();
    for (written, expected) in [
        ("0", Severity::Low),
        ("3", Severity::Low),
        ("4", Severity::Medium),
        ("6", Severity::Medium),
        ("7", Severity::High),
        ("8", Severity::High),
        ("9", Severity::Critical),
        ("10", Severity::Critical),
        ("Very-High", Severity::Critical),
        ("Unknown", Severity::Unknown),
        ("", Severity::Unknown),
        ("11", Severity::Unknown),
    ] {
        let record = format!("CEF:0|A|P|1|7|n|{written}|");
        let (alert, notes) = alert(&reader, &record);
        assert_eq!(alert.severity, expected, "{written}");
        assert_eq!(notes.contains(Notes::SEVERITY_UNKNOWN), written == "11", "{written}");
    }
}

#[test]
fn a_word_that_only_looks_like_an_events_name_begins_none() {
    let reader = reader();
    for record in ["see CEF: the format", "aCEF:0|A|P|1|7|n|5|", "LEEF:x|A|P|1|7|"] {
        let (alert, _) = alert(&reader, record);
        assert_eq!(alert.text(Field::RuleUid), None, "{record}");
    }
}

#[test]
fn a_time_without_a_year_says_when_where_the_zone_is_known() {
    let observed_at = Timestamp::from_ms(1_793_611_000_000); // 2026-11-02T09:16:40Z
    let time = |record: &str, offset| {
        let reader = reader().with_utc_offset(offset);
        match reader.normalise(record.as_bytes(), observed_at) {
            Outcome::Alert { alert, .. } => alert.time.map(Timestamp::as_ms),
            other => panic!("{other:?}"),
        }
    };
    let utc = "<35>Nov  2 09:12:33 gw sshd[7]: t";
    assert_eq!(time(utc, None), None);
    assert_eq!(time(utc, Some(0)), Some(1_793_610_753_000));
    assert_eq!(time("<35>Nov  2 10:12:33 gw sshd[7]: t", Some(60)), Some(1_793_610_753_000));
    let cisco = "<189>29: sw1: Nov  2 10:12:33 CET: %SEC-6-ACL: t";
    assert_eq!(time(cisco, None), Some(1_793_610_753_000));
}

#[test]
fn a_packet_that_linux_filters_names_its_ends_and_the_host_only_where_it_is_one() {
    let reader = reader();
    let packet = "SRC=192.0.2.9 DST=10.0.0.5 LEN=40 TTL=6 PROTO=TCP SPT=46388 DPT=22 SYN URGP=0";
    let read = |line: String| {
        let (alert, _) = alert(&reader, &line);
        let ends = [Field::SrcIp, Field::DstIp, Field::DeviceHostname, Field::Protocol];
        let ends = ends.map(|field| alert.text(field).unwrap_or_default().to_owned());
        (ends, alert.src_port, alert.dst_port)
    };
    let ports = (Some(46_388), Some(22));
    let expected =
        |host: &str| (["192.0.2.9", "10.0.0.5", host, "tcp"].map(str::to_owned), ports.0, ports.1);
    let head = "<4>Nov  2 09:12:33 gw kernel:";
    assert_eq!(read(format!("{head} [7.1] DROP IN=eth0 OUT= MAC=00:11 {packet}")), expected("gw"));
    assert_eq!(read(format!("{head} IN=eth0 OUT=eth1 {packet}")), expected(""));
    let unnamed = format!("<4>Nov  2 09:12:33 gw [WAN-D] DESCR=\"all\" IN=eth8 OUT= {packet}");
    assert_eq!(read(unnamed), expected("gw"));
    let another = format!("<4>Nov  2 09:12:33 gw web: login of IN=eth0 OUT= {packet}");
    assert_eq!(read(another), (["", "", "gw", ""].map(str::to_owned), None, None));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        head in r"(<[0-9]{1,3}>)?(Nov  2 09:12:33 gw )?(CEF|LEEF):[012](.0)?\|",
        rest in r"[ -~|é\\]{0,40}[|=\\é\t ]*.{0,60}",
    ) {
        drop(reader().normalise(format!("{head}{rest}").as_bytes(), NOW));
    }

    #[test]
    fn every_value_of_an_extension_comes_out_as_it_went_in(
        message in r"[a-z=|\\é ]{0,12}[a-z|\\é]",
        path in r"/[A-Za-z=|\\ ]{0,12}[a-z|\\]",
    ) {
        prop_assume!(!message.starts_with(' ') && message != "-");
        let escaped = |text: &str| text.replace('\\', r"\\").replace('=', r"\=");
        let (message_written, path_written) = (escaped(&message), escaped(&path));
        let record = format!("CEF:0|A|P|1|7|n|5|request={message_written} filePath={path_written}");
        let reader = reader();
        let (alert, _) = alert(&reader, &record);
        prop_assert_eq!(alert.text(Field::Url), Some(message.as_str()));
        prop_assert_eq!(alert.text(Field::FilePath), Some(path.as_str()));
    }
}

#[test]
fn every_real_message_gives_a_title() {
    let Some(lines) = real_lines("cef-syslog/lines.jsonl.gz") else { return };
    let reader = reader();
    let (mut events, mut hosts) = (0, 0);
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let record = line["line"].as_str().unwrap();
        let (alert, _) = alert(&reader, record);
        assert!(alert.text(Field::Title).is_some(), "{record}");
        if matches!(line["kind"].as_str(), Some("cef" | "leef")) {
            assert!(alert.text(Field::RuleUid).is_some(), "{record}");
            events += 1;
        }
        hosts += usize::from(alert.text(Field::DeviceHostname).is_some());
    }
    assert_eq!((lines.len(), events), (1_207, 23));
    assert!(hosts > 1_140, "{hosts}");
}
