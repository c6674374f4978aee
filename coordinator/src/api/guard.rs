//! What stands before every handler: a request's id, its share of the bound, its time, and its place in the log.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{
    Api,
    problem::{Kind, Problem},
};
use crate::{
    counters::StatusClass,
    limits::{API_REQUEST_TIMEOUT, API_REQUESTS_MAX},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client: a UUID, or two.
const REQUEST_ID_LETTERS_MAX: usize = 80;

/// Runs one request within its bounds.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    #[expect(clippy::disallowed_methods, reason = "the API is a driver: it may look at the clock")]
    let started = Instant::now();
    let id = request_id(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", %method, path, id = id.to_str().unwrap_or_default());
    let mut response = bounded(&api, request, next).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let (status, took) = (response.status(), started.elapsed());
    api.counters.api_requests.add_one(StatusClass::of(status.as_u16()));
    api.counters.api_request_seconds.observe(took);
    let _entered = span.enter();
    tracing::debug!(status = status.as_u16(), ms = took.as_millis(), "request answered");
    response
}

async fn bounded(api: &Api, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests.try_acquire() else {
        let detail = format!("{API_REQUESTS_MAX} requests are being worked on");
        return Problem::new(Kind::TooManyClients, detail)
            .hint("try again in a moment")
            .into_response();
    };
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    match tokio::time::timeout(API_REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) if is_read => {
            Problem::new(Kind::StoreUnavailable, "the store did not answer in time")
                .hint("try again in a moment")
                .into_response()
        }
        Err(_) => Problem::outcome_unknown().into_response(),
    }
}

/// Returns the client's id of the request, or one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        (1..=REQUEST_ID_LETTERS_MAX).contains(&id.len()) && id.iter().all(is_plain)
    });
    given.cloned().unwrap_or_else(|| {
        let id = format!("{:016x}", rand::random::<u64>());
        HeaderValue::from_str(&id).expect("hex digits are visible ASCII")
    })
}
