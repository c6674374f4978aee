use serde_json::value::RawValue;

use super::*;

fn reader() -> Normaliser {
    Normaliser::new(Kind::of_product("windows_event").unwrap(), "dc1")
}

const JSON: &str = r##"{"Event":{"#attributes":{"xmlns":"x"},"System":{
    "Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},
    "EventID":{"#attributes":{"Qualifiers":0},"#text":4625},"Level":0,
    "Keywords":"0x8010000000000000","Channel":"Security","Computer":"dc1.acme.example",
    "TimeCreated":{"#attributes":{"SystemTime":"2026-11-02T09:12:33.123456Z"}}},
    "EventData":{"SubjectUserName":"-","TargetUserName":"ad\u006din","IpAddress":"::ffff:10.0.0.5",
    "IpPort":"50123","WorkstationName":"WS7","ProcessName":"-"}}}"##;

const XML: &str = "<?xml version=\"1.0\"?><Event xmlns='x'><System>\
    <Provider Name='Microsoft-Windows-Security-Auditing' Guid='{5}'/>\
    <EventID Qualifiers=\"0\">4625</EventID><Level>0</Level>\
    <Keywords>0x8010000000000000</Keywords><Channel>Security</Channel>\
    <Computer>dc1.acme.example</Computer>\
    <TimeCreated SystemTime='2026-11-02T09:12:33.123456Z'/></System><EventData>\
    <Data Name='SubjectUserName'>-</Data><!-- <Data> --><Data Name='TargetUserName'>\
    ad&#109;in</Data><Data Name=\"IpAddress\">::ffff:10.0.0.5</Data>\
    <Data Name='IpPort'>50123</Data><Data Name='WorkstationName'><![CDATA[WS7]]></Data>\
    <Data Name='ProcessName'></Data><Data>unnamed</Data></EventData></Event>";

#[test]
fn an_event_says_the_same_in_json_and_in_xml() {
    for record in [JSON, XML] {
        let reader = reader();
        let (alert, notes) = alert(&reader, record);
        assert!(notes.is_empty());
        assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
        assert_eq!((alert.severity, alert.src_port), (Severity::Low, Some(50_123)));
        assert_texts(
            &alert,
            &[
                (Field::LogName, "dc1"),
                (Field::Product, "windows"),
                (Field::RuleUid, "4625"),
                (Field::Title, "failed logon"),
                (Field::Category, "Microsoft-Windows-Security-Auditing"),
                (Field::DeviceHostname, "dc1.acme.example"),
                (Field::SrcIp, "10.0.0.5"),
                (Field::SrcHostname, "WS7"),
                (Field::TargetUser, "admin"),
            ],
        );
    }
}

#[test]
fn an_event_says_who_made_the_process_and_what_was_done_about_a_connection() {
    let reader = reader();
    let text = r#"{"Event":{"System":{"EventID":4688,"Channel":"Security"},"EventData":{
        "NewProcessId":"0x1a2c","ProcessId":"0x32c","NewProcessName":"C:\\cmd.exe",
        "SubjectUserSid":"S-1-5-18","SubjectUserName":"WS7$","SubjectDomainName":"ACME",
        "TargetUserName":"ada","TargetDomainName":"ACME"}}}"#;
    let (started, _) = alert(&reader, text);
    for (field, expected) in [
        (Field::ProcessId, "6700"),
        (Field::ParentProcessId, "812"),
        (Field::UserDomain, "ACME"),
        (Field::UserUid, "S-1-5-18"),
        (Field::TargetUserDomain, "ACME"),
    ] {
        assert_eq!(started.text(field), Some(expected), "{field:?}");
    }
    assert_eq!(started.action, Action::Unknown);
    // Nobody's SID is nobody, a domain alone names nobody, and who wrote the event is not who acted.
    let text = r##"{"Event":{"System":{"EventID":4625,"Channel":"Security",
        "Security":{"#attributes":{"UserID":"S-1-5-18"}}},"EventData":{"SubjectUserSid":"S-1-0-0",
        "SubjectUserName":"-","SubjectDomainName":"ACME","TargetUserSid":"S-1-0-0",
        "TargetUserName":"admin","TargetDomainName":"ACME"}}}"##;
    let (failed, _) = alert(&reader, text);
    for field in [Field::User, Field::UserUid, Field::UserDomain, Field::TargetUserUid] {
        assert_eq!(failed.text(field), None, "{field:?}");
    }
    assert_eq!(failed.text(Field::TargetUserDomain), Some("ACME"));
    for (number, action) in [(5156, Action::Allowed), (5157, Action::Denied)] {
        let text = format!(
            r#"{{"Event":{{"System":{{"EventID":{number},"Channel":"Security"}},
            "EventData":{{"ProcessID":"1"}}}}}}"#
        );
        assert_eq!(alert(&reader, &text).0.action, action, "{number}");
    }
}

