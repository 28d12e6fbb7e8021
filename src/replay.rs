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
use crate::settings::Pairs;
use crate::sink::{Sinks, WhenFull};
use crate::source::FrameFilter;
use crate::source::file::CaptureReader;
use crate::tcp::CloseReason;

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
                    return Err(format!("stopped by a signal after {frames} frames; the rest was not read").into());
                }
                if pipeline.is_over() {
                    break;
                }
            }
        }
        let untimed = reader.frames_without_time();
        if untimed > 0 {
            let name = input.name();
            cli::tell(&format!(
                "podtap: {name}: {untimed} frames have no time (simple packet blocks); each gets the time of the frame before it, so \
                 durations are wrong\n"
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
    /// As it is called in messages.
    fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => crate::settings::printable(&path.display().to_string()),
        }
    }

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
        Self { name: input.name(), size: size.filter(|s| visible && *s > 0), percent: 0 }
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

impl Drop for Progress {
    fn drop(&mut self) {
        if self.percent > 0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Sets `flag` at the first Ctrl-C or SIGTERM; the second ends the process. A sink that holds the replay up may do so for
/// `grace` more.
fn on_interrupt(flag: Arc<AtomicBool>, sinks: Sinks, grace: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        // Listened to before the first frame is read.
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        loop {
            let asked = flag.load(Ordering::Relaxed);
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                () = tokio::time::sleep(grace), if asked => {
                    sinks.abort();
                    continue;
                }
            }
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(cli::INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}
