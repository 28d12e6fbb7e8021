//! Records on their way to a server over the very network that is captured. None of it is recorded; and what becomes of
//! records when the server, or podtap itself, is gone.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use podtap::flow::Timestamp;
use serde_json::Value;

use super::lab::{Directory, Lab, PEER, POD, answer, at, connect, get, in_a_pod, listen, until};
use super::running::{PODTAP, Podtap, page_with};
use super::traffic::serve_one;
use crate::servers::reserved;

/// Takes what Elasticsearch and Logstash's http input take, and keeps the records. Not a real one (those are in
/// `elasticsearch` and `logstash`): it has to be in a network namespace, and to come back where it was.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Value>>>);

impl Receiver {
    fn listen(&self, listener: TcpListener) {
        let receiver = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let receiver = receiver.clone();
                std::thread::spawn(move || while receiver.answer(&stream).is_some() {});
            }
        });
    }

    /// One request and its answer; nothing at the end of the connection.
    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let answer = self.take(&first, &String::from_utf8(body).ok()?);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).ok()
    }

    fn take(&self, first: &str, body: &str) -> String {
        let mut kept = self.0.lock().unwrap();
        if first.starts_with("POST / ") {
            kept.extend(serde_json::from_str::<Vec<Value>>(body).unwrap());
            return String::new();
        }
        if !first.contains("/_bulk") {
            // What it is; and of the index only that it is there.
            let main = first.starts_with("GET / ");
            return if main { r#"{"version":{"number":"8.7.1"}}"# } else { "{}" }.to_owned();
        }
        let lines: Vec<&str> = body.lines().collect();
        kept.extend(lines.chunks(2).map(|pair| serde_json::from_str::<Value>(pair[1]).unwrap()));
        let items = vec![r#"{"create":{"status":201}}"#; lines.len() / 2].join(",");
        format!(r#"{{"errors":false,"items":[{items}]}}"#)
    }

    /// Paths of the records, as soon as there are `number`.
    fn paths(&self, number: usize) -> Vec<String> {
        until(&format!("{number} records at the receiver"), || (self.0.lock().unwrap().len() >= number).then_some(()));
        let path = |record: &Value| record["url"]["path"].as_str().unwrap().to_owned();
        self.0.lock().unwrap().iter().map(path).collect()
    }
}

fn to_elasticsearch(address: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("SEND_LOGS_TO", "elasticsearch".to_owned()),
        ("ELASTICSEARCH_HOST", format!("http://{address}")),
        // Whether anything listens yet is tried out; that is not what is counted.
        ("FAILED_CONNECTS", "false".to_owned()),
        ("ELASTICSEARCH_INDEX", "records".to_owned()),
        ("ELASTICSEARCH_COMPRESS", "false".to_owned()),
        // Only exchanges, so that they can be counted (`ledger` is about the others).
        ("LEDGER_INTERVAL", "none".to_owned()),
        ("BATCH_AGE", "50ms".to_owned()),
    ]
}

fn to_logstash(address: SocketAddr) -> Vec<(&'static str, String)> {
    vec![
        ("SEND_LOGS_TO", "logstash".to_owned()),
        ("LOGSTASH_TYPE", "http".to_owned()),
        ("LOGSTASH_HOST", address.to_string()),
        ("LEDGER_INTERVAL", "none".to_owned()),
        ("BATCH_AGE", "50ms".to_owned()),
    ]
}

fn start(settings: &[(&str, String)], more: &[(&str, &str)]) -> Podtap {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    Podtap::capturing(&settings.chain(more.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn nothing_of_ourselves_is_recorded_with_a_sink_on_a_captured_port() {
    in_a_pod(|lab| {
        for settings in [to_elasticsearch, to_logstash] {
            // Each batch delivered would beget a record, and that the next batch.
            let receiver = Receiver::default();
            let listener = TcpListener::bind(at(POD, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            receiver.listen(listener);
            let mut podtap = start(&settings(address), &[("IFACE", "lo,pod0")]);
            // The other one, too.
            podtap.says("capturing");
            let targets = ["/a", "/b", "/c", "/d"];
            for (n, target) in targets.into_iter().enumerate() {
                serve_one(&lab, target);
                assert_eq!(receiver.paths(n + 1).len(), n + 1);
            }
            let (_, said) = podtap.interrupted();
            assert_eq!(receiver.paths(4), targets, "{said}");
            assert!(said.contains("4 = 4 delivered"), "{said}");
        }
    });
}

/// `number` exchanges of the peer with the pod on one connection.
fn exchange(lab: &Lab, number: usize) {
    let listener = listen(at(POD, 8080));
    let mut client = lab.peer(|| connect(at(POD, 8080)));
    let mut server = listener.accept().unwrap().0;
    for n in 0..number {
        let request = get(&format!("/{n}"));
        client.write_all(request.as_bytes()).unwrap();
        server.read_exact(&mut vec![0; request.len()]).unwrap();
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        answer(&mut client);
    }
}

/// A port of the peer that no one listens on yet; the kernel gives it to no client.
fn silent_port() -> SocketAddr {
    at(PEER, 9200)
}

/// Starts podtap again, and the server with it: what the spool held arrives.
fn arrives_later(lab: &Lab, address: SocketAddr, spool: &str, number: usize) -> Vec<String> {
    let receiver = Receiver::default();
    receiver.listen(lab.peer(move || listen(address)));
    let podtap = start(&to_elasticsearch(address), &[("SPOOL_DIR", spool)]);
    let paths = receiver.paths(number);
    podtap.interrupted();
    paths
}

#[test]
fn what_a_dead_server_did_not_take_is_spooled_at_sigterm_and_arrives_with_the_next_start() {
    in_a_pod(|lab| {
        let spool = Directory::new();
        let address = silent_port();
        let podtap = start(
            &to_elasticsearch(address),
            &[("SPOOL_DIR", &spool.join("spool")), ("GRACE_PERIOD", "6s"), ("LINGER", "0")],
        );
        exchange(&lab, 50);
        page_with("podtap_records_offered_total", 50.0);
        podtap.signal("TERM");
        let (status, _, said) = podtap.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("50 spooled") && said.contains("ledger adds up."), "{said}");
        let paths: BTreeSet<String> = arrives_later(&lab, address, &spool.join("spool"), 50).into_iter().collect();
        assert_eq!(paths.len(), 50);
    });
}

#[test]
fn what_was_spooled_outlives_kill_9() {
    in_a_pod(|lab| {
        let spool = Directory::new();
        let address = silent_port();
        // Half of the queue stays in memory; what is more goes to disk while podtap runs.
        let podtap = start(
            &to_elasticsearch(address),
            &[("SPOOL_DIR", &spool.join("spool")), ("QUEUE_RECORDS", "1000"), ("BATCH_RECORDS", "50")],
        );
        (0..10).for_each(|_| exchange(&lab, 150));
        let series = r#"podtap_sink_spooled_records{sink="elasticsearch"}"#;
        let page = until("records on disk", || {
            let page = super::lab::fetch(at("127.0.0.1", super::running::METRICS_PORT), "/metrics").1;
            super::running::metric(&page, series).is_some_and(|spooled| spooled >= 400.0).then_some(page)
        });
        let spooled = super::running::metric(&page, series).unwrap() as usize;
        podtap.signal("KILL");
        podtap.end();
        assert!(arrives_later(&lab, address, &spool.join("spool"), spooled).len() >= spooled);
    });
}

#[test]
fn a_replay_says_by_its_exit_code_that_not_every_record_arrived() {
    let (address, _reserved) = reserved();
    let directory = Directory::new();
    let file = directory.join("demo.pcap");
    std::fs::write(&file, podtap::synth::pcap(&podtap::demo::rendered(Timestamp(0)))).unwrap();
    let replay = |grace: &str| {
        let mut command = Command::new(PODTAP);
        command.env_clear().envs(to_elasticsearch(address)).env("GRACE_PERIOD", grace).args(["replay", &file]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = replay("200ms");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("LOST") && said.contains("for elasticsearch"), "{said}");
    let receiver = Receiver::default();
    receiver.listen(TcpListener::bind(address).unwrap());
    let (code, said) = replay("20s");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Nothing lost"), "{said}");
}
