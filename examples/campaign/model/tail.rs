//! How a connection's last exchange may end: a tunnel, another protocol.
//!
//! What is said in there may look like HTTP.

use podtap::synth::Rng;
use podtap::synth::message::{request, response, response_head};

use super::messages;
use super::script::{Answer, Ask, Script};

/// CONNECT, and behind it what is encrypted, or clear text.
pub fn tunnel(script: &mut Script, number: u32, clear: bool, after: u64, rng: &mut Rng) -> u32 {
    let host = format!("r-{number}.test:443");
    let bytes = request("CONNECT", &host, &[("Host", &host)], b"");
    let ask = Ask { head: bytes.len(), parts: vec![(bytes, 0)], ..Ask::default() };
    let head = response_head(&format!("{} R{number}", messages::status(number)), &[]);
    let answer = Answer { head: head.len(), parts: vec![(head, rng.below(3_000_000))], ..Answer::default() };
    script.exchange(number, ask, answer, after, 0);
    let count = rng.between(1, 6) as u32;
    if clear {
        (1..=count).for_each(|more| plain(script, number + more, rng));
        return count;
    }
    opaque(script, count, &[0x16, 3, 1], rng);
    0
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
