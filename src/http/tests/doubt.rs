//! What is said of a request that has no answer, and what may not be paired. These are responses that crossed it, bytes
//! no one can read, and bodies without an end.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::record::Trust;

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_response_sent_on_accept_answers_no_request_that_crosses_it() {
    for joined in [true, false] {
        for (reason, why) in [(CloseReason::Closed, "closed"), (CloseReason::Reset(FromHigh), "reset")] {
            // In either order of the two frames.
            for first in [true, false] {
                let mut wire = Wire::joined(joined);
                if first {
                    wire.data_acking(FromHigh, BUSY.as_bytes(), 0);
                }
                wire.data_acking(FromLow, get("/1").as_bytes(), 0);
                if !first {
                    wire.data_acking(FromHigh, BUSY.as_bytes(), 0);
                }
                let records = wire.close(reason);
                let mut lines: Vec<_> = records.iter().map(line).collect();
                lines.sort_unstable();
                assert_eq!(lines[0], "- 503 unpaired", "{joined} {reason:?} {first}");
                assert_eq!(lines[1].replace("midstream", "unpaired"), format!("GET /1 - unpaired {why}"));
            }
        }
    }
}

#[test]
fn the_request_that_was_crossed_waits_for_its_own_answer() {
    let mut wire = Wire::new();
    wire.data_acking(FromLow, get("/1").as_bytes(), 0).data_acking(FromHigh, BUSY.as_bytes(), 0);
    wire.data_acking(FromHigh, status(201).as_bytes(), get("/1").len() as u64);
    let records = wire.close(CloseReason::Closed);
    let told: Vec<_> = records.iter().map(|e| (line(e), e.number)).collect();
    assert_eq!(told, [("- 503 unpaired".to_owned(), 0), ("GET /1 201 complete".to_owned(), 1)]);
}

#[test]
fn a_response_that_begins_when_a_part_of_the_request_was_there_answers_it() {
    let post = "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef";
    for had in 1..post.len() as u64 {
        let mut wire = Wire::new();
        wire.client(post).data_acking(FromHigh, status(413).as_bytes(), had);
        assert_eq!(wire.lines(CloseReason::Closed), ["POST /u 413 complete"], "{had}");
    }
}

#[test]
fn an_informational_response_that_crosses_a_request_is_not_its_own() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).data_acking(FromHigh, b"HTTP/1.1 102 Processing\r\n\r\n", 0).server(OK);
    let e = wire.close(CloseReason::Closed).remove(0);
    assert_eq!((line(&e).as_str(), e.informational.as_slice()), ("GET /1 200 complete", &[][..]));
}

#[test]
fn an_orphan_has_no_number_and_takes_none() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(OK).server(&status(408)).client(&get("/2")).server(&status(202));
    wire.lose(FromLow, 40).server(&status(203)).client(&get("/4")).server(&status(204).replace("ok", ""));
    let records = wire.close(CloseReason::Closed);
    assert!(records.len() >= 4);
    for e in records {
        assert_eq!(e.number == 0, e.request.is_none(), "{}", line(&e));
    }
}

#[test]
fn unreadable_bytes_may_be_the_answer() {
    // Bytes of another protocol, from the first or behind a break.
    let mut wire = Wire::new();
    wire.server("220 ready\r\n").client(&get("/1")).server("500 what?\r\n").end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 - unpaired"]);
    let mut wire = Wire::new();
    wire.client(&get("/1")).server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    wire.client(&get("/2")).server("more of it\r\n").end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 200 truncated", "GET /2 - unpaired"]);
    // But a server that said nothing more gave no answer.
    let mut wire = Wire::new();
    wire.server("220 ready\r\n").client(&get("/1")).end(FromHigh);
    assert_eq!(wire.lines(CloseReason::Closed), ["GET /1 - unpaired closed"]);
}

#[test]
fn an_answer_that_cannot_be_read_does_not_shift_those_that_follow() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server(&status(201)).client(&get("/2")).server("Segmentation fault\n");
    wire.client(&get("/3")).server(&status(203)).client(&get("/4")).server(&status(204).replace("ok", ""));
    let lines = wire.lines(CloseReason::Closed);
    assert_eq!(lines, ["GET /1 201 complete", "GET /2 - unpaired", "GET /3 203 gap", "GET /4 204 gap"]);
    // A client that asks in advance: nothing shows whose the next one is.
    let mut wire = Wire::new();
    wire.client(&(get("/1") + &get("/2") + &get("/3"))).server(&(status(201) + "garbage\n")).server(&status(203));
    for line in &wire.lines(CloseReason::Closed)[1..] {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn a_status_line_that_was_cut_behind_its_status_is_an_answer() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).server("HTTP/1.0 302 MOV").lose(FromHigh, 1460).server("<html>").end(FromHigh);
    let e = wire.close(CloseReason::Closed).remove(0);
    assert_eq!(line(&e), "GET /1 302 truncated");
    assert!(e.missing.names().eq(["response_head"]) && e.response.unwrap().phrase.is_none());
}

/// Chunked bodies whose end cannot be found, what they break on, and what follows them in the same segment.
const BROKEN: [&str; 6] = [
    "5\r\nhello\r\nzz\r\n",
    "5\r\nhello",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n",
    "5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
    "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
];

#[test]
fn a_chunked_response_without_an_end_is_truncated_and_shifts_no_other() {
    for body in BROKEN {
        let broken = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        for behind in ["", "X"] {
            let mut wire = Wire::new();
            wire.client(&get("/1")).server(&broken).client(&get("/2")).server(&(behind.to_owned() + &status(202)));
            wire.client(&get("/3")).server(&status(203)).end(FromHigh).end(FromLow);
            let records = wire.close(CloseReason::Closed);
            let one = &records[0];
            assert_eq!(line(one), "GET /1 200 truncated", "{body:?}");
            assert!(one.missing.names().eq(["response_body"]) && one.weird.contains(Weird::BadChunk), "{body:?}");
            for e in &records[1..] {
                let said = line(e);
                let right = said.contains("/2 202") || said.contains("/3 203") || e.trust == Trust::Unpaired;
                assert!(right, "{body:?}: {said}");
            }
        }
    }
}

#[test]
fn a_chunked_request_without_an_end_is_truncated_and_shifts_no_other() {
    for body in BROKEN {
        let broken = format!("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        for (hidden, answers) in [(String::new(), String::new()), (get("/hidden"), status(299))] {
            let mut wire = Wire::new();
            wire.client(&(broken.clone() + &hidden)).server(&status(201));
            // The next one is asked before the answer to what could not be read has come.
            wire.client(&get("/2")).server(&answers).server(&status(202)).end(FromHigh).end(FromLow);
            let records = wire.close(CloseReason::Closed);
            let whole_request = body == BROKEN[1] && hidden.is_empty();
            let one = records.iter().find(|e| e.request.as_ref().is_some_and(|r| r.target == "/1")).unwrap();
            assert!(whole_request || line(one) == "POST /1 201 truncated", "{body:?}: {}", line(one));
            for e in records.iter().filter(|e| e.number != 1) {
                assert!(e.trust == Trust::Unpaired || line(e).contains("/2 202"), "{body:?}: {}", line(e));
            }
        }
    }
}
