//! Who the caller is.

use axum::response::Response;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    json,
    problem::Problem,
    show,
    types::{Me, Time},
};

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(me))
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
    })
}
