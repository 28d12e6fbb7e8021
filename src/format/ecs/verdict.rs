//! A logged packet as nested objects. Owns their names, meanings and order.

use compact_str::CompactString;
use serde::Serialize;

use super::ECS_VERSION;
use super::declare::parts;
use super::fit::LineFit;
use super::objects::{EcsPart, IanaNumber, IcmpPart, IngressPart, NamePart, RecorderParts, WorkloadPart, below};
use super::view::community_id;
use crate::flow::IpProtocol;
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Dataset, FollowedBy, StoredContainer, VerdictRecord, Workload};

parts! {
    struct VerdictView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "When the packet was logged; of several the last";
        ecs: EcsPart => listed below(&["ecs."]);
        event: VerdictEventPart<'a> => own;
        rule: NamePart<'a> => ["rule.name" Keyword "The rule's prefix as logged, without blanks at its end"];
        source: VerdictEndPart => ["source.ip" Ip "Sender", "source.port" Long "Its port; absent where the entry has none"];
        destination: VerdictEndPart => ["destination.ip" Ip "Receiver", "destination.port" Long "Its port"];
        network: VerdictNetworkPart => own;
        maybe user: VerdictUserPart => own;
        maybe container: VerdictIdPart<'a> => [
            "container.id" Keyword "Container of the destination (ingress) or the source (egress), by VERDICT_STORE",
        ];
        maybe cloudfoundry: CloudFoundry<'a> => [
            "cloudfoundry.app.id" Keyword "Its application",
            "cloudfoundry.space.id" Keyword "Its space",
            "cloudfoundry.org.id" Keyword "Its organization",
        ];
        flat recorder: RecorderParts<'a> => own;
        maybe observer: VerdictObserverPart<'a> => [
            "observer.ingress.interface.name" Keyword "Interface that the packet came in by",
            "observer.egress.interface.name" Keyword "Interface that the packet goes out by",
        ];
        podtap: VerdictPodtapPart<'a> => own;
    }

    struct VerdictEventPart<'a> in "event." {
        kind: &'static str => Keyword "`event`";
        category: [&'static str; 1] => Keyword "`network`";
        r#type: [&'static str; 2] as "type" => Keyword "`connection`, and `allowed` or `denied`";
        action: &'static str => Keyword "`ingress-allowed`, `ingress-denied`, `egress-allowed`, `egress-denied`";
        dataset: &'static str => Keyword "`podtap.verdict`";
        id: &'a str => Keyword "Deterministic: the same entry read again has the same id";
        maybe start: Rfc3339Stamp => Date "Of several packets the first";
        maybe end: Rfc3339Stamp => Date "Of several packets the last";
    }

    struct VerdictNetworkPart in "network." {
        maybe transport: CompactString => Keyword "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`, …; absent where it is not known";
        maybe iana_number: IanaNumber => Keyword "Number of the protocol";
        r#type: &'static str as "type" => Keyword "`ipv4`, `ipv6`";
        direction: &'static str => Keyword "`ingress` (to a container, or to this machine), `egress`";
        maybe bytes: u32 => Long "Length of the IP packet; absent where several are counted";
        packets: u64 => Long "Packets in this record: more than 1 with VERDICT_REPEATS";
        maybe community_id: CompactString => Keyword "Community ID v1, seed 0; absent where the ports are not known";
    }

    struct VerdictUserPart in "user." {
        id: String => Keyword "User of the sending process, of packets from this machine";
    }

    struct VerdictPodtapPart<'a> in "podtap." {
        verdict: VerdictPart<'a> => own;
        maybe icmp: IcmpPart => [
            "podtap.icmp.type" Long "Type of ICMP",
            "podtap.icmp.code" Long "Code of ICMP",
            "podtap.icmp.id" Long "Identifier of an echo",
        ];
        maybe source: VerdictSidePart<'a> => [
            "podtap.source.container.id" Keyword "Container behind the source's address",
            "podtap.source.cloudfoundry.app.id" Keyword "Its application; where the address is unknown, the one that alone has the packet's mark",
            "podtap.source.cloudfoundry.space.id" Keyword "Its space",
            "podtap.source.cloudfoundry.org.id" Keyword "Its organization",
        ] and below(&["podtap.source.workload."]);
        maybe destination: VerdictSidePart<'a> => [
            "podtap.destination.container.id" Keyword "Container behind the destination's address",
            "podtap.destination.cloudfoundry.app.id" Keyword "Its application",
            "podtap.destination.cloudfoundry.space.id" Keyword "Its space",
            "podtap.destination.cloudfoundry.org.id" Keyword "Its organization",
        ] and below(&["podtap.destination.workload."]);
    }

    struct VerdictPart<'a> in "podtap.verdict." {
        maybe kind: &'a str => Keyword "What VERDICT_PREFIXES says of the rule: `asg`, `c2c`, `orl`";
        maybe mark: u32 => Long "Mark; absent where it is 0";
        maybe group: u16 => Long "Group of NFLOG";
        input: &'static str => Keyword "`nflog`, `kmsg`, `file`, `stdin`";
        maybe fragment: bool => Boolean "`true` for a later fragment, whose ports are in the first one";
        maybe truncated: bool => Boolean "`true` where the entry has less than the packet's headers";
        maybe followed_by: &'static str => Keyword "With RECORD=conntrack as well: `established`, `answered`, `nothing`, `retried` (held back and tried again); absent where it is not known";
        maybe lost_before: u64 => Long "Packets that NFLOG lost between this one and the one before of its group";
    }
}

