//! What varies, in every combination a test can reach: the hand-written line is what serde makes of the record.

use std::sync::Arc;

use serde_json::Value;

use super::tests::everything;
use super::*;
use crate::format::Pod;
use crate::record::sample::{self, START, header, record};
use crate::record::{Exchange, FlowCounts, FlowRecord, LabelSet, NetworkDirection, OfNode, TraceContext, Trust};
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = compact_str::CompactString> {
    prop_oneof![Just("x".into()), "[ -~é\n\"\\\\]{0,20}".prop_map(Into::into)]
}

prop_compose! {
    fn any_request()(method in select(vec!["GET", "CONNECT", "OPTIONS"]), target in select(vec!["/", "/a?b=c", "*", "http://h:1/x?\"y", "h:443", "x"]),
                     strings in proptest::collection::vec(proptest::option::of(text()), 5), headers in proptest::collection::vec((select(vec!["A", "a", "B"]), text()), 0..4),
                     traced in any::<bool>(), times in any::<(u32, u32)>(), sizes in any::<(u64, u64)>()) -> crate::record::HttpRequest {
        let mut it = sample::request();
        (it.method, it.target) = (method.into(), target.into());
        let [host, mime_type, referrer, id, user_agent] = <[_; 5]>::try_from(strings).unwrap();
        it.host = if times.0 % 2 == 0 { host } else { it.host };
        (it.mime_type, it.referrer, it.id, it.user_agent) = (mime_type, referrer, id, user_agent);
        it.headers = headers.iter().map(|(name, value)| header(name, value)).collect();
        it.trace = traced.then(|| Box::new(TraceContext { trace_id: "4bf9".into(), span_id: "00f0".into() }));
        (it.first, it.last) = (START.plus(times.0.into()), START.plus(times.1.into()));
        (it.bytes, it.body_bytes) = (sizes.0, sizes.1 % 3);
        it
    }
}

prop_compose! {
    fn any_response()(status in any::<Option<u16>>(), phrase in proptest::option::of(text()), mime in proptest::option::of(text()), body in 0u64..3,
                      headers in proptest::collection::vec((select(vec!["A", "a", "B"]), text()), 0..4)) -> crate::record::HttpResponse {
        let headers = headers.iter().map(|(name, value)| header(name, value)).collect();
        crate::record::HttpResponse { status, phrase, mime_type: mime, headers, body_bytes: body, ..sample::response() }
    }
}

prop_compose! {
    fn any_exchange()(request in proptest::option::of(any_request()), response in proptest::option::of(any_response()), marks in any::<[bool; 12]>(),
                      number in 0u32..3, ips in any::<[std::net::IpAddr; 3]>(), route in proptest::option::of(text())) -> Exchange {
        let (mut it, _) = everything();
        let [unanswered, late, client, source, destination, weird, missing, informational, connect, interface, direction, early] = marks;
        (it.request, it.response, it.number, it.route, it.late) = (request, response, number, route, late);
        it.unanswered = it.unanswered.filter(|_| unanswered);
        it.client_ip = client.then_some(ips[0]);
        it.source_workload = it.source_workload.filter(|_| source);
        it.destination_workload = it.destination_workload.filter(|_| destination);
        it.destination_domain = it.destination_domain.filter(|_| client);
        it.source_domain = it.source_domain.filter(|_| direction);
        it.of_node = weird.then(|| of_node(source)).map(Box::new);
        it.weird = if weird { it.weird } else { Default::default() };
        it.missing = if missing { it.missing } else { Default::default() };
        it.informational.truncate(if informational { 2 } else { 0 });
        it.connect_ns = it.connect_ns.filter(|_| connect);
        it.trust = if early { Trust::Gap } else { Trust::Complete };
        it.connection = Arc::new(crate::record::ExchangeConnection {
            interface: interface.then(|| "eth0".into()),
            around: if early { sample::everything_around() } else { Default::default() },
            direction: direction.then_some(NetworkDirection::Egress),
            opening: connect.then(sample::opening),
            client: crate::flow::Endpoint::new(ips[1], 1),
            server: crate::flow::Endpoint::new(ips[2], 65535),
            ..sample::connection()
        });
        it
    }
}

