//! TLS in front of any server, with certificates that can be wrong. Sinks then hold every record, say why, and deliver
//! when it has been put right. Owns no protocol.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podtap::sink::connect::{PemSource, TlsOptions};
use podtap::sink::{SinkHandle, UndeliveredPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Peer, Way, assert_arrived, every_peer, finish, in_flight, offer, watch};
use crate::feed::id;
use crate::servers::{Scratch, certificates};

/// Decrypts what comes and passes it on; gone when it is dropped.
pub(crate) struct Terminator {
    address: SocketAddr,
    /// `None`: it does not speak TLS.
    config: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    _end: oneshot::Sender<()>,
}

/// In front of `backend`, with this certificate.
pub(crate) fn terminator(backend: SocketAddr, certificate: &str) -> Terminator {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let config = Arc::new(Mutex::new(config(certificate)));
    let (_end, ended) = oneshot::channel();
    let terminator = Terminator { address, config: Arc::clone(&config), _end };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serve = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let config = config.lock().unwrap().clone();
                    tokio::spawn(terminate(stream, backend, config));
                }
            };
            tokio::select! { () = serve => {}, _ = ended => {} }
        });
    });
    terminator
}

impl Terminator {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on with this certificate.
    fn present(&self, certificate: &str) {
        *self.config.lock().unwrap() = config(certificate);
    }
}

async fn terminate(mut stream: TcpStream, backend: SocketAddr, config: Option<Arc<ServerConfig>>) {
    let Some(config) = config else {
        // A server in the clear that hears a ClientHello.
        let _ = stream.write_all(b"-ERR unknown command\r\n").await;
        return;
    };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let Ok(backend) = TcpStream::connect(backend).await else { return };
    let ((from_client, to_client), (from_backend, to_backend)) = (tokio::io::split(stream), backend.into_split());
    tokio::join!(pass_on(from_client, to_backend), pass_on(from_backend, to_client));
}

/// Until the end, in order or not; what came before it gets there.
async fn pass_on(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n) = from.read(&mut bytes).await
        && n > 0
        && to.write_all(&bytes[..n]).await.is_ok()
        && to.flush().await.is_ok()
    {}
    let _ = to.shutdown().await;
}

const IN_THE_CLEAR: &str = "";

fn config(certificate: &str) -> Option<Arc<ServerConfig>> {
    if certificate == IN_THE_CLEAR {
        return None;
    }
    let chain = CertificateDer::pem_file_iter(certificates().join(certificate)).unwrap().map(Result::unwrap).collect();
    let key = match certificate {
        "stranger.pem" => "stranger.key",
        _ => "server.key",
    };
    let key = PrivateKeyDer::from_pem_file(certificates().join(key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Some(Arc::new(config))
}

/// Starts the sink towards a terminator in front of its server; `None` where it knows no TLS.
fn start(peer: &dyn Peer, certificate: &str) -> Option<(Terminator, SinkHandle)> {
    start_trusting(peer, certificate, certificates().join("ca.pem"))
}

fn start_trusting(peer: &dyn Peer, certificate: &str, authority: PathBuf) -> Option<(Terminator, SinkHandle)> {
    let door = terminator(peer.backend()?, certificate);
    let tls = TlsOptions { ca: Some(PemSource::File(authority)), ..TlsOptions::new("X") };
    let way = Way { tls: Some(tls), ..Way::to(door.address()) };
    let sink = peer.spawn_on(&way, UndeliveredPolicy::default())?;
    Some((door, sink))
}

#[test]
fn through_a_wrong_certificate_passes_no_record_and_through_the_right_one_all_that_were_held() {
    every_peer(|name, peer| {
        let mut twice = 0;
        for (round, certificate) in ["expired.pem", "wrong-name.pem", "stranger.pem", IN_THE_CLEAR].iter().enumerate() {
            let (what, numbers) = (format!("{name} {certificate}"), round * 100..(round + 1) * 100);
            let Some((door, sink)) = start(&*peer, certificate) else { return };
            offer(&*peer, &sink, numbers.clone());
            let counts = watch(&what, &sink, |counts| counts.failed_attempts() >= 2);
            let got = peer.got();
            let passed = numbers.clone().any(|n| got.contains(&id(n)));
            assert_eq!((counts.ledger.delivered, passed), (0, false), "{what}");
            door.present("server.pem");
            let counts = watch(&what, &sink, |counts| counts.ledger.delivered == 100);
            finish(&what, sink, Duration::from_secs(5));
            twice += in_flight(&counts);
            assert_arrived(&what, &*peer, 0..numbers.end, twice);
        }
    });
}

#[test]
fn a_shutdown_before_a_wrong_certificate_is_put_right_ends_in_time() {
    every_peer(|what, peer| {
        let Some((_door, sink)) = start(&*peer, "expired.pem") else { return };
        offer(&*peer, &sink, 0..100);
        watch(what, &sink, |counts| counts.failed_attempts() >= 1);
        let counts = finish(what, sink, Duration::from_millis(100));
        assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (0, 100), "{what}");
    });
}

/// As Kubernetes does it: the file is a link into `..data`, and that becomes a link to another directory.
#[test]
fn an_authority_that_is_rotated_reaches_every_running_sink_and_no_record_is_lost() {
    every_peer(|name, peer| {
        let scratch = Scratch::new("rotation");
        let publish = |version: &str, authority: &str| {
            fs::create_dir(scratch.path(version)).unwrap();
            fs::copy(certificates().join(authority), scratch.path(version).join("ca.pem")).unwrap();
            symlink(version, scratch.path("new")).unwrap();
            fs::rename(scratch.path("new"), scratch.path("..data")).unwrap();
        };
        publish("v1", "stranger.pem");
        symlink("..data/ca.pem", scratch.path("ca.pem")).unwrap();
        let Some((_door, sink)) = start_trusting(&*peer, "server.pem", scratch.path("ca.pem")) else { return };
        offer(&*peer, &sink, 0..100);
        let counts = watch(name, &sink, |counts| counts.failed_attempts() >= 2);
        assert_eq!((counts.ledger.delivered, peer.got().len()), (0, 0), "{name}: by the authority of before");
        publish("v2", "ca.pem");
        let counts = watch(name, &sink, |counts| counts.ledger.delivered == 100);
        finish(name, sink, Duration::from_secs(5));
        assert_arrived(name, &*peer, 0..100, in_flight(&counts));
    });
}
