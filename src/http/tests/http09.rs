//! Requests without a version, and what comes back: a body and nothing else.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::ledger::NotHttp;
use crate::record::{EventOutcome, HttpVersion};

const OLD: &str = "GET /old\r\n";
const PAGE: &str = "<html>old</html>\n";

#[test]
fn an_answer_of_http09_is_a_body_until_close() {
    let mut wire = Wire::new();
    wire.client(OLD).server(PAGE).server("more").end(FromHigh).end(FromLow);
    let e = wire.close(CloseReason::Closed).remove(0);
    assert_eq!(line(&e), "GET /old body complete");
    assert_eq!((e.outcome(), e.missing.is_empty(), e.unanswered), (EventOutcome::Unknown, true, None));
    let (q, r) = (e.request.unwrap(), e.response.unwrap());
    assert_eq!((q.first.0, r.first.0, r.last.0), (1000, 2000, 3000));
    assert_eq!((r.version, r.bytes, r.body_bytes), (HttpVersion::V09, 21, 21));
    let h = &wire.cx.ledger;
    assert_eq!((h.paired, h.unpaired, h.bodies, h.not_http.total(), h.resync), (1, 0, 21, 0, 0));
    assert_eq!(h.weird.at(Weird::Http09 as usize), 1);
}

#[test]
fn any_bytes_may_be_an_answer_of_http09_wherever_they_are_cut() {
    for body in [
        PAGE,
        "\r\n\r\nx",
        "\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "\x16\x03\x01",
        "HTTP",
        "HTTP is old",
        "http/",
        "P",
        "\r\nPRI",
    ] {
        for cut in 0..body.len() {
            let mut wire = Wire::new();
            wire.client(OLD);
            if cut > 0 {
                wire.server(&body[..cut]);
            }
            wire.server(&body[cut..]).end(FromHigh);
            let e = wire.close(CloseReason::Closed).remove(0);
            assert_eq!(line(&e), "GET /old body complete", "{body:?} cut at {cut}");
            let r = e.response.unwrap();
            assert_eq!((r.first.0, r.body_bytes), (2000, body.len() as u64), "{body:?} cut at {cut}");
            assert_eq!(wire.cx.ledger.bodies, body.len() as u64);
        }
    }
}

#[test]
fn a_server_that_knows_no_http09_answers_as_ever() {
    let answer = status(400);
    for cut in 0..answer.len() {
        let mut wire = Wire::new();
        wire.client(OLD).client("\r\n");
        if cut > 0 {
            wire.server(&answer[..cut]);
        }
        wire.server(&answer[cut..]).end(FromHigh);
        assert_eq!(wire.lines(CloseReason::Closed), ["GET /old 400 complete"], "cut at {cut}");
    }
    let mut wire = Wire::new();
    wire.client(OLD).server("HTTP/1.1 nonsense\r\n\r\n").end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old body complete"]);
}

#[test]
fn what_is_missing_of_an_answer_without_a_head_is_named() {
    for (cut, label) in
        [(CloseReason::EndOfCapture, "truncated"), (CloseReason::Shutdown, "truncated"), (CloseReason::Closed, "gap")]
    {
        let mut wire = Wire::new();
        wire.client(OLD).server(PAGE);
        if cut == CloseReason::Closed {
            wire.lose(FromHigh, 100).end(FromHigh);
        }
        let e = wire.close(cut).remove(0);
        assert_eq!(line(&e), format!("GET /old body {label}"));
        assert!(e.missing.names().eq(["response_body"]));
    }
    let mut wire = Wire::new();
    wire.client(OLD).server(PAGE);
    assert!(wire.close(CloseReason::Reset(FromHigh))[0].weird.contains(Weird::BodyCutByClose));
    // Its beginning was lost: no one knows what the rest is.
    let mut wire = Wire::new();
    wire.client(OLD).lose(FromHigh, 100).server(PAGE).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old - unpaired"]);
}

#[test]
fn nothing_at_all_is_no_answer_of_http09() {
    let mut wire = Wire::new();
    wire.client(OLD).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old - unpaired closed"]);
}

