//! Why a request is not done: problem details (RFC 9457) for every error that a handler can meet.
//!
//! What a caller is told is written here; causes that are none of theirs are logged and stay inside.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::ids::IdError;

use super::types::ProblemDetails;
use crate::{
    command::CommandError,
    store::{tables::LoadError, values::Role, writer::WriteError},
    triage::case::Refused,
};

/// Content type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Kind of a problem: its name, status and title never change within `/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No good token.
    Unauthorized,
    /// The role does not allow it.
    Forbidden,
    /// There is no such thing, or not for this caller.
    NotFound,
    /// Something in the request is not allowed.
    Invalid,
    /// The beginning of an id fits several cases.
    AmbiguousCase,
    /// The state of things forbids it, in a way that has no kind of its own.
    Conflict,
    /// The write belongs to an older claim (L6).
    Fenced,
    /// The lease ran out.
    LeaseExpired,
    /// Somebody has the case.
    AlreadyClaimed,
    /// The case is decided.
    Closed,
    /// Evidence came that the decider has not read.
    NewEvidence,
    /// Somebody else changed it first.
    PreconditionFailed,
    /// An idempotency key was used for another request.
    IdempotencyMismatch,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The store cannot be reached; nothing was stored.
    StoreUnavailable,
    /// It may or may not have been stored.
    StoreUnknown,
    /// There are as many requests as there may be.
    TooManyClients,
    /// Too much that is not good came from the caller's address.
    LockedOut,
    /// Somebody signed in and is not let in.
    SignInRefused,
    /// The provider that people sign in at cannot be reached, or does not do its part.
    ProviderUnavailable,
    /// A fault of ours.
    Internal,
}

impl Kind {
    /// Returns name, status and title.
    #[must_use]
    pub const fn facts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "No valid token"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "Not allowed for this role"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "No such thing"),
            Self::Invalid => ("invalid", S::BAD_REQUEST, "Invalid request"),
            Self::AmbiguousCase => ("ambiguous-case", S::CONFLICT, "More than one case fits"),
            Self::Conflict => ("conflict", S::CONFLICT, "Not possible now"),
            Self::Fenced => ("fenced", S::CONFLICT, "A newer claim exists"),
            Self::LeaseExpired => ("lease-expired", S::CONFLICT, "The lease ran out"),
            Self::AlreadyClaimed => ("already-claimed", S::CONFLICT, "Somebody has this case"),
            Self::Closed => ("closed", S::CONFLICT, "The case is closed"),
            Self::NewEvidence => ("new-evidence", S::CONFLICT, "New evidence came"),
            Self::PreconditionFailed => {
                ("precondition-failed", S::PRECONDITION_FAILED, "Changed meanwhile")
            }
            Self::IdempotencyMismatch => {
                let title = "Idempotency key used for another request";
                ("idempotency-mismatch", S::UNPROCESSABLE_ENTITY, title)
            }
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", S::UNSUPPORTED_MEDIA_TYPE, "Body is not JSON")
            }
            Self::MethodNotAllowed => {
                ("method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::StoreUnavailable => {
                ("store-unavailable", S::SERVICE_UNAVAILABLE, "Store not available")
            }
            Self::StoreUnknown => ("store-unknown", S::INTERNAL_SERVER_ERROR, "Outcome not known"),
            Self::TooManyClients => {
                ("too-many-clients", S::SERVICE_UNAVAILABLE, "Too many clients")
            }
            Self::LockedOut => ("locked-out", S::TOO_MANY_REQUESTS, "Too many failed attempts"),
            Self::SignInRefused => ("sign-in-refused", S::FORBIDDEN, "Signing in was refused"),
            Self::ProviderUnavailable => {
                ("provider-unavailable", S::BAD_GATEWAY, "Provider of identities not available")
            }
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// A problem, ready to be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: Kind,
    details: ProblemDetails,
    /// After how many seconds it may help to try again.
    retry_after: Option<u32>,
}

impl Problem {
    /// Returns a problem of this kind; `detail` says what is wrong this time.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.facts();
        let details = ProblemDetails {
            kind: format!("urn:signalbox:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            hint: None,
            matches: Vec::new(),
        };
        let retry_after = match kind {
            Kind::StoreUnavailable | Kind::TooManyClients => Some(1),
            _ => None,
        };
        Self(Box::new(Inner { kind, details, retry_after }))
    }

