//! The public Sigma rules over real Windows events: what `make sigma-check` and the benchmark share.
//!
//! The data is not part of the project. It is read where it lies, and whoever needs it skips, saying so, where it is
//! missing.

pub mod check;
pub mod corpus;
pub mod windows;

mod agent;
mod differences;
