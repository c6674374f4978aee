//! One stream of a connection: frames out from a bounded queue, frames in to a bounded queue.
//!
//! Reading a frame takes several reads and is not cancel-safe, so it never stands in a `select!`: a
//! stream's two loops run side by side for as long as the session does, and the session's driver
//! sees only whole frames.

use std::future::pending;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream, WriteError};
use shared::{
    ids::Lane,
    limits::CONTROL_FRAME_BYTES_MAX,
    session::Stream,
    wire::{DecodeError, Frame, LEN_BYTES, checked_len},
};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

/// Frames that wait for a lane's writer: the one that is being written, and the next. A second one
/// hides the way to the spool; more would only take memory, and an urgent block never waits behind
/// them.
pub(super) const LANE_QUEUE: usize = 2;
/// Frames that wait for the control stream's writer: a heartbeat and a context come every fifteen
/// seconds at most, so eight unwritten ones say that the stream is stuck.
pub(super) const CONTROL_QUEUE: usize = 8;
/// Frames that wait for the writer of answers to recalls: what opens one and what ends it, or a block that is written
/// and the next.
pub(super) const ANSWER_QUEUE: usize = 2;
/// Frames from the coordinator that wait for the driver: an ack a lane and a greeting, with room
/// for a burst.
pub(super) const EVENT_QUEUE: usize = 32;

/// What a stream tells the driver: a whole frame, or that it has ended.
pub(super) type Event = (Stream, Result<Frame, StreamError>);

/// Why a stream has ended.
#[derive(Debug, Error)]
pub(super) enum StreamError {
    /// No stream could be opened.
    #[error("stream cannot be opened: {0}")]
    Open(#[from] ConnectionError),
    /// The coordinator takes no more.
    #[error("stream cannot be written: {0}")]
    Write(#[from] WriteError),
    /// The coordinator sends no more, or stopped inside a frame.
    #[error("stream cannot be read: {0}")]
    Read(#[from] ReadExactError),
    /// The coordinator sent no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Where a stream's frames come from and go to.
pub(super) struct Pipes<'a> {
    /// Frames to write.
    pub(super) outbox: mpsc::Receiver<Frame>,
    /// Frames that were read, and the stream's end.
    pub(super) events: mpsc::Sender<Event>,
    /// Told after each frame that was taken out of the outbox.
    pub(super) room: &'a Notify,
    /// Told when the outbox was closed and the peer has everything.
    pub(super) flushed: &'a Notify,
}

/// Carries one stream's frames until the session drops it. The stream is opened with its first
/// frame.
pub(super) async fn carry(connection: &Connection, stream: Stream, pipes: Pipes<'_>) {
    let events = pipes.events.clone();
    if let Err(error) = exchange(connection, stream, pipes).await {
        // A driver that has gone needs no news.
        let _gone = events.send((stream, Err(error))).await.is_err();
    }
    pending::<()>().await;
}

async fn exchange(
    connection: &Connection,
    stream: Stream,
    mut pipes: Pipes<'_>,
) -> Result<(), StreamError> {
    let Some(first) = pipes.outbox.recv().await else { return Ok(()) };
    let (mut send, mut recv) = connection.open_bi().await?;
    send.set_priority(priority(stream)).map_err(WriteError::from)?;
    write_frame(&mut send, &first).await?;
    pipes.room.notify_one();
    let (outbox, room, flushed) = (&mut pipes.outbox, pipes.room, pipes.flushed);
    let write = async {
        while let Some(frame) = outbox.recv().await {
            room.notify_one();
            write_frame(&mut send, &frame).await?;
        }
        send.finish().map_err(WriteError::from)?;
        // Whether the peer took everything or went away: there is nothing more to wait for.
        let _stopped = send.stopped().await.is_err();
        flushed.notify_one();
        Ok::<(), StreamError>(())
    };
    let read = async {
        loop {
            let frame = read_frame(&mut recv).await?;
            if pipes.events.send((stream, Ok(frame))).await.is_err() {
                return Ok::<(), StreamError>(());
            }
        }
    };
    tokio::try_join!(write, read).map(|_| ())
}

/// Carries answers to recalls, each on a stream of its own, until the session drops it.
pub(super) async fn carry_answers(
    connection: &Connection,
    mut outbox: mpsc::Receiver<Frame>,
    events: mpsc::Sender<Event>,
    room: &Notify,
) {
    let carried = async {
        let mut open: Option<SendStream> = None;
        while let Some(frame) = outbox.recv().await {
            room.notify_one();
            if matches!(frame, Frame::RecallOpen { .. }) {
                let send = connection.open_uni().await?;
                send.set_priority(priority(Stream::Recall)).map_err(WriteError::from)?;
                open = Some(send);
            }
            let Some(send) = &mut open else { continue };
            write_frame(send, &frame).await?;
            if matches!(frame, Frame::RecallEnd(_)) {
                send.finish().map_err(WriteError::from)?;
                open = None;
            }
        }
        Ok::<(), StreamError>(())
    };
    if let Err(error) = carried.await {
        // A driver that has gone needs no news.
        let _gone = events.send((Stream::Recall, Err(error))).await.is_err();
    }
    pending::<()>().await;
}

async fn write_frame(send: &mut SendStream, frame: &Frame) -> Result<(), WriteError> {
    let encoded = frame.encode();
    if encoded.tail.is_empty() {
        send.write_all(&encoded.head).await
    } else {
        send.write_all_chunks(&mut [encoded.head, encoded.tail]).await
    }
}

/// Reads one frame. Its length is checked before anything is set aside; what a coordinator sends
/// fits the control stream's bound on every stream.
async fn read_frame(recv: &mut RecvStream) -> Result<Frame, StreamError> {
    let mut len = [0; LEN_BYTES];
    recv.read_exact(&mut len).await?;
    let mut body = vec![0; checked_len(len, CONTROL_FRAME_BYTES_MAX)?];
    recv.read_exact(&mut body).await?;
    Ok(Frame::decode(Bytes::from(body))?)
}

/// Returns a stream's priority in QUIC: what is higher is sent first.
const fn priority(stream: Stream) -> i32 {
    match stream {
        Stream::Lane(Lane::Urgent) => 3,
        Stream::Control => 2,
        Stream::Lane(Lane::Normal) => 1,
        Stream::Lane(Lane::Bulk) => 0,
        Stream::Recall => -1,
    }
}
