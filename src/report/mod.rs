//! `podtap report FILE.pcap > report.html`: what is in a capture, as one page that needs nothing else.
//!
//! Reads as `podtap replay` does, and adds up in bounded memory, so its size does not grow with the capture. Sends nothing
//! anywhere.

mod charts;
mod escape;
mod page;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;

use crate::assembly::{self, Assembly};
use crate::cli::{self, CaptureInput};
use crate::config::RunConfig;
use crate::flow::Timestamp;
use crate::ledger::{Ledger, RecordLedger};
use crate::logging;
use crate::metrics::{KernelCounters, closing_lines, losses};
use crate::record::{EventOutcome, Exchange, Record};
use crate::replay::ReadingOptions;
use crate::settings::SettingPairs;
use crate::tally::{LeadingRows, Sample, SlowestExchanges, TallyKey, TallyRow, Timeline, connect_key, flow_key};
use crate::tcp::CloseReason;

/// Rows for routes, for pairs of client and server, for connects, for flows.
const MOST_ROWS: usize = 200;
/// Kinds of errors.
const MOST_FAILURES: usize = 50;
/// Exchanges that are shown one by one: the slowest, and the first that failed.
const MOST_EXCHANGES: usize = 50;
/// Steps of the time line.
const MOST_STEPS: usize = 200;

/// Runs `podtap report`.
pub fn report(inputs: &[CaptureInput], flags: &SettingPairs) -> ExitCode {
    let config = match assembly::load(flags) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    logging::start(&config);
    match made(inputs, &config) {
        // Why was said; an empty page would look like an answer.
        Ok((None, _)) => ExitCode::FAILURE,
        Ok((Some(page), whole)) => match cli::say(&page) && whole {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Err(error) => {
            cli::tell(&format!("podtap: {error}\n"));
            ExitCode::from(cli::USAGE)
        }
    }
}

/// The page, where anything could be read, and whether it has all of the inputs.
fn made(inputs: &[CaptureInput], config: &RunConfig) -> Result<(Option<String>, bool), Box<dyn std::error::Error>> {
    let own_ips = config.settings.own_ips.given().map(|ips| ips.to_vec()).unwrap_or_default();
    let assembly = Assembly::new(config, own_ips)?;
    let mut reading = ReadingOptions::new(&config.settings);
    cli::on_interrupt(Arc::clone(&reading.interrupted))?;
    let mut report = ExchangeReport::default();
    let mut dissector = assembly.dissector();
    let (mut problems, mut whole) = (Vec::new(), true);
    let mut pipeline = assembly.watched(|record| report.add(record), None);
    for input in inputs {
        let read = reading.read(input, &mut dissector, &mut pipeline);
        reading.notes.iter().for_each(|note| problems.push(note.clone()));
        reading.say_notes();
        if let Err(error) = read {
            whole = false;
            let why = format!("{}: {error}", input.name());
            cli::tell(&format!("podtap: {why}\n"));
            problems.push(why);
        }
    }
    dissector.finish(CloseReason::EndOfCapture);
    pipeline.push(dissector.records());
    let records = pipeline.ledger().clone();
    drop(pipeline);
    let ledger = dissector.ledger();
    if !whole && ledger.frames.frames == 0 {
        return Ok((None, false));
    }
    let files = inputs.iter().map(CaptureInput::name).collect();
    Ok((Some(page::page(&report, &CountedInputs::new(files, problems, &ledger, &records))), whole))
}

/// What is around the exchanges: the inputs, and what they lack.
#[derive(Debug)]
struct CountedInputs {
    files: Vec<String>,
    /// Inputs that could not be read to their end.
    problems: Vec<String>,
    losses: Vec<String>,
    closing: String,
}

impl CountedInputs {
    fn new(files: Vec<String>, problems: Vec<String>, ledger: &Ledger, records: &RecordLedger) -> Self {
        let kernel = KernelCounters::default();
        let closing = closing_lines(ledger, &kernel, records, &[]);
        Self { files, problems, losses: losses(ledger, &kernel, &[]), closing }
    }
}

/// Everything that the page shows of records.
#[derive(Debug)]
struct ExchangeReport {
    all: TallyRow,
    span: Option<(Timestamp, Timestamp)>,
    timeline: Timeline,
    routes: LeadingRows,
    pairs: LeadingRows,
    slowest: SlowestExchanges,
    failures: FailedExchanges,
    /// By who asked for what, and what came of it.
    connects: LeadingRows,
    /// By both ends, where RECORD asks for flows.
    flows: LeadingRows,
}

/// Exchanges that failed.
#[derive(Debug)]
struct FailedExchanges {
    /// By status and route.
    kinds: LeadingRows,
    first: Vec<Exchange>,
}

impl Default for ExchangeReport {
    fn default() -> Self {
        Self {
            all: TallyRow::default(),
            span: None,
            timeline: Timeline::new(MOST_STEPS),
            routes: LeadingRows::new(MOST_ROWS),
            pairs: LeadingRows::new(MOST_ROWS),
            slowest: SlowestExchanges::new(MOST_EXCHANGES),
            failures: FailedExchanges { kinds: LeadingRows::new(MOST_FAILURES), first: Vec::new() },
            connects: LeadingRows::new(MOST_ROWS),
            flows: LeadingRows::new(MOST_ROWS),
        }
    }
}

impl ExchangeReport {
    fn add(&mut self, record: &Record) {
        if let Record::Http(exchange) = record {
            self.exchange(exchange);
        } else if let Record::Connect(connect) = record {
            self.connects.add(&connect_key(connect), &**connect);
        } else if let Record::Flow(flow) = record {
            self.flows.add(&flow_key(flow), &**flow);
        }
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let sample = Sample::from(exchange);
        self.all.add(sample);
        let (start, end) = (exchange.start(), exchange.end().unwrap_or(exchange.start()));
        let (first, last) = self.span.unwrap_or((start, end));
        self.span = Some((first.min(start), last.max(end)));
        self.timeline.add(exchange);
        self.slowest.add(exchange);
        let route = TallyKey::Route.of(exchange);
        self.routes.add(&route, sample);
        let ends = format!("{}{}{}", TallyKey::Client.of(exchange), charts::PAIR, TallyKey::Server.of(exchange));
        self.pairs.add(&ends, sample);
        if exchange.outcome() == EventOutcome::Failure {
            let kind = format!("{}{}{route}", TallyKey::Status.of(exchange), charts::PAIR);
            self.failures.kinds.add(&kind, sample);
            if self.failures.first.len() < MOST_EXCHANGES {
                self.failures.first.push(exchange.clone());
            }
        }
    }
}
