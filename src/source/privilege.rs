//! Capabilities: NET_RAW stays permitted, is effective only while a handle is opened, and nothing else is kept.
//!
//! Capabilities belong to threads and are inherited by the threads that a thread starts: call `prepare` first thing in
//! `main`. Changes no user or group id, and installs no sandbox.
//!
//! With the file capability `cap_net_raw=p` (not `=ep`) a pod that forgot the grant starts and gets a message; `=ep`
//! would make its exec fail.

use std::fmt;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

const NET_RAW: Capability = Capability::CAP_NET_RAW;

/// What `prepare` found and did; its `Display` is the line said at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Whether an interface can be opened at all.
    pub net_raw: bool,
    /// Capabilities given up by this thread, by name, in order.
    pub dropped: Vec<String>,
    /// What could not be given up, and why.
    pub kept: Vec<String>,
}

impl Privileges {
    /// Drops every capability of this thread but NET_RAW, which stays permitted and is no longer effective.
    ///
    /// Call it before any other thread starts: those already running keep theirs (and that is said in `kept`).
    /// The bounding set can only be emptied by who has SETPCAP; podtap never executes another program, so nothing
    /// could be gained through it anyway.
    pub fn prepare() -> Self {
        let mut kept = Vec::new();
        if other_threads() > 0 {
            kept.push("threads that were already running keep their capabilities".to_owned());
        }
        let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let net_raw = permitted.contains(&NET_RAW);
        empty_bounding(&mut kept);
        let wanted: CapsHashSet = net_raw.then_some(NET_RAW).into_iter().collect();
        // Effective first: it must always be part of permitted.
        let steps = [
            ("ambient", clear_ambient()),
            ("inheritable", caps::clear(None, CapSet::Inheritable)),
            ("effective", caps::clear(None, CapSet::Effective)),
            ("permitted", caps::set(None, CapSet::Permitted, &wanted)),
        ];
        for (set, outcome) in steps {
            if let Err(error) = outcome {
                kept.push(format!("the {set} set: {error}"));
            }
        }
        let now = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let mut dropped: Vec<_> = permitted.difference(&now).map(Capability::to_string).collect();
        dropped.sort();
        Self { net_raw, dropped, kept }
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.net_raw {
            write!(f, "NET_RAW is kept for opening interfaces")?;
        } else {
            NotPermitted::diagnose().fmt(f)?;
        }
        match self.dropped.len() {
            0 => {}
            1 => write!(f, "; one other capability dropped")?,
            n => write!(f, "; {n} other capabilities dropped")?,
        }
        self.kept.iter().try_for_each(|kept| write!(f, "; not dropped: {kept}"))
    }
}

/// Whether this thread may open interfaces, now or by raising the capability.
fn has_net_raw() -> bool {
    caps::has_cap(None, CapSet::Permitted, NET_RAW).unwrap_or(false)
}

/// Runs `open` with NET_RAW effective on this thread, and lowers it again, also after a panic.
///
/// Where it was effective before (`prepare` was not called) it stays so.
pub fn with_net_raw<T>(open: impl FnOnce() -> T) -> Result<T, NotPermitted> {
    if caps::has_cap(None, CapSet::Effective, NET_RAW).unwrap_or(false) {
        return Ok(open());
    }
    if !has_net_raw() {
        return Err(NotPermitted::diagnose());
    }
    caps::raise(None, CapSet::Effective, NET_RAW).map_err(|_| NotPermitted::diagnose())?;
    let _lowered = Lowered;
    Ok(open())
}

/// Lowers NET_RAW when it goes out of scope.
struct Lowered;

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = caps::drop(None, CapSet::Effective, NET_RAW) {
            tracing::warn!(%error, "NET_RAW stays effective");
        }
    }
}

/// NET_RAW is missing, and why; the message says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPermitted {
    /// The process was started without it.
    NotGranted,
    /// It is granted, but the process is not root and the binary has no file capability that would take it.
    NoFileCapability,
    /// The same, or the file capability did not count: under no_new_privs it adds nothing to what the process had when
    /// it was executed. Kubernetes' runtimes pass granted capabilities on to non-root users, Docker does not.
    NoNewPrivileges,
    /// It is permitted, but not for the network namespace that was to be captured (a user namespace is in between).
    OtherNamespace,
}

impl NotPermitted {
    /// Whether this thread has not got it, and why.
    pub fn found() -> Option<Self> {
        (!has_net_raw()).then(Self::diagnose)
    }

