//! The program itself: its object, loaded and attached by aya; its ring and its counters. Decides nothing about them.

use std::error::Error;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, ProgramFd};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};

use super::{BTF, ConnectSourceOptions, ConnectsUnavailable, namespace};
use crate::connects::{ConnectEngine, KernelCounts};
use crate::source::memory;
use crate::source::privilege::{self, NeededRight};

/// Made of the C next to it by scripts/bpf.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/connects.bpf.o"));

const BEGIN: &str = "connect_begin";
const END: &str = "connect_end";
pub(super) const EXIT: &str = "connect_exit";

/// Of an error: the verifier's may be pages.
const LONGEST_ERROR: usize = 500;

/// The counters of one CPU, in the order of `struct counts`.
type CpuCounters = PerCpuArray<MapData, [u64; 5]>;

/// The program at work. Dropped, it is gone.
pub struct LoadedProgram {
    /// What it does without, and why: connects that fail before a packet is sent, and UDP.
    pub lacks: Option<String>,
    /// Holds the attachments.
    program: Option<Ebpf>,
    /// The one part whose omitted runs are losses.
    end: ProgramFd,
    ring: RingBuf<MapData>,
    counters: CpuCounters,
}

impl fmt::Debug for LoadedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("lacks", &self.lacks).finish_non_exhaustive()
    }
}

pub(super) fn load(options: &ConnectSourceOptions, with_exit: bool) -> Result<LoadedProgram, ConnectsUnavailable> {
    let loaded = load_and_attach(options, with_exit);
    memory::give_back_heap();
    loaded
}

fn load_and_attach(options: &ConnectSourceOptions, with_exit: bool) -> Result<LoadedProgram, ConnectsUnavailable> {
    let btf = Btf::parse_file(BTF, aya::Endianness::default()).map_err(|_| ConnectsUnavailable::NoBtf)?;
    let mut program = load_object(options, with_exit, &btf)?;
    // Nothing begins before its end can be seen.
    let mut end = None;
    let parts = [(END, "inet_sock_set_state"), (EXIT, "sys_exit"), (BEGIN, "inet_sock_set_state")];
    for (name, tracepoint) in parts.into_iter().filter(|(name, _)| with_exit || *name != EXIT) {
        let fd = attach(&mut program, name, tracepoint, &btf)?;
        if name == END {
            end = Some(fd);
        }
    }
    let end = end.ok_or(ConnectsUnavailable::Refused(END, "it is not in the object".to_owned()))?;
    let ring = map(&mut program, "ring")?;
    let counters = map(&mut program, "counters")?;
    Ok(LoadedProgram { lacks: None, program: Some(program), end, ring, counters })
}

fn load_object(options: &ConnectSourceOptions, with_exit: bool, btf: &Btf) -> Result<Ebpf, ConnectsUnavailable> {
    let own_pid = std::process::id();
    let own_pidns = namespace("pid").unwrap_or_default();
    let (netns, udp, exit) = (options.netns.unwrap_or_default(), u32::from(options.udp), u32::from(with_exit));
    let bytes = u32::try_from(options.buffer_bytes.next_power_of_two()).unwrap_or(1 << 30);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("only_netns", &netns, true)
        .override_global("want_udp", &udp, true)
        .override_global("own_pid", &own_pid, true)
        .override_global("own_pidns", &own_pidns, true)
        .override_global("has_exit", &exit, true)
        .map_max_entries("ring", bytes);
    loader.load(OBJECT).map_err(|error| {
        if let EbpfError::MapError(MapError::CreateError { name, io_error }) = error {
            return ConnectsUnavailable::NoMap(name, whole(&io_error));
        }
        ConnectsUnavailable::Refused("connects", whole(&error))
    })
}

fn attach(
    program: &mut Ebpf,
    name: &'static str,
    tracepoint: &str,
    btf: &Btf,
) -> Result<ProgramFd, ConnectsUnavailable> {
    let refused = |error: &dyn Error| ConnectsUnavailable::Refused(name, whole(error));
    let absent = || ConnectsUnavailable::Refused(name, "it is not in the object".to_owned());
    let part: &mut BtfTracePoint =
        program.program_mut(name).ok_or_else(absent)?.try_into().map_err(|error| refused(&error))?;
    part.load(tracepoint, btf).map_err(|error| refused(&error))?;
    part.attach().map_err(|error| refused(&error))?;
    part.fd().map_err(|error| refused(&error))?.try_clone().map_err(|error| refused(&error))
}

fn map<M: TryFrom<Map, Error = MapError>>(program: &mut Ebpf, name: &'static str) -> Result<M, ConnectsUnavailable> {
    let map = program
        .take_map(name)
        .ok_or_else(|| ConnectsUnavailable::NoMap(name.to_owned(), "it is not in the object".to_owned()))?;
    M::try_from(map).map_err(|error| ConnectsUnavailable::NoMap(name.to_owned(), whole(&error)))
}

impl LoadedProgram {
    /// Whether its counters can be read with a right only, as before Linux 5.19.
    pub fn needs_right(&self) -> bool {
        self.counters.get(&0, 0).is_err()
    }

    /// For poll(2).
    pub(super) fn raw(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Passes on what is in the ring, at most some entries; how many there were.
    pub(super) fn read(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        for read in 0..most {
            let Some(entry) = self.ring.next() else { return read };
            take(&entry);
        }
        most
    }

    /// Whether the program has written more than was read.
    pub(super) fn has_unread(&self, connects: &ConnectEngine) -> bool {
        let sent: u64 = self.counts().iter().map(|counts| counts.sent).sum();
        sent > connects.ledger().read
    }

    /// Hands the counters on.
    pub(super) fn count(&self, connects: &mut ConnectEngine, at_the_end: bool) {
        connects.handle_counts(&self.counts(), at_the_end);
        connects.ledger_mut().missed = self.missed();
    }

    fn counts(&self) -> Vec<KernelCounts> {
        let read = || self.counters.get(&0, 0);
        let values = read().or_else(|error| privilege::with(NeededRight::Bpf, read).unwrap_or(Err(error)));
        let values = values.map_err(|error| tracing::warn!(%error, "the program's counters cannot be read"));
        let of = |[sent, dropped, untracked, unended, own]: &[u64; 5]| KernelCounts {
            sent: *sent,
            dropped: *dropped,
            untracked: *untracked,
            unended: *unended,
            own: *own,
        };
        values.map(|values| values.iter().map(of).collect()).unwrap_or_default()
    }

    /// Runs that the kernel left out, since Linux 5.12.
    fn missed(&self) -> u64 {
        let path = format!("/proc/thread-self/fdinfo/{}", self.end.as_fd().as_raw_fd());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let number = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
        number.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    }

    /// Ends it; what it has written can still be read.
    pub(super) fn detach(&mut self) {
        self.program = None;
    }
}

/// An error with what is behind it, in one line: what the verifier says has many, of which the last ones count.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    crate::settings::printable_up_to(LONGEST_ERROR, &text.replace('\n', " "))
}
