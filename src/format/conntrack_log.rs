//! `FORMAT=conntrack-log`: the line of k8s-conntrack-log, with its keys in its order.
//!
//! Its faults are gone: UDP is UDP and ICMP is not, and there is one line for each record, not one for each message. Ports of
//! protocols without ports are 0, as there. Knows no record of another kind.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

use super::stamp::Rfc3339Stamp;
use crate::flow::IpProtocol;
use crate::record::{ConntrackRecord, LabelSet, Record, Workload};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConntrackLogView<'a> {
    timestamp: Rfc3339Stamp,
    src: IpAddr,
    src_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_ns: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_lbls: Option<&'a LabelSet>,
    dst: IpAddr,
    dst_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_ns: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_lbls: Option<&'a LabelSet>,
    proto: String,
    new: bool,
    update: bool,
    cnt: u64,
}

/// Appends a record of connection tracking as one line of JSON.
pub fn write_json(out: &mut Vec<u8>, record: &Record) {
    let Record::Conntrack(event) = record else { return };
    // A `Vec` takes every write.
    drop(serde_json::to_writer(&mut *out, &ConntrackLogView::new(event)));
    out.push(b'\n');
}

impl<'a> ConntrackLogView<'a> {
    fn new(event: &'a ConntrackRecord) -> Self {
        let (source, destination) = (event.source_workload.as_deref(), event.destination_workload.as_deref());
        let namespace = |workload: Option<&'a Workload>| workload.and_then(|workload| workload.namespace.as_deref());
        let name = |workload: Option<&'a Workload>| workload.and_then(|workload| workload.name.as_deref());
        let labels =
            |workload: Option<&'a Workload>| workload.map(|workload| &workload.labels).filter(|l| !l.is_empty());
        Self {
            // Of the flow, not of the event, as there.
            timestamp: Rfc3339Stamp::new(event.start.unwrap_or(event.at)),
            src: event.tuple.source.ip,
            src_port: event.tuple.source.port,
            src_ns: namespace(source),
            src_name: name(source),
            src_lbls: labels(source),
            dst: event.tuple.destination.ip,
            dst_port: event.tuple.destination.port,
            dst_ns: namespace(destination),
            // With its namespace, unlike the source's.
            dst_name: match (namespace(destination), name(destination)) {
                (Some(namespace), Some(name)) => Some(Cow::Owned(format!("{namespace}:{name}"))),
                (None, name) => name.map(Cow::Borrowed),
                (Some(_), None) => None,
            },
            dst_lbls: labels(destination),
            proto: protocol(event.tuple.protocol),
            new: event.begun,
            update: event.updated,
            cnt: event.events,
        }
    }
}

fn protocol(protocol: IpProtocol) -> String {
    match protocol {
        IpProtocol::ICMP6 => "ICMPv6".to_owned(),
        _ => protocol.name().map_or_else(|| protocol.0.to_string(), str::to_ascii_uppercase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{conntrack, everything_of_conntrack};

    fn line(record: ConntrackRecord) -> String {
        let mut out = Vec::new();
        write_json(&mut out, &record.into());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_keys_are_those_of_the_origin_in_its_order() {
        let names_known = everything_of_conntrack();
        let expected = concat!(
            r#"{"timestamp":"2026-03-01T12:00:00.000123Z","src":"10.61.1.2","srcPort":51234,"srcNs":"shop","srcName":"web","srcLbls":{"app":"web"},"#,
            r#""dst":"10.96.61.10","dstPort":80,"dstNs":"shop","dstName":"shop:web","dstLbls":{"app":"web"},"proto":"TCP","new":true,"update":true,"cnt":6}"#,
            "\n"
        );
        assert_eq!(line(names_known), expected);
        let plain = r#"{"timestamp":"2026-03-01T12:00:00.000123Z","src":"10.61.1.2","srcPort":51234,"dst":"10.96.61.10","dstPort":80,"proto":"TCP","new":true,"update":true,"cnt":6}"#;
        assert_eq!(line(conntrack()), format!("{plain}\n"));
    }

    #[test]
    fn a_protocol_has_its_own_name() {
        for (number, name) in [(6, "TCP"), (17, "UDP"), (1, "ICMP"), (58, "ICMPv6"), (132, "SCTP"), (253, "253")] {
            assert_eq!(protocol(IpProtocol(number)), name);
        }
    }
}
