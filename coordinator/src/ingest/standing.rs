//! Whether an agent is to be served with the certificate that it has shown. What cannot be told is taken for no.

use std::net::SocketAddr;

use shared::limits::COMMIT_TIMEOUT;
use tokio::{task::spawn_blocking, time::timeout};

use super::{Peer, Shared, ending::Failure};
use crate::{
    bell::Listener,
    command::{CommandError, identities, issued},
    store::{
        engine::Staged,
        schema::{AgentKey, ConflictKey},
        tables::Source as _,
    },
};

/// Looks into the store whether the agent was revoked, or has shown a later certificate.
pub(super) async fn check(shared: &Shared, peer: &Peer) -> Result<(), Failure> {
    let (engine, peer) = (shared.store.engine_handle(), peer.clone());
    let looked =
        spawn_blocking(move || identities::check(&*engine, peer.key, &peer.certificate)).await;
    match looked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(CommandError::Revoked)) => Err(Failure::Revoked),
        Ok(Err(CommandError::Superseded)) => Err(Failure::Superseded),
        Ok(Err(error)) => Err(Failure::Unknown(error.to_string())),
        Err(error) => Err(Failure::Unknown(error.to_string())),
    }
}

/// Looks into the store whether a certificate of a distrusted issuer may be renewed.
pub(super) async fn check_reissue(shared: &Shared, peer: &Peer) -> Result<(), Failure> {
    let (engine, peer) = (shared.store.engine_handle(), peer.clone());
    let looked = spawn_blocking(move || issued::check(&*engine, peer.key, &peer.proof())).await;
    match looked {
        Ok(Ok(issued::Standing::Ours)) => Ok(()),
        Ok(Ok(issued::Standing::Forged)) => Err(Failure::Distrusted),
        Ok(Err(CommandError::Revoked)) => Err(Failure::Revoked),
        Ok(Err(CommandError::Superseded)) => Err(Failure::Superseded),
        Ok(Err(error)) => Err(Failure::Unknown(error.to_string())),
        Err(error) => Err(Failure::Unknown(error.to_string())),
    }
}

/// Returns whether it cannot be told whose a certificate of a distrusted issuer is, although it was issued here.
pub(super) async fn is_reissue_contested(shared: &Shared, agent: AgentKey) -> bool {
    let engine = shared.store.engine_handle();
    let looked = spawn_blocking(move || issued::is_contested(&*engine, agent)).await;
    !matches!(looked, Ok(Ok(false)))
}

/// Has it journalled that somebody was refused for a forged certificate. Where it cannot be, the log says so.
pub(super) async fn note_forged(shared: &Shared, peer: &Peer, from: SocketAddr) {
    let (Peer { key, certificate, .. }, now) = (peer.clone(), shared.clock.now());
    let from = from.to_string();
    let (engine, shown) = (shared.store.engine_handle(), certificate.clone());
    let looked = spawn_blocking(move || issued::is_to_be_noted(&*engine, key, &shown, now)).await;
    if matches!(looked, Ok(Ok(false))) {
        return;
    }
    let note =
        move |staged: &mut Staged<'_>| issued::note_forged(staged, key, &certificate, &from, now);
    match timeout(COMMIT_TIMEOUT, shared.store.write(note)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a refusal is not in the journal"),
        Err(late) => tracing::error!(error = %late, "a refusal is not in the journal"),
    }
}

/// Returns whether several hosts use the agent's identity; also where that cannot be told.
pub(super) async fn is_contested(shared: &Shared, agent: AgentKey) -> bool {
    let engine = shared.store.engine_handle();
    let looked = spawn_blocking(move || (*engine).load(&ConflictKey(agent))).await;
    !matches!(looked, Ok(Ok(None)))
}

/// Has it journalled that somebody was refused for an earlier certificate. Where it cannot be, the log says so.
pub(super) async fn note_superseded(shared: &Shared, peer: &Peer, from: SocketAddr) {
    let (Peer { key, certificate, .. }, now) = (peer.clone(), shared.clock.now());
    let from = from.to_string();
    // Looked at before anything waits for the one who writes: whoever shows it again and again costs a reading.
    let (engine, shown) = (shared.store.engine_handle(), certificate.clone());
    let looked =
        spawn_blocking(move || identities::is_to_be_noted(&*engine, key, &shown, now)).await;
    if matches!(looked, Ok(Ok(false))) {
        return;
    }
    let note = move |staged: &mut Staged<'_>| {
        identities::note_superseded(staged, key, &certificate, &from, now)
    };
    match timeout(COMMIT_TIMEOUT, shared.store.write(note)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a refusal is not in the journal"),
        Err(late) => tracing::error!(error = %late, "a refusal is not in the journal"),
    }
}

/// Waits until the agent is to be served no more, and returns why.
///
/// It is looked at beside the session and not by it: a session may wait long for a peer that takes nothing.
pub(super) async fn lost(shared: &Shared, revocations: &mut Listener, peer: &Peer) -> Failure {
    loop {
        revocations.rung().await;
        if let Err(failure) = check(shared, peer).await {
            return failure;
        }
    }
}
