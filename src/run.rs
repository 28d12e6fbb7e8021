//! `podtap run`: captures until it is stopped.
//!
//! One thread per interface turns frames into encoded records. This thread waits for signals, serves metrics, and keeps
//! the list of our own sockets current. Shutdown is end-of-stream: captures stop, sinks run empty, the ledger is
//! printed.

mod captures;
mod check;
mod connects;
mod demo;
mod kernel;
mod news;
mod place;
mod quiet;
mod shared;
mod signals;
mod tap;
#[cfg(feature = "top")]
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::captures::{CaptureThread, join};
pub use self::check::check;
pub use self::demo::demo;
use self::news::NewsSender;
use self::place::{fit_none, iface, own_ips};
use self::shared::SharedState;
use self::signals::Signals;
use self::tap::FrameTap;
#[cfg(feature = "top")]
pub(crate) use self::watch::CaptureWatch;
use crate::assembly::{self, Assembly, LedgerStatements, StartedSinks};
use crate::cli;
use crate::config::RunConfig;
use crate::exchange::SeenProtocols;
use crate::flow::Timestamp;
use crate::logging;
use crate::metrics::endpoint::MetricsEndpoint;
use crate::metrics::live::LiveSocket;
use crate::metrics::{Metrics, MetricsSnapshot, closing_lines};
use crate::settings::{NetlogLabels, RecordKind, SettingPairs, Settings};
use crate::sink::{SinkCounts, WhenFull};
use crate::source::interfaces::{ANY, InterfaceChoice, KernelTables};
use crate::source::kernel_log;
use crate::source::live::{
    self, CaptureError, CaptureOptions, Fanout, StopSender, StopSignal, check_filter, stop_pair,
};
use crate::source::memory;
use crate::source::own_traffic::OwnTraffic;
use crate::source::privilege::{NeededRight, NotPermitted, Privileges};

/// How often our own sockets are looked for, and traffic is looked at while lingering.
const SECOND: Duration = Duration::from_secs(1);
/// How long the end may take once it is asked for again, or GRACE_PERIOD is nearly over. What hangs then is left, and ends
/// with the process.
const GIVING_UP: Duration = Duration::from_secs(1);
/// How many seconds lie between two looks at the addresses, and at whether a mesh proxy listens.
const LOOK_AROUND: u32 = 5;
/// When a mesh proxy is looked for, in seconds after the start. It may start later than podtap, and a pod can join
/// Istio's ambient mode at any time. Looking takes some milliseconds, the kernel's table of sockets being large even when
/// empty.
const MESH_AT: [u32; 3] = [5, 10, 20];
const MESH_EVERY: u32 = 60;

/// Runs `podtap run`. Call it before any thread starts: capabilities are dropped first.
pub fn run(flags: &SettingPairs) -> ExitCode {
    // Which of them are needed, the settings say.
    Privileges::prepare(&NeededRight::ALL);
    let config = match assembly::load(flags) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    if config.settings.writes_document() {
        return cli::refuse_document();
    }
    let to_load = connects::rights_to_load(&config.settings);
    let privileges = Privileges::prepare(&[&rights(&config.settings), to_load].concat());
    logging::start(&config);
    tracing::debug!(%privileges, "capabilities");
    match capture(&config) {
        Ok(code) => code,
        Err(error) => {
            cli::tell(&format!("podtap: {error}\n"));
            ExitCode::from(cli::USAGE)
        }
    }
}

fn capture(config: &RunConfig) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let connects = connects::load(&config.settings)?;
    // One thread only: this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::new()?;
        let live = LiveParts::start(config, connects)?;
        let bytes = memory::give_back_code();
        tracing::debug!(bytes, "code that was mapped is given back; what runs is mapped again");
        live.until_stopped(signals).await
    })
}

/// Everything that runs.
struct LiveParts {
    began: Instant,
    settings: Settings,
    assembly: Assembly,
    sinks: StartedSinks,
    metrics: Arc<Metrics>,
    statements: Option<LedgerStatements>,
    endpoint: Option<MetricsEndpoint>,
    /// For those who watch.
    socket: Option<LiveSocket>,
    own: OwnTraffic,
    shared: SharedState,
    stop: Option<StopSender>,
    stopped: StopSignal,
    captures: Vec<CaptureThread>,
    /// Says that one of them has ended.
    any_ended: Arc<Notify>,
    /// For readers of logged packets.
    news: NewsSender,
    /// How many captures have not ended at the end.
    left: Arc<AtomicU64>,
    protocols: SeenProtocols,
}

