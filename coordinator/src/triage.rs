//! The rules of triage: pure functions of stored state, input and `now` (L9). No store, no clock, no socket.
//!
//! [`entity`] says what an alert is about, [`fold`] which case it belongs to, [`case`] what may happen to a case,
//! [`evidence`] what was found in it, [`sla`] by when it must be decided, [`queue`] which one comes next and why.
//! [`ledger`] checks what agents say became of every record, [`coverage`] sums it up. [`rollout`] says which agents get
//! a policy first, and when that stops.

pub mod case;
pub mod coverage;
pub mod entity;
pub mod evidence;
pub mod fold;
pub mod ledger;
pub mod queue;
pub mod rollout;
pub mod sla;
