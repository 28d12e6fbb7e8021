//! Where frames and events come from: live interfaces, capture files, and what the kernel reports,
//! logs and runs for us.
//!
//! The edges that know libpcap, netlink sockets, files, /proc and capabilities. They hand over bytes as they are; nothing
//! here looks into a frame, a message or a line (that is `packet`, `conntrack`, `verdict`, `connects`).

pub mod connects;
pub mod conntrack;
pub mod file;
mod filter;
pub mod interfaces;
pub mod kernel_log;
pub mod live;
pub mod memory;
mod netlink;
pub mod nflog;
pub mod own_traffic;
pub mod privilege;
pub mod routes;
pub mod store;

pub use filter::{FilterError, FrameFilter};

use std::time::Instant;

use crate::flow::Timestamp;

#[allow(clippy::disallowed_methods, reason = "when to look again is measured on this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

fn wall_clock() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}
