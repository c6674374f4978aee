//! Writes that are done once, however often they are sent.
//!
//! With an `Idempotency-Key`, the answer is stored in the same write as the change. The same request with the same
//! key is then answered from there, for [`IDEMPOTENCY_RETENTION`]; another request with that key is refused. What was
//! refused is not remembered: nothing was done, so it may be sent again. Keys of different tokens never meet.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::time::Timestamp;

use super::{
    Api,
    auth::{self, Caller},
    problem::{Kind, Problem},
};
use crate::{
    command::{CommandError, tokens},
    limits::{IDEMPOTENCY_KEY_MAX, IDEMPOTENCY_RETENTION},
    store::{
        engine::Staged,
        schema::{IdempotencyKey, TokenKey},
        tables::{Source, put},
        values::Remembered,
        writer::Priority,
    },
};

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAY_HEADER: HeaderName = HeaderName::from_static("idempotent-replay");

/// Whose write it is, and under which key it is done once, if one was sent.
#[derive(Clone, Copy, Debug)]
pub struct Once {
    token: TokenKey,
    /// The key, and the digest of the request.
    key: Option<(IdempotencyKey, [u8; 32])>,
}

impl Once {
    /// Reads the key of a request with this body.
    ///
    /// # Errors
    /// Answers `invalid` for a key that is not 1 to [`IDEMPOTENCY_KEY_MAX`] visible ASCII characters.
    pub fn new(parts: &Parts, caller: &Caller, body: &[u8]) -> Result<Self, Problem> {
        let token = caller.key;
        let Some(key) = parts.headers.get(KEY_HEADER) else {
            return Ok(Self { token, key: None });
        };
        let key = key.as_bytes();
        let sizes = 1..=IDEMPOTENCY_KEY_MAX;
        if !sizes.contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            let detail = format!("must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters");
            return Err(Problem::invalid("Idempotency-Key", detail));
        }
        let id = Sha256::new().chain_update(token.0).chain_update(key).finalize().into();
        let mut request = Sha256::new();
        let if_match = parts.headers.get(header::IF_MATCH).map_or(&[][..], HeaderValue::as_bytes);
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        for part in [parts.method.as_str().as_bytes(), target.as_bytes(), if_match, body] {
            request.update((part.len() as u64).to_be_bytes());
            request.update(part);
        }
        Ok(Self { token, key: Some((IdempotencyKey(id), request.finalize().into())) })
    }

    /// Returns whether a key was sent.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

/// Why a write is not done.
#[derive(Debug)]
pub enum Refusal {
    /// The command refused.
    Command(CommandError),
    /// The key was used for another request.
    Mismatch,
    /// The token was revoked or has expired since the request came.
    TokenGone,
    /// There is nothing to be done: no candidate is left.
    NothingWaits,
    /// The answer cannot be written as JSON.
    Json(serde_json::Error),
}

impl<E: Into<CommandError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Command(error.into())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Command(error) => error.into(),
            Refusal::Json(error) => Self::internal(&error),
            Refusal::TokenGone => auth::unauthorized("this token is not good any more"),
            Refusal::NothingWaits => Self::new(Kind::Conflict, "nothing waits any more"),
            Refusal::Mismatch => {
                let detail = "this Idempotency-Key was used for another request within 24 hours";
                Self::new(Kind::IdempotencyMismatch, detail)
                    .field("Idempotency-Key")
                    .hint("use a new key for a new request")
            }
        }
    }
}

/// What a write answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    /// What a replay answers where that differs.
    remembered: Option<Vec<u8>>,
    etag: Option<u64>,
    is_replay: bool,
}

impl Answer {
    /// Returns the answer `body`, as JSON.
    ///
    /// # Errors
    /// Never for the types of the API.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(body).map_err(Refusal::Json)?;
        Ok(Self { status, body, remembered: None, etag: None, is_replay: false })
    }

    /// Remembers `body` in place of the answer's own, because that is shown once.
    ///
    /// # Errors
    /// Never for the types of the API.
    pub fn remember(mut self, body: &impl Serialize) -> Result<Self, Refusal> {
        self.remembered = Some(serde_json::to_vec(body).map_err(Refusal::Json)?);
        Ok(self)
    }

    fn replay(known: Remembered) -> Self {
        let status = StatusCode::from_u16(known.status).unwrap_or(StatusCode::OK);
        Self { status, body: known.body, remembered: None, etag: None, is_replay: true }
    }

    /// Answers with `body` in place of what was written, or remembered: how it stands after that, which was read since.
    ///
    /// # Errors
    /// Never for the types of the API.
    pub fn showing(mut self, body: &impl Serialize) -> Result<Self, Problem> {
        self.body = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
        Ok(self)
    }

    /// Adds the `ETag` of the revision that the body shows.
    #[must_use]
    pub fn with_etag(mut self) -> Self {
        #[derive(serde::Deserialize)]
        struct Revised {
            revision: u64,
        }
        let revised: Option<Revised> = serde_json::from_slice(&self.body).ok();
        self.etag = revised.map(|revised| revised.revision);
        self
    }
}

/// Returns the `ETag` of a revision.
#[must_use]
pub fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits and quotes are visible ASCII")
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(revision) = self.etag {
            headers.insert(header::ETAG, etag(revision));
        }
        if self.is_replay {
            headers.insert(REPLAY_HEADER, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Does `command` once, and remembers its answer in the same write.
///
/// # Errors
/// The command refused, the key was used for another request, or the store did not take the change.
///
/// # Cancel safety
/// Dropped early, the write may still take effect.
pub async fn write<F>(api: &Api, once: Once, command: F) -> Result<Answer, Problem>
where
    F: FnOnce(&mut Staged<'_>, Timestamp) -> Result<Answer, Refusal> + Send + 'static,
{
    let clock = api.clock.clone();
    let command = move |staged: &mut Staged<'_>| -> Result<Answer, Refusal> {
        let now = clock.now();
        // The token was good when the request came; it may have waited since.
        let token = staged.load(&once.token)?;
        if !token.is_some_and(|token| tokens::is_good(&token, now)) {
            return Err(Refusal::TokenGone);
        }
        if let Some(known) = remembered(staged, once, now)? {
            return Ok(known);
        }
        let answer = command(staged, now)?;
        if let Some((key, request)) = once.key {
            let body = answer.remembered.as_ref().unwrap_or(&answer.body).clone();
            let status = answer.status.as_u16();
            put(staged, &key, Remembered { request, status, body, at: now });
        }
        Ok(answer)
    };
    let submitted = api.store.submit(Priority::Urgent, command).await?;
    submitted.await.map_err(Problem::from)
}

/// Returns the answer that was given before.
fn remembered(staged: &Staged<'_>, once: Once, now: Timestamp) -> Result<Option<Answer>, Refusal> {
    let Some((key, request)) = once.key else { return Ok(None) };
    let known: Option<Remembered> = staged.load(&key)?;
    match known.filter(|known| now.since(known.at) < IDEMPOTENCY_RETENTION) {
        None => Ok(None),
        Some(known) if known.request == request => Ok(Some(Answer::replay(known))),
        Some(_) => Err(Refusal::Mismatch),
    }
}
