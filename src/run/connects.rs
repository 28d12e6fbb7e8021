//! Connects of processes in `run`: the program is loaded before any other thread starts, so that its rights can be given up
//! everywhere. Then a thread reads its ring.

use std::io::IsTerminal;

use super::{LiveParts, RecordKind, rights};
use crate::connects::{AskerBook, ConnectEngine};
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::source::connects::{self, ConnectSourceOptions, ConnectsUnavailable, LoadedProgram, namespace};
use crate::source::live::CaptureError;
use crate::source::privilege::{NeededRight, Privileges};

/// The program, or why there is none; `None` where no one asked for it.
pub(super) type LoadAttempt = Option<Result<LoadedProgram, ConnectsUnavailable>>;

/// Loads the program where connects are to be recorded, and gives up the rights that it needed. Call it before any other
/// thread starts. On a terminal a failure is the end, in a pod podtap stays up and says so.
pub(super) fn load(settings: &Settings) -> Result<LoadAttempt, ConnectsUnavailable> {
    if !settings.records(RecordKind::Connects) {
        return Ok(None);
    }
    let attempt = connects::load(&options(settings));
    let kept = matches!(&attempt, Ok(loaded) if loaded.needs_right()).then_some(NeededRight::Bpf);
    let dropped = Privileges::prepare(&rights(settings).into_iter().chain(kept).collect::<Vec<_>>());
    tracing::debug!(privileges = %dropped, "capabilities once the program is loaded");
    match attempt {
        Err(unavailable) if std::io::stderr().is_terminal() => Err(unavailable),
        other => Ok(Some(other)),
    }
}

/// What is needed only to load the program.
pub(super) fn rights_to_load(settings: &Settings) -> &'static [NeededRight] {
    if settings.records(RecordKind::Connects) { &[NeededRight::Bpf, NeededRight::Perfmon] } else { &[] }
}

pub(super) fn options(settings: &Settings) -> ConnectSourceOptions {
    ConnectSourceOptions {
        netns: if settings.connect_all_namespaces { None } else { namespace("net") },
        udp: settings.connect_udp,
        early: settings.connect_early,
        buffer_bytes: settings.connect_buffer.bytes(),
    }
}

impl LiveParts {
    /// Starts reading connects; `book` notes them for those who ask for the process of what is captured.
    pub(super) fn watch_connects(
        &mut self,
        attempt: Result<LoadedProgram, ConnectsUnavailable>,
        mut book: Option<AskerBook>,
    ) -> std::io::Result<()> {
        let name = RecordKind::Connects.word();
        let loaded = match attempt {
            Ok(loaded) => loaded,
            Err(unavailable) => return self.listen(name, move || Err(CaptureError::from(unavailable))),
        };
        if let Some(reason) = &loaded.lacks {
            tracing::warn!(reason, "connects that fail before a packet is sent, and those of UDP, cannot be seen here");
        }
        let place =
            if self.settings.connect_all_namespaces { "all network namespaces" } else { "this network namespace" };
        let mut tap = self.tap(format!("connects of processes in {place}"));
        let (stop, mut connects) = (self.stopped.clone(), self.assembly.connects());
        let workloads = self.assembly.workloads().clone();
        self.listen(name, move || {
            let outcome = connects::run(loaded, &stop, &mut connects, |connects, now| {
                if let Some(own_ips) = tap.part.new_own_ips() {
                    connects.set_own_ips(own_ips);
                }
                workloads.name_containers(connects.records());
                if let Some(book) = &mut book {
                    note(book, connects);
                }
                tap.push(connects.records());
                tap.tick(now, || Ledger { connects: connects.ledger().clone(), ..Ledger::default() });
            });
            tap.publish(&Ledger { connects: connects.ledger().clone(), ..Ledger::default() });
            outcome
        })
    }
}

/// First the connects, then how far they were read.
fn note(book: &mut AskerBook, connects: &mut ConnectEngine) {
    let error = connects.clock_error();
    book.note(connects.records(), error);
    if let Some(at) = connects.read_up_to() {
        book.has_read_up_to(at);
    }
    connects.ledger_mut().forgotten = book.forgotten();
}
