//! Segments that their receiver ignores, against a model of the receiver (RFC 9293 §3.10.7.4 with RFC 5961). With them
//! and without them the same bytes come out.

use proptest::prelude::*;

use super::oracle::{Planned, Run, content, origins, patient, traffic};
use super::*;

/// What the receiver of one stream has, as sequence numbers.
struct Receiver {
    next: u32,
    window: u32,
    ended: bool,
}

impl Receiver {
    /// Takes a segment of the plan, which comes in order.
    fn take(&mut self, planned: &Planned, origin: u32) {
        let end = origin.wrapping_add(planned.end as u32);
        if end.wrapping_sub(self.next).cast_signed() > 0 {
            self.next = end;
        }
        if planned.fin {
            self.next = end.wrapping_add(1);
            self.ended = true;
        }
    }

    /// Whether it acts on a segment: only then may anything change.
    fn acts_on(&self, noise: &Noise, seq: u32) -> bool {
        let ahead = seq.wrapping_sub(self.next).cast_signed();
        let len = noise.payload as i32 + i32::from(noise.flags & TcpFlags::FIN != 0);
        if noise.damaged || noise.flags & TcpFlags::SYN != 0 {
            // Dropped, or answered with a challenge (RFC 5961 §4).
            return false;
        }
        if noise.flags & TcpFlags::RST != 0 {
            // RFC 5961 §3.2; Linux also takes the number of a FIN it has.
            return ahead == 0 || (self.ended && ahead == -1);
        }
        let in_window = i64::from(ahead) < i64::from(self.window) && ahead + len > 0;
        len > 0 && in_window && !self.ended
    }
}

/// A segment that is no part of the traffic.
#[derive(Clone, Debug)]
struct Noise {
    /// Before which segment of the plan.
    place: prop::sample::Index,
    from: Direction,
    /// From the next number that its receiver expects.
    ahead: i32,
    flags: u8,
    payload: usize,
    damaged: bool,
}

fn noise() -> impl Strategy<Value = Noise> {
    let ahead = prop_oneof![
        Just(0),
        -3..4_i32,
        -60..60_i32,
        -70_000..70_000_i32,
        Just(1 << 20),
        Just(-(1 << 20)),
        any::<i32>().prop_map(|n| n / 2),
    ];
    let flags = prop_oneof![
        Just(TcpFlags::RST),
        Just(TcpFlags::RST | TcpFlags::ACK),
        Just(TcpFlags::SYN),
        Just(TcpFlags::SYN | TcpFlags::ACK),
        Just(TcpFlags::FIN | TcpFlags::ACK),
        Just(TcpFlags::ACK),
    ];
    let from = prop_oneof![Just(Direction::FromLow), Just(Direction::FromHigh)];
    (any::<prop::sample::Index>(), from, ahead, flags, 0_usize..60, prop::bool::weighted(0.4))
        .prop_map(|(place, from, ahead, flags, payload, damaged)| Noise { place, from, ahead, flags, payload, damaged })
}

/// What came out: bytes and end of each stream, and how it closed.
fn outcome(plan: &[Planned], noise: &[Noise], origins: [u32; 2]) -> (Run, usize) {
    let mut run = Run::new(origins, patient());
    run.handshake();
    let mut receivers = origins.map(|next| Receiver { next, window: 65_535, ended: false });
    let mut ignored = 0;
    for (index, planned) in plan.iter().enumerate() {
        for noise in noise.iter().filter(|noise| noise.place.index(plan.len()) == index) {
            let (own, other) = (noise.from as usize, noise.from.flip() as usize);
            let seq = receivers[own].next.wrapping_add_signed(noise.ahead);
            if !receivers[own].acts_on(noise, seq) {
                ignored += 1;
                let payload = vec![b'!'; noise.payload];
                run.noise(noise.from, seq, receivers[other].next, noise.flags, &payload, noise.damaged);
            }
        }
        run.play(planned);
        let own = planned.from as usize;
        receivers[own].take(planned, origins[own]);
    }
    run.finish();
    (run, ignored)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_a_receiver_ignores_changes_nothing(
        plan in traffic(),
        noise in prop::collection::vec(noise(), 1..30),
        origins in origins(),
    ) {
        let (run, ignored) = outcome(&plan, &noise, origins);
        prop_assume!(ignored > 0);
        for from in [Direction::FromLow, Direction::FromHigh] {
            let total = plan.iter().filter(|p| p.from == from).map(|p| p.end).max().unwrap_or(0);
            let side = &run.told.streams[from as usize];
            let bytes: Vec<u8> = side.bytes.values().copied().collect();
            prop_assert_eq!(&side.gaps, &[]);
            prop_assert_eq!(bytes, content(from, 0..total));
            prop_assert!(side.ended || run.told.opens == 0);
        }
        let ledger = run.table.ledger();
        prop_assert_eq!(ledger.connections, 1);
        prop_assert!(run.told.reasons.iter().all(|reason| *reason == CloseReason::Closed), "{:?}", run.told.reasons);
    }
}

