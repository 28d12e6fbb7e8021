//! A WebSocket behind its upgrade: frames with any header, cut, glued and lost, of both ends.

use podtap::synth::{Conversation, LinkHeaders, SynthFrame, SynthSide};

use super::choices::Choices;
use super::watch;

const ASKED: &[u8] = b"GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Steps after which the rest of the input is left.
const MAX_STEPS: usize = 600;

/// A configuration, then for each step: who, what, and its bytes.
pub fn run(bytes: &[u8]) {
    watch::whole(bytes, play);
}

fn play(choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    let mut conversation = Conversation::default().link(LinkHeaders::Raw).handshake().client(ASKED).server(ANSWERED);
    for _ in 0..MAX_STEPS {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte();
        let side = if step & 0x80 == 0 { SynthSide::Client } else { SynthSide::Server };
        conversation = match step & 0x07 {
            0..=3 => conversation.segments_of(1448).send(side, frame(choices)),
            4 => conversation.segments_of(1 + choices.below(10)).send(side, frame(choices)),
            5 => conversation.lose(side, 1 + u32::from(choices.byte())),
            6 => {
                let len = 1 + choices.below(40);
                conversation.send(side, choices.take(len))
            }
            _ if choices.byte() == 0 => conversation.close(),
            _ => conversation.send(side, [frame(choices), frame(choices)].concat()),
        };
    }
    conversation.frames()
}

/// First byte, length with its mark of a mask, and so much of a payload, whose length is a lie where the input says so.
fn frame(choices: &mut Choices<'_>) -> Vec<u8> {
    let (first, second) = (choices.byte(), choices.byte());
    let payload = choices.take(usize::from(second & 0x3f));
    let length = match second & 0x40 {
        0 => vec![second & 0x80 | payload.len() as u8],
        _ => [&[second & 0x80 | 126][..], &choices.word().to_be_bytes()].concat(),
    };
    let mask: &[u8] = if second & 0x80 == 0 { &[] } else { &[1, 2, 3, 4] };
    [&[first], &length[..], mask, payload].concat()
}

/// A step of an input, for seeds: `side` sends a frame.
pub fn step(side: SynthSide, first: u8, payload: &[u8]) -> Vec<u8> {
    let (who, mask) = if side == SynthSide::Client { (0x00, 0x80) } else { (0x80, 0x00) };
    [&[who, first, mask | payload.len() as u8], payload].concat()
}
