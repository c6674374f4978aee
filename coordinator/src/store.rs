//! What the coordinator keeps: mechanism only, no rule of the product is decided here.
//!
//! [`schema`] is the key space, [`values`] what stands under the keys, [`engine`] the ordered key space below,
//! [`reader`] what people look at, [`writer`] the one thread through which every change goes, and [`upgrade`] what
//! becomes of a store that an earlier version wrote.

pub mod engine;
pub mod reader;
pub mod schema;
pub mod tables;
pub mod upgrade;
pub mod values;
pub mod writer;
