//! What Vega in OpenSearch Dashboards asks for a ratio, read from the saved specification, and what it writes then.

use serde_json::{Value, json};

use super::super::same::Asked;

/// What is written, and read here by hand: Vega's own words are not spoken.
const TEXT: &str = "datum.all.value > 0 ? format(datum.some.value / datum.all.value, '.4%') : '-'";

/// A saved specification.
#[derive(Debug)]
pub(super) struct Ratio {
    body: Value,
}

impl Ratio {
    pub(super) fn new(params: &Value) -> Self {
        let spec = super::inner(&params["spec"]);
        let data = &spec["data"][0];
        let url = &data["url"];
        // Time range, query and filters of the dashboard, by this time.
        assert_eq!((&url["%context%"], &url["%timefield%"]), (&json!(true), &json!("@timestamp")));
        assert_eq!(data["format"]["property"], "aggregations.of.buckets");
        assert_eq!(spec["marks"][0]["from"]["data"], data["name"]);
        assert_eq!(spec["marks"][0]["encode"]["update"]["text"]["signal"], TEXT);
        assert!(url["body"].get("query").is_none(), "beside a context there must be none");
        Self { body: url["body"].clone() }
    }

    pub(super) fn ask(&self, span: (&str, &str), ask: &dyn Fn(&Value) -> Value) -> Value {
        let mut body = self.body.clone();
        body["query"] = super::query(span, &[]);
        let buckets = ask(&body)["aggregations"]["of"]["buckets"].take();
        let [datum] = buckets.as_array().unwrap().as_slice() else { panic!("{buckets}") };
        json!({ "hits": { "total": { "value": datum["doc_count"] } }, "aggregations": datum })
    }
}

impl Asked for Ratio {
    fn interval(&self) -> i64 {
        unreachable!("it is not divided")
    }

    fn parts<'a>(&self, _: usize, _: &'a Value) -> Vec<(String, &'a Value)> {
        unreachable!("it is not divided")
    }

    fn numbers(&self, datum: &Value, _: &Value) -> Vec<Option<f64>> {
        let sum = |name: &str| datum[name]["value"].as_f64().unwrap();
        vec![(sum("all") > 0.0).then(|| sum("some") / sum("all"))]
    }
}
