//! Connects of processes: loads the BPF program of `bpf/`, and reads its ring on a plain thread.
//!
//! Owns what the kernel must have for it, and what is missing where it has not. What an entry means is known to `connects`.
//! The rights are effective only while the program is loaded; after that they are given up.

#[cfg(feature = "ebpf")]
mod program;
#[cfg(not(feature = "ebpf"))]
#[path = "connects/absent.rs"]
mod program;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

pub use self::program::LoadedProgram;
use super::live::{CaptureError, StopSignal};
use super::privilege::{self, NeededRight, NotPermitted};
use super::wall_clock;
use crate::connects::{ConnectEngine, KernelClocks};
use crate::flow::Timestamp;

/// What every kernel that can do it shows.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The release that has all of it.
const SINCE: (u32, u32) = (5, 8);
/// How long a wait for entries lasts at most: records are handed on at least so often.
const TICK: Duration = Duration::from_millis(100);
/// Entries read in a row before records are handed on.
const AT_ONCE: usize = 256;
/// How often the rest of the ring is looked for at the end.
const LAST_LOOKS: usize = 1000;
/// How often the clocks are compared.
const LOOKS: usize = 3;

/// What to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectSourceOptions {
    /// Inode of the only network namespace; none: all of them.
    pub netns: Option<u32>,
    /// CONNECT_UDP.
    pub udp: bool,
    /// CONNECT_EARLY.
    pub early: bool,
    /// CONNECT_BUFFER.
    pub buffer_bytes: u64,
}

/// Why connects cannot be watched here.
#[derive(Debug)]
pub enum ConnectsUnavailable {
    /// Built without the cargo feature.
    LeftOut,
    /// A capability is missing.
    NotPermitted(NotPermitted),
    /// The kernel does not describe its types.
    NoBtf,
    /// Its map of this name cannot be made.
    NoMap(String, String),
    /// The kernel does not take the program of this name.
    Refused(&'static str, String),
    /// What fails may be missing in this release at all.
    OldKernel(String, Box<Self>),
}

impl fmt::Display for ConnectsUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut => write!(f, "this podtap was built without the cargo feature ebpf"),
            Self::NotPermitted(missing) => missing.fmt(f),
            Self::NoBtf => write!(
                f,
                "{BTF} cannot be read: this kernel was built without BTF (CONFIG_DEBUG_INFO_BTF), or /sys is hidden from \
                 this container"
            ),
            Self::NoMap(name, why) => write!(f, "the kernel cannot create the map {name:?}: {why}"),
            Self::Refused(name, why) => write!(f, "the kernel rejects the program {name}: {why}"),
            Self::OldKernel(release, why) => {
                write!(f, "this is Linux {release}; ring buffers of BPF and its capabilities came with 5.8: {why}")
            }
        }
    }
}

impl std::error::Error for ConnectsUnavailable {}

impl From<ConnectsUnavailable> for CaptureError {
    fn from(unavailable: ConnectsUnavailable) -> Self {
        match unavailable {
            ConnectsUnavailable::NotPermitted(missing) => Self::NotPermitted(missing),
            ConnectsUnavailable::LeftOut
            | ConnectsUnavailable::NoBtf
            | ConnectsUnavailable::NoMap(..)
            | ConnectsUnavailable::Refused(..)
            | ConnectsUnavailable::OldKernel(..) => {
                Self::Input { input: "connects by eBPF", message: unavailable.to_string() }
            }
        }
    }
}

/// Loads the program and attaches it. What belongs to the end of a system call is left out where the kernel refuses only
/// that: `LoadedProgram::lacks` says so.
pub fn load(options: &ConnectSourceOptions) -> Result<LoadedProgram, ConnectsUnavailable> {
    load_here(options).map_err(|why| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        of_kernel(release.trim(), why)
    })
}

/// Distributions bring parts of later releases back to old ones, so only what fails is put down to that.
fn of_kernel(release: &str, why: ConnectsUnavailable) -> ConnectsUnavailable {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let is_old = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < SINCE,
        _ => false,
    };
    if is_old && !matches!(why, ConnectsUnavailable::LeftOut) {
        return ConnectsUnavailable::OldKernel(crate::settings::printable(release), Box::new(why));
    }
    why
}

fn load_here(options: &ConnectSourceOptions) -> Result<LoadedProgram, ConnectsUnavailable> {
    let whole = permitted(|| program::load(options, options.early || options.udp))?;
    match whole {
        Err(ConnectsUnavailable::Refused(program::EXIT, why)) => {
            let mut loaded = permitted(|| program::load(options, false))??;
            loaded.lacks = Some(why);
            Ok(loaded)
        }
        other => other,
    }
}

