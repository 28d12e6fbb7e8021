//! Servers that say no, and servers that die.

use std::sync::Arc;
use std::time::Duration;

use podtap::flow::Timestamp;
use podtap::setup::SetupOptions;
use podtap::sink::elasticsearch::Auth;
use podtap::sink::{
    Backoff, BatchLimits, Block, Delivery, Options as Feed, Piece, QueueLimits, SinkError, Sinks, WhenFull, spawn,
};

use super::server::{Kind, Server};
use super::{batch, deliver, line, options, set_up, sink};

fn transient(result: Result<Delivery, SinkError>) -> String {
    match result {
        Err(SinkError::Transient(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_does_not_fit_is_rejected_with_the_servers_reason_and_the_others_are_stored() {
    for kind in Kind::BOTH {
        let Some(server) = Server::shared(kind) else { return };
        let options = options(server, "rejects");
        set_up(&options, &SetupOptions::default());
        let wrong = "{\"@timestamp\":\"2026-03-01T12:00:00Z\",\"source\":{\"ip\":\"nobody\"}}\n".to_owned();
        let records = batch([("a", line("/a")), ("wrong", wrong), ("none", "{}\n".to_owned()), ("b", line("/b"))]);
        let delivery = deliver(&mut sink(options), &records).unwrap();
        assert!(delivery.retry.is_empty());
        let reasons: Vec<_> = delivery.rejected.iter().map(|rejected| (rejected.index, &*rejected.reason)).collect();
        assert!(matches!(reasons[..], [(1, _), (2, _)]), "{reasons:?}");
        assert!(reasons[0].1.starts_with("400 ") && reasons[0].1.contains("parsing_exception"), "{reasons:?}");
        assert_eq!(server.count("rejects"), 2, "{kind:?}");
    }
}

#[test]
fn an_index_that_may_not_be_written_rejects_with_the_reason() {
    for kind in Kind::BOTH {
        let Some(server) = Server::shared(kind) else { return };
        server.ask("PUT", "/blocked", "{\"settings\":{\"index.blocks.write\":true}}");
        let delivery = deliver(&mut sink(options(server, "blocked")), &batch([("a", line("/a"))])).unwrap();
        assert!(delivery.rejected[0].reason.starts_with("403 cluster_block_exception"), "{kind:?}: {delivery:?}");
    }
}

#[test]
fn a_body_too_large_is_halved_and_an_overloaded_server_is_waited_for() {
    let settings = ["http.max_content_length=1mb", "indexing_pressure.memory.limit=700kb"];
    for kind in Kind::BOTH {
        let Some(server) = Server::own(kind, None, &settings) else { return };
        let mut options = options(&server, "large");
        options.compress = false;
        set_up(&options, &SetupOptions::default());
        let ids: Vec<String> = (0..26).map(|n| n.to_string()).collect();
        let of = |ids: &[String]| {
            let text = "x".repeat(50_000);
            batch(ids.iter().map(|id| (id.as_str(), line(&text))).collect::<Vec<_>>())
        };
        // 1.3 MB: too large for one request, and there is room for half of it.
        let mut sink = sink(options.clone());
        assert_eq!(deliver(&mut sink, &of(&ids)), Ok(Delivery::default()), "{kind:?}");
        assert_eq!(server.count("large"), 26, "{kind:?}");
        // 900 kB: not too large, but more than the server has room for.
        let more: Vec<String> = (100..118).map(|n| n.to_string()).collect();
        let why = transient(deliver(&mut super::sink(options), &of(&more)));
        assert!(why.starts_with("429 "), "{kind:?}: {why}");
        assert_eq!(server.count("large"), 26, "{kind:?}");
    }
}

#[test]
fn wrong_credentials_hold_the_records_and_right_ones_deliver_them() {
    let Some(server) = Server::own(Kind::Elasticsearch, Some("right-password"), &[]) else { return };
    let right = options(&server, "secured");
    set_up(&right, &SetupOptions::default());
    for auth in [
        Auth::None,
        Auth::Basic { username: "elastic".to_owned(), password: "wrong-password".to_owned() },
        Auth::ApiKey("id:wrong-password".to_owned()),
        Auth::Bearer("wrong-password".to_owned()),
    ] {
        let mut wrong = right.clone();
        wrong.auth = auth;
        let why = transient(deliver(&mut sink(wrong), &batch([("a", line("/a"))])));
        assert!(why.contains("401 security_exception") && !why.contains("wrong-password"), "{why}");
    }
    assert_eq!(deliver(&mut sink(right), &batch([("a", line("/a"))])), Ok(Delivery::default()));
    assert_eq!(server.count("secured"), 1);
}

#[test]
fn a_server_killed_and_restarted_under_load_loses_nothing_and_stores_nothing_twice() {
    let kills = std::env::var_os("PODTAP_KILLS").map_or(1, |kills| kills.to_string_lossy().parse().unwrap());
    for kind in Kind::BOTH {
        let Some(mut server) = Server::own(kind, None, &[]) else { return };
        let options = options(&server, "killed");
        set_up(&options, &SetupOptions::default());
        let feed = Feed {
            queue: QueueLimits { records: 1_000_000, bytes: 1 << 30 },
            when_full: WhenFull::Wait,
            batch: BatchLimits { records: 500, bytes: 1 << 20, age: Duration::from_millis(50) },
            backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
        };
        let handle = spawn("elasticsearch", sink(options), feed).unwrap();
        let sinks = Sinks::new(vec![handle.clone()]);
        let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
        let load = std::thread::spawn(move || {
            let mut offered = 0u64;
            // 2,000 records a second.
            while stopped
                .recv_timeout(Duration::from_millis(10))
                .is_err_and(|why| why == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let mut block = Block::default();
                for _ in 0..20 {
                    block.push(|out| {
                        out.extend_from_slice(line(&format!("/{offered}")).as_bytes());
                        (offered.to_string().into(), Timestamp(0))
                    });
                    offered += 1;
                }
                handle.offer(Piece::whole(Arc::new(block)));
            }
            offered
        });
        for _ in 0..kills {
            server.kill();
            server.start();
        }
        drop(stop);
        let offered = load.join().unwrap();
        let counts = sinks.finish(Duration::from_secs(120)).remove(0).1;
        assert_eq!(counts.ledger.imbalance(), None);
        let ledger = (counts.ledger.offered, counts.ledger.delivered, counts.ledger.rejected);
        assert_eq!(ledger, (offered, offered, 0), "{kind:?}");
        assert!(counts.failed_attempts > 0, "the kills were felt");
        assert_eq!(server.count("killed"), offered, "{kind:?}: none lost, none twice");
    }
}
