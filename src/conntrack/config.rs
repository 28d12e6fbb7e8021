//! How to track: what the settings say. Decides nothing by itself.

use std::net::IpAddr;

use crate::filter::FlowFilter;

/// CONNTRACK_EVENTS: which events become records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConntrackEvents {
    /// Each one.
    All,
    /// One record at the start of a flow, one at its end.
    #[default]
    Folded,
    /// One record for all flows between two addresses, at intervals of this many nanoseconds.
    Aggregate {
        /// How long a record waits for more flows.
        interval: u64,
    },
}

/// How to track.
#[derive(Clone, Debug, Default)]
pub struct ConntrackConfig {
    /// CONNTRACK_EVENTS.
    pub events: ConntrackEvents,
    /// Flows to remember; the ends of others are recorded without their beginnings.
    pub max_flows: usize,
    /// Part of every `event.id`.
    pub observer_id: String,
    /// INCLUDE_…, EXCLUDE_….
    pub filter: FlowFilter,
    /// Addresses of the pod, for the direction.
    pub own_ips: Vec<IpAddr>,
    /// Whether somebody waits for `Tracker::news`.
    pub news: bool,
}
