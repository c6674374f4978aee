//! Lets hosts in that have a join token: checks it, and gives the host a certificate for its key.
//!
//! ```text
//! read the request ─▶ redeem the token (durable) ─▶ sign ─▶ answer
//! ```
//! A host that breaks off behind the second step asks again with its key and gets the same agent.
//!
//! # Limits
//! One exchange a connection, within [`JOIN_TIMEOUT`]; a request comes within [`JOIN_REQUEST_TIMEOUT`]. Places and
//! guesses are counted by address ([`Sites`]).

mod sites;

use std::{net::IpAddr, sync::Arc};

use certs::SigningRequest;
use quinn::{Connection, RecvStream};
use sha2::{Digest, Sha256};
use shared::{
    ids::AgentId,
    join::{JoinAnswer, JoinRefusal, JoinReply, JoinRequest, Joined, encode_frame},
    limits::{COMMIT_TIMEOUT, JOIN_FRAME_BYTES_MAX},
    time::Timestamp,
    wire::{LEN_BYTES, checked_len, codec},
};
use thiserror::Error;
use tokio::{task::spawn_blocking, time::timeout};

use self::sites::Guess;
pub use self::sites::Sites;
use super::{LINGER, Shared, renewal::sign};
use crate::{
    command::{CommandError, joins},
    counters::JoinRefused,
    limits::{JOIN_REQUEST_TIMEOUT, JOIN_TIMEOUT},
    store::{engine::Staged, schema::JoinTokenKey, tables::Source as _, writer::WriteError},
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
    #[error("no request came within {} s", JOIN_REQUEST_TIMEOUT.as_secs())]
    Silent,
    #[error("answer cannot be sent: {0}")]
    Write(#[from] quinn::WriteError),
}

impl JoinError {
    /// Returns whether what came is no request, or none came.
    const fn is_of_request(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Malformed(_) | Self::Silent)
    }
}

/// Serves a host that wants to become an agent; `from` is the address that its handshake has proved, and `takes_keys`
/// says whether it is told which keys sign policies.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    issuer: &Issuer,
    connection: &Connection,
    (from, takes_keys): (IpAddr, bool),
) {
    let exchange = exchange(shared, issuer, connection, (from, takes_keys));
    let exchange = timeout(JOIN_TIMEOUT, exchange);
    match shared.shutdown.run_until_cancelled(exchange).await {
        Some(Ok(Ok(()))) | None => {}
        Some(Ok(Err(error))) => {
            if error.is_of_request() {
                shared.counters.joins_refused.add_one(JoinRefused::NoRequest);
            }
            tracing::info!(%from, %error, "join broke off");
        }
        Some(Err(_late)) => tracing::info!(%from, "join took too long"),
    }
}

async fn exchange(
    shared: &Arc<Shared>,
    issuer: &Issuer,
    connection: &Connection,
    (from, takes_keys): (IpAddr, bool),
) -> Result<(), JoinError> {
    let asked = timeout(JOIN_REQUEST_TIMEOUT, async {
        let (send, mut recv) = connection.accept_bi().await?;
        Ok::<_, JoinError>((send, read(&mut recv).await?))
    });
    let (mut send, request) = asked.await.map_err(|_| JoinError::Silent)??;
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
    let frame = if takes_keys {
        let policy_keys = shared.policy_keys.iter().map(|key| *key.as_bytes()).collect();
        encode_frame(&JoinAnswer { reply, policy_keys })
    } else {
        encode_frame(&reply)
    };
    let frame = frame.map_err(|error| JoinError::Malformed(error.to_string()))?;
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
    from: IpAddr,
) -> Result<Joined, JoinRefusal> {
    let now = shared.clock.now();
    // A guess takes no turn of the writer.
    if !is_known(shared, joins::key_of(&request.secret)).await? {
        return Err(guessed(shared, from, now).await);
    }
    let signing = SigningRequest::from_der(&request.signing_request)
        .map_err(|_| JoinRefusal::SigningRequest)?;
    let candidate = joins::Candidate {
        secret: request.secret,
        key: Sha256::digest(signing.public_key_der()).into(),
        agent: new_agent(),
        host_name: request.host_name,
        from: from.to_string(),
    };
    let is_noted = shared.sites.may_note(now);
    let redeem = move |staged: &mut Staged<'_>| joins::redeem(staged, &candidate, is_noted, now);
    let (tenant, agent) = write(shared, redeem).await??;
    match sign(shared, issuer, ((tenant, agent), None), signing, now).await {
        Ok(chain) => Ok(Joined { tenant, agent, chain }),
        Err(error) => {
            tracing::error!(%tenant, %agent, error, "no certificate can be issued");
            Err(JoinRefusal::Unavailable)
        }
    }
}

/// Tells whether a token has this secret.
async fn is_known(shared: &Shared, key: JoinTokenKey) -> Result<bool, JoinRefusal> {
    let engine = shared.store.engine_handle();
    let unavailable = |error: String| {
        tracing::error!(error, "join tokens cannot be read");
        JoinRefusal::Unavailable
    };
    let found = spawn_blocking(move || engine.load(&key)).await;
    let found = found.map_err(|error| unavailable(error.to_string()))?;
    found.map(|token| token.is_some()).map_err(|error| unavailable(error.to_string()))
}

/// Returns what a guess is answered, which the journal is told of if it is not one of too many.
async fn guessed(shared: &Shared, from: IpAddr, now: Timestamp) -> JoinRefusal {
    match shared.sites.guess(from, now) {
        Guess::TooMany => return JoinRefusal::TooMany,
        Guess::Counted => return JoinRefusal::Unknown,
        Guess::Noted => {}
    }
    let from = from.to_string();
    let note = move |staged: &mut Staged<'_>| joins::note_unknown(staged, &from, now);
    write(shared, note).await.err().unwrap_or(JoinRefusal::Unknown)
}

async fn write<T, F>(shared: &Shared, command: F) -> Result<T, JoinRefusal>
where
    T: Send + 'static,
    F: FnOnce(&mut Staged<'_>) -> Result<T, CommandError> + Send + 'static,
{
    let written: Result<Result<T, WriteError<CommandError>>, _> =
        timeout(COMMIT_TIMEOUT, shared.store.write(command)).await;
    match written {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::error!(%error, "a join cannot be stored");
            Err(JoinRefusal::Unavailable)
        }
        Err(_late) => Err(JoinRefusal::Unavailable),
    }
}

/// Draws an agent's id.
fn new_agent() -> AgentId {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    AgentId::from_bytes(id.into_bytes())
}
