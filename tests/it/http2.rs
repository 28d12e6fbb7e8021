//! Conversations of HTTP/2, lost, repeated, reordered and joined late: a record may say less, and never something else.
//!
//! Made-up ones first. Then every given capture of HTTP/2, joined late at every frame and with every single frame removed: no value is ever another
//! one than in the whole capture. It prints how much of what was asked behind the join or the hole is known.
//!
//! The captures are not part of this project: PODTAP_CORPORA names their folder, else it is looked for next to the
//! checkout. Without it the test says so and is skipped.

use std::collections::HashMap;
use std::path::PathBuf;

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::exchange::KeepHeaders;
use podtap::flow::Timestamp;
use podtap::packet::LinkType;
use podtap::record::{Exchange, HttpHeader, Trust};
use podtap::redact::Redactor;
use podtap::source::file::CaptureReader;
use podtap::synth::http2::{self as h2, HpackEncoder, PREFACE};
use podtap::synth::{Conversation, LineImpairments, Rng, SynthFrame};

use super::metamorphic::dissect_with;

fn captures() -> Option<Vec<PathBuf>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PODTAP_CORPORA").map_or(beside, PathBuf::from);
    let mut captures = Vec::new();
    for part in ["h2-self", "hpack-test-case", "selfcap"] {
        for file in std::fs::read_dir(folder.join(part)).ok()? {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if part != "selfcap" || name.contains("h2c") || name.contains("grpc") {
                captures.push(path);
            }
        }
    }
    captures.sort();
    Some(captures)
}

fn frames(path: &PathBuf) -> Vec<SynthFrame> {
    let mut reader = CaptureReader::open(std::fs::File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let link: LinkType = frame.link;
        frames.push(SynthFrame::new(frame.at, link, frame.data.to_vec()));
    }
    frames
}

fn dissect<'a>(frames: impl Iterator<Item = &'a SynthFrame>) -> Vec<Exchange> {
    let mut config = DissectorConfig::default();
    config.http.headers = KeepHeaders::All;
    let exchanges = dissect_with(Dissector::new(config, Redactor::off()), frames);
    exchanges.into_iter().filter(|exchange| exchange.http2.is_some()).collect()
}

type Key = (String, u32);

fn key(exchange: &Exchange) -> Key {
    let connection = &exchange.connection;
    (format!("{} {}", connection.client, connection.server), exchange.http2.as_ref().unwrap().stream)
}

/// All of `some` are in `all`, in that order.
fn is_part(some: &[HttpHeader], all: &[HttpHeader]) -> bool {
    let mut all = all.iter();
    some.iter().all(|header| all.any(|other| other == header))
}

/// What `record` says other than `truth`.
fn lies(record: &Exchange, truth: &Exchange) -> Vec<&'static str> {
    let mut lies = Vec::new();
    let mut must = |is: bool, what| {
        if !is {
            lies.push(what);
        }
    };
    let known = |a: &str, b: &str| a.is_empty() || a == b;
    match (&record.request, &truth.request) {
        (Some(a), Some(b)) => {
            must(known(&a.method, &b.method), "method");
            must(known(&a.target, &b.target), "target");
            must(a.host.is_none() || a.host == b.host, "host");
            must(a.user_agent.is_none() || a.user_agent == b.user_agent, "user agent");
            must(a.mime_type.is_none() || a.mime_type == b.mime_type, "request type");
            must(is_part(&a.headers, &b.headers), "request headers");
            must(is_part(&a.trailers, &b.trailers), "request trailers");
            must(record.trust != Trust::Complete || a.body_bytes == b.body_bytes, "request size");
        }
        (Some(_), None) => must(false, "request"),
        (None, _) => {}
    }
    match (&record.response, &truth.response) {
        (Some(a), Some(b)) => {
            must(a.status.is_none() || a.status == b.status, "status");
            must(a.mime_type.is_none() || a.mime_type == b.mime_type, "response type");
            must(is_part(&a.trailers, &[&b.headers[..], &b.trailers].concat()), "response trailers");
            must(is_part(&a.headers, &[&b.headers[..], &b.trailers].concat()), "response headers");
            // A stream that was reset is recorded then: who did not see the reset sees more of the answer.
            let comparable = record.trust == Trust::Complete && truth.http2.as_ref().unwrap().reset.is_none();
            must(!comparable || a.body_bytes == b.body_bytes, "response size");
            must(!comparable || a.last == b.last, "end");
        }
        (Some(_), None) => must(false, "response"),
        (None, _) => {}
    }
    if let (Some(a), Some(b)) = (&record.grpc, &truth.grpc) {
        must(a.status.is_none() || a.status == b.status, "gRPC status");
        must(a.method.is_none() || a.method == b.method, "gRPC method");
        must(a.message.is_none() || a.message == b.message, "gRPC message");
        must(a.request_messages.is_none() || a.request_messages == b.request_messages, "request messages");
        must(a.response_messages.is_none() || a.response_messages == b.response_messages, "response messages");
    }
    must(record.grpc.is_none() || truth.grpc.is_some(), "gRPC");
    let reset = |exchange: &Exchange| exchange.http2.as_ref().unwrap().reset;
    must(reset(record).is_none() || reset(record) == reset(truth), "reset");
    must(record.unanswered.is_none() || truth.response.is_none(), "unanswered");
    if let (Some(a), Some(b)) = (&record.websocket, &truth.websocket) {
        must(a.client.is_none() || a.client == b.client, "socket of the client");
        must(a.server.is_none() || a.server == b.server, "socket of the server");
        must(a.close_code.is_none() || a.close_code == b.close_code, "close code");
    }
    lies
}

