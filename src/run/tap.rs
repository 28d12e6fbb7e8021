//! What sits on one capture thread: frames in, encoded records out, counters published.
//!
//! Nothing here waits: a sink whose queue is full loses records, and counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::dissect::Dissector;
use crate::flow::Timestamp;
use crate::http::Protocols;
use crate::ledger::LeftOut;
use crate::metrics::{Metrics, Probe};
use crate::packet::Frame;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::source::live::{FrameSink, KernelCounters, State};
use crate::source::own_traffic::View;
use crate::tcp::CloseReason;

/// Records handed on at once.
const AT_ONCE: usize = 64;
/// How often counters are published, nanoseconds of capture time.
const PUBLISH_EVERY: u64 = 1_000_000_000;

/// Whether anything happens, seen from outside the capture threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<(AtomicU64, AtomicBool)>);

impl Activity {
    /// Frames so far, roughly: as of the last tick.
    pub(super) fn frames(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Whether an exchange was open at the last tick.
    pub(super) fn is_busy(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// The sink of frames of one interface.
pub(super) struct Tap<S, E> {
    interface: String,
    dissector: Dissector,
    pipeline: Pipeline<S, E>,
    own: View,
    probe: Probe,
    metrics: Arc<Metrics>,
    activity: Activity,
    kernel: KernelCounters,
    frames: u64,
    publish_at: Timestamp,
}

impl<S, E> Tap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>),
{
    pub(super) fn new(
        interface: String,
        dissector: Dissector,
        pipeline: Pipeline<S, E>,
        own: View,
        probe: Probe,
        metrics: Arc<Metrics>,
        activity: Activity,
    ) -> Self {
        let kernel = KernelCounters::default();
        let publish_at = Timestamp::default();
        Self { interface, dissector, pipeline, own, probe, metrics, activity, kernel, frames: 0, publish_at }
    }

    /// The capture is over: everything open goes out.
    pub(super) fn finish(mut self) -> Protocols {
        self.dissector.finish(CloseReason::Shutdown);
        self.pipeline.push(self.dissector.records());
        self.pipeline.flush();
        self.publish();
        self.dissector.protocols().clone()
    }

    fn publish(&self) {
        self.probe.publish(&self.dissector.ledger(), &self.kernel);
    }
}

impl<S, E> FrameSink for Tap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>),
{
    fn on_frame(&mut self, frame: Frame<'_>) {
        self.frames += 1;
        self.dissector.handle_frame(&frame, |tuple| self.own.is_own(tuple));
        if self.dissector.records().len() >= AT_ONCE {
            self.pipeline.push(self.dissector.records());
        }
    }

    fn on_tick(&mut self, now: Timestamp) {
        self.dissector.handle_timeout(now);
        self.pipeline.push(self.dissector.records());
        self.pipeline.flush();
        self.activity.0.0.fetch_add(std::mem::take(&mut self.frames), Ordering::Relaxed);
        self.activity.0.1.store(self.dissector.is_busy(), Ordering::Relaxed);
        if now >= self.publish_at || self.publish_at.since(now) > PUBLISH_EVERY {
            self.publish_at = now.plus(PUBLISH_EVERY);
            self.publish();
        }
    }

    fn on_kernel(&mut self, counters: &KernelCounters) {
        self.kernel = counters.clone();
    }

    fn on_state(&mut self, state: &State) {
        match state {
            State::Capturing { link } => tracing::info!(interface = self.interface, link = link.0, "capturing"),
            State::Waiting { reason } => {
                tracing::warn!(interface = self.interface, reason, "waiting for the interface")
            }
        }
        self.metrics.set_capturing(matches!(state, State::Capturing { .. }));
    }
}
