//! An API over a store in memory, with tokens, agents and blocks, for the tests of its reads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header, request::Builder},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use shared::{
    alert::{Alert, Field, Severity},
    block::BlockBuilder,
    context::ContextVersion,
    ids::{AgentId, BootId, Epoch, Lane, Seq, StreamId, TenantId},
    policy::PolicyPublicKey,
    time::Timestamp,
    wire::{Hello, LaneHead},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Api, AuthorityTerms, JoinTerms, metrics_router, router};
use crate::{
    bell::Bells,
    clock::Clock,
    command::{
        CommandError, agents,
        block::{self, Committed, Prepared},
        tokens,
    },
    counters::Counters,
    store::{
        engine::{MemoryEngine, Staged},
        schema::TokenKey,
        tables::put,
        values::{Role, Token},
        writer::{self, Writer},
    },
    triage::case::CaseId,
    view::View,
};

/// When the fixture's clock starts: 2024-01-01.
pub(super) const START_MS: u64 = 1_704_067_200_000;

/// An API over a store in memory, with a clock that the test moves.
pub(super) struct Fixture {
    pub(super) api: Api,
    pub(super) engine: Arc<MemoryEngine>,
    clock: Arc<AtomicU64>,
    router: Router,
    metrics: Router,
    _writer: Writer,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// Returns the body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns the items of a list.
    pub(super) fn items(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["items"].as_array().expect("a list").clone()
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        let engine = Arc::new(MemoryEngine::new(1));
        let (store, writer) = writer::start(engine.clone()).unwrap();
        let clock = Arc::new(AtomicU64::new(START_MS));
        let reading = Arc::clone(&clock);
        let api = Api::new(
            store,
            View::new(),
            Clock::new(move || Timestamp::from_ms(reading.load(Relaxed))),
            Arc::new(Counters::default()),
            Bells::default(),
            CancellationToken::new(),
        );
        let (router, metrics) = (router(api.clone()), metrics_router(api.clone()));
        Self { api, engine, clock, router, metrics, _writer: writer }
    }

    /// Lets hosts join.
    pub(super) fn with_joining(mut self, terms: JoinTerms) -> Self {
        self.api = self.api.with_joining(Some(terms));
        self.router = router(self.api.clone());
        self
    }

    /// Takes policies that these keys sign.
    pub(super) fn with_policy_keys(mut self, keys: &[PolicyPublicKey]) -> Self {
        self.api = self.api.with_policy_keys(keys.into());
        self.router = router(self.api.clone());
        self
    }

    /// Knows these authorities.
    pub(super) fn with_authority(mut self, terms: AuthorityTerms) -> Self {
        self.api = self.api.with_authority(terms);
        self.router = router(self.api.clone());
        self
    }

