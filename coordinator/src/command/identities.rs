//! Agents' identities: which certificate of an agent is worth something, and what takes an identity away.
//!
//! Of an agent's certificates the latest that it has shown is worth something, and so is each later one: what was
//! asked for and did not arrive costs nothing, and what was stolen ends with the next renewal. Which of two is later
//! stands in them, under the authority's signature; nothing is kept of those that were issued and not shown.
//!
//! A revocation is for good, and of the agent, whatever certificates it has or gets: whoever holds any of them is let
//! in no more. It is asked for at each handshake, in the write in which an agent greets, and for each open session when
//! the bell rings. What cannot be asked for is taken for revoked.

use std::{cmp::Ordering, time::Duration};

use shared::time::Timestamp;

use crate::{
    command::{CommandError, cases::checked_reason, claims, journal},
    limits::SUPERSEDED_NOTE_INTERVAL,
    store::{
        engine::Staged,
        schema::{AgentKey, CertificateKey, RevokedKey},
        tables::{LoadError, Source, put},
        values::{
            Actor, Entry, Event, IdentityEvent, KnownCertificate, RefusedCertificate, Revocation,
        },
    },
};

/// A certificate that an agent shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// First instant at which it is valid.
    pub not_before: Timestamp,
    /// Last instant at which it is.
    pub not_after: Timestamp,
}

/// How a certificate stands to the latest that its agent has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is that one, or one as late.
    Latest,
    /// It is later, or the first.
    Later,
    /// It is from before.
    Superseded,
}

/// Certificates of a young authority begin when that does; then the one that ends later is later.
fn standing(known: Option<&KnownCertificate>, shown: &Certificate) -> Standing {
    let Some(known) = known.filter(|known| known.serial != shown.serial) else {
        return if known.is_some() { Standing::Latest } else { Standing::Later };
    };
    let of_shown = (shown.not_before, shown.not_after);
    match of_shown.cmp(&(known.not_before, known.not_after)) {
        Ordering::Less => Standing::Superseded,
        Ordering::Equal => Standing::Latest,
        Ordering::Greater => Standing::Later,
    }
}

/// Returns the moment as of which the agent's next certificate is to be issued, so that it is later than the latest
/// that was shown, even where the coordinator's clock was set back since; `lead` is by how much a certificate begins
/// before it is issued.
///
/// # Errors
/// The store cannot be read.
pub fn issue_at<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    lead: Duration,
    now: Timestamp,
) -> Result<Timestamp, LoadError> {
    // Certificates say seconds.
    const STEP: Duration = Duration::from_secs(1);
    let known = source.load(&CertificateKey(agent))?;
    Ok(known.map_or(now, |known| now.max(known.not_before.saturating_add(lead + STEP))))
}

/// Tells whether an agent is let in with a certificate.
///
/// # Errors
/// [`CommandError::Revoked`], [`CommandError::Superseded`], or the store cannot be read: then nobody can tell.
pub fn check<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    shown: &Certificate,
) -> Result<(), CommandError> {
    if revocation(source, agent)?.is_some() {
        return Err(CommandError::Revoked);
    }
    let known = source.load(&CertificateKey(agent))?;
    match standing(known.as_ref(), shown) {
        Standing::Superseded => Err(CommandError::Superseded),
        Standing::Latest | Standing::Later => Ok(()),
    }
}

/// Takes a certificate that an agent greets with: if it is later than the one that it has shown before, that one is
/// worth nothing from here on.
///
/// # Errors
/// As [`check`].
pub fn show(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    shown: &Certificate,
    now: Timestamp,
) -> Result<(), CommandError> {
    check(&*staged, agent, shown)?;
    let key = CertificateKey(agent);
    let known = staged.load(&key)?;
    if standing(known.as_ref(), shown) == Standing::Latest {
        return Ok(());
    }
    let Certificate { serial, not_before, not_after } = shown.clone();
    if known.is_some() {
        let serial = hex(&serial);
        let event = IdentityEvent::Renewed { agent: agent.agent, serial, not_after };
        note(staged, agent, event, now)?;
        claims::settle_renewed(staged, agent, now)?;
    }
    let value = KnownCertificate { serial, not_before, not_after, shown_at: now, refused: None };
    put(staged, &key, value);
    Ok(())
}

/// Tells whether the journal is to have it that a certificate from before an agent's latest was refused: the same one
/// again not, and others not more often than once an hour.
///
/// # Errors
/// The store cannot be read.
pub fn is_to_be_noted<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
    shown: &Certificate,
    now: Timestamp,
) -> Result<bool, LoadError> {
    let Some(known) = source.load(&CertificateKey(agent))? else { return Ok(false) };
    Ok(known.refused.is_none_or(|refused| {
        refused.serial != shown.serial && now.since(refused.at) >= SUPERSEDED_NOTE_INTERVAL
    }))
}

