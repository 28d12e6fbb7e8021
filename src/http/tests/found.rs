//! What a review or a fuzzer found, each as short as it goes.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::record::{Trust, Unanswered};

#[test]
fn half_a_head_on_one_stream_is_accounted_for_when_the_other_hands_the_connection_over() {
    let mut wire = Wire::new();
    wire.client("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").client("GET /half HTTP/1.1\r\nHo");
    wire.server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n").client("st: a\r\n\r\n");
    // `close` checks that nothing waits any more.
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /ws 101 complete"]);
}

#[test]
fn a_late_answer_whose_pair_is_contradicted_leaves_one_orphan() {
    let mut wire = Wire::joined(false);
    wire.client(&get("/slow")).tick(20_000).server(OK).server(OK);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /slow - unpaired timeout", "- 200 unpaired", "- 200 unpaired"]);
}

#[test]
fn an_informational_response_after_a_loss_moves_no_evidence_to_another_request() {
    let mut wire = Wire::new();
    let post = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n12";
    // The answer to /a is early and lost; so /a is still open when /b is asked.
    wire.client(post).lose(FromHigh, 60).client("34").client(&get("/b"));
    wire.server("HTTP/1.1 103 Early Hints\r\n\r\n").server(OK).end(FromLow).end(FromHigh);
    let records = wire.close(CloseReason::Closed);
    for e in records.iter().filter(|e| e.request.as_ref().is_some_and(|r| r.target == "/a")) {
        assert_eq!((&e.response, e.informational.as_slice()), (&None, &[][..]), "{e:?}");
    }
}

#[test]
fn a_head_that_lost_its_rest_is_never_complete() {
    for (request, response) in [
        (get("/"), "HTTP/1.1 204 No\r\nA: b\r\nC"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".into(), "HTTP/1.1 200 OK\r\nA"),
    ] {
        let mut wire = Wire::new();
        wire.client(&request).server(response).lose(FromHigh, 30);
        let records = wire.close(CloseReason::Closed);
        assert_eq!(records[0].trust, Trust::Truncated, "{response}");
        assert!(records[0].missing.names().any(|m| m == "response_head"), "{response}");
    }
    let mut wire = Wire::new();
    wire.server(OK).client("GET / HTTP/1.1\r\nHost: a\r\nC").lose(FromLow, 30);
    assert!(wire.close(CloseReason::Closed).iter().all(|e| e.trust != Trust::Complete));
}

#[test]
fn a_head_over_the_limit_is_cut_the_same_way_in_one_segment_as_in_many() {
    let head = format!("GET /big HTTP/1.1\r\nHost: a\r\nCookie: {}", "c".repeat(70_000));
    for step in [1000, 30_000, 80_000] {
        let mut wire = Wire::new();
        head.as_bytes().chunks(step).for_each(|part| _ = wire.data(FromLow, part));
        wire.server(OK);
        let records = wire.close(CloseReason::Closed);
        assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["GET /big 200 truncated"], "{step}");
        assert!(records[0].weird.contains(Weird::HeadTooLarge));
    }
}

#[test]
fn a_proxy_header_may_come_in_two_parts() {
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x32\xc0\0\x02\x07\x0a\0\0\x01\0\x01\0\x50".to_vec();
    let v2 = [v2, vec![b'\n'; 38]].concat();
    for header in [v1, v2] {
        let bytes = [header, get("/").into_bytes()].concat();
        for cut in 1..bytes.len() {
            let mut wire = Wire::new();
            wire.data(FromLow, &bytes[..cut]).data(FromLow, &bytes[cut..]).server(OK);
            let records = wire.close(CloseReason::Closed);
            assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["GET / 200 complete"], "cut at {cut}");
            assert_eq!(records[0].client_ip, Some([192, 0, 2, 7].into()), "cut at {cut}");
        }
    }
}

#[test]
fn who_made_room_was_not_closed_by_anybody() {
    let mut wire = Wire::new();
    wire.client(&get("/"));
    let records = wire.close(CloseReason::Evicted);
    assert_ne!(records[0].unanswered, Some(Unanswered::Closed));
}

#[test]
fn identity_is_no_transfer_coding() {
    let mut wire = Wire::new();
    let identity = "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok";
    wire.client(&get("/a")).server(identity).client(&get("/b")).server(OK);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /a 200 complete", "GET /b 200 complete"]);
}

#[test]
fn the_halves_of_a_contradicted_pair_tell_each_only_its_own() {
    let mut wire = Wire::joined(false);
    let forwarded = "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    wire.client(forwarded).server("HTTP/1.1 103 Early Hints\r\n\r\n");
    wire.server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").data_acking(FromLow, get("/b").as_bytes(), 0);
    wire.server("llo");
    let records = wire.close(CloseReason::Closed);
    let orphan = records.iter().find(|e| e.request.is_none()).unwrap();
    assert_eq!((orphan.client_ip, orphan.connect_ns), (None, None));
    assert!(orphan.missing.names().any(|m| m == "response_body"), "only a part of it was counted: {orphan:?}");
    let request = records.iter().find(|e| e.request.is_some()).unwrap();
    assert_eq!(request.informational, [0; 0]);
    assert!(request.client_ip.is_some());
}

#[test]
fn when_ticks_come_does_not_change_what_is_told_of_a_timeout() {
    let play = |ticks: &[i64], pause: i64, answered: bool| {
        let mut wire = Wire::new();
        wire.client(&get("/"));
        ticks.iter().for_each(|t| _ = wire.tick(*t));
        wire.now += (pause - ticks.iter().sum::<i64>()) * 1_000_000;
        if answered {
            wire.server(OK);
        }
        wire.close(CloseReason::Closed)
    };
    let early: &[&[i64]] = &[&[8_000], &[3_000, 5_000], &[500; 17]];
    let late: &[&[i64]] = &[&[10_000], &[10_400], &[3_000, 7_900], &[10_001, 900]];
    for (pause, ticks) in [(9_000, early), (11_000, early), (11_000, late), (30_000, late)] {
        for answered in [true, false] {
            let without = play(&[], pause, answered);
            for ticks in ticks {
                assert_eq!(play(ticks, pause, answered), without, "{pause} ms, ticks {ticks:?}");
            }
        }
    }
}