    /// Returns that `field` is not allowed as it is.
    #[must_use]
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail).field(field)
    }

    /// Returns that there is no `what` with this name that the caller may see.
    #[must_use]
    pub fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {name}"))
            .hint("check the name, and with GET /v1/me whose data your token may see")
    }

    /// Returns that only `allowed` may do this.
    #[must_use]
    pub fn forbidden(is: Role, allowed: &[Role]) -> Self {
        let names: Vec<&str> = allowed.iter().map(|role| role_name(*role)).collect();
        let detail = format!("{} may not do this; it takes {}", role_name(is), names.join(" or "));
        Self::new(Kind::Forbidden, detail).hint("ask an admin for a token with that role")
    }

    /// Logs a fault of ours and returns what the caller is told about it.
    #[must_use]
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(Kind::Internal, "the coordinator could not do this, and has logged why")
            .hint("tell whoever runs the coordinator, with the X-Request-Id of this answer")
    }

    /// Names the field, query key or header that it is about.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.details.field = Some(field.into());
        self
    }

    /// Says what a person can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.details.hint = Some(hint.into());
        self
    }

    /// Says after how many seconds it may help to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Lists what an ambiguous name may have meant.
    #[must_use]
    pub fn matches(mut self, matches: Vec<String>) -> Self {
        self.0.details.matches = matches;
        self
    }

    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns what the caller is told.
    #[must_use]
    pub fn details(&self) -> &ProblemDetails {
        &self.0.details
    }
}

/// Returns the role's name in the API.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Auditor => "auditor",
        Role::Analyst => "analyst",
        Role::Lead => "lead",
        Role::Admin => "admin",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (_, status, _) = self.0.kind.facts();
        let body = serde_json::to_vec(&self.0.details).unwrap_or_default(); // plain data
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.0.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let next = "ask for the next case with POST /v1/queue/next";
        let (kind, hint) = match &refused {
            Refused::Held { .. } => (Kind::AlreadyClaimed, next),
            Refused::Closed => (Kind::Closed, "read the case to see its verdict"),
            Refused::StaleFence { .. } | Refused::NotYours(_) => {
                (Kind::Fenced, "read the case: somebody else may have claimed it since")
            }
            Refused::LeaseExpired => (Kind::LeaseExpired, next),
            Refused::NewEvidence { .. } => (
                Kind::NewEvidence,
                "read the case again, and send the verdict with its revision if it still holds",
            ),
        };
        Self::new(kind, refused.to_string()).hint(hint)
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(_) => {
                tracing::error!(%error, "store not readable");
                Self::new(Kind::StoreUnavailable, "the store cannot be read; nothing was stored")
                    .hint("try again in a moment")
            }
            LoadError::Value(_) | LoadError::Key(_) => Self::internal(&error),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotFound { what, name } => Self::not_found(what, name),
            CommandError::Refused(refused) => refused.into(),
            CommandError::Changed { .. } => Self::new(Kind::PreconditionFailed, error.to_string())
                .field("If-Match")
                .hint("read it again, and send the new ETag as If-Match"),
            CommandError::Invalid { field, problem } => Self::invalid(field, problem),
            CommandError::Conflict { problem } => Self::new(Kind::Conflict, problem),
            CommandError::OutOfOrder { .. } | CommandError::Revoked | CommandError::Superseded => {
                Self::internal(&error)
            }
            CommandError::Load(load) => load.into(),
        }
    }
}

impl<E: Into<Self>> From<WriteError<E>> for Problem {
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(refused) => refused.into(),
            WriteError::NotStored(cause) => {
                tracing::error!(cause, "change not stored");
                let detail = "the store did not take the change; nothing was stored";
                Self::new(Kind::StoreUnavailable, detail).hint("try again in a moment")
            }
            WriteError::Unknown(cause) => {
                tracing::error!(cause, "change may or may not be stored");
                Self::outcome_unknown()
            }
            WriteError::Stopped => {
                Self::new(Kind::StoreUnavailable, "the coordinator shuts down; nothing was stored")
                    .hint("try again in a moment")
            }
        }
    }
}

impl Problem {
    /// Returns that nobody can tell whether a change was stored.
    #[must_use]
    pub fn outcome_unknown() -> Self {
        Self::new(Kind::StoreUnknown, "the change may or may not have been stored").hint(
            "read the thing first; with an Idempotency-Key the same request is safe to repeat",
        )
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        let field = match &error {
            IdError::Tenant(_) => "tenant",
            IdError::Agent(_) => "agent",
        };
        Self::invalid(field, error.to_string())
    }
}