/// Of the requests that began at or behind a moment: how many there are, are given, and with their path.
#[derive(Default)]
struct Share {
    all: usize,
    told: usize,
    path: usize,
    lies: Vec<String>,
}

impl Share {
    fn add(&mut self, what: &str, from: Timestamp, records: &[Exchange], whole: &HashMap<Key, Exchange>) {
        for record in records {
            let Some(truth) = whole.get(&key(record)) else {
                self.lies.push(format!("{what}: a stream that there is not: {:?}", key(record)));
                continue;
            };
            for lie in lies(record, truth) {
                self.lies.push(format!("{what} stream {}: {lie}", key(record).1));
            }
        }
        let of: HashMap<_, _> = records.iter().filter(|r| r.request.is_some()).map(|r| (key(r), r)).collect();
        for (key, truth) in whole {
            let Some(request) = truth.request.as_ref().filter(|request| request.first > from) else { continue };
            self.all += 1;
            if let Some(record) = of.get(key) {
                self.told += 1;
                self.path += usize::from(record.request.as_ref().is_some_and(|r| r.target == request.target));
            }
        }
    }
}

#[test]
fn no_cut_and_no_lost_frame_makes_a_value_wrong() {
    let Some(captures) = captures() else {
        eprintln!("SKIPPED: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let (mut late, mut lost) = (Share::default(), Share::default());
    for path in captures {
        let frames = frames(&path);
        let whole: HashMap<_, _> = dissect(frames.iter()).into_iter().map(|r| (key(&r), r)).collect();
        for at in 0..frames.len() {
            let what = format!("{} at {at}", path.file_name().unwrap().to_string_lossy());
            let before = at.checked_sub(1).map_or(Timestamp(0), |last| frames[last].at);
            late.add(&format!("join {what}"), before, &dissect(frames[at..].iter()), &whole);
            let rest = frames.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, frame)| frame);
            lost.add(&format!("loss {what}"), frames[at].at, &dissect(rest), &whole);
        }
    }
    for (what, share) in [("late join", &late), ("one frame lost", &lost)] {
        println!("{what}: requests behind it {}, told {}, with their path {}", share.all, share.told, share.path);
        assert!(
            share.lies.is_empty(),
            "{what}: {} lies\n{}",
            share.lies.len(),
            share.lies[..share.lies.len().min(40)].join("\n")
        );
        assert!(share.told * 10 > share.all * 9, "{what}: told {} of {}", share.told, share.all);
    }
}

/// Streams of one made-up connection.
const STREAMS: u32 = 40;

/// What both ends still have to send, in order for each stream: this many of them go on at once.
struct Play {
    rng: Rng,
    asks: HpackEncoder,
    answers: HpackEncoder,
    conversation: Conversation,
}

/// A stream under way: its number, what its server still sends (the status first), and whether it is a call.
struct Going {
    stream: u32,
    left: u64,
    status: &'static str,
    is_call: bool,
}

impl Play {
    fn new(seed: u64) -> Self {
        let conversation = Conversation::default().segments_of(200 + 300 * (seed % 4) as usize).handshake();
        let conversation = conversation.client([PREFACE, &h2::settings()].concat()).server(h2::settings());
        Self { rng: Rng::new(seed), asks: HpackEncoder::default(), answers: HpackEncoder::default(), conversation }
    }

    fn ask(&mut self, stream: u32) -> Going {
        let is_call = self.rng.chance(0.4);
        let path = if is_call { format!("/shop.Cart/Get{}", stream % 5) } else { format!("/things/{stream}") };
        let agent = format!("agent/{}", self.rng.below(3));
        let mut fields = vec![
            (":method", if is_call { "POST" } else { "GET" }),
            (":scheme", "http"),
            (":path", path.as_str()),
            (":authority", "shop"),
            ("user-agent", agent.as_str()),
        ];
        // Every third path is in the table.
        if stream.is_multiple_of(3) {
            fields.push(("x-path", path.as_str()));
        }
        if is_call {
            fields.extend([("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S")]);
        }
        let mut bytes = self.asks.headers(stream, &fields, !is_call);
        if is_call {
            for n in 0..=self.rng.below(3) {
                let message = vec![n as u8; self.rng.below(400) as usize];
                bytes.extend(h2::data(stream, &h2::grpc_message(&message), false));
            }
            bytes.extend(h2::data(stream, b"", true));
        }
        self.say(podtap::synth::SynthSide::Client, bytes);
        let status = if is_call { "200" } else { *self.rng.pick(&["200", "204", "404", "503"]).unwrap() };
        Going { stream, left: self.rng.below(4), status, is_call }
    }

