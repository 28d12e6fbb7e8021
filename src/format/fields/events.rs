//! The fields of records that are not about HTTP: flows, connection tracking, logged packets.
//!
//! What they share with exchanges is listed there; here is what they add, and what means something else.

use super::FieldType::{Boolean, Date, Ip, Keyword, Long};
use super::{FIELDS, RecordField, field, is_of_process, same};

/// What no exchange has.
pub(super) const FLOW_FIELDS: &[RecordField] = &[
    field("event.action", Keyword, "`new`, `update`, `end`"),
    field("source.packets", Long, "Packets of who opened, at the end; absent where the kernel does not count"),
    field("source.nat.ip", Ip, "The source's address after translation, where source or port differ"),
    field("source.nat.port", Long, "Its port after translation"),
    field("destination.packets", Long, "Packets of the other end"),
    field("destination.nat.ip", Ip, "The destination's address after translation: the pod behind a Service"),
    field("destination.nat.port", Long, "Its port after translation"),
    field("network.iana_number", Keyword, "Number of the protocol"),
    field("network.bytes", Long, "Bytes of both directions, from the IP header on"),
    field("network.packets", Long, "Packets of both directions"),
    field("podtap.icmp.type", Long, "Type of ICMP"),
    field("podtap.icmp.code", Long, "Code of ICMP"),
    field("podtap.icmp.id", Long, "Identifier of an echo"),
    field(
        "podtap.conntrack.id",
        Long,
        "The kernel's number of the entry; several flows may have it one after the other",
    ),
    field("podtap.conntrack.zone", Long, "Zone; absent in the default zone"),
    field("podtap.conntrack.mark", Long, "Mark; absent where it is 0"),
    field(
        "podtap.conntrack.status",
        Keyword,
        "`seen_reply`, `assured`, `confirmed`, `snat`, `dnat`, `dying`, `expected`, `helper`, `offload`",
    ),
    field("podtap.conntrack.tcp_state", Keyword, "State of TCP, as `conntrack -L` names it, in lower case"),
    field("podtap.conntrack.sctp_state", Keyword, "The same of SCTP"),
    field("podtap.conntrack.namespace", Long, "Id of the network namespace, with CONNTRACK_ALL_NAMESPACES"),
    field("podtap.conntrack.events", Long, "Events of the kernel about this flow so far, or in this record"),
    field(
        "podtap.conntrack.end_known_by",
        Keyword,
        "`closed` (the connection's close), `destroy`, `dump` (not after it)",
    ),
    field("podtap.conntrack.tries", Long, "Packets sent, where nothing came back"),
    field("podtap.conntrack.begun", Long, "Aggregated: flows that began"),
    field("podtap.conntrack.ended", Long, "Aggregated: flows that ended; their packets and bytes are summed"),
    field(
        "podtap.conntrack.failed",
        Long,
        "Aggregated: of those that ended, flows that were never established or answered",
    ),
    field("podtap.conntrack.source_ports", Long, "Aggregated: different source ports, 4096 at most"),
];

