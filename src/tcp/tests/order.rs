//! Bytes that all come, in whatever order and however often.

use super::*;

#[test]
fn bytes_in_order_are_passed_on_at_once() {
    let mut bench = opened();
    bench.log.detail = true;
    bench.feed(&["> P 100 500 GET @5", "< P 500 103 200 @9", "> P 103 503 next @10", "< - 503 107 @11"]);
    assert_eq!(bench.events(), ["> 0 GET @5 ^0", "< 0 200 @9 ^3", "> 3 next @10 ^3"]);
}

/// Pieces of "abcdefgh" from 100 on, all in one direction, and what comes out.
#[test]
fn bytes_out_of_order_wait_for_those_before() {
    for (name, segments, expected) in [
        ("two swapped", vec!["> - 103 500 def", "> - 100 500 abc"], vec!["> 0 abc", "> 3 def"]),
        (
            "three backwards",
            vec!["> - 106 500 gh", "> - 103 500 def", "> - 100 500 abc"],
            vec!["> 0 abc", "> 3 def", "> 6 gh"],
        ),
        ("a retransmission", vec!["> - 100 500 abc", "> - 100 500 abc"], vec!["> 0 abc"]),
        ("a longer retransmission", vec!["> - 100 500 abc", "> - 100 500 abcdef"], vec!["> 0 abc", "> 3 def"]),
        ("an overlap with what was passed on", vec!["> - 100 500 abc", "> - 102 500 cdef"], vec!["> 0 abc", "> 3 def"]),
        (
            "an overlap with what is held, from below",
            vec!["> - 104 500 ef", "> - 102 500 cdef", "> - 100 500 ab"],
            vec!["> 0 ab", "> 2 cd", "> 4 ef"],
        ),
        (
            "an overlap that encloses what is held",
            vec!["> - 103 500 d", "> - 101 500 bcdef", "> - 100 500 a"],
            vec!["> 0 a", "> 1 bc", "> 3 d", "> 4 ef"],
        ),
        (
            "an overlap of two that are held",
            vec!["> - 102 500 cd", "> - 106 500 gh", "> - 101 500 bcdefgh", "> - 100 500 a"],
            vec!["> 0 a", "> 1 b", "> 2 cd", "> 4 ef", "> 6 gh"],
        ),
        (
            "the missing bytes and more, across what is held",
            vec!["> - 102 500 cd", "> - 100 500 abcdef"],
            vec!["> 0 ab", "> 2 cd", "> 4 ef"],
        ),
    ] {
        let mut bench = opened();
        assert_eq!(bench.feed(&segments).events(), expected, "{name}");
        assert_eq!(bench.ledger().overlap_conflicts, 0, "{name}");
        assert_eq!(bench.ledger().held, 0, "{name}");
        assert_eq!(bench.table.disordered(), 0, "{name}");
    }
}

#[test]
fn held_bytes_keep_their_own_time_and_acknowledgement() {
    let mut bench = opened();
    bench.log.detail = true;
    bench.feed(&["< - 500 100 12345 @5", "> - 103 505 def @6", "> - 100 502 abc @8"]);
    assert_eq!(bench.events(), ["< 0 12345 @5 ^0", "> 0 abc @8 ^2", "> 3 def @6 ^5"]);
}

#[test]
fn of_differing_copies_the_first_wins_and_the_difference_is_counted() {
    let mut bench = opened();
    bench.feed(&["> - 102 500 cdef", "> - 100 500 abXdXfgh"]).finish();
    assert_eq!(bench.events(), ["> 0 ab", "> 2 cdef", "> 6 gh", "EndOfCapture conflict"]);
    assert_eq!(bench.ledger().overlap_conflicts, 2);
    assert_eq!(bench.ledger().duplicate, 4);
}

#[test]
fn keep_alives_are_no_data() {
    let mut bench = opened();
    bench.feed(&["> - 99 500 x", "> - 99 500", "> - 100 500 abc", "> - 102 500 c", "> - 102 500", "> - 103 500 def"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def"]);
    assert_eq!(bench.discarded(Discard::NotData), 1);
    assert_eq!(bench.ledger().duplicate, 1);
}

#[test]
fn a_zero_window_probe_brings_its_byte_once() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc", "> - 103 500 d", "< - 500 103", "> - 103 500 d", "> - 103 500 def"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 d", "> 4 ef"]);
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new(limits());
    bench.log.detail = true;
    bench.feed(&[
        "> S 4294967294 -",
        "< S 4294967295 4294967295",
        "> - 4294967295 0 ab @3",
        "> - 4 0 fg @4",
        "< - 0 1 123 @5",
        "> - 1 3 cde @6",
    ]);
    assert_eq!(bench.events(), ["> 0 ab @3 ^0", "< 0 123 @5 ^2", "> 2 cde @6 ^3", "> 5 fg @4 ^0"]);
}

#[test]
fn a_stream_of_many_turns_keeps_exact_offsets() {
    const STEP: u32 = 50_000_000;
    let mut bench = opened();
    let (mut seq, mut expected) = (100_u32, 0_u64);
    // The bytes themselves were cut off by the snap length: that is how a test can afford 13 GB.
    while expected < 13_000_000_000 {
        let segment = bench.segment(true, seq, 500, TcpFlags::ACK);
        bench.take(&Segment { payload: b"x", payload_len: STEP, ..segment });
        let gap = format!("> {}+{} Cut", expected + 1, STEP - 1);
        assert_eq!(bench.events(), [format!("> {expected} x"), gap]);
        bench.feed(&[&format!("< - 500 {}", seq.wrapping_add(STEP))]);
        seq = seq.wrapping_add(STEP);
        expected += u64::from(STEP);
    }
    bench.feed(&[&format!("> - {} 500 late", seq.wrapping_sub(4)), &format!("> - {seq} 500 next")]);
    assert_eq!(bench.events(), [format!("> {expected} next")]);
    assert_eq!(bench.ledger().duplicate, 4);
}

