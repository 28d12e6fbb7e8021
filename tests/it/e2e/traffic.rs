//! What is recorded of known traffic, and what is counted.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::lab::{
    Directory, Lab, PEER, PEER_V6, POD, POD_V6, answer, ask, at, connect, fetch, get, in_a_pod, listen, nginx,
};
use super::running::{METRICS_PORT, Podtap, metric, page_with};

/// Target, status of the answer, route, outcome.
type Case = (&'static str, &'static str, u64, &'static str, &'static str);

const CASES: &[Case] = &[
    ("GET", "/echo/cart?id=7", 200, "/echo/cart", "success"),
    ("POST", "/echo/orders/17", 200, "/echo/orders/{id}", "success"),
    ("GET", "/moved/", 301, "/moved", "success"),
    ("DELETE", "/none", 405, "/none", "failure"),
    ("GET", "/fail/", 503, "/fail", "failure"),
];

fn request(method: &str, target: &str) -> String {
    let body = if method == "POST" { "a=1&b=2" } else { "" };
    format!("{method} {target} HTTP/1.1\r\nHost: shop.local:8080\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// All cases on one connection: its own port, and the answers.
fn ask_all(stream: &mut TcpStream) -> Vec<String> {
    CASES.iter().map(|(method, target, ..)| ask(stream, &request(method, target))).collect()
}

#[test]
fn what_the_pod_serves_is_recorded_field_by_field() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let Some(_nginx) = nginx(directory.path()) else { return };
        connect(at(POD_V6, 80));
        let mut podtap = Podtap::capturing(&[("SERVICE_NAME", "shop")]);
        for (client, server, family) in [(PEER, POD, "ipv4"), (PEER_V6, POD_V6, "ipv6")] {
            let mut stream = lab.peer(move || connect(at(server, 80)));
            let answers = ask_all(&mut stream);
            let ends = [(client, stream.local_addr().unwrap().port()), (server, 80)];
            let records = podtap.records(CASES.len());
            assert_recorded(&records, &answers, ends, family, "ingress");
        }
        let (rest, said) = podtap.interrupted();
        assert_eq!(rest, Vec::<String>::new());
        assert!(said.contains("pod0: the default route goes there") && said.contains("Nothing lost"), "{said}");
    });
}

#[test]
fn what_the_pod_asks_of_others_is_recorded_field_by_field() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let path = directory.path().to_owned();
        let Some(_nginx) = lab.peer(move || nginx(&path)) else { return };
        connect(at(PEER_V6, 80));
        let mut podtap = Podtap::capturing(&[("SERVICE_NAME", "shop")]);
        for (client, server, family) in [(POD, PEER, "ipv4"), (POD_V6, PEER_V6, "ipv6")] {
            let mut stream = connect(at(server, 80));
            let answers = ask_all(&mut stream);
            let ends = [(client, stream.local_addr().unwrap().port()), (server, 80)];
            let records = podtap.records(CASES.len());
            assert_recorded(&records, &answers, ends, family, "egress");
        }
        assert_eq!(podtap.interrupted().0, Vec::<String>::new());
    });
}

fn assert_recorded(records: &[Value], answers: &[String], ends: [(&str, u16); 2], family: &str, direction: &str) {
    let mut before = "";
    for (index, ((record, case), answer)) in records.iter().zip(CASES).zip(answers).enumerate() {
        let (method, target, status, route, outcome) = *case;
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let head = answer.split_once("\r\n\r\n").unwrap().0;
        let phrase = head.lines().next().unwrap().splitn(3, ' ').nth(2);
        let bytes = request(method, target).len();
        let body = answer.len() - head.len() - 4;
        let [(client, port), (server, server_port)] = ends;
        for (pointer, expected) in [
            ("/event/outcome", Value::from(outcome)),
            ("/http/version", "1.1".into()),
            ("/http/route", route.into()),
            ("/http/request/method", method.into()),
            ("/http/request/bytes", bytes.into()),
            ("/http/response/status_code", status.into()),
            ("/http/response/status_phrase", phrase.into()),
            ("/http/response/bytes", answer.len().into()),
            ("/http/response/body/bytes", if body == 0 { Value::Null } else { body.into() }),
            ("/url/original", target.into()),
            ("/url/path", path.into()),
            ("/url/query", query.into()),
            ("/url/domain", "shop.local".into()),
            ("/url/port", 8080.into()),
            ("/source/ip", client.into()),
            ("/source/port", port.into()),
            ("/source/bytes", bytes.into()),
            ("/destination/ip", server.into()),
            ("/destination/port", server_port.into()),
            ("/destination/bytes", answer.len().into()),
            ("/network/type", family.into()),
            ("/network/direction", direction.into()),
            ("/observer/ingress/interface/name", "pod0".into()),
            ("/service/name", "shop".into()),
            ("/podtap/trust", "complete".into()),
            ("/podtap/weird", Value::Null),
            ("/podtap/missing", Value::Null),
            ("/podtap/unanswered", Value::Null),
            ("/podtap/connection/exchange", (index + 1).into()),
            ("/podtap/connection/reused", (index > 0).into()),
            ("/podtap/connection/id", records[0]["podtap"]["connection"]["id"].clone()),
            ("/network/community_id", records[0]["network"]["community_id"].clone()),
        ] {
            assert_eq!(record.pointer(pointer).unwrap_or(&Value::Null), &expected, "{pointer} of {record}");
        }
        assert_eq!(record["podtap"]["timing"]["connect_us"].is_u64(), index == 0, "{record}");
        before = assert_times(record, before);
    }
    let ids: BTreeSet<_> = records.iter().map(|record| record["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), CASES.len());
}

/// Its times fit together and lie behind `before`; when it ended.
fn assert_times<'a>(record: &'a Value, before: &str) -> &'a str {
    let time = |name: &str| record["event"][name].as_str().unwrap();
    // RFC 3339 in UTC, all of the same length: the order of the texts is that of the times.
    assert!(before <= time("start") && time("start") <= time("end"), "{before} {record}");
    assert_eq!(record["@timestamp"], record["event"]["start"]);
    let micros = |name: &str| record["podtap"]["timing"][name].as_u64().unwrap();
    let duration = record["event"]["duration"].as_u64().unwrap();
    assert_eq!(micros("total_us"), duration / 1000, "{record}");
    let parts = micros("request_us") + micros("wait_us") + micros("response_us");
    assert!(parts <= micros("total_us") && micros("total_us") <= parts + 3, "{record}");
    assert!(micros("wait_us") > 0 && duration < 30_000_000_000, "{record}");
    time("end")
}

