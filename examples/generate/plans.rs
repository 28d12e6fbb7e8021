//! What each capture consists of. A plan is a number of lanes, each a lazy sequence of frames in order of time. A lane
//! plays one connection, or many one after the other.

use std::time::Duration;

use podtap::flow::{Endpoint, Timestamp};
use podtap::synth::message::{chunk, request};
use podtap::synth::{AckPolicy, Conversation, Rng, SynthFrame, SynthSide};

use crate::heads::{any_request, any_response, download_head, filler, upload_head};
use crate::http2::{continuations, full_tables, multiplexed, open_streams, rapid_reset, table_bombs};

type Lane = Box<dyn Iterator<Item = SynthFrame>>;

/// One kind of capture.
pub(crate) struct Plan {
    pub name: &'static str,
    pub about: &'static str,
    /// What `size` counts.
    pub unit: &'static str,
    pub size: u32,
    /// The lanes of a capture of this size and seed.
    pub lanes: fn(u32, u64) -> Vec<Lane>,
}

pub(crate) const PLANS: [Plan; 14] = [
    Plan {
        name: "demo",
        about: "the three seconds of `podtap demo`, whatever the size",
        unit: "mixes",
        size: 1,
        lanes: |_, _| vec![Box::new(podtap::demo::rendered(NOON).into_iter())],
    },
    Plan {
        name: "small",
        about: "400,000 exchanges of 1 KB on 128 keep-alive connections, 2 packets each",
        unit: "exchanges",
        size: 400_000,
        lanes: |size, seed| spread(size, 128, seed, keep_alive),
    },
    Plan {
        name: "churn",
        about: "61,000 connections of one exchange, 10 packets each",
        unit: "exchanges",
        size: 61_000,
        lanes: |size, seed| spread(size, 100, seed, one_by_one),
    },
    Plan {
        name: "big",
        about: "100 bodies of 10 MB, on 8 connections, segments of 1448 bytes and of 64 KB",
        unit: "exchanges",
        size: 100,
        lanes: |size, seed| spread(size, 8, seed, large_bodies),
    },
    Plan {
        name: "syn-flood",
        about: "1,000,000 SYN from as many addresses, never answered",
        unit: "syns",
        size: 1_000_000,
        lanes: |size, seed| spread(size, 1, seed, syn_flood),
    },
    Plan {
        name: "half-requests",
        about: "200,000 connections that send half a request head and nothing more",
        unit: "connections",
        size: 200_000,
        lanes: |size, seed| spread(size, 1, seed, half_requests),
    },
    Plan {
        name: "endless-heads",
        about: "1,000 connections at once that send 256 KB of header lines each, and never an empty one",
        unit: "connections",
        size: 1_000,
        lanes: |size, seed| spread(size, size, seed, endless_head),
    },
    Plan {
        name: "idle-10k",
        about: "10,000 connections that stay open after one exchange each",
        unit: "exchanges",
        size: 10_000,
        lanes: |size, seed| spread(size, 1, seed, stay_open),
    },
    Plan {
        name: "h2",
        about: "400,000 exchanges of 1 KB over HTTP/2, 32 connections, ten streams at once, as h2load asks",
        unit: "exchanges",
        size: 400_000,
        lanes: |size, seed| spread(size, 32, seed, multiplexed),
    },
    Plan {
        name: "h2-idle-10k",
        about: "10,000 connections of HTTP/2 that stay open with full header tables",
        unit: "connections",
        size: 10_000,
        lanes: |size, seed| spread(size, 1, seed, full_tables),
    },
    Plan {
        name: "h2-resets",
        about: "400,000 streams that their client resets at once, on 8 connections",
        unit: "exchanges",
        size: 400_000,
        lanes: |size, seed| spread(size, 8, seed, rapid_reset),
    },
    Plan {
        name: "h2-endless",
        about: "1,000 connections at once with a header block of 256 KB that never ends",
        unit: "connections",
        size: 1_000,
        lanes: |size, seed| spread(size, size, seed, continuations),
    },
    Plan {
        name: "h2-bombs",
        about: "40,000 blocks of 1,000 references to an entry of 4 KB, on 8 connections",
        unit: "exchanges",
        size: 40_000,
        lanes: |size, seed| spread(size, 8, seed, table_bombs),
    },
    Plan {
        name: "h2-open",
        about: "400,000 streams of 40 connections, never answered",
        unit: "exchanges",
        size: 400_000,
        lanes: |size, seed| spread(size, 40, seed, open_streams),
    },
];

