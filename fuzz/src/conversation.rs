//! One connection with valid headers and any payload, cut, lost, repeated and reordered at will: for the depths of
//! `http`, which random frames hardly reach.

use std::time::Duration;

use podtap::packet::TcpFlags;
use podtap::synth::{Conversation, LinkHeaders, SynthFrame, SynthSide};

use super::choices::Choices;
use super::watch;
use super::words::WORDS;

/// Frames after which the rest of the input is left: enough for 256 pending requests, and soon done.
const MAX_FRAMES: usize = 1200;

/// Configuration and beginning, then steps until the bytes are over.
pub fn run(bytes: &[u8]) {
    watch::whole(bytes, play);
}

fn play(choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    let mut conversation = Conversation::default().link(LinkHeaders::Raw);
    let mut frames = Vec::new();
    if choices.byte() & 1 == 0 {
        conversation = conversation.handshake();
    }
    while !choices.is_empty() && frames.len() < MAX_FRAMES {
        let step = choices.byte();
        let side = if step & 0x80 == 0 { SynthSide::Client } else { SynthSide::Server };
        conversation = match step & 0x0f {
            0..=4 => conversation.segments_of(1448).send(side, payload(choices)),
            5 => conversation.segments_of(1 + choices.below(40)).send(side, payload(choices)),
            6 => conversation.send_at(side, u32::from(choices.word()) % 4096, payload(choices)),
            7 => conversation.lose(side, u32::from(choices.word()) % 2000),
            8 => conversation.after(Duration::from_nanos(choices.nanos())),
            9 => conversation.flags(side, TcpFlags::ACK),
            10 => conversation.flags(side, choices.byte()),
            _ => {
                frames.extend(conversation.drain());
                spoil(&mut frames, step & 0x0f, choices);
                conversation
            }
        };
        frames.extend(conversation.drain());
    }
    frames.extend(conversation.frames());
    in_order_of_time(frames)
}

/// Words until number 0; numbers that are no word are as many literal bytes.
fn payload(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let number = usize::from(choices.byte());
        match WORDS.get(number) {
            Some([]) => return bytes,
            Some(word) => bytes.extend_from_slice(word),
            None => bytes.extend_from_slice(choices.take(number - WORDS.len() + 1)),
        }
    }
}

/// Does something to one of the newest frames.
fn spoil(frames: &mut Vec<SynthFrame>, how: u8, choices: &mut Choices<'_>) {
    let Some(at) = frames.len().checked_sub(1 + choices.below(8)) else { return };
    match how {
        11 => drop(frames.remove(at)),
        12 => frames.push(frames[at].clone()),
        13 => frames[at].bytes.truncate(40 + choices.below(256)),
        _ => {
            let last = frames.len() - 1;
            frames.swap(at, last);
        }
    }
}

/// A frame that comes late carries the time at which it comes.
fn in_order_of_time(mut frames: Vec<SynthFrame>) -> Vec<SynthFrame> {
    let mut times: Vec<_> = frames.iter().map(|frame| frame.at).collect();
    times.sort_unstable();
    frames.iter_mut().zip(times).for_each(|(frame, at)| frame.at = at);
    frames
}

/// Steps of an input, for seeds.
pub struct Script(Vec<u8>);

impl Script {
    /// With this configuration byte and a handshake.
    pub fn new(config: u8) -> Self {
        Self(vec![config, 0])
    }

    /// `side` sends the words, each given as one of [`WORDS`] or, if it is none, byte by byte.
    #[must_use]
    pub fn send(mut self, side: SynthSide, words: &[&[u8]]) -> Self {
        self.0.push(if side == SynthSide::Client { 0 } else { 0x80 });
        for word in words {
            match WORDS.iter().position(|w| w == word) {
                Some(number) => self.0.push(number as u8),
                None => {
                    for part in word.chunks(256 - WORDS.len()) {
                        self.0.push((WORDS.len() + part.len() - 1) as u8);
                        self.0.extend(part);
                    }
                }
            }
        }
        self.0.push(0);
        self
    }

    /// A step as it is.
    #[must_use]
    pub fn raw(mut self, step: &[u8]) -> Self {
        self.0.extend(step);
        self
    }

    /// The input.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}
