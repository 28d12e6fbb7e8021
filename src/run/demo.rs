//! `podtap demo`: captures the mix on loopback, or renders it where that is not possible. Shows records, then the
//! ledger.
//!
//! Everything between a frame and a line is the code of `run` and `replay`. Settings apply (`--format`,
//! `--ignore-status`, …), except those for the source of traffic and the sinks: it is always the mix, and standard
//! output.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::news::NewsSender;
use super::shared::SharedState;
use super::tap::{FrameTap, SoFar};
use crate::assembly::{self, Assembly, StartedSinks};
use crate::cli;
use crate::config;
use crate::demo::{DemoStage, RENDERED_SERVER, exchanges, rendered};
use crate::exchange::SeenProtocols;
use crate::flow::Timestamp;
use crate::format::text;
use crate::ledger::{Ledger, RecordLedger};
use crate::logging;
use crate::metrics::{KernelCounters, Metrics, closing_lines};
use crate::packet::Frame;
use crate::settings::{Format, SettingPairs, SinkName, ValueOrigin, wrapped};
use crate::sink::WhenFull;
use crate::source::live::{self, CaptureState, FrameSink, StopSender, stop_pair};
use crate::source::own_traffic::OwnTraffic;
use crate::source::privilege::{NeededRight, NotPermitted, Privileges};
use crate::tcp::CloseReason;

const LOOPBACK: &str = "lo";
/// How long the capture may take to begin.
const PATIENCE: Duration = Duration::from_secs(5);
/// Width of what is said.
const WIDTH: usize = 100;