    /// The next part of an answer; false when it was the last.
    fn answer(&mut self, going: &mut Going) -> bool {
        let mut bytes = Vec::new();
        let (stream, is_last) = (going.stream, going.left == 0);
        if !going.status.is_empty() {
            let kind = if going.is_call { "application/grpc" } else { "text/plain" };
            let fields = [(":status", going.status), ("content-type", kind), ("server", "made-up")];
            bytes.extend(self.answers.headers(stream, &fields, is_last && !going.is_call));
            going.status = "";
        } else if !is_last {
            let body = vec![b'x'; self.rng.below(700) as usize];
            let body = if going.is_call { h2::grpc_message(&body) } else { body };
            bytes.extend(h2::data(stream, &body, false));
        } else if !going.is_call {
            bytes.extend(h2::data(stream, b"end", true));
        }
        if is_last && going.is_call {
            let status = self.rng.below(4).to_string();
            bytes.extend(self.answers.headers(
                stream,
                &[("grpc-status", status.as_str()), ("grpc-message", "so")],
                true,
            ));
        }
        if !is_last && self.rng.chance(0.03) {
            bytes.extend(h2::reset(stream, 2));
            going.left = 0;
            self.say(podtap::synth::SynthSide::Server, bytes);
            return false;
        }
        self.say(podtap::synth::SynthSide::Server, bytes);
        going.left = going.left.saturating_sub(1);
        !is_last
    }

    fn say(&mut self, side: podtap::synth::SynthSide, bytes: Vec<u8>) {
        let pause = std::time::Duration::from_micros(self.rng.between(20, 900));
        self.conversation = std::mem::take(&mut self.conversation).send(side, bytes).after(pause);
    }
}

/// Frames of one connection on which a few streams go on at once, some of them calls, some reset.
fn made_up(seed: u64) -> Vec<SynthFrame> {
    let mut play = Play::new(seed);
    let (mut going, mut next) = (Vec::new(), 1);
    while next < 2 * STREAMS || !going.is_empty() {
        if next < 2 * STREAMS && (going.is_empty() || (going.len() < 6 && play.rng.chance(0.5))) {
            going.push(play.ask(next));
            next += 2;
            continue;
        }
        let which = play.rng.below(going.len() as u64) as usize;
        let mut one = going.swap_remove(which);
        if play.answer(&mut one) {
            going.push(one);
        }
    }
    play.conversation.close().frames()
}

#[test]
fn loss_repetition_reordering_and_a_late_join_take_values_away_and_never_change_one() {
    let mut share = Share::default();
    let mut whole_ones = 0;
    for seed in 0..60 {
        let frames = made_up(seed);
        let whole: HashMap<_, _> = dissect(frames.iter()).into_iter().map(|r| (key(&r), r)).collect();
        assert_eq!(whole.len(), STREAMS as usize, "{seed}");
        assert!(whole.values().all(|record| record.trust == Trust::Complete), "{seed}");
        let (one, five) = (LineImpairments::new(seed).drop(0.01), LineImpairments::new(seed).drop(0.05));
        for (what, impair) in [
            ("1 % lost", one.clone()),
            ("5 % lost", five.clone()),
            ("10 % repeated", LineImpairments::new(seed).duplicate(0.1)),
            ("10 % reordered", LineImpairments::new(seed).reorder(0.1, 4)),
            ("all of it", five.duplicate(0.05).reorder(0.05, 4)),
        ] {
            let impaired = impair.apply(frames.clone());
            let what = format!("{what} of {seed}");
            let mut told = dissect(impaired.iter());
            whole_ones += told.iter().filter(|record| record.trust == Trust::Complete).count();
            // Impaired frames come at other times.
            told.iter_mut().for_each(|record| forget_times(record, &whole));
            share.add(&what, Timestamp(0), &told, &whole);
            let mut late = dissect(impaired[impaired.len() / 3..].iter());
            late.iter_mut().for_each(|record| forget_times(record, &whole));
            share.add(&format!("{what}, joined late"), frames[frames.len() / 3].at, &late, &whole);
        }
    }
    println!("requests {}, told {}, with their path {}", share.all, share.told, share.path);
    assert!(share.lies.is_empty(), "{} lies\n{}", share.lies.len(), share.lies[..share.lies.len().min(40)].join("\n"));
    assert!(whole_ones > 6_000 && share.path * 10 > share.all * 8, "{whole_ones} {} of {}", share.path, share.all);
}

/// Takes the times of the truth, where there is one.
fn forget_times(record: &mut Exchange, whole: &HashMap<Key, Exchange>) {
    let truth = whole.get(&key(record)).and_then(|truth| truth.response.as_ref());
    if let (Some(response), Some(truth)) = (&mut record.response, truth) {
        response.last = truth.last;
    }
}
