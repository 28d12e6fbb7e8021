//! A logged packet as nested objects. Owns their names and order; `fields` lists them.

use compact_str::CompactString;
use serde::Serialize;

use super::ECS_VERSION;
use super::fit::Fit;
use super::objects::{Ecs, IanaNumber, IcmpPart, Ingress, Name, Recorder, WorkloadPart};
use super::view::community_id;
use crate::flow::Protocol;
use crate::format::Observer;
use crate::format::stamp::Stamp;
use crate::record::{Container, Dataset, FollowedBy, VerdictRecord, Workload};

#[derive(Serialize)]
pub(super) struct VerdictView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Stamp,
    ecs: Ecs,
    event: Event<'a>,
    rule: Name<'a>,
    source: End,
    destination: End,
    network: Network,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudfoundry: Option<CloudFoundry<'a>>,
    #[serde(flatten)]
    recorder: Recorder<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observer: Option<ObserverPart<'a>>,
    podtap: Podtap<'a>,
}

#[derive(Serialize)]
struct Event<'a> {
    kind: &'static str,
    category: [&'static str; 1],
    r#type: [&'static str; 2],
    action: &'static str,
    dataset: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Stamp>,
}

#[derive(Serialize)]
struct End {
    ip: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iana_number: Option<IanaNumber>,
    r#type: &'static str,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u32>,
    packets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<String>,
}

#[derive(Serialize)]
struct User {
    id: String,
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct CloudFoundry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<Id<'a>>,
}

#[derive(Serialize)]
struct ObserverPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<Ingress<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<Ingress<'a>>,
}

#[derive(Serialize)]
struct Podtap<'a> {
    verdict: VerdictPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Side<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<Side<'a>>,
}

#[derive(Serialize)]
struct VerdictPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u16>,
    input: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    followed_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_before: Option<u64>,
}

#[derive(Serialize)]
struct Side<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudfoundry: Option<CloudFoundry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadPart<'a>>,
}

impl<'a> VerdictView<'a> {
    pub(super) fn new(record: &'a VerdictRecord, observer: &'a Observer) -> Self {
        let name = |name: &'a str| Name { name };
        let (subject, [source_port, destination_port]) = (record.subject(), record.packet.ports());
        Self {
            timestamp: Stamp::new(record.at),
            ecs: Ecs { version: ECS_VERSION },
            event: Event::new(record),
            rule: name(record.prefix.trim_end()),
            source: End { ip: record.packet.source.ip, port: source_port },
            destination: End { ip: record.packet.destination.ip, port: destination_port },
            network: Network::new(record),
            user: record.user.map(|id| User { id: id.to_string() }),
            container: subject.and_then(container_id),
            cloudfoundry: subject.and_then(CloudFoundry::new),
            recorder: Recorder::new(observer),
            observer: ObserverPart::new(record),
            podtap: Podtap::new(record),
        }
    }
}

impl<'a> Event<'a> {
    fn new(record: &'a VerdictRecord) -> Self {
        Self {
            kind: "event",
            category: ["network"],
            r#type: ["connection", if record.meaning.allowed { "allowed" } else { "denied" }],
            action: record.action(),
            dataset: Dataset::Verdict.name(),
            id: &record.id,
            start: record.start.map(Stamp::new),
            end: record.start.map(|_| Stamp::new(record.at)),
        }
    }
}

impl Network {
    fn new(record: &VerdictRecord) -> Self {
        let packet = &record.packet;
        // Without ports it would be that of another flow.
        let protocol = packet.protocol.filter(|_| !packet.fragment && !packet.truncated);
        Self {
            transport: packet.protocol.map(Protocol::text),
            iana_number: packet.protocol.map(|protocol| IanaNumber(protocol.0)),
            r#type: if packet.source.ip.is_ipv4() { "ipv4" } else { "ipv6" },
            direction: record.direction.name(),
            bytes: packet.length.filter(|_| record.packets == 1),
            packets: record.packets,
            community_id: protocol
                .filter(|protocol| !protocol.has_ports() || packet.has_port == [true; 2])
                .map(|protocol| community_id(protocol, [packet.source, packet.destination], packet.icmp)),
        }
    }
}

/// None where only the application is known, by its mark.
fn container_id(container: &Container) -> Option<Id<'_>> {
    (!container.id.is_empty()).then_some(Id { id: &container.id })
}