impl LiveParts {
    fn start(config: &RunConfig, connects: connects::LoadAttempt) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = config.settings.clone();
        let tables = KernelTables::read();
        let choices = if settings.captures() { tables.choose(&iface(&settings)) } else { Vec::new() };
        let filter = settings.live_filter();
        choices.iter().try_for_each(|choice| check_filter(filter, &choice.interface))?;
        let own_ips = own_ips(&tables, &settings);
        let mut assembly = Assembly::new(config, own_ips.clone())?;
        let book = if matches!(connects, Some(Ok(_))) { assembly.join_processes() } else { None };
        if let Some(missing) = rights(&settings).into_iter().find_map(NotPermitted::of)
            && std::io::stderr().is_terminal()
        {
            // In a pod podtap stays up and says so; on a terminal the user gets the prompt back.
            return Err(missing.to_string().into());
        }
        let own = OwnTraffic::new(&own_ips);
        let sinks = assembly.sinks(when_full(&settings), Some(&own))?;
        let metrics = Metrics::naming(sinks.all(), assembly.workloads().clone());
        if settings.records(RecordKind::Flows) {
            let literal = settings.netlog_labels == NetlogLabels::Literal;
            metrics.count_flows(literal, settings.netlog_series.count());
        }
        metrics.begin(wall_clock(), assembly.identity().introduction());
        let statements = assembly.statements(&sinks, wall_clock());
        let endpoint = listen(&settings, &own);
        let socket = endpoint.as_ref().and_then(|endpoint| LiveSocket::bind(endpoint.address().port()));
        let (stop, stopped) = stop_pair()?;
        let shared = SharedState::new(Arc::clone(&metrics), own_ips);
        let (captures, any_ended, left, protocols) = Default::default();
        let stop = Some(stop);
        let mut live = Self {
            began: now(),
            settings,
            assembly,
            sinks,
            metrics,
            statements,
            endpoint,
            socket,
            own,
            shared,
            stop,
            stopped,
            captures,
            any_ended,
            news: NewsSender::default(),
            left,
            protocols,
        };
        live.say(&tables, &choices);
        live.start_names()?;
        // First those who read news of connections, then who has them.
        if live.settings.records(RecordKind::Verdicts) {
            live.read_verdicts()?;
        }
        choices.iter().try_for_each(|choice| live.capture(choice))?;
        if live.settings.records(RecordKind::Conntrack) {
            live.track()?;
        }
        if let Some(connects) = connects {
            live.watch_connects(connects, book)?;
        }
        Ok(live)
    }

    /// What it listens to, what it sends where, what it cannot do.
    fn say(&self, tables: &KernelTables, choices: &[InterfaceChoice]) {
        if let Some(pod) = self.assembly.identity().introduction() {
            tracing::info!("observing {pod}");
        }
        for choice in choices {
            tracing::info!("listening on {choice}");
        }
        if let Some(what) = fit_none(&self.settings, tables, choices) {
            tracing::warn!("{what}: nothing is recorded until one fits");
        }
        for source in self.assembly.workloads().in_words() {
            tracing::info!("naming workloads from {source}");
        }
        tracing::debug!(filter = self.settings.live_filter(), "capture filter");
        let terminal = std::io::stdout().is_terminal();
        for sink in self.settings.send_logs_to.iter() {
            let format = self.settings.format_at(*sink, terminal);
            let place = crate::assembly::place(*sink, &self.settings);
            let proxies = crate::assembly::proxies_in_use(*sink, &self.settings);
            let by =
                if proxies.is_empty() { String::new() } else { format!(" through the proxy {}", proxies.join(", ")) };
            tracing::info!("sending records to {place} as {}{by}", format.word());
        }
        if self.settings.send_logs_to.is_empty() {
            tracing::info!("sending records nowhere: SEND_LOGS_TO names no sink");
        }
        if let Some(endpoint) = &self.endpoint {
            tracing::info!("metrics, /healthz and /readyz on {}", endpoint.address());
        }
        if self.settings.records(RecordKind::Http) {
            tracing::info!("HTTP in clear text is recorded; TLS is counted, not decoded");
        }
    }

    /// Starts capturing on one more interface.
    fn capture(&mut self, choice: &InterfaceChoice) -> std::io::Result<()> {
        let interface = choice.interface.as_str();
        let threads = self.settings.capture_threads.count();
        let options = CaptureOptions {
            filter: choice.filter(self.settings.live_filter()),
            snaplen: self.settings.snaplen.bytes() as u32,
            buffer_bytes: self.settings.capture_buffer.bytes() as u32,
            fanout: (threads > 1).then(Fanout::new),
            ..CaptureOptions::new(interface)
        };
        (0..threads).try_for_each(|_| self.capture_on_a_thread(options.clone()))
    }

    fn capture_on_a_thread(&mut self, options: CaptureOptions) -> std::io::Result<()> {
        let interface = options.interface.clone();
        let probe = self.metrics.probe();
        probe.watch(&interface);
        let mut tap = FrameTap {
            dissector: self.assembly.dissector(),
            pipeline: self.assembly.pipeline(&self.sinks, Some(probe.clone())),
            own: self.own.view(),
            news: self.news.clone(),
            probe,
            part: self.shared.part(),
            so_far: tap::SoFar::default(),
            join: self.assembly.join(),
        };
        let stop = self.stopped.clone();
        let capture = CaptureThread::start(interface, &self.any_ended, move || {
            let outcome = live::run(&options, &stop, &mut tap);
            if let Err(error) = &outcome {
                tracing::error!("cannot capture on {}: {error}", options.interface);
            }
            (tap.finish(), outcome)
        })?;
        self.captures.push(capture);
        Ok(())
    }

    async fn until_stopped(mut self, mut signals: Signals) -> Result<ExitCode, Box<dyn std::error::Error>> {
        if let Some(endpoint) = self.endpoint.take() {
            tokio::spawn(endpoint.serve(Arc::clone(&self.metrics)));
        }
        if let Some(socket) = self.socket.take() {
            tokio::spawn(socket.serve(Arc::clone(&self.metrics)));
        }
        let why = self.wait(&mut signals).await;
        let started = now();
        if why == EndCause::Interrupted && std::io::stderr().is_terminal() {
            // The terminal shows ^C on the line where the closing lines would begin.
            cli::tell("\n");
        }
        let asked_again = why == EndCause::Terminated && self.linger(&mut signals).await;
        drop(self.stop.take());
        let grace = self.settings.grace_period.0;
        let (sinks, metrics, failed) = (self.sinks.all(), Arc::clone(&self.metrics), why.is_failure());
        let left = Arc::clone(&self.left);
        let code = move |ok: bool| if ok && !failed { ExitCode::SUCCESS } else { why.failure() };
        let finished = self.finish(started);
        tokio::pin!(finished);
        let exit = tokio::select! {
            ok = &mut finished => return Ok(code(ok)),
            () = signals.hurry(asked_again) => match tokio::time::timeout(GIVING_UP / 2, &mut finished).await {
                Ok(ok) => return Ok(code(ok)),
                Err(_) => cli::INTERRUPTED,
            },
            () = tokio::time::sleep(last_call(grace).saturating_sub(started.elapsed())) => {
                tracing::error!("GRACE_PERIOD is over, ending without what is still under way");
                cli::FAILED
            }
        };
        // What is queued is given up, and counted.
        let gave_up = sinks.clone();
        let gave_up = tokio::task::spawn_blocking(move || gave_up.finish(Duration::ZERO));
        let all = async { (gave_up.await, finished.await) };
        if tokio::time::timeout(GIVING_UP / 2, all).await.is_err() {
            let mut seen = seen(&metrics, None);
            seen.kernel.left = left.load(Ordering::Relaxed);
            say_closing_lines(&seen, &sinks.leave(), &SeenProtocols::default());
        }
        // Not by returning: that waits for whatever hangs.
        std::process::exit(exit)
    }

    /// Until a signal, or until there is nothing more to do.
    async fn wait(&mut self, signals: &mut Signals) -> EndCause {
        let (sinks, any_ended) = (self.sinks.all(), Arc::clone(&self.any_ended));
        let mut tick = tokio::time::interval(SECOND);
        let mut due = self.statements.as_ref().map(|statements| every(statements.every()));
        let mut seconds = 1;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.look_around(seconds);
                    self.say_where_all_is_quiet(seconds);
                    seconds += 1;
                    if let Some(why) = self.look_at_captures() {
                        return why;
                    }
                }
                () = any_ended.notified() => {
                    if let Some(why) = self.look_at_captures() {
                        return why;
                    }
                }
                () = next(&mut due) => {
                    let seen = seen(&self.metrics, self.blind_since());
                    if let Some(statements) = &mut self.statements {
                        statements.tell(seen, wall_clock());
                    }
                }
                _ = signals.term.recv() => return EndCause::Terminated,
                _ = signals.int.recv() => return EndCause::Interrupted,
                _ = signals.hup.recv() => {
                    tracing::info!("reopening files");
                    sinks.reload();
                    self.assembly.workloads().refresh();
                }
                () = sinks.ended() => return EndCause::NoSink,
            }
        }
    }

    /// Silence may mean that nothing is there, or that the wrong place is watched.
    fn say_where_all_is_quiet(&self, seconds: u32) {
        if !quiet::LOOK_AT.contains(&seconds) || !self.settings.records(RecordKind::Http) || self.captures.is_empty() {
            return;
        }
        if let Some(seen) = quiet::instead_of_http(&self.metrics.snapshot().ledger) {
            tracing::info!("no HTTP yet after {seconds} s: {seen}");
        }
    }

    /// Captures count themselves how long they wait; where there are none, the beginning counts.
    fn blind_since(&self) -> Option<Instant> {
        self.began_capturing().filter(|_| self.captures.is_empty())
    }

    /// When capturing began; none where no packets are wanted.
    fn began_capturing(&self) -> Option<Instant> {
        self.settings.captures().then_some(self.began)
    }

    /// Who is behind an address, and behind an interface.
    fn start_names(&self) -> std::io::Result<()> {
        self.assembly.refresh_routes();
        self.assembly.workloads().start(&self.own)
    }

    /// What changes around us while we run.
    fn look_around(&mut self, seconds: u32) {
        self.own.refresh();
        self.metrics.sample(self.began.elapsed());
        if !seconds.is_multiple_of(LOOK_AROUND) {
            return;
        }
        if self.assembly.identity().refresh() {
            tracing::info!("the pod's labels or annotations changed");
        }
        self.assembly.workloads().refresh();
        self.assembly.refresh_routes();
        let now = own_ips(&KernelTables::read_interfaces(), &self.settings);
        if self.shared.set_own_ips(&now) {
            self.own.set_addresses(&now);
        }
        if (MESH_AT.contains(&seconds) || seconds.is_multiple_of(MESH_EVERY))
            && self.is_mesh_awaited()
            && NotPermitted::found().is_none()
            && let Some(lo) = KernelTables::read().mesh()
        {
            tracing::info!("listening on {lo}");
            if let Err(error) = self.capture(&lo) {
                tracing::error!(%error, "cannot capture on lo");
            }
        }
    }

    /// Whether the interfaces were left to us, and loopback is not among them yet.
    fn is_mesh_awaited(&self) -> bool {
        let automatic = self.settings.iface.given().is_none_or(|names| names.iter().any(|name| name == "auto"));
        automatic
            && self.settings.captures()
            && !self.captures.iter().any(|capture| ["lo", ANY].contains(&capture.interface.as_str()))
    }

    /// A capture that ended by itself failed, or came to the end of its file: says what follows from that.
    fn look_at_captures(&mut self) -> Option<EndCause> {
        let mut why = None;
        for ended in self.captures.extract_if(.., |capture| capture.is_finished()) {
            why = match ended.join() {
                Ok((protocols, outcome)) => {
                    self.protocols.merge(&protocols);
                    let waits = when_full(&self.settings) == WhenFull::Drop && !std::io::stderr().is_terminal();
                    match outcome {
                        Ok(()) => Some(EndCause::Ended),
                        Err(CaptureError::Filter { .. }) => Some(EndCause::Unusable),
                        // In a pod it stays up and not ready: ending would only be repeated for ever.
                        Err(CaptureError::NotPermitted(_)) => None,
                        Err(CaptureError::Input { .. }) => (!waits).then_some(EndCause::Unusable),
                    }
                }
                Err(interface) => {
                    tracing::error!(interface, "internal error: the capture thread crashed; capture stopped");
                    Some(EndCause::Panicked)
                }
            };
        }
        why.filter(|why| self.captures.is_empty() || *why == EndCause::Panicked)
    }

    /// The app got its signal at the same moment: its last exchanges are still to come. True when asked again meanwhile.
    async fn linger(&self, signals: &mut Signals) -> bool {
        let grace = self.settings.grace_period.0;
        // Something is left for delivery also where LINGER is all of it.
        let at_most = self.settings.linger().min(grace.saturating_sub((grace / 4).min(4 * GIVING_UP)));
        let deadline = now() + at_most;
        tracing::info!(?at_most, "stopping when the traffic is quiet");
        while now() < deadline {
            let before = self.shared.frames();
            tokio::select! {
                () = tokio::time::sleep(SECOND) => {}
                () = signals.asked_again() => return true,
            }
            if self.shared.frames() == before && !self.shared.is_busy() {
                break;
            }
        }
        false
    }

    /// Ends captures and sinks, prints the closing lines. False when a capture had failed by a bug, or did not end.
    async fn finish(&mut self, started: Instant) -> bool {
        let grace = last_call(self.settings.grace_period.0);
        let (captures, sinks) = (std::mem::take(&mut self.captures), self.sinks.all());
        let mut protocols = std::mem::take(&mut self.protocols);
        let (mut statements, metrics, began) =
            (self.statements.take(), Arc::clone(&self.metrics), self.began_capturing());
        let left = Arc::clone(&self.left);
        let joined = tokio::task::spawn_blocking(move || {
            // A capture that is behind must not take the time that delivery needs.
            let whole = join(captures, grace.saturating_sub(started.elapsed()) / 2, &mut protocols, &left);
            if let Some(statements) = &mut statements {
                statements.tell(seen(&metrics, began), wall_clock());
            }
            let counts = sinks.finish(grace.saturating_sub(started.elapsed()));
            (protocols, counts, whole)
        });
        let Ok((protocols, counts, whole)) = joined.await else { return false };
        let mut seen = seen(&self.metrics, self.began_capturing());
        seen.kernel.left = self.left.load(Ordering::Relaxed);
        say_closing_lines(&seen, &counts, &protocols);
        whole
    }
}

