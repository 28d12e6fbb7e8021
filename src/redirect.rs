//! Connections that a mesh redirects to its proxy, as they look on `lo`. What the client sends goes to the proxy. What
//! comes back comes from where the client meant to go, because the kernel undoes the redirection before the answer passes
//! `lo`. Gives both halves one name: the client and where it meant to go.
//!
//! Knows iptables' REDIRECT (DNAT to loopback), which Istio's and Linkerd's outbound side is made of. Holds no payload: only
//! SYNs, until they are answered.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::flow::{Endpoint, FiveTuple, Scope, Timestamp};
use crate::packet::{CarriedIn, Segment, TcpFlags};

/// Whether meshes redirect to that port on loopback: Istio's, Linkerd's; outbound first.
#[inline]
fn is_proxy_port(port: u16) -> bool {
    matches!(port, 15001 | 15006 | 4140 | 4143)
}

/// How long a SYN is held for its answer. A proxy on loopback answers at once, or its queue is full and the SYN is repeated
/// after a second.
const PATIENCE: u64 = 1_500_000_000;
/// How long a connection that is over is remembered, for what straggles in; as long as `tcp` does.
const LINGER: u64 = 10_000_000_000;

/// Redirected connections, by the client's end.
pub struct RedirectTable {
    legs: HashMap<Endpoint, Leg, RandomState>,
    /// Connections known at most; any beyond keeps its two names, and its halves are not paired.
    most: usize,
    /// How long a silent connection is remembered.
    idle: u64,
}

struct Leg {
    proxy: Endpoint,
    state: LegState,
    seen: Timestamp,
    /// FIN from either side, or RST: over.
    ended: [bool; 2],
}

enum LegState {
    /// The SYN, held until it is known where it goes.
    Asked(WaitingSyn),
    /// Its answer came from there.
    Known(Endpoint),
    /// Joined late: it goes by the proxy's name, since that came first. What the client acknowledged last distinguishes an answer
    /// from somebody else's segment.
    Joined(Option<Endpoint>, u32),
}

impl LegState {
    /// Frames with SYNs that are held.
    fn held(&self) -> u64 {
        match self {
            Self::Asked(syn) => syn.carried.frames.into(),
            Self::Known(_) | Self::Joined(..) => 0,
        }
    }
}

/// A SYN that waits for its answer.
#[derive(Clone, Debug)]
pub struct WaitingSyn {
    at: Timestamp,
    tuple: FiveTuple,
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    /// Of all that are held for it: repeated ones too.
    carried: CarriedIn,
    scope: Scope,
    interface: Option<Arc<str>>,
}

impl WaitingSyn {
    fn of(segment: &Segment<'_>) -> Self {
        let Segment { at, tuple, seq, ack, flags, carried, scope, .. } = *segment;
        Self { at, tuple, seq, ack, flags, carried, scope, interface: segment.interface.cloned() }
    }

    /// As it was captured, but for where it goes.
    pub fn segment(&self) -> Segment<'_> {
        let Self { at, tuple, seq, ack, flags, carried, scope, .. } = *self;
        Segment {
            at,
            tuple,
            seq,
            ack,
            flags,
            payload: &[],
            payload_len: 0,
            wire: &[],
            damaged: false,
            carried,
            scope,
            around: Default::default(),
            interface: self.interface.as_ref(),
        }
    }
}

/// What is to be done with a segment.
#[derive(Debug)]
pub enum TracedSegment {
    /// Go on with it.
    Plain,
    /// It is held; nothing is to be done yet.
    Held,
    /// It follows this SYN, which was held until now and goes before it.
    After(WaitingSyn),
}

impl RedirectTable {
    /// None known. At most `most` at once; silent ones are forgotten after `idle` nanoseconds.
    pub fn new(most: usize, idle: u64) -> Self {
        Self { legs: HashMap::default(), most, idle }
    }

    /// Frames with SYNs that are held now.
    pub fn held(&self) -> u64 {
        self.legs.values().map(|leg| leg.state.held()).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.legs.len()
    }

    /// Renames the ends of a segment where they need it. Costs next to nothing where no mesh redirects.
    #[inline]
    pub fn trace(&mut self, segment: &mut Segment<'_>) -> TracedSegment {
        let FiveTuple { source, destination } = &segment.tuple;
        if is_proxy_port(destination.port) && destination.ip.is_loopback() && !source.ip.is_loopback() {
            return self.trace_request(segment);
        }
        if self.legs.is_empty() {
            return TracedSegment::Plain;
        }
        self.trace_answer(segment)
    }