/// Runs with both rights effective.
fn permitted<T>(open: impl FnOnce() -> T) -> Result<T, ConnectsUnavailable> {
    let both = privilege::with(NeededRight::Bpf, || privilege::with(NeededRight::Perfmon, open));
    both.and_then(|inner| inner).map_err(ConnectsUnavailable::NotPermitted)
}

/// The inode of one of this thread's namespaces: `net`, `mnt`, `pid`.
pub fn namespace(kind: &str) -> Option<u32> {
    let inode = std::fs::metadata(format!("/proc/thread-self/ns/{kind}")).ok()?.ino();
    u32::try_from(inode).ok()
}

/// Reads the ring until it is stopped. `step` is called several times a second, and whenever there are some records: it takes
/// them out.
pub fn run(
    mut loaded: LoadedProgram,
    stop: &StopSignal,
    connects: &mut ConnectEngine,
    mut step: impl FnMut(&mut ConnectEngine, Timestamp),
) -> Result<(), CaptureError> {
    connects.ledger_mut().opens += 1;
    step(connects, wall_clock());
    loop {
        let wakeup = stop.wait(Some(loaded.raw()), TICK);
        connects.set_clocks(clocks());
        // First the counters: what the program has sent by then is in the ring, and is read now.
        connects.set_counted_at(wall_clock());
        loaded.count(connects, false);
        loaded.read(AT_ONCE, |entry| connects.handle_entry(entry));
        step(connects, wall_clock());
        if wakeup.stopped {
            break;
        }
    }
    // Nothing more is written once the program is gone; a part that runs yet is over in microseconds.
    loaded.detach();
    for _ in 0..LAST_LOOKS {
        while loaded.read(AT_ONCE, |entry| connects.handle_entry(entry)) > 0 {
            step(connects, wall_clock());
        }
        if !loaded.has_unread(connects) {
            break;
        }
        std::thread::yield_now();
    }
    loaded.count(connects, true);
    step(connects, wall_clock());
    Ok(())
}

/// What has to be added to the kernel's clocks now. This thread may be put aside between two clocks: of several looks the
/// shortest counts.
fn clocks() -> KernelClocks {
    let look = || {
        let before = read_clock(libc::CLOCK_MONOTONIC);
        let now = read_clock(libc::CLOCK_REALTIME);
        let boot = now.saturating_sub(read_clock(libc::CLOCK_BOOTTIME));
        let error = Timestamp(read_clock(libc::CLOCK_MONOTONIC)).since(Timestamp(before));
        KernelClocks { monotonic: now.saturating_sub(before), boot, error }
    };
    (1..LOOKS).fold(look(), |best, _| [best, look()].into_iter().min_by_key(|it| it.error).unwrap_or(best))
}

/// Nanoseconds; 0 where there is no such clock.
fn read_clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[allow(unsafe_code, reason = "std shows no clock by its name")]
    // SAFETY: the time is ours, and written by the kernel only.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if outcome == 0 { Timestamp::new(time.tv_sec, time.tv_nsec).0 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_have_a_number_and_what_is_none_has_none() {
        assert!(namespace("net").is_some_and(|inode| inode > 0));
        assert_eq!(namespace("nothing"), None);
    }

    #[test]
    fn the_kernels_clocks_are_behind_the_time_of_day() {
        let clocks = clocks();
        assert!(clocks.monotonic >= clocks.boot && clocks.boot > 0, "{clocks:?}");
    }

    #[test]
    fn what_fails_on_an_old_kernel_is_put_down_to_its_release() {
        for (release, is_old) in [
            ("5.7.19-1.el7", true),
            ("4.18.0-553.el8_10.x86_64", true),
            ("5.8.0", false),
            ("5.10", false),
            ("6.1.0-13-amd64", false),
            ("10.2-rc1", false),
            ("", false),
            ("unknown", false),
        ] {
            let why =
                of_kernel(release, ConnectsUnavailable::NoMap("ring".to_owned(), "EINVAL".to_owned())).to_string();
            let expected = format!("this is Linux {release}; ");
            assert_eq!(why.starts_with(&expected), is_old, "{why}");
            assert!(why.ends_with("the map \"ring\": EINVAL"), "{why}");
        }
        assert!(matches!(of_kernel("5.4", ConnectsUnavailable::LeftOut), ConnectsUnavailable::LeftOut));
    }

    #[test]
    fn each_reason_says_what_is_missing() {
        for (why, word) in [
            (ConnectsUnavailable::LeftOut, "cargo feature ebpf"),
            (ConnectsUnavailable::NoBtf, "CONFIG_DEBUG_INFO_BTF"),
            (ConnectsUnavailable::NoMap("ring".to_owned(), "EINVAL".to_owned()), "map \"ring\": EINVAL"),
            (ConnectsUnavailable::Refused("connect_end", "EPERM".to_owned()), "connect_end: EPERM"),
        ] {
            assert!(why.to_string().contains(word), "{why}");
        }
    }
}
