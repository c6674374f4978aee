//! Trust bundles: the newest is brought, offered to every agent, and agents say what became of it.
//!
//! ```text
//! push ─▶ agent says which it has ─▶ due ─▶ offer ─▶ agent says what became of it
//! ```
//! The coordinator signs nothing: it takes what a key of its configuration signed, for its own trust domain and above
//! the one before, and hands it on as it came. Agents check the same once more. There are no stages: whoever replaces
//! an authority waits until all have the bundle with both, and whoever takes a stolen one away cannot wait.

use sha2::{Digest, Sha256};
use shared::{
    ids::TenantId,
    policy::PolicyPublicKey,
    time::Timestamp,
    trust::{SpkiDigest, TrustAck, TrustOffer, TrustOutcome, TrustRefusal, accept},
};

use crate::{
    command::{CommandError, journal},
    store::{
        engine::Staged,
        schema::{AgentKey, AgentTrustKey, TrustKey},
        tables::{LoadError, Source, put},
        values::{Actor, AgentTrust, Entry, Event, RefusedTrust, TrustEvent, TrustRecord},
    },
};

/// Stores a signed bundle above the one before. That it locks nobody out the caller has looked at.
///
/// # Errors
/// Agents would refuse it.
pub fn push(
    staged: &mut Staged<'_>,
    envelope: Vec<u8>,
    (keys, trust_domain): (&[PolicyPublicKey], &str),
    actor: &Actor,
    now: Timestamp,
) -> Result<TrustRecord, CommandError> {
    let newest = staged.load(&TrustKey)?.map_or(0, |record| record.sequence);
    let bundle = accept(&envelope, keys, trust_domain, newest)
        .map_err(|refusal| refused(refusal, newest, trust_domain, keys))?;
    let digest = digest(&envelope);
    let sequence = bundle.sequence;
    let record = TrustRecord { sequence, envelope, by: actor.clone(), at: now };
    put(staged, &TrustKey, record.clone());
    note(staged, None, TrustEvent::Pushed { sequence, digest }, actor, now)?;
    Ok(record)
}

fn refused(
    refusal: TrustRefusal,
    newest: u64,
    trust_domain: &str,
    keys: &[PolicyPublicKey],
) -> CommandError {
    let (field, problem) = match refusal {
        TrustRefusal::Rollback => {
            ("sequence", format!("must be above {newest}, the newest; sign it again"))
        }
        TrustRefusal::ForeignDomain => {
            ("envelope", format!("it is another trust domain's; this one is {trust_domain}"))
        }
        TrustRefusal::UnknownKey if keys.is_empty() => {
            ("envelope", "this coordinator trusts no key: name them in [policy] keys".to_owned())
        }
        other => ("envelope", other.to_string()),
    };
    CommandError::Invalid { field, problem }
}

/// Returns the digest by which people compare bundles.
#[must_use]
pub fn digest(envelope: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(envelope).into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bundle that an agent is to be offered: above the one that it says it has, and not `tried`, which it was
/// offered in this session.
///
/// # Errors
/// The store cannot be read.
pub fn due<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    tried: Option<u64>,
) -> Result<Option<TrustOffer>, LoadError> {
    let Some(TrustRecord { sequence, envelope, .. }) = source.load(&TrustKey)? else {
        return Ok(None);
    };
    let known = source.load(&AgentTrustKey(agent))?;
    let has = known.map_or(0, |known| known.sequence);
    let is_due = sequence > has && tried != Some(sequence);
    Ok(is_due.then_some(TrustOffer { sequence, envelope }))
}

/// Notes what an agent says of a bundle. The same refusal again is journalled no second time.
///
/// # Errors
/// The store cannot be read.
pub fn acknowledge(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    ack: TrustAck,
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = AgentTrustKey(agent);
    let known = staged.load(&key)?;
    let mut next = known.clone().unwrap_or_else(|| AgentTrust::unheard(now));
    let TrustAck { sequence, outcome } = ack;
    let TrustOutcome::Refused { reason, detail } = outcome else {
        if next.sequence != sequence {
            (next.sequence, next.since) = (sequence, now);
        }
        next.refused.take_if(|refused| refused.sequence <= sequence);
        if known.as_ref() != Some(&next) {
            put(staged, &key, next);
        }
        return Ok(());
    };
    let is_same = |before: &RefusedTrust| {
        (before.sequence, before.reason, &before.detail) == (sequence, reason, &detail)
    };
    if next.refused.as_ref().is_some_and(is_same) {
        return Ok(());
    }
    next.refused = Some(RefusedTrust { sequence, reason, detail: detail.clone(), at: now });
    put(staged, &key, next);
    let AgentKey { tenant, agent } = agent;
    let reason = reason.as_str().to_owned();
    let event = TrustEvent::Refused { agent, sequence, reason, detail };
    note(staged, Some(tenant), event, &Actor::Agent(agent), now)
}

/// Notes whose key issued the certificate that an agent greets with, and whether that is of the line that began here.
///
/// # Errors
/// The store cannot be read.
pub fn greet(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    (issuer, is_of_here): (Option<SpkiDigest>, bool),
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = AgentTrustKey(agent);
    let known = staged.load(&key)?.unwrap_or_else(|| AgentTrust::unheard(now));
    if (known.issuer, known.is_of_here) != (issuer, is_of_here) {
        put(staged, &key, AgentTrust { issuer, is_of_here, ..known });
    }
    Ok(())
}

impl AgentTrust {
    /// An agent that has not said which bundle it has.
    pub(crate) const fn unheard(now: Timestamp) -> Self {
        Self {
            sequence: 0,
            since: now,
            refused: None,
            issuer: None,
            is_of_here: false,
            forged: None,
        }
    }
}

pub(super) fn note(
    staged: &mut Staged<'_>,
    tenant: Option<TenantId>,
    event: TrustEvent,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (actor, event) = (actor.clone(), Event::Trust(event));
    Ok(journal::append(staged, &Entry { at: now, actor, tenant, event })?)
}

#[cfg(test)]
mod tests;
