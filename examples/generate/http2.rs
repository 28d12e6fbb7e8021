//! Connections of HTTP/2: many streams at once, full tables, and floods.

use std::time::Duration;

use podtap::synth::http2::{self, HpackEncoder, PREFACE, kind};
use podtap::synth::{AckPolicy, Conversation, Rng, SynthFrame};

use crate::heads::{any_request, any_response, as_http2};
use crate::plans::{Task, connection, micros, start, steps};

/// Streams of one connection at once, as `h2load -m 10` has them.
const AT_ONCE: u32 = 10;

/// Both encoders of a connection, and the next stream.
struct Peers {
    client: HpackEncoder,
    server: HpackEncoder,
    stream: u32,
}

impl Peers {
    fn new() -> Self {
        Self { client: HpackEncoder::default(), server: HpackEncoder::default(), stream: 1 }
    }

    /// A request on the next stream.
    fn ask(&mut self, rng: &mut Rng) -> (u32, Vec<u8>) {
        let stream = self.stream;
        self.stream += 2;
        (stream, message(&mut self.client, stream, &any_request(rng)))
    }

    fn answer(&mut self, stream: u32, rng: &mut Rng) -> Vec<u8> {
        message(&mut self.server, stream, &any_response(rng, 1024))
    }
}

fn message(encoder: &mut HpackEncoder, stream: u32, message: &[u8]) -> Vec<u8> {
    let (fields, body) = as_http2(message);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut out = encoder.headers(stream, &fields, body.is_empty());
    if !body.is_empty() {
        out.extend(http2::data(stream, body, true));
    }
    out
}

fn open(conversation: Conversation) -> Conversation {
    conversation.handshake().client([PREFACE, &http2::settings()].concat()).server(http2::settings())
}

/// h2load's shape: ten requests at once, all ten answers, and again.
pub(crate) fn multiplexed(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = open(connection(lane, 0, start(&mut rng)).acks(AckPolicy::Piggyback));
    let (mut peers, mut left) = (Peers::new(), Some(units));
    steps(conversation, move |conversation| {
        let now = left?.min(AT_ONCE);
        left = if now == 0 { None } else { left.map(|left| left - now) };
        if now == 0 {
            return Some(conversation.close());
        }
        let asked: Vec<_> = (0..now).map(|_| peers.ask(&mut rng)).collect();
        let requests: Vec<u8> = asked.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let answers: Vec<u8> = asked.iter().flat_map(|(stream, _)| peers.answer(*stream, &mut rng)).collect();
        let conversation = conversation.client(requests).after(micros(&mut rng, 300, 8_000)).server(answers);
        Some(conversation.after(micros(&mut rng, 200, 9_000)))
    })
}

/// Connections that stay open after 60 exchanges each, which fill both tables.
pub(crate) fn full_tables(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let start = start(&mut rng);
    (0..units).flat_map(move |number| {
        let at = start.plus(u64::from(number) * 1_000_000);
        let mut conversation =
            open(connection(lane, number, at).acks(AckPolicy::Piggyback).rtt(Duration::from_micros(2)));
        let mut peers = Peers::new();
        for stream in (0..60).map(|n| 2 * n + 1) {
            let id = format!("{:016x}{:016x}", rng.number(), rng.number());
            let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x-request-id", id.as_str())];
            let answer = [(":status", "204"), ("x-answer-id", id.as_str())];
            conversation = conversation.client(peers.client.headers(stream, &fields, true));
            conversation = conversation.server(peers.server.headers(stream, &answer, true));
        }
        conversation.frames()
    })
}

/// The client opens a stream and resets it, again and again (CVE-2023-44487).
pub(crate) fn rapid_reset(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = open(connection(lane, 0, start(&mut rng)));
    let (mut peers, mut left) = (Peers::new(), units);
    steps(conversation, move |conversation| {
        let mut bytes = Vec::new();
        for _ in 0..left.min(50) {
            let (stream, request) = peers.ask(&mut rng);
            bytes.extend(request);
            bytes.extend(http2::reset(stream, 8));
        }
        left = left.checked_sub(50).or((left > 0).then_some(0))?;
        Some(conversation.client(bytes).after(micros(&mut rng, 100, 200)))
    })
}

/// Header blocks that never end (CVE-2024-27316): 256 frames of 1 KB each.
pub(crate) fn continuations(Task { lane, mut rng, .. }: Task) -> impl Iterator<Item = SynthFrame> {
    let mut conversation = open(connection(lane, 0, start(&mut rng)));
    let mut peers = Peers::new();
    let mut left = 256;
    steps(std::mem::take(&mut conversation), move |conversation| {
        let id = format!("{:x}", rng.number());
        let name = format!("x-{id}");
        let block = peers.client.block(&[(name.as_str(), "y".repeat(1000).as_str())]);
        left -= 1;
        let frame = match left {
            255 => http2::frame(kind::HEADERS, 0, 1, &block),
            0.. => http2::frame(kind::CONTINUATION, 0, 1, &block),
            _ => return None,
        };
        Some(conversation.client(frame).after(micros(&mut rng, 1_000, 20_000)))
    })
}

/// Blocks of a thousand bytes that each refer to an entry of 4 KB.
pub(crate) fn table_bombs(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = open(connection(lane, 0, start(&mut rng)));
    let (mut encoder, mut stream) = (HpackEncoder::default(), 1);
    let entry = encoder.block(&[("x", "y".repeat(4000).as_str())]);
    let end = stream + 2 * units;
    steps(conversation, move |conversation| {
        let block = if stream == 1 { entry.clone() } else { vec![0x80 | 62; 1000] };
        let frame = http2::frame(kind::HEADERS, http2::END_HEADERS | http2::END_STREAM, stream, &block);
        stream += 2;
        (stream <= end).then(|| conversation.client(frame).after(micros(&mut rng, 100, 200)))
    })
}

/// This many streams of one connection, opened and never answered.
pub(crate) fn open_streams(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = open(connection(lane, 0, start(&mut rng)));
    let (mut peers, mut left) = (Peers::new(), units);
    steps(conversation, move |conversation| {
        let bytes: Vec<u8> = (0..left.min(20)).flat_map(|_| peers.ask(&mut rng).1).collect();
        left = left.checked_sub(20).or((left > 0).then_some(0))?;
        Some(conversation.client(bytes).after(micros(&mut rng, 100, 200)))
    })
}
