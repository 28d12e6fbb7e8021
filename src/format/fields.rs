//! Every field of the ECS record: name, type in a mapping, meaning.
//!
//! The source of docs/record.md and of the index templates; `ecs` writes the fields. Contains descriptions only, no
//! values.

mod connect;
mod events;

use std::fmt::Write;

pub use self::connect::connect_record_fields;
pub use self::events::{conntrack_record_fields, flow_record_fields, verdict_record_fields};

/// Type of a field in an Elasticsearch or OpenSearch mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `date_nanos` in meaning; written as RFC 3339.
    Date,
    /// `keyword`
    Keyword,
    /// `wildcard` where the server has it, else `keyword`: long, unbounded text.
    Wildcard,
    /// `long`
    Long,
    /// `ip`
    Ip,
    /// `boolean`
    Boolean,
    /// Any number of names below it, each a `keyword`.
    Object,
    /// Any number of names below it as one `flattened` field: their number is not ours to limit.
    Flattened,
}

impl FieldType {
    /// The name of the type in a mapping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Keyword => "keyword",
            Self::Wildcard => "wildcard",
            Self::Long => "long",
            Self::Ip => "ip",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Flattened => "flattened",
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct RecordField {
    /// Dotted name; for an object, of the object.
    pub name: &'static str,
    /// Type.
    pub kind: FieldType,
    /// Meaning, one line.
    pub meaning: &'static str,
}

const fn field(name: &'static str, kind: FieldType, meaning: &'static str) -> RecordField {
    RecordField { name, kind, meaning }
}

use FieldType::{Boolean, Date, Flattened, Ip, Keyword, Long, Object, Wildcard};

/// All fields, in the order in which they are written.
pub const FIELDS: &[RecordField] = &[
    field(
        "@timestamp",
        Date,
        "First byte of the request, or of the response if the request was not seen; UTC, microseconds or nanoseconds",
    ),
    field("ecs.version", Keyword, "Version of the Elastic Common Schema the names were checked against"),
    field("event.kind", Keyword, "`event`"),
    field("event.category", Keyword, "`network`, `web`"),
    field("event.type", Keyword, "`connection`, `protocol`"),
    field("event.dataset", Keyword, "`podtap.http`"),
    field(
        "event.id",
        Keyword,
        "Deterministic: the same exchange seen again by the same observer has the same id; the day is part of it",
    ),
    field("event.start", Date, "As `@timestamp`"),
    field("event.end", Date, "Last byte of the response; absent where the clock was set back meanwhile"),
    field("event.duration", Long, "`event.end` − `event.start` in nanoseconds"),
    field(
        "event.outcome",
        Keyword,
        "`success` (status below 400; of gRPC: `OK`), `failure` (another status, or unanswered, or reset), `unknown`",
    ),
    field("http.version", Keyword, "`0.9`, `1.0`, `1.1`, `2`"),
    field("http.route", Keyword, "Path with its variable segments named: `/orders/{id}`"),
    field("http.request.method", Keyword, "Method as sent; absent where HPACK's state hid it"),
    field("http.request.bytes", Long, "Head and body on the wire"),
    field("http.request.body.bytes", Long, "Body after de-chunking, before decompression; absent without a body"),
    field("http.request.mime_type", Keyword, "Media type of Content-Type, lower case, without parameters"),
    field("http.request.referrer", Wildcard, "Referer, secrets masked"),
    field("http.request.id", Keyword, "X-Request-Id"),
    field(
        "http.request.headers",
        Flattened,
        "With LOGHEADERS: lower-case names; a string, or a list where repeated; secrets masked",
    ),
    field("http.request.trailers", Flattened, "With LOGHEADERS, as headers: the trailers of HTTP/2"),
    field("http.response.status_code", Long, "Status code of the final response; HTTP/0.9 has none"),
    field("http.response.status_phrase", Keyword, "Reason phrase, when there is one"),
    field("http.response.mime_type", Keyword, "Media type of Content-Type, lower case, without parameters"),
    field("http.response.bytes", Long, "Head and body on the wire"),
    field("http.response.body.bytes", Long, "Body after de-chunking, before decompression; absent without a body"),
    field("http.response.headers", Flattened, "With LOGHEADERS, as for the request"),
    field("http.response.trailers", Flattened, "With LOGHEADERS, as for the request"),
    field(
        "url.original",
        Wildcard,
        "Request-target exactly as sent; secrets masked, bytes outside printable ASCII as `\\xNN`, which adds at most 6 KiB: what is behind is left out, and counted at the end",
    ),
    field("url.path", Wildcard, "Path of the target; absent for CONNECT and `*`"),
    field("url.query", Keyword, "Query of the target, without `?`"),
    field("url.domain", Keyword, "Host of the target, else of the Host header; absent without either"),
    field(
        "url.port",
        Long,
        "Port in the target or the Host header; absent where none was written, or one that does not exist (see `destination.port`)",
    ),
    field("url.scheme", Keyword, "`http`, or what an absolute target says; absent for CONNECT"),
    field(
        "url.full",
        Wildcard,
        "Scheme, host, port, path and query; absent where the host is unknown or the port does not exist",
    ),
    field("user_agent.original", Wildcard, "User-Agent"),
    field("source.ip", Ip, "The client's address"),
    field("source.port", Long, "The client's port"),
    field("source.bytes", Long, "What the client sent for this exchange"),
    field(
        "source.domain",
        Keyword,
        "With WORKLOADS: name of the client's address; a list where there are several (`podtap.source.domain_source`)",
    ),
    field("destination.ip", Ip, "The server's address"),
    field("destination.port", Long, "The server's port"),
    field("destination.bytes", Long, "What the server sent for this exchange"),
    field(
        "destination.domain",
        Keyword,
        "With WORKLOADS: name of the server's address; a list where there are several (`podtap.destination.domain_source`)",
    ),
    field(
        "client.ip",
        Ip,
        "The client behind trusted proxies (TRUSTED_PROXIES), by a PROXY header, Forwarded and X-Forwarded-For, when there is one",
    ),
    field("network.transport", Keyword, "`tcp`"),
    field("network.type", Keyword, "`ipv4`, `ipv6`"),
    field("network.protocol", Keyword, "`http`"),
    field(
        "network.direction",
        Keyword,
        "`ingress` (the pod serves), `egress` (the pod asks), `internal` (both ends in the pod)",
    ),
    field("network.community_id", Keyword, "Community ID v1, seed 0"),
    field("network.vlan.id", Keyword, "VLAN of the first packet; inside a tunnel, where there is one"),
    field("network.inner.vlan.id", Keyword, "The innermost VLAN, of several"),
    field("trace.id", Keyword, "From `traceparent` or B3"),
    field("span.id", Keyword, "From `traceparent` or B3: the sender's span"),
    field("rpc.system.name", Keyword, "`grpc` (also gRPC-Web), `connectrpc` (the Connect protocol)"),
    field("rpc.method", Keyword, "`package.Service/Method`"),
    field(
        "rpc.response.status_code",
        Keyword,
        "Status of the call by name, of Connect too (`OK`, `UNAVAILABLE`); absent where none was on the wire, or it is not known",
    ),
    field(
        "error.type",
        Keyword,
        "Of a failure: the status of gRPC, else the code of the stream's reset, else the HTTP status",
    ),
    field("service.name", Keyword, "SERVICE_NAME, else the pod's app label"),
    field("labels", Object, "TAGS; `_` for `.` in names"),
    field("host.name", Keyword, "The node, or the host outside Kubernetes"),
    field("kubernetes.namespace", Keyword, "Namespace of the observed pod"),
    field("kubernetes.pod.name", Keyword, "Name of the observed pod"),
    field("kubernetes.pod.uid", Keyword, "Uid of the observed pod"),
    field("kubernetes.pod.ip", Ip, "Address of the observed pod"),
    field("kubernetes.node.name", Keyword, "Node of the observed pod"),
    field("kubernetes.labels", Object, "Labels of the observed pod; `_` for `.` in names"),
    field("kubernetes.annotations", Object, "Annotations of the allow list ANNOTATIONS; `_` for `.` in names"),
    field("orchestrator.cluster.name", Keyword, "CLUSTER_NAME"),
    field("agent.type", Keyword, "`podtap`"),
    field("agent.version", Keyword, "Version of podtap"),
    field(
        "process.pid",
        Long,
        "The process that asked for the connection, by its number in the machine's own namespace of processes. Of exchanges and flows with RECORD=connects, where it is certain",
    ),
    field("process.vpid", Long, "Its number in its own namespace, where that is another one"),
    field("process.name", Keyword, "Its name in the kernel: 15 bytes at most"),
    field("process.executable", Keyword, "Path of its executable, in its own file system"),
    field("process.args", Keyword, "Its arguments, secrets masked; the first 1024 bytes"),
    field("process.command_line", Wildcard, "The same, joined by spaces"),
    field("process.parent.pid", Long, "The process that made it"),
    field("process.start", Date, "When the process began"),
    field("user.id", Keyword, "User of the process"),
    field("user.name", Keyword, "Name of the user, as /etc/passwd of podtap has it"),
    field("container.id", Keyword, "Container of the process, where its control group is one's"),
    field("container.name", Keyword, "Name of the container, where something names it"),
    field("container.runtime", Keyword, "`containerd`, `docker`, `cri-o`, `podman`, where the control group says so"),
    field("observer.ingress.interface.name", Keyword, "Interface the connection was seen on"),
    field("podtap.trust", Keyword, "`complete`, `truncated`, `gap`, `midstream`, `unpaired`"),
    field(
        "podtap.missing",
        Keyword,
        "What the label is about: `request`, `response`, `request_head`, `response_head`, `request_body`, `response_body`",
    ),
    field(
        "podtap.timing.connect_us",
        Long,
        "SYN → SYN-ACK; only on the first exchange of a connection whose handshake was seen",
    ),
    field("podtap.timing.request_us", Long, "Request first byte → last byte"),
    field(
        "podtap.timing.wait_us",
        Long,
        "Request last byte → response first byte; 0 where the answer began before the request had ended, absent where the clock was set back",
    ),
    field("podtap.timing.response_us", Long, "Response first byte → last byte"),
    field("podtap.timing.total_us", Long, "Request first byte → response last byte"),
    field("podtap.early_response", Boolean, "`true` where the answer began before the request had ended"),
    field("podtap.connection.id", Keyword, "The TCP connection"),
    field("podtap.connection.exchange", Long, "1, 2, … in the connection, as seen; absent where its request was not"),
    field(
        "podtap.connection.reused",
        Boolean,
        "Whether an exchange went before in the connection; absent where we joined late",
    ),
    field("podtap.stream", Keyword, "`exchange`, `stream` (SSE, long poll), `tunnel` (CONNECT), `upgrade` (101)"),
    field("podtap.informational", Long, "1xx status codes before the final one"),
    field("podtap.weird", Keyword, "Protocol oddities by name"),
    field("podtap.unanswered", Keyword, "Why there is no response: `timeout`, `closed`, `reset`, `shutdown`"),
    field("podtap.late", Boolean, "`true` for a response whose request was reported as timed out before"),
    field(
        "podtap.ended_by",
        Keyword,
        "Who ended what did not end by itself (a cut or unanswered exchange, a stream of HTTP/2, a WebSocket without a close frame), by the first FIN or else a RST: `client`, `server`; absent where that is not known",
    ),
    field("podtap.ended_how", Keyword, "How: `fin`, `rst`, `reset_stream`"),
    field(
        "podtap.open",
        Boolean,
        "`true` for what goes on: it is told once more when it ends, with the same id but for `.open`",
    ),
    field(
        "podtap.unknown",
        Keyword,
        "What HPACK's state hid after a late join or a loss: `:method`, `:scheme`, `:path`, `:authority`, `:status`, `grpc-status`",
    ),
    field(
        "podtap.path_ref",
        Keyword,
        "Label of a `:path` that is not known: within its connection the same label is the same path",
    ),
    field("podtap.http2.stream_id", Long, "Stream of HTTP/2"),
    field("podtap.http2.reset.by", Keyword, "Who reset the stream: `client`, `server`"),
    field("podtap.http2.reset.code", Keyword, "Error code of the reset by name: `CANCEL`"),
    field(
        "podtap.http2.not_processed",
        Boolean,
        "`true` where a GOAWAY says that the server did not look at it: it may be sent again",
    ),
    field(
        "podtap.http2.upgraded",
        Boolean,
        "`true` for stream 1 of a connection upgraded from HTTP/1.1, whose request that was",
    ),
    field("podtap.http2.pushed", Boolean, "`true` for a stream that the server began"),
    field(
        "podtap.grpc.message",
        Keyword,
        "`grpc-message`, percent-decoded, as UTF-8, secrets masked; of Connect the message of the error",
    ),
    field(
        "podtap.grpc.request_messages",
        Long,
        "Messages of the client; absent where a loss made them uncountable, and of a unary call of Connect, which has one",
    ),
    field("podtap.grpc.response_messages", Long, "Messages of the server; absent likewise"),
    field("podtap.grpc.first_message_us", Long, "Request first byte → first message of the server whole"),
    field("podtap.grpc.timeout_us", Long, "`grpc-timeout`, or `connect-timeout-ms`"),
    field("podtap.grpc.encoding", Keyword, "`grpc-encoding` of the response, else of the request"),
    field(
        "podtap.websocket.client.messages",
        Long,
        "Messages of the client; all counts of an end are absent where a loss made them uncountable",
    ),
    field("podtap.websocket.client.frames", Long, "Frames of any kind"),
    field("podtap.websocket.client.text", Long, "Text messages"),
    field("podtap.websocket.client.binary", Long, "Binary messages"),
    field("podtap.websocket.client.pings", Long, "Pings"),
    field("podtap.websocket.client.pongs", Long, "Pongs"),
    field("podtap.websocket.client.bytes", Long, "Payload of messages, as sent"),
    field("podtap.websocket.server.messages", Long, "The same of the server"),
    field("podtap.websocket.server.frames", Long, "Frames of any kind"),
    field("podtap.websocket.server.text", Long, "Text messages"),
    field("podtap.websocket.server.binary", Long, "Binary messages"),
    field("podtap.websocket.server.pings", Long, "Pings"),
    field("podtap.websocket.server.pongs", Long, "Pongs"),
    field("podtap.websocket.server.bytes", Long, "Payload of messages, as sent"),
    field("podtap.websocket.close_code", Long, "Code of the first close frame; absent where it has none"),
    field("podtap.websocket.closed_by", Keyword, "Who sent the first close frame: `client`, `server`"),
    field("podtap.websocket.compressed", Boolean, "`true` where messages were compressed"),
    field(
        "podtap.websocket.duration_us",
        Long,
        "End of the answer that opened the socket → last byte of it; over HTTP/2 absent",
    ),
    field("podtap.sse.events", Long, "Server-sent events in the response"),
    field("podtap.sse.first_event_us", Long, "Request first byte → first event whole"),
    field(
        "podtap.process.trust",
        Keyword,
        "How the process of an exchange or a flow is known: `exact` (a connect between these addresses and ports was under way when the first SYN was captured). Whatever is less certain gives no process",
    ),
    field("podtap.process.hostname", Keyword, "The host name that the process sees: in a pod the pod's name"),
    field("podtap.process.pod_uid", Keyword, "Uid of its pod, where its control group names it"),
    field("podtap.process.args_cut", Boolean, "`true` where there is more of the arguments"),
    field(
        "podtap.tunnel.type",
        Keyword,
        "The innermost tunnel around the first packet: `ip`, `gre`, `vxlan`, `geneve`, `erspan`, `gtp`, `pppoe`",
    ),
    field("podtap.tunnel.id", Keyword, "Its number: VNI, key of GRE, session, tunnel end (TEID)"),
    field(
        "podtap.source.workload.namespace",
        Keyword,
        "With WORKLOADS: namespace of the workload behind the client's address",
    ),
    field("podtap.source.workload.name", Keyword, "Its name"),
    field("podtap.source.workload.kind", Keyword, "Its kind"),
    field("podtap.source.workload.service", Keyword, "The Service that it serves; a list where there are several"),
    field("podtap.source.workload.node", Keyword, "The node that it runs on"),
    field("podtap.source.workload.labels", Object, "Its labels; `_` for `.` in names"),
    field(
        "podtap.destination.workload.namespace",
        Keyword,
        "With WORKLOADS: namespace of the workload behind the server's address",
    ),
    field("podtap.destination.workload.name", Keyword, "Its name"),
    field("podtap.destination.workload.kind", Keyword, "Its kind"),
    field("podtap.destination.workload.service", Keyword, "The Service that it serves; a list where there are several"),
    field("podtap.destination.workload.node", Keyword, "The node that it runs on"),
    field("podtap.destination.workload.labels", Object, "Its labels; `_` for `.` in names"),
    field("podtap.source.domain_source", Keyword, "Who says `source.domain`: `dns`"),
    field("podtap.destination.domain_source", Keyword, "Who says `destination.domain`: `dns`, `sni`, `host`"),
    field(
        "podtap.observed",
        Keyword,
        "With OBSERVE=node: `pod` (of this node, which `kubernetes.*` names), `host` (the node itself), `other`",
    ),
    field(
        "podtap.shortened",
        Boolean,
        "`true` where parts of the URL that repeat, headers, labels or long strings were left out to keep a line of standard output under 16 KiB",
    ),
];

/// What a ledger record says of itself; `ledger_record_fields` are all of its fields.
const LEDGER: &[RecordField] = &[
    field(
        "podtap.ledger.sink",
        Keyword,
        "Of which sink, as in SEND_LOGS_TO; absent where the record is of the capture",
    ),
    field("podtap.ledger.adds_up", Boolean, "Whether every equation holds; `false` is a bug in podtap"),
    field("podtap.ledger.imbalances", Keyword, "The equations that do not"),
];

/// What exchanges and ledger records have in common, where it does not mean the same.
const SHARED: &[RecordField] = &[
    field("@timestamp", Date, "As `event.end`"),
    field("event.kind", Keyword, "`metric`"),
    field("event.dataset", Keyword, "`podtap.ledger`"),
    field("event.id", Keyword, "Unique; the same record sent again has the same id"),
    field("event.start", Date, "When the interval began: the `event.end` of the one before, or the start of podtap"),
    field("event.end", Date, "When it ended"),
    field("event.duration", Long, "`event.end` − `event.start` in nanoseconds"),
];

/// Prefixes of the fields that every record has like an exchange's, with the same meaning.
const SAME: &[&str] = &["ecs.version", "service.", "labels", "host.", "kubernetes.", "orchestrator.", "agent."];

/// What only ledger records have: names of counters as in `/metrics`.
pub fn ledger_fields() -> impl Iterator<Item = RecordField> {
    let numbers = crate::ledger::ledger_fields().map(|(name, meaning)| field(name, Long, meaning));
    LEDGER.iter().copied().chain(numbers)
}

/// Every field of every record that there may be in an index.
pub fn all_fields() -> impl Iterator<Item = RecordField> {
    FIELDS
        .iter()
        .copied()
        .chain(events::FLOW_FIELDS.iter().copied())
        .chain(events::REPORT_FIELDS.iter().copied())
        .chain(events::VERDICT_FIELDS.iter().copied())
        .chain(connect::CONNECT_FIELDS.iter().copied())
        .chain(ledger_fields())
}

/// Of a process: with the same meaning in records of exchanges, flows and connects.
fn is_of_process(name: &str) -> bool {
    ["process.", "user.", "container.", "podtap.process."].iter().any(|prefix| name.starts_with(prefix))
}

/// What all records say in the same way.
fn same() -> impl Iterator<Item = &'static RecordField> {
    FIELDS.iter().filter(|field| SAME.iter().any(|same| field.name.starts_with(same)))
}