#[test]
fn two_hundred_requests_at_once_from_one_client_to_one_server_get_each_its_own_answer() {
    const NUMBER: usize = 200;
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("LOGHEADERS", "x-names")]);
        let listener = lab.peer(|| listen(at(PEER, 8080)));
        let mut open: Vec<_> = (0..NUMBER)
            .map(|n| {
                let mut client = connect(at(PEER, 8080));
                let server = listener.accept().unwrap().0;
                client.write_all(get(&format!("/orders/{n}")).as_bytes()).unwrap();
                (n, client, server)
            })
            .collect();
        // All of them wait; the answers come in another order: 0, 77, 154, 31 …
        open.sort_by_key(|(n, ..)| n * 13 % NUMBER);
        for (n, client, server) in &mut open {
            let mut got = vec![0; get(&format!("/orders/{n}")).len()];
            server.read_exact(&mut got).unwrap();
            assert!(got.starts_with(format!("GET /orders/{n} ").as_bytes()));
            let body = "x".repeat(*n);
            let named = format!("HTTP/1.1 200 OK\r\nX-Names: /orders/{n}\r\nContent-Length: {n}\r\n\r\n{body}");
            server.write_all(named.as_bytes()).unwrap();
            assert_eq!(answer(client), named);
        }
        let records = podtap.records(NUMBER);
        let mut seen = BTreeSet::new();
        for record in &records {
            let target = record["url"]["original"].as_str().unwrap();
            let number: u64 = target.rsplit('/').next().unwrap().parse().unwrap();
            assert_eq!(record["http"]["response"]["headers"]["x-names"], target, "{record}");
            assert_eq!(record["http"]["response"]["body"]["bytes"].as_u64().unwrap_or(0), number, "{record}");
            assert_eq!(
                (&record["podtap"]["trust"], &record["network"]["direction"]),
                (&"complete".into(), &"egress".into())
            );
            seen.insert(number);
        }
        assert_eq!(seen.len(), NUMBER);
        let (rest, said) = podtap.interrupted();
        assert!(rest.is_empty() && said.contains("200 = 200 paired"), "{said}");
    });
}

#[test]
fn scrapes_and_probes_of_podtap_itself_are_never_recorded() {
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("IFACE", "pod0,lo")]);
        podtap.says("capturing");
        for path in ["/metrics", "/healthz", "/readyz", "/nothing"] {
            for (peer, local) in [(POD, "127.0.0.1"), (POD_V6, "::1")] {
                lab.peer(move || fetch(at(peer, METRICS_PORT), path));
                fetch(at(local, METRICS_PORT), path);
                fetch(at(peer, METRICS_PORT), path);
            }
        }
        serve_one(&lab, "/marker");
        assert_eq!(podtap.record()["url"]["original"], "/marker");
        let (rest, said) = podtap.interrupted();
        assert_eq!(rest, Vec::<String>::new());
        assert!(said.contains("own_traffic "), "{said}");
        assert!(said.contains("1 = 1 paired"), "{said}");
    });
}

/// One exchange from the peer with a server in the pod.
pub(super) fn serve_one(lab: &Lab, target: &str) {
    let listener = listen(at(POD, 8080));
    let mut client = lab.peer(|| connect(at(POD, 8080)));
    exchange(&mut client, &mut listener.accept().unwrap().0, target);
}

fn exchange(client: &mut TcpStream, server: &mut TcpStream, target: &str) {
    client.write_all(get(target).as_bytes()).unwrap();
    server.read_exact(&mut vec![0; get(target).len()]).unwrap();
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    answer(client);
}

