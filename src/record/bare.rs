//! Records before anything was seen of them: who makes one names what is known.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    ConnectRecord, ConnectResult, EndNames, Exchange, ExchangeConnection, MissingParts, SeenBy, StreamClass, Trust,
    WeirdSet,
};
use crate::flow::{Endpoint, IpProtocol, OuterLayers, Scope, Timestamp};

impl ExchangeConnection {
    /// Between these two ends; the rest is not known.
    pub fn new(id: CompactString, client: Endpoint, server: Endpoint) -> Self {
        Self {
            id,
            client,
            server,
            community_id: CompactString::default(),
            direction: None,
            interface: None,
            scope: Scope::default(),
            around: OuterLayers::default(),
            names: EndNames::default(),
            opening: None,
        }
    }
}

impl Exchange {
    /// With neither half yet.
    pub fn new(connection: Arc<ExchangeConnection>, id: CompactString, number: u32) -> Self {
        Self {
            connection,
            id,
            number,
            request: None,
            response: None,
            connect_ns: None,
            trust: Trust::Complete,
            missing: MissingParts::default(),
            class: StreamClass::Exchange,
            informational: Vec::new(),
            weird: WeirdSet::default(),
            unanswered: None,
            late: false,
            ended: None,
            client_ip: None,
            route: None,
            own_traffic: false,
            gave_up: None,
            http2: None,
            grpc: None,
            websocket: None,
            sse: None,
            open: false,
            source_workload: None,
            destination_workload: None,
            source_domain: None,
            destination_domain: None,
            of_node: None,
        }
    }
}

impl ConnectRecord {
    /// Of TCP, begun at `start`; the rest is not known.
    pub fn new(
        id: CompactString,
        start: Timestamp,
        destination: Endpoint,
        seen_by: SeenBy,
        result: ConnectResult,
    ) -> Self {
        Self {
            id,
            start,
            end: None,
            protocol: IpProtocol::TCP,
            source: None,
            source_port: None,
            destination,
            result,
            errno: None,
            seen_by,
            process: None,
            thread: None,
            netns: None,
            tries: None,
            connection_id: None,
            interface: None,
            direction: None,
            source_workload: None,
            destination_workload: None,
            source_domain: None,
            destination_domain: None,
            of_node: None,
        }
    }
}
