//! The whole pure half behind one type: frames in, records out.
//!
//! The capture's clock is the only clock: a replayed capture gives the records that seeing it live gave. Owns the order
//! of the stages and the ticks; decides nothing itself.

use std::sync::Arc;

use crate::app::Session;
use crate::attempts::{self, ConnectAttempts};
use crate::copies::{self, CopyDetector, NodePassages, PacketPassing};
use crate::dns::{DnsWatch, LearntNames};
use crate::exchange::{self, SeenProtocols};
use crate::flow::{FiveTuple, IpProtocol, KeyHasher, Keyed, Timestamp};
use crate::flows::{self, FlowTable};
use crate::http::HttpContext;
use crate::ledger::{ByReason, FlowLedger, Ledger, Skip, StreamLedger};
use crate::packet::{Datagram, FragmentLimits, Frame, FrameDecoder, Packet, Segment};
use crate::pool::LimitPool;
use crate::record::Record;
use crate::redact::Redactor;
use crate::redirect::{RedirectTable, TracedSegment, WaitingSyn};
use crate::tcp::{self, CloseReason, ConnectionTable};

/// Most ticks made up for at once after a silence: by then every connection is idle long enough to be forgotten.
const CATCH_UP: u32 = 400;

/// Connections that each frame pays a look at, while the clock goes through time that it has been through before.
const PAID_BY_FRAME: usize = 16;

/// What a dissector needs to know.
#[derive(Clone, Debug)]
pub struct DissectorConfig {
    /// Bounds on fragments.
    pub fragments: FragmentLimits,
    /// Bounds on connections and what they hold.
    pub tcp: tcp::TcpLimits,
    /// HTTP.
    pub http: exchange::ExchangeConfig,
    /// Whether connections are read at all: without, there are no exchanges.
    pub reads_http: bool,
    /// Flows, where they are recorded.
    pub flows: Option<flows::FlowConfig>,
    /// How often unanswered requests, gaps and idle connections are looked for, nanoseconds of capture time
    /// (TIMEOUT_INTERVAL_CHECK).
    pub check_every: u64,
    /// Where the names in answers of DNS go.
    pub dns: Option<Arc<LearntNames>>,
    /// Failed connects, where they are recorded.
    pub connects: Option<attempts::AttemptConfig>,
    /// What is recorded where packets pass several interfaces, on a node.
    pub copies: Option<copies::CopyConfig>,
}

impl Default for DissectorConfig {
    fn default() -> Self {
        Self {
            fragments: FragmentLimits::default(),
            tcp: tcp::TcpLimits {
                connections: 65_536,
                held_per_stream: 2 << 20,
                held_total: 16 << 20,
                gap_wait: 3_000_000_000,
                acked_gap_wait: 50_000_000,
                idle: 600_000_000_000,
                idle_opening: 60_000_000_000,
            },
            http: exchange::ExchangeConfig::default(),
            reads_http: true,
            flows: None,
            check_every: 2_000_000_000,
            dns: None,
            connects: None,
            copies: None,
        }
    }
}

/// What several dissectors may have together.
#[derive(Clone, Debug)]
pub struct SharedPools {
    connections: Arc<LimitPool>,
    held: Arc<LimitPool>,
    kept: Arc<LimitPool>,
    flows: Arc<LimitPool>,
    passages: Arc<NodePassages>,
}

impl SharedPools {
    /// As much as one alone with this configuration.
    pub fn new(config: &DissectorConfig) -> Self {
        let flows = config.flows.as_ref().map_or(1, |flows| flows.most.max(1));
        Self {
            connections: LimitPool::new(config.tcp.connections.max(1)),
            held: LimitPool::new(config.tcp.held_total),
            kept: LimitPool::new(config.http.max_kept_bytes),
            flows: LimitPool::new(flows),
            passages: NodePassages::new(config.tcp.connections.max(flows)),
        }
    }
}

/// Frames to records. One for each capture thread: nothing is shared but limits, nothing is locked.
pub struct Dissector {
    decoder: FrameDecoder,
    hasher: KeyHasher,
    redirects: RedirectTable,
    table: ConnectionTable<Session>,
    context: HttpContext,
    reads_http: bool,
    flows: Option<FlowTable>,
    connects: Option<ConnectAttempts>,
    copies: Option<CopyDetector>,
    /// Frames with packets that are left out.
    left_out: ByReason<{ Skip::COUNT }>,
    check_every: u64,
    next_check: Option<Timestamp>,
    newest: Timestamp,
    /// How far the clock had come when it was set back.
    been_through: Timestamp,
    /// How many connections may be looked at before that time.
    paid: usize,
}

