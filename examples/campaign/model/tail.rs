//! How a connection's last exchange may end: a tunnel, another protocol.
//!
//! What is said in there may look like HTTP.

use podtap::synth::Rng;
use podtap::synth::message::{request, response, response_head};

use super::messages;
use super::script::{Answer, Ask, Script};

/// CONNECT, and behind it what is encrypted, or clear text.
pub fn tunnel(script: &mut Script, number: u32, clear: bool, after: u64, rng: &mut Rng) {
    let host = format!("r-{number}.test:443");
    let bytes = request("CONNECT", &host, &[("Host", &host)], b"");
    let ask = Ask { head: bytes.len(), parts: vec![(bytes, 0)], ..Ask::default() };
    let head = response_head(&format!("{} R{number}", messages::status(number)), &[]);
    let answer = Answer { head: head.len(), parts: vec![(head, rng.below(3_000_000))], ..Answer::default() };
    script.exchange(number, ask, answer, after, 0);
    let count = rng.between(1, 6) as u32;
    if clear {
        (1..=count).for_each(|more| plain(script, number + more, rng));
    } else {
        opaque(script, count, &[0x16, 3, 1], rng);
    }
}

/// 101, and behind it frames of text that look like messages.
pub fn upgrade(script: &mut Script, number: u32, after: u64, rng: &mut Rng) {
    let fields = [("Host", "shop"), ("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let bytes = request("GET", &format!("/r/{number}"), &fields, b"");
    let ask = Ask { head: bytes.len(), parts: vec![(bytes, 0)], ..Ask::default() };
    let head = response_head(&format!("101 R{number}"), &[("Connection", "Upgrade"), ("Upgrade", "websocket")]);
    let answer = Answer { head: head.len(), parts: vec![(head, rng.below(3_000_000))], ..Answer::default() };
    script.exchange(number, ask, answer, after, 0);
    for _ in 0..rng.between(1, 8) {
        let said = messages::like_requests(number, 1, 0, rng);
        script.client_writes([&[0x81, 0x7e, 0, said.len() as u8], &said[..]].concat(), script.server_len(), 0);
        let said = messages::like_responses(number, 1, 0, rng);
        let bytes = if rng.chance(0.5) { said } else { [&[0x81, said.len() as u8], &said[..]].concat() };
        script.server_writes(bytes, script.client_len(), rng.below(2_000_000));
    }
}

/// Requests behind the last one that is answered: the server closes, and no one answers them.
pub fn hang_up(script: &mut Script, number: u32, after: u64, rng: &mut Rng) {
    let answered = script.client_len();
    for more in 0..rng.between(1, 4) as u32 {
        let ask = messages::ask(messages::Asks::Get, number + more, b"", 20, rng);
        script.unanswered(number + more, ask, after, rng.below(100_000));
    }
    script.server_hangs_up(answered, rng.below(3_000_000));
}

/// A server with a fault: a body behind the answer to HEAD. Its client closes.
pub fn head_body(script: &mut Script, number: u32, after: u64, rng: &mut Rng) {
    let ask = messages::ask(messages::Asks::Head, number, b"", 20, rng);
    let body = messages::like_responses(number, rng.between(1, 3) as u32, 0, rng);
    let bytes = response(&format!("{} R{number}", messages::status(number)), &[], &body);
    let head = messages::head_len(&bytes);
    let (head_bytes, body) = (bytes[..head].to_vec(), bytes[head..].to_vec());
    script.exchange(
        number,
        ask,
        Answer { parts: vec![(head_bytes, rng.below(3_000_000))], head, ..Answer::default() },
        after,
        0,
    );
    script.server_writes(body, script.client_len(), if rng.chance(0.5) { 0 } else { 50_000 });
    script.close(rng.chance(0.5), 1_000);
}

/// An upload that is answered and ended before it was read.
pub fn refused(script: &mut Script, number: u32, after: u64, rng: &mut Rng) {
    let body = messages::like_requests(number, rng.between(1, 200) as u32, 0, rng);
    let ask = messages::ask(messages::Asks::Sized, number, &body, 20, rng);
    let bytes = response(&format!("413 R{number}"), &[("Connection", "close")], b"too large");
    let (head, early, start) = (messages::head_len(&bytes), ask.head as u64, script.client_len());
    script.exchange(
        number,
        ask,
        Answer { head, parts: vec![(bytes, 0)], early: Some(early), ..Answer::default() },
        after,
        0,
    );
    script.server_hangs_up(start + early, 1_000);
}

/// A 408 that answers nothing, as servers send it on idle connections (RFC 9110 §15.5.9); the next request crosses it.
pub fn unasked(script: &mut Script, number: u32, rtt: u64, rng: &mut Rng) {
    let (answered, idle) = (script.client_len(), rng.below(5_000_000_000));
    let ask =
        messages::ask(if rng.chance(0.3) { messages::Asks::Head } else { messages::Asks::Get }, number, b"", 20, rng);
    script.unanswered(number, ask, script.server_len(), idle);
    script.server_writes(response("408 F0", &[("Connection", "close")], b"late"), answered, idle + rng.below(rtt));
    script.server_hangs_up(answered, 1_000);
}

fn plain(script: &mut Script, number: u32, rng: &mut Rng) {
    let bytes = request("GET", &format!("/r/{number}"), &[("Host", "inside")], b"");
    let ask = Ask { head: bytes.len(), parts: vec![(bytes, 0)], ..Ask::default() };
    let bytes = response(&format!("{} R{number}", messages::status(number)), &[], b"inside");
    let head = messages::head_len(&bytes);
    let answer = Answer { head, parts: vec![(bytes, rng.below(2_000_000))], ..Answer::default() };
    script.exchange(number, ask, answer, script.server_len(), 0);
}

fn opaque(script: &mut Script, count: u32, begin: &[u8], rng: &mut Rng) {
    for _ in 0..count {
        let noise = |rng: &mut Rng| -> Vec<u8> {
            let more = (0..rng.between(20, 600)).map(|_| rng.number() as u8);
            begin.iter().copied().chain(more).collect()
        };
        let bytes = noise(rng);
        script.client_writes(bytes, script.server_len(), 0);
        let bytes = noise(rng);
        script.server_writes(bytes, script.client_len(), rng.below(2_000_000));
    }
}
