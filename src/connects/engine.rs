//! From an entry to a record, and the ledger of entries.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;
use ring::digest::{Context, SHA256};

use super::container;
use super::entry::{ConnectEntry, ConnectOutcome};
use super::errno;
use crate::flow::{Endpoint, Timestamp};
use crate::ledger::ConnectLedger;
use crate::record::{ConnectRecord, ConnectResult, NetworkDirection, Process, Record, SeenBy};
use crate::redact::Redactor;

/// Users whose name is remembered.
const MAX_USERS: usize = 65_536;

/// How to make records.
#[derive(Clone, Debug, Default)]
pub struct ConnectConfig {
    /// Part of every `event.id`.
    pub observer_id: String,
    /// Masks secrets in arguments.
    pub redactor: Redactor,
    /// Names of users, as the mount namespace `mounts` has them in /etc/passwd.
    pub users: HashMap<u32, CompactString>,
    /// Inode of podtap's own mount namespace: what another one calls a user is not known here.
    pub mounts: u32,
}

/// What has to be added to a clock of the kernel for the time of day, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelClocks {
    /// To CLOCK_MONOTONIC.
    pub monotonic: i64,
    /// To CLOCK_BOOTTIME.
    pub boot: i64,
    /// By how much the first may be wrong, nanoseconds.
    pub error: u64,
}

/// The program's counters of one CPU, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Entries that found room in the ring.
    pub sent: u64,
    /// Entries that found none.
    pub dropped: u64,
    /// Connects that began and had no room to wait for their end.
    pub untracked: u64,
    /// Connects whose end was missed.
    pub unended: u64,
    /// Connects of podtap itself.
    pub own: u64,
}

/// Entries in, records out.
#[derive(Debug)]
pub struct ConnectEngine {
    config: ConnectConfig,
    own_ips: Vec<IpAddr>,
    clocks: KernelClocks,
    /// How many entries all CPUs had sent when the program's counters were read last.
    sent: u64,
    /// When that was.
    counted_at: Timestamp,
    ledger: ConnectLedger,
    out: Vec<Record>,
}

impl ConnectEngine {
    /// `own_ips` decides the direction.
    pub fn new(config: ConnectConfig, own_ips: Vec<IpAddr>) -> Self {
        let (clocks, sent, counted_at, ledger, out) = Default::default();
        Self { config, own_ips, clocks, sent, counted_at, ledger, out }
    }

    /// The records made so far; the caller takes them out.
    pub fn records(&mut self) -> &mut Vec<Record> {
        &mut self.out
    }

    /// What was counted.
    pub fn ledger(&self) -> &ConnectLedger {
        &self.ledger
    }

    /// For what only the reader knows.
    pub fn ledger_mut(&mut self) -> &mut ConnectLedger {
        &mut self.ledger
    }

    /// The pod's addresses, when they changed.
    pub fn set_own_ips(&mut self, own_ips: Vec<IpAddr>) {
        self.own_ips = own_ips;
    }

    /// By how much times of records may be wrong, nanoseconds.
    pub fn clock_error(&self) -> u64 {
        self.clocks.error
    }

    /// What the clocks of the kernel read now.
    pub fn set_clocks(&mut self, clocks: KernelClocks) {
        self.clocks = clocks;
    }

    /// One entry of the ring.
    pub fn handle_entry(&mut self, bytes: &[u8]) {
        (self.ledger.read, self.ledger.events) = (self.ledger.read + 1, self.ledger.events + 1);
        let Some(entry) = ConnectEntry::read(bytes) else {
            self.ledger.unreadable += 1;
            return;
        };
        self.ledger.recorded += 1;
        let record = self.record(&entry);
        self.out.push(record.into());
    }

    /// The program's counters, of each CPU. `at_the_end`: nothing more is written, and the ring was read to its end. So what was
    /// sent and not read is lost: the ledger does not add up. None where they could not be read.
    pub fn handle_counts(&mut self, counts: &[KernelCounts], at_the_end: bool) {
        if counts.is_empty() {
            return;
        }
        let sum = |of: fn(&KernelCounts) -> u64| counts.iter().map(of).sum::<u64>();
        let ledger = &mut self.ledger;
        ledger.dropped = sum(|c| c.dropped).max(ledger.dropped);
        (ledger.untracked, ledger.unended, ledger.own) = (sum(|c| c.untracked), sum(|c| c.unended), sum(|c| c.own));
        self.sent = sum(|c| c.sent);
        let sent = if at_the_end { self.sent } else { 0 };
        ledger.events = sent.max(ledger.read) + ledger.dropped;
    }

    /// The program's counters are about to be read.
    pub fn set_counted_at(&mut self, now: Timestamp) {
        self.counted_at = now;
    }

