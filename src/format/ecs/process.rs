//! The objects about a process and its container. Owns their names, meanings and order.

use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::declare::parts;
use super::fit::LineFit;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::Process;

/// `podtap.process.trust`: a connect between the same ends was under way when the connection's SYN was captured.
pub(super) const EXACT: Option<&str> = Some("exact");

parts! {
    struct ProcessPart<'a> in "process." {
        pid: u32 => Long "The process that asked for the connection, by its number in the machine's own namespace of processes. Of exchanges and flows with RECORD=connects, where it is certain";
        maybe vpid: u32 => Long "Its number in its own namespace, where that is another one";
        name: &'a str => Keyword "Its name in the kernel: 15 bytes at most";
        maybe executable: &'a str => Keyword "Path of its executable, in its own file system";
        maybe args: ProcessArgs<'a> => Keyword "Its arguments, secrets masked; the first 1024 bytes";
        maybe command_line: CommandLine<'a> => Wildcard "The same, joined by spaces";
        maybe parent: Pid => ["process.parent.pid" Long "The process that made it"];
        maybe thread: Thread => ["process.thread.id" Long "The thread that asked"];
        maybe start: Rfc3339Stamp => Date "When the process began";
    }

    /// A keyword in ECS.
    struct ProcessUserPart<'a> in "user." {
        id: CompactString => Keyword "User of the process";
        maybe name: &'a str => Keyword "Name of the user, as /etc/passwd of podtap has it";
    }

    struct ProcessContainerPart<'a> in "container." {
        id: &'a str => Keyword "Container of the process, where its control group is one's";
        maybe name: &'a str => Keyword "Name of the container, where something names it";
        maybe runtime: &'a str => Keyword "`containerd`, `docker`, `cri-o`, `podman`, where the control group says so";
    }

    /// What ECS has no names for.
    struct ProcessSurroundings<'a> in "podtap.process." {
        maybe trust: &'static str => Keyword "How the process of an exchange or a flow is known: `exact` (a connect between these addresses and ports was under way when the first SYN was captured). Whatever is less certain gives no process";
        maybe hostname: &'a str => Keyword "The host name that the process sees: in a pod the pod's name";
        maybe pod_uid: &'a str => Keyword "Uid of its pod, where its control group names it";
        maybe args_cut: bool => Boolean "`true` where there is more of the arguments";
    }
}

#[derive(Serialize)]
pub(super) struct Pid {
    pid: u32,
}

#[derive(Serialize)]
pub(super) struct Thread {
    id: u32,
}

/// Each argument, shortened where the line has to be short.
pub(super) struct ProcessArgs<'a> {
    args: &'a [CompactString],
    fit: &'a LineFit,
}

/// The same joined by spaces.
pub(super) struct CommandLine<'a>(&'a [CompactString]);

impl Serialize for ProcessArgs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.args.iter().map(|arg| self.fit.text(arg)))
    }
}

impl Serialize for CommandLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(" "))
    }
}

impl<'a> ProcessPart<'a> {
    pub(super) fn new(process: &'a Process, thread: Option<u32>, fit: &'a LineFit) -> Self {
        let args = process.args.as_slice();
        Self {
            pid: process.pid,
            vpid: process.own_pid,
            name: &process.name,
            executable: fit.maybe(process.executable.as_deref()),
            args: (!args.is_empty()).then_some(ProcessArgs { args, fit }),
            command_line: (!args.is_empty() && fit.url_parts).then_some(CommandLine(args)),
            parent: process.parent.map(|pid| Pid { pid }),
            thread: thread.map(|id| Thread { id }),
            start: process.start.map(Rfc3339Stamp::new),
        }
    }
}

impl<'a> ProcessUserPart<'a> {
    pub(super) fn new(process: &'a Process) -> Self {
        Self { id: compact_str::ToCompactString::to_compact_string(&process.user), name: process.user_name.as_deref() }
    }
}

impl<'a> ProcessContainerPart<'a> {
    pub(super) fn new(process: &'a Process) -> Option<Self> {
        let it = process.container.as_ref()?;
        Some(Self { id: &it.id, name: it.name.as_deref(), runtime: it.runtime.as_deref() })
    }
}

impl<'a> ProcessSurroundings<'a> {
    /// `trust` says how the process is known, where packets alone were seen.
    pub(super) fn new(process: &'a Process, trust: Option<&'static str>) -> Option<Self> {
        let pod_uid = process.container.as_ref().and_then(|container| container.pod_uid.as_deref());
        let args_cut = process.args_cut.then_some(true);
        let it = Self { trust, hostname: process.hostname.as_deref(), pod_uid, args_cut };
        (it.trust.is_some() || it.hostname.is_some() || it.pod_uid.is_some() || it.args_cut.is_some()).then_some(it)
    }
}