/// What means something else here than in an exchange.
const CONNTRACK: &[RecordField] = &[
    field("@timestamp", Date, "When it happened: of `new` the start, of `end` the end"),
    field("event.kind", Keyword, "`event`"),
    field("event.category", Keyword, "`network`"),
    field("event.type", Keyword, "`connection`, and `start`, `info` or `end`"),
    field("event.dataset", Keyword, "`podtap.conntrack`"),
    field("event.id", Keyword, "Deterministic: the flow, and the record within it"),
    field("event.start", Date, "When the flow began; absent where that is not known. Aggregated: the first event"),
    field("event.end", Date, "When it ended. Aggregated: the last event"),
    field("event.duration", Long, "`event.end` − `event.start` in nanoseconds"),
    field(
        "event.outcome",
        Keyword,
        "At the end: `success` (TCP, SCTP: established; others: answered), `failure` (never established; ICMP: never answered), `unknown`",
    ),
    field("source.ip", Ip, "Who opened, before translation"),
    field("source.port", Long, "Its port; absent for protocols without, and where several are aggregated"),
    field("source.bytes", Long, "Its bytes at the end, from the IP header on"),
    field("destination.ip", Ip, "Who was opened to, before translation: the address of a Service"),
    field("destination.port", Long, "Its port"),
    field("destination.bytes", Long, "Its bytes"),
    field(
        "network.transport",
        Keyword,
        "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`, …; the number of a protocol without a name",
    ),
    field("network.type", Keyword, "`ipv4`, `ipv6`"),
    field("network.direction", Keyword, "`ingress`, `egress`, `internal`, where an end is the pod's"),
    field(
        "network.community_id",
        Keyword,
        "Community ID v1, seed 0, of the addresses before translation; not aggregated",
    ),
];

/// Of an exchange, with the same meaning.
pub(super) const WORKLOADS: [&str; 2] = ["podtap.source.workload.", "podtap.destination.workload."];

/// Likewise, in records of flows.
pub(super) const DOMAINS: [&str; 4] =
    ["source.domain", "destination.domain", "podtap.source.domain_source", "podtap.destination.domain_source"];
const AROUND: [&str; 4] = ["network.vlan.", "network.inner.", "podtap.tunnel.", "podtap.observed"];

/// The fields of a record of connection tracking.
pub fn conntrack_record_fields() -> impl Iterator<Item = RecordField> {
    let workloads = FIELDS.iter().filter(|field| WORKLOADS.iter().any(|prefix| field.name.starts_with(prefix)));
    CONNTRACK.iter().chain(same()).chain(FLOW_FIELDS).chain(workloads).copied()
}

/// What only flows have.
pub(super) const REPORT_FIELDS: &[RecordField] = &[
    field("flow.id", Keyword, "The flow: the same in all of its records"),
    field("flow.final", Boolean, "Whether no record of the flow follows"),
    field(
        "podtap.flow.state",
        Keyword,
        "`attempt` (nothing came back so far), `established`, `closed`, `reset`, `refused`, `unreachable`, `timed_out`, `idle`, `evicted` (to make room)",
    ),
    field("podtap.flow.report", Long, "1, 2, … within the flow"),
    field("podtap.flow.duration_us", Long, "First packet of the flow → `event.end`"),
    field("podtap.flow.ended_by", Keyword, "Who sent the first FIN, or the RST: `source`, `destination`"),
    field("podtap.flow.connect_us", Long, "SYN → SYN-ACK"),
    field(
        "podtap.flow.rtt_us",
        Long,
        "From one end to the other and back: the least time between bytes and their acknowledgement, of both ways, so far",
    ),
    field("podtap.flow.exchanges", Long, "HTTP exchanges recorded in it; absent where HTTP is not recorded"),
    field("podtap.flow.source.payload_bytes", Long, "Bytes behind the transport header, of the source"),
    field(
        "podtap.flow.source.retransmitted_bytes",
        Long,
        "TCP: of those, bytes that came twice, or more than 3 ms after later ones",
    ),
    field("podtap.flow.source.resets", Long, "TCP: segments with RST"),
    field("podtap.flow.source.zero_windows", Long, "TCP: how often its receive window closed"),
    field("podtap.flow.destination.payload_bytes", Long, "The same of the destination"),
    field("podtap.flow.destination.retransmitted_bytes", Long, "The same of the destination"),
    field("podtap.flow.destination.resets", Long, "The same of the destination"),
    field("podtap.flow.destination.zero_windows", Long, "The same of the destination"),
];

