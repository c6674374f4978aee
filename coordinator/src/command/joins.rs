//! Join tokens: made, revoked, and what a host gets that has one.
//!
//! ```text
//! create ─▶ good ─▶ redeem ... ─▶ used, expired or revoked
//! ```
//! A use is bound to the host's key in the same write in which it is counted: a host whose answer was lost asks again
//! with the same key, some times within the hour, and is the same agent. Each answer is in the journal. Whose agent a
//! host becomes stands in the token and nowhere else (L5).

use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::{
    ids::{AgentId, TenantId},
    join::{JoinRefusal, JoinSecret},
    limits::CONTEXT_TEXT_BYTES_MAX,
    time::Timestamp,
};

use crate::{
    command::{CommandError, identities, journal},
    limits::{
        JOIN_ANSWERS_MAX, JOIN_ANSWERS_WINDOW, JOIN_TOKEN_LIFE_MAX, JOIN_TOKEN_RETENTION,
        JOIN_TOKENS_MAX, JOIN_USES_MAX,
    },
    store::{
        engine::{Direction, Space, Staged},
        schema::{AgentKey, JoinTokenKey, JoinedKey, Key, TenantKey, range_of},
        tables::{Rows, Source, put},
        values::{Actor, Entry, Event, JoinEvent, JoinToken, JoinedHost},
    },
};

/// How many bytes of its key are a token's public name.
const ID_BYTES: usize = 8;

/// What a new token is to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Whose agents the hosts become.
    pub tenant: TenantId,
    /// How many hosts it lets in.
    pub uses: u32,
    /// For how long.
    pub life: Duration,
}

/// A host that asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it shows.
    pub secret: JoinSecret,
    /// SHA-256 of its public key.
    pub key: [u8; 32],
    /// The agent that it becomes unless it is one already.
    pub agent: AgentId,
    /// What it calls itself.
    pub host_name: String,
    /// From which address it asks.
    pub from: String,
}

/// Returns the key under which the token with this secret is kept.
#[must_use]
pub fn key_of(secret: &JoinSecret) -> JoinTokenKey {
    JoinTokenKey(Sha256::digest(secret.as_bytes()).into())
}

