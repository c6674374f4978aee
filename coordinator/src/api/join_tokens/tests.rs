use axum::http::StatusCode;
use serde_json::json;
use shared::join::JoinToken as Text;

use super::JoinTerms;
use crate::{api::fixture::Fixture, store::values::Role};

fn terms() -> JoinTerms {
    JoinTerms {
        addresses: vec!["box.test:4433".into()],
        server_name: "box".into(),
        root_sha256: [7; 32],
    }
}

#[tokio::test]
async fn a_join_token_is_made_shown_once_listed_and_revoked() {
    let fixture = Fixture::new().with_joining(terms());
    fixture.greet("acme", 1, 1).await;
    let admin = fixture.token(Role::Admin, &[]).await;
    let asked = json!({"tenant": "acme", "uses": 3, "expires_in_hours": 48});
    let made = fixture.post("/v1/join-tokens", &admin, &asked).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let text: Text = made["text"].as_str().unwrap().parse().unwrap();
    assert_eq!((text.addresses[0].as_str(), text.server_name.as_str()), ("box.test:4433", "box"));
    assert_eq!(text.root_sha256, [7; 32]);
    let token = &made["token"];
    assert_eq!((&token["max_uses"], &token["uses"]), (&json!(3), &json!(0)));
    assert_eq!(token["is_good"], true);

    let listed = fixture.get("/v1/join-tokens", &admin).await.items();
    assert_eq!(&listed[0], token);
    let path = format!("/v1/join-tokens/{}", token["id"].as_str().unwrap());
    for _ in 0..2 {
        let revoked = fixture.delete(&path, &admin).await;
        assert_eq!((revoked.status, &revoked.json()["is_good"]), (StatusCode::OK, &json!(false)));
    }
}

#[tokio::test]
async fn join_tokens_of_other_tenants_are_neither_made_nor_seen_nor_revoked() {
    let fixture = Fixture::new().with_joining(terms());
    for (tenant, agent) in [("acme", 1), ("globex", 2)] {
        fixture.greet(tenant, agent, 1).await;
    }
    let admin = fixture.token(Role::Admin, &[]).await;
    let made = fixture.post("/v1/join-tokens", &admin, &json!({"tenant": "globex"})).await.json();
    let path = format!("/v1/join-tokens/{}", made["token"]["id"].as_str().unwrap());

    let local = fixture.token(Role::Admin, &["acme"]).await;
    assert!(fixture.get("/v1/join-tokens", &local).await.items().is_empty(), "L5");
    let foreign = fixture.post("/v1/join-tokens", &local, &json!({"tenant": "globex"})).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "L5");
    assert_eq!(fixture.delete(&path, &local).await.status, StatusCode::NOT_FOUND, "L5");
    for role in [Role::Customer, Role::Auditor, Role::Analyst, Role::Lead] {
        let token = fixture.token(role, &["acme"]).await;
        let refused = fixture.post("/v1/join-tokens", &token, &json!({"tenant": "acme"})).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{role:?}");
    }
}

#[tokio::test]
async fn a_coordinator_that_issues_nothing_says_so() {
    let fixture = Fixture::new();
    fixture.greet("acme", 1, 1).await;
    let admin = fixture.token(Role::Admin, &[]).await;
    let refused = fixture.post("/v1/join-tokens", &admin, &json!({"tenant": "acme"})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("[authority]"), "{}", refused.text);
    let document = serde_json::to_value(crate::api::openapi()).unwrap();
    let named = &document["paths"]["/v1/join-tokens"]["post"]["responses"]["409"];
    assert!(named.is_object(), "the document names it");
    let nobody = fixture.post("/v1/join-tokens", &admin, &json!({"tenant": "nobody"})).await;
    assert_eq!(nobody.status, StatusCode::CONFLICT);
}
