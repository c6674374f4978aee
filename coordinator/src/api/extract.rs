//! What handlers take out of a request; each refusal is a problem.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    Api,
    auth::Caller,
    idempotency::Once,
    problem::{Kind, Problem},
};
use crate::limits::REQUEST_BYTES_MAX;

/// The query, with unknown keys refused by its type.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, api).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text = text.strip_prefix("Failed to deserialize query string: ");
                Err(about(text.unwrap_or("the query cannot be read")))
            }
        }
    }
}

/// A name in the path.
#[derive(Debug)]
pub struct Named(pub String);

impl FromRequestParts<Api> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, api).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => {
                Err(Problem::new(Kind::Invalid, "the path is not UTF-8"))
            }
            Err(rejection) => Err(Problem::internal(&rejection)),
        }
    }
}

/// A write: its body, and the key under which it is done once.
#[derive(Debug)]
pub struct Sent<T> {
    /// The body.
    pub body: T,
    /// Under which key it is done once, if one was sent.
    pub once: Once,
}

impl<T: DeserializeOwned> FromRequest<Api> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, bytes, once) = take(request, api).await?;
        check_is_json(&parts.headers)?;
        Ok(Self { body: parse(&bytes)?, once })
    }
}

/// The body of a request that carries no token.
#[derive(Debug)]
pub struct Told<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        check_is_json(request.headers())?;
        let bytes = collect(request, api).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// A write whose body may be left out, or null: then it is the default.
#[derive(Debug)]
pub struct MaybeSent<T>(pub Sent<T>);

impl<T: DeserializeOwned + Default> FromRequest<Api> for MaybeSent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, bytes, once) = take(request, api).await?;
        if bytes.is_empty() {
            return Ok(Self(Sent { body: T::default(), once }));
        }
        check_is_json(&parts.headers)?;
        let body: Option<T> = parse(&bytes)?;
        Ok(Self(Sent { body: body.unwrap_or_default(), once }))
    }
}

/// A write whose body says nothing: what is sent is read and left aside.
impl FromRequest<Api> for Once {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (_, _, once) = take(request, api).await?;
        Ok(once)
    }
}

/// Reads the body within its bound. The caller is known before the body is read.
async fn take(request: Request, api: &Api) -> Result<(Parts, Bytes, Once), Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, api).await?;
    let bytes = collect(Request::from_parts(parts.clone(), body), api).await?;
    let once = Once::new(&parts, &caller, &bytes)?;
    Ok((parts, bytes, once))
}

async fn collect(request: Request, api: &Api) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a body has at most {REQUEST_BYTES_MAX} bytes");
        Problem::new(Kind::TooLarge, detail)
    };
    // The router's body limit is REQUEST_BYTES_MAX, so this never holds more.
    match Bytes::from_request(request, api).await {
        Ok(bytes) => Ok(bytes),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Err(_) => Err(Problem::new(Kind::Invalid, "the body ended early")),
    }
}

/// Returns whether a body is of this type.
pub(super) fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(wanted)
}

fn check_is_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_media_type(headers, "application/json") {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, "the body must be application/json")
        .field("Content-Type"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let problem = about(&error.into_inner().to_string());
        if path == "." || problem.details().field.is_some() { problem } else { problem.field(path) }
    })?;
    json.end().map_err(|error| about(&error.to_string()))?;
    Ok(value)
}

/// Returns what serde says, and the field that it says it of.
fn about(text: &str) -> Problem {
    let problem = Problem::new(Kind::Invalid, text);
    let quoted = ["unknown field `", "missing field `", "duplicate field `"]
        .into_iter()
        .find_map(|before| text.split_once(before)?.1.split_once('`'))
        .map(|(name, _)| name);
    let led = || text.split_once(": ").map(|(name, _)| name).filter(|name| is_name(name));
    match quoted.or_else(led) {
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            problem.field(name)
        }
        None => problem,
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
