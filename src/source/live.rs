//! Captures on one interface: libpcap, non-blocking, on a plain thread.
//!
//! Owns the loop (wait, read, tick), reopening with backoff, and the kernel's counters. Decides neither which
//! interfaces (`interfaces`) nor what a frame means: it is handed on as it came.
//!
//! libpcap's read timeout does not end a wait on a quiet link, therefore poll(2) with a descriptor to stop on.

mod counters;
mod fanout;
mod handle;
mod names;
mod pace;
mod stop;

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

pub use counters::KernelCounters;
pub use fanout::Fanout;
pub use handle::{CaptureError, check_filter};
pub(in crate::source) use names::name_of;
pub(in crate::source) use stop::wait_for;
pub use stop::{StopSender, StopSignal, stop_pair};

use counters::CounterFollow;
use handle::{CaptureHandle, OpenError};
use pace::{CapturePace, Due, Elapsed, ReopenBackoff};

use crate::flow::Timestamp;
use crate::packet::{Frame, LinkType};
use crate::settings::DEFAULT_CAPTURE_FILTER;

/// Frames read before the clock and the signal to stop are looked at again.
const BATCH: usize = 1024;
/// The pause after a wake-up that brought nothing, so that a descriptor in error cannot spin.
const EMPTY_WAKEUP: Duration = Duration::from_millis(1);
/// How long the ring is read at most after the signal to stop; only a flood needs more.
const MAX_DRAIN: Duration = Duration::from_secs(1);

/// How to capture. There is no promiscuous mode: in a pod it shows nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Name of one interface, or `any`.
    pub interface: String,
    /// In pcap-filter(7) syntax; empty for every frame.
    pub filter: String,
    /// Bytes kept of a frame. With GSO a frame is far longer than the MTU: below 262144 payload is lost.
    pub snaplen: u32,
    /// Size of the kernel's ring. It counts in RSS as far as it was used, hardly in the memory cgroup.
    pub buffer_bytes: u32,
    /// How long the kernel may hold a block that is not full, at least 1; frames have the kernel's time anyway. The
    /// longer, the fewer wake-ups, which are most of the cost when there is little traffic.
    pub timeout_ms: u32,
    /// Shares the frames of the interface with the other captures that have the same one.
    pub fanout: Option<Fanout>,
}

impl CaptureOptions {
    /// The defaults, for one interface: every frame that may carry TCP, whole.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            filter: DEFAULT_CAPTURE_FILTER.to_owned(),
            snaplen: 262_144,
            buffer_bytes: 8 << 20,
            timeout_ms: 100,
            fanout: None,
        }
    }
}

/// What a capture thread feeds. Called on that thread only.
pub trait FrameSink {
    /// A frame, in the order of the kernel.
    fn on_frame(&mut self, frame: Frame<'_>);

    /// A few times a second, also under load and while the interface is away: the capture's clock has reached `now`.
    /// Soon after frames, so that what they gave can go out.
    ///
    /// Frames still to come are not older: `now` stays behind the wall clock by what the kernel may hold back.
    fn on_tick(&mut self, now: Timestamp);

    /// About every second, and at the end: the kernel's counters.
    fn on_kernel(&mut self, _counters: &KernelCounters) {}

    /// The capture began, or is waiting for its interface.
    fn on_state(&mut self, _state: &CaptureState) {}
}

/// What a capture is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureState {
    /// Frames arrive.
    Capturing {
        /// Their link type.
        link: LinkType,
    },
    /// There is no handle; it is tried again.
    Waiting {
        /// Why: libpcap's message, or that there is no such interface.
        reason: String,
    },
}

/// Starts `run` on a thread named after the interface.
pub fn spawn<S: FrameSink + Send + 'static>(
    options: CaptureOptions,
    stop: StopSignal,
    mut sink: S,
) -> io::Result<JoinHandle<(S, Result<(), CaptureError>)>> {
    // Linux shows the first 15 bytes of a thread's name.
    let name = format!("cap-{}", options.interface);
    std::thread::Builder::new().name(name).spawn(move || {
        let outcome = run(&options, &stop, &mut sink);
        (sink, outcome)
    })
}

/// Captures until it is stopped, whatever happens to the interface.
///
/// Opens the interface itself, so the calling thread must have NET_RAW permitted (`privilege`). An error means that
/// trying again is of no use; podtap then stays up and says so.
pub fn run(options: &CaptureOptions, stop: &StopSignal, sink: &mut impl FrameSink) -> Result<(), CaptureError> {
    let mut run = CaptureRun {
        options,
        stop,
        sink,
        pace: CapturePace::new(options.timeout_ms),
        backoff: ReopenBackoff::default(),
        follow: CounterFollow::default(),
        counters: KernelCounters::default(),
    };
    let outcome = run.until_stopped();
    run.sink.on_kernel(&run.counters);
    outcome
}

struct CaptureRun<'a, S> {
    options: &'a CaptureOptions,
    stop: &'a StopSignal,
    sink: &'a mut S,
    pace: CapturePace,
    backoff: ReopenBackoff,
    follow: CounterFollow,
    counters: KernelCounters,
}

