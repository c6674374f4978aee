//! Whatever is sent, the answer is one that the document names.

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;

/// Values that stand where a name, a number or a text is expected.
const ODD: &[&str] = &[
    "",
    "0",
    "-1",
    "18446744073709551616",
    "1e400",
    "null",
    "acme",
    "globex",
    "high",
    "host:srv1",
    "ip:10.0.0.1",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "-0001-01-01T00:00:00Z",
    "%00",
    "%FF%FE",
    "%F0%9F%92%A9",
    "..%2F..",
    "a%26b%3Dc",
    "0000",
    "01010101-0101-0101-0101-010101010101",
    "true",
];

/// A request that was drawn: which operation, what stands in its path and query, its headers and its body.
#[derive(Clone, Debug)]
struct Drawn {
    operation: prop::sample::Index,
    role: prop::sample::Index,
    path: Vec<prop::sample::Index>,
    query: Vec<(prop::sample::Index, prop::sample::Index)>,
    headers: Vec<(prop::sample::Index, prop::sample::Index)>,
    body: Vec<u8>,
    is_json: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let index = any::<prop::sample::Index>;
    let json = prop_oneof![
        Just(b"{}".to_vec()),
        Just(b"null".to_vec()),
        Just(br#"{"fence":1,"reason":"x","verdict":"malicious"}"#.to_vec()),
        Just(br#"{"fence":1,"lease_seconds":30}"#.to_vec()),
        Just(br#"{"holder":"x","role":"customer","tenants":["acme"]}"#.to_vec()),
        Just(br#"{"display_name":"\u0000","sla_minutes":{"low":1}}"#.to_vec()),
        prop::collection::vec(any::<u8>(), 0..64),
    ];
    let pairs = || prop::collection::vec((index(), index()), 0..3);
    let path = prop::collection::vec(index(), 2);
    let rest = (pairs(), pairs(), json, any::<bool>());
    ((index(), index(), path), rest).prop_map(|((operation, role, path), rest)| {
        let (query, headers, body, is_json) = rest;
        Drawn { operation, role, path, query, headers, body, is_json }
    })
}

fn request_of(
    drawn: &Drawn,
    method: &str,
    path: &str,
    keys: &[String],
    token: &str,
) -> Request<Body> {
    let mut odd = drawn.path.iter().map(|index| *index.get(ODD)).filter(|odd| !odd.is_empty());
    let filled: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { odd.next().unwrap_or("0000") } else { part })
        .collect();
    let mut uri = filled.join("/");
    for (at, (key, value)) in drawn.query.iter().enumerate() {
        uri.push(if at == 0 { '?' } else { '&' });
        let key = if keys.is_empty() { "odd" } else { key.get(keys).as_str() };
        uri.push_str(&format!("{key}={}", value.get(ODD)));
    }
    let mut request = request(&method.to_uppercase(), &uri, token, None);
    for (name, value) in &drawn.headers {
        let name = *name.get(&["idempotency-key", "if-match", "x-request-id", "last-event-id"]);
        let value: &&str = value.get(ODD);
        request = with_header(request, name, value);
    }
    if method != "get" {
        if drawn.is_json {
            request = with_header(request, "content-type", "application/json");
        }
        *request.body_mut() = Body::from(drawn.body.clone());
    }
    request
}

/// Returns the names of an operation's query keys.
fn query_keys(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let query = parameters.filter(|parameter| parameter["in"] == "query");
    query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_answer_is_one_that_the_document_names() {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<(&String, &String, &Value)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, o)| (m, path, o)))
        // Whoever signs out leaves a token behind that is good for nothing else.
        .filter(|(_, path, _)| path.as_str() != "/v1/me/token")
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (house, tokens) = runtime.block_on(async {
        let house = House::new();
        house.case("acme", "srv1", Severity::High).await;
        let mut tokens = Vec::new();
        for role in [Role::Customer, Role::Auditor, Role::Analyst, Role::Lead, Role::Admin] {
            tokens.push(house.token(role, &["acme"]).await);
        }
        (house, tokens)
    });
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2_000));
    let outcome = runner.run(&drawn(), |drawn| {
        let (method, path, operation) = *drawn.operation.get(&operations);
        let token = drawn.role.get(&tokens);
        let request = request_of(&drawn, method, path, &query_keys(operation), token);
        let what = format!("{} {}", request.method(), request.uri());
        let response = runtime.block_on(house.router.clone().oneshot(request)).unwrap();
        house.sync();
        let status = response.status().as_u16().to_string();
        prop_assert!(!status.starts_with('5'), "{what}: {status}");
        let named = &operation["responses"][&status];
        prop_assert!(named.is_object(), "{what}: {status} is not documented");
        let sent = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        // Pages say their charset besides.
        let media_type = sent.as_deref().and_then(|sent| sent.split(';').next());
        let known = named["content"].as_object();
        let fits = match media_type {
            Some(media_type) => known.is_some_and(|known| known.contains_key(media_type)),
            None => known.is_none(),
        };
        prop_assert!(fits, "{what}: {status} as {sent:?} is not documented");
        Ok(())
    });
    outcome.unwrap();
}
