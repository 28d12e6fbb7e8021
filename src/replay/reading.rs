//! Captures, one after the other, into a dissector and a pipeline; how far it has come is shown on a terminal. Knows no sink.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::AT_ONCE;
use crate::cli::{self, Input};
use crate::dissect::Dissector;
use crate::format::Encoded;
use crate::ledger::LeftOut;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::{Settings, counted};
use crate::source::FrameFilter;
use crate::source::file::CaptureReader;
use crate::terminal;

/// How captures are read.
pub(crate) struct Reading {
    filter: Option<FrameFilter>,
    /// Ctrl-C: what was read so far is finished properly.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Whether a progress bar may be shown.
    pub(crate) bar: bool,
}

impl Reading {
    pub(crate) fn new(settings: &Settings) -> Self {
        let filter = settings.cap_filter.replay().map(FrameFilter::new);
        let bar = io::stderr().is_terminal() && !io::stdout().is_terminal();
        Self { filter, interrupted: Arc::default(), bar }
    }

    pub(crate) fn read<S, E>(
        &mut self,
        input: &Input,
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
        let mut progress = Progress::new(input, size.filter(|_| self.bar));
        let mut frames = 0u64;
        while let Some(frame) = reader.next_frame()? {
            if let Some(filter) = self.filter.as_mut()
                && !filter.matches(&frame)?
            {
                continue;
            }
            dissector.handle_frame(&frame, |_| false);
            if dissector.records().len() >= AT_ONCE {
                pipeline.push(dissector.records());
            }
            frames += 1;
            if frames.is_multiple_of(4096) {
                progress.show(reader.bytes_read());
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
            cli::tell(&format!(
                "podtap: {name}: {} {have} no time (simple packet blocks); each gets the time of the frame before it, so \
                 durations are wrong\n",
                counted(untimed, "frames")
            ));
        }
        Ok(())
    }
}

impl Input {
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

/// Bar, percent and the cursor behind them.
const BAR_WIDTH: usize = 36;

/// How far the replay has come; shown on a terminal that shows nothing else.
struct Progress {
    name: String,
    /// Size of the file; `None` shows nothing.
    size: Option<u64>,
    percent: u64,
}

impl Progress {
    fn new(input: &Input, size: Option<u64>) -> Self {
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

impl Drop for Progress {
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
