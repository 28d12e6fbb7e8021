//! What a review or a fuzzer found, each as short as it goes.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::record::{Trust, UnansweredReason};

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

/// Joined late, behind an answer too many: nothing was seen of how this client asks while order was certain.
#[test]
fn rounds_of_several_requests_and_as_many_responses_show_which_is_whose() {
    for size in 2..5 {
        let mut wire = Wire::joined(false);
        wire.lose(FromLow, 500).server(OK);
        for round in 0..18 {
            (0..size).for_each(|at| _ = wire.client(&get(&format!("/{}", 200 + 10 * round + at))));
            (0..size).for_each(|at| _ = wire.server(&status(200 + 10 * round + at)));
            if round == 8 {
                wire.lose(FromLow, 700).lose(FromHigh, 900);
            }
        }
        let lines = wire.lines(CloseReason::Closed);
        let pairs: Vec<_> = lines
            .iter()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|l| l[0] == "GET" && l[2] != "-")
            .collect();
        assert!(pairs.iter().all(|l| l[1][1..] == *l[2]), "{lines:?}");
        assert_eq!(pairs.len() as u16, 18 * size, "{size}: {lines:?}");
    }
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
    assert_ne!(records[0].unanswered, Some(UnansweredReason::Closed));
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
    let records = wire.close(CloseReason::Closed);
    let orphan = records.iter().find(|e| e.request.is_none()).unwrap();
    assert_eq!((orphan.client_ip, orphan.connect_ns), (None, None));
    assert!(orphan.missing.names().any(|m| m == "response_body"), "only a part of it was counted: {orphan:?}");
    let request = records.iter().find(|e| e.request.is_some()).unwrap();
    assert_eq!(request.informational, [0; 0]);
    assert!(request.client_ip.is_some());
}

#[test]
fn when_ticks_come_does_not_change_the_record_of_a_timeout() {
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

#[test]
fn a_client_found_to_pipeline_while_its_pairs_were_on_trial_gets_none_of_them() {
    let mut wire = Wire::joined(false);
    wire.client(&get("/5")).server(&status(203)).client(&get("/6")).client(&get("/7")).server(&status(204));
    assert_eq!(
        wire.lines(CloseReason::EndOfCapture),
        ["- 203 unpaired", "GET /5 - unpaired", "GET /6 - unpaired", "GET /7 - unpaired", "- 204 unpaired"]
    );
}

#[test]
fn a_whole_request_lost_owes_a_response_that_answers_none_of_those_seen() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(OK).lose(FromLow, 40).client(&get("/3")).server(&status(202));
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert_eq!(lines[0], "GET /1 200 complete");
    assert!(lines.contains(&"- 202 unpaired".to_owned()), "{lines:?}");
}

#[test]
fn a_response_sent_before_its_server_had_the_request_answers_none() {
    // The server gives up an idle connection just as the next request is on its way.
    let timeout = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(OK);
    let had = wire.sent[0];
    wire.client(&get("/2")).data_acking(FromHigh, timeout.as_bytes(), had).end(FromHigh);
    let records = wire.close(CloseReason::Closed);
    let lines: Vec<_> = records.iter().map(line).collect();
    assert_eq!(lines, ["GET /1 200 complete", "- 408 unpaired", "GET /2 - unpaired closed"]);
    assert!(records[1].weird.contains(Weird::UnsolicitedResponse));
    assert_eq!(records.iter().map(|e| e.number).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn what_looks_like_a_response_within_garbage_answers_no_request_that_came_after_it() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more\n");
    wire.server(&status(500)).client(&get("/2")).server(&status(202));
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 200 complete", "- 500 unpaired", "GET /2 202 complete"]);
}

#[test]
fn a_response_behind_garbage_is_found_wherever_the_segments_are_cut() {
    let first = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for garbage in ["x", "xy", "surplus of a body\n"] {
        let rest = format!("{garbage}{}", status(202));
        for cut in 1..rest.len() {
            let mut wire = Wire::new();
            wire.client(&(get("/1") + &get("/2"))).server(first).server(&rest[..cut]).server(&rest[cut..]);
            let lines = wire.lines(CloseReason::Closed);
            assert_eq!(lines, ["GET /1 200 complete", "GET /2 202 complete"], "{garbage:?} cut at {cut}");
        }
    }
}

#[test]
fn after_a_broken_chunk_nothing_is_complete_and_order_proves_nothing() {
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    let mut wire = Wire::new();
    // The answer to /2 may be in what cannot be read.
    wire.client(&(get("/1") + &get("/2") + &get("/3"))).server(&(broken.to_owned() + OK)).server(&status(203));
    let records = wire.close(CloseReason::Closed);
    let mut lines: Vec<_> = records.iter().map(line).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["GET /1 200 truncated", "GET /2 - unpaired", "GET /3 - unpaired"]);
    let one = records.iter().find(|e| e.number == 1).unwrap();
    assert!(one.weird.contains(Weird::BadChunk) && one.missing.names().eq(["response_body"]));
    // A client that asks when it has it all is still followed.
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(broken).client(&get("/2")).server(&status(202));
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 200 truncated", "GET /2 202 gap"]);
}

