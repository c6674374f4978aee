//! What agents and coordinators must agree on.
//!
//! Ids, limits, the alert and its block, the frames and the two session machines. Everything here is
//! deterministic: there is no runtime, socket, file, clock or random number below this crate, and its dependency
//! list keeps it so. Time is always an argument.
//!
//! Start with [`alert::Alert`] and [`block`] for the data, [`wire::Frame`] for the protocol's words, and
//! [`session::Sender`] and [`session::Receiver`] for what is said when. [`sigma`] is the language of detection rules.

pub mod address;
pub mod alert;
pub mod backoff;
pub mod block;
pub mod context;
mod envelope;
pub mod identity;
pub mod ids;
pub mod join;
pub mod ledger;
pub mod limits;
pub mod ocsf;
pub mod policy;
pub mod recall;
pub mod renewal;
pub mod session;
pub mod sigma;
pub mod time;
pub mod trust;
pub mod tunnel;
pub mod wire;
