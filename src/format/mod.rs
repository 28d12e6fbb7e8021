//! Records as lines: `ecs` for machines, `classic` for those who move over, `text` for eyes.
//!
//! Appends bytes to a buffer; where they go is the sinks' matter. Adds no knowledge to a record.

pub mod classic;
pub mod ecs;
pub mod fields;
mod observer;
mod stamp;
pub mod text;

pub use self::observer::{Observer, Pod};
