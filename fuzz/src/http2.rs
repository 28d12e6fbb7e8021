//! One connection of HTTP/2 whose frames have valid headers and any payload: for the depths of `http2`, `hpack` and
//! `websocket`, which random bytes hardly reach. Segments are cut and lost at will.

use std::time::Duration;

use podtap::synth::{Conversation, LinkHeaders, SynthFrame, SynthSide};

use super::choices::Choices;
use super::watch;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Steps after which the rest of the input is left.
const MAX_STEPS: usize = 600;

/// Configuration and beginning, then frames until the bytes are over.
pub fn run(bytes: &[u8]) {
    watch::whole(bytes, play);
}

fn play(choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    steps(choices, |conversation, side, kind, choices| match kind {
        0..=9 => conversation.segments_of(1448).send(side, frame(kind, choices)),
        10 => conversation.segments_of(1 + choices.below(30)).send(side, frame(choices.byte() % 11, choices)),
        11 => conversation.lose(side, 1 + u32::from(choices.word()) % 300),
        12 => conversation.after(Duration::from_nanos(choices.nanos())),
        13 => {
            let len = 1 + choices.below(40);
            conversation.send(side, choices.take(len))
        }
        _ => {
            let two = [frame(choices.byte() % 11, choices), frame(choices.byte() % 11, choices)].concat();
            conversation.send(side, two)
        }
    })
}

/// A connection with or without its handshake and the preface, then one `step` after the other: of whom, and of which kind
/// (below 16).
pub(super) fn steps(
    choices: &mut Choices<'_>,
    mut step: impl FnMut(Conversation, SynthSide, u8, &mut Choices<'_>) -> Conversation,
) -> Vec<SynthFrame> {
    let mut conversation = Conversation::default().link(LinkHeaders::Raw);
    let beginning = choices.byte();
    if beginning & 1 == 0 {
        conversation = conversation.handshake();
    }
    if beginning & 2 == 0 {
        conversation = conversation.client(PREFACE);
    }
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        let first = choices.byte();
        let side = if first & 0x80 == 0 { SynthSide::Client } else { SynthSide::Server };
        conversation = step(conversation, side, first & 0x0f, choices);
    }
    conversation.frames()
}

/// Flags, stream and a payload whose length is right, but where the input says otherwise.
fn frame(kind: u8, choices: &mut Choices<'_>) -> Vec<u8> {
    let (flags, stream, len) = (choices.byte(), choices.byte(), choices.byte());
    let payload = choices.take(usize::from(len & 0x7f));
    let lie = if len & 0x80 == 0 { 0 } else { u32::from(choices.byte()) };
    let length = (payload.len() as u32 + lie).to_be_bytes();
    [&length[1..], &[kind, flags], &u32::from(stream).to_be_bytes(), payload].concat()
}

/// A step of an input, for seeds: `side` sends a frame.
pub fn step(side: SynthSide, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let first = if side == SynthSide::Client { kind } else { 0x80 | kind };
    [&[first, flags, stream, payload.len() as u8], payload].concat()
}
