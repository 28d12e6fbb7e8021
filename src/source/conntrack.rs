//! Events of the kernel's connection tracking: a socket for beginnings, one for changes and ends, one for dumps, on a plain
//! thread.
//!
//! The kernel does not try beginnings again that found their buffer full, so each drop there is exactly one of them. Changes
//! and ends are tried again, so a drop there is a try. When one of these is read, the beginning of its flow has been
//! handled: it was sent before, and that socket is read to its end in between.
//!
//! Owns the loop (wait, read, dump again after a loss) and what the kernel dropped. What a message means is known to
//! `conntrack`. NET_ADMIN is effective only while a socket is opened and a dump is asked for.

use std::io;
use std::time::{Duration, Instant};

use super::live::{CaptureError, StopSignal, wait_for};
use super::netlink::{Buffers, NetlinkSocket, sysctl};
use super::privilege::{self, NeededRight, NotPermitted};
use super::{now, wall_clock};
use crate::conntrack::{ConntrackTracker, DumpProgress, GET_KIND};
use crate::flow::Timestamp;
use crate::netlink::{DUMP, NetlinkWriter, REQUEST};

/// Group of ctnetlink: flows that begin.
const BEGINNINGS: i32 = 1;
/// Groups of ctnetlink: update, destroy.
const OTHERS: [i32; 2] = [2, 3];
/// What a datagram in a receive buffer costs at least, for the kernel.
const DATAGRAM_COST: u64 = 512;
/// How long a wait for events lasts at most: records are handed on at least so often.
const TICK: Duration = Duration::from_millis(100);
/// How often the kernel's counter of drops is read.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Between two dumps, where flows are known only from one.
const DUMP_EVERY: Duration = Duration::from_secs(30);
/// Between two dumps after losses.
const RESYNC_EVERY: Duration = Duration::from_secs(1);
/// Between two dumps that somebody asks for.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// How long the kernel may take for the next part of a dump.
const DUMP_PATIENCE: Duration = Duration::from_secs(10);
/// Reads in a row before records are handed on.
const READS: usize = 8;
/// How long events are read at most after the signal to stop; only a flood needs more.
const MAX_DRAIN: Duration = Duration::from_secs(2);

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackOptions {
    /// CONNTRACK_BUFFER, for beginnings, and again for changes and ends.
    pub buffer_bytes: u64,
    /// CONNTRACK_ALL_NAMESPACES.
    pub all_namespaces: bool,
}

