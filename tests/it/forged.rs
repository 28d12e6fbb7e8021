//! Bodies that look like traffic: captures and dumps that are uploaded, downloaded and echoed, with frames of HTTP/2 and heads of
//! HTTP/1 in them. Whatever segment is lost, and wherever a capture begins: nothing in a body becomes a record.

use std::time::Duration;

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::record::Exchange;
use podtap::redact::Redactor;
use podtap::synth::http2::{self as h2, HpackEncoder, PREFACE, kind};
use podtap::synth::{Conversation, SynthFrame};

use super::metamorphic::dissect_with;

/// A status that only bodies have.
const FORGED: &str = "299";

fn request(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop")];
    HpackEncoder::default().headers(stream, &fields, true)
}

fn response(stream: u32, status: &str) -> Vec<u8> {
    let head = HpackEncoder::default().headers(stream, &[(":status", status), ("x-pad", "0123456789")], false);
    [head, h2::data(stream, b"{}", true)].concat()
}

fn window() -> Vec<u8> {
    h2::frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])
}

/// A body, and the ends of the frames in it.
type Body = (&'static str, Vec<Vec<u8>>);

/// What bodies hold: frames of a client, of a server, both as they lie in a file of packets, and text.
fn bodies() -> Vec<Body> {
    let streams = |from: u32| (0..60).map(move |n| from + 2 * n);
    let asks = |from| streams(from).map(|s| [request(s, "/forged"), window()].concat()).collect::<Vec<_>>();
    let answers = |from| streams(from).map(|s| response(s, FORGED)).collect::<Vec<_>>();
    let packet = |frames: Vec<u8>| [&[0x5a; 70][..], &frames].concat();
    let capture = |from| {
        let both = asks(from).into_iter().zip(answers(from));
        both.flat_map(|(asked, answered)| [packet(asked), packet(answered)]).collect::<Vec<_>>()
    };
    let begun = |from| [vec![[PREFACE, &h2::settings()].concat()], asks(from)].concat();
    let heads = (0..60).map(|n| {
        let ask = format!("GET /forged/{n} HTTP/1.1\r\nHost: shop\r\n\r\n");
        let answer = format!("HTTP/1.1 {FORGED} Forged\r\nContent-Length: 0\r\n\r\n");
        if n % 2 == 0 { ask.into_bytes() } else { answer.into_bytes() }
    });
    vec![
        ("the next requests", asks(3)),
        ("other requests", asks(101)),
        ("the next answers", answers(1)),
        ("other answers", answers(101)),
        ("a capture of the next streams", capture(1)),
        ("a capture of other streams", capture(101)),
        ("a connection from its preface on", begun(1)),
        ("heads of HTTP/1", heads.collect()),
    ]
}

/// How a body goes over the connection.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    Http1,
    Http2,
}

#[derive(Clone, Copy, Debug)]
struct Scene {
    carrier: Carrier,
    up: bool,
    down: bool,
    /// Longest DATA frame; `None`: one for each piece of the body.
    data: Option<usize>,
    segment: usize,
}

impl Scene {
    fn frames(self, body: &[Vec<u8>]) -> Vec<SynthFrame> {
        let conversation = Conversation::default().segments_of(self.segment).handshake();
        let conversation = match self.carrier {
            Carrier::Http1 => self.by_http1(conversation, body),
            Carrier::Http2 => self.by_http2(conversation, body),
        };
        conversation.close().frames()
    }

    fn by_http1(self, mut conversation: Conversation, body: &[Vec<u8>]) -> Conversation {
        let body = body.concat();
        let of = |is: bool| if is { body.as_slice() } else { b"" };
        for n in 0..2 {
            let (asked, answered) = (of(self.up), of(self.down));
            let head = format!("PUT /true{n} HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n", asked.len());
            let answer = format!("HTTP/1.1 20{n} OK\r\nContent-Length: {}\r\n\r\n", answered.len());
            conversation = conversation
                .client([head.as_bytes(), asked].concat())
                .server([answer.as_bytes(), answered].concat())
                .after(Duration::from_millis(1));
        }
        self.more_of_http1(conversation)
    }

    fn more_of_http1(self, mut conversation: Conversation) -> Conversation {
        for n in 2..5 {
            let answer = format!("HTTP/1.1 20{n} OK\r\nContent-Length: 0\r\n\r\n");
            conversation = conversation.client(format!("GET /true{n} HTTP/1.1\r\nHost: shop\r\n\r\n")).server(answer);
        }
        conversation
    }

    fn in_data(self, stream: u32, body: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let whole = body.concat();
        match self.data {
            Some(longest) => whole.chunks(longest).map(|piece| h2::data(stream, piece, false)).collect(),
            None => body.chunks(3).map(|pieces| h2::data(stream, &pieces.concat(), false)).collect(),
        }
    }

