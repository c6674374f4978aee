//! What people look at, read from the store in bounded pages: pure functions of what is durable.
//!
//! Every list goes on from an explicit position behind the last item that was looked at, so a page costs the same
//! wherever it stands, and what is stored meanwhile moves nothing.
//!
//! Not here: who may see what (callers pass tenants that are allowed, L5), and how it is shown.

pub mod agents;
pub mod alerts;
pub mod cases;
pub mod gaps;
pub mod ledger;
pub mod policies;
pub mod recalls;
pub mod trust;
