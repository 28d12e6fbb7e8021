//! Against a server that does what real ones cannot be made to do.

mod slow;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use ring::digest::{SHA512, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::connect::tests::dead;
use super::super::connect::{ConnectTimeouts, HostPort};
use super::super::{BlockPiece, RecordBlock};
use super::msgpack::{MsgpackValue, read_value};
use super::*;
use crate::flow::Timestamp;

/// For what is expected to come, and for what is expected not to.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(60);
/// For both, one after the other: on a busy machine what comes takes its time.
const BOTH: Duration = Duration::from_secs(2);
const KEY: &str = "canary-key";
const PASSWORD: &str = "canary-password";

fn batch(ids: &[&str]) -> Batch {
    bodies(ids, b"\x80")
}

fn bodies(ids: &[&str], body: &[u8]) -> Batch {
    let mut batch = Batch::default();
    ids.iter().for_each(|id| batch.push(piece(id, body)));
    batch
}

fn piece(id: &str, body: &[u8]) -> BlockPiece {
    let mut block = RecordBlock::default();
    block.push(crate::record::Dataset::Http, |out| {
        out.extend_from_slice(body);
        (id.into(), Timestamp(1))
    });
    BlockPiece::whole(Arc::new(block))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn sink_to(addresses: &[SocketAddr], options: FluentdOptions) -> FluentdSink {
    let hosts = addresses.iter().map(|a| HostPort { host: a.ip().to_string(), port: a.port() }).collect();
    FluentdSink::new(Connector::new(hosts, None, ConnectTimeouts::default()), options)
}

fn sink(server: &TcpListener, timeout: Duration) -> FluentdSink {
    sink_to(&[server.local_addr().unwrap()], FluentdOptions { timeout, ..FluentdOptions::default() })
}

fn with_key(server: &TcpListener, timeout: Duration) -> FluentdSink {
    let credentials =
        ForwardCredentials { shared_key: KEY.to_owned(), username: "me".to_owned(), password: PASSWORD.to_owned() };
    let options = FluentdOptions { timeout, credentials: Some(credentials), ..FluentdOptions::default() };
    sink_to(&[server.local_addr().unwrap()], options)
}

/// One connection at the server's side.
struct Peer {
    stream: TcpStream,
    arrived: Vec<u8>,
}

async fn accept(server: &TcpListener) -> Peer {
    Peer { stream: server.accept().await.unwrap().0, arrived: Vec::new() }
}

impl Peer {
    async fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The client's next message; its bytes, or nothing at the end of the connection.
    async fn hears(&mut self) -> Vec<u8> {
        loop {
            let mut rest = self.arrived.as_slice();
            if read_value(&mut rest).is_ok() {
                let length = self.arrived.len() - rest.len();
                return self.arrived.drain(..length).collect();
            }
            if self.stream.read_buf(&mut self.arrived).await.unwrap_or(0) == 0 {
                return Vec::new();
            }
        }
    }

    /// The name of the next chunk.
    async fn hears_chunk(&mut self) -> String {
        let message = self.hears().await;
        let Ok(MsgpackValue::Array(items)) = read_value(&mut message.as_slice()) else { panic!("no chunk") };
        match items.last().and_then(|options| options.field("chunk")) {
            Some(MsgpackValue::Bytes(chunk)) => String::from_utf8(chunk.to_vec()).unwrap(),
            _ => String::new(),
        }
    }

    async fn acks(&mut self, chunk: &str) {
        self.says(&[b"\x81\xa3ack\xd9", &[chunk.len() as u8][..], chunk.as_bytes()].concat()).await;
    }

    async fn hears_and_acks(&mut self) -> String {
        let chunk = self.hears_chunk().await;
        self.acks(&chunk).await;
        chunk
    }

    /// A right handshake, seen from the server; `helo` as it is on the wire, its nonce being `nonce`.
    async fn shakes_hands(&mut self, helo: &[u8], nonce: &[u8]) {
        self.says(helo).await;
        let ping = self.hears().await;
        let Ok(MsgpackValue::Array(items)) = read_value(&mut ping.as_slice()) else { panic!("no PING") };
        let field = |i: usize| match items[i] {
            MsgpackValue::Bytes(bytes) => bytes,
            MsgpackValue::Bool(_) | MsgpackValue::Array(_) | MsgpackValue::Map(_) | MsgpackValue::Other => {
                panic!("no PING")
            }
        };
        let digest = |parts: &[&[u8]]| protocol::hex(digest(&SHA512, &parts.concat()).as_ref());
        assert_eq!(field(3), digest(&[field(2), field(1), nonce, KEY.as_bytes()]).as_bytes());
        let proof = digest(&[field(2), b"srv", nonce, KEY.as_bytes()]);
        self.says(&[b"\x95\xa4PONG\xc3\xa0\xa3srv\xd9\x80", proof.as_bytes()].concat()).await;
    }
}

const HELO: &[u8] = b"\x92\xa4HELO\x83\xa5nonce\xc4\x02\xff\0\xa4auth\xa0\xa9keepalive\xc3";

/// Delivers against a server's script.
async fn deliver<T>(
    sink: &mut FluentdSink,
    batch: &Batch,
    script: impl Future<Output = T>,
) -> (Result<Delivery, SinkError>, T) {
    tokio::join!(sink.deliver(batch), script)
}

/// Delivers, expects that to fail in a way worth repeating, and that no secret shows.
async fn fails<T>(sink: &mut FluentdSink, batch: &Batch, script: impl Future<Output = T>) -> (String, T) {
    let (result, told) = deliver(sink, batch, script).await;
    let Err(SinkError::Transient(error)) = result else { panic!("{result:?}") };
    let why = error.to_string();
    assert!(!why.contains(KEY) && !why.contains(PASSWORD), "{why}");
    assert!(!format!("{sink:?}").contains("canary"));
    (why, told)
}

#[tokio::test]
async fn an_acknowledged_batch_is_delivered_and_the_next_goes_over_the_same_connection() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let (one, two) = (batch(&["1", "2"]), batch(&["3"]));
    let script = async {
        let mut peer = accept(&server).await;
        let chunk = peer.hears_and_acks().await;
        (peer, chunk)
    };
    let (result, (mut peer, chunk)) = deliver(&mut sink, &one, script).await;
    assert_eq!(result, Ok(Delivery::default()));
    assert_eq!(chunk, one.id());
    let (result, chunk) = deliver(&mut sink, &two, peer.hears_and_acks()).await;
    assert_eq!(result, Ok(Delivery::default()));
    assert_eq!(chunk, two.id());
}

#[tokio::test]
async fn after_a_wrong_or_missing_acknowledgement_the_same_chunk_goes_over_a_new_connection() {
    let server = listener().await;
    let batch = batch(&["1"]);
    for (answer, patience, words) in [
        (&b"\x81\xa3ack\xa5other"[..], LONG, "acknowledged another chunk: other"),
        (b"", BOTH, "no acknowledgement within 2s"),
        (b"\x81\xa3ac", BOTH, "no acknowledgement within 2s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LONG, "another kind of server"),
        (b"\x81\xa3ack\x01", LONG, "another kind of server"),
        (b"\x95\xa4PONG\xc3\xa0\xa0\xa0", LONG, "something else"),
        (&[0xa0; 3], LONG, "another kind of server"),
    ] {
        let mut sink = sink(&server, patience);
        let script = async {
            let mut peer = accept(&server).await;
            let chunk = peer.hears_chunk().await;
            peer.says(answer).await;
            (peer, chunk)
        };
        let (why, (mut peer, first)) = fails(&mut sink, &batch, script).await;
        let address = server.local_addr().unwrap().to_string();
        assert!(why.contains(words) && why.contains(&address), "{why}");
        if patience == LONG {
            assert!(peer.hears().await.is_empty(), "closed at once");
        }
        let again = async { accept(&server).await.hears_and_acks().await };
        let (result, second) = deliver(&mut sink, &batch, again).await;
        assert_eq!((result, second), (Ok(Delivery::default()), first));
        assert!(peer.hears().await.is_empty(), "closed, since another connection acknowledged the chunk");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_at_its_limit() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        peer.says(b"\x81\xa3ack\xdb\xff\xff\xff\xff").await;
        while peer.stream.write_all(&[b'x'; 1024]).await.is_ok() {}
    };
    let (why, ()) = fails(&mut sink, &batch(&["1"]), script).await;
    assert!(why.contains("longer than any"), "{why}");
}

#[tokio::test]
async fn a_connection_that_ends_at_any_point_costs_one_attempt() {
    let server = listener().await;
    let large = bodies(&["1"], &[b"\xdf\0\0\0\0".as_slice(), &[0; 16 << 20]].concat());
    let mut sink = sink(&server, LONG);
    let (why, ()) = fails(&mut sink, &large, async { drop(accept(&server).await) }).await;
    assert!(why.contains("127.0.0.1:"), "{why}");
    let half = async {
        let mut peer = accept(&server).await;
        peer.stream.read_exact(&mut [0; 1000]).await.unwrap();
    };
    fails(&mut sink, &large, half).await;
    let small = batch(&["2"]);
    let unacknowledged = async {
        let mut peer = accept(&server).await;
        peer.hears_chunk().await
    };
    let (why, _) = fails(&mut sink, &small, unacknowledged).await;
    assert!(why.contains("closed the connection, acknowledgement was expected"), "{why}");
}

#[tokio::test]
async fn a_server_that_went_away_between_two_batches_costs_not_even_an_attempt() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let once = || async { accept(&server).await.hears_and_acks().await };
    for id in ["1", "2", "3"] {
        let (result, _) = deliver(&mut sink, &batch(&[id]), once()).await;
        assert_eq!(result, Ok(Delivery::default()));
    }
}

#[tokio::test]
async fn more_than_an_acknowledgement_is_one_and_the_end_of_the_connection() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        let chunk = peer.hears_chunk().await;
        let ack = [b"\x81\xa3ack\xbc", chunk.as_bytes()].concat();
        peer.says(&[ack.clone(), ack].concat()).await;
        peer.hears().await
    };
    let (result, rest) = deliver(&mut sink, &batch(&["1"]), script).await;
    assert_eq!(result, Ok(Delivery::default()));
    assert!(rest.is_empty(), "closed");
}

