//! libFuzzer's entry to `frame_decode`, see `src/frame_decode.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::frame_decode(data));