/// The fields of a ledger record.
pub fn ledger_record_fields() -> impl Iterator<Item = RecordField> {
    SHARED.iter().chain(same()).copied().chain(ledger_fields())
}

/// The table of docs/record.md.
pub fn markdown_table(fields: impl Iterator<Item = RecordField>) -> String {
    let mut out = String::from("| field | type | meaning |\n|---|---|---|\n");
    for field in fields {
        let below = if matches!(field.kind, Object | Flattened) { ".*" } else { "" };
        let meaning = field.meaning.replace('|', "\\|");
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "| `{}{below}` | {} | {meaning} |", field.name, field.kind.name());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/record.md");
    const BEGIN: &str = "made by `UPDATE=1 cargo test --lib format::fields` -->\n";
    const END: &str = "<!-- end of";

    /// The text between the marks of `part`.
    fn with(text: &str, part: &str, table: &str) -> String {
        let (before, rest) = text.split_once(&format!("<!-- {part}: {BEGIN}")).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        format!("{before}<!-- {part}: {BEGIN}{table}{END}{after}")
    }

    #[test]
    fn the_document_shows_the_fields_as_they_are() {
        let text = std::fs::read_to_string(DOCUMENT).unwrap();
        let expected = with(&text, "fields", &markdown_table(FIELDS.iter().copied()));
        let expected = with(&expected, "fields of the ledger record", &markdown_table(ledger_record_fields()));
        let expected = with(&expected, "fields of the conntrack record", &markdown_table(conntrack_record_fields()));
        let expected = with(&expected, "fields of the flow record", &markdown_table(flow_record_fields()));
        let expected = with(&expected, "fields of the verdict record", &markdown_table(verdict_record_fields()));
        let expected = with(&expected, "fields of the connect record", &markdown_table(connect_record_fields()));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(DOCUMENT, &expected).unwrap();
            return;
        }
        assert!(text == expected, "docs/record.md is stale: UPDATE=1 cargo test --lib format::fields");
    }

    #[test]
    fn no_field_is_listed_twice() {
        let lists = [
            all_fields().collect::<Vec<_>>(),
            ledger_record_fields().collect(),
            flow_record_fields().collect(),
            conntrack_record_fields().collect(),
            verdict_record_fields().collect(),
            connect_record_fields().collect(),
        ];
        for fields in lists {
            let mut names: Vec<_> = fields.iter().map(|f| f.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), fields.len());
        }
    }
}
