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
    policy::{PolicyDigest, PolicyPublicKey},
    time::Timestamp,
    trust::{
        SpkiDigest, TrustAck, TrustBundle, TrustOffer, TrustOutcome, TrustRefusal, accept, peek,
    },
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

/// A signed bundle that is brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// What is signed, with its signature.
    pub envelope: Vec<u8>,
    /// Whether a person says that agents are to believe again what it does not name any more.
    pub trusts_again: bool,
    /// Whether it is brought although agents are known that would refuse it for its sequence.
    pub anyway: bool,
}

/// By what a bundle is judged that is brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The keys that sign bundles.
    pub keys: &'a [PolicyPublicKey],
    /// Name space of all identities.
    pub trust_domain: &'a str,
    /// The keys of intermediates that this coordinator distrusts.
    pub distrusted: &'a [SpkiDigest],
    /// The highest sequence of a bundle that an agent has, as it was read before this.
    pub highest: u64,
}

/// Stores a signed bundle above the one before. That it locks nobody out the caller has looked at.
///
/// # Errors
/// Agents would refuse it, or believe again what was distrusted; what a person says to that is in [`Push`].
pub fn push(
    staged: &mut Staged<'_>,
    push: Push,
    terms: Terms<'_>,
    actor: &Actor,
    now: Timestamp,
) -> Result<TrustRecord, CommandError> {
    let Push { envelope, trusts_again, anyway } = push;
    let before = staged.load(&TrustKey)?;
    let newest = before.as_ref().map_or(0, |record| record.sequence);
    let bundle = accept(&envelope, terms.keys, terms.trust_domain, newest)
        .map_err(|refusal| refused(refusal, newest, terms))?;
    if !anyway {
        check_sequence(bundle.sequence, terms.highest)?;
    }
    let dropped = dropped(&bundle, before.as_ref(), terms.distrusted);
    if !trusts_again {
        check_dropped(&dropped)?;
    }
    let (sequence, digest) = (bundle.sequence, digest(&envelope));
    let record = TrustRecord { sequence, envelope, by: actor.clone(), at: now };
    put(staged, &TrustKey, record.clone());
    let event = TrustEvent::Pushed { sequence, digest, trusts_again: dropped };
    note(staged, None, event, actor, now)?;
    Ok(record)
}

/// Refuses a sequence that is not above what an agent has: this coordinator was set back since.
fn check_sequence(sequence: u64, highest: u64) -> Result<(), CommandError> {
    if sequence > highest {
        return Ok(());
    }
    let problem = format!(
        "agents have a bundle of up to {highest}, and would refuse this one: sign it with one \
         above {highest}. See who they are: signalbox authority agents --other. If they lie, go \
         on: signalbox authority push --anyway"
    );
    Err(CommandError::Invalid { field: "sequence", problem })
}

/// Returns what the bundle before names, or this coordinator distrusts, and the bundle does not.
fn dropped(
    bundle: &TrustBundle,
    before: Option<&TrustRecord>,
    distrusted: &[SpkiDigest],
) -> Vec<SpkiDigest> {
    let before = before.and_then(|record| peek(&record.envelope));
    let mut named = before.map(|(_, bundle)| bundle.distrusted).unwrap_or_default();
    named.extend(distrusted);
    named.sort_unstable();
    named.dedup();
    named.retain(|key| !bundle.distrusted.contains(key));
    named
}

/// Refuses to have agents believe again whom they were told not to, unless that is said.
fn check_dropped(dropped: &[SpkiDigest]) -> Result<(), CommandError> {
    if dropped.is_empty() {
        return Ok(());
    }
    let keys = dropped.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let problem = format!(
        "it does not name {keys}, which the bundle before it or [authority] distrusted names, and \
         agents would believe whoever has that key: sign it again with certs trust-bundle \
         --distrust. If the intermediate has ended by its own date, or was not stolen: signalbox \
         authority push --trust-again"
    );
    Err(CommandError::Invalid { field: "distrusted", problem })
}

fn refused(
    refusal: TrustRefusal,
    newest: u64,
    Terms { keys, trust_domain, .. }: Terms<'_>,
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

/// Returns the bundle that an agent is to be offered: above the one that it says it has, as it would refuse any other,
/// and not `tried`, which it was offered in this session.
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
    let TrustAck { sequence, digest, outcome } = ack;
    let TrustOutcome::Refused { reason, detail } = outcome else {
        if (next.sequence, next.digest) != (sequence, digest) {
            (next.sequence, next.digest, next.since) = (sequence, digest, now);
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
        let digest = PolicyDigest::from_bytes([0; PolicyDigest::LEN]);
        Self {
            sequence: 0,
            digest,
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
