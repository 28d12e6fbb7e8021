//! Ledger records of pods that did lose something. Frames are taken away before a real dissector sees them, and a real
//! pipeline offers its records to real queues, with targets that refuse or are away.

use std::sync::Arc;
use std::time::Duration;

use podtap::dissect::{self, Dissector};
use podtap::flow::Timestamp;
use podtap::format::{Observer, Pod, ecs};
use podtap::ledger::{KernelCounters, Ledger, LeftOut, RecordLedger};
use podtap::metrics::{Intervals, Metrics, MetricsProbe};
use podtap::pipeline::{FormatOutlet, Pipeline};
use podtap::record::{Record, Statement};
use podtap::redact::Redactor;
use podtap::sink::spool::{Fsync, SpoolMode, SpoolOptions};
use podtap::sink::{
    Batch, BatchLimits, Delivery, DeliveryError, FailureReason, QueueLimits, RejectedRecord, Sink, SinkError,
    SinkHandle, SinkOptions, Sinks, UndeliveredPolicy, spawn_all,
};
use podtap::synth::{LineImpairments, SynthFrame};
use podtap::tcp::CloseReason;
use serde_json::Value;

use crate::feed;
use crate::servers::Scratch;

/// How often these pods tell.
const EVERY: u64 = 500_000_000;
const ROUNDS: usize = 8;

/// Of pods that see `frames`, from `start` on.
pub(super) fn lines(frames: &[SynthFrame], start: Timestamp) -> Vec<Value> {
    let lossy = ["shop-1", "cart-1", "lonely-1"].into_iter().enumerate();
    lossy.flat_map(|(seed, pod)| lossy_pod(pod, seed as u64, frames, start)).chain(broken_pod(start)).collect()
}

/// One that is behind each of the three sinks.
#[derive(Clone, Copy)]
enum Target {
    /// Is away first, and then refuses one of 13; this many it was asked to take.
    Picky(u64),
    Away,
}

impl Sink for Target {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        match self {
            Self::Picky(asked @ 1..) => {
                let refused = (0..batch.records()).filter(|index| (*asked + *index as u64).is_multiple_of(13));
                let rejected = refused.map(|index| RejectedRecord { index, reason: "odd: no".to_owned() }).collect();
                *asked += batch.records() as u64;
                Ok(Delivery { rejected, ..Delivery::default() })
            }
            Self::Picky(asked) => {
                *asked = 1;
                Err(SinkError::Transient(DeliveryError::new(FailureReason::Refused, "away")))
            }
            Self::Away => Err(SinkError::Transient(DeliveryError::new(FailureReason::Refused, "away"))),
        }
    }
}

fn sinks(scratch: &Scratch) -> Vec<SinkHandle> {
    let batch = BatchLimits { records: 2, bytes: 1 << 20, age: Duration::ZERO };
    let options =
        |records| SinkOptions { queue: QueueLimits { records, bytes: 16 << 20 }, batch, ..SinkOptions::default() };
    let spool = SpoolOptions {
        directory: scratch.path("spool"),
        max_bytes: 64 << 20,
        mode: SpoolMode::Overflow,
        fsync: Fsync::None,
        encoding: "ecs".to_owned(),
    };
    let start = |name, target, records, spool| {
        spawn_all(name, vec![target], options(records), UndeliveredPolicy { spool, dead_letters: None }).unwrap()
    };
    vec![
        start("elasticsearch", Target::Picky(0), 20_000, None),
        start("fluentd", Target::Away, 8, Some(spool)),
        start("logstash", Target::Away, 12, None),
    ]
}

fn lossy_pod(pod: &str, seed: u64, frames: &[SynthFrame], start: Timestamp) -> Vec<Value> {
    let scratch = Scratch::new("kibana-ledger");
    let handles = sinks(&scratch);
    let metrics = Metrics::new(Sinks::new(handles.clone()));
    let probe = metrics.probe();
    let mut dissector = Dissector::new(dissect::DissectorConfig::default(), Redactor::off());
    let encode = |record: &Record, out: &mut Vec<u8>| {
        ecs::write_json(out, record, &Observer::default());
        podtap::format::Encoded::Written
    };
    let mut nth = 0;
    let select = move |_: &mut Record| {
        nth += 1;
        (nth % 10 == 0).then_some(LeftOut::Sampled)
    };
    let outlet = FormatOutlet { encode, sinks: handles.clone() };
    let mut pipeline = Pipeline::new(select, vec![outlet], Some(probe.clone()));
    let mut intervals = Intervals::new(pod, start);
    let mut kernel = KernelCounters { opens: 1, ..KernelCounters::default() };
    let mut out = Vec::new();
    for (round, part) in (1..).zip(frames.chunks(frames.len().div_ceil(ROUNDS))) {
        let seen = LineImpairments::new(seed * 100 + round).drop(0.03).apply(part.iter().cloned());
        kernel.received += part.len() as u64;
        kernel.dropped += (part.len() - seen.len()) as u64;
        seen.iter().for_each(|frame| dissector.handle_frame(&frame.as_frame(), |_| false));
        if round as usize == ROUNDS {
            dissector.finish(CloseReason::EndOfCapture);
        }
        pipeline.push(dissector.records());
        pipeline.flush();
        probe.publish(&dissector.ledger(), &kernel);
        // What is left to do takes a server.
        feed::watch(pod, &handles[0], |counts| counts.ledger.queued + counts.ledger.in_flight == 0);
        feed::watch(pod, &handles[1], |counts| {
            counts.failed_attempts() > 0 && (round == 1 || counts.ledger.spooled > 0)
        });
        feed::watch(pod, &handles[2], |counts| counts.failed_attempts() > 0);
        out.extend(told(&mut intervals, &metrics, pod, start.plus(round * EVERY)));
    }
    Sinks::new(handles).finish(Duration::ZERO);
    out
}

/// One that was blind, and whose counters contradict each other: podtap has no such bug that anybody knows of.
fn broken_pod(start: Timestamp) -> Vec<Value> {
    let metrics = Metrics::new(Sinks::default());
    let probe: MetricsProbe = metrics.probe();
    let mut ledger = Ledger::default();
    ledger.frames.frames = 1;
    let (blind, interface_dropped) = (Duration::from_millis(42_500), 7);
    probe.publish(
        &ledger,
        &KernelCounters { received: 9, interface_dropped, opens: 2, blind, ..KernelCounters::default() },
    );
    probe.publish_records(&RecordLedger { made: 5, offered: 5, ..RecordLedger::default() });
    told(&mut Intervals::new("odd-1", start), &metrics, "odd-1", start.plus(EVERY))
}

fn told(intervals: &mut Intervals, metrics: &Arc<Metrics>, pod: &str, now: Timestamp) -> Vec<Value> {
    let pod = Pod { namespace: Some("shop".into()), name: Some(pod.into()), ..Pod::default() };
    let observer = Observer { pod, host_name: Some("node-1".into()), ..Observer::default() };
    let line = |statement: Statement| {
        let mut line = Vec::new();
        ecs::write_json(&mut line, &statement.into(), &observer);
        serde_json::from_slice(&line).unwrap()
    };
    intervals.end(metrics.snapshot(), now).into_iter().map(line).collect()
}
