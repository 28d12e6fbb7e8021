//! `podtap replay`: reads capture files and writes the records that a live capture would have given.
//!
//! One dissector reads all files, so a connection may continue in the next one. Full sinks delay the replay instead of
//! losing records.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::assembly::{self, Assembly, Started};
use crate::cli::{self, Input};
use crate::config::Config;
use crate::dissect::Dissector;
use crate::format::Encoded;
use crate::ledger::{LeftOut, RecordLedger};
use crate::logging;
use crate::metrics::{KernelCounters, closing_lines};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::{Pairs, SinkName, counted};
use crate::sink::{SinkStatus, Sinks, WhenFull};
use crate::source::FrameFilter;
use crate::source::file::CaptureReader;
use crate::tcp::CloseReason;
use crate::terminal;

/// Records handed on at once.
const AT_ONCE: usize = 128;
/// Larger than a capture's blocks: nobody waits for these records, no application wants the cache, and to wake the other
/// thread less often is worth more.
const BLOCK_BYTES: usize = 256 << 10;

/// Runs `podtap replay`.
pub fn replay(inputs: &[Input], flags: &Pairs) -> ExitCode {
    let config = match assembly::load(flags) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    logging::start(&config);
    match Replay::new(&config) {
        Ok(replay) => replay.run(inputs),
        Err(error) => {
            cli::tell(&format!("podtap: {error}\n"));
            ExitCode::from(cli::USAGE)
        }
    }
}

struct Replay {
    assembly: Assembly,
    filter: Option<FrameFilter>,
    grace: Duration,
    /// Ctrl-C: what was read so far is finished properly.
    interrupted: Arc<AtomicBool>,
}

impl Replay {
    fn new(config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = &config.settings;
        let own_ips = settings.own_ips.given().map(|ips| ips.to_vec()).unwrap_or_default();
        let filter = settings.cap_filter.replay().map(FrameFilter::new);
        let interrupted = Arc::default();
        Ok(Self { assembly: Assembly::new(config, own_ips)?, filter, grace: settings.grace_period.0, interrupted })
    }

    fn run(mut self, inputs: &[Input]) -> ExitCode {
        let sinks = match self.start() {
            Ok(sinks) => sinks,
            Err(error) => {
                cli::tell(&format!("podtap: {error}\n"));
                return ExitCode::from(cli::USAGE);
            }
        };
        let mut dissector = self.assembly.dissector();
        let mut pipeline = self.assembly.pipeline(&sinks, None).with_blocks_of(BLOCK_BYTES);
        let mut whole = true;
        for input in inputs {
            if let Err(error) = self.read(input, &mut dissector, &mut pipeline) {
                cli::tell(&format!("podtap: {}: {error}\n", input.name()));
                whole = false;
            }
        }
        dissector.finish(CloseReason::EndOfCapture);
        pipeline.push(dissector.records());
        pipeline.flush();
        // Where nothing was read there is nothing to balance, only the message why.
        if whole || dissector.ledger().frames.frames > 0 {
            whole &= self.close(&dissector, pipeline.ledger(), &sinks);
        }
        if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn read<S, E>(
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
        let mut progress = Progress::new(input, size);
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

    fn start(&self) -> Result<Started, Box<dyn std::error::Error>> {
        let sinks = self.assembly.sinks(WhenFull::Wait, None)?;
        on_interrupt(Arc::clone(&self.interrupted), sinks.all(), self.grace)?;
        Ok(sinks)
    }

    /// False when not every record arrived, other than in a pipe that its reader has closed.
    fn close(&self, dissector: &Dissector, records: &RecordLedger, sinks: &Started) -> bool {
        let counts = sinks.all().finish(self.grace);
        let lines = closing_lines(&dissector.ledger(), &KernelCounters::default(), records, &counts);
        cli::tell(&format!("{lines}{}", cli::protocol_lines(dissector.protocols())));
        counts.iter().all(|(_, counts)| counts.lost() == 0 && counts.ledger.spooled == 0)
    }
}

impl Input {
    fn open(&self) -> io::Result<(Box<dyn Read>, Option<u64>)> {
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
        let visible = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let width = terminal::width(io::stderr()).unwrap_or(80);
        let name = shortened(&input.name(), width.saturating_sub(BAR_WIDTH));
        Self { name, size: size.filter(|s| visible && *s > 0), percent: 0 }
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

/// How long a full disk or the like may hold up a replay: a server comes back, but nobody makes room behind a terminal.
const LOCAL_PATIENCE: Duration = Duration::from_secs(5);
/// How often sinks are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The file or standard output that takes nothing any more, and why.
fn hopeless(sinks: &[SinkStatus]) -> Option<String> {
    let local = [SinkName::Stdout, SinkName::File].map(SinkName::word);
    let mut troubled = sinks.iter().filter(|sink| local.contains(&&*sink.name));
    troubled.find_map(|SinkStatus { name, trouble, .. }| {
        let (error, lasting) = trouble.as_ref().filter(|(_, lasting)| *lasting >= LOCAL_PATIENCE)?;
        Some(format!("{name} takes nothing for {} s, giving up: {error}", lasting.as_secs()))
    })
}

/// Sets `flag` at the first Ctrl-C or SIGTERM; the second ends the process. A sink that holds the replay up may do so for
/// `grace` more; one that fails already, not even that. Without a signal, a local one may fail for `LOCAL_PATIENCE`.
fn on_interrupt(flag: Arc<AtomicBool>, sinks: Sinks, grace: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        // Listened to before the first frame is read.
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        let mut look = tokio::time::interval(LOOK);
        let mut asked_at = None;
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                now = look.tick() => {
                    let status = sinks.status();
                    let fails = status.iter().any(|sink| sink.trouble.is_some());
                    if asked_at.is_some_and(|asked| fails || now.duration_since(asked) >= grace) {
                        sinks.abort();
                    } else if let Some(why) = hopeless(&status) {
                        cli::tell(&format!("podtap: {why}\n"));
                        sinks.abort();
                    }
                    continue;
                }
            }
            asked_at = Some(tokio::time::Instant::now());
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(cli::INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::DeliveryError;

    #[test]
    fn a_long_name_leaves_room_for_the_bar_and_keeps_both_ends() {
        for (most, expected) in [(20, "/var/captures/a.pcap"), (11, "/var/….pcap"), (1, "…"), (0, "…")] {
            assert_eq!(shortened("/var/captures/a.pcap", most), expected, "{most}");
        }
        assert_eq!(shortened("ééééé", 3), "é…é");
    }

    #[test]
    fn only_what_fails_on_this_machine_and_for_long_is_hopeless() {
        let status = |name: &str, seconds: Option<u64>| SinkStatus {
            name: name.to_owned(),
            waiting: 1,
            trouble: seconds.map(|seconds| {
                let error =
                    DeliveryError::local(std::io::Error::from_raw_os_error(28), "No space left on device".to_owned());
                (error, Duration::from_secs(seconds))
            }),
        };
        for (name, seconds, expected) in [
            ("stdout", None, false),
            ("stdout", Some(4), false),
            ("stdout", Some(5), true),
            ("file", Some(60), true),
            ("fluentd", Some(3600), false),
        ] {
            let found = hopeless(&[status("elasticsearch", Some(100)), status(name, seconds)]);
            assert_eq!(found.is_some(), expected, "{name} {seconds:?}");
            assert!(found.is_none_or(|why| why.starts_with(name) && why.contains("No space left")), "{name}");
        }
    }
}
