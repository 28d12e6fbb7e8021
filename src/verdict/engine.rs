//! From an entry to a record, and the ledger of entries.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use foldhash::fast::FixedState;
use sha1::{Digest, Sha1};

use super::fold::EntryFold;
use super::follow::FlowFollow;
use super::line::{self, LineTime, LoggedLine, NotLogged};
use super::marks::PacketMarks;
use super::nflog::{self, NflogPacket};
use super::prefix::PrefixPatterns;
use super::store::ContainerStore;
use crate::filter::FlowFilter;
use crate::flow::Timestamp;
use crate::glob::Glob;
use crate::ledger::VerdictLedger;
use crate::netlink::{DONE, ERROR, NetlinkMessages};
use crate::record::{
    FlowNews, FollowedBy, LoggedPacket, Record, StoredContainer, VerdictDirection, VerdictInput, VerdictMeaning,
    VerdictRecord,
};

/// Different repeated entries that are remembered.
const MAX_REPEATED: usize = 16_384;
/// Longest prefix of an unknown rule that is remembered for the log.
const MAX_SHOWN: usize = 64;

/// How to read entries.
#[derive(Clone, Debug)]
pub struct VerdictConfig {
    /// VERDICT_PREFIXES.
    pub prefixes: PrefixPatterns,
    /// VERDICT_INTERFACES: what leaves by one of them goes to a container.
    pub container_interfaces: Vec<Glob>,
    /// VERDICT_REPEATS in nanoseconds; none makes each entry a record.
    pub repeats: Option<u64>,
    /// VERDICT_OUTCOME in nanoseconds, where connections are tracked too: how long a record waits for what follows.
    pub patience: Option<u64>,
    /// Part of every `event.id`.
    pub observer_id: String,
    /// INCLUDE_…, EXCLUDE_….
    pub filter: FlowFilter,
}

/// What all inputs have in common of one entry.
struct VerdictEntry {
    id: CompactString,
    at: Timestamp,
    prefix: CompactString,
    packet: LoggedPacket,
    mark: Option<u32>,
    group: Option<u16>,
    user: Option<u32>,
    input: VerdictInput,
    interfaces: [Option<CompactString>; 2],
    lost_before: u64,
}

/// Entries in, records out.
#[derive(Debug)]
pub struct VerdictEngine {
    config: VerdictConfig,
    store: ContainerStore,
    fold: Option<EntryFold>,
    follow: Option<FlowFollow>,
    /// The next packet's number of each group.
    expected: HashMap<u16, u32, FixedState>,
    /// The next record's number of /dev/kmsg.
    expected_kmsg: Option<u64>,
    marks: PacketMarks,
    /// A prefix that fits no pattern, until it is asked for.
    unknown: Option<CompactString>,
    ledger: VerdictLedger,
    /// What was lost so far, when it was looked at last.
    losses: u64,
    out: Vec<Record>,
}

impl VerdictEngine {
    /// Without a store.
    pub fn new(config: VerdictConfig) -> Self {
        Self {
            fold: config.repeats.map(|interval| EntryFold::new(interval, MAX_REPEATED)),
            follow: config.patience.map(FlowFollow::new),
            config,
            store: ContainerStore::default(),
            expected: HashMap::default(),
            expected_kmsg: None,
            marks: PacketMarks::default(),
            unknown: None,
            ledger: VerdictLedger::default(),
            losses: 0,
            out: Vec::new(),
        }
    }

    /// The records made so far; the caller takes them out.
    pub fn records(&mut self) -> &mut Vec<Record> {
        &mut self.out
    }

    /// What was counted.
    pub fn ledger(&self) -> &VerdictLedger {
        &self.ledger
    }

    /// For those who open the input.
    pub fn ledger_mut(&mut self) -> &mut VerdictLedger {
        &mut self.ledger
    }

    /// Takes the containers of another version of the store.
    pub fn set_store(&mut self, store: ContainerStore) {
        self.store = store;
    }

    /// The first prefix that fits no pattern since the last call.
    pub fn take_unknown_prefix(&mut self) -> Option<CompactString> {
        self.unknown.take()
    }

    /// Takes a datagram of NFLOG. `interface` names one by its index; `now` dates packets from this machine itself.
    pub fn handle_nflog(
        &mut self,
        datagram: &[u8],
        now: Timestamp,
        mut interface: impl FnMut(u32) -> Option<CompactString>,
    ) {
        let mut messages = NetlinkMessages::new(datagram);
        for message in &mut messages {
            // Several packets in one datagram end with a message that says so.
            if [ERROR, DONE].contains(&message.kind) {
                continue;
            }
            self.ledger.entries += 1;
            match nflog::read(&message) {
                Some(logged) => self.handle_logged(logged, now, &mut interface),
                None => self.ledger.foreign += 1,
            }
        }
        if !messages.rest.is_empty() {
            self.ledger.entries += 1;
            self.ledger.foreign += 1;
        }
    }

