//! Bodies and copies made to look like messages: none of them is recorded, and what is passed over is counted.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};

fn lookalikes(times: usize) -> String {
    "HTTP/1.1 299 Forged\r\nContent-Length: 0\r\n\r\n".repeat(times)
}

/// A client that does not wait asks while a body is under way: where its request acknowledges the body's beginning, what comes
/// next is body all the same.
#[test]
fn a_body_goes_on_where_a_pipelined_request_acknowledged_its_beginning() {
    for lost in [59, 300, 1448] {
        let mut wire = Wire::new();
        wire.client(&(get("/1") + &get("/2"))).server(&status(201));
        // The head of the second response, in a segment alone.
        wire.lose(FromHigh, lost).client(&get("/3")).server(&lookalikes(6)).server(&lookalikes(6));
        wire.server(&status(203)).client(&get("/4")).server(&status(204));
        let lines = wire.lines(CloseReason::Closed);
        assert!(!lines.iter().any(|line| line.contains("299")), "{lost}: {lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("GET /3 204")), "{lost}: {lines:?}");
    }
}

#[test]
fn a_body_goes_on_where_a_request_acknowledged_the_head_alone_of_an_unknown_response() {
    let mut wire = Wire::new();
    wire.lose(FromLow, 500).server(&status(200));
    // The first two have the same acknowledgement: this client does not wait.
    wire.client(&get("/1")).client(&get("/2")).server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    wire.client(&get("/3")).server(&lookalikes(9));
    let lines = wire.lines(CloseReason::Closed);
    assert!(!lines.iter().any(|line| line.contains("299")), "{lines:?}");
}

/// Behind a loss, a message is believed that fills its segment.
#[test]
fn several_responses_in_a_segment_behind_a_loss_may_be_a_body() {
    for times in 1..6 {
        let mut wire = Wire::new();
        wire.client(&get("/1")).client(&get("/2")).client(&get("/3")).server(&status(201)).lose(FromHigh, 300);
        wire.client(&get("/4")).server(&lookalikes(times));
        let lines = wire.lines(CloseReason::Closed);
        let recorded = lines.iter().filter(|line| line.contains("299")).count();
        assert_eq!(recorded, usize::from(times == 1), "{lines:?}");
    }
}

/// The end of an upload comes when its server has answered the request before: in the client's next turn, as it seems.
#[test]
fn several_requests_in_a_segment_behind_a_loss_may_be_a_body() {
    let mut wire = Wire::new();
    wire.client(&get("/1")).lose(FromLow, 1448).server(&status(201)).client(&(get("/forged").repeat(7) + "GET /f"));
    assert_eq!(wire.lines(CloseReason::EndOfCapture), ["GET /1 201 complete"]);
}

/// Only the server is captured. The rest of a body comes when it received something: the next requests.
#[test]
fn a_body_goes_on_where_its_client_was_never_heard() {
    let mut wire = Wire::joined(false);
    wire.conn.heard[FromLow as usize] = false;
    wire.data_acking(FromHigh, status(201).as_bytes(), 100);
    wire.lose(FromHigh, 1448).data_acking(FromHigh, lookalikes(9).as_bytes(), 100);
    wire.data_acking(FromHigh, lookalikes(9).as_bytes(), 200).data_acking(FromHigh, status(202).as_bytes(), 300);
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert!(!lines.iter().any(|line| line.contains("299")), "{lines:?}");
}

/// What begins like a message behind a loss and is not believed is counted, each segment once: the closing lines name it.
#[test]
fn each_segment_that_is_passed_over_is_counted() {
    for segments in 1..5 {
        for (from, text) in [(FromLow, get("/forged")), (FromHigh, status(299))] {
            let mut wire = Wire::new();
            wire.client(&get("/1")).server(&status(201)).client(&get("/2")).lose(from, 1448);
            let before = wire.cx.ledger.unproven;
            (0..segments).for_each(|_| _ = wire.data_acking(from, format!("{text}zz").as_bytes(), 0));
            assert_eq!(wire.cx.ledger.unproven - before, segments, "{from:?}");
            let lines = wire.lines(CloseReason::EndOfCapture);
            assert!(!lines.iter().any(|line| line.contains("forged") || line.contains("299")), "{lines:?}");
        }
    }
}

/// The receiver may have taken the other copy, in which there may be one response more or less.
#[test]
fn copies_that_differ_put_the_order_behind_them_in_doubt() {
    for from in [FromLow, FromHigh] {
        let mut wire = Wire::new();
        wire.client(&(get("/1") + &get("/2") + &get("/3"))).server(&status(201));
        wire.conn.conflicts[from as usize] += 1;
        wire.server(&status(202)).server(&status(203));
        let lines = wire.lines(CloseReason::EndOfCapture);
        assert_eq!(lines[0], "GET /1 201 complete");
        assert!(lines.iter().skip(1).all(|line| !line.ends_with("complete")), "{from:?}: {lines:?}");
    }
}

/// One lost interim response is no lost answer, whichever of two requests came first.
#[test]
fn a_lost_100_continue_answers_nothing() {
    let put = "PUT /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut wire = Wire::new();
    wire.client(put).lose(FromHigh, 25).client("body").client(&get("/2")).server(&status(201)).end(FromLow);
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert!(!lines.iter().any(|line| line.starts_with("GET /2 201")), "{lines:?}");
}

/// Two requests were lost. The one that follows has a long target: as long as both of them.
#[test]
fn a_hole_holds_two_short_requests_where_the_others_are_long() {
    let mut wire = Wire::new();
    wire.lose(FromLow, 110).server(&status(201)).client(&get(&format!("/3{}", "u".repeat(60)))).server(&status(202));
    let lines = wire.lines(CloseReason::EndOfCapture);
    assert!(!lines.iter().any(|line| line.starts_with("GET /3") && line.contains(" 202")), "{lines:?}");
}
