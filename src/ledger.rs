//! The ledger: what came in equals what went out, at every moment, in types.
//!
//! Each stage owns its part and counts in it. `Ledger` joins the parts, and `imbalances` names every equation that does
//! not hold. Counters only grow, except the gauges, which say that they are gauges.

mod columns;
mod datasets;
mod failures;
mod flows;
mod kernel;
mod sinks;
mod sum;

use std::time::Duration;

pub use self::columns::{
    CONNECTS, CONNTRACK, ColumnValue, FLOWS, FRAMES, HTTP_BYTES, HTTP_MESSAGES, INTERFACES, KERNEL, LedgerColumn,
    RECORDS, SINKS, STREAMS, VERDICTS, ledger_fields,
};
pub use self::datasets::PerDataset;
pub use self::failures::{AtFault, FailureReason};
pub use self::flows::FlowLedger;
pub use self::kernel::{ConnectLedger, ConntrackLedger, VerdictLedger};
pub use self::sinks::{DropReason, RejectedBy, SinkCounts};
use self::sum::summed;
use crate::record::UnansweredReason;

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and closing lines.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

mod workloads;
pub use self::workloads::{Lookup, WORKLOADS, WorkloadCounts};

/// A counter for each reason of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByReason<const N: usize>([u64; N]);

impl<const N: usize> Default for ByReason<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> ByReason<N> {
    /// Adds to the counter at `index` (the reason as number).
    pub fn add(&mut self, index: usize, n: u64) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot += n;
        }
    }

    /// The counter at `index`.
    pub fn at(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// All counters, in the order of the reasons.
    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds another's counters.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a += b;
        }
    }
}

reasons! {
    /// Why a frame gave no TCP segment.
    Skip {
        /// Not IP (ARP, LLDP, STP …).
        NotIp = "not_ip",
        /// IP, but not TCP and no tunnel we open.
        NotTcp = "not_tcp",
        /// ICMP (its quoted packets are not traffic).
        Icmp = "icmp",
        /// MPLS.
        Mpls = "mpls",
        /// PPPoE or PPP.
        Ppp = "ppp",
        /// GTP.
        Gtp = "gtp",
        /// 802.11 but for whole data frames: management, control, aggregates, fragments.
        Wlan = "wlan",
        /// ERSPAN.
        Erspan = "erspan",
        /// Geneve.
        Geneve = "geneve",
        /// MACsec, IPsec ESP: encrypted.
        Encrypted = "encrypted",
        /// A tunnel that we open, around something that is not TCP over IP.
        TunnelNotTcp = "tunnel_not_tcp",
        /// Tunnels nested deeper than the limit.
        TooDeep = "too_deep",
        /// A link type that is not supported.
        LinkType = "link_type",
        /// A header that does not add up.
        Malformed = "malformed",
        /// Cut inside the headers.
        CutHeaders = "cut_headers",
        /// A fragment given up: overlap, limit or time-out.
        FragmentDropped = "fragment_dropped",
        /// podtap's own traffic.
        OwnTraffic = "own_traffic",
        /// A copy on another interface than the one that is recorded.
        Repeated = "repeated",
        /// On an interface that NODE_INTERFACES does not name.
        OtherInterface = "other_interface",
        /// Of a connection that is left out because NODE_PACKETS was exceeded.
        Sampled = "sampled",
    }
}

reasons! {
    /// Why payload bytes were not passed on.
    Discard {
        /// A limit on held bytes.
        Limit = "limit",
        /// The connection was closed or its stream had ended.
        Closed = "closed",
        /// Before the first byte of a stream joined late, or far outside any window.
        OutOfWindow = "out_of_window",
        /// The connection was evicted to make room, or was idle for too long.
        Evicted = "evicted",
        /// Part of a SYN, RST or keep-alive that is no stream data.
        NotData = "not_data",
        /// In a segment that its receiver did not take: its checksum is wrong, or a FIN came before it.
        Refused = "refused",
    }
}

reasons! {
    /// What bytes were that are not HTTP/1.
    NotHttp {
        /// TLS.
        Tls = "tls",
        /// HTTP/2.
        H2 = "h2",
        /// Behind CONNECT.
        Tunnel = "tunnel",
        /// Behind 101.
        Upgraded = "upgraded",
        /// A PROXY protocol header.
        ProxyHeader = "proxy_header",
        /// Anything else.
        Unknown = "unknown",
    }
}