/// Stores a token of which `secret` is the only copy.
///
/// # Errors
/// There is no such tenant, a value is not allowed, or there are too many tokens.
pub fn create(
    staged: &mut Staged<'_>,
    secret: &JoinSecret,
    invitation: Invitation,
    actor: &Actor,
    now: Timestamp,
) -> Result<JoinToken, CommandError> {
    let Invitation { tenant, uses, life } = invitation;
    let invalid = |field, problem: String| Err(CommandError::Invalid { field, problem });
    if !(1..=JOIN_USES_MAX).contains(&uses) {
        return invalid("uses", format!("must be 1 to {JOIN_USES_MAX}"));
    }
    if life.is_zero() || life > JOIN_TOKEN_LIFE_MAX {
        let days = JOIN_TOKEN_LIFE_MAX.as_secs() / (24 * 60 * 60);
        return invalid("expires_in_hours", format!("must lie within the next {days} days"));
    }
    if staged.load(&TenantKey(tenant))?.is_none() {
        return Err(CommandError::not_found("tenant", tenant));
    }
    if forget_old(staged, now)? >= JOIN_TOKENS_MAX {
        let problem = format!("there are {JOIN_TOKENS_MAX} join tokens already");
        return invalid("tenant", problem);
    }
    let key = key_of(secret);
    let token = JoinToken {
        id: key.0[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect(),
        tenant,
        uses_max: uses,
        uses: 0,
        created_by: actor.clone(),
        created_at: now,
        expires_at: now.saturating_add(life),
        revoked_at: None,
    };
    put(staged, &key, token.clone());
    let JoinToken { id, uses_max, expires_at, .. } = token.clone();
    let event = JoinEvent::TokenCreated { token: id, uses_max, expires_at };
    note(staged, event, actor.clone(), Some(tenant), now)?;
    Ok(token)
}

/// Forgets tokens that have let nobody in for long, and where there are too many, all that let nobody in; returns how
/// many are left.
fn forget_old(staged: &mut Staged<'_>, now: Timestamp) -> Result<usize, CommandError> {
    let mut left = 0;
    let tokens = list(staged)?;
    let is_full = tokens.len() >= JOIN_TOKENS_MAX;
    for (key, token) in tokens {
        let ended_at = token.revoked_at.unwrap_or(token.expires_at).min(token.expires_at);
        let is_old = now.since(ended_at) >= JOIN_TOKEN_RETENTION;
        if !is_old && (token.is_good(now) || !is_full) {
            left += 1;
            continue;
        }
        staged.delete(Space::Rows, &key.encode());
        let (from, to) = range_of::<JoinedKey>(&key.0);
        staged.delete_range(Space::Rows, &from..&to);
    }
    Ok(left)
}

/// Reads all join tokens, without their secrets, which nobody has.
///
/// # Errors
/// The store cannot be read.
pub fn list<S: Source + ?Sized>(source: &S) -> Result<Rows<JoinTokenKey>, CommandError> {
    let (from, to) = range_of::<JoinTokenKey>(&[]);
    Ok(source.load_range(&from..&to, Direction::Forward, JOIN_TOKENS_MAX)?)
}

/// Revokes the token with this public name: it lets no host in any more. Agents that it let in stay. Revoking twice
/// changes nothing.
///
/// # Errors
/// There is none.
pub fn revoke(
    staged: &mut Staged<'_>,
    id: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<JoinToken, CommandError> {
    let found = list(staged)?.into_iter().find(|(_, token)| token.id == id);
    let Some((key, mut token)) = found else {
        let name: String = id.chars().take(64).collect();
        return Err(CommandError::not_found("join token", name));
    };
    if token.revoked_at.is_none() {
        token.revoked_at = Some(now);
        put(staged, &key, token.clone());
        let event = JoinEvent::TokenRevoked { token: token.id.clone() };
        note(staged, event, actor.clone(), Some(token.tenant), now)?;
    }
    Ok(token)
}

/// Lets a host in, or says why not. Either is in the journal, the latter if `is_noted`: whoever guesses at speed must
/// not fill it.
///
/// # Errors
/// The store cannot be read.
pub fn redeem(
    staged: &mut Staged<'_>,
    candidate: &Candidate,
    is_noted: bool,
    now: Timestamp,
) -> Result<Result<(TenantId, AgentId), JoinRefusal>, CommandError> {
    let key = key_of(&candidate.secret);
    let Some(mut token) = staged.load(&key)? else {
        if is_noted {
            note_unknown(staged, &candidate.from, now)?;
        }
        return Ok(Err(JoinRefusal::Unknown));
    };
    let joined_key = JoinedKey { token: key, key: candidate.key };
    let known = staged.load(&joined_key)?;
    let may_answer = |known: &JoinedHost| {
        known.answers < JOIN_ANSWERS_MAX && now.since(known.joined_at) < JOIN_ANSWERS_WINDOW
    };
    let is_known = known.as_ref().is_some_and(may_answer);
    let revoked = match &known {
        Some(JoinedHost { agent, .. }) => {
            identities::revocation(&*staged, AgentKey { tenant: token.tenant, agent: *agent })?
        }
        None => None,
    };
    // Whose agent was revoked is not let in with the same key again, as that agent or as another.
    let refused = revoked.map(|_| JoinRefusal::Revoked);
    if let Some(refusal) = refused.or_else(|| objection(&token, is_known, now)) {
        if is_noted {
            note_refusal(staged, Some(&token), refusal, &candidate.from, now)?;
        }
        return Ok(Err(refusal));
    }
    let joined = match known.filter(may_answer) {
        Some(known) => JoinedHost { answers: known.answers + 1, ..known },
        None => {
            token.uses += 1;
            JoinedHost { agent: candidate.agent, joined_at: now, answers: 1 }
        }
    };
    let (tenant, agent) = (token.tenant, joined.agent);
    put(staged, &joined_key, joined);
    let event = JoinEvent::Joined {
        agent,
        token: token.id.clone(),
        host_name: cut(&candidate.host_name),
        from: candidate.from.clone(),
    };
    put(staged, &key, token);
    note(staged, event, Actor::Agent(agent), Some(tenant), now)?;
    Ok(Ok((tenant, agent)))
}

/// Returns why a token lets no host in, if so. One that it has just let in is told again who it is.
fn objection(token: &JoinToken, is_known: bool, now: Timestamp) -> Option<JoinRefusal> {
    if token.revoked_at.is_some() {
        return Some(JoinRefusal::Revoked);
    }
    if now >= token.expires_at {
        return Some(JoinRefusal::Expired(token.expires_at));
    }
    (!is_known && token.uses >= token.uses_max).then_some(JoinRefusal::Used)
}

/// Notes in the journal that a host came with a secret that no token has.
///
/// # Errors
/// The store cannot be read.
pub fn note_unknown(
    staged: &mut Staged<'_>,
    from: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    note_refusal(staged, None, JoinRefusal::Unknown, from, now)
}

fn note_refusal(
    staged: &mut Staged<'_>,
    token: Option<&JoinToken>,
    refusal: JoinRefusal,
    from: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    let event = JoinEvent::Refused {
        token: token.map(|token| token.id.clone()),
        reason: refusal.as_str().to_owned(),
        from: from.to_owned(),
    };
    note(staged, event, Actor::Coordinator, token.map(|token| token.tenant), now)
}

fn note(
    staged: &mut Staged<'_>,
    event: JoinEvent,
    actor: Actor,
    tenant: Option<TenantId>,
    now: Timestamp,
) -> Result<(), CommandError> {
    journal::append(staged, &Entry { at: now, actor, tenant, event: Event::Join(event) })?;
    Ok(())
}

/// Cuts a name that a host said of itself.
fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(CONTEXT_TEXT_BYTES_MAX)].to_owned()
}

impl JoinToken {
    /// Returns whether it lets a host in at `now`.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        objection(self, false, now).is_none()
    }
}

#[cfg(test)]
mod tests;