impl<S: FrameSink> CaptureRun<'_, S> {
    fn until_stopped(&mut self) -> Result<(), CaptureError> {
        loop {
            let reason = match CaptureHandle::open(self.options) {
                Ok(handle) => match self.capture(handle) {
                    Ok(()) => return Ok(()),
                    Err(reason) => reason,
                },
                Err(OpenError::Permanent(error)) => return Err(error),
                Err(OpenError::Missing) => "there is no such interface".to_owned(),
                Err(OpenError::Transient(reason)) => reason,
            };
            self.say_waiting(reason);
            if self.wait_without_handle() {
                return Ok(());
            }
        }
    }

    /// A warning when a capture stops or cannot begin; further attempts in a row are no news.
    fn say_waiting(&mut self, reason: String) {
        let interface = &self.options.interface;
        if self.backoff.is_fresh() {
            tracing::warn!(%interface, %reason, "not capturing; retrying until the interface can be opened");
        } else {
            tracing::debug!(%interface, %reason, "still not capturing");
        }
        self.sink.on_state(&CaptureState::Waiting { reason });
    }

    /// Time goes on for the sink while there is no interface. True when asked to stop.
    fn wait_without_handle(&mut self) -> bool {
        let delay = self.backoff.step();
        let waiting = Elapsed::start();
        loop {
            self.pace.drained(pace::wall_clock());
            self.tick(None, false);
            let left = delay.saturating_sub(waiting.so_far());
            let stopped = self.stop.wait(None, left.min(self.pace.until_tick())).stopped;
            if stopped || left.is_zero() {
                self.counters.blind += waiting.so_far();
                return stopped;
            }
        }
    }

    /// Reads one handle. Ok when it is stopped, else why the handle is unusable.
    fn capture(&mut self, mut handle: CaptureHandle) -> Result<(), String> {
        self.follow.restart();
        self.counters.opens += 1;
        let link = handle.link();
        self.sink.on_state(&CaptureState::Capturing { link });
        tracing::info!(interface = %self.options.interface, link = link.0, "capturing");
        let open = Elapsed::start();
        let outcome = self.read_until_stopped(&mut handle);
        self.drain(&mut handle);
        self.sample(&mut handle);
        self.backoff.lasted(open.so_far());
        outcome
    }

    fn read_until_stopped(&mut self, handle: &mut CaptureHandle) -> Result<(), String> {
        while !self.step(handle)? {}
        Ok(())
    }

    /// Waits, reads what there is, ticks. True when asked to stop.
    ///
    /// Reads at every tick even when nothing is ready. The descriptor shows an error when the interface goes down, and
    /// libpcap looks only in a later call whether it is gone.
    fn step(&mut self, handle: &mut CaptureHandle) -> Result<bool, String> {
        let wakeup = self.stop.wait(Some(handle.fd()), self.pace.until_tick());
        let frames = self.read(handle)?;
        if wakeup.ready && frames == 0 {
            std::thread::sleep(EMPTY_WAKEUP);
        }
        let due = self.tick(Some(handle), frames > 0);
        if due.sample && !handle.is_current() {
            return Err("the interface was removed or replaced".to_owned());
        }
        Ok(wakeup.stopped)
    }

    /// What the kernel still holds back was captured before the signal to stop, or before the interface went away: the
    /// last exchanges are in it. An error is not the end of it either, libpcap reports one and then goes on.
    fn drain(&mut self, handle: &mut CaptureHandle) {
        let limit = self.pace.hold().min(MAX_DRAIN);
        let draining = Elapsed::start();
        loop {
            let so_far = draining.so_far();
            let ready = stop::wait_for(handle.fd(), limit.saturating_sub(so_far));
            // Also when the time is over: this thread may not have had a processor before.
            let frames = self.read(handle).unwrap_or(0);
            if so_far >= MAX_DRAIN || (so_far >= limit && frames == 0) {
                return;
            }
            if ready && frames == 0 {
                std::thread::sleep(EMPTY_WAKEUP);
            }
        }
    }

    /// How many frames there were.
    fn read(&mut self, handle: &mut CaptureHandle) -> Result<usize, String> {
        let Self { sink, pace, .. } = self;
        let before = pace::wall_clock();
        let frames = handle.read(BATCH, |frame| {
            pace.saw(frame.at);
            sink.on_frame(frame);
        })?;
        if frames < BATCH {
            pace.drained(before);
        }
        Ok(frames)
    }

    fn tick(&mut self, handle: Option<&mut CaptureHandle>, behind_frames: bool) -> Due {
        let due = self.pace.due(behind_frames);
        if due.tick {
            self.sink.on_tick(self.pace.now());
        }
        if due.sample {
            if let Some(handle) = handle {
                self.sample(handle);
            }
            self.sink.on_kernel(&self.counters);
        }
        due
    }

    fn sample(&mut self, handle: &mut CaptureHandle) {
        if let Some(stat) = handle.stats() {
            self.follow.add(stat, &mut self.counters);
        }
    }
}
