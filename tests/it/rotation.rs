//! Authorities, client certificates and secrets that are rotated under 500 records a second, with real servers: once the
//! servers are first, once the files are. Nothing is lost, and no sink is restarted or signalled. Sinks are made of settings,
//! as the program makes them.

#[cfg(feature = "setup")]
mod secured;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use podtap::assembly::Assembly;
use podtap::config::{RunConfig, read_secret};
use podtap::settings::{MemoryBounds, SettingPairs, resolve};
use podtap::sink::{SinkHandle, WhenFull};

use crate::feed::{Body, PATIENCE, arrived, finish, id, json_line, msgpack, piece, watch};
use crate::servers::{Demands, Forward, Lumberjack, Nginx, Scratch, certificates};

/// What a server has, and what its clients need for it. All of it changes at once, so one file that is not read again is enough to
/// be refused.
#[derive(Clone, Copy)]
struct Side {
    certificate: &'static str,
    /// Signed both certificates.
    authority: &'static str,
    client: &'static str,
    user: &'static str,
    secret: &'static str,
}

const OLD: Side =
    Side { certificate: "server.pem", authority: "ca.pem", client: "client", user: "spring", secret: "of-yesterday" };
const NEW: Side = Side {
    certificate: "other.pem",
    authority: "stranger.pem",
    client: "newcomer",
    user: "summer",
    secret: "of-today",
};

impl Side {
    /// Where the test certificates have this file.
    fn path(name: &str) -> String {
        certificates().join(name).to_string_lossy().into_owned()
    }

    fn demands(self) -> Demands {
        Demands { client_authority: Some(self.authority), user: self.user, password: self.secret }
    }

    fn files(self) -> Vec<(&'static str, Vec<u8>)> {
        let read = |name: String| fs::read(certificates().join(name)).unwrap();
        vec![
            ("ca.pem", read(self.authority.to_owned())),
            ("client.pem", read(format!("{}.pem", self.client))),
            ("client.key", read(format!("{}.key", self.client))),
            ("user", format!("{}\n", self.user).into_bytes()),
            ("secret", format!("{}\n", self.secret).into_bytes()),
        ]
    }
}

/// A Secret as Kubernetes mounts it: each file is a link into `..data`, and that becomes a link to another directory.
struct Mounted {
    scratch: Scratch,
    versions: usize,
}

impl Mounted {
    fn new(name: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let mut mounted = Self { scratch: Scratch::new(name), versions: 0 };
        mounted.publish(files);
        for (file, _) in files {
            symlink(format!("..data/{file}"), mounted.scratch.path(file)).unwrap();
        }
        mounted
    }

    fn publish(&mut self, files: &[(&str, Vec<u8>)]) {
        self.versions += 1;
        let version = format!("..v{}", self.versions);
        let directory = self.scratch.path(&version);
        fs::create_dir(&directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), content).unwrap();
        }
        symlink(version, self.scratch.path("new")).unwrap();
        fs::rename(self.scratch.path("new"), self.scratch.path("..data")).unwrap();
    }

    fn file(&self, name: &str) -> String {
        self.scratch.path(name).to_string_lossy().into_owned()
    }

    /// The settings of a sink that name these files, but for `FLUENTD_SHARED_KEY_FILE`.
    fn settings(&self, sink: &str, has_users: bool) -> Vec<(String, String)> {
        let of_tls = [("TLS_CA", "ca.pem"), ("TLS_CERT", "client.pem"), ("TLS_KEY_FILE", "client.key")];
        let of_users = [("USERNAME_FILE", "user"), ("PASSWORD_FILE", "secret")];
        let names = of_tls.into_iter().chain(of_users.into_iter().filter(|_| has_users));
        names.map(|(name, file)| (format!("{sink}_{name}"), self.file(file))).collect()
    }
}

