//! What a client and a server of some manner say to each other.
//!
//! Chooses; what it chose is in the script.

use podtap::synth::Rng;
use podtap::synth::message::{chunk, request, response_head};

use super::doubt;
use super::messages::{self, Answers, Asks};
use super::script::{Answer, Ask, Script};
use super::tail;

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// Keeps this many requests under way: 1 waits for each answer, 2 has one request in advance.
    Keep(usize),
    /// Asks this many at once, then waits for all answers.
    Burst(usize),
    /// Waits for each answer, but for a while now and then keeps up to this many under way. The share of exchanges at which it
    /// changes.
    Switch(usize, f64),
}

/// Manners, and the share of exchanges with each oddity.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The client.
    pub client: Client,
    /// How many exchanges.
    pub count: u32,
    /// How long the client's name is.
    pub agent: u64,
    /// Requests with another name: those of others, by a proxy.
    pub agents: f64,
    /// Requests with HEAD.
    pub head: f64,
    /// Requests with a body.
    pub upload: f64,
    /// Responses without a body: 204, 304.
    pub bodyless: f64,
    /// Responses in chunks.
    pub chunked: f64,
    /// Interim responses.
    pub interim: f64,
    /// Requests that expect 100.
    pub expect: f64,
    /// Answers before the request's end.
    pub early: f64,
    /// Server-sent events.
    pub events: f64,
    /// Bodies that look like messages.
    pub like: f64,
    /// Heads with more than 512 fields, their framing last.
    pub fields: f64,
    /// Messages that may be read in two ways.
    pub doubt: f64,
    /// Heads in two segments.
    pub split: f64,
    /// Bytes behind a response that belong to nothing.
    pub garbage: f64,
    /// Largest body.
    pub body: u64,
    /// Largest time that the server thinks, nanoseconds.
    pub think: u64,
    /// Largest pause of the client before it asks.
    pub pause: u64,
    /// Share of requests before which the client pauses.
    pub pauses: f64,
    /// Share of messages that may share a segment with the next.
    pub joined: f64,
    /// The last response ends with the connection.
    pub until_close: bool,
    /// Payload of a full segment of the server.
    pub step: usize,
    /// What the connection ends with.
    pub tail: Tail,
    /// There and back, nanoseconds.
    pub rtt: u64,
    /// Largest pause inside of uploads and between interim responses.
    pub patience: u64,
}

/// What may follow the last ordinary exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Nothing.
    None,
    /// A tunnel with bytes that no one can read.
    Tunnel,
    /// A tunnel with HTTP in it.
    ClearTunnel,
    /// Another protocol.
    Upgrade,
    /// The server ends the connection while requests are under way.
    HangUp,
    /// A HEAD, answered with a body that looks like responses, and the end.
    HeadBody,
    /// An upload that the server refuses before it has read it, and the end.
    Refused,
    /// The server gives up waiting and says so, while a request is on its way to it.
    Unasked,
}

impl Traffic {
    /// Ordinary traffic of such a client.
    pub fn of(client: Client, rng: &mut Rng) -> Self {
        let thinks = [2_000, 200_000, 3_000_000, 40_000_000];
        Self {
            client,
            count: if rng.chance(0.1) { rng.between(100, 300) } else { rng.between(5, 40) } as u32,
            agent: rng.below(60),
            agents: 0.0,
            head: 0.08,
            upload: 0.15,
            bodyless: 0.12,
            chunked: 0.15,
            interim: 0.02,
            expect: 0.0,
            early: 0.0,
            events: 0.0,
            like: 0.0,
            doubt: 0.0,
            fields: 0.0,
            split: 0.03,
            garbage: 0.0,
            body: *rng.pick(&[300, 2000, 2000, 9000]).unwrap_or(&300),
            think: *rng.pick(&thinks).unwrap_or(&2_000),
            pause: *rng.pick(&[1_000, 500_000, 20_000_000]).unwrap_or(&1_000),
            pauses: rng.below(4) as f64 / 4.0,
            joined: 0.0,
            until_close: rng.chance(0.1),
            step: 1448,
            tail: Tail::None,
            patience: 0,
            rtt: 0,
        }
    }

