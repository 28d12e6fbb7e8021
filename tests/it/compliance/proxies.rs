//! An HTTP proxy between a sink and its server. Every sink that speaks HTTP goes through it, in the clear and in TLS, and
//! what it asks there can be recognised as podtap's own. Owns no protocol behind the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podtap::exchange::own::nonce;
use podtap::ledger::FailureReason;
use podtap::sink::connect::{ProxySettings, TlsOptions};
use podtap::sink::{SinkHandle, UndeliveredPolicy};

use super::tls::terminator;
use super::{Peer, Way, assert_arrived, every_peer, finish, in_flight, offer, watch};

/// A name that only the proxy knows.
const SERVER: &str = "server.test";

/// Passes everything on to one server, whatever the name.
#[derive(Clone)]
struct Proxy {
    address: SocketAddr,
    backend: SocketAddr,
    /// The heads of what it was asked.
    heads: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
}

impl Proxy {
    fn to(backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, backend, heads: Arc::default(), refuses: Arc::default() };
        let serving = proxy.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let proxy = serving.clone();
                std::thread::spawn(move || proxy.serve(stream));
            }
        });
        proxy
    }

    fn way(&self, encrypted: bool) -> Way {
        let url = format!("http://me:pw@{}", self.address);
        let proxies = ProxySettings::new(Some(&url), Some(&url), &["other.test".to_owned()]).unwrap();
        let tls = encrypted.then(|| TlsOptions { verify: false, ..TlsOptions::new("X") });
        Way { host: SERVER.to_owned(), port: 9200, tls, proxies, ..Way::to(self.address) }
    }

    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut server = TcpStream::connect(self.backend).ok()?;
        let mut head = self.head(&mut client)?;
        if self.refuses.load(Ordering::Relaxed) {
            return client.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").ok();
        }
        back(&server, &client)?;
        if head.starts_with("CONNECT ") {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            std::io::copy(&mut client, &mut server).ok()?;
            return server.shutdown(Shutdown::Write).ok();
        }
        loop {
            let fields = head.to_ascii_lowercase();
            let length = fields.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            client.read_exact(&mut body).ok()?;
            let origin = head.replacen(&format!("http://{SERVER}:9200/"), "/", 1);
            server.write_all(&[origin.as_bytes(), &body].concat()).ok()?;
            head = self.head(&mut client)?;
        }
    }

    fn head(&self, client: &mut TcpStream) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).ok()?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        self.heads.lock().unwrap().push(head.clone());
        Some(head)
    }
}

/// What the server answers.
fn back(server: &TcpStream, client: &TcpStream) -> Option<()> {
    let (mut server, mut client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut server, &mut client);
        client.shutdown(Shutdown::Both)
    });
    Some(())
}

/// Twice each: in the clear and in TLS.
fn each_through_a_proxy(check: impl Fn(&str, &dyn Peer, &Proxy, SinkHandle, bool) + Sync) {
    every_peer(|name, peer| {
        let backend = peer.backend().filter(|_| ["http", "elasticsearch"].contains(&name));
        let Some(backend) = backend else { return };
        for encrypted in [false, true] {
            let door = encrypted.then(|| terminator(backend, "server.pem"));
            let proxy = Proxy::to(door.as_ref().map_or(backend, |door| door.address()));
            let sink = peer.spawn_on(&proxy.way(encrypted), UndeliveredPolicy::default()).unwrap();
            check(name, &*peer, &proxy, sink, encrypted);
        }
    });
}

#[test]
fn records_go_through_the_proxy_and_what_is_asked_there_carries_our_mark() {
    each_through_a_proxy(|name, peer, proxy, sink, encrypted| {
        let before = peer.got().len();
        offer(peer, &sink, before..before + 100);
        let counts = watch(name, &sink, |counts| counts.ledger.delivered == 100);
        finish(name, sink, Duration::from_secs(5));
        assert_arrived(name, peer, 0..before + 100, in_flight(&counts));
        let heads = proxy.heads.lock().unwrap().clone();
        for head in &heads {
            let line = head.lines().next().unwrap();
            let expected = match encrypted {
                true => line == format!("CONNECT {SERVER}:9200 HTTP/1.1"),
                false => line.contains(&format!(" http://{SERVER}:9200/")),
            };
            assert!(expected && head.contains(nonce().value()), "{name}: {line}");
            assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic bwu6chc=\r\n"), "{name}: {head}");
        }
        assert!(!heads.is_empty());
    });
}

#[test]
fn a_proxy_that_refuses_costs_time_and_no_record() {
    each_through_a_proxy(|name, peer, proxy, sink, _| {
        let before = peer.got().len();
        proxy.refuses.store(true, Ordering::Relaxed);
        offer(peer, &sink, before..before + 100);
        let counts = watch(name, &sink, |counts| counts.failed_attempts() >= 2);
        assert_eq!((counts.ledger.delivered, counts.ledger.rejected), (0, 0), "{name}");
        assert_eq!(
            counts.failed[FailureReason::Auth as usize],
            counts.failed_attempts(),
            "{name}: {:?}",
            counts.failed
        );
        proxy.refuses.store(false, Ordering::Relaxed);
        let counts = watch(name, &sink, |counts| counts.ledger.delivered == 100);
        finish(name, sink, Duration::from_secs(5));
        assert_arrived(name, peer, 0..before + 100, in_flight(&counts));
    });
}