impl Dissector {
    /// An empty one.
    pub fn new(config: DissectorConfig, redactor: Redactor) -> Self {
        let alone = SharedPools::new(&config);
        Self::sharing(config, redactor, &alone)
    }

    /// An empty one that shares its limits with others.
    pub fn sharing(config: DissectorConfig, redactor: Redactor, pools: &SharedPools) -> Self {
        let mut context = HttpContext::sharing(config.http, redactor, &pools.kept);
        context.dns = config.dns.map(DnsWatch::new);
        let by_interface = config.copies.is_some();
        let hasher = KeyHasher::default();
        let flows = config.flows.map(|flows| FlowTable::sharing(flows, config.reads_http, &pools.flows));
        Self {
            decoder: FrameDecoder::new(config.fragments).telling_interfaces(by_interface),
            redirects: RedirectTable::new(config.tcp.connections, config.tcp.idle),
            table: ConnectionTable::sharing(config.tcp, &pools.connections, &pools.held).hashing_with(hasher.clone()),
            context,
            reads_http: config.reads_http,
            flows: flows.map(|flows| flows.hashing_with(hasher.clone())),
            connects: config.connects.map(|connects| ConnectAttempts::new(connects).hashing_with(hasher.clone())),
            copies: config.copies.map(|copies| CopyDetector::sharing(copies, &pools.passages)),
            left_out: ByReason::default(),
            check_every: config.check_every.max(1),
            next_check: None,
            newest: Timestamp::default(),
            been_through: Timestamp(i64::MIN),
            paid: 0,
            hasher,
        }
    }

    /// Takes one frame. `is_own` recognises podtap's own connections of TCP, which are never recorded.
    pub fn handle_frame(&mut self, frame: &Frame<'_>, mut is_own: impl FnMut(&FiveTuple) -> bool) {
        self.handle_any_frame(frame, |protocol, tuple| protocol == IpProtocol::TCP && is_own(tuple));
    }

    /// The same where podtap's own datagrams are recognised, too.
    pub fn handle_any_frame(&mut self, frame: &Frame<'_>, mut is_own: impl FnMut(IpProtocol, &FiveTuple) -> bool) {
        self.paid = self.paid.saturating_add(PAID_BY_FRAME);
        self.handle_clock(frame.at);
        let Self { decoder, redirects, hasher, table, context, flows, connects, copies, left_out, .. } = self;
        let table = self.reads_http.then_some(table);
        let mut parts = DissectorParts { hasher, table, context, flows: flows.as_mut(), connects: connects.as_mut() };
        // Read where it was decoded: a copy of each packet would cost as much as its way through a table.
        match &mut decoder.decode_packet(frame) {
            None => {}
            Some(Packet::Other(datagram)) => match leaves_out_datagram(copies, datagram, is_own) {
                Some(why) => left_out.add(why as usize, datagram.carried.frames.into()),
                None => parts.on_datagram(datagram),
            },
            Some(Packet::Tcp(segment)) => {
                if let Some(why) = leaves_out_segment(copies, segment) {
                    left_out.add(why as usize, segment.carried.frames.into());
                    decoder.disown_last(why);
                    return;
                }
                let opening = match redirects.trace(segment) {
                    TracedSegment::Held => return,
                    TracedSegment::After(syn) => Some(syn),
                    TracedSegment::Plain => None,
                };
                if is_own(IpProtocol::TCP, &segment.tuple) {
                    let opening = opening.map_or(0, |syn| syn.segment().carried.frames);
                    left_out.add(Skip::OwnTraffic as usize, u64::from(segment.carried.frames) + u64::from(opening));
                    decoder.disown_last(Skip::OwnTraffic);
                    return;
                }
                if let Some(syn) = opening {
                    parts.on_segment(&syn.segment());
                }
                parts.on_segment(segment);
            }
        }
    }