/// Journals that somebody was refused for a certificate from before an agent's latest, if it is to be noted.
///
/// # Errors
/// The store cannot be read.
pub fn note_superseded(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    shown: &Certificate,
    from: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    let key = CertificateKey(agent);
    let Some(known) = staged.load(&key)? else { return Ok(()) };
    if !is_to_be_noted(&*staged, agent, shown, now)? {
        return Ok(());
    }
    let refused = Some(RefusedCertificate { serial: shown.serial.clone(), at: now });
    put(staged, &key, KnownCertificate { refused, ..known });
    let (serial, from) = (hex(&shown.serial), from.to_owned());
    note(staged, agent, IdentityEvent::Superseded { agent: agent.agent, serial, from }, now)
}

fn note(
    staged: &mut Staged<'_>,
    AgentKey { tenant, agent }: AgentKey,
    event: IdentityEvent,
    now: Timestamp,
) -> Result<(), CommandError> {
    let (actor, tenant) = (Actor::Agent(agent), Some(tenant));
    let entry = Entry { at: now, actor, tenant, event: Event::Identity(event) };
    journal::append(staged, &entry)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes an agent's identity worthless, and returns since when it is: a second revocation changes nothing.
///
/// # Errors
/// The reason is empty or too long, or the store cannot be read.
pub fn revoke(
    staged: &mut Staged<'_>,
    agent: AgentKey,
    reason: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<Revocation, CommandError> {
    let reason = checked_reason(reason)?;
    if let Some(revocation) = revocation(&*staged, agent)? {
        return Ok(revocation);
    }
    let revocation = Revocation { at: now, by: actor.clone(), reason: reason.clone() };
    put(staged, &RevokedKey(agent), revocation.clone());
    let event = Event::Identity(IdentityEvent::Revoked { agent: agent.agent, reason });
    let (actor, tenant) = (actor.clone(), Some(agent.tenant));
    journal::append(staged, &Entry { at: now, actor, tenant, event })?;
    Ok(revocation)
}

/// Returns what made an agent's identity worthless, if anything did.
///
/// # Errors
/// The store cannot be read: then nobody can tell, and the agent is not to be let in.
pub fn revocation<S: Source + ?Sized>(
    source: &S,
    agent: AgentKey,
) -> Result<Option<Revocation>, LoadError> {
    source.load(&RevokedKey(agent))
}

#[cfg(test)]
mod tests {
    use shared::ids::AgentId;

    use super::*;
    use crate::{
        command::journal::read_after,
        store::engine::{Engine, MemoryEngine},
    };

    #[test]
    fn a_revocation_is_for_good_and_of_one_tenants_agent_alone() {
        let engine = MemoryEngine::new(1);
        let [acme, globex] = ["acme", "globex"].map(|tenant| AgentKey {
            tenant: tenant.parse().unwrap(),
            agent: AgentId::from_bytes([1; 16]),
        });
        let (ann, bob) = (Actor::Person("ann".into()), Actor::Person("bob".into()));
        let revoke = |reason: &str, actor: &Actor, at| {
            let mut staged = Staged::new(&engine);
            let revoked = revoke(&mut staged, acme, reason, actor, Timestamp::from_ms(at));
            engine.commit(staged.into_changes()).unwrap();
            revoked
        };
        let engine: &dyn Engine = &engine;
        assert!(matches!(revoke(" ", &ann, 1), Err(CommandError::Invalid { field: "reason", .. })));
        assert_eq!(revocation(engine, acme).unwrap(), None);
        let first = revoke(" stolen ", &ann, 2).unwrap();
        assert_eq!((first.at, first.reason.as_str()), (Timestamp::from_ms(2), "stolen"));
        assert_eq!(revoke("again", &bob, 3).unwrap(), first, "the first one stays");
        assert_eq!(revocation(engine, acme).unwrap(), Some(first));
        assert_eq!(revocation(engine, globex).unwrap(), None, "L5");
        let entries = read_after(engine, 0, 10).unwrap();
        assert_eq!(entries.len(), 1, "what changes nothing is not journalled");
        assert_eq!((&entries[0].entry.actor, entries[0].entry.tenant), (&ann, Some(acme.tenant)));
    }

    fn certificate(serial: u8, not_before: u64, not_after: u64) -> Certificate {
        let [not_before, not_after] = [not_before, not_after].map(Timestamp::from_ms);
        Certificate { serial: vec![serial], not_before, not_after }
    }

    #[test]
    fn an_earlier_certificate_is_worth_nothing_once_a_later_one_was_shown() {
        let engine = MemoryEngine::new(1);
        let agent =
            AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) };
        let other = AgentKey { tenant: "globex".parse().unwrap(), ..agent };
        let shown = |agent, certificate: &Certificate| {
            let mut staged = Staged::new(&engine);
            let shown = show(&mut staged, agent, certificate, Timestamp::from_ms(9));
            engine.commit(staged.into_changes()).unwrap();
            shown
        };
        let refused = |agent, certificate: &Certificate| {
            let looked = check(&engine as &dyn Engine, agent, certificate);
            assert!(matches!(looked, Err(CommandError::Superseded)) == looked.is_err());
            let shown = shown(agent, certificate);
            assert_eq!(shown.is_err(), looked.is_err(), "both say the same");
            shown.is_err()
        };
        let [first, second, third] = [(1, 10, 20), (2, 16, 26), (3, 22, 32)]
            .map(|(serial, from, until)| certificate(serial, from, until));
        assert!(!refused(agent, &second), "whichever is shown first is taken");
        assert!(refused(agent, &first), "also one that nobody has seen");
        assert!(!refused(agent, &second) && !refused(agent, &third));
        assert!(refused(agent, &first) && refused(agent, &second) && !refused(agent, &third));
        assert!(!refused(other, &first), "L5: another tenant's agent of the same id is another");
        let as_late = certificate(4, 22, 32);
        assert!(
            !refused(agent, &as_late) && !refused(agent, &third),
            "neither is before the other"
        );
        let (young, younger) = (certificate(5, 40, 50), certificate(6, 40, 51));
        assert!(!refused(agent, &young) && !refused(agent, &younger) && refused(agent, &young));

        let events = read_after(&engine as &dyn Engine, 0, 100).unwrap();
        let renewals = events.iter().map(|it| match &it.entry.event {
            Event::Identity(IdentityEvent::Renewed { serial, .. }) => serial.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(renewals.collect::<Vec<_>>(), ["03", "05", "06"]);
    }

    #[test]
    fn the_next_certificate_is_later_than_the_latest_whatever_the_clock_says() {
        let engine = MemoryEngine::new(1);
        let agent =
            AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) };
        let lead = Duration::from_secs(300);
        let at = |now| {
            let engine: &dyn Engine = &engine;
            issue_at(engine, agent, lead, Timestamp::from_ms(now)).unwrap().as_ms()
        };
        assert_eq!(at(5_000), 5_000, "nothing is known of it");
        let mut staged = Staged::new(&engine);
        show(&mut staged, agent, &certificate(9, 700_000, 900_000), Timestamp::ZERO).unwrap();
        engine.commit(staged.into_changes()).unwrap();
        assert_eq!(at(5_000), 1_001_000, "it begins a second after the latest");
        assert_eq!(at(2_000_000), 2_000_000);
    }

    #[test]
    fn whoever_is_refused_for_earlier_certificates_is_journalled_once_and_once_an_hour_for_others()
    {
        let engine = MemoryEngine::new(1);
        let agent =
            AgentKey { tenant: "acme".parse().unwrap(), agent: AgentId::from_bytes([1; 16]) };
        let mut staged = Staged::new(&engine);
        let unknown =
            note_superseded(&mut staged, agent, &certificate(1, 1, 2), "x", Timestamp::ZERO);
        assert!(unknown.is_ok(), "of whom nothing is known nothing is noted");
        show(&mut staged, agent, &certificate(9, 30, 40), Timestamp::ZERO).unwrap();
        let hour = 3_600;
        for (serial, at) in
            [(1, 0), (1, 9), (2, 9), (1, 10), (2, hour), (1, hour + 1), (1, 2 * hour)]
        {
            let (early, at) = (certificate(serial, 10, 20), Timestamp::from_ms(at * 1_000));
            note_superseded(&mut staged, agent, &early, "192.0.2.1:7", at).unwrap();
        }
        engine.commit(staged.into_changes()).unwrap();
        let events = read_after(&engine as &dyn Engine, 0, 100).unwrap();
        let refused = events.iter().map(|it| match &it.entry.event {
            Event::Identity(IdentityEvent::Superseded { serial, from, .. }) => (&**serial, &**from),
            other => panic!("{other:?}"),
        });
        let from = "192.0.2.1:7";
        assert!(refused.eq([("01", from), ("02", from), ("01", from)]));
    }
}