/// Listens until it is stopped. `step` is called several times a second, and whenever there are some records: it takes them
/// out of the tracker. The thread must have NET_ADMIN permitted.
pub fn run(
    options: &ConntrackOptions,
    stop: &StopSignal,
    tracker: &mut ConntrackTracker,
    step: impl FnMut(&mut ConntrackTracker, Timestamp),
) -> Result<(), CaptureError> {
    let sockets = opened(options).map_err(CaptureError::NotPermitted)?;
    let sockets = sockets.map_err(|error| failed(&error))?;
    tracker.ledger_mut().opens += 1;
    let (now, most_waiting) = (now(), options.buffer_bytes / DATAGRAM_COST);
    let mut listener = ConntrackListener {
        sockets,
        buffers: Buffers::new(),
        others: Buffers::new(),
        most_waiting,
        tracker,
        step,
        overrun: false,
        dumped: now,
        counted: now,
    };
    let outcome = listener.until_stopped(stop);
    listener.count_drops();
    outcome.map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> CaptureError {
    CaptureError::Input { input: "connection tracking", message: error.to_string() }
}

struct ConntrackSockets {
    beginnings: NetlinkSocket,
    others: NetlinkSocket,
    dumps: NetlinkSocket,
}

/// With what the kernel looks for. To pass on an event of another namespace it asks what was effective when the socket was
/// made, not what is now.
fn opened(options: &ConntrackOptions) -> Result<io::Result<ConntrackSockets>, NotPermitted> {
    privilege::with(NeededRight::NetAdmin, || match options.all_namespaces {
        false => Ok(open(options)),
        true => privilege::with(NeededRight::NetBroadcast, || open(options)),
    })?
}

fn open(options: &ConntrackOptions) -> io::Result<ConntrackSockets> {
    let [beginnings, others, dumps] = [NetlinkSocket::open()?, NetlinkSocket::open()?, NetlinkSocket::open()?];
    let has = beginnings.set_buffer(options.buffer_bytes)?.min(others.set_buffer(options.buffer_bytes)?);
    if has < options.buffer_bytes / 2 {
        tracing::warn!(bytes = has, "a receive buffer is smaller than CONNTRACK_BUFFER asks for");
    }
    if let Err(error) = others.send_again() {
        tracing::warn!(%error, "the kernel does not keep ends of flows that do not fit; they may be lost, and counted");
    }
    if options.all_namespaces {
        beginnings.listen_everywhere().and_then(|()| others.listen_everywhere())?;
    }
    // Ends first: of a flow that begins in between, the end is heard too.
    OTHERS.into_iter().try_for_each(|group| others.join(group))?;
    beginnings.join(BEGINNINGS)?;
    dumps.set_buffer(1 << 20)?;
    Ok(ConntrackSockets { beginnings, others, dumps })
}

struct ConntrackListener<'a, F> {
    sockets: ConntrackSockets,
    buffers: Buffers,
    /// For changes and ends, which wait here until beginnings have been handled.
    others: Buffers,
    /// Beginnings that may wait in their buffer.
    most_waiting: u64,
    tracker: &'a mut ConntrackTracker,
    step: F,
    /// The kernel has dropped events since the last dump.
    overrun: bool,
    dumped: Instant,
    counted: Instant,
}

