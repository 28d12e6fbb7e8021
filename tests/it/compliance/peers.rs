//! Who takes part in the suite: add a sink here and it is held to all of it.

use std::io::{PipeReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use podtap::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls};
#[cfg(feature = "es")]
use podtap::sink::elasticsearch::{self, ElasticsearchSink, IndexName};
use podtap::sink::file::{FileOptions, FileSink};
use podtap::sink::fluentd::{FluentdOptions, FluentdSink};
use podtap::sink::logstash::{LogstashOptions, LogstashSink, LogstashTransport};
use podtap::sink::stdout::StdoutSink;
use podtap::sink::{Sink, SinkHandle, SinkOptions, UndeliveredPolicy, spawn_all};
use serde_json::Value;

use super::door::Door;
use super::line::LineSink;
use super::servers::{self, Store, Stored};
use super::{Behaviour, Fault, IMPATIENCE, Peer, Way, ids_in};
use crate::feed::{Body, OPTIONS, PATIENCE, json_line, msgpack, wait_until};
use crate::servers::Scratch;

pub(crate) const ALL: &[fn() -> Box<dyn Peer>] = &[
    line,
    stdout,
    file,
    forward,
    beats,
    http,
    tcp,
    udp,
    #[cfg(feature = "es")]
    bulk,
];

/// What can be wrong with a server of an acknowledged protocol.
const NETWORK: [Fault; 7] = [
    Fault::Refuses,
    Fault::NeverAccepts,
    Fault::Hangs,
    Fault::ClosesMidBatch,
    Fault::LosesAnswers,
    Fault::ReadsSlowly,
    Fault::TalksNonsense,
];

/// A server of some protocol over TCP behind a door, and how to make a sink that goes to it.
struct Network<S> {
    name: &'static str,
    door: Door,
    backend: SocketAddr,
    stored: Stored,
    sink: fn(&Way) -> S,
    body: Body,
    behaviours: &'static [Behaviour],
    acknowledges: bool,
    stores_once: bool,
    speaks_tls: bool,
    patience: Duration,
}

impl<S: Sink> Network<S> {
    fn new(name: &'static str, serve: fn(TcpStream, &Mutex<Store>) -> Option<()>, sink: fn(&Way) -> S) -> Self {
        let stored = Stored::default();
        let backend = servers::start(Arc::clone(&stored), serve);
        let door = Door::to(backend);
        let (behaviours, body) = (&[], json_line as Body);
        let (acknowledges, stores_once, speaks_tls) = (true, false, true);
        let patience = IMPATIENCE;
        Self { name, door, backend, stored, sink, body, behaviours, acknowledges, stores_once, speaks_tls, patience }
    }
}

impl<S: Sink> Peer for Network<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn faults(&self) -> &'static [Fault] {
        // What only the kernel acknowledges is delivered under most of them.
        if self.acknowledges { &NETWORK } else { &[Fault::Refuses, Fault::NeverAccepts, Fault::ReadsSlowly] }
    }

    fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    fn stores_once(&self) -> bool {
        self.stores_once
    }

    fn behaviours(&self) -> &'static [Behaviour] {
        self.behaviours
    }

    fn body(&self) -> Body {
        self.body
    }

    fn set(&mut self, fault: Fault) {
        self.door.set(fault);
    }

    fn be_patient(&mut self) {
        self.patience = PATIENCE;
    }

    fn behave(&mut self, behaviour: Behaviour) {
        self.stored.lock().unwrap().behaviour = behaviour;
        // A second attempt would meet another behaviour.
        self.be_patient();
    }

    fn spawn(&self, concurrency: usize, options: SinkOptions, undelivered: UndeliveredPolicy) -> SinkHandle {
        let way = Way { patience: self.patience, ..Way::to(self.door.address()) };
        spawn_all(self.name, (0..concurrency).map(|_| (self.sink)(&way)).collect(), options, undelivered).unwrap()
    }

    fn spawn_on(&self, way: &Way, undelivered: UndeliveredPolicy) -> Option<SinkHandle> {
        Some(spawn_all(self.name, vec![(self.sink)(way)], OPTIONS, undelivered).unwrap())
    }

    fn backend(&self) -> Option<SocketAddr> {
        self.speaks_tls.then_some(self.backend)
    }

    fn got(&self) -> Vec<String> {
        self.stored.lock().unwrap().ids.clone()
    }
}