    /// Time passed without frames.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        // Real time pays.
        self.paid = usize::MAX;
        self.handle_clock(now);
    }

    /// Ticks come at whole multiples of the interval, all of them, each before what was captured after it. So records
    /// do not depend on when somebody looked, and a replay gives the same as a live capture.
    #[inline]
    fn handle_clock(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.newest, now);
        if self.next_check.is_none_or(|next| now >= next || next.since(now) > self.check_every) {
            self.advance(before, now);
        }
    }

    /// It is time to look, or the clock went back.
    #[cold]
    fn advance(&mut self, before: Timestamp, now: Timestamp) {
        let next = match self.next_check {
            Some(next) if now >= next => next,
            // The beginning, or a clock that went back.
            Some(_) | None => {
                self.been_through = self.been_through.max(before);
                self.next_check = Some(self.boundary_after(now));
                return;
            }
        };
        let boundary = self.boundary_after(now);
        self.tick_from(next, boundary);
        self.next_check = Some(boundary);
    }

    /// Ticks from `next` on and before `end`; of a long silence the first ones and the last.
    ///
    /// A connection is ticked until it is idle too long: this many ticks, and each frame prolongs only its own. Not so once
    /// the clock was set back, as then none grows older. A capture whose clock jumps back and forth could make each frame
    /// cost a look at all connections. So there a tick must be paid for, and is left out where it is not.
    fn tick_from(&mut self, next: Timestamp, end: Timestamp) {
        let last = Timestamp(end.0.saturating_sub_unsigned(self.check_every));
        if last <= self.been_through {
            let flows = self.flows.as_ref().map_or(0, FlowTable::len);
            let connects = self.connects.as_ref().map_or(0, ConnectAttempts::len);
            let cost = self.table.len() + self.redirects.len() + flows + connects;
            if let Some(left) = self.paid.checked_sub(cost) {
                self.paid = left;
                self.tick(last);
            }
            return;
        }
        let mut at = if next <= self.been_through { self.boundary_after(self.been_through) } else { next };
        for _ in 0..CATCH_UP {
            if at >= end || (self.is_empty()) {
                break;
            }
            self.tick(at);
            at = at.plus(self.check_every);
        }
        if at < end {
            self.tick(last);
        }
    }

    fn is_empty(&self) -> bool {
        let quiet = self.connects.as_ref().is_none_or(ConnectAttempts::is_empty);
        quiet
            && self.table.is_empty()
            && self.redirects.is_empty()
            && self.flows.as_ref().is_none_or(FlowTable::is_empty)
    }

    fn tick(&mut self, at: Timestamp) {
        self.decoder.on_timeout(at);
        let overdue = self.redirects.on_timeout(at);
        self.go_on(overdue, |parts| parts.on_timeout(at));
    }

    /// Passes on SYNs that were held, and then does something to all parts.
    fn go_on(&mut self, held: Vec<WaitingSyn>, act: impl FnOnce(&mut DissectorParts<'_>)) {
        let Self { hasher, table, context, flows, connects, reads_http, .. } = self;
        let table = reads_http.then_some(table);
        let mut parts = DissectorParts { hasher, table, context, flows: flows.as_mut(), connects: connects.as_mut() };
        for syn in held {
            parts.on_segment(&syn.segment());
        }
        act(&mut parts);
    }

    fn boundary_after(&self, now: Timestamp) -> Timestamp {
        let every = i64::try_from(self.check_every).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(now.0.rem_euclid(every)).saturating_add(every))
    }

    /// The capture is over: everything open goes out.
    pub fn finish(&mut self, reason: CloseReason) {
        self.decoder.finish();
        let (held, newest) = (self.redirects.finish(), self.newest);
        self.go_on(held, |parts| parts.finish(newest, reason));
    }

    /// Our own addresses changed: the direction of exchanges from now on.
    pub fn set_own_ips(&mut self, own_ips: Vec<std::net::IpAddr>) {
        if let Some(flows) = &mut self.flows {
            flows.set_own_ips(own_ips.clone());
        }
        if let Some(connects) = &mut self.connects {
            connects.set_own_ips(own_ips.clone());
        }
        self.context.config.own_ips = own_ips;
    }

    /// Whether an exchange is open: a request without its response, or a message under way.
    pub fn is_busy(&self) -> bool {
        self.context.ledger.open > 0 || self.context.ledger.responses_open > 0
    }

    /// The flows, where they are recorded.
    pub fn flows(&mut self) -> Option<&mut FlowTable> {
        self.flows.as_mut()
    }

    /// The records made since the last call.
    pub fn records(&mut self) -> &mut Vec<Record> {
        &mut self.context.out
    }

    /// The ledger at this moment.
    pub fn ledger(&self) -> Ledger {
        let connects_not_followed = self.connects.as_ref().map_or(0, ConnectAttempts::made_room);
        Ledger {
            frames: self.decoder.ledger().clone(),
            streams: StreamLedger { connects_not_followed, ..self.table.ledger().clone() },
            http: self.context.ledger.clone(),
            flows: self.flows.as_ref().map(|flows| self.flow_ledger(flows)).unwrap_or_default(),
            ..Ledger::default()
        }
    }

    fn flow_ledger(&self, flows: &FlowTable) -> FlowLedger {
        let frames = self.decoder.ledger();
        let mut ledger = FlowLedger {
            without_flow: frames.no_packet.clone(),
            waiting: frames.fragments_waiting + self.redirects.held(),
            ..flows.ledger().clone()
        };
        ledger.without_flow.add(Skip::FragmentDropped as usize, frames.fragments_lost);
        ledger.without_flow.merge(&self.left_out);
        ledger
    }

    /// What was recognised and not decoded.
    pub fn protocols(&self) -> &SeenProtocols {
        &self.context.protocols
    }
}