#[test]
fn a_request_whose_answer_may_be_among_several_alike_was_not_left_unanswered() {
    // A server that ends first may owe answers.
    let mut wire = Wire::joined(false);
    wire.client(&get("/1")).client(&get("/2")).server(&status(201)).server(&status(202)).end(FromHigh).end(FromLow);
    let lines = wire.lines(CloseReason::Closed);
    assert_eq!(lines, ["GET /1 - unpaired", "GET /2 - unpaired", "- 201 unpaired", "- 202 unpaired"]);
    // A client that ends first has them all.
    let mut wire = Wire::joined(false);
    wire.client(&get("/1")).client(&get("/2")).server(&status(201)).server(&status(202)).end(FromLow).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 201 gap", "GET /2 202 gap"]);
}

#[test]
fn a_late_answer_has_the_number_of_its_request() {
    let mut wire = Wire::new();
    wire.client(&get("/slow")).tick(10_001).client(&get("/next")).server(&status(200)).server(&status(404));
    let numbers: Vec<_> = wire.close(CloseReason::Closed).iter().map(|e| e.number).collect();
    assert_eq!(numbers, [1, 1, 2]);
}

#[test]
fn a_folded_field_counts_whole_for_the_framing_and_in_the_record() {
    let mut wire = Wire::new();
    wire.cx.config.headers = KeepHeaders::All;
    wire.client("GET /a HTTP/1.1\r\nHost: shop\r\nA: b\r\n  c\r\nUser-Agent: x\r\n\ty\r\n\r\n");
    wire.server("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n0\r\n\r\n");
    wire.client(&get("/b")).server(OK);
    let records = wire.close(CloseReason::Closed);
    assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["GET /a 200 truncated", "GET /b 200 gap"]);
    let request = records[0].request.as_ref().unwrap();
    assert_eq!(request.user_agent.as_deref(), Some("x y"));
    assert!(request.headers.iter().any(|h| h.name == "A" && h.value == "b c"), "{:?}", request.headers);
    assert!(records[0].weird.contains(Weird::ObsFold), "others may not unfold it, and read another length");
}

#[test]
fn what_tcp_found_odd_is_named_once() {
    for (conflict, urgent, expected) in [
        (true, false, "overlap_conflict"),
        (false, true, "urgent_bytes"),
        (true, true, "overlap_conflict urgent_bytes"),
    ] {
        let mut wire = Wire::new();
        wire.conn.conflicts[0] = u8::from(conflict);
        wire.conn.urgent = urgent;
        wire.client(&get("/1")).server(OK).client(&get("/2")).server(OK);
        let names = |e: &Exchange| e.weird.iter().map(Weird::name).collect::<Vec<_>>().join(" ");
        let named: Vec<_> = wire.close(CloseReason::Closed).iter().map(names).collect();
        assert_eq!(named, [expected, ""]);
    }
}

#[test]
fn half_a_request_is_recorded_with_what_its_server_made_of_it() {
    let half = "GET /slow HTTP/1.1\r\nHost: shop\r\nUser-Ag";
    let mut wire = Wire::new();
    wire.client(half).server(&status(408)).end(FromHigh).end(FromLow);
    let records = wire.close(CloseReason::Closed);
    assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["GET /slow 408 truncated"]);
    assert!(records[0].missing.names().eq(["request_head"]) && records[0].weird.contains(Weird::UnfinishedHead));
    let mut wire = Wire::new();
    wire.client(half).end(FromLow).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /slow - unpaired closed"]);
    assert_eq!(wire.cx.ledger.weird.at(Weird::UnfinishedHead as usize), 1);
}

