//! The names that may be compared, and what kind of value each has. Knows no record.

/// Which ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Source,
    Destination,
    Either,
}

/// What is compared as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKey {
    Host,
    Path,
    Url,
    Route,
    Method,
    Agent,
    Direction,
    Trust,
    Unanswered,
    Grpc,
    Interface,
    Protocol,
    State,
    Dataset,
    Pod,
    Namespace,
    Node,
    Workload,
    Connection,
    Container,
    User,
    Keyword,
}

/// What is compared as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberKey {
    /// Nanoseconds.
    Duration,
    /// Of the response.
    Bytes,
}

/// A key, by the kind of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Ip(Ends),
    Port(Ends),
    Status,
    Text(TextKey),
    Number(NumberKey),
}

/// Every key, as it is written.
pub(super) const KEYS: [(&str, Key); 33] = [
    ("ip", Key::Ip(Ends::Either)),
    ("sip", Key::Ip(Ends::Source)),
    ("dip", Key::Ip(Ends::Destination)),
    ("port", Key::Port(Ends::Either)),
    ("sport", Key::Port(Ends::Source)),
    ("dport", Key::Port(Ends::Destination)),
    ("status", Key::Status),
    ("host", Key::Text(TextKey::Host)),
    ("path", Key::Text(TextKey::Path)),
    ("url", Key::Text(TextKey::Url)),
    ("route", Key::Text(TextKey::Route)),
    ("method", Key::Text(TextKey::Method)),
    ("agent", Key::Text(TextKey::Agent)),
    ("user_agent", Key::Text(TextKey::Agent)),
    ("direction", Key::Text(TextKey::Direction)),
    ("trust", Key::Text(TextKey::Trust)),
    ("unanswered", Key::Text(TextKey::Unanswered)),
    ("grpc", Key::Text(TextKey::Grpc)),
    ("interface", Key::Text(TextKey::Interface)),
    ("protocol", Key::Text(TextKey::Protocol)),
    ("state", Key::Text(TextKey::State)),
    ("dataset", Key::Text(TextKey::Dataset)),
    ("pod", Key::Text(TextKey::Pod)),
    ("namespace", Key::Text(TextKey::Namespace)),
    ("node", Key::Text(TextKey::Node)),
    ("workload", Key::Text(TextKey::Workload)),
    ("connection", Key::Text(TextKey::Connection)),
    ("container", Key::Text(TextKey::Container)),
    ("user", Key::Text(TextKey::User)),
    ("keyword", Key::Text(TextKey::Keyword)),
    ("duration", Key::Number(NumberKey::Duration)),
    ("took", Key::Number(NumberKey::Duration)),
    ("bytes", Key::Number(NumberKey::Bytes)),
];

/// The key of this name; upper and lower case are the same.
pub(super) fn key(name: &str) -> Option<Key> {
    KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, key)| *key)
}

/// The key that was probably meant.
pub(super) fn near(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(known, &lower);
    let nearest = KEYS.iter().map(|(known, _)| (distance(known), *known)).min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, known)| *distance <= known.len().div_ceil(3)).map(|(_, known)| known)
}
