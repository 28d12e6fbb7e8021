//! The TCP connection that exchanges share, and which way it goes. Plain data: `exchange` makes it, `format` shows it.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::{ConnectionOpening, EndNames};
use crate::flow::{Endpoint, OuterLayers, Scope};

/// What the exchanges of one TCP connection share.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeConnection {
    /// `podtap.connection.id`: hash of observer, addresses, ports and initial sequence numbers.
    pub id: CompactString,
    /// The client's end: `source.*`.
    pub client: Endpoint,
    /// The server's end: `destination.*`.
    pub server: Endpoint,
    /// Community ID v1.
    pub community_id: CompactString,
    /// Which way, seen from the pod; `None` when no own address is known.
    pub direction: Option<NetworkDirection>,
    /// Interface the connection's first frame came from.
    pub interface: Option<Arc<str>>,
    /// The VLANs and tunnels around it.
    pub scope: Scope,
    /// The same by name, of its first frame.
    pub around: OuterLayers,
    /// What its ends are called; set by the pipeline.
    pub names: EndNames,
    /// How it began; none where its SYN was not seen.
    pub opening: Option<ConnectionOpening>,
}

/// `network.direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetworkDirection {
    /// The pod serves.
    Ingress,
    /// The pod asks.
    Egress,
    /// Both ends are in the pod.
    Internal,
}

impl NetworkDirection {
    /// Seen from the pod whose addresses are `own`; `None` when none of the ends is the pod's.
    pub fn of(own: &[IpAddr], source: IpAddr, destinations: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        match (own.contains(&source), destinations.into_iter().any(|ip| own.contains(&ip))) {
            (true, true) => Some(Self::Internal),
            (true, false) => Some(Self::Egress),
            (false, true) => Some(Self::Ingress),
            (false, false) => None,
        }
    }

    /// `network.direction`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Internal => "internal",
        }
    }
}