/// Each ending that its receiver ignores, and traffic that goes on.
#[test]
fn an_ending_that_its_receiver_never_took_ends_nothing() {
    for (name, ending) in [
        ("a RST ahead", "> R 203 -"),
        ("a RST behind", "> R 102 -"),
        ("a RST at the next byte that does not arrive", "> R 103 -"),
        ("a RST at the next byte with a wrong checksum", "> R 103 - !"),
        ("a RST of the other side", "< R 600 103"),
        ("a FIN ahead", "> F 203 500"),
        ("a FIN with a wrong checksum", "> F 103 500 !"),
        ("a FIN at the next byte that does not arrive", "> F 103 500"),
        ("a SYN", "> S 900 -"),
        ("a SYN whose number is the next byte's", "> S 102 -"),
        ("a SYN with a wrong checksum", "> S 7000 - !"),
        ("a copy of its SYN, with bytes that reach ahead", "> S 99 - !!!!!!"),
    ] {
        let mut bench = opened();
        bench.feed(&["> - 100 500 abc @10", "< - 500 103 200 @20", ending, "> - 103 503 def @900", "< - 503 106 404"]);
        bench.feed(&["> - 106 506 ghi", "< - 506 109 500"]).tick(20_000);
        let expected = ["> 0 abc", "< 0 200", "> 3 def", "< 3 404", "> 6 ghi", "< 6 500"];
        assert_eq!(bench.events(), expected, "{name}");
        assert_eq!((bench.table.len(), bench.ledger().connections), (1, 1), "{name}");
    }
}

/// Resets that are real though the capture lost what was before them, or that nothing contradicts.
#[test]
fn a_reset_is_taken_as_one_when_nothing_contradicts_it() {
    for (name, segments, quiet) in [
        ("exact", vec!["> R 103 -"], 1100),
        ("behind bytes that the capture lost", vec!["< - 500 203", "> R 203 -"], 1100),
        ("behind bytes that the capture lost and that are acknowledged later", vec!["> R 203 -", "< - 500 203"], 1100),
        ("at the end of what came early", vec!["> - 110 500 xyz", "> R 113 -"], 1100),
        ("behind its FIN", vec!["> F 103 500", "< - 500 104", "> R 104 -"], 1100),
        ("in doubt", vec!["> R 203 -"], 10_100),
    ] {
        let mut bench = opened();
        bench.feed(&["> - 100 500 abc @10"]).feed(&segments).tick(900);
        assert_eq!(bench.table.len(), 1, "{name}");
        assert_eq!(bench.tick(quiet).events().last().unwrap(), "Reset(FromLow)", "{name}");
    }
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "> R 203 -"]).finish();
    assert_eq!(bench.events(), ["> 0 abc", "Reset(FromLow)"]);
}

#[test]
fn what_a_reset_acknowledges_was_lost_by_the_capture_alone() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "< - 500 103 ok", "> R 103 510"]).tick(1_100);
    assert_eq!(bench.events(), ["> 0 abc", "< 0 ok", "< 2+8 Lost", "Reset(FromLow)"]);
}

#[test]
fn what_crosses_a_reset_is_read() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "> R 103 - @11", "< - 500 103 200 @12"]).tick(1012);
    assert_eq!(bench.events(), ["> 0 abc", "< 0 200", "Reset(FromLow)"]);
}

#[test]
fn what_comes_long_after_a_reset_is_another_connection() {
    for later in ["> - 103 500 def", "< - 500 103 def"] {
        let mut bench = opened();
        bench.feed(&["> - 100 500 abc @10", "> R 103 - @11"]).tick(2000).feed(&[later]);
        assert_eq!(bench.events()[..2], ["> 0 abc", "Reset(FromLow)"]);
        assert_eq!(bench.ledger().connections, 2);
        assert_eq!(bench.discarded(Discard::Closed), 0);
    }
}

