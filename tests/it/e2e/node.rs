//! OBSERVE=node: two pods on a bridge, an uplink to the world, and what the kernel counts at a pod's own interface.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::Value;

use super::lab::{Directory, at, connect, listen};
use super::running::Podtap;
use crate::namespace::{enter, in_a_namespace, ip};

const POD_A: &str = "10.244.1.2";
const POD_B: &str = "10.244.1.3";
/// Routed to its interface, without a bridge; and another address of that pod, which nothing names.
const POD_C: &str = "10.244.2.5";
const FLOATING: &str = "198.51.100.7";
const WORLD: &str = "192.168.9.2";
const NODE: &str = "192.168.9.1";

/// Names of the pods, as a table.
const NAMES: &str = r#"{"10.244.1.2": {"namespace": "shop", "name": "a", "kind": "Pod", "node": "n1"},
    "10.244.1.3": {"namespace": "shop", "name": "b", "kind": "Pod", "node": "n1"},
    "10.244.2.5": {"namespace": "shop", "name": "c", "kind": "Pod", "node": "n1"}}"#;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
struct Place {
    jobs: SyncSender<Job>,
    thread: i32,
}

impl Place {
    fn new() -> Self {
        let (jobs, work) = sync_channel::<Job>(0);
        let (tell, told) = sync_channel(0);
        std::thread::spawn(move || {
            enter().unwrap();
            let number = std::fs::read_link("/proc/thread-self").unwrap();
            tell.send(number.file_name().unwrap().to_str().unwrap().parse().unwrap()).unwrap();
            work.iter().for_each(|job| job());
        });
        Self { jobs, thread: told.recv().unwrap() }
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = sync_channel(1);
        self.jobs.send(Box::new(move || tell.send(work()).unwrap())).unwrap();
        told.recv().expect("what was to be done there failed")
    }
}

/// The node is where the test runs; two pods' interfaces are ports of a bridge, the third one's and the uplink are routed.
struct Cluster {
    a: Place,
    b: Place,
    c: Place,
    world: Place,
}

fn cluster() -> Cluster {
    let cluster = Cluster { a: Place::new(), b: Place::new(), c: Place::new(), world: Place::new() };
    ip("link add cni0 type bridge");
    ip("addr add 10.244.1.1/24 dev cni0");
    ip("link set cni0 up");
    for (place, name, address) in [(&cluster.a, "vetha", POD_A), (&cluster.b, "vethb", POD_B)] {
        ip(&format!("link add {name} type veth peer name eth0 netns {}", place.thread));
        ip(&format!("link set {name} master cni0 up"));
        place.run(move || {
            ip(&format!("addr add {address}/24 dev eth0"));
            ip("link set eth0 up");
            ip("route add default via 10.244.1.1");
        });
    }
    ip(&format!("link add cali1 type veth peer name eth0 netns {}", cluster.c.thread));
    ip("link set cali1 up");
    cluster.c.run(|| {
        ip(&format!("addr add {POD_C}/32 dev eth0"));
        ip(&format!("addr add {FLOATING}/32 dev eth0"));
        ip("link set eth0 up");
        ip("route add 169.254.1.1 dev eth0");
        ip(&format!("route add default via 169.254.1.1 src {FLOATING}"));
    });
    ip("addr add 169.254.1.1/32 dev cali1");
    ip(&format!("route add {POD_C}/32 dev cali1"));
    ip("route add 198.51.100.0/24 dev cali1");
    ip(&format!("link add eth0 type veth peer name eth0 netns {}", cluster.world.thread));
    ip(&format!("addr add {NODE}/24 dev eth0"));
    ip("link set eth0 up");
    cluster.world.run(|| {
        ip(&format!("addr add {WORLD}/24 dev eth0"));
        ip("link set eth0 up");
        ip(&format!("route add 10.244.1.0/24 via {NODE}"));
        ip(&format!("route add 198.51.100.0/24 via {NODE}"));
    });
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    cluster
}

