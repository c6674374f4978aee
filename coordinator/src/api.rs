//! The HTTPS API.

pub mod types;
