//! Frames that fit together badly: what comes late, twice, in pieces, at impossible times or of too many connections.

use podtap::flow::{Endpoint, Timestamp};
use podtap::packet::TcpFlags;

use super::Case;
use super::conversations::{Frames, run};
use crate::limits::write_frame;

const ACK: u8 = TcpFlags::ACK;
const SYN: u8 = TcpFlags::SYN;

/// Frames, a microsecond apart unless said otherwise.
#[derive(Default)]
struct Made {
    frames: Frames,
    /// Nanoseconds.
    now: u64,
}

impl Made {
    fn raw(&mut self, frame: Vec<u8>) {
        self.now += 1000;
        self.frames.push((Timestamp(1_000_000_000_000_000).plus(self.now), frame));
    }

    fn segment(&mut self, client: usize, to_server: bool, flags: u8, numbers: [u32; 2], payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(&mut frame, end(client), to_server, flags, numbers, payload);
        self.raw(frame);
    }

    fn open(&mut self, client: usize) {
        self.segment(client, true, SYN, [0, 0], b"");
        self.segment(client, false, SYN | ACK, [0, 1], b"");
    }

    /// From the client, at an offset of its stream.
    fn data(&mut self, client: usize, offset: usize, payload: &[u8]) {
        self.segment(client, true, ACK, [1 + offset as u32, 1], payload);
    }

