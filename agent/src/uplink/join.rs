//! Asks a coordinator to let this host in.
//!
//! One connection of its own protocol, one request, one answer. The coordinator is believed by the root's digest in the
//! token, before anything of the token is sent.

use quinn::{Connection, ConnectionError, crypto::rustls::HandshakeData};
use shared::{
    join::{ALPN_JOIN_2, JoinAnswer, JoinRefusal, JoinReply, JoinRequest, JoinToken, Joined},
    policy::PolicyPublicKey,
};
use thiserror::Error;

use super::{
    LinkError,
    ask::{AskError, ask},
    chain_of,
    dial::{Ways, dial},
};
use crate::{config::Address, tls::Joining};

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
    #[error("no coordinator answered: {}; UDP or TCP to that port must be let out", .0.join("; "))]
    Unreachable(Vec<String>),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Asks the token's coordinators, one after the other, until one answers; returns which keys sign policies, too.
///
/// # Errors
/// [`JoinError`]; the text says what to do.
pub async fn join(
    token: &JoinToken,
    request: &JoinRequest,
    joining: &Joining,
) -> Result<(Joined, Vec<PolicyPublicKey>), JoinError> {
    let tls = joining.client().map_err(|error| JoinError::Tls(error.to_string()))?;
    let ways = Ways::new(tls).map_err(|error| JoinError::Tls(error.to_string()))?;
    let (mut failures, mut later, mut refused) = (Vec::new(), Vec::new(), None);
    for text in &token.addresses {
        let asked = match Address::parse(text) {
            Ok(address) => ask_one(&address, token, request, &ways, joining).await,
            Err(error) => Err(AskError::Malformed(error)),
        };
        let keys = asked.as_ref().map(JoinAnswer::keys).unwrap_or_default();
        match asked.map(|answer| answer.reply) {
            Ok(JoinReply::Joined(joined)) => return Ok((joined, keys)),
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

async fn ask_one(
    address: &Address,
    token: &JoinToken,
    request: &JoinRequest,
    ways: &Ways,
    joining: &Joining,
) -> Result<JoinAnswer, AskError> {
    let dialled = dial(address, &token.server_name, ways, false).await?;
    let connection = &dialled.connection;
    joining.check_peer(&chain_of(connection)).map_err(LinkError::Peer)?;
    let answer = if speaks_second(connection) {
        ask(connection, request).await
    } else {
        let reply: Result<JoinReply, AskError> = ask(connection, request).await;
        reply.map(|reply| JoinAnswer { reply, policy_keys: Vec::new() })
    };
    dialled.flush().await;
    answer
}

/// Returns whether the coordinator has chosen the second protocol.
fn speaks_second(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|any| any.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).is_some_and(|protocol| protocol == ALPN_JOIN_2)
}

#[cfg(test)]
mod tests;
