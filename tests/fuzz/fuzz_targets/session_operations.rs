//! libFuzzer's entry to `session_operations`, see `src/session_operations.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::session_operations(data));
