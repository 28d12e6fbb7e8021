//! The threads that listen to the kernel: events in, encoded records out, counters published.
//!
//! Like `tap`, nothing here waits for a sink.

use super::captures::{Capture, Captured};
use super::shared::Part;
use super::{Live, RecordKind};
use crate::conntrack::Tracker;
use crate::flow::Timestamp;
use crate::format::Encoded;
use crate::http::Protocols;
use crate::ledger::LeftOut;
use crate::metrics::{KernelCounters, Probe};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::source::conntrack::{self, Accounting};

/// How often counters are published, in nanoseconds.
const PUBLISH_EVERY: u64 = 1_000_000_000;

impl Live {
    /// Starts listening to connection tracking.
    pub(super) fn track(&mut self) -> std::io::Result<()> {
        let settings = &self.settings;
        let options = conntrack::Options {
            buffer_bytes: settings.conntrack_buffer.bytes(),
            all_namespaces: settings.conntrack_all_namespaces,
        };
        match Accounting::read() {
            Ok(accounting) => tracing::info!("recording connection tracking{}", missing(accounting)),
            Err(error) => tracing::warn!(%error, "this network namespace may have no connection tracking yet"),
        }
        let mut tracker = self.assembly.tracker();
        let probe = self.metrics.probe();
        let mut tap = KernelTap {
            pipeline: self.assembly.pipeline(&self.sinks, Some(probe.clone())),
            probe,
            part: self.shared.part(),
            publish_at: Timestamp::default(),
        };
        let stop = self.stopped.clone();
        let capture = Capture::start(RecordKind::Conntrack.word().to_owned(), move || -> Captured {
            let outcome = conntrack::run(&options, &stop, &mut tracker, |tracker, now| tap.step(tracker, now));
            if let Err(error) = &outcome {
                tracing::error!("cannot record connection tracking: {error}");
            }
            tap.publish(&tracker);
            (Protocols::default(), outcome)
        })?;
        self.captures.push(capture);
        Ok(())
    }
}

/// What records will lack, in words.
fn missing(accounting: Accounting) -> String {
    let lacks = [
        (accounting.counters, "packets and bytes (net.netfilter.nf_conntrack_acct=1 counts them)"),
        (accounting.times, "the kernel's times (net.netfilter.nf_conntrack_timestamp=1 keeps them)"),
    ];
    let lacks: Vec<_> = lacks.into_iter().filter(|(has, _)| !has).map(|(_, what)| what).collect();
    if lacks.is_empty() { String::new() } else { format!(", without {}", lacks.join(" and ")) }
}

struct KernelTap<S, E> {
    pipeline: Pipeline<S, E>,
    probe: Probe,
    part: Part,
    publish_at: Timestamp,
}

impl<S, E> KernelTap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
{
    fn step(&mut self, tracker: &mut Tracker, now: Timestamp) {
        self.part.set_capturing(true);
        if let Some(own_ips) = self.part.new_own_ips() {
            tracker.set_own_ips(own_ips);
        }
        self.pipeline.push(tracker.records());
        self.pipeline.flush();
        if now >= self.publish_at || self.publish_at.since(now) > PUBLISH_EVERY {
            self.publish_at = now.plus(PUBLISH_EVERY);
            self.publish(tracker);
        }
    }

    fn publish(&self, tracker: &Tracker) {
        let ledger = crate::ledger::Ledger { conntrack: tracker.ledger().clone(), ..Default::default() };
        self.probe.publish(&ledger, &KernelCounters::default());
    }
}
