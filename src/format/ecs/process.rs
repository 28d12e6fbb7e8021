//! The objects about a process and its container. Owns their names and order; `fields` lists them.

use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::fit::LineFit;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::Process;

/// `podtap.process.trust`: a connect between the same ends was under way when the connection's SYN was captured.
pub(super) const EXACT: Option<&str> = Some("exact");

#[derive(Serialize)]
pub(super) struct ProcessPart<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpid: Option<u32>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<ProcessArgs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_line: Option<CommandLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Pid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Thread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Rfc3339Stamp>,
}

#[derive(Serialize)]
struct Pid {
    pid: u32,
}

#[derive(Serialize)]
struct Thread {
    id: u32,
}

/// Each argument, shortened where the line has to be short.
struct ProcessArgs<'a> {
    args: &'a [CompactString],
    fit: &'a LineFit,
}

/// The same joined by spaces.
struct CommandLine<'a>(&'a [CompactString]);

/// A keyword in ECS.
#[derive(Serialize)]
pub(super) struct ProcessUserPart<'a> {
    id: CompactString,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct ProcessContainerPart<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
}

/// What ECS has no names for.
#[derive(Serialize)]
pub(super) struct ProcessSurroundings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args_cut: Option<bool>,
}

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
