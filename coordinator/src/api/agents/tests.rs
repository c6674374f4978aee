use futures_util::FutureExt as _;
use serde_json::{Value, json};
use shared::{
    context::{HostContext, Interface, InterfaceAddress, Listener, LoggedIn, Route, Transport},
    wire::{AgentStats, Heartbeat},
};

use super::super::fixture::{Fixture, START_MS, agent_id};
use crate::{command::agents as commands, store::values::Role};

use super::*;

fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_role_sees_agents_of_its_tenants_and_of_no_other() {
    let fixture = Fixture::new();
    for (tenant, agent) in [("acme", 1), ("acme", 2), ("globex", 3)] {
        fixture.greet(tenant, agent, 1).await;
    }
    for role in [Role::Customer, Role::Auditor, Role::Analyst, Role::Lead, Role::Admin] {
        let token = fixture.token(role, &["acme"]).await;
        let items = fixture.all("/v1/agents?limit=1", &token).await;
        assert_eq!(texts(&items, "agent"), [agent_id(1), agent_id(2)], "{role:?}");
        for path in ["", "/contexts", "/gaps"] {
            let path = format!("/v1/agents/{}{path}", agent_id(3));
            assert_eq!(fixture.get(&path, &token).await.status, 404, "L5 {path}");
        }
        assert_eq!(fixture.get("/v1/agents?tenant=globex", &token).await.status, 404, "L5");
    }
    let all = fixture.token(Role::Admin, &[]).await;
    assert_eq!(fixture.all("/v1/agents?limit=2", &all).await.len(), 3);
    let globex = fixture.get("/v1/agents?tenant=globex", &all).await.items();
    assert_eq!(texts(&globex, "agent"), [agent_id(3)]);
    assert_eq!(fixture.get("/v1/agents", "none").await.status, 401);
    assert_eq!(fixture.get("/v1/agents/7", &all).await.status, 400);
    assert_eq!(fixture.get("/v1/agents?hostname=srv1", &all).await.status, 400);
}

#[tokio::test]
async fn a_cursor_of_one_tenants_agents_does_not_lead_into_anothers() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 1).await;
    fixture.greet("acme", 2, 1).await;
    let admin = fixture.token(Role::Admin, &[]).await;
    let page = fixture.get("/v1/agents?tenant=acme&limit=1", &admin).await.json();
    let next = page["next"].as_str().unwrap();
    let answer = fixture.get(&format!("/v1/agents?tenant=globex&cursor={next}"), &admin).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!("cursor")));
}

#[tokio::test]
async fn a_revoked_agent_shows_since_when_by_whom_and_why_and_the_first_time_stays() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 1).await;
    let lead = fixture.token(Role::Lead, &["acme"]).await;
    let path = format!("/v1/agents/{}", agent_id(1));
    let revoke = format!("{path}/revoke");
    assert_eq!(fixture.get(&path, &lead).await.json()["revoked"], Value::Null);
    for (body, status) in [
        (json!({"reason": " "}), 400),
        (json!({}), 400),
        (json!({"reason": "stolen", "tenant": "globex"}), 404),
    ] {
        assert_eq!(fixture.post(&revoke, &lead, &body).await.status, status, "{body}");
    }
    let mut heard = fixture.api.bells.revocations.listen();
    let first = fixture.post(&revoke, &lead, &json!({"reason": "stolen"})).await;
    assert_eq!(first.status, 200);
    assert!(heard.rung().now_or_never().is_some(), "sessions are told");
    let first = first.json();
    assert_eq!((&first["tenant"], &first["agent"]), (&json!("acme"), &json!(agent_id(1))));
    assert_eq!(first["revoked"]["reason"], "stolen");
    assert_eq!(first["revoked"]["by"]["kind"], "person");
    fixture.advance(1_000);
    let again = fixture.post(&revoke, &lead, &json!({"reason": "again"})).await.json();
    assert_eq!(again, first);
    assert_eq!(fixture.get(&path, &lead).await.json()["revoked"], first["revoked"]);
    let unseen = format!("/v1/agents/{}/revoke", agent_id(9));
    let body = json!({"reason": "image leaked"});
    assert_eq!(fixture.post(&unseen, &lead, &body).await.status, 404, "whose is it?");
    let body = json!({"reason": "image leaked", "tenant": "acme"});
    assert_eq!(fixture.post(&unseen, &lead, &body).await.status, 200, "it was never connected");
}