#[tokio::test]
async fn a_server_that_accepts_and_hangs_is_given_up_and_one_that_is_slow_is_not() {
    let socket = TcpSocket::new_v4().unwrap();
    // So that the server's kernel does not take what the server does not.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = socket.listen(8).unwrap();
    let body = [b"\xdf\0\0\0\0".as_slice(), &[0; 24 << 20]].concat();
    let large = bodies(&["1"], &body);
    let mut hanging = sink(&server, SHORT);
    let (result, _peer) = deliver(&mut hanging, &large, accept(&server)).await;
    let Err(SinkError::Transient(error)) = result else { panic!("{result:?}") };
    let why = error.to_string();
    assert!(why.contains("no progress in sending within 60ms"), "{why}");

    // Patience for a machine that is busy with other things: our kernel has room again only when the server has read
    // megabytes.
    let patience = Duration::from_secs(6);
    let mut slow = sink(&server, patience);
    let script = async {
        let mut peer = accept(&server).await;
        let mut room = vec![0; 256 << 10];
        // Longer in all than the patience for one step.
        for _ in 0..60 {
            tokio::time::sleep(patience / 50).await;
            peer.stream.read_exact(&mut room).await.unwrap();
        }
        let mut rest = Vec::new();
        while !rest.ends_with(large.id().as_bytes()) {
            peer.stream.read_buf(&mut rest).await.unwrap();
        }
        peer.acks(&large.id()).await;
    };
    let (result, ()) = deliver(&mut slow, &large, script).await;
    assert_eq!(result, Ok(Delivery::default()));
}

