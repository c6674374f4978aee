//! What the coordinator keeps: mechanism only, no rule of the product is decided here.
//!
//! [`schema`] is the key space, [`values`] what stands under the keys, [`engine`] the ordered key space below,
//! [`reader`] what people look at, and [`writer`] the one thread through which every change goes.

pub mod engine;
pub mod reader;
pub mod schema;
pub mod tables;
pub mod values;
pub mod writer;