    /// Every connect whose result was known at this time was read; none where more wait to be read.
    pub fn read_up_to(&self) -> Option<Timestamp> {
        (self.ledger.read >= self.sent).then_some(self.counted_at)
    }

    fn record(&self, entry: &ConnectEntry<'_>) -> ConnectRecord {
        let source = Some(entry.source.ip).filter(|ip| !ip.is_unspecified());
        let (start, result) = (at(entry.start, self.clocks.monotonic), result(entry));
        ConnectRecord {
            end: (entry.end > 0).then(|| at(entry.end, self.clocks.monotonic)),
            protocol: entry.protocol,
            source,
            source_port: Some(entry.source.port).filter(|port| *port > 0),
            errno: (entry.outcome == ConnectOutcome::Failed && entry.error > 0).then(|| errno::name(entry.error)),
            process: Some(Arc::new(self.process(entry))),
            thread: Some(entry.tid),
            netns: Some(entry.netns),
            direction: Some(self.direction(source, entry.destination)),
            ..ConnectRecord::new(self.id(entry), start, entry.destination, SeenBy::Process, result)
        }
    }

    /// Who asks is in here; the question is whether who is asked is, too.
    fn direction(&self, source: Option<IpAddr>, destination: Endpoint) -> NetworkDirection {
        let ip = destination.ip;
        if ip.is_loopback() || source == Some(ip) || self.own_ips.contains(&ip) {
            NetworkDirection::Internal
        } else {
            NetworkDirection::Egress
        }
    }

    fn process(&self, entry: &ConnectEntry<'_>) -> Process {
        let own_users = self.config.mounts != 0 && entry.mounts == self.config.mounts;
        Process {
            pid: entry.pid,
            own_pid: Some(entry.own_pid).filter(|pid| *pid > 0 && *pid != entry.pid),
            name: Redactor::plain(entry.name),
            executable: entry.executable().map(|path| Redactor::plain(&path)),
            args: self.config.redactor.arguments(entry.arguments()),
            args_cut: entry.args_cut,
            parent: Some(entry.parent).filter(|pid| *pid > 0),
            start: (entry.born > 0).then(|| at(entry.born, self.clocks.boot)),
            user: entry.user,
            user_name: self.config.users.get(&entry.user).filter(|_| own_users).cloned(),
            container: container::of_groups(&entry.groups).or_else(|| container::of_groups(&entry.groups_v1)),
            hostname: Some(Redactor::plain(entry.hostname)).filter(|name| !name.is_empty()),
        }
    }

    /// The start and the end of what happened, by this observer; two connects of one thread never begin at the same time.
    fn id(&self, entry: &ConnectEntry<'_>) -> CompactString {
        let mut hash = Context::new(&SHA256);
        hash.update(&(self.config.observer_id.len() as u64).to_be_bytes());
        hash.update(self.config.observer_id.as_bytes());
        for number in [u64::from(entry.cpu), entry.start, u64::from(entry.tid), entry.born] {
            hash.update(&number.to_be_bytes());
        }
        // Clocks of the kernel begin again with each boot.
        hash.update(&at(entry.start, self.clocks.monotonic).0.div_euclid(1_000_000_000).to_be_bytes());
        let digest = hash.finish();
        CompactString::from(URL_SAFE_NO_PAD.encode(digest.as_ref().get(..12).unwrap_or_default()))
    }
}

impl ConnectConfig {
    /// Takes the names of users out of a file like /etc/passwd; what is no line of one is passed over.
    pub fn read_users(&mut self, passwd: &str) {
        let line = |line: &str| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            Some((id.parse().ok()?, name.into()))
        };
        // The first name of a number counts, as for getpwuid(3).
        for (id, name) in passwd.lines().filter_map(line).take(MAX_USERS) {
            self.users.entry(id).or_insert(name);
        }
    }
}

/// Nanoseconds of a clock of the kernel as time of day.
fn at(nanos: u64, offset: i64) -> Timestamp {
    Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX).saturating_add(offset))
}

fn result(entry: &ConnectEntry<'_>) -> ConnectResult {
    match (entry.outcome, &*errno::name(entry.error)) {
        (ConnectOutcome::Established, _) => ConnectResult::Established,
        (ConnectOutcome::Closed, _) => ConnectResult::GivenUp,
        (ConnectOutcome::Failed, "ECONNREFUSED" | "ECONNRESET") => ConnectResult::Refused,
        (ConnectOutcome::Failed, "ETIMEDOUT") => ConnectResult::TimedOut,
        // EACCES: a route says that it is prohibited.
        (ConnectOutcome::Failed, "EHOSTUNREACH" | "ENETUNREACH" | "EACCES" | "ENETDOWN" | "EHOSTDOWN") => {
            ConnectResult::Unreachable
        }
        (ConnectOutcome::Failed, _) => ConnectResult::Error,
    }
}