    fn handle_logged(
        &mut self,
        logged: NflogPacket,
        now: Timestamp,
        interface: &mut impl FnMut(u32) -> Option<CompactString>,
    ) {
        let lost_before = logged.sequence.map_or(0, |sequence| self.missing(logged.group, sequence));
        self.ledger.lost += lost_before;
        let Some(packet) = logged.packet else {
            self.ledger.no_ip += 1;
            return;
        };
        let at = logged.at.unwrap_or(now);
        let number = logged.sequence.unwrap_or_default();
        let entry = VerdictEntry {
            id: self.id(&[&logged.group.to_le_bytes(), &number.to_le_bytes(), &at.0.to_le_bytes()]),
            at,
            prefix: logged.prefix,
            packet,
            mark: logged.mark,
            group: Some(logged.group),
            user: logged.user,
            input: VerdictInput::Nflog,
            interfaces: [logged.interface_in, logged.interface_out].map(|index| interface(index?)),
            lost_before,
        };
        self.handle_entry(entry, now);
    }

    /// Packets of a group that were numbered and never came. The kernel numbers from the moment when the group is bound.
    fn missing(&mut self, group: u16, sequence: u32) -> u64 {
        let expected = self.expected.entry(group).or_insert(0);
        let missing = sequence.wrapping_sub(*expected);
        *expected = sequence.wrapping_add(1);
        // A number from before is no loss of four thousand million packets.
        if missing > u32::MAX / 2 { 0 } else { missing.into() }
    }

    /// Takes a line of the kernel log, without its line feed. `now` dates lines without a time, `boot` is when the machine
    /// started, where the line is of this machine's log since then.
    pub fn handle_line(&mut self, line: &[u8], input: VerdictInput, now: Timestamp, boot: Option<Timestamp>) {
        if input == VerdictInput::Kmsg {
            self.count_missing_lines(line);
        }
        for (part, read) in line::read(line).into_iter().enumerate() {
            self.ledger.entries += 1;
            match read {
                Ok(logged) => self.handle_read(line, part, logged, input, now, boot),
                Err(NotLogged::Foreign) => self.ledger.foreign += 1,
                Err(NotLogged::NoIp) => self.ledger.no_ip += 1,
                Err(NotLogged::Cut) => self.ledger.cut += 1,
                Err(NotLogged::Suppressed(lines)) => {
                    self.ledger.foreign += 1;
                    self.ledger.suppressed += lines;
                }
            }
            self.ledger.glued += u64::from(part > 0);
        }
    }

    fn count_missing_lines(&mut self, line: &[u8]) {
        let Some(number) = line::kmsg_sequence(line) else { return };
        if let Some(expected) = self.expected_kmsg {
            self.ledger.lines_missed += number.saturating_sub(expected);
        }
        self.expected_kmsg = Some(number.saturating_add(1));
    }

    fn handle_read(
        &mut self,
        line: &[u8],
        part: usize,
        logged: LoggedLine,
        input: VerdictInput,
        now: Timestamp,
        boot: Option<Timestamp>,
    ) {
        let at = match (logged.at, boot) {
            (LineTime::Wall(at), _) => at,
            (LineTime::SinceBoot(micros), Some(boot)) => boot.plus(micros.saturating_mul(1000)),
            (LineTime::SinceBoot(_), None) | (LineTime::Unknown, _) => now,
        };
        // Two lines without a time that are alike are two packets all the same.
        let number = if logged.at == LineTime::Unknown { self.ledger.entries } else { 0 };
        let entry = VerdictEntry {
            id: self.id(&[line, &part.to_le_bytes(), &number.to_le_bytes()]),
            at,
            prefix: logged.prefix,
            packet: logged.packet,
            mark: logged.mark,
            group: None,
            user: logged.user,
            input,
            interfaces: [logged.interface_in, logged.interface_out],
            lost_before: 0,
        };
        self.handle_entry(entry, now);
    }

    fn handle_entry(&mut self, entry: VerdictEntry, now: Timestamp) {
        let Some(meaning) = self.config.prefixes.meaning(&entry.prefix).cloned() else {
            self.ledger.unmatched += 1;
            let shown = || entry.prefix.chars().take(MAX_SHOWN).collect();
            self.unknown.get_or_insert_with(shown);
            return;
        };
        self.ledger.cut_headers += u64::from(entry.packet.truncated);
        self.ledger.fragments += u64::from(entry.packet.fragment);
        let record = self.record(entry, meaning);
        if !self.config.filter.keeps_verdict(&record) {
            self.ledger.left_out += 1;
            return;
        }
        if let Some(follow) = &mut self.follow {
            let known = follow.tried_again(&record);
            self.give(known);
        }
        let folded = match &mut self.fold {
            Some(fold) => fold.add(record, now),
            None => Some(record),
        };
        match folded {
            Some(record) => self.wait_or_give(record, now),
            None => self.ledger.folded += 1,
        }
    }

