//! `podtap replay`: reads capture files and writes the records that a live capture would have given.
//!
//! One dissector reads all files, so a connection may continue in the next one. Full sinks delay the replay instead of
//! losing records.

mod reading;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::reading::ReadingOptions;
#[cfg(feature = "top")]
pub(crate) use self::reading::ReplayPace;
use crate::assembly::{self, Assembly, StartedSinks};
use crate::cli::{self, CaptureInput};
use crate::config::RunConfig;
use crate::dissect::Dissector;
use crate::format::har;
use crate::ledger::RecordLedger;
use crate::logging;
use crate::metrics::{KernelCounters, closing_lines};
use crate::settings::{SettingPairs, SinkName};
use crate::sink::{SinkCounts, SinkStatus, Sinks, WhenFull};
use crate::tcp::CloseReason;

/// Records handed on at once: few, so that what one leaves free the next takes, while it is in the cache.
const AT_ONCE: usize = 4;
/// Larger than a capture's blocks. No one waits for these records, no application wants the cache, and to wake the other
/// thread less often is worth more.
const BLOCK_BYTES: usize = 256 << 10;

/// Runs `podtap replay`.
pub fn replay(inputs: &[CaptureInput], flags: &SettingPairs) -> ExitCode {
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
    reading: ReadingOptions,
    grace: Duration,
    /// Whether standard output gets one document: with a beginning and an end.
    is_document: bool,
}

impl Replay {
    fn new(config: &RunConfig) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = &config.settings;
        let own_ips = settings.own_ips.given().map(|ips| ips.to_vec()).unwrap_or_default();
        let reading = ReadingOptions::new(settings);
        let (grace, is_document) = (settings.grace_period.0, settings.writes_document());
        Ok(Self { assembly: Assembly::new(config, own_ips)?, reading, grace, is_document })
    }

    fn run(mut self, inputs: &[CaptureInput]) -> ExitCode {
        let sinks = match self.start() {
            Ok(sinks) => sinks,
            Err(error) => {
                cli::tell(&format!("podtap: {error}\n"));
                return ExitCode::from(cli::USAGE);
            }
        };
        for source in self.assembly.workloads().asked() {
            tracing::warn!("WORKLOADS={source} is not asked: it says who has an address now, and not who had it then");
        }
        if self.is_document && !cli::say(&har::beginning()) {
            return ExitCode::FAILURE;
        }
        let mut dissector = self.assembly.dissector();
        let mut pipeline = self.assembly.pipeline(&sinks, None).with_blocks_of(BLOCK_BYTES);
        let mut whole = true;
        for input in inputs {
            let read = self.reading.read(input, &mut dissector, &mut pipeline);
            self.reading.say_notes();
            if let Err(error) = read {
                cli::tell(&format!("podtap: {}: {error}\n", input.name()));
                whole = false;
            }
        }
        dissector.finish(CloseReason::EndOfCapture);
        pipeline.push(dissector.records());
        pipeline.flush();
        let counts = sinks.all().finish(self.grace);
        let stdout = counts.iter().find(|(name, _)| name == SinkName::Stdout.word());
        if self.is_document && stdout.is_some_and(|(_, counts)| counts.lost() + counts.gone() == 0) {
            whole &= cli::say(har::END);
        }
        // Where nothing was read there is nothing to balance, only the message why.
        if whole || dissector.ledger().frames.frames > 0 {
            whole &= close(&dissector, pipeline.ledger(), &counts);
        }
        if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn start(&self) -> Result<StartedSinks, Box<dyn std::error::Error>> {
        let sinks = self.assembly.sinks(WhenFull::Wait, None)?;
        on_interrupt(Arc::clone(&self.reading.interrupted), sinks.all(), self.grace)?;
        Ok(sinks)
    }
}

/// False when not every record arrived, other than in a pipe that its reader has closed.
fn close(dissector: &Dissector, records: &RecordLedger, counts: &[(String, SinkCounts)]) -> bool {
    let lines = closing_lines(&dissector.ledger(), &KernelCounters::default(), records, counts);
    cli::tell(&format!("{lines}{}", cli::protocol_lines(dissector.protocols())));
    counts.iter().all(|(_, counts)| counts.lost() == 0 && counts.ledger.spooled == 0)
}

/// How long a full disk or the like may hold up a replay: a server comes back, but no one makes room behind a terminal.
const LOCAL_PATIENCE: Duration = Duration::from_secs(5);
/// How often sinks are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The file or standard output that takes nothing any more, and why.
fn hopeless(sinks: &[SinkStatus]) -> Option<String> {
    let local = [SinkName::Stdout, SinkName::File].map(SinkName::word);
    let mut troubled = sinks.iter().filter(|sink| local.contains(&&*sink.name));
    troubled.find_map(|SinkStatus { name, trouble, .. }| {
        let (error, lasting) = trouble.as_ref().filter(|(_, lasting)| *lasting >= LOCAL_PATIENCE)?;
        Some(format!("{name} has accepted nothing for {} s; giving up: {error}", lasting.as_secs()))
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