/// Answers one request each, `number` times, then closes.
fn serve(place: Option<&Place>, address: &'static str, port: u16, number: usize) {
    let serve = move || {
        let listener = listen(at(address, port));
        std::thread::spawn(move || {
            for _ in 0..number {
                let (mut stream, _) = listener.accept().unwrap();
                let mut got = Vec::new();
                let mut byte = [0];
                while !got.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    got.push(byte[0]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").unwrap();
            }
        });
    };
    match place {
        Some(place) => place.run(serve),
        None => serve(),
    }
}

/// GET, and the whole answer.
fn get(place: &Place, address: &'static str, port: u16, target: &'static str) {
    place.run(move || {
        let mut stream = connect(at(address, port));
        write!(stream, "GET {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    });
}

/// Counts the TCP packets and bytes that enter and leave this namespace. None where there is no nft(8).
fn count() -> Option<()> {
    let chain =
        |name, hook| format!("chain {name} {{\ntype filter hook {hook} priority 0\nmeta l4proto tcp counter\n}}\n");
    let rules = format!("table inet t {{\n{}{}}}\n", chain("there", "output"), chain("back", "input"));
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().ok()?;
    nft.stdin.take()?.write_all(rules.as_bytes()).ok()?;
    nft.wait().ok()?.success().then_some(())
}

/// What was counted since: packets and bytes.
fn counted() -> (u64, u64) {
    let listed = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    let after =
        |name| words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].parse::<u64>().unwrap()).sum();
    (after("packets"), after("bytes"))
}

fn names(directory: &Directory) -> String {
    let path = directory.join("names.json");
    std::fs::write(&path, NAMES).unwrap();
    format!("file:{path}")
}

/// Observes what happens in `work`: its records.
fn observed(threads: &str, work: impl FnOnce(&Cluster)) -> Vec<Value> {
    let cluster = cluster();
    let directory = Directory::new();
    let workloads = names(&directory);
    let podtap = Podtap::capturing(&[
        ("OBSERVE", "node"),
        ("NODE_NAME", "n1"),
        ("WORKLOADS", &workloads),
        ("RECORD", "http,flows"),
        ("FORMAT", "ecs"),
        ("METRICS_ADDR", "none"),
        ("CAPTURE_THREADS", threads),
        ("CAP_FILTER", "tcp"),
    ]);
    work(&cluster);
    let (lines, said) = podtap.interrupted();
    assert!(said.contains("Nothing lost; the ledger adds up."), "{said}");
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exchanges, as `path pod direction whose`.
fn exchanges(records: &[Value]) -> Vec<String> {
    let of_http = records.iter().filter(|record| record["event"]["dataset"] == "podtap.http");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |record: &Value| {
        [
            &record["url"]["path"],
            &record["kubernetes"]["pod"]["name"],
            &record["network"]["direction"],
            &record["podtap"]["observed"],
            &record["podtap"]["trust"],
        ]
        .map(text)
        .join(" ")
    };
    let mut lines: Vec<_> = of_http.map(line).collect();
    lines.sort();
    lines
}

const EXPECTED: [&str; 4] = [
    "/pod-to-pod a internal pod complete",
    "/pod-to-world b egress pod complete",
    "/world-to-node - ingress host complete",
    "/world-to-pod a ingress pod complete",
];

fn play(cluster: &Cluster) {
    serve(Some(&cluster.a), POD_A, 8080, 2);
    serve(Some(&cluster.world), WORLD, 8080, 1);
    serve(None, NODE, 8081, 1);
    get(&cluster.b, POD_A, 8080, "/pod-to-pod");
    get(&cluster.b, WORLD, 8080, "/pod-to-world");
    get(&cluster.world, POD_A, 8080, "/world-to-pod");
    get(&cluster.world, NODE, 8081, "/world-to-node");
}

#[test]
fn on_a_node_each_exchange_is_recorded_once_and_has_its_own_pod() {
    for threads in ["1", "2"] {
        in_a_namespace(move || assert_eq!(exchanges(&observed(threads, play)), EXPECTED, "{threads} threads"));
    }
}

#[test]
fn an_address_without_a_name_is_of_the_pod_that_is_routed_to_its_interface() {
    in_a_namespace(|| {
        let records = observed("1", |cluster| {
            serve(Some(&cluster.world), WORLD, 8080, 1);
            serve(None, NODE, 8081, 1);
            get(&cluster.c, WORLD, 8080, "/floating-to-world");
            get(&cluster.c, NODE, 8081, "/floating-to-node");
        });
        let expected = ["/floating-to-node c egress pod complete", "/floating-to-world c - pod complete"];
        assert_eq!(exchanges(&records), expected);
        let flows = records.iter().filter(|record| record["event"]["dataset"] == "podtap.flow");
        for flow in flows {
            assert_eq!((&flow["source"]["ip"], &flow["kubernetes"]["pod"]["ip"]), (&FLOATING.into(), &POD_C.into()));
        }
    });
}

#[test]
fn the_flows_of_a_pod_add_up_to_what_the_kernel_counts_in_it() {
    in_a_namespace(|| {
        let mut counts = None;
        let records = observed("1", |cluster| {
            if cluster.b.run(count).is_none() {
                eprintln!("SKIPPED: needs nft(8)");
                return;
            }
            play(cluster);
            let refused = cluster.b.run(|| std::net::TcpStream::connect(at(POD_A, 9)).is_err());
            assert!(refused);
            counts = Some(cluster.b.run(counted));
        });
        let Some(counts) = counts else { return };
        let of_b = |record: &&Value| {
            record["event"]["dataset"] == "podtap.flow"
                && [&record["source"]["ip"], &record["destination"]["ip"]].contains(&&Value::from(POD_B))
        };
        let flows: Vec<_> = records.iter().filter(of_b).collect();
        let sum = |name: &str| flows.iter().map(|flow| flow["network"][name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((flows.len(), sum("packets"), sum("bytes")), (3, counts.0, counts.1));
        let failed = records.iter().find(|record| record["event"]["dataset"] == "podtap.connect").unwrap();
        assert_eq!(failed["podtap"]["connect"]["result"], "refused");
        assert_eq!((&failed["podtap"]["observed"], &failed["kubernetes"]["pod"]["name"]), (&"pod".into(), &"a".into()));
    });
}
