//! Tenants through the API.

use super::*;

fn put(tenant: &str, token: &str, body: Value, if_match: &str) -> Request<Body> {
    let sent = request("PUT", &format!("/v1/tenants/{tenant}"), token, Some(body));
    if if_match.is_empty() { sent } else { with_header(sent, "if-match", if_match) }
}

#[tokio::test]
async fn a_tenant_is_made_and_changed_in_part() {
    let house = House::new();
    let lead = house.token(Role::Lead, &[]).await;
    let made = house.send(put("acme", &lead, json!({"display_name": "Acme Ltd"}), "")).await;
    assert_eq!((made.status, made.header("etag")), (StatusCode::CREATED, "\"1\""));
    let changed = json!({"sla_minutes": {"critical": 5}});
    let changed = house.send(put("acme", &lead, changed, "")).await;
    assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"2\""));
    let shown = house.get("/v1/tenants/acme", &lead).await;
    assert_eq!(shown.header("etag"), "\"2\"");
    let shown = shown.ok();
    assert_eq!(shown["display_name"], "Acme Ltd");
    let minutes = &shown["sla_minutes"];
    assert_eq!((&minutes["critical"], &minutes["high"]), (&json!(5), &json!(60)));
}

#[tokio::test]
async fn a_change_on_top_of_an_old_revision_is_refused() {
    let house = House::new();
    let lead = house.token(Role::Lead, &[]).await;
    let name = |name: &str| json!({"display_name": name});
    house.send(put("acme", &lead, name("A"), "*")).await.is_problem(412, "precondition-failed");
    house.send(put("acme", &lead, name("A"), "")).await.ok();
    house.send(put("acme", &lead, name("B"), "\"1\"")).await.ok();
    house.send(put("acme", &lead, name("C"), "\"1\"")).await.is_problem(412, "precondition-failed");
    house.send(put("acme", &lead, name("C"), "\"x\"")).await.is_problem(412, "precondition-failed");
    house.send(put("acme", &lead, name("C"), "2")).await.is_problem(400, "invalid");
    house.send(put("acme", &lead, name("C"), "\"1\", \"2\"")).await.ok();
    house.send(put("acme", &lead, name("D"), "*")).await.ok();
    assert_eq!(house.get("/v1/tenants/acme", &lead).await.ok()["display_name"], "D");
}

#[tokio::test]
async fn agreed_times_and_names_have_bounds() {
    let house = House::new();
    let lead = house.token(Role::Lead, &[]).await;
    for (body, field) in [
        (json!({"display_name": " "}), "display_name"),
        (json!({"display_name": "x".repeat(4097)}), "display_name"),
        (json!({"sla_minutes": {"low": 0}}), "sla_minutes"),
        (json!({"sla_minutes": {"low": 129_601}}), "sla_minutes"),
        (json!({"sla_minutes": {"huge": 1}}), "huge"),
    ] {
        let refused = house.send(put("acme", &lead, body, "")).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], field);
    }
    house.get("/v1/tenants/acme", &lead).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn tenants_are_listed_by_name_with_their_cases() {
    let house = House::new();
    for (n, tenant) in ["acme", "globex", "initech"].into_iter().enumerate() {
        for host in 0..n {
            house.case(tenant, &format!("srv{host}"), Severity::Low).await;
        }
    }
    let lead = house.token(Role::Lead, &[]).await;
    house.send(put("acme", &lead, json!({}), "")).await.ok();
    let first = house.get("/v1/tenants?limit=2", &lead).await.ok();
    assert_eq!(each(&first, "id"), ["acme", "globex"]);
    let next = first["next"].as_str().unwrap();
    let second = house.get(&format!("/v1/tenants?limit=2&cursor={next}"), &lead).await.ok();
    assert_eq!((each(&second, "id"), &second["next"]), (vec!["initech"], &Value::Null));
    assert_eq!(second["items"][0]["cases_waiting"], 2);
    let scoped = house.token(Role::Lead, &["globex", "initech"]).await;
    let page = house.get("/v1/tenants?limit=1", &scoped).await.ok();
    assert_eq!(each(&page, "id"), ["globex"]);
    let next = page["next"].as_str().unwrap();
    let page = house.get(&format!("/v1/tenants?limit=1&cursor={next}"), &scoped).await.ok();
    assert_eq!(each(&page, "id"), ["initech"]);
}
