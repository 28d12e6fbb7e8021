//! Community IDs in records, against the TCP vectors that its specification publishes (baseline_deflt.json, seed 0).

use std::net::IpAddr;

use podtap::flow::Endpoint;
use podtap::synth::{Conversation, message, pcap};
use serde_json::Value;

use crate::binary::replay;

const VECTORS: &[(&str, u16, &str, u16, &str)] = &[
    ("128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ("66.35.250.204", 80, "128.232.110.120", 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ("2001:470:e5bf:dead:4957:2174:e82c:4887", 63943, "2607:f8b0:400c:c03::1a", 25, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
    ("2607:f8b0:400c:c03::1a", 25, "2001:470:e5bf:dead:4957:2174:e82c:4887", 63943, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
];

#[test]
fn a_record_has_the_community_id_that_other_tools_give_its_connection_in_either_direction() {
    for (source, source_port, destination, destination_port, expected) in VECTORS {
        let end = |ip: &str, port| Endpoint::new(ip.parse::<IpAddr>().unwrap(), port);
        let frames = Conversation::new(end(source, *source_port), end(destination, *destination_port))
            .handshake()
            .client(message::request("GET", "/", &[("Host", "a")], b""))
            .server(message::response("200 OK", &[], b""))
            .frames();
        // Also where neither SYN was seen.
        for capture in [pcap(&frames), pcap(&frames[3..])] {
            let record: Value = serde_json::from_str(&replay(&capture, &[]).stdout).unwrap();
            assert_eq!(record["source"]["ip"], **source);
            assert_eq!(record["network"]["community_id"], *expected);
        }
    }
}
