//! What records are added up by. Every key is printable, and has a bound on its length.

use compact_str::CompactString;

use crate::flow::Endpoint;
use crate::record::{ConnectRecord, DomainNames, Exchange, FlowRecord, NetworkDirection, Workload, grpc_status};
use crate::redact::escape;

/// Longer keys are cut.
pub const LONGEST_KEY: usize = 160;

/// One way to add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TallyKey {
    /// Method and route.
    Route,
    /// Who is at the other end: the client of a pod that serves, the server of one that asks.
    Peer,
    /// What the request names as its host.
    Host,
    /// Status, or why there is none.
    Status,
    /// The client, also behind proxies.
    Client,
    /// One TCP connection.
    Connection,
    /// Who answers.
    Server,
}

impl TallyKey {
    /// Those that a user chooses from.
    pub const ALL: [Self; 6] = [Self::Route, Self::Peer, Self::Host, Self::Status, Self::Client, Self::Connection];

    /// For a heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Peer => "peer",
            Self::Host => "host",
            Self::Status => "status",
            Self::Client => "client",
            Self::Connection => "connection",
            Self::Server => "server",
        }
    }

    /// What an exchange counts under.
    pub fn of(self, exchange: &Exchange) -> CompactString {
        let connection = &exchange.connection;
        let text = match self {
            Self::Route => route(exchange),
            Self::Peer => match connection.direction {
                Some(NetworkDirection::Ingress) => connection.client.ip.to_string(),
                Some(NetworkDirection::Egress) => server(exchange),
                Some(NetworkDirection::Internal) | None => format!("{} -> {}", connection.client.ip, server(exchange)),
            },
            Self::Host => {
                let host = exchange.request.as_ref().and_then(|request| request.host.as_deref());
                host.map_or_else(|| "(no host)".to_owned(), str::to_owned)
            }
            Self::Status => status(exchange),
            Self::Client => exchange.client_ip.unwrap_or(connection.client.ip).to_string(),
            Self::Server => server(exchange),
            Self::Connection => format!("{} -> {}", connection.client, connection.server),
        };
        cut(escape(text.as_bytes()))
    }
}

fn route(exchange: &Exchange) -> String {
    let Some(request) = &exchange.request else { return "(request not seen)".to_owned() };
    let method = if request.method.is_empty() { "?" } else { &request.method };
    format!("{method} {}", exchange.route.as_deref().unwrap_or("(no route)"))
}

fn server(exchange: &Exchange) -> String {
    let (workload, domain) = (exchange.destination_workload.as_deref(), exchange.destination_domain.as_deref());
    named(exchange.connection.server, workload, domain)
}

/// By its name, where that is known.
fn named(end: Endpoint, workload: Option<&Workload>, domain: Option<&DomainNames>) -> String {
    let workload = workload.and_then(|workload| workload.name.as_deref());
    let name = workload.or_else(|| Some(domain?.names.iter().next()?.as_str()));
    name.map_or_else(|| end.to_string(), |name| format!("{name}:{}", end.port))
}

/// Who asked (the process, where it is known), for what, and what came of it.
pub fn connect_key(connect: &ConnectRecord) -> CompactString {
    let (workload, domain) = (connect.destination_workload.as_deref(), connect.destination_domain.as_deref());
    let to = named(connect.destination, workload, domain);
    let from = match (&connect.process, connect.source_workload.as_ref().and_then(|it| it.name.as_ref())) {
        (Some(process), _) => process.name.to_string(),
        (None, Some(name)) => name.to_string(),
        (None, None) => connect.source.map_or_else(|| "?".to_owned(), |ip| ip.to_string()),
    };
    cut(escape(format!("{from} -> {to} {}", connect.result.name()).as_bytes()))
}

/// Protocol and both ends, without the port of who opened.
pub fn flow_key(flow: &FlowRecord) -> CompactString {
    let (workload, domain) = (flow.destination_workload.as_deref(), flow.destination_domain.as_deref());
    let to = named(flow.destination, workload, domain);
    let from = flow.source_workload.as_ref().and_then(|it| it.name.as_ref());
    let from = from.map_or_else(|| flow.source.ip.to_string(), ToString::to_string);
    cut(escape(format!("{} {from} -> {to}", flow.protocol.text()).as_bytes()))
}

fn status(exchange: &Exchange) -> String {
    if let Some(status) = exchange.grpc.as_ref().and_then(|call| call.status) {
        return format!("gRPC {}", grpc_status(status));
    }
    match &exchange.response {
        Some(response) => response.status.map_or_else(|| "(no status)".to_owned(), |status| status.to_string()),
        None if exchange.http2.as_ref().is_some_and(|stream| stream.reset.is_some()) => "no answer: reset".to_owned(),
        None => format!("no answer: {}", exchange.unanswered.map_or("not seen", |why| why.name())),
    }
}

/// Keys are printable ASCII by now.
fn cut(mut key: CompactString) -> CompactString {
    if key.len() > LONGEST_KEY {
        key.truncate(LONGEST_KEY - 3);
        key.push_str("...");
    }
    key
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::sample::{connect, everything_of_connect, exchange, flow};
    use crate::record::{ConnectResult, Process, UnansweredReason};

    #[test]
    fn each_key_says_what_it_adds_up() {
        let mut one = exchange();
        let keys = |one: &Exchange| TallyKey::ALL.map(|key| key.of(one).to_string());
        let connection = "10.1.2.3:51234 -> 10.1.9.9:8080";
        assert_eq!(keys(&one), ["GET /cart", "10.1.2.3", "shop.local:8080", "200", "10.1.2.3", connection]);
        (one.response, one.unanswered, one.client_ip) =
            (None, Some(UnansweredReason::Reset), Some([9, 9, 9, 9].into()));
        one.request = None;
        let expected = ["(request not seen)", "10.1.2.3", "(no host)", "no answer: reset", "9.9.9.9", connection];
        assert_eq!(keys(&one), expected);
    }

    #[test]
    fn connects_are_added_up_by_who_asked_for_what_and_what_came_of_it() {
        let mut one = connect();
        assert_eq!(connect_key(&one), "curl -> 10.96.61.10:80 established");
        (one.process, one.result) = (None, ConnectResult::Refused);
        assert_eq!(connect_key(&one), "10.61.1.2 -> 10.96.61.10:80 refused");
        let mut all = everything_of_connect();
        all.result = ConnectResult::TimedOut;
        let name = all.destination_workload.as_ref().unwrap().name.clone().unwrap();
        assert_eq!(connect_key(&all), format!("curl -> {name}:80 timed_out"));
        all.process = Some(Arc::new(Process { name: "\u{1b}[2J".repeat(99).into(), ..Process::default() }));
        let key = connect_key(&all);
        assert!(key.len() <= LONGEST_KEY && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key}");
        let flow = flow();
        assert_eq!(flow_key(&flow), format!("tcp {} -> {}", flow.source.ip, flow.destination));
    }

    #[test]
    fn a_key_is_short_and_printable_whatever_the_network_says() {
        let mut one = exchange();
        one.route = Some("/\u{1b}[2J\u{202e}é<b>".repeat(99).into());
        let key = TallyKey::Route.of(&one);
        assert!(key.len() <= LONGEST_KEY && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key}");
    }
}
