//! Records arrive as they were printed, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use podtap::flow::Timestamp;
use podtap::format::{Observer, ecs};
use podtap::ledger::{KernelCounters, Ledger, SinkCounts, ledger_fields};
use podtap::metrics::{Intervals, Metrics};
use podtap::setup::SetupOptions;
use podtap::sink::elasticsearch::TargetKind;
use podtap::sink::{Batch, BlockPiece, Delivery, RecordBlock, SinkError, Sinks};
use podtap::synth::{Conversation, SynthFrame};
use serde_json::{Map, Value, json};

use super::{batch, deliver, dissector, encoded, line, options, set_up, sink};
use crate::servers::{Kind, Search};

/// Some of everything, a conversation each: pairs, headers that repeat, text of all kinds and lengths, an unanswered
/// request, an orphan.
fn traffic() -> [Vec<SynthFrame>; 4] {
    let odd = "GET /\u{fc}/%00?q=%22&x=\\ HTTP/1.1\r\nHost: sh\u{f6}p\r\nX-A: 1\r\nX-A: 2\r\nX.dotted.: \"'\\\r\nx-empty:\r\n\r\n";
    let long = format!("GET /{} HTTP/1.1\r\nHost: shop\r\nX-Long: {}\r\n\r\n", "p".repeat(20_000), "v".repeat(40_000));
    let nothing = "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi";
    [
        Conversation::default().handshake().client(odd).server(answer).close().frames(),
        Conversation::default().handshake().client(long).server(nothing).close().frames(),
        Conversation::default().handshake().client("POST /x HTTP/1.0\r\n\r\n").frames(),
        Conversation::default().server(answer).frames(),
    ]
}

/// Each conversation as another observer saw it: their addresses and ports are the same.
fn records() -> Batch {
    let records = traffic().into_iter().enumerate().map(|(number, frames)| {
        let mut dissector = dissector(&number.to_string());
        frames.iter().for_each(|frame| dissector.handle_frame(&frame.as_frame(), |_| false));
        encoded(&mut dissector)
    });
    joined(&records.collect::<Vec<_>>())
}

fn joined(batches: &[Batch]) -> Batch {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    let items: Vec<_> =
        batches.iter().flat_map(|batch| batch.iter().map(|item| (item.id.to_owned(), text(item.body)))).collect();
    batch(items.iter().map(|(id, body)| (id.as_str(), body.clone())))
}

#[test]
fn ledger_records_are_accepted_once_and_every_number_of_theirs_can_be_summed() {
    for (kind, server) in Search::both() {
        let options = options(server, "ledger-records");
        set_up(&options, &SetupOptions::default());
        let metrics = Metrics::new(Sinks::default());
        metrics.probe().publish(&Ledger::default(), &KernelCounters { opens: 1, ..KernelCounters::default() });
        let seen = || {
            let mut seen = metrics.snapshot();
            (seen.ledger.conntrack.opens, seen.ledger.verdicts.opens) = (1, 1);
            seen.ledger.connects.opens = 1;
            seen.ledger.flows.enabled = true;
            seen.sinks = vec![("fluentd".to_owned(), SinkCounts::default())];
            seen
        };
        let mut intervals = Intervals::new("run", Timestamp(0));
        let mut block = RecordBlock::default();
        for statement in (1..=2).flat_map(|n| intervals.end(seen(), Timestamp(n * 1_000_000_000))) {
            let name = (statement.id.clone(), statement.to);
            block.push(podtap::record::Dataset::Http, |out| {
                ecs::write_json(out, &statement.into(), &Observer::default());
                name
            });
        }
        let mut batch = Batch::default();
        batch.push(BlockPiece::whole(Arc::new(block)));
        let mut sink = sink(options);
        for _ in 0..2 {
            assert_eq!(deliver(&mut sink, &batch), Ok(Delivery::default()), "{kind:?}");
        }
        assert_eq!(server.count("ledger-records"), 4, "{kind:?}");
        let sums: Map<_, _> = ledger_fields()
            .map(|(field, _)| (field.replace('.', "_"), json!({ "stats": { "field": field } })))
            .collect();
        let all = sums.len();
        let body = json!({ "size": 0, "aggs": sums }).to_string();
        let (status, answer) = server.ask("POST", "/ledger-records/_search", &body);
        assert_eq!(status, 200, "{kind:?}: {answer}");
        let found = answer["aggregations"].as_object().unwrap();
        assert_eq!(found.values().filter(|stats| stats["count"] == 2).count(), all, "{kind:?}: {answer}");
    }
}

