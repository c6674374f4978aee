use std::time::Duration;

use certs::PolicyKey;
use serde_json::{Value, json};
use shared::policy::{Policy, PolicyAck, PolicyLimits, PolicyRefusal};

use super::super::fixture::{Fixture, agent_id};
use super::*;
use crate::store::values::Role;

/// A fixture that trusts a key.
struct House {
    fixture: Fixture,
    key: PolicyKey,
}

impl House {
    async fn new(agents: u8) -> Self {
        let key = PolicyKey::generate().unwrap();
        let fixture = Fixture::new().with_policy_keys(&[key.public_key()]);
        for agent in 1..=agents {
            fixture.greet("acme", agent, 1).await;
        }
        Self { fixture, key }
    }

    fn envelope(&self, tenant: &str, version: u64, text: &str) -> String {
        let now = self.fixture.api.clock.now();
        let policy = Policy {
            tenant: tenant.parse().unwrap(),
            version,
            not_before: now,
            expires_at: now.saturating_add(Duration::from_secs(86_400)),
            text: text.to_owned(),
            limits: PolicyLimits { cpu_percent: Some(30) },
            coordinators: vec!["box2.example:4433".into()],
        };
        STANDARD.encode(self.key.sign(&policy).unwrap())
    }

    async fn push(&self, token: &str, version: u64, more: Value) -> super::super::fixture::Answer {
        let envelope = self.envelope("acme", version, &format!("text of {version}"));
        let mut body = json!({ "envelope": envelope });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.fixture.post("/v1/tenants/acme/policies", token, &body).await
    }

    async fn says(&self, agent: u8, ack: PolicyAck) {
        let tenant = "acme".parse().unwrap();
        let key = AgentKey { tenant, agent: AgentId::from_bytes([agent; 16]) };
        let keys = [self.key.public_key()];
        let says = move |staged: &mut crate::store::engine::Staged<'_>, now| {
            let rollout = staged.load(&RolloutKey(tenant))?.unwrap();
            commands::offer(staged, key, None, commands::Terms { keys: &keys, now })?;
            commands::acknowledge(staged, key, ack.about(rollout.digest), now)
        };
        self.fixture.write(says).await;
    }
}

#[tokio::test]
async fn a_policy_is_pushed_advanced_halted_and_shown_with_who_did_it() {
    let house = House::new(20).await;
    let (fixture, lead) = (&house.fixture, house.fixture.token(Role::Lead, &[]).await);
    let pushed = house.push(&lead, 3, json!({})).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.text);
    let rollout = pushed.json();
    assert_eq!((&rollout["stage"], &rollout["state"]), (&json!(1), &json!("running")));
    assert_eq!(rollout["counts"]["in_stage"], 1);
    assert_eq!(rollout["counts"]["waiting"], 1);

    let early = fixture.post("/v1/tenants/acme/rollout/advance", &lead, &json!({})).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "nobody has answered");
    let detail = early.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("signalbox policy advance acme --anyway"), "{detail}");
    let anyway = json!({ "anyway": true });
    let advanced = fixture.post("/v1/tenants/acme/rollout/advance", &lead, &anyway).await;
    assert_eq!(advanced.status, StatusCode::OK, "{}", advanced.text);
    assert_eq!(advanced.json()["is_meant"], false, "it is watched as before");
    assert_eq!(advanced.json()["counts"]["in_stage"], 2, "{}", advanced.text);
    let body = json!({ "reason": "too much" });
    let halted = fixture.post("/v1/tenants/acme/rollout/halt", &lead, &body).await.json();
    assert_eq!(halted["state"], "halted");
    assert_eq!(halted["halted"]["reason"], "too much");
    assert_eq!(halted["halted"]["by"], json!({ "kind": "person", "name": "ann" }));
    let next = halted["halted"]["next_step"].as_str().unwrap();
    assert!(next.contains("signalbox policy advance acme --meant"), "{next}");
    let refused = fixture.post("/v1/tenants/acme/rollout/advance", &lead, &json!({})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let meant = json!({ "is_meant": true });
    let all = fixture.post("/v1/tenants/acme/rollout/advance", &lead, &meant).await.json();
    assert_eq!((&all["stage"], &all["is_meant"]), (&json!(100), &json!(true)));

    let customer = fixture.token(Role::Customer, &["acme"]).await;
    let shown = fixture.get("/v1/tenants/acme/policy", &customer).await.json();
    assert_eq!((&shown["version"], &shown["text"]), (&json!(3), &json!("text of 3")));
    assert_eq!(shown["pushed_by"], json!({ "kind": "person", "name": "ann" }));
    assert_eq!(shown["key"], house.key.public_key().id().to_string());
    assert_eq!(
        (&shown["cpu_percent"], &shown["coordinators"][0]),
        (&json!(30), &json!("box2.example:4433"))
    );
    let kinds: Vec<Value> = fixture
        .all("/v1/journal?tenant=acme", &lead)
        .await
        .into_iter()
        .map(|entry| entry["event"]["kind"].clone())
        .filter(|kind| kind.as_str().unwrap().starts_with("policy"))
        .collect();
    let expected = ["policy_advanced", "policy_halted", "policy_advanced", "policy_pushed"];
    assert_eq!(kinds, expected.map(|kind| json!(kind)));
}

