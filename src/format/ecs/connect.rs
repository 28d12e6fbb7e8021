//! A connect as nested objects. Owns their names, meanings and order.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::ECS_VERSION;
use super::declare::parts;
use super::fit::LineFit;
use super::objects::{
    EcsPart, IanaNumber, IdPart, IngressPart, NamePart, ObserverPart, RecorderParts, SidePart, below, without,
};
use super::process::{ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::view::community_id;
use crate::flow::Endpoint;
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{ConnectRecord, ConnectResult, Dataset, DomainNames, NameSet};

parts! {
    struct ConnectView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "When the connection was asked for";
        ecs: EcsPart => listed below(&["ecs."]);
        event: ConnectEventPart<'a> => own;
        maybe source: ConnectSourcePart<'a> => own;
        destination: ConnectDestinationPart<'a> => own;
        network: ConnectNetworkPart => own;
        maybe process: ProcessPart<'a> => own;
        maybe user: ProcessUserPart<'a> => own;
        maybe container: ProcessContainerPart<'a> => own;
        flat recorder: RecorderParts<'a> => own;
        maybe observer: ObserverPart<'a> => [
            "observer.ingress.interface.name" Keyword "Seen by packets: interface of the first one",
        ];
        podtap: ConnectPodtapPart<'a> => own;
    }

    struct ConnectEventPart<'a> in "event." {
        kind: &'static str => Keyword "`event`";
        category: &'static [&'static str] => Keyword "`network`, and `process` where the process is known";
        r#type: &'static [&'static str] as "type" => Keyword "`connection`, and `start` where it was established";
        action: &'static str => Keyword "`connect`";
        dataset: &'static str => Keyword "`podtap.connect`";
        id: &'a str => Keyword "Unique; the same record sent again has the same id";
        start: Rfc3339Stamp => Date "As `@timestamp`";
        maybe end: Rfc3339Stamp => Date "When the result was known";
        maybe duration: u64 => Long "`event.end` − `event.start` in nanoseconds";
        outcome: &'static str => Keyword "`success` (established), `unknown` (given up), `failure` (all others)";
    }

    struct ConnectSourcePart<'a> in "source." {
        ip: IpAddr => Ip "The address of who asked; absent where it never got one";
        maybe port: u16 => Long "Its port; likewise";
        maybe domain: &'a NameSet => listed below(&["source.domain"]);
    }

    struct ConnectDestinationPart<'a> in "destination." {
        ip: IpAddr => Ip "What was asked for: the address of a Service, before translation";
        port: u16 => Long "Its port";
        maybe domain: &'a NameSet => listed below(&["destination.domain"]);
    }

    struct ConnectNetworkPart in "network." {
        transport: CompactString => Keyword "`tcp`, `udp`";
        iana_number: IanaNumber => Keyword "Number of the protocol";
        r#type: &'static str as "type" => Keyword "`ipv4` (also through a socket of IPv6), `ipv6`";
        maybe direction: &'static str => Keyword "`egress`, `internal`, `ingress`, where an end is the pod's";
        maybe community_id: CompactString => Keyword "Community ID v1, seed 0; absent without a source port";
    }

    struct ConnectPodtapPart<'a> in "podtap." {
        connect: ConnectPart<'a> => own;
        maybe process: ProcessSurroundings<'a> =>
            listed without(ProcessSurroundings::fields(), |name| name == "podtap.process.trust");
        maybe connection: IdPart<'a> => ["podtap.connection.id" Keyword "Seen by packets: the TCP connection"];
        maybe source: SidePart<'a> => listed below(&["podtap.source."]);
        maybe destination: SidePart<'a> => listed below(&["podtap.destination."]);
        maybe observed: &'static str => listed below(&["podtap.observed"]);
        maybe shortened: bool => Boolean "`true` where texts were shortened to keep a line of standard output under 16 KiB";
    }

    struct ConnectPart<'a> in "podtap.connect." {
        result: &'static str => Keyword "`established`, `refused`, `timed_out`, `unreachable`, `given_up` (closed before anything came of it), `error`; of UDP `established` says that the address was set";
        maybe errno: &'a str => Keyword "Name of the error: `ECONNREFUSED`";
        seen_by: &'static str => Keyword "`process` (the kernel, as the process asked) or `packets` (the capture: without a process)";
        maybe netns: u32 => Long "Inode of the network namespace";
        maybe tries: u64 => Long "SYNs sent, where packets were seen";
    }

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
    use super::ConnectView;
    use crate::format::Observer;
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
        let listed: Vec<_> =
            ConnectView::fields().into_iter().filter(|field| !elsewhere.contains(&field.name)).collect();
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
