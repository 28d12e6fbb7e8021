//! Every given capture of HTTP/2, joined late at every frame and with every single frame removed: no value is ever another
//! one than in the whole capture. It prints how much of what was asked behind the join or the hole is known.
//!
//! The captures are not part of this project: PODTAP_CORPORA names their folder, else it is looked for beside the
//! checkout. Without it the test says so and is skipped. PODTAP_EVERY_CUT=1 cuts long captures everywhere, too.

use std::collections::HashMap;
use std::path::PathBuf;

use podtap::dissect::{Config, Dissector};
use podtap::flow::Timestamp;
use podtap::http::KeepHeaders;
use podtap::packet::LinkType;
use podtap::record::{Exchange, Header, Trust};
use podtap::redact::Redactor;
use podtap::source::file::CaptureReader;
use podtap::synth::SynthFrame;

use super::metamorphic::dissect_with;

/// So many cuts of one capture, evenly; a shorter one is cut everywhere.
const CUTS: usize = 60;

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
    let mut config = Config::default();
    config.http.headers = KeepHeaders::All;
    let exchanges = dissect_with(Dissector::new(config, Redactor::off()), frames);
    exchanges.into_iter().filter(|exchange| exchange.http2.is_some()).collect()
}

type Key = (String, u32);

fn key(exchange: &Exchange) -> Key {
    let connection = &exchange.connection;
    (format!("{} {}", connection.client, connection.server), exchange.http2.as_ref().unwrap().stream)
}

/// All of `some` stand in `all`, in that order.
fn is_part(some: &[Header], all: &[Header]) -> bool {
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
            // A stream that was reset is told then: who did not see the reset sees more of the answer.
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

/// Of the requests that began at or behind a moment: how many there are, are told, and with their path.
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
    let everywhere = std::env::var_os("PODTAP_EVERY_CUT").is_some();
    let (mut late, mut lost) = (Share::default(), Share::default());
    for path in captures {
        let frames = frames(&path);
        let whole: HashMap<_, _> = dissect(frames.iter()).into_iter().map(|r| (key(&r), r)).collect();
        let step = if everywhere { 1 } else { frames.len().div_ceil(CUTS) };
        for at in (0..frames.len()).step_by(step) {
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
