//! Records as lines: `ecs` for machines, `text` for people, and the formats of programs that podtap replaces.
//!
//! Appends bytes to a buffer; sinks decide where they go. Adds no knowledge to a record.

pub mod cf;
pub mod classic;
pub mod conntrack_log;
pub mod ecs;
pub mod fields;
pub mod har;
pub mod lightmon;
pub mod msgpack;
pub mod netlog;
mod observer;
mod stamp;
pub mod text;

pub use self::observer::{Observer, Pod};

/// What became of a record in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Encoded {
    /// Its bytes were appended.
    Written,
    /// The format has no such record: nothing was appended.
    NotInThisFormat,
}
