//! Records for tests: the contract's example, and parts to vary it with.

use std::sync::Arc;

use super::{
    Connection, Exchange, Header, Missing, NetworkDirection, Record, Request, Response, StreamClass, Trust, Version,
    WeirdSet,
};
use crate::flow::{Endpoint, Timestamp};

/// 2026-03-01T12:00:00.000123Z, where the example begins.
pub(crate) const START: Timestamp = Timestamp(1_772_366_400_000_123_000);

/// A header.
pub(crate) fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

/// `GET /cart?id=7`.
pub(crate) fn request() -> Request {
    Request {
        method: "GET".into(),
        target: "/cart?id=7".into(),
        version: Version::V11,
        host: Some("shop.local:8080".into()),
        mime_type: None,
        referrer: None,
        id: None,
        user_agent: Some("curl/8.5.0".into()),
        trace: None,
        headers: Vec::new(),
        trailers: Vec::new(),
        first: START,
        last: START,
        bytes: 143,
        body_bytes: 0,
    }
}

/// `200 OK`, 11.9 ms after the request.
pub(crate) fn response() -> Response {
    Response {
        status: Some(200),
        phrase: Some("OK".into()),
        version: Version::V11,
        mime_type: Some("application/json".into()),
        headers: Vec::new(),
        trailers: Vec::new(),
        first: START.plus(11_900_000),
        last: START.plus(12_400_000),
        bytes: 1834,
        body_bytes: 1620,
    }
}

/// The same answer as HTTP/0.9 gives it: a body and nothing else.
pub(crate) fn http09() -> Response {
    Response { status: None, phrase: None, version: Version::V09, mime_type: None, bytes: 1620, ..response() }
}

/// The connection of the example, seen by the server's pod.
pub(crate) fn connection() -> Connection {
    Connection {
        id: "m3J0c5k2QmE".into(),
        client: Endpoint::new([10, 1, 2, 3], 51234),
        server: Endpoint::new([10, 1, 9, 9], 8080),
        community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into(),
        direction: Some(NetworkDirection::Ingress),
        interface: None,
    }
}

/// The whole example.
pub(crate) fn exchange() -> Exchange {
    Exchange {
        connection: Arc::new(connection()),
        id: "m3J0c5k2QmE.0".into(),
        number: 1,
        request: Some(request()),
        response: Some(response()),
        connect_ns: Some(210_000),
        trust: Trust::Complete,
        missing: Missing::default(),
        class: StreamClass::Exchange,
        informational: Vec::new(),
        weird: WeirdSet::default(),
        unanswered: None,
        late: false,
        ended: None,
        client_ip: None,
        route: Some("/cart".into()),
        own_traffic: false,
        gave_up: None,
        http2: None,
        grpc: None,
        websocket: None,
        sse: None,
        open: false,
        source_workload: None,
        destination_workload: None,
    }
}

/// An exchange as a record.
pub(crate) fn record(exchange: Exchange) -> Record {
    Record::Http(Box::new(exchange))
}