#[tokio::test]
async fn versions_are_listed_the_newest_first_and_taken_back_by_their_content() {
    let house = House::new(1).await;
    let (fixture, lead) = (&house.fixture, house.fixture.token(Role::Lead, &[]).await);
    for version in 1..=4 {
        house.push(&lead, version, json!({ "stage": 100 })).await;
    }
    let listed = fixture.all("/v1/tenants/acme/policies?limit=1", &lead).await;
    let versions: Vec<_> = listed.iter().map(|item| item["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [4, 3, 2, 1]);
    assert!(listed.iter().all(|item| item.get("text").is_none()));
    let envelope = house.envelope("acme", 5, "text of 3");
    let body = json!({ "envelope": envelope, "stage": 100, "copy_of": 3 });
    let back = fixture.post("/v1/tenants/acme/policies", &lead, &body).await;
    assert_eq!(back.status, StatusCode::CREATED, "{}", back.text);
    let shown = fixture.get("/v1/tenants/acme/policy?version=5", &lead).await.json();
    assert_eq!((&shown["copy_of"], &shown["text"]), (&json!(3), &json!("text of 3")));
    assert_eq!(shown["envelope"], envelope, "as it was signed");
    assert!(listed.iter().all(|item| item.get("envelope").is_none()));
    let none = fixture.get("/v1/tenants/acme/policy?version=9", &lead).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_agents_would_refuse_is_refused_by_name() {
    let house = House::new(1).await;
    let lead = house.fixture.token(Role::Lead, &[]).await;
    house.push(&lead, 3, json!({})).await;
    let refused = |body: Value| {
        let (fixture, lead) = (&house.fixture, &lead);
        async move {
            let answer = fixture.post("/v1/tenants/acme/policies", lead, &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
            let problem = answer.json();
            (problem["field"].clone(), problem["detail"].as_str().unwrap().to_owned())
        }
    };
    let (field, detail) = refused(json!({ "envelope": house.envelope("acme", 3, "x") })).await;
    assert!(field == "version" && detail.contains("above 3"), "{detail}");
    let (field, detail) = refused(json!({ "envelope": house.envelope("globex", 4, "x") })).await;
    assert!(field == "envelope" && detail.contains("another tenant's"), "{detail}");
    let (field, _) = refused(json!({ "envelope": "no base64!" })).await;
    assert_eq!(field, "envelope");
    let envelope = house.envelope("acme", 4, "x");
    let (field, _) = refused(json!({ "envelope": envelope, "stage": 50 })).await;
    assert_eq!(field, "stage");
}

#[tokio::test]
async fn each_agent_is_shown_with_what_it_has_and_what_it_refuses() {
    let house = House::new(3).await;
    let (fixture, lead) = (&house.fixture, house.fixture.token(Role::Lead, &[]).await);
    let before = fixture.all("/v1/tenants/acme/rollout/agents?limit=2", &lead).await;
    assert_eq!(before.len(), 3);
    assert_eq!(before[0]["outcome"], "unheard");
    house.push(&lead, 3, json!({ "stage": 100 })).await;
    house
        .says(1, PolicyAck { version: 3, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() })
        .await;
    house.says(2, PolicyAck::refused(3, PolicyRefusal::NowhereToHold, "")).await;
    let agents = fixture.all("/v1/tenants/acme/rollout/agents?limit=2", &lead).await;
    assert_eq!(agents[0]["agent"], agent_id(1));
    assert_eq!((&agents[0]["version"], &agents[0]["outcome"]), (&json!(3), &json!("in_force")));
    assert_eq!(agents[1]["refused"]["reason"], "nowhere_to_hold");
    assert!(agents[1]["refused"]["text"].as_str().unwrap().contains("configure [held]"));
    assert_eq!((&agents[2]["target"], &agents[2]["version"]), (&json!(3), &json!(0)));
    let counts = fixture.get("/v1/tenants/acme/rollout", &lead).await.json()["counts"].clone();
    let of = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((of("in_force"), of("refused"), of("waiting")), (1, 1, 1), "{counts}");
}

#[tokio::test]
async fn another_tenants_policy_is_as_if_it_were_not_there() {
    let house = House::new(1).await;
    let lead = house.fixture.token(Role::Lead, &[]).await;
    house.push(&lead, 3, json!({})).await;
    let other = house.fixture.token(Role::Lead, &["globex"]).await;
    for path in ["policies", "policy", "rollout", "rollout/agents"] {
        let answer = house.fixture.get(&format!("/v1/tenants/acme/{path}"), &other).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "L5: {path}");
    }
    let pushed = house.push(&other, 4, json!({})).await;
    assert_eq!(pushed.status, StatusCode::NOT_FOUND, "L5");
    let none = house.fixture.get("/v1/tenants/globex/rollout", &other).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}
