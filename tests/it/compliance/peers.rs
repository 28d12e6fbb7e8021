//! Who takes part in the suite: add a sink here and it is held to all of it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use podtap::sink::connect::{Connector, HostPort, Timeouts};
use podtap::sink::file::{FileOptions, FileSink};
use podtap::sink::fluentd::{Fluentd, FluentdOptions, encode_msgpack};
use podtap::sink::logstash::{Logstash, LogstashOptions, Transport};
use podtap::sink::{Options, Sink, SinkHandle, Undelivered, spawn_all};

use super::door::Door;
use super::line::{self, LineSink, PATIENCE};
use super::servers::{self, Store};
use super::{Behaviour, Dir, Fault, Peer, ids_in};

pub(crate) const ALL: &[fn() -> Box<dyn Peer>] = &[line, file, forward, beats, http, tcp];

/// A server of some protocol over TCP behind a door, and how to make a sink that goes to it.
struct Network<S> {
    name: &'static str,
    door: Door,
    /// Of the plain protocol; the others only know how to behave.
    behaviour: Option<Arc<Mutex<Behaviour>>>,
    acknowledges: bool,
    got: Store,
    sink: fn(host: &str, port: u16) -> S,
    body: fn(&str) -> Vec<u8>,
}

impl<S: Sink> Network<S> {
    fn new(
        name: &'static str,
        serve: fn(TcpStream, &Store) -> Option<()>,
        sink: fn(host: &str, port: u16) -> S,
    ) -> Self {
        let got = Store::default();
        let door = Door::to(servers::start(Arc::clone(&got), serve));
        Self { name, door, behaviour: None, acknowledges: true, got, sink, body: json_line }
    }
}

fn json_line(message: &str) -> Vec<u8> {
    format!("{{\"message\":\"{message}\"}}\n").into_bytes()
}

impl<S: Sink> Peer for Network<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn faults(&self) -> &'static [Fault] {
        // What only the kernel acknowledges is delivered under most of them.
        if self.acknowledges { &Fault::NETWORK } else { &[Fault::Refuses, Fault::ReadsSlowly] }
    }

    fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    fn answers_each(&self) -> bool {
        self.behaviour.is_some()
    }

    fn body(&self, message: &str) -> Vec<u8> {
        (self.body)(message)
    }

    fn set(&mut self, fault: Fault) {
        self.door.set(fault);
    }

    fn behave(&mut self, behaviour: Behaviour) {
        *self.behaviour.as_ref().unwrap().lock().unwrap() = behaviour;
    }

    fn spawn(&self, concurrency: usize, options: Options, undelivered: Undelivered) -> SinkHandle {
        let address = self.door.address();
        let sinks = (0..concurrency).map(|_| (self.sink)(&address.ip().to_string(), address.port())).collect();
        spawn_all(self.name, sinks, options, undelivered).unwrap()
    }

    fn spawn_astray(&self, options: Options, undelivered: Undelivered) -> Option<SinkHandle> {
        Some(spawn_all(self.name, vec![(self.sink)("gone.invalid", 1)], options, undelivered).unwrap())
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

/// The plain protocol, whose server can take or refuse single records.
fn line() -> Box<dyn Peer> {
    let (behaviour, got) = (Arc::new(Mutex::new(Behaviour::Good)), Store::default());
    let door = Door::to(line::server(Arc::clone(&behaviour), Arc::clone(&got)));
    let behaviour = Some(behaviour);
    let sink = |host: &str, port| LineSink::new(&format!("{host}:{port}"));
    Box::new(Network { name: "line", door, behaviour, acknowledges: true, got, sink, body: json_line })
}

fn connector(host: &str, port: u16) -> Connector {
    let timeouts = Timeouts { lookup: PATIENCE, connect: PATIENCE, tls: PATIENCE };
    Connector::new(vec![HostPort { host: host.to_owned(), port }], None, timeouts)
}

fn forward() -> Box<dyn Peer> {
    let sink = |host: &str, port| {
        Fluentd::new(connector(host, port), FluentdOptions { timeout: PATIENCE, ..FluentdOptions::default() })
    };
    let body = |message: &str| {
        let mut out = Vec::new();
        encode_msgpack(&serde_json::json!({ "message": message }), &mut out).unwrap();
        out
    };
    Box::new(Network { body, ..Network::new("fluentd", servers::forward, sink) })
}

fn logstash(transport: Transport, host: &str, port: u16) -> Logstash {
    let options = LogstashOptions { transport, timeout: PATIENCE, ..LogstashOptions::default() };
    Logstash::new(connector(host, port), options).unwrap()
}

fn beats() -> Box<dyn Peer> {
    Box::new(Network::new("beats", servers::beats, |host, port| logstash(Transport::Beats, host, port)))
}

fn http() -> Box<dyn Peer> {
    Box::new(Network::new("http", servers::http, |host, port| logstash(Transport::Http, host, port)))
}

fn tcp() -> Box<dyn Peer> {
    let peer = Network::new("tcp", servers::lines, |host, port| logstash(Transport::Tcp, host, port));
    Box::new(Network { acknowledges: false, ..peer })
}

/// A file; what is wrong with it is that its directory leads nowhere.
struct File {
    dir: Dir,
}

fn file() -> Box<dyn Peer> {
    let file = File { dir: Dir::new() };
    std::fs::create_dir(file.dir.0.join("real")).unwrap();
    file.lead_to("real");
    Box::new(file)
}

impl File {
    /// In one step, so that a sink never sees anything between.
    fn lead_to(&self, target: &str) {
        let new = self.dir.0.join("new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        std::fs::rename(new, self.dir.0.join("logs")).unwrap();
    }
}

impl Peer for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::Refuses]
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn answers_each(&self) -> bool {
        false
    }

    fn body(&self, message: &str) -> Vec<u8> {
        json_line(message)
    }

    fn set(&mut self, fault: Fault) {
        self.lead_to(if fault == Fault::Healthy { "real" } else { "nowhere" });
    }

    fn behave(&mut self, _: Behaviour) {}

    fn spawn(&self, concurrency: usize, options: Options, undelivered: Undelivered) -> SinkHandle {
        let path = self.dir.0.join("logs/records.log");
        let options_of_file = FileOptions { path, max_bytes: None, max_age: None, keep: 0, compress: false };
        let sinks = (0..concurrency).map(|_| FileSink::new(options_of_file.clone())).collect();
        spawn_all(self.name(), sinks, options, undelivered).unwrap()
    }

    fn spawn_astray(&self, _: Options, _: Undelivered) -> Option<SinkHandle> {
        None
    }

    fn got(&self) -> Vec<String> {
        std::fs::read(self.dir.0.join("real/records.log")).map(|bytes| ids_in(&bytes)).unwrap_or_default()
    }
}