    /// The play, with numbers from `first` on.
    pub fn script(&self, first: u32, rng: &mut Rng) -> Script {
        let mut script = Script::default();
        let mut ends = Vec::new();
        let mut depth = 1;
        for index in 0..self.count as usize {
            let number = first + index as u32;
            let before = match self.client {
                Client::Keep(depth) => index.checked_sub(depth),
                Client::Burst(size) => (index / size * size).checked_sub(1),
                Client::Switch(most, changes) => {
                    if rng.chance(changes) {
                        depth = if depth > 1 { 1 } else { rng.between(2, most as u64) as usize };
                    }
                    index.checked_sub(depth)
                }
            };
            let after = before.and_then(|index| ends.get(index).copied()).unwrap_or(0);
            let last = index + 1 == self.count as usize;
            let asked = self.asks(rng);
            let mut ask = self.ask(asked, number, rng);
            if rng.chance(self.doubt / 2.0) && asked != Asks::Head {
                ask = doubt::ask(number, rng);
            }
            let mut answer = self.answer(asked, number, &ask, last, rng);
            if rng.chance(self.doubt / 2.0) && asked != Asks::Head && !last {
                answer = doubt::answer(number, rng);
            }
            if rng.chance(self.expect) && asked != Asks::Get && asked != Asks::Head {
                self.expect(&mut ask, &mut answer, number, rng);
            }
            if rng.chance(self.interim) {
                self.interim(&mut answer, rng);
            }
            if rng.chance(self.fields) {
                (ask.parts, ask.head) = many_fields(ask.parts, ask.head, rng);
                answer.early = None;
            }
            if rng.chance(self.fields) {
                (answer.parts, answer.head) = many_fields(answer.parts, answer.head, rng);
            }
            let pause = if rng.chance(self.pauses) { rng.below(self.pause) } else { 0 };
            script.exchange(number, ask, answer, after, pause);
            if !last && rng.chance(self.garbage) {
                script.server_writes(garbage(rng), script.client_len(), 0);
            }
            ends.push(script.server_len());
        }
        self.end(&mut script, first + self.count, rng);
        script
    }

    /// What the last exchange is, and who ends the connection.
    fn end(&self, script: &mut Script, number: u32, rng: &mut Rng) {
        let all = script.server_len();
        match self.tail {
            Tail::None => {}
            Tail::Tunnel => tail::tunnel(script, number, false, all, rng),
            Tail::ClearTunnel => tail::tunnel(script, number, true, all, rng),
            Tail::Upgrade => tail::upgrade(script, number, all, rng),
            Tail::HeadBody => return tail::head_body(script, number, all, rng),
            Tail::Refused => return tail::refused(script, number, all, rng),
            Tail::HangUp => return tail::hang_up(script, number, all, rng),
            Tail::Unasked => return tail::unasked(script, number, self.rtt, rng),
        }
        let until_close = self.until_close && self.tail == Tail::None;
        if rng.chance(0.05) && !until_close {
            script.client_resets(rng.below(1_000_000));
        } else {
            script.close(until_close || rng.chance(0.3), if until_close { 1_000 } else { rng.below(50_000_000) });
        }
    }

    fn asks(&self, rng: &mut Rng) -> Asks {
        if rng.chance(self.head) {
            Asks::Head
        } else if rng.chance(self.upload) {
            if rng.chance(0.5) { Asks::Sized } else { Asks::Chunked }
        } else {
            Asks::Get
        }
    }

    fn ask(&self, asked: Asks, number: u32, rng: &mut Rng) -> Ask {
        let like = rng.chance(self.like);
        let step = if rng.chance(0.5) { self.step } else { 0 };
        let body = if like {
            messages::like_requests(number, rng.between(1, 6) as u32, step, rng)
        } else {
            messages::filler(rng.between(1, self.body) as usize)
        };
        let agent = if rng.chance(self.agents) { rng.below(60) } else { self.agent };
        let mut ask = messages::ask(asked, number, &body, agent, rng);
        ask.more = rng.chance(self.joined);
        if self.patience > 0 && !matches!(asked, Asks::Get | Asks::Head) {
            split_at(&mut ask.parts, ask.head, rng.below(self.patience));
        } else if like && rng.chance(0.7) {
            split_at(&mut ask.parts, ask.head, 0);
        } else if rng.chance(self.split) {
            let at = rng.between(1, ask.head as u64 - 1) as usize;
            split_at(&mut ask.parts, at, rng.below(3_000_000));
        }
        ask
    }

