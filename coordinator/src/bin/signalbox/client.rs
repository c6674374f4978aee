//! Requests to the coordinator: over TLS with a root of our own, bounded in time and size, sent again where safe.
//!
//! Reads are safe to repeat. Writes carry an `Idempotency-Key`, which stays the same when one is sent again, so that a
//! broken connection does not make two of it.

use std::{io, path::Path, sync::Arc, time::Duration};

use coordinator::api::types::ProblemDetails;
use serde::de::DeserializeOwned;
use shared::backoff::Backoff;
use ureq::{
    http::{Method, Request, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{
    failure::{About, Failure},
    files,
    limits::{
        CONNECT_TIMEOUT, FILE_BYTES_MAX, REQUEST_TIMEOUT, RESPONSE_BYTES_MAX, RETRY_WAIT_MAX,
        RETRY_WAIT_MIN, TRIES_MAX,
    },
    settings::Settings,
};

pub(crate) mod feed;
pub(crate) mod list;
pub(crate) mod path;

/// The coordinator, seen from here.
pub(crate) struct Client {
    agent: ureq::Agent,
    settings: Settings,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    /// Path with query, from `/v1` on.
    path: String,
    body: Option<String>,
    if_match: Option<String>,
    /// How long the coordinator is asked to wait.
    wait: Duration,
    about: About,
}

impl Ask {
    /// Returns a read.
    pub(crate) fn read(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), None)
    }

    /// Returns a write with a JSON body.
    pub(crate) fn post(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        Self::new(Method::POST, path.into(), Some(json(body)))
    }

    /// Returns a write that puts something in its place.
    pub(crate) fn put(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        Self::new(Method::PUT, path.into(), Some(json(body)))
    }

    /// Returns a removal.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), None)
    }

    fn new(method: Method, path: String, body: Option<String>) -> Self {
        let (wait, about) = (Duration::ZERO, About::General);
        Self { method, path, body, if_match: None, wait, about }
    }

    /// Says what it is about, for the complaint if it is refused.
    pub(crate) fn about(self, about: About) -> Self {
        Self { about, ..self }
    }

    /// Does it only if the thing still has this revision.
    pub(crate) fn if_revision(self, revision: Option<u64>) -> Self {
        Self { if_match: revision.map(|revision| format!("\"{revision}\"")), ..self }
    }

    /// Gives the coordinator so much more time to answer.
    pub(crate) fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Our own types have texts as keys only, so that they can always be written.
fn json(body: &impl serde::Serialize) -> String {
    serde_json::to_string(body).expect("a type of the API is JSON")
}

/// What the coordinator said to a request that it did.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status, 2xx.
    pub(crate) status: u16,
    /// The document; empty with 204.
    pub(crate) text: String,
    coordinator: String,
}

impl Answer {
    /// Reads the document.
    ///
    /// # Errors
    /// It is not what was expected.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|error| self.odd(&error))
    }

    /// Returns the failure of an answer that cannot be read.
    pub(crate) fn odd(&self, error: &impl ToString) -> Failure {
        odd(&self.coordinator, error.to_string())
    }
}

/// The coordinator cannot serve now, and has stored nothing.
const SERVICE_UNAVAILABLE: u16 = 503;

const fn is_success(status: u16) -> bool {
    matches!(status, 200..300)
}

fn odd(coordinator: &str, cause: String) -> Failure {
    Failure::Odd { coordinator: coordinator.to_owned(), cause }
}

/// Why a try came to nothing.
enum TryError {
    /// No answer, or half of one. It may have been done.
    Broken(Failure),
    /// The coordinator could not, and says when to come again.
    Busy(Failure, Option<Duration>),
    /// Trying again will not help.
    Final(Failure),
}

