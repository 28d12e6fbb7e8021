//! Connections: how they begin, end, are succeeded and forgotten.

use super::*;

/// Each handshake, and whether it was seen whole, who began it, and how long it took (ms).
#[test]
fn a_connection_knows_who_began_it_and_how_long_that_took() {
    let low = Some(Direction::FromLow);
    for (name, segments, whole, originator, ms) in [
        ("whole", vec!["> S 99 - @10", "< S 499 100 @30", "> - 100 500 @31"], true, low, Some(20)),
        ("from the other side", vec!["< S 499 - @10", "> S 99 500 @30"], true, Some(Direction::FromHigh), Some(20)),
        ("a retransmitted SYN", vec!["> S 99 - @10", "> S 99 - @1010", "< S 499 100 @1030"], true, low, Some(1020)),
        ("a retransmitted SYN-ACK", vec!["> S 99 - @10", "< S 499 100 @30", "< S 499 100 @90"], true, low, Some(20)),
        ("SYN only", vec!["> S 99 - @10", "> - 100 500 @11"], false, low, None),
        ("SYN-ACK only", vec!["< S 499 100 @10", "> - 100 500 @11"], false, low, None),
        ("SYN-ACK first", vec!["< S 499 100 @10", "> S 99 - @11"], true, low, None),
        ("the last ACK first", vec!["> S 99 - @10", "> - 100 500 @12", "< S 499 100 @13"], true, low, Some(3)),
        (
            "both at once",
            vec!["> S 99 - @10", "< S 499 - @20", "> S 99 500 @30", "< S 499 100 @40"],
            true,
            low,
            Some(30),
        ),
        ("another SYN before an answer", vec!["> S 7 - @10", "> S 99 - @90", "< S 499 100 @95"], true, low, Some(5)),
        (
            "two answers, the first taken",
            vec!["> S 99 - @10", "< S 499 100 @30", "< S 2000000000 100 @90", "> - 100 500"],
            true,
            low,
            Some(20),
        ),
        (
            "two answers, the second taken",
            vec!["> S 99 - @10", "< S 2000000000 100 @30", "< S 499 100 @90", "> - 100 500"],
            true,
            low,
            Some(20),
        ),
        ("joined late", vec!["> - 100 500 abc @10"], false, None, None),
    ] {
        let mut bench = Bench::new(limits());
        bench.feed(&segments);
        let conn = bench.connection();
        assert_eq!(conn.handshake_seen, whole, "{name}");
        assert_eq!(conn.originator, originator, "{name}");
        assert_eq!(conn.connect_ns, ms.map(|ms: u64| ms * MS), "{name}");
        assert_eq!(conn.initial_seq[0], Some(99), "{name}");
        assert_eq!(bench.table.len(), 1, "{name}");
        let expected = if name == "joined late" { vec!["> 0 abc"] } else { vec![] };
        assert_eq!(bench.events(), expected, "{name}");
        bench.feed(&["> - 103 500 def", "< - 500 106 xyz"]).tick(2000);
        let end = bench.events();
        assert!(end.contains(&"> 3 def".to_owned()) && end.contains(&"< 0 xyz".to_owned()), "{name}: {end:?}");
    }
}

#[test]
fn a_connection_joined_late_starts_at_its_first_byte_and_at_its_first_acknowledgement() {
    let mut bench = Bench::new(limits());
    bench.log.detail = true;
    bench.feed(&["> - 100 500 abc @1", "> - 90 500 early @2", "< - 495 103 beforE @3", "< - 501 103 after @4"]);
    assert_eq!(bench.events(), ["> 0 abc @1 ^0", "< 0 E @3 ^3", "< 1 after @4 ^3"]);
    assert_eq!(bench.discarded(Discard::OutOfWindow), 10);
    assert_eq!(bench.connection().initial_seq, [Some(99), Some(499)]);
}

#[test]
fn a_syn_and_what_its_sender_sends_next_show_where_both_streams_begin() {
    for (lines, known) in [
        (&["> S 99 -", "> - 100 500 abc"][..], true),
        (&["> S 99 -", "> - 100 500", "> - 103 500 def"], true),
        (&["> S 99 -", "> - 103 500 def"], false),
        (&["> S 99 -", "> - 103 500 def", "> - 100 500 abc"], false),
        (&["> S 99 -", "< - 510 100 xyz", "> - 100 513 abc"], false),
        (&["> S 99 -", "< - 510 103 xyz", "> - 100 500 abc"], false),
        (&["> - 100 500 abc"], false),
        (&["< - 499 100 xyz", "> S 99 -", "> - 100 500 abc"], false),
    ] {
        let mut bench = Bench::new(limits());
        bench.feed(lines);
        assert_eq!(bench.connection().origins_known, known, "{lines:?}");
    }
}

#[test]
fn what_has_no_payload_opens_nothing() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> - 100 500", "> F 100 500", "< R 100 500", "< R 100 - junk", "> SF 100 - junk", "> SR 100 -"]);
    assert_eq!((bench.table.len(), bench.ledger().connections), (0, 0));
    assert_eq!(bench.discarded(Discard::NotData), 8);
    bench.finish();
    assert_eq!(bench.events(), [""; 0]);
}

