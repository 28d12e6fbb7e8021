//! The fields of a connect, besides those of the process that asked for it.
//!
//! What it shares with other records is listed there; here is what it adds, and what means something else.

use super::FieldType::{Boolean, Date, Ip, Keyword, Long};
use super::events::{DOMAINS, WORKLOADS};
use super::{FIELDS, RecordField, field, is_of_process, same};

/// What only connects have.
pub(super) const CONNECT_FIELDS: &[RecordField] = &[
    field("process.thread.id", Long, "The thread that asked"),
    field(
        "podtap.connect.result",
        Keyword,
        "`established`, `refused`, `timed_out`, `unreachable`, `given_up` (closed before anything came of it), `error`; of UDP `established` says that the address was set",
    ),
    field("podtap.connect.errno", Keyword, "Name of the error: `ECONNREFUSED`"),
    field(
        "podtap.connect.seen_by",
        Keyword,
        "`process` (the kernel, as the process asked) or `packets` (the capture: without a process)",
    ),
    field("podtap.connect.netns", Long, "Inode of the network namespace"),
    field("podtap.connect.tries", Long, "SYNs sent, where packets were seen"),
];

/// What means something else here than in an exchange.
const CONNECT: &[RecordField] = &[
    field("@timestamp", Date, "When the connection was asked for"),
    field("event.kind", Keyword, "`event`"),
    field("event.category", Keyword, "`network`, and `process` where the process is known"),
    field("event.type", Keyword, "`connection`, and `start` where it was established"),
    field("event.action", Keyword, "`connect`"),
    field("event.dataset", Keyword, "`podtap.connect`"),
    field("event.id", Keyword, "Unique; the same record sent again has the same id"),
    field("event.start", Date, "As `@timestamp`"),
    field("event.end", Date, "When the result was known"),
    field("event.duration", Long, "`event.end` − `event.start` in nanoseconds"),
    field("event.outcome", Keyword, "`success` (established), `unknown` (given up), `failure` (all others)"),
    field("source.ip", Ip, "The address of who asked; absent where it never got one"),
    field("source.port", Long, "Its port; likewise"),
    field("destination.ip", Ip, "What was asked for: the address of a Service, before translation"),
    field("destination.port", Long, "Its port"),
    field("network.transport", Keyword, "`tcp`, `udp`"),
    field("network.iana_number", Keyword, "Number of the protocol"),
    field("network.type", Keyword, "`ipv4` (also through a socket of IPv6), `ipv6`"),
    field("network.direction", Keyword, "`egress`, `internal`, `ingress`, where an end is the pod's"),
    field("network.community_id", Keyword, "Community ID v1, seed 0; absent without a source port"),
    field("observer.ingress.interface.name", Keyword, "Seen by packets: interface of the first one"),
    field("podtap.connection.id", Keyword, "Seen by packets: the TCP connection"),
    field(
        "podtap.shortened",
        Boolean,
        "`true` where texts were shortened to keep a line of standard output under 16 KiB",
    ),
];

/// The fields of a record of a connect.
pub fn connect_record_fields() -> impl Iterator<Item = RecordField> {
    let workloads = FIELDS.iter().filter(|field| WORKLOADS.iter().any(|prefix| field.name.starts_with(prefix)));
    let domain = FIELDS.iter().filter(|field| DOMAINS.contains(&field.name) || field.name == "podtap.observed");
    let process = FIELDS.iter().filter(|field| is_of_process(field.name) && field.name != "podtap.process.trust");
    CONNECT.iter().chain(same()).chain(process).chain(CONNECT_FIELDS).chain(domain).chain(workloads).copied()
}
