//! Placeholder.
pub mod spool;
pub mod blocks;
pub mod limits;
pub mod normalise;
pub mod source;
pub mod app;
pub mod args;
pub mod clock;
pub mod config;
pub mod context;
pub mod status;
pub mod tls;
pub mod uplink;
