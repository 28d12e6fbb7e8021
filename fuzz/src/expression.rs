//! Any text as INCLUDE or EXCLUDE: an expression that can be asked, or an error within the text. Never a panic.

use podtap::filter::expression::{FilterExpression, RecordSurroundings};
use podtap::record::Record;

/// The text; what is not UTF-8 in it is replaced.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match FilterExpression::parse(&text) {
        Ok(expression) => {
            let around = RecordSurroundings { pod: Some("pod"), slow_after: Some(1), ..RecordSurroundings::default() };
            for record in records() {
                let negated = FilterExpression::parse(&format!("!({text})"));
                let holds = expression.holds(&record, &around);
                // Length and depth have limits that the negation may pass.
                assert!(negated.is_err() || negated.is_ok_and(|it| it.holds(&record, &around) != holds));
            }
        }
        Err(bad) => {
            assert!((1..=text.chars().count() + 1).contains(&bad.column), "{bad}");
            assert!(!bad.to_string().chars().any(char::is_control), "{bad}");
        }
    }
}

/// An answered exchange and one that is not.
fn records() -> Vec<Record> {
    use podtap::{dissect, redact::Redactor, synth::Conversation, tcp::CloseReason};
    let talk = Conversation::default().handshake().client("GET /a?b=c HTTP/1.1\r\nHost: shop:80\r\n\r\n");
    let talk =
        talk.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").client("POST /b HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut dissector = dissect::Dissector::new(dissect::DissectorConfig::default(), Redactor::default());
    for frame in talk.close().frames() {
        dissector.handle_frame(&frame.as_frame(), |_| false);
    }
    dissector.finish(CloseReason::EndOfCapture);
    std::mem::take(dissector.records())
}
