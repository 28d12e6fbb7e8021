//! What Lens asks a server for a panel, read from the panel's saved state and from nothing else. The columns become
//! aggregations, divisions outside, metrics inside.

use serde_json::{Map, Value, json};

use super::kql;
use super::same::Asked;

/// A part of the time, in milliseconds. Lens takes one that suits the width of the chart.
const INTERVAL: i64 = 1_000;

/// A panel's saved state.
#[derive(Debug)]
pub(super) struct Panel {
    query: String,
    columns: Map<String, Value>,
    /// Ids of divisions, outer first.
    divisions: Vec<String>,
    /// Ids of what is drawn of each part.
    metrics: Vec<String>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

impl Panel {
    pub(super) fn new(state: &Value) -> Self {
        let layers = state["datasourceStates"]["formBased"]["layers"].as_object().unwrap();
        assert_eq!(layers.len(), 1);
        let layer = layers.values().next().unwrap();
        let columns = layer["columns"].as_object().unwrap().clone();
        let order = layer["columnOrder"].as_array().unwrap().iter().map(|id| text(id).to_owned());
        let (divisions, measured): (Vec<_>, Vec<_>) = order.partition(|id| columns[id]["isBucketed"] == true);
        // What a formula is made of is not drawn itself.
        let part = |id: &String| {
            columns.values().any(|column| {
                column["references"].as_array().is_some_and(|parts| parts.iter().any(|part| part == id.as_str()))
            })
        };
        let metrics = measured.into_iter().filter(|id| !part(id)).collect();
        Self { query: text(&state["query"]["query"]).to_owned(), columns, divisions, metrics }
    }

    /// The request.
    pub(super) fn body(&self, span: (&str, &str)) -> Value {
        let time = json!({ "range": { "@timestamp": { "gte": span.0, "lte": span.1, "format": "strict_date_optional_time" } } });
        let filters = json!([time, kql::query(&self.query)]);
        let mut aggregations = self.measured();
        for id in self.divisions.iter().rev() {
            let mut division = self.division(id);
            division["aggs"] = aggregations;
            // Values are ordered by what is computed of all of theirs, also where they are divided further.
            if let Some(order) = self.columns[id]["params"]["orderBy"]["columnId"].as_str()
                && let Some(computed) = self.measured().get(order)
            {
                division["aggs"][order] = computed.clone();
            }
            aggregations = json!({ id: division });
        }
        json!({ "size": 0, "track_total_hits": true, "query": { "bool": { "filter": filters } }, "aggs": aggregations })
    }

    fn division(&self, id: &str) -> Value {
        let column = &self.columns[id];
        let params = &column["params"];
        match text(&column["operationType"]) {
            "date_histogram" => json!({ "date_histogram": {
                "field": column["sourceField"], "fixed_interval": format!("{INTERVAL}ms"), "min_doc_count": 1,
            } }),
            "filters" => {
                let named = params["filters"].as_array().unwrap().iter().map(|part| {
                    assert_eq!(part["input"]["language"], "kuery");
                    (text(&part["label"]).to_owned(), kql::query(text(&part["input"]["query"])))
                });
                json!({ "filters": { "filters": named.collect::<Map<_, _>>() } })
            }
            "terms" => {
                let order = self.order(text(&params["orderBy"]["columnId"]));
                assert!(params["otherBucket"] == false && params["missingBucket"] == false);
                json!({ "terms": {
                    "field": column["sourceField"], "size": params["size"],
                    "order": { order: params["orderDirection"] }, "shard_size": 1000,
                } })
            }
            other => panic!("{other}: no such division"),
        }
    }

    /// The way to the metric that values are ordered by.
    fn order(&self, id: &str) -> String {
        let column = &self.columns[id];
        let filtered = column.get("filter").is_some();
        match text(&column["operationType"]) {
            "count" if filtered => format!("{id}._count"),
            "count" => "_count".to_owned(),
            "percentile" if filtered => format!("{id}>inner.{}", column["params"]["percentile"]),
            "percentile" => format!("{id}.{}", column["params"]["percentile"]),
            "max" | "sum" | "unique_count" => id.to_owned(),
            other => panic!("Lens orders by no {other}"),
        }
    }

    /// All columns that the server computes.
    fn measured(&self) -> Value {
        let mut aggregations = Map::new();
        for (id, column) in &self.columns {
            let field = &column["sourceField"];
            let plain = match text(&column["operationType"]) {
                "count" => None,
                "unique_count" => Some(json!({ "cardinality": { "field": field } })),
                "sum" => Some(json!({ "sum": { "field": field } })),
                "max" => Some(json!({ "max": { "field": field } })),
                "percentile" => {
                    let percents = json!([column["params"]["percentile"]]);
                    Some(json!({ "percentiles": { "field": field, "percents": percents } }))
                }
                "formula" | "math" | "terms" | "filters" | "date_histogram" => continue,
                other => panic!("{other}: no such operation"),
            };
            let filter = column.get("filter").map(|filter| kql::query(text(&filter["query"])));
            match (plain, filter) {
                (None, None) => {}
                (Some(plain), None) => drop(aggregations.insert(id.clone(), plain)),
                (None, Some(filter)) => drop(aggregations.insert(id.clone(), json!({ "filter": filter }))),
                (Some(plain), Some(filter)) => {
                    aggregations.insert(id.clone(), json!({ "filter": filter, "aggs": { "inner": plain } }));
                }
            }
        }
        Value::Object(aggregations)
    }

    fn number(&self, id: &str, node: &Value, records: &Value) -> Option<f64> {
        let column = &self.columns[id];
        let filtered = column.get("filter").is_some();
        let found = if filtered { &node[id]["inner"] } else { &node[id] };
        match text(&column["operationType"]) {
            "count" if filtered => node[id]["doc_count"].as_f64(),
            "count" => records.as_f64(),
            "percentile" => found["values"].as_object().unwrap().values().next().unwrap().as_f64(),
            "formula" => self.number(text(&column["references"][0]), node, records),
            "math" => {
                let ast = &column["params"]["tinymathAst"];
                assert_eq!(ast["name"], "divide");
                let part = |n: usize| self.number(text(&ast["args"][n]), node, records);
                part(0).zip(part(1)).filter(|(_, all)| *all > 0.0).map(|(some, all)| some / all)
            }
            _ => found["value"].as_f64(),
        }
    }
}

impl Asked for Panel {
    fn interval(&self) -> i64 {
        INTERVAL
    }

    fn parts<'a>(&self, depth: usize, node: &'a Value) -> Vec<(String, &'a Value)> {
        let buckets = &node[&self.divisions[depth]]["buckets"];
        if let Some(named) = buckets.as_object() {
            return named.iter().map(|(name, node)| (name.clone(), node)).collect();
        }
        buckets.as_array().unwrap().iter().map(|node| (super::lines::key(&node["key"]), node)).collect()
    }

    fn numbers(&self, node: &Value, records: &Value) -> Vec<Option<f64>> {
        self.metrics.iter().map(|id| self.number(id, node, records)).collect()
    }
}