#[test]
fn a_client_that_asked_before_the_answer_is_found_out_by_what_follows_a_lost_request() {
    // /3 is lost but for its body, which was sent before the answer to /2 had come.
    let mut wire = Wire::joined(false);
    wire.client(&get("/2")).lose(FromLow, 60);
    wire.data_acking(FromLow, b"the body of /3", 0).lose(FromHigh, 50);
    wire.client(&get("/4")).server(&status(203));
    for line in wire.lines(CloseReason::EndOfCapture) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn two_answers_to_what_the_server_had_at_once_are_those_of_a_client_that_asks_in_advance() {
    let mut wire = Wire::joined(false);
    wire.client(&get("/17")).lose(FromLow, 36).server(&status(210)).server(&status(211));
    wire.client(&get("/19")).server(&status(212)).client(&get("/20"));
    for line in wire.lines(CloseReason::EndOfCapture) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn a_pair_that_nothing_confirmed_before_the_capture_ended_says_so() {
    for (reason, second) in [
        (CloseReason::Closed, "complete"),
        (CloseReason::EndOfCapture, "midstream"),
        (CloseReason::Shutdown, "midstream"),
        (CloseReason::Evicted, "midstream"),
        (CloseReason::Reset(FromHigh), "midstream"),
    ] {
        let mut wire = Wire::joined(false);
        wire.client(&get("/1")).server(OK).client(&get("/2")).server(OK);
        if reason == CloseReason::Closed {
            wire.end(FromLow);
        }
        assert_eq!(wire.lines(reason), ["GET /1 200 midstream".to_owned(), format!("GET /2 200 {second}")]);
    }
    let mut wire = Wire::joined(false);
    wire.client(&get("/1")).server(OK).client(&get("/2")).server(OK).tick(3_001);
    assert_eq!(wire.lines(CloseReason::EndOfCapture), ["GET /1 200 midstream", "GET /2 200 complete"]);
}

#[test]
fn an_answer_that_cannot_be_read_is_an_answer() {
    let mut wire = Wire::new();
    wire.client(&get("/")).server("Segmentation fault\n").end(FromHigh).end(FromLow);
    let records = wire.close(CloseReason::Closed);
    assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["GET / - unpaired"]);
    assert!(records[0].weird.contains(Weird::GarbageBetweenMessages));
    let mut wire = Wire::new();
    wire.client(&get("/")).server("http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(wire.lines(CloseReason::Closed), ["GET / 200 complete"]);
}

#[test]
fn requests_that_come_after_their_answers_were_given_up_are_not_paired_by_order() {
    // The capture's loss holds the client's bytes back for longer than the answers wait (a minute).
    let mut wire = Wire::new();
    let (three, four) = (get("/3"), get("/4"));
    let had = three.len() as u64;
    wire.data_acking(FromHigh, status(203).as_bytes(), had);
    wire.data_acking(FromHigh, status(204).replace("ok", "").as_bytes(), had + four.len() as u64);
    wire.tick(60_001).data_acking(FromLow, three.as_bytes(), 0).data_acking(FromLow, four.as_bytes(), 50);
    wire.server(&status(205));
    for line in wire.lines(CloseReason::EndOfCapture) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn the_silence_of_a_server_that_owes_an_answer_confirms_nothing() {
    let mut wire = Wire::joined(false);
    // /6 is asked while /5 waits, which was asked before we came.
    wire.client(&get("/6"))
        .server(&status(205))
        .client(&get("/7"))
        .tick(4_000)
        .server(&status(206))
        .server(&status(207));
    for line in wire.lines(CloseReason::EndOfCapture) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn a_response_whose_end_was_lost_begins_no_silence() {
    let mut wire = Wire::joined(false);
    wire.client(&get("/6")).server("HTTP/1.1 205 X\r\nContent-Length: 10\r\n\r\nab");
    wire.now += 4_000_000_000;
    wire.lose(FromHigh, 8).client(&get("/7")).server(&status(206)).server(&status(207));
    for line in wire.lines(CloseReason::EndOfCapture) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn a_client_found_out_after_its_pairs_were_believed_gets_no_more_of_them() {
    let mut wire = Wire::joined(false);
    wire.client(&get("/6")).server(&status(205)).tick(3_001);
    wire.client(&get("/7")).client(&get("/8")).server(&status(206)).server(&status(207));
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert_eq!(lines[0], "GET /6 205 midstream");
    for line in &lines[1..] {
        assert!(line.contains("unpaired"), "{line}");
    }
}

/// Three requests at once, the third not captured: the hole has room for one of that client's requests, or for more.
#[test]
fn a_lost_request_is_counted_where_its_size_leaves_one_number() {
    let one = get("/1").len() as u64;
    for (name, lost, pairs) in [("as long as the others", one, true), ("as long as two of them", 2 * one, false)] {
        let mut wire = Wire::new();
        wire.client(&get("/1")).client(&get("/2")).lose(FromLow, lost).client(&get("/4"));
        for code in 201..205 {
            wire.server(&status(code));
        }
        let lines = wire.lines(CloseReason::EndOfCapture);
        assert_eq!(lines.contains(&"GET /4 204 gap".to_owned()), pairs, "{name}: {lines:?}");
        assert!(lines.iter().all(|l| !l.contains("/4 20") || l.starts_with("GET /4 204")), "{name}: {lines:?}");
    }
}

#[test]
fn a_hole_too_short_for_a_message_held_none() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").lose(FromHigh, 14);
    wire.client(&get("/2")).server(&status(202)).client(&get("/3")).server(&status(203));
    let pairs = ["GET /1 200 gap", "GET /2 202 gap", "GET /3 203 complete"];
    assert_eq!(wire.lines(CloseReason::Closed), pairs);
}

/// The head of a message is missing, and its body looks like messages, each at a segment's start: none of them is recorded,
/// for requests and responses, and holes of any length.
#[test]
fn a_body_whose_head_is_missing_is_never_taken_for_messages() {
    let bodies =
        |line: &str| [format!("{line}\r\nHost: h\r\n\r\nzz"), format!("{line}\r\nContent-Length: 0\r\n\r\n").repeat(3)];
    for lost in [20, 100, 1448] {
        for body in bodies("GET /forged HTTP/1.1") {
            let mut wire = Wire::new();
            wire.client(&get("/1")).server(&status(201)).lose(FromLow, lost);
            wire.client(&body).client(&body).server(&status(202)).client(&get("/3")).server(&status(203));
            let lines = wire.lines(CloseReason::Closed);
            assert!(!lines.iter().any(|line| line.contains("forged")), "{lost}: {lines:?}");
        }
        for body in bodies("HTTP/1.1 299 Forged") {
            let mut wire = Wire::new();
            wire.client(&get("/1")).server(&status(201)).client(&get("/2")).lose(FromHigh, lost);
            wire.server(&body).server(&body).client(&get("/3")).server(&status(203));
            let lines = wire.lines(CloseReason::Closed);
            assert!(!lines.iter().any(|line| line.contains("299")), "{lost}: {lines:?}");
            assert!(lines.iter().any(|line| line.starts_with("GET /3 203")), "{lost}: {lines:?}");
        }
    }
}

/// A client that keeps requests under way looks like one that waits when its first ones are missing.
#[test]
fn what_nothing_confirms_is_never_complete() {
    let mut wire = Wire::new();
    let ahead = 3;
    wire.lose(FromLow, ahead * get("/1").len() as u64);
    for n in 0..60 {
        wire.server(&status(200)).client(&get(&format!("/{n}")));
    }
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert!(!lines.iter().any(|line| line.ends_with("complete")), "{lines:?}");
}

/// A client that waited so far asks for three things at once behind a lost response: it is not taken for one that waits.
#[test]
fn what_is_asked_at_once_behind_a_lost_response_says_that_its_client_does_not_wait() {
    let mut wire = Wire::new();
    for n in 0..10 {
        wire.client(&get(&format!("/{n}"))).server(&status(200));
    }
    wire.client(&get("/10")).lose(FromHigh, 300);
    (11..14).for_each(|n| _ = wire.client(&get(&format!("/{n}"))));
    wire.lose(FromHigh, 300).client(&get("/14")).server(&status(212));
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert!(!lines.iter().any(|line| line.starts_with("GET /14 212")), "{lines:?}");
}