    /// Two streams are asked for while the body goes over the first one.
    fn by_http2(self, conversation: Conversation, body: &[Vec<u8>]) -> Conversation {
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/true0"), (":authority", "shop")];
        let head = HpackEncoder::default().headers(1, &fields, false);
        let mut conversation = conversation
            .client([PREFACE, &h2::settings()].concat())
            .server(h2::settings())
            .client([head, request(3, "/true1")].concat());
        if self.down {
            conversation = conversation.server(HpackEncoder::default().headers(1, &[(":status", "200")], false));
        }
        let pieces = self.in_data(1, body);
        let half = pieces.len() / 2;
        for (n, piece) in pieces.into_iter().enumerate() {
            conversation = if self.up { conversation.client(&piece) } else { conversation };
            conversation = if self.down { conversation.server(&piece) } else { conversation };
            if n == half {
                conversation = conversation.client(request(5, "/true2")).server(response(3, "201"));
            }
        }
        conversation = conversation.client(h2::data(1, b"", true));
        let last = if self.down { h2::data(1, b"", true) } else { response(1, "200") };
        conversation = conversation.server([last, response(5, "202")].concat());
        for n in 3..8 {
            let stream = 1 + 2 * n;
            let (path, status) = (format!("/true{n}"), format!("20{n}"));
            conversation = conversation.client(request(stream, &path)).server(response(stream, &status));
        }
        conversation
    }
}

fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for (up, down) in [(true, false), (false, true), (true, true)] {
        scenes.push(Scene { carrier: Carrier::Http1, up, down, data: None, segment: 700 });
        for (data, segment) in [(None, 700), (Some(3000), 700), (Some(3000), 1448), (Some(16_384), 1448)] {
            scenes.push(Scene { carrier: Carrier::Http2, up, down, data, segment });
        }
    }
    scenes
}

/// What of these records is not so.
fn lies(records: &[Exchange]) -> Vec<String> {
    let lie = |record: &Exchange| {
        let target = record.request.as_ref().map_or("", |request| request.target.as_str());
        let status = record.response.as_ref().and_then(|response| response.status);
        let number = target.strip_prefix("/true").and_then(|number| number.parse::<u16>().ok());
        let known = target.is_empty() || number.is_some();
        let pair = status.is_none_or(|status| number.map_or(status < 299, |number| status == 200 + number));
        (!known || !pair).then(|| format!("{target} {status:?}"))
    };
    records.iter().filter_map(lie).collect()
}

fn dissect<'a>(frames: impl Iterator<Item = &'a SynthFrame>) -> Vec<Exchange> {
    dissect_with(Dissector::new(DissectorConfig::default(), Redactor::off()), frames)
}

/// All frames but these, from one on.
fn without(frames: &[SynthFrame], from: usize, lost: [usize; 2]) -> impl Iterator<Item = &SynthFrame> {
    frames.iter().enumerate().skip(from).filter(move |(n, _)| !lost.contains(n)).map(|(_, frame)| frame)
}

#[test]
fn nothing_in_a_body_becomes_a_record_whatever_is_lost() {
    let (mut runs, mut all, mut told) = (0, Vec::new(), 0);
    for scene in scenes() {
        for (what, body) in bodies() {
            // Heads of HTTP/1 in bodies of HTTP/1 are for the tests of its pairing.
            if matches!(scene.carrier, Carrier::Http1) && what.starts_with("heads") {
                continue;
            }
            let frames = scene.frames(&body);
            assert_eq!(lies(&dissect(frames.iter())), [] as [&str; 0], "{scene:?}");
            let never = usize::MAX;
            let single = (0..frames.len()).map(|at| (0, [at, never]));
            let late = (3..frames.len()).map(|at| (at, [never; 2]));
            let double =
                [1, 2, 3, 5, 8].into_iter().flat_map(|apart| (0..frames.len()).map(move |at| (0, [at, at + apart])));
            let late_and_lossy = (3..frames.len()).map(|at| (at, [at + 4, never]));
            for (from, lost) in single.chain(late).chain(double).chain(late_and_lossy) {
                let records = dissect(without(&frames, from, lost));
                runs += 1;
                told += records.iter().filter(|record| record.request.is_some()).count();
                let lies = lies(&records);
                if !lies.is_empty() {
                    all.push(format!("{what}, {scene:?}, from {from} without {lost:?}: {lies:?}"));
                }
            }
        }
    }
    println!("{runs} runs, {told} requests told");
    assert!(all.is_empty(), "{} of {runs} lie\n{}", all.len(), all[..all.len().min(60)].join("\n"));
}

#[test]
fn the_scenes_are_read_whole() {
    for scene in scenes() {
        for (what, body) in bodies() {
            let records = dissect(scene.frames(&body).iter());
            let expected = if matches!(scene.carrier, Carrier::Http1) { 5 } else { 8 };
            assert_eq!(records.len(), expected, "{what} {scene:?}");
        }
    }
}
