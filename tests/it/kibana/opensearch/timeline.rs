//! What OpenSearch Dashboards' time series (TSVB) ask a server, read from the saved parameters. Each line is its own
//! request, and the answers are put together here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::same::Asked;
use super::super::{kql, lines};

/// A part of the time, in milliseconds: not a second, or a rate were the same as a count.
const INTERVAL: i64 = 2_000;

/// A saved time series.
#[derive(Debug)]
pub(super) struct Timeline<'a> {
    params: &'a Value,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn words(query: &Value) -> &str {
    assert_eq!(query["language"], "kuery");
    text(&query["query"])
}

impl<'a> Timeline<'a> {
    pub(super) fn new(params: &'a Value) -> Self {
        assert_eq!((&params["type"], &params["time_field"]), (&json!("timeseries"), &json!("@timestamp")));
        assert_eq!((&params["interval"], &params["drop_last_bucket"]), (&json!("auto"), &json!(0)));
        Self { params }
    }

    /// The answers of all lines as one: parts within parts, each with the numbers of all lines.
    pub(super) fn ask(&self, span: (&str, &str), ask: &dyn Fn(&Value) -> Value) -> Value {
        let panel = words(&self.params["filter"]);
        let total = ask(&json!({ "size": 0, "track_total_hits": true, "query": super::query(span, &[panel]) }));
        let series = list(&self.params["series"]);
        let mut root = json!({});
        for (number, series) in series.iter().enumerate() {
            let mut filters = vec![panel];
            filters.extend(series.get("filter").map(words));
            let id = text(&series["id"]);
            let body =
                json!({ "size": 0, "query": super::query(span, &filters), "aggs": { id: self.split(series, span) } });
            let answer = ask(&body)["aggregations"][id].take();
            for (part, node) in parts(series, &answer) {
                let within = match part {
                    Some(part) => &mut root["parts"][part],
                    None => &mut root,
                };
                for bucket in list(&node["timeseries"]["buckets"]) {
                    let drawn = &mut within["parts"][lines::key(&bucket["key"])];
                    drawn["records"] =
                        json!(drawn["records"].as_u64().unwrap_or_default() + bucket["doc_count"].as_u64().unwrap());
                    drawn["numbers"][number.to_string()] = json!(value(series, bucket));
                }
            }
        }
        json!({ "hits": total["hits"], "aggregations": root })
    }

    fn split(&self, series: &Value, span: (&str, &str)) -> Value {
        let metrics = list(&series["metrics"]);
        let aggs: Map<_, _> = metrics.iter().map(|metric| (text(&metric["id"]).to_owned(), computed(metric))).collect();
        let millis = |at: &str| at.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let timeseries = json!({
            "date_histogram": {
                "field": self.params["time_field"], "min_doc_count": 0, "time_zone": "UTC",
                "extended_bounds": { "min": millis(span.0), "max": millis(span.1) },
                "fixed_interval": format!("{}s", INTERVAL / 1_000),
            },
            "aggs": aggs,
        });
        let mut agg = match text(&series["split_mode"]) {
            "everything" => json!({ "filter": { "match_all": {} } }),
            "terms" => json!({ "terms": {
                "field": series["terms_field"], "size": series["terms_size"],
                "order": { text(&series["terms_order_by"]): series["terms_direction"] },
            } }),
            "filters" => {
                let filter = |part: &Value| (text(&part["id"]).to_owned(), kql::query(words(&part["filter"])));
                let filters: Map<_, _> = list(&series["split_filters"]).iter().map(filter).collect();
                json!({ "filters": { "filters": filters } })
            }
            other => panic!("{other}: no such split"),
        };
        agg["aggs"] = json!({ "timeseries": timeseries });
        agg
    }
}

fn computed(metric: &Value) -> Value {
    match text(&metric["type"]) {
        "count" => json!({ "bucket_script": {
            "buckets_path": { "count": "_count" }, "gap_policy": "skip",
            "script": { "source": "count * 1", "lang": "expression" },
        } }),
        "calculation" => {
            let path = |one: &Value| (text(&one["name"]).to_owned(), one["field"].clone());
            let paths: Map<_, _> = list(&metric["variables"]).iter().map(path).collect();
            let params = json!({ "_interval": INTERVAL });
            json!({ "bucket_script": {
                "buckets_path": paths, "gap_policy": "skip",
                "script": { "source": metric["script"], "lang": "painless", "params": params },
            } })
        }
        "percentile" => {
            let percents: Vec<_> = list(&metric["percentiles"]).iter().map(|one| one["value"].clone()).collect();
            json!({ "percentiles": { "field": metric["field"], "percents": percents } })
        }
        kind @ ("sum" | "max" | "cardinality") => json!({ kind: { "field": metric["field"] } }),
        other => panic!("{other}: no such metric"),
    }
}

/// The parts of a line's answer: one without a name, or each under its own.
fn parts<'a>(series: &'a Value, answer: &'a Value) -> Vec<(Option<String>, &'a Value)> {
    match text(&series["split_mode"]) {
        "everything" => vec![(None, answer)],
        "terms" => list(&answer["buckets"]).iter().map(|node| (Some(lines::key(&node["key"])), node)).collect(),
        _ => {
            let of = |part: &'a Value| (Some(text(&part["label"]).to_owned()), &answer["buckets"][text(&part["id"])]);
            list(&series["split_filters"]).iter().map(of).collect()
        }
    }
}

/// What is drawn of the last metric; a rate as the number that it is the rate of.
fn value(series: &Value, bucket: &Value) -> Option<f64> {
    let metric = list(&series["metrics"]).last().unwrap();
    let found = &bucket[text(&metric["id"])];
    match text(&metric["type"]) {
        "count" => bucket["doc_count"].as_f64(),
        "percentile" => found["values"].as_object().unwrap().values().next().unwrap().as_f64(),
        "calculation" => found["value"].as_f64().map(|rate| rate * INTERVAL as f64 / 1_000.0),
        _ => found["value"].as_f64(),
    }
}

impl Asked for Timeline<'_> {
    fn interval(&self) -> i64 {
        INTERVAL
    }

    fn parts<'a>(&self, _: usize, node: &'a Value) -> Vec<(String, &'a Value)> {
        node["parts"].as_object().unwrap().iter().map(|(key, node)| (key.clone(), node)).collect()
    }

    fn numbers(&self, node: &Value, _: &Value) -> Vec<Option<f64>> {
        let known: BTreeSet<_> = node["numbers"].as_object().unwrap().keys().collect();
        let all = 0..list(&self.params["series"]).len();
        assert_eq!(known.len(), all.len());
        all.map(|number| node["numbers"][number.to_string()].as_f64()).collect()
    }

    /// Every part of the range is asked for, also those of which there is nothing.
    fn is_gap(&self, node: &Value) -> bool {
        node["records"] == 0
    }
}
