//! Who the caller is, and the end of that.

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    idempotency::{self, Answer, Once},
    json,
    problem::Problem,
    show,
    types::{Me, Person, Time, Token},
};
use crate::command::tokens;

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(sign_out))
}

/// Who the token says that the caller is, and whose data they may see.
#[utoipa::path(
    get, path = "/v1/me", operation_id = "me", tag = "about",
    responses((status = 200, description = "The caller", body = Me))
)]
async fn me(caller: Caller) -> Result<Response, Problem> {
    let token = caller.token;
    json(&Me {
        tenants: show::scope(&token),
        holder: token.holder,
        role: token.role,
        expires_at: Time(token.expires_at),
        token: token.id,
        person: token.person.as_ref().map(Person::from),
    })
}

/// Revokes the token that the request carries, whatever it allows: whoever has it may make it worthless.
#[utoipa::path(
    delete, path = "/v1/me/token", operation_id = "sign_out", tag = "sign-in",
    responses((status = 200, description = "The token", body = Token))
)]
async fn sign_out(State(api): State<Api>, caller: Caller, once: Once) -> Result<Answer, Problem> {
    let (id, actor) = (caller.token.id.clone(), caller.actor());
    idempotency::write(&api, once, move |staged, now| {
        let token = tokens::revoke(staged, &id, &actor, now)?;
        Answer::json(StatusCode::OK, &show::token(&token, now))
    })
    .await
}
