//! The Signalbox agent: reads detectors' alerts on a customer's host and carries them to the coordinator.
//!
//! [`source`] reads records, [`normalise`] makes alerts of them, [`prefilter`] asks the [`policy`] what becomes
//! of each, [`blocks`] makes blocks, [`held`] keeps what is not to be sent, [`ledger`] counts, [`spool`] keeps the
//! blocks until they are acked, [`uplink`] carries them, and [`app`] wires it all.

pub mod app;
pub mod args;
pub mod attribution;
pub mod blocks;
pub mod clock;
pub mod config;
pub mod context;
mod envelope;
pub mod evtx;
pub mod filter;
pub mod fold;
pub mod held;
pub mod ledger;
pub mod limits;
pub mod normalise;
pub mod pace;
pub mod platform;
pub mod policy;
pub mod prefilter;
pub mod proc;
pub mod service;
pub mod source;
pub mod spool;
pub mod status;
pub mod tls;
pub mod uplink;
