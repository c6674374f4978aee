//! Whether an agent is still to be served. What cannot be told is taken for no.

use tokio::task::spawn_blocking;

use super::{Shared, session::Failure};
use crate::{bell::Listener, command::identities, store::schema::AgentKey};

/// Looks into the store whether the agent was revoked.
pub(super) async fn check(shared: &Shared, agent: AgentKey) -> Result<(), Failure> {
    let engine = shared.store.engine_handle();
    let looked = spawn_blocking(move || identities::revocation(&*engine, agent)).await;
    match looked {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(_))) => Err(Failure::Revoked),
        Ok(Err(error)) => Err(Failure::Unknown(error.to_string())),
        Err(error) => Err(Failure::Unknown(error.to_string())),
    }
}

/// Waits until the agent is to be served no more, and returns why.
///
/// It is looked at beside the session and not by it: a session may wait long for a peer that takes nothing.
pub(super) async fn lost(shared: &Shared, revocations: &mut Listener, agent: AgentKey) -> Failure {
    loop {
        revocations.rung().await;
        if let Err(failure) = check(shared, agent).await {
            return failure;
        }
    }
}
