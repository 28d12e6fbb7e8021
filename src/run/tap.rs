//! The work of one capture thread: frames in, encoded records out, counters published.
//!
//! Nothing here waits: a sink whose queue is full loses records, and counts them.

use std::time::Duration;

use super::news::NewsSender;
use super::shared::ThreadPart;
use crate::connects::ProcessJoiner;
use crate::dissect::Dissector;
use crate::exchange::SeenProtocols;
use crate::flow::{IpProtocol, Timestamp};
use crate::format::Encoded;
use crate::ledger::LeftOut;
use crate::metrics::MetricsProbe;
use crate::packet::Frame;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::source::live::{CaptureState, FrameSink, KernelCounters};
use crate::source::own_traffic::OwnTrafficView;
use crate::tcp::CloseReason;

/// Records handed on at once.
const AT_ONCE: usize = 64;
/// How often the rest of the connects is waited for at the end, and how long each time.
const LAST_LOOKS: usize = 50;
const LAST_LOOK: Duration = Duration::from_millis(10);
/// News handed on at once.
const NEWS_AT_ONCE: usize = 1024;
/// How often counters are published, nanoseconds of capture time.
const PUBLISH_EVERY: u64 = 1_000_000_000;

/// The sink of frames of one interface.
pub(super) struct FrameTap<S, E> {
    pub(super) dissector: Dissector,
    pub(super) pipeline: Pipeline<S, E>,
    pub(super) own: OwnTrafficView,
    pub(super) news: NewsSender,
    pub(super) probe: MetricsProbe,
    pub(super) part: ThreadPart,
    pub(super) so_far: SoFar,
    /// Looks for processes, where connects are read.
    pub(super) join: Option<ProcessJoiner>,
}

/// What a tap has counted, and when it publishes next.
#[derive(Debug, Default)]
pub(super) struct SoFar {
    kernel: KernelCounters,
    /// Since the last tick, our own left out: what sinks send must not look like traffic.
    frames: u64,
    publish_at: Timestamp,
}

impl<S, E> FrameTap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
{
    /// The capture is over: everything open goes out.
    pub(super) fn finish(mut self) -> SeenProtocols {
        self.dissector.finish(CloseReason::Shutdown);
        self.look_for_processes();
        if let Some(join) = &mut self.join {
            // Connects are read to their end at the same time.
            for _ in 0..LAST_LOOKS {
                if !join.is_waiting() {
                    break;
                }
                std::thread::sleep(LAST_LOOK);
            }
            join.finish(self.dissector.records());
        }
        self.pipeline.push(self.dissector.records());
        self.pipeline.flush();
        self.publish();
        self.dissector.protocols().clone()
    }

    fn look_for_processes(&mut self) {
        if let Some(join) = &mut self.join {
            join.take(self.dissector.records());
        }
    }

    /// Passes on what flows came to, for those who wait for it.
    fn serve_news(&mut self, now: Timestamp) {
        let Some(flows) = self.dissector.flows() else { return };
        if self.news.serve(flows.news()) {
            flows.look_for_unanswered(now);
            self.news.serve(flows.news());
        }
    }

    fn publish(&self) {
        let mut ledger = self.dissector.ledger();
        if let Some(join) = &self.join {
            ledger.connects.joins = join.joins().clone();
        }
        self.probe.publish(&ledger, &self.so_far.kernel);
    }
}

impl<S, E> FrameSink for FrameTap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
{
    fn on_frame(&mut self, frame: Frame<'_>) {
        let mut own = false;
        self.dissector.handle_any_frame(&frame, |protocol, tuple| {
            own = match protocol {
                IpProtocol::TCP => self.own.is_own(tuple),
                IpProtocol::UDP => self.own.is_own_datagram(tuple),
                _ => false,
            };
            own
        });
        self.so_far.frames += u64::from(!own);
        if self.dissector.records().len() >= AT_ONCE {
            self.look_for_processes();
            self.pipeline.push(self.dissector.records());
        }
        if self.dissector.flows().is_some_and(|flows| flows.news().len() >= NEWS_AT_ONCE) {
            self.serve_news(frame.at);
        }
    }

    fn on_tick(&mut self, now: Timestamp) {
        if let Some(own_ips) = self.part.new_own_ips() {
            self.dissector.set_own_ips(own_ips);
        }
        self.dissector.handle_timeout(now);
        self.serve_news(now);
        self.look_for_processes();
        if let Some(join) = &mut self.join {
            join.tick(self.dissector.records());
        }
        self.pipeline.push(self.dissector.records());
        self.pipeline.flush();
        self.part.tick(std::mem::take(&mut self.so_far.frames), self.dissector.is_busy());
        let publish_at = self.so_far.publish_at;
        if now >= publish_at || publish_at.since(now) > PUBLISH_EVERY {
            self.so_far.publish_at = now.plus(PUBLISH_EVERY);
            self.publish();
        }
    }

    fn on_kernel(&mut self, counters: &KernelCounters) {
        // What was not captured may have been what followed.
        let lost = |counters: &KernelCounters| counters.dropped + counters.interface_dropped;
        if lost(counters) > lost(&self.so_far.kernel) {
            self.news.note_lost();
        }
        self.so_far.kernel = counters.clone();
    }

    fn on_state(&mut self, state: &CaptureState) {
        self.part.set_capturing(matches!(state, CaptureState::Capturing { .. }));
        self.probe.set_waiting(match state {
            CaptureState::Capturing { .. } => None,
            CaptureState::Waiting { reason } => Some(reason),
        });
    }
}
