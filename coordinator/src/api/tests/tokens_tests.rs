//! Tokens through the API.

use super::*;

#[tokio::test]
async fn a_new_token_works_until_it_is_revoked() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let body =
        json!({"holder": "ann", "role": "customer", "tenants": ["acme"], "expires_in_days": 7});
    let made = house.post("/v1/tokens", &admin, body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.ok();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), "sb_".len() + 43);
    assert_eq!(made["token"]["expires_at"], "2026-01-08T00:00:00.000Z");
    assert_eq!(house.get("/v1/me", secret).await.ok()["holder"], "ann");
    let listed = house.get("/v1/tokens", &admin).await.ok();
    assert!(each(&listed, "id").contains(&made["token"]["id"].as_str().unwrap()));
    assert!(!listed.to_string().contains("secret"));

    let path = format!("/v1/tokens/{}", made["token"]["id"].as_str().unwrap());
    let gone = house.send(request("DELETE", &path, &admin, None)).await.ok();
    assert_eq!(gone["revoked_at"], "2026-01-01T00:00:00.000Z");
    house.send(request("DELETE", &path, &admin, None)).await.ok();
    house.get("/v1/me", secret).await.is_problem(401, "unauthorized");
    let unknown = house.send(request("DELETE", "/v1/tokens/nothing", &admin, None)).await;
    unknown.is_problem(404, "not-found");
}

#[tokio::test]
async fn an_empty_list_of_tenants_never_means_all_of_them() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    for body in [
        json!({"holder": "x", "role": "analyst", "tenants": []}),
        json!({"holder": "x", "role": "customer"}),
        json!({"holder": "x", "role": "customer", "tenants": ["acme", "globex"]}),
    ] {
        let refused = house.post("/v1/tokens", &admin, body).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], "tenants");
    }
    for (body, field) in [
        (json!({"holder": "x", "role": "lead", "expires_in_days": 0}), "expires_in_days"),
        (json!({"holder": "x", "role": "lead", "expires_in_days": 367}), "expires_in_days"),
        (json!({"holder": "a b", "role": "lead"}), "holder"),
    ] {
        let refused = house.post("/v1/tokens", &admin, body).await;
        refused.is_problem(400, "invalid");
        assert_eq!(refused.body["field"], field);
    }
}

#[tokio::test]
async fn an_admin_of_some_tenants_cannot_reach_beyond_them() {
    let house = House::new();
    let admin = house.token(Role::Admin, &["acme"]).await;
    let global = house.token(Role::Analyst, &[]).await;
    let theirs = house.token(Role::Analyst, &["globex"]).await;
    house.token(Role::Analyst, &["acme"]).await;
    let make = |tenants: Value| {
        let mut body = json!({"holder": "x", "role": "admin"});
        if !tenants.is_null() {
            body["tenants"] = tenants;
        }
        house.post("/v1/tokens", &admin, body)
    };
    make(Value::Null).await.is_problem(403, "forbidden");
    make(json!(["globex"])).await.is_problem(404, "not-found");
    make(json!(["acme"])).await.ok();
    let listed = house.get("/v1/tokens", &admin).await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    assert!(listed["items"].as_array().unwrap().iter().all(|t| t["tenants"] == json!(["acme"])));
    for other in [global, theirs] {
        let id = house.get("/v1/me", &other).await.ok()["token"].as_str().unwrap().to_owned();
        let refused =
            house.send(request("DELETE", &format!("/v1/tokens/{id}"), &admin, None)).await;
        refused.is_problem(404, "not-found");
        house.get("/v1/me", &other).await.ok();
    }
}

#[tokio::test]
async fn the_cursor_of_a_list_names_no_token_that_the_caller_may_not_see() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let house = House::new();
    let admin = house.token(Role::Admin, &["acme"]).await;
    let mut hidden = Vec::new();
    for _ in 0..16 {
        let other = house.token(Role::Analyst, &["globex"]).await;
        hidden.push(house.get("/v1/me", &other).await.ok()["token"].as_str().unwrap().to_owned());
        house.token(Role::Analyst, &["acme"]).await;
    }
    let (mut path, mut seen) = ("/v1/tokens?limit=1".to_owned(), 0);
    loop {
        let page = house.get(&path, &admin).await.ok();
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        let bytes = URL_SAFE_NO_PAD.decode(next).unwrap();
        let named: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!hidden.iter().any(|id| named.contains(id.as_str())), "L5: {named}");
        path = format!("/v1/tokens?limit=1&cursor={next}");
    }
    assert_eq!(seen, 17, "each of their own is on a page");
}
