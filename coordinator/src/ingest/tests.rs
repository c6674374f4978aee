//! See `app/tests.rs` for sessions over real QUIC.