    /// From the client to the proxy.
    fn trace_request(&mut self, segment: &mut Segment<'_>) -> TracedSegment {
        let FiveTuple { source: client, destination: proxy } = segment.tuple;
        let opens = segment.flags.syn() && !segment.flags.ack() && segment.payload_len == 0;
        let room = self.legs.len() < self.most;
        match self.legs.get_mut(&client) {
            Some(leg) if !opens => {
                leg.note(0, segment);
                match &mut leg.state {
                    LegState::Known(meant) => rename(segment, |tuple| tuple.destination = *meant),
                    LegState::Joined(None, next) => *next = segment.ack,
                    LegState::Joined(Some(_), _) => {}
                    // The capture lost the answer: from here on it is as if joined late.
                    LegState::Asked(syn) => {
                        let syn = syn.clone();
                        leg.state = LegState::Joined(None, segment.ack);
                        return TracedSegment::After(syn);
                    }
                }
                TracedSegment::Plain
            }
            // The same SYN again: the first one shows when the client began to wait.
            Some(Leg { state: LegState::Asked(syn), .. }) if syn.seq == segment.seq => {
                syn.carried += segment.carried;
                TracedSegment::Held
            }
            None if !room => TracedSegment::Plain,
            Some(_) | None => self.begin(client, proxy, segment, opens),
        }
    }

    fn begin(&mut self, client: Endpoint, proxy: Endpoint, segment: &Segment<'_>, opens: bool) -> TracedSegment {
        let state = if opens { LegState::Asked(WaitingSyn::of(segment)) } else { LegState::Joined(None, segment.ack) };
        let mut leg = Leg { proxy, state, seen: segment.at, ended: [false; 2] };
        leg.note(0, segment);
        // One that is held there under the same name was never answered: nothing is lost with it but a failed attempt.
        if let (Some(old), LegState::Asked(syn)) = (self.legs.remove(&client), &mut leg.state)
            && let LegState::Asked(unanswered) = old.state
        {
            syn.carried += unanswered.carried;
        }
        self.legs.insert(client, leg);
        if opens { TracedSegment::Held } else { TracedSegment::Plain }
    }

    /// To a client, perhaps from where it meant to go.
    fn trace_answer(&mut self, segment: &mut Segment<'_>) -> TracedSegment {
        let FiveTuple { source, destination: client } = segment.tuple;
        let Some(leg) = self.legs.get_mut(&client) else { return TracedSegment::Plain };
        match &mut leg.state {
            LegState::Asked(syn) => {
                // SYN-ACK, or the RST of a proxy that is not there (RFC 9293 §3.10.7.1).
                let answers = segment.flags.ack() && segment.ack == syn.seq.wrapping_add(1);
                if !answers || !(segment.flags.syn() || segment.flags.rst()) {
                    return TracedSegment::Plain;
                }
                syn.tuple.destination = source;
                let syn = syn.clone();
                leg.state = LegState::Known(source);
                leg.note(1, segment);
                TracedSegment::After(syn)
            }
            LegState::Known(meant) if *meant == source => {
                leg.note(1, segment);
                TracedSegment::Plain
            }
            LegState::Joined(meant @ None, next) if *next == segment.seq => {
                *meant = Some(source);
                rename(segment, |tuple| tuple.source = leg.proxy);
                leg.note(1, segment);
                TracedSegment::Plain
            }
            LegState::Joined(Some(meant), _) if *meant == source => {
                rename(segment, |tuple| tuple.source = leg.proxy);
                leg.note(1, segment);
                TracedSegment::Plain
            }
            LegState::Known(_) | LegState::Joined(..) => TracedSegment::Plain,
        }
    }

    /// Time passed: the SYNs that no one answered, which go on as they are; forgets what is over.
    pub fn on_timeout(&mut self, now: Timestamp) -> Vec<WaitingSyn> {
        let mut overdue = Vec::new();
        let idle = self.idle;
        self.legs.retain(|_, leg| match &leg.state {
            LegState::Asked(syn) => {
                let waits = now.since(syn.at) < PATIENCE;
                if !waits {
                    overdue.push(syn.clone());
                }
                waits
            }
            LegState::Known(_) | LegState::Joined(..) => {
                now.since(leg.seen) < if leg.ended == [true; 2] { LINGER.min(idle) } else { idle }
            }
        });
        // Tables have no order; records do.
        overdue.sort_by_key(|syn| (syn.at, syn.tuple.source));
        overdue
    }

    /// The end: every SYN that is still held.
    pub fn finish(&mut self) -> Vec<WaitingSyn> {
        let mut held: Vec<WaitingSyn> = self.legs.drain().filter_map(|(_, leg)| leg.state.into_syn()).collect();
        held.sort_by_key(|syn| (syn.at, syn.tuple.source));
        held
    }
}

