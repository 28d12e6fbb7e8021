//! The capture's clock is the only one: looking between the frames, however often, changes no record.

use std::time::Duration;

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::flow::{Endpoint, Timestamp};
use podtap::record::{Exchange, Record};
use podtap::redact::Redactor;
use podtap::synth::{Conversation, LineImpairments, Rng, SynthFrame, merge, message};
use podtap::tcp::CloseReason;

/// Slow, silent, late and half-closed ones, some of it lost.
fn traffic(seed: u64) -> Vec<SynthFrame> {
    let mut rng = Rng::new(seed);
    let lanes: Vec<_> = (0..4u16)
        .map(|n| {
            let mut c = Conversation::new(Endpoint::new([10, 0, 0, 1], 40_000 + n), Endpoint::new([10, 0, 0, 2], 80));
            c = c.after(Duration::from_millis(rng.below(3000))).handshake();
            for request in 0..6 {
                c = c.client(message::request("GET", &format!("/{n}/{request}"), &[("Host", "shop")], b""));
                c = c.after(Duration::from_millis(*rng.pick(&[1, 900, 5_000, 9_999, 10_001, 12_000, 45_000]).unwrap()));
                c = match rng.below(8) {
                    0 => c,
                    1 => c.server("HTTP/1.1 103 Early Hints\r\n\r\n").after(Duration::from_secs(rng.below(20))),
                    _ => c.server(message::response("200 OK", &[], &vec![b'x'; rng.below(4000) as usize])),
                };
                c = c.after(Duration::from_millis(rng.below(3_000)));
            }
            if rng.chance(0.5) { c.close().frames() } else { c.client_fin().frames() }
        })
        .collect();
    LineImpairments::new(seed).drop(0.05).reorder(0.05, 3).apply(merge(lanes))
}

fn dissect(frames: &[SynthFrame], mut looks: impl FnMut(Timestamp, Timestamp) -> Vec<Timestamp>) -> Vec<Exchange> {
    let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::off());
    let mut before = frames[0].at;
    for frame in frames {
        for look in looks(before, frame.at) {
            dissector.handle_timeout(look);
        }
        dissector.handle_frame(&frame.as_frame(), |_| false);
        before = frame.at;
    }
    dissector.finish(CloseReason::EndOfCapture);
    dissector.records().drain(..).filter_map(Record::into_exchange).collect()
}

#[test]
fn looking_between_the_frames_changes_no_record() {
    for seed in 0..60 {
        let frames = traffic(seed);
        let replayed = dissect(&frames, |_, _| Vec::new());
        assert!(replayed.len() >= 15);
        let mut rng = Rng::new(seed);
        let live = dissect(&frames, |from, to| {
            let mut looks: Vec<_> = (0..rng.below(4)).map(|_| from.plus(rng.below(to.since(from).max(1)))).collect();
            looks.sort_unstable();
            looks
        });
        assert_eq!(live, replayed, "seed {seed}");
        let every_100_ms = dissect(&frames, |from, to| {
            let steps = to.since(from) / 100_000_000;
            (1..=steps).map(|n| from.plus(n * 100_000_000)).collect()
        });
        assert_eq!(every_100_ms, replayed, "seed {seed}");
    }
}
