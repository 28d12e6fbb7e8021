//! A dissector under watch: what must hold after every frame and of every record, whatever the network sends.

use std::collections::HashSet;

use podtap::attempts;
use podtap::dissect::{Dissector, DissectorConfig};
use podtap::exchange::{self, KeepHeaders};
use podtap::flow::Timestamp;
use podtap::flows;
use podtap::format::{Observer, classic, ecs, text};
use podtap::packet::{FragmentLimits, Frame};
use podtap::record::{Exchange, Record};
use podtap::redact::Redactor;
use podtap::synth::SynthFrame;
use podtap::tcp::{CloseReason, TcpLimits};
use serde_json::Value;

use super::choices::Choices;

/// Shortest cap that a format promises to keep.
const SHORTEST_CAP: usize = 4096;

/// Watches the traffic that `play` makes of `bytes`, behind a configuration that the first of them decides.
pub fn whole(bytes: &[u8], play: impl FnOnce(&mut Choices<'_>) -> Vec<SynthFrame>) {
    let mut choices = Choices::new(bytes);
    let mut watch = Watch::new(&mut choices).with_unique_ids();
    for frame in play(&mut choices) {
        watch.frame(&frame.as_frame());
    }
    watch.finish();
}

/// The dissector and what is known of its input and output.
pub struct Watch {
    dissector: Dissector,
    /// Times of the first and the last frame, by value.
    span: Option<(Timestamp, Timestamp)>,
    /// Ids so far, where each must be new.
    ids: Option<HashSet<String>>,
    records: u64,
    seen: Vec<Exchange>,
    line: Vec<u8>,
}

impl Watch {
    /// A dissector whose configuration one byte decides; small limits are the rule, so that they are hit.
    pub fn new(choices: &mut Choices<'_>) -> Self {
        let bits = choices.byte();
        let mut config = if bits & 1 == 0 { tight() } else { DissectorConfig::default() };
        config.http.headers = if bits & 2 == 0 { KeepHeaders::None } else { KeepHeaders::All };
        let redactor = if bits & 4 == 0 { Redactor::default() } else { Redactor::off() };
        Self::with(config, redactor)
    }

    /// A dissector of this configuration.
    pub fn with(config: DissectorConfig, redactor: Redactor) -> Self {
        Self {
            dissector: Dissector::new(config, redactor),
            span: None,
            ids: None,
            records: 0,
            seen: Vec::new(),
            line: Vec::new(),
        }
    }

    /// From now on every record must have its own id. True of any traffic whose connections are all different.
    #[must_use]
    pub fn with_unique_ids(mut self) -> Self {
        self.ids = Some(HashSet::new());
        self
    }

    /// One frame.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        let (first, last) = self.span.unwrap_or((frame.at, frame.at));
        self.span = Some((first.min(frame.at), last.max(frame.at)));
        self.dissector.handle_frame(frame, |_| false);
        self.check();
    }

    /// Time without frames.
    pub fn pause(&mut self, until: Timestamp) {
        let (first, last) = self.span.unwrap_or((until, until));
        self.span = Some((first.min(until), last.max(until)));
        self.dissector.handle_timeout(until);
        self.check();
    }

    /// The end. Gives all records.
    pub fn finish(mut self) -> Vec<Exchange> {
        self.dissector.finish(CloseReason::EndOfCapture);
        self.check();
        let ledger = self.dissector.ledger();
        let (streams, http) = (&ledger.streams, &ledger.http);
        let left = [streams.held, streams.connections_open, http.waiting, http.open, http.responses_open];
        assert_eq!(left, [0; 5], "held, connections, waiting, open, responses open at the end");
        self.seen
    }

    fn check(&mut self) {
        let ledger = self.dissector.ledger();
        assert_eq!(ledger.imbalances(), []);
        let mut records = std::mem::take(self.dissector.records());
        self.records += records.iter().filter(|record| record.exchange().is_some()).count() as u64;
        let http = &ledger.http;
        assert_eq!(http.records, self.records, "records made");
        let halves = http.paired + http.unanswered.total() + http.reset + http.unpaired + http.late + http.orphan;
        let sockets = http.sockets_told_open as i64 - http.sockets_open as i64;
        assert_eq!(http.records as i64, halves as i64 + sockets, "one record for each exchange or half of one");
        for record in &records {
            self.check_record(record);
        }
        self.seen.extend(records.drain(..).filter_map(Record::into_exchange));
    }

    fn check_record(&mut self, record: &Record) {
        let Some(exchange) = record.exchange() else { return self.check_flow(record) };
        if let Some(ids) = &mut self.ids {
            assert!(ids.insert(exchange.id.to_string()), "two records are called {}", exchange.id);
        }
        let observer = Observer::default();
        let json = self.json(|out| ecs::write_json(out, record, &observer));
        self.check_times(&json);
        self.json(|out| classic::write_json(out, record, &observer));
        for cap in [SHORTEST_CAP, 4 * SHORTEST_CAP] {
            self.json(|out| {
                ecs::write_json_capped(out, record, &observer, cap);
                assert!(out.len() <= cap, "{} bytes", out.len());
            });
        }
        self.check_text(record);
    }

    /// Of a flow, or of a connect that failed.
    fn check_flow(&mut self, record: &Record) {
        let Record::Flow(flow) = record else {
            let Record::Connect(connect) = record else { panic!("a dissector makes no such record: {record:?}") };
            assert!(connect.end >= Some(connect.start), "{connect:?}");
            self.json(|out| ecs::write_json(out, record, &Observer::default()));
            return self.check_text(record);
        };
        assert!(flow.start <= flow.end, "{flow:?}");
        let json = self.json(|out| ecs::write_json(out, record, &Observer::default()));
        let number = |pointer: &str| json.pointer(pointer).and_then(Value::as_u64).expect("a number");
        for what in ["packets", "bytes"] {
            let both = number(&format!("/source/{what}")) + number(&format!("/destination/{what}"));
            assert_eq!(number(&format!("/network/{what}")), both, "{json}");
        }
        self.check_text(record);
    }

    /// One line of JSON, without what controls a terminal. Only the messages of gRPC are more than ASCII.
    fn json(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Value {
        self.line.clear();
        write(&mut self.line);
        let (last, line) = self.line.split_last().expect("a line");
        assert_eq!(*last, b'\n');
        let text = std::str::from_utf8(line).expect("UTF-8");
        assert!(text.is_ascii() || text.contains("\"grpc\""), "{text}");
        assert!(!text.chars().any(char::is_control), "{text}");
        serde_json::from_slice(line).expect("JSON")
    }

    /// No duration is longer than the capture.
    fn check_times(&self, json: &Value) {
        let (first, last) = self.span.unwrap_or_default();
        let whole = last.since(first);
        let number = |pointer: &str| json.pointer(pointer).map(|n| n.as_u64().expect("a number, not negative"));
        let within = |pointer: &str, unit: u64| {
            assert!(number(pointer).is_none_or(|n| n * unit <= whole), "{pointer} of {json}, in {whole} ns");
        };
        within("/event/duration", 1);
        for part in ["connect", "request", "wait", "response", "total"] {
            within(&format!("/podtap/timing/{part}_us"), 1000);
        }
        let start = json.pointer("/@timestamp").and_then(Value::as_str).expect("a time");
        // Down to the microsecond: what follows is written only where it is not 0.
        let micros = |text: &str| text.chars().take(26).collect::<String>();
        let span = micros(&first.to_string())..=micros(&last.to_string());
        assert!(span.contains(&micros(start)), "{start} is not within {span:?}");
    }

    fn check_text(&mut self, record: &Record) {
        for colour in [false, true] {
            self.line.clear();
            let style = text::TextStyle { colour, width: colour.then_some(80), slow_after: Some(1), utc_offset: 3600 };
            text::write_line(&mut self.line, record, &style);
            let line = std::str::from_utf8(&self.line).expect("UTF-8").strip_suffix('\n').expect("a line");
            // With colours, only the sequences that podtap itself writes.
            let escapes = line.matches("\x1b[").count();
            assert!(colour || escapes == 0);
            assert_eq!(line.chars().filter(|c| c.is_control()).count(), escapes, "{line:?}");
        }
    }
}

/// Limits that a few frames reach.
fn tight() -> DissectorConfig {
    DissectorConfig {
        fragments: FragmentLimits { datagrams: 4, bytes: 4096, age: 1_000_000_000 },
        tcp: TcpLimits {
            connections: 8,
            held_per_stream: 4096,
            held_total: 8192,
            gap_wait: 3_000_000_000,
            acked_gap_wait: 50_000_000,
            idle: 600_000_000_000,
            idle_opening: 60_000_000_000,
        },
        http: exchange::ExchangeConfig {
            max_head_bytes: 1024,
            max_kept_bytes: 65_536,
            ..exchange::ExchangeConfig::default()
        },
        reads_http: true,
        flows: Some(flows::FlowConfig { most: 8, interval: Some(1_000_000_000), ..flows::FlowConfig::default() }),
        check_every: 100_000_000,
        dns: None,
        connects: Some(attempts::AttemptConfig {
            most: 8,
            observer_id: String::new(),
            own_ips: Vec::new(),
            reported: attempts::ReportedConnects::None,
        }),
        copies: None,
    }
}
