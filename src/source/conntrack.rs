//! Events of the kernel's connection tracking: a socket for events, one for dumps, on a plain thread.
//!
//! Owns the loop (wait, read, dump again after a loss) and what the kernel dropped. What a message means is known to
//! `conntrack`. NET_ADMIN is effective only while a socket is opened and a dump is asked for.

use std::io;
use std::time::{Duration, Instant};

use super::live::{CaptureError, Stop, wait_for};
use super::netlink::{Buffers, Socket, sysctl};
use super::privilege::{self, Right};
use super::{now, wall_clock};
use crate::conntrack::{Dumped, GET_KIND, Tracker};
use crate::flow::Timestamp;
use crate::netlink::{DUMP, REQUEST, Writer};

/// Groups of ctnetlink: new, update, destroy.
const GROUPS: [i32; 3] = [1, 2, 3];
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
pub struct Options {
    /// CONNTRACK_BUFFER.
    pub buffer_bytes: u64,
    /// CONNTRACK_ALL_NAMESPACES.
    pub all_namespaces: bool,
}

/// Listens until it is stopped. `step` is called several times a second, and whenever there are some records: it takes them
/// out of the tracker. The thread must have NET_ADMIN permitted.
pub fn run(
    options: &Options,
    stop: &Stop,
    tracker: &mut Tracker,
    step: impl FnMut(&mut Tracker, Timestamp),
) -> Result<(), CaptureError> {
    let sockets = privilege::with(Right::NetAdmin, || open(options)).map_err(CaptureError::NotPermitted)?;
    let (events, dumps) = sockets.map_err(|error| failed(&error))?;
    tracker.ledger_mut().opens += 1;
    let now = now();
    let mut listener =
        Listener { events, dumps, buffers: Buffers::new(), tracker, step, overrun: false, dumped: now, counted: now };
    let outcome = listener.until_stopped(stop);
    listener.count_drops();
    outcome.map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> CaptureError {
    CaptureError::Input { input: "connection tracking", message: error.to_string() }
}

fn open(options: &Options) -> io::Result<(Socket, Socket)> {
    let events = Socket::open()?;
    let has = events.set_buffer(options.buffer_bytes)?;
    if has < options.buffer_bytes / 2 {
        tracing::warn!(bytes = has, "the receive buffer is smaller than CONNTRACK_BUFFER asks for");
    }
    if let Err(error) = events.keep_ends() {
        tracing::warn!(%error, "the kernel does not keep ends of flows that do not fit; they may be lost, and counted");
    }
    if options.all_namespaces {
        let listening = privilege::with(Right::NetBroadcast, || events.listen_everywhere());
        listening.map_err(io::Error::other)??;
    }
    GROUPS.into_iter().try_for_each(|group| events.join(group))?;
    let dumps = Socket::open()?;
    dumps.set_buffer(1 << 20)?;
    Ok((events, dumps))
}

struct Listener<'a, F> {
    events: Socket,
    dumps: Socket,
    buffers: Buffers,
    tracker: &'a mut Tracker,
    step: F,
    /// The kernel has dropped events since the last dump.
    overrun: bool,
    dumped: Instant,
    counted: Instant,
}

impl<F: FnMut(&mut Tracker, Timestamp)> Listener<'_, F> {
    fn until_stopped(&mut self, stop: &Stop) -> io::Result<()> {
        self.dump();
        loop {
            let wakeup = stop.wait(Some(self.events.raw()), TICK);
            if wakeup.stopped {
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

    /// Reads so many times at most; how often there was something.
    fn read(&mut self, most: usize) -> io::Result<usize> {
        let Self { events, buffers, tracker, overrun, .. } = self;
        for read in 0..most {
            let now = wall_clock();
            let took = |datagram: super::netlink::Datagram<'_>| {
                tracker.handle_events(datagram.namespace, datagram.bytes, now);
            };
            match events.receive(buffers, took) {
                Ok(0) => return Ok(read),
                Ok(_) => {}
                // The kernel says so once, however many it dropped.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tracker.ledger_mut().overruns += 1;
                    *overrun = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(most)
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
        let request = Writer::netfilter(GET_KIND, REQUEST | DUMP, 1, 0, 0).finish();
        privilege::with(Right::NetAdmin, || self.dumps.send(&request)).map_err(io::Error::other)??;
        loop {
            if !wait_for(self.dumps.raw(), DUMP_PATIENCE) {
                return Err(io::Error::other("the kernel does not go on with the dump"));
            }
            let mut progress = Dumped::Going;
            let Self { dumps, buffers, tracker, .. } = self;
            dumps.receive(buffers, |datagram| {
                if progress == Dumped::Going {
                    progress = tracker.handle_dump(datagram.namespace, datagram.bytes);
                }
            })?;
            match progress {
                Dumped::Going => _ = self.read(READS)?,
                Dumped::Done => return Ok(()),
                Dumped::Failed(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    fn count_drops(&mut self) {
        self.counted = now();
        match self.events.new_drops() {
            Ok(drops) => self.tracker.ledger_mut().dropped += drops,
            Err(error) => tracing::warn!(%error, "the kernel does not say how many events it dropped"),
        }
        (self.step)(self.tracker, wall_clock());
    }
}

/// What the kernel says only where an administrator has switched it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// Packets and bytes.
    pub counters: bool,
    /// Times of beginning and end.
    pub times: bool,
    /// Whether entries that are older than their first listener have events.
    pub events_for_all: bool,
}

impl Accounting {
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
