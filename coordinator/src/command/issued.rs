//! The certificates that were issued here, and what they are good for once their issuer is distrusted.
//!
//! Whoever has stolen an intermediate can make a certificate of any agent, and nobody can tell it from a true one by
//! looking at it. What tells them apart is that the true ones come from here: the first was issued to a host that
//! joined by a token, and each further one to whoever had the one before. Numbers and keys of the few of that line that
//! may be in an agent's hands are kept, and stored before the certificate leaves. A thief can choose a number, and has
//! not the key, whose possession the handshake proves; and what a thief has renewed here, while nobody knew of the
//! theft, begins no line. With one of the line, and with nothing else under a distrusted issuer, an agent gets its next
//! certificate; with none does it get a session.
//!
//! What a thief has shown before the theft was known does not keep the true agent out: only one of the line supersedes
//! another of it, and a conflict that a certificate made that is not of it is none.

use shared::{time::Timestamp, trust::SpkiDigest};

use crate::{
    command::{
        CommandError,
        identities::{Certificate, revocation},
        trust,
    },
    limits::{FORGED_NOTE_INTERVAL, ISSUED_CERTIFICATES_MAX},
    store::{
        engine::Staged,
        schema::{AgentKey, AgentTrustKey, CertificateKey, ConflictKey, IssuedKey},
        tables::{LoadError, Source, put},
        values::{
            Actor, AgentTrust, IssuedCertificate, IssuedCertificates, RefusedCertificate,
            TrustEvent,
        },
    },
};

/// What tells a certificate from all others, as whoever shows it has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// The key that it certifies.
    pub holder: SpkiDigest,
}

impl Proof {
    fn is_of(&self, issued: &IssuedCertificate) -> bool {
        (&self.serial, self.holder) == (&issued.serial, issued.holder)
    }
}

/// What a certificate of a distrusted issuer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is of the line that began here: the next may take its place.
    Ours,
    /// It was not, so nothing.
    Forged,
}

/// Notes a certificate that was issued to an agent, before it is handed out: to a host that has joined, or to who has
/// shown the one before. The one that was shown for it is kept, the last of the line with which the agent has greeted,
/// and the newest: the answers with those between were lost.
///
/// # Errors
/// The store cannot be read.
pub fn record(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    issued: IssuedCertificate,
    before: Option<&Proof>,
) -> Result<(), CommandError> {
    let key = IssuedKey(agent);
    let IssuedCertificates(mut kept) = staged.load(&key)?.unwrap_or_default();
    let is_before = |it: &IssuedCertificate| before.is_some_and(|before| before.is_of(it));
    if before.is_some() && !kept.iter().any(is_before) {
        return Ok(());
    }
    kept.push(issued);
    while kept.len() > ISSUED_CERTIFICATES_MAX {
        let greeted = kept.iter().rposition(|it| it.is_shown);
        let surplus = (0..kept.len()).find(|at| Some(*at) != greeted && !is_before(&kept[*at]));
        kept.remove(surplus.unwrap_or(0));
    }
    put(staged, &key, IssuedCertificates(kept));
    Ok(())
}

/// Notes with which certificate an agent greets; returns whether it is of the line that began here.
///
/// # Errors
/// The store cannot be read.
pub fn greet(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    shown: &Proof,
) -> Result<bool, CommandError> {
    let key = IssuedKey(agent);
    let Some(IssuedCertificates(mut kept)) = staged.load(&key)? else { return Ok(false) };
    let Some(ours) = kept.iter_mut().find(|it| shown.is_of(it)) else { return Ok(false) };
    if !ours.is_shown {
        ours.is_shown = true;
        put(staged, &key, IssuedCertificates(kept));
    }
    Ok(true)
}

/// Tells what a certificate of a distrusted issuer is good for.
///
/// # Errors
/// The agent was revoked, or has greeted with a later one of the line; or the store cannot be read.
pub fn check<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    shown: &Proof,
) -> Result<Standing, CommandError> {
    if revocation(source, agent)?.is_some() {
        return Err(CommandError::Revoked);
    }
    let IssuedCertificates(issued) = source.load(&IssuedKey(agent))?.unwrap_or_default();
    let Some(at) = issued.iter().position(|it| shown.is_of(it)) else {
        return Ok(Standing::Forged);
    };
    if issued[at + 1..].iter().any(|later| later.is_shown) {
        return Err(CommandError::Superseded);
    }
    Ok(Standing::Ours)
}

/// Tells whether several hosts use an agent's identity: also where a person has decided which of them keeps it, as a
/// renewal does not say which of them asks. Where one of them has shown a certificate that is not of the line that
/// began here, that one is no host of the agent's.
///
/// # Errors
/// The store cannot be read.
pub fn is_contested<S: Source + ?Sized>(source: &S, agent: AgentKey) -> Result<bool, LoadError> {
    Ok(source.load(&ConflictKey(agent))?.is_some() && is_latest_ours(source, agent)?)
}

/// Tells whether the latest certificate that an agent has shown is of the line; also where it has shown none.
fn is_latest_ours<S: Source + ?Sized>(source: &S, agent: AgentKey) -> Result<bool, LoadError> {
    let Some(known) = source.load(&CertificateKey(agent))? else { return Ok(true) };
    let IssuedCertificates(issued) = source.load(&IssuedKey(agent))?.unwrap_or_default();
    Ok(issued.iter().any(|it| it.serial == known.serial))
}

/// Tells whether the journal is to have it that a forged certificate was refused: of agents that are known, the same
/// one again not, and others not more often than once an hour.
///
/// # Errors
/// The store cannot be read.
pub fn is_to_be_noted<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    shown: &Certificate,
    now: Timestamp,
) -> Result<bool, LoadError> {
    if source.load(&agent)?.is_none() {
        return Ok(false);
    }
    let forged = source.load(&AgentTrustKey(agent))?.and_then(|known| known.forged);
    Ok(forged.is_none_or(|forged| {
        forged.serial != shown.serial && now.since(forged.at) >= FORGED_NOTE_INTERVAL
    }))
}

/// Journals that somebody was refused for a forged certificate, if it is to be noted.
///
/// # Errors
/// The store cannot be read.
pub fn note_forged(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    shown: &Certificate,
    from: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    if !is_to_be_noted(&*staged, agent, shown, now)? {
        return Ok(());
    }
    let key = AgentTrustKey(agent);
    let known = staged.load(&key)?.unwrap_or_else(|| AgentTrust::unheard(now));
    let forged = Some(RefusedCertificate { serial: shown.serial.clone(), at: now });
    put(staged, &key, AgentTrust { forged, ..known });
    let serial = shown.serial.iter().map(|byte| format!("{byte:02x}")).collect();
    let event = TrustEvent::Forged { agent: agent.agent, serial, from: from.to_owned() };
    // Who it was nobody knows: not the agent.
    trust::note(staged, Some(agent.tenant), event, &Actor::Coordinator, now)
}

#[cfg(test)]
mod tests;