    fn diagnose() -> Self {
        let granted = caps::has_cap(None, CapSet::Bounding, NET_RAW).unwrap_or(false);
        match (granted, no_new_privileges()) {
            (false, _) => Self::NotGranted,
            (true, false) => Self::NoFileCapability,
            (true, true) => Self::NoNewPrivileges,
        }
    }
}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no interface can be opened: ")?;
        f.write_str(match self {
            Self::NotGranted => {
                "the capability NET_RAW was not granted. In Kubernetes add it to this container: \
                 securityContext: {capabilities: {drop: [ALL], add: [NET_RAW]}} (Pod Security \"baseline\" forbids it, \
                 the namespace needs an exception); with Docker: --cap-add NET_RAW; elsewhere run as root"
            }
            Self::NoFileCapability => {
                "the capability NET_RAW is granted, but a user other than root gets it only through the binary's file \
                 capability, which is missing (or its file system is mounted nosuid): setcap cap_net_raw=p on the \
                 binary, as podtap's image has it; or run as root"
            }
            Self::NoNewPrivileges => {
                "the capability NET_RAW is granted, but this user has not got it. Either the binary's file capability is \
                 missing: setcap cap_net_raw=p, as podtap's image has it; or the container runtime passes no \
                 capability on to a user other than root (Docker), where no-new-privileges makes the file capability \
                 void: leave that option off there, or run as root"
            }
            Self::OtherNamespace => {
                "NET_RAW is there, but not for this network namespace, which belongs to another user namespace"
            }
        })
    }
}

impl std::error::Error for NotPermitted {}

/// Whether exec can add privileges; `NoNewPrivs` of proc(5).
fn no_new_privileges() -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("NoNewPrivs:")).any(|value| value.trim() == "1")
}

fn clear_ambient() -> Result<(), CapsError> {
    match caps::runtime::ambient_set_supported() {
        Ok(()) => caps::clear(None, CapSet::Ambient),
        Err(_) => Ok(()),
    }
}

fn empty_bounding(kept: &mut Vec<String>) {
    let bounding = caps::runtime::thread_all_supported();
    if bounding.is_empty() {
        return;
    }
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        // Nothing is lost by it, and a container that drops ALL is always so: not worth a word.
        return;
    }
    // NET_RAW may stay: the message about its absence looks there, and whoever has it cannot get more by it.
    let others = bounding.into_iter().filter(|cap| *cap != NET_RAW);
    let refused = others.filter(|cap| caps::drop(None, CapSet::Bounding, *cap).is_err()).count();
    if refused > 0 {
        kept.push(format!("{refused} of the bounding set"));
    }
}

/// Threads of this process besides this one.
fn other_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each on a separate thread: capabilities belong to threads, and the other tests need theirs.
    fn on_a_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().unwrap()
    }

    fn sets() -> [CapsHashSet; 3] {
        [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable].map(|set| caps::read(None, set).unwrap())
    }

    fn only_net_raw() -> CapsHashSet {
        [NET_RAW].into_iter().collect()
    }

    #[test]
    fn after_prepare_net_raw_is_permitted_and_nothing_else_and_it_is_effective_only_inside() {
        on_a_thread(|| {
            let had = has_net_raw();
            let privileges = Privileges::prepare();
            assert_eq!(privileges.net_raw, had);
            let left = if had { only_net_raw() } else { CapsHashSet::new() };
            assert_eq!(sets(), [CapsHashSet::new(), left.clone(), CapsHashSet::new()]);
            match with_net_raw(sets) {
                Ok([effective, ..]) => assert_eq!(effective, only_net_raw()),
                Err(_) => assert!(!had),
            }
            assert_eq!(sets(), [CapsHashSet::new(), left, CapsHashSet::new()]);
        });
    }

    #[test]
    fn net_raw_is_lowered_again_after_a_panic() {
        on_a_thread(|| {
            Privileges::prepare();
            let outcome = std::panic::catch_unwind(|| with_net_raw(|| std::panic::resume_unwind(Box::new(()))));
            assert!(outcome.is_err() || !has_net_raw());
            assert_eq!(sets()[0], CapsHashSet::new());
        });
    }

    #[test]
    fn a_thread_started_after_prepare_inherits_it() {
        on_a_thread(|| {
            let net_raw = Privileges::prepare().net_raw;
            let inherited = on_a_thread(|| (has_net_raw(), with_net_raw(|| ()).is_ok()));
            assert_eq!(inherited, (net_raw, net_raw));
        });
    }

    #[test]
    fn who_has_nothing_is_told_so() {
        on_a_thread(|| {
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::clear(None, set).unwrap();
            }
            let privileges = Privileges::prepare();
            assert!(!privileges.net_raw && with_net_raw(|| ()).is_err());
            assert_eq!(privileges.dropped, Vec::<String>::new());
            assert!(privileges.to_string().contains("NET_RAW"), "{privileges}");
        });
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for (reason, remedy) in [
            (NotPermitted::NotGranted, "capabilities: {drop: [ALL], add: [NET_RAW]}"),
            (NotPermitted::NoFileCapability, "setcap cap_net_raw=p"),
            (NotPermitted::NoNewPrivileges, "no-new-privileges"),
            (NotPermitted::OtherNamespace, "user namespace"),
        ] {
            assert!(reason.to_string().contains(remedy), "{reason}");
        }
    }

    #[test]
    fn threads_that_run_already_are_mentioned() {
        // The test harness itself always has more than one.
        assert!(on_a_thread(|| Privileges::prepare().kept).iter().any(|kept| kept.contains("already running")));
    }
}
