//! Where the exchanges of `podtap top` come from: captures of the network, or files that are played back. Draws nothing.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::board::TopBoard;
use super::draw::BoardFrame;
use crate::assembly::Assembly;
use crate::cli::{CaptureInput, TopRequest};
use crate::config::RunConfig;
use crate::metrics::{Metrics, losses};
use crate::record::Record;
use crate::replay::{ReadingOptions, ReplayPace};
use crate::run::CaptureWatch;
use crate::sink::Sinks;
use crate::tcp::CloseReason;

/// A source that runs.
pub(super) struct TopSource {
    board: Arc<Mutex<TopBoard>>,
    pub(super) metrics: Arc<Metrics>,
    what: SourceKind,
}

enum SourceKind {
    Live(CaptureWatch),
    Files(FileThread),
}

/// Files that are read on a thread.
struct FileThread {
    thread: JoinHandle<()>,
    names: String,
    stop: Arc<AtomicBool>,
    clock: Arc<AtomicI64>,
    /// What could not be read.
    problems: Arc<Mutex<Vec<String>>>,
}

impl TopSource {
    /// Begins.
    pub(super) fn start(
        request: &TopRequest,
        config: &RunConfig,
        board: &Arc<Mutex<TopBoard>>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let metrics = Metrics::new(Sinks::default());
        let to_board = {
            let board = Arc::clone(board);
            move |record: &Record| lock(&board).add(record)
        };
        let what = if request.inputs.is_empty() {
            SourceKind::Live(CaptureWatch::start(config, &metrics, &to_board)?)
        } else {
            SourceKind::Files(FileThread::start(request, config, &metrics, to_board)?)
        };
        Ok(Self { board: Arc::clone(board), metrics, what })
    }

    /// What is around the table now. Moves the board's clock on.
    pub(super) fn around(&self, colours: bool) -> BoardFrame {
        let seen = self.metrics.snapshot();
        let (source, ended, mut problems, now) = match &self.what {
            SourceKind::Live(watch) => {
                let interfaces =
                    self.metrics.status().interfaces.into_iter().map(|interface| match interface.waiting {
                        Some(why) => format!("{} (not now: {why})", interface.name),
                        None => interface.name,
                    });
                (interfaces.collect::<Vec<_>>().join(", "), false, watch.trouble().into_iter().collect(), wall_clock())
            }
            SourceKind::Files(files) => {
                let (ended, now) = (files.thread.is_finished(), files.clock.load(Ordering::Relaxed));
                (files.names.clone(), ended, lock(&files.problems).clone(), now)
            }
        };
        lock(&self.board).tick(now);
        problems.extend(losses(&seen.ledger, &seen.kernel, &[]));
        let streams = &seen.ledger.streams;
        BoardFrame {
            source,
            ended,
            losses: problems,
            refused: streams.connects_refused,
            timed_out: streams.connects_timed_out,
            colours,
        }
    }

    /// Ends it; what is open is counted.
    pub(super) fn finish(self) {
        match self.what {
            SourceKind::Live(watch) => watch.finish(),
            SourceKind::Files(files) => {
                files.stop.store(true, Ordering::Relaxed);
                // A panic was reported by its hook.
                let _ = files.thread.join();
            }
        }
    }
}

impl FileThread {
    fn start(
        request: &TopRequest,
        config: &RunConfig,
        metrics: &Arc<Metrics>,
        to_board: impl Fn(&Record) + Send + 'static,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let own_ips = config.settings.own_ips.given().map(|ips| ips.to_vec()).unwrap_or_default();
        let assembly = Assembly::new(config, own_ips)?;
        let (clock, problems): (Arc<AtomicI64>, Arc<Mutex<Vec<String>>>) = Default::default();
        let mut reading = ReadingOptions::new(&config.settings);
        reading.bar = false;
        reading.pace = request.speed.map(|speed| ReplayPace::new(speed, Arc::clone(&clock)));
        let probe = metrics.probe();
        reading.probe = Some(probe.clone());
        let (stop, inputs, found) = (Arc::clone(&reading.interrupted), request.inputs.clone(), Arc::clone(&problems));
        // The end of a path says most.
        let short = |input: &CaptureInput| input.name().rsplit('/').next().unwrap_or_default().to_owned();
        let names = inputs.iter().map(short).collect::<Vec<_>>().join(", ");
        let read = move || {
            let mut dissector = assembly.dissector();
            let mut pipeline = assembly.watched(to_board, Some(probe));
            for input in &inputs {
                let outcome = reading.read(input, &mut dissector, &mut pipeline);
                lock(&found).append(&mut reading.notes);
                if let Err(error) = outcome {
                    lock(&found).push(format!("{}: {error}", input.name()));
                }
            }
            dissector.finish(CloseReason::EndOfCapture);
            pipeline.push(dissector.records());
            pipeline.flush();
            reading.publish(&dissector);
        };
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(read)?;
        Ok(Self { thread, names, stop, clock, problems })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums and lists: a panic while holding it leaves nothing half done that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall_clock() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}
