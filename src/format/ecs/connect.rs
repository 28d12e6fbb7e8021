//! A connect as nested objects, and the parts about its process. Owns their names and order; `fields` lists them.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use serde::Serialize;

use super::ECS_VERSION;
use super::fit::LineFit;
use super::objects::{EcsPart, IanaNumber, IdPart, IngressPart, NamePart, ObserverPart, RecorderParts, SidePart};
use super::process::{ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::view::community_id;
use crate::flow::Endpoint;
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{ConnectRecord, ConnectResult, Dataset, DomainNames, NameSet};

#[derive(Serialize)]
pub(super) struct ConnectView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Rfc3339Stamp,
    ecs: EcsPart,
    event: ConnectEventPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<ConnectSourcePart<'a>>,
    destination: ConnectDestinationPart<'a>,
    network: ConnectNetworkPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<ProcessUserPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ProcessContainerPart<'a>>,
    #[serde(flatten)]
    recorder: RecorderParts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observer: Option<ObserverPart<'a>>,
    podtap: ConnectPodtapPart<'a>,
}

#[derive(Serialize)]
struct ConnectEventPart<'a> {
    kind: &'static str,
    category: &'static [&'static str],
    r#type: &'static [&'static str],
    action: &'static str,
    dataset: &'static str,
    id: &'a str,
    start: Rfc3339Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Rfc3339Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    outcome: &'static str,
}

#[derive(Serialize)]
struct ConnectSourcePart<'a> {
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a NameSet>,
}

#[derive(Serialize)]
struct ConnectDestinationPart<'a> {
    ip: IpAddr,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a NameSet>,
}

#[derive(Serialize)]
struct ConnectNetworkPart {
    transport: CompactString,
    iana_number: IanaNumber,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<String>,
}

#[derive(Serialize)]
struct ConnectPodtapPart<'a> {
    connect: ConnectPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSurroundings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<IdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortened: Option<bool>,
}

#[derive(Serialize)]
struct ConnectPart<'a> {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<&'a str>,
    seen_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u64>,
}

impl<'a> ConnectView<'a> {
    pub(super) fn new(record: &'a ConnectRecord, observer: &'a Observer, fit: &'a LineFit) -> Self {
        let process = record.process.as_deref();
        let interface = record.interface.as_deref();
        let names = |domain: &'a Option<Arc<DomainNames>>| domain.as_deref().map(|domain| &domain.names);
        Self {
            timestamp: Rfc3339Stamp::new(record.start),
            ecs: EcsPart { version: ECS_VERSION },
            event: ConnectEventPart::new(record),
            source: record.source.map(|ip| ConnectSourcePart {
                ip,
                port: record.source_port,
                domain: names(&record.source_domain),
            }),
            destination: ConnectDestinationPart {
                ip: record.destination.ip,
                port: record.destination.port,
                domain: names(&record.destination_domain),
            },
            network: ConnectNetworkPart::new(record),
            process: process.map(|process| ProcessPart::new(process, record.thread, fit)),
            user: process.map(ProcessUserPart::new),
            container: process.and_then(ProcessContainerPart::new),
            recorder: RecorderParts::of(record.of_node.as_deref(), observer),
            observer: interface.map(|name| ObserverPart { ingress: IngressPart { interface: NamePart { name } } }),
            podtap: ConnectPodtapPart::new(record, fit),
        }
    }
}

impl<'a> ConnectEventPart<'a> {
    fn new(record: &'a ConnectRecord) -> Self {
        let has_process = record.process.is_some();
        let began = record.result == ConnectResult::Established;
        Self {
            kind: "event",
            category: if has_process { &["network", "process"] } else { &["network"] },
            r#type: if began { &["connection", "start"] } else { &["connection"] },
            action: "connect",
            dataset: Dataset::Connect.name(),
            id: &record.id,
            start: Rfc3339Stamp::new(record.start),
            end: record.end.map(Rfc3339Stamp::new),
            duration: record.end.map(|end| end.since(record.start)),
            outcome: record.result.outcome().name(),
        }
    }
}

impl ConnectNetworkPart {
    fn new(record: &ConnectRecord) -> Self {
        let source = record.source.zip(record.source_port).map(|(ip, port)| Endpoint { ip, port });
        let destination = record.destination;
        Self {
            transport: record.protocol.text(),
            iana_number: IanaNumber(record.protocol.0),
            r#type: if destination.ip.is_ipv4() { "ipv4" } else { "ipv6" },
            direction: record.direction.map(|direction| direction.name()),
            community_id: source.map(|source| community_id(record.protocol, [source, destination], None)),
        }
    }
}