#[test]
fn records_arrive_field_by_field_as_json_prints_them_and_once_however_often_they_are_sent() {
    let records = records();
    let printed: BTreeMap<String, Value> =
        records.iter().map(|item| (item.id.to_owned(), serde_json::from_slice(item.body).unwrap())).collect();
    assert!(printed.len() >= 4);
    for (kind, server) in Search::both() {
        let options = options(server, "fields");
        set_up(&options, &SetupOptions::default());
        let mut sink = sink(options);
        for _ in 0..2 {
            assert_eq!(deliver(&mut sink, &records), Ok(Delivery::default()), "{kind:?}");
            let mut stored = server.stored("fields");
            if kind == Kind::OpenSearch {
                restored(&mut stored, &printed);
            }
            assert!(stored == printed, "{kind:?}");
        }
        let mappings = server.get("/fields/_mapping?filter_path=*.mappings.properties.url.properties.original.type");
        assert!(mappings.to_string().contains("keyword"), "{mappings}");
    }
}

/// Puts back the one value that is too long for a `flat_object`, where the record says that it was shortened.
fn restored(stored: &mut BTreeMap<String, Value>, printed: &BTreeMap<String, Value>) {
    let shortened: Vec<_> = stored.values_mut().filter(|record| record["podtap"]["shortened"] == true).collect();
    assert_eq!(shortened.len(), 1);
    for record in shortened {
        record["podtap"].as_object_mut().unwrap().remove("shortened");
        let whole = &printed[record["event"]["id"].as_str().unwrap()]["http"]["request"]["headers"]["x-long"];
        let cut = &mut record["http"]["request"]["headers"]["x-long"];
        assert!(whole.as_str().unwrap().starts_with(cut.as_str().unwrap()));
        *cut = whole.clone();
    }
}

#[test]
fn a_dated_name_is_an_index_a_day_by_the_records_own_time() {
    for (kind, server) in Search::both() {
        let options = options(server, "dated-%Y.%m.%d");
        set_up(&options, &SetupOptions::default());
        let mut sink = sink(options);
        assert_eq!(deliver(&mut sink, &batch([("a", line("/a"))])), Ok(Delivery::default()));
        assert_eq!(server.count("dated-1970.01.01"), 1, "{kind:?}");
        let kept = server.get("/dated-1970.01.01/_mapping?filter_path=*.mappings.properties.source.properties.ip.type");
        assert!(kept.to_string().contains("\"ip\""), "{kept}");
    }
}

#[test]
fn without_its_template_nothing_is_sent_and_no_index_comes_about() {
    for (kind, server) in Search::both() {
        let options = options(server, "held");
        let mut sink = sink(options.clone());
        let Err(SinkError::Transient(error)) = deliver(&mut sink, &batch([("a", line("/a"))])) else { panic!() };
        let why = error.to_string();
        assert!(why.contains("records are held: held does not exist"), "{kind:?}: {why}");
        assert_eq!(server.ask("GET", "/held", "").0, 404, "{kind:?}");
        set_up(&options, &SetupOptions::default());
        assert_eq!(deliver(&mut sink, &batch([("a", line("/a"))])), Ok(Delivery::default()), "{kind:?}");
        let backing = server.get("/held");
        assert!(backing.as_object().unwrap().keys().all(|name| name.starts_with(".ds-held")), "{kind:?}: {backing}");
    }
}

#[test]
fn an_index_that_exists_is_used_as_it_is_with_a_warning() {
    for (_, server) in Search::both() {
        server.ask("PUT", "/own", "");
        let mut sink = sink(options(server, "own"));
        let found = super::wait(sink.examine(podtap::flow::Timestamp(0))).unwrap();
        assert_eq!(found.kind, TargetKind::Index);
        assert!(found.warning.unwrap().contains("no index template fits own"));
        assert_eq!(deliver(&mut sink, &batch([("a", line("/a"))])), Ok(Delivery::default()));
        assert_eq!(server.count("own"), 1);
    }
}