#[derive(Serialize)]
pub(super) struct VerdictEndPart {
    ip: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
pub(super) struct VerdictIdPart<'a> {
    id: &'a str,
}

#[derive(Serialize)]
pub(super) struct CloudFoundry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<VerdictIdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<VerdictIdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<VerdictIdPart<'a>>,
}

#[derive(Serialize)]
pub(super) struct VerdictObserverPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<IngressPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<IngressPart<'a>>,
}

#[derive(Serialize)]
pub(super) struct VerdictSidePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<VerdictIdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudfoundry: Option<CloudFoundry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadPart<'a>>,
}

impl<'a> VerdictView<'a> {
    pub(super) fn new(record: &'a VerdictRecord, observer: &'a Observer) -> Self {
        let name = |name: &'a str| NamePart { name };
        let (subject, [source_port, destination_port]) = (record.subject(), record.packet.ports());
        Self {
            timestamp: Rfc3339Stamp::new(record.at),
            ecs: EcsPart { version: ECS_VERSION },
            event: VerdictEventPart::new(record),
            rule: name(record.prefix.trim_end()),
            source: VerdictEndPart { ip: record.packet.source.ip, port: source_port },
            destination: VerdictEndPart { ip: record.packet.destination.ip, port: destination_port },
            network: VerdictNetworkPart::new(record),
            user: record.user.map(|id| VerdictUserPart { id: id.to_string() }),
            container: subject.and_then(container_id),
            cloudfoundry: subject.and_then(CloudFoundry::new),
            recorder: RecorderParts::new(observer),
            observer: VerdictObserverPart::new(record),
            podtap: VerdictPodtapPart::new(record),
        }
    }
}

impl<'a> VerdictEventPart<'a> {
    fn new(record: &'a VerdictRecord) -> Self {
        Self {
            kind: "event",
            category: ["network"],
            r#type: ["connection", if record.meaning.allowed { "allowed" } else { "denied" }],
            action: record.action(),
            dataset: Dataset::Verdict.name(),
            id: &record.id,
            start: record.start.map(Rfc3339Stamp::new),
            end: record.start.map(|_| Rfc3339Stamp::new(record.at)),
        }
    }
}

impl VerdictNetworkPart {
    fn new(record: &VerdictRecord) -> Self {
        let packet = &record.packet;
        // Without ports it would be that of another flow.
        let protocol = packet.protocol.filter(|_| !packet.fragment && !packet.truncated);
        Self {
            transport: packet.protocol.map(IpProtocol::text),
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
fn container_id(container: &StoredContainer) -> Option<VerdictIdPart<'_>> {
    (!container.id.is_empty()).then_some(VerdictIdPart { id: &container.id })
}

impl<'a> CloudFoundry<'a> {
    fn new(container: &'a StoredContainer) -> Option<Self> {
        let id = |text: &'a str| (!text.is_empty()).then_some(VerdictIdPart { id: text });
        let it = Self { app: id(&container.app), space: id(&container.space), org: id(&container.org) };
        (it.app.is_some() || it.space.is_some() || it.org.is_some()).then_some(it)
    }
}

impl<'a> VerdictObserverPart<'a> {
    fn new(record: &'a VerdictRecord) -> Option<Self> {
        let interface =
            |name: &'a Option<CompactString>| name.as_deref().map(|name| IngressPart { interface: NamePart { name } });
        let (ingress, egress) = (interface(&record.interface_in), interface(&record.interface_out));
        (ingress.is_some() || egress.is_some()).then_some(Self { ingress, egress })
    }
}

impl<'a> VerdictPodtapPart<'a> {
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
            source: VerdictSidePart::new(record.source.as_deref(), record.source_workload.as_deref()),
            destination: VerdictSidePart::new(record.destination.as_deref(), record.destination_workload.as_deref()),
        }
    }
}

impl<'a> VerdictSidePart<'a> {
    fn new(container: Option<&'a StoredContainer>, workload: Option<&'a Workload>) -> Option<Self> {
        (container.is_some() || workload.is_some()).then(|| Self {
            container: container.and_then(container_id),
            cloudfoundry: container.and_then(CloudFoundry::new),
            workload: workload.map(|it| WorkloadPart::new(it, &LineFit::WHOLE)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::write_json;
    use super::VerdictView;
    use crate::format::Observer;
    use crate::format::fields::RecordField;
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
            let there =
                |field: &RecordField| field.name.split('.').try_fold(&whole, |value, key| value.get(key)).is_some();
            of_listed_types(VerdictView::fields().into_iter().filter(there), &whole);
        }
        let fields: BTreeSet<_> = VerdictView::fields().into_iter().map(|field| field.name.to_owned()).collect();
        assert_eq!(written, fields);
    }
}
