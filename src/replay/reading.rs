//! Captures, one after the other, into a dissector and a pipeline; how far it has come is shown on a terminal. Knows no sink.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::AT_ONCE;
use crate::cli::{self, CaptureInput};
use crate::dissect::Dissector;
use crate::flow::Timestamp;
use crate::format::Encoded;
use crate::ledger::LeftOut;
use crate::metrics::{KernelCounters, MetricsProbe};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::{Settings, counted};
use crate::source::FrameFilter;
use crate::source::file::CaptureReader;
use crate::terminal;

/// How captures are read.
pub(crate) struct ReadingOptions {
    filter: Option<FrameFilter>,
    /// Ctrl-C: what was read so far is finished properly.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Whether a progress bar may be shown.
    pub(crate) bar: bool,
    /// Times as fast as it was captured; none is as fast as possible.
    pub(crate) pace: Option<ReplayPace>,
    /// Where counters are published on the way.
    pub(crate) probe: Option<MetricsProbe>,
    /// What is strange about an input that was read, a sentence each.
    pub(crate) notes: Vec<String>,
}

impl ReadingOptions {
    pub(crate) fn new(settings: &Settings) -> Self {
        let filter = settings.cap_filter.replay().map(FrameFilter::new);
        let bar = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { filter, interrupted: Arc::default(), bar, pace: None, probe: None, notes: Vec::new() }
    }

    pub(crate) fn read<S, E>(
        &mut self,
        input: &CaptureInput,
        dissector: &mut Dissector,
        pipeline: &mut Pipeline<S, E>,
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        S: FnMut(&mut Record) -> Option<LeftOut>,
        E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
    {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err("stopped by a signal; it was not read".into());
        }
        let (source, size) = input.open()?;
        let mut reader = CaptureReader::open(source)?;
        let mut progress = ReplayProgress::new(input, size.filter(|_| self.bar));
        let mut frames = 0u64;
        while let Some(frame) = reader.next_frame()? {
            if let Some(filter) = self.filter.as_mut()
                && !filter.matches(&frame)?
            {
                continue;
            }
            if self.pace.as_mut().is_some_and(|pace| pace.is_ahead(frame.at)) {
                pipeline.push(dissector.records());
                self.publish(dissector);
                self.wait(frame.at);
            }
            dissector.handle_frame(&frame, |_| false);
            if dissector.records().len() >= AT_ONCE {
                pipeline.push(dissector.records());
            }
            frames += 1;
            if frames.is_multiple_of(4096) {
                progress.show(reader.bytes_read());
                self.publish(dissector);
                if self.interrupted.load(Ordering::Relaxed) {
                    // What was not read must not look like what was not there.
                    return Err(format!(
                        "stopped by a signal after {}; the rest was not read",
                        counted(frames, "frames")
                    )
                    .into());
                }
                if pipeline.is_over() {
                    break;
                }
            }
        }
        let untimed = reader.frames_without_time();
        if untimed > 0 {
            let name = input.name();
            let have = if untimed == 1 { "has" } else { "have" };
            self.notes.push(format!(
                "{name}: {} {have} no time (simple packet blocks); each gets the time of the frame before it, so durations \
                 are wrong",
                counted(untimed, "frames")
            ));
        }
        Ok(())
    }

    /// Prints what is strange.
    pub(crate) fn say_notes(&mut self) {
        self.notes.drain(..).for_each(|note| cli::tell(&format!("podtap: {note}\n")));
    }

    /// As far as they are now.
    pub(crate) fn publish(&self, dissector: &Dissector) {
        if let Some(probe) = &self.probe {
            probe.publish(&dissector.ledger(), &KernelCounters::default());
        }
    }

    /// Until the frame is due.
    fn wait(&mut self, at: Timestamp) {
        let Some(pace) = &mut self.pace else { return };
        while !self.interrupted.load(Ordering::Relaxed) && pace.is_ahead(at) {
            std::thread::sleep(STEP.min(pace.due_in(at)));
        }
    }
}

impl CaptureInput {
    pub(crate) fn open(&self) -> io::Result<(Box<dyn Read>, Option<u64>)> {
        match self {
            Self::Stdin => Ok((Box::new(io::stdin().lock()), None)),
            Self::File(path) => {
                let file = File::open(path)?;
                let size = file.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
                Ok((Box::new(file), size))
            }
        }
    }
}

/// Waits are cut into steps, so that they can be interrupted.
const STEP: Duration = Duration::from_millis(50);

/// How fast frames come.
pub(crate) struct ReplayPace {
    speed: f64,
    began: Option<(Instant, Timestamp)>,
    /// The time of the capture, nanoseconds since 1970, also while no frame is due.
    clock: Arc<AtomicI64>,
}

impl ReplayPace {
    /// This number of times as fast as it was captured.
    #[cfg_attr(not(feature = "top"), allow(dead_code, reason = "`podtap top` alone plays captures back"))]
    pub(crate) fn new(speed: f64, clock: Arc<AtomicI64>) -> Self {
        Self { speed, began: None, clock }
    }

    fn is_ahead(&mut self, at: Timestamp) -> bool {
        !self.due_in(at).is_zero()
    }

    fn due_in(&mut self, at: Timestamp) -> Duration {
        let now = now();
        let (began, first) = *self.began.get_or_insert((now, at));
        let passed = now.saturating_duration_since(began);
        let seen = first.plus((passed.as_nanos() as f64 * self.speed) as u64);
        self.clock.store(seen.min(at).0, Ordering::Relaxed);
        Duration::from_nanos((at.since(first) as f64 / self.speed) as u64).saturating_sub(passed)
    }
}

#[allow(clippy::disallowed_methods, reason = "a capture is played back on this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

/// Bar, percent and the cursor behind them.
const BAR_WIDTH: usize = 36;

/// How far the replay has come; shown on a terminal that shows nothing else.
struct ReplayProgress {
    name: String,
    /// Size of the file; `None` shows nothing.
    size: Option<u64>,
    percent: u64,
}

impl ReplayProgress {
    fn new(input: &CaptureInput, size: Option<u64>) -> Self {
        let width = terminal::width(io::stderr()).unwrap_or(80);
        let name = shortened(&input.name(), width.saturating_sub(BAR_WIDTH));
        Self { name, size: size.filter(|size| *size > 0), percent: 0 }
    }

    fn show(&mut self, bytes: u64) {
        let Some(size) = self.size else { return };
        let now = bytes.saturating_mul(100) / size;
        if now != self.percent {
            self.percent = now;
            let bar = "#".repeat((now / 4) as usize);
            let _ = write!(io::stderr(), "\r{} [{bar:<25}] {now:>3} %", self.name);
            let _ = io::stderr().flush();
        }
    }
}

/// Without its middle where it has more than `most` characters: a line that wraps cannot be overwritten.
fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    let kept = most.saturating_sub(1);
    let head = name.chars().take(kept / 2);
    head.chain(['…']).chain(name.chars().skip(length - (kept - kept / 2))).collect()
}

impl Drop for ReplayProgress {
    fn drop(&mut self) {
        if self.percent > 0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_leaves_room_for_the_bar_and_keeps_both_ends() {
        for (most, expected) in [(20, "/var/captures/a.pcap"), (11, "/var/….pcap"), (1, "…"), (0, "…")] {
            assert_eq!(shortened("/var/captures/a.pcap", most), expected, "{most}");
        }
        assert_eq!(shortened("ééééé", 3), "é…é");
    }
}
