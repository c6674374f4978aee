use serde_json::{Value, json};
use shared::{
    alert::Alert,
    block::BlockBuilder,
    recall::{Evicted, RecallEnd, RecallOutcome},
};

use super::super::fixture::{Fixture, agent_id};
use super::*;
use crate::store::values::Role;

/// Makes a recall as if ann had asked for it, and returns its id.
async fn asked(fixture: &Fixture, tenant: &str) -> RecallId {
    let ask = commands::Ask {
        tenant: tenant.parse().unwrap(),
        agent: None,
        rule: "dns-noise".into(),
        since: Timestamp::ZERO,
        until: Timestamp::MAX,
        bytes_max: 1 << 20,
    };
    let actor = values::Actor::Person("ann".into());
    fixture.write(move |staged, now| commands::ask(staged, ask, &actor, now)).await.0
}

/// Has an agent answer with these records, of which it has evicted seven more.
async fn answer(fixture: &Fixture, agent: u8, id: RecallId, records: &[&'static [u8]]) {
    let peer = ("acme".parse().unwrap(), AgentId::from_bytes([agent; 16]));
    let mut builder = BlockBuilder::new();
    for record in records {
        let mut alert = Alert::default();
        alert.observed_at = fixture.api.clock.now();
        alert.set(Field::PolicyRule, "dns-noise");
        alert.set(Field::Title, "query");
        builder.push(&alert, record).unwrap();
    }
    let block = builder.finish(1);
    let (bytes, count) = (block.len() as u64, u16::try_from(records.len()).unwrap());
    fixture.write(move |staged, now| commands::begin(staged, peer, id, now)).await;
    fixture.write(move |staged, now| commands::store(staged, peer, id, (block, count), now)).await;
    let at = Timestamp::from_ms(1_000);
    let evicted = Some(Evicted { count: 7, from: at, until: at, evicted_at: at });
    let end = RecallEnd {
        records: u64::from(count),
        bytes,
        evicted,
        ..RecallEnd::empty(id, RecallOutcome::Answered)
    };
    fixture.write(move |staged, now| commands::finish(staged, peer, &end, now)).await;
}

#[tokio::test]
async fn what_agents_answered_is_shown_with_its_tombstone_and_its_records_with_their_digests() {
    let fixture = Fixture::new();
    for agent in [1, 2] {
        fixture.greet("acme", agent, 1).await;
    }
    let token = fixture.token(Role::Customer, &["acme"]).await;
    let id = asked(&fixture, "acme").await;
    let path = format!("/v1/recalls/{id}");
    let before = fixture.get(&path, &token).await.json();
    assert_eq!(before["answers"][0]["state"], "waiting");
    assert_eq!(before["recall"]["asked_by"], json!({"kind": "person", "name": "ann"}));

    answer(&fixture, 1, id, &[b"one", b"t\xffo", b"three"]).await;
    let shown = fixture.get(&path, &token).await.json();
    let recall = &shown["recall"];
    assert_eq!((&recall["agents"], &recall["answered"]), (&json!(2), &json!(1)));
    assert_eq!((&recall["records"], &recall["evicted"]), (&json!(3), &json!(7)));
    assert_eq!((&recall["is_finished"], &recall["is_complete"]), (&json!(false), &json!(false)));
    let first = &shown["answers"][0];
    assert_eq!((&first["agent"], &first["state"]), (&json!(agent_id(1)), &json!("answered")));
    assert_eq!(first["evicted"]["evicted_at"], "1970-01-01T00:00:01.000Z");

    for limit in 1..=4 {
        let path = format!("{path}/records?limit={limit}");
        let records = fixture.all(&path, &token).await;
        let texts: Vec<&str> = records.iter().map(|r| r["record"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one", "t\u{fffd}o", "three"], "by {limit}");
        let digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(records[0]["sha256"], digest);
        assert_eq!(records[1]["record_base64"], "dP9v");
        assert_eq!(records[0]["record_base64"], Value::Null);
        assert_eq!(
            (&records[0]["rule"], &records[0]["title"]),
            (&json!("dns-noise"), &json!("query"))
        );
    }
    let other = format!("{path}/records?agent={}", agent_id(2));
    assert!(fixture.get(&other, &token).await.items().is_empty());

    fixture.advance(4 * 24 * 60 * 60 * 1_000);
    let token = fixture.token(Role::Lead, &["acme"]).await;
    let late = fixture.get(&path, &token).await.json();
    assert_eq!(late["answers"][1]["state"], "expired");
    assert_eq!(late["recall"]["is_finished"], true);
}

#[tokio::test]
async fn a_recall_is_finished_when_its_last_agent_was_given_up() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 1).await;
    let token = fixture.token(Role::Lead, &["acme"]).await;
    let id = asked(&fixture, "acme").await;
    let path = format!("/v1/recalls/{id}");
    let peer = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
    for _ in 0..RECALL_ATTEMPTS_MAX {
        let shown = fixture.get(&path, &token).await.json();
        assert_eq!(shown["recall"]["is_finished"], false);
        fixture.write(move |staged, now| commands::begin(staged, peer, id, now)).await;
        fixture.advance(1_000);
    }
    let last = fixture.get(&path, &token).await.json();
    assert_eq!(last["answers"][0]["state"], "answering", "the last attempt may succeed");
    fixture.advance(5 * 60 * 1_000);
    let shown = fixture.get(&path, &token).await.json();
    assert_eq!(shown["answers"][0]["state"], "given_up");
    let recall = &shown["recall"];
    assert_eq!((&recall["is_finished"], &recall["is_complete"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn recalls_are_listed_newest_first_and_no_other_tenants_are_seen() {
    let fixture = Fixture::new();
    for (tenant, agent) in [("acme", 1), ("globex", 2)] {
        fixture.greet(tenant, agent, 1).await;
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        fixture.advance(1_000);
        ids.push(asked(&fixture, "acme").await.to_string());
    }
    let foreign = asked(&fixture, "globex").await;
    let token = fixture.token(Role::Analyst, &["acme"]).await;
    ids.reverse();
    for limit in [1, 2, 5, 9] {
        let items = fixture.all(&format!("/v1/recalls?tenant=acme&limit={limit}"), &token).await;
        let listed: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(listed, ids, "by {limit}");
    }
    for path in ["", "/records"] {
        let path = format!("/v1/recalls/{foreign}{path}");
        assert_eq!(fixture.get(&path, &token).await.status, 404, "L5 {path}");
    }
    assert_eq!(fixture.get("/v1/recalls?tenant=globex", &token).await.status, 404, "L5");
    assert_eq!(fixture.get("/v1/recalls", &token).await.status, 400, "it names a tenant");
    assert_eq!(fixture.get("/v1/recalls/7", &token).await.status, 400);
}