/// Why the segment is not recorded here, if it is not.
fn leaves_out_segment(copies: &mut Option<CopyDetector>, segment: &Segment<'_>) -> Option<Skip> {
    copies.as_mut()?.leaves_out(&PacketPassing {
        tuple: segment.tuple,
        protocol: IpProtocol::TCP,
        opens: segment.flags.syn(),
        interface: segment.interface,
        at: segment.at,
    })
}

/// The same of a datagram, podtap's own included.
fn leaves_out_datagram(
    copies: &mut Option<CopyDetector>,
    datagram: &Datagram<'_>,
    mut is_own: impl FnMut(IpProtocol, &FiveTuple) -> bool,
) -> Option<Skip> {
    let Datagram { tuple, protocol, interface, at, .. } = *datagram;
    let passing = PacketPassing { tuple, protocol, opens: false, interface, at };
    let copy = copies.as_mut().and_then(|copies| copies.leaves_out(&passing));
    copy.or_else(|| is_own(protocol, &tuple).then_some(Skip::OwnTraffic))
}

/// What a packet goes to, behind the decoder.
struct DissectorParts<'a> {
    hasher: &'a KeyHasher,
    /// Where connections are read.
    table: Option<&'a mut ConnectionTable<Session>>,
    context: &'a mut HttpContext,
    flows: Option<&'a mut FlowTable>,
    connects: Option<&'a mut ConnectAttempts>,
}

impl DissectorParts<'_> {
    #[inline]
    fn on_segment(&mut self, segment: &Segment<'_>) {
        let keyed = self.hasher.of(segment.tuple, segment.scope);
        if let Some(connects) = &mut self.connects {
            connects.on_keyed(&keyed, segment, &mut self.context.out);
        }
        // A SYN may end a connection: its last exchanges come before the flow's last report.
        let flows_first = !segment.flags.syn();
        if flows_first {
            self.count(&keyed, segment);
        }
        if let Some(table) = &mut self.table {
            let made = self.context.out.len();
            table.on_keyed(&keyed, segment, self.context);
            self.count_exchanges(made);
        }
        if !flows_first {
            self.count(&keyed, segment);
        }
    }

    #[inline]
    fn count(&mut self, keyed: &Keyed, segment: &Segment<'_>) {
        if let Some(flows) = &mut self.flows {
            flows.on_keyed(keyed, segment, &mut self.context.out);
        }
    }

    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        if let Some(watch) = &mut self.context.dns
            && datagram.protocol == IpProtocol::UDP
            && DnsWatch::concerns(&datagram.tuple)
        {
            watch.take(&datagram.tuple, datagram.payload, datagram.at);
        }
        if let Some(connects) = &mut self.connects {
            connects.on_datagram(datagram, &mut self.context.out);
        }
        if let Some(flows) = &mut self.flows {
            flows.on_datagram(datagram, &mut self.context.out);
        }
    }

    fn on_timeout(&mut self, now: Timestamp) {
        if let Some(connects) = &mut self.connects {
            connects.on_timeout(now, &mut self.context.out);
        }
        self.let_table(|table, context| table.on_timeout(now, context));
        if let Some(flows) = &mut self.flows {
            flows.on_timeout(now, &mut self.context.out);
        }
    }

    fn finish(&mut self, now: Timestamp, reason: CloseReason) {
        self.let_table(|table, context| table.finish(now, reason, context));
        if let Some(flows) = &mut self.flows {
            flows.finish(now, &mut self.context.out);
        }
    }

    fn let_table(&mut self, act: impl FnOnce(&mut ConnectionTable<Session>, &mut HttpContext)) {
        let made = self.context.out.len();
        if let Some(table) = &mut self.table {
            act(table, self.context);
        }
        self.count_exchanges(made);
    }

    /// Counts the exchanges recorded since there were `made` records in their flows.
    #[inline]
    fn count_exchanges(&mut self, made: usize) {
        let Some(flows) = &mut self.flows else { return };
        for record in self.context.out.get(made..).unwrap_or_default() {
            if let Record::Http(exchange) = record {
                flows.on_exchange(&exchange.connection);
            }
        }
    }
}