impl<'a> CloudFoundry<'a> {
    fn new(container: &'a Container) -> Option<Self> {
        let id = |text: &'a str| (!text.is_empty()).then_some(Id { id: text });
        let it = Self { app: id(&container.app), space: id(&container.space), org: id(&container.org) };
        (it.app.is_some() || it.space.is_some() || it.org.is_some()).then_some(it)
    }
}

impl<'a> ObserverPart<'a> {
    fn new(record: &'a VerdictRecord) -> Option<Self> {
        let interface =
            |name: &'a Option<CompactString>| name.as_deref().map(|name| Ingress { interface: Name { name } });
        let (ingress, egress) = (interface(&record.interface_in), interface(&record.interface_out));
        (ingress.is_some() || egress.is_some()).then_some(Self { ingress, egress })
    }
}

impl<'a> Podtap<'a> {
    fn new(record: &'a VerdictRecord) -> Self {
        let mark = |it: bool| it.then_some(true);
        let packet = &record.packet;
        Self {
            verdict: VerdictPart {
                kind: record.meaning.kind.as_deref(),
                mark: record.mark,
                group: record.group,
                input: record.input.name(),
                fragment: mark(packet.fragment),
                truncated: mark(packet.truncated),
                followed_by: record.followed_by.map(FollowedBy::name),
                lost_before: (record.lost_before > 0).then_some(record.lost_before),
            },
            icmp: packet.icmp.map(IcmpPart::new),
            source: Side::new(record.source.as_deref(), record.source_workload.as_deref()),
            destination: Side::new(record.destination.as_deref(), record.destination_workload.as_deref()),
        }
    }
}

impl<'a> Side<'a> {
    fn new(container: Option<&'a Container>, workload: Option<&'a Workload>) -> Option<Self> {
        (container.is_some() || workload.is_some()).then(|| Self {
            container: container.and_then(container_id),
            cloudfoundry: container.and_then(CloudFoundry::new),
            workload: workload.map(|it| WorkloadPart::new(it, &Fit::WHOLE)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::write_json;
    use crate::format::Observer;
    use crate::format::fields::{Field, verdict_record_fields};
    use crate::record::VerdictRecord;
    use crate::record::sample::{everything_of_verdict, logged_echo, verdict};

    fn json(record: VerdictRecord, observer: &Observer) -> Value {
        let mut out = Vec::new();
        write_json(&mut out, &record.into(), observer);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_comes_in_names_the_destination_s_container() {
        let json = json(verdict(), &Observer::default());
        assert_eq!(json["event"]["action"], "ingress-denied");
        assert_eq!(json["event"]["type"], json!(["connection", "denied"]));
        assert_eq!(json["rule"]["name"], "DENY_C2C_cb40f81e-52ce-41c5-");
        assert_eq!(json["container"]["id"], "cb40f81e-52ce-41c5-b00f-0d13");
        assert_eq!(
            json["cloudfoundry"],
            json!({"app": {"id": "app-13"}, "space": {"id": "space-7"}, "org": {"id": "org-7"}})
        );
        assert_eq!(json["podtap"]["verdict"], json!({"kind": "c2c", "mark": 2, "input": "file"}));
        assert_eq!(json["network"]["direction"], "ingress");
        assert_eq!(json["observer"]["egress"]["interface"]["name"], "s-010255015013");
        let echo = self::json(logged_echo(), &Observer::default());
        assert_eq!(echo["podtap"]["icmp"], json!({"type": 8, "code": 0, "id": 172}));
        assert!(echo["source"].get("port").is_none() && echo.get("container").is_none(), "{echo}");
    }

    #[test]
    fn the_listed_fields_are_the_written_fields_with_their_types() {
        let observer = everything().1;
        let mut later = everything_of_verdict();
        (later.packet.fragment, later.packet.truncated) = (true, true);
        let mut written = BTreeSet::new();
        for record in [everything_of_verdict(), later] {
            let whole = json(record, &observer);
            leaves("", &whole, &mut written);
            let there = |field: &Field| field.name.split('.').try_fold(&whole, |value, key| value.get(key)).is_some();
            of_listed_types(verdict_record_fields().filter(there), &whole);
        }
        let fields: BTreeSet<_> = verdict_record_fields().map(|field| field.name.to_owned()).collect();
        assert_eq!(written, fields);
    }
}
