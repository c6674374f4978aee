//! Offers a session's agent the trust bundle, stores what it says of it, and has agents renew whose certificates come
//! from an authority that is not the present one any more.
//!
//! ```text
//! agent says what it has, or is rung for ─▶ look into the store ─▶ offer ─▶ agent answers ─▶ look again
//! agent greets, or lives on ─▶ its issuer is not the present one, and it is its turn ─▶ it is asked to renew
//! ```
//! A bundle is offered once a session, and shares the places of policies that are on their way. Agents are asked to
//! renew at a bounded rate, so that thousands of them are re-keyed by and by and nobody has to do anything.

use std::sync::{Arc, Mutex, PoisonError};

use shared::{
    limits::COMMIT_TIMEOUT,
    time::Timestamp,
    trust::{SpkiDigest, TrustAck, TrustOffer, TrustOutcome},
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{Shared, ending::Failure, policy::Found};
use crate::{
    command::trust,
    counters::{Counters, TrustRefused},
    limits::{REISSUE_RETRY, REISSUES_MAX, REISSUES_PER_SECOND},
    store::{engine::Staged, schema::AgentKey},
};

/// Which issuers are distrusted, and how fast agents of earlier ones are asked to renew.
#[derive(Debug)]
pub struct Authorities {
    distrusted: Vec<SpkiDigest>,
    pace: Pace,
    /// Places for agents of distrusted issuers that renew.
    pub(super) places: Arc<Semaphore>,
}

impl Authorities {
    /// Returns authorities of which these are distrusted.
    #[must_use]
    pub fn new(distrusted: Vec<SpkiDigest>) -> Self {
        let places = Arc::new(Semaphore::new(REISSUES_MAX));
        Self { distrusted, pace: Pace::default(), places }
    }

    /// Returns whether any of those that a chain shows is distrusted.
    pub(super) fn distrusts(&self, issuers: &[SpkiDigest]) -> bool {
        issuers.iter().any(|issuer| self.distrusted.contains(issuer))
    }
}

/// How many agents were asked in the present second.
#[derive(Debug, Default)]
struct Pace(Mutex<(u64, u32)>);

impl Pace {
    /// Takes a turn, if there is one in this second.
    fn take(&self, now: Timestamp) -> bool {
        let second = now.as_ms() / 1_000;
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.0 != second {
            *turns = (second, 0);
        }
        turns.1 += 1;
        turns.1 <= REISSUES_PER_SECOND
    }
}

/// Whose certificate a session's agent has.
#[derive(Debug)]
pub(super) struct Issuers {
    /// Those that its chain shows, the one that issued it first.
    shown: Vec<SpkiDigest>,
    /// When it was asked to renew.
    asked_at: Option<Timestamp>,
}

impl Issuers {
    pub(super) fn new(shown: Vec<SpkiDigest>) -> Self {
        Self { shown, asked_at: None }
    }

    /// Returns who issued it.
    pub(super) fn first(&self) -> Option<SpkiDigest> {
        self.shown.first().copied()
    }

    /// Returns whether the agent is to be asked to renew now: its certificate is not the present authority's, it can be
    /// asked, and it is its turn.
    pub(super) fn is_to_renew(&mut self, shared: &Shared, now: Timestamp) -> bool {
        let Some(issuer) = &shared.issuer else { return false };
        let was_asked = self.asked_at.is_some_and(|at| now.since(at) < REISSUE_RETRY);
        if was_asked || self.shown.contains(&issuer.spki()) || !shared.authorities.pace.take(now) {
            return false;
        }
        self.asked_at = Some(now);
        shared.counters.reissues_asked.add_one();
        true
    }
}

/// Looks whether there is a bundle to offer. Whoever has none to offer waits for no place.
pub(super) async fn look(
    shared: Arc<Shared>,
    agent: AgentKey,
    tried: Option<u64>,
) -> Result<Option<Box<Found<TrustOffer>>>, Failure> {
    let engine = shared.store.engine_handle();
    let looked = spawn_blocking(move || trust::due(&*engine, agent, tried)).await;
    let failed = |error: String| Failure::Trust(format!("the store was not read: {error}"));
    let due = looked.map_err(|error| failed(error.to_string()))?;
    let Some(offer) = due.map_err(|error| failed(error.to_string()))? else { return Ok(None) };
    let place = Arc::clone(&shared.policy_offers).acquire_owned().await;
    let place = place.map_err(|error| Failure::Trust(error.to_string()))?;
    Ok(Some(Box::new(Found { version: offer.sequence, offer, place })))
}

/// Stores what an agent says of a bundle.
pub(super) async fn keep(
    shared: Arc<Shared>,
    agent: AgentKey,
    ack: TrustAck,
) -> Result<(), Failure> {
    count(&shared.counters, agent, &ack);
    let now = shared.clock.now();
    let command = move |staged: &mut Staged<'_>| trust::acknowledge(staged, agent, ack, now);
    match timeout(COMMIT_TIMEOUT, shared.store.write(command)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::Control { what: "trust", error }),
        Err(_late) => Err(Failure::ControlLate("trust")),
    }
}

fn count(counters: &Counters, AgentKey { tenant, agent }: AgentKey, ack: &TrustAck) {
    let sequence = ack.sequence;
    match &ack.outcome {
        TrustOutcome::Refused { reason, detail } => {
            counters.trust_refused.add_one(TrustRefused::from(*reason));
            let reason = reason.as_str();
            tracing::warn!(%tenant, %agent, sequence, reason, detail, "agent refuses a bundle");
        }
        TrustOutcome::Nothing | TrustOutcome::InForce => {
            counters.trust_acknowledged.add_one();
            tracing::debug!(%tenant, %agent, sequence, "agent says which trust bundle it has");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_agents_are_asked_to_renew_in_a_second_and_no_more() {
        let pace = Pace::default();
        let at = Timestamp::from_ms(1_795_600_000_000);
        let taken = |at| (0..1_000).filter(|_| pace.take(at)).count();
        assert_eq!(taken(at), REISSUES_PER_SECOND as usize);
        assert_eq!(taken(Timestamp::from_ms(at.as_ms() + 999)), 0);
        assert_eq!(taken(Timestamp::from_ms(at.as_ms() + 1_000)), REISSUES_PER_SECOND as usize);
        assert_eq!(taken(at), REISSUES_PER_SECOND as usize, "a clock that was set back");
    }

    #[test]
    fn a_chain_is_distrusted_wherever_it_shows_a_distrusted_key() {
        let [good, bad] = [1, 2].map(|byte| SpkiDigest::from_bytes([byte; 32]));
        let authorities = Authorities::new(vec![bad]);
        assert!(authorities.distrusts(&[good, bad]) && authorities.distrusts(&[bad]));
        assert!(!authorities.distrusts(&[good]) && !authorities.distrusts(&[]));
        assert!(!Authorities::new(Vec::new()).distrusts(&[bad]));
    }
}