#[test]
fn after_the_end_stragglers_open_nothing() {
    for (name, end) in [("FIN", vec!["> F 100 500 abc", "< F 500 104"]), ("RST", vec!["> - 100 500 abc", "> R 103 -"])]
    {
        let mut bench = opened();
        bench.feed(&end).tick(1100);
        assert_eq!(
            bench.events().last().map(String::as_str),
            Some(if name == "FIN" { "Closed" } else { "Reset(FromLow)" })
        );
        bench.feed(&["> - 104 501", "> F 100 500 abc", "> R 104 -", "> S 99 -", "< S 499 100", "< - 498 104 la"]);
        assert_eq!(bench.events(), [""; 0], "{name}");
        assert_eq!((bench.table.len(), bench.ledger().connections), (0, 1), "{name}");
        assert_eq!((bench.ledger().duplicate, bench.discarded(Discard::Closed)), (5, 0), "{name}");
        bench.finish();
        assert_eq!(bench.events(), [""; 0], "{name}");
    }
}

#[test]
fn the_end_is_remembered_for_a_while_only() {
    let mut bench = opened();
    bench.feed(&["> F 100 500 abc @10", "< F 500 104 @20", "> - 103 500 late @10019"]);
    assert_eq!(bench.events(), ["> 0 abc", "> end", "< end", "Closed"]);
    bench.feed(&["> - 103 500 later @10020"]);
    assert_eq!(bench.events(), ["> 0 later"]);
    bench.feed(&["< R 500 103 @20000"]).tick(21_000).tick(30_000);
    assert_eq!(bench.table.connections().len(), 0);
}

#[test]
fn a_new_syn_on_the_same_endpoints_is_a_new_connection() {
    let again = ["> S 7099 -", "< S 8499 7100", "> - 7100 8500 new"];
    for (name, before, reason) in [
        ("after both FINs", vec!["> F 100 500 abc", "< F 500 104"], "Closed"),
        ("after a RST", vec!["> - 100 500 abc", "> R 103 -"], "Reset(FromLow)"),
        ("after one FIN", vec!["> F 100 500 abc"], "Reused"),
        ("after data", vec!["> - 100 500 abc"], "Reused"),
    ] {
        let mut bench = opened();
        bench.feed(&before).feed(&again);
        let events = bench.events();
        let tail: Vec<_> = events.iter().rev().take(2).rev().collect();
        assert_eq!(tail, [reason, "> 0 new"], "{name}");
        assert_eq!(bench.connection().connect_ns, Some(MS), "{name}");
        assert!(bench.connection().handshake_seen, "{name}");
        assert_eq!(bench.ledger().connections, 2, "{name}");
        assert_eq!(bench.table.len(), 1, "{name}");
    }
}

#[test]
fn a_new_syn_is_believed_at_once_where_nothing_lives() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 -", "> S 7099 -"]);
    assert_eq!(bench.events(), [""; 0]);
    assert_eq!((bench.table.len(), bench.ledger().connections), (1, 2));
    assert_eq!(bench.connection().initial_seq, [Some(7099), None]);
}

#[test]
fn a_new_syn_whose_answer_is_not_captured_is_believed_when_the_other_side_goes_on_from_it() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc", "> S 7099 -", "> - 7100 8500 new"]);
    assert_eq!(bench.events(), ["> 0 abc"]);
    bench.feed(&["< - 8500 7103 200"]).tick(2000);
    assert_eq!(bench.events(), ["Reused", "> 0+3 Lost", "< 0 200"]);
    assert_eq!(bench.connection().originator, Some(Direction::FromLow));
}

#[test]
fn where_the_other_side_is_not_captured_bytes_that_follow_a_new_syn_are_enough() {
    for before in ["> - 100 - abc", "> F 100 - abc", "> R 100 -"] {
        let mut bench = Bench::new(limits());
        bench.feed(&["> S 99 -", before, "> S 7099 -", "> - 7100 - new"]);
        assert_eq!(bench.events().last().unwrap(), "> 0 new", "{before}");
        assert_eq!(bench.ledger().connections, 2, "{before}");
    }
}

#[test]
fn a_new_connection_whose_handshake_was_missed_is_known_by_its_acknowledged_numbers() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc", "> - 2000000000 3000000000 new", "< - 3000000000 2000000003 200"]);
    assert_eq!(bench.events(), ["> 0 abc", "Reused", "< 0 200"]);
}

