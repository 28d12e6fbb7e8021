//! The line of an exchange: what is in it, how it fits a terminal, and what never gets there.

use std::sync::Arc;

use super::*;
use crate::flow::Endpoint;
use crate::record::sample::{self, exchange, record};
use crate::record::{
    ConnectionSide, EarlyEnd, EndedHow, Exchange, ExchangeConnection, MissingParts, NetworkDirection, StreamClass,
    Trust, UnansweredReason, Weird,
};
use proptest::prelude::*;

fn line(exchange: Exchange) -> String {
    let mut out = Vec::new();
    write_line(&mut out, &record(exchange), &TextStyle::default());
    String::from_utf8(out).unwrap()
}

fn at(mut it: Exchange, start: Timestamp) -> Exchange {
    let shift = |time: Timestamp| start.plus(time.since(sample::START));
    if let Some(request) = &mut it.request {
        (request.first, request.last) = (shift(request.first), shift(request.last));
    }
    if let Some(response) = &mut it.response {
        (response.first, response.last) = (shift(response.first), shift(response.last));
    }
    it.gave_up = it.gave_up.map(shift);
    it
}

fn unanswered() -> Exchange {
    let mut it = exchange();
    let request = it.request.as_mut().unwrap();
    (request.method, request.target) = ("POST".into(), "/v1/charge".into());
    request.host = Some("payments:8443".into());
    it.connection = Arc::new(ExchangeConnection {
        direction: Some(NetworkDirection::Egress),
        server: Endpoint::new([10, 1, 9, 9], 8443),
        ..sample::connection()
    });
    it.response = None;
    it.unanswered = Some(UnansweredReason::Timeout);
    it.gave_up = Some(sample::START.plus(10_000_000_000));
    it
}

#[test]
fn the_lines_come_out_as_they_are_documented() {
    let noon = 1_772_366_400 + 34 * 60 + 56;
    assert_eq!(
        line(at(exchange(), Timestamp::new(noon, 789_012_000))),
        "12:34:56.789012Z ← GET  shop.local:8080/cart?id=7          200   1.8 kB  12.4 ms  10.1.2.3:51234\n"
    );
    assert_eq!(
        line(at(unanswered(), Timestamp::new(noon, 790_101_000))),
        "12:34:56.790101Z → POST payments:8443/v1/charge            --- timeout    10.0 s  10.1.9.9:8443\n"
    );
}

fn shown(exchange: Exchange, width: usize) -> String {
    let mut out = Vec::new();
    write_line(&mut out, &record(exchange), &TextStyle { width: Some(width), ..TextStyle::default() });
    String::from_utf8(out).unwrap()
}

/// Where the peer's address begins, in characters.
fn column_of(line: &str, part: &str) -> usize {
    line.split_once(part).unwrap_or_else(|| panic!("no {part} in {line}")).0.chars().count()
}

#[test]
fn columns_keep_their_place_at_every_width_whatever_is_in_them() {
    let mut long = exchange();
    long.request.as_mut().unwrap().target = format!("/api/v1/{}/orders/17", "x".repeat(200)).into();
    let mut many = exchange();
    many.request.as_mut().unwrap().method = "PROPPATCH".into();
    let lost = Exchange { response: None, trust: Trust::Unpaired, ..exchange() };
    let orphan = Exchange { request: None, ..exchange() };
    let mut none = Exchange { response: None, unanswered: Some(UnansweredReason::Shutdown), ..exchange() };
    none.gave_up = Some(sample::START.plus(9_999_000_000_000));
    for width in [20, 60, 80, 99, 100, 120, 160, 200, 400] {
        let place = column_of(&shown(exchange(), width), "10.1.2.3:51234");
        for it in [&long, &many, &lost, &orphan, &none] {
            let line = shown(it.clone(), width);
            assert_eq!(column_of(&line, "10.1.2.3:51234"), place, "{width}: {line}");
        }
        let longest = shown(long.clone(), width).trim_end().chars().count();
        assert!(longest <= width.max(75), "{width}: {longest}");
    }
}

#[test]
fn the_middle_of_a_long_url_is_cut_and_its_end_stays() {
    let mut long = exchange();
    long.request.as_mut().unwrap().target = format!("/api/{}/orders/17", "x".repeat(2000)).into();
    for line in [shown(long.clone(), 80), shown(long.clone(), 160), line(long)] {
        assert!(line.contains("GET  shop") && line.contains("s/17 ") && line.contains('…'), "{line}");
        assert!(line.len() < 600);
    }
}

