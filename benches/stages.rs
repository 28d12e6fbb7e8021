//! What each stage of the capture thread costs, on traffic that is made up here: `cargo bench`, or `cargo bench line`.
//!
//! Compares one change with another. What podtap costs as a whole is measured by `scripts/bench`.

#![allow(clippy::expect_used, reason = "a benchmark without its traffic measures nothing")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use podtap::dissect::{self, Dissector};
use podtap::flow::{Direction, Timestamp};
use podtap::format::{Observer, ecs};
use podtap::packet::{FragmentLimits, FrameDecoder};
use podtap::record::Record;
use podtap::redact::Redactor;
use podtap::synth::{Conversation, LineImpairments, SynthFrame, message};
use podtap::tcp::{Analyzer, CloseReason, ConnSummary, ConnectionTable, StreamEvent};

/// Exchanges in each conversation.
const EXCHANGES: usize = 500;
/// About as many headers as a browser sends.
const HEADERS: usize = 24;

fn main() {
    divan::main();
}

/// One connection, request after request.
fn sequential(headers: usize, body: usize) -> Vec<SynthFrame> {
    let names: Vec<_> = (0..headers).map(|n| format!("X-Header-Number-{n}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "a value of ordinary length; q=0.9")).collect();
    let request =
        message::request("GET", "/api/v1/orders/4711?page=2", &[&[("Host", "shop")], &headers[..]].concat(), b"");
    let response = message::response("200 OK", &headers, &vec![b'x'; body]);
    let exchange = |conversation: Conversation, _| conversation.client(&request).server(&response);
    (0..EXCHANGES).fold(Conversation::default().handshake(), exchange).close().frames()
}

/// One connection, all requests before the first response.
fn pipelined() -> Vec<SynthFrame> {
    let conversation = Conversation::default().handshake();
    let asked = (0..EXCHANGES).fold(conversation, |c, _| c.client("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    (0..EXCHANGES).fold(asked, |c, _| c.server("HTTP/1.1 204 No Content\r\n\r\n")).close().frames()
}

fn bytes_of(frames: &[SynthFrame]) -> BytesCount {
    BytesCount::new(frames.iter().map(|frame| frame.bytes.len()).sum::<usize>())
}

fn records_of(frames: &[SynthFrame]) -> Vec<Record> {
    let mut dissector = Dissector::new(dissect::DissectorConfig::default(), Redactor::default());
    for frame in frames {
        dissector.handle_frame(&frame.as_frame(), |_| false);
    }
    dissector.finish(CloseReason::EndOfCapture);
    std::mem::take(dissector.records())
}

/// Frames to segments.
#[divan::bench]
fn decoder(bencher: Bencher) {
    let frames = sequential(HEADERS, 10_000);
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        let mut decoder = FrameDecoder::new(FragmentLimits::default());
        frames.iter().filter(|frame| decoder.decode(&frame.as_frame()).is_some()).count()
    });
}

/// Counts the bytes it gets, in order.
struct Counter;

impl Analyzer for Counter {
    type Context = u64;

    fn open(_: &ConnSummary, _: &mut u64) -> Self {
        Self
    }

    fn on_event(&mut self, _: &ConnSummary, _: Direction, event: StreamEvent<'_>, read: &mut u64) {
        if let StreamEvent::Data { bytes, .. } = event {
            *read += bytes.len() as u64;
        }
    }

    fn on_tick(&mut self, _: &ConnSummary, _: Timestamp, _: &mut u64) {}

    fn on_close(&mut self, _: &ConnSummary, _: Timestamp, _: CloseReason, _: &mut u64) {}
}

/// Frames to streams of bytes in order; every tenth frame or so comes late.
#[divan::bench(args = ["in order", "reordered"])]
fn reassembly(bencher: Bencher, order: &str) {
    let frames = sequential(HEADERS, 50_000);
    let late = if order == "reordered" { 0.1 } else { 0.0 };
    let frames = LineImpairments::new(7).reorder(late, 3).apply(frames);
    bencher.counter(bytes_of(&frames)).bench_local(|| {
        let (mut decoder, mut read) = (FrameDecoder::new(FragmentLimits::default()), 0);
        let mut table = ConnectionTable::<Counter>::new(dissect::DissectorConfig::default().tcp);
        for frame in &frames {
            if let Some(segment) = decoder.decode(&frame.as_frame()) {
                table.on_segment(&segment, &mut read);
            }
        }
        read
    });
}

/// Frames to records, where nearly all bytes are heads.
#[divan::bench]
fn head(bencher: Bencher) {
    let frames = sequential(HEADERS, 0);
    bencher.counter(bytes_of(&frames)).bench_local(|| records_of(black_box(&frames)));
}

/// Frames to records, where many small requests wait for their responses.
#[divan::bench]
fn pairing(bencher: Bencher) {
    let frames = pipelined();
    bencher.counter(ItemsCount::new(EXCHANGES)).bench_local(|| records_of(black_box(&frames)));
}

/// A record to a line of JSON.
#[divan::bench]
fn line(bencher: Bencher) {
    let records = records_of(&sequential(4, 100));
    let record = records.first().expect("a record");
    let observer = Observer::default();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        out.clear();
        ecs::write_json(&mut out, black_box(record), &observer);
        out.len()
    });
}
