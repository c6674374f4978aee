//! The Signalbox coordinator: ingest, store, triage, API, and the `signalbox` command line's client.

pub mod api;
pub mod app;
pub mod args;
pub mod bell;
pub mod clock;
pub mod command;
pub mod config;
pub mod counters;
pub mod ingest;
pub mod limits;
pub mod rate;
pub mod store;
pub mod tls;
pub mod triage;
pub mod upkeep;
pub mod uses;
pub mod view;
