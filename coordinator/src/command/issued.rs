//! The certificates that were issued here, and what they are good for once their issuer is distrusted.
//!
//! Whoever has stolen an intermediate can make a certificate of any agent, and nobody can tell it from a true one by
//! looking at it. What tells them apart is that the true ones were issued here: numbers and keys of the few that may be
//! in an agent's hands are kept, and stored before the certificate leaves. A thief can choose a number, and has not the
//! key, whose possession the handshake proves. With such a one, and with nothing else under a distrusted issuer, an
//! agent gets its next certificate; with none does it get a session.
//!
//! What a thief has shown before the theft was known does not keep the true agent out: a certificate that was not
//! issued here supersedes none that was, and a conflict that it made is none.

use shared::{time::Timestamp, trust::SpkiDigest};

use crate::{
    command::{
        CommandError,
        identities::{Certificate, check as check_identity, revocation},
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

/// What a certificate of a distrusted issuer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was issued here: the next may take its place.
    Ours,
    /// It was not, so nothing.
    Forged,
}

/// Notes a certificate that was issued to an agent, before it is handed out. The one that the agent has shown last is
/// kept, and the newest: the answers with those between were lost.
///
/// # Errors
/// The store cannot be read.
pub fn record(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    issued: IssuedCertificate,
) -> Result<(), CommandError> {
    let key = IssuedKey(agent);
    let IssuedCertificates(mut kept) = staged.load(&key)?.unwrap_or_default();
    let shown = staged.load(&CertificateKey(agent))?.map(|known| known.serial);
    kept.push(issued);
    while kept.len() > ISSUED_CERTIFICATES_MAX {
        let oldest = kept.iter().position(|it| Some(&it.serial) != shown.as_ref());
        kept.remove(oldest.unwrap_or(0));
    }
    put(staged, &key, IssuedCertificates(kept));
    Ok(())
}

/// Tells what a certificate of a distrusted issuer is good for, whose holder has proved to have this key.
///
/// # Errors
/// The agent was revoked, or has shown a later certificate that was issued here, too; or the store cannot be read.
pub fn check<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    (shown, holder): (&Certificate, SpkiDigest),
) -> Result<Standing, CommandError> {
    if revocation(source, agent)?.is_some() {
        return Err(CommandError::Revoked);
    }
    let IssuedCertificates(issued) = source.load(&IssuedKey(agent))?.unwrap_or_default();
    if !issued.iter().any(|it| it.serial == shown.serial && it.holder == holder) {
        return Ok(Standing::Forged);
    }
    if is_latest_ours(source, agent)? {
        check_identity(source, agent, shown)?;
    }
    Ok(Standing::Ours)
}

/// Tells whether several hosts use an agent's identity, and nobody has decided which of them keeps it. Where one of
/// them has shown a certificate that was not issued here, that one is no host of the agent's.
///
/// # Errors
/// The store cannot be read.
pub fn is_contested<S: Source + ?Sized>(source: &S, agent: AgentKey) -> Result<bool, LoadError> {
    let conflict = source.load(&ConflictKey(agent))?;
    let is_open = conflict.is_some_and(|conflict| conflict.kept.is_none());
    Ok(is_open && is_latest_ours(source, agent)?)
}

/// Tells whether the latest certificate that an agent has shown was issued here; also where it has shown none.
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
