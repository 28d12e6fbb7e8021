//! Where frames and events come from: live interfaces, capture files, and the kernel's connection tracking.
//!
//! The edges that know libpcap, netlink sockets, files, /proc and capabilities. They hand over bytes as they are; nothing
//! here looks into a frame or a message (that is `packet`, `conntrack`).

pub mod conntrack;
pub mod file;
mod filter;
pub mod interfaces;
pub mod live;
mod netlink;
pub mod own_traffic;
pub mod privilege;

pub use filter::{FilterError, FrameFilter};
