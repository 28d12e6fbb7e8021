//! Capabilities: those that are needed stay permitted, are effective only while something is opened, and nothing else is
//! kept.
//!
//! Capabilities belong to threads and are inherited by the threads that a thread starts: call `prepare` first thing in
//! `main`. Changes no user or group id, and installs no sandbox.
//!
//! With file capabilities in the form `cap_net_raw=p` (not `=ep`) a pod that forgot the grant starts and gets a message.
//! `=ep` would make its exec fail.

use std::fmt;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// What podtap may need, depending on what it is to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeededRight {
    /// To open interfaces.
    NetRaw,
    /// To open netlink sockets of connection tracking and NFLOG.
    NetAdmin,
    /// To hear other network namespaces on them.
    NetBroadcast,
    /// To read the kernel log where that is for administrators only.
    Syslog,
    /// To load a BPF program.
    Bpf,
    /// To have it read the kernel's memory.
    Perfmon,
}

impl NeededRight {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NetRaw, Self::NetAdmin, Self::NetBroadcast, Self::Syslog, Self::Bpf, Self::Perfmon];

    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetRaw => "NET_RAW",
            Self::NetAdmin => "NET_ADMIN",
            Self::NetBroadcast => "NET_BROADCAST",
            Self::Syslog => "SYSLOG",
            Self::Bpf => "BPF",
            Self::Perfmon => "PERFMON",
        }
    }

    fn capability(self) -> Capability {
        match self {
            Self::NetRaw => Capability::CAP_NET_RAW,
            Self::NetAdmin => Capability::CAP_NET_ADMIN,
            Self::NetBroadcast => Capability::CAP_NET_BROADCAST,
            Self::Syslog => Capability::CAP_SYSLOG,
            Self::Bpf => Capability::CAP_BPF,
            Self::Perfmon => Capability::CAP_PERFMON,
        }
    }

    /// What it is for.
    fn purpose(self) -> &'static str {
        match self {
            Self::NetRaw => "opening interfaces",
            Self::NetAdmin => "netlink sockets",
            Self::NetBroadcast => "connection tracking of all namespaces",
            Self::Syslog => "the kernel log",
            Self::Bpf | Self::Perfmon => "loading the program of connects",
        }
    }

    /// Those that are of use together only: who lacks one mostly lacks the other.
    fn together(self) -> &'static [Self] {
        match self {
            Self::NetRaw => &[Self::NetRaw],
            Self::NetAdmin => &[Self::NetAdmin],
            Self::NetBroadcast => &[Self::NetBroadcast],
            Self::Syslog => &[Self::Syslog],
            Self::Bpf | Self::Perfmon => &[Self::Bpf, Self::Perfmon],
        }
    }

    /// The names of all that are needed, with `between` between them.
    fn all_names(self, between: &str) -> String {
        self.together().iter().map(|right| right.name()).collect::<Vec<_>>().join(between)
    }

    /// What follows from its absence.
    fn consequence(self) -> &'static str {
        match self {
            Self::NetRaw => "no interface can be opened",
            Self::NetAdmin => "neither connection tracking nor NFLOG can be read",
            Self::NetBroadcast => "connection tracking of other namespaces cannot be recorded",
            Self::Syslog => "the kernel log cannot be read",
            Self::Bpf | Self::Perfmon => "connects of processes cannot be recorded",
        }
    }
}

/// What `prepare` found and did; its `Display` is the line said at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// What is permitted of what was wanted.
    pub permitted: Vec<NeededRight>,
    /// What was wanted and is not permitted, and why.
    pub missing: Vec<NotPermitted>,
    /// Capabilities given up by this thread, by name, in order.
    pub dropped: Vec<String>,
    /// What could not be given up, and why.
    pub kept: Vec<String>,
}

impl Privileges {
    /// Drops every capability of this thread but the wanted ones, which stay permitted and are no longer effective. May be
    /// called again with fewer, once it is known what is needed.
    ///
    /// Call it before any other thread starts: those already running keep theirs (and that is said in `kept`).
    /// The bounding set can only be emptied by who has SETPCAP; podtap never executes another program, so nothing
    /// could be gained through it anyway.
    pub fn prepare(wanted: &[NeededRight]) -> Self {
        let mut kept = Vec::new();
        if other_threads() > 0 {
            kept.push("threads that were already running keep their capabilities".to_owned());
        }
        let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
        empty_bounding(wanted, &mut kept);
        let keep: CapsHashSet =
            wanted.iter().map(|right| right.capability()).filter(|c| permitted.contains(c)).collect();
        // Effective first: it must always be part of permitted.
        let steps = [
            ("ambient", clear_ambient()),
            ("inheritable", caps::clear(None, CapSet::Inheritable)),
            ("effective", caps::clear(None, CapSet::Effective)),
            ("permitted", caps::set(None, CapSet::Permitted, &keep)),
        ];
        for (set, outcome) in steps {
            if let Err(error) = outcome {
                kept.push(format!("the {set} set: {error}"));
            }
        }
        let now = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let mut dropped: Vec<_> = permitted.difference(&now).map(Capability::to_string).collect();
        dropped.sort();
        let (permitted, missing) = wanted.iter().partition(|right| right.is_permitted());
        let missing: Vec<NeededRight> = missing;
        Self { permitted, missing: missing.into_iter().map(NotPermitted::diagnose).collect(), dropped, kept }
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, right) in self.permitted.iter().enumerate() {
            let before = if n > 0 { "; " } else { "" };
            write!(f, "{before}{} is kept for {}", right.name(), right.purpose())?;
        }
        for (n, missing) in self.missing.iter().enumerate() {
            let before = if n + self.permitted.len() > 0 { "; " } else { "" };
            write!(f, "{before}{missing}")?;
        }
        match self.dropped.len() {
            0 => {}
            1 => write!(f, "; one other capability dropped")?,
            n => write!(f, "; {n} other capabilities dropped")?,
        }
        self.kept.iter().try_for_each(|kept| write!(f, "; not dropped: {kept}"))
    }
}

