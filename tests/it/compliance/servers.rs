//! Servers that do everything right, unless asked to take only a part: one function a protocol, from a connection to the
//! ids it stored. Faults are the door's; nothing here knows podtap.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::{Behaviour, ids_in};

/// What a server has, and what it does with the next batch.
#[derive(Debug)]
pub(crate) struct Store {
    /// In the order they were stored.
    pub(crate) ids: Vec<String>,
    pub(crate) behaviour: Behaviour,
}

impl Default for Store {
    fn default() -> Self {
        Self { ids: Vec::new(), behaviour: Behaviour::Good }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    Later,
    Never,
}

impl Store {
    fn all(&mut self, bytes: &[u8]) {
        self.ids.extend(ids_in(bytes));
    }

    /// Every record, or every other one of the next batch.
    pub(crate) fn take(&mut self, ids: Vec<String>) -> Vec<Outcome> {
        let other = match std::mem::replace(&mut self.behaviour, Behaviour::Good) {
            Behaviour::Good => Outcome::Stored,
            Behaviour::TakesHalf => Outcome::Later,
            Behaviour::RefusesHalf => Outcome::Never,
        };
        let outcomes: Vec<_> = [Outcome::Stored, other].into_iter().cycle().take(ids.len()).collect();
        let stored = ids.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Stored);
        self.ids.extend(stored.map(|(id, _)| id));
        outcomes
    }
}

/// Shared by a server's connections and its test.
pub(crate) type Stored = Arc<Mutex<Store>>;

/// Serves each connection on a thread.
pub(crate) fn start(stored: Stored, each: fn(TcpStream, &Mutex<Store>) -> Option<()>) -> SocketAddr {
    serve(TcpListener::bind("127.0.0.1:0").unwrap(), stored, each)
}

/// The same on a socket that listens already.
pub(crate) fn serve(
    listener: TcpListener,
    stored: Stored,
    each: fn(TcpStream, &Mutex<Store>) -> Option<()>,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let stored = Arc::clone(&stored);
            std::thread::spawn(move || each(stream, &stored));
        }
    });
    address
}

fn read(stream: &mut TcpStream, bytes: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).ok().map(|()| buffer)
}

/// More bytes behind those that are there.
fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
    bytes.extend_from_slice(&buffer[..n]);
    Some(())
}

/// Lines, and not a word back.
pub(crate) fn lines(mut stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        read_some(&mut stream, &mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        stored.lock().unwrap().all(&bytes.drain(..whole).collect::<Vec<u8>>());
    }
}

/// Lumberjack v2: a window of JSON frames, one acknowledgement; a half is the first half, and then the end.
pub(crate) fn beats(mut stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    loop {
        let head = read(&mut stream, 6)?;
        let (b"2W", count) = (&head[..2], &head[2..]) else { return None };
        let count = u32::from_be_bytes(count.try_into().ok()?);
        let mut events = Vec::new();
        for _ in 0..count {
            let head = read(&mut stream, 10)?;
            events.push(read(&mut stream, u32::from_be_bytes(head[6..].try_into().ok()?) as usize)?);
        }
        let mut stored = stored.lock().unwrap();
        let part = std::mem::replace(&mut stored.behaviour, Behaviour::Good) == Behaviour::TakesHalf;
        let taken = if part { count / 2 } else { count };
        events.iter().take(taken as usize).for_each(|event| stored.all(event));
        drop(stored);
        stream.write_all(&[b"2A", &taken.to_be_bytes()[..]].concat()).ok()?;
        if part {
            return None;
        }
    }
}

/// A request with a length: its path and its body.
pub(super) fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(stream, 1)?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let body = read(stream, length.map_or(Some(0), |length| length.trim().parse().ok())?)?;
    let target = head.split(' ').nth(1)?;
    Some((target.split('?').next()?.to_owned(), body))
}

pub(super) fn respond(stream: &mut TcpStream, body: &str) -> Option<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all([&head, body].concat().as_bytes()).ok()
}

/// HTTP/1.1 with a length.
pub(crate) fn http(mut stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    loop {
        let (_, body) = request(&mut stream)?;
        stored.lock().unwrap().all(&body);
        respond(&mut stream, "")?;
    }
}

/// Fluentd's forward: one msgpack value a chunk, acknowledged by its name.
pub(crate) fn forward(mut stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = end_of(&bytes, 0) else {
            read_some(&mut stream, &mut bytes)?;
            continue;
        };
        let message: Vec<u8> = bytes.drain(..end).collect();
        let key = b"\xa5chunk";
        let at = message.windows(key.len()).rposition(|window| window == key)? + key.len();
        stored.lock().unwrap().all(&message);
        stream.write_all(&[b"\x81\xa3ack", &message[at..end_of(&message, at)?]].concat()).ok()?;
    }
}

/// Where the msgpack value at `at` ends, if all of it is there.
fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let number = |n: usize| Some(bytes.get(at + 1..=at + n)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    let first = *bytes.get(at)?;
    let low = |mask: u8| usize::from(first & mask);
    let (head, body, items) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0, 0),
        0x80..=0x8f => (1, 0, 2 * low(15)),
        0x90..=0x9f => (1, 0, low(15)),
        0xa0..=0xbf => (1, low(31), 0),
        0xc4 | 0xd9 => (2, number(1)?, 0),
        0xc5 | 0xda => (3, number(2)?, 0),
        0xc6 | 0xdb => (5, number(4)?, 0),
        0xc7 => (3, number(1)?, 0),
        0xc8 => (4, number(2)?, 0),
        0xc9 => (6, number(4)?, 0),
        0xcc | 0xd0 => (2, 0, 0),
        0xcd | 0xd1 => (3, 0, 0),
        0xca | 0xce | 0xd2 => (5, 0, 0),
        0xcb | 0xcf | 0xd3 => (9, 0, 0),
        0xd4..=0xd8 => (2, 1 << (first - 0xd4), 0),
        0xdc => (3, 0, number(2)?),
        0xdd => (5, 0, number(4)?),
        0xde => (3, 0, 2 * number(2)?),
        0xdf => (5, 0, 2 * number(4)?),
        0xc1 => return None,
    };
    let end = Some(at + head + body).filter(|end| *end <= bytes.len())?;
    (0..items).try_fold(end, |at, _| end_of(bytes, at))
}