/// What one lane is given.
pub(crate) struct Task {
    pub lane: u32,
    /// How many of the plan's units it plays.
    pub units: u32,
    pub rng: Rng,
}

/// `size` units over at most `lanes` lanes.
fn spread<I>(size: u32, lanes: u32, seed: u64, play: fn(Task) -> I) -> Vec<Lane>
where
    I: Iterator<Item = SynthFrame> + 'static,
{
    let lanes = lanes.clamp(1, size.max(1));
    let task = |lane| {
        let units = size / lanes + u32::from(lane < size % lanes);
        let rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(lane)));
        Box::new(play(Task { lane, units, rng })) as Lane
    };
    (0..lanes).map(task).collect()
}

/// Its own connection for each `number` of each `lane`: clients in 10.0.0.0/8, with 50,000 ports each.
pub(crate) fn connection(lane: u32, number: u32, start: Timestamp) -> Conversation {
    let [_, a, b, c] = (((lane + 1) << 8) + number / 50_000).to_be_bytes();
    let port = 10_000 + (number % 50_000) as u16;
    let server = Endpoint::new([192, 168, 0, 10 + (lane % 4) as u8], 8080);
    Conversation::new(Endpoint::new([10, a, b, c], port), server).at(start)
}

const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

/// All lanes start within 10 ms of noon.
pub(crate) fn start(rng: &mut Rng) -> Timestamp {
    NOON.plus(rng.below(10_000_000))
}

pub(crate) fn micros(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_micros(rng.between(low, high))
}

/// Frames of a sequence of steps on one conversation, drained after each.
pub(crate) fn steps(
    mut conversation: Conversation,
    mut step: impl FnMut(Conversation) -> Option<Conversation> + 'static,
) -> impl Iterator<Item = SynthFrame> {
    std::iter::from_fn(move || {
        conversation = step(std::mem::take(&mut conversation))?;
        Some(conversation.drain())
    })
    .flatten()
}

fn exchange(conversation: Conversation, rng: &mut Rng) -> Conversation {
    conversation.client(any_request(rng)).after(micros(rng, 300, 8_000)).server(any_response(rng, 1024))
}

fn keep_alive(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = connection(lane, 0, start(&mut rng)).acks(AckPolicy::Piggyback);
    let mut done = 0;
    steps(conversation, move |conversation| {
        done += 1;
        Some(match done {
            1 => exchange(conversation.handshake(), &mut rng).after(micros(&mut rng, 200, 9_000)),
            n if n <= units => exchange(conversation, &mut rng).after(micros(&mut rng, 200, 9_000)),
            n if n == units + 1 => conversation.close(),
            _ => return None,
        })
    })
}

fn one_by_one(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let mut now = start(&mut rng);
    (0..units).flat_map(move |number| {
        let conversation = connection(lane, number, now).acks(AckPolicy::Every).handshake();
        let conversation = exchange(conversation, &mut rng).after(micros(&mut rng, 20, 500)).close();
        now = conversation.now().plus(rng.below(5_000_000));
        conversation.frames()
    })
}

const BODY: usize = 10_000_000;
/// A body is rendered in parts, so that no lane holds all of one.
const PART: usize = 250_000;

