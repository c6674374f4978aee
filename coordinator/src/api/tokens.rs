//! Bearer tokens: listed, made, revoked. An admin whose own token names tenants handles tokens of those only (L5).

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::ids::TenantId;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{ADMINS, Caller, TOKEN_PREFIX, scope_of},
    extract::{Asked, Named, Sent},
    idempotency::{self, Answer, Once},
    json,
    page::{Page, PageQuery},
    problem::{Kind, Problem},
    read, show,
    types::{NewToken, Time, Token, TokenRequest},
};
use crate::{
    command::{CommandError, tokens},
    store::{
        schema::TokenKey,
        values::{self, Role},
    },
    triage::queue::TenantScope,
};

/// Life of a token where none is asked for, in days: a quarter.
const LIFE_DAYS_DEFAULT: u32 = 90;
/// Longest life that can be asked for, in days.
const LIFE_DAYS_MAX: u32 = 366;
/// Most tenants that a token names.
const TENANTS_MAX: usize = 1_000;
/// Random bytes of a token.
const SECRET_BYTES: usize = 32;

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// Draws the text of a new token: `sb_` and 43 letters.
#[must_use]
pub fn draw_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns whether all that `token` shows lies within `scope`.
fn within(scope: &TenantScope, token: &values::Token) -> bool {
    match (scope, scope_of(token)) {
        (TenantScope::All, _) => true,
        (TenantScope::Only(_), TenantScope::All) => false,
        (TenantScope::Only(mine), TenantScope::Only(theirs)) => theirs.is_subset(mine),
    }
}

/// Tokens, without their secrets, which nobody has.
#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "list_tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, description = "A page", body = Page<Token>))
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(ADMINS)?;
    let is_shown = move |token: &values::Token| within(&caller.scope, token);
    let page = read::page_by_digest(&api.store, "tokens", &query, TokenKey, |key| &key.0, is_shown);
    let ((rows, next), now) = (page.await?, api.clock.now());
    let items = rows.iter().map(|(key, token)| {
        // The newest uses are not written yet.
        let used_at = token.last_used_at.max(api.uses.last(key));
        Token { last_used_at: used_at.map(Time), ..show::token(token, now) }
    });
    json(&Page { items: items.collect(), next })
}

/// Makes a token. Its secret is shown this once: an idempotent replay returns the token without it.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "create_token", tag = "tokens",
    request_body = TokenRequest,
    responses((status = 201, description = "The token with its secret", body = NewToken))
)]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Sent { body, once }: Sent<TokenRequest>,
) -> Result<Answer, Problem> {
    caller.require(ADMINS)?;
    let days = body.expires_in_days.unwrap_or(LIFE_DAYS_DEFAULT);
    if !(1..=LIFE_DAYS_MAX).contains(&days) {
        let detail = format!("must be 1 to {LIFE_DAYS_MAX}");
        return Err(Problem::invalid("expires_in_days", detail));
    }
    let grant = tokens::Grant {
        tenants: tenants(&caller, body.role, body.tenants)?,
        holder: body.holder,
        role: body.role,
        life: Duration::from_secs(u64::from(days) * 24 * 60 * 60),
    };
    let (secret, actor) = (draw_secret(), caller.actor());
    idempotency::write(&api, once, move |staged, now| {
        let token = tokens::create(staged, &secret, grant, &actor, now)?;
        let token = show::token(&token, now);
        let shown = NewToken { token: token.clone(), secret: Some(secret) };
        Answer::json(StatusCode::CREATED, &shown)?.remember(&NewToken { token, secret: None })
    })
    .await
}

/// Returns whose data a new token shows. An empty list would mean everybody's, so it is refused where it is sent.
fn tenants(
    caller: &Caller,
    role: Role,
    asked: Option<Vec<TenantId>>,
) -> Result<Vec<TenantId>, Problem> {
    let Some(mut tenants) = asked else {
        if role == Role::Customer {
            return Err(Problem::invalid("tenants", "a customer's token names exactly one tenant"));
        }
        if matches!(caller.scope, TenantScope::Only(_)) {
            let detail = "your token names tenants, so a token that you make must, too";
            return Err(Problem::new(Kind::Forbidden, detail).field("tenants"));
        }
        return Ok(Vec::new());
    };
    tenants.sort_unstable();
    tenants.dedup();
    if !(1..=TENANTS_MAX).contains(&tenants.len()) {
        let detail = format!("must name 1 to {TENANTS_MAX}; leave it out for every tenant");
        return Err(Problem::invalid("tenants", detail));
    }
    if let Some(outside) = tenants.iter().find(|tenant| !caller.scope.allows(**tenant)) {
        return Err(Problem::not_found("tenant", outside).field("tenants"));
    }
    Ok(tenants)
}

/// Revokes a token at once. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", operation_id = "revoke_token", tag = "tokens",
    params(("id" = String, Path, description = "Its public name: 16 hex digits")),
    responses((status = 200, description = "The token", body = Token))
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
        let found = tokens::find(&*staged, &id)?;
        let is_mine = found.is_some_and(|(_, token)| within(&caller.scope, &token));
        if !is_mine {
            let name: String = id.chars().take(64).collect();
            return Err(CommandError::not_found("token", name).into());
        }
        let token = tokens::revoke(staged, &id, &actor, now)?;
        Answer::json(StatusCode::OK, &show::token(&token, now))
    })
    .await
}
