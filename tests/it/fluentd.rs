//! The fluentd sink, whole (queue, worker, connection), against a real forward receiver: `scripts/servers/forward`.

use std::path::Path;
use std::time::Duration;

use podtap::settings::SettingFault;
use podtap::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls, PemSource, TlsOptions};
use podtap::sink::fluentd::{FluentdOptions, FluentdSink, ForwardCompression, ForwardCredentials, HostCheck};
use podtap::sink::{SinkHandle, Sinks, spawn};
use serde_json::json;

use crate::feed::{PATIENCE, ROOMY, arrived, block_on, finish, msgpack, piece, piece_of, wait_until, watch};
use crate::servers::{Forward, Scratch, certificates};

fn fluentd(port: u16, tls: Option<TlsOptions>, options: FluentdOptions) -> FluentdSink {
    let host = HostPort { host: "127.0.0.1".to_owned(), port };
    let tls = tls.map(|options| LoadedTls::load(options).unwrap());
    let connector = Connector::new(vec![host], tls, ConnectTimeouts::default());
    FluentdSink::new(connector, FluentdOptions { tag: "test.tag".to_owned(), timeout: PATIENCE, ..options })
}

fn start(sink: FluentdSink) -> SinkHandle {
    spawn("fluentd", sink, ROOMY).unwrap()
}

/// Delivers a thousand records; all must arrive once.
fn delivers_all(receiver: &Forward, sink: FluentdSink) {
    let sink = start(sink);
    sink.offer(piece(0..1000, msgpack));
    let counts = finish(sink, PATIENCE);
    assert_eq!((counts.ledger.delivered, counts.failed_attempts()), (1000, 0));
    let arrived = arrived(&receiver.records());
    assert_eq!((arrived.len(), arrived.values().sum::<usize>()), (1000, 1000));
}

fn check(mut sink: FluentdSink) -> HostCheck {
    block_on(sink.check()).remove(0)
}

fn argument(name: &str, value: impl AsRef<Path>) -> String {
    format!("{name}={}", value.as_ref().display())
}

fn credentials(shared_key: &str, username: &str, password: &str) -> FluentdOptions {
    let [shared_key, username, password] = [shared_key, username, password].map(str::to_owned);
    FluentdOptions {
        credentials: Some(ForwardCredentials { shared_key, username, password }),
        ..FluentdOptions::default()
    }
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
    for compress in [ForwardCompression::None, ForwardCompression::Gzip] {
        let options = FluentdOptions { compress, ..options.clone() };
        let found = check(fluentd(server.port, None, options.clone()));
        assert_eq!(found.fault, None, "{found}");
        println!("{found}");
        let sink = start(fluentd(server.port, None, options));
        sink.offer(piece(0..1000, msgpack));
        let counts = finish(sink, PATIENCE);
        println!("{compress:?}: {counts:?}");
        assert_eq!((counts.ledger.delivered, counts.failed_attempts()), (1000, 0));
    }
}

#[test]
fn every_record_arrives_once_with_its_tag_its_nanoseconds_and_all_its_fields() {
    for (name, compress) in [("plain", ForwardCompression::None), ("gzip", ForwardCompression::Gzip)] {
        let scratch = Scratch::new(name);
        let Some(receiver) = Forward::start(&scratch, &[]) else { return };
        delivers_all(&receiver, fluentd(receiver.port, None, FluentdOptions { compress, ..FluentdOptions::default() }));
        let odd = json!({ "event": { "id": "odd" }, "n": -7, "text": "ä\u{1b}", "none": null, "all": [1, 2.5, true] });
        let sink = start(fluentd(receiver.port, None, FluentdOptions { compress, ..FluentdOptions::default() }));
        sink.offer(piece_of([json!({ "event": { "id": "first" } }), odd.clone()], msgpack));
        finish(sink, PATIENCE);
        let expected = json!({ "tag": "test.tag", "time": "1.000000001", "record": odd });
        assert_eq!(receiver.events().last(), Some(&expected));
        let found = check(fluentd(receiver.port, None, FluentdOptions { compress, ..FluentdOptions::default() }));
        assert_eq!(found.fault, None);
        assert_eq!(found.steps[1..], ["asked for no key", "acknowledged an empty chunk"]);
    }
}

#[test]
fn without_acknowledgements_every_record_arrives_too_while_no_server_dies() {
    let scratch = Scratch::new("no-ack");
    let Some(receiver) = Forward::start(&scratch, &[]) else { return };
    let sink = start(fluentd(receiver.port, None, FluentdOptions { ack: false, ..FluentdOptions::default() }));
    sink.offer(piece(0..1000, msgpack));
    assert_eq!(finish(sink, PATIENCE).ledger.delivered, 1000);
    wait_until("all records", || receiver.events().len() >= 1000);
    assert_eq!(arrived(&receiver.records()).len(), 1000);
}

#[test]
fn a_shared_key_and_a_user_open_the_door_and_wrong_ones_hold_every_record_back() {
    let scratch = Scratch::new("key");
    let Some(receiver) = Forward::start(&scratch, &["key=k3y".to_owned(), "user=me:pa:ss".to_owned()]) else { return };
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
        sink.offer(piece(1000..1010, msgpack));
        watch("attempts", &sink, |counts| counts.failed_attempts() >= 2);
        let sinks = Sinks::new(vec![sink]);
        let counts = sinks.finish(Duration::ZERO).remove(0).1;
        assert_eq!((counts.ledger.delivered, counts.ledger.rejected, counts.ledger.dropped), (0, 0, 10));
    }
    assert_eq!(arrived(&receiver.records()).len(), 1000, "nothing came in without the key");
}