reasons! {
    /// Types of frames of HTTP/2.
    H2Frame {
        /// DATA
        Data = "data",
        /// HEADERS
        Headers = "headers",
        /// PRIORITY
        Priority = "priority",
        /// RST_STREAM
        RstStream = "rst_stream",
        /// SETTINGS
        Settings = "settings",
        /// PUSH_PROMISE
        PushPromise = "push_promise",
        /// PING
        Ping = "ping",
        /// GOAWAY
        GoAway = "goaway",
        /// WINDOW_UPDATE
        WindowUpdate = "window_update",
        /// CONTINUATION
        Continuation = "continuation",
        /// A type that RFC 9113 does not define; passed over.
        Unknown = "unknown",
    }
}

reasons! {
    /// Whether the process behind an exchange, a flow or a failed connect seen by packets is known, and why not.
    ProcessJoin {
        /// It asked for the connection.
        Joined = "joined",
        /// The connection came from elsewhere: no process here asked for it.
        Incoming = "incoming",
        /// The beginning of the connection was not captured.
        Midstream = "midstream",
        /// No connect that was read fits.
        Unknown = "unknown",
        /// Several connects fit.
        Ambiguous = "ambiguous",
        /// The connects had not been read so far when the record could wait no longer.
        Late = "late",
    }
}

reasons! {
    /// Why a record was left out on purpose.
    LeftOut {
        /// An IGNORE_… rule, ONLY_DIRECTION, INCLUDE or EXCLUDE.
        Ignored = "ignored",
        /// ONLY.
        NotSelected = "not_selected",
        /// SAMPLE.
        Sampled = "sampled",
        /// RATE_LIMIT.
        RateLimited = "rate_limited",
        /// podtap's own traffic.
        OwnTraffic = "own_traffic",
        /// A failed connect that packets show and that is recorded with its process.
        SeenByProcess = "seen_by_process",
    }
}

summed! {
    /// frames = segments + fragments + skipped.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct FrameLedger {
        /// Frames delivered by libpcap or read from a file.
        pub frames: u64,
        /// Frames that gave a TCP segment (also the last fragment of one).
        pub segments: u64,
        /// Fragments held or joined.
        pub fragments: u64,
        /// Frames skipped, by `Skip`.
        pub skipped: ByReason<{ Skip::COUNT }>,
        /// Outside the equation: of `fragments`, those given up later, since their datagram was never whole.
        pub fragments_lost: u64,
        /// Gauge: of `fragments`, those that wait for the rest of their datagram.
        pub fragments_waiting: u64,
        /// Outside the equation: frames that no flow can count, by `Skip`; the fragments of a datagram all with its last one.
        pub no_packet: ByReason<{ Skip::COUNT }>,
        /// Outside the equation: segments behind an IPv4 header with a wrong checksum.
        pub bad_ip_checksums: u64,
        /// Outside the equation: frames cut by the snap length.
        pub cut: u64,
    }
}

summed! {
    /// payload = delivered + duplicate + held + discarded.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct StreamLedger {
        /// Payload bytes of segments, as captured.
        pub payload: u64,
        /// Passed on in order.
        pub delivered: u64,
        /// Retransmitted or overlapped.
        pub duplicate: u64,
        /// Gauge: held out of order.
        pub held: u64,
        /// Not passed on, by `Discard`.
        pub discarded: ByReason<{ Discard::COUNT }>,
        /// Outside the equation: bytes of the streams never seen.
        pub gap_bytes: u64,
        /// Outside: gaps.
        pub gaps: u64,
        /// Outside: overlapping bytes that differed from the first copy.
        pub overlap_conflicts: u64,
        /// Outside: segments with a wrong checksum, of those verified.
        pub bad_checksums: u64,
        /// Outside: resets that the connection went on after.
        pub resets_ignored: u64,
        /// Outside: connections seen.
        pub connections: u64,
        /// Gauge: connections open now.
        pub connections_open: u64,
        /// Outside: connections evicted to make room.
        pub connections_evicted: u64,
        /// Outside: connections that another VLAN or tunnel shows too, with the same sequence numbers.
        pub connections_repeated: u64,
        /// Outside: SYN answered by RST.
        pub connects_refused: u64,
        /// Outside: SYN never answered.
        pub connects_timed_out: u64,
        /// Outside: SYNs that made room before it was known what came of them.
        pub connects_not_followed: u64,
    }
}

