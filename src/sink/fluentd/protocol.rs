//! The forward protocol's messages, as pure functions of bytes: chunks and PING out; HELO, PONG and acknowledgements in.
//! Owns every size it reads; it uses no socket and no clock.
//!
//! ```text
//! chunk  [tag, bin(entries), {"size": n, "chunk": id, "compressed": "gzip"}]
//! entry  [EventTime, map]                 EventTime: extension 0, seconds and nanoseconds, each u32
//! HELO   ["HELO", {"nonce", "auth", "keepalive"}]
//! PING   ["PING", our name, salt, sha512(salt name nonce key), user, sha512(auth user password)]
//! PONG   ["PONG", accepted, reason, its name, sha512(salt its-name nonce key)]
//! ack    {"ack": id}
//! ```

use std::fmt;
use std::io::Write;

use flate2::write::GzEncoder;
use ring::digest::{Context, SHA512};

use super::super::Batch;
use super::msgpack::{MsgpackValue, NoValue, read_value};
use crate::flow::Timestamp;

/// Bytes of one answer; real ones have a few hundred.
pub const MAX_REPLY: usize = 8 << 10;
/// Characters of a server's own words that are passed on.
const MAX_WORDS: usize = 200;
/// Memory for messages that is kept from one batch to the next.
const KEPT_BYTES: usize = 4 << 20;
/// gzip's fastest level: a record shrinks to a tenth even so.
const GZIP_LEVEL: u32 = 1;

/// FLUENTD_COMPRESS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardCompression {
    /// PackedForward.
    #[default]
    None,
    /// CompressedPackedForward.
    Gzip,
}

/// What a server may ask for; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardCredentials {
    /// FLUENTD_SHARED_KEY; empty for servers that know users only.
    pub shared_key: String,
    /// FLUENTD_USERNAME; empty: none.
    pub username: String,
    /// FLUENTD_PASSWORD.
    pub password: String,
}

impl fmt::Debug for ForwardCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// A batch as one message.
#[derive(Debug)]
pub struct PackedBatch<'a> {
    /// To be written as it is.
    pub message: &'a [u8],
    /// Records in it.
    pub records: usize,
    /// Positions of those that are no msgpack map: they would make the whole chunk unreadable.
    pub rejected: Vec<usize>,
}

/// More than a msgpack length can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl std::error::Error for TooLarge {}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch has more than 4 GiB")
    }
}

/// Makes messages of batches; each body is copied once. Keeps its memory.
pub struct BatchPacker {
    tag: String,
    compress: ForwardCompression,
    message: Vec<u8>,
    /// Entries before compression.
    entries: Vec<u8>,
}

/// Without the records.
impl fmt::Debug for BatchPacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("tag", &self.tag).field("compress", &self.compress).finish_non_exhaustive()
    }
}

impl BatchPacker {
    /// For this tag.
    pub fn new(tag: &str, compress: ForwardCompression) -> Self {
        Self { tag: tag.to_owned(), compress, message: Vec::new(), entries: Vec::new() }
    }

    /// Packs `batch`; the server acknowledges `chunk`.
    pub fn pack(&mut self, batch: &Batch, chunk: Option<&str>) -> Result<PackedBatch<'_>, TooLarge> {
        let out = &mut self.message;
        out.clear();
        out.shrink_to(KEPT_BYTES);
        out.push(0x93);
        text(out, &self.tag);
        out.extend([0xc6, 0, 0, 0, 0]);
        let start = out.len();
        let (records, rejected) = match self.compress {
            ForwardCompression::None => entries(batch, out),
            ForwardCompression::Gzip => {
                self.entries.clear();
                self.entries.shrink_to(KEPT_BYTES);
                let packed = entries(batch, &mut self.entries);
                let mut gzip = GzEncoder::new(&mut *out, flate2::Compression::new(GZIP_LEVEL));
                // Writing to memory does not fail.
                gzip.write_all(&self.entries).and_then(|()| gzip.finish().map(drop)).map_err(|_| TooLarge)?;
                packed
            }
        };
        let length = u32::try_from(out.len() - start).map_err(|_| TooLarge)?;
        if let Some(place) = out.get_mut(start - 4..start) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        options(out, records, chunk, self.compress);
        Ok(PackedBatch { message: out, records, rejected })
    }
}