/// A sink with room for all that comes while its server is away.
pub(crate) fn start(settings: &[(&str, &str)], more: Vec<(String, String)>) -> SinkHandle {
    let roomy = [("QUEUE_RECORDS", "1000000"), ("QUEUE_BYTES", "1GiB"), ("BATCH_AGE", "100ms")];
    let given = settings.iter().chain(&roomy).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let env: SettingPairs = given.chain(more).collect();
    let settings = resolve(&env, &SettingPairs::new(), read_secret).outcome.unwrap();
    let bounds = MemoryBounds::of(&settings, None);
    let assembly = Assembly::new(&RunConfig { settings, bounds, notes: Vec::new() }, Vec::new()).unwrap();
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

/// Records flow while `act` acts, and all of them must be delivered in the end; how many.
fn under_load(what: &str, sink: SinkHandle, body: Body, act: impl FnOnce(&SinkHandle)) -> usize {
    let offered = std::thread::scope(|scope| {
        let (end, over) = sync_channel(0);
        let loaded = &sink;
        let loading = scope.spawn(move || load(loaded, body, &over));
        act(&sink);
        end.send(()).unwrap();
        loading.join().unwrap()
    });
    let counts = finish(sink, PATIENCE);
    let ledger = &counts.ledger;
    assert_eq!((ledger.delivered, ledger.rejected, ledger.dropped), (offered as u64, 0, 0), "{what}: {counts:?}");
    println!("{what}: {offered} records, {} failed attempts, 0 lost", counts.failed_attempts());
    offered
}

/// Waits until some hundred more records are delivered.
fn goes_on(what: &str, sink: &SinkHandle) {
    let before = sink.counts().ledger.delivered;
    watch(what, sink, |counts| counts.ledger.delivered > before + 300);
}

/// Does something, and waits until two attempts have failed since.
fn is_refused_after(what: &str, sink: &SinkHandle, act: impl FnOnce()) {
    let before = sink.counts().failed_attempts();
    act();
    watch(what, sink, |counts| counts.failed_attempts() >= before + 2);
}

/// Rotates twice, and expects that all is delivered; how many records were offered.
fn rotated(what: &str, sink: SinkHandle, body: Body, mounted: &mut Mounted, mut restart: impl FnMut(Side)) -> usize {
    under_load(what, sink, body, |sink| {
        goes_on(what, sink);
        is_refused_after(what, sink, || restart(NEW));
        mounted.publish(&NEW.files());
        goes_on(what, sink);
        is_refused_after(what, sink, || mounted.publish(&OLD.files()));
        restart(OLD);
        goes_on(what, sink);
    })
}

fn expect_all(what: &str, offered: usize, records: &[serde_json::Value]) {
    let arrived = arrived(records);
    let lost: Vec<_> = (0..offered).map(id).filter(|id| !arrived.contains_key(id)).collect();
    assert_eq!(lost, Vec::<String>::new(), "{what}");
}

#[test]
fn fluentd_with_another_authority_client_certificate_shared_key_and_user() {
    let arguments = |side: Side| {
        let tls = [("cert", side.certificate), ("certkey", "server.key"), ("clientca", side.authority)];
        let tls = tls.into_iter().map(|(name, file)| format!("{name}={}", Side::path(file)));
        let login = [format!("key={}", side.secret), format!("user={}:{}", side.user, side.secret)];
        login.into_iter().chain(tls).collect::<Vec<_>>()
    };
    let scratch = Scratch::new("rotation-forward");
    let Some(mut server) = Forward::start(&scratch, &arguments(OLD)) else { return };
    let mut mounted = Mounted::new("rotation-forward-files", &OLD.files());
    let settings = [
        ("SEND_LOGS_TO", "fluentd"),
        ("FLUENTD_HOST", &format!("127.0.0.1:{}", server.port)),
        ("FLUENTD_SHARED_KEY_FILE", &mounted.file("secret")),
    ];
    let sink = start(&settings, mounted.settings("FLUENTD", true));
    let offered = rotated("fluentd", sink, msgpack, &mut mounted, |side| server.restart_with(arguments(side)));
    expect_all("fluentd", offered, &server.records());
}

#[test]
fn logstash_beats_with_another_authority_and_client_certificate() {
    let arguments = |side: Side| {
        let files = [("-cert", side.certificate), ("-key", "server.key"), ("-clientca", side.authority)];
        files.into_iter().flat_map(|(name, file)| [name.to_owned(), Side::path(file)]).collect::<Vec<_>>()
    };
    let scratch = Scratch::new("rotation-beats");
    let first = arguments(OLD);
    let Some(mut server) = Lumberjack::start(&scratch, &first.iter().map(String::as_str).collect::<Vec<_>>()) else {
        return;
    };
    let mut mounted = Mounted::new("rotation-beats-files", &OLD.files());
    let settings = [
        ("SEND_LOGS_TO", "logstash"),
        ("LOGSTASH_TYPE", "beats"),
        ("LOGSTASH_HOST", &format!("127.0.0.1:{}", server.port)),
    ];
    let sink = start(&settings, mounted.settings("LOGSTASH", false));
    let offered = rotated("beats", sink, json_line, &mut mounted, |side| server.restart_with(arguments(side)));
    expect_all("beats", offered, &server.records());
}

#[test]
fn logstash_http_with_another_authority_client_certificate_and_user() {
    let scratch = Scratch::new("rotation-http");
    let Some(mut server) = Nginx::start(&scratch, Some(OLD.certificate)) else { return };
    server.restart_with(OLD.certificate, OLD.demands());
    let mut mounted = Mounted::new("rotation-http-files", &OLD.files());
    let settings = [
        ("SEND_LOGS_TO", "logstash"),
        ("LOGSTASH_TYPE", "http"),
        ("LOGSTASH_HOST", &format!("127.0.0.1:{}", server.port)),
        ("LOGSTASH_PATH", "/login"),
    ];
    let sink = start(&settings, mounted.settings("LOGSTASH", true));
    let restart = |side: Side| server.restart_with(side.certificate, side.demands());
    let offered = rotated("http", sink, json_line, &mut mounted, restart);
    expect_all("http", offered, &server.records());
}

/// TLS and the user are a gateway's.
#[cfg(feature = "setup")]
#[test]
fn elasticsearch_with_another_authority_client_certificate_and_user() {
    use crate::elasticsearch::{options, set_up};
    use crate::servers::{Kind, Search};
    use podtap::setup::SetupOptions;

    let Some(server) = Search::own(Kind::Elasticsearch, None, &[]) else { return };
    set_up(&options(&server, "rotated"), &SetupOptions::default());
    let scratch = Scratch::new("rotation-elasticsearch");
    let Some(mut gateway) = Nginx::start(&scratch, Some(OLD.certificate)) else { return };
    gateway.lead_to(server.address().port());
    gateway.restart_with(OLD.certificate, OLD.demands());
    let mut mounted = Mounted::new("rotation-elasticsearch-files", &OLD.files());
    let settings = [
        ("SEND_LOGS_TO", "elasticsearch"),
        ("ELASTICSEARCH_HOST", &format!("https://127.0.0.1:{}/search", gateway.port)),
        ("ELASTICSEARCH_INDEX", "rotated"),
    ];
    let sink = start(&settings, mounted.settings("ELASTICSEARCH", true));
    let restart = |side: Side| gateway.restart_with(side.certificate, side.demands());
    let offered = rotated("elasticsearch", sink, json_line, &mut mounted, restart);
    assert_eq!(server.count("rotated"), offered as u64, "none lost, none twice");
}
