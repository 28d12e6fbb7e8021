//! Conversations of HTTP/2 made up at random, with whatever the RFC allows, and what was said in them.
//!
//! Looks at no record: that is for the tests.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use podtap::synth::http2::{self as h2, HpackEncoder, PREFACE, Shape, kind};
use podtap::synth::{Conversation, Rng, SynthFrame, SynthSide};

/// Streams that its client opens.
const STREAMS: u32 = 24;
/// Most of them at once.
const AT_ONCE: usize = 6;

/// What was said on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) status: Option<u16>,
    /// Status and messages each way, of a call.
    pub(super) call: Option<(u32, u64, u64)>,
    /// Messages each way and the code of the close, of a socket.
    pub(super) socket: Option<(u64, u64, u16)>,
    pub(super) reset: Option<u32>,
    pub(super) pushed: bool,
    pub(super) not_processed: bool,
    pub(super) informational: Vec<u16>,
    pub(super) body: u64,
}

type Fields = Vec<(&'static str, String)>;

/// One thing that one end says on a stream.
enum Step {
    Head(SynthSide, Fields, bool),
    /// What it promises, and how it is answered.
    Promise(Fields, Said, Vec<Step>),
    Data(SynthSide, Vec<u8>, bool),
    Reset(SynthSide, u32),
}

struct Stream {
    id: u32,
    steps: VecDeque<Step>,
    /// Its server has said something.
    answered: bool,
}

impl Stream {
    fn new(id: u32, steps: Vec<Step>) -> Self {
        Self { id, steps: steps.into(), answered: false }
    }
}

/// One connection under way.
pub(super) struct Play {
    rng: Rng,
    asks: HpackEncoder,
    answers: HpackEncoder,
    conversation: Conversation,
    going: Vec<Stream>,
    next: u32,
    pushed: u32,
    /// Where the server says that it takes no more.
    last_words_at: Option<u32>,
    refused_above: Option<u32>,
    said: BTreeMap<u32, Said>,
}

/// Frames of one connection, and what was said on each stream of it.
pub(super) fn made_up(seed: u64) -> (Vec<SynthFrame>, BTreeMap<u32, Said>) {
    let mut play = Play::new(seed);
    play.open(seed % 3 == 1);
    while play.may_ask() || !play.going.is_empty() {
        if play.may_ask() && (play.going.is_empty() || (play.going.len() < AT_ONCE && play.rng.chance(0.5))) {
            play.ask();
        } else {
            play.go_on();
        }
    }
    (play.conversation.close().frames(), play.said)
}

fn text(fields: &[(&'static str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A frame of WebSocket, masked or not.
fn socket_frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked =
        |key: [u8; 4]| payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect::<Vec<_>>();
    let len = payload.len() as u16;
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let length = if len < 126 { vec![bit | len as u8] } else { [&[bit | 126], &len.to_be_bytes()[..]].concat() };
    let body = mask.map_or(payload.to_vec(), masked);
    let key = mask.map_or(Vec::new(), |key| key.to_vec());
    [&[first], &length[..], &key, &body].concat()
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let conversation = Conversation::default().segments_of(120 + 400 * rng.below(4) as usize).handshake();
        let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
        if seed % 4 == 3 {
            asks.resize(64 * 1024);
            answers.resize(*rng.pick(&[0, 200, 30_000]).unwrap());
        }
        Self {
            last_words_at: rng.chance(0.3).then(|| 2 * rng.below(STREAMS.into()) as u32 + 1),
            rng,
            asks,
            answers,
            conversation,
            going: Vec::new(),
            next: 1,
            pushed: 2,
            refused_above: None,
            said: BTreeMap::new(),
        }
    }

    /// The client may ask a little while after the server's last words, which are still on their way.
    fn may_ask(&self) -> bool {
        self.next < 2 * STREAMS && self.refused_above.is_none_or(|last| self.next <= last.max(1) + 6)
    }

    /// By prior knowledge, or by Upgrade: then the request is stream 1.
    fn open(&mut self, upgrades: bool) {
        if !upgrades {
            self.say(SynthSide::Client, [PREFACE, &h2::settings()].concat());
            self.say(SynthSide::Server, h2::settings());
            return;
        }
        let head = "GET /upgrade HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                    HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        self.say(SynthSide::Client, head.into());
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        self.say(SynthSide::Server, [switch.as_bytes(), &h2::settings()].concat());
        self.say(SynthSide::Client, [PREFACE, &h2::settings()].concat());
        let mut said = Said { method: "GET", target: "/upgrade".into(), ..Said::default() };
        let steps = self.answer(&mut said);
        self.said.insert(1, said);
        self.going.push(Stream::new(1, steps));
        self.next = 3;
    }

    fn ask(&mut self) {
        let id = self.next;
        self.next += 2;
        if self.last_words_at == Some(id) {
            self.last_words(id);
        }
        let (mut said, mut steps) = match self.rng.below(8) {
            0 | 1 => self.call(),
            2 => self.upload(),
            3 => self.socket(),
            4 => self.cancelled(),
            _ => self.plain(id),
        };
        if self.refused_above.is_some_and(|last| id > last) {
            steps.retain(|step| matches!(step, Step::Head(SynthSide::Client, ..)));
            steps.truncate(1);
            said = Said { method: said.method, target: said.target, not_processed: true, ..Said::default() };
        }
        self.said.insert(id, said);
        self.going.push(Stream::new(id, steps));
        // The order of ids is the order of their first frames.
        let last = self.going.len() - 1;
        self.go_on_with(last);
    }

    /// GOAWAY: the newest streams were not looked at, unless they are being answered.
    fn last_words(&mut self, id: u32) {
        let last = id.saturating_sub(2 + 2 * self.rng.below(2) as u32);
        let answered = self.going.iter().filter(|stream| stream.answered && stream.id % 2 == 1).map(|stream| stream.id);
        let last = answered.max().unwrap_or(0).max(last);
        self.refused_above = Some(last);
        self.say(
            SynthSide::Server,
            h2::frame(kind::GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4], b"bye"].concat()),
        );
        for stream in self.going.iter_mut().filter(|stream| stream.id > last && stream.id % 2 == 1) {
            stream.steps.clear();
            let said = self.said.get_mut(&stream.id).unwrap();
            *said = Said { method: said.method, target: said.target.clone(), not_processed: true, ..Said::default() };
        }
        self.going.retain(|stream| !stream.steps.is_empty());
    }

    fn go_on(&mut self) {
        let which = self.rng.below(self.going.len() as u64) as usize;
        self.go_on_with(which);
    }

    fn go_on_with(&mut self, which: usize) {
        let id = self.going[which].id;
        if let Some(step) = self.going[which].steps.pop_front() {
            self.going[which].answered |=
                !matches!(step, Step::Head(SynthSide::Client, ..) | Step::Data(SynthSide::Client, ..));
            self.take(id, step);
        }
        if self.going[which].steps.is_empty() {
            self.going.swap_remove(which);
        }
    }

    fn take(&mut self, id: u32, step: Step) {
        let (side, mut bytes) = match step {
            Step::Head(side, fields, ends) => (side, self.head(side, id, None, &fields, ends)),
            Step::Promise(fields, said, answer) => {
                let promised = self.pushed;
                self.pushed += 2;
                self.said.insert(promised, said);
                self.going.push(Stream::new(promised, answer));
                (SynthSide::Server, self.head(SynthSide::Server, id, Some(promised), &fields, false))
            }
            Step::Data(side, body, ends) => {
                let padding = self.rng.chance(0.1).then(|| self.rng.below(30) as u8);
                let frame = match padding {
                    None => h2::data(id, &body, ends),
                    some => h2::padded(kind::DATA, u8::from(ends), id, &body, some),
                };
                (side, frame)
            }
            Step::Reset(side, code) => (side, h2::reset(id, code)),
        };
        match self.rng.below(20) {
            0 => bytes.extend(h2::frame(kind::PRIORITY, 0, id, &[0, 0, 0, 0, 7])),
            1 => bytes.extend(h2::frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 9, 9])),
            2 => bytes.extend(h2::frame(kind::PING, 0, 0, b"01234567")),
            3 => bytes.extend(h2::frame(0xbe, 7, id, b"of a type that no one knows")),
            _ => {}
        }
        self.say(side, bytes);
    }

    fn head(&mut self, side: SynthSide, id: u32, promised: Option<u32>, fields: &Fields, ends: bool) -> Vec<u8> {
        let encoder = if side == SynthSide::Client { &mut self.asks } else { &mut self.answers };
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let block = encoder.block(&fields);
        let shape = Shape {
            padding: self.rng.chance(0.15).then(|| self.rng.below(40) as u8),
            priority: side == SynthSide::Client && self.rng.chance(0.15),
            continuations: if self.rng.chance(0.15) { 1 + self.rng.below(3) as usize } else { 0 },
        };
        h2::head(id, promised, &block, ends, shape)
    }

    fn say(&mut self, side: SynthSide, bytes: Vec<u8>) {
        let pause = Duration::from_micros(self.rng.between(20, 900));
        self.conversation = std::mem::take(&mut self.conversation).send(side, bytes).after(pause);
    }

    fn request(&mut self, method: &str, target: &str) -> Fields {
        let agent = format!("agent/{}", self.rng.below(3));
        let mut fields = text(&[
            (":method", method),
            (":scheme", "http"),
            (":path", target),
            (":authority", "shop"),
            ("user-agent", &agent),
        ]);
        // A path in the table, and what pushes others out of it.
        if self.rng.chance(0.3) {
            fields.push(("x-path", target.to_owned()));
        }
        if self.rng.chance(0.2) {
            fields.push(("x-long", format!("{}{}", "long".repeat(200), self.rng.below(4))));
        }
        fields
    }

    fn body(&mut self, most: u64) -> Vec<u8> {
        (0..self.rng.below(most)).map(|n| b'a' + (n % 26) as u8).collect()
    }

    /// Perhaps 1xx, then a status and a body, perhaps trailers.
    fn answer(&mut self, said: &mut Said) -> Vec<Step> {
        let mut steps = Vec::new();
        for code in [100, 103].into_iter().filter(|_| self.rng.chance(0.15)) {
            said.informational.push(code);
            steps.push(Step::Head(
                SynthSide::Server,
                text(&[(":status", &code.to_string()), ("link", "</a.css>")]),
                false,
            ));
        }
        let status = *self.rng.pick(&[200, 201, 302, 404, 503]).unwrap();
        said.status = Some(status);
        let bodies: Vec<_> = (0..self.rng.below(3)).map(|_| self.body(900)).collect();
        said.body = bodies.iter().map(|body| body.len() as u64).sum();
        let trailers = self.rng.chance(0.2);
        let fields = text(&[(":status", &status.to_string()), ("content-type", "text/plain"), ("server", "made-up")]);
        steps.push(Step::Head(SynthSide::Server, fields, bodies.is_empty() && !trailers));
        let count = bodies.len();
        for (n, body) in bodies.into_iter().enumerate() {
            steps.push(Step::Data(SynthSide::Server, body, n + 1 == count && !trailers));
        }
        if trailers {
            steps.push(Step::Head(SynthSide::Server, text(&[("x-sum", "abc"), ("server-timing", "db;dur=53")]), true));
        }
        steps
    }

    fn plain(&mut self, id: u32) -> (Said, Vec<Step>) {
        let mut said = Said { method: "GET", target: format!("/things/{}", id / 2 % 7), ..Said::default() };
        let mut steps = vec![Step::Head(SynthSide::Client, self.request("GET", &said.target), true)];
        if self.rng.chance(0.2) {
            let target = format!("/pushed/{}", self.rng.below(4));
            let mut pushed = Said { method: "GET", target, pushed: true, ..Said::default() };
            let (fields, answer) = (self.request("GET", &pushed.target), self.answer(&mut pushed));
            steps.push(Step::Promise(fields, pushed, answer));
        }
        steps.extend(self.answer(&mut said));
        (said, steps)
    }

    fn upload(&mut self) -> (Said, Vec<Step>) {
        let mut said = Said { method: "POST", target: format!("/upload/{}", self.rng.below(5)), ..Said::default() };
        let mut steps = vec![Step::Head(SynthSide::Client, self.request("POST", &said.target), false)];
        for _ in 0..self.rng.below(3) {
            steps.push(Step::Data(SynthSide::Client, self.body(900), false));
        }
        let early = self.rng.chance(0.3);
        let ending = if self.rng.chance(0.5) {
            Step::Head(SynthSide::Client, text(&[("x-checksum", "0815"), ("x-path", "/none")]), true)
        } else {
            Step::Data(SynthSide::Client, self.body(200), true)
        };
        if early {
            // Answered before its end, which then never comes.
            steps.extend(self.answer(&mut said));
            steps.push(Step::Reset(SynthSide::Server, 0));
            said.reset = Some(0);
        } else {
            steps.push(ending);
            steps.extend(self.answer(&mut said));
        }
        (said, steps)
    }

    fn call(&mut self) -> (Said, Vec<Step>) {
        let method = format!("/shop.Cart/Get{}", self.rng.below(5));
        let mut fields = self.request("POST", &method);
        fields.extend(text(&[("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")]));
        let mut steps = vec![Step::Head(SynthSide::Client, fields, false)];
        let (asked, status) = (self.rng.below(3), self.rng.below(17) as u32);
        for _ in 0..asked {
            steps.push(Step::Data(SynthSide::Client, h2::grpc_message(&self.body(500)), false));
        }
        steps.push(Step::Data(SynthSide::Client, Vec::new(), true));
        let code = status.to_string();
        let mut ending = text(&[("grpc-status", &code), ("grpc-message", "so%20it is")]);
        let only_trailers = self.rng.chance(0.3);
        let answered = if only_trailers { 0 } else { self.rng.below(4) };
        let head = text(&[(":status", "200"), ("content-type", "application/grpc")]);
        if only_trailers {
            ending = [head, ending].concat();
        } else {
            steps.push(Step::Head(SynthSide::Server, head, false));
        }
        let messages: Vec<u8> = (0..answered).flat_map(|_| h2::grpc_message(&self.body(500))).collect();
        // Frames of DATA and messages have other bounds.
        let cut = self.rng.between(1, 700) as usize;
        steps.extend(messages.chunks(cut).map(|piece| Step::Data(SynthSide::Server, piece.to_vec(), false)));
        steps.push(Step::Head(SynthSide::Server, ending, true));
        let call = Some((status, asked, answered));
        let body = messages.len() as u64;
        (Said { method: "POST", target: method, status: Some(200), call, body, ..Said::default() }, steps)
    }

    /// A WebSocket by extended CONNECT (RFC 8441).
    fn socket(&mut self) -> (Said, Vec<Step>) {
        let mut fields = text(&[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]);
        fields.extend(text(&[(":path", "/chat"), (":authority", "shop"), ("sec-websocket-version", "13")]));
        let mut steps = vec![Step::Head(SynthSide::Client, fields, false)];
        steps.push(Step::Head(
            SynthSide::Server,
            text(&[(":status", "200"), ("sec-websocket-protocol", "chat")]),
            false,
        ));
        let (mut counts, mut body) = ([0, 0], 0);
        for _ in 0..self.rng.below(6) {
            let side = *self.rng.pick(&[SynthSide::Client, SynthSide::Server]).unwrap();
            let mask = (side == SynthSide::Client).then_some([3, 1, 4, 1]);
            let frame = match self.rng.below(4) {
                0 => socket_frame(0x89, b"ping", mask),
                1 => {
                    counts[usize::from(side == SynthSide::Server)] += 1;
                    [socket_frame(1, &self.body(300), mask), socket_frame(0x80, b"end", mask)].concat()
                }
                _ => {
                    counts[usize::from(side == SynthSide::Server)] += 1;
                    socket_frame(0x82, &self.body(500), mask)
                }
            };
            body += if side == SynthSide::Server { frame.len() as u64 } else { 0 };
            steps.push(Step::Data(side, frame, false));
        }
        let code = *self.rng.pick(&[1000u16, 1001, 1011]).unwrap();
        steps.push(Step::Data(SynthSide::Client, socket_frame(0x88, &code.to_be_bytes(), Some([9, 9, 9, 9])), true));
        let last = socket_frame(0x88, &code.to_be_bytes(), None);
        body += last.len() as u64;
        steps.push(Step::Data(SynthSide::Server, last, true));
        let socket = Some((counts[0], counts[1], code));
        (Said { method: "CONNECT", target: "/chat".into(), status: Some(200), socket, body, ..Said::default() }, steps)
    }

    fn cancelled(&mut self) -> (Said, Vec<Step>) {
        let target = format!("/slow/{}", self.rng.below(3));
        let side = *self.rng.pick(&[SynthSide::Client, SynthSide::Server]).unwrap();
        let code = if side == SynthSide::Client { 8 } else { 7 };
        let steps = vec![Step::Head(SynthSide::Client, self.request("GET", &target), true), Step::Reset(side, code)];
        (Said { method: "GET", target, reset: Some(code), ..Said::default() }, steps)
    }
}
