//! The whole pure half behind one type: frames in, records out.
//!
//! The capture's clock is the only clock: a replayed capture gives the records that seeing it live gave. Owns the order
//! of the stages and the ticks; decides nothing itself.

use std::sync::Arc;

use crate::app::Session;
use crate::flow::{FiveTuple, Timestamp};
use crate::http::{self, Context, Protocols};
use crate::ledger::{Ledger, Skip};
use crate::packet::{Decoder, FragmentLimits, Frame};
use crate::pool::Pool;
use crate::record::Record;
use crate::redact::Redactor;
use crate::redirect::{Redirects, Traced};
use crate::tcp::{self, CloseReason, Table};

/// Most ticks made up for at once after a silence: by then every connection is idle long enough to be forgotten.
const CATCH_UP: u32 = 400;

/// Connections that each frame pays a look at, while the clock goes through time that it has been through before.
const PAID_BY_FRAME: usize = 16;

/// What a dissector needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds on fragments.
    pub fragments: FragmentLimits,
    /// Bounds on connections and what they hold.
    pub tcp: tcp::Limits,
    /// HTTP.
    pub http: http::Config,
    /// How often unanswered requests, gaps and idle connections are looked for, nanoseconds of capture time
    /// (TIMEOUT_INTERVAL_CHECK).
    pub check_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fragments: FragmentLimits::default(),
            tcp: tcp::Limits {
                connections: 65_536,
                held_per_stream: 2 << 20,
                held_total: 16 << 20,
                gap_wait: 3_000_000_000,
                acked_gap_wait: 50_000_000,
                idle: 600_000_000_000,
                idle_opening: 60_000_000_000,
            },
            http: http::Config::default(),
            check_every: 2_000_000_000,
        }
    }
}

/// What several dissectors may have together.
#[derive(Clone, Debug)]
pub struct Pools {
    connections: Arc<Pool>,
    held: Arc<Pool>,
    kept: Arc<Pool>,
}

impl Pools {
    /// As much as one alone with this configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            connections: Pool::new(config.tcp.connections.max(1)),
            held: Pool::new(config.tcp.held_total),
            kept: Pool::new(config.http.max_kept_bytes),
        }
    }
}

/// Frames to records. One for each capture thread: nothing is shared but limits, nothing is locked.
pub struct Dissector {
    decoder: Decoder,
    redirects: Redirects,
    table: Table<Session>,
    context: Context,
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
    pub fn new(config: Config, redactor: Redactor) -> Self {
        let alone = Pools::new(&config);
        Self::sharing(config, redactor, &alone)
    }

    /// An empty one that shares its limits with others.
    pub fn sharing(config: Config, redactor: Redactor, pools: &Pools) -> Self {
        Self {
            decoder: Decoder::new(config.fragments),
            redirects: Redirects::new(config.tcp.connections, config.tcp.idle),
            table: Table::sharing(config.tcp, &pools.connections, &pools.held),
            context: Context::sharing(config.http, redactor, &pools.kept),
            check_every: config.check_every.max(1),
            next_check: None,
            newest: Timestamp::default(),
            been_through: Timestamp(i64::MIN),
            paid: 0,
        }
    }

    /// Takes one frame. `is_own` recognises podtap's own connections, which are never recorded.
    pub fn handle_frame(&mut self, frame: &Frame<'_>, mut is_own: impl FnMut(&FiveTuple) -> bool) {
        self.paid = self.paid.saturating_add(PAID_BY_FRAME);
        self.handle_clock(frame.at);
        let mut decoded = self.decoder.decode(frame);
        let Some(segment) = &mut decoded else { return };
        let opening = match self.redirects.trace(segment) {
            Traced::Held => return,
            Traced::After(syn) => Some(syn),
            Traced::Plain => None,
        };
        if is_own(&segment.tuple) {
            self.decoder.disown_last(Skip::OwnTraffic);
            return;
        }
        if let Some(syn) = opening {
            self.table.on_segment(&syn.segment(), &mut self.context);
        }
        self.table.on_segment(segment, &mut self.context);
    }

    /// Time passed without frames.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        // Real time pays.
        self.paid = usize::MAX;
        self.handle_clock(now);
    }

    /// Ticks come at whole multiples of the interval, all of them, each before what was captured after it: so records
    /// do not depend on when somebody looked, and a replay gives those that seeing it live gave.
    fn handle_clock(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.newest, now);
        let next = match self.next_check {
            Some(next) if now < next && next.since(now) <= self.check_every => return,
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
    /// A connection is ticked until it is idle too long: so many ticks, and each frame prolongs only its own. Not so once
    /// the clock was set back, as then none grows older. A capture whose clock jumps back and forth could make each frame
    /// cost a look at all connections; so there a tick has to be paid for, and is left out where it is not.
    fn tick_from(&mut self, next: Timestamp, end: Timestamp) {
        let last = Timestamp(end.0.saturating_sub_unsigned(self.check_every));
        if last <= self.been_through {
            let cost = self.table.len() + self.redirects.len();
            if let Some(left) = self.paid.checked_sub(cost) {
                self.paid = left;
                self.tick(last);
            }
            return;
        }
        let mut at = if next <= self.been_through { self.boundary_after(self.been_through) } else { next };
        for _ in 0..CATCH_UP {
            if at >= end || (self.table.is_empty() && self.redirects.is_empty()) {
                break;
            }
            self.tick(at);
            at = at.plus(self.check_every);
        }
        if at < end {
            self.tick(last);
        }
    }

    fn tick(&mut self, at: Timestamp) {
        self.decoder.on_timeout(at);
        for syn in self.redirects.on_timeout(at) {
            self.table.on_segment(&syn.segment(), &mut self.context);
        }
        self.table.on_timeout(at, &mut self.context);
    }

    fn boundary_after(&self, now: Timestamp) -> Timestamp {
        let every = i64::try_from(self.check_every).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(now.0.rem_euclid(every)).saturating_add(every))
    }

    /// The capture is over: everything open goes out.
    pub fn finish(&mut self, reason: CloseReason) {
        self.decoder.finish();
        for syn in self.redirects.finish() {
            self.table.on_segment(&syn.segment(), &mut self.context);
        }
        self.table.finish(self.newest, reason, &mut self.context);
    }

    /// Our own addresses changed: the direction of exchanges from now on.
    pub fn set_own_ips(&mut self, own_ips: Vec<std::net::IpAddr>) {
        self.context.config.own_ips = own_ips;
    }

    /// Whether an exchange is open: a request without its response, or a message under way.
    pub fn is_busy(&self) -> bool {
        self.context.ledger.open > 0 || self.context.ledger.responses_open > 0
    }

    /// The records made since the last call.
    pub fn records(&mut self) -> &mut Vec<Record> {
        &mut self.context.out
    }

    /// The ledger at this moment.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            frames: self.decoder.ledger().clone(),
            streams: self.table.ledger().clone(),
            http: self.context.ledger.clone(),
            ..Ledger::default()
        }
    }

    /// What was recognised and not decoded.
    pub fn protocols(&self) -> &Protocols {
        &self.context.protocols
    }
}
