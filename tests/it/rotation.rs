//! Authorities and secrets that are rotated under 500 records a second, with real servers: once the servers are first, once
//! the files are. Nothing is lost, and no sink is restarted or signalled. Sinks are made of settings, as the program makes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use podtap::assembly::Assembly;
use podtap::config::{Config, read_secret};
use podtap::settings::{Bounds, Pairs, resolve};
use podtap::sink::{SinkHandle, WhenFull};

use crate::feed::{Body, PATIENCE, arrived, finish, id, json_line, msgpack, piece, watch};
use crate::servers::{Forward, Lumberjack, Nginx, Scratch, certificates};

/// What a server has, and what its clients need for it.
#[derive(Clone, Copy)]
struct Side {
    certificate: &'static str,
    authority: &'static str,
    secret: &'static str,
}

const OLD: Side = Side { certificate: "server.pem", authority: "ca.pem", secret: "of-yesterday" };
const NEW: Side = Side { certificate: "other.pem", authority: "stranger.pem", secret: "of-today" };

/// A Secret as Kubernetes mounts it: each file is a link into `..data`, and that becomes a link to another directory.
struct Mounted {
    scratch: Scratch,
    versions: usize,
}

impl Mounted {
    fn new(name: &str) -> Self {
        let mut mounted = Self { scratch: Scratch::new(name), versions: 0 };
        mounted.publish(OLD);
        for file in ["ca.pem", "secret"] {
            symlink(format!("..data/{file}"), mounted.scratch.path(file)).unwrap();
        }
        mounted
    }

    fn publish(&mut self, side: Side) {
        self.versions += 1;
        let version = format!("..v{}", self.versions);
        let directory = self.scratch.path(&version);
        fs::create_dir(&directory).unwrap();
        fs::copy(certificates().join(side.authority), directory.join("ca.pem")).unwrap();
        fs::write(directory.join("secret"), format!("{}\n", side.secret)).unwrap();
        symlink(version, self.scratch.path("new")).unwrap();
        fs::rename(self.scratch.path("new"), self.scratch.path("..data")).unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.scratch.path(name).to_string_lossy().into_owned()
    }
}

/// A sink with room for all that comes while its server is away.
fn start(settings: &[(&str, &str)]) -> SinkHandle {
    let roomy = [("QUEUE_RECORDS", "1000000"), ("QUEUE_BYTES", "1GiB"), ("BATCH_AGE", "100ms")];
    let env: Pairs =
        settings.iter().chain(&roomy).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let settings = resolve(&env, &Pairs::new(), read_secret).outcome.unwrap();
    let bounds = Bounds::of(&settings, None);
    let assembly = Assembly::new(&Config { settings, bounds, notes: Vec::new() }, Vec::new()).unwrap();
    let started = assembly.sinks(WhenFull::Drop, None).unwrap().all();
    started.iter().next().unwrap().clone()
}

/// 500 records a second until `over`; returns how many.
fn load(sink: &SinkHandle, body: Body, over: &Receiver<()>) -> usize {
    let mut offered = 0;
    while over.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
        sink.offer(piece(offered..offered + 5, body));
        offered += 5;
    }
    offered
}

/// Rotates twice, and expects that all is delivered; how many records were offered.
fn rotated(what: &str, sink: SinkHandle, body: Body, mounted: &mut Mounted, mut restart: impl FnMut(Side)) -> usize {
    let offered = std::thread::scope(|scope| {
        let (end, over) = sync_channel(0);
        let sink = &sink;
        let loading = scope.spawn(move || load(sink, body, &over));
        let goes_on = || {
            let before = sink.counts().ledger.delivered;
            watch(what, sink, |counts| counts.ledger.delivered > before + 300);
        };
        let is_refused = |before: u64| {
            watch(what, sink, |counts| counts.failed_attempts() >= before + 2);
        };
        goes_on();
        let before = sink.counts().failed_attempts();
        restart(NEW);
        is_refused(before);
        mounted.publish(NEW);
        goes_on();
        let before = sink.counts().failed_attempts();
        mounted.publish(OLD);
        is_refused(before);
        restart(OLD);
        goes_on();
        end.send(()).unwrap();
        loading.join().unwrap()
    });
    let counts = finish(sink, PATIENCE);
    let ledger = &counts.ledger;
    assert_eq!((ledger.delivered, ledger.rejected, ledger.dropped), (offered as u64, 0, 0), "{what}: {counts:?}");
    println!("{what}: {offered} records, {} failed attempts, 0 lost", counts.failed_attempts());
    offered
}

fn expect_all(what: &str, offered: usize, records: &[serde_json::Value]) {
    let arrived = arrived(records);
    let lost: Vec<_> = (0..offered).map(id).filter(|id| !arrived.contains_key(id)).collect();
    assert_eq!(lost, Vec::<String>::new(), "{what}");
}

