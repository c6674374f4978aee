//! Frames of one stream, in and out.

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use shared::{
    limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX},
    session::Stream,
    wire::{DecodeError, Frame, LEN_BYTES, checked_len},
};
use thiserror::Error;

use super::{quota::Allowance, room::Room};

/// Why no further frame comes on a stream.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// The stream or its connection ended.
    #[error("stream cannot be read: {0}")]
    Stream(#[from] ReadExactError),
    /// What came is no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// What came on a stream, with the stream itself, to be read on.
pub(super) struct Read {
    /// The half that was read from.
    pub(super) recv: RecvStream,
    /// Which stream it is; unknown before its first frame.
    pub(super) stream: Option<Stream>,
    /// The other half, with the first frame.
    pub(super) send: Option<SendStream>,
    /// The frame. `None` where the peer finished the stream in order.
    pub(super) frame: Result<Option<Frame>, ReadError>,
}

/// Reads the next frame. The future owns the stream, so dropping it never loses half a frame of a stream that is
/// read on. A frame's length is checked before anything is set aside for it, and one of a lane waits with its body
/// unread until its tenant and its agent may send it, and for its place in `room`.
pub(super) async fn read(
    mut recv: RecvStream,
    stream: Option<Stream>,
    send: Option<SendStream>,
    (allowance, room): (Allowance, Room),
) -> Read {
    let max = match stream {
        Some(Stream::Lane(_) | Stream::Recall) => FRAME_BYTES_MAX,
        Some(Stream::Control) | None => CONTROL_FRAME_BYTES_MAX,
    };
    let room = matches!(stream, Some(Stream::Lane(_) | Stream::Recall)).then_some(room);
    let frame = read_frame(&mut recv, max, (&allowance, stream), room).await;
    let named = match &frame {
        Ok(Some(Frame::LaneOpen(lane))) => Some(Stream::Lane(*lane)),
        Ok(_) | Err(_) => Some(Stream::Control),
    };
    Read { recv, stream: stream.or(named), send, frame }
}

async fn read_frame(
    recv: &mut RecvStream,
    max: usize,
    (allowance, stream): (&Allowance, Option<Stream>),
    room: Option<Room>,
) -> Result<Option<Frame>, ReadError> {
    let mut len = [0; LEN_BYTES];
    match recv.read_exact(&mut len).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let len = checked_len(len, max)?;
    match stream {
        Some(Stream::Lane(lane)) => allowance.take(lane, len).await,
        Some(Stream::Control) => allowance.take_control().await,
        // Whoever was asked for what it held back is not to wait for its backlog, nor this for that.
        Some(Stream::Recall) | None => {}
    }
    let place = match room {
        Some(room) => Some(room.place(len).await),
        None => None,
    };
    let mut body = vec![0; len];
    recv.read_exact(&mut body).await?;
    let body = match place {
        Some(place) => place.keep_with(body),
        None => Bytes::from(body),
    };
    Ok(Some(Frame::decode(body)?))
}

/// Writes one frame. What a coordinator sends is small and has no tail.
pub(super) async fn write(send: &mut SendStream, frame: &Frame) -> Result<(), WriteError> {
    send.write_all(&frame.encode().head).await
}