prop_compose! {
    fn any_observer()(texts in proptest::collection::vec(proptest::option::of(text()), 7), ip in proptest::option::of(any::<std::net::IpAddr>()),
                      labels in proptest::collection::vec(proptest::collection::vec((text(), text()), 0..3), 3)) -> Observer {
        let [service_name, host_name, cluster_name, namespace, name, uid, node] = <[_; 7]>::try_from(texts).unwrap();
        let mut labels = labels.into_iter().map(|pairs| pairs.into_iter().collect::<LabelSet>());
        let mut next = || labels.next().unwrap_or_default();
        let pod = Pod { namespace, name, uid, ip, node, labels: next(), annotations: next() };
        Observer { service_name, labels: next(), host_name, hostname: None, cluster_name, pod }
    }
}

fn of_node(named: bool) -> OfNode {
    let whole = sample::of_node();
    OfNode { pod: whole.pod.filter(|_| named), ..whole }
}

prop_compose! {
    fn any_flow()(marks in any::<[bool; 9]>(), protocol in select(vec![6u8, 17, 1, 58, 132, 253]), report in 1u32..4, numbers in any::<[u64; 6]>(),
                  ips in any::<[std::net::IpAddr; 2]>()) -> FlowRecord {
        let mut it = sample::everything_of_flow();
        let [last, ended, outcome, known, joined, around, interface, named, answered] = marks;
        (it.protocol, it.report, it.last) = (crate::flow::IpProtocol(protocol), report, last);
        (it.source.ip, it.destination.ip) = (ips[0], ips[1]);
        it.icmp = it.icmp.filter(|_| it.protocol.is_icmp());
        it.ended_by = it.ended_by.filter(|_| ended);
        it.outcome = it.outcome.filter(|_| outcome);
        it.connection_id = it.connection_id.filter(|_| known);
        it.connection = joined.then(|| Arc::new(sample::connection()));
        it.opening = it.opening.filter(|_| known);
        it.around = if around { it.around } else { Default::default() };
        (it.interface, it.direction) = (it.interface.filter(|_| interface), it.direction.filter(|_| interface));
        it.source_workload = it.source_workload.filter(|_| named);
        it.destination_domain = it.destination_domain.filter(|_| answered);
        it.source_domain = it.source_domain.filter(|_| interface);
        (it.connect_ns, it.rtt_ns) = (it.connect_ns.filter(|_| answered), it.rtt_ns.filter(|_| joined));
        it.exchanges = it.exchanges.filter(|_| joined);
        it.of_node = outcome.then(|| of_node(named)).map(Box::new);
        let [a, b, c, d, e, f] = numbers;
        let counts = |packets, bytes, payload_bytes| FlowCounts { packets, bytes, payload_bytes, ..it.counts[0] };
        it.counts = [counts(a / 2, b / 2, c), counts(d / 2, e / 2, f)];
        it
    }
}

proptest! {
    #[test]
    fn the_line_of_a_flow_is_what_serde_json_makes_of_it(it in any_flow(), by in any_observer()) {
        let record = it.into();
        let mut by_hand = Vec::new();
        write_json(&mut by_hand, &record, &by);
        let by_serde = serde_json::to_string(&EcsRecord { record: &record, observer: &by }).unwrap() + "\n";
        prop_assert_eq!(String::from_utf8(by_hand).unwrap(), by_serde);
    }

    #[test]
    fn the_line_is_what_serde_json_makes_of_the_record(it in any_exchange(), by in any_observer()) {
        let record = record(it);
        let mut by_hand = Vec::new();
        write_json(&mut by_hand, &record, &by);
        let by_serde = serde_json::to_string(&EcsRecord { record: &record, observer: &by }).unwrap() + "\n";
        prop_assert_eq!(String::from_utf8(by_hand).unwrap(), by_serde);
    }

    #[test]
    fn a_shortened_line_is_json_too(it in any_exchange(), by in any_observer(), max in 0usize..3000) {
        let mut out = Vec::new();
        write_json_capped(&mut out, &record(it), &by, max);
        prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
    }
}