const HALVES: &[Behaviour] = &[Behaviour::TakesHalf, Behaviour::RefusesHalf];

/// The plain protocol.
fn line() -> Box<dyn Peer> {
    let sink = |way: &Way| LineSink::waiting(&format!("{}:{}", way.host, way.port), way.patience);
    let peer = Network::new("line", super::line::serve, sink);
    Box::new(Network { behaviours: HALVES, speaks_tls: false, ..peer })
}

fn connector(way: &Way) -> Connector {
    let timeouts = ConnectTimeouts { lookup: way.patience, connect: way.patience, tls: way.patience };
    let tls = way.tls.clone().map(|options| LoadedTls::load(options).unwrap());
    let hosts = vec![HostPort { host: way.host.clone(), port: way.port }];
    Connector::new(hosts, tls, timeouts).with_proxies(way.proxies.clone())
}

fn forward() -> Box<dyn Peer> {
    let sink = |way: &Way| {
        FluentdSink::new(connector(way), FluentdOptions { timeout: way.patience, ..FluentdOptions::default() })
    };
    Box::new(Network { body: msgpack, ..Network::new("fluentd", servers::forward, sink) })
}

fn logstash(transport: LogstashTransport, way: &Way) -> LogstashSink {
    let options = LogstashOptions { transport, timeout: way.patience, ..LogstashOptions::default() };
    LogstashSink::new(connector(way), options).unwrap()
}

fn beats() -> Box<dyn Peer> {
    let peer = Network::new("beats", servers::beats, |way| logstash(LogstashTransport::Beats, way));
    Box::new(Network { behaviours: &[Behaviour::TakesHalf], ..peer })
}

fn http() -> Box<dyn Peer> {
    Box::new(Network::new("http", servers::http, |way| logstash(LogstashTransport::Http, way)))
}

fn tcp() -> Box<dyn Peer> {
    let peer = Network::new("tcp", servers::lines, |way| logstash(LogstashTransport::Tcp, way));
    Box::new(Network { acknowledges: false, ..peer })
}

#[cfg(feature = "es")]
fn bulk() -> Box<dyn Peer> {
    let sink = |way: &Way| {
        let (nodes, _) = elasticsearch::nodes(std::slice::from_ref(&way.host), way.port, way.tls.is_some()).unwrap();
        let options = elasticsearch::ElasticsearchOptions::new(nodes, IndexName::new(super::bulk::STREAM).unwrap());
        let tls = way.tls.clone().unwrap_or(options.tls.clone());
        let (proxies, timeout) = (way.proxies.clone(), way.patience);
        let options = elasticsearch::ElasticsearchOptions { tls, proxies, timeout, compress: false, ..options };
        let sink = ElasticsearchSink::new(options.clone()).unwrap();
        sink.renewed(None, Vec::new(), move || Ok(options.clone()))
    };
    let peer = Network::new("elasticsearch", super::bulk::serve, sink);
    Box::new(Network { behaviours: HALVES, stores_once: true, ..peer })
}

/// A socket, or none.
struct Udp {
    address: SocketAddr,
    socket: Option<UdpSocket>,
}

fn udp() -> Box<dyn Peer> {
    let address = alone();
    Box::new(Udp { address, socket: Some(UdpSocket::bind(address).unwrap()) })
}

/// An address on loopback of this process's own, with a port that the kernel gives to no one. As long as no one listens
/// there, no one else does.
fn alone() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed)), 20_514).into()
}

