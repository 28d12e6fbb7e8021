//! Where the records of `podtap top` come from: a podtap that runs, captures of the network, or files that are played back.
//! Draws nothing.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::board::TopBoard;
use super::draw::BoardFrame;
use super::lock;
use super::running::{NotWatched, Running};
use crate::assembly::Assembly;
use crate::cli::{CaptureInput, TopFrom, TopRequest};
use crate::config::RunConfig;
use crate::filter::Wanted;
use crate::metrics::{InterfaceStatus, Metrics, closing_lines, losses};
use crate::record::Record;
use crate::replay::{ReadingOptions, ReplayPace};
use crate::run::CaptureWatch;
use crate::sink::Sinks;
use crate::tcp::CloseReason;

/// A source that runs.
pub(super) struct TopSource {
    board: Arc<Mutex<TopBoard>>,
    metrics: Arc<Metrics>,
    what: SourceKind,
}

enum SourceKind {
    Running(Running),
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
        let what = if !request.inputs.is_empty() {
            SourceKind::Files(FileThread::start(request, config, &metrics, to_board)?)
        } else if let Some(running) = running(request.from, config, to_board.clone())? {
            SourceKind::Running(running)
        } else {
            SourceKind::Live(CaptureWatch::start(config, &metrics, &to_board)?)
        };
        Ok(Self { board: Arc::clone(board), metrics, what })
    }

    /// What is around the table now. Moves the board's clock on.
    pub(super) fn around(&self, colours: bool) -> BoardFrame {
        let around = match &self.what {
            SourceKind::Running(running) => {
                lock(&self.board).tick(wall_clock());
                let seen = running.seen();
                let total = &seen.status.total;
                BoardFrame {
                    source: format!("{} (running)", in_words(&seen.status.interfaces)),
                    losses: seen.losses(),
                    refused: total.connects_refused,
                    timed_out: total.connects_timed_out,
                    ..BoardFrame::default()
                }
            }
            SourceKind::Live(watch) => {
                lock(&self.board).tick(wall_clock());
                let source = in_words(&self.metrics.status().interfaces);
                BoardFrame { source, ..self.counted(watch.trouble().into_iter().collect()) }
            }
            SourceKind::Files(files) => {
                lock(&self.board).tick(files.clock.load(Ordering::Relaxed));
                let (ended, problems) = (files.thread.is_finished(), lock(&files.problems).clone());
                BoardFrame { source: files.names.clone(), ended, ..self.counted(problems) }
            }
        };
        BoardFrame { colours, ..around }
    }

    /// What was counted here, behind the problems.
    fn counted(&self, mut problems: Vec<String>) -> BoardFrame {
        let seen = self.metrics.snapshot();
        problems.extend(losses(&seen.ledger, &seen.kernel, &[]));
        let streams = &seen.ledger.streams;
        let (refused, timed_out) = (streams.connects_refused, streams.connects_timed_out);
        BoardFrame { losses: problems, refused, timed_out, ..BoardFrame::default() }
    }

    /// Ends it, with the closing lines; what is open is counted.
    pub(super) fn finish(self) -> String {
        match self.what {
            SourceKind::Running(running) => return running.finish(),
            SourceKind::Live(watch) => watch.finish(),
            SourceKind::Files(files) => {
                files.stop.store(true, Ordering::Relaxed);
                // A panic was reported by its hook.
                let _ = files.thread.join();
            }
        }
        let seen = self.metrics.snapshot();
        closing_lines(&seen.ledger, &seen.kernel, &seen.records, &[])
    }
}

/// The podtap that runs, where it is to be watched: unless it has to be that one, none is no error.
fn running(
    from: TopFrom,
    config: &RunConfig,
    to_board: impl Fn(&Record) + Send + 'static,
) -> Result<Option<Running>, Box<dyn std::error::Error>> {
    let listen = config.settings.metrics_addr.as_ref().map(|listen| listen.port);
    let (port, must) = match from {
        TopFrom::Capture => return Ok(None),
        TopFrom::Port(port) => (Some(port), true),
        TopFrom::Running => (listen, true),
        TopFrom::Any => (listen, false),
    };
    let Some(port) = port else {
        let why = "METRICS_ADDR is none, so no running podtap can be found: give its port, --from :PORT";
        return if must { Err(why.into()) } else { Ok(None) };
    };
    match Running::start(port, Wanted::of(&config.settings)?, to_board) {
        Ok(running) => Ok(Some(running)),
        Err(NotWatched::NoneRuns(_)) if !must => Ok(None),
        Err(NotWatched::NoneRuns(why)) => Err(format!(
            "{why}. It may have another port (--from :PORT), or run in another network namespace: kubectl exec -it POD -c \
             podtap -- podtap top"
        )
        .into()),
        Err(NotWatched::Refused(why)) => Err(format!("{why}. --from capture captures here instead").into()),
    }
}

/// `eth0, lo (not now: …)`
fn in_words(interfaces: &[InterfaceStatus]) -> String {
    let one = |interface: &InterfaceStatus| match &interface.waiting {
        Some(why) => format!("{} (not now: {why})", interface.name),
        None => interface.name.clone(),
    };
    interfaces.iter().map(one).collect::<Vec<_>>().join(", ")
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

fn wall_clock() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}