#[tokio::test]
async fn a_refused_connection_says_where_and_the_next_host_takes_over_and_stays() {
    let (dead_at, server) = (dead(1), listener().await);
    let mut alone = sink_to(&[dead_at], FluentdOptions::default());
    let (why, ()) = fails(&mut alone, &batch(&["1"]), async {}).await;
    assert_eq!(why, format!("{dead_at}: connection refused"));

    let mut both = sink_to(&[dead_at, server.local_addr().unwrap()], FluentdOptions::default());
    for id in ["1", "2"] {
        let script = async { accept(&server).await.hears_and_acks().await };
        let (result, _) = deliver(&mut both, &batch(&[id]), script).await;
        assert_eq!(result, Ok(Delivery::default()));
    }
}

#[tokio::test]
async fn a_host_that_accepts_and_does_not_deliver_loses_its_turn() {
    let (bad, good) = (listener().await, listener().await);
    let addresses = [bad.local_addr().unwrap(), good.local_addr().unwrap()];
    let mut sink = sink_to(&addresses, FluentdOptions { timeout: BOTH, ..FluentdOptions::default() });
    let (_, _open) = fails(&mut sink, &batch(&["1"]), accept(&bad)).await;
    let (result, _) = deliver(&mut sink, &batch(&["1"]), async { accept(&good).await.hears_and_acks().await }).await;
    assert_eq!(result, Ok(Delivery::default()));
}