impl<F: FnMut(&mut ConntrackTracker, Timestamp)> ConntrackListener<'_, F> {
    fn until_stopped(&mut self, stop: &StopSignal) -> io::Result<()> {
        self.dump();
        loop {
            let sockets = [self.sockets.others.raw(), self.sockets.beginnings.raw()];
            if stop.wait_for_two(sockets, TICK) {
                return self.end();
            }
            self.read(READS)?;
            self.hand_on();
            let since = self.dumped.elapsed();
            let silent = self.tracker.needs_dump() && since >= DUMP_EVERY;
            let asked = self.tracker.is_asked_for_dump() && since >= ASKED_EVERY;
            if silent || asked || (self.overrun && since >= RESYNC_EVERY) {
                self.dump();
            }
            if self.counted.elapsed() >= COUNT_EVERY {
                self.count_drops();
            }
        }
    }

    /// What has arrived is still read; what only a dump can tell is asked for once more.
    fn end(&mut self) -> io::Result<()> {
        let deadline = now() + MAX_DRAIN;
        while self.read(READS)? == READS && now() < deadline {
            self.hand_on();
        }
        if self.tracker.needs_dump() || self.overrun {
            self.dump();
        }
        self.tracker.finish();
        self.hand_on();
        Ok(())
    }

    fn hand_on(&mut self) {
        let now = wall_clock();
        self.tracker.handle_timeout(now);
        (self.step)(self.tracker, now);
    }

    /// Reads this many times at most; how often there was something.
    fn read(&mut self, most: usize) -> io::Result<usize> {
        for read in 0..most {
            let others = receive(&self.sockets.others, &mut self.others, self.tracker, &mut self.overrun)?;
            let begun = self.read_beginnings()?;
            handle(&self.others, self.tracker);
            if others == 0 && begun == 0 {
                return Ok(read);
            }
        }
        Ok(most)
    }

    /// Reads all beginnings that were sent before this call; how many.
    fn read_beginnings(&mut self) -> io::Result<u64> {
        let mut all = 0;
        while all <= self.most_waiting {
            let read = receive(&self.sockets.beginnings, &mut self.buffers, self.tracker, &mut self.overrun)?;
            if read == 0 {
                break;
            }
            handle(&self.buffers, self.tracker);
            all += read as u64;
        }
        Ok(all)
    }

    /// Reads the whole table; events go on being read meanwhile, since they do not wait.
    fn dump(&mut self) {
        self.overrun = false;
        self.dumped = now();
        self.tracker.begin_dump(wall_clock());
        if let Err(error) = self.dump_whole() {
            self.tracker.ledger_mut().dumps_failed += 1;
            tracing::warn!(%error, "the table of connections could not be read; trying again");
            (self.overrun, self.dumped) = (true, now() + DUMP_EVERY);
            return;
        }
        // Old ends that wait in the buffer must be seen before what is missing counts as ended.
        let read = std::iter::repeat_with(|| self.read(READS)).take(1024).find(|read| !matches!(read, Ok(READS)));
        if let Some(Ok(_)) = read {
            self.tracker.end_dump(wall_clock());
        }
        self.hand_on();
    }

    fn dump_whole(&mut self) -> io::Result<()> {
        // Any family: IPv4 and IPv6 come one after the other.
        let request = NetlinkWriter::netfilter(GET_KIND, REQUEST | DUMP, 1, 0, 0).finish();
        privilege::with(NeededRight::NetAdmin, || self.sockets.dumps.send(&request)).map_err(io::Error::other)??;
        loop {
            if !wait_for(self.sockets.dumps.raw(), DUMP_PATIENCE) {
                return Err(io::Error::other("the kernel does not go on with the dump"));
            }
            let mut progress = DumpProgress::Going;
            self.sockets.dumps.receive(&mut self.buffers)?;
            for datagram in self.buffers.datagrams() {
                if progress == DumpProgress::Going {
                    progress = self.tracker.handle_dump(datagram.namespace, datagram.bytes);
                }
            }
            match progress {
                DumpProgress::Going => _ = self.read(READS)?,
                DumpProgress::Done => return Ok(()),
                DumpProgress::Failed(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    fn count_drops(&mut self) {
        self.counted = now();
        let ConntrackSockets { beginnings, others, .. } = &mut self.sockets;
        match (beginnings.new_drops(), others.new_drops()) {
            (Ok(lost), Ok(dropped)) => {
                self.tracker.ledger_mut().lost_beginnings += lost;
                self.tracker.ledger_mut().dropped += dropped;
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the kernel does not say how many events it dropped");
            }
        }
        (self.step)(self.tracker, wall_clock());
    }
}

/// Reads once; how many there were. Where the kernel had dropped some, it says so once, however many: then something is to be
/// read all the same.
fn receive(
    socket: &NetlinkSocket,
    buffers: &mut Buffers,
    tracker: &mut ConntrackTracker,
    overrun: &mut bool,
) -> io::Result<usize> {
    loop {
        match socket.receive(buffers) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                tracker.ledger_mut().overruns += 1;
                *overrun = true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn handle(buffers: &Buffers, tracker: &mut ConntrackTracker) {
    let now = wall_clock();
    buffers.datagrams().for_each(|datagram| tracker.handle_events(datagram.namespace, datagram.bytes, now));
}

/// What the kernel says only where an administrator has switched it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAccounting {
    /// Packets and bytes.
    pub counters: bool,
    /// Times of beginning and end.
    pub times: bool,
    /// Whether entries that are older than their first listener have events.
    pub events_for_all: bool,
}

impl KernelAccounting {
    /// As it is in this network namespace; an error where it has no connection tracking.
    pub fn read() -> io::Result<Self> {
        let setting = |name: &str| sysctl(&format!("net/netfilter/{name}"));
        Ok(Self {
            counters: setting("nf_conntrack_acct")? != 0,
            times: setting("nf_conntrack_timestamp")? != 0,
            events_for_all: setting("nf_conntrack_events").unwrap_or(2) == 1,
        })
    }
}
