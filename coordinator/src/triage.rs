//! The rules of triage: pure functions of stored state, input and `now` (L9). No store, no clock, no socket.
//!
//! [`entity`] says what an alert is about, [`fold`] which case it belongs to, [`case`] what may happen to a case,
//! [`sla`] by when it must be decided, [`queue`] which one comes next and why.

pub mod case;
pub mod entity;
pub mod fold;
pub mod queue;
pub mod sla;