impl Client {
    /// Returns a client with these settings.
    ///
    /// # Errors
    /// The root certificates cannot be read.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let roots = load_roots(&settings.root)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            // A coordinator does not redirect, and a token goes nowhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { agent, settings })
    }

    /// Returns the coordinator's address.
    pub(crate) fn coordinator(&self) -> &str {
        &self.settings.coordinator
    }

    /// Asks, and asks again where the connection breaks or the coordinator is busy.
    ///
    /// # Errors
    /// It was refused, or there is no answer.
    pub(crate) fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        let key = format!("{:032x}", rand::random::<u128>());
        let mut backoff = Backoff::new(RETRY_WAIT_MIN, RETRY_WAIT_MAX);
        let mut tries = 1;
        loop {
            let (failure, asked) = match self.try_once(ask, &key) {
                Ok(answer) => return Ok(answer),
                Err(TryError::Final(failure)) => return Err(failure),
                Err(TryError::Broken(failure)) => (failure, None),
                Err(TryError::Busy(failure, after)) => (failure, after),
            };
            if tries == TRIES_MAX || asked.is_some_and(|after| after > RETRY_WAIT_MAX) {
                return Err(failure);
            }
            tries += 1;
            pause(asked.unwrap_or_else(|| backoff.next_wait(rand::random())));
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// As [`Self::ask`], or it is not what was expected.
    pub(crate) fn read<T: DeserializeOwned>(&self, ask: &Ask) -> Result<(Answer, T), Failure> {
        let answer = self.ask(ask)?;
        let value = answer.parse()?;
        Ok((answer, value))
    }

    fn try_once(&self, ask: &Ask, key: &str) -> Result<Answer, TryError> {
        let timeout = REQUEST_TIMEOUT + ask.wait;
        let mut request = self.request(&ask.method, &ask.path);
        if ask.method != Method::GET {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(revision) = &ask.if_match {
            request = request.header(header::IF_MATCH, revision);
        }
        let sent = match &ask.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                self.send(request.body(body.as_str()), timeout)
            }
            None => self.send(request.body(()), timeout),
        };
        let mut response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let read = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_vec();
        let bytes = read.map_err(|error| self.failed(&error))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| TryError::Final(self.odd(error.to_string())))?;
        if is_success(status) {
            return Ok(Answer { status, text, coordinator: self.coordinator().to_owned() });
        }
        Err(self.refused(status, &text, retry_after, &ask.about))
    }

    fn send(
        &self,
        request: Result<Request<impl ureq::AsSendBody>, ureq::http::Error>,
        timeout: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.configure_request(request?);
        self.agent.run(request.timeout_global(Some(timeout)).build())
    }

    fn request(&self, method: &Method, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.settings.coordinator))
            .header(header::ACCEPT, "application/json");
        match &self.settings.token {
            Some(token) => request.header(header::AUTHORIZATION, token.header()),
            None => request,
        }
    }

    /// Says what to do about an answer that is no success.
    fn refused(
        &self,
        status: u16,
        text: &str,
        retry_after: Option<Duration>,
        about: &About,
    ) -> TryError {
        let Ok(problem) = serde_json::from_str::<ProblemDetails>(text) else {
            return TryError::Final(self.odd(format!("status {status}, and no problem is named")));
        };
        let failure = Failure::Problem { problem: Box::new(problem), about: about.clone() };
        // With its key, what may have been stored is safe to send again: it is done once, or was.
        let is_unknown = failure.problem_name() == Some("store-unknown");
        if status == SERVICE_UNAVAILABLE || is_unknown {
            TryError::Busy(failure, retry_after)
        } else {
            TryError::Final(failure)
        }
    }

    /// Returns the failure of an answer that cannot be understood.
    pub(crate) fn odd(&self, cause: String) -> Failure {
        odd(self.coordinator(), cause)
    }

    fn failed(&self, error: &ureq::Error) -> TryError {
        let coordinator = self.coordinator().to_owned();
        let cause = error.to_string();
        let unreachable = |hint| Failure::Unreachable { coordinator, cause: cause.clone(), hint };
        match error {
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => TryError::Final(unreachable(TLS_HINT)),
            ureq::Error::Io(io) if is_certificate(io) => TryError::Final(unreachable(TLS_HINT)),
            ureq::Error::HostNotFound => {
                TryError::Final(unreachable("is the name in --coordinator right?"))
            }
            ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => {
                TryError::Broken(unreachable(
                    "is it running, and is the port in --coordinator right?",
                ))
            }
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => {
                TryError::Broken(unreachable("is the network up, and is the coordinator running?"))
            }
            // Waiting as long once more is for the person to decide.
            ureq::Error::Timeout(_) => {
                TryError::Final(unreachable("it may have been done: look before you try again"))
            }
            ureq::Error::BodyExceedsLimit(_) => TryError::Final(self.odd(format!(
                "it is longer than {RESPONSE_BYTES_MAX} bytes; ask with a smaller --limit"
            ))),
            _ => TryError::Final(self.odd(cause)),
        }
    }
}

const TLS_HINT: &str =
    "is --root the root of its certificate, and does the certificate name this host?";

/// A handshake's failure comes as one of input and output with the reason inside.
fn is_certificate(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn load_roots(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let bytes = files::load(path).map_err(|error| {
        let limit = FILE_BYTES_MAX >> 20;
        Failure::usage(
            format!("cannot read the root certificate {}: {error}", path.display()),
            format!("--root names a file with certificates in PEM, at most {limit} MiB"),
        )
    })?;
    let roots: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if roots.is_empty() {
        return Err(Failure::usage(
            format!("{} holds no certificate", path.display()),
            "--root names a file with certificates in PEM",
        ));
    }
    Ok(roots)
}

fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Waits before a request is sent again.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing can happen meanwhile that would end the wait"
)]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[cfg(test)]
mod tests;
