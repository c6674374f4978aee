//! The two halves of a session, as pure state machines.
//!
//! Inputs are `handle_*`, outputs are `poll_*`; a driver carries frames, blocks and time and
//! decides nothing. After any
//! input it polls `poll_event` and `poll_transmit` until both are empty, and then sleeps until `poll_timeout` or the
//! next input. `now` must not go back.
//!
//! ```text
//! agent (Sender)                               coordinator (Receiver)
//!   Hello {epoch, heads}           ──────▶       event Greeted ─▶ driver reads the cursors
//!   event Welcomed                 ◀──────       Welcome {committed}
//!   LaneOpen, Block seq, seq+1 ... ──────▶       event Block   ─▶ driver commits and syncs
//!   event Acked                    ◀──────       Ack {up_to}      only after handle_committed (L1)
//!   Ledger intervals               ──────▶       event Ledger  ─▶ driver checks, commits and syncs
//!   event LedgerAcked              ◀──────       LedgerAck {up_to}
//! ```
//! Two hosts with one identity are told apart by `Probe`, which whoever has a session answers, when a second one
//! greets. That one is answered `Quarantined`: it says which host it is and that it lives, and no more, until a person
//! has decided. A spool that was set back shows by `Checks`, which come before `Welcome`.
//!
//! An agent says behind the greeting which policy it has (`PolicyAck`); from then on the coordinator may offer it one
//! (`Policy`), and the next when that was answered. What an agent takes stands in [`crate::policy`]. Trust bundles go
//! the same way beside it (`TrustAck`, `Trust`); see [`crate::trust`].
//!
//! Recalls go the other way; see `recall.rs`. How an agent renews its certificate stands in [`crate::renewal`].

mod recall;
mod receiver;
mod sender;

pub use receiver::{Receiver, ReceiverConfig, ReceiverEvent};
pub use sender::{Sender, SenderConfig, SenderEvent};

use std::time::Instant;

use thiserror::Error;

use crate::{
    ids::{Lane, Seq},
    wire::{Frame, FrameKind, WIRE_VERSION},
};

/// Which stream of the connection a frame is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The control stream.
    Control,
    /// A lane's stream.
    Lane(Lane),
    /// The stream of an answer to a recall: one after the other, from the agent to the coordinator only.
    Recall,
}

/// A frame to be sent, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The stream.
    pub stream: Stream,
    /// The frame.
    pub frame: Frame,
}

/// Why a machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The peer has not greeted in time.
    GreetingOverdue,
    /// It is time for a heartbeat.
    HeartbeatDue,
    /// The oldest block in flight was not acked in time.
    AckOverdue,
    /// Nothing was heard from the peer for too long.
    Silence,
}

/// The peer broke the protocol, or does not answer: the driver closes the connection and says this.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A frame that is not allowed here and now.
    #[error("{frame:?} frame is not allowed on the {stream:?} stream {phase}")]
    Unexpected {
        /// The frame.
        frame: FrameKind,
        /// Where it came.
        stream: Stream,
        /// In which phase, as "before the greeting".
        phase: &'static str,
    },
    /// No common version of the frames.
    #[error("peer speaks version {0} of the frames, known is {WIRE_VERSION}")]
    Version(u16),
    /// An ack for a block that was not sent.
    #[error("ack of block {up_to} on the {lane} lane, last sent was {last_sent:?}")]
    AckAhead {
        /// On which lane.
        lane: Lane,
        /// What was acked.
        up_to: Seq,
        /// What had been sent.
        last_sent: Option<Seq>,
    },
    /// The coordinator has blocks that this spool never made: the spool is an older copy.
    #[error(
        "coordinator has block {committed} of the {lane} lane, this spool made only {last:?}: \
         the spool was set back"
    )]
    SpoolSetBack {
        /// On which lane.
        lane: Lane,
        /// The coordinator's newest.
        committed: Seq,
        /// This spool's newest.
        last: Option<Seq>,
    },
    /// A block number that does not follow the one before.
    #[error("block {got} on the {lane} lane, expected {expected}")]
    OutOfOrder {
        /// On which lane.
        lane: Lane,
        /// The number due.
        expected: Seq,
        /// The number that came.
        got: Seq,
    },
    /// More in flight than the window allows.
    #[error("more than {0} in flight on the {1} lane")]
    WindowExceeded(&'static str, Lane),
    /// Frames of the ledger before those before them were acked.
    #[error("more than {0} frames of the ledger in flight")]
    LedgerAhead(usize),
    /// A renewal before the one before was answered, or an answer to none.
    #[error("renewal: {0}")]
    Renewal(&'static str),
    /// A recall or its answer out of turn.
    #[error("recall: {0}")]
    Recall(&'static str),
    /// A timer ran out.
    #[error("peer is silent: {0:?}")]
    Timeout(Wake),
}

/// Returns the earlier of two wake-ups.
fn earlier(a: Option<(Instant, Wake)>, b: Option<(Instant, Wake)>) -> Option<(Instant, Wake)> {
    [a, b].into_iter().flatten().min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests;
