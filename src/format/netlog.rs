//! `FORMAT=netlog`, `FORMAT=netlog-json`: the lines of NetLog for flows.
//!
//! Bytes and packets are those of both directions since the last record of the flow. NetLog named one pod for each line; here
//! it is the source's workload, else the destination's. Knows no record of another kind, and has no line without packets.

use std::io::Write;

use serde::Serialize;

use super::Encoded;
use super::stamp::Rfc3339Stamp;
use crate::flow::{Endpoint, IpProtocol};
use crate::record::{FlowRecord, Record, Workload};
use crate::redact::escape_into;

#[derive(Serialize)]
struct NetLogView<'a> {
    timestamp: Rfc3339Stamp,
    namespace: &'a str,
    name: &'a str,
    source: String,
    destination: String,
    protocol: String,
    bytes: u64,
    packets: u64,
}

/// Appends a flow as one line of JSON.
pub fn write_json(out: &mut Vec<u8>, record: &Record) -> Encoded {
    let Some(flow) = with_packets(record) else { return Encoded::NotInThisFormat };
    // A `Vec` takes every write.
    drop(serde_json::to_writer(&mut *out, &NetLogView::new(flow)));
    out.push(b'\n');
    Encoded::Written
}

/// A flow of which there is something to say. Its last record may come behind all of its packets: NetLog has no words for an end.
fn with_packets(record: &Record) -> Option<&FlowRecord> {
    let Record::Flow(flow) = record else { return None };
    flow.counts.iter().any(|counts| counts.packets > 0).then_some(flow)
}

/// Appends a flow as one line of text; the time is in UTC.
pub fn write_text(out: &mut Vec<u8>, record: &Record) -> Encoded {
    let Some(flow) = with_packets(record) else { return Encoded::NotInThisFormat };
    let NetLogView { namespace, name, source, destination, protocol, bytes, packets, .. } = NetLogView::new(flow);
    let time = flow.end.to_string();
    let (day, rest) = time.split_once('T').unwrap_or((&time, ""));
    let second = rest.get(..8).unwrap_or(rest);
    let [namespace, name] = [namespace, name].map(|text| {
        let mut safe = compact_str::CompactString::default();
        escape_into(&mut safe, text.as_bytes());
        safe
    });
    // A `Vec` takes every write.
    drop(writeln!(
        out,
        "[{day} {second}] namespace: {namespace}, name: {name}, source: {source}, destination: {destination}, \
         protocol: {protocol}, bytes: {bytes}, packets: {packets}"
    ));
    Encoded::Written
}

impl<'a> NetLogView<'a> {
    fn new(flow: &'a FlowRecord) -> Self {
        let workload = named(flow);
        let text = |of: fn(&Workload) -> Option<&str>| workload.and_then(of).unwrap_or_default();
        let [there, back] = &flow.counts;
        let end = |end: Endpoint| if flow.protocol.has_ports() { end.to_string() } else { end.ip.to_string() };
        Self {
            timestamp: Rfc3339Stamp::new(flow.end),
            namespace: text(|workload| workload.namespace.as_deref()),
            name: text(|workload| workload.name.as_deref()),
            source: end(flow.source),
            destination: end(flow.destination),
            protocol: protocol(flow.protocol),
            bytes: there.bytes + back.bytes,
            packets: there.packets + back.packets,
        }
    }
}

/// The workload that NetLog's lines and metrics name.
pub fn named(flow: &FlowRecord) -> Option<&Workload> {
    flow.source_workload.as_deref().or(flow.destination_workload.as_deref())
}

/// `TCP`, `UDP`; `ICMPv6`.
pub fn protocol(protocol: IpProtocol) -> String {
    if protocol == IpProtocol::ICMP6 { "ICMPv6".to_owned() } else { protocol.text().as_str().to_ascii_uppercase() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{everything_of_flow, flow};

    fn line(record: FlowRecord, write: fn(&mut Vec<u8>, &Record) -> Encoded) -> String {
        let mut out = Vec::new();
        let encoded = write(&mut out, &record.into());
        assert_eq!(encoded == Encoded::Written, !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_lines_are_those_of_the_origin() {
        let text = "[2026-03-01 12:00:01] namespace: shop, name: web, source: 10.61.1.2:51234, destination: 10.61.2.2:8080, \
                    protocol: TCP, bytes: 2812, packets: 11\n";
        assert_eq!(line(everything_of_flow(), write_text), text);
        let json = r#"{"timestamp":"2026-03-01T12:00:01.000123Z","namespace":"","name":"","source":"10.61.1.2:51234","destination":"10.61.2.2:8080","protocol":"TCP","bytes":2812,"packets":11}"#;
        assert_eq!(line(flow(), write_json), format!("{json}\n"));
    }

    #[test]
    fn a_last_record_behind_all_packets_is_no_line_and_one_packet_either_way_is_one() {
        for (counts, lines) in [([0, 0], 0), ([1, 0], 1), ([0, 1], 1)] {
            let mut it = flow();
            for (of_flow, packets) in it.counts.iter_mut().zip(counts) {
                of_flow.packets = packets;
            }
            for write in [write_text, write_json] {
                assert_eq!(line(it.clone(), write).lines().count(), lines, "{counts:?}");
            }
        }
    }

    #[test]
    fn nothing_in_a_name_moves_a_cursor_and_a_protocol_without_ports_has_none() {
        let mut it = everything_of_flow();
        let workload = Workload { name: Some("a\u{1b}[2J".into()), ..Workload::default() };
        (it.source_workload, it.protocol) = (Some(std::sync::Arc::new(workload)), IpProtocol::ICMP6);
        let line = line(it, write_text);
        assert!(line.contains(r"name: a\x1b[2J, source: 10.61.1.2, ") && line.contains("protocol: ICMPv6,"), "{line}");
    }
}