#[test]
fn a_server_that_comes_late_gets_everything_and_an_end_before_that_is_counted() {
    let scratch = Scratch::new("late");
    let Some(mut receiver) = Forward::start(&scratch, &[]) else { return };
    receiver.kill();
    let sink = start(fluentd(receiver.port, None, FluentdOptions::default()));
    sink.offer(piece(0..500, msgpack));
    watch("attempts", &sink, |counts| counts.failed_attempts() >= 3);
    receiver.restart();
    assert_eq!(finish(sink, PATIENCE).ledger.delivered, 500);
    assert_eq!(arrived(&receiver.records()).len(), 500);
    receiver.kill();
    let sink = start(fluentd(receiver.port, None, FluentdOptions::default()));
    sink.offer(piece(0..500, msgpack));
    let counts = Sinks::new(vec![sink]).finish(Duration::from_millis(50)).remove(0).1;
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped, counts.ledger.imbalance()), (0, 500, None));
}

fn trusting(ca: &str) -> TlsOptions {
    TlsOptions { ca: Some(PemSource::File(certificates().join(ca))), ..TlsOptions::new("FLUENTD") }
}

fn tls_receiver(scratch: &Scratch, certificate: &str, key: &str, more: &[String]) -> Option<Forward> {
    let dir = certificates();
    let given = [argument("cert", dir.join(certificate)), argument("certkey", dir.join(key))];
    Forward::start(scratch, &[&given, more].concat())
}

#[test]
fn tls_delivers_with_the_right_authority_the_right_name_or_none_asked_for() {
    let scratch = Scratch::new("tls");
    let Some(receiver) = tls_receiver(&scratch, "server.pem", "server.key", &["key=k3y".to_owned()]) else { return };
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
fn each_fault_of_a_certificate_is_named_and_no_record_passes() {
    let elsewhere = || TlsOptions { name: Some("elsewhere.example".to_owned()), ..trusting("ca.pem") };
    for (certificate, key, tls, words) in [
        ("expired.pem", "server.key", trusting("ca.pem"), "has expired: renew it there"),
        ("wrong-name.pem", "server.key", trusting("ca.pem"), "is for elsewhere.example, not for 127.0.0.1: connect"),
        ("server.pem", "server.key", elsewhere(), "is for localhost, 127.0.0.1, 0::1, not for elsewhere.example"),
        ("nameless.pem", "server.key", trusting("ca.pem"), "holds no name as subjectAltName"),
        ("server.pem", "server.key", trusting("stranger.pem"), "signed by none of the authorities in"),
        ("server.pem", "server.key", TlsOptions::new("FLUENTD"), "no public authority: set FLUENTD_TLS_CA"),
        ("ca.pem", "ca.key", trusting("ca.pem"), "certificate of an authority (CA:TRUE)"),
    ] {
        let scratch = Scratch::new("bad-tls");
        let Some(receiver) = tls_receiver(&scratch, certificate, key, &[]) else { return };
        let found = check(fluentd(receiver.port, Some(tls.clone()), FluentdOptions::default()));
        let fault = found.fault.unwrap();
        assert!(fault.contains(words), "{certificate}: {fault}");
        let sink = start(fluentd(receiver.port, Some(tls), FluentdOptions::default()));
        sink.offer(piece(0..10, msgpack));
        watch("attempts", &sink, |counts| counts.failed_attempts() >= 2);
        Sinks::new(vec![sink]).finish(Duration::ZERO);
        assert!(arrived(&receiver.records()).is_empty());
    }
}

#[test]
fn a_server_that_wants_a_certificate_gets_ours_or_we_say_that_it_wants_one() {
    let dir = certificates();
    let scratch = Scratch::new("client");
    let Some(receiver) =
        tls_receiver(&scratch, "server.pem", "server.key", &[argument("clientca", dir.join("ca.pem"))])
    else {
        return;
    };
    let pem = |name: &str| Some(PemSource::File(dir.join(name)));
    let ours = TlsOptions { cert: pem("client.pem"), key: pem("client.key"), ..trusting("ca.pem") };
    delivers_all(&receiver, fluentd(receiver.port, Some(ours.clone()), FluentdOptions::default()));
    let fault = check(fluentd(receiver.port, Some(trusting("ca.pem")), FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("wants a certificate and got none"), "{fault}");
    let mixed = TlsOptions { key: pem("server.key"), ..ours };
    assert_eq!(
        LoadedTls::load(mixed).unwrap_err(),
        SettingFault::new("FLUENTD_TLS_KEY", "not the key of FLUENTD_TLS_CERT")
    );
}

#[test]
fn tls_on_a_port_without_and_none_on_a_port_with_it_are_recognised() {
    let scratch = Scratch::new("mixed");
    let Some(with) = tls_receiver(&scratch, "server.pem", "server.key", &[]) else { return };
    let fault = check(fluentd(with.port, None, FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("or one with TLS?") || fault.contains("closed the connection"), "{fault}");
    let Some(without) = Forward::start(&scratch, &["key=k3y".to_owned()]) else { return };
    let fault = check(fluentd(without.port, Some(trusting("ca.pem")), FluentdOptions::default())).fault.unwrap();
    assert!(fault.contains("FLUENTD_TLS=false"), "{fault}");
}
