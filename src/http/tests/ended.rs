//! Who ended what did not end by itself, and how.

use super::*;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::record::EarlyEnd;

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const UPLOAD: &str = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab";
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab";
const HEAD_PART: &str = "HTTP/1.1 200 OK\r\nContent-Le";
const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nab";
const FIN: &str = "FIN";
const LOSS: &str = "LOSS";

type Script<'a> = &'a [(Direction, &'a str)];

/// Plays what each side sends, closes, and reads `by how` of the first record.
fn ended(script: Script<'_>, reason: CloseReason) -> String {
    let mut wire = Wire::new();
    for (from, what) in script {
        match *what {
            FIN => wire.end(*from),
            LOSS => wire.lose(*from, 100),
            text => wire.data(*from, text.as_bytes()),
        };
    }
    let record = wire.close(reason).remove(0);
    let said =
        |end: EarlyEnd| format!("{} {}", end.by.map_or("?", crate::record::ConnectionSide::name), end.how.name());
    record.ended.map_or_else(|| "-".to_owned(), said)
}

#[test]
fn what_was_cut_or_not_answered_says_who_ended_it_and_how() {
    use CloseReason::{Closed, EndOfCapture, Evicted, Idle, Reset, Reused, Shutdown};
    let cases: &[(Script<'_>, CloseReason, &str)] = &[
        // An answer that was cut.
        (&[(FromLow, GET), (FromHigh, PART), (FromHigh, FIN)], Closed, "server fin"),
        (&[(FromLow, GET), (FromHigh, PART), (FromHigh, FIN), (FromLow, FIN)], Closed, "server fin"),
        (&[(FromLow, GET), (FromHigh, PART), (FromLow, FIN), (FromHigh, FIN)], Closed, "client fin"),
        (&[(FromLow, GET), (FromHigh, PART), (FromLow, FIN)], Reset(FromLow), "client fin"),
        (&[(FromLow, GET), (FromHigh, PART)], Reset(FromLow), "client rst"),
        (&[(FromLow, GET), (FromHigh, PART)], Reset(FromHigh), "server rst"),
        (&[(FromLow, GET), (FromHigh, UNTIL_CLOSE)], Reset(FromHigh), "server rst"),
        (&[(FromLow, GET), (FromHigh, HEAD_PART), (FromHigh, FIN)], Closed, "server fin"),
        (&[(FromLow, GET), (FromHigh, HEAD_PART)], Reset(FromLow), "client rst"),
        // A client that has no more to ask may still read.
        (&[(FromLow, GET), (FromLow, FIN), (FromHigh, PART), (FromHigh, FIN)], Closed, "server fin"),
        (&[(FromLow, GET), (FromLow, FIN), (FromHigh, PART)], Reset(FromHigh), "server rst"),
        // A request that was cut, or not answered.
        (&[(FromLow, UPLOAD), (FromLow, FIN), (FromHigh, FIN)], Closed, "client fin"),
        (&[(FromLow, UPLOAD), (FromHigh, FIN), (FromLow, FIN)], Closed, "server fin"),
        (&[(FromLow, UPLOAD), (FromLow, FIN), (FromHigh, WHOLE), (FromHigh, FIN)], Closed, "client fin"),
        (&[(FromLow, UPLOAD)], Reset(FromHigh), "server rst"),
        (&[(FromLow, GET), (FromHigh, FIN)], Closed, "server fin"),
        (&[(FromLow, GET), (FromLow, FIN), (FromHigh, FIN)], Closed, "client fin"),
        (&[(FromLow, GET)], Reset(FromHigh), "server rst"),
        (&[(FromLow, GET)], Reset(FromLow), "client rst"),
        // It ended by itself.
        (&[(FromLow, GET), (FromHigh, WHOLE), (FromHigh, FIN)], Closed, "-"),
        (&[(FromLow, GET), (FromHigh, WHOLE)], Reset(FromLow), "-"),
        (&[(FromLow, GET), (FromHigh, UNTIL_CLOSE), (FromHigh, FIN)], Closed, "-"),
    ];
    for (script, reason, expected) in cases {
        assert_eq!(ended(script, *reason), *expected, "{script:?} {reason:?}");
    }
    // Neither side did, or that is not known.
    for reason in [EndOfCapture, Evicted, Idle, Reused, Shutdown] {
        for answer in ["", PART, HEAD_PART, UNTIL_CLOSE] {
            let mut script = vec![(FromLow, GET)];
            script.extend((!answer.is_empty()).then_some((FromHigh, answer)));
            assert_eq!(ended(&script, reason), "-", "{answer:?} {reason:?}");
        }
    }
    // The capture lost the rest of a head, while its client had no more to ask.
    let lost = &[(FromLow, GET), (FromHigh, HEAD_PART), (FromLow, FIN), (FromHigh, LOSS), (FromHigh, FIN)];
    assert_eq!(ended(lost, Closed), "-");
}
