//! What Kibana will ask, asked of a real Elasticsearch. Every panel of `kibana/podtap.ndjson` is run as Lens would run it
//! (`lens`), on records of podtap's own captures that came by the bulk sink. Every number is compared with the same one
//! computed from the JSON lines (`lines`), from the declaration and not from the file.
//!
//! Kibana itself is not run. Its import interface is played by a small server written after its published source
//! (`fake`).

mod fake;
mod flows;
mod import;
mod kql;
mod ledger;
mod lens;
mod lines;
mod opensearch;
mod processes;
mod records;
mod same;
mod sketch;

use podtap::setup::SetupOptions;
use podtap::setup::kibana::{CONTROLS, DASHBOARDS, SEARCHES};
use podtap::sink::Delivery;
use serde_json::{Value, json};

use crate::elasticsearch::{batch, deliver_alone, options, set_up, sink};
use crate::servers::{Kind, Search};

const INDEX: &str = "kibana-panels";

/// The saved objects, as in the file.
fn objects() -> Vec<Value> {
    file("kibana/podtap.ndjson")
}

fn file(name: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let file = std::fs::read_to_string(path).unwrap();
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn object<'a>(objects: &'a [Value], kind: &str, id: &str) -> &'a Value {
    let id = format!("podtap-{id}");
    objects.iter().find(|object| object["type"] == kind && object["id"] == id.as_str()).unwrap()
}

fn inner(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

/// A server with the records in it.
fn filled(kind: Kind, lines: &[Value]) -> Option<&'static Search> {
    let Some(server) = Search::shared(kind) else {
        assert!(std::env::var_os("CI").is_none(), "CI has no {kind:?}");
        return None;
    };
    let options = options(server, INDEX);
    set_up(&options, &SetupOptions::default());
    let text = |line: &Value| format!("{line}\n");
    let ids: Vec<_> = lines.iter().map(|line| line["event"]["id"].as_str().unwrap().to_owned()).collect();
    let all = batch(ids.iter().map(String::as_str).zip(lines.iter().map(text)));
    let mut sink = sink(options);
    assert_eq!(deliver_alone(&mut sink, &all), Ok(Delivery::default()));
    assert_eq!(server.count(INDEX), lines.len() as u64);
    Some(server)
}

fn search(server: &Search, body: &Value) -> Value {
    let (status, answer) = server.ask("POST", &format!("/{INDEX}/_search"), &body.to_string());
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

#[test]
fn every_panel_returns_data_and_its_numbers_are_those_of_the_records() {
    let lines = records::lines();
    let Some(server) = filled(Kind::Elasticsearch, &lines) else { return };
    let objects = objects();
    let mut compared = 0;
    for dashboard in DASHBOARDS {
        let panels = inner(&object(&objects, "dashboard", dashboard.id)["attributes"]["panelsJSON"]);
        for declared in dashboard.panels {
            let name = format!("{} / {}", dashboard.id, declared.id);
            let panel = panels.as_array().unwrap().iter().find(|panel| panel["panelIndex"] == declared.id).unwrap();
            let lens = lens::Panel::new(&panel["embeddableConfig"]["attributes"]["state"]);
            let answer = search(server, &lens.body(records::SPAN));
            compared += same::panel(&name, declared, &lens, &answer, &lines);
        }
    }
    eprintln!("{compared} numbers of {} records compared", lines.len());
    assert!(compared > 500);
}

#[test]
fn every_saved_search_finds_the_records_it_says() {
    let lines = records::lines();
    let Some(server) = filled(Kind::Elasticsearch, &lines) else { return };
    let objects = objects();
    for declared in SEARCHES {
        let attributes = &object(&objects, "search", declared.id)["attributes"];
        let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let query = kql::query(source["query"]["query"].as_str().unwrap());
        let body = json!({ "query": query, "track_total_hits": true, "fields": attributes["columns"], "size": 1000 });
        let hits = search(server, &body)["hits"].clone();
        let about = declared.about.filter();
        let is = |line: &&Value| lines::holds(&about, line) && lines::holds(&declared.of, line);
        let found = lines.iter().filter(is).count();
        assert!(found > 0 && hits["total"]["value"] == found, "{}", declared.id);
        for column in declared.columns {
            let has = |hit: &Value| hit["fields"].get(column).is_some();
            assert!(hits["hits"].as_array().unwrap().iter().any(has), "{}: no {column} anywhere", declared.id);
        }
    }
    for (field, _) in CONTROLS {
        let body = json!({ "size": 0, "aggs": { "list": { "terms": { "field": field } } } });
        let buckets = &search(server, &body)["aggregations"]["list"]["buckets"];
        assert!(!buckets.as_array().unwrap().is_empty(), "{field}");
    }
}
