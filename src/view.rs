//! `podtap view`: records in JSON back to lines for eyes, filtered, with a summary.
//!
//! One thread reads the input and cuts it into blocks of whole lines. A few turn those into text, and one writes what they
//! made, in order. Captures nothing.

mod input;
mod lines;
mod summary;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use self::input::BlockReader;
use self::lines::{ShownLines, Viewer};
use self::summary::ViewSummary;
use crate::assembly;
use crate::cli::{self, ViewRequest};
use crate::filter::Wanted;
use crate::settings::{SettingPairs, Settings};
use crate::terminal;

/// More threads than this are of no use: one thread reads.
const MOST_WORKERS: usize = 4;
/// Blocks that wait for a worker, or a worker's that wait to be written.
const WAITING: usize = 2;

/// Runs `podtap view`.
pub fn view(request: &ViewRequest, flags: &SettingPairs) -> ExitCode {
    let settings = match assembly::look(flags).outcome {
        Ok(settings) => settings,
        Err(wrong) => return cli::refuse(&wrong),
    };
    let viewer = match viewer(&settings) {
        Ok(viewer) => viewer,
        Err(why) => {
            cli::tell(&format!("podtap: {why}\n"));
            return ExitCode::from(cli::USAGE);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = cli::on_interrupt(Arc::clone(&stop)) {
        cli::tell(&format!("podtap: {error}\n"));
        return ExitCode::FAILURE;
    }
    let (summary, whole) = run(request, &viewer, &stop, io::stdout());
    cli::tell(&summary.to_string());
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn viewer(settings: &Settings) -> Result<Viewer, String> {
    let style = assembly::style(settings, io::stdout().is_terminal());
    Ok(Viewer { wanted: Wanted::of(settings)?, style })
}

/// One worker's ends: blocks in, text out.
type WorkerEnds = (Receiver<Vec<u8>>, SyncSender<ShownLines>);

/// The summary, and whether everything was read and written; a reader that has left (`| head`) is no error.
fn run(request: &ViewRequest, viewer: &Viewer, stop: &AtomicBool, out: impl Write + Send) -> (ViewSummary, bool) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_WORKERS);
    let (mut blocks, mut shown, mut ends): (Vec<_>, Vec<_>, Vec<WorkerEnds>) = Default::default();
    for _ in 0..workers {
        let (block, takes) = sync_channel(WAITING);
        let (gives, text) = sync_channel(WAITING);
        blocks.push(block);
        shown.push(text);
        ends.push((takes, gives));
    }
    std::thread::scope(|scope| {
        for (takes, gives) in ends {
            scope.spawn(move || {
                for block in takes {
                    // The other end is gone when the reader of the text has left.
                    let width = viewer.style.width.and_then(|width| terminal::width(io::stdout()).or(Some(width)));
                    if gives.send(viewer.show(&block, width)).is_err() {
                        break;
                    }
                }
            });
        }
        let writer = scope.spawn(move || write(&shown, stop, out));
        let read = read(request, &blocks, stop);
        drop(blocks);
        let written = writer.join().unwrap_or_else(|_| (ViewSummary::default(), false));
        (written.0, written.1 && read)
    })
}

/// Gives blocks to the workers, each in its turn. False where an input could not be read to its end.
fn read(request: &ViewRequest, workers: &[SyncSender<Vec<u8>>], stop: &AtomicBool) -> bool {
    let mut turn = workers.iter().cycle();
    let mut whole = true;
    for (number, input) in request.inputs.iter().enumerate() {
        let follow = request.follow && number + 1 == request.inputs.len();
        let outcome = BlockReader::open(input, follow).and_then(|mut reader| {
            while let Some(block) = reader.next_block(stop)? {
                let Some(Ok(())) = turn.next().map(|worker| worker.send(block)) else { return Ok(()) };
            }
            Ok(())
        });
        if let Err(error) = outcome {
            cli::tell(&format!("podtap: {}: {error}\n", input.name()));
            whole = false;
        }
    }
    whole
}

/// Writes what the workers made, each in its turn: that is the order of the input.
fn write(workers: &[Receiver<ShownLines>], stop: &AtomicBool, mut out: impl Write) -> (ViewSummary, bool) {
    let mut summary = ViewSummary::default();
    for worker in workers.iter().cycle() {
        let Ok(shown) = worker.recv() else { break };
        summary.merge(&shown.summary);
        if let Err(error) = out.write_all(&shown.text).and_then(|()| out.flush()) {
            stop.store(true, Ordering::Relaxed);
            let left = error.kind() == io::ErrorKind::BrokenPipe;
            if !left {
                cli::tell(&format!("podtap: standard output: {error}\n"));
            }
            return (summary, left);
        }
    }
    (summary, true)
}
