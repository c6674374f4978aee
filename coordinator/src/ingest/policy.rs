//! Offers a session's agent the policy that is its tenant's, and stores what it says of it.
//!
//! ```text
//! agent says what it has, or is rung for ─▶ look into the store ─▶ offer (noted) ─▶ agent answers ─▶ look again
//! ```
//! A version is offered once a session. How many policies are on their way over all sessions is bounded: a session that
//! has offered one keeps its place until the agent has answered, or has lived on without an answer.

use std::{future::pending, sync::Arc};

use shared::{
    limits::COMMIT_TIMEOUT,
    policy::{PolicyAck, PolicyOffer, PolicyOutcome},
};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};

use super::{Shared, ending::Failure};
use crate::{
    bell::{Bell, Listener},
    command::{
        CommandError,
        policies::{self, Terms},
    },
    counters::{Counters, PolicyRefused},
    store::{engine::Staged, schema::AgentKey, writer::WriteError},
};

/// What a session has to do with what is offered in versions: policies, or trust bundles.
pub(super) struct Offers {
    bell: Listener,
    /// Whether the store is looked into.
    is_looking: bool,
    /// Whether that was asked for once more meanwhile.
    is_asked: bool,
    /// The version that was offered last.
    tried: Option<u64>,
    /// A place among those whose offer is on its way.
    place: Option<OwnedSemaphorePermit>,
}

/// What came of looking into the store.
pub(super) struct Found<O> {
    /// Its number.
    pub(super) version: u64,
    pub(super) offer: O,
    pub(super) place: OwnedSemaphorePermit,
}

impl Offers {
    pub(super) fn new(bell: &Bell) -> Self {
        Self { bell: bell.listen(), is_looking: false, is_asked: false, tried: None, place: None }
    }

    /// Waits until there may be a policy to offer; for ever while one is looked for.
    ///
    /// # Cancel safety
    /// A ring that comes meanwhile is heard by the next call.
    pub(super) async fn rung(&mut self) {
        if self.is_looking {
            pending::<()>().await;
        }
        self.bell.rung().await;
    }

    /// Notes that the store is looked into, and returns what was offered before; nothing if it already is.
    pub(super) fn begin_to_look(&mut self) -> Option<Option<u64>> {
        self.is_asked = std::mem::replace(&mut self.is_looking, true);
        (!self.is_asked).then_some(self.tried)
    }

    /// Returns whether to look once more: what was found may be older than what the agent has said since.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Notes that the store was looked into, and returns what the agent is to be offered now.
    pub(super) fn has_looked<O>(&mut self, found: Option<Box<Found<O>>>) -> Option<O> {
        self.is_looking = false;
        let Found { version, offer, place } = *found?;
        (self.tried, self.place) = (Some(version), Some(place));
        Some(offer)
    }

    /// Gives the place back: the agent has answered, or a while has gone by.
    pub(super) fn settle(&mut self) {
        self.place = None;
    }
}

/// Looks whether there is a policy to offer, and notes that it is. Whoever has none to offer waits for no place.
pub(super) async fn look(
    shared: Arc<Shared>,
    agent: AgentKey,
    tried: Option<u64>,
) -> Result<Option<Box<Found<PolicyOffer>>>, Failure> {
    let (engine, keys) = (shared.store.engine_handle(), Arc::clone(&shared.policy_keys));
    let now = shared.clock.now();
    let look = move || policies::due(&*engine, agent, tried, Terms { keys: &keys, now });
    let looked = spawn_blocking(look).await;
    let failed = |error: String| Failure::Policy(format!("the store was not read: {error}"));
    let due = looked.map_err(|error| failed(error.to_string()))?;
    if due.map_err(|error| failed(error.to_string()))?.is_none() {
        return Ok(None);
    }
    let place = Arc::clone(&shared.policy_offers).acquire_owned().await;
    let place = place.map_err(|error| Failure::Policy(error.to_string()))?;
    let (keys, now) = (Arc::clone(&shared.policy_keys), shared.clock.now());
    let command = move |staged: &mut Staged<'_>| {
        policies::offer(staged, agent, tried, Terms { keys: &keys, now })
    };
    let offer = write(&shared, command).await?;
    Ok(offer.map(|offer| Box::new(Found { version: offer.version, offer, place })))
}

/// Stores what an agent says of a version.
pub(super) async fn keep(
    shared: Arc<Shared>,
    agent: AgentKey,
    ack: PolicyAck,
) -> Result<(), Failure> {
    count(&shared.counters, agent, &ack);
    let now = shared.clock.now();
    let command = move |staged: &mut Staged<'_>| policies::acknowledge(staged, agent, ack, now);
    write(&shared, command).await
}

fn count(counters: &Counters, AgentKey { tenant, agent }: AgentKey, ack: &PolicyAck) {
    let version = ack.version;
    match &ack.outcome {
        PolicyOutcome::Refused { reason, detail } => {
            counters.policies_refused.add_one(PolicyRefused::from(*reason));
            let reason = reason.as_str();
            tracing::warn!(%tenant, %agent, version, reason, detail, "agent refuses a policy");
        }
        outcome => {
            counters.policies_acknowledged.add_one();
            tracing::debug!(%tenant, %agent, version, ?outcome, "agent says which policy it has");
        }
    }
}

async fn write<T, F>(shared: &Shared, command: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce(&mut Staged<'_>) -> Result<T, CommandError> + Send + 'static,
{
    let written: Result<Result<T, WriteError<CommandError>>, _> =
        timeout(COMMIT_TIMEOUT, shared.store.write(command)).await;
    match written {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Control { what: "policy", error }),
        Err(_late) => Err(Failure::ControlLate("policy")),
    }
}
