//! `podtap run`: captures until told to stop.
//!
//! One thread for each interface carries frames to encoded records; this one waits for signals, serves metrics and keeps
//! the list of our own sockets fresh. Shutdown is end-of-stream: captures stop, sinks run empty, the ledger is printed.

mod tap;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::assembly::{Assembly, Started};
use crate::cli;
use crate::config::{self, Config};
use crate::http::Protocols;
use crate::logging;
use crate::metrics::endpoint::Endpoint;
use crate::metrics::{Metrics, closing_lines};
use crate::settings::{Pairs, Settings};
use crate::sink::WhenFull;
use crate::source::interfaces::{ANY, Choice, Tables};
use crate::source::live::{self, CaptureError, Options, StopSender, check_filter, stop_pair};
use crate::source::own_traffic::OwnTraffic;
use crate::source::privilege::{NotPermitted, Privileges};

use self::tap::Activity;

/// How often our own sockets are looked for, and traffic is looked at while lingering.
const SECOND: Duration = Duration::from_secs(1);

/// What a capture thread ends with: its dissector's last words, and why it ended early.
type Captured = (Protocols, Result<(), CaptureError>);

/// Runs `podtap run`. Call it before any thread starts: capabilities are dropped first.
pub fn run(flags: &Pairs) -> ExitCode {
    let privileges = Privileges::prepare();
    let config = match config::load(flags) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    logging::start(&config);
    tracing::debug!(%privileges, "capabilities");
    let outcome = Live::start(&config).and_then(|live| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(live.until_stopped())
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("podtap: {error}");
            ExitCode::from(cli::USAGE)
        }
    }
}

/// Everything that runs.
struct Live {
    settings: Settings,
    sinks: Started,
    metrics: Arc<Metrics>,
    endpoint: Option<Endpoint>,
    own: OwnTraffic,
    own_ips: Vec<std::net::IpAddr>,
    stop: Option<StopSender>,
    captures: Vec<JoinHandle<Captured>>,
    activity: Activity,
}

impl Live {
    fn start(config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = config.settings.clone();
        let filter = config.settings.cap_filter.live().unwrap_or_default();
        check_filter(filter).map_err(|error| format!("CAP_FILTER: {error}"))?;
        let tables = Tables::read();
        let given = settings.own_ips.given().map(|ips| ips.to_vec());
        let own_ips = tables.own_ips(given.as_deref().unwrap_or(&settings.pod_ips));
        let assembly = Assembly::new(config, own_ips.clone())?;
        if let Some(missing) = NotPermitted::found()
            && std::io::stderr().is_terminal()
        {
            // In a pod podtap stays up and says so; whoever sits before a terminal gets the prompt back.
            return Err(missing.to_string().into());
        }
        let own = OwnTraffic::new(&own_ips);
        let sinks = assembly.sinks(WhenFull::Drop)?;
        let metrics = Metrics::new(sinks.all());
        let endpoint = listen(&settings, &own);
        let (stop, stopped) = stop_pair()?;
        let activity = Activity::default();
        let mut live =
            Self { settings, sinks, metrics, endpoint, own, own_ips, stop: Some(stop), captures: Vec::new(), activity };
        let choices = tables.choose(&iface(&live.settings));
        live.say(&choices, filter);
        for choice in choices {
            let capture = live.capture(&assembly, &choice, filter, stopped.clone())?;
            live.captures.push(capture);
        }
        Ok(live)
    }

    /// What it listens to, what it sends where, what it cannot do.
    fn say(&self, choices: &[Choice], filter: &str) {
        for choice in choices {
            tracing::info!("listening on {choice}");
        }
        tracing::debug!(filter, "capture filter");
        let sinks: Vec<_> = self.settings.send_logs_to.iter().map(|sink| sink.word()).collect();
        let terminal = std::io::stdout().is_terminal();
        let formats = self.settings.send_logs_to.iter().map(|sink| self.settings.format_at(*sink, terminal).word());
        tracing::info!(to = sinks.join(","), format = formats.collect::<Vec<_>>().join(","), "sending records");
        if let Some(endpoint) = &self.endpoint {
            tracing::info!("metrics, /healthz and /readyz on {}", endpoint.address());
        }
        tracing::info!("HTTP/1 in clear text is recorded; TLS and HTTP/2 are counted, not decoded");
    }

    fn capture(
        &self,
        assembly: &Assembly,
        choice: &Choice,
        filter: &str,
        stop: live::Stop,
    ) -> std::io::Result<JoinHandle<Captured>> {
        let options = Options {
            interface: choice.interface.clone(),
            filter: filter.to_owned(),
            snaplen: self.settings.snaplen.bytes() as u32,
            buffer_bytes: self.settings.capture_buffer.bytes() as u32,
            ..Options::new(choice.interface.clone())
        };
        let probe = self.metrics.probe();
        let pipeline = assembly.pipeline(&self.sinks, Some(probe.clone()));
        let tap = tap::Tap::new(
            choice.interface.clone(),
            assembly.dissector(),
            pipeline,
            self.own.view(),
            probe,
            Arc::clone(&self.metrics),
            self.activity.clone(),
        );
        let name = format!("cap-{}", choice.interface);
        std::thread::Builder::new().name(name).spawn(move || {
            let mut tap = tap;
            let outcome = live::run(&options, &stop, &mut tap);
            if let Err(error) = &outcome {
                tracing::error!("cannot capture on {}: {error}", options.interface);
            }
            (tap.finish(), outcome)
        })
    }