#[test]
fn bytes_sent_before_the_request_had_come_do_not_answer_it() {
    let mut wire = Wire::new();
    wire.client(OLD).data_acking(FromHigh, b"220 mail\r\n", 0).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old - unpaired closed"]);
    assert_eq!(wire.cx.ledger.responses, 0);
    let mut wire = Wire::new();
    wire.server("220 mail\r\n").client(OLD).server("500 what?\r\n").end(FromHigh);
    assert!(wire.lines(CloseReason::Closed)[0].starts_with("GET /old - unpaired"));
}

#[test]
fn only_the_next_answer_is_one_of_http09() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).client(OLD).server("garbage").server(&status(201)).server(PAGE).end(FromHigh);
    let lines = wire.lines(CloseReason::Closed);
    assert!(lines.iter().all(|l| l.contains("unpaired")), "{lines:?}");
    let mut wire = Wire::new();
    wire.client(&(get("/1") + OLD)).server(OK).server(PAGE).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 200 complete", "GET /old body complete"]);
    // One connection, one answer (RFC 1945 §1.3).
    let mut wire = Wire::new();
    wire.client(&(OLD.to_owned() + OLD)).server(PAGE).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old body complete", "GET /old - unpaired closed"]);
}

#[test]
fn a_client_that_asks_again_shows_that_it_is_not_http09_until_close() {
    let mut wire = Wire::new();
    wire.client("GET /key\r\n").server("value\n").client("GET /other\r\n").server("another\n").end(FromHigh);
    let records = wire.close(CloseReason::Closed);
    assert_eq!(line(&records[0]), "GET /key body truncated");
    assert!(records[0].missing.names().eq(["response_body"]));
    assert_eq!(records[0].response.as_ref().unwrap().body_bytes, 6);
    assert_eq!(records.len(), 2);
}

#[test]
fn an_answer_that_the_capture_shows_before_its_request_is_still_its_answer() {
    let had = OLD.len() as u64;
    for (more, ended) in [(false, false), (true, false), (false, true)] {
        let mut wire = Wire::new();
        wire.data_acking(FromHigh, PAGE.as_bytes(), had);
        if ended {
            wire.end(FromHigh);
        }
        wire.data_acking(FromLow, OLD.as_bytes(), 0);
        if more {
            wire.server("more");
        }
        wire.end(FromHigh).end(FromLow);
        let e = wire.close(CloseReason::Closed).remove(0);
        assert_eq!(line(&e), "GET /old body complete");
        assert_eq!(e.response.unwrap().body_bytes, PAGE.len() as u64 + if more { 4 } else { 0 });
    }
    // Something of it is missing, or it was sent before: no.
    let mut wire = Wire::new();
    wire.data_acking(FromHigh, b"banner", 0).data_acking(FromLow, OLD.as_bytes(), 0);
    assert!(wire.lines(CloseReason::Closed)[0].starts_with("GET /old - unpaired"));
    let mut wire = Wire::new();
    wire.data_acking(FromHigh, PAGE.as_bytes(), had).lose(FromHigh, 3).data_acking(FromLow, OLD.as_bytes(), 0);
    assert!(wire.lines(CloseReason::Closed)[0].starts_with("GET /old - unpaired"));
}

#[test]
fn a_late_answer_of_http09_is_late() {
    let mut wire = Wire::new();
    wire.client(OLD).tick(10_001).server(PAGE).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /old - unpaired timeout", "GET /old body complete late"]);
}

#[test]
fn after_a_loss_an_answer_of_http09_needs_the_same_evidence_as_any() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(OK).lose(FromLow, 40).server(OK).client(OLD).server(PAGE).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 200 complete", "- 200 unpaired", "GET /old body gap"]);
}

#[test]
fn other_protocols_are_taken_for_http09_no_more_than_before() {
    for (client, server) in [("get key\r\n", "END\r\n"), ("GET key\r\n", "$-1\r\n"), ("QUIT\r\n", "221 bye\r\n")] {
        let mut wire = Wire::new();
        wire.client(client).server(server).end(FromHigh);
        assert_eq!(wire.lines(CloseReason::Closed), [""; 0]);
        assert_eq!(wire.cx.ledger.not_http.at(NotHttp::Unknown as usize), (client.len() + server.len()) as u64);
    }
}
