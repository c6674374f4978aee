//! The queue through the API: its numbers, the next case, and a view that is behind.

use super::*;

#[tokio::test]
async fn the_earliest_deadline_comes_first_with_its_reasons() {
    let house = House::new();
    house.case("acme", "srv1", Severity::Low).await;
    let urgent = house.case("globex", "srv1", Severity::Critical).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let claim = house.post("/v1/queue/next", &ann, json!({"lease_seconds": 60})).await.ok();
    assert_eq!(claim["case"]["id"], urgent);
    assert_eq!(claim["lease_until"], "2026-01-01T00:01:00.000Z");
    let reasons = claim["reasons"].as_array().unwrap();
    assert_eq!(reasons[0]["reason"], "earliest_deadline");
    assert_eq!((&reasons[0]["minutes_left"], &reasons[2]["cases"]), (&json!(15), &json!(2)));
    let second = house.post("/v1/queue/next", &ann, json!({})).await.ok();
    assert_ne!(second["case"]["id"], urgent, "a second case, although the first is held");
    let none = house.post("/v1/queue/next", &ann, json!({})).await;
    assert_eq!((none.status, none.body), (StatusCode::NO_CONTENT, Value::Null));
}

#[tokio::test]
async fn an_empty_body_asks_for_the_defaults() {
    let house = House::new();
    house.case("acme", "srv1", Severity::Low).await;
    let ann = house.token(Role::Analyst, &[]).await;
    let claim = house.send(request("POST", "/v1/queue/next", &ann, None)).await.ok();
    assert_eq!(claim["lease_until"], "2026-01-01T00:15:00.000Z");
}

#[tokio::test]
async fn who_waits_is_given_the_case_that_comes() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    let waiting = request("POST", "/v1/queue/next", &ann, Some(json!({"wait_seconds": 30})));
    let (claim, id) = tokio::join!(house.send(waiting), house.case("acme", "srv1", Severity::Low));
    assert_eq!(claim.ok()["case"]["id"], id);
}

#[tokio::test]
async fn a_wait_ends_when_the_coordinator_stops() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    let waiting = request("POST", "/v1/queue/next", &ann, Some(json!({"wait_seconds": 30})));
    house.api.stopping.cancel();
    assert_eq!(house.send(waiting).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_view_that_is_behind_costs_no_double_claim_and_no_refusal() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    for n in 0..5 {
        house.case("acme", &format!("srv{n}"), Severity::Low).await;
    }
    // The view shows all five as waiting all the while.
    let mut claimed = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let sent = request("POST", "/v1/queue/next", &ann, Some(json!({})));
        let claim = house.send(sent).await.ok();
        claimed.insert(claim["case"]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(claimed.len(), 5, "L6");
}

#[tokio::test]
async fn a_view_that_never_catches_up_is_said_to_be_behind() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    house.case("acme", "srv1", Severity::Low).await;
    house.send(request("POST", "/v1/queue/next", &ann, Some(json!({})))).await.ok();
    let behind = house.send(request("POST", "/v1/queue/next", &ann, Some(json!({})))).await;
    behind.is_problem(503, "store-unavailable");
    assert_eq!(behind.header("retry-after"), "1");
}

#[tokio::test]
async fn customers_see_numbers_of_their_own_and_no_order() {
    let house = House::new();
    house.case("acme", "srv1", Severity::Critical).await;
    let low = house.case("acme", "srv2", Severity::Low).await;
    house.case("globex", "srv1", Severity::Low).await;
    let ann = house.token(Role::Analyst, &["acme"]).await;
    house.post("/v1/queue/next", &ann, json!({})).await.ok();
    house.advance(80 * 60 * 60);
    let customer = house.token(Role::Customer, &["acme"]).await;
    let seen = house.get("/v1/queue", &customer).await.ok();
    assert_eq!(seen["head"], json!([]));
    assert_eq!((&seen["waiting"], &seen["claimed"]), (&json!(1), &json!(1)));
    let ann = house.token(Role::Analyst, &["acme"]).await;
    let seen = house.get("/v1/queue?limit=5", &ann).await.ok();
    assert_eq!(seen["head"][0]["id"], low);
    assert_eq!(seen["late"], 1);
    assert_eq!(seen["by_severity"]["low"], 1);
    assert!(seen["head"][0]["seconds_left"].as_i64().unwrap() < 0);
}

#[tokio::test]
async fn a_lease_and_a_wait_have_bounds() {
    let house = House::new();
    let ann = house.token(Role::Analyst, &[]).await;
    for (body, field) in [
        (json!({"lease_seconds": 29}), "lease_seconds"),
        (json!({"lease_seconds": 3601}), "lease_seconds"),
        (json!({"wait_seconds": 31}), "wait_seconds"),
        (json!({"lease_seconds": -1}), "lease_seconds"),
    ] {
        let refused = house.post("/v1/queue/next", &ann, body).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], field);
    }
}