#[test]
fn a_time_has_its_offset() {
    for (utc_offset, expected) in
        [(0, "12:00:00.000123Z "), (3600, "13:00:00.000123+01:00 "), (-19_800, "06:30:00.000123-05:30 ")]
    {
        let mut out = Vec::new();
        write_line(&mut out, &record(exchange()), &TextStyle { utc_offset, ..TextStyle::default() });
        let line = String::from_utf8(out).unwrap();
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn a_duration_is_coloured_by_what_is_slow() {
    for (slow_after, expected) in [
        (None, "  12.4 ms  "),
        (Some(12_400_001), "  12.4 ms  "),
        (Some(12_400_000), "\x1b[33m 12.4 ms\x1b[0m"),
        (Some(2_480_000), "\x1b[31m 12.4 ms\x1b[0m"),
    ] {
        let mut out = Vec::new();
        write_line(&mut out, &record(exchange()), &TextStyle { colour: true, slow_after, ..TextStyle::default() });
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains(expected), "{slow_after:?}: {line:?}");
    }
}

#[test]
fn a_half_says_what_was_not_seen() {
    let orphan = line(Exchange { request: None, ..exchange() });
    assert!(orphan.contains("-    (request not seen)") && orphan.contains("       -  10.1.2.3"), "{orphan}");
    let lost = line(Exchange { response: None, trust: Trust::Unpaired, ..exchange() });
    assert!(lost.contains("--- not seen        -  10.1.2.3:51234 [unpaired]"), "{lost}");
}

#[test]
fn an_unanswered_request_is_called_unpaired_only_where_more_than_the_answer_is_missing() {
    let mut it = Exchange { trust: Trust::Unpaired, ..unanswered() };
    it.missing.insert(MissingParts::RESPONSE);
    assert!(line(it.clone()).ends_with("10.1.9.9:8443\n"), "{}", line(it));
    it.missing.insert(MissingParts::REQUEST_BODY);
    assert!(line(it.clone()).ends_with(" [unpaired: response, request_body]\n"), "{}", line(it));
}

#[test]
fn who_ended_it_is_shown() {
    for (by, how, expected) in [
        (Some(ConnectionSide::Client), EndedHow::Fin, " [✂ client]\n"),
        (Some(ConnectionSide::Server), EndedHow::Rst, " [✂ server rst]\n"),
        (None, EndedHow::Rst, " [✂ ? rst]\n"),
    ] {
        let line = line(Exchange { ended: Some(EarlyEnd { by, how }), ..exchange() });
        assert!(line.ends_with(expected), "{line}");
    }
}

#[test]
fn an_answer_without_a_status_is_one() {
    let old = line(Exchange { response: Some(crate::record::sample::http09()), ..exchange() });
    assert!(old.contains(" -     1.6 kB  12.4 ms  10.1.2.3:51234\n"), "{old}");
}

#[test]
fn marks_stand_at_the_end() {
    let mut it = Exchange { class: StreamClass::Stream, late: true, trust: Trust::Gap, ..exchange() };
    it.missing.insert(MissingParts::RESPONSE_BODY);
    it.missing.insert(MissingParts::REQUEST_BODY);
    it.weird.insert(Weird::BareLf);
    it.weird.insert(Weird::TeAndCl);
    let marks = " [stream] [late] [gap: request_body, response_body] [weird: te_and_cl, bare_lf]\n";
    assert!(line(it).ends_with(marks));
}

#[test]
fn both_ends_are_shown_where_it_is_not_clear_which_is_the_other() {
    for (direction, arrow) in [(Some(NetworkDirection::Internal), '↔'), (None, '·')] {
        let connection = Arc::new(ExchangeConnection { direction, ..sample::connection() });
        let line = line(Exchange { connection, ..exchange() });
        assert!(line.contains(&format!(" {arrow} GET")), "{line}");
        assert!(line.ends_with("  10.1.2.3:51234 → 10.1.9.9:8080\n"), "{line}");
    }
}

#[test]
fn a_url_is_put_together_from_what_was_sent() {
    for (method, target, host, expected) in [
        ("GET", "/x", None, "GET  10.1.9.9:8080/x "),
        ("GET", "http://a/x", Some("b"), "GET  http://a/x "),
        ("CONNECT", "a:443", Some("a:443"), "CONNECT a:443 "),
        ("OPTIONS", "*", Some("a"), "OPTIONS a* "),
    ] {
        let mut it = exchange();
        let request = it.request.as_mut().unwrap();
        (request.method, request.target, request.host) = (method.into(), target.into(), host.map(Into::into));
        let line = line(it);
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn colours_are_put_around_the_status_and_taken_back() {
    let mut out = Vec::new();
    write_line(&mut out, &record(exchange()), &TextStyle { colour: true, ..TextStyle::default() });
    let line = String::from_utf8(out).unwrap();
    assert!(line.contains("\x1b[32m200\x1b[0m"));
    assert_eq!(line.matches('\x1b').count() % 2, 0);
}

proptest! {
    #[test]
    fn no_text_of_the_wire_reaches_a_terminal_raw(method in "\\PC{0,5}|[\\x00-\\x7f]{0,5}", target in "[\\x00-\\x7fé\u{202e}]{0,40}",
                                                  host in "[\\x00-\\x7fé\u{9b}]{0,20}") {
        let mut it = exchange();
        let request = it.request.as_mut().unwrap();
        (request.method, request.target, request.host) = (method.into(), target.into(), Some(host.into()));
        let line = line(it);
        let shown = line.strip_suffix('\n').unwrap();
        prop_assert!(shown.chars().all(|c| (' '..='~').contains(&c) || "←→…".contains(c)), "{:?}", shown);
    }
}