/// What means something else here than in an exchange. All counts are those since the last record of the flow.
const REPORT: &[RecordField] = &[
    field("@timestamp", Date, "As `event.end`"),
    field("event.kind", Keyword, "`event`"),
    field("event.category", Keyword, "`network`"),
    field("event.type", Keyword, "`connection`, and `start` (the first record), `end` (the last one), or `info`"),
    field("event.action", Keyword, "`network_flow`"),
    field("event.dataset", Keyword, "`podtap.flow`"),
    field(
        "event.id",
        Keyword,
        "`flow.id` and `podtap.flow.report`; the same flow seen again by the same observer has the same",
    ),
    field("event.start", Date, "The first packet since the last record"),
    field("event.end", Date, "The last packet"),
    field("event.duration", Long, "`event.end` − `event.start` in nanoseconds"),
    field(
        "event.outcome",
        Keyword,
        "In the last record: `success` (answered), `failure` (refused, unreachable, TCP or an echo without an answer), `unknown`",
    ),
    field("source.ip", Ip, "Who opened: the sender of the SYN, without one of the first packet"),
    field("source.port", Long, "Its port; absent for ICMP"),
    field("source.packets", Long, "IP packets from there; each fragment is one"),
    field("source.bytes", Long, "Their lengths, as their IP headers say"),
    field("destination.ip", Ip, "The other end"),
    field("destination.port", Long, "Its port"),
    field("destination.packets", Long, "IP packets from there"),
    field("destination.bytes", Long, "Their lengths"),
    field("network.transport", Keyword, "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`"),
    field("network.iana_number", Keyword, "Number of the protocol"),
    field("network.type", Keyword, "`ipv4`, `ipv6`"),
    field("network.direction", Keyword, "`ingress`, `egress`, `internal`, where an end is the pod's"),
    field("network.bytes", Long, "Bytes of both directions"),
    field("network.packets", Long, "Packets of both directions"),
    field("network.community_id", Keyword, "Community ID v1, seed 0"),
    field("observer.ingress.interface.name", Keyword, "Interface that its first packet came from"),
    field(
        "podtap.trust",
        Keyword,
        "TCP: `complete`, `truncated` (its end was not seen), `gap` (the capture missed bytes), `midstream`",
    ),
    field("podtap.connection.id", Keyword, "The TCP connection, as in the records of its HTTP exchanges"),
    field("podtap.icmp.type", Long, "Type of ICMP, of the first message"),
    field("podtap.icmp.code", Long, "Code of ICMP"),
    field("podtap.icmp.id", Long, "Identifier of an echo"),
    field(
        "podtap.shortened",
        Boolean,
        "`true` where texts were shortened to keep a line of standard output under 16 KiB",
    ),
];

/// The fields of a report of a flow.
pub fn flow_record_fields() -> impl Iterator<Item = RecordField> {
    let workloads = FIELDS.iter().filter(|field| WORKLOADS.iter().any(|prefix| field.name.starts_with(prefix)));
    let domains = FIELDS.iter().filter(|field| DOMAINS.contains(&field.name));
    let around = FIELDS.iter().filter(|field| AROUND.iter().any(|prefix| field.name.starts_with(prefix)));
    let process = FIELDS.iter().filter(|field| is_of_process(field.name));
    REPORT
        .iter()
        .chain(same())
        .chain(process)
        .chain(REPORT_FIELDS)
        .chain(around)
        .chain(domains)
        .chain(workloads)
        .copied()
}