#[tokio::test]
async fn the_handshake_is_made_with_nonces_in_text_and_in_binary() {
    let server = listener().await;
    let as_text = b"\x92\xa4HELO\x82\xa5nonce\xa2\xff\0\xa4auth\xa2\xfe\xfd";
    for helo in [HELO, as_text] {
        let mut sink = with_key(&server, LONG);
        let script = async {
            let mut peer = accept(&server).await;
            peer.shakes_hands(helo, b"\xff\0").await;
            peer.hears_and_acks().await;
            peer.hears_and_acks().await
        };
        let twice = async { (sink.deliver(&batch(&["1"])).await, sink.deliver(&batch(&["2"])).await) };
        let (results, chunk) = tokio::join!(twice, script);
        assert_eq!(results, (Ok(Delivery::default()), Ok(Delivery::default())));
        assert_eq!(chunk, batch(&["2"]).id(), "one handshake for both");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_connection_for_each_chunk_gets_it() {
    let server = listener().await;
    let mut sink = with_key(&server, LONG);
    let helo = b"\x92\xa4HELO\x83\xa5nonce\xc4\x02\xff\0\xa4auth\xa0\xa9keepalive\xc2";
    for id in ["1", "2"] {
        let script = async {
            let mut peer = accept(&server).await;
            peer.shakes_hands(helo, b"\xff\0").await;
            peer.hears_and_acks().await;
            peer.hears().await
        };
        let (result, rest) = deliver(&mut sink, &batch(&[id]), script).await;
        assert_eq!(result, Ok(Delivery::default()));
        assert!(rest.is_empty(), "closed by us");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_says_why_and_costs_no_record_and_shows_no_secret() {
    let server = listener().await;
    let unproven = b"\x95\xa4PONG\xc3\xa0\xa3srv\xa3lie";
    for (helo, pong, patience, words) in [
        (HELO, &b"\x95\xa4PONG\xc2\xb3shared key mismatch\xa0\xa0"[..], LONG, "refused us: shared key mismatch; see"),
        (HELO, b"\x95\xa4PONG\xc2\xa6\x1b[2J!\n\xa0\xa0", LONG, "refused us: \\u{1b}[2J!\\n;"),
        (HELO, unproven, LONG, "without proof"),
        (HELO, b"\x81\xa3ack\xa1x", LONG, "something else where PONG"),
        (HELO, b"\x95\xa4PONG\xc3", BOTH, "no PONG within 2s"),
        (b"\x92\xa4HEL", b"", SHORT, "no HELO (has it no shared key?) within 60ms"),
        (b"", b"", SHORT, "no HELO (has it no shared key?) within 60ms"),
        (b"SSH-2.0-x\r\n", b"", LONG, "another kind of server"),
    ] {
        let mut sink = with_key(&server, patience);
        let script = async {
            let mut peer = accept(&server).await;
            peer.says(helo).await;
            if !pong.is_empty() {
                assert!(!peer.hears().await.is_empty());
            }
            peer.says(pong).await;
            peer.hears().await
        };
        let (why, rest) = fails(&mut sink, &batch(&["1"]), script).await;
        assert!(why.contains(words), "{why}");
        assert!(rest.is_empty(), "no record for a server that is not the right one");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_on_our_key_leaves_a_hint_at_the_key() {
    let server = listener().await;
    let mut sink = with_key(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        peer.says(HELO).await;
        peer.hears().await;
    };
    let (why, ()) = fails(&mut sink, &batch(&["1"]), script).await;
    assert!(why.contains("is FLUENTD_SHARED_KEY the right one?"), "{why}");
}

#[tokio::test]
async fn a_server_that_wants_a_key_we_do_not_have_is_understood_in_every_mode() {
    let server = listener().await;
    let address = server.local_addr().unwrap();
    for ack in [true, false] {
        let mut sink = sink_to(&[address], FluentdOptions { ack, timeout: LONG, ..FluentdOptions::default() });
        let script = async {
            let mut peer = accept(&server).await;
            peer.says(HELO).await;
            peer.hears().await
        };
        let (why, rest) = fails(&mut sink, &batch(&["1"]), script).await;
        assert!(why.ends_with("the server asks for a shared key: set FLUENTD_SHARED_KEY"), "{why}");
        assert_eq!(rest.is_empty(), !ack, "without acknowledgements nothing was sent into the void");
    }
}

#[tokio::test]
async fn without_acknowledgements_written_is_delivered_and_nothing_is_waited_for() {
    let server = listener().await;
    let options = FluentdOptions { ack: false, timeout: LONG, ..FluentdOptions::default() };
    let mut sink = sink_to(&[server.local_addr().unwrap()], options);
    assert_eq!(sink.deliver(&batch(&["1"])).await, Ok(Delivery::default()));
    let mut peer = accept(&server).await;
    assert_eq!(peer.hears_chunk().await, "", "no chunk is named");
    drop(peer);
    // A connection that ended in the meantime is noticed before records are given to it.
    let (result, message) = deliver(&mut sink, &batch(&["2"]), async { accept(&server).await.hears().await }).await;
    assert_eq!(result, Ok(Delivery::default()));
    assert!(!message.is_empty());
}

#[tokio::test]
async fn a_delivery_cut_off_at_any_await_leaves_no_half_message_and_no_old_answer_behind() {
    let server = listener().await;
    let batch = batch(&["1"]);
    let mut sink = with_key(&server, LONG);
    for state in 0..4 {
        let script = async {
            let mut peer = accept(&server).await;
            match state {
                0 => {}
                1 => {
                    peer.says(HELO).await;
                    peer.hears().await;
                }
                2 => peer.shakes_hands(HELO, b"\xff\0").await,
                _ => {
                    peer.shakes_hands(HELO, b"\xff\0").await;
                    peer.hears().await;
                    peer.says(b"\x81\xa3ack").await;
                }
            }
            peer
        };
        let mut peer = tokio::select! {
            result = sink.deliver(&batch) => panic!("state {state}: {result:?}"),
            peer = script => peer,
        };
        while !peer.hears().await.is_empty() {}
        let again = async {
            let mut peer = accept(&server).await;
            peer.shakes_hands(HELO, b"\xff\0").await;
            (peer.hears_and_acks().await, peer)
        };
        let (result, (chunk, peer)) = deliver(&mut sink, &batch, again).await;
        assert_eq!((result, chunk), (Ok(Delivery::default()), batch.id()), "state {state}");
        drop(peer);
    }
}

#[tokio::test]
async fn a_body_that_is_no_map_is_rejected_and_the_others_arrive() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let mut mixed = Batch::default();
    [&b"\x80"[..], b"{}", b"\x80"].into_iter().for_each(|body| mixed.push(piece("id", body)));
    let (result, _) = deliver(&mut sink, &mixed, async { accept(&server).await.hears_and_acks().await }).await;
    assert_eq!(result.unwrap().rejected, [not_a_map(1)]);
}

#[tokio::test]
async fn a_reload_lets_the_next_batch_go_over_a_new_connection() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let first = async {
        let mut peer = accept(&server).await;
        peer.hears_and_acks().await;
        peer
    };
    let (_, mut old) = deliver(&mut sink, &batch(&["1"]), first).await;
    sink.reload();
    let (result, _) = deliver(&mut sink, &batch(&["2"]), async { accept(&server).await.hears_and_acks().await }).await;
    assert_eq!(result, Ok(Delivery::default()));
    assert!(old.hears().await.is_empty());
}

#[tokio::test]
async fn a_check_says_what_each_host_answered() {
    let (server, mute) = (listener().await, listener().await);
    let dead = dead(1);
    let at = |server: &TcpListener| server.local_addr().unwrap();
    let options = FluentdOptions { timeout: BOTH, ..FluentdOptions::default() };
    let mut sink = sink_to(&[at(&server), dead, at(&mute)], options);
    let script = async {
        accept(&server).await.hears_and_acks().await;
        let mut peer = accept(&mute).await;
        while !peer.hears().await.is_empty() {}
    };
    let (checks, ()) = tokio::join!(sink.check(), script);
    let told: Vec<_> = checks.iter().map(ToString::to_string).collect();
    let connected = |to: SocketAddr| format!("{to}: connected to {to}, in the clear; asked for no key");
    assert_eq!(
        told,
        [
            format!("{}; acknowledged an empty chunk", connected(at(&server))),
            format!("{dead}: connection refused"),
            format!("{}; an empty chunk was sent: no acknowledgement within 2s", connected(at(&mute))),
        ]
    );
}

#[tokio::test]
async fn a_check_makes_the_whole_handshake() {
    let server = listener().await;
    let mut sink = with_key(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        peer.shakes_hands(HELO, b"\xff\0").await;
        peer.hears_and_acks().await;
    };
    let (checks, ()) = tokio::join!(sink.check(), script);
    assert_eq!(checks[0].fault, None);
    assert_eq!(checks[0].steps[1..], ["accepted by \"srv\"", "acknowledged an empty chunk"]);
}
