//! libFuzzer's entry to `block_decode`, see `src/block_decode.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::block_decode(data));