impl NeededRight {
    /// Whether this thread has it, now or by raising it.
    pub fn is_permitted(self) -> bool {
        caps::has_cap(None, CapSet::Permitted, self.capability()).unwrap_or(false)
    }
}

/// Runs `open` with the right effective on this thread, and lowers it again, also after a panic.
///
/// Where it was effective before (`prepare` was not called) it stays so.
pub fn with<T>(right: NeededRight, open: impl FnOnce() -> T) -> Result<T, NotPermitted> {
    if caps::has_cap(None, CapSet::Effective, right.capability()).unwrap_or(false) {
        return Ok(open());
    }
    if !right.is_permitted() {
        return Err(NotPermitted::diagnose(right));
    }
    caps::raise(None, CapSet::Effective, right.capability()).map_err(|_| NotPermitted::diagnose(right))?;
    let _lowered = Lowered(right);
    Ok(open())
}

/// Lowers the right when it goes out of scope.
struct Lowered(NeededRight);

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = caps::drop(None, CapSet::Effective, self.0.capability()) {
            tracing::warn!(%error, "{} stays effective", self.0.name());
        }
    }
}

/// A right is missing, and why; the message says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPermitted {
    /// Which.
    pub right: NeededRight,
    why: Lack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// The process was started without it.
    NotGranted,
    /// It is granted, but the process is not root and the binary has no file capability that would take it.
    NoFileCapability,
    /// The same, or the file capability did not count: under no_new_privs it adds nothing to what the process had when
    /// it was executed. Kubernetes' runtimes pass granted capabilities on to non-root users, Docker does not.
    NoNewPrivileges,
    /// It is permitted, but not for the network namespace it is needed for (a user namespace is in between).
    OtherNamespace,
}

impl NotPermitted {
    /// Whether this thread may not open interfaces, and why.
    pub fn found() -> Option<Self> {
        Self::of(NeededRight::NetRaw)
    }

    /// Whether this thread has not got the right, and why.
    pub fn of(right: NeededRight) -> Option<Self> {
        (!right.is_permitted()).then(|| Self::diagnose(right))
    }

    /// It is there, and of no use in this network namespace.
    pub fn in_other_namespace(right: NeededRight) -> Self {
        Self { right, why: Lack::OtherNamespace }
    }

    fn diagnose(right: NeededRight) -> Self {
        let granted = caps::has_cap(None, CapSet::Bounding, right.capability()).unwrap_or(false);
        let why = match (granted, no_new_privileges()) {
            (false, _) => Lack::NotGranted,
            (true, false) => Lack::NoFileCapability,
            (true, true) => Lack::NoNewPrivileges,
        };
        Self { right, why }
    }
}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.right.name();
        let (granted, docker) = (self.right.all_names(", "), self.right.all_names(" --cap-add "));
        let file = format!("cap_{}=p", self.right.all_names(",cap_").to_ascii_lowercase());
        write!(f, "{}: ", self.right.consequence())?;
        match self.why {
            Lack::NotGranted => write!(
                f,
                "the capability {name} was not granted. In Kubernetes add it to this container: \
                 securityContext: {{capabilities: {{drop: [ALL], add: [{granted}]}}}} (Pod Security \"baseline\" forbids it, \
                 the namespace needs an exception); with Docker: --cap-add {docker}; elsewhere run as root"
            ),
            Lack::NoFileCapability => write!(
                f,
                "the capability {name} is granted, but a user other than root gets it only through the binary's file \
                 capability, which is missing (or its file system is mounted nosuid): setcap {file} on the \
                 binary, as podtap's image has it; or run as root"
            ),
            Lack::NoNewPrivileges => write!(
                f,
                "the capability {name} is granted, but this user has not got it. Either the binary's file capability is \
                 missing: setcap {file}, as podtap's image has it; or the container runtime passes no \
                 capability on to a user other than root (Docker), where no-new-privileges makes the file capability \
                 void: leave that option off there, or run as root"
            ),
            Lack::OtherNamespace => write!(
                f,
                "{name} is there, but not for this network namespace, which belongs to another user namespace"
            ),
        }
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

