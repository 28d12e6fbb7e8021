//! What OpenSearch Dashboards asks a server for a visualization of aggregations, read from its saved state and the index
//! pattern, and from nothing else. Buckets come in their order, each within the one before, metrics in the last one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::same::Asked;
use super::super::{kql, lines};

/// A part of the time, in milliseconds. OpenSearch Dashboards takes one that suits the range.
const INTERVAL: i64 = 1_000;

/// A saved visualization.
#[derive(Debug)]
pub(super) struct Visualization<'a> {
    query: String,
    buckets: Vec<Value>,
    metrics: Vec<Value>,
    fields: &'a BTreeMap<String, Value>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn is_metric(agg: &Value) -> bool {
    ["count", "avg", "sum", "max", "cardinality", "percentiles"].contains(&text(&agg["type"]))
}

impl<'a> Visualization<'a> {
    pub(super) fn new(state: &Value, source: &Value, fields: &'a BTreeMap<String, Value>) -> Self {
        let all = state["aggs"].as_array().unwrap().iter().filter(|agg| agg["enabled"] == true).cloned();
        let (metrics, buckets) = all.partition(is_metric);
        assert_eq!(source["query"]["language"], "kuery");
        assert_eq!(source["filter"], json!([]));
        Self { query: text(&source["query"]["query"]).to_owned(), buckets, metrics, fields }
    }

    /// The request.
    pub(super) fn body(&self, span: (&str, &str)) -> Value {
        let mut inner: Map<_, _> =
            self.metrics.iter().filter_map(|agg| Some((text(&agg["id"]).to_owned(), self.metric(agg)?))).collect();
        for agg in self.buckets.iter().rev() {
            let mut bucket = self.bucket(agg);
            let Value::Object(aggs) = &mut bucket["aggs"] else { panic!("{agg}") };
            aggs.extend(inner);
            inner = Map::from_iter([(text(&agg["id"]).to_owned(), bucket)]);
        }
        let query = super::query(span, &[&self.query]);
        json!({ "size": 0, "track_total_hits": true, "query": query, "aggs": inner })
    }

    /// A field of the index, or the script that computes it.
    fn field(&self, agg: &Value) -> (&'static str, Value) {
        let name = text(&agg["params"]["field"]);
        let field = self.fields.get(name).unwrap_or_else(|| panic!("{name} is not in the index pattern"));
        if field["scripted"] == true { ("script", super::script(field)) } else { ("field", json!(name)) }
    }

    fn metric(&self, agg: &Value) -> Option<Value> {
        let kind = text(&agg["type"]);
        if kind == "count" {
            return None;
        }
        let (name, field) = self.field(agg);
        let mut params = json!({ name: field });
        if kind == "percentiles" {
            params["percents"] = agg["params"]["percents"].clone();
            params["keyed"] = json!(false);
        }
        Some(json!({ kind: params }))
    }

    fn bucket(&self, agg: &Value) -> Value {
        let params = &agg["params"];
        match text(&agg["type"]) {
            "date_histogram" => {
                assert_eq!((&params["interval"], &params["min_doc_count"]), (&json!("auto"), &json!(1)));
                json!({ "date_histogram": {
                    "field": params["field"], "fixed_interval": format!("{INTERVAL}ms"), "time_zone": "UTC",
                    "min_doc_count": params["min_doc_count"],
                }, "aggs": {} })
            }
            "filters" => {
                let named = params["filters"].as_array().unwrap().iter().map(|part| {
                    assert_eq!(part["input"]["language"], "kuery");
                    (text(&part["label"]).to_owned(), kql::query(text(&part["input"]["query"])))
                });
                json!({ "filters": { "filters": named.collect::<Map<_, _>>() }, "aggs": {} })
            }
            "terms" => {
                assert!(params["otherBucket"] == false && params["missingBucket"] == false);
                let (order, aggs) = self.order(text(&params["orderBy"]));
                let (name, field) = self.field(agg);
                json!({
                    "terms": { name: field, "size": params["size"], "order": { order: params["order"] } },
                    "aggs": aggs,
                })
            }
            other => panic!("{other}: no such bucket"),
        }
    }

    /// What values are ordered by, and the metric that this needs. The metric is found by the id that
    /// the name begins with, the first one that does.
    fn order(&self, by: &str) -> (String, Value) {
        let metric = self.metrics.iter().find(|agg| by.starts_with(text(&agg["id"]))).unwrap();
        let id = text(&metric["id"]);
        let own = match text(&metric["type"]) {
            "count" => return ("_count".to_owned(), json!({})),
            "percentiles" => format!("{id}.{}", metric["params"]["percents"][0]),
            _ => id.to_owned(),
        };
        assert_eq!(own, by);
        (own, json!({ id: self.metric(metric) }))
    }
}

impl Asked for Visualization<'_> {
    fn interval(&self) -> i64 {
        INTERVAL
    }

    fn parts<'a>(&self, depth: usize, node: &'a Value) -> Vec<(String, &'a Value)> {
        let buckets = &node[text(&self.buckets[depth]["id"])]["buckets"];
        if let Some(named) = buckets.as_object() {
            return named.iter().map(|(name, node)| (name.clone(), node)).collect();
        }
        buckets.as_array().unwrap().iter().map(|node| (lines::key(&node["key"]), node)).collect()
    }

    fn numbers(&self, node: &Value, records: &Value) -> Vec<Option<f64>> {
        let number = |agg: &Value| {
            let found = &node[text(&agg["id"])];
            match text(&agg["type"]) {
                "count" => records.as_f64(),
                "percentiles" => {
                    let key = agg["params"]["percents"][0].as_f64();
                    let values = found["values"].as_array().unwrap();
                    values.iter().find(|value| value["key"].as_f64() == key).unwrap()["value"].as_f64()
                }
                _ => found["value"].as_f64(),
            }
        };
        let mut numbers = Vec::new();
        let mut metrics = self.metrics.iter();
        while let Some(agg) = metrics.next() {
            // A ratio is there as its two sums.
            let label = text(&agg["params"]["customLabel"]).split_once(": ");
            let Some((label, _)) = label else {
                numbers.push(number(agg));
                continue;
            };
            let whole = metrics.next().unwrap();
            assert!(text(&whole["params"]["customLabel"]).starts_with(&format!("{label}: of ")));
            let pair = number(agg).zip(number(whole));
            numbers.push(pair.filter(|(_, all)| *all > 0.0).map(|(some, all)| some / all));
        }
        numbers
    }
}
