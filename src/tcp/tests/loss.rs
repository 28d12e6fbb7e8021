//! Bytes that never come: when they are given up, and what is never done about it.

use super::*;
use crate::tcp::disorder::{CHUNK_COST, REORDER_SEGMENTS};

#[test]
fn an_acknowledged_hole_is_lost_after_the_short_wait() {
    let mut bench = opened();
    bench.log.detail = true;
    bench.feed(&["> - 103 500 def @10", "< - 500 106 @20", "< - 500 106 @119"]);
    assert_eq!(bench.events(), [""; 0]);
    bench.feed(&["< - 500 106 @120"]);
    assert_eq!(bench.events(), ["> 0+3 Lost @120", "> 3 def @10 ^0"]);
    bench.feed(&["> - 100 500 abc", "> - 106 500 g @130"]);
    assert_eq!(bench.events(), ["> 6 g @130 ^0"]);
    assert_eq!(bench.discarded(Discard::OutOfWindow), 3);
    assert_eq!((bench.ledger().gaps, bench.ledger().gap_bytes), (1, 3));
}

#[test]
fn bytes_that_come_before_the_wait_is_over_fill_their_hole() {
    let mut bench = opened();
    bench.feed(&["> - 103 500 def @10", "< - 500 106 @20", "> - 100 500 abc @119"]).tick(1000);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def"]);
}

#[test]
fn time_alone_gives_an_acknowledged_hole_up() {
    let mut bench = opened();
    bench.feed(&["> - 103 500 def @10", "< - 500 106 @20"]).tick(119);
    assert_eq!(bench.events(), [""; 0]);
    assert_eq!(bench.tick(120).events(), ["> 0+3 Lost", "> 3 def"]);
}

#[test]
fn many_further_segments_give_an_acknowledged_hole_up_before_the_wait() {
    let mut bench = opened();
    bench.feed(&["> - 103 500 def @10", "< - 500 106 @10"]);
    for _ in 0..REORDER_SEGMENTS - 2 {
        bench.feed(&["< - 500 106 @10"]);
    }
    assert_eq!(bench.events(), [""; 0]);
    bench.feed(&["< - 500 106 @10"]);
    assert_eq!(bench.events(), ["> 0+3 Lost", "> 3 def"]);
}

#[test]
fn a_lost_tail_is_given_up_when_it_was_acknowledged() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "< - 500 110 200 @20"]).tick(121);
    assert_eq!(bench.events(), ["> 0 abc", "> 3+7 Lost", "< 0 200"]);
    bench.feed(&["> - 110 503 next"]);
    assert_eq!(bench.events(), ["> 10 next"]);
}

#[test]
fn one_acknowledged_number_that_was_not_seen_may_be_a_fin() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @10", "< - 500 104 @20"]).tick(1000);
    assert_eq!(bench.events(), ["> 0 abc"]);
    // It was a byte after all.
    bench.feed(&["> - 104 500 efg"]);
    assert_eq!(bench.events(), ["> 3+1 Lost", "> 4 efg"]);
}

#[test]
fn a_hole_before_the_fin_is_lost_like_any_other() {
    let mut bench = opened();
    bench.feed(&["> F 103 500 @10", "< - 500 104 @20"]).tick(121);
    assert_eq!(bench.events(), ["> 0+3 Lost", "> end"]);
    bench.feed(&["< F 500 104"]);
    assert_eq!(bench.events(), ["< end", "Closed"]);
}

#[test]
fn only_what_was_acknowledged_of_a_hole_is_lost() {
    let mut bench = opened();
    bench.feed(&["> - 108 500 ij @10", "< - 500 104 @20"]).tick(121);
    assert_eq!(bench.events(), ["> 0+4 Lost"]);
    bench.feed(&["> - 104 500 efgh @130"]);
    assert_eq!(bench.events(), ["> 4 efgh", "> 8 ij"]);
}

#[test]
fn many_holes_ripen_together() {
    let mut bench = opened();
    bench.feed(&["> - 101 500 b @10", "> - 103 500 d @11", "> - 105 500 f @12", "< - 500 106 @20"]).tick(121);
    let expected = ["> 0+1 Lost", "> 1 b", "> 2+1 Lost", "> 3 d", "> 4+1 Lost", "> 5 f"];
    assert_eq!(bench.events(), expected);
}

#[test]
fn without_acknowledgements_a_hole_is_lost_after_the_long_wait() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 -", "> - 103 - def @10", "> - 108 - ij @2000"]).tick(5009);
    assert_eq!(bench.events(), [""; 0]);
    assert_eq!(bench.tick(5010).events(), ["> 0+3 Lost", "> 3 def"]);
    assert_eq!(bench.tick(7000).events(), ["> 6+2 Lost", "> 8 ij"]);
}