/// When what is still under way is left, so that the process ends within its grace time.
fn last_call(grace: Duration) -> Duration {
    grace.saturating_sub(GIVING_UP.min(grace / 4))
}

fn say_closing_lines(seen: &MetricsSnapshot, counts: &[(String, SinkCounts)], protocols: &SeenProtocols) {
    let lines = closing_lines(&seen.ledger, &seen.kernel, &seen.records, counts);
    cli::tell(&format!("{lines}{}", cli::protocol_lines(protocols)));
}

/// Everything that was counted so far. Where no capture counts any more, and none ever saw anything, that was blindness
/// from `began` on. No one must say then that nothing was lost.
fn seen(metrics: &Metrics, began: Option<Instant>) -> MetricsSnapshot {
    let mut seen = metrics.snapshot();
    if let (0, Some(began)) = (seen.kernel.opens, began) {
        seen.kernel.blind = began.elapsed();
    }
    seen
}

/// The first time after one period.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Never without an interval.
async fn next(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => _ = interval.tick().await,
        None => std::future::pending().await,
    }
}

fn wall_clock() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}

/// Why the capture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndCause {
    Terminated,
    Interrupted,
    NoSink,
    /// What was to be read has been read.
    Ended,
    /// CAP_FILTER fits none of the interfaces, or an input cannot be read.
    Unusable,
    /// A capture thread did.
    Panicked,
}

