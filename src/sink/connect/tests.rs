use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::explain::{ExplainContext, explain_tls};
use super::*;

fn host(address: SocketAddr) -> HostPort {
    HostPort { host: address.ip().to_string(), port: address.port() }
}

/// An address where no one listens: a port that the kernel gives to no one, unlike one that was free just now.
pub(in crate::sink) fn dead(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[tokio::test]
async fn hosts_are_tried_in_their_order_beginning_with_the_one_that_worked_last() {
    let (a, b) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("[::1]:0").await.unwrap());
    let (dead, a, b) = (host(dead(1)), host(a.local_addr().unwrap()), host(b.local_addr().unwrap()));
    let mut connector = Connector::new(vec![dead.clone(), a.clone(), b.clone()], None, ConnectTimeouts::default());
    assert_eq!(connector.connect().await.unwrap().host, a);
    assert_eq!(connector.connect().await.unwrap().host, a);
    connector.failed();
    assert_eq!(connector.connect().await.unwrap().host, b);
    connector.failed();
    assert_eq!(connector.connect().await.unwrap().host, a, "round the end, past the dead one");
}

#[tokio::test]
async fn when_no_host_can_be_reached_each_is_named_with_its_reason() {
    let (one, two) = (dead(1), dead(2));
    let mut connector = Connector::new(vec![host(one), host(two)], None, ConnectTimeouts::default());
    let error = connector.connect().await.unwrap_err();
    assert_eq!(error.reason(), FailureReason::Refused);
    assert_eq!(error.to_string(), format!("{one}: connection refused; {two}: connection refused"));
    let error = Connector::new(vec![], None, ConnectTimeouts::default()).connect().await.unwrap_err();
    assert_eq!(error.to_string(), "no host is set");
}

#[tokio::test]
async fn a_name_that_is_not_known_is_the_names_fault() {
    let timeouts = ConnectTimeouts { lookup: Duration::from_millis(500), ..ConnectTimeouts::default() };
    let nowhere = HostPort { host: "no-such-host.invalid".to_owned(), port: 1 };
    let error = Connector::new(vec![nowhere], None, timeouts).connect().await.unwrap_err();
    assert_eq!(error.reason(), FailureReason::Dns);
    assert!(error.to_string().starts_with("no-such-host.invalid:1: the name "), "{error}");
}

