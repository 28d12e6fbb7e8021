//! Rate, errors, duration: requests and their latency by method, status class, route and direction. Owns the limit on
//! the number of series; makes no routes (`http.route` is in the record).

use std::collections::HashMap;

use compact_str::CompactString;

use crate::record::{Exchange, NetworkDirection, StreamClass, Trust};

/// Combinations of labels. Each costs some 18 lines of a scrape; what comes after goes under the route `other`.
pub const MAX_SERIES: usize = 200;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) method: &'static str,
    pub(super) status_class: &'static str,
    pub(super) direction: &'static str,
}

/// Counters of one combination of labels.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) route: CompactString,
    pub(super) labels: Labels,
    pub(super) requests: u64,
    /// Durations by bucket; the last is for those above all bounds.
    pub(super) durations: [u64; BUCKETS.len() + 1],
    pub(super) sum_ns: u128,
}

/// All series, and where those of a route are: one lookup, then a short list.
#[derive(Clone, Debug, Default)]
pub(super) struct Red {
    series: Vec<Series>,
    routes: HashMap<CompactString, Vec<usize>, foldhash::fast::RandomState>,
}

impl Red {
    /// Counts a request, answered or not. A response that came late or without its request is none: the ledger has it.
    pub(super) fn observe(&mut self, exchange: &Exchange) {
        let Some(request) = exchange.request.as_ref().filter(|_| !exchange.late) else { return };
        let labels = Labels {
            method: method(&request.method),
            status_class: exchange.response.as_ref().map_or("none", |r| r.status.map_or("other", status_class)),
            direction: direction(exchange.connection.direction),
        };
        let index = self.index(exchange.route.as_deref().unwrap_or_default(), labels);
        let Some(series) = self.series.get_mut(index) else { return };
        series.requests += 1;
        if let Some(ns) = duration(exchange) {
            let bucket = BUCKETS.partition_point(|bound| *bound < ns);
            if let Some(count) = series.durations.get_mut(bucket) {
                *count += 1;
            }
            series.sum_ns += u128::from(ns);
        }
    }

    /// Where the series is, or that of the route `other` when there are too many. `other` itself is bounded by its labels.
    fn index(&mut self, route: &str, labels: Labels) -> usize {
        if let Some(index) = self.find(route, labels) {
            return index;
        }
        let room = self.series.len() < MAX_SERIES && route.len() <= MAX_ROUTE_BYTES;
        let route = if room { route } else { OTHER };
        self.find(route, labels).unwrap_or_else(|| {
            let index = self.series.len();
            self.series.push(Series {
                route: route.into(),
                labels,
                requests: 0,
                durations: Default::default(),
                sum_ns: 0,
            });
            self.routes.entry(route.into()).or_default().push(index);
            index
        })
    }

    fn find(&self, route: &str, labels: Labels) -> Option<usize> {
        let of = |index: &usize| self.series.get(*index).is_some_and(|series| series.labels == labels);
        self.routes.get(route)?.iter().copied().find(of)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Series> {
        self.series.iter()
    }
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

fn direction(direction: Option<NetworkDirection>) -> &'static str {
    match direction {
        Some(NetworkDirection::Ingress) => "ingress",
        Some(NetworkDirection::Egress) => "egress",
        Some(NetworkDirection::Internal) => "internal",
        None => "unknown",
    }
}
