//! Tests that need more than one crate, with real sockets, files and processes; and the house rules.

#![allow(clippy::unwrap_used, reason = "all of it is test code, its helpers, too")]

mod blackout;
mod claims;
mod crash;
mod demo;
mod fuzz_corpus;
mod join;
mod ledger;
mod life;
mod ocsf;
mod policy;
mod recall;
mod renew;
mod revoke;
mod sign_in;
mod tidy;
