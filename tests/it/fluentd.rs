//! The fluentd sink, whole (queue, worker, connection), against a real forward receiver: `scripts/servers/forward`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use podtap::flow::Timestamp;
use podtap::sink::connect::{Connector, HostPort, Pem, Timeouts, Tls, TlsOptions};
use podtap::sink::fluentd::{Compress, Credentials, Fluentd, FluentdOptions, HostCheck, encode_msgpack};
use podtap::sink::{
    Backoff, Batch, BatchLimits, Block, Delivery, Options, Piece, QueueLimits, Sink, SinkCounts, SinkHandle, Sinks,
    WhenFull, spawn,
};
use serde_json::{Value, json};

const GRACE: Duration = Duration::from_secs(60);
const BATCH: usize = 100;

/// Scratch space of one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self::at(format!("fluentd-{name}-{}", std::process::id()))
    }

    fn at(name: String) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name))
}

/// Whether there is a receiver to test against. Where CI is set its absence is a failure, not a reason to skip.
fn receiver_is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let installed = script("forward").arg("install").output();
        let there = installed.as_ref().is_ok_and(|output| output.status.success());
        #[allow(clippy::disallowed_methods, reason = "a test asks where it runs")]
        let required = std::env::var("CI").is_ok();
        assert!(there || !required, "no forward receiver in CI: {installed:?}");
        if !there {
            eprintln!("skipped: `scripts/servers/forward install` needs node, npm and a package registry");
        }
        there
    })
}

/// Certificates, made once for all tests; a static is never dropped, so always in the same place.
fn certificates() -> &'static Path {
    static DIR: OnceLock<Scratch> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = Scratch::at("certificates".to_owned());
        assert!(script("certificates").arg(&dir.0).status().unwrap().success(), "openssl is needed");
        dir
    });
    &dir.0
}

/// A running receiver; dying is SIGKILL.
struct Receiver {
    child: Child,
    port: u16,
    out: PathBuf,
    arguments: Vec<String>,
}

impl Receiver {
    fn start(scratch: &Scratch, arguments: &[String]) -> Self {
        Self::start_at(0, scratch.path("out.jsonl"), arguments.to_vec())
    }

