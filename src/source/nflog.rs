//! Groups of NFLOG: one socket for all of them, on a plain thread.
//!
//! Owns binding the groups, the names of interfaces, and what the kernel dropped. What a message means is known to `verdict`.
//! NET_ADMIN is effective only while the socket is opened.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use compact_str::CompactString;

use super::live::{CaptureError, StopSignal, name_of, wait_for};
use super::netlink::{Buffers, NetlinkSocket};
use super::privilege::{self, NeededRight};
use super::{now, wall_clock};
use crate::flow::Timestamp;
use crate::netlink::NetlinkMessages;
use crate::verdict::{VerdictEngine, nflog};

/// How long a wait for packets lasts at most: records are handed on at least so often.
const TICK: Duration = Duration::from_millis(100);
/// How often the kernel's counter of drops is read.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long the kernel may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reads in a row before records are handed on.
const READS: usize = 8;
/// How long packets are read at most after the signal to stop; only a flood needs more.
const MAX_DRAIN: Duration = Duration::from_secs(2);
/// How long a name of an interface is believed.
const NAMES_FOR: Duration = Duration::from_secs(5);
/// Names that are remembered.
const MAX_NAMES: usize = 4096;

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NflogOptions {
    /// VERDICT_GROUPS.
    pub groups: Vec<u16>,
    /// VERDICT_BUFFER.
    pub buffer_bytes: u64,
}

/// Listens until it is stopped. `step` is called several times a second, and whenever there are some records.
pub fn run(
    options: &NflogOptions,
    stop: &StopSignal,
    verdicts: &mut VerdictEngine,
    step: impl FnMut(&mut VerdictEngine, Timestamp),
) -> Result<(), CaptureError> {
    let socket = privilege::with(NeededRight::NetAdmin, || open(options)).map_err(CaptureError::NotPermitted)?;
    let socket = socket.map_err(|message| CaptureError::Input { input: "NFLOG", message })?;
    verdicts.ledger_mut().opens += 1;
    let names = NflogInterfaces { known: HashMap::new(), since: now() };
    let groups = &options.groups;
    let mut listener = NflogListener { groups, socket, buffers: Buffers::new(), verdicts, step, names, counted: now() };
    let outcome = listener.until_stopped(stop);
    listener.count_drops();
    outcome.map_err(|error| CaptureError::Input { input: "NFLOG", message: error.to_string() })
}

fn open(options: &NflogOptions) -> Result<NetlinkSocket, String> {
    let socket = NetlinkSocket::open().map_err(|error| error.to_string())?;
    let has = socket.set_buffer(options.buffer_bytes).map_err(|error| error.to_string())?;
    if has < options.buffer_bytes / 2 {
        tracing::warn!(bytes = has, "the receive buffer is smaller than VERDICT_BUFFER asks for");
    }
    let mut buffers = Buffers::new();
    for group in &options.groups {
        bind(&socket, &mut buffers, *group).map_err(|error| refused(*group, &error))?;
    }
    Ok(socket)
}

fn refused(group: u16, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "group {group} cannot be read: another program reads it, or NET_ADMIN is not for this namespace"
        );
    }
    format!("group {group} cannot be read: {error}")
}

/// Packets of groups that are bound already come between the answers; they are numbered, so what is not read here counts
/// as lost. That is a moment at the start.
fn bind(socket: &NetlinkSocket, buffers: &mut Buffers, group: u16) -> io::Result<()> {
    for (number, request) in (1u32..).zip(nflog::bind(group)) {
        socket.send(&request)?;
        let mut answer = None;
        while answer.is_none() {
            if !wait_for(socket.raw(), PATIENCE) {
                return Err(io::Error::other("the kernel does not answer"));
            }
            socket.receive(buffers)?;
            for datagram in buffers.datagrams() {
                let answered = NetlinkMessages::new(datagram.bytes).find(|message| message.sequence == number);
                answer = answer.or(answered.and_then(|message| message.error()));
            }
        }
        match answer {
            Some(0) | None => {}
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
        }
    }
    Ok(())
}

/// Interfaces by index. An index is never used for another interface soon after.
struct NflogInterfaces {
    known: HashMap<u32, Option<CompactString>>,
    since: Instant,
}

impl NflogInterfaces {
    fn of(&mut self, index: u32) -> Option<CompactString> {
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        self.known.entry(index).or_insert_with(|| name_of(index).map(|name| CompactString::from(&*name))).clone()
    }

    fn refresh(&mut self) {
        if self.since.elapsed() >= NAMES_FOR {
            self.known.clear();
            self.since = now();
        }
    }
}

struct NflogListener<'a, F> {
    groups: &'a [u16],
    socket: NetlinkSocket,
    buffers: Buffers,
    verdicts: &'a mut VerdictEngine,
    step: F,
    names: NflogInterfaces,
    counted: Instant,
}

impl<F: FnMut(&mut VerdictEngine, Timestamp)> NflogListener<'_, F> {
    fn until_stopped(&mut self, stop: &StopSignal) -> io::Result<()> {
        loop {
            let wakeup = stop.wait(Some(self.socket.raw()), TICK);
            if wakeup.stopped {
                break;
            }
            self.read()?;
            self.hand_on();
            self.names.refresh();
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count_drops();
            }
        }
        self.let_go();
        let deadline = now() + MAX_DRAIN;
        while self.read()? == READS && now() < deadline {
            self.hand_on();
        }
        self.verdicts.finish();
        self.hand_on();
        Ok(())
    }

    /// What waits in the kernel for more comes at once.
    fn let_go(&self) {
        for group in self.groups {
            match privilege::with(NeededRight::NetAdmin, || self.socket.send(&nflog::unbind(*group))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, group, "the last packets of a group may be missing"),
                Err(error) => tracing::warn!(%error, group, "the last packets of a group may be missing"),
            }
        }
    }

    fn hand_on(&mut self) {
        let now = wall_clock();
        self.verdicts.handle_timeout(now);
        (self.step)(self.verdicts, now);
    }

    /// Reads some times; how often there was something.
    fn read(&mut self) -> io::Result<usize> {
        let Self { socket, buffers, verdicts, names, .. } = self;
        for read in 0..READS {
            let now = wall_clock();
            match socket.receive(buffers) {
                Ok(0) => return Ok(read),
                Ok(_) => {
                    for datagram in buffers.datagrams() {
                        verdicts.handle_nflog(datagram.bytes, now, |index| names.of(index));
                    }
                }
                // The numbers of the packets say how many were lost.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(READS)
    }

    fn count_drops(&mut self) {
        self.counted = now();
        match self.socket.new_drops() {
            Ok(drops) => self.verdicts.ledger_mut().dropped += drops,
            Err(error) => tracing::warn!(%error, "the kernel does not say how many messages it dropped"),
        }
        (self.step)(self.verdicts, wall_clock());
    }
}