#[test]
fn what_no_one_has_words_for_is_named_by_channel_and_number() {
    let reader = reader();
    let text = r#"{"Event":{"System":{"EventID":7,"Channel":"Acme/Operational","Level":3}}}"#;
    let (plain, _) = alert(&reader, text);
    assert_eq!(plain.text(Field::Title), Some("Acme/Operational event 7"));
    assert_eq!(plain.severity, Severity::Medium);
    let text = r#"{"winlog":{"event_id":"7","channel":"Acme"},"message":"It broke.\nTwice.",
        "log":{"level":"error"}}"#;
    let (rendered, _) = alert(&reader, text);
    assert_eq!(rendered.text(Field::Title), Some("It broke."));
    assert_eq!(rendered.severity, Severity::High);
}

#[test]
fn a_record_that_is_no_event_or_no_whole_one_says_so() {
    let reader = reader();
    let why = |record: &str| match reader.normalise(record.as_bytes(), NOW) {
        Outcome::Malformed { why, .. } => why,
        other => panic!("{record}: {other:?}"),
    };
    assert_eq!(why("{\"a\":1}"), Malformed::Untyped);
    assert_eq!(why("<a/>"), Malformed::XmlNoEvent);
    assert_eq!(why(&XML[..XML.len() - 3]), Malformed::XmlEndsEarly);
    assert_eq!(why("<Event><System>"), Malformed::XmlEndsEarly);
    assert_eq!(why("<Event></System>"), Malformed::XmlSyntax { at: 8 });
    assert_eq!(why("<!DOCTYPE x [<!ENTITY a 'b'>]><Event/>"), Malformed::XmlSyntax { at: 1 });
    assert_eq!(why(&"<a>".repeat(100)), Malformed::XmlSyntax { at: 49 });
    assert_eq!(why("  <Data Name='a'>b</Data>"), Malformed::XmlNoEvent);
    assert_eq!(why("</System>"), Malformed::XmlSyntax { at: 1 });
    assert_eq!(why("text"), Malformed::NeitherJsonNorXml);
}

#[test]
fn of_two_events_in_one_message_the_first_is_read_and_the_record_says_that_there_is_more() {
    let reader = reader();
    let record = format!("{XML}<Event/>");
    let Outcome::Malformed { alert, why } = reader.normalise(record.as_bytes(), NOW) else {
        panic!("there are two events");
    };
    assert_eq!(why, Malformed::XmlGoesOn { at: XML.len() + 1 });
    assert!(why.title().contains("XML") && why.to_string().contains("only the first is read"));
    assert_eq!(alert.text(Field::RuleUid), Some("4625"));
}

#[test]
fn what_stands_around_events_in_xml_is_no_alert() {
    let reader = reader();
    for record in [
        "<?xml version='1.0' encoding='utf-8'?>",
        "<?xml version=\"1.0\"?><Events>",
        "<Events xmlns='x'>",
        "</Events>\r",
        "<!-- 7 events -->",
    ] {
        let outcome = reader.normalise(record.as_bytes(), NOW);
        assert_eq!(outcome, Outcome::Skip(SkipReason::NotAnAlert), "{record}");
    }
    for record in ["<Events", "<Events>a", "<EventsX>", "<!-- x"] {
        let outcome = reader.normalise(record.as_bytes(), NOW);
        assert!(matches!(outcome, Outcome::Malformed { .. }), "{record}");
    }
}

proptest::proptest! {
    #[test]
    fn no_xml_panics(text in "[<>/!\\[\\]a-c='\" &;#-]{0,60}") {
        let _outcome = reader().normalise(format!("<{text}").as_bytes(), NOW);
    }
}

#[test]
fn every_real_event_gives_title_number_time_and_host() {
    #[derive(serde::Deserialize)]
    struct Row<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    let Some(lines) = real_lines("evtx/hayabusa_sample_events.dev.jsonl.gz") else { return };
    let reader = reader();
    let mut events = 0;
    for line in lines {
        let row: Row<'_> = serde_json::from_str(&line).unwrap();
        let (alert, _) = alert(&reader, row.event.get());
        for field in [Field::Title, Field::RuleUid, Field::DeviceHostname] {
            assert!(alert.text(field).is_some(), "{field:?}: {line}");
        }
        assert!(alert.time.is_some(), "{line}");
        events += 1;
    }
    println!("{events} Windows events");
}
