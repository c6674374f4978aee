//! The Signalbox coordinator: ingest, store, triage, API, and the `signalbox` command line's client.

pub mod api;
pub mod command;
pub mod limits;
pub mod store;
pub mod triage;
