//! Servers that say no, and servers that die.

use podtap::setup::SetupOptions;
use podtap::sink::elasticsearch::Auth;
use podtap::sink::{Delivery, SinkError};

use super::{batch, deliver, deliver_alone, line, options, set_up, sink};
use crate::servers::{Kind, Search};

fn transient(result: Result<Delivery, SinkError>) -> String {
    match result {
        Err(SinkError::Transient(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_does_not_fit_is_rejected_with_the_servers_reason_and_the_others_are_stored() {
    for (kind, server) in Search::both() {
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
    for (kind, server) in Search::both() {
        server.ask("PUT", "/blocked", "{\"settings\":{\"index.blocks.write\":true}}");
        let delivery = deliver(&mut sink(options(server, "blocked")), &batch([("a", line("/a"))])).unwrap();
        assert!(delivery.rejected[0].reason.starts_with("403 cluster_block_exception"), "{kind:?}: {delivery:?}");
    }
}

#[test]
fn a_body_too_large_is_halved_and_an_overloaded_server_is_waited_for() {
    for (kind, server) in Search::both() {
        let mut options = options(server, "large");
        options.compress = false;
        set_up(&options, &SetupOptions::default());
        let ids: Vec<String> = (0..26).map(|n| n.to_string()).collect();
        let of = |ids: &[String]| {
            let text = "x".repeat(500_000);
            batch(ids.iter().map(|id| (id.as_str(), line(&text))).collect::<Vec<_>>())
        };
        // 13 MB: too large for one request, and there is room for half of it.
        let mut sink = sink(options.clone());
        assert_eq!(deliver_alone(&mut sink, &of(&ids)), Ok(Delivery::default()), "{kind:?}");
        assert_eq!(server.count("large"), 26, "{kind:?}");
        // 10 MB: not too large, but more than the server has room for.
        let more: Vec<String> = (100..120).map(|n| n.to_string()).collect();
        let why = transient(deliver_alone(&mut super::sink(options), &of(&more)));
        assert!(why.starts_with("429 "), "{kind:?}: {why}");
        assert_eq!(server.count("large"), 26, "{kind:?}");
    }
}

#[test]
fn wrong_credentials_hold_the_records_and_right_ones_deliver_them() {
    let Some(server) = Search::shared(Kind::Elasticsearch) else { return };
    let right = options(server, "secured");
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