    fn answer(&self, asked: Asks, number: u32, ask: &Ask, last: bool, rng: &mut Rng) -> Answer {
        let think = rng.below(self.think);
        let like = rng.chance(self.like);
        let step = if rng.chance(0.5) { self.step } else { 0 };
        let body = if like {
            messages::like_responses(number, rng.between(1, 8) as u32, step, rng)
        } else {
            messages::filler(rng.below(self.body) as usize)
        };
        let kind = if rng.chance(self.bodyless) {
            if rng.chance(0.5) { Answers::NoContent } else { Answers::NotModified }
        } else if rng.chance(self.chunked) {
            Answers::Chunked
        } else if rng.chance(0.05) {
            Answers::Failure
        } else {
            Answers::Sized
        };
        let mut answer = if rng.chance(self.events) && asked != Asks::Head {
            events(number, like, rng)
        } else if last && self.until_close && self.tail == Tail::None && asked != Asks::Head {
            until_close(number, &body)
        } else {
            messages::answer(kind, asked, number, &body, rng)
        };
        answer.more = rng.chance(self.joined);
        if like && rng.chance(0.7) {
            split_at(&mut answer.parts, answer.head, 0);
        } else if rng.chance(self.split) {
            let at = rng.between(1, answer.head as u64 - 1) as usize;
            split_at(&mut answer.parts, at, rng.below(3_000_000));
        }
        if let Some(first) = answer.parts.first_mut() {
            first.1 = think;
        }
        let size: usize = ask.parts.iter().map(|(bytes, _)| bytes.len()).sum();
        if size > ask.head && rng.chance(self.early) {
            answer.early = Some(rng.between(ask.head as u64, size as u64));
        }
        answer
    }

    fn expect(&self, ask: &mut Ask, answer: &mut Answer, number: u32, rng: &mut Rng) {
        let body = messages::filler(rng.between(1, self.body) as usize);
        let fields = [("Host", "shop"), ("Expect", "100-continue")];
        let whole = request("POST", &format!("/r/{number}"), &fields, &body);
        ask.head = messages::head_len(&whole);
        ask.parts = vec![(whole, 0)];
        split_at(&mut ask.parts, ask.head, rng.below(self.patience));
        ask.expects = true;
        answer.early = None;
        answer.interim = vec![(response_head("100 Continue", &[]), rng.below(self.think))];
    }

    fn interim(&self, answer: &mut Answer, rng: &mut Rng) {
        for _ in 0..rng.between(1, 2) {
            let line = *rng.pick(&["103 Early Hints", "102 Processing", "100 Continue"]).unwrap_or(&"102 Processing");
            let pause = self.think.max(self.patience / 4);
            answer.interim.push((response_head(line, &[("Link", "</a>")]), rng.below(pause)));
        }
        if self.patience > 0 {
            for _ in 0..rng.below(8) {
                answer.interim.push((response_head("102 Processing", &[]), rng.between(1_000_000, 9_000_000_000)));
            }
        }
    }
}

/// Splits the first part at `at`; the rest comes `pause` later.
fn split_at(parts: &mut Vec<(Vec<u8>, u64)>, at: usize, pause: u64) {
    if let Some((bytes, _)) = parts.first_mut().filter(|(bytes, _)| at > 0 && at < bytes.len()) {
        let rest = bytes.split_off(at);
        parts.insert(1, (rest, pause));
    }
}

/// The same message with hundreds of fields behind its start line.
fn many_fields(parts: Vec<(Vec<u8>, u64)>, head: usize, rng: &mut Rng) -> (Vec<(Vec<u8>, u64)>, usize) {
    let pause = parts.first().map_or(0, |(_, pause)| *pause);
    let mut bytes = parts.into_iter().flat_map(|(bytes, _)| bytes).collect::<Vec<u8>>();
    let line = bytes.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
    let more: String = (0..rng.between(480, 700)).map(|n| format!("X-{n}: 0\r\n")).collect();
    bytes.splice(line..line, more.bytes());
    (vec![(bytes, pause)], head + more.len())
}

fn events(number: u32, like: bool, rng: &mut Rng) -> Answer {
    let line = format!("{} R{number}", messages::status(number));
    let fields = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")];
    let head = response_head(&line, &fields);
    let len = head.len();
    let mut parts = vec![(head, 0)];
    for _ in 0..rng.between(1, 6) {
        let data = if like { messages::like_responses(number, 1, 0, rng) } else { b"data: {\"n\":1}\n\n".to_vec() };
        parts.push((chunk(&data), rng.below(400_000_000)));
    }
    parts.push((chunk(b""), rng.below(1_000_000)));
    Answer { parts, head: len, ..Answer::default() }
}

fn until_close(number: u32, body: &[u8]) -> Answer {
    let mut bytes = response_head(&format!("{} R{number}", messages::status(number)), &[("Connection", "close")]);
    let head = bytes.len();
    bytes.extend(body);
    Answer { parts: vec![(bytes, 0)], head, ..Answer::default() }
}

/// What servers with a fault leave behind a response.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => b"\r\n".to_vec(),
        1 => b"<html>extra</html>\r\n".to_vec(),
        2 => vec![0; rng.between(1, 40) as usize],
        _ => b"HTTP\r\n\r\n".to_vec(),
    }
}