/// Runs `podtap demo`. Call it before any thread starts: capabilities are dropped first.
pub fn demo(flags: &SettingPairs) -> ExitCode {
    Privileges::prepare(&[NeededRight::NetRaw]);
    let config = match assembly::load(&with_defaults(flags)) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    if config.settings.writes_document() {
        return cli::refuse_document();
    }
    logging::start(&config);
    match Show::new(&config).and_then(|show| runtime()?.block_on(show.run())) {
        Ok(closing) => {
            cli::tell(&closing);
            ExitCode::SUCCESS
        }
        Err(error) => {
            cli::tell(&format!("podtap: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

type DemoOutcome<T> = Result<T, Box<dyn std::error::Error>>;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Text, and no word of podtap's own log about a good start, where nothing else was asked for.
fn with_defaults(flags: &SettingPairs) -> SettingPairs {
    let resolution = config::look(flags);
    let asked = |name: &str| {
        let row = resolution.rows.iter().find(|row| row.variable.name == name);
        row.is_some_and(|row| !matches!(row.origin, ValueOrigin::Default | ValueOrigin::Mode))
    };
    let mut flags = flags.clone();
    flags.insert("SEND_LOGS_TO".to_owned(), SinkName::Stdout.word().to_owned());
    if !asked("FORMAT") && !asked("FORMAT_STDOUT") {
        flags.insert("FORMAT".to_owned(), Format::Text.word().to_owned());
    }
    if !asked("LOG_LEVEL") {
        flags.insert("LOG_LEVEL".to_owned(), "warn".to_owned());
    }
    flags
}

struct Show {
    assembly: Assembly,
    sinks: StartedSinks,
    metrics: Arc<Metrics>,
    /// Whether records are lines for eyes.
    text: bool,
    style: text::TextStyle,
    grace: Duration,
}

/// What the closing lines are made of.
struct DemoCounts {
    heading: String,
    ledger: Ledger,
    kernel: KernelCounters,
    records: RecordLedger,
    protocols: SeenProtocols,
}

impl Show {
    fn new(config: &config::RunConfig) -> DemoOutcome<Self> {
        let own_ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), RENDERED_SERVER.ip];
        let assembly = Assembly::new(config, own_ips)?;
        let sinks = assembly.sinks(WhenFull::Wait, None)?;
        let metrics = Metrics::new(sinks.all());
        let terminal = std::io::stdout().is_terminal();
        let text = config.settings.format_at(SinkName::Stdout, terminal) == Format::Text;
        let style = assembly::style(&config.settings, terminal);
        Ok(Self { assembly, sinks, metrics, text, style, grace: config.settings.grace_period.0 })
    }

    /// Gives the closing lines.
    async fn run(self) -> DemoOutcome<String> {
        let seen = match self.captured().await? {
            Ok(seen) => seen,
            Err(why) => self.rendered(&why),
        };
        let counts = self.sinks.all().finish(self.grace);
        let lines = closing_lines(&seen.ledger, &seen.kernel, &seen.records, &counts);
        let twice = if seen.kernel.received > seen.ledger.frames.frames { TWICE } else { "" };
        Ok(format!("\n{}\n\n{lines}{}{twice}", seen.heading, cli::protocol_lines(&seen.protocols)))
    }

    /// Plays the mix and captures it; the inner error says why that cannot be had here.
    async fn captured(&self) -> DemoOutcome<Result<DemoCounts, String>> {
        if let Some(missing) = NotPermitted::found() {
            return Ok(Err(missing.to_string()));
        }
        let stage = match DemoStage::bind().await {
            Ok(stage) => stage,
            Err(error) => return Ok(Err(format!("cannot listen on loopback: {error}"))),
        };
        let server = stage.server()?;
        let (stop, capture) = match self.capture(server).await? {
            Ok(capture) => capture,
            Err(why) => return Ok(Err(why)),
        };
        say(&format!(
            "A small web shop plays on {server} for three seconds, its server and its clients inside this process. \
             podtap captures it on the interface {LOOPBACK}, and gives one line for each exchange."
        ));
        self.legend();
        let sinks = self.sinks.all();
        let cut_short = tokio::select! {
            played = stage.run() => { played?; false }
            _ = tokio::signal::ctrl_c() => true,
            () = sinks.ended() => true,
        };
        drop(stop);
        let protocols = capture.join().map_err(|_| "the capture thread panicked")?;
        let heading = if cut_short {
            "The play was cut short. What podtap saw until then:".to_owned()
        } else {
            format!("{} exchanges were played. What podtap saw of them:", exchanges())
        };
        let seen = self.metrics.snapshot();
        Ok(Ok(DemoCounts { heading, ledger: seen.ledger, kernel: seen.kernel, records: seen.records, protocols }))
    }

    /// A running capture of the server's port, or why there is none.
    async fn capture(&self, server: SocketAddr) -> DemoOutcome<Result<(StopSender, DemoCapture), String>> {
        let options = live::CaptureOptions {
            filter: format!("tcp port {}", server.port()),
            ..live::CaptureOptions::new(LOOPBACK)
        };
        let probe = self.metrics.probe();
        let tap = FrameTap {
            dissector: self.assembly.dissector(),
            pipeline: self.assembly.pipeline(&self.sinks, Some(probe.clone())),
            // The play is this process's own traffic, and wanted: our sockets are not excluded here.
            own: OwnTraffic::default().view(),
            news: NewsSender::default(),
            probe,
            part: SharedState::new(Arc::clone(&self.metrics), Vec::new()).part(),
            so_far: SoFar::default(),
            join: None,
        };
        let (stop, stopped) = stop_pair()?;
        let (began, begins) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("cap-{LOOPBACK}")).spawn(move || {
            let mut curtain = Curtain { tap, began: Some(began) };
            let outcome = live::run(&options, &stopped, &mut curtain);
            if let (Err(error), Some(began)) = (outcome, curtain.began.take()) {
                let _ = began.send(Err(error.to_string()));
            }
            curtain.tap.finish()
        })?;
        Ok(match tokio::time::timeout(PATIENCE, begins).await {
            Ok(Ok(Ok(()))) => Ok((stop, thread)),
            Ok(Ok(Err(why))) => Err(why),
            Ok(Err(_)) | Err(_) => Err(format!("the capture on {LOOPBACK} does not begin")),
        })
    }

    /// The same without a network.
    fn rendered(&self, why: &str) -> DemoCounts {
        say(
            "podtap cannot capture here, so what follows was never on a network: the same small web shop, rendered to \
             packets in memory.",
        );
        cli::tell("\n");
        say(&format!("Why: {why}."));
        self.legend();
        let mut dissector = self.assembly.dissector();
        let mut pipeline = self.assembly.pipeline(&self.sinks, None);
        for frame in rendered(now()) {
            dissector.handle_frame(&frame.as_frame(), |_| false);
        }
        dissector.finish(CloseReason::EndOfCapture);
        pipeline.push(dissector.records());
        pipeline.flush();
        DemoCounts {
            heading: format!("{} exchanges were rendered. What podtap saw of them:", exchanges()),
            ledger: dissector.ledger(),
            kernel: KernelCounters::default(),
            records: pipeline.ledger().clone(),
            protocols: dissector.protocols().clone(),
        }
    }

    /// What the columns are.
    fn legend(&self) {
        if self.text {
            say("Lines appear in the order in which exchanges end; **** is a masked secret.");
            cli::tell(&format!("\n{}\n", text::heading(&self.style)));
        }
    }
}

/// About `kernel packets`; nothing is lost, so it must not look like it.
const TWICE: &str =
    "(On loopback the kernel counts each packet twice, going out and coming in; podtap takes one of them.)\n";

type DemoCapture = std::thread::JoinHandle<SeenProtocols>;

/// Reports once how the capture began.
struct Curtain<T> {
    tap: T,
    began: Option<oneshot::Sender<Result<(), String>>>,
}

impl<T: FrameSink> FrameSink for Curtain<T> {
    fn on_frame(&mut self, frame: Frame<'_>) {
        self.tap.on_frame(frame);
    }

    fn on_tick(&mut self, now: Timestamp) {
        self.tap.on_tick(now);
    }

    fn on_kernel(&mut self, counters: &KernelCounters) {
        self.tap.on_kernel(counters);
    }

    fn on_state(&mut self, state: &CaptureState) {
        self.tap.on_state(state);
        let Some(began) = self.began.take() else { return };
        // The receiver may be gone, and does not need to know then.
        let _ = began.send(match state {
            CaptureState::Capturing { .. } => Ok(()),
            CaptureState::Waiting { reason } => Err(format!("{LOOPBACK}: {reason}")),
        });
    }
}

/// On standard error, in lines that fit.
fn say(text: &str) {
    for line in wrapped(text, WIDTH) {
        cli::tell(&format!("{line}\n"));
    }
}

#[allow(clippy::disallowed_methods, reason = "rendered traffic begins now")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs().cast_signed(), since.subsec_nanos().into())
}
