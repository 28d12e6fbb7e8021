//! One connection whose ends send any bytes, behind HTTP/2's preface or joined late: for the frame reader, and for the search
//! of a frame's beginning.

use podtap::synth::{Conversation, Link, Side, SynthFrame};

use super::choices::Choices;
use super::watch;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Steps after which the rest of the input is left.
const MAX_STEPS: usize = 600;

/// Configuration and beginning, then for each segment: who sends or loses it, its length, its bytes.
pub fn run(bytes: &[u8]) {
    watch::whole(bytes, play);
}

fn play(choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    let mut conversation = Conversation::default().link(Link::Raw);
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
        let step = choices.byte();
        let side = if step & 0x80 == 0 { Side::Client } else { Side::Server };
        let len = 1 + choices.below(200);
        conversation = match step & 0x0f {
            0 => conversation.lose(side, len as u32),
            _ => conversation.send(side, choices.take(len)),
        };
    }
    conversation.frames()
}

/// A step of an input, for seeds: `side` sends `bytes`, at most 200.
pub fn step(side: Side, bytes: &[u8]) -> Vec<u8> {
    let first = if side == Side::Client { 0x01 } else { 0x81 };
    bytes.chunks(200).flat_map(|bytes| [&[first, bytes.len() as u8 - 1], bytes].concat()).collect()
}
