//! Messages whose two readings differ in length: the ends of the connection agree on one, anyone who listens cannot know which.
//!
//! Bytes that only the other reading takes for messages call themselves forged.

use podtap::synth::Rng;

use super::messages::{self, in_chunks};
use super::script::{Answer, Ask};

/// How long a body is, by one reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Length,
    Chunked,
    Nothing,
}

type Doubt = (&'static str, Reading, Reading);

/// Header lines that may be read in two ways, and both readings. `@` is the line's length, `#` that of the second
/// reading.
const DOUBTS: &[Doubt] = &[
    ("Content-Length: @\r\nTransfer-Encoding: chunked\r\n", Reading::Length, Reading::Chunked),
    ("Transfer-Encoding: chunked\r\nContent-Length: #\r\n", Reading::Chunked, Reading::Length),
    ("Content-Length: #\r\nContent-Length: @\r\n", Reading::Length, Reading::Length),
    ("Content-Length: @\r\nContent-Length: #\r\n", Reading::Length, Reading::Length),
    ("Content-Length: @, #\r\n", Reading::Length, Reading::Length),
    ("Transfer-Encoding : chunked\r\nContent-Length: @\r\n", Reading::Length, Reading::Chunked),
    ("Transfer-Encoding : chunked\r\nContent-Length: #\r\n", Reading::Chunked, Reading::Length),
    ("Content-Length: @\r\nTransfer-Encoding:\u{b}chunked\r\n", Reading::Length, Reading::Chunked),
    ("Content-Length: @\r\nTransfer-Encoding: xchunked\r\n", Reading::Length, Reading::Chunked),
    ("Content-Length: #\r\nTransfer-Encoding: identity, chunked\r\n", Reading::Chunked, Reading::Length),
    ("X: a\rContent-Length: @\r\n", Reading::Length, Reading::Nothing),
    ("X: a\rContent-Length: #\r\n", Reading::Nothing, Reading::Length),
    ("X: a\nContent-Length: @\n", Reading::Length, Reading::Nothing),
    ("Content-Length: #\r\nX: a\rTransfer-Encoding: chunked\r\n", Reading::Chunked, Reading::Length),
    ("Content-Length: @\r\nX: a\rTransfer-Encoding: chunked\r\n", Reading::Length, Reading::Chunked),
    ("Content-Length: +@\r\n", Reading::Length, Reading::Nothing),
    ("Content-Length: +#\r\n", Reading::Nothing, Reading::Length),
    ("Content-Length : @\r\n", Reading::Length, Reading::Nothing),
    ("Content-Length:\r\n @\r\n", Reading::Length, Reading::Nothing),
    (" Content-Length: #\r\n", Reading::Nothing, Reading::Length),
];

/// A request that its server reads in the first way.
pub fn ask(number: u32, rng: &mut Rng) -> Ask {
    let like = messages::like_requests(number, rng.between(1, 3) as u32, 0, rng);
    let old = rng.chance(0.1);
    let version = if old { "1.0\r\nConnection: keep-alive" } else { "1.1" };
    let start = format!("POST /r/{number} HTTP/{version}\r\nHost: shop\r\n");
    let (bytes, head) = message(&start, &like, old, true, rng);
    Ask { parts: vec![(bytes, 0)], head, ..Ask::default() }
}

/// A response that its client reads in the first way.
pub fn answer(number: u32, rng: &mut Rng) -> Answer {
    let like = messages::like_responses(number, rng.between(1, 3) as u32, 0, rng);
    let old = rng.chance(0.1);
    let version = if old { "1.0" } else { "1.1" };
    let start = format!("HTTP/{version} {} R{number}\r\nServer: s\r\n", messages::status(number));
    let (bytes, head) = message(&start, &like, old, false, rng);
    Answer { parts: vec![(bytes, 0)], head, ..Answer::default() }
}

/// The message and the length of its head.
fn message(start: &str, like: &[u8], old: bool, asks: bool, rng: &mut Rng) -> (Vec<u8>, usize) {
    // Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1): some honour it.
    let in_old = [
        ("Content-Length: #\r\nTransfer-Encoding: chunked\r\n", Reading::Chunked, Reading::Length),
        ("Content-Length: @\r\nTransfer-Encoding: chunked\r\n", Reading::Length, Reading::Chunked),
    ];
    // A response without a length would end with the connection: not this one.
    let fits = |doubt: &&Doubt| asks || doubt.1 != Reading::Nothing;
    let doubts: Vec<_> = if old { &in_old[..] } else { DOUBTS }.iter().filter(fits).collect();
    let Some((lines, truth, other)) = rng.pick(&doubts).copied().copied() else { return (Vec::new(), 0) };
    let (body, shorter) = body(truth, other, like, rng);
    // Either the other reading ends earlier, where what looks like a message begins, or it takes what follows, too.
    let other_len =
        if truth == Reading::Nothing || rng.chance(0.4) { body.len() + rng.between(1, 400) as usize } else { shorter };
    let lines = lines.replace('@', &body.len().to_string()).replace('#', &other_len.to_string());
    let mut bytes = format!("{start}{lines}\r\n").into_bytes();
    let head = bytes.len();
    bytes.extend(body);
    (bytes, head)
}

/// What the ends take as the body, and where in it what looks like messages begins.
fn body(truth: Reading, other: Reading, like: &[u8], rng: &mut Rng) -> (Vec<u8>, usize) {
    let filler = messages::filler(rng.below(60) as usize);
    match (truth, other) {
        (Reading::Nothing, _) => (Vec::new(), 0),
        (Reading::Length, Reading::Chunked) => {
            let mut body = in_chunks(&filler, rng);
            let begins = body.len();
            body.extend(like);
            (body, begins)
        }
        (Reading::Length, _) => {
            ([&filler[..], like].concat(), if other == Reading::Nothing { 0 } else { filler.len() })
        }
        (Reading::Chunked, _) => {
            let size = format!("{:x}\r\n", filler.len() + like.len());
            let begins = size.len() + filler.len();
            ([size.as_bytes(), &filler, like, b"\r\n0\r\n\r\n"].concat(), begins)
        }
    }
}
