use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::metrics::tests::exchange;
use crate::record::HttpRequest;

const SECOND: u64 = 1_000_000_000;

/// Requests one second after the other, and what a scraper sees after each of them.
#[derive(Default)]
struct Traffic {
    red: RedMetrics,
    seconds: u64,
    requests: u64,
    /// Every series that was ever there.
    known: BTreeSet<String>,
    last: BTreeMap<String, u64>,
}

impl Traffic {
    fn request(&mut self, route: &str) {
        self.seconds += 1;
        self.requests += 1;
        let mut exchange = exchange("GET", Some(200), route, 5);
        let first = crate::flow::Timestamp(1).plus(self.seconds * SECOND);
        exchange.request = exchange.request.map(|request| HttpRequest { first, last: first, ..request });
        self.red.count(&super::RedRequest::of(&mut exchange).unwrap());
    }

    fn scrape(&mut self) {
        let series = self.red.series();
        let now: BTreeMap<_, _> = series.iter().map(|series| (series.route.to_string(), series.requests)).collect();
        assert_eq!(now.len(), series.len(), "no series is there twice");
        assert!(now.len() <= MAX_SERIES + 1);
        assert_eq!(now.values().sum::<u64>(), self.requests, "no request is uncounted, and none counts twice");
        for (route, count) in &now {
            assert!(self.last.get(route).is_none_or(|before| before <= count), "{route} goes back");
        }
        self.known.extend(now.keys().cloned());
        self.last = now;
    }

    fn has(&self, route: &str) -> bool {
        self.last.contains_key(route)
    }
}

#[test]
fn junk_that_took_all_places_loses_them_to_what_is_used() {
    let mut traffic = Traffic::default();
    (0..MAX_SERIES).for_each(|n| traffic.request(&format!("/junk{n}")));
    for round in 0..200 {
        for route in 0..30 {
            traffic.request(&format!("/real{route}"));
            // Ever new junk goes on.
            traffic.request(&format!("/more-junk{round}-{route}"));
        }
        traffic.scrape();
    }
    let missing: Vec<_> = (0..30).filter(|route| !traffic.has(&format!("/real{route}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_used_keeps_its_place_whatever_else_comes() {
    let mut traffic = Traffic::default();
    (0..30).for_each(|route| traffic.request(&format!("/real{route}")));
    for round in 0..400 {
        (0..30).for_each(|route| traffic.request(&format!("/real{route}")));
        // Each junk path five times over, so that each looks like a route at first.
        (0..40).for_each(|n| (0..5).for_each(|_| traffic.request(&format!("/junk{round}-{n}"))));
        traffic.scrape();
        assert!((0..30).all(|route| traffic.has(&format!("/real{route}"))));
    }
    let seconds = traffic.seconds;
    let turns = usize::try_from(seconds / 10).unwrap() + 20;
    assert!(traffic.known.len() <= MAX_SERIES + 1 + turns, "{} in {seconds} s", traffic.known.len());
}

#[test]
fn a_series_that_comes_back_starts_again_and_other_has_what_it_had() {
    let mut traffic = Traffic::default();
    (0..MAX_SERIES).for_each(|n| traffic.request(&format!("/old{n}")));
    (0..2 * AGE_EVERY).for_each(|n| traffic.request(&format!("/new{}", n % 16)));
    traffic.scrape();
    assert!(traffic.has("/new0") && traffic.last["other"] >= 16);
    let gone = (0..MAX_SERIES).map(|n| format!("/old{n}")).find(|route| !traffic.has(route)).unwrap();
    (0..50).for_each(|_| traffic.request(&gone));
    traffic.last.remove(&gone);
    traffic.scrape();
    assert!(traffic.last[&gone] < 50);
}
