//! Connects that failed, as packets show them: a SYN that is refused, that cannot be delivered, or that nothing answers.
//!
//! Owns the SYNs that wait for an answer; knows no process, and keeps no connection once it is answered (`tcp`, `flows`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::format_compact;

use crate::flow::{
    ConnKey, ConnectionBeginning, Direction, HashedKey, IpProtocol, KeyHasher, Keyed, Ready, Timestamp, connection_id,
};
use crate::packet::{Datagram, Segment, UndeliveredPacket};
use crate::record::{ConnectRecord, ConnectResult, NetworkDirection, Record, SeenBy};

/// Nothing has answered for so long: that is recorded, whatever comes later. By then a SYN was sent three times (RFC 6298).
const PATIENCE: u64 = 5_000_000_000;
/// How long an answer is still waited for: kernels give up after two minutes.
const FORGOTTEN: u64 = 130_000_000_000;
/// Entries of a list that may be outdated.
const SLACK: usize = 1024;

/// How connects are observed.
#[derive(Clone, Debug)]
pub struct AttemptConfig {
    /// SYNs that may wait at once; the oldest makes room.
    pub most: usize,
    /// Part of every id.
    pub observer_id: String,
    /// Addresses of the pod, for the direction.
    pub own_ips: Vec<IpAddr>,
    /// Whose connects the kernel reports, with their process.
    pub reported: ReportedConnects,
}

/// Whose connects the kernel reports as well. What nothing answers is waited for until the kernel has given up, so that its
/// report is there and the connect is recorded once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportedConnects {
    /// No one's.
    #[default]
    None,
    /// Those of the pod.
    Own,
    /// Those of all processes of the machine.
    All,
}

/// The SYNs of one capture thread that wait for an answer.
#[derive(Debug)]
pub struct ConnectAttempts {
    config: AttemptConfig,
    hasher: KeyHasher,
    waiting: PendingSyns,
    /// Those that wait, by age, and some that do not any more.
    fresh: VecDeque<Turn>,
    /// The same of those that were recorded as timed out.
    overdue: VecDeque<Turn>,
    made_room: u64,
}

type Turn = (Timestamp, HashedKey);

/// SYNs that wait, by their connection.
#[derive(Debug)]
struct PendingSyns {
    by_key: HashMap<HashedKey, PendingSyn, Ready>,
    /// How many have each lowest byte of a hash. Nearly every segment is of a connection that waits for nothing, and this says so.
    by_byte: [u32; 256],
}

impl Default for PendingSyns {
    fn default() -> Self {
        Self { by_key: HashMap::default(), by_byte: [0; 256] }
    }
}

impl PendingSyns {
    /// False: that connection does not wait.
    #[inline]
    fn may_hold(&self, key: &HashedKey) -> bool {
        self.by_byte.get(usize::from(key.hash() as u8)).is_some_and(|count| *count > 0)
    }

    fn get(&self, key: &HashedKey) -> Option<&PendingSyn> {
        self.by_key.get(key)
    }

    fn get_mut(&mut self, key: &HashedKey) -> Option<&mut PendingSyn> {
        self.by_key.get_mut(key)
    }

    fn insert(&mut self, key: HashedKey, attempt: PendingSyn) {
        let before = self.by_key.insert(key, attempt);
        if let Some(count) = self.count_of(&key).filter(|_| before.is_none()) {
            *count += 1;
        }
    }

    fn remove(&mut self, key: &HashedKey) -> Option<PendingSyn> {
        let attempt = self.by_key.remove(key)?;
        if let Some(count) = self.count_of(key) {
            *count -= 1;
        }
        Some(attempt)
    }

    fn count_of(&mut self, key: &HashedKey) -> Option<&mut u32> {
        self.by_byte.get_mut(usize::from(key.hash() as u8))
    }