/// Downloads of known length and chunked ones, and uploads; segmented by the card or by the kernel.
fn large_bodies(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let segment = if lane % 2 == 0 { 1448 } else { 45 * 1448 };
    let conversation = connection(lane, 0, start(&mut rng)).segments_of(segment).handshake();
    let part = filler(&mut rng, PART);
    let parts = (BODY / PART) as u32;
    let mut step = 0;
    steps(conversation, move |conversation| {
        let (body, position) = (step / parts, step % parts);
        step += 1;
        if body == units {
            return (position == 0).then(|| conversation.close());
        }
        // Lanes 2 apart segment alike and differ in kind.
        let kind = (lane / 2 + body) % 4;
        let conversation = if position == 0 { begin(conversation, kind, &mut rng) } else { conversation };
        let (side, bytes) = match kind {
            0 => (SynthSide::Client, part.clone()),
            1 => (SynthSide::Server, chunk(&part)),
            _ => (SynthSide::Server, part.clone()),
        };
        let conversation = conversation.send(side, bytes).after(micros(&mut rng, 4_000, 12_000));
        Some(if position + 1 == parts { end(conversation, kind) } else { conversation })
    })
}

fn begin(conversation: Conversation, kind: u32, rng: &mut Rng) -> Conversation {
    let target = format!("/backups/{}.tar.zst", rng.below(100_000));
    let get = request("GET", &target, &[("Host", "backup.internal"), ("Accept", "*/*")], b"");
    match kind {
        // The acknowledgement opens the window; a SYN's is small.
        0 => conversation.client(upload_head(&target, BODY)).server_ack(),
        1 => conversation.client(get).server(download_head(None)),
        _ => conversation.client(get).server(download_head(Some(BODY))),
    }
}

fn end(conversation: Conversation, kind: u32) -> Conversation {
    match kind {
        0 => conversation.server("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
        1 => conversation.server(chunk(b"")),
        _ => conversation,
    }
}

fn syn_flood(Task { units, mut rng, .. }: Task) -> impl Iterator<Item = SynthFrame> {
    let start = start(&mut rng);
    (0..units).flat_map(move |number| {
        let [a, b, c, d] = (rng.number() as u32).to_be_bytes();
        let client = Endpoint::new([a, b, c, d], rng.between(1024, 65_535) as u16);
        let at = start.plus(u64::from(number) * 10_000);
        Conversation::new(client, Endpoint::new([192, 168, 0, 10], 8080)).at(at).syn().frames()
    })
}

fn half_requests(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let mut now = start(&mut rng);
    (0..units).flat_map(move |number| {
        let mut half = any_request(&mut rng);
        half.truncate(half.len() / 2);
        let conversation = connection(lane, number, now).acks(AckPolicy::Every).rtt(Duration::from_micros(2));
        let conversation = conversation.handshake().client(half);
        now = conversation.now().plus(40_000);
        conversation.frames()
    })
}

fn endless_head(Task { lane, mut rng, .. }: Task) -> impl Iterator<Item = SynthFrame> {
    let conversation = connection(lane, 0, start(&mut rng)).handshake().client("GET / HTTP/1.1\r\nHost: shop\r\n");
    let mut left = 256;
    steps(conversation, move |conversation| {
        left -= 1;
        let lines: Vec<u8> = (0..16)
            .flat_map(|_| format!("X-{:015x}: {}\r\n", rng.number() >> 4, "y".repeat(43)).into_bytes())
            .collect();
        (left >= 0).then(|| conversation.client(lines).after(micros(&mut rng, 1_000, 20_000)))
    })
}

/// One lane in which connections begin 1 ms after each other, each with its exchange inside that time.
fn stay_open(Task { lane, units, mut rng }: Task) -> impl Iterator<Item = SynthFrame> {
    let start = start(&mut rng);
    (0..units).flat_map(move |number| {
        let at = start.plus(u64::from(number) * 1_000_000);
        let conversation = connection(lane, number, at).acks(AckPolicy::Piggyback).handshake();
        conversation.client(any_request(&mut rng)).server(any_response(&mut rng, 1024)).frames()
    })
}
