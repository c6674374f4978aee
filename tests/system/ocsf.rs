//! Whatever an alert says is given out as a finding that is valid by OCSF's own schema, where that is at hand.

use coordinator::{
    api::ocsf::finding,
    store::{
        reader::alerts::{AlertPlace, Found},
        schema::BlockPlace,
    },
};
use shared::{
    alert::{Action, Alert, Field, Handling, Severity},
    context::ContextVersion,
    ids::{AgentId, Epoch, Lane, Seq, StreamId},
    time::Timestamp,
};
use tests::{edge, ocsf_schema::Schema};

#[test]
fn whatever_an_alert_says_is_a_valid_finding() {
    let Some(schema) = edge::schema().unwrap() else {
        println!("skipped: OCSF's schema is not at hand");
        return;
    };
    let mut all = alert();
    for field in Field::ALL {
        let mut one = alert();
        one.set(field, text(field));
        assert_valid(&schema, one);
        all.set(field, text(field));
    }
    all.src_port = Some(0);
    all.dst_port = Some(u16::MAX);
    all.context = ContextVersion(7);
    all.count = u64::from(u32::MAX) + 1;
    assert_valid(&schema, alert());
    let changed = |change: &dyn Fn(&mut Alert<'static>)| {
        let mut alert = all.clone();
        change(&mut alert);
        assert_valid(&schema, alert);
    };
    for severity in Severity::ALL {
        changed(&|alert| alert.severity = severity);
    }
    for action in [Action::Unknown, Action::Allowed, Action::Denied] {
        changed(&|alert| alert.action = action);
    }
    for handling in Handling::ALL {
        changed(&|alert| alert.handling = handling);
    }
    for (src_port, dst_port) in [(Some(1), None), (None, Some(1))] {
        let mut alert = alert();
        (alert.src_port, alert.dst_port) = (src_port, dst_port);
        assert_valid(&schema, alert);
    }
}

/// An alert of a product that says nothing. Every alert names its product: the agent sets it.
fn alert() -> Alert<'static> {
    let mut alert = Alert::default();
    alert.observed_at = Timestamp::from_ms(20);
    alert.set(Field::Product, "product");
    alert
}

fn text(field: Field) -> &'static str {
    match field {
        Field::SrcIp | Field::DeviceIp => "10.0.0.5",
        Field::DstIp => "2001:db8::5",
        Field::Techniques => "T1059.001,T1110",
        Field::FileHash => "d41d8cd98f00b204e9800998ecf8427e",
        Field::FilePath => r"C:\Temp\a.exe",
        Field::ProcessId | Field::ParentProcessId => "812",
        Field::Tactics => "TA0002,TA0006",
        Field::RegistryKey => r"HKLM\Software\Run",
        Field::Attribution => r#"{"process":{"pid":7}}"#,
        _ => "some text",
    }
}

fn assert_valid(schema: &Schema, alert: Alert<'static>) {
    let agent = AgentId::from_bytes([1; 16]);
    let stream = StreamId { agent, epoch: Epoch(1), lane: Lane::Normal };
    let seq = Seq::new(1).unwrap();
    let block = BlockPlace { received_at: Timestamp::from_ms(30), stream, seq };
    let found = Found { place: AlertPlace { block, position: 0 }, alert, record: None };
    let finding = finding("acme".parse().unwrap(), &found);
    let problems = schema.problems(&finding);
    assert!(problems.is_empty(), "{problems:#?}\n{finding:#}");
}
