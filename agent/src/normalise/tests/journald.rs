use super::*;

fn of(record: &str) -> Alert<'_> {
    static NORMALISER: std::sync::OnceLock<Normaliser> = std::sync::OnceLock::new();
    let kind = Kind::of_product("journald").unwrap();
    let normaliser = NORMALISER.get_or_init(|| Normaliser::new(kind, "journal"));
    match normaliser.normalise(record.as_bytes(), NOW) {
        Outcome::Alert { alert, .. } => alert,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_gives_message_unit_process_and_severity() {
    let alert = of(concat!(
        r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1793610753123456","PRIORITY":"3","#,
        r#""SYSLOG_IDENTIFIER":"sshd","_HOSTNAME":"gw1","_EXE":"/usr/sbin/sshd","#,
        r#""_UID":"0","_PID":"812","#,
        r#""_CMDLINE":"sshd: root [priv]","_TRANSPORT":"syslog","MESSAGE":"Failed password"}"#
    ));
    assert_eq!(alert.severity, Severity::High);
    assert_eq!(alert.time, Some(Timestamp::from_ms(1_793_610_753_123)));
    for (field, text) in [
        (Field::Title, "Failed password"),
        (Field::Product, "sshd"),
        (Field::DeviceHostname, "gw1"),
        (Field::Process, "/usr/sbin/sshd"),
        (Field::CommandLine, "sshd: root [priv]"),
        (Field::UserUid, "0"),
        (Field::ProcessId, "812"),
    ] {
        assert_eq!(alert.text(field), Some(text));
    }
}

#[test]
fn a_message_that_is_written_as_bytes_is_left_to_the_record() {
    let alert = of(r#"{"__CURSOR":"s=1","MESSAGE":[255,254],"_AUDIT_LOGINUID":"4294967295"}"#);
    assert_eq!((alert.text(Field::Title), alert.text(Field::UserUid)), (None, None));
    assert_eq!(alert.text(Field::User), None, "a number is no name");
    assert_eq!(alert.severity, Severity::Unknown);
}
