//! Bearer tokens: made once, shown once, kept as a digest.

use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::{ids::TenantId, time::Timestamp};

use crate::{
    command::{CommandError, journal},
    limits::{TOKEN_LIFE_MAX, TOKEN_RETENTION, TOKENS_MAX},
    store::{
        engine::{Direction, Space, Staged},
        schema::{Key, TokenKey, range_of},
        tables::{LoadError, Rows, Source, put},
        values::{Actor, Entry, Event, Role, Token},
    },
};

/// Most tokens that are looked through at once.
const TOKENS_LOOKED: usize = 1_000;
/// How many bytes of its key are a token's public name.
const ID_BYTES: usize = 8;
/// Longest name on a token.
pub const HOLDER_LETTERS_MAX: usize = 64;
/// The name on the token that a start makes for whoever sets the coordinator up. Nobody who signs in has it, so that a
/// start can always make one.
pub const FIRST_HOLDER: &str = "admin";

/// Returns the key under which `secret` is kept.
#[must_use]
pub fn key_of(secret: &str) -> TokenKey {
    TokenKey(Sha256::digest(secret.as_bytes()).into())
}

/// Returns the public name of the token under this key.
#[must_use]
pub fn id_of(key: &TokenKey) -> String {
    key.0[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a new token is to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose: the name that will stand in the journal.
    pub holder: String,
    /// What it allows.
    pub role: Role,
    /// Whose cases; empty for every tenant.
    pub tenants: Vec<TenantId>,
    /// For how long.
    pub life: Duration,
}

/// Stores a token of which `secret` is the only copy. The secret has at least 128 bits of chance. Tokens whose end is
/// long ago are forgotten.
///
/// # Errors
/// There are too many tokens, or a value is not allowed; among names, that of a person who signs in: what a program
/// does with its token would look like theirs.
pub fn create(
    staged: &mut Staged<'_>,
    secret: &str,
    grant: Grant,
    actor: &Actor,
    now: Timestamp,
) -> Result<Token, CommandError> {
    let invalid = |field, problem: &str| CommandError::Invalid { field, problem: problem.into() };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let lengths = 1..=HOLDER_LETTERS_MAX;
    if !lengths.contains(&grant.holder.len()) || !grant.holder.chars().all(allowed) {
        return Err(invalid("holder", "must be 1 to 64 of a-z, A-Z, 0-9 and ._-@"));
    }
    if grant.life.is_zero() || grant.life > TOKEN_LIFE_MAX {
        return Err(invalid("expires", "must lie within the next 366 days"));
    }
    if grant.role == Role::Customer && grant.tenants.len() != 1 {
        return Err(invalid("tenants", "a customer's token names exactly one tenant"));
    }
    let is_theirs = |token: &Token| token.person.is_some() && token.holder == grant.holder;
    if make_room(staged, now)?.iter().any(is_theirs) {
        return Err(invalid("holder", "is the name of a person who signs in: choose another"));
    }
    store(staged, secret, grant, actor, now)
}

/// Stores the administrator's token that a start makes where there is none, however many others there are.
///
/// # Errors
/// The store cannot be read.
pub fn create_first(
    staged: &mut Staged<'_>,
    secret: &str,
    life: Duration,
    now: Timestamp,
) -> Result<Token, CommandError> {
    let holder = FIRST_HOLDER.to_owned();
    let grant = Grant { holder, role: Role::Admin, tenants: Vec::new(), life };
    store(staged, secret, grant, &Actor::Coordinator, now)
}

fn store(
    staged: &mut Staged<'_>,
    secret: &str,
    grant: Grant,
    actor: &Actor,
    now: Timestamp,
) -> Result<Token, CommandError> {
    let key = key_of(secret);
    let token = Token {
        id: id_of(&key),
        holder: grant.holder,
        role: grant.role,
        tenants: grant.tenants,
        created_at: now,
        expires_at: now.saturating_add(grant.life),
        revoked_at: None,
        last_used_at: None,
        person: None,
    };
    put(staged, &key, token.clone());
    let event = Event::TokenCreated {
        token: token.id.clone(),
        holder: token.holder.clone(),
        role: token.role,
    };
    journal::append(staged, &Entry { at: now, actor: actor.clone(), tenant: None, event })?;
    Ok(token)
}

/// Forgets tokens that have been worth nothing for long, and where there are too many, all that are worth nothing, so
/// that one more can be made; returns those that are left.
///
/// # Errors
/// There are too many that are good, or the store cannot be read.
pub(super) fn make_room(
    staged: &mut Staged<'_>,
    now: Timestamp,
) -> Result<Vec<Token>, CommandError> {
    let known = list(&*staged)?;
    let is_full = known.len() >= TOKENS_MAX;
    let mut left = Vec::with_capacity(known.len());
    for (key, token) in known {
        let ended_at = token.revoked_at.unwrap_or(token.expires_at).min(token.expires_at);
        let is_old = ended_at <= now && now.since(ended_at) >= TOKEN_RETENTION;
        if is_old || (is_full && !is_good(&token, now)) {
            staged.delete(Space::Rows, &key.encode());
        } else {
            left.push(token);
        }
    }
    if left.len() >= TOKENS_MAX {
        let problem = format!("there are {TOKENS_MAX} that are good: revoke some");
        return Err(CommandError::Invalid { field: "token", problem });
    }
    Ok(left)
}

/// Reads all tokens, without their secrets, which nobody has.
///
/// # Errors
/// The store cannot be read.
pub fn list<S: Source + ?Sized>(source: &S) -> Result<Vec<(TokenKey, Token)>, CommandError> {
    let (from, to) = range_of::<TokenKey>(&[]);
    Ok(source.load_range(&from..&to, Direction::Forward, TOKENS_MAX)?)
}

/// Revokes the token with this public name. Revoking twice changes nothing.
///
/// # Errors
/// There is none.
pub fn revoke(
    staged: &mut Staged<'_>,
    id: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Token, CommandError> {
    let (key, mut token) = find(staged, id)?.ok_or_else(|| CommandError::not_found("token", id))?;
    if token.revoked_at.is_none() {
        token.revoked_at = Some(now);
        put(staged, &key, token.clone());
        let event = Event::TokenRevoked { token: token.id.clone() };
        journal::append(staged, &Entry { at: now, actor: actor.clone(), tenant: None, event })?;
    }
    Ok(token)
}

/// Finds the token with this public name, which is how its key begins.
///
/// # Errors
/// The store cannot be read.
pub fn find<S: Source + ?Sized>(
    source: &S,
    id: &str,
) -> Result<Option<(TokenKey, Token)>, LoadError> {
    let byte = |at: usize| id.get(at..at + 2).and_then(|text| u8::from_str_radix(text, 16).ok());
    let Some(head) = (0..2 * ID_BYTES).step_by(2).map(byte).collect::<Option<Vec<u8>>>() else {
        return Ok(None);
    };
    let (from, to) = range_of::<TokenKey>(&head);
    let found: Rows<TokenKey> = source.load_range(&from..&to, Direction::Forward, TOKENS_LOOKED)?;
    Ok(found.into_iter().find(|(_, token)| token.id == id))
}

/// Returns whether somebody can administrate at `now`: whether a token of that role, for every tenant, is good. One
/// that somebody signed in for does not count: it ends soon, and the provider may be away then.
///
/// # Errors
/// The store cannot be read.
pub fn has_administrator<S: Source + ?Sized>(
    source: &S,
    now: Timestamp,
) -> Result<bool, LoadError> {
    let (mut from, to) = range_of::<TokenKey>(&[]);
    loop {
        let page: Rows<TokenKey> =
            source.load_range(&from..&to, Direction::Forward, TOKENS_LOOKED)?;
        let is_administrator = |token: &Token| {
            token.role == Role::Admin
                && token.tenants.is_empty()
                && token.person.is_none()
                && is_good(token, now)
        };
        if page.iter().any(|(_, token)| is_administrator(token)) {
            return Ok(true);
        }
        match page.last() {
            Some((last, _)) if page.len() == TOKENS_LOOKED => {
                from = [last.encode(), vec![0]].concat();
            }
            Some(_) | None => return Ok(false),
        }
    }
}

/// Returns whether the token is good at `now`.
#[must_use]
pub fn is_good(token: &Token, now: Timestamp) -> bool {
    token.revoked_at.is_none() && now < token.expires_at
}

#[cfg(test)]
mod tests;
