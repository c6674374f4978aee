//! The HTTPS API: one of the three drivers above the commands.
//!
//! A handler takes its input out of the request ([`extract`]), knows its caller ([`auth`]), reads the store
//! ([`read`]) or runs one command through the writer ([`idempotency`]), and answers with JSON ([`types`]) or with a
//! problem ([`problem`]). It decides nothing: rules stand in `command` and `triage`.
//!
//! # Limits
//! Connections, streams of a connection, requests at once, their bodies and their time are bounded; see
//! [`crate::limits`]. Reads run where they may block, and look at a bounded number of rows.
//!
//! Not here: certificates and keys (the finished TLS configuration comes in), who keeps the queue view up.
#![allow(unused_qualifications, reason = "utoipa's macros write the paths of local types in full")]

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, Method, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use shared::policy::PolicyPublicKey;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::{
    lockout::Lockouts,
    problem::{Kind, Problem},
};
use crate::{
    bell::Bells,
    clock::Clock,
    counters::Counters,
    limits::{API_REQUESTS_MAX, REQUEST_BYTES_MAX},
    store::writer::Store,
    uses::Uses,
    view::View,
};

pub mod agents;
pub mod alerts;
pub mod auth;
pub mod authority;
pub mod cases;
pub mod extract;
#[cfg(test)]
mod fixture;
mod guard;
pub mod idempotency;
pub mod join_tokens;
pub mod journal;
pub mod ledger;
pub mod live;
mod lockout;
pub mod me;
pub mod metrics;
pub mod ocsf;
pub mod openapi;
pub mod page;
pub mod peer;
pub mod policies;
pub mod problem;
pub mod queue;
pub mod read;
pub mod recalls;
pub mod serve;
pub mod show;
pub mod sign_in;
pub mod tenants;
pub mod tokens;
pub mod types;

pub use authority::{AuthorityTerms, BundleCheck};
pub use join_tokens::JoinTerms;
pub use metrics::{metrics_router, serve_metrics};
pub use openapi::openapi;
pub use serve::serve;
pub use sign_in::{GroupRule, SignInTerms, SignIns};

/// What the API works with.
#[derive(Clone, Debug)]
pub struct Api {
    /// Reads and changes.
    pub store: Store,
    /// The queue.
    pub view: View,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Rung when agents are to be asked for or offered something, or are to be let in no more.
    pub bells: Bells,
    /// Cancelled when the coordinator stops: waits and feeds end.
    pub stopping: CancellationToken,
    /// When tokens were used last.
    pub uses: Uses,
    /// What join tokens tell hosts; without it none are made.
    pub join_terms: Option<Arc<JoinTerms>>,
    /// Where people sign in, and who does just now; without it they need a token.
    sign_ins: Option<Arc<SignIns>>,
    /// Which addresses are not listened to.
    lockouts: Arc<Lockouts>,
    /// What must end although whoever asked for it has gone.
    tasks: TaskTracker,
    /// The keys that policies may be signed by; without one none is taken.
    pub policy_keys: Arc<[PolicyPublicKey]>,
    /// What is known of the authorities.
    pub authority: Arc<AuthorityTerms>,
    /// One permit for each request that is worked on.
    requests: Arc<Semaphore>,
}

impl Api {
    /// Returns an API over this store.
    #[must_use]
    pub fn new(
        store: Store,
        view: View,
        clock: Clock,
        counters: Arc<Counters>,
        bells: Bells,
        stopping: CancellationToken,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(API_REQUESTS_MAX));
        Self {
            store,
            view,
            clock,
            counters,
            bells,
            stopping,
            uses: Uses::default(),
            join_terms: None,
            sign_ins: None,
            lockouts: Arc::default(),
            tasks: TaskTracker::new(),
            policy_keys: Arc::from([]),
            authority: Arc::default(),
            requests,
        }
    }

    /// Returns the API over what is noted of tokens' last uses elsewhere, too.
    #[must_use]
    pub fn with_uses(mut self, uses: Uses) -> Self {
        self.uses = uses;
        self
    }

    /// Returns the API whose own tasks are among these, so that whoever stops can wait for them.
    #[must_use]
    pub fn with_tasks(mut self, tasks: TaskTracker) -> Self {
        self.tasks = tasks;
        self
    }

    /// Returns the API with where people sign in.
    #[must_use]
    pub fn with_sign_in(mut self, sign_ins: Option<SignIns>) -> Self {
        self.sign_ins = sign_ins.map(Arc::new);
        self
    }

    /// Returns the API with what join tokens tell hosts.
    #[must_use]
    pub fn with_joining(mut self, terms: Option<JoinTerms>) -> Self {
        self.join_terms = terms.map(Arc::new);
        self
    }
}

/// Returns all routes with what the OpenAPI document says about them.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(me::routes())
        .merge(sign_in::routes())
        .merge(tenants::routes())
        .merge(agents::routes())
        .merge(ledger::routes())
        .merge(cases::routes())
        .merge(alerts::routes())
        .merge(recalls::routes())
        .merge(authority::routes())
        .merge(policies::routes())
        .merge(queue::routes())
        .merge(journal::routes())
        .merge(live::routes())
        .merge(tokens::routes())
        .merge(join_tokens::routes())
        .merge(openapi::routes())
}

/// Returns the router of the whole API.
pub fn router(api: Api) -> Router {
    let (router, _): (Router<Api>, OpenApi) = routes().split_for_parts();
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

/// Returns `body` as JSON that no cache keeps.
pub(crate) fn json(body: &impl serde::Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, bytes).into_response())
}

async fn no_such_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(256).collect();
    Problem::new(Kind::NotFound, format!("there is nothing at {path}"))
        .hint("GET /v1/openapi.json lists what there is")
}

async fn no_such_method(method: Method) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("this path does not know {method}"))
        .hint("the Allow header names the methods that it knows")
}

#[cfg(test)]
mod tests;
