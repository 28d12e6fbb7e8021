//! What exchanges are added up by. Every key is printable, and has a bound on its length.

use compact_str::CompactString;

use crate::record::{Exchange, NetworkDirection, grpc_status};
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

/// By its name, where that is known.
fn server(exchange: &Exchange) -> String {
    let server = exchange.connection.server;
    let workload = exchange.destination_workload.as_ref().and_then(|workload| workload.name.as_deref());
    let name = workload.or_else(|| Some(exchange.destination_domain.as_ref()?.names.iter().next()?.as_str()));
    name.map_or_else(|| server.to_string(), |name| format!("{name}:{}", server.port))
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
    use super::*;
    use crate::record::UnansweredReason;
    use crate::record::sample::exchange;

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
    fn a_key_is_short_and_printable_whatever_the_network_says() {
        let mut one = exchange();
        one.route = Some("/\u{1b}[2J\u{202e}é<b>".repeat(99).into());
        let key = TallyKey::Route.of(&one);
        assert!(key.len() <= LONGEST_KEY && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key}");
    }
}
