//! Who asks: the bearer token of a request, read from the store for each request, so that a revocation acts at once.
//!
//! | roles | may |
//! | --- | --- |
//! | [`READERS`] | read what their scope allows |
//! | [`WORKERS`] | take cases from the queue and decide them |
//! | [`JOURNAL_READERS`] | read the journal |
//! | [`LEADS`] | name the case that they claim, change tenants, revoke agents, decide whose an identity is, roll out |
//! | [`ADMINS`] | list, make and revoke tokens |
//!
//! # Guessing
//! A token is found by its SHA-256, so what can be measured of the look-up says something of digests and nothing of
//! tokens: nobody can make a digest that is a little nearer to one that is there. A bearer token that was never given
//! to anybody counts towards a lockout (`super::lockout`).

use std::collections::BTreeSet;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use shared::{ids::TenantId, time::Timestamp};

use super::{
    Api,
    lockout::{self, Failure},
    peer::Origin,
    problem::{Kind, Problem},
    read,
};
use crate::{
    command::{self, tokens},
    limits::LOCKOUT_KNOWN,
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
/// Who changes tenants and their policies, revokes agents, and may name the case that they claim.
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
        command::cases::Caller {
            name: self.token.holder.clone(),
            scope: self.scope.clone(),
            person: self.token.person.clone(),
        }
    }

    /// Returns the caller as the journal names them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.command().actor()
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
    look(api, key, now).await?.ok_or_else(|| unauthorized("this token is not known"))
}

/// As [`check`]; returns nothing for a token that nobody was ever given, or that is long forgotten.
async fn look(api: &Api, key: TokenKey, now: Timestamp) -> Result<Option<Caller>, Problem> {
    let row = read::blocking(&api.store, move |engine| engine.load(&key)).await?;
    match row {
        Some(token) if tokens::is_good(&token, now) => Ok(Some(Caller::new(key, token))),
        Some(token) if token.revoked_at.is_some() => Err(unauthorized("this token was revoked")),
        Some(_) => Err(unauthorized("this token has expired")),
        None => Ok(None),
    }
}

pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(Kind::Unauthorized, detail)
        .hint("sign in, or send `Authorization: Bearer sb_...` with a token that was made for you")
}

/// Returns what the request carries as its bearer token.
///
/// # Errors
/// Answers `unauthorized` where it carries none, or another kind of proof, which a browser sends for any page's sake.
fn secret_of(parts: &Parts) -> Result<&str, Problem> {
    let header = parts.headers.get(header::AUTHORIZATION);
    let secret = header.and_then(|header| {
        let (scheme, secret) = header.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    secret.ok_or_else(|| unauthorized("the request carries no token"))
}

/// Returns the key of a token; nothing where the text is none.
fn key_of(secret: &str) -> Option<TokenKey> {
    let letters = secret.strip_prefix(TOKEN_PREFIX)?;
    (letters.len() == TOKEN_LETTERS).then(|| tokens::key_of(secret))
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let (secret, from, now) = (secret_of(parts)?, Origin::of(parts), api.clock.now());
        let (key, failure) = (key_of(secret), Failure::new(secret.as_bytes()));
        let used_at = key.and_then(|key| api.uses.last(&key));
        if used_at.is_none_or(|at| now.since(at) > LOCKOUT_KNOWN) {
            lockout::check(api, from, now)?;
        }
        let found = match key {
            Some(key) => look(api, key, now).await?,
            None => None,
        };
        let Some(caller) = found else {
            lockout::fail(api, from, failure, now).await;
            return Err(unauthorized(match key {
                Some(_) => "this token is not known",
                None => "this is no token of Signalbox",
            }));
        };
        api.uses.note(caller.key, now);
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}
