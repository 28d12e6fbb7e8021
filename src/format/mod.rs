//! Records as lines: `ecs` for machines, `classic` for those who migrate, `text` for people.
//!
//! Appends bytes to a buffer; sinks decide where they go. Adds no knowledge to a record.

pub mod classic;
pub mod ecs;
pub mod fields;
mod observer;
mod stamp;
pub mod text;

pub use self::observer::{Observer, Pod};