/// Changes the ends of a segment; its checksum was made with the ones before.
fn rename(segment: &mut Segment<'_>, change: impl FnOnce(&mut FiveTuple)) {
    change(&mut segment.tuple);
    segment.wire = &[];
}

impl LegState {
    fn into_syn(self) -> Option<WaitingSyn> {
        match self {
            Self::Asked(syn) => Some(syn),
            Self::Known(_) | Self::Joined(..) => None,
        }
    }
}

impl Leg {
    /// A segment of the client (0) or to it (1).
    fn note(&mut self, side: usize, segment: &Segment<'_>) {
        self.seen = segment.at;
        if segment.flags.rst() {
            self.ended = [true; 2];
        } else if segment.flags.fin()
            && let Some(ended) = self.ended.get_mut(side)
        {
            *ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "10.1.2.3:40000";
    const PROXY: &str = "127.0.0.1:15001";
    const SERVER: &str = "10.9.9.9:80";
    const SECOND: i64 = 1_000_000_000;

    /// `from to flags seq ack`, all of one second.
    fn segment(from: &str, to: &str, flags: u8, seq: u32, ack: u32) -> Segment<'static> {
        let end = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            Endpoint::new(address.ip(), address.port())
        };
        let tuple = FiveTuple { source: end(from), destination: end(to) };
        let (flags, at) = (TcpFlags(flags), Timestamp(SECOND));
        Segment {
            at,
            tuple,
            seq,
            ack,
            flags,
            payload: b"",
            payload_len: 0,
            wire: b"",
            damaged: false,
            carried: CarriedIn { frames: 1, packets: 1, bytes: 60 },
            scope: Scope::default(),
            around: Default::default(),
            interface: None,
        }
    }

    fn redirects() -> RedirectTable {
        RedirectTable::new(2, 600_000_000_000)
    }

    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = TcpFlags::RST | ACK;
    const FIN_ACK: u8 = TcpFlags::FIN | ACK;

    /// What becomes of each segment: its ends, with the SYN before it where it answers one.
    fn traced(redirects: &mut RedirectTable, segments: &[(&str, &str, u8, u32, u32)]) -> Vec<String> {
        let words = |s: &Segment<'_>| format!("{} {} {:?}", s.tuple.source, s.tuple.destination, s.flags);
        let one = |&(from, to, flags, seq, ack): &(&str, &str, u8, u32, u32)| {
            let mut segment = segment(from, to, flags, seq, ack);
            match redirects.trace(&mut segment) {
                TracedSegment::Plain => words(&segment),
                TracedSegment::Held => "held".to_owned(),
                TracedSegment::After(syn) => format!("{}, {}", words(&syn.segment()), words(&segment)),
            }
        };
        segments.iter().map(one).collect()
    }

    #[test]
    fn a_redirected_connection_goes_by_where_its_client_meant_to_go() {
        let opening = [
            (CLIENT, PROXY, SYN, 100, 0),
            (SERVER, CLIENT, SYN_ACK, 500, 101),
            (CLIENT, PROXY, ACK, 101, 501),
            (SERVER, CLIENT, ACK, 501, 150),
            (CLIENT, PROXY, FIN_ACK, 150, 900),
        ];
        let expected = [
            "held",
            "10.1.2.3:40000 10.9.9.9:80 S, 10.9.9.9:80 10.1.2.3:40000 SA",
            "10.1.2.3:40000 10.9.9.9:80 A",
            "10.9.9.9:80 10.1.2.3:40000 A",
            "10.1.2.3:40000 10.9.9.9:80 FA",
        ];
        assert_eq!(traced(&mut redirects(), &opening), expected);
    }

    #[test]
    fn a_refused_one_too_and_a_syn_sent_again_is_held_once() {
        let refused = [(CLIENT, PROXY, SYN, 100, 0), (CLIENT, PROXY, SYN, 100, 0), (SERVER, CLIENT, RST_ACK, 0, 101)];
        let expected = ["held", "held", "10.1.2.3:40000 10.9.9.9:80 S, 10.9.9.9:80 10.1.2.3:40000 RA"];
        assert_eq!(traced(&mut redirects(), &refused), expected);
    }

