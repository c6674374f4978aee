//! How a session ends: in order, lost, or by what went wrong, and the code that its connection is closed with.

use std::fmt;

use quinn::ConnectionError;
use shared::{
    block::BlockError,
    ids::Lane,
    session::{ProtocolError, Stream},
    wire::{
        CLOSE_ENDED, CLOSE_QUARANTINED, CLOSE_REVOKED, CLOSE_SUPERSEDED, DecodeError, GoodbyeReason,
    },
};
use thiserror::Error;

use super::lane::CommitFailure;
use crate::{command::CommandError, limits::CONTROL_PENDING_MAX, store::writer::WriteError};

/// What an agent is told that was revoked.
const REVOKED: &str = "this agent was revoked: ask whoever runs the coordinator";

/// What is told whoever shows a certificate from before the agent's latest.
const SUPERSEDED: &str = "a later certificate of this agent was used: two hosts share an identity, \
                          or an old copy of one was put in its place";

/// What is told whoever shows a certificate of a stolen intermediate that was not issued here.
const DISTRUSTED: &str = "whoever issued this certificate is not believed any more, and nothing \
                          here tells that it is this host's: join again";

/// What is told whoever uses an identity that another host uses, too.
const QUARANTINED: &str = "another host uses this agent's identity: nothing is taken from this one \
                           until whoever runs the coordinator has decided";

/// Codes with which a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Close {
    /// In order.
    Goodbye = 0,
    /// The agent broke the protocol.
    Protocol = 1,
    /// The coordinator could not do its part; dial again.
    Unavailable = 2,
    /// The certificate is not an agent's of ours.
    Unauthorised = 3,
    /// The agent was revoked.
    Revoked = CLOSE_REVOKED,
    /// The agent has shown a later certificate.
    Superseded = CLOSE_SUPERSEDED,
    /// The certificate is good for nothing but its renewal: it has ended, or its issuer is distrusted.
    Ended = CLOSE_ENDED,
    /// Another host uses the agent's identity, too.
    Quarantined = CLOSE_QUARANTINED,
}

/// How a session ended.
pub(super) enum Ending {
    /// In order, by this side or the other.
    Goodbye(GoodbyeReason),
    /// The connection was lost or closed by the agent.
    Gone(ConnectionError),
    /// Something failed; the agent is told, and comes again.
    Failed(Failure),
}

/// Why a session failed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The agent broke the protocol, or is silent.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The agent sent bytes that are no frame.
    #[error("{} stream: {error}", Shown(*stream))]
    Frame { stream: Option<Stream>, error: DecodeError },
    /// A stream ended in the middle of a frame, or was opened twice.
    #[error("{} stream: {problem}", Shown(*stream))]
    Stream { stream: Option<Stream>, problem: String },
    /// Blocks or gaps could not be made durable.
    #[error("{lane} lane: {failure}")]
    Commit { lane: Lane, failure: CommitFailure },
    /// What the agent said of itself could not be stored.
    #[error("{what} was not stored: {error}")]
    Control { what: &'static str, error: WriteError<CommandError> },
    /// It was not stored in time.
    #[error("{0} was not stored in time")]
    ControlLate(&'static str),
    /// The agent sends control frames faster than they can be stored.
    #[error("more than {CONTROL_PENDING_MAX} control frames wait")]
    ControlFlood,
    /// The agent was revoked. Why is not for whoever has its certificate.
    #[error("{REVOKED}")]
    Revoked,
    /// The agent has shown a later certificate.
    #[error("{SUPERSEDED}")]
    Superseded,
    /// Another host uses the agent's identity, too.
    #[error("{QUARANTINED}")]
    Quarantined,
    /// Nobody can tell whether the agent was revoked.
    #[error("whether this agent was revoked cannot be told: {0}")]
    Unknown(String),
    /// What is to be recalled cannot be told.
    #[error("recall: {0}")]
    Recall(String),
    /// What is to be offered cannot be told.
    #[error("policy: {0}")]
    Policy(String),
    /// Which trust bundle is to be offered cannot be told.
    #[error("trust: {0}")]
    Trust(String),
    /// The certificate's issuer is distrusted, and it was not issued here.
    #[error("{DISTRUSTED}")]
    Distrusted,
    /// The agent answered a recall with what is no block.
    #[error("recalled block: {0}")]
    RecalledBlock(BlockError),
    /// The agent does not take what it is sent.
    #[error("agent takes no frame on the {} stream: {problem}", Shown(Some(*stream)))]
    Stuck { stream: Stream, problem: String },
}

struct Shown(Option<Stream>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unnamed"),
            Some(Stream::Control) => f.write_str("control"),
            Some(Stream::Lane(lane)) => write!(f, "{lane}"),
            Some(Stream::Recall) => f.write_str("recall"),
        }
    }
}

impl Failure {
    /// Returns the code to close with.
    pub(super) fn close(&self) -> Close {
        match self {
            Self::Revoked
            | Self::Control { error: WriteError::Refused(CommandError::Revoked), .. } => {
                Close::Revoked
            }
            Self::Superseded
            | Self::Control { error: WriteError::Refused(CommandError::Superseded), .. } => {
                Close::Superseded
            }
            Self::Quarantined => Close::Quarantined,
            Self::Distrusted => Close::Unauthorised,
            // What an agent says that cannot be: it is none that can come again and say the same.
            Self::Control { error: WriteError::Refused(CommandError::Invalid { .. }), .. } => {
                Close::Protocol
            }
            Self::Protocol(_)
            | Self::Frame { .. }
            | Self::Stream { .. }
            | Self::ControlFlood
            | Self::Stuck { .. }
            | Self::RecalledBlock(_)
            | Self::Commit { failure: CommitFailure::Block { .. }, .. } => Close::Protocol,
            Self::Commit { .. }
            | Self::Control { .. }
            | Self::ControlLate(_)
            | Self::Recall(_)
            | Self::Policy(_)
            | Self::Trust(_)
            | Self::Unknown(_) => Close::Unavailable,
        }
    }
}
