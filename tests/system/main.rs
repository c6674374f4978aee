//! Tests that need more than one crate, with real sockets, files and processes; and the house rules.

mod crash;
mod demo;
mod fuzz_corpus;
mod tidy;