    fn wait_or_give(&mut self, record: VerdictRecord, now: Timestamp) {
        let Some(follow) = &mut self.follow else { return self.give([record]) };
        self.ledger.unjoined += u64::from(!follow.has_room());
        let known = follow.add(record, now);
        self.ledger.waiting = follow.len() as u64;
        self.give(known);
    }

    /// Records of one entry each.
    fn give(&mut self, records: impl IntoIterator<Item = VerdictRecord>) {
        let before = self.out.len();
        self.out.extend(records.into_iter().map(Record::from));
        self.ledger.recorded += (self.out.len() - before) as u64;
        self.ledger.waiting = self.follow.as_ref().map_or(0, FlowFollow::len) as u64;
    }

    /// What connection tracking says, for records that wait for it.
    pub fn handle_news(&mut self, news: &FlowNews) {
        let known = self.follow.as_mut().map(|follow| follow.hear(news)).unwrap_or_default();
        self.give(known);
    }

    /// News were lost: for a while nothing is known to be absent.
    pub fn handle_lost_news(&mut self, now: Timestamp) {
        if let Some(follow) = &mut self.follow {
            follow.lost(now);
        }
    }

    /// Whether a look at the table of connections would complete records that wait.
    pub fn wants_table(&mut self, now: Timestamp) -> bool {
        self.follow.as_mut().is_some_and(|follow| follow.wants_table(now))
    }

    /// Who is behind the source's address, else the application that the mark belongs to.
    fn sender(&mut self, entry: &VerdictEntry) -> Option<Arc<StoredContainer>> {
        let known = self.store.container(entry.packet.source.ip);
        match (&known, entry.mark) {
            (Some(container), Some(mark)) => self.marks.learn(mark, container),
            (None, Some(mark)) => return self.marks.application(mark),
            (_, None) => {}
        }
        known
    }

    fn record(&mut self, entry: VerdictEntry, meaning: VerdictMeaning) -> VerdictRecord {
        let source = self.sender(&entry);
        let [interface_in, interface_out] = entry.interfaces;
        let out = interface_out.as_deref().unwrap_or_default();
        let to_container = self.config.container_interfaces.iter().any(|glob| glob.matches(out.as_bytes()));
        // Without an interface to go out by it is for this machine itself.
        let is_local = interface_out.is_none() && interface_in.is_some();
        let direction = if to_container || is_local { VerdictDirection::Ingress } else { VerdictDirection::Egress };
        VerdictRecord {
            id: entry.id,
            at: entry.at,
            start: None,
            packets: 1,
            prefix: entry.prefix,
            meaning,
            direction,
            source,
            destination: self.store.container(entry.packet.destination.ip),
            packet: entry.packet,
            mark: entry.mark,
            group: entry.group,
            input: entry.input,
            interface_in,
            interface_out,
            user: entry.user,
            followed_by: None,
            lost_before: entry.lost_before,
            source_workload: None,
            destination_workload: None,
        }
    }

    /// Time has come so far: intervals may be over.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(fold) = &mut self.fold {
            let records = fold.expire(now);
            self.give_repeats(records);
        }
        if let Some(follow) = &mut self.follow {
            let lost = self.ledger.losses();
            if lost != std::mem::replace(&mut self.losses, lost) {
                follow.lost(now);
            }
            let records = follow.expire(now);
            self.give(records);
        }
    }

    /// Records of several entries, that only add to the ledger's equation as folded.
    fn give_repeats(&mut self, records: Vec<VerdictRecord>) {
        self.ledger.repeats += records.len() as u64;
        for mut record in records {
            let again = self.follow.is_some() && !record.meaning.allowed && record.packets > 1;
            record.followed_by = again.then_some(FollowedBy::Retried);
            self.out.push(record.into());
        }
    }

    /// The end: what waits goes out.
    pub fn finish(&mut self) {
        if let Some(follow) = &mut self.follow {
            let records = follow.finish();
            self.give(records);
        }
        if let Some(fold) = &mut self.fold {
            let records = fold.finish();
            self.give_repeats(records);
        }
    }

    /// The same entry read again has the same id.
    fn id(&self, parts: &[&[u8]]) -> CompactString {
        let mut hash = Sha1::new();
        hash.update(self.config.observer_id.as_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 20] = hash.finalize().into();
        format_compact!("{:016x}", digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
    }
}