    #[test]
    fn what_answers_not_this_syn_is_left_alone() {
        let mut redirects = redirects();
        let others = [
            (CLIENT, PROXY, SYN, 100, 0),
            // The same end of the client, and another connection of it.
            ("10.1.2.3:8080", CLIENT, SYN_ACK, 7, 555),
            ("10.1.2.3:8080", CLIENT, ACK, 7, 101),
            (SERVER, "10.1.2.3:40001", SYN_ACK, 500, 101),
            // Ports alone are not enough: a server of somebody's own, and what the proxy asks itself.
            (CLIENT, "10.9.9.9:15001", SYN, 100, 0),
            ("127.0.0.1:40000", PROXY, SYN, 100, 0),
        ];
        let expected = [
            "held",
            "10.1.2.3:8080 10.1.2.3:40000 SA",
            "10.1.2.3:8080 10.1.2.3:40000 A",
            "10.9.9.9:80 10.1.2.3:40001 SA",
            "10.1.2.3:40000 10.9.9.9:15001 S",
            "127.0.0.1:40000 127.0.0.1:15001 S",
        ];
        assert_eq!(traced(&mut redirects, &others), expected);
    }

    #[test]
    fn one_that_was_joined_late_goes_by_the_proxys_name() {
        let late = [
            (CLIENT, PROXY, ACK, 101, 501),
            ("10.1.2.3:8080", CLIENT, ACK, 77, 101),
            (SERVER, CLIENT, ACK, 501, 150),
            (CLIENT, PROXY, ACK, 150, 600),
            (SERVER, CLIENT, ACK, 600, 200),
        ];
        let expected = [
            "10.1.2.3:40000 127.0.0.1:15001 A",
            "10.1.2.3:8080 10.1.2.3:40000 A",
            "127.0.0.1:15001 10.1.2.3:40000 A",
            "10.1.2.3:40000 127.0.0.1:15001 A",
            "127.0.0.1:15001 10.1.2.3:40000 A",
        ];
        assert_eq!(traced(&mut redirects(), &late), expected);
    }

    #[test]
    fn one_whose_answer_the_capture_lost_goes_by_the_proxys_name_too() {
        let lost = [(CLIENT, PROXY, SYN, 100, 0), (CLIENT, PROXY, ACK, 101, 501), (SERVER, CLIENT, ACK, 501, 150)];
        let expected = [
            "held",
            "10.1.2.3:40000 127.0.0.1:15001 S, 10.1.2.3:40000 127.0.0.1:15001 A",
            "127.0.0.1:15001 10.1.2.3:40000 A",
        ];
        assert_eq!(traced(&mut redirects(), &lost), expected);
    }

    #[test]
    fn a_port_used_again_is_another_connection() {
        let mut redirects = redirects();
        let first = [(CLIENT, PROXY, SYN, 100, 0), (SERVER, CLIENT, SYN_ACK, 500, 101)];
        traced(&mut redirects, &first);
        let second = [(CLIENT, PROXY, SYN, 9000, 0), ("10.7.7.7:81", CLIENT, SYN_ACK, 1, 9001)];
        let expected = ["held", "10.1.2.3:40000 10.7.7.7:81 S, 10.7.7.7:81 10.1.2.3:40000 SA"];
        assert_eq!(traced(&mut redirects, &second), expected);
    }

    #[test]
    fn an_unanswered_syn_goes_on_as_it_is_and_so_do_those_at_the_end() {
        let mut redirects = redirects();
        traced(&mut redirects, &[(CLIENT, PROXY, SYN, 100, 0)]);
        assert!(redirects.on_timeout(Timestamp(2 * SECOND)).is_empty());
        let overdue = redirects.on_timeout(Timestamp(3 * SECOND));
        assert_eq!(overdue.iter().map(|syn| syn.tuple.destination.to_string()).collect::<Vec<_>>(), [PROXY]);
        assert!(redirects.is_empty());
        traced(&mut redirects, &[(CLIENT, PROXY, SYN, 100, 0)]);
        assert_eq!(redirects.finish().len(), 1);
        assert!(redirects.is_empty());
    }

    #[test]
    fn what_is_over_is_forgotten_soon_what_is_silent_late_and_no_more_are_known_than_the_limit() {
        let over = [
            (CLIENT, PROXY, SYN, 100, 0),
            (SERVER, CLIENT, SYN_ACK, 500, 101),
            (CLIENT, PROXY, FIN_ACK, 101, 501),
            (SERVER, CLIENT, FIN_ACK, 501, 102),
        ];
        for (segments, remembered, forgotten) in [(&over[..], 10, 12), (&over[..3], 600, 602)] {
            let mut redirects = redirects();
            traced(&mut redirects, segments);
            redirects.on_timeout(Timestamp(remembered * SECOND));
            assert!(!redirects.is_empty());
            redirects.on_timeout(Timestamp(forgotten * SECOND));
            assert!(redirects.is_empty());
        }
        let mut redirects = redirects();
        let syns = ["10.1.2.3:1", "10.1.2.3:2", "10.1.2.3:3"].map(|client| (client, PROXY, SYN, 100, 0));
        assert_eq!(traced(&mut redirects, &syns), ["held", "held", "10.1.2.3:3 127.0.0.1:15001 S"]);
    }
}
