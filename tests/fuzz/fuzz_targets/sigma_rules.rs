//! libFuzzer's entry to `sigma_rules`, see `src/sigma_rules.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sigma_rules(data));