    pub(super) fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Relaxed);
    }

    /// Runs a command at the fixture's time.
    pub(super) async fn write<T, F>(&self, command: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&mut Staged<'_>, Timestamp) -> Result<T, CommandError> + Send + 'static,
    {
        let now = self.api.clock.now();
        self.api.store.write(move |staged| command(staged, now)).await.unwrap()
    }

    /// Makes a token that is good for a day, without an entry in the journal.
    pub(super) async fn token(&self, role: Role, tenants: &[&str]) -> String {
        let secret = format!("sb_{:0>43}", format!("{role:?}{}", tenants.concat()));
        let key = tokens::key_of(&secret);
        let now = self.api.clock.now();
        let token = Token {
            id: format!("{role:?}"),
            holder: "ann".into(),
            role,
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
            created_at: now,
            expires_at: now.saturating_add(std::time::Duration::from_secs(86_400)),
            revoked_at: None,
            last_used_at: None,
            person: None,
        };
        self.put_token(key, token).await;
        secret
    }

    pub(super) async fn put_token(&self, key: TokenKey, token: Token) {
        self.write(move |staged, _| {
            put(staged, &key, token);
            Ok(())
        })
        .await;
    }

    /// Lets an agent greet whose normal lane begins at block `first`.
    pub(super) async fn greet(&self, tenant: &str, agent: u8, first: u64) {
        let (tenant, agent): (TenantId, _) =
            (tenant.parse().unwrap(), AgentId::from_bytes([agent; 16]));
        let mut heads = [LaneHead { first: Seq::FIRST, last: None }; Lane::COUNT];
        let first = Seq::new(first).unwrap();
        heads[Lane::Normal.index()] = LaneHead { first, last: Some(first) };
        let hello = Hello {
            version: 1,
            epoch: Epoch(7),
            boot: BootId(8),
            heads,
            agent_version: "1.2.3".into(),
            context: ContextVersion::default(),
        };
        self.write(move |staged, now| agents::greet(staged, tenant, agent, &hello, now)).await;
    }

    /// Stores a block of the agent's normal lane with one alert for each (host, source address); returns the cases.
    pub(super) async fn block(
        &self,
        tenant: &str,
        agent: u8,
        seq: u64,
        alerts: &[(&str, &str)],
    ) -> Vec<CaseId> {
        let mut builder = BlockBuilder::new();
        for (host, address) in alerts {
            let mut alert = Alert::default();
            alert.observed_at = self.api.clock.now();
            alert.severity = Severity::High;
            alert.set(Field::Title, format!("scan of {host}"));
            alert.set(Field::DeviceHostname, *host);
            alert.set(Field::SrcIp, *address);
            builder.push(&alert, format!("record of {host}").as_bytes()).unwrap();
        }
        self.block_of(tenant, agent, seq, &mut builder).await
    }

    pub(super) async fn block_of(
        &self,
        tenant: &str,
        agent: u8,
        seq: u64,
        builder: &mut BlockBuilder,
    ) -> Vec<CaseId> {
        self.block_bytes(tenant, agent, seq, builder.finish(1)).await
    }

    /// Stores a block as an agent sent it; returns the cases that it touched.
    pub(super) async fn block_bytes(
        &self,
        tenant: &str,
        agent: u8,
        seq: u64,
        block: Bytes,
    ) -> Vec<CaseId> {
        let agent = AgentId::from_bytes([agent; 16]);
        let stream = StreamId { agent, epoch: Epoch(7), lane: Lane::Normal };
        let (tenant, seq) = (tenant.parse().unwrap(), Seq::new(seq).unwrap());
        let prepared = Prepared::new(tenant, stream, seq, block).unwrap();
        match self.write(move |staged, now| block::commit(staged, &prepared, now)).await {
            Committed::Stored(cases) => cases,
            Committed::Before => panic!("the block was there before"),
        }
    }

    /// Sends a request and returns the answer before its body is read.
    pub(super) async fn open(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> Response {
        let bearer = format!("Bearer {token}");
        let request = Request::get(path).header(header::AUTHORIZATION, bearer);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        answer(self.open(path, token, &[]).await).await
    }

    /// Sends a body as JSON.
    pub(super) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.ask(request, token, Body::from(body.to_string())).await
    }

    pub(super) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.ask(Request::delete(path), token, Body::empty()).await
    }

    async fn ask(&self, request: Builder, token: &str, body: Body) -> Answer {
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let sent = self.router.clone().oneshot(request.body(body).unwrap());
        answer(sent.await.unwrap()).await
    }

    /// Asks the metrics listener.
    pub(super) async fn metrics(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        answer(self.metrics.clone().oneshot(request).await.unwrap()).await
    }

    /// Follows a list to its end and returns all items; `path` has a query.
    pub(super) async fn all(&self, path: &str, token: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{cursor}"), token).await;
            items.extend(page.items());
            assert!(items.len() < 10_000, "{path} comes to an end");
            match page.json()["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

pub(super) async fn answer(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// Returns the id of the agent that [`Fixture::greet`] knows as `agent`.
pub(super) fn agent_id(agent: u8) -> String {
    AgentId::from_bytes([agent; 16]).to_string()
}
