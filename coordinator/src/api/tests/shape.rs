//! The shape of answers: problems for everything that can be wrong with a request, and the store's faults.

use super::*;
use crate::store::engine::Fault;

#[tokio::test]
async fn what_is_not_known_is_refused_and_named() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    for (path, field) in [
        ("/v1/cases?colour=red", "colour"),
        ("/v1/cases?state=lost", "state"),
        ("/v1/cases?severity=huge", "severity"),
        ("/v1/cases?since=yesterday", "since"),
        ("/v1/cases?limit=0", "limit"),
        ("/v1/cases?limit=501", "limit"),
        ("/v1/cases?limit=x", "limit"),
        ("/v1/cases?limit=1&limit=2", "limit"),
        ("/v1/cases?tenant=A%20B", "tenant"),
        ("/v1/queue?cursor=x", "cursor"),
        ("/v1/tenants/UPPER", "tenant"),
    ] {
        let refused = house.get(path, &admin).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], field, "{path}: {refused:?}");
    }
    for (body, field) in [
        (json!({"holder": "x", "role": "analyst", "colour": "red"}), "colour"),
        (json!({"holder": "x"}), "role"),
        (json!({"holder": 7, "role": "analyst"}), "holder"),
        (json!({"holder": "x", "role": "king"}), "role"),
        (json!({"holder": "x", "role": "analyst", "tenants": ["a", "B"]}), "tenants[1]"),
    ] {
        let refused = house.post("/v1/tokens", &admin, body).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], field, "{refused:?}");
    }
}

#[tokio::test]
async fn a_body_must_be_json_and_small() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let post = |content_type: Option<&'static str>, body: String| {
        let mut sent = request("POST", "/v1/tokens", &admin, None);
        if let Some(content_type) = content_type {
            sent = with_header(sent, "content-type", content_type);
        }
        *sent.body_mut() = Body::from(body);
        house.send(sent)
    };
    let json = Some("application/json; charset=utf-8");
    post(None, "{}".into()).await.is_problem(415, "unsupported-media-type");
    post(Some("text/plain"), "{}".into()).await.is_problem(415, "unsupported-media-type");
    let broken = post(json, "{\"holder\": ".into()).await;
    broken.is_problem(400, "invalid");
    assert!(broken.body["detail"].as_str().unwrap().contains("line 1 column 11"), "{broken:?}");
    post(json, "{\"holder\":\"x\",\"role\":\"lead\"} {}".into()).await.is_problem(400, "invalid");
    post(json, "\u{0}\u{1}".into()).await.is_problem(400, "invalid");
    post(json, " ".repeat(REQUEST_BYTES_MAX + 1)).await.is_problem(413, "too-large");
    post(json, "[".repeat(REQUEST_BYTES_MAX)).await.is_problem(400, "invalid");
}

#[tokio::test]
async fn a_path_or_a_method_that_is_not_there_is_a_problem_too() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    house.get("/", "").await.is_problem(404, "not-found");
    house.get("/v1/nothing", &admin).await.is_problem(404, "not-found");
    house.get("/v1/me/", &admin).await.is_problem(404, "not-found");
    let refused = house.send(request("PATCH", "/v1/tokens", &admin, None)).await;
    refused.is_problem(405, "method-not-allowed");
    let allow = refused.header("allow");
    assert!(allow.contains("GET") && allow.contains("POST") && !allow.contains("PUT"), "{allow}");
}

#[tokio::test]
async fn a_request_keeps_its_id_or_is_given_one() {
    let house = House::new();
    let named = with_header(request("GET", "/v1/me", "", None), "x-request-id", "abc-1");
    assert_eq!(house.send(named).await.header("x-request-id"), "abc-1");
    let odd = with_header(request("GET", "/v1/me", "", None), "x-request-id", "a b\tc");
    assert_eq!(house.send(odd).await.header("x-request-id").len(), 16);
    assert_eq!(house.get("/v1/openapi.json", "").await.header("x-request-id").len(), 16);
}

#[tokio::test]
async fn a_store_that_takes_nothing_says_whether_something_may_have_been_stored() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let body = json!({"holder": "x", "role": "analyst"});
    house.engine.fail_next_commit(Fault::Refused);
    let refused = house.post("/v1/tokens", &admin, body.clone()).await;
    refused.is_problem(503, "store-unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    house.engine.fail_next_commit(Fault::UnknownApplied);
    house.post("/v1/tokens", &admin, body).await.is_problem(500, "store-unknown");
    house.engine.set_unreadable(true);
    house.get("/v1/cases", &admin).await.is_problem(503, "store-unavailable");
    house.engine.set_unreadable(false);
    house.get("/v1/cases", &admin).await.ok();
}

#[tokio::test]
async fn requests_beyond_the_bound_are_turned_away() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let all = house.api.requests.acquire_many(u32::try_from(API_REQUESTS_MAX).unwrap()).await;
    let refused = house.get("/v1/me", &admin).await;
    refused.is_problem(503, "too-many-clients");
    drop(all);
    house.get("/v1/me", &admin).await.ok();
}

#[tokio::test]
async fn requests_are_counted_by_how_they_ended() {
    use crate::counters::StatusClass;
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    house.get("/v1/me", &admin).await.ok();
    house.get("/v1/me", "").await.is_problem(401, "unauthorized");
    let counted = &house.api.counters.api_requests;
    assert_eq!((counted.value(StatusClass::Good), counted.value(StatusClass::Denied)), (1, 1));
    assert_eq!(house.api.counters.api_request_seconds.count(), 2);
}
