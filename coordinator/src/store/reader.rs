//! Reads of the store that know the key space: pages, lookups, merges. Nothing here changes anything.

pub mod cases;