#[test]
fn fluentd_with_another_authority_and_another_shared_key() {
    let arguments = |side: Side| {
        let file = |name: &str| certificates().join(name).to_string_lossy().into_owned();
        let (cert, key) = (file(side.certificate), file("server.key"));
        vec![format!("key={}", side.secret), format!("cert={cert}"), format!("certkey={key}")]
    };
    let scratch = Scratch::new("rotation-forward");
    let Some(mut server) = Forward::start(&scratch, &arguments(OLD)) else { return };
    let mut mounted = Mounted::new("rotation-forward-files");
    let sink = start(&[
        ("SEND_LOGS_TO", "fluentd"),
        ("FLUENTD_HOST", &format!("127.0.0.1:{}", server.port)),
        ("FLUENTD_TLS_CA", &mounted.file("ca.pem")),
        ("FLUENTD_SHARED_KEY_FILE", &mounted.file("secret")),
    ]);
    let offered = rotated("fluentd", sink, msgpack, &mut mounted, |side| server.restart_with(arguments(side)));
    expect_all("fluentd", offered, &server.records());
}

#[test]
fn logstash_beats_with_another_authority() {
    let arguments = |side: Side| {
        let file = |name: &str| certificates().join(name).to_string_lossy().into_owned();
        ["-cert".to_owned(), file(side.certificate), "-key".to_owned(), file("server.key")].to_vec()
    };
    let scratch = Scratch::new("rotation-beats");
    let first = arguments(OLD);
    let Some(mut server) = Lumberjack::start(&scratch, &first.iter().map(String::as_str).collect::<Vec<_>>()) else {
        return;
    };
    let mut mounted = Mounted::new("rotation-beats-files");
    let sink = start(&[
        ("SEND_LOGS_TO", "logstash"),
        ("LOGSTASH_TYPE", "beats"),
        ("LOGSTASH_HOST", &format!("127.0.0.1:{}", server.port)),
        ("LOGSTASH_TLS_CA", &mounted.file("ca.pem")),
    ]);
    let offered = rotated("beats", sink, json_line, &mut mounted, |side| server.restart_with(arguments(side)));
    expect_all("beats", offered, &server.records());
}

#[test]
fn logstash_http_with_another_authority_and_another_password() {
    let scratch = Scratch::new("rotation-http");
    let Some(mut server) = Nginx::start(&scratch, Some(OLD.certificate)) else { return };
    server.restart_with(OLD.certificate, OLD.secret);
    let mut mounted = Mounted::new("rotation-http-files");
    let sink = start(&[
        ("SEND_LOGS_TO", "logstash"),
        ("LOGSTASH_TYPE", "http"),
        ("LOGSTASH_HOST", &format!("127.0.0.1:{}", server.port)),
        ("LOGSTASH_PATH", "/login"),
        ("LOGSTASH_USERNAME", "user"),
        ("LOGSTASH_TLS_CA", &mounted.file("ca.pem")),
        ("LOGSTASH_PASSWORD_FILE", &mounted.file("secret")),
    ]);
    let restart = |side: Side| server.restart_with(side.certificate, side.secret);
    let offered = rotated("http", sink, json_line, &mut mounted, restart);
    expect_all("http", offered, &server.records());
}

/// TLS and the password are a gateway's.
#[cfg(feature = "setup")]
#[test]
fn elasticsearch_with_another_authority_and_another_password() {
    use crate::elasticsearch::{options, set_up};
    use crate::servers::{Kind, Search};
    use podtap::setup::SetupOptions;

    let Some(server) = Search::own(Kind::Elasticsearch, None, &[]) else { return };
    set_up(&options(&server, "rotated"), &SetupOptions::default());
    let scratch = Scratch::new("rotation-elasticsearch");
    let Some(mut gateway) = Nginx::start(&scratch, Some(OLD.certificate)) else { return };
    gateway.lead_to(server.address().port());
    gateway.restart_with(OLD.certificate, OLD.secret);
    let mut mounted = Mounted::new("rotation-elasticsearch-files");
    let sink = start(&[
        ("SEND_LOGS_TO", "elasticsearch"),
        ("ELASTICSEARCH_HOST", &format!("https://127.0.0.1:{}/search", gateway.port)),
        ("ELASTICSEARCH_INDEX", "rotated"),
        ("ELASTICSEARCH_USERNAME", "user"),
        ("ELASTICSEARCH_TLS_CA", &mounted.file("ca.pem")),
        ("ELASTICSEARCH_PASSWORD_FILE", &mounted.file("secret")),
    ]);
    let restart = |side: Side| gateway.restart_with(side.certificate, side.secret);
    let offered = rotated("elasticsearch", sink, json_line, &mut mounted, restart);
    assert_eq!(server.count("rotated"), offered as u64, "none lost, none twice");
}
