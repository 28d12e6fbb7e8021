//! Where frames come from: live interfaces and capture files.
//!
//! The edges that know libpcap, files, /proc and capabilities. They hand over frames as they are; nothing here looks
//! into one (that is `packet`).

pub mod file;
mod filter;
pub mod interfaces;
pub mod live;
pub mod own_traffic;
pub mod privilege;

pub use filter::{FilterError, FrameFilter};