/// What only logged packets have.
pub(super) const VERDICT_FIELDS: &[RecordField] = &[
    field("rule.name", Keyword, "The rule's prefix as logged, without blanks at its end"),
    field("cloudfoundry.app.id", Keyword, "Its application"),
    field("cloudfoundry.space.id", Keyword, "Its space"),
    field("cloudfoundry.org.id", Keyword, "Its organization"),
    field("observer.egress.interface.name", Keyword, "Interface that the packet goes out by"),
    field("podtap.verdict.kind", Keyword, "What VERDICT_PREFIXES says of the rule: `asg`, `c2c`, `orl`"),
    field("podtap.verdict.mark", Long, "Mark; absent where it is 0"),
    field("podtap.verdict.group", Long, "Group of NFLOG"),
    field("podtap.verdict.input", Keyword, "`nflog`, `kmsg`, `file`, `stdin`"),
    field("podtap.verdict.fragment", Boolean, "`true` for a later fragment, whose ports are in the first one"),
    field("podtap.verdict.truncated", Boolean, "`true` where the entry has less than the packet's headers"),
    field(
        "podtap.verdict.followed_by",
        Keyword,
        "With RECORD=conntrack as well: `established`, `answered`, `nothing`, `retried` (held back and tried again); absent where it is not known",
    ),
    field(
        "podtap.verdict.lost_before",
        Long,
        "Packets that NFLOG lost between this one and the one before of its group",
    ),
    field("podtap.source.container.id", Keyword, "Container behind the source's address"),
    field(
        "podtap.source.cloudfoundry.app.id",
        Keyword,
        "Its application; where the address is unknown, the one that alone has the packet's mark",
    ),
    field("podtap.source.cloudfoundry.space.id", Keyword, "Its space"),
    field("podtap.source.cloudfoundry.org.id", Keyword, "Its organization"),
    field("podtap.destination.container.id", Keyword, "Container behind the destination's address"),
    field("podtap.destination.cloudfoundry.app.id", Keyword, "Its application"),
    field("podtap.destination.cloudfoundry.space.id", Keyword, "Its space"),
    field("podtap.destination.cloudfoundry.org.id", Keyword, "Its organization"),
];

/// What means something else here than in an exchange.
const VERDICT: &[RecordField] = &[
    field("@timestamp", Date, "When the packet was logged; of several the last"),
    field("event.kind", Keyword, "`event`"),
    field("event.category", Keyword, "`network`"),
    field("event.type", Keyword, "`connection`, and `allowed` or `denied`"),
    field("user.id", Keyword, "User of the sending process, of packets from this machine"),
    field("container.id", Keyword, "Container of the destination (ingress) or the source (egress), by VERDICT_STORE"),
    field("event.action", Keyword, "`ingress-allowed`, `ingress-denied`, `egress-allowed`, `egress-denied`"),
    field("event.dataset", Keyword, "`podtap.verdict`"),
    field("event.id", Keyword, "Deterministic: the same entry read again has the same id"),
    field("event.start", Date, "Of several packets the first"),
    field("event.end", Date, "Of several packets the last"),
    field("source.ip", Ip, "Sender"),
    field("source.port", Long, "Its port; absent where the entry has none"),
    field("destination.ip", Ip, "Receiver"),
    field("destination.port", Long, "Its port"),
    field("network.transport", Keyword, "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`, …; absent where it is not known"),
    field("network.iana_number", Keyword, "Number of the protocol"),
    field("network.type", Keyword, "`ipv4`, `ipv6`"),
    field("network.direction", Keyword, "`ingress` (to a container, or to this machine), `egress`"),
    field("network.bytes", Long, "Length of the IP packet; absent where several are counted"),
    field("network.packets", Long, "Packets in this record: more than 1 with VERDICT_REPEATS"),
    field("network.community_id", Keyword, "Community ID v1, seed 0; absent where the ports are not known"),
    field("podtap.icmp.type", Long, "Type of ICMP"),
    field("podtap.icmp.code", Long, "Code of ICMP"),
    field("podtap.icmp.id", Long, "Identifier of an echo"),
    field("observer.ingress.interface.name", Keyword, "Interface that the packet came in by"),
];

/// The fields of a record of a logged packet.
pub fn verdict_record_fields() -> impl Iterator<Item = RecordField> {
    let workloads = FIELDS.iter().filter(|field| WORKLOADS.iter().any(|prefix| field.name.starts_with(prefix)));
    VERDICT.iter().chain(same()).chain(VERDICT_FIELDS).chain(workloads).copied()
}
