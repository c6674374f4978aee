//! Who may do what: every route of the document, for every role.

use super::*;

use Role::{Admin, Analyst, Auditor, Customer, Lead};

const ALL: &[Role] = &[Customer, Auditor, Analyst, Lead, Admin];
const WORKERS: &[Role] = &[Analyst, Lead, Admin];
const LEADS: &[Role] = &[Lead, Admin];
const JOURNAL: &[Role] = &[Auditor, Lead, Admin];
const ADMINS: &[Role] = &[Admin];

/// Who may use each route. A route of the document that is not here fails the test.
const ROUTES: &[(&str, &str, &[Role])] = &[
    ("get", "/v1/me", ALL),
    ("delete", "/v1/me/token", ALL),
    ("get", "/v1/tenants", ALL),
    ("get", "/v1/tenants/{tenant}", ALL),
    ("put", "/v1/tenants/{tenant}", LEADS),
    ("get", "/v1/agents", ALL),
    ("get", "/v1/agents/{agent}", ALL),
    ("get", "/v1/agents/{agent}/contexts", ALL),
    ("get", "/v1/agents/{agent}/gaps", ALL),
    ("post", "/v1/agents/{agent}/resolve", LEADS),
    ("post", "/v1/agents/{agent}/revoke", LEADS),
    ("get", "/v1/tenants/{tenant}/ledger", ALL),
    ("get", "/v1/tenants/{tenant}/ledger/gaps", ALL),
    ("get", "/v1/cases", ALL),
    ("get", "/v1/cases/{case}", ALL),
    ("get", "/v1/cases/{case}/alerts", ALL),
    ("get", "/v1/alerts", ALL),
    ("get", "/v1/recalls", ALL),
    ("post", "/v1/recalls", WORKERS),
    ("get", "/v1/recalls/{recall}", ALL),
    ("get", "/v1/recalls/{recall}/records", ALL),
    ("get", "/v1/authority", JOURNAL),
    ("get", "/v1/authority/agents", JOURNAL),
    ("post", "/v1/authority/trust", ADMINS),
    ("get", "/v1/tenants/{tenant}/policies", ALL),
    ("post", "/v1/tenants/{tenant}/policies", LEADS),
    ("get", "/v1/tenants/{tenant}/policy", ALL),
    ("get", "/v1/tenants/{tenant}/rollout", ALL),
    ("get", "/v1/tenants/{tenant}/rollout/agents", ALL),
    ("post", "/v1/tenants/{tenant}/rollout/advance", LEADS),
    ("post", "/v1/tenants/{tenant}/rollout/halt", LEADS),
    ("get", "/v1/queue", ALL),
    ("post", "/v1/queue/next", WORKERS),
    ("post", "/v1/cases/{case}/claim", LEADS),
    ("post", "/v1/cases/{case}/renew", WORKERS),
    ("post", "/v1/cases/{case}/release", WORKERS),
    ("post", "/v1/cases/{case}/verdict", WORKERS),
    ("get", "/v1/journal", JOURNAL),
    ("get", "/v1/events", ALL),
    ("get", "/v1/tokens", ADMINS),
    ("post", "/v1/tokens", ADMINS),
    ("delete", "/v1/tokens/{id}", ADMINS),
    ("get", "/v1/join-tokens", ADMINS),
    ("post", "/v1/join-tokens", ADMINS),
    ("delete", "/v1/join-tokens/{id}", ADMINS),
];

/// Returns a body that is well-formed for the route.
fn body_of(method: &str, path: &str) -> Option<Value> {
    match (method, path.rsplit('/').next().unwrap()) {
        ("get" | "delete", _) => None,
        ("post", "tokens") => Some(json!({"holder": "x", "role": "analyst", "tenants": ["acme"]})),
        ("post", "join-tokens") => Some(json!({"tenant": "acme"})),
        ("post", "recalls") => Some(json!({"tenant": "acme", "rule": "dns-noise"})),
        ("post", "policies" | "trust") => Some(json!({"envelope": "AAAA"})),
        ("post", "revoke" | "halt") => Some(json!({"reason": "stolen"})),
        ("post", "resolve") => Some(json!({"process": "0000000000000001", "reason": "a copy"})),
        ("post", "renew") => Some(json!({"fence": 1})),
        ("post", "release") => Some(json!({"fence": 1, "reason": "lunch"})),
        ("post", "verdict") => {
            Some(json!({"fence": 1, "verdict": "malicious", "reason": "seen before"}))
        }
        _ => Some(json!({})),
    }
}

/// Whoever has no token may use these; other tests say how.
const OPEN: [&str; 5] = [
    "/v1/openapi.json",
    "/v1/sign-ins",
    "/v1/sign-ins/{id}/poll",
    "/v1/sign-ins/callback",
    "/v1/sign-ins/confirm",
];

/// Returns method and path of every operation of the document that takes a token.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    });
    operations.filter(|(_, path)| !OPEN.contains(&path.as_str())).collect()
}

fn allowed(method: &str, path: &str) -> &'static [Role] {
    let found = ROUTES.iter().find(|(m, p, _)| (*m, *p) == (method, path));
    found.unwrap_or_else(|| panic!("say in ROUTES who may use {method} {path}")).2
}

async fn status_of(house: &House, case: &str, route: (&str, &str), token: &str) -> StatusCode {
    let (method, path) = route;
    let agent = AgentId::from_bytes([1; 16]).to_string();
    let filled = path
        .replace("{tenant}", "acme")
        .replace("{agent}", &agent)
        .replace("{case}", case)
        .replace("{recall}", "00000199c82cc0000707070707070707")
        .replace("{id}", "0123456789abcdef");
    let sent = request(&method.to_uppercase(), &filled, token, body_of(method, path));
    house.router.clone().oneshot(sent).await.unwrap().status()
}