    async fn until_stopped(mut self) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let mut signals = Signals::new()?;
        if let Some(endpoint) = self.endpoint.take() {
            tokio::spawn(endpoint.serve(Arc::clone(&self.metrics)));
        }
        let why = self.wait(&mut signals).await?;
        let started = now();
        if why == Why::Terminated {
            self.linger(&mut signals).await;
        }
        drop(self.stop.take());
        let finished = self.finish(started);
        tokio::pin!(finished);
        tokio::select! {
            lines = &mut finished => {
                eprint!("{lines}");
                Ok(ExitCode::SUCCESS)
            }
            // Whoever asks twice wants no more waiting.
            () = signals.asked_again() => std::process::exit(cli::INTERRUPTED),
        }
    }

    /// Until a signal, or until no sink is left.
    async fn wait(&mut self, signals: &mut Signals) -> std::io::Result<Why> {
        let sinks = self.sinks.all();
        let mut tick = tokio::time::interval(SECOND);
        loop {
            tokio::select! {
                _ = tick.tick() => self.refresh(),
                _ = signals.term.recv() => return Ok(Why::Terminated),
                _ = signals.int.recv() => return Ok(Why::Interrupted),
                _ = signals.hup.recv() => {
                    tracing::info!("reopening files");
                    sinks.reload();
                }
                () = sinks.ended() => return Ok(Why::NoSink),
            }
        }
    }

    fn refresh(&mut self) {
        self.own.refresh();
        let now =
            Tables::read().own_ips(self.settings.own_ips.given().map_or(&self.settings.pod_ips[..], |ips| &ips[..]));
        if now != self.own_ips {
            self.own.set_addresses(&now);
            self.own_ips = now;
        }
    }

    /// The app got its signal at the same moment: its last exchanges are still to come.
    async fn linger(&self, signals: &mut Signals) {
        let deadline = now() + self.settings.linger();
        tracing::info!(at_most = ?self.settings.linger(), "stopping when the traffic is quiet");
        while now() < deadline {
            let before = self.activity.frames();
            tokio::select! {
                () = tokio::time::sleep(SECOND) => {}
                () = signals.asked_again() => return,
            }
            if self.activity.frames() == before && !self.activity.is_busy() {
                return;
            }
        }
    }

    /// Ends captures and sinks; gives the closing lines.
    async fn finish(&mut self, started: Instant) -> String {
        let grace = self.settings.grace_period.0;
        let (captures, sinks) = (std::mem::take(&mut self.captures), self.sinks.all());
        let joined = tokio::task::spawn_blocking(move || {
            let mut protocols = Protocols::default();
            for (seen, _) in captures.into_iter().filter_map(|capture| capture.join().ok()) {
                protocols.merge(&seen);
            }
            let counts = sinks.finish(grace.saturating_sub(started.elapsed()));
            (protocols, counts)
        });
        let Ok((protocols, counts)) = joined.await else { return String::new() };
        let seen = self.metrics.snapshot();
        let lines = closing_lines(&seen.ledger, &seen.kernel, &seen.records, &counts);
        format!("{lines}{}", cli::protocol_lines(&protocols))
    }
}

/// Why the capture ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Terminated,
    Interrupted,
    NoSink,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let on = |kind| signal(kind);
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    async fn asked_again(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "deadlines of the shutdown run on this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

/// IFACE as `Tables::choose` takes it: empty means by route.
fn iface(settings: &Settings) -> String {
    settings.iface.given().map(|names| names.join(",")).unwrap_or_default()
}

fn listen(settings: &Settings, own: &OwnTraffic) -> Option<Endpoint> {
    let candidates = settings.metrics_addr.as_ref()?.candidates();
    let endpoint = Endpoint::bind_first(&candidates)?;
    own.add_listener(endpoint.address());
    Some(endpoint)
}

/// What `podtap check` finds about the capture.
pub fn check(settings: &Settings) -> Vec<cli::check::Finding> {
    use cli::check::Finding;
    let mut findings = Vec::new();
    findings.push(match NotPermitted::found() {
        None => Finding::ok("may open interfaces (NET_RAW)"),
        Some(missing) => Finding::fail("may not open interfaces", missing.to_string()),
    });
    let filter = settings.cap_filter.live().unwrap_or_default();
    findings.push(match check_filter(filter) {
        Ok(()) => Finding::ok("CAP_FILTER compiles"),
        Err(error) => Finding::fail(format!("CAP_FILTER: {error}"), "see pcap-filter(7)"),
    });
    let choices = Tables::read().choose(&iface(settings));
    if choices.is_empty() {
        findings.push(Finding::fail("no interface to listen on", "set IFACE"));
    }
    for choice in choices {
        let known = choice.interface == ANY || choice.exists;
        findings.push(if known {
            Finding::ok(format!("interface {choice}"))
        } else {
            Finding::warn(
                format!("interface {} does not exist", choice.interface),
                "podtap waits for it; or change IFACE",
            )
        });
    }
    if let Some(listen) = &settings.metrics_addr {
        let free = listen.candidates().iter().any(|address| std::net::TcpListener::bind(address).is_ok());
        findings.push(if free {
            Finding::ok(format!("METRICS_ADDR: port {} is free", listen.port))
        } else {
            Finding::warn(
                format!("METRICS_ADDR: port {} is taken", listen.port),
                "podtap runs without metrics; or change it",
            )
        });
    }
    findings
}
