//! Tests that need more than one crate; they are the targets under `system` and `simulation`. What they share is here.

pub mod attack;
pub mod bench;
pub mod cluster;
pub mod edge;
pub mod identity;
pub mod ocsf_schema;
pub mod report;
pub mod sigma;