    /// A fragment of eight bytes times `eights`.
    fn fragment(&mut self, datagram: usize, at: usize, eights: usize, more: bool) {
        let payload = vec![0; eights * 8];
        let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let id = (datagram as u16).to_be_bytes();
        let place = (at as u16 | if more { 0x2000 } else { 0 }).to_be_bytes();
        let head = [0x45, 0, len[0], len[1], id[0], id[1], place[0], place[1], 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        self.raw([&head[..], &payload].concat());
    }
}

fn end(client: usize) -> Endpoint {
    let [_, a, b, c] = ((client / 60_000) as u32).to_be_bytes();
    Endpoint::new([10, a, b, c], 1024 + (client % 60_000) as u16)
}

fn case(name: &str, make: impl Fn(&mut Made, usize) + 'static) -> Case {
    Case::new(name, move |size| {
        let mut made = Made::default();
        make(&mut made, size);
        move || run(&made.frames)
    })
}

pub(super) fn cases() -> Vec<Case> {
    [connections(), disorder(), fragments(), exchanges()].into_iter().flatten().collect()
}

const HOUR: u64 = 3_600_000_000_000;
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn connections() -> Vec<Case> {
    vec![
        case("a clock that jumps back and forth", |made, size| {
            for client in 0..300 * size {
                made.now = if client % 2 == 0 { HOUR } else { 0 };
                made.data(client, 0, REQUEST);
            }
        }),
        case("a clock that jumps back and ever farther forth", |made, size| {
            for client in 0..300 * size {
                made.now = if client % 2 == 0 { HOUR + client as u64 * 2_000_000_000 } else { 0 };
                made.data(client, 0, REQUEST);
            }
        }),
        case("a clock that was set back and then leaps on", |made, size| {
            made.now = 1000 * HOUR;
            (0..100 * size).for_each(|client| made.data(client, 0, REQUEST));
            for n in 0..100 * size {
                made.now = n as u64 * 2_000_000_000;
                made.data(0, 0, b"x");
            }
        }),
        case("SYNs", |made, size| (0..500 * size).for_each(|client| made.segment(client, true, SYN, [1, 0], b""))),
        case("the same SYN with other numbers", |made, size| {
            (0..500 * size).for_each(|n| made.segment(1, true, SYN, [(n as u32).wrapping_mul(100_000_000), 0], b""));
        }),
        case("connections of one byte", |made, size| (0..500 * size).for_each(|client| made.data(client, 0, b"G"))),
        case("connections that end", |made, size| {
            for client in 0..200 * size {
                made.open(client);
                made.data(client, 0, REQUEST);
                made.segment(client, true, TcpFlags::RST, [1 + REQUEST.len() as u32, 0], b"");
            }
        }),
        case("resets and FINs without connection", |made, size| {
            (0..500 * size)
                .for_each(|n| made.segment(n, true, [TcpFlags::RST, TcpFlags::FIN | ACK][n % 2], [7, 7], b""));
        }),
        case("redirected connections", |made, size| {
            for client in 0..300 * size {
                made.segment(client, true, SYN, [1, 0], b"");
                let frame = &mut made.frames.last_mut().unwrap().1;
                frame[16..20].copy_from_slice(&[127, 0, 0, 1]);
                frame[22..24].copy_from_slice(&15001u16.to_be_bytes());
            }
        }),
        case("segments far outside of the window", |made, size| {
            made.open(0);
            (0..500 * size).for_each(|n| made.data(0, 500_000_000 + n * 1_000_000, b"x"));
        }),
    ]
}

/// Nothing fills the first byte, so all waits.
fn disorder() -> Vec<Case> {
    vec![
        case("single bytes that came early", |made, size| {
            made.open(0);
            (0..500 * size).for_each(|n| made.data(0, 1 + 2 * n, b"x"));
        }),
        case("single bytes, the last first", |made, size| {
            made.open(0);
            (0..500 * size).rev().for_each(|n| made.data(0, 1 + 2 * n, b"x"));
        }),
        case("single bytes, from outside in", |made, size| {
            made.open(0);
            for n in 0..250 * size {
                made.data(0, 1 + 2 * n, b"x");
                made.data(0, 100_000 - 2 * n, b"x");
            }
        }),
        case("segments over single bytes", |made, size| {
            made.open(0);
            (0..200 * size).for_each(|n| made.data(0, 1 + 2 * n, b"x"));
            (0..2 * size).for_each(|n| made.data(0, 1 + 200 * n, &[b'x'; 200]));
        }),
        case("the same segment over single bytes", |made, size| {
            made.open(0);
            (0..400).for_each(|n| made.data(0, 1 + n, b"x"));
            (0..50 * size).for_each(|_| made.data(0, 1, &[b'y'; 400]));
        }),
        case("the same segment again", |made, size| {
            made.open(0);
            (0..300 * size).for_each(|_| made.data(0, 1, &[b'y'; 100]));
        }),
        case("holes that are acknowledged", |made, size| {
            made.open(0);
            for n in 0..200 * size {
                made.data(0, 100 * n, b"xxxxxxxxxx");
                made.segment(0, false, ACK, [1, 1 + 100 * n as u32], b"");
            }
        }),
        case("streams that all hold something", |made, size| {
            for client in 0..300 * size {
                made.open(client);
                made.data(client, 10, b"x");
            }
        }),
        case("streams that hold and let go", |made, size| {
            made.open(0);
            for n in 0..300 * size {
                made.data(0, 2 * n + 1, b"x");
                made.data(0, 2 * n, b"x");
            }
        }),
    ]
}

fn fragments() -> Vec<Case> {
    vec![
        case("fragments of one datagram", |made, size| (0..500 * size).for_each(|n| made.fragment(1, n, 1, true))),
        case("fragments of one datagram, the last first", |made, size| {
            (0..500 * size).rev().for_each(|n| made.fragment(1, n, 1, true));
        }),
        case("fragments with holes", |made, size| (0..500 * size).for_each(|n| made.fragment(1, 2 * n, 1, true))),
        case("large fragments over small ones", |made, size| {
            (0..150 * size).for_each(|n| made.fragment(1, n, 1, true));
            (0..20 * size).for_each(|n| made.fragment(1, n, 120 * size, true));
        }),
        case("datagrams of which only the beginning comes", |made, size| {
            (0..500 * size).for_each(|n| made.fragment(n, 0, 1, true));
        }),
        case("fragments at jumping times", |made, size| {
            for n in 0..500 * size {
                made.now = if n % 2 == 0 { HOUR } else { 0 };
                made.fragment(n, 0, 1, true);
            }
        }),
    ]
}

fn exchanges() -> Vec<Case> {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    vec![
        case("requests that nobody answers", |made, size| {
            made.open(0);
            (0..300 * size).for_each(|n| made.data(0, n * REQUEST.len(), REQUEST));
        }),
        case("answers to no request", |made, size| {
            made.open(0);
            (0..300 * size).for_each(|n| made.segment(0, false, ACK, [1 + (n * ANSWER.len()) as u32, 1], ANSWER));
        }),
        case("one connection with many exchanges", |made, size| {
            made.open(0);
            for n in 0..150 * size {
                let (asked, answered) = ((n * REQUEST.len()) as u32, (n * ANSWER.len()) as u32);
                made.segment(0, true, ACK, [1 + asked, 1 + answered], REQUEST);
                made.segment(0, false, ACK, [1 + answered, 1 + asked + REQUEST.len() as u32], ANSWER);
            }
        }),
        case("exchanges on a connection joined late", |made, size| {
            for n in 0..150 * size {
                let (asked, answered) = ((n * REQUEST.len()) as u32, (n * ANSWER.len()) as u32);
                made.segment(0, true, ACK, [1 + asked, 1 + answered], REQUEST);
                made.segment(0, false, ACK, [1 + answered, 1 + asked + REQUEST.len() as u32], ANSWER);
            }
        }),
        case("exchanges with every third segment lost", |made, size| {
            made.open(0);
            for n in 0..150 * size {
                let (asked, answered) = ((n * REQUEST.len()) as u32, (n * ANSWER.len()) as u32);
                if n % 3 > 0 {
                    made.segment(0, true, ACK, [1 + asked, 1 + answered], REQUEST);
                }
                if n % 3 < 2 {
                    made.segment(0, false, ACK, [1 + answered, 1 + asked + REQUEST.len() as u32], ANSWER);
                }
            }
        }),
        case("requests of many connections at whose answers nobody looks", |made, size| {
            for client in 0..200 * size {
                made.open(client);
                made.data(client, 0, REQUEST);
            }
        }),
    ]
}
