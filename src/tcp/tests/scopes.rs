//! One five-tuple in several VLANs and tunnels.

use super::*;

fn vlan(id: u16) -> Scope {
    Scope::default().vlan(id)
}

/// Feeds each line in its scope.
fn played(lines: &[(u16, &str)]) -> Bench {
    let mut bench = Bench::new(limits());
    for (id, line) in lines {
        bench.scope = if *id == 0 { Scope::default() } else { vlan(*id) };
        bench.feed(&[line]);
    }
    bench
}

#[test]
fn one_five_tuple_in_two_vlans_is_two_connections() {
    let mut bench = played(&[
        (10, "> S 99 -"),
        (20, "> S 99 -"),
        (20, "< S 499 100"),
        (10, "< S 499 100"),
        (10, "> - 100 500 ten"),
        (20, "> - 100 500 twenty"),
        (20, "< - 500 106 20"),
        (10, "< - 500 103 10"),
        (20, "> R 106 -"),
    ]);
    assert_eq!(bench.events(), ["> 0 ten", "> 0 twenty", "< 0 20", "< 0 10"]);
    assert_eq!((bench.ledger().connections, bench.ledger().connections_repeated), (2, 0));
    assert_eq!(bench.tick(2000).events(), ["Reset(FromLow)"]);
    bench.scope = vlan(10);
    assert_eq!(bench.feed(&["> - 103 502 more"]).finish().events(), ["> 3 more", "EndOfCapture"]);
}

/// A router's ports are mirrored, or one direction goes through a tunnel.
#[test]
fn directions_in_scopes_of_their_own_are_one_connection() {
    for (there, back) in [(10, 20), (0, 10), (10, 0)] {
        let mut bench = played(&[
            (there, "> S 99 -"),
            (back, "< S 499 100"),
            (there, "> - 100 500 GET"),
            (back, "< - 500 103 200"),
            (there, "> F 103 503"),
            (back, "< F 503 104"),
        ]);
        assert_eq!(bench.events(), ["> 0 GET", "< 0 200", "> end", "< end", "Closed"], "{there} {back}");
        assert_eq!((bench.ledger().connections, bench.ledger().connections_repeated), (1, 0));
        let mut late = played(&[(there, "> - 100 500 GET"), (back, "< - 500 103 200"), (there, "> - 103 503 next")]);
        assert_eq!(late.events(), ["> 0 GET", "< 0 200", "> 3 next"], "{there} {back}");
        // Nothing of it is left when it is forgotten.
        bench.tick(20_000).tick(40_000);
        assert_eq!(bench.table.connections().len(), 0);
        assert_eq!(bench.table.indexed(), 0, "{there} {back}");
    }
}

/// Mirrored before and behind a router, at whatever order, and in as many VLANs as there are.
#[test]
fn the_same_packets_in_several_vlans_are_one_connection() {
    let packets = [
        "> S 99 -",
        "< S 499 100",
        "> - 100 500 GET",
        "< - 500 103 200",
        "> - 103 503 more",
        "> F 107 503",
        "< F 503 108",
    ];
    for scopes in [vec![10, 20], vec![0, 10], vec![10, 20, 30, 40]] {
        for turn in 0..2 {
            let copies = packets.iter().enumerate().flat_map(|(n, packet)| {
                let mut order = scopes.clone();
                order.rotate_left((n * turn) % scopes.len());
                order.into_iter().map(move |id| (id, *packet)).collect::<Vec<_>>()
            });
            let mut bench = played(&copies.collect::<Vec<_>>());
            let expected = ["> 0 GET", "< 0 200", "> 3 more", "> end", "< end", "Closed"];
            assert_eq!(bench.events(), expected, "{scopes:?} {turn}");
            let ledger = bench.ledger();
            assert_eq!((ledger.connections, ledger.connections_repeated, ledger.overlap_conflicts), (1, 0, 0));
            bench.tick(20_000).tick(40_000);
            assert_eq!(bench.table.indexed(), 0);
        }
    }
    // Joined late: by their bytes.
    let mut bench =
        played(&[(10, "> - 100 500 GET"), (20, "> - 100 500 GET"), (20, "> - 103 500 x"), (10, "> - 103 500 x")]);
    assert_eq!((bench.events(), bench.ledger().connections), (vec!["> 0 GET".to_owned(), "> 3 x".to_owned()], 1));
}

/// Until a byte differs: then each has what is its own, whichever came first.
#[test]
fn two_vlans_with_the_same_numbers_part_at_the_first_byte_that_differs() {
    let handshake = ["> S 99 -", "< S 499 100"].map(|line| [(10, line), (20, line)]).concat();
    for (first, second) in [(10, 20), (20, 10)] {
        let mut bench = played(&handshake);
        for (id, line) in [
            (first, "> - 100 500 one"),
            (second, "> - 100 500 two"),
            (second, "< - 500 103 22"),
            (first, "< - 500 103 11"),
            (second, "> F 103 502"),
        ] {
            bench.scope = vlan(id);
            bench.feed(&[line]);
        }
        assert_eq!(bench.events(), ["> 0 one", "> 0 two", "< 0 22", "< 0 11"], "{first} first");
        assert_eq!((bench.table.len(), bench.ledger().overlap_conflicts), (2, 0));
        let conns = bench.table.connections();
        assert!(conns.iter().all(|conn| conn.handshake_seen && conn.origins_known), "{first} first");
        bench.finish();
        assert_eq!(bench.table.indexed(), 0);
    }
}

/// What cannot be distinguished from copies is counted.
#[test]
fn connections_that_may_be_copies_are_counted() {
    let bench = played(&[(10, "> S 99 -"), (10, "> - 100 500 GET"), (20, "> - 103 500 more")]);
    assert_eq!((bench.ledger().connections, bench.ledger().connections_repeated), (2, 1));
}

#[test]
fn what_does_not_answer_is_no_other_direction() {
    let bench = played(&[(10, "> S 99 -"), (20, "< - 500 777 200"), (10, "> - 100 500 GET")]);
    assert_eq!((bench.ledger().connections, bench.ledger().connections_repeated), (2, 0));
}

#[test]
fn many_scopes_of_one_five_tuple_are_found_at_once_and_forgotten() {
    let mut limits = limits();
    limits.connections = 50;
    let mut bench = Bench::new(limits);
    for id in 1..4000 {
        bench.scope = Scope::default().network(id);
        let seq = 1000 * id;
        let lines = [format!("> S {seq} -"), format!("< S 499 {}", seq + 1), format!("> - {} 500 a", seq + 1)];
        bench.feed(&lines.each_ref().map(String::as_str));
        assert!(bench.table.connections().len() <= 50);
    }
    assert_eq!(bench.ledger().connections, 3999);
    bench.finish();
    assert_eq!(bench.table.indexed(), 0);
}
