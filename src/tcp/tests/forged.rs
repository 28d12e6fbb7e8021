//! Segments that the receiver would not accept, and real ones that look like it.

use super::*;

#[test]
fn segments_far_outside_the_window_change_nothing() {
    for (name, forged) in [
        ("data far ahead", "> - 1500000100 500 evil"),
        ("data far behind", "> - 3500000000 500 evil"),
        ("a RST far away", "> R 2000000 -"),
        ("a RST far behind", "< R 4290000000 100"),
        ("a SYN", "> S 77777 -"),
        ("a SYN in the window", "> S 200 -"),
        ("a SYN-ACK", "< S 77777 100"),
        ("an ACK of what was never sent", "< - 500 1500000100"),
        ("a FIN far ahead", "> F 1500000100 500"),
        ("a FIN far behind", "> F 20 500"),
    ] {
        let mut bench = opened();
        bench.feed(&["> - 100 500 abc @10", "< - 500 103 200 @20", forged]).tick(1000);
        bench.feed(&["> - 103 503 def", "< - 503 106 404"]);
        assert_eq!(bench.events(), ["> 0 abc", "< 0 200", "> 3 def", "< 3 404"], "{name}");
        assert_eq!(bench.table.len(), 1, "{name}");
        assert_eq!(bench.ledger().gap_bytes, 0, "{name}");
    }
}

#[test]
fn a_reset_carries_no_data() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "< R 500 103 why @11"]).tick(1011);
    assert_eq!(bench.events(), ["> 0 abc", "Reset(FromHigh)"]);
    assert_eq!(bench.discarded(Discard::NotData), 3);
}

#[test]
fn who_goes_on_after_its_reset_has_not_sent_it() {
    let mut bench = opened();
    bench.feed(&["> R 100 500", "> - 100 500 GET", "< - 500 103 200", "> F 103 503", "< F 503 104"]);
    assert_eq!(bench.events(), ["> 0 GET", "< 0 200", "> end", "< end", "Closed"]);
    let mut bench = opened();
    bench.feed(&["> - 100 500 GET", "> R 103 500", "< - 500 103 200", "> - 100 500 GET", "> R 103 -"]).tick(2000);
    assert_eq!(bench.events(), ["> 0 GET", "< 0 200", "Reset(FromLow)"]);
}

#[test]
fn a_reset_whose_stream_is_unknown_is_believed() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> - 100 - abc", "< R 123456 -"]).tick(2000);
    assert_eq!(bench.events(), ["> 0 abc", "Reset(FromHigh)"]);
}

/// As far as bytes held for it fit, a forged segment inside the window waits for bytes before it that never come.
#[test]
fn forged_bytes_within_the_window_do_not_move_the_stream() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "< - 500 103 @11"]);
    for i in 0..1000 {
        bench.feed(&[&format!("> - {} 500 evil", 30_000_000 + 7 * i)]);
    }
    bench.feed(&["< - 500 103"]).tick(20_000);
    bench.feed(&["> - 103 500 def"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def"]);
    assert!(bench.discarded(Discard::Limit) > 0);
}

/// Acknowledged by a forger, while the true receiver goes on acknowledging what the sender sends.
#[test]
fn a_forged_acknowledgement_does_not_move_a_stream_that_flows() {
    let mut bench = opened();
    bench.feed(&["< - 500 30000000 @10"]);
    for i in 0..30 {
        let (seq, at) = (100 + 3 * i, 20 + 20 * i);
        bench.feed(&[&format!("> - {seq} 500 abc @{at}"), &format!("< - 500 {} @{at}", seq + 3)]);
    }
    assert_eq!(bench.events().len(), 30);
    assert_eq!(bench.ledger().delivered, 90);
    assert_eq!(bench.ledger().gaps, 0);
}

#[test]
fn a_stream_that_lost_more_than_a_window_goes_on_when_its_receiver_acknowledges() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "> - 500000100 500 lost @20", "> - 500000104 500 lost @21"]);
    assert_eq!(bench.events(), ["> 0 abc"]);
    bench.feed(&["< - 500 500000108 @30", "> - 500000108 500 next @31"]).tick(200);
    assert_eq!(bench.events(), ["> 3+500000005 Lost", "> 500000008 next"]);
}

#[test]
fn a_stream_without_acknowledgements_goes_on_after_enough_segments_in_a_row() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> - 100 - abc @10"]);
    for i in 0..12 {
        bench.feed(&[&format!("> - {} - more @20", 500_000_100 + 4 * i)]);
    }
    bench.tick(200);
    let events = bench.events();
    assert_eq!(events.last().unwrap(), "> 500000044 more");
    assert_eq!(bench.ledger().gaps, 1);
    assert_eq!(bench.ledger().delivered + bench.discarded(Discard::OutOfWindow), 3 + 48);
}

#[test]
fn numbers_that_go_far_back_are_another_connection() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> - 1000000000 - abc @10"]);
    for i in 0..12 {
        bench.feed(&[&format!("> - {} - more @20", 100 + 4 * i)]);
    }
    assert_eq!(bench.events()[..3], ["> 0 abc", "Reused", "> 0 more"]);
}