/// Appends the batch's entries: how many, and which could not be.
fn entries(batch: &Batch, out: &mut Vec<u8>) -> (usize, Vec<usize>) {
    let mut rejected = Vec::new();
    out.reserve(batch.bytes() + batch.records() * 11);
    for (index, item) in batch.iter().enumerate() {
        // A map's marker: fixmap, map 16, map 32.
        if !matches!(item.body.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
            rejected.push(index);
            continue;
        }
        out.extend_from_slice(&entry_head(item.at));
        out.extend_from_slice(item.body);
    }
    (batch.records() - rejected.len(), rejected)
}

/// An array of two, and the time: extension type 0 of eight bytes. Times before 1970 and after 2106 have no EventTime.
fn entry_head(at: Timestamp) -> [u8; 11] {
    let nanos = at.0.clamp(0, i64::from(u32::MAX) * 1_000_000_000 + 999_999_999);
    let [s0, s1, s2, s3] = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX).to_be_bytes();
    let [n0, n1, n2, n3] = u32::try_from(nanos % 1_000_000_000).unwrap_or(0).to_be_bytes();
    [0x92, 0xd7, 0x00, s0, s1, s2, s3, n0, n1, n2, n3]
}

fn options(out: &mut Vec<u8>, records: usize, chunk: Option<&str>, compress: ForwardCompression) {
    let fields = 1 + u8::from(chunk.is_some()) + u8::from(compress == ForwardCompression::Gzip);
    out.push(0x80 | fields);
    text(out, "size");
    // Writing to memory does not fail; a length of more than 32 bits was refused before.
    let _ = rmp::encode::write_uint(out, records as u64);
    if let Some(chunk) = chunk {
        text(out, "chunk");
        text(out, chunk);
    }
    if compress == ForwardCompression::Gzip {
        text(out, "compressed");
        text(out, "gzip");
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let _ = rmp::encode::write_str(out, text);
}

/// The start of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helo {
    /// Goes into the digests. Fluent Bit sends raw bytes as text, Fluentd as binary.
    pub nonce: Vec<u8>,
    /// Salt for the password. Fluent Bit sends one also where it has no users, so it does not say that a user is wanted.
    pub auth: Vec<u8>,
    /// Whether the connection may serve for more than one chunk.
    pub keepalive: bool,
}

/// The end of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Whether the server takes us.
    pub accepted: bool,
    /// Why not, as printable text of limited length.
    pub reason: String,
    /// What the server calls itself.
    pub hostname: Vec<u8>,
    /// Proof that it knows the key too.
    pub digest: Vec<u8>,
}

/// What a server can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardReply {
    /// It wants to know who we are.
    Helo(Helo),
    /// Whether it believes us.
    Pong(Pong),
    /// It has this chunk.
    Ack(Vec<u8>),
}

/// Not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForward {
    /// None of the messages a server can send; mostly not even msgpack.
    Unknown,
    /// More than `MAX_REPLY`.
    TooLong,
}

impl fmt::Display for NotForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the answer is not the forward protocol's: another kind of server, or one with TLS?",
            Self::TooLong => "the answer is longer than any of the forward protocol",
        })
    }
}

