//! Flows: who exchanged how many packets and bytes with whom. Counts every TCP, UDP, ICMP and SCTP packet in one flow, and
//! reports a flow at its end, and at intervals while it lives.
//!
//! Owns the table of flows and what TCP's headers say of a connection. Of the payload it reads the name in a TLS ClientHello, and
//! it reassembles nothing (`tcp`).
//!
//! ```text
//!           SYN, first packet          packet back, or joined late
//!  (none) ───────────────▶ attempt ───────────────────────────────▶ established
//!                             │ RST, ICMP error                        │ FIN of both     │ RST
//!                             ▼                                        ▼                 ▼
//!                    refused, unreachable                           closed             reset ─▶ established
//!                                                                            (its sender goes on)
//! ```
//!
//! What is over stays for two seconds, so that what straggles in is counted in it; then it is reported for the last time. What
//! is never over is so after the idle time (`idle`, of an unanswered SYN `timed_out`), or when it makes room (`evicted`).

mod entry;
mod sequence;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use self::table::FlowTable;

/// How flows are kept and reported.
#[derive(Clone, Debug)]
pub struct FlowConfig {
    /// FLOW_INTERVAL, nanoseconds: how often a flow that lives is reported. `None`: only at its end.
    pub interval: Option<u64>,
    /// FLOW_IDLE, nanoseconds: when a silent flow is over, other than an established TCP connection.
    pub idle: u64,
    /// The same of an established TCP connection.
    pub idle_tcp: u64,
    /// MAX_FLOWS.
    pub most: usize,
    /// Part of every id.
    pub observer_id: String,
    /// Addresses of the pod, for the direction.
    pub own_ips: Vec<IpAddr>,
    /// Whether somebody waits for `FlowTable::news`.
    pub news: bool,
    /// Whether records say how their connection began, so that its process can be looked for.
    pub openings: bool,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            interval: Some(60_000_000_000),
            idle: 30_000_000_000,
            idle_tcp: 600_000_000_000,
            most: 65_536,
            observer_id: String::new(),
            own_ips: Vec::new(),
            news: false,
            openings: false,
        }
    }
}
