//! Where frames come from: the edges that know files and interfaces.
//!
//! They hand over frames as they are; nothing here looks into one (that is `packet`).

pub mod file;
mod filter;

pub use filter::{FilterError, FrameFilter};