impl EndCause {
    fn is_failure(self) -> bool {
        matches!(self, Self::Unusable | Self::Panicked)
    }

    fn failure(self) -> ExitCode {
        if self == Self::Unusable { ExitCode::from(cli::USAGE) } else { ExitCode::FAILURE }
    }
}

#[allow(clippy::disallowed_methods, reason = "deadlines of the shutdown run on this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

/// What is read from a file can wait for its sinks; what the kernel sends cannot.
fn when_full(settings: &Settings) -> WhenFull {
    let live = settings.captures()
        || [RecordKind::Conntrack, RecordKind::Connects].into_iter().any(|kind| settings.records(kind));
    let only_file = settings.verdict_groups.is_empty() && !settings.verdict_kmsg;
    if !live && only_file { WhenFull::Wait } else { WhenFull::Drop }
}

/// What must be permitted for what is to be recorded, as long as it runs.
fn rights(settings: &Settings) -> Vec<NeededRight> {
    let (conntrack, verdicts) = (settings.records(RecordKind::Conntrack), settings.records(RecordKind::Verdicts));
    [
        (settings.captures(), NeededRight::NetRaw),
        (conntrack || (verdicts && !settings.verdict_groups.is_empty()), NeededRight::NetAdmin),
        (conntrack && settings.conntrack_all_namespaces, NeededRight::NetBroadcast),
        (verdicts && settings.verdict_kmsg && kernel_log::is_for_administrators(), NeededRight::Syslog),
    ]
    .into_iter()
    .filter_map(|(wanted, right)| wanted.then_some(right))
    .collect()
}

fn listen(settings: &Settings, own: &OwnTraffic) -> Option<MetricsEndpoint> {
    let candidates = settings.metrics_addr.as_ref()?.candidates();
    let endpoint = MetricsEndpoint::bind_first(&candidates)?;
    own.add_listener(endpoint.address());
    Some(endpoint)
}
