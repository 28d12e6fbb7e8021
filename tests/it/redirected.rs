//! Connections that a mesh redirects give the records they would give without. What the client sends is renamed here as
//! iptables' REDIRECT shows it on `lo`; what it gets is not.

use std::time::Duration;

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::flow::{Endpoint, Timestamp};
use podtap::record::{Exchange, Record, Trust};
use podtap::redact::Redactor;
use podtap::synth::{Conversation, SynthFrame, merge};
use podtap::tcp::CloseReason;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
/// Where the addresses and the port of the receiver are in a frame: Ethernet, IPv4 without options.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const PORT: usize = 36;

/// Three connections of one client, each with five exchanges that name themselves.
fn traffic() -> Vec<SynthFrame> {
    let conversation = |number: u16| {
        let ends = (Endpoint::new(CLIENT, 40_000 + number), Endpoint::new(SERVER, 80));
        let start = Timestamp::new(1_700_000_000, i64::from(number) * 1000);
        let opened = Conversation::new(ends.0, ends.1).at(start).rtt(Duration::from_micros(200)).handshake();
        let exchanges = (0..5).fold(opened, |conversation, n| {
            conversation
                .client(format!("GET /{number}-{n} HTTP/1.1\r\nHost: shop\r\n\r\n"))
                .server(format!("HTTP/1.1 200 for-{number}-{n}\r\nContent-Length: 3\r\n\r\nabc"))
        });
        exchanges.close().frames()
    };
    merge((0..3).map(conversation)).collect()
}

fn redirected(mut frames: Vec<SynthFrame>) -> Vec<SynthFrame> {
    for frame in &mut frames {
        if frame.bytes[SOURCE..DESTINATION] == CLIENT {
            frame.bytes[DESTINATION..DESTINATION + 4].copy_from_slice(&[127, 0, 0, 1]);
            frame.bytes[PORT..PORT + 2].copy_from_slice(&15001u16.to_be_bytes());
        }
    }
    frames
}

fn dissect(frames: &[SynthFrame], own: Option<Endpoint>) -> Vec<Exchange> {
    let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::off());
    for frame in frames {
        dissector.handle_frame(&frame.as_frame(), |tuple| Some(tuple.source) == own || Some(tuple.destination) == own);
        assert_eq!(dissector.ledger().imbalances(), []);
    }
    dissector.finish(CloseReason::EndOfCapture);
    assert_eq!(dissector.ledger().imbalances(), []);
    dissector.records().drain(..).filter_map(Record::into_exchange).collect()
}

#[test]
fn redirected_connections_give_the_records_they_would_give_without() {
    let straight = dissect(&traffic(), None);
    assert_eq!(straight.len(), 15);
    assert!(straight.iter().all(|exchange| exchange.trust == Trust::Complete));
    assert_eq!(dissect(&redirected(traffic()), None), straight);
}

/// podtap's own connections are known by where they meant to go.
#[test]
fn own_connections_are_own_behind_a_redirection_too() {
    let own = Some(Endpoint::new(SERVER, 80));
    assert_eq!(dissect(&redirected(traffic()), own), []);
}

#[test]
fn losing_a_frame_or_joining_late_makes_no_wrong_pair() {
    let frames = redirected(traffic());
    for n in 0..frames.len() {
        let mut fewer = frames.clone();
        fewer.remove(n);
        for (frames, least) in [(&fewer[..], 10), (&frames[n..], 0), (&frames[..n], 0)] {
            let records = dissect(frames, None);
            let pairs = records.iter().filter_map(|e| Some((e.request.as_ref()?, e.response.as_ref()?)));
            let wrong =
                pairs.clone().find(|(q, r)| Some(q.target.replace('/', "for-").as_str()) != r.phrase.as_deref());
            assert!(wrong.is_none(), "frame {n}: {wrong:?}");
            assert!(pairs.count() >= least, "frame {n}: {records:#?}");
        }
    }
}
