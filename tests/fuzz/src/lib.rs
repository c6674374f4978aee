//! The fuzz targets: functions of any bytes that panic if a promise is broken.
//!
//! libFuzzer calls them from `fuzz_targets`; the system tests call them with the corpus, so that whatever was found
//! once stays found, without a fuzzer. Findings are inputs: they go to `corpus/<target>` once they are repaired.

mod block_decode;
mod frame_decode;
mod input;
mod session_operations;
mod sigma_rules;
mod spool_recovery;

pub use self::{
    block_decode::block_decode, frame_decode::frame_decode, session_operations::session_operations,
    sigma_rules::sigma_rules, spool_recovery::spool_recovery,
};