#[test]
fn prometheus_alone_gives_the_numbers_the_client_counted() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let Some(_nginx) = nginx(directory.path()) else { return };
        connect(at(POD, 80));
        let podtap = Podtap::capturing(&[]);
        let mut stream = lab.peer(|| connect(at(POD, 80)));
        for (requests, target, status) in [(31, "/echo/a", " 200 "), (7, "/none", " 404 "), (5, "/fail/x", " 503 ")] {
            for _ in 0..requests {
                assert!(ask(&mut stream, &get(target)).contains(status));
            }
        }
        let series = |name: &str, class: &str, route: &str| {
            format!(r#"podtap_http_{name}{{method="GET",status_class="{class}",route="{route}",direction="ingress"}}"#)
        };
        let page = page_with(&series("requests_total", "5xx", "/fail/x"), 5.0);
        for (class, route, requests) in [("2xx", "/echo/a", 31.0), ("4xx", "/none", 7.0), ("5xx", "/fail/x", 5.0)] {
            assert_eq!(metric(&page, &series("requests_total", class, route)), Some(requests), "{page}");
            assert_eq!(metric(&page, &series("request_duration_seconds_count", class, route)), Some(requests));
            assert!(metric(&page, &series("request_duration_seconds_sum", class, route)).unwrap() > 0.0);
        }
        assert_eq!(metric(&page, "podtap_ledger_imbalances"), Some(0.0));
        assert_eq!(podtap.interrupted().0.len(), 43);
    });
}

#[test]
fn a_dead_dependency_leaves_no_http_and_is_counted_and_recorded_all_the_same() {
    in_a_pod(|_lab| {
        for (recorded, expected) in [("true", 3), ("false", 0)] {
            let podtap = Podtap::capturing(&[("FAILED_CONNECTS", recorded)]);
            for _ in 0..3 {
                assert!(TcpStream::connect(at(PEER, 81)).is_err());
            }
            page_with("podtap_connects_refused_total", 3.0);
            let (records, said) = podtap.interrupted();
            let is_refused = |line: &String| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                let connect = &record["podtap"]["connect"];
                (&connect["result"], &connect["seen_by"]) == (&"refused".into(), &"packets".into())
                    && record["network"]["direction"] == "egress"
            };
            assert!(records.len() == expected && records.iter().all(is_refused), "{records:?}");
            assert!(said.contains("3 connects refused"), "{said}");
        }
    });
}

#[test]
fn several_interfaces_are_captured_at_once_and_any_is_all_of_them() {
    in_a_pod(|lab| {
        for (interfaces, openings) in [("pod0,lo", 2), ("any", 1), ("lo,any,pod0", 1)] {
            let mut podtap = Podtap::capturing(&[("IFACE", interfaces)]);
            for _ in 1..openings {
                podtap.says("capturing");
            }
            serve_one(&lab, "/from/peer");
            let record = podtap.record();
            assert_eq!(record["network"]["direction"], "ingress", "{record}");
            assert_eq!(record["observer"]["ingress"]["interface"]["name"], "pod0", "{record}");
            let listener = listen(at("127.0.0.1", 8080));
            let mut client = connect(at("127.0.0.1", 8080));
            exchange(&mut client, &mut listener.accept().unwrap().0, "/inside");
            let record = podtap.record();
            assert_eq!(record["network"]["direction"], "internal", "{record}");
            assert_eq!(record["observer"]["ingress"]["interface"]["name"], "lo", "{record}");
            assert_eq!(record["podtap"]["trust"], "complete", "{record}");
            let (rest, said) = podtap.interrupted();
            assert!(rest.is_empty() && said.contains("2 = 2 paired"), "{said}");
        }
    });
}

#[test]
fn the_three_formats_go_where_they_are_sent() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let file = directory.join("records");
        let sinks = [("SEND_LOGS_TO", "stdout,file"), ("FILE_PATH", &file)];
        for (stdout, in_file) in [("ecs", "classic"), ("classic", "text"), ("text", "ecs")] {
            let formats = [("FORMAT_STDOUT", stdout), ("FORMAT_FILE", in_file)];
            let mut podtap = Podtap::capturing(&[&sinks[..], &formats[..]].concat());
            serve_one(&lab, "/cart");
            let line = podtap.line();
            podtap.interrupted();
            let filed = std::fs::read_to_string(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            for (format, line) in [(stdout, line.as_str()), (in_file, filed.trim_end_matches('\n'))] {
                assert_format(format, line);
            }
        }
    });
}

fn assert_format(format: &str, line: &str) {
    assert!(!line.contains(char::is_control), "{line:?}");
    let json = || serde_json::from_str::<Value>(line).unwrap();
    match format {
        "ecs" => assert_eq!(json()["url"]["path"], "/cart"),
        "classic" => {
            let record = json();
            assert_eq!(
                (&record["type"], &record["url"], &record["resCode"]),
                (&"income".into(), &"/cart".into(), &204.into())
            );
        }
        _ => assert!(line.contains(" GET ") && line.contains("shop.local/cart") && line.contains("204"), "{line}"),
    }
}