/// Reads an answer off the front of what has arrived; `None`: it is not whole yet. Says how many bytes it has.
pub fn decode_reply(input: &[u8]) -> Result<Option<(ForwardReply, usize)>, NotForward> {
    let mut rest = input.get(..MAX_REPLY).unwrap_or(input);
    let visible = rest.len();
    match read_value(&mut rest) {
        // What another kind of server says (`HTTP/1.1 400`, a TLS alert) is a small number here.
        Ok(value) => reply(&value).map(|reply| Some((reply, visible - rest.len()))).ok_or(NotForward::Unknown),
        Err(NoValue::Malformed) => Err(NotForward::Unknown),
        Err(NoValue::Incomplete) if input.len() >= MAX_REPLY => Err(NotForward::TooLong),
        Err(NoValue::Incomplete) => Ok(None),
    }
}

fn reply(value: &MsgpackValue<'_>) -> Option<ForwardReply> {
    if let Some(MsgpackValue::Bytes(chunk)) = value.field("ack") {
        return Some(ForwardReply::Ack(chunk.to_vec()));
    }
    let MsgpackValue::Array(items) = value else { return None };
    match items.as_slice() {
        [MsgpackValue::Bytes(b"HELO"), fields, ..] => helo(fields).map(ForwardReply::Helo),
        [MsgpackValue::Bytes(b"PONG"), MsgpackValue::Bool(accepted), MsgpackValue::Bytes(reason), rest @ ..] => {
            let bytes = |index: usize| match rest.get(index) {
                Some(MsgpackValue::Bytes(bytes)) => bytes.to_vec(),
                _ => Vec::new(),
            };
            let (hostname, digest) = (bytes(0), bytes(1));
            Some(ForwardReply::Pong(Pong { accepted: *accepted, reason: printable(reason), hostname, digest }))
        }
        _ => None,
    }
}

fn helo(fields: &MsgpackValue<'_>) -> Option<Helo> {
    let bytes = |name| match fields.field(name) {
        Some(MsgpackValue::Bytes(bytes)) => Some(bytes.to_vec()),
        _ => None,
    };
    let keepalive = fields.field("keepalive") != Some(&MsgpackValue::Bool(false));
    Some(Helo { nonce: bytes("nonce")?, auth: bytes("auth").unwrap_or_default(), keepalive })
}

/// A server's own words, fit for a log and a terminal.
pub(super) fn printable(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    words.chars().take(MAX_WORDS).flat_map(char::escape_debug).collect()
}

/// Our side of a handshake. The salt is text: Fluent Bit takes nothing else.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    /// What the server said.
    pub helo: &'a Helo,
    /// What we call ourselves.
    pub hostname: &'a str,
    /// Chosen by us at random.
    pub salt: &'a str,
    /// What we know.
    pub credentials: &'a ForwardCredentials,
}

impl Greeting<'_> {
    /// The answer to HELO.
    pub fn ping(&self) -> Vec<u8> {
        let ForwardCredentials { username, password, .. } = self.credentials;
        let with_user = !self.helo.auth.is_empty() && !username.is_empty();
        let (user, proof) = match with_user {
            true => (username.as_str(), hex_digest(&[&self.helo.auth, username.as_bytes(), password.as_bytes()])),
            false => ("", String::new()),
        };
        let mut out = vec![0x96];
        for field in ["PING", self.hostname, self.salt, &self.proof(self.hostname.as_bytes()), user, &proof] {
            text(&mut out, field);
        }
        out
    }

    /// Whether who answered PONG knows the key too.
    pub fn is_proven(&self, pong: &Pong) -> bool {
        pong.digest == self.proof(&pong.hostname).as_bytes()
    }

    fn proof(&self, hostname: &[u8]) -> String {
        let key = self.credentials.shared_key.as_bytes();
        hex_digest(&[self.salt.as_bytes(), hostname, &self.helo.nonce, key])
    }
}

fn hex_digest(parts: &[&[u8]]) -> String {
    let mut hash = Context::new(&SHA512);
    parts.iter().for_each(|part| hash.update(part));
    hex(hash.finish().as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
        hex
    })
}

#[cfg(test)]
mod tests;