summed! {
    /// delivered = heads + bodies + not HTTP + resync + waiting; requests and responses.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct HttpLedger {
        /// Bytes passed to the parser.
        pub bytes: u64,
        /// Bytes of heads.
        pub heads: u64,
        /// Bytes of bodies, chunk framing and trailers included.
        pub bodies: u64,
        /// Bytes of HTTP/2 that are neither: headers of frames, frames about the connection, its preface.
        pub control: u64,
        /// Bytes of something else, by `NotHttp`.
        pub not_http: ByReason<{ NotHttp::COUNT }>,
        /// Bytes skipped while looking for the next message.
        pub resync: u64,
        /// Gauge: bytes of heads that are not whole yet.
        pub waiting: u64,
        /// Requests seen.
        pub requests: u64,
        /// Requests with their response (each is one paired response too).
        pub paired: u64,
        /// Requests without a response, by `UnansweredReason`.
        pub unanswered: ByReason<4>,
        /// Requests whose stream was reset before a response (HTTP/2).
        pub reset: u64,
        /// Requests whose response was lost by the capture, could not be distinguished from others, or could not be read.
        pub unpaired: u64,
        /// Gauge: requests waiting for their response, or for its end.
        pub open: u64,
        /// Final responses seen.
        pub responses: u64,
        /// Responses that came after their request was reported as timed out.
        pub late: u64,
        /// Responses without request.
        pub orphan: u64,
        /// Gauge: final responses under way.
        pub responses_open: u64,
        /// Outside: 1xx responses.
        pub informational: u64,
        /// Outside: segments that begin like a message and may as well continue a body, because what was before is missing.
        pub unproven: u64,
        /// Outside: connections recognised as TLS.
        pub tls_connections: u64,
        /// Outside: connections recognised as HTTP/2.
        pub h2_connections: u64,
        /// Outside: frames of HTTP/2, by `H2Frame`.
        pub h2_frames: ByReason<{ H2Frame::COUNT }>,
        /// Outside: header blocks of HTTP/2.
        pub h2_blocks: u64,
        /// Outside: of those, blocks with fields that HPACK's state hid.
        pub h2_blocks_hidden: u64,
        /// Outside: streams given up to keep a limit.
        pub h2_streams_evicted: u64,
        /// Gauge: WebSockets whose record waits for their end.
        pub sockets_open: u64,
        /// Outside: records of WebSockets made while they were open.
        pub sockets_told_open: u64,
        /// Outside: oddities, by `Weird` (index of the bit).
        pub weird: ByReason<64>,
        /// Records made.
        pub records: u64,
    }
}

/// records made = left out + offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordLedger {
    /// Records that came out of the dissector.
    pub made: u64,
    /// Left out on purpose, by `LeftOut`.
    pub left_out: ByReason<{ LeftOut::COUNT }>,
    /// Offered to every sink.
    pub offered: u64,
}

/// offered = delivered + rejected + dropped + queued + in flight + spooled, for one sink.
///
/// What an earlier run left in the spool is offered again by being found there: it counts in `offered` and, next to
/// it, in `recovered`. So `offered - recovered` is what this run offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkLedger {
    /// Offered by the pipeline, or found in the spool.
    pub offered: u64,
    /// Outside the equation: of `offered`, those found in the spool.
    pub recovered: u64,
    /// Outside the equation: `offered` by dataset, where that is known. Of records that were in the spool and cannot be
    /// read it may not be.
    pub offered_by: PerDataset,
    /// Outside the equation: of `offered_by`, those found in the spool.
    pub recovered_by: PerDataset,
    /// Outside the equation: of `offered_by`, those delivered or on disk. At the end the others are lost.
    pub kept_by: PerDataset,
    /// Accepted by the target.
    pub delivered: u64,
    /// Refused by the target for good.
    pub rejected: u64,
    /// Given up: queue or spool full, closed pipe, shutdown.
    pub dropped: u64,
    /// Gauge: in the queue.
    pub queued: u64,
    /// Gauge: being delivered.
    pub in_flight: u64,
    /// Gauge: on disk.
    pub spooled: u64,
}

summed! {
    /// What the kernel says about one interface since the capture began; no part of any equation.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct KernelCounters {
        /// `ps_recv`: packets that passed the filter, dropped ones included; on `lo` each counts twice. Not "frames".
        pub received: u64,
        /// `ps_drop`: frames lost because the buffer was full.
        pub dropped: u64,
        /// `ps_ifdrop`: frames lost by the interface or its driver.
        pub interface_dropped: u64,
        /// How often the interface was opened; all but the first are reopenings.
        pub opens: u64,
        /// How long there was no handle after the start of the capture: what passed then was not seen, and not counted.
        pub blind: Duration,
        /// Captures that were left at the end, as they were too far behind: what they had captured is not counted further.
        pub left: u64,
        /// Other inputs than interfaces that could not be read, or failed: what they had to say was not heard.
        pub unheard: u64,
    }
}

