//! Rate, errors, duration: requests and their latency by method, status class, route and direction. Owns the bound on
//! the number of series, and which of them those are; it does not make routes (`http.route` is in the record).
//!
//! Who can send requests can invent routes. So a series keeps its place only while it is used more than the
//! `contenders` for it. Those get one only a few at a time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::flow::Timestamp;
use crate::record::{Exchange, NetworkDirection, StreamClass, Trust, grpc_status_name};
use crate::tally::{Contenders, Turns};

/// Combinations of labels. Each costs some 18 lines of a scrape; what has no place goes under the route `other`.
pub const MAX_SERIES: usize = 200;

/// After this many requests what was used counts half.
const AGE_EVERY: u32 = 4096;

/// Longer routes are no routes.
const MAX_ROUTE_BYTES: usize = 200;

const OTHER: &str = "other";

/// Upper bounds of the latency buckets, in nanoseconds.
pub(super) const BUCKETS: [u64; 13] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The labels of a series, besides its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RedLabels {
    pub(super) method: &'static str,
    pub(super) status_class: &'static str,
    pub(super) direction: &'static str,
    /// Of gRPC; empty where it is none.
    pub(super) grpc_status: &'static str,
}

impl RedLabels {
    /// A status from 400, no answer, another status of gRPC than OK.
    pub(super) fn is_failure(&self) -> bool {
        ["4xx", "5xx", "none"].contains(&self.status_class) || !["", "OK", "none"].contains(&self.grpc_status)
    }
}

/// What is counted of an exchange.
#[derive(Debug)]
pub(super) struct RedRequest {
    route: CompactString,
    labels: RedLabels,
    duration: Option<u64>,
    start: Timestamp,
}

impl RedRequest {
    /// Answered or not; takes the route. A response that came late or without its request is none: the ledger has it.
    pub(super) fn of(exchange: &mut Exchange) -> Option<Self> {
        let request = exchange.request.as_ref().filter(|_| !exchange.late)?;
        let labels = RedLabels {
            method: method(&request.method),
            status_class: exchange.response.as_ref().map_or("none", |r| r.status.map_or("other", status_class)),
            direction: direction(exchange.direction()),
            grpc_status: exchange.grpc.as_ref().map_or("", |call| call.status.map_or("none", grpc_status)),
        };
        let (duration, start) = (duration(exchange), exchange.start());
        Some(Self { route: exchange.route.take().unwrap_or_default(), labels, duration, start })
    }
}

/// Counters of one combination of labels.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) route: CompactString,
    pub(super) labels: RedLabels,
    pub(super) requests: u64,
    /// Durations by bucket; the last is for those above all bounds.
    pub(super) durations: [u64; BUCKETS.len() + 1],
    pub(super) sum_ns: u128,
    /// How much it was used lately.
    recent: u32,
}

impl Series {
    fn new(route: &str, labels: RedLabels) -> Self {
        Self { route: route.into(), labels, requests: 0, durations: Default::default(), sum_ns: 0, recent: 0 }
    }

    fn count(&mut self, duration: Option<u64>) {
        self.requests += 1;
        self.recent = self.recent.saturating_add(1);
        let Some(ns) = duration else { return };
        let bucket = BUCKETS.partition_point(|bound| *bound < ns);
        if let Some(count) = self.durations.get_mut(bucket) {
            *count += 1;
        }
        self.sum_ns += u128::from(ns);
    }

    /// Takes over what another one has counted.
    fn absorb(&mut self, gone: &Self) {
        self.requests += gone.requests;
        self.durations.iter_mut().zip(gone.durations).for_each(|(own, of_gone)| *own += of_gone);
        self.sum_ns += gone.sum_ns;
    }
}

/// All series, and where those of a route are: one lookup, then a short list.
#[derive(Debug, Default)]
pub(super) struct RedMetrics {
    /// All requests so far, of whatever series.
    pub(super) counted: u64,
    /// Of them, those that failed.
    pub(super) failed: u64,
    /// Those with a route, at most `MAX_SERIES`.
    named: Vec<Series>,
    routes: HashMap<CompactString, Vec<usize>, RandomState>,
    /// Those of the route `other`, bounded by their labels.
    others: Vec<Series>,
    contenders: Contenders,
    turns: Turns,
    /// No series is used less than this; it may be more.
    least: u32,
    /// Requests since the last time all counted half.
    since_aged: u32,
}

