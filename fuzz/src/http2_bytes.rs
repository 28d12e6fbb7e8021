//! One connection whose ends send any bytes, behind HTTP/2's preface or joined late: for the frame reader, and for the search
//! of a frame's beginning.

use podtap::synth::{SynthFrame, SynthSide};

use super::choices::Choices;
use super::http2::steps;
use super::watch;

/// Configuration and beginning, then for each segment: who sends or loses it, its length, its bytes.
pub fn run(bytes: &[u8]) {
    watch::whole(bytes, play);
}

fn play(choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    steps(choices, |conversation, side, kind, choices| {
        let len = 1 + choices.below(200);
        match kind {
            0 => conversation.lose(side, len as u32),
            _ => conversation.send(side, choices.take(len)),
        }
    })
}

/// A step of an input, for seeds: `side` sends `bytes`, at most 200.
pub fn step(side: SynthSide, bytes: &[u8]) -> Vec<u8> {
    let first = if side == SynthSide::Client { 0x01 } else { 0x81 };
    bytes.chunks(200).flat_map(|bytes| [&[first, bytes.len() as u8 - 1], bytes].concat()).collect()
}
