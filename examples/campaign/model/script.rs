//! What the two ends of one connection say, and when: each a list of acts, one after the other.
//!
//! Knows where every message lies in its stream, since it wrote them; knows no segment.

use std::ops::Range;

/// One thing that an end does.
#[derive(Clone, Debug)]
pub struct Act {
    /// What.
    pub what: What,
    /// Not before its application has read this many bytes of the peer; the peer's FIN counts as one.
    pub after: u64,
    /// And then so much later, nanoseconds.
    pub delay: u64,
    /// Leave it in the socket for the next write, if that one is due at once.
    pub more: bool,
}

/// What an act is.
#[derive(Clone, Debug)]
pub enum What {
    /// Write bytes.
    Write(Vec<u8>),
    /// Write no more.
    Fin,
    /// Give up the connection.
    Reset,
}

/// One exchange as it happened.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Its number.
    pub number: u32,
    /// Where the request lies in the client's stream.
    pub request: Range<u64>,
    /// Where its head ends.
    pub request_head: u64,
    /// Where the first interim response begins, or the final one if there is none.
    pub interim: u64,
    /// Where the final response lies in the server's stream.
    pub response: Range<u64>,
    /// Where its head ends.
    pub response_head: u64,
}

/// A connection's whole play.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The client's acts.
    pub client: Vec<Act>,
    /// The server's.
    pub server: Vec<Act>,
    /// The exchanges.
    pub truths: Vec<Truth>,
    client_len: u64,
    server_len: u64,
}

/// A request to be sent.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Bytes and how long after the ones before, nanoseconds.
    pub parts: Vec<(Vec<u8>, u64)>,
    /// Length of the head.
    pub head: usize,
    /// All but the first part wait for the first interim response.
    pub expects: bool,
    /// The last part may share a segment with the next request.
    pub more: bool,
}

/// What answers it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Interim responses, and how long after what came before.
    pub interim: Vec<(Vec<u8>, u64)>,
    /// The interim ones are sent when the request's head is there.
    pub interim_early: bool,
    /// The final response's parts.
    pub parts: Vec<(Vec<u8>, u64)>,
    /// Length of its head.
    pub head: usize,
    /// It is sent as soon as this many bytes of the request were read.
    pub early: Option<u64>,
    /// The last part may share a segment with the next response.
    pub more: bool,
}

impl Script {
    /// Adds an exchange. The request is sent when the client has read `after` bytes, `delay` later.
    pub fn exchange(&mut self, number: u32, ask: Ask, answer: Answer, after: u64, delay: u64) {
        let request = self.client_len..self.client_len + total(&ask.parts);
        let interim = self.server_len;
        let first_interim = answer.interim.first().map_or(0, |(bytes, _)| bytes.len() as u64);
        let interim_end = self.server_len + first_interim;
        let last = ask.parts.len().saturating_sub(1);
        for (at, (bytes, pause)) in ask.parts.into_iter().enumerate() {
            let waits = ask.expects && at > 0;
            let (after, delay) = (if waits { interim_end } else { after }, if at == 0 { delay } else { pause });
            self.client_len += bytes.len() as u64;
            self.client.push(Act { what: What::Write(bytes), after, delay, more: ask.more && at == last });
        }
        let head = request.start + ask.head as u64;
        let when = answer.early.map_or(request.end, |read| request.start + read);
        for (bytes, pause) in answer.interim {
            let after = if answer.interim_early || ask.expects { head } else { when };
            self.server_len += bytes.len() as u64;
            self.server.push(Act { what: What::Write(bytes), after, delay: pause, more: false });
        }
        let response = self.server_len..self.server_len + total(&answer.parts);
        let last = answer.parts.len().saturating_sub(1);
        for (at, (bytes, pause)) in answer.parts.into_iter().enumerate() {
            self.server_len += bytes.len() as u64;
            let more = answer.more && at == last;
            self.server.push(Act { what: What::Write(bytes), after: when, delay: pause, more });
        }
        let response_head = response.start + answer.head as u64;
        self.truths.push(Truth { number, request, request_head: head, interim, response, response_head });
    }

    /// Adds a request that no one answers.
    pub fn unanswered(&mut self, number: u32, ask: Ask, after: u64, delay: u64) {
        let request = self.client_len..self.client_len + total(&ask.parts);
        let request_head = request.start + ask.head as u64;
        for (at, (bytes, pause)) in ask.parts.into_iter().enumerate() {
            self.client_writes(bytes, after, if at == 0 { delay } else { pause });
        }
        let nothing = self.server_len;
        let (response, response_head) = (nothing..nothing, nothing);
        self.truths.push(Truth { number, request, request_head, interim: nothing, response, response_head });
    }

    /// The server writes no more when it has read `after` bytes, whatever else comes; the client follows.
    pub fn server_hangs_up(&mut self, after: u64, delay: u64) {
        let act = |what, after, delay| Act { what, after, delay, more: false };
        self.server.push(act(What::Fin, after, delay));
        self.client.push(act(What::Fin, self.server_len + 1, 10_000));
    }

    /// The server writes something that answers nothing, when it has read `after` bytes.
    pub fn server_writes(&mut self, bytes: Vec<u8>, after: u64, delay: u64) {
        self.server_len += bytes.len() as u64;
        self.server.push(Act { what: What::Write(bytes), after, delay, more: false });
    }

    /// The client writes something that asks nothing, when it has read `after` bytes.
    pub fn client_writes(&mut self, bytes: Vec<u8>, after: u64, delay: u64) {
        self.client_len += bytes.len() as u64;
        self.client.push(Act { what: What::Write(bytes), after, delay, more: false });
    }

    /// How long the client's stream is by now.
    pub fn client_len(&self) -> u64 {
        self.client_len
    }

    /// How long the server's stream is by now.
    pub fn server_len(&self) -> u64 {
        self.server_len
    }

    /// One side ends when it has read all; the other follows.
    pub fn close(&mut self, server_first: bool, delay: u64) {
        let act = |what, after, delay| Act { what, after, delay, more: false };
        let (client, server) = (self.client_len, self.server_len);
        if server_first {
            self.server.push(act(What::Fin, client, delay));
            self.client.push(act(What::Fin, server + 1, 10_000));
        } else {
            self.client.push(act(What::Fin, server, delay));
            self.server.push(act(What::Fin, client + 1, 10_000));
        }
    }

    /// The client gives up the connection when it has read all.
    pub fn client_resets(&mut self, delay: u64) {
        self.client.push(Act { what: What::Reset, after: self.server_len, delay, more: false });
    }
}

fn total(parts: &[(Vec<u8>, u64)]) -> u64 {
    parts.iter().map(|(bytes, _)| bytes.len() as u64).sum()
}
