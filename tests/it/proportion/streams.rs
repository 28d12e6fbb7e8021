//! HTTP/2 as attackers send it: resets, header blocks without end, tables that swell, streams by the thousand.

use podtap::synth::http2::{self, HpackEncoder, PREFACE, frame, kind};
use podtap::synth::{Conversation, LinkHeaders, SynthSide};

use super::Case;
use super::conversations::run;

type Play = fn(&mut Vec<(SynthSide, Vec<u8>)>, usize);

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

fn requests(out: &mut Vec<(SynthSide, Vec<u8>)>, count: usize, each: impl Fn(u32) -> Vec<u8>) {
    let mut encoder = HpackEncoder::default();
    for stream in (0..count as u32).map(|n| 2 * n + 1) {
        out.push((SynthSide::Client, [encoder.headers(stream, &GET, true), each(stream)].concat()));
    }
}

/// A name, and what is sent behind the preface.
const PLAYS: &[(&str, Play)] = &[
    ("rapid reset", |out, size| requests(out, 400 * size, |stream| http2::reset(stream, 8))),
    ("streams never answered", |out, size| requests(out, 900 * size, |_| Vec::new())),
    ("streams answered backwards", |out, size| {
        requests(out, 250 * size, |_| Vec::new());
        let mut encoder = HpackEncoder::default();
        for stream in (0..250 * size as u32).rev().map(|n| 2 * n + 1) {
            out.push((SynthSide::Server, encoder.headers(stream, &[(":status", "200")], true)));
        }
    }),
    ("answers to no request", |out, size| {
        let mut encoder = HpackEncoder::default();
        for stream in (0..400 * size as u32).map(|n| 2 * n + 1) {
            out.push((SynthSide::Server, encoder.headers(stream, &[(":status", "200")], true)));
        }
    }),
    ("a header block without end", |out, size| {
        out.push((SynthSide::Client, frame(kind::HEADERS, 0, 1, &[0x82])));
        (0..600 * size).for_each(|_| out.push((SynthSide::Client, frame(kind::CONTINUATION, 0, 1, &[0x84; 40]))));
    }),
    ("references to a long entry", |out, size| {
        let entry = HpackEncoder::default().block(&[("x", &"y".repeat(4000))]);
        out.push((SynthSide::Client, frame(kind::HEADERS, http2::END_HEADERS, 1, &entry)));
        for stream in (1..20 * size as u32).map(|n| 2 * n + 1) {
            out.push((SynthSide::Client, frame(kind::HEADERS, http2::END_HEADERS, stream, &[0x80 | 62; 600])));
        }
    }),
    ("insertions of empty entries", |out, size| {
        for stream in (0..60 * size as u32).map(|n| 2 * n + 1) {
            out.push((SynthSide::Client, frame(kind::HEADERS, http2::END_HEADERS, stream, &[0x40, 0, 0].repeat(100))));
        }
    }),
    ("sizes of the table", |out, size| {
        for stream in (0..60 * size as u32).map(|n| 2 * n + 1) {
            let block = [0x20, 0x3f, 0xe1, 0x1f].repeat(80);
            out.push((SynthSide::Client, frame(kind::HEADERS, http2::END_HEADERS, stream, &block)));
        }
    }),
    ("empty frames", |out, size| {
        (0..30 * size).for_each(|_| out.push((SynthSide::Client, frame(kind::DATA, 0, 1, b"").repeat(100))));
    }),
    ("SETTINGS and PING", |out, size| {
        let pair = [http2::settings(), frame(6, 0, 0, &[0; 8])].concat();
        (0..30 * size).for_each(|_| out.push((SynthSide::Server, pair.repeat(40))));
    }),
    ("messages of one byte", |out, size| {
        let call = [&GET[..], &[("content-type", "application/grpc")]].concat();
        out.push((SynthSide::Client, HpackEncoder::default().headers(1, &call, false)));
        let body = http2::grpc_message(b"x").repeat(200);
        (0..20 * size).for_each(|_| out.push((SynthSide::Client, http2::data(1, &body, false))));
    }),
    ("what is no frame, in small segments", |out, size| {
        out.push((SynthSide::Client, vec![0xff; 20]));
        (0..1500 * size).for_each(|n| out.push((SynthSide::Client, (n as u64).to_be_bytes().to_vec())));
    }),
    ("headers of frames, again and again", |out, size| {
        out.push((SynthSide::Client, vec![0xff; 20]));
        (0..40 * size).for_each(|_| out.push((SynthSide::Client, [0, 0, 4, 8, 0, 0, 0, 0, 0].repeat(20))));
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, play) in PLAYS {
        for late in [false, true] {
            let name = format!("h2, {name}{}", if late { ", joined late" } else { "" });
            cases.push(Case::new(name, move |size| {
                let frames = frames(*play, size, late);
                move || run(&frames)
            }));
        }
    }
    cases
}

fn frames(play: Play, size: usize, late: bool) -> super::conversations::Frames {
    let mut sent = Vec::new();
    play(&mut sent, size);
    let mut conversation = Conversation::default().link(LinkHeaders::Raw);
    if !late {
        conversation =
            conversation.handshake().client([PREFACE, &http2::settings()].concat()).server(http2::settings());
    }
    let frames =
        sent.into_iter().fold(conversation, |conversation, (side, bytes)| conversation.send(side, bytes)).frames();
    frames.into_iter().map(|frame| (frame.at, frame.bytes)).collect()
}