#[tokio::test]
async fn every_route_is_open_to_the_roles_of_its_row_and_to_no_other() {
    for (method, path) in operations() {
        for role in ALL {
            let house = House::new();
            let case = house.case("acme", "srv1", Severity::High).await;
            let token = house.token(*role, &["acme"]).await;
            let status = status_of(&house, &case, (&method, &path), &token).await;
            let may = allowed(&method, &path).contains(role);
            let is_forbidden = status == StatusCode::FORBIDDEN;
            assert_eq!(is_forbidden, !may, "{method} {path} as {role:?}: {status}");
            let wrong = [StatusCode::UNAUTHORIZED, StatusCode::METHOD_NOT_ALLOWED];
            assert!(!wrong.contains(&status), "{method} {path} as {role:?}: {status}");
            assert!(!status.is_server_error(), "{method} {path} as {role:?}: {status}");
        }
    }
}

#[tokio::test]
async fn nothing_but_the_document_and_signing_in_is_open_without_a_good_token() {
    let house = House::new();
    let case = house.case("acme", "srv1", Severity::High).await;
    let unknown = tokens::draw_secret();
    let expired = house.token(Role::Admin, &[]).await;
    house.advance(24 * 60 * 60);
    for token in ["", "secret", "sb_short", &unknown, &expired] {
        for (method, path) in operations() {
            let status = status_of(&house, &case, (&method, &path), token).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {token:?}");
        }
    }
    let refused = house.get("/v1/me", "").await;
    refused.is_problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert_eq!(house.get("/v1/openapi.json", "").await.ok()["info"]["title"], "Signalbox");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_while_it_waits_for_a_case_too() {
    let house = House::new();
    let admin = house.token(Role::Admin, &[]).await;
    let analyst = house.token(Role::Analyst, &[]).await;
    let id = house.get("/v1/me", &analyst).await.ok()["token"].as_str().unwrap().to_owned();

    let waiting = request("POST", "/v1/queue/next", &analyst, Some(json!({"wait_seconds": 30})));
    let (waited, ()) = tokio::join!(house.send(waiting), async {
        let path = format!("/v1/tokens/{id}");
        let revoked = house.send(request("DELETE", &path, &admin, None)).await.ok();
        assert_eq!(revoked["is_good"], false);
        house.case("acme", "srv1", Severity::High).await;
    });
    waited.is_problem(401, "unauthorized");
    house.get("/v1/me", &analyst).await.is_problem(401, "unauthorized");
    assert_eq!(house.get("/v1/queue", &admin).await.ok()["waiting"], 1);
}

#[tokio::test]
async fn what_lies_outside_the_scope_is_as_if_it_were_not_there() {
    let house = House::new();
    let mine = house.case("acme", "srv1", Severity::Low).await;
    let theirs = house.case("globex", "srv1", Severity::High).await;
    for role in ALL {
        let token = house.token(*role, &["acme"]).await;
        for path in [
            "/v1/tenants/globex".to_owned(),
            "/v1/tenants/nobody".to_owned(),
            "/v1/cases?tenant=globex".to_owned(),
            format!("/v1/cases/{theirs}"),
            format!("/v1/cases/{}", &theirs[..6]),
        ] {
            house.get(&path, &token).await.is_problem(404, "not-found");
        }
        let cases = house.get("/v1/cases", &token).await.ok();
        assert_eq!(each(&cases, "id"), [mine.as_str()]);
        assert_eq!(each(&house.get("/v1/tenants", &token).await.ok(), "id"), ["acme"]);
        let queue = house.get("/v1/queue", &token).await.ok();
        assert_eq!((&queue["waiting"], &queue["by_severity"]["high"]), (&json!(1), &json!(0)));
    }
}

#[tokio::test]
async fn no_write_crosses_a_tenant() {
    let house = House::new();
    let theirs = house.case("globex", "srv1", Severity::High).await;
    let lead = house.token(Role::Lead, &["acme"]).await;
    for (path, body) in [
        ("claim", json!({})),
        ("renew", json!({"fence": 1})),
        ("release", json!({"fence": 1, "reason": "x"})),
        ("verdict", json!({"fence": 1, "verdict": "malicious", "reason": "x"})),
    ] {
        let path = format!("/v1/cases/{theirs}/{path}");
        house.post(&path, &lead, body).await.is_problem(404, "not-found");
    }
    let next = house.post("/v1/queue/next", &lead, json!({})).await;
    assert_eq!(next.status, StatusCode::NO_CONTENT, "L5");
    let put = house.write("PUT", "/v1/tenants/globex", &lead, json!({"display_name": "G"})).await;
    put.is_problem(404, "not-found");
}

#[tokio::test]
async fn the_caller_is_told_who_they_are() {
    let house = House::new();
    let scoped = house.token(Role::Auditor, &["acme"]).await;
    let me = house.get("/v1/me", &scoped).await.ok();
    assert_eq!(me["holder"], "auditor-acme");
    assert_eq!((&me["role"], &me["tenants"]), (&json!("auditor"), &json!(["acme"])));
    assert_eq!(me["expires_at"], "2026-01-02T00:00:00.000Z");
    let all = house.token(Role::Analyst, &[]).await;
    assert_eq!(house.get("/v1/me", &all).await.ok()["tenants"], Value::Null);
}