#[test]
fn connects_are_counted_as_refused_or_timed_out() {
    for (name, segments, refused, timed_out) in [
        ("refused", vec!["> S 99 -", "< R 0 100"], 1, 0),
        ("refused late", vec!["> S 99 - @0", "> S 99 - @1000", "< R 0 100 @1500"], 1, 0),
        ("a RST that acknowledges something else", vec!["> S 99 -", "< R 0 777"], 0, 0),
        ("a RST without acknowledgement", vec!["> S 99 -", "< R 0 -"], 0, 0),
        ("accepted, then reset", vec!["> S 99 -", "< S 499 100", "< R 500 100"], 0, 0),
        ("no answer yet", vec!["> S 99 - @0", "> S 5 - @999"], 0, 0),
        ("no answer, then another attempt", vec!["> S 99 - @0", "> S 5 - @1000"], 0, 1),
        ("refused on endpoints in use", vec!["> - 100 500 a", "> S 7 -", "< R 0 8"], 1, 0),
    ] {
        let mut bench = Bench::new(limits());
        bench.feed(&segments).finish();
        let ledger = bench.ledger();
        assert_eq!((ledger.connects_refused, ledger.connects_timed_out), (refused, timed_out), "{name}");
    }
}

#[test]
fn a_syn_without_answer_is_forgotten_and_counted() {
    let mut bench = Bench::new(limits());
    bench.feed(&["> S 99 - @0"]).tick(9999);
    assert_eq!((bench.table.len(), bench.ledger().connects_timed_out), (1, 0));
    bench.tick(10_000);
    assert_eq!((bench.table.len(), bench.ledger().connects_timed_out), (0, 1));
    assert_eq!(bench.events(), [""; 0]);
}

#[test]
fn idle_connections_are_forgotten_sooner_when_half_closed() {
    let mut bench = opened();
    bench.feed(&["> - 100 500 abc @0"]).tick(59_999);
    assert_eq!(bench.events(), ["> 0 abc"]);
    assert_eq!(bench.tick(60_000).events(), ["Idle"]);
    let mut bench = opened();
    bench.feed(&["> F 100 500 abc @0"]).tick(9_999);
    assert_eq!(bench.tick(10_000).events(), ["> 0 abc", "> end", "Idle"]);
}

#[test]
fn every_open_analyzer_gets_the_time() {
    let mut bench = opened();
    bench.on_port(1001).feed(&HANDSHAKE).feed(&["> - 100 500 abc"]);
    bench.on_port(1002).feed(&HANDSHAKE).feed(&["> F 100 500 abc", "< F 500 104"]);
    bench.on_port(1003).feed(&HANDSHAKE).feed(&["< - 500 100 abc"]);
    bench.tick(100).tick(200);
    assert_eq!(bench.log.ticks, 4);
}

#[test]
fn the_connection_idle_longest_makes_room() {
    let mut limits = limits();
    limits.connections = 8;
    let mut bench = Bench::new(limits);
    for port in 1..=8 {
        bench.on_port(port).feed(&HANDSHAKE).feed(&[&format!("> - 100 500 conn{port}")]);
    }
    bench.on_port(1).feed(&["> - 105 500 again"]);
    bench.events();
    bench.on_port(9).feed(&HANDSHAKE).feed(&["> - 102 500 c"]);
    assert_eq!(bench.events(), ["Evicted"]);
    bench.on_port(2).feed(&["> - 105 500 stray"]);
    assert_eq!(bench.events(), ["Evicted", "> 0 stray"]);
    bench.on_port(1).feed(&["> - 110 500 still"]);
    assert_eq!(bench.events(), ["> 10 still"]);
    assert_eq!((bench.table.len(), bench.ledger().connections_evicted), (8, 2));
}

#[test]
fn a_syn_flood_costs_no_analyzer_and_pushes_out_no_settled_connection() {
    let mut limits = limits();
    limits.connections = 64;
    let mut bench = Bench::new(limits);
    for port in 1..=56 {
        bench.on_port(port).feed(&HANDSHAKE).feed(&["> - 100 500 a"]);
    }
    bench.events();
    for port in 2000..9000 {
        bench.on_port(port).feed(&["> S 1 -"]);
        assert!(bench.table.connections().len() <= 64);
    }
    assert_eq!(bench.events(), ["Evicted"], "one more than an eighth of the table is the flood's");
    for port in 3..=56 {
        bench.on_port(port).feed(&["> - 101 500 b"]);
    }
    assert_eq!(bench.events(), vec!["> 1 b"; 54]);
}

#[test]
fn ended_connections_make_room_silently() {
    let mut limits = limits();
    limits.connections = 4;
    let mut bench = Bench::new(limits);
    for port in 1..=100 {
        bench.on_port(port).feed(&HANDSHAKE).feed(&["> F 100 500 a", "< F 500 102"]);
    }
    assert_eq!((bench.ledger().connections, bench.ledger().connections_evicted, bench.table.len()), (100, 0, 0));
}

#[test]
fn the_interface_and_the_time_are_those_of_the_first_segment() {
    let mut bench = opened();
    let eth: Arc<str> = Arc::from("eth7");
    bench.on_port(7);
    let segment = bench.segment(true, 99, 0, TcpFlags::SYN);
    bench.take(&Segment { interface: Some(&eth), ..segment });
    let conn = bench.table.connections().pop().unwrap();
    assert_eq!((conn.interface, conn.first_seen), (Some(eth), Timestamp(3 * MS as i64)));
}
