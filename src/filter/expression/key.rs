//! The names that may be compared, and what kind of value each has. Knows no record.

/// Which ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichEnds {
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
    Process,
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
pub(super) enum ExpressionKey {
    Ip(WhichEnds),
    Port(WhichEnds),
    Status,
    Text(TextKey),
    Number(NumberKey),
}

/// Every key, as it is written.
pub(super) const KEYS: [(&str, ExpressionKey); 34] = [
    ("ip", ExpressionKey::Ip(WhichEnds::Either)),
    ("sip", ExpressionKey::Ip(WhichEnds::Source)),
    ("dip", ExpressionKey::Ip(WhichEnds::Destination)),
    ("port", ExpressionKey::Port(WhichEnds::Either)),
    ("sport", ExpressionKey::Port(WhichEnds::Source)),
    ("dport", ExpressionKey::Port(WhichEnds::Destination)),
    ("status", ExpressionKey::Status),
    ("host", ExpressionKey::Text(TextKey::Host)),
    ("path", ExpressionKey::Text(TextKey::Path)),
    ("url", ExpressionKey::Text(TextKey::Url)),
    ("route", ExpressionKey::Text(TextKey::Route)),
    ("method", ExpressionKey::Text(TextKey::Method)),
    ("agent", ExpressionKey::Text(TextKey::Agent)),
    ("user_agent", ExpressionKey::Text(TextKey::Agent)),
    ("direction", ExpressionKey::Text(TextKey::Direction)),
    ("trust", ExpressionKey::Text(TextKey::Trust)),
    ("unanswered", ExpressionKey::Text(TextKey::Unanswered)),
    ("grpc", ExpressionKey::Text(TextKey::Grpc)),
    ("interface", ExpressionKey::Text(TextKey::Interface)),
    ("protocol", ExpressionKey::Text(TextKey::Protocol)),
    ("state", ExpressionKey::Text(TextKey::State)),
    ("dataset", ExpressionKey::Text(TextKey::Dataset)),
    ("pod", ExpressionKey::Text(TextKey::Pod)),
    ("namespace", ExpressionKey::Text(TextKey::Namespace)),
    ("node", ExpressionKey::Text(TextKey::Node)),
    ("workload", ExpressionKey::Text(TextKey::Workload)),
    ("connection", ExpressionKey::Text(TextKey::Connection)),
    ("container", ExpressionKey::Text(TextKey::Container)),
    ("process", ExpressionKey::Text(TextKey::Process)),
    ("user", ExpressionKey::Text(TextKey::User)),
    ("keyword", ExpressionKey::Text(TextKey::Keyword)),
    ("duration", ExpressionKey::Number(NumberKey::Duration)),
    ("took", ExpressionKey::Number(NumberKey::Duration)),
    ("bytes", ExpressionKey::Number(NumberKey::Bytes)),
];

/// The key of this name; upper and lower case are the same.
pub(super) fn key(name: &str) -> Option<ExpressionKey> {
    KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, key)| *key)
}

/// The key that was probably meant.
pub(super) fn near(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(known, &lower);
    let nearest = KEYS.iter().map(|(known, _)| (distance(known), *known)).min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, known)| *distance <= known.len().div_ceil(3)).map(|(_, known)| known)
}
