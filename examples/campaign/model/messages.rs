//! Requests and responses that name themselves, and bytes that look like them.
//!
//! Knows nothing of time and segments.

use podtap::synth::Rng;
use podtap::synth::message::{chunk, chunked_response, request, response, response_head};

use super::script::{Answer, Ask};

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST with a length.
    Sized,
    /// PUT in chunks.
    Chunked,
}

/// What a response is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    /// 200 and so on with a length.
    Sized,
    /// In chunks.
    Chunked,
    /// 204.
    NoContent,
    /// 304, some with a length.
    NotModified,
    /// 404 or 500.
    Failure,
}

const HOST: (&str, &str) = ("Host", "shop");

/// The status of ordinary responses to request `number`.
pub fn status(number: u32) -> u16 {
    210 + (number % 80) as u16
}

/// A request with this number, its client's name `agent` bytes long; `body` bytes where it has one.
pub fn ask(kind: Asks, number: u32, body: &[u8], agent: u64, rng: &mut Rng) -> Ask {
    let target = format!("/r/{number}");
    let agent = "a".repeat(agent as usize);
    let fields = [HOST, ("User-Agent", agent.as_str())];
    let bytes = match kind {
        Asks::Get => request("GET", &target, &fields, b""),
        Asks::Head => request("HEAD", &target, &fields, b""),
        Asks::Sized => request("POST", &target, &fields, body),
        Asks::Chunked => {
            let fields = [HOST, ("Transfer-Encoding", "chunked")];
            let mut bytes = request("PUT", &target, &fields, b"");
            bytes.extend(in_chunks(body, rng));
            bytes
        }
    };
    let head = head_len(&bytes);
    Ask { parts: vec![(bytes, 0)], head, ..Ask::default() }
}

/// The response to it.
pub fn answer(kind: Answers, asked: Asks, number: u32, body: &[u8], rng: &mut Rng) -> Answer {
    let line = |code: u16| format!("{code} R{number}");
    let bytes = match kind {
        _ if asked == Asks::Head => {
            let length = rng.below(5000).to_string();
            match rng.below(3) {
                0 => response_head(&line(status(number)), &[("Transfer-Encoding", "chunked")]),
                _ => response_head(&line(status(number)), &[("Content-Length", &length)]),
            }
        }
        Answers::Sized => response(&line(status(number)), &[("Server", "s")], body),
        Answers::Failure => response(&line(if rng.chance(0.5) { 404 } else { 500 }), &[], body),
        Answers::NoContent => response_head(&line(204), &[]),
        Answers::NotModified => {
            let length = rng.below(5000).to_string();
            let fields = [("Content-Length", length.as_str())];
            response_head(&line(304), if rng.chance(0.5) { &fields } else { &[] })
        }
        Answers::Chunked => {
            let mut bytes = response_head(&line(status(number)), &[("Transfer-Encoding", "chunked")]);
            bytes.extend(in_chunks(body, rng));
            bytes
        }
    };
    let head = head_len(&bytes);
    Answer { parts: vec![(bytes, 0)], head, ..Answer::default() }
}

/// `body` in some chunks.
pub fn in_chunks(body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let size = rng.between(1, 2000) as usize;
    let mut bytes: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
    bytes.extend(chunk(b""));
    bytes
}

/// Length of the head in front.
pub fn head_len(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

/// A body of `len` letters.
pub fn filler(len: usize) -> Vec<u8> {
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n".iter().copied().cycle().take(len).collect()
}

/// A body that looks like responses with numbers around `number`. Each is padded to `step` bytes where it is not 0, so
/// that they may begin where segments do.
pub fn like_responses(number: u32, count: u32, step: usize, rng: &mut Rng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..count {
        let number = near(number, rng);
        let line = format!("{} F{number}", status(number));
        let one = match rng.below(4) {
            0 => response_head("204 F0", &[]),
            1 => chunked_response(&line, &[], &[b"x"]),
            2 => response_head(&line, &[("Content-Length", "700")]),
            _ => response(&line, &[], b"ok"),
        };
        body.extend(padded(one, step));
    }
    body
}

/// The same with requests.
pub fn like_requests(number: u32, count: u32, step: usize, rng: &mut Rng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..count {
        let target = format!("/f/{}", near(number, rng));
        let one = match rng.below(3) {
            0 => request("HEAD", &target, &[HOST], b""),
            1 => request("POST", &target, &[HOST], b"x=1"),
            _ => request("GET", &target, &[HOST], b""),
        };
        body.extend(padded(one, step));
    }
    body
}

fn near(number: u32, rng: &mut Rng) -> u32 {
    (number + rng.below(4) as u32).saturating_sub(1)
}

fn padded(mut message: Vec<u8>, step: usize) -> Vec<u8> {
    if let Some(missing) = step.checked_sub(message.len()) {
        message.extend(filler(missing));
    }
    message
}
