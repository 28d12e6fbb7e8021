//! Names from DNS as this pod learns them, and podtap's own datagrams.

use std::net::UdpSocket;

use serde_json::Value;

use super::lab::{PEER, POD, at, connect, in_a_pod, listen};
use super::running::Podtap;

/// A question for the address of `shop.test`.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x04test\x00\x00\x01\x00\x01";

/// The answer to it: the peer's address, for a minute.
fn answer() -> Vec<u8> {
    let mut answer = QUESTION.to_vec();
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
    answer.extend([10, 77, 0, 1]);
    answer
}

fn records(lines: &[String], dataset: &str) -> Vec<Value> {
    let all = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["event"]["dataset"] == dataset).collect()
}

#[test]
fn an_answer_of_dns_names_the_flows_that_follow_it() {
    in_a_pod(|lab| {
        lab.peer(|| {
            let server = UdpSocket::bind(at(PEER, 53)).unwrap();
            std::thread::spawn(move || {
                let mut question = [0; 512];
                let (_, client) = server.recv_from(&mut question).unwrap();
                server.send_to(&answer(), client).unwrap();
            });
            let listener = listen(at(PEER, 8080));
            std::thread::spawn(move || drop(listener.accept()));
        });
        let podtap = Podtap::capturing(&[
            ("RECORD", "flows"),
            ("WORKLOADS", "dns"),
            ("FORMAT", "ecs"),
            ("METRICS_ADDR", "none"),
        ]);
        let resolver = UdpSocket::bind(at(POD, 0)).unwrap();
        resolver.send_to(QUESTION, at(PEER, 53)).unwrap();
        let mut got = [0; 512];
        let (length, _) = resolver.recv_from(&mut got).unwrap();
        assert_eq!(got[..length], answer());
        drop(connect(at(PEER, 8080)));
        let (lines, _) = podtap.interrupted();
        let flows = records(&lines, "podtap.flow");
        let flow = flows.iter().find(|flow| flow["destination"]["port"] == 8080).unwrap();
        assert_eq!(flow["destination"]["domain"], "shop.test");
        assert_eq!(flow["podtap"]["destination"]["domain_source"], "dns");
    });
}

#[test]
fn datagrams_with_records_are_no_traffic() {
    in_a_pod(|lab| {
        let server = lab.peer(|| {
            let listener = listen(at(PEER, 8080));
            std::thread::spawn(move || drop(listener.accept()));
            UdpSocket::bind(at(PEER, 5000)).unwrap()
        });
        let podtap = Podtap::capturing(&[
            ("RECORD", "flows"),
            ("FORMAT", "ecs"),
            ("SEND_LOGS_TO", "stdout,logstash"),
            ("LOGSTASH_TYPE", "udp"),
            ("LOGSTASH_HOST", "10.77.0.1:5000"),
            ("FLOW_INTERVAL", "1s"),
            ("METRICS_ADDR", "none"),
        ]);
        drop(connect(at(PEER, 8080)));
        // It has been sent.
        server.recv_from(&mut [0; 9000]).unwrap();
        let (lines, said) = podtap.interrupted();
        let flows = records(&lines, "podtap.flow");
        assert!(flows.iter().any(|flow| flow["destination"]["port"] == 8080), "{said}");
        assert!(!flows.iter().any(|flow| flow["destination"]["port"] == 5000), "{flows:?}");
        assert!(said.contains("own_traffic"), "{said}");
    });
}