#[tokio::test]
async fn every_socket_is_announced_before_its_first_packet() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let announced = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let announced = Arc::clone(&announced);
        OnSocket::new(move |local, peer| announced.lock().unwrap().push((local, peer)))
    };
    let mut connector = Connector::new(vec![host(address)], None, ConnectTimeouts::default()).with_hook(hook);
    let _connected = connector.connect().await.unwrap();
    let (_, client) = server.accept().await.unwrap();
    let expected = (SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), client.port()), address);
    assert_eq!(*announced.lock().unwrap(), [expected]);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_one_sentence_with_the_advice() {
    let context = |ca: Option<&str>| ExplainContext {
        settings: "X",
        name: "logs",
        ca: ca.map(str::to_owned),
        has_certificate: false,
    };
    let presented = |names: &[&str]| {
        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: tokio_rustls::rustls::pki_types::ServerName::try_from("logs").unwrap(),
            presented: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    let bad = Error::InvalidCertificate;
    for (error, ca, words) in [
        (bad(CertificateError::Expired), None, "expired: renew it there"),
        (bad(CertificateError::NotValidYet), None, "not valid yet"),
        (bad(CertificateError::UnknownIssuer), None, "set X_TLS_CA"),
        (bad(CertificateError::UnknownIssuer), Some("/ca.pem"), "in /ca.pem (X_TLS_CA)"),
        (bad(CertificateError::NotValidForName), None, "holds no name"),
        (presented(&[]), None, "holds no name"),
        (
            presented(&["DnsName(\"a.example\")", "IpAddress(10.0.0.1)"]),
            None,
            "is for a.example, 10.0.0.1, not for logs",
        ),
        (presented(&["DnsName(\"\x1b[2J\")"]), None, "\\u{1b}[2J"),
        (presented(&["a", "b", "c", "d", "e", "f"]), None, "a, b, c, d, e, …, not"),
        (bad(CertificateError::BadSignature), None, "is invalid: BadSignature"),
        (Error::AlertReceived(AlertDescription::CertificateRequired), None, "X_TLS_CERT and X_TLS_KEY"),
        (Error::AlertReceived(AlertDescription::InternalError), None, "refused TLS: alert InternalError"),
        (Error::DecryptError, None, "no TLS handshake"),
    ] {
        let told = explain_tls(&error, &context(ca));
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn wrong_files_are_found_at_start_and_say_which_setting_they_belong_to() {
    let dir = std::env::temp_dir();
    let missing = PemSource::File(dir.join("podtap-no-such-file.pem"));
    let options = || TlsOptions::new("X");
    let secret = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----";
    for (options, words) in [
        (TlsOptions { ca: Some(missing.clone()), ..options() }, "X_TLS_CA: "),
        (TlsOptions { ca: Some(PemSource::Text("-----BEGIN".into())), ..options() }, "X_TLS_CA: the text given"),
        (TlsOptions { ca: Some(PemSource::Text(String::new())), ..options() }, "holds no certificate in PEM"),
        (TlsOptions { cert: Some(missing), ..options() }, "X_TLS_CERT: "),
        (TlsOptions { key: Some(PemSource::of(secret)), ..options() }, "X_TLS_KEY: set, but X_TLS_CERT is not"),
        (TlsOptions { cert: Some(PemSource::of(secret)), ..options() }, "X_TLS_CERT: the text given"),
        (TlsOptions { name: Some("no name".into()), ..options() }, "X_TLS_NAME: \"no name\" is not a name"),
    ] {
        let told = LoadedTls::load(options.clone()).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
        assert!(!told.contains("canary") && !format!("{options:?}").contains("canary"));
    }
    assert!(LoadedTls::load(options()).is_ok());
}

#[tokio::test]
async fn a_port_without_tls_differs_from_a_broken_one() {
    use tokio::io::AsyncWriteExt;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = LoadedTls::load(TlsOptions::new("X")).unwrap();
    let timeouts = ConnectTimeouts { tls: Duration::from_secs(2), ..ConnectTimeouts::default() };
    let mut connector = Connector::new(vec![host(server.local_addr().unwrap())], Some(tls), timeouts);
    for (answer, words) in [
        (Some(&b"\x92\xa4HELO\x80"[..]), "the answer is not TLS; if the port is one without TLS, set X_TLS=false"),
        (Some(b""), "set X_TLS=false"),
        (None, "no TLS handshake within 2s"),
    ] {
        let script = async {
            let (mut stream, _) = server.accept().await.unwrap();
            match answer {
                Some(answer) => stream.write_all(answer).await.unwrap(),
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            connected = connector.connect() => connected.unwrap_err(),
            () = async { script.await; std::future::pending().await } => unreachable!(),
        };
        assert_eq!(error.reason(), FailureReason::Tls);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn every_address_of_a_name_has_its_turn_to_be_first_and_keeps_it_however_the_system_orders_them() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let found = addresses(&["[::2]:1", "[::1]:1", "10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"]);
    for (turn, expected) in [
        (0, ["[::1]:1", "[::2]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]),
        (1, ["[::2]:1", "[::1]:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1"]),
        (5, ["[::2]:1", "[::1]:1", "10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"]),
        (usize::MAX, ["[::2]:1", "[::1]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]),
    ] {
        assert_eq!(in_turn(&found, turn), addresses(&expected), "{turn}");
    }
    let mut reversed = found.clone();
    reversed.sort_unstable_by_key(|address| (address.is_ipv4(), std::cmp::Reverse(*address)));
    for address in &found {
        for seen in [&found, &reversed] {
            let turn = turn_of(seen, *address);
            let first = in_turn(&found, turn).into_iter().find(|other| other.is_ipv4() == address.is_ipv4());
            assert_eq!(first, Some(*address));
        }
    }
    assert_eq!(in_turn(&[], 3), []);
}

#[test]
fn every_address_of_every_host_has_its_turn_after_failures() {
    for hosts in 1..=3 {
        let hosts = (0..hosts).map(|n| HostPort { host: format!("h{n}"), port: 1 }).collect::<Vec<_>>();
        let mut connector = Connector::new(hosts.clone(), None, ConnectTimeouts::default()).with_any_host_first();
        let mut begun = std::collections::BTreeSet::new();
        for _ in 0..hosts.len() * 4 {
            let (host, turn) = connector.beginning();
            begun.insert((host, turn % 4));
            connector.failed();
        }
        assert_eq!(begun.len(), hosts.len() * 4, "{begun:?}");
    }
}

#[tokio::test]
async fn of_many_pods_each_host_gets_its_share_and_a_pod_keeps_to_its_own_until_that_is_outdated() {
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let hosts: Vec<_> = listeners.iter().map(|listener| host(listener.local_addr().unwrap())).collect();
    let fresh = || Connector::new(hosts.clone(), None, ConnectTimeouts::default()).with_any_host_first();
    let mut first = std::collections::BTreeSet::new();
    while first.len() < hosts.len() {
        first.insert(fresh().connect().await.unwrap().host.port);
    }
    let mut connector = fresh().renewed(Some(Duration::ZERO), Vec::new());
    let mut kept = fresh().renewed(Some(Duration::from_secs(3600)), Vec::new());
    let one = kept.connect().await.unwrap().host;
    let mut moved = std::collections::BTreeSet::new();
    while moved.len() < hosts.len() {
        moved.insert(connector.connect().await.unwrap().host.port);
        assert!(connector.is_outdated() && !kept.is_outdated());
        assert_eq!(kept.connect().await.unwrap().host, one);
    }
}
