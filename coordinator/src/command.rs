//! Every write from start to end: a few bulk reads, one pure decision, staged changes, a journal entry.
//!
//! A command is a plain function over what is staged; [`crate::store::writer`] runs it and makes it
//! durable. Nothing here
//! knows a clock, a socket or a status code, so the simulation runs the very same functions.

pub mod access;
pub mod agents;
pub mod block;
pub mod cases;
pub mod claims;
pub mod identities;
pub mod issued;
pub mod joins;
pub mod journal;
pub mod ledger;
pub mod policies;
pub mod recalls;
pub mod retention;
pub mod tenants;
pub mod tokens;
pub mod trust;

use thiserror::Error;

use crate::{store::tables::LoadError, triage::case::Refused};

/// Why a command stores nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// There is no such thing, or not for this caller: which of the two is not said.
    #[error("there is no {what} {name}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The case's rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Somebody else changed it first.
    #[error("{what} is at revision {is}, not at {expected}")]
    Changed {
        /// What was to be changed.
        what: &'static str,
        /// The revision that the caller had seen.
        expected: u64,
        /// The revision that it is at.
        is: u64,
    },
    /// A value that is not allowed.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which value.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// The state of things forbids it.
    #[error("{problem}")]
    Conflict {
        /// What is in the way, and what can be done.
        problem: String,
    },
    /// An agent's block does not follow the one before.
    #[error("block {got} does not follow {committed}")]
    OutOfOrder {
        /// The block's number.
        got: u64,
        /// The newest durable one's.
        committed: u64,
    },
    /// The agent's identity was revoked.
    #[error("this agent was revoked")]
    Revoked,
    /// The agent has shown a later certificate.
    #[error("a later certificate of this agent was used")]
    Superseded,
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl CommandError {
    /// Returns that there is no `what` of this name.
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }
}