/// Bytes with a wrong checksum: what becomes of them.
#[test]
fn bytes_with_a_wrong_checksum_are_what_their_receiver_says_they_are() {
    for (name, segments, expected) in [
        ("sent again", vec!["> - 100 500 BAD !", "> - 100 500 abc", "< - 500 103"], vec!["> 0 abc"]),
        ("sent again in two", vec!["> - 100 500 BAD !", "> - 100 500 a", "> - 101 500 bc"], vec!["> 0 a", "> 1 bc"]),
        (
            "sent again, shorter",
            vec!["> - 100 500 BAD !", "> - 100 500 a", "< - 500 101 200"],
            vec!["> 0 a", "< 0 200"],
        ),
        ("taken all the same", vec!["> - 100 500 abc !", "< - 500 103 200"], vec!["> 0 abc", "< 0 200"]),
        (
            "taken all the same, and so are those after it",
            vec!["> - 100 500 abc !", "> - 103 500 def !", "< - 500 106 200", "> - 106 503 ghi !"],
            vec!["> 0 abc", "> 3 def", "< 0 200", "> 6 ghi"],
        ),
        ("waited for", vec!["> - 100 500 BAD !", "< - 500 100"], vec![]),
        (
            "acknowledged where other checksums are right: the true copy was not captured",
            vec!["> - 100 500 abc =", "> - 103 500 BAD !", "< - 500 106 200"],
            vec!["> 0 abc", "> 3+3 Lost", "< 0 200"],
        ),
        (
            "never acknowledged where other checksums are right",
            vec!["> - 100 500 abc =", "> - 103 500 BAD !"],
            vec!["> 0 abc"],
        ),
    ] {
        let mut bench = opened();
        assert_eq!(bench.feed(&segments).tick(20_000).events(), expected, "{name}");
        assert_eq!(bench.ledger().overlap_conflicts, 0, "{name}");
        assert!(bench.ledger().bad_checksums > 0, "{name}");
        bench.finish();
    }
}

#[test]
fn bytes_with_a_wrong_checksum_that_cannot_be_confirmed_are_believed_rather_than_lost() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 -", "> - 100 - abc !", "> - 103 - def !"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def"]);
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc ! @10"]).tick(5009);
    assert_eq!(bench.events(), [""; 0]);
    assert_eq!(bench.tick(5010).events(), ["> 0 abc"]);
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc !"]).finish();
    assert_eq!(bench.events(), ["> 0 abc", "EndOfCapture"]);
}

/// Hardware joins segments and leaves the checksum of the first.
#[test]
fn a_joined_segment_with_a_wrong_checksum_that_is_acknowledged_is_believed() {
    let long = "x".repeat(2000);
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc =", &format!("> - 103 500 {long} !"), "< - 500 2103 200"]);
    assert_eq!(bench.events(), ["> 0 abc".to_owned(), format!("> 3 {long}"), "< 0 200".to_owned()]);
}

#[test]
fn bytes_with_a_wrong_checksum_are_held_within_the_limits() {
    let mut bench = opened();
    for n in 0..3000_u32 {
        bench.feed(&[&format!("> - {} 500 junk !", 100 + 5 * n)]);
        assert!(bench.table.shared().holds.cost <= bench.table.shared().limits.held_per_stream + 200);
    }
    assert!(bench.discarded(Discard::Limit) > 0);
    bench.feed(&["> - 100 500 abc"]).finish();
    assert_eq!(bench.events()[0], "> 0 abc");
}

#[test]
fn a_later_copy_that_differs_from_bytes_already_passed_on_is_a_conflict() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abcdef", "> - 106 500 ghi", "> - 103 500 XeYgZi"]).finish();
    assert_eq!(bench.events(), ["> 0 abcdef", "> 6 ghi", "EndOfCapture conflict"]);
    assert_eq!((bench.ledger().overlap_conflicts, bench.ledger().duplicate), (3, 6));
    let mut bench = opened();
    bench.feed(&["> - 100 500 abcdef", "> - 100 500 XXXXXX !"]).finish();
    assert_eq!(bench.ledger().overlap_conflicts, 0, "a damaged copy contradicts nothing");
}
