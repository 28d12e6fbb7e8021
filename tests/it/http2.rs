//! Conversations of HTTP/2, lost, repeated, reordered and joined late: a record may say less, and never something else.
//!
//! Made-up ones first. Then every given capture of HTTP/2, joined late at every frame and with every single frame removed. No value is ever
//! another one than in the whole capture. It prints how much of what was asked behind the join or the hole is known.
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
use podtap::synth::{LineImpairments, SynthFrame};

use self::play::{Said, made_up};
use super::metamorphic::dissect_with;

mod play;

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
    let (streams, others): (Vec<_>, Vec<_>) = exchanges.into_iter().partition(|exchange| exchange.http2.is_some());
    for exchange in others {
        let is_text = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let request = exchange.request.as_ref().is_none_or(|request| is_text(&request.target));
        assert!(
            request && exchange.response.as_ref().is_none_or(|r| r.status == Some(101) || r.status == Some(200)),
            "{exchange:?}"
        );
    }
    streams
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
    must(record.informational.iter().all(|code| truth.informational.contains(code)), "1xx");
    let of = |exchange: &Exchange| exchange.http2.as_deref().cloned().unwrap();
    must(!of(record).not_processed || of(truth).not_processed, "not processed");
    must(of(record).pushed == of(truth).pushed, "pushed");
    must(!of(record).upgraded || of(truth).upgraded, "upgraded");
    let reset = |exchange: &Exchange| exchange.http2.as_ref().unwrap().reset;
    must(reset(record).is_none() || reset(record) == reset(truth), "reset");
    must(record.unanswered.is_none() || truth.response.is_none(), "unanswered");
    if let (Some(a), Some(b)) = (&record.websocket, &truth.websocket) {
        must(a.client.is_none() || a.client == b.client, "socket of the client");
        must(a.server.is_none() || a.server == b.server, "socket of the server");
        must(a.close_code.is_none() || a.close_code == b.close_code, "close code");
        must(a.closed_by.is_none() || a.closed_by == b.closed_by, "closed by");
    }
    lies
}

/// Of the requests that began at or behind a moment and were answered: how many there are, are given, and with their path.
/// Where bytes are missing one without an answer may be part of a body.
#[derive(Default)]
struct Share {
    all: usize,
    told: usize,
    path: usize,
    lies: Vec<String>,
}

impl Share {
    /// No lie, and at least that share of the requests.
    fn judge(&self, what: &str, least: f64) {
        println!("{what}: requests behind it {}, told {}, with their path {}", self.all, self.told, self.path);
        let first = self.lies[..self.lies.len().min(40)].join("\n");
        assert!(self.lies.is_empty(), "{what}: {} lies\n{first}", self.lies.len());
        assert!(self.told as f64 > self.all as f64 * least, "{what}: told {} of {}", self.told, self.all);
    }

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
            if truth.response.is_none() {
                continue;
            }
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
    late.judge("late join", 0.9);
    lost.judge("one frame lost", 0.9);
}

/// The exchanges of HTTP/2 by stream; what else there is can only be the request of an Upgrade.
fn by_stream(frames: &[SynthFrame]) -> HashMap<Key, Exchange> {
    dissect(frames.iter()).into_iter().map(|record| (key(&record), record)).collect()
}

/// What a record says, in the words of the one who made the conversation up.
fn said(record: &Exchange) -> Said {
    let (request, http2) = (record.request.as_ref().unwrap(), record.http2.as_ref().unwrap());
    let method = ["GET", "POST", "CONNECT"].into_iter().find(|method| *method == request.method.as_str());
    Said {
        method: method.unwrap(),
        target: request.target.to_string(),
        status: record.response.as_ref().and_then(|response| response.status),
        call: record
            .grpc
            .as_ref()
            .filter(|_| record.response.is_some())
            .map(|call| (call.status.unwrap(), call.request_messages.unwrap(), call.response_messages.unwrap())),
        socket: record.websocket.as_ref().map(|socket| {
            (socket.client.unwrap().messages, socket.server.unwrap().messages, socket.close_code.unwrap())
        }),
        reset: http2.reset.map(|reset| reset.code),
        pushed: http2.pushed,
        not_processed: http2.not_processed,
        informational: record.informational.clone(),
        body: record.response.as_ref().map_or(0, |response| response.body_bytes),
    }
}

#[test]
fn a_whole_conversation_is_recorded_as_it_was_said() {
    for seed in 0..200 {
        let (frames, all) = made_up(seed);
        let records = by_stream(&frames);
        assert_eq!(records.len(), all.len(), "{seed}");
        for record in records.values() {
            let stream = record.http2.as_ref().unwrap().stream;
            // A table that is larger than what podtap keeps of one.
            let hidden = record.trust != Trust::Complete && !record.http2.as_ref().unwrap().unknown.is_empty();
            if !hidden {
                assert_eq!(said(record), all[&stream], "seed {seed} stream {stream} {record:#?}");
            }
            assert!(!hidden || seed % 4 == 3, "seed {seed} stream {stream}");
        }
    }
}

#[test]
fn no_cut_and_no_lost_frame_of_a_made_up_conversation_makes_a_value_wrong() {
    let (mut late, mut lost) = (Share::default(), Share::default());
    for seed in 0..24 {
        let (frames, _) = made_up(seed);
        let whole = by_stream(&frames);
        for at in 0..frames.len() {
            let what = format!("of {seed} at {at}");
            let before = at.checked_sub(1).map_or(Timestamp(0), |last| frames[last].at);
            late.add(&format!("join {what}"), before, &dissect(frames[at..].iter()), &whole);
            let rest = frames.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, frame)| frame);
            lost.add(&format!("loss {what}"), frames[at].at, &dissect(rest), &whole);
        }
    }
    late.judge("late join", 0.9);
    lost.judge("one frame lost", 0.97);
}

#[test]
fn loss_repetition_reordering_and_a_late_join_take_values_away_and_never_change_one() {
    let mut share = Share::default();
    let mut whole_ones = 0;
    for seed in 0..60 {
        let (frames, _) = made_up(seed);
        let whole = by_stream(&frames);
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
    share.judge("impaired", 0.8);
    assert!(whole_ones > 3_500 && share.path * 10 > share.all * 7, "{whole_ones} {} of {}", share.path, share.all);
}

/// Takes the times of the truth, where there is one.
fn forget_times(record: &mut Exchange, whole: &HashMap<Key, Exchange>) {
    let truth = whole.get(&key(record)).and_then(|truth| truth.response.as_ref());
    if let (Some(response), Some(truth)) = (&mut record.response, truth) {
        response.last = truth.last;
    }
}
