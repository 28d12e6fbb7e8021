//! Any message of DNS: names are those of hosts, everything has its limit, and no one is named who was not asked about.

use std::net::IpAddr;
use std::sync::Arc;

use podtap::dns::{DnsStream, DnsWatch, LearntNames, PORT, parse};
use podtap::flow::{Endpoint, FiveTuple, Timestamp};

/// How it is cut, and a message.
pub fn run(bytes: &[u8]) {
    let Some((cut, message)) = bytes.split_first() else { return };
    let answer = parse(message);
    if let Some(answer) = &answer {
        assert!(!answer.name.is_empty() && answer.name.len() < 255, "{answer:?}");
        assert!(answer.name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{answer:?}");
        assert!((1..=64).contains(&answer.addresses.len()), "{answer:?}");
    }
    let (client, server) = (Endpoint::new([10, 0, 0, 1], 4000), Endpoint::new([10, 0, 0, 2], PORT));
    let back = FiveTuple { source: server, destination: client };
    let learnt = Arc::new(LearntNames::default());
    let mut watch = DnsWatch::new(Arc::clone(&learnt));
    watch.take(&back, message, Timestamp(0));
    assert_eq!(learnt.counts()[0], 0, "nobody asked");
    let Some(number) = message.get(..2) else { return };
    watch.take(&FiveTuple { source: client, destination: server }, &[number, &[1]].concat(), Timestamp(0));
    watch.take(&back, message, Timestamp(0));
    let ips: Vec<IpAddr> = answer.map(|answer| answer.addresses).unwrap_or_default();
    for ip in &ips {
        assert!(learnt.at(*ip, Timestamp(1)).is_some(), "{ip}");
    }
    assert!(learnt.counts()[0] as usize <= ips.len());
    cuts_change_nothing(message, usize::from(*cut) + 1);
}

/// Over TCP the same messages come out, wherever the stream is cut.
fn cuts_change_nothing(bytes: &[u8], at_once: usize) {
    let (mut whole, mut pieces) = (DnsStream::default(), DnsStream::default());
    let (mut of_whole, mut of_pieces) = (Vec::new(), Vec::new());
    whole.take(bytes, |message| of_whole.push(message.to_vec()));
    for piece in bytes.chunks(at_once) {
        pieces.take(piece, |message| of_pieces.push(message.to_vec()));
        assert!(pieces.kept() <= 65_537, "a message has a longest length");
    }
    assert_eq!(of_whole, of_pieces);
}