#[tokio::test]
async fn a_lead_revokes_nobody_elses_agent_and_does_not_learn_of_it() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 1).await;
    fixture.greet("globex", 2, 1).await;
    let lead = fixture.token(Role::Lead, &["acme"]).await;
    for (tenant, status) in [(None, 404), (Some("globex"), 404), (Some("acme"), 200)] {
        let mut said = Vec::new();
        for number in [2, 9] {
            let path = format!("/v1/agents/{}/revoke", agent_id(number));
            let body = json!({"reason": "not mine", "tenant": tenant});
            let answer = fixture.post(&path, &lead, &body).await;
            assert_eq!(answer.status, status, "{tenant:?} {number}");
            said.push(answer.text.replace(&agent_id(number), "it"));
        }
        assert_eq!(said[0], said[1], "L5: {tenant:?}");
    }
    let admin = fixture.token(Role::Admin, &[]).await;
    let path = format!("/v1/agents/{}", agent_id(2));
    let shown = fixture.get(&path, &admin).await.json();
    assert_eq!((&shown["tenant"], &shown["revoked"]), (&json!("globex"), &Value::Null), "L5");
}

#[tokio::test]
async fn an_agent_shows_its_lanes_its_lag_and_its_host() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 5).await;
    let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
    let token = fixture.token(Role::Customer, &["acme"]).await;
    let path = format!("/v1/agents/{}", agent_id(1));
    let before = fixture.get(&path, &token).await.json();
    assert_eq!((&before["hostname"], &before["context"]), (&Value::Null, &Value::Null));

    fixture.advance(10_000);
    let context = host();
    let version = ocsf::version(context.version());
    fixture
        .write(move |staged, now| {
            let beat = Heartbeat {
                sent_at: Timestamp::from_ms(now.as_ms() + 2_000),
                last: [None, Seq::new(7), None],
                stats: AgentStats {
                    records_read: 11,
                    oldest_unacked: Some(Timestamp::from_ms(now.as_ms() - 3_000)),
                    ..AgentStats::default()
                },
            };
            commands::heartbeat(staged, tenant, agent, &beat, now)?;
            commands::set_context(staged, tenant, agent, &context, now)
        })
        .await;
    fixture.advance(60_000);
    let shown = fixture.get(&path, &token).await.json();
    assert_eq!((&shown["tenant"], &shown["hostname"]), (&json!("acme"), &json!("srv1")));
    assert_eq!((&shown["silent_seconds"], &shown["lag_blocks"]), (&json!(60), &json!(3)));
    assert_eq!(shown["lag_seconds"], 65, "3 s when it was heard of, by a clock 2 s ahead, and 60");
    let normal = json!({ "spooled": 7, "committed": 4, "lag_blocks": 3, "alerts": 0 });
    assert_eq!(shown["lanes"]["normal"], normal);
    assert_eq!((&shown["epoch"], &shown["gaps"]), (&json!("0000000000000007"), &json!(1)));
    assert_eq!(shown["stats"]["records_read"], 11);
    assert_eq!(shown["context"], version.as_str());

    let contexts = fixture.get(&format!("{path}/contexts"), &token).await.items();
    assert_eq!(contexts[0]["version"], version.as_str());
    assert_eq!(contexts[0]["received_at"], Time(Timestamp::from_ms(START_MS + 10_000)).to_string());

    let gaps = fixture.get(&format!("{path}/gaps"), &token).await.items();
    assert_eq!(gaps.len(), 1, "L4");
    let gap = &gaps[0];
    assert_eq!((&gap["first"], &gap["last"], &gap["blocks"]), (&json!(1), &json!(4), &json!(4)));
    assert_eq!((&gap["lane"], &gap["reason"]), (&json!("normal"), &json!("missing")));
}