impl<'a> ConnectPodtapPart<'a> {
    fn new(record: &'a ConnectRecord, fit: &LineFit) -> Self {
        Self {
            connect: ConnectPart {
                result: record.result.name(),
                errno: record.errno.as_deref(),
                seen_by: record.seen_by.name(),
                netns: record.netns,
                tries: record.tries,
            },
            process: record.process.as_deref().and_then(|process| ProcessSurroundings::new(process, None)),
            connection: record.connection_id.as_deref().map(|id| IdPart { id }),
            source: SidePart::new(record.source_workload.as_deref(), record.source_domain.as_deref(), fit),
            destination: SidePart::new(
                record.destination_workload.as_deref(),
                record.destination_domain.as_deref(),
                fit,
            ),
            observed: record.of_node.as_ref().map(|of_node| of_node.observed.name()),
            shortened: fit.shortened.then_some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::{write_json, write_json_capped};
    use crate::format::Observer;
    use crate::format::fields::connect_record_fields;
    use crate::record::sample::{connect, everything_of_connect};
    use crate::record::{ConnectRecord, ConnectResult, SeenBy};

    fn json(record: ConnectRecord, observer: &Observer) -> Value {
        let mut out = Vec::new();
        write_json(&mut out, &record.into(), observer);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_connect_names_its_process_and_what_came_of_it() {
        let json = json(connect(), &Observer::default());
        assert_eq!(json["event"]["category"], json!(["network", "process"]));
        assert_eq!(json["event"]["type"], json!(["connection", "start"]));
        assert_eq!((&json["event"]["outcome"], &json["event"]["duration"]), (&json!("success"), &json!(210_000)));
        let process = json!({"pid": 4711, "name": "curl", "executable": "/usr/bin/curl",
            "args": ["curl", "http://web/"], "command_line": "curl http://web/"});
        assert_eq!(json["process"], process);
        assert_eq!(json["user"], json!({"id": "1000"}));
        assert_eq!(json["podtap"]["connect"], json!({"result": "established", "seen_by": "process"}));
        assert_eq!(json["network"]["community_id"], "1:jOJfwMHf31/LWh1n1tbBNi4OXwE=");
    }

    #[test]
    fn what_packets_alone_show_has_no_process_and_an_end_without_a_port_no_community_id() {
        let mut record = connect();
        (record.process, record.seen_by, record.result) = (None, SeenBy::Packets, ConnectResult::TimedOut);
        (record.tries, record.end, record.source, record.source_port) = (Some(3), None, None, None);
        let json = json(record, &Observer::default());
        assert_eq!(json["event"]["category"], json!(["network"]));
        assert_eq!(json["event"]["type"], json!(["connection"]));
        assert_eq!(json["event"]["outcome"], "failure");
        assert_eq!(json["podtap"]["connect"], json!({"result": "timed_out", "seen_by": "packets", "tries": 3}));
        for absent in ["source", "process", "user", "container"] {
            assert!(json.get(absent).is_none(), "{absent}");
        }
        assert!(json["event"].get("duration").is_none() && json["network"].get("community_id").is_none(), "{json}");
    }

    #[test]
    fn the_listed_fields_are_the_written_fields_with_their_types() {
        let whole = json(everything_of_connect(), &everything().1);
        let mut written = BTreeSet::new();
        leaves("", &whole, &mut written);
        let elsewhere = ["podtap.shortened", "podtap.observed"];
        let listed: Vec<_> = connect_record_fields().filter(|field| !elsewhere.contains(&field.name)).collect();
        of_listed_types(listed.iter().copied(), &whole);
        assert_eq!(written, listed.iter().map(|field| field.name.to_owned()).collect());
    }

    #[test]
    fn a_long_line_is_shortened_and_says_so() {
        let mut record = connect();
        let mut process = (**record.process.as_ref().unwrap()).clone();
        process.args = vec!["\u{1}".repeat(1000).into(); 4];
        record.process = Some(process.into());
        let mut out = Vec::new();
        assert!(write_json_capped(&mut out, &record.into(), &Observer::default(), 16 << 10));
        assert!(out.len() <= 16 << 10, "{}", out.len());
        let json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["podtap"]["shortened"], true);
        assert!(json["process"].get("command_line").is_none());
    }
}
