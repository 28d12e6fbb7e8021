//! Conversations of HTTP/2 and gRPC worth a golden record.

use podtap::synth::http2::{self, HpackEncoder, PREFACE, kind};
use podtap::synth::{Conversation, SynthFrame, SynthSide};

use super::scenarios::{Scenario, millis};

pub(crate) const STREAMS: &[Scenario] = &[
    ("h2_prior_knowledge", prior_knowledge),
    ("h2_resets_and_goaway", resets_and_goaway),
    ("h2_joined_late", joined_late),
    ("h2_gap", gap),
    ("grpc_calls", calls),
    ("grpc_web", web),
];

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/cart?id=7"), (":authority", "shop.local")];
const OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/plain")];
const CALL: [(&str, &str); 7] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.Cart/Get"),
    (":authority", "shop.local:50051"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "250m"),
];
const CALLED: [(&str, &str); 3] = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")];

fn open() -> Conversation {
    let conversation = Conversation::default().handshake();
    conversation.client([PREFACE, &http2::settings()].concat()).server(http2::settings())
}

fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

/// Two streams at once, the second answered first; trailers; a body on the way there.
fn prior_knowledge() -> Vec<SynthFrame> {
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/orders"),
        (":authority", "shop.local"),
        ("x-kept", "kept"),
    ];
    open()
        .client(asks.headers(1, &GET, true))
        .client([asks.headers(3, &post, false), http2::data(3, b"two teapots", true)].concat())
        .after(millis(4))
        .server(
            [answers.headers(3, &[(":status", "100")], false), answers.headers(3, &[(":status", "201")], true)]
                .concat(),
        )
        .after(millis(3))
        .server([answers.headers(1, &OK, false), http2::data(1, b"hello", false)].concat())
        .server(answers.headers(1, &[("x-checksum", "ok")], true))
        .close()
        .frames()
}

/// One reset by its client, one by the server, one above a GOAWAY, one cut by the connection's end.
fn resets_and_goaway() -> Vec<SynthFrame> {
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let ask = |asks: &mut HpackEncoder, stream| asks.headers(stream, &GET, true);
    open()
        .client([1, 3, 5, 7].map(|stream| ask(&mut asks, stream)).concat())
        .after(millis(5))
        .client(http2::reset(1, 8))
        .server(http2::reset(3, 7))
        .server([answers.headers(5, &OK, false), http2::data(5, b"half", false)].concat())
        .server(http2::frame(kind::GOAWAY, 0, 0, &[&5u32.to_be_bytes()[..], &[0; 4]].concat()))
        .after(millis(2))
        .server_fin()
        .client_fin()
        .frames()
}

/// What the table held before is unknown, and so is each name and value that refers to it. What is sent as it is is known.
fn joined_late() -> Vec<SynthFrame> {
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let path =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.local"), ("x-kept", "kept")];
    let begun = open().client(asks.headers(1, &path, true)).server(answers.headers(1, &OK, true));
    let before = begun.clone().frames().len();
    let mut conversation = begun;
    for stream in [3, 5, 7, 9] {
        let kept = format!("kept-{stream}");
        let mut fields = with(&path[..4], &[("x-kept", if stream < 7 { "kept" } else { kept.as_str() })]);
        if stream > 3 {
            // Inserted at stream 5, referred to afterwards.
            fields.push(("user-agent", "late/1.0"));
        }
        conversation = conversation.client(asks.headers(stream, &fields, true)).after(millis(1));
        conversation = conversation.server(answers.headers(stream, &OK, true)).after(millis(1));
    }
    conversation.close().frames().split_off(before)
}

/// Bytes of a body, then a header block of the server are lost.
fn gap() -> Vec<SynthFrame> {
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let body = http2::data(1, &[b'x'; 500], true);
    let first = answers.headers(1, &OK, false);
    let lost = answers.headers(3, &with(&OK, &[("server", "demo")]), true);
    open()
        .client(asks.headers(1, &GET, true))
        .server([first, body[..200].to_vec()].concat())
        .lose(SynthSide::Server, 100)
        .server(&body[300..])
        .client(asks.headers(3, &GET, true))
        .lose(SynthSide::Server, lost.len() as u32)
        .client(asks.headers(5, &GET, true))
        .server(answers.headers(5, &with(&OK, &[("server", "demo")]), true))
        .client(asks.headers(7, &GET, true))
        .server(answers.headers(7, &[(":status", "404")], true))
        .after(millis(100))
        .close()
        .frames()
}

/// One that succeeds, one that streams, one that fails at once, one whose server gives up, one whose client does.
fn calls() -> Vec<SynthFrame> {
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let message = |stream, bytes: &[u8], ends| http2::data(stream, &http2::grpc_message(bytes), ends);
    let mut call = |stream| [asks.headers(stream, &CALL, false), message(stream, b"id 7", true)].concat();
    let refused = [("grpc-status", "14"), ("grpc-message", "caf%C3%A9 is closed%0Atry again")];
    open()
        .client(call(1))
        .after(millis(2))
        .server([answers.headers(1, &CALLED, false), message(1, b"two teapots", false)].concat())
        .server(answers.headers(1, &[("grpc-status", "0")], true))
        .client([call(3), call(5), call(7), call(9)].concat())
        .server([answers.headers(3, &CALLED, false), message(3, b"one", false)].concat())
        .server(answers.headers(5, &with(&CALLED[..2], &refused), true))
        .after(millis(10))
        .server([message(3, b"two", false), message(3, b"three", false)].concat())
        .server(answers.headers(3, &[("grpc-status", "0"), ("grpc-message", "")], true))
        .after(millis(240))
        .server(answers.headers(9, &with(&CALLED[..2], &[("grpc-status", "4"), ("grpc-message", "too slow")]), true))
        .client(http2::reset(7, 8))
        .after(millis(2000))
        .close()
        .frames()
}

/// gRPC-Web in HTTP/1.1: the trailers are the last frame of the body; or headers, where there is no message.
fn web() -> Vec<SynthFrame> {
    use podtap::synth::message::{request, response};
    let (kind, trailers) =
        (("Content-Type", "application/grpc-web+proto"), b"grpc-status:5\r\ngrpc-message:no%20cart\r\n");
    let host = ("Host", "shop.local:8080");
    let asked = request("POST", "/shop.Cart/Get", &[host, kind], &http2::grpc_message(b"id 7"));
    let last = [&[0x80, 0, 0, 0, trailers.len() as u8][..], trailers].concat();
    let answer = response("200 OK", &[kind], &[http2::grpc_message(b"two teapots"), last].concat());
    let refused = response("200 OK", &[kind, ("grpc-status", "16"), ("grpc-message", "who%3F")], b"");
    Conversation::default()
        .handshake()
        .client(&asked)
        .after(millis(2))
        .server(answer)
        .client(&asked)
        .server(refused)
        .close()
        .frames()
}