/// A host with something of each kind.
fn host() -> HostContext {
    let address = InterfaceAddress { ip: "10.0.0.1".parse().unwrap(), prefix_len: 24 };
    let eth0 = Interface { name: "eth0".into(), mac: String::new(), addresses: vec![address] };
    let route = Route {
        network: InterfaceAddress { ip: "0.0.0.0".parse().unwrap(), prefix_len: 0 },
        gateway: Some("10.0.0.254".parse().unwrap()),
        interface: "eth0".into(),
    };
    let listener = Listener {
        transport: Transport::Tcp,
        ip: "::".parse().unwrap(),
        port: 22,
        user: "root".into(),
        process: String::new(),
        pid: 0,
    };
    let user = LoggedIn {
        user: "eve".into(),
        terminal: "pts/0".into(),
        from: String::new(),
        since: Some(Timestamp::from_ms(START_MS)),
    };
    HostContext {
        hostname: "srv1".into(),
        interfaces: vec![eth0],
        routes: vec![route],
        listeners: vec![listener],
        users: vec![user],
        ..HostContext::default()
    }
}

#[tokio::test]
async fn a_context_says_what_the_host_is_and_when_that_was_confirmed() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 5).await;
    let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
    let token = fixture.token(Role::Customer, &["acme"]).await;
    let path = format!("/v1/agents/{}", agent_id(1));
    fixture
        .write(move |staged, now| commands::set_context(staged, tenant, agent, &host(), now))
        .await;
    let contexts = fixture.get(&format!("{path}/contexts"), &token).await.items();
    assert_eq!(contexts[0]["confirmed_at"], Value::Null);
    let shown = &contexts[0]["context"];
    let interface = json!({ "name": "eth0", "mac": null, "addresses": ["10.0.0.1/24"] });
    assert_eq!(shown["interfaces"], json!([interface]));
    let route = json!({ "network": "0.0.0.0/0", "gateway": "10.0.0.254", "interface": "eth0" });
    assert_eq!(shown["routes"], json!([route]));
    let listener = json!({
        "transport": "tcp", "ip": "::", "port": 22, "user": "root", "process": null, "pid": null
    });
    assert_eq!(shown["listeners"], json!([listener]));
    let since = Time(Timestamp::from_ms(START_MS)).to_string();
    let user = json!({ "user": "eve", "terminal": "pts/0", "from": null, "since": since });
    assert_eq!((&shown["users"], &shown["looked_at"]), (&json!([user]), &Value::Null));
    fixture.advance(60_000);
    fixture
        .write(move |staged, now| commands::set_context(staged, tenant, agent, &host(), now))
        .await;
    let contexts = fixture.get(&format!("{path}/contexts"), &token).await.items();
    let confirmed_at = Time(Timestamp::from_ms(START_MS + 60_000)).to_string();
    assert_eq!((contexts.len(), &contexts[0]["confirmed_at"]), (1, &json!(confirmed_at)));
}

#[tokio::test]
async fn contexts_and_gaps_are_followed_to_their_end_without_repetition() {
    let fixture = Fixture::new();
    let (tenant, agent) = ("acme".parse().unwrap(), AgentId::from_bytes([1; 16]));
    for n in 0..5 {
        // Each greeting begins three blocks further on, so each records a gap of two or more.
        fixture.greet("acme", 1, 4 + n * 3).await;
        fixture.advance(1_000);
        let context = HostContext { hostname: format!("srv{n}"), ..HostContext::default() };
        fixture
            .write(move |staged, now| commands::set_context(staged, tenant, agent, &context, now))
            .await;
    }
    let token = fixture.token(Role::Analyst, &[]).await;
    for limit in 1..=6 {
        let path = format!("/v1/agents/{}/contexts?limit={limit}", agent_id(1));
        let contexts = fixture.all(&path, &token).await;
        let names: Vec<_> = contexts.iter().map(|item| &item["context"]["hostname"]).collect();
        assert_eq!(names, ["srv4", "srv3", "srv2", "srv1", "srv0"], "by {limit}");
        let path = format!("/v1/agents/{}/gaps?limit={limit}", agent_id(1));
        let gaps = fixture.all(&path, &token).await;
        let firsts: Vec<_> = gaps.iter().map(|gap| gap["first"].clone()).collect();
        assert_eq!(firsts, [1, 4, 7, 10, 13], "by {limit}");
    }
}
