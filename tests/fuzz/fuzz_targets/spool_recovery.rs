//! libFuzzer's entry to `spool_recovery`, see `src/spool_recovery.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::spool_recovery(data));