impl RedMetrics {
    /// Counts a request.
    pub(super) fn count(&mut self, request: &RedRequest) {
        let RedRequest { route, labels, duration, start } = request;
        let (route, labels) = (route.as_str(), *labels);
        self.counted += 1;
        self.failed += u64::from(labels.is_failure());
        let place = self.find(route, labels).or_else(|| self.admit(route, labels, *start));
        let series = match place {
            Some(index) => self.named.get_mut(index),
            None => other(&mut self.others, labels),
        };
        if let Some(series) = series {
            series.count(*duration);
        }
        self.age();
    }

    /// A place for a new series, if there is one or it deserves one more than another.
    fn admit(&mut self, route: &str, labels: RedLabels, start: Timestamp) -> Option<usize> {
        if route.len() > MAX_ROUTE_BYTES {
            return None;
        }
        if self.named.len() < MAX_SERIES {
            self.named.push(Series::new(route, labels));
            self.routes.entry(route.into()).or_default().push(self.named.len() - 1);
            return Some(self.named.len() - 1);
        }
        let hits = self.contenders.hit(&(route, labels));
        if !outdoes(hits, self.least) || !self.turns.is_there_one(start) {
            return None;
        }
        let (index, least) = self.named.iter().map(|series| series.recent).enumerate().min_by_key(|(_, used)| *used)?;
        self.least = least;
        outdoes(hits, least).then(|| {
            self.turns.take();
            self.least = 0;
            self.replace(index, Series { recent: hits, ..Series::new(route, labels) });
            index
        })
    }

    /// Puts a new series in the place of one that is used less. What that has counted goes on under `other`, so that no
    /// request is ever uncounted.
    fn replace(&mut self, index: usize, new: Series) {
        let Some(place) = self.named.get_mut(index) else { return };
        let route = new.route.clone();
        let gone = std::mem::replace(place, new);
        if let Some(places) = self.routes.get_mut(&gone.route) {
            places.retain(|place| *place != index);
            if places.is_empty() {
                self.routes.remove(&gone.route);
            }
        }
        self.routes.entry(route).or_default().push(index);
        if let Some(other) = other(&mut self.others, gone.labels) {
            other.absorb(&gone);
        }
    }

    fn age(&mut self) {
        self.since_aged += 1;
        if self.since_aged == AGE_EVERY {
            self.since_aged = 0;
            self.least /= 2;
            self.named.iter_mut().for_each(|series| series.recent /= 2);
            self.contenders.age();
        }
    }

    fn find(&self, route: &str, labels: RedLabels) -> Option<usize> {
        let of = |index: &usize| self.named.get(*index).is_some_and(|series| series.labels == labels);
        self.routes.get(route)?.iter().copied().find(of)
    }

    /// All of them at this moment.
    pub(super) fn series(&self) -> Vec<Series> {
        self.named.iter().chain(&self.others).cloned().collect()
    }
}

/// Whether this many hits are clearly more than a series is used.
fn outdoes(hits: u32, used: u32) -> bool {
    hits > used.saturating_mul(2).saturating_add(1)
}

/// The series of the route `other` with these labels.
fn other(others: &mut Vec<Series>, labels: RedLabels) -> Option<&mut Series> {
    match others.iter().position(|series| series.labels == labels) {
        Some(index) => others.swap(0, index),
        None => others.insert(0, Series::new(OTHER, labels)),
    }
    others.first_mut()
}

/// First byte of the request to last byte of the response, where both are known and mean a response time.
fn duration(exchange: &Exchange) -> Option<u64> {
    let timed = exchange.class == StreamClass::Exchange && exchange.trust != Trust::Midstream;
    exchange.end().filter(|_| timed).map(|end| end.since(exchange.start()))
}

/// Only registered methods: anybody can invent more.
fn method(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => OTHER,
    }
}

/// Only registered ones, likewise.
fn grpc_status(status: u32) -> &'static str {
    grpc_status_name(status).unwrap_or(OTHER)
}

fn direction(direction: Option<NetworkDirection>) -> &'static str {
    direction.map_or("unknown", NetworkDirection::name)
}
