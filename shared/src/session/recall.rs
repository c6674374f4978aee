//! A recall's two halves within a session: one recall at a time, and its answer on a stream of its own.
//!
//! ```text
//! coordinator (Asking)                         agent (Answering)
//!   Recall {id, rule, since, until} ─────▶       event Recall ─▶ driver looks into its ring
//!   event RecallOpened              ◀─────       RecallOpen {id}     on a new stream
//!   event RecallBlock               ◀─────       RecallBlock ...
//!   event RecallEnded               ◀─────       RecallEnd {records, evicted, lost}
//! ```
//! An answer that a connection's end cuts off is begun anew when the coordinator asks again.

use bytes::Bytes;

use super::{ProtocolError, ReceiverEvent, Stream, Transmit};
use crate::{
    recall::{Recall, RecallEnd, RecallId},
    wire::Frame,
};

/// The coordinator's half.
#[derive(Debug, Default)]
pub(super) struct Asking(Option<Asked>);

#[derive(Debug)]
struct Asked {
    id: RecallId,
    bytes_left: u64,
    is_open: bool,
}

impl Asking {
    /// Tells whether an answer is awaited.
    pub(super) const fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Takes in what is asked for, and returns how it is said.
    pub(super) fn ask(&mut self, recall: Recall) -> Transmit {
        self.0 = Some(Asked { id: recall.id, bytes_left: recall.bytes_max, is_open: false });
        Transmit { stream: Stream::Control, frame: Frame::Recall(Box::new(recall)) }
    }

    /// Takes a frame of an answer.
    pub(super) fn handle(&mut self, frame: Frame) -> Result<ReceiverEvent, ProtocolError> {
        let Some(asked) = &mut self.0 else {
            return Err(ProtocolError::Recall("an answer to nothing"));
        };
        match (frame, asked.is_open) {
            (Frame::RecallOpen { id }, false) if id == asked.id => {
                asked.is_open = true;
                Ok(ReceiverEvent::RecallOpened(id))
            }
            (Frame::RecallBlock { block }, true) => {
                let left = asked.bytes_left.checked_sub(block.len() as u64);
                asked.bytes_left =
                    left.ok_or(ProtocolError::Recall("more bytes than asked for"))?;
                Ok(ReceiverEvent::RecallBlock { id: asked.id, block })
            }
            (Frame::RecallEnd(end), true) if end.id == asked.id => {
                self.0 = None;
                Ok(ReceiverEvent::RecallEnded(*end))
            }
            (_, _) => Err(ProtocolError::Recall("a frame that is not the answer's next")),
        }
    }
}

/// The agent's half.
#[derive(Debug, Default)]
pub(super) struct Answering(Option<RecallId>);

impl Answering {
    /// Takes in what is asked for.
    pub(super) fn handle(&mut self, recall: &Recall) -> Result<(), ProtocolError> {
        match self.0.replace(recall.id) {
            None => Ok(()),
            Some(_) => Err(ProtocolError::Recall("a recall before the last one's answer")),
        }
    }

    /// Returns the frame that opens the answer.
    pub(super) fn open(id: RecallId) -> Transmit {
        Transmit { stream: Stream::Recall, frame: Frame::RecallOpen { id } }
    }

    /// Returns the frame of a block.
    ///
    /// # Panics
    /// If nothing was asked for: a driver's mistake.
    pub(super) fn block(&self, block: Bytes) -> Transmit {
        assert!(self.0.is_some(), "only what was asked for is answered");
        Transmit { stream: Stream::Recall, frame: Frame::RecallBlock { block } }
    }

    /// Returns the frame that ends the answer.
    ///
    /// # Panics
    /// If it answers something else: a driver's mistake.
    pub(super) fn end(&mut self, end: RecallEnd) -> Transmit {
        assert_eq!(self.0.take(), Some(end.id), "only what was asked for is answered");
        Transmit { stream: Stream::Recall, frame: Frame::RecallEnd(Box::new(end)) }
    }
}