    fn start_at(port: u16, out: PathBuf, arguments: Vec<String>) -> Self {
        let mut command = script("forward");
        let command = command.arg(port.to_string()).arg(&out).args(&arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").expect("the receiver did not start").parse().unwrap();
        Self { child, port, out, arguments }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Dies and comes back on the same port, with the same output file.
    fn restart(&mut self) {
        self.kill();
        *self = Self::start_at(self.port, self.out.clone(), std::mem::take(&mut self.arguments));
    }

    /// How often each `event.id` arrived.
    fn arrived(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.lines() {
            *counts.entry(line["record"]["event"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    /// All events; a line cut by a kill, or still being written, is none yet.
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fluentd(port: u16, tls: Option<TlsOptions>, options: FluentdOptions) -> Fluentd {
    let host = HostPort { host: "127.0.0.1".to_owned(), port };
    let tls = tls.map(|options| Tls::load(options).unwrap());
    let connector = Connector::new(vec![host], tls, Timeouts::default());
    Fluentd::new(connector, FluentdOptions { tag: "test.tag".to_owned(), timeout: GRACE, ..options })
}

fn start(sink: Fluentd) -> SinkHandle {
    let backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(100) };
    let batch = BatchLimits { records: BATCH, bytes: 1 << 20, age: Duration::ZERO };
    let queue = QueueLimits { records: 100_000, bytes: 256 << 20 };
    spawn("fluentd", sink, Options { queue, when_full: WhenFull::Drop, batch, backoff }).unwrap()
}

/// Records `from..to`, one second and as many nanoseconds after the epoch.
fn offer(sink: &SinkHandle, from: usize, to: usize) {
    let mut block = Block::default();
    for i in from..to {
        let id = format!("id-{i}");
        let record = json!({ "event": { "id": id }, "n": i, "text": "ä\u{1b}", "none": null, "ip": "10.0.0.1" });
        block.push(|out| {
            encode_msgpack(&record, out).unwrap();
            (id.as_str().into(), Timestamp::new(1, i as i64))
        });
    }
    sink.offer(Piece::whole(Arc::new(block)));
}

fn finish(sink: SinkHandle) -> SinkCounts {
    let counts = Sinks::new(vec![sink]).finish(GRACE).remove(0).1;
    assert_eq!(counts.ledger.imbalance(), None);
    counts
}

/// Waits for something that another process has to do.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a test's patience has an end")]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < GRACE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Delivers a thousand records; all must arrive once.
fn delivers_all(receiver: &Receiver, sink: Fluentd) {
    let sink = start(sink);
    offer(&sink, 0, 1000);
    let counts = finish(sink);
    assert_eq!((counts.ledger.offered, counts.ledger.delivered, counts.failed_attempts), (1000, 1000, 0));
    let arrived = receiver.arrived();
    assert_eq!((arrived.len(), arrived.values().sum::<usize>()), (1000, 1000));
}

fn check(mut sink: Fluentd) -> HostCheck {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sink.check()).remove(0)
}

fn argument(name: &str, value: impl AsRef<Path>) -> String {
    format!("{name}={}", value.as_ref().display())
}

/// Reads chunks as fast as it can, looks at nothing but their names, and acknowledges them.
fn null_receiver(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut room, mut head) = (vec![0; 1 << 20], [0; 15]);
    // An array of three, "test.tag", a binary of so many bytes.
    while stream.read_exact(&mut head).is_ok() {
        let mut left = u32::from_be_bytes(head[11..].try_into().unwrap()) as usize;
        while left > 0 {
            let most = left.min(room.len());
            left -= stream.read(&mut room[..most]).unwrap();
        }
        let (mut options, mut at) = ([0; 128], 0);
        // Options begin with a map's marker and hold `chunk` and its 28 characters.
        let chunk = loop {
            at += stream.read(&mut options[at..]).unwrap();
            let behind = options[..at].windows(6).position(|window| window == b"chunk\xbc").map(|found| found + 6);
            let end = if options[0] == 0x83 { 16 } else { 0 };
            if let Some(behind) = behind.filter(|behind| at >= behind + 28 + end) {
                break options[behind..behind + 28].to_vec();
            }
        };
        stream.write_all(&[b"\x81\xa3ack\xbc", chunk.as_slice()].concat()).unwrap();
    }
}

/// Nanoseconds this thread has been on a CPU.
fn on_cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement: cargo test --release --test it throughput -- --ignored --nocapture"]
fn throughput_to_a_receiver_that_does_nothing() {
    const RECORDS: usize = 1_000_000;
    let whole: Value = serde_json::from_str(include_str!("fluentd/record.json")).unwrap();
    let mut block = Block::default();
    for i in 0..1400 {
        block.push(|out| {
            let mut record = whole.clone();
            record["event"]["id"] = format!("q1w2e3r4t5y6u7i8.{:x}", i * 7919).into();
            record["podtap"]["timing"]["total_us"] = (i * 104_729 % 50_000).into();
            record["url"]["path"] = format!("/cart/{}", i * 31).into();
            encode_msgpack(&record, out).unwrap();
            (record["event"]["id"].as_str().unwrap().into(), Timestamp::new(1, i64::from(i)))
        });
    }
    let mut batch = Batch::default();
    batch.push(Piece::whole(Arc::new(block)));
    for compress in [Compress::None, Compress::Gzip] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = std::thread::spawn(move || null_receiver(&listener));
        let mut sink = fluentd(port, None, FluentdOptions { compress, ..FluentdOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        #[allow(clippy::disallowed_methods, reason = "a measurement")]
        let start = (Instant::now(), on_cpu());
        let batches = RECORDS / batch.records();
        (0..batches).for_each(|_| assert_eq!(runtime.block_on(sink.deliver(&batch)), Ok(Delivery::default())));
        let (wall, cpu) = (start.0.elapsed(), Duration::from_nanos(on_cpu() - start.1));
        let records = (batches * batch.records()) as f64;
        println!(
            "{compress:?}: {} records of {} bytes a batch: {:.0} records/s, {:.0} ns CPU a record",
            batch.records(),
            batch.bytes() / batch.records(),
            records / wall.as_secs_f64(),
            cpu.as_nanos() as f64 / records
        );
        drop((sink, runtime));
        receiver.join().unwrap();
    }
}

fn credentials(shared_key: &str, username: &str, password: &str) -> FluentdOptions {
    let [shared_key, username, password] = [shared_key, username, password].map(str::to_owned);
    FluentdOptions { credentials: Some(Credentials { shared_key, username, password }), ..FluentdOptions::default() }
}

#[test]
#[ignore = "by hand, on this machine: FORWARD_TO=127.0.0.1:port [FORWARD_KEY=…] [FORWARD_USER=name:password], then look at that server's output"]
#[allow(clippy::disallowed_methods, reason = "a test asks where to send")]
fn a_server_started_by_hand_takes_everything() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let server = HostPort::parse(&var("FORWARD_TO"), 24224).unwrap();
    let (key, user) = (var("FORWARD_KEY"), var("FORWARD_USER"));
    let (username, password) = user.split_once(':').unwrap_or_default();
    let options = if key.is_empty() { FluentdOptions::default() } else { credentials(&key, username, password) };
    for compress in [Compress::None, Compress::Gzip] {
        let options = FluentdOptions { compress, ..options.clone() };
        let found = check(fluentd(server.port, None, options.clone()));
        assert_eq!(found.fault, None, "{found}");
        println!("{found}");
        let sink = start(fluentd(server.port, None, options));
        offer(&sink, 0, 1000);
        let counts = finish(sink);
        println!("{compress:?}: {counts:?}");
        assert_eq!((counts.ledger.delivered, counts.failed_attempts), (1000, 0));
    }
}

#[test]
fn every_record_arrives_once_with_its_tag_its_nanoseconds_and_all_its_fields() {
    if !receiver_is_there() {
        return;
    }
    for (name, compress) in [("plain", Compress::None), ("gzip", Compress::Gzip)] {
        let scratch = Scratch::new(name);
        let receiver = Receiver::start(&scratch, &[]);
        delivers_all(&receiver, fluentd(receiver.port, None, FluentdOptions { compress, ..FluentdOptions::default() }));
        let lines = receiver.lines();
        let seventh = json!({
            "tag": "test.tag",
            "time": "1.000000007",
            "record": { "event": { "id": "id-7" }, "n": 7, "text": "ä\u{1b}", "none": null, "ip": "10.0.0.1" },
        });
        assert_eq!(lines[7], seventh);
        let found = check(fluentd(receiver.port, None, FluentdOptions { compress, ..FluentdOptions::default() }));
        assert_eq!(found.fault, None);
        assert_eq!(found.steps[1..], ["asked for no key", "acknowledged an empty chunk"]);
    }
}

#[test]
fn without_acknowledgements_every_record_arrives_too_while_nobody_dies() {
    if !receiver_is_there() {
        return;
    }
    let scratch = Scratch::new("no-ack");
    let receiver = Receiver::start(&scratch, &[]);
    let sink = start(fluentd(receiver.port, None, FluentdOptions { ack: false, ..FluentdOptions::default() }));
    offer(&sink, 0, 1000);
    assert_eq!(finish(sink).ledger.delivered, 1000);
    wait_until("all lines", || receiver.lines().len() >= 1000);
    assert_eq!(receiver.arrived().len(), 1000);
}

#[test]
fn a_shared_key_and_a_user_open_the_door_and_wrong_ones_hold_every_record_back() {
    if !receiver_is_there() {
        return;
    }
    let scratch = Scratch::new("key");
    let receiver = Receiver::start(&scratch, &["key=k3y".to_owned(), "user=me:pa:ss".to_owned()]);
    delivers_all(&receiver, fluentd(receiver.port, None, credentials("k3y", "me", "pa:ss")));
    let accepted = check(fluentd(receiver.port, None, credentials("k3y", "me", "pa:ss")));
    assert_eq!(accepted.steps[1..], ["accepted by \"test-server\"", "acknowledged an empty chunk"]);
    for (options, words) in [
        (credentials("wrong-canary", "me", "pa:ss"), "refused us: shared key mismatch"),
        (credentials("k3y", "me", "wrong-canary"), "refused us: username/password mismatch"),
        (credentials("k3y", "", ""), "refused us: missing authentication information"),
        (FluentdOptions::default(), "asks for a shared key"),
        (FluentdOptions { hostname: "test-server".to_owned(), ..credentials("k3y", "me", "pa:ss") }, "Same hostname"),
    ] {
        let fault = check(fluentd(receiver.port, None, options.clone())).fault.unwrap();
        assert!(fault.contains(words) && !fault.contains("canary"), "{fault}");
        let sink = start(fluentd(receiver.port, None, options));
        offer(&sink, 1000, 1010);
        wait_until("two attempts", || sink.counts().failed_attempts >= 2);
        let sinks = Sinks::new(vec![sink]);
        let counts = sinks.finish(Duration::ZERO).remove(0).1;
        assert_eq!((counts.ledger.delivered, counts.ledger.rejected, counts.ledger.dropped), (0, 0, 10));
    }
    assert_eq!(receiver.arrived().len(), 1000, "nothing came in without the key");
}

#[test]
fn a_server_killed_again_and_again_costs_no_record_and_few_duplicates() {
    if !receiver_is_there() {
        return;
    }
    const STEP: usize = 5000;
    const KILLS: usize = 4;
    let scratch = Scratch::new("restart");
    let mut receiver = Receiver::start(&scratch, &[]);
    let sink = start(fluentd(receiver.port, None, FluentdOptions::default()));
    for kill in 0..KILLS {
        offer(&sink, kill * STEP, (kill + 1) * STEP);
        wait_until("half a step", || sink.counts().ledger.delivered as usize >= kill * STEP + STEP / 2);
        receiver.restart();
    }
    let counts = finish(sink);
    let all = KILLS * STEP;
    assert_eq!((counts.ledger.offered as usize, counts.ledger.delivered as usize), (all, all));
    assert!(counts.failed_attempts > 0, "no kill was felt");
    let arrived = receiver.arrived();
    let twice: usize = arrived.values().map(|n| n - 1).sum();
    assert_eq!(arrived.len(), all, "lost some");
    assert!(twice <= KILLS * BATCH, "{twice} duplicates");
}

#[test]
fn a_server_that_comes_late_gets_everything_and_an_end_before_that_is_counted() {
    if !receiver_is_there() {
        return;
    }
    let scratch = Scratch::new("late");
    let mut receiver = Receiver::start(&scratch, &[]);
    receiver.kill();
    let sink = start(fluentd(receiver.port, None, FluentdOptions::default()));
    offer(&sink, 0, 500);
    wait_until("three attempts", || sink.counts().failed_attempts >= 3);
    receiver.restart();
    assert_eq!(finish(sink).ledger.delivered, 500);
    assert_eq!(receiver.arrived().len(), 500);
    receiver.kill();
    let sink = start(fluentd(receiver.port, None, FluentdOptions::default()));
    offer(&sink, 0, 500);
    let counts = Sinks::new(vec![sink]).finish(Duration::from_millis(50)).remove(0).1;
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped, counts.ledger.imbalance()), (0, 500, None));
}

fn trusting(ca: &str) -> TlsOptions {
    TlsOptions { ca: Some(Pem::File(certificates().join(ca))), ..TlsOptions::new("FLUENTD") }
}

fn tls_receiver(scratch: &Scratch, certificate: &str, key: &str, more: &[String]) -> Receiver {
    let dir = certificates();
    let given = [argument("cert", dir.join(certificate)), argument("certkey", dir.join(key))];
    Receiver::start(scratch, &[&given, more].concat())
}

#[test]
fn tls_delivers_with_the_right_authority_the_right_name_or_none_asked_for() {
    if !receiver_is_there() {
        return;
    }
    let scratch = Scratch::new("tls");
    let receiver = tls_receiver(&scratch, "server.pem", "server.key", &["key=k3y".to_owned()]);
    delivers_all(&receiver, fluentd(receiver.port, Some(trusting("ca.pem")), credentials("k3y", "", "")));
    let unverified = TlsOptions { verify: false, ..TlsOptions::new("FLUENTD") };
    let named = TlsOptions { name: Some("localhost".to_owned()), ..trusting("ca.pem") };
    for tls in [unverified, named] {
        let found = check(fluentd(receiver.port, Some(tls), credentials("k3y", "", "")));
        assert_eq!(found.fault, None);
        assert!(found.steps[0].ends_with(", TLS 1.3"), "{found}");
    }
}

#[test]
fn each_fault_of_a_certificate_is_told_from_the_others_and_no_record_passes() {
    if !receiver_is_there() {
        return;
    }
    let elsewhere = || TlsOptions { name: Some("elsewhere.example".to_owned()), ..trusting("ca.pem") };
    for (certificate, key, tls, words) in [
        ("expired.pem", "server.key", trusting("ca.pem"), "has expired: renew it there"),
        ("wrong-name.pem", "server.key", trusting("ca.pem"), "is for elsewhere.example, not for 127.0.0.1: connect"),
        ("server.pem", "server.key", elsewhere(), "is for localhost, 127.0.0.1, 0::1, not for elsewhere.example"),
        ("nameless.pem", "server.key", trusting("ca.pem"), "holds no name as subjectAltName"),
        ("server.pem", "server.key", trusting("stranger.pem"), "signed by none of the authorities in"),
        ("server.pem", "server.key", TlsOptions::new("FLUENTD"), "no public authority: set FLUENTD_TLS_CA"),
        ("ca.pem", "ca.key", trusting("ca.pem"), "certificate of an authority (CA:TRUE) as its own"),
    ] {
        let scratch = Scratch::new("bad-tls");
        let receiver = tls_receiver(&scratch, certificate, key, &[]);
        let found = check(fluentd(receiver.port, Some(tls.clone()), FluentdOptions::default()));
        let fault = found.fault.unwrap();
        assert!(fault.contains(words), "{certificate}: {fault}");
        let sink = start(fluentd(receiver.port, Some(tls), FluentdOptions::default()));
        offer(&sink, 0, 10);
        wait_until("two attempts", || sink.counts().failed_attempts >= 2);
        Sinks::new(vec![sink]).finish(Duration::ZERO);
        assert!(receiver.arrived().is_empty());
    }
}

#[test]
fn a_server_that_wants_a_certificate_gets_ours_or_we_say_that_it_wants_one() {
    if !receiver_is_there() {
        return;
    }
    let dir = certificates();
    let scratch = Scratch::new("client");
    let receiver = tls_receiver(&scratch, "server.pem", "server.key", &[argument("clientca", dir.join("ca.pem"))]);
    let pem = |name: &str| Some(Pem::File(dir.join(name)));
    let ours = TlsOptions { cert: pem("client.pem"), key: pem("client.key"), ..trusting("ca.pem") };
    delivers_all(&receiver, fluentd(receiver.port, Some(ours.clone()), FluentdOptions::default()));
    let fault = check(fluentd(receiver.port, Some(trusting("ca.pem")), FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("wants a certificate and got none"), "{fault}");
    let mixed = TlsOptions { key: pem("server.key"), ..ours };
    assert_eq!(Tls::load(mixed).unwrap_err(), "FLUENTD_TLS_KEY is not the key of FLUENTD_TLS_CERT");
}

#[test]
fn tls_on_a_port_without_and_none_on_a_port_with_it_are_recognised() {
    if !receiver_is_there() {
        return;
    }
    let scratch = Scratch::new("mixed");
    let with = tls_receiver(&scratch, "server.pem", "server.key", &[]);
    let fault = check(fluentd(with.port, None, FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("or one with TLS?") || fault.contains("closed the connection"), "{fault}");
    let without = Receiver::start(&scratch, &["key=k3y".to_owned()]);
    let fault = check(fluentd(without.port, Some(trusting("ca.pem")), FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("FLUENTD_TLS=false"), "{fault}");
}
