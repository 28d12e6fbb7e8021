//! What OpenSearch Dashboards will ask, asked of a real OpenSearch. Every visualization of `kibana/podtap-opensearch.ndjson` is
//! run as its published source runs it (`aggs`, `timeline`, `ratio`), and its numbers are compared as Kibana's are (`same`).
//!
//! OpenSearch Dashboards itself is not run.

mod aggs;
mod ratio;
mod timeline;

use std::collections::BTreeMap;

use podtap::setup::kibana::declare::{Chart, Compute, Panel, PanelFilter, PanelMetric};
use podtap::setup::kibana::{CONTROLS, DASHBOARDS, SEARCHES};
use serde_json::{Map, Value, json};

use super::{filled, inner, kql, lines, object, records, same, search};
use crate::servers::Kind;

fn objects() -> Vec<Value> {
    super::file("kibana/podtap-opensearch.ndjson")
}

/// The fields of the index pattern, by name.
fn fields(objects: &[Value]) -> BTreeMap<String, Value> {
    let all = inner(&object(objects, "index-pattern", "http")["attributes"]["fields"]);
    let by_name = |field: &Value| (field["name"].as_str().unwrap().to_owned(), field.clone());
    all.as_array().unwrap().iter().map(by_name).collect()
}

/// Records of this time, of which all of these hold.
fn query(span: (&str, &str), all: &[&str]) -> Value {
    let time =
        json!({ "range": { "@timestamp": { "gte": span.0, "lte": span.1, "format": "strict_date_optional_time" } } });
    let filters: Vec<_> = std::iter::once(time).chain(all.iter().map(|one| kql::query(one))).collect();
    json!({ "bool": { "filter": filters } })
}

#[test]
fn every_visualization_returns_data_and_its_numbers_are_those_of_the_records() {
    let lines = records::lines();
    let Some(server) = filled(Kind::OpenSearch, &lines) else { return };
    let objects = objects();
    let fields = fields(&objects);
    let mut compared = [0; 3];
    for dashboard in DASHBOARDS {
        for declared in dashboard.panels {
            let id = format!("{}-{}", dashboard.id, declared.id);
            let attributes = &object(&objects, "visualization", &id)["attributes"];
            let (state, source) =
                (inner(&attributes["visState"]), inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]));
            if state["type"] == "metrics" {
                let timeline = timeline::Timeline::new(&state["params"]);
                let answer = timeline.ask(records::SPAN, &|body| search(server, body));
                compared[1] += same::panel(&id, declared, &timeline, &answer, &lines);
            } else if state["type"] == "vega" {
                let ratio = ratio::Ratio::new(&state["params"]);
                let answer = ratio.ask(records::SPAN, &|body| search(server, body));
                compared[2] += same::panel(&id, declared, &ratio, &answer, &lines);
            } else {
                let asked = aggs::Visualization::new(&state, &source, &fields);
                let answer = search(server, &asked.body(records::SPAN));
                compared[0] += same::panel(&id, &narrowed(declared), &asked, &answer, &lines);
            }
        }
    }
    eprintln!("{compared:?} numbers of {} records compared", lines.len());
    assert!(compared[0] > 400 && compared[1] > 30 && compared[2] > 0, "{compared:?}");
}

/// A number is of the records that its only metric is of.
fn narrowed(declared: &Panel) -> Panel {
    match declared.metrics {
        [metric] if declared.chart == Chart::Number && metric.what != Compute::Share => {
            let of = PanelFilter::All(Box::leak(Box::new([declared.of, metric.of])));
            let metrics = Box::leak(Box::new([PanelMetric { of: PanelFilter::Any, ..*metric }]));
            Panel { of, metrics, ..*declared }
        }
        _ => *declared,
    }
}

