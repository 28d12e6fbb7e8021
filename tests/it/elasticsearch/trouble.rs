//! Servers that say no, and servers that die.

use podtap::setup::SetupOptions;
use podtap::sink::elasticsearch::{ElasticsearchAuth, ElasticsearchOptions, RecordFormat};
use podtap::sink::{Delivery, FailureReason, SinkError};

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

/// A state of the server: how an index gets into it, and out again.
struct State {
    name: &'static str,
    enter: &'static [(&'static str, &'static str, &'static str)],
    leave: (&'static str, &'static str, &'static str),
}

const ONE_SHARD: &str = r#"{"settings":{"number_of_shards":1,"number_of_replicas":0},"mappings":{"dynamic":"false"}}"#;

const STATES: &[State] = &[
    State {
        name: "state-blocked",
        enter: &[("PUT", "/state-blocked/_settings", r#"{"index.blocks.write":true}"#)],
        leave: ("PUT", "/state-blocked/_settings", r#"{"index.blocks.write":false}"#),
    },
    State {
        name: "state-flooded",
        enter: &[("PUT", "/state-flooded/_settings", r#"{"index.blocks.read_only_allow_delete":true}"#)],
        leave: ("PUT", "/state-flooded/_settings", r#"{"index.blocks.read_only_allow_delete":null}"#),
    },
    State {
        name: "state-closed",
        enter: &[("POST", "/state-closed/_close", "")],
        leave: ("POST", "/state-closed/_open", ""),
    },
    State {
        name: "state-pipeline",
        enter: &[("PUT", "/state-pipeline/_settings", r#"{"index.default_pipeline":"gone"}"#)],
        leave: ("PUT", "/state-pipeline/_settings", r#"{"index.default_pipeline":null}"#),
    },
    State {
        name: "state-alias",
        enter: &[
            ("DELETE", "/state-alias", ""),
            ("PUT", "/state-alias-1", r#"{"aliases":{"state-alias":{"is_write_index":false}}}"#),
            ("PUT", "/state-alias-2", r#"{"aliases":{"state-alias":{"is_write_index":false}}}"#),
        ],
        leave: (
            "POST",
            "/_aliases",
            r#"{"actions":[{"add":{"index":"state-alias-1","alias":"state-alias","is_write_index":true}}]}"#,
        ),
    },
];

#[test]
fn what_the_servers_state_refuses_is_held_and_stored_once_it_is_mended() {
    for (kind, server) in Search::both() {
        for State { name, enter, leave } in STATES {
            server.ask("PUT", &format!("/{name}"), ONE_SHARD);
            enter.iter().for_each(|(method, path, body)| drop(server.ask(method, path, body)));
            let mut sink = sink(options(server, name));
            let records = batch([("a", line("/a")), ("b", line("/b"))]);
            for _ in 0..2 {
                let result = deliver(&mut sink, &records);
                let Err(SinkError::Transient(error)) = result else { panic!("{kind:?} {name}: {result:?}") };
                assert_eq!(error.reason(), FailureReason::NotReady, "{kind:?} {name}: {error}");
            }
            server.ask(leave.0, leave.1, leave.2);
            assert_eq!(deliver(&mut sink, &records), Ok(Delivery::default()), "{kind:?} {name}");
            assert_eq!(server.count(name), 2, "{kind:?} {name}");
        }
    }
}

#[test]
fn classic_records_have_a_stream_of_their_own_that_takes_no_others() {
    for (kind, server) in Search::both() {
        let classic = ElasticsearchOptions { format: RecordFormat::Classic, ..options(server, "classic") };
        set_up(&classic, &SetupOptions::default());
        let record =
            r#"{"resTime":0.1,"type":"income","srcIP":"10.0.0.1","srcPort":1,"host":"h","url":"/x","resCode":200}"#;
        let records = batch([("a", format!("{record}\n")), ("b", format!("{record}\n"))]);
        assert_eq!(deliver(&mut sink(classic.clone()), &records), Ok(Delivery::default()), "{kind:?}");
        assert_eq!(server.count("classic"), 2, "{kind:?}");
        let (_, found) = server.ask("GET", "/classic/_search?q=url.keyword:%22%2Fx%22%20AND%20host:h", "");
        assert_eq!(found["hits"]["total"]["value"], 2, "{kind:?}: {found}");
        let ecs = options(server, "classic");
        let why = transient(deliver(&mut sink(ecs.clone()), &batch([("c", line("/c"))])));
        assert!(why.contains("FORMAT_ELASTICSEARCH is ecs") && why.contains("ELASTICSEARCH_INDEX=classic"), "{why}");
        let refused = podtap::setup::elasticsearch(&ecs, &SetupOptions::default(), &mut Vec::new()).unwrap_err();
        assert!(refused.contains("made for classic records"), "{kind:?}: {refused}");
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
        ElasticsearchAuth::None,
        ElasticsearchAuth::Basic { username: "elastic".to_owned(), password: "wrong-password".to_owned() },
        ElasticsearchAuth::ApiKey("id:wrong-password".to_owned()),
        ElasticsearchAuth::Bearer("wrong-password".to_owned()),
    ] {
        let mut wrong = right.clone();
        wrong.auth = auth;
        let why = transient(deliver(&mut sink(wrong), &batch([("a", line("/a"))])));
        assert!(why.contains("401 security_exception") && !why.contains("wrong-password"), "{why}");
    }
    assert_eq!(deliver(&mut sink(right), &batch([("a", line("/a"))])), Ok(Delivery::default()));
    assert_eq!(server.count("secured"), 1);
}
