//! Writes that carry an `Idempotency-Key`.

use super::*;

fn keyed(path: &str, token: &str, body: Value, key: &str) -> Request<Body> {
    with_header(request("POST", path, token, Some(body)), "idempotency-key", key)
}

#[tokio::test]
async fn the_same_request_again_is_answered_and_not_done_again() {
    let house = House::new();
    house.case("acme", "srv1", Severity::High).await;
    house.case("acme", "srv2", Severity::Low).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let first = house.send(keyed("/v1/queue/next", &ann, json!({}), "k1")).await;
    house.sync();
    assert_eq!(first.header("idempotent-replay"), "");
    let head = *house.api.store.journal_head().borrow();
    let again = house.send(keyed("/v1/queue/next", &ann, json!({}), "k1")).await;
    assert_eq!(again.header("idempotent-replay"), "true");
    assert_eq!((first.status, first.body), (again.status, again.body));
    assert_eq!(*house.api.store.journal_head().borrow(), head, "nothing was done");

    let other = house.send(keyed("/v1/queue/next", &ann, json!({"lease_seconds": 60}), "k1")).await;
    other.is_problem(422, "idempotency-mismatch");
}

#[tokio::test]
async fn a_replay_does_not_need_anything_to_wait() {
    let house = House::new();
    house.case("acme", "srv1", Severity::High).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let first = house.send(keyed("/v1/queue/next", &ann, json!({}), "k1")).await.ok();
    house.sync();
    let again = house.send(keyed("/v1/queue/next", &ann, json!({}), "k1")).await.ok();
    assert_eq!(first, again);
}

#[tokio::test]
async fn keys_of_different_tokens_never_meet_and_are_forgotten_after_a_day() {
    let house = House::new();
    for n in 0..3 {
        house.case("acme", &format!("srv{n}"), Severity::High).await;
    }
    let ann = house.token(Role::Analyst, &[]).await;
    let bob = house.token(Role::Lead, &[]).await;
    let first = house.send(keyed("/v1/queue/next", &ann, json!({}), "k")).await.ok();
    house.sync();
    let second = house.send(keyed("/v1/queue/next", &bob, json!({}), "k")).await.ok();
    house.sync();
    assert_ne!(first["case"]["id"], second["case"]["id"]);
    house.advance(24 * 60 * 60);
    let ann = house.token(Role::Analyst, &[]).await;
    let third = house.send(keyed("/v1/queue/next", &ann, json!({}), "k")).await;
    assert_eq!(third.header("idempotent-replay"), "");
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again() {
    let house = House::new();
    let id = house.case("acme", "srv1", Severity::High).await;
    let (ann, lead) = (house.token(Role::Analyst, &[]).await, house.token(Role::Lead, &[]).await);
    house.post("/v1/queue/next", &ann, json!({"lease_seconds": 30})).await.ok();
    let path = format!("/v1/cases/{id}/claim");
    let refused = house.send(keyed(&path, &lead, json!({}), "k")).await;
    refused.is_problem(409, "already-claimed");
    house.advance(30);
    assert_eq!(house.send(keyed(&path, &lead, json!({}), "k")).await.ok()["fence"], 2);
}

#[tokio::test]
async fn a_replayed_token_comes_without_its_secret() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let body = json!({"holder": "ann", "role": "analyst"});
    let first = house.send(keyed("/v1/tokens", &admin, body.clone(), "k")).await.ok();
    let again = house.send(keyed("/v1/tokens", &admin, body, "k")).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(again.header("idempotent-replay"), "true");
    assert!(first["secret"].is_string() && again.body.get("secret").is_none());
    assert_eq!(first["token"], again.body["token"]);
}

#[tokio::test]
async fn a_key_is_1_to_128_visible_characters() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    for bad in ["", "a b", &"k".repeat(129)] {
        let refused = house.send(keyed("/v1/queue/next", &ann, json!({}), bad)).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], "Idempotency-Key");
    }
}
