//! Join tokens: listed, made, revoked. An admin whose own token names tenants handles tokens of those only (L5).

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use shared::join::{JoinSecret, JoinToken as Text};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{ADMINS, Caller},
    extract::{Asked, Named, Sent},
    idempotency::{self, Answer, Once},
    json,
    page::{Page, PageQuery},
    problem::{Kind, Problem},
    read, show,
    types::{JoinToken, JoinTokenRequest, NewJoinToken},
};
use crate::{
    command::{CommandError, joins},
    store::{schema::JoinTokenKey, values},
};

/// Life of a token where none is asked for, in hours: a working day and the night before it.
const LIFE_HOURS_DEFAULT: u32 = 24;

/// What a token tells hosts beside its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTerms {
    /// Where coordinators are, as `host:port`.
    pub addresses: Vec<String>,
    /// DNS name of the coordinator's certificate.
    pub server_name: String,
    /// SHA-256 of the root's certificate.
    pub root_sha256: [u8; 32],
}

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// Join tokens, without their secrets, which nobody has.
#[utoipa::path(
    get, path = "/v1/join-tokens", operation_id = "list_join_tokens", tag = "tokens",
    params(PageQuery), responses((status = 200, description = "A page", body = Page<JoinToken>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(ADMINS)?;
    let is_shown = move |token: &values::JoinToken| caller.scope.allows(token.tenant);
    let name = "join_tokens";
    let page = read::page_by_digest(&api.store, name, &query, JoinTokenKey, |key| &key.0, is_shown);
    let ((rows, next), now) = (page.await?, api.clock.now());
    json(&Page {
        items: rows.iter().map(|(_, token)| show::join_token(token, now)).collect(),
        next,
    })
}

/// Makes a join token: whoever has it makes a host an agent of the tenant with it, by `signalbox-agent join`. Its text
/// is shown this once: an idempotent replay returns the token without it.
#[utoipa::path(
    post, path = "/v1/join-tokens", operation_id = "create_join_token", tag = "tokens",
    request_body = JoinTokenRequest,
    responses((status = 201, description = "The token with its text", body = NewJoinToken))
)]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Sent { body, once }: Sent<JoinTokenRequest>,
) -> Result<Answer, Problem> {
    caller.require(ADMINS)?;
    if !caller.scope.allows(body.tenant) {
        return Err(Problem::not_found("tenant", body.tenant).field("tenant"));
    }
    let Some(terms) = api.join_terms.clone() else {
        let detail = "this coordinator issues no certificates";
        let hint = "configure [authority], or make the agent's certificate with certs agent";
        return Err(Problem::new(Kind::Conflict, detail).hint(hint));
    };
    let hours = body.expires_in_hours.unwrap_or(LIFE_HOURS_DEFAULT);
    let invitation = joins::Invitation {
        tenant: body.tenant,
        uses: body.uses.unwrap_or(1),
        life: Duration::from_secs(u64::from(hours) * 60 * 60),
    };
    let secret = JoinSecret::from_bytes(rand::random());
    let JoinTerms { addresses, server_name, root_sha256 } = (*terms).clone();
    let text = Text { addresses, server_name, root_sha256, secret }.to_string();
    let actor = caller.actor();
    idempotency::write(&api, once, move |staged, now| {
        let token = joins::create(staged, &secret, invitation, &actor, now)?;
        let token = show::join_token(&token, now);
        let shown = NewJoinToken { token: token.clone(), text: Some(text) };
        Answer::json(StatusCode::CREATED, &shown)?.remember(&NewJoinToken { token, text: None })
    })
    .await
}

/// Revokes a join token: it lets no host in any more. Agents that it let in stay. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/join-tokens/{id}", operation_id = "revoke_join_token", tag = "tokens",
    params(("id" = String, Path, description = "Its public name: 16 hex digits")),
    responses((status = 200, description = "The token", body = JoinToken))
)]
async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named,
    once: Once,
) -> Result<Answer, Problem> {
    caller.require(ADMINS)?;
    let actor = caller.actor();
    idempotency::write(&api, once, move |staged, now| {
        let found = joins::list(staged)?.into_iter().find(|(_, token)| token.id == id);
        if !found.is_some_and(|(_, token)| caller.scope.allows(token.tenant)) {
            let name: String = id.chars().take(64).collect();
            return Err(CommandError::not_found("join token", name).into());
        }
        let token = joins::revoke(staged, &id, &actor, now)?;
        Answer::json(StatusCode::OK, &show::join_token(&token, now))
    })
    .await
}

#[cfg(test)]
mod tests;
