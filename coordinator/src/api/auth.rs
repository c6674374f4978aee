//! Who asks: the bearer token of a request, read from the store for each request, so that a revocation acts at once.
//!
//! | roles | may |
//! | --- | --- |
//! | [`READERS`] | read what their scope allows |
//! | [`WORKERS`] | take cases from the queue and decide them |
//! | [`JOURNAL_READERS`] | read the journal |
//! | [`LEADS`] | name the case that they claim, change tenants, revoke agents, decide whose an identity is |
//! | [`ADMINS`] | list, make and revoke tokens |

use std::collections::BTreeSet;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use shared::{ids::TenantId, time::Timestamp};

use super::{
    Api,
    problem::{Kind, Problem},
    read,
};
use crate::{
    command::{self, tokens},
    store::{
        schema::TokenKey,
        tables::Source,
        values::{Actor, Role, Token},
    },
    triage::queue::TenantScope,
};

/// Every role.
pub const READERS: &[Role] =
    &[Role::Customer, Role::Auditor, Role::Analyst, Role::Lead, Role::Admin];
/// Who works the queue.
pub const WORKERS: &[Role] = &[Role::Analyst, Role::Lead, Role::Admin];
/// Who reads the journal.
pub const JOURNAL_READERS: &[Role] = &[Role::Auditor, Role::Lead, Role::Admin];
/// Who changes tenants, revokes agents, and may name the case that they claim.
pub const LEADS: &[Role] = &[Role::Lead, Role::Admin];
/// Who makes and revokes tokens.
pub const ADMINS: &[Role] = &[Role::Admin];

/// Beginning of every token, so that a secret scanner knows one.
pub const TOKEN_PREFIX: &str = "sb_";
/// Length of a token behind its prefix: 32 random bytes in base64url.
pub const TOKEN_LETTERS: usize = 43;

/// Who asks, as the token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's row.
    pub token: Token,
    /// Under which key it is kept.
    pub key: TokenKey,
    /// Whose data they may see.
    pub scope: TenantScope,
}

impl Caller {
    fn new(key: TokenKey, token: Token) -> Self {
        let scope = scope_of(&token);
        Self { token, key, scope }
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.token.role
    }

    /// Checks that the role is one of `allowed`.
    ///
    /// # Errors
    /// Answers `forbidden`, which says who may.
    pub fn require(&self, allowed: &[Role]) -> Result<(), Problem> {
        let is = self.token.role;
        if allowed.contains(&is) { Ok(()) } else { Err(Problem::forbidden(is, allowed)) }
    }

    /// Checks that the tenant's data are in the caller's scope (L5).
    ///
    /// # Errors
    /// Answers `not-found`, as if the tenant were not there.
    pub fn see(&self, tenant: TenantId) -> Result<(), Problem> {
        if self.scope.allows(tenant) {
            return Ok(());
        }
        Err(Problem::not_found("tenant", tenant))
    }

    /// Returns the caller as commands know them.
    #[must_use]
    pub fn command(&self) -> command::cases::Caller {
        command::cases::Caller { name: self.token.holder.clone(), scope: self.scope.clone() }
    }

    /// Returns the caller as the journal names them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.token.holder.clone())
    }
}

/// Returns whose data a token shows.
#[must_use]
pub fn scope_of(token: &Token) -> TenantScope {
    match (token.tenants.as_slice(), token.role) {
        // A customer's token always names its tenant; one that does not shows nothing.
        ([], Role::Customer) => TenantScope::Only(BTreeSet::new()),
        ([], _) => TenantScope::All,
        (tenants, _) => TenantScope::Only(tenants.iter().copied().collect()),
    }
}

/// Reads the token under `key` and checks that it is good at `now`.
///
/// # Errors
/// Answers `unauthorized`, or that the store cannot be read.
pub async fn check(api: &Api, key: TokenKey, now: Timestamp) -> Result<Caller, Problem> {
    let row = read::blocking(&api.store, move |engine| engine.load(&key)).await?;
    match row {
        Some(token) if tokens::is_good(&token, now) => Ok(Caller::new(key, token)),
        Some(token) if token.revoked_at.is_some() => Err(unauthorized("this token was revoked")),
        Some(_) => Err(unauthorized("this token has expired")),
        None => Err(unauthorized("this token is not known")),
    }
}

pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(Kind::Unauthorized, detail)
        .hint("send `Authorization: Bearer sb_...` with a token that an admin made for you")
}

/// Returns the key of the request's token.
fn key_of(parts: &Parts) -> Result<TokenKey, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION);
    let header = header.ok_or_else(|| unauthorized("the request carries no token"))?;
    let secret = header.to_str().ok().and_then(|text| {
        let (scheme, secret) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    let well_formed = |secret: &&str| {
        secret.strip_prefix(TOKEN_PREFIX).is_some_and(|rest| rest.len() == TOKEN_LETTERS)
    };
    let secret = secret.filter(well_formed);
    let secret = secret.ok_or_else(|| unauthorized("this is no token of Signalbox"))?;
    Ok(tokens::key_of(secret))
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let caller = check(api, key_of(parts)?, api.clock.now()).await?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}
