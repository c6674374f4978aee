//! The OpenAPI document: made from the handlers, checked in as `coordinator/openapi.json`, and served.
//!
//! Handlers say what they answer when all goes well; the problems that any request can meet are added here, so that
//! none is forgotten.

use axum::response::Response;
use utoipa::openapi::{
    ComponentsBuilder, Content, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi,
    OpenApiBuilder, PathItem, Ref, ResponseBuilder, SecurityRequirement,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, json,
    problem::{PROBLEM_JSON, Problem},
    types::{AgentName, CaseName, ProblemDetails, TenantName},
};
use crate::limits::IDEMPOTENCY_KEY_MAX;

const BEARER: &str = "bearer";
const DESCRIPTION: &str = "What analysts, leads, customers and auditors do with Signalbox. Every \
    request but those for this document and for signing in carries a bearer token; what lies \
    outside its tenants answers 404. Lists are followed by `next`. Writes may carry an \
    `Idempotency-Key`. Errors are problem details (RFC 9457) whose `type` is for programs.";

/// Statuses that every request with a token can meet, and those that only writes can meet.
const ALWAYS: &[(&str, &str)] = &[
    ("400", "Something in the request is not allowed: `invalid`"),
    ("401", "No good token: `unauthorized`"),
    ("403", "The role does not allow it: `forbidden`"),
    ("404", "No such thing, or not for this token: `not-found`"),
    ("405", "The path does not know the method: `method-not-allowed`"),
    ("429", "Too many failed attempts from this address: `locked-out`"),
    ("500", "A fault of the coordinator, `internal`, or an unknown outcome, `store-unknown`"),
    ("503", "`store-unavailable`, nothing was stored; or `too-many-clients`"),
];
const WRITES: &[(&str, &str)] = &[
    ("413", "The body is too large: `too-large`"),
    ("415", "The body is not JSON: `unsupported-media-type`"),
    ("422", "The Idempotency-Key was used for another request: `idempotency-mismatch`"),
];
const CASES: &[(&str, &str)] = &[(
    "409",
    "`ambiguous-case`, `fenced`, `lease-expired`, `already-claimed`, `closed` or `conflict`",
)];
const ISSUING: &[(&str, &str)] = &[("409", "The coordinator issues no certificates: `conflict`")];
const ROLLING_OUT: &[(&str, &str)] =
    &[("409", "All have it, or the roll-out is halted, or was before: `conflict`")];
/// What signing in can meet, which takes no token and is done once anyway.
const SIGN_IN: &[(&str, &str)] = &[
    ("400", "Something in the request is not allowed: `invalid`"),
    ("403", "The person is not let in: `sign-in-refused`"),
    ("404", "No such sign-in any more: `not-found`"),
    ("405", "The path does not know the method: `method-not-allowed`"),
    ("409", "No provider is known that people sign in at: `conflict`"),
    ("413", "The body is too large: `too-large`"),
    ("415", "The body is not JSON: `unsupported-media-type`"),
    ("429", "Too many failed attempts from this address: `locked-out`"),
    ("502", "The provider of identities is of no help: `provider-unavailable`"),
];
const CONDITIONAL: &[(&str, &str)] =
    &[("412", "Somebody else changed it first: `precondition-failed`")];

/// Returns the document without paths.
pub(super) fn frame() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("sb_ and 43 letters of base64url")
        .build();
    let components = ComponentsBuilder::new()
        .schema_from::<ProblemDetails>()
        .schema_from::<AgentName>()
        .schema_from::<CaseName>()
        .schema_from::<TenantName>()
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .build();
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Signalbox")
        .version("1")
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .build()
}

/// Returns the whole document.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut document = super::routes().into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (is_write, operation) in operations(item) {
            complete(path, is_write, operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> Vec<(bool, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    let writes = [put, post, delete].into_iter().flatten().map(|operation| (true, operation));
    get.iter_mut().map(|operation| (false, operation)).chain(writes).collect()
}

/// Adds what every operation of its kind has.
fn complete(path: &str, is_write: bool, operation: &mut Operation) {
    let is_open = operation.security.as_ref().is_some_and(Vec::is_empty);
    let mut problems = match is_open {
        true => ALWAYS.iter().filter(|(status, _)| status.starts_with('5')).collect::<Vec<_>>(),
        false => ALWAYS.iter().collect(),
    };
    if is_open && path.starts_with("/v1/sign-ins") {
        problems.extend(SIGN_IN);
    }
    if path.contains("/cases/{case}") {
        problems.extend(CASES);
    }
    if is_write && path == "/v1/join-tokens" {
        problems.extend(ISSUING);
    }
    if is_write && path.contains("/rollout/") {
        problems.extend(ROLLING_OUT);
    }
    if is_write && !is_open {
        problems.extend(WRITES);
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(utoipa::openapi::Required::False)
            .description(Some("Does the write once within 24 hours, however often it is sent"))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(IDEMPOTENCY_KEY_MAX))
                    .pattern(Some("^[!-~]{1,128}$")),
            ))
            .build();
        operation.parameters.get_or_insert_default().push(key.into());
    }
    let takes_if_match = operation.parameters.iter().flatten().any(|parameter| match parameter {
        utoipa::openapi::RefOr::T(parameter) => parameter.name == "If-Match",
        utoipa::openapi::RefOr::Ref(_) => false,
    });
    if takes_if_match {
        problems.extend(CONDITIONAL);
    }
    for (status, description) in problems {
        let known = &mut operation.responses.responses;
        known.entry((*status).to_owned()).or_insert_with(|| problem(status, description).into());
    }
}

fn problem(status: &str, description: &str) -> utoipa::openapi::Response {
    let text = |about: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
    };
    let content = Content::new(Some(Ref::from_schema_name("ProblemDetails")));
    let response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, content);
    let response = match status {
        "401" => response.header("WWW-Authenticate", text("`Bearer`")),
        "429" | "502" | "503" => {
            response.header("Retry-After", text("Seconds to wait before trying again"))
        }
        _ => response,
    };
    response.build()
}

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(serve_openapi))
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "openapi", tag = "about", security(),
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn serve_openapi() -> Result<Response, Problem> {
    json(&openapi())
}
