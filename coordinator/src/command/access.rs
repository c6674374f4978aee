//! What happens at the API's door: a person signs in, or does not, and addresses that are not listened to.
//!
//! A token that somebody signed in for is an ordinary one, with a name on it that is theirs: the first who is called
//! so keeps the name, and anybody else of that name has a mark of their own behind it. Whoever gives tokens to others
//! cannot give one a person's name, see [`tokens::create`].

use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::{ids::TenantId, time::Timestamp};

use crate::{
    command::{
        CommandError, journal,
        tokens::{self, FIRST_HOLDER, HOLDER_LETTERS_MAX},
    },
    limits::{SIGN_IN_TOKEN_LIFE_MAX, SIGN_IN_TOKENS_OF_PERSON_MAX},
    store::{
        engine::Staged,
        schema::TokenKey,
        tables::{Source, put},
        values::{AccessEvent, Actor, Entry, Event, Person, Role, SignInRefusal, Token},
    },
};

/// Bytes of a digest that tell people of one name apart, and more where somebody has that mark on purpose.
const MARKS_BYTES: [usize; 4] = [4, 8, 16, 28];

/// What somebody is to get who has shown the provider who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Who.
    pub person: Person,
    /// What they are called, in letters that a token's holder may have.
    pub name: String,
    /// What the token allows.
    pub role: Role,
    /// Whose cases; empty for every tenant.
    pub tenants: Vec<TenantId>,
    /// For how long.
    pub life: Duration,
    /// The group of theirs that decided.
    pub group: String,
    /// From which address they asked for it.
    pub from: String,
    /// At which address their browser is.
    pub browser: String,
}

/// Stores a token for somebody who signed in, of which `secret` is the only copy. Tokens whose end is long ago are
/// forgotten, and of the person's own the oldest are revoked beyond [`SIGN_IN_TOKENS_OF_PERSON_MAX`].
///
/// # Errors
/// A value that is not allowed, or there are too many tokens, or others have every name that they could have.
pub fn sign_in(
    staged: &mut Staged<'_>,
    secret: &str,
    admission: Admission,
    now: Timestamp,
) -> Result<Token, CommandError> {
    let Admission { person, name, role, tenants, life, group, from, browser } = admission;
    let invalid = |field, problem: String| Err(CommandError::Invalid { field, problem });
    if life.is_zero() || life > SIGN_IN_TOKEN_LIFE_MAX {
        let hours = SIGN_IN_TOKEN_LIFE_MAX.as_secs() / (60 * 60);
        return invalid("expires", format!("must lie within the next {hours} hours"));
    }
    if role == Role::Customer && tenants.len() != 1 {
        return invalid("tenants", "a customer's token names exactly one tenant".to_owned());
    }
    let known = tokens::make_room(staged, now)?;
    let Some(holder) = holder(&name, &person, &known) else {
        return invalid(
            "holder",
            format!("others have the name {name}, whatever is put behind it"),
        );
    };
    revoke_oldest(staged, &person, &known, now)?;
    let key = tokens::key_of(secret);
    let token = Token {
        id: tokens::id_of(&key),
        holder: holder.clone(),
        role,
        tenants: tenants.clone(),
        created_at: now,
        expires_at: now.saturating_add(life),
        revoked_at: None,
        last_used_at: None,
        person: Some(person.clone()),
    };
    put(staged, &key, token.clone());
    let actor = Actor::SignedIn {
        name: holder,
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
    };
    let event = AccessEvent::SignedIn {
        token: token.id.clone(),
        expires_at: token.expires_at,
        person,
        role,
        tenants,
        group,
        from,
        browser,
    };
    note(staged, event, actor, now)?;
    Ok(token)
}

/// Returns whether somebody signed in for the token.
fn is_of(token: &Token, person: &Person) -> bool {
    token.person.as_ref().is_some_and(|other| other.is(person))
}

/// Revokes tokens of a person's so that one more is not too many.
fn revoke_oldest(
    staged: &mut Staged<'_>,
    person: &Person,
    known: &[Token],
    now: Timestamp,
) -> Result<(), CommandError> {
    let good = known.iter().filter(|token| is_of(token, person) && tokens::is_good(token, now));
    let mut good: Vec<&Token> = good.collect();
    good.sort_by_key(|token| token.created_at);
    let surplus = (good.len() + 1).saturating_sub(SIGN_IN_TOKENS_OF_PERSON_MAX);
    for token in &good[..surplus] {
        tokens::revoke(staged, &token.id, &Actor::Coordinator, now)?;
    }
    Ok(())
}

/// Returns the name that stands on somebody's token: theirs, or where that is taken with a mark behind it that is not.
fn holder(name: &str, person: &Person, known: &[Token]) -> Option<String> {
    let is_free = |name: &str| {
        let mut others = known.iter().filter(|token| !is_of(token, person));
        name != FIRST_HOLDER && !others.any(|token| token.holder == name)
    };
    if is_free(name) {
        return Some(name.to_owned());
    }
    let digest = Sha256::new()
        .chain_update((person.issuer.len() as u64).to_be_bytes())
        .chain_update(&person.issuer)
        .chain_update(&person.subject)
        .finalize();
    let mut marked = MARKS_BYTES.into_iter().map(|bytes| {
        let mark: String = digest[..bytes].iter().map(|byte| format!("{byte:02x}")).collect();
        let room = HOLDER_LETTERS_MAX - mark.len() - 1;
        format!("{}.{mark}", &name[..name.floor_char_boundary(room)])
    });
    marked.find(|name| is_free(name))
}

/// Notes that a person has shown who they are and gets no token.
///
/// # Errors
/// The store cannot be read.
pub fn refuse(
    staged: &mut Staged<'_>,
    person: Person,
    reason: SignInRefusal,
    from: String,
    now: Timestamp,
) -> Result<(), CommandError> {
    let event = AccessEvent::SignInRefused { person, reason, from };
    note(staged, event, Actor::Coordinator, now)
}

/// Notes that an address is not listened to until then.
///
/// # Errors
/// The store cannot be read.
pub fn lock_out(
    staged: &mut Staged<'_>,
    from: String,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), CommandError> {
    note(staged, AccessEvent::LockedOut { from, until }, Actor::Coordinator, now)
}

/// Stores when tokens were used last. One that is gone, or was used later as far as is stored, stays as it is.
///
/// # Errors
/// The store cannot be read.
pub fn note_uses(
    staged: &mut Staged<'_>,
    uses: &[(TokenKey, Timestamp)],
) -> Result<(), CommandError> {
    let keys: Vec<TokenKey> = uses.iter().map(|(key, _)| *key).collect();
    let tokens = staged.load_many(&keys)?;
    for ((key, at), token) in uses.iter().zip(tokens) {
        let Some(mut token) = token.filter(|token| token.last_used_at < Some(*at)) else {
            continue;
        };
        token.last_used_at = Some(*at);
        put(staged, key, token);
    }
    Ok(())
}

fn note(
    staged: &mut Staged<'_>,
    event: AccessEvent,
    actor: Actor,
    now: Timestamp,
) -> Result<(), CommandError> {
    let entry = Entry { at: now, actor, tenant: None, event: Event::Access(event) };
    Ok(journal::append(staged, &entry)?)
}

#[cfg(test)]
mod tests;