/// The pure half's ledger: frames to records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Link and network layer.
    pub frames: FrameLedger,
    /// Transport layer.
    pub streams: StreamLedger,
    /// HTTP.
    pub http: HttpLedger,
    /// Flows, where they are recorded.
    pub flows: FlowLedger,
    /// Connection tracking.
    pub conntrack: ConntrackLedger,
    /// Logged packets.
    pub verdicts: VerdictLedger,
    /// Connects of processes.
    pub connects: ConnectLedger,
}

impl HttpLedger {
    /// Counts one request without a response.
    pub fn count_unanswered(&mut self, why: UnansweredReason) {
        let index = UnansweredReason::ALL.iter().position(|u| *u == why).unwrap_or(0);
        self.unanswered.add(index, 1);
    }
}

/// One equation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which.
    pub equation: &'static str,
    /// Its left side.
    pub left: u64,
    /// Its right side.
    pub right: u64,
}

fn check(out: &mut Vec<Imbalance>, equation: &'static str, left: u64, right: u64) {
    if left != right {
        out.push(Imbalance { equation, left, right });
    }
}

impl Ledger {
    /// Every equation that does not hold; empty at any moment, or there is a bug.
    pub fn imbalances(&self) -> Vec<Imbalance> {
        let mut out = Vec::new();
        let (f, s, h) = (&self.frames, &self.streams, &self.http);
        check(
            &mut out,
            "frames = segments + fragments + skipped",
            f.frames,
            f.segments + f.fragments + f.skipped.total(),
        );
        check(
            &mut out,
            "payload = delivered + duplicate + held + discarded",
            s.payload,
            s.delivered + s.duplicate + s.held + s.discarded.total(),
        );
        check(&mut out, "delivered = bytes parsed", s.delivered, h.bytes);
        check(
            &mut out,
            "bytes parsed = heads + bodies + control + not http + resync + waiting",
            h.bytes,
            h.heads + h.bodies + h.control + h.not_http.total() + h.resync + h.waiting,
        );
        check(
            &mut out,
            "requests = paired + unanswered + reset + unpaired + open",
            h.requests,
            h.paired + h.unanswered.total() + h.reset + h.unpaired + h.open,
        );
        check(
            &mut out,
            "responses = paired + late + orphan + open",
            h.responses,
            h.paired + h.late + h.orphan + h.responses_open,
        );
        self.flows.check(f, &mut out);
        self.conntrack.check(&mut out);
        self.verdicts.check(&mut out);
        self.connects.check(&mut out);
        out
    }

    /// Adds the ledger of another capture thread.
    pub fn merge(&mut self, other: &Self) {
        self.frames.merge(&other.frames);
        self.streams.merge(&other.streams);
        self.http.merge(&other.http);
        self.flows.merge(&other.flows);
        self.conntrack.merge(&other.conntrack);
        self.verdicts.merge(&other.verdicts);
        self.connects.merge(&other.connects);
    }
}

impl RecordLedger {
    /// The equation, where it does not hold.
    pub fn imbalance(&self) -> Option<Imbalance> {
        let right = self.left_out.total() + self.offered;
        (self.made != right).then_some(Imbalance { equation: "made = left out + offered", left: self.made, right })
    }
}

impl SinkLedger {
    /// The equation, where it does not hold.
    pub fn imbalance(&self) -> Option<Imbalance> {
        let right = self.delivered + self.rejected + self.dropped + self.queued + self.in_flight + self.spooled;
        let equation = "offered = delivered + rejected + dropped + queued + in flight + spooled";
        (self.offered != right).then_some(Imbalance { equation, left: self.offered, right })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_ledger_balances_and_a_lost_frame_is_named() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.imbalances(), []);
        ledger.frames.frames = 3;
        ledger.frames.segments = 1;
        ledger.frames.skipped.add(Skip::NotIp as usize, 1);
        let imbalances = ledger.imbalances();
        assert_eq!(imbalances.len(), 1);
        assert_eq!((imbalances[0].left, imbalances[0].right), (3, 2));
    }
}
