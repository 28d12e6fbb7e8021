//! A response that its server sent before it had any byte of the request, from frames on. Whichever way the capture shows
//! the two, they are no pair, and the request waits for its own answer.

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::record::{Exchange, Record};
use podtap::redact::Redactor;
use podtap::synth::{Conversation, SynthFrame};
use podtap::tcp::CloseReason;

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn told(frames: &[SynthFrame]) -> Vec<String> {
    let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::off());
    for frame in frames {
        dissector.handle_frame(&frame.as_frame(), |_| false);
        assert_eq!(dissector.ledger().imbalances(), []);
    }
    dissector.finish(CloseReason::EndOfCapture);
    let mut lines: Vec<String> =
        dissector.records().drain(..).filter_map(Record::into_exchange).map(|e| line(&e)).collect();
    lines.sort_unstable();
    lines
}

fn line(e: &Exchange) -> String {
    let target = e.request.as_ref().map_or("-", |r| r.target.as_str());
    let status = e.response.as_ref().and_then(|r| r.status).map_or("-".into(), |s| s.to_string());
    format!("{target} {status} {}", e.number)
}

/// The frames of both sides, each as if it had not heard the other: handshake, request, response on accept.
fn halves() -> (Vec<SynthFrame>, SynthFrame, SynthFrame) {
    let opened = Conversation::default().handshake();
    let mut handshake = opened.clone().frames();
    let request = opened.clone().client(REQUEST).frames().remove(handshake.len());
    let busy = opened.server(BUSY).frames().remove(handshake.len());
    handshake.truncate(3);
    (handshake, request, busy)
}

/// The same server frame as it is sent again, once it has the request.
fn again() -> SynthFrame {
    let frames = Conversation::default().handshake().client(REQUEST).server(BUSY).frames();
    frames.into_iter().find(|frame| frame.bytes.ends_with(b"busy")).unwrap()
}

/// What the server says to the request once it has it.
fn answer() -> SynthFrame {
    let play = Conversation::default().handshake().client(REQUEST).server(BUSY).server(ANSWER);
    play.frames().into_iter().find(|frame| frame.bytes.ends_with(b"ok")).unwrap()
}

#[test]
fn a_response_on_accept_answers_nothing_in_any_order_of_the_frames() {
    let (handshake, request, busy) = halves();
    let orders = [vec![&request, &busy], vec![&busy, &request]];
    for order in orders {
        for from in [0, 1, 3] {
            let frames = || handshake[from..].iter().chain(order.iter().copied()).cloned();
            let expected = ["- 503 0", "/a - 1"];
            assert_eq!(told(&frames().collect::<Vec<_>>()), expected, "from {from}");
            // Its later copy acknowledges the request; the first one counts.
            assert_eq!(told(&frames().chain([again()]).collect::<Vec<_>>()), expected, "from {from}");
        }
        let whole: Vec<_> = handshake.iter().chain(order).cloned().chain([answer()]).collect();
        assert_eq!(told(&whole), ["- 503 0", "/a 200 1"]);
    }
}

#[test]
fn bytes_that_were_held_are_judged_by_the_segment_that_brought_them() {
    // The response in two segments, the second first: its first byte is delivered late.
    let (handshake, request, busy) = halves();
    let split = Conversation::default().handshake().segments_of(20).server(BUSY).frames();
    let parts: Vec<_> = split.into_iter().skip(handshake.len()).filter(|f| f.bytes.len() > 70).collect();
    assert!(parts.len() >= 2 && busy.bytes.ends_with(b"busy"));
    let frames: Vec<_> = handshake.iter().chain([&request]).chain(parts.iter().rev()).cloned().collect();
    assert_eq!(told(&frames), ["- 503 0", "/a - 1"]);
}

#[test]
fn a_request_in_the_syn_is_answered_by_a_server_that_took_it() {
    // Ethernet, IPv4 without options; RFC 7413.
    const SEQ: usize = 38;
    const ACK: usize = 42;
    const FLAGS: usize = 47;
    let word = |frame: &SynthFrame, at: usize| u32::from_be_bytes(frame.bytes[at..at + 4].try_into().unwrap());
    let (handshake, mut syn, busy) = halves();
    let origin = word(&syn, SEQ);
    syn.bytes[SEQ..ACK].copy_from_slice(&origin.wrapping_sub(1).to_be_bytes());
    syn.bytes[ACK..ACK + 4].fill(0);
    syn.bytes[FLAGS] = 2;
    let mut took = handshake[1].clone();
    let all = word(&took, ACK).wrapping_add(u32::try_from(REQUEST.len()).unwrap());
    took.bytes[ACK..ACK + 4].copy_from_slice(&all.to_be_bytes());
    assert_eq!(told(&[syn.clone(), took, again()]), ["/a 503 1"]);
    assert_eq!(told(&[syn, handshake[1].clone(), busy]), ["- 503 0", "/a - 1"]);
}
