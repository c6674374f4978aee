//! One request and one answer over a connection of their own protocol: how a host joins, and how an agent renews a
//! certificate that has ended.

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream};
use serde::{Serialize, de::DeserializeOwned};
use shared::{
    join::encode_frame,
    limits::JOIN_FRAME_BYTES_MAX,
    wire::{LEN_BYTES, checked_len, codec},
};
use thiserror::Error;
use tokio::time::timeout;

use super::LinkError;
use crate::limits::JOIN_TIMEOUT;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
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

/// Sends the request and returns the answer; closes the connection in any case.
pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    request: &Q,
) -> Result<A, AskError> {
    let answer = match timeout(JOIN_TIMEOUT, exchange(connection, request)).await {
        Ok(answer) => answer,
        Err(_late) => Err(AskError::Late),
    };
    // Whatever was going on when the coordinator closed, its own reason tells more.
    let answer = answer.map_err(|error| match connection.close_reason() {
        Some(closed) => closed.into(),
        None => error,
    });
    connection.close(quinn::VarInt::from_u32(0), b"done");
    answer
}

async fn exchange<Q: Serialize, A: DeserializeOwned>(
    connection: &Connection,
    request: &Q,
) -> Result<A, AskError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&encode_frame(request).map_err(|error| malformed(&error))?).await?;
    // Finishing fails only on a stream that is reset: then no answer comes either.
    let _reset = send.finish().is_err();
    codec::decode(&read(&mut recv).await?).map_err(|error| malformed(&error))
}

async fn read(recv: &mut RecvStream) -> Result<Bytes, AskError> {
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let len = checked_len(len, JOIN_FRAME_BYTES_MAX).map_err(|error| malformed(&error))?;
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await?;
    Ok(body.into())
}

fn malformed(error: &dyn std::fmt::Display) -> AskError {
    AskError::Malformed(error.to_string())
}
