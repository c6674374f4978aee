//! Tests that need more than one crate; they are the targets under `system`.
