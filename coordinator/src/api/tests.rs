//! A whole API over a store in memory, and what the tests of its parts share.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use serde_json::{Value, json};
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    ids::{AgentId, Epoch, Lane, Seq, StreamId},
    time::Timestamp,
};
use tower::ServiceExt;

use super::*;
use crate::{
    bell::Bells,
    command::{block, journal, tenants, tokens as token_commands},
    store::{
        engine::{Engine, MemoryEngine},
        reader::cases as reader,
        values::{Actor, Role},
        writer,
    },
    triage::case::CaseId,
};

mod access;
mod cases_tests;
mod conformance;
mod document;
mod https;
mod lockout_tests;
mod once;
mod queue_tests;
mod shape;
mod sign_in_tests;
mod tenants_tests;
mod tokens_tests;

/// The time at which every test begins: 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

/// An API with a store in memory, a clock that stands until it is moved, and a view that is synced by hand.
struct House {
    engine: MemoryEngine,
    api: Api,
    router: Router,
    now_ms: Arc<AtomicU64>,
    blocks: AtomicU64,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is the problem `name`, whole and with its content type.
    #[track_caller]
    fn is_problem(&self, status: u16, name: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), problem::PROBLEM_JSON);
        assert_eq!(self.body["type"], format!("urn:signalbox:problem:{name}"), "{self:?}");
        assert_eq!(self.body["status"], status);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }
}

impl House {
    fn new() -> Self {
        let engine = MemoryEngine::new(1);
        let (store, _) = writer::start(Arc::new(engine.clone())).unwrap();
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let read_ms = Arc::clone(&now_ms);
        let clock = Clock::new(move || Timestamp::from_ms(read_ms.load(Ordering::Relaxed)));
        let counters = Arc::new(Counters::default());
        let api = Api::new(
            store,
            View::new(),
            clock,
            counters,
            Bells::default(),
            CancellationToken::new(),
        );
        let router = router(api.clone());
        Self { engine, api, router, now_ms, blocks: AtomicU64::new(1) }
    }

    fn advance(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    /// Makes a token and returns its secret.
    async fn token(&self, role: Role, tenants: &[&str]) -> String {
        let holder = format!("{}-{}", problem::role_name(role), tenants.join("-"));
        let secret = tokens::draw_secret();
        let grant = token_commands::Grant {
            holder: holder.trim_end_matches('-').to_owned(),
            role,
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
            life: std::time::Duration::from_secs(24 * 60 * 60),
        };
        let (kept, now) = (secret.clone(), self.api.clock.now());
        let write = self.api.store.write(move |staged| {
            token_commands::create(staged, &kept, grant, &Actor::Coordinator, now)
        });
        write.await.unwrap();
        secret
    }

    /// Commits a block of one alert about `host`, and returns the id of its case.
    async fn case(&self, tenant: &str, host: &str, severity: Severity) -> String {
        let mut alert = Alert::default();
        alert.observed_at = self.api.clock.now();
        alert.severity = severity;
        alert.set(Field::Title, format!("scan of {host}"));
        alert.set(Field::Product, "suricata".to_owned());
        alert.set(Field::DeviceHostname, host.to_owned());
        let mut builder = BlockBuilder::new();
        builder.push(&alert, b"record").unwrap();
        // Each block is the first of its own epoch, so that no test minds the numbers.
        let epoch = Epoch(self.blocks.fetch_add(1, Ordering::Relaxed));
        let stream = StreamId { agent: AgentId::from_bytes([1; 16]), epoch, lane: Lane::Normal };
        let tenant = tenant.parse().unwrap();
        let bytes = builder.finish(1);
        let prepared = block::Prepared::new(tenant, stream, Seq::FIRST, bytes).unwrap();
        let now = self.api.clock.now();
        let write = self.api.store.write(move |staged| {
            tenants::ensure(staged, tenant, &Actor::Coordinator, now)?;
            block::commit(staged, &prepared, now)
        });
        let block::Committed::Stored(cases) = write.await.unwrap() else { panic!("stored") };
        self.sync();
        cases[0].to_string()
    }

    /// Lets the view take in all that the journal shows.
    fn sync(&self) {
        let engine: &dyn Engine = &self.engine;
        let after = *self.api.view.applied().borrow();
        let entries = journal::read_after(engine, after, usize::MAX).unwrap();
        let Some(last) = entries.last() else { return };
        let ids: Vec<CaseId> =
            entries.iter().flat_map(|chained| chained.entry.event.cases()).copied().collect();
        let cases = reader::by_ids(engine, &ids).unwrap();
        let cases: Vec<_> = cases.into_iter().map(|case| (case.id, Some(case))).collect();
        self.api.view.apply(&cases, last.number);
    }

    /// Sends a request as it is; the view does not follow.
    async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 8 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answered { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str, token: &str) -> Answered {
        self.send(request("GET", path, token, None)).await
    }

    /// Sends a write, and lets the view follow.
    async fn write(&self, method: &str, path: &str, token: &str, body: Value) -> Answered {
        let answered = self.send(request(method, path, token, Some(body))).await;
        self.sync();
        answered
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Answered {
        self.write("POST", path, token, body).await
    }
}

fn request(method: &str, path: &str, token: &str, body: Option<Value>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    let builder = match token {
        "" => builder,
        token => builder.header(header::AUTHORIZATION, format!("Bearer {token}")),
    };
    match body {
        None => builder.body(Body::empty()).unwrap(),
        Some(body) => builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
    }
}

/// Lets a request come from an address, as one over a socket does.
fn from(mut request: Request<Body>, address: &str) -> Request<Body> {
    request.extensions_mut().insert(peer::Peer(address.parse().unwrap()));
    request
}

fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

/// Returns one field of each item of a page.
fn each<'a>(page: &'a Value, field: &str) -> Vec<&'a str> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}