#[test]
fn data_on_a_syn_is_the_first_of_its_stream() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 - GET", "< S 499 103 200", "> - 103 503 more", "> S 99 - GET"]);
    assert_eq!(bench.events(), ["> 0 GET", "< 0 200", "> 3 more"]);
    assert_eq!(bench.ledger().duplicate, 3);
}

#[test]
fn a_fin_ends_its_stream_once_wherever_it_comes() {
    for (name, segments, expected) in [
        ("alone", vec!["> - 100 500 abc", "> F 103 500"], vec!["> 0 abc", "> end"]),
        ("with the last bytes", vec!["> F 100 500 abc"], vec!["> 0 abc", "> end"]),
        ("twice", vec!["> F 100 500 abc", "> F 100 500 abc", "> F 103 500"], vec!["> 0 abc", "> end"]),
        ("before the last bytes", vec!["> F 103 500", "> - 100 500 abc"], vec!["> 0 abc", "> end"]),
        ("before, with bytes", vec!["> F 103 500 def", "> - 100 500 abc"], vec!["> 0 abc", "> 3 def", "> end"]),
        ("acknowledged before it is seen", vec!["< - 500 104", "> F 100 500 abc"], vec!["> 0 abc", "> end"]),
        ("with bytes after it", vec!["> F 100 500 abc", "> - 103 500 def", "< - 500 104"], vec!["> 0 abc", "> end"]),
        (
            "bytes after it came first",
            vec!["> - 105 500 fg", "> F 100 500 abc", "< - 500 104"],
            vec!["> 0 abc", "> end"],
        ),
    ] {
        let mut bench = opened();
        assert_eq!(bench.feed(&segments).tick(2000).events(), expected, "{name}");
        assert_eq!(bench.table.disordered(), 0, "{name}");
    }
}

#[test]
fn after_one_fin_the_other_stream_goes_on() {
    let mut bench = opened();
    bench.feed(&["> F 100 500 GET", "< - 500 104 hello", "> - 104 505", "< F 505 104 bye", "> - 104 509"]);
    assert_eq!(bench.events(), ["> 0 GET", "> end", "< 0 hello", "< 5 bye", "< end", "Closed"]);
}

#[test]
fn a_stream_that_ended_without_bytes_ends_before_the_first_bytes_of_the_other() {
    let mut bench = opened();
    bench.log.detail = true;
    bench.feed(&["> F 100 500 @10", "< - 500 101 220 @20", "< F 503 101 @30"]);
    assert_eq!(bench.events(), ["> end @10", "< 0 220 @20 ^0", "< end @30", "Closed"]);
}

#[test]
fn one_direction_alone_works() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 -", "> - 100 500 abc", "> - 106 500 gh", "> - 103 500 def", "> F 108 500"]).finish();
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def", "> 6 gh", "> end", "EndOfCapture"]);
    assert_eq!(bench.ledger().connects_timed_out, 0);
}

/// Segments, and what comes out until 400 ms later.
#[test]
fn what_acknowledges_bytes_comes_behind_them() {
    for (name, segments, expected) in [
        (
            "an answer captured before its request",
            vec!["< - 500 103 200", "> - 100 500 GET"],
            vec!["> 0 GET", "< 0 200"],
        ),
        (
            "an answer whose request is lost",
            vec!["> - 100 500 a", "< - 500 104 200 @10"],
            vec!["> 0 a", "> 1+3 Lost", "< 0 200"],
        ),
        (
            "both directions swapped",
            vec!["> - 103 503 next", "< - 500 103 200", "> - 100 500 GET"],
            vec!["> 0 GET", "< 0 200", "> 3 next"],
        ),
        ("a FIN's number is not waited for", vec!["> - 100 500 GET", "< - 500 104 200"], vec!["> 0 GET", "< 0 200"]),
        (
            "an answer in two pieces, the second one acknowledging more",
            vec!["> - 100 500 GET", "< - 500 103 20", "< - 502 106 0", "> - 103 500 abc"],
            vec!["> 0 GET", "< 0 20", "> 3 abc", "< 2 0"],
        ),
        (
            "each waits for the other: both were captured as retransmissions that acknowledge more",
            vec!["> - 100 510 abc @10", "< - 500 103 0123456789 @10"],
            vec!["> 0 abc", "< 0 0123456789"],
        ),
    ] {
        let mut bench = opened();
        let events = bench.feed(&segments).tick(200).tick(300).tick(400).events();
        assert_eq!(events, expected, "{name}");
        assert_eq!((bench.ledger().held, bench.table.disordered() > 1), (0, false), "{name}");
    }
}

#[test]
fn urgent_bytes_are_noted_and_read_in_turn() {
    let mut bench = opened();
    bench.feed(&["> U 100 500"]);
    assert!(!bench.connection().urgent, "a pointer without bytes");
    bench.feed(&["> - 100 500 abc", "> U 103 500 d", "> - 104 500 ef"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 d", "> 4 ef"]);
    assert!(bench.connection().urgent);
}