/// Discover asks for the computed fields with every hit.
#[test]
fn every_saved_search_finds_the_records_it_says_and_every_computed_field_can_be_read() {
    let lines = records::lines();
    let Some(server) = filled(Kind::OpenSearch, &lines) else { return };
    let objects = objects();
    let fields = fields(&objects);
    let computed = fields.iter().filter(|(_, field)| field["scripted"] == true);
    let scripts: Map<_, _> = computed.map(|(name, field)| (name.clone(), json!({ "script": script(field) }))).collect();
    assert!(!scripts.is_empty());
    for declared in SEARCHES {
        let attributes = &object(&objects, "search", declared.id)["attributes"];
        let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let query = query(records::SPAN, &[source["query"]["query"].as_str().unwrap()]);
        let body = json!({
            "query": query, "track_total_hits": true, "size": 1000, "fields": attributes["columns"],
            "script_fields": scripts, "sort": [{ "@timestamp": { "order": "desc", "unmapped_type": "boolean" } }],
        });
        let hits = search(server, &body)["hits"].clone();
        let about = declared.about.filter();
        let is = |line: &&Value| lines::holds(&about, line) && lines::holds(&declared.of, line);
        let found = lines.iter().filter(is).count();
        assert!(found > 0 && hits["total"]["value"] == found, "{}", declared.id);
        for column in declared.columns.iter().copied().chain(scripts.keys().map(String::as_str)) {
            let has = |hit: &Value| hit["fields"].get(column).is_some();
            assert!(hits["hits"].as_array().unwrap().iter().any(has), "{}: no {column} anywhere", declared.id);
        }
    }
    for (field, _) in CONTROLS {
        let body =
            json!({ "size": 0, "aggs": { "list": { "terms": { "field": field, "order": { "_count": "desc" } } } } });
        let buckets = &search(server, &body)["aggregations"]["list"]["buckets"];
        assert!(!buckets.as_array().unwrap().is_empty(), "{field}");
    }
}

/// The index pattern lists what OpenSearch Dashboards would fetch: a list that is wrong would be believed.
#[test]
fn the_fields_of_the_index_pattern_are_those_of_the_index() {
    let lines = records::lines();
    let Some(server) = filled(Kind::OpenSearch, &lines) else { return };
    let (status, caps) = server.ask("GET", &format!("/{}/_field_caps?fields=*", super::INDEX), "");
    assert_eq!(status, 200, "{caps}");
    let mut found = 0;
    for (name, field) in fields(&objects()) {
        if field["scripted"] == true {
            assert!(caps["fields"].get(&name).is_none(), "{name}");
        }
        if field["scripted"] == true || name.starts_with('_') {
            continue;
        }
        let known = caps["fields"].get(&name).unwrap_or_else(|| panic!("{name} is not in the index"));
        let (kind, caps) = known.as_object().unwrap().iter().next().unwrap();
        assert_eq!(field["esTypes"], json!([kind]), "{name}");
        if kind != "flat_object" {
            assert_eq!(
                (&field["searchable"], &field["aggregatable"]),
                (&caps["searchable"], &caps["aggregatable"]),
                "{name}"
            );
        }
        found += 1;
    }
    assert!(found > 50);
}

/// As OpenSearch Dashboards stores them: in an index that refuses what its mapping does not know.
#[test]
fn every_object_can_be_stored_under_the_published_mapping() {
    let Some(server) = filled(Kind::OpenSearch, &records::lines()) else { return };
    let (text, number) = (json!({ "type": "text" }), json!({ "type": "integer" }));
    let (hidden, word) = (json!({ "type": "text", "index": false }), json!({ "type": "keyword" }));
    let source = json!({ "properties": { "searchSourceJSON": hidden } });
    let refresh = json!({ "properties": { "pause": { "type": "boolean" }, "value": number } });
    let mapping = json!({ "dynamic": "strict", "properties": {
        "type": word,
        "references": { "type": "nested", "properties": { "name": word, "type": word, "id": word } },
        "migrationVersion": { "dynamic": "true", "type": "object" },
        "index-pattern": { "dynamic": false, "properties": { "title": text, "type": word } },
        "search": { "properties": {
            "columns": word, "description": text, "hits": number, "kibanaSavedObjectMeta": source, "sort": word,
            "title": text, "version": number,
        } },
        "visualization": { "properties": {
            "description": text, "kibanaSavedObjectMeta": source, "savedSearchRefName": word, "title": text,
            "uiStateJSON": hidden, "version": number, "visState": hidden,
        } },
        "dashboard": { "properties": {
            "description": text, "hits": number, "kibanaSavedObjectMeta": source, "optionsJSON": hidden,
            "panelsJSON": hidden, "refreshInterval": refresh, "timeFrom": word, "timeRestore": { "type": "boolean" },
            "timeTo": word, "title": text, "version": number,
        } },
    } });
    let index = "/opensearch-dashboards-objects";
    let (status, answer) = server.ask("PUT", index, &json!({ "mappings": mapping }).to_string());
    assert_eq!(status, 200, "{answer}");
    for object in objects() {
        let kind = object["type"].as_str().unwrap();
        let stored = json!({
            "type": kind, kind: object["attributes"], "references": object["references"],
            "migrationVersion": object["migrationVersion"],
        });
        let id = object["id"].as_str().unwrap();
        let (status, answer) = server.ask("PUT", &format!("{index}/_doc/{kind}:{id}"), &stored.to_string());
        assert_eq!(status, 201, "{id}: {answer}");
    }
}

/// How a computed field is sent.
fn script(field: &Value) -> Value {
    json!({ "source": field["script"], "lang": field["lang"] })
}
