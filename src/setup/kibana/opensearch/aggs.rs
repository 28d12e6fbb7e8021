//! The query of a panel, as aggregations of OpenSearch Dashboards: divisions and metrics, each with an id. `charts` has
//! how they are drawn.

use serde_json::{Value, json};

use super::scripted::ScriptedField;
use super::timeline;
use crate::setup::kibana::declare::{Chart, Compute, GroupBy, Panel, PanelFilter, PanelMetric};

/// An id by which an aggregation is found is taken for another one's that it begins with: all are of two digits.
const FIRST_METRIC: usize = 10;
const FIRST_DIVISION: usize = 50;

/// The id of a metric.
fn measure(number: usize) -> String {
    (FIRST_METRIC + number).to_string()
}

fn division(number: usize) -> String {
    (FIRST_DIVISION + number).to_string()
}

/// Of which records the panel is. A number has one metric: its records are the panel's.
pub(super) fn query(panel: &Panel) -> String {
    let of = panel.about.kql(&panel.of);
    let only = only_of(panel);
    if only == PanelFilter::Any { of } else { format!("({of}) and ({})", only.kql()) }
}

/// The filter of the only metric, where it can be the panel's.
fn only_of(panel: &Panel) -> PanelFilter {
    match panel.metrics {
        [metric] if panel.chart == Chart::Number && metric.what != Compute::Share => metric.of,
        _ => PanelFilter::Any,
    }
}

/// A metric as it is asked, and the title of its column.
pub(super) struct AskedMetric {
    pub(super) id: String,
    pub(super) label: String,
    metric: PanelMetric,
}

/// The metrics: without the filter that became the panel's, and of a ratio the two sums, which every reader can divide.
pub(super) fn metrics(panel: &Panel) -> Vec<AskedMetric> {
    let only = only_of(panel);
    let mut all: Vec<AskedMetric> = Vec::new();
    let mut ask = |label: String, what: Compute, of: PanelFilter| {
        let metric = PanelMetric { label: "", what, of: if of == only { PanelFilter::Any } else { of } };
        all.push(AskedMetric { id: measure(all.len()), label, metric });
    };
    for PanelMetric { label, what, of } in panel.metrics.iter().copied() {
        match what {
            Compute::Ratio(some, whole) => {
                ask(format!("{label}: {}", words(some)), Compute::Sum(some), of);
                ask(format!("{label}: of {}", words(whole)), Compute::Sum(whole), of);
            }
            Compute::Percentile(field, _) => ask(value_label(label, field), what, of),
            Compute::Count
            | Compute::PerSecond
            | Compute::Share
            | Compute::Distinct(_)
            | Compute::Sum(_)
            | Compute::Max(_) => ask(label.to_owned(), what, of),
        }
    }
    all
}

/// The last part of a field's name, as words.
fn words(field: &str) -> String {
    field.rsplit('.').next().unwrap_or(field).trim_end_matches("_us").replace('_', " ")
}

/// The computed fields that the panel needs.
pub(super) fn scripted(panel: &Panel) -> Vec<ScriptedField> {
    if timeline::fits(panel) {
        return Vec::new();
    }
    metrics(panel).iter().filter_map(|asked| ScriptedField::of(&asked.metric)).collect()
}

/// All aggregations of the panel: divisions from the outer one to the inner one, in the order of the request.
pub(super) fn all(panel: &Panel) -> Vec<Value> {
    let metrics = metrics(panel).into_iter().map(|asked| measured(&asked));
    let last = panel.by.len().saturating_sub(1);
    let divisions = panel.by.iter().enumerate().map(|(number, by)| {
        let schema = match panel.chart {
            Chart::Table => "bucket",
            Chart::Number => "group",
            Chart::Lines | Chart::Stack | Chart::Shares | Chart::Ranking if number == last => "segment",
            Chart::Lines | Chart::Stack | Chart::Shares | Chart::Ranking => "group",
        };
        divided(&division(number), schema, by, panel)
    });
    metrics.chain(divisions).collect()
}

fn aggregation(id: &str, kind: &str, schema: &str, params: Value) -> Value {
    json!({ "id": id, "enabled": true, "type": kind, "schema": schema, "params": params })
}

fn measured(AskedMetric { id, label, metric }: &AskedMetric) -> Value {
    let scripted = ScriptedField::of(metric);
    let field = |plain: &'static str| scripted.as_ref().map_or(plain.to_owned(), |scripted| scripted.name.clone());
    let simple = |kind, field: String| (kind, json!({ "field": field, "customLabel": label }));
    let (kind, params) = match metric.what {
        Compute::Count | Compute::PerSecond if scripted.is_none() => ("count", json!({ "customLabel": label })),
        Compute::Count | Compute::PerSecond => simple("sum", field("")),
        Compute::Share => simple("avg", field("")),
        Compute::Distinct(of) => simple("cardinality", field(of)),
        Compute::Sum(of) | Compute::Ratio(of, _) => simple("sum", field(of)),
        Compute::Max(of) => simple("max", field(of)),
        Compute::Percentile(of, percent) => {
            ("percentiles", json!({ "field": field(of), "percents": [percent], "customLabel": label }))
        }
    };
    aggregation(id, kind, "metric", params)
}

/// OpenSearch Dashboards writes `95th percentile of …` before the label: what the label says of that itself goes.
fn value_label(label: &str, field: &str) -> String {
    let said = ["Median", "median", "th percentile"];
    let says = |part: &str| part.trim_end().ends_with('%') || said.iter().any(|word| part.ends_with(word));
    let parts: Vec<_> = label.split(", ").filter(|part| !says(part)).collect();
    if parts.is_empty() {
        return words(field);
    }
    parts.join(", ")
}

fn divided(id: &str, schema: &str, by: &GroupBy, panel: &Panel) -> Value {
    match by {
        GroupBy::Time => {
            let params = json!({
                "field": "@timestamp", "interval": "auto", "drop_partials": false, "min_doc_count": 1, "extended_bounds": {},
            });
            aggregation(id, "date_histogram", schema, params)
        }
        GroupBy::Top { field, label, size } => {
            let params = json!({
                "field": field, "size": size, "order": "desc", "orderBy": order(panel), "customLabel": label,
                "otherBucket": false, "otherBucketLabel": "Other", "missingBucket": false, "missingBucketLabel": "Missing",
            });
            aggregation(id, "terms", schema, params)
        }
        GroupBy::Parts(parts) => {
            let filters: Vec<_> = parts
                .iter()
                .map(|(label, filter)| json!({ "label": label, "input": { "query": filter.kql(), "language": "kuery" } }))
                .collect();
            aggregation(id, "filters", schema, json!({ "filters": filters }))
        }
    }
}

/// Top values are those with the most of the first metric.
fn order(panel: &Panel) -> String {
    match panel.metrics.first().map(|metric| metric.what) {
        Some(Compute::Percentile(_, percent)) => format!("{}.{percent}", measure(0)),
        _ => measure(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_does_not_say_twice_which_percentile_it_is() {
        const WAIT: &str = "podtap.timing.wait_us";
        for (label, value) in [
            ("Median", "wait"),
            ("95 %", "wait"),
            ("99th percentile", "wait"),
            ("Wait, 95 %", "Wait"),
            ("Wait, median", "Wait"),
            ("Connect", "Connect"),
        ] {
            assert_eq!(value_label(label, WAIT), value, "{label}");
        }
    }
}