impl Peer for Udp {
    fn name(&self) -> &'static str {
        "udp"
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::Refuses]
    }

    fn acknowledges(&self) -> bool {
        false
    }

    fn body(&self) -> Body {
        json_line
    }

    fn set(&mut self, fault: Fault) {
        self.socket = None;
        // A child that another test has just forked may hold it for a moment.
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.connect(self.address).unwrap();
        wait_until("refusals", || probe.send(b"").is_err());
        if fault == Fault::Healthy {
            wait_until("the port to be free", || {
                self.socket = UdpSocket::bind(self.address).ok();
                self.socket.is_some()
            });
        }
    }

    fn spawn(&self, concurrency: usize, options: SinkOptions, undelivered: UndeliveredPolicy) -> SinkHandle {
        let way = Way::to(self.address);
        let sinks = (0..concurrency).map(|_| logstash(LogstashTransport::Udp, &way)).collect();
        spawn_all(self.name(), sinks, options, undelivered).unwrap()
    }

    fn spawn_on(&self, way: &Way, undelivered: UndeliveredPolicy) -> Option<SinkHandle> {
        Some(spawn_all(self.name(), vec![logstash(LogstashTransport::Udp, way)], OPTIONS, undelivered).unwrap())
    }

    fn got(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A file; what is wrong with it is that its directory leads nowhere.
pub(super) struct File {
    directory: PathBuf,
    _scratch: Option<Scratch>,
}

fn file() -> Box<dyn Peer> {
    let scratch = Scratch::new("file");
    let file = File::at(&scratch.0);
    Box::new(File { _scratch: Some(scratch), ..file })
}

impl File {
    pub(super) fn at(directory: &Path) -> Self {
        std::fs::create_dir_all(directory.join("real")).unwrap();
        let file = Self { directory: directory.to_owned(), _scratch: None };
        file.lead_to("real");
        file
    }

    /// In one step, so that a sink never sees anything between.
    fn lead_to(&self, target: &str) {
        let new = self.directory.join("new");
        std::os::unix::fs::symlink(target, &new).unwrap();
        std::fs::rename(new, self.directory.join("logs")).unwrap();
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

    fn body(&self) -> Body {
        json_line
    }

    fn set(&mut self, fault: Fault) {
        self.lead_to(if fault == Fault::Healthy { "real" } else { "nowhere" });
    }

    fn spawn(&self, concurrency: usize, options: SinkOptions, undelivered: UndeliveredPolicy) -> SinkHandle {
        let path = self.directory.join("logs/records.log");
        let file = FileOptions { path, max_bytes: None, max_age: None, keep: 0, compress: false };
        let sinks = (0..concurrency).map(|_| FileSink::new(file.clone())).collect();
        spawn_all(self.name(), sinks, options, undelivered).unwrap()
    }

    fn got(&self) -> Vec<String> {
        std::fs::read(self.directory.join("real/records.log")).map(|bytes| ids_in(&bytes)).unwrap_or_default()
    }
}

/// A pipe and its reader, who can stop reading.
struct Pipe {
    writer: std::fs::File,
    reader: Arc<Reader>,
}

#[derive(Default)]
struct Reader {
    read: Mutex<Vec<u8>>,
    stopped: Mutex<bool>,
    changed: Condvar,
}

fn stdout() -> Box<dyn Peer> {
    let (pipe, writer) = std::io::pipe().unwrap();
    let reader = Arc::<Reader>::default();
    let reading = Arc::clone(&reader);
    std::thread::spawn(move || reading.read_from(pipe));
    Box::new(Pipe { writer: std::os::fd::OwnedFd::from(writer).into(), reader })
}

impl Reader {
    fn read_from(&self, mut pipe: PipeReader) {
        let mut bytes = [0; 512];
        while let Ok(n) = pipe.read(&mut bytes)
            && n > 0
        {
            let stopped = self.changed.wait_while(self.stopped.lock().unwrap(), |stopped| *stopped).unwrap();
            self.read.lock().unwrap().extend_from_slice(&bytes[..n]);
            drop(stopped);
        }
    }
}

/// More of them than a pipe holds.
fn wide_line(record: &Value) -> Vec<u8> {
    let mut record = record.clone();
    record["wide"] = "x".repeat(1000).into();
    json_line(&record)
}

impl Peer for Pipe {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::Hangs]
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn retries(&self) -> bool {
        false
    }

    fn body(&self) -> Body {
        wide_line
    }

    fn set(&mut self, fault: Fault) {
        *self.reader.stopped.lock().unwrap() = fault != Fault::Healthy;
        self.reader.changed.notify_all();
    }

    fn spawn(&self, _: usize, options: SinkOptions, undelivered: UndeliveredPolicy) -> SinkHandle {
        spawn_all(self.name(), vec![StdoutSink::over(self.writer.try_clone().unwrap())], options, undelivered).unwrap()
    }

    /// A mark behind everything shows that all of it was read.
    fn got(&self) -> Vec<String> {
        const MARK: &[u8] = b"mark\n";
        (&self.writer).write_all(MARK).unwrap();
        wait_until("the reader", || self.reader.read.lock().unwrap().ends_with(MARK));
        let mut read = self.reader.read.lock().unwrap();
        let end = read.len() - MARK.len();
        read.truncate(end);
        ids_in(&read)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.set(Fault::Healthy);
    }
}
