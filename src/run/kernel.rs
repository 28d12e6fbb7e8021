//! The threads that listen to the kernel: events in, encoded records out, counters published.
//!
//! Like `tap`, nothing here waits for a sink.

use super::captures::{CaptureResult, CaptureThread};
use super::shared::ThreadPart;
use super::{LiveParts, RecordKind};
use crate::exchange::SeenProtocols;
use crate::flow::Timestamp;
use crate::format::Encoded;
use crate::ledger::{Ledger, LeftOut};
use crate::metrics::{KernelCounters, MetricsProbe};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::Settings;
use crate::source::conntrack::{self, KernelAccounting};
use crate::source::kernel_log::{self, FollowOptions, LogInput};
use crate::source::live::{CaptureError, StopSignal};
use crate::source::nflog;
use crate::source::store::StoreFile;
use crate::verdict::VerdictEngine;

/// How often counters are published, in nanoseconds.
const PUBLISH_EVERY: u64 = 1_000_000_000;

impl LiveParts {
    /// Starts listening to connection tracking.
    pub(super) fn track(&mut self) -> std::io::Result<()> {
        let settings = &self.settings;
        let options = conntrack::ConntrackOptions {
            buffer_bytes: settings.conntrack_buffer.bytes(),
            all_namespaces: settings.conntrack_all_namespaces,
        };
        let lacks = match KernelAccounting::read() {
            Ok(accounting) => missing(accounting),
            Err(error) => {
                tracing::warn!(%error, "this network namespace may have no connection tracking yet");
                String::new()
            }
        };
        let mut tracker = self.assembly.tracker();
        let mut tap = self.tap(format!("connection tracking{lacks}"));
        let (stop, mut news) = (self.stopped.clone(), self.news.clone());
        self.listen(RecordKind::Conntrack.word(), move || {
            let outcome = conntrack::run(&options, &stop, &mut tracker, |tracker, now| {
                if let Some(own_ips) = tap.part.new_own_ips() {
                    tracker.set_own_ips(own_ips);
                }
                if news.serve(tracker.news()) {
                    tracker.ask_for_dump();
                }
                tap.push(tracker.records());
                tap.tick(now, || Ledger { conntrack: tracker.ledger().clone(), ..Ledger::default() });
            });
            tap.publish(&Ledger { conntrack: tracker.ledger().clone(), ..Ledger::default() });
            outcome
        })
    }

    /// Starts reading logged packets: a thread for each input.
    pub(super) fn read_verdicts(&mut self) -> std::io::Result<()> {
        for input in inputs(&self.settings) {
            let mut tap = self.tap(format!("logged packets of {}", input.in_words()));
            let (stop, mut verdicts) = (self.stopped.clone(), self.assembly.verdicts());
            let mut news = self.assembly.joins_verdicts().then(|| self.news.reader());
            let mut store = self.settings.verdict_store.as_deref().map(StoreFile::new);
            if let Some(store) = store.as_mut().and_then(StoreFile::changed) {
                verdicts.set_store(store);
            }
            let name = input.name();
            self.listen(name, move || {
                let outcome = input.run(&stop, &mut verdicts, |verdicts, now| {
                    if let Some(store) = store.as_mut().and_then(StoreFile::changed) {
                        verdicts.set_store(store);
                        verdicts.ledger_mut().stores += 1;
                    }
                    if let Some(prefix) = verdicts.take_unknown_prefix() {
                        tap.say_unknown(&prefix);
                    }
                    if let Some(news) = &mut news {
                        news.serve(verdicts, now);
                    }
                    tap.push(verdicts.records());
                    tap.tick(now, || Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() });
                });
                tap.publish(&Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() });
                outcome
            })?;
        }
        Ok(())
    }

    /// A way to the sinks for one thread, and in words what it records.
    #[allow(clippy::type_complexity, reason = "closures have no name, and `impl` none either in a type alias")]
    pub(super) fn tap(
        &self,
        what: String,
    ) -> KernelTap<
        impl FnMut(&mut Record) -> Option<LeftOut> + use<>,
        impl FnMut(&Record, &mut Vec<u8>) -> Encoded + use<>,
    > {
        let probe = self.metrics.probe();
        KernelTap {
            pipeline: self.assembly.pipeline(&self.sinks, Some(probe.clone())),
            probe,
            part: self.shared.part(),
            publish_at: Timestamp::default(),
            begins: Some(what),
            said_unknown: false,
        }
    }

    /// Starts a thread that is named after its input.
    pub(super) fn listen(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<(), CaptureError> + Send + 'static,
    ) -> std::io::Result<()> {
        let (input, probe) = (name.to_owned(), self.metrics.probe());
        let capture = CaptureThread::start(name.to_owned(), &self.any_ended, move || -> CaptureResult {
            let outcome = run();
            if let Err(error) = &outcome {
                tracing::error!(input, "cannot record: {error}");
                probe.publish(&Ledger::default(), &KernelCounters { unheard: 1, ..KernelCounters::default() });
            }
            (SeenProtocols::default(), outcome)
        })?;
        self.captures.push(capture);
        Ok(())
    }
}