    fn len(&self) -> usize {
        self.by_key.len()
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[derive(Debug)]
struct PendingSyn {
    from: Direction,
    seq: u32,
    first: Timestamp,
    tries: u64,
    /// It was recorded as timed out.
    overdue: bool,
    interface: Option<Arc<str>>,
}

impl ConnectAttempts {
    /// None waits.
    pub fn new(config: AttemptConfig) -> Self {
        let (hasher, waiting, fresh, overdue, made_room) = Default::default();
        Self { config, hasher, waiting, fresh, overdue, made_room }
    }

    /// The same where segments come with their keys, which this hasher made.
    #[must_use]
    pub fn hashing_with(self, hasher: KeyHasher) -> Self {
        Self { hasher, ..self }
    }

    /// Takes one segment, in order of capture.
    #[inline]
    pub fn on_segment(&mut self, segment: &Segment<'_>, out: &mut Vec<Record>) {
        self.on_keyed(&self.hasher.of(segment.tuple, segment.scope), segment, out);
    }

    /// Takes one segment with its key.
    #[inline]
    pub fn on_keyed(&mut self, keyed: &Keyed, segment: &Segment<'_>, out: &mut Vec<Record>) {
        let opens = segment.flags.syn() && !segment.flags.ack();
        if opens || self.waiting.may_hold(&keyed.key) {
            self.take(keyed, segment, opens, out);
        }
    }

    /// Takes one datagram: ICMP may say that a SYN did not arrive.
    pub fn on_datagram(&mut self, datagram: &Datagram<'_>, out: &mut Vec<Record>) {
        if self.waiting.is_empty() || !datagram.protocol.is_icmp() {
            return;
        }
        let Some(error) = UndeliveredPacket::of(datagram).filter(|error| error.protocol == IpProtocol::TCP) else {
            return;
        };
        let (key, from) = ConnKey::of(error.tuple);
        let key = self.hasher.hashed(key.within(datagram.scope));
        if self.waiting.get(&key).is_some_and(|attempt| attempt.from == from) {
            let result = if error.port { ConnectResult::Refused } else { ConnectResult::Unreachable };
            self.end(&key, Some(result), datagram.at, out);
        }
    }

    /// Time passed: records what nothing has answered.
    pub fn on_timeout(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        while let Some((first, key)) = due(&mut self.fresh, now, PATIENCE) {
            let Some(attempt) = self.waiting.get_mut(&key).filter(|attempt| attempt.first == first) else { continue };
            if !self.config.is_reported(key.key(), attempt) {
                out.push(record(&self.config, key.key(), attempt, ConnectResult::TimedOut, now));
                attempt.overdue = true;
            }
            self.overdue.push_back((first, key));
        }
        while let Some(turn) = due(&mut self.overdue, now, FORGOTTEN) {
            let (first, key) = &turn;
            if let Some(attempt) = self.waiting.get(key).filter(|it| it.first == *first && !it.overdue) {
                out.push(record(&self.config, key.key(), attempt, ConnectResult::TimedOut, now));
            }
            self.forget(&turn);
        }
    }

    /// Our own addresses changed.
    pub fn set_own_ips(&mut self, own_ips: Vec<IpAddr>) {
        self.config.own_ips = own_ips;
    }

    /// SYNs that wait for an answer.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// SYNs that made room before anything came of them.
    pub fn made_room(&self) -> u64 {
        self.made_room
    }

    fn take(&mut self, keyed: &Keyed, segment: &Segment<'_>, opens: bool, out: &mut Vec<Record>) {
        let Keyed { key, from } = *keyed;
        let Some(attempt) = self.waiting.get_mut(&key) else {
            if opens && !segment.flags.fin() && !segment.flags.rst() {
                self.begin(key, from, segment);
            }
            return;
        };
        let answers = segment.flags.ack() && segment.ack == attempt.seq.wrapping_add(1);
        match (from == attempt.from, segment.flags.rst()) {
            (true, false) if opens && segment.seq == attempt.seq => attempt.tries += 1,
            // Another connect from the same port, or its sender goes on: the answer was not seen.
            (true, false) => {
                self.end(&key, None, segment.at, out);
                if opens {
                    self.begin(key, from, segment);
                }
            }
            (true, true) => self.end(&key, Some(ConnectResult::GivenUp), segment.at, out),
            (false, true) if answers => self.end(&key, Some(ConnectResult::Refused), segment.at, out),
            (false, false) => self.end(&key, Some(ConnectResult::Established), segment.at, out),
            // Of an older connection, or forged (RFC 9293 §3.10.7.3).
            (false, true) => {}
        }
    }

    fn begin(&mut self, key: HashedKey, from: Direction, segment: &Segment<'_>) {
        while self.waiting.len() >= self.config.most.max(1)
            && let Some(turn) = self.overdue.pop_front().or_else(|| self.fresh.pop_front())
        {
            self.made_room += u64::from(self.forget(&turn));
        }
        let (first, interface) = (segment.at, segment.interface.cloned());
        self.waiting.insert(key, PendingSyn { from, seq: segment.seq, first, tries: 1, overdue: false, interface });
        self.fresh.push_back((first, key));
        for list in [&mut self.fresh, &mut self.overdue] {
            if list.len() > 2 * self.waiting.len() + SLACK {
                list.retain(|(first, key)| self.waiting.get(key).is_some_and(|attempt| attempt.first == *first));
            }
        }
    }

    /// It waits no longer. A success is recorded only where a failure was.
    fn end(&mut self, key: &HashedKey, result: Option<ConnectResult>, at: Timestamp, out: &mut Vec<Record>) {
        let Some(attempt) = self.waiting.remove(key) else { return };
        let wanted = |result: &ConnectResult| match result {
            ConnectResult::Established => attempt.overdue,
            ConnectResult::GivenUp => false,
            ConnectResult::Refused | ConnectResult::Unreachable | ConnectResult::TimedOut | ConnectResult::Error => {
                true
            }
        };
        if let Some(result) = result.filter(wanted) {
            out.push(record(&self.config, key.key(), &attempt, result, at));
        }
    }

    fn forget(&mut self, (first, key): &Turn) -> bool {
        let is_it = self.waiting.get(key).is_some_and(|attempt| attempt.first == *first);
        is_it && self.waiting.remove(key).is_some()
    }
}

impl AttemptConfig {
    fn is_reported(&self, key: &ConnKey, attempt: &PendingSyn) -> bool {
        match self.reported {
            ReportedConnects::None => false,
            ReportedConnects::Own => self.own_ips.contains(&key.tuple(attempt.from).source.ip),
            ReportedConnects::All => true,
        }
    }
}

/// The oldest, when it began so long ago.
fn due(list: &mut VecDeque<Turn>, now: Timestamp, span: u64) -> Option<Turn> {
    list.front().filter(|(first, _)| now.since(*first) >= span)?;
    list.pop_front()
}

fn record(config: &AttemptConfig, key: &ConnKey, attempt: &PendingSyn, result: ConnectResult, at: Timestamp) -> Record {
    let ends = key.tuple(attempt.from);
    let beginning = ConnectionBeginning {
        initial_seq: [Some(attempt.seq), None],
        first_seen: attempt.first,
        handshake_seen: false,
    };
    let connection_id = connection_id(ends, &beginning, &config.observer_id);
    let again = if attempt.overdue { ".late" } else { "" };
    let id = format_compact!("{connection_id}.connect{again}");
    Record::Connect(Box::new(ConnectRecord {
        end: Some(at.max(attempt.first)),
        source: Some(ends.source.ip),
        source_port: Some(ends.source.port),
        tries: Some(attempt.tries),
        connection_id: Some(connection_id),
        interface: attempt.interface.clone(),
        direction: NetworkDirection::of(&config.own_ips, ends.source.ip, [ends.destination.ip]),
        ..ConnectRecord::new(id, attempt.first, ends.destination, SeenBy::Packets, result)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, FiveTuple};
    use crate::packet::TcpFlags;
    use crate::record::IcmpMessage;

    const SECOND: i64 = 1_000_000_000;

    fn connects(most: usize) -> ConnectAttempts {
        reported(most, ReportedConnects::None)
    }

    fn reported(most: usize, reported: ReportedConnects) -> ConnectAttempts {
        ConnectAttempts::new(AttemptConfig {
            most,
            observer_id: "o".to_owned(),
            own_ips: vec![[10, 0, 0, 1].into()],
            reported,
        })
    }

    fn tuple(port: u16) -> FiveTuple {
        FiveTuple { source: Endpoint::new([10, 0, 0, 1], port), destination: Endpoint::new([10, 0, 0, 2], 80) }
    }

    fn pass(
        connects: &mut ConnectAttempts,
        tuple: FiveTuple,
        flags: u8,
        [seq, ack]: [u32; 2],
        at: i64,
        out: &mut Vec<Record>,
    ) {
        let segment = Segment {
            at: Timestamp(at),
            tuple,
            seq,
            ack,
            flags: TcpFlags(flags),
            payload: &[],
            payload_len: 0,
            wire: &[],
            damaged: false,
            carried: Default::default(),
            scope: Default::default(),
            around: Default::default(),
            interface: None,
        };
        connects.on_segment(&segment, out);
    }

    /// What is recorded of one connect, each sign at its second: `S` its SYN, `A` the answer, `R` a RST of the server,
    /// `r` one of another connection. `c` is a RST of the client, `.` anything the client sends then, `|` a tick.
    fn told(packets: &[(char, i64)]) -> Vec<(&'static str, u64, u64)> {
        const S: u8 = TcpFlags::SYN;
        const A: u8 = TcpFlags::ACK;
        const R: u8 = TcpFlags::RST;
        let (mut connects, mut out) = (connects(16), Vec::new());
        let (there, back) = (tuple(4000), tuple(4000).reversed());
        for (what, second) in packets {
            let at = second * SECOND;
            match what {
                'S' => pass(&mut connects, there, S, [7, 0], at, &mut out),
                'N' => pass(&mut connects, there, S, [9000, 0], at, &mut out),
                'A' => pass(&mut connects, back, S | A, [1, 8], at, &mut out),
                'R' => pass(&mut connects, back, R | A, [0, 8], at, &mut out),
                'r' => pass(&mut connects, back, R | A, [0, 99], at, &mut out),
                'c' => pass(&mut connects, there, R, [8, 0], at, &mut out),
                '.' => pass(&mut connects, there, A, [8, 2], at, &mut out),
                _ => connects.on_timeout(Timestamp(at), &mut out),
            }
        }
        let one = |record: &Record| {
            let Record::Connect(it) = record else { unreachable!() };
            assert_eq!(it.direction, Some(NetworkDirection::Egress));
            (it.result.name(), it.tries.unwrap(), it.end.unwrap().since(it.start) / SECOND as u64)
        };
        out.iter().map(one).collect()
    }

    #[test]
    fn a_connect_is_recorded_once_it_has_failed_and_not_before() {
        for (packets, expected) in [
            (&[('S', 0), ('A', 0), ('|', 20)][..], &[][..]),
            (&[('S', 0), ('R', 0), ('|', 20)], &[("refused", 1, 0)]),
            (&[('S', 0), ('r', 0), ('|', 4)], &[]),
            (&[('S', 0), ('S', 1), ('S', 3), ('|', 4), ('|', 6), ('|', 8)], &[("timed_out", 3, 6)]),
            (&[('S', 0), ('|', 6), ('A', 7), ('|', 9)], &[("timed_out", 1, 6), ("established", 1, 7)]),
            (&[('S', 0), ('|', 6), ('R', 7)], &[("timed_out", 1, 6), ("refused", 1, 7)]),
            (&[('S', 0), ('|', 6), ('|', 140), ('R', 141)], &[("timed_out", 1, 6)]),
            // The answer was not seen, but its sender goes on; or it gave up.
            (&[('S', 0), ('.', 1), ('|', 8)], &[]),
            (&[('S', 0), ('c', 1), ('|', 8)], &[]),
            // Its port is used again.
            (&[('S', 0), ('N', 4), ('|', 6), ('|', 10)], &[("timed_out", 1, 6)]),
        ] {
            assert_eq!(told(packets), expected, "{packets:?}");
        }
    }

    #[test]
    fn what_the_kernel_reports_as_well_is_waited_for_until_the_kernel_has_given_up() {
        for (whose, source, seconds) in [
            (ReportedConnects::None, 1, 5),
            (ReportedConnects::Own, 1, 130),
            (ReportedConnects::Own, 9, 5),
            (ReportedConnects::All, 9, 130),
        ] {
            let (mut connects, mut out) = (reported(16, whose), Vec::new());
            let tuple = FiveTuple { source: Endpoint::new([10, 0, 0, source], 4000), ..tuple(4000) };
            pass(&mut connects, tuple, TcpFlags::SYN, [7, 0], 0, &mut out);
            connects.on_timeout(Timestamp(seconds * SECOND - 1), &mut out);
            assert_eq!(out.len(), 0, "{whose:?}");
            connects.on_timeout(Timestamp(seconds * SECOND), &mut out);
            connects.on_timeout(Timestamp(1000 * SECOND), &mut out);
            assert_eq!((out.len(), connects.len()), (1, 0), "{whose:?}");
            // What is refused is known at once.
            pass(&mut connects, tuple, TcpFlags::SYN, [7, 0], 2000 * SECOND, &mut out);
            pass(&mut connects, tuple.reversed(), TcpFlags::RST | TcpFlags::ACK, [0, 8], 2000 * SECOND, &mut out);
            assert_eq!(out.len(), 2, "{whose:?}");
        }
    }

    #[test]
    fn an_icmp_error_that_quotes_the_syn_ends_it_and_one_that_quotes_an_answer_does_not() {
        for (code, backwards, expected) in
            [(3, false, Some("refused")), (1, false, Some("unreachable")), (1, true, None)]
        {
            let (mut connects, mut out) = (connects(16), Vec::new());
            pass(&mut connects, tuple(4000), TcpFlags::SYN, [7, 0], 0, &mut out);
            let quoted = if backwards { tuple(4000).reversed() } else { tuple(4000) };
            let octets = |ip: IpAddr| if let IpAddr::V4(ip) = ip { ip.octets() } else { unreachable!() };
            let mut payload = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
            payload.extend([quoted.source.ip, quoted.destination.ip].into_iter().flat_map(octets));
            payload.extend([quoted.source.port, quoted.destination.port].into_iter().flat_map(u16::to_be_bytes));
            let datagram = Datagram {
                at: Timestamp(SECOND),
                protocol: IpProtocol::ICMP,
                tuple: FiveTuple {
                    source: Endpoint::new([10, 0, 0, 9], 0),
                    destination: Endpoint::new([10, 0, 0, 1], 0),
                },
                icmp: Some(IcmpMessage { kind: 3, code, id: None }),
                payload: &payload,
                payload_len: 24,
                carried: Default::default(),
                scope: Default::default(),
                around: Default::default(),
                interface: None,
            };
            connects.on_datagram(&datagram, &mut out);
            let told = out.first().map(|record| if let Record::Connect(it) = record { it.result.name() } else { "?" });
            assert_eq!(told, expected, "{code} {backwards}");
        }
    }

    #[test]
    fn what_waits_has_a_limit_and_what_makes_room_is_counted() {
        let (mut connects, mut out) = (connects(100), Vec::new());
        for n in 0..10_000u16 {
            pass(&mut connects, tuple(n), TcpFlags::SYN, [7, 0], i64::from(n), &mut out);
        }
        assert_eq!((connects.len(), connects.made_room(), out.len()), (100, 9_900, 0));
        for n in 0..30_000u16 {
            pass(&mut connects, tuple(n), TcpFlags::SYN, [7, 0], i64::from(n), &mut out);
            pass(&mut connects, tuple(n).reversed(), TcpFlags::SYN | TcpFlags::ACK, [1, 8], i64::from(n), &mut out);
        }
        assert!(connects.fresh.len() <= 2 * 100 + SLACK + 1, "{}", connects.fresh.len());
    }
}
