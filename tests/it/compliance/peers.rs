//! Who takes part in the suite: add a sink here and it is held to all of it.

use std::sync::{Arc, Mutex};

use podtap::sink::file::{FileOptions, FileSink};
use podtap::sink::{Options, SinkHandle, Undelivered, spawn_all};

use super::door::Door;
use super::line::{self, LineSink};
use super::{Behaviour, Dir, Fault, Peer, ids_in};

pub(crate) const ALL: &[fn() -> Box<dyn Peer>] = &[line, file];

/// What every server of a protocol over TCP has: a door before it, a behaviour, a store.
struct Network {
    door: Door,
    behaviour: Arc<Mutex<Behaviour>>,
    got: Arc<Mutex<Vec<String>>>,
}

/// The plain protocol.
struct Line(Network);

fn line() -> Box<dyn Peer> {
    let (behaviour, got) = (Arc::new(Mutex::new(Behaviour::Good)), Arc::default());
    let backend = line::server(Arc::clone(&behaviour), Arc::clone(&got));
    Box::new(Line(Network { door: Door::to(backend), behaviour, got }))
}

impl Peer for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    fn faults(&self) -> &'static [Fault] {
        &Fault::NETWORK
    }

    fn answers_each(&self) -> bool {
        true
    }

    fn set(&mut self, fault: Fault) {
        self.0.door.set(fault);
    }

    fn behave(&mut self, behaviour: Behaviour) {
        *self.0.behaviour.lock().unwrap() = behaviour;
    }

    fn spawn(&self, concurrency: usize, options: Options, undelivered: Undelivered) -> SinkHandle {
        let address = self.0.door.address().to_string();
        let sinks = (0..concurrency).map(|_| LineSink::new(&address)).collect();
        spawn_all(self.name(), sinks, options, undelivered).unwrap()
    }

    fn spawn_astray(&self, options: Options, undelivered: Undelivered) -> Option<SinkHandle> {
        Some(spawn_all(self.name(), vec![LineSink::new("gone.invalid:1")], options, undelivered).unwrap())
    }

    fn got(&self) -> Vec<String> {
        self.0.got.lock().unwrap().clone()
    }
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

    fn answers_each(&self) -> bool {
        false
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