/// One input of logged packets.
enum KernelInput {
    Nflog(nflog::NflogOptions),
    Log(LogInput),
}

impl KernelInput {
    fn name(&self) -> &'static str {
        match self {
            Self::Nflog(_) => "nflog",
            Self::Log(LogInput::Kmsg) => "kmsg",
            Self::Log(LogInput::Stdin | LogInput::File(_) | LogInput::Follow(_)) => "kernel-log",
        }
    }

    fn in_words(&self) -> String {
        let printable = |path: &std::path::Path| crate::settings::printable(&path.display().to_string());
        match self {
            Self::Nflog(options) => {
                let groups: Vec<_> = options.groups.iter().map(ToString::to_string).collect();
                format!("NFLOG, groups {}", groups.join(", "))
            }
            Self::Log(LogInput::Kmsg) => "/dev/kmsg".to_owned(),
            Self::Log(LogInput::Stdin) => "standard input".to_owned(),
            Self::Log(LogInput::File(path)) => printable(path),
            Self::Log(LogInput::Follow(options)) => printable(&options.path),
        }
    }

    fn run(
        &self,
        stop: &StopSignal,
        verdicts: &mut VerdictEngine,
        step: impl FnMut(&mut VerdictEngine, Timestamp),
    ) -> Result<(), CaptureError> {
        match self {
            Self::Nflog(options) => nflog::run(options, stop, verdicts, step),
            Self::Log(input) => kernel_log::run(input, stop, verdicts, step),
        }
    }
}

fn inputs(settings: &Settings) -> Vec<KernelInput> {
    let groups = settings.verdict_groups.iter().filter_map(|group| u16::try_from(group.count()).ok()).collect();
    let nflog = nflog::NflogOptions { groups, buffer_bytes: settings.verdict_buffer.bytes() };
    let file = settings.verdict_file.clone().map(|path| match (path.as_os_str() == "-", settings.verdict_follow) {
        (true, _) => LogInput::Stdin,
        (false, true) => LogInput::Follow(FollowOptions { path, position: settings.verdict_position.clone() }),
        (false, false) => LogInput::File(path),
    });
    let nflog = (!nflog.groups.is_empty()).then_some(KernelInput::Nflog(nflog));
    let kmsg = settings.verdict_kmsg.then_some(KernelInput::Log(LogInput::Kmsg));
    nflog.into_iter().chain(kmsg).chain(file.map(KernelInput::Log)).collect()
}

/// What records will lack, in words.
fn missing(accounting: KernelAccounting) -> String {
    let lacks = [
        (accounting.counters, "packets and bytes (net.netfilter.nf_conntrack_acct=1 counts them)"),
        (accounting.times, "the kernel's times (net.netfilter.nf_conntrack_timestamp=1 keeps them)"),
    ];
    let lacks: Vec<_> = lacks.into_iter().filter(|(has, _)| !has).map(|(_, what)| what).collect();
    if lacks.is_empty() { String::new() } else { format!(", without {}", lacks.join(" and ")) }
}

pub(super) struct KernelTap<S, E> {
    pipeline: Pipeline<S, E>,
    probe: MetricsProbe,
    pub(super) part: ThreadPart,
    publish_at: Timestamp,
    /// What is recorded, until it is.
    begins: Option<String>,
    said_unknown: bool,
}

impl<S, E> KernelTap<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
{
    pub(super) fn push(&mut self, records: &mut Vec<Record>) {
        if let Some(what) = self.begins.take() {
            tracing::info!("recording {what}");
        }
        self.part.set_capturing(true);
        self.pipeline.push(records);
        self.pipeline.flush();
    }

    pub(super) fn tick(&mut self, now: Timestamp, ledger: impl FnOnce() -> Ledger) {
        if now >= self.publish_at || self.publish_at.since(now) > PUBLISH_EVERY {
            self.publish_at = now.plus(PUBLISH_EVERY);
            self.publish(&ledger());
        }
    }

    pub(super) fn publish(&self, ledger: &Ledger) {
        self.probe.publish(ledger, &KernelCounters::default());
    }

    /// Once: what all of them were, the ledger counts.
    fn say_unknown(&mut self, prefix: &str) {
        if !std::mem::replace(&mut self.said_unknown, true) {
            let prefix = crate::settings::printable(prefix);
            tracing::warn!(
                prefix,
                "a logged packet's prefix fits no pattern of VERDICT_PREFIXES; such packets are counted only"
            );
        }
    }
}