#[test]
fn a_hole_is_not_lost_while_the_stream_still_moves_before_it() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 -", "> - 200 - far @10"]);
    for i in 0..10 {
        bench.feed(&[&format!("> - {} - abc @{}", 100 + 3 * i, 1000 * (i + 1))]).tick(i64::from(1000 * (i + 1) + 999));
    }
    assert_eq!(bench.events().len(), 10);
    assert_eq!(bench.tick(15_000).events(), ["> 30+70 Lost", "> 100 far"]);
}

#[test]
fn a_hole_that_the_receiver_still_waits_for_is_not_lost() {
    let mut bench = opened();
    bench.feed(&["> - 103 500 def @10", "< - 500 100 @11"]).tick(9000);
    assert_eq!(bench.events(), [""; 0]);
    bench.feed(&["> - 100 500 abc"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3 def"]);
}

#[test]
fn a_cut_segment_is_data_and_a_gap() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc cut=7", "> - 110 500 next"]);
    assert_eq!(bench.events(), ["> 0 abc", "> 3+7 Cut", "> 10 next"]);
    bench.feed(&["> - 116 500 late cut=2", "> - 114 500 cut=2"]);
    assert_eq!(bench.events(), ["> 14+2 Cut", "> 16 late", "> 20+2 Cut"]);
    assert_eq!(bench.ledger().payload, 11);
}

#[test]
fn a_stream_that_holds_too_much_gives_up_its_first_hole_and_loses_nothing_held() {
    let mut limits = limits();
    limits.held_per_stream = 3 * (CHUNK_COST + 1);
    let mut bench = Bench::new(limits);
    bench.feed(&HANDSHAKE).feed(&["> - 101 500 b", "> - 103 500 d", "> - 105 500 f"]);
    assert_eq!(bench.events(), [""; 0]);
    bench.feed(&["> - 107 500 h"]);
    assert_eq!(bench.events(), ["> 0+1 Lost", "> 1 b"]);
    assert_eq!(bench.ledger().held, 3);
    bench.finish();
    assert_eq!(bench.ledger().delivered, 4);
}

#[test]
fn all_streams_together_hold_no_more_than_their_limit_and_the_oldest_hold_gives_up_first() {
    let mut limits = limits();
    limits.held_total = 10 * (CHUNK_COST + 1);
    let most = limits.held_total as u64;
    let mut bench = Bench::new(limits);
    for port in 1000..1010 {
        bench.on_port(port).feed(&["> S 99 -", "> - 101 500 b"]);
    }
    assert_eq!(bench.events(), [""; 0]);
    bench.on_port(1010).feed(&["> S 99 -", "> - 101 500 c"]);
    assert_eq!(bench.events(), ["> 0+1 Lost", "> 1 b"]);
    assert_eq!(bench.table.shared().holds.cost as u64, most);
    bench.on_port(1000).feed(&["> - 102 500 next"]);
    assert_eq!(bench.events(), ["> 2 next"]);
}

#[test]
fn a_flood_of_early_segments_stays_within_the_limits() {
    let limits = limits();
    let mut bench = Bench::new(limits.clone());
    for round in 0..2000_u32 {
        let port = 1000 + (round % 50) as u16;
        let seq = 200 + (round / 50) * 7919 % 3000 * 2;
        bench.on_port(port).feed(&["> S 99 -", &format!("> - {seq} 500 x")]);
        let holds = &bench.table.shared().holds;
        assert!(holds.cost <= limits.held_total);
        assert!(holds.queue.len() <= 2 * 50 + 65);
    }
    assert!(bench.ledger().held > 0);
    bench.finish();
}

#[test]
fn streams_that_hold_and_let_go_leave_nothing_behind() {
    let mut bench = opened();
    for i in 0..500 {
        let seq = 100 + 2 * i;
        bench.feed(&[&format!("> - {} 500 b", seq + 1), &format!("> - {seq} 500 a")]);
        assert!(bench.table.shared().holds.queue.len() <= 65 + 2);
    }
    assert_eq!(bench.table.disordered(), 0);
}

#[test]
fn the_end_delivers_what_is_held_with_its_gaps() {
    for (name, last, reason) in [("a RST", Some("< R 500 100"), "Reset(FromHigh)"), ("the end", None, "EndOfCapture")] {
        let mut bench = opened();
        bench.feed(&["> - 103 500 def", "> - 108 500 ij", "< - 502 103 34"]);
        bench.feed(last.as_slice()).finish();
        let expected = ["> 0+3 Lost", "> 3 def", "> 6+2 Lost", "> 8 ij", "< 0+2 Lost", "< 2 34", reason];
        assert_eq!(bench.events(), expected, "{name}");
    }
}

#[test]
fn the_end_delivers_a_lost_tail_that_was_acknowledged() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc", "< - 500 110"]).finish();
    assert_eq!(bench.events(), ["> 0 abc", "> 3+7 Lost", "EndOfCapture"]);
}
