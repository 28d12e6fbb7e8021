//! Which process asked for which exchange and which flow: the binary, the kernel's connects, and many processes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::binary::podtap;
use crate::namespace::{in_a_namespace, ip};

/// Processes that ask once and are gone.
const SHORT_LIVED: usize = 200;
/// How many of them at the same time.
const AT_ONCE: usize = 20;
/// Processes that take the same port, one after the other.
const SAME_PORT: usize = 10;

/// A server that answers every request and closes first, so that the client's port is free again.
fn server(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(stream: TcpStream) {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 0 {
        if line.ends_with("\r\n\r\n") {
            let close = line.contains("Connection: close");
            let connection = if close { "close" } else { "keep-alive" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: {connection}\r\n\r\nok");
            let _ = (&stream).write_all(answer.as_bytes());
            if close {
                return;
            }
            line.clear();
        }
    }
}

/// A shell that asks for a path with its own number, by way of another command.
fn bash(by: &[&str], server: SocketAddr) -> Child {
    let ask = "printf 'GET /%s HTTP/1.1\\r\\nHost: shop\\r\\nConnection: close\\r\\n\\r\\n' $$ >&3; read -r answer <&3; cat <&3";
    let script = format!("exec 3<>/dev/tcp/{}/{}; {ask}", server.ip(), server.port());
    let command = [by, &["bash", "-c", &script]].concat();
    Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).spawn().unwrap()
}

/// The same from a certain port.
fn python(server: SocketAddr, from: u16) -> Child {
    let script = format!(
        "import os, socket\n\
         s = socket.socket()\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', {from}))\n\
         s.connect(('127.0.0.1', {}))\n\
         s.sendall(b'GET /%d HTTP/1.1\\r\\nHost: shop\\r\\nConnection: close\\r\\n\\r\\n' % os.getpid())\n\
         while s.recv(4096): pass\n",
        server.port()
    );
    Command::new("python3").args(["-c", &script]).spawn().unwrap()
}

fn whole(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// podtap at work.
struct Watch {
    podtap: Child,
    records: JoinHandle<Vec<Value>>,
    said: JoinHandle<String>,
}

impl Watch {
    /// Has begun to capture and to read connects when it returns; none where it cannot.
    fn start(record: &str, interface: &str, more: &[&str]) -> Option<Self> {
        let env = [("LINGER", "0"), ("METRICS_ADDR", "none"), ("LEDGER_INTERVAL", "none")];
        let args = ["run", "--record", record, "--iface", interface, "--send-logs-to", "stdout", "--format", "ecs"];
        let mut command = podtap(&[&args, more].concat(), &env);
        let mut podtap = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(podtap.stdout.take().unwrap());
        let records = std::thread::spawn(move || {
            stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        });
        let mut stderr = BufReader::new(podtap.stderr.take().unwrap());
        let mut said = String::new();
        while !(said.contains("recording connects") && said.contains("capturing")) {
            if stderr.read_line(&mut said).unwrap() == 0 || said.contains("cannot record") {
                let _ = podtap.kill();
                podtap.wait().unwrap();
                eprintln!("SKIPPED: connects by eBPF: {said}");
                return None;
            }
        }
        let said = std::thread::spawn(move || {
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Some(Self { podtap, records, said })
    }

    /// All records, and what it said.
    fn finish(mut self) -> (Vec<Value>, String) {
        let pid = self.podtap.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.podtap.wait().unwrap().success());
        (self.records.join().unwrap(), self.said.join().unwrap())
    }
}

fn of<'a>(records: &'a [Value], dataset: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["event"]["dataset"] == dataset).collect()
}

/// The process that its record names, and the one that its path does.
fn both(exchange: &Value) -> (Option<u64>, u64) {
    let path = exchange["url"]["path"].as_str().unwrap();
    (exchange["process"]["pid"].as_u64(), path[1..].parse().unwrap())
}

#[test]
fn each_exchange_and_each_flow_names_the_process_that_asked_and_never_another() {
    in_a_namespace(|| {
        let server = server("127.0.0.1");
        let Some(watch) = Watch::start("http,flows,connects", "lo", &[]) else { return };
        // Two that live side by side, then many that live for a moment.
        let two = [bash(&[], server), bash(&[], server)];
        two.into_iter().for_each(whole);
        for _ in 0..SHORT_LIVED / AT_ONCE {
            let some: Vec<_> = (0..AT_ONCE).map(|_| bash(&[], server)).collect();
            some.into_iter().for_each(whole);
        }
        let reused: Vec<u64> = (0..SAME_PORT)
            .map(|_| {
                let child = python(server, 45_000);
                let pid = child.id().into();
                whole(child);
                pid
            })
            .collect();
        let (records, said) = watch.finish();
        let exchanges = of(&records, "podtap.http");
        let all = 2 + SHORT_LIVED + SAME_PORT;
        assert_eq!(exchanges.len(), all, "{said}");
        let mut of_connection = HashMap::new();
        for exchange in &exchanges {
            let (named, asked) = both(exchange);
            assert_eq!(named, Some(asked), "{exchange}");
            assert_eq!(exchange["podtap"]["process"]["trust"], "exact");
            assert!(["bash", "python3"].contains(&exchange["process"]["name"].as_str().unwrap()), "{exchange}");
            of_connection.insert(exchange["podtap"]["connection"]["id"].as_str().unwrap(), asked);
        }
        let from_one_port: Vec<_> =
            exchanges.iter().filter(|it| it["source"]["port"] == 45_000).map(|it| both(it).1).collect();
        assert_eq!(from_one_port, reused);
        let flows = of(&records, "podtap.flow");
        assert_eq!(flows.len(), all, "{said}");
        for flow in flows {
            let asked = of_connection[flow["podtap"]["connection"]["id"].as_str().unwrap()];
            assert_eq!(
                (&flow["process"]["pid"], &flow["podtap"]["process"]["trust"]),
                (&asked.into(), &"exact".into())
            );
        }
        assert_eq!(of(&records, "podtap.connect").len(), all, "{said}");
        let looked_for = said.lines().find(|line| line.contains("processes asked for")).unwrap();
        assert!(looked_for.contains(&format!("= {} joined", 2 * all)), "{looked_for}");
    });
}

#[test]
fn what_began_before_podtap_has_no_process_and_a_failed_connect_is_recorded_once() {
    in_a_namespace(|| {
        let mut early = TcpStream::connect(server("127.0.0.1")).unwrap();
        let ask = |stream: &mut TcpStream| {
            stream.write_all(b"GET /early HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
            let mut answer = [0; 4096];
            assert!(stream.read(&mut answer).unwrap() > 0);
        };
        ask(&mut early);
        let Some(watch) = Watch::start("http,connects", "lo", &[]) else { return };
        ask(&mut early);
        ask(&mut early);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(TcpStream::connect(closed).is_err());
        let (records, said) = watch.finish();
        for exchange in of(&records, "podtap.http") {
            assert!(exchange.get("process").is_none() && exchange["podtap"].get("process").is_none(), "{exchange}");
        }
        assert_eq!(of(&records, "podtap.http").len(), 2, "{said}");
        let connects = of(&records, "podtap.connect");
        let refused: Vec<_> = connects.iter().filter(|it| it["destination"]["port"] == closed.port()).collect();
        assert_eq!(refused.len(), 1, "{connects:?}");
        assert_eq!(refused[0]["podtap"]["connect"]["seen_by"], "process");
        assert_eq!(refused[0]["process"]["pid"], u64::from(std::process::id()));
        assert!(said.contains("seen_by_process 1"), "{said}");
        assert!(said.contains("2 midstream") && said.contains("1 joined"), "{said}");
    });
}

/// A namespace with a name, for a pod; gone when it is dropped.
struct PodNamespace(String);

impl Drop for PodNamespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

#[test]
fn on_a_node_a_process_of_a_pod_is_named_where_its_packets_come_out() {
    in_a_namespace(|| {
        let pod = PodNamespace(format!("podtap-{}", std::process::id()));
        let name = &pod.0;
        ip(&format!("netns add {name}"));
        ip(&format!("link add veth-pod type veth peer name eth0 netns {name}"));
        ip("addr add 10.77.0.1/24 dev veth-pod");
        ip("link set veth-pod up");
        ip(&format!("-n {name} addr add 10.77.0.2/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        let server = server("10.77.0.1");
        let node = ["--observe", "node", "--connect-all-namespaces", "true"];
        let Some(watch) = Watch::start("http,connects", "veth-pod", &node) else { return };
        for _ in 0..2 {
            let some: Vec<_> = (0..AT_ONCE).map(|_| bash(&["ip", "netns", "exec", name], server)).collect();
            some.into_iter().for_each(whole);
        }
        let (records, said) = watch.finish();
        let exchanges = of(&records, "podtap.http");
        assert_eq!(exchanges.len(), 2 * AT_ONCE, "{said}");
        for exchange in exchanges {
            let (named, asked) = both(exchange);
            assert_eq!((named, &exchange["source"]["ip"]), (Some(asked), &"10.77.0.2".into()), "{exchange}");
        }
    });
}
