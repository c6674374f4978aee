//! Lets hosts in that have a join token: checks it, and gives the host a certificate for its key.
//!
//! ```text
//! read the request ─▶ redeem the token (durable) ─▶ sign ─▶ answer
//! ```
//! A host that breaks off behind the second step asks again with its key and gets the same agent.
//!
//! # Limits
//! One exchange a connection, within [`JOIN_TIMEOUT`]. Of the refusals of one address so many count, and then it is not
//! listened to for a while ([`Refusals`]): a token has 128 bits, and whoever guesses is seen.

mod refusals;

use std::sync::Arc;

use certs::SigningRequest;
use quinn::{Connection, RecvStream};
use sha2::{Digest, Sha256};
use shared::{
    ids::AgentId,
    join::{JoinRefusal, JoinReply, JoinRequest, Joined, encode_frame},
    limits::{COMMIT_TIMEOUT, JOIN_FRAME_BYTES_MAX},
    wire::{LEN_BYTES, checked_len, codec},
};
use thiserror::Error;
use tokio::{task::spawn_blocking, time::timeout};

pub use self::refusals::Refusals;
use super::{LINGER, Shared};
use crate::{
    command::{CommandError, joins},
    limits::JOIN_TIMEOUT,
    store::{engine::Staged, writer::WriteError},
    tls::Issuer,
};

/// Why a host got no answer.
#[derive(Debug, Error)]
enum JoinError {
    #[error("connection: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("request cannot be read: {0}")]
    Read(#[from] quinn::ReadExactError),
    #[error("request is none: {0}")]
    Malformed(String),
    #[error("answer cannot be sent: {0}")]
    Write(#[from] quinn::WriteError),
}

/// Serves a host that wants to become an agent.
pub(super) async fn serve(shared: &Arc<Shared>, issuer: &Issuer, connection: &Connection) {
    let from = connection.remote_address();
    match timeout(JOIN_TIMEOUT, exchange(shared, issuer, connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%from, %error, "join broke off"),
        Err(_late) => tracing::info!(%from, "join took too long"),
    }
}

async fn exchange(
    shared: &Arc<Shared>,
    issuer: &Issuer,
    connection: &Connection,
) -> Result<(), JoinError> {
    let (mut send, mut recv) = connection.accept_bi().await?;
    let request = read(&mut recv).await?;
    let from = connection.remote_address().ip();
    let reply = match answer(shared, issuer, request, from).await {
        Ok(joined) => {
            shared.counters.agents_joined.add_one();
            tracing::info!(%from, tenant = %joined.tenant, agent = %joined.agent, "host joined");
            JoinReply::Joined(joined)
        }
        Err(refusal) => {
            shared.counters.joins_refused.add_one(refusal.into());
            tracing::warn!(%from, reason = refusal.as_str(), "host not let in");
            JoinReply::Refused(refusal)
        }
    };
    let frame = encode_frame(&reply).map_err(|error| JoinError::Malformed(error.to_string()))?;
    send.write_all(&frame).await?;
    // Finishing fails only on a stream that is reset, and then nobody waits for its end.
    let _reset = send.finish().is_err();
    // The host closes once it has the answer; it is not waited for long.
    let _late = timeout(LINGER, connection.closed()).await.is_err();
    Ok(())
}

async fn read(recv: &mut RecvStream) -> Result<JoinRequest, JoinError> {
    let malformed = |error: &dyn std::fmt::Display| JoinError::Malformed(error.to_string());
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let len = checked_len(len, JOIN_FRAME_BYTES_MAX).map_err(|error| malformed(&error))?;
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await?;
    codec::decode(&body).map_err(|error| malformed(&error))
}

async fn answer(
    shared: &Arc<Shared>,
    issuer: &Issuer,
    request: JoinRequest,
    from: std::net::IpAddr,
) -> Result<Joined, JoinRefusal> {
    let now = shared.clock.now();
    let noted = shared.refusals.ask(from, now);
    let Some(is_noted) = noted else { return Err(JoinRefusal::TooMany) };
    let refused = |refusal| {
        shared.refusals.count(from, now);
        refusal
    };
    let Ok(signing) = SigningRequest::from_der(&request.signing_request) else {
        return Err(refused(JoinRefusal::SigningRequest));
    };
    let candidate = joins::Candidate {
        secret: request.secret,
        key: Sha256::digest(signing.public_key_der()).into(),
        agent: new_agent(),
        host_name: request.host_name,
        from: from.to_string(),
    };
    let redeem = move |staged: &mut Staged<'_>| joins::redeem(staged, &candidate, is_noted, now);
    let redeemed: Result<Result<_, WriteError<CommandError>>, _> =
        timeout(COMMIT_TIMEOUT, shared.store.write(redeem)).await;
    let (tenant, agent) = match redeemed {
        Ok(Ok(redeemed)) => redeemed.map_err(refused)?,
        Ok(Err(error)) => {
            tracing::error!(%error, "a join token cannot be redeemed");
            return Err(JoinRefusal::Unavailable);
        }
        Err(_late) => return Err(JoinRefusal::Unavailable),
    };
    let issuer = issuer.clone();
    // A signer elsewhere takes its time.
    let issued = spawn_blocking(move || issuer.issue((tenant, agent), &signing, now)).await;
    match issued {
        Ok(Ok(chain)) => Ok(Joined { tenant, agent, chain }),
        Ok(Err(error)) => {
            tracing::error!(%tenant, %agent, %error, "no certificate can be issued");
            Err(JoinRefusal::Unavailable)
        }
        Err(error) => {
            tracing::error!(%tenant, %agent, %error, "issuing broke off");
            Err(JoinRefusal::Unavailable)
        }
    }
}

/// Draws an agent's id.
fn new_agent() -> AgentId {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    AgentId::from_bytes(id.into_bytes())
}
