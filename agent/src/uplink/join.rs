//! Asks a coordinator to let this host in.
//!
//! One connection of its own protocol, one request, one answer. The coordinator is believed by the root's digest in the
//! token, before anything of the token is sent.

use std::sync::Arc;

use quinn::{
    ClientConfig, Connection, ConnectionError, RecvStream, crypto::rustls::QuicClientConfig,
};
use shared::{
    join::{JoinRefusal, JoinReply, JoinRequest, JoinToken, Joined, encode_frame},
    limits::JOIN_FRAME_BYTES_MAX,
    wire::{LEN_BYTES, checked_len, codec},
};
use thiserror::Error;
use tokio::time::timeout;

use super::{CLOSE_TIMEOUT, LinkError, chain_of, dial, transport};
use crate::{config::Address, limits::JOIN_TIMEOUT, tls::Joining};

/// Why the host is no agent.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The coordinator has said no.
    #[error("{0}")]
    Refused(JoinRefusal),
    /// A coordinator answered, and may let the host in later.
    #[error("not now: {}", .0.join("; "))]
    Later(Vec<String>),
    /// No coordinator answered.
    #[error("no coordinator answered: {}; UDP to that port must be let out", .0.join("; "))]
    Unreachable(Vec<String>),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Why one address gave no answer.
#[derive(Debug, Error)]
enum AskError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("connection: {0}")]
    Connection(#[from] ConnectionError),
    #[error("request cannot be sent: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("no answer came: {0}")]
    Read(#[from] quinn::ReadExactError),
    #[error("answer is not understood: {0}")]
    Malformed(String),
    #[error("no answer within {} s", JOIN_TIMEOUT.as_secs())]
    Late,
}

/// Asks the token's coordinators, one after the other, until one answers.
///
/// # Errors
/// [`JoinError`]; the text says what to do.
pub async fn join(
    token: &JoinToken,
    request: &JoinRequest,
    joining: &Joining,
) -> Result<Joined, JoinError> {
    let tls = joining.client().map_err(|error| JoinError::Tls(error.to_string()))?;
    let crypto =
        QuicClientConfig::try_from(tls).map_err(|error| JoinError::Tls(error.to_string()))?;
    let mut quic = ClientConfig::new(Arc::new(crypto));
    quic.transport_config(Arc::new(transport()));
    let (mut failures, mut later, mut refused) = (Vec::new(), Vec::new(), None);
    for text in &token.addresses {
        let asked = match Address::parse(text) {
            Ok(address) => ask(&address, token, request, &quic, joining).await,
            Err(error) => Err(AskError::Malformed(error)),
        };
        match asked {
            Ok(JoinReply::Joined(joined)) => return Ok(joined),
            // Another coordinator may be able to issue, or know the token.
            Ok(JoinReply::Refused(refusal)) if refusal.is_temporary() => {
                later.push(format!("{text}: {refusal}"));
            }
            Ok(JoinReply::Refused(JoinRefusal::Unknown)) => refused = Some(JoinRefusal::Unknown),
            Ok(JoinReply::Refused(refusal)) => return Err(JoinError::Refused(refusal)),
            // It closed with a reason, which says when to come again.
            Err(AskError::Connection(ConnectionError::ApplicationClosed(close))) => {
                later.push(format!("{text}: {close}"));
            }
            Err(error) => failures.push(format!("{text}: {error}")),
        }
    }
    match refused {
        _ if !later.is_empty() => Err(JoinError::Later(later)),
        Some(refusal) => Err(JoinError::Refused(refusal)),
        None => Err(JoinError::Unreachable(failures)),
    }
}

async fn ask(
    address: &Address,
    token: &JoinToken,
    request: &JoinRequest,
    quic: &ClientConfig,
    joining: &Joining,
) -> Result<JoinReply, AskError> {
    let (endpoint, connection) = dial(address, &token.server_name, quic).await?;
    let reply = match timeout(JOIN_TIMEOUT, exchange(&connection, request, joining)).await {
        Ok(reply) => reply,
        Err(_late) => Err(AskError::Late),
    };
    // Whatever was going on when the coordinator closed, its own reason tells more.
    let reply = reply.map_err(|error| match connection.close_reason() {
        Some(closed @ ConnectionError::ApplicationClosed(_)) => closed.into(),
        Some(_) | None => error,
    });
    connection.close(quinn::VarInt::from_u32(0), b"done");
    let _late = timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await.is_err();
    reply
}

async fn exchange(
    connection: &Connection,
    request: &JoinRequest,
    joining: &Joining,
) -> Result<JoinReply, AskError> {
    let malformed = |error: &dyn std::fmt::Display| AskError::Malformed(error.to_string());
    joining.check_peer(&chain_of(connection)).map_err(LinkError::Peer)?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&encode_frame(request).map_err(|error| malformed(&error))?).await?;
    // Finishing fails only on a stream that is reset: then no answer comes either.
    let _reset = send.finish().is_err();
    read(&mut recv).await
}

async fn read(recv: &mut RecvStream) -> Result<JoinReply, AskError> {
    let malformed = |error: &dyn std::fmt::Display| AskError::Malformed(error.to_string());
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let len = checked_len(len, JOIN_FRAME_BYTES_MAX).map_err(|error| malformed(&error))?;
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await?;
    codec::decode(&body).map_err(|error| malformed(&error))
}

#[cfg(test)]
mod tests;