fn empty_bounding(wanted: &[NeededRight], kept: &mut Vec<String>) {
    let bounding = caps::runtime::thread_all_supported();
    if bounding.is_empty() {
        return;
    }
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        // Nothing is lost by it, and a container that drops ALL is always so: not worth a word.
        return;
    }
    // What is wanted may stay: the message about its absence looks there, and anyone who has it cannot get more by it.
    let others = bounding.into_iter().filter(|cap| wanted.iter().all(|right| right.capability() != *cap));
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
        [Capability::CAP_NET_RAW].into_iter().collect()
    }

    #[test]
    fn after_prepare_net_raw_is_permitted_and_nothing_else_and_it_is_effective_only_inside() {
        on_a_thread(|| {
            let had = NeededRight::NetRaw.is_permitted();
            let privileges = Privileges::prepare(&[NeededRight::NetRaw]);
            assert_eq!(privileges.missing.is_empty(), had);
            let left = if had { only_net_raw() } else { CapsHashSet::new() };
            assert_eq!(sets(), [CapsHashSet::new(), left.clone(), CapsHashSet::new()]);
            match with(NeededRight::NetRaw, sets) {
                Ok([effective, ..]) => assert_eq!(effective, only_net_raw()),
                Err(_) => assert!(!had),
            }
            assert_eq!(sets(), [CapsHashSet::new(), left, CapsHashSet::new()]);
        });
    }

    #[test]
    fn what_was_kept_until_it_is_known_what_is_needed_is_dropped_then() {
        on_a_thread(|| {
            let had = NeededRight::ALL.map(NeededRight::is_permitted);
            Privileges::prepare(&NeededRight::ALL);
            assert_eq!(NeededRight::ALL.map(NeededRight::is_permitted), had);
            Privileges::prepare(&[NeededRight::NetAdmin]);
            assert_eq!(NeededRight::ALL.map(NeededRight::is_permitted), [false, had[1], false, false, false, false]);
            assert!(with(NeededRight::NetRaw, || ()).is_err());
        });
    }

    #[test]
    fn net_raw_is_lowered_again_after_a_panic() {
        on_a_thread(|| {
            Privileges::prepare(&[NeededRight::NetRaw]);
            let outcome =
                std::panic::catch_unwind(|| with(NeededRight::NetRaw, || std::panic::resume_unwind(Box::new(()))));
            assert!(outcome.is_err() || !NeededRight::NetRaw.is_permitted());
            assert_eq!(sets()[0], CapsHashSet::new());
        });
    }

    #[test]
    fn a_thread_started_after_prepare_inherits_it() {
        on_a_thread(|| {
            let net_raw = !Privileges::prepare(&[NeededRight::NetRaw]).permitted.is_empty();
            let inherited =
                on_a_thread(|| (NeededRight::NetRaw.is_permitted(), with(NeededRight::NetRaw, || ()).is_ok()));
            assert_eq!(inherited, (net_raw, net_raw));
        });
    }

    #[test]
    fn a_user_without_capabilities_learns_it() {
        on_a_thread(|| {
            for set in [CapSet::Effective, CapSet::Permitted] {
                caps::clear(None, set).unwrap();
            }
            let privileges = Privileges::prepare(&[NeededRight::NetRaw]);
            assert!(privileges.permitted.is_empty() && with(NeededRight::NetRaw, || ()).is_err());
            assert_eq!(privileges.dropped, Vec::<String>::new());
            assert!(privileges.to_string().contains("NET_RAW"), "{privileges}");
        });
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for right in NeededRight::ALL {
            for (why, remedy) in [
                (Lack::NotGranted, format!("capabilities: {{drop: [ALL], add: [{}]}}", right.all_names(", "))),
                (Lack::NoFileCapability, format!("setcap cap_{}=p", right.all_names(",cap_").to_ascii_lowercase())),
                (Lack::NoNewPrivileges, "no-new-privileges".to_owned()),
                (Lack::OtherNamespace, "user namespace".to_owned()),
            ] {
                let reason = NotPermitted { right, why };
                assert!(reason.to_string().contains(&remedy), "{reason}");
            }
        }
    }

    #[test]
    fn rights_that_are_of_use_together_only_are_asked_for_together() {
        for right in [NeededRight::Bpf, NeededRight::Perfmon] {
            let said = |why| NotPermitted { right, why }.to_string();
            assert!(said(Lack::NotGranted).contains("add: [BPF, PERFMON]"));
            assert!(said(Lack::NotGranted).contains("--cap-add BPF --cap-add PERFMON;"));
            assert!(said(Lack::NoFileCapability).contains("setcap cap_bpf,cap_perfmon=p"));
        }
    }

    #[test]
    fn threads_that_run_already_are_mentioned() {
        // The test harness itself always has more than one.
        assert!(
            on_a_thread(|| Privileges::prepare(&[NeededRight::NetRaw]).kept)
                .iter()
                .any(|kept| kept.contains("already running"))
        );
    }
}
