use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::{
    ids::Epoch,
    ledger::{DropReason, Interval, SourceSums},
};

use super::super::fixture::{Fixture, START_MS, agent_id};
use crate::{command::ledger as commands, store::values::Role};

use super::*;

/// Stores `count` intervals of a minute of the agent, each with the sums that `change` made of empty ones.
async fn keep(fixture: &Fixture, tenant: &str, agent: u8, count: u64, change: fn(&mut SourceSums)) {
    let (tenant, agent) = (tenant.parse().unwrap(), AgentId::from_bytes([agent; 16]));
    let mut intervals: Vec<Interval> = Vec::new();
    for number in 1..=count {
        let previous = intervals.last().map(Interval::hash).unwrap_or_default();
        let at = |minute| Timestamp::from_ms(START_MS + 60_000 * minute);
        let (from, until) = (at(number - 1), at(number));
        let mut sources = ["eve", "wazuh"].map(SourceSums::of).to_vec();
        sources.iter_mut().for_each(change);
        intervals.push(Interval { number, previous, from, until, sources, ..Interval::default() });
    }
    for chunk in intervals.chunks(16) {
        let chunk = chunk.to_vec();
        let record = move |staged: &mut crate::store::engine::Staged<'_>, now| {
            commands::record(staged, tenant, agent, Epoch(7), &chunk, now)
        };
        fixture.write(record).await;
    }
}

fn quiet(sums: &mut SourceSums) {
    (sums.read, sums.skipped) = (10, 10);
}

fn lossy(sums: &mut SourceSums) {
    quiet(sums);
    (sums.read, sums.held) = (18, BTreeMap::from([("scan".to_owned(), 3)]));
    sums.dropped = BTreeMap::from([(DropReason::SocketBuffer, 4)]);
}

async fn house() -> Fixture {
    let fixture = Fixture::new();
    for (tenant, agent) in [("acme", 1), ("acme", 2), ("globex", 3)] {
        fixture.greet(tenant, agent, 1).await;
    }
    fixture
}

#[tokio::test]
async fn the_sums_of_a_tenants_sources_add_up_over_pages() {
    let fixture = house().await;
    keep(&fixture, "acme", 1, 40, quiet).await;
    keep(&fixture, "acme", 2, 40, quiet).await;
    keep(&fixture, "globex", 3, 5, quiet).await;
    let token = fixture.token(Role::Customer, &["acme"]).await;
    for limit in [1, 2, 3, 50] {
        let path = format!("/v1/tenants/acme/ledger?limit={limit}");
        let items = fixture.all(&path, &token).await;
        let read: u64 = items.iter().map(|item| item["read"].as_u64().unwrap()).sum();
        let intervals: u64 = items.iter().map(|item| item["intervals"].as_u64().unwrap()).sum();
        assert_eq!((read, intervals), (2 * 2 * 40 * 10, 2 * 2 * 40), "by {limit}");
    }
    let items = fixture.get("/v1/tenants/acme/ledger", &token).await.items();
    let names: Vec<_> = items.iter().map(|item| (&item["agent"], &item["source"])).collect();
    let [one, two] = [1, 2].map(|agent| json!(agent_id(agent)));
    let (eve, wazuh) = (json!("eve"), json!("wazuh"));
    assert_eq!(names, [(&one, &eve), (&one, &wazuh), (&two, &eve), (&two, &wazuh)]);
    assert_eq!((&items[0]["closes"], &items[0]["skipped"]), (&json!(true), &json!(400)));
    let (from, until) = (Time(Timestamp::from_ms(START_MS)), START_MS + 40 * 60_000);
    assert_eq!(items[0]["from"], from.to_string());
    assert_eq!(items[0]["until"], Time(Timestamp::from_ms(until)).to_string());
}

#[tokio::test]
async fn a_window_and_an_agent_narrow_what_is_shown() {
    let fixture = house().await;
    keep(&fixture, "acme", 1, 10, quiet).await;
    keep(&fixture, "acme", 2, 10, lossy).await;
    let token = fixture.token(Role::Analyst, &[]).await;
    let at = |minute: u64| Time(Timestamp::from_ms(START_MS + 60_000 * minute));
    let query = format!("agent={}&from={}&to={}", agent_id(2), at(3), at(6));
    let items = fixture.all(&format!("/v1/tenants/acme/ledger?{query}"), &token).await;
    assert_eq!((items.len(), &items[0]["intervals"]), (2, &json!(3)));
    assert_eq!(items[0]["held"], json!({ "scan": 9 }));
    assert_eq!((&items[0]["closes"], &items[0]["dropped"]), (&json!(false), &sockets(12)));
    let gaps = fixture.all(&format!("/v1/tenants/acme/ledger/gaps?{query}&limit=5"), &token).await;
    let kinds: Vec<_> =
        gaps.iter().map(|gap| (gap["kind"].clone(), gap["count"].clone())).collect();
    let of_interval = [(json!("unclosed"), json!(1)), (json!("socket_buffer"), json!(4))];
    assert_eq!(kinds.len(), 3 * 2 * 2);
    assert!(of_interval.iter().all(|gap| kinds.contains(gap)), "{kinds:?}");
    assert!(gaps.iter().all(|gap| gap["agent"] == agent_id(2)));
    let explained = |gap: &Value| gap["explained"] == json!(gap["kind"] == "socket_buffer");
    assert!(gaps.iter().all(explained), "{gaps:?}");
}

fn sockets(count: u64) -> Value {
    json!({ "socket_buffer": count })
}

#[tokio::test]
async fn nobody_sees_another_tenants_ledger() {
    let fixture = house().await;
    keep(&fixture, "acme", 1, 3, lossy).await;
    let admin = fixture.token(Role::Admin, &[]).await;
    for role in [Role::Customer, Role::Auditor, Role::Analyst, Role::Lead, Role::Admin] {
        let token = fixture.token(role, &["globex"]).await;
        for path in ["ledger", "ledger/gaps"] {
            let answer = fixture.get(&format!("/v1/tenants/acme/{path}"), &token).await;
            assert_eq!(answer.status, 404, "L5 {role:?}");
            let own = fixture.get(&format!("/v1/tenants/globex/{path}"), &token).await;
            assert!(own.items().is_empty(), "L5 {role:?}");
            let page =
                fixture.get(&format!("/v1/tenants/acme/{path}?limit=1"), &admin).await.json();
            let next = page["next"].as_str().unwrap();
            let other = format!("/v1/tenants/globex/{path}?limit=1&cursor={next}");
            assert_eq!(fixture.get(&other, &token).await.status, 400, "L5 {role:?}");
        }
    }
    assert_eq!(fixture.get("/v1/tenants/nobody/ledger", &admin).await.status, 404);
    assert_eq!(fixture.get("/v1/tenants/acme/ledger?agent=x", &admin).await.status, 400);
    assert_eq!(fixture.get("/v1/tenants/acme/ledger?from=x", &admin).await.status, 400);
}
