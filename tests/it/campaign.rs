//! A small part of the campaign (`examples/campaign`, `scripts/campaign`): captures that cannot hide a wrong pair.

#[path = "../../examples/campaign/model/mod.rs"]
mod model;

use model::{KINDS, Kind, Verdict, judge};
use podtap::synth::SynthSide;

/// Exchanges for each kind and share of frames lost.
const EXCHANGES: u64 = 1500;

/// How many of the exchanges with both heads captured are paired at least, by share of frames lost. First where the client
/// waits for its answers, then however else it asks.
const FLOORS: [(f64, f64, f64); 2] = [(0.01, 0.99, 0.74), (0.05, 0.95, 0.36)];

/// Floors that one piece of evidence each keeps up. Runs to which nothing refers any more are forgotten, a habit is seen
/// next to `Expect`, rounds and a missed SYN-ACK leave no doubt, a lost HEAD explains a missing body.
const BROUGHT: [(&str, f64, f64); 4] =
    [("advance", 0.01, 0.95), ("expect", 0.01, 0.95), ("burst2", 0.05, 0.75), ("burst8", 0.05, 0.55)];

fn run(kind: &Kind, loss: f64) -> Verdict {
    let (mut sum, mut seed) = (Verdict::default(), 1);
    while sum.exchanges < EXCHANGES {
        sum += judge::judge(&kind.case(seed, loss));
        seed += 1;
    }
    sum
}

#[test]
fn no_kind_of_capture_makes_a_record_lie() {
    for kind in KINDS {
        for loss in kind.losses.iter().filter(|loss| **loss <= 0.05) {
            let verdict = run(kind, *loss);
            assert_eq!(verdict.lies(), 0, "scripts/campaign --kind {} --loss {}: {verdict:?}", kind.name, loss * 100.0);
        }
    }
}

#[test]
fn what_both_heads_show_is_paired_after_a_loss_however_the_client_asks() {
    let manners = ["sequential", "advance", "keep", "burst", "plain"];
    for kind in KINDS.iter().filter(|kind| manners.iter().any(|manner| kind.name.starts_with(manner))) {
        for (loss, waits, floor) in FLOORS {
            let floor = if ["sequential", "plain1"].contains(&kind.name) { waits } else { floor };
            let verdict = run(kind, loss);
            let share = verdict.paired as f64 / verdict.seen as f64;
            assert!(share >= floor, "{} at {loss}: {share} of {}", kind.name, verdict.seen);
        }
    }
}

#[test]
fn no_piece_of_evidence_is_lost() {
    for (name, loss, floor) in BROUGHT {
        let verdict = run(KINDS.iter().find(|kind| kind.name == name).unwrap(), loss);
        let share = verdict.paired as f64 / verdict.seen as f64;
        assert!(share >= floor, "{name} at {loss}: {share} of {}", verdict.seen);
    }
}

/// The model itself: whatever the network loses and reorders, both ends get every byte, and none is acknowledged that was
/// not sent.
#[test]
fn the_ends_of_the_model_keep_to_tcp() {
    for name in ["network", "overtake", "stalls", "patience", "checksums", "resets", "repeats"] {
        let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
        for seed in 0..60 {
            for conn in kind.case(seed, 0.05).conns {
                let [client, server] = conn.trace.streams.map(|stream| stream.len() as u64);
                let last = conn.truths.last().unwrap();
                assert!((client, server) >= (last.request.end, last.response.end), "{name} {seed}: it broke off");
                let sent = |side| if side == SynthSide::Client { client + 2 } else { server + 2 };
                for packet in &conn.trace.packets {
                    let peer = sent(packet.from.peer());
                    assert!(packet.end() <= sent(packet.from) || packet.forged, "{name} {seed}: {packet:?}");
                    assert!(packet.ack <= peer, "{name} {seed}: {packet:?}");
                }
            }
        }
    }
}

#[test]
fn a_seed_decides_a_case() {
    for kind in KINDS {
        let frames = |seed| kind.case(seed, 0.01).frames();
        assert_eq!(frames(7), frames(7), "{}", kind.name);
    }
}
