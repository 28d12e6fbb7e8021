//! A ratio of two sums as a number. No aggregation of OpenSearch Dashboards divides, and its time series show 0 where
//! there is nothing. So Vega draws it, which it brings along, and which can say that there is nothing.

use serde_json::{Value, json};

use crate::setup::kibana::declare::{Chart, Compute, Panel, PanelFilter};

/// The two fields, where the panel is such a number.
pub(super) fn fields(panel: &Panel) -> Option<(&'static str, &'static str)> {
    match (panel.chart, panel.metrics) {
        (Chart::Number, [metric]) => match metric.what {
            Compute::Ratio(some, all) => Some((some, all)),
            Compute::Count
            | Compute::PerSecond
            | Compute::Share
            | Compute::Distinct(_)
            | Compute::Sum(_)
            | Compute::Max(_)
            | Compute::Percentile(..) => None,
        },
        _ => None,
    }
}

/// The state of the visualization. The index is named, not referred to.
pub(super) fn state(panel: &Panel, (some, all): (&str, &str), title: &str, index_pattern: &str) -> Value {
    let sum = |field: &str| json!({ "sum": { "field": field } });
    let filters: Vec<_> = [panel.about.filter(), panel.of].iter().map(query).collect();
    // One packet of a million is a loss, too.
    let text = "datum.all.value > 0 ? format(datum.some.value / datum.all.value, '.4%') : '-'";
    let spec = json!({
        "$schema": "https://vega.github.io/schema/vega/v5.json",
        "padding": 0,
        "data": [{
            "name": "sums",
            "url": {
                "%context%": true,
                "%timefield%": "@timestamp",
                "index": index_pattern,
                "body": {
                    "size": 0,
                    "aggs": { "of": {
                        "filters": { "filters": [{ "bool": { "filter": filters } }] },
                        "aggs": { "some": sum(some), "all": sum(all) },
                    } },
                },
            },
            "format": { "property": "aggregations.of.buckets" },
        }],
        "marks": [{
            "type": "text",
            "from": { "data": "sums" },
            "encode": { "update": {
                "x": { "signal": "width / 2" }, "y": { "signal": "height / 2" },
                "align": { "value": "center" }, "baseline": { "value": "middle" },
                "fontSize": { "value": 36 }, "fill": { "value": "#69707D" },
                "text": { "signal": text },
            } },
        }],
    });
    json!({ "title": title, "type": "vega", "params": { "spec": spec.to_string() }, "aggs": [] })
}

/// The filter as a query of the server: Vega has no other words.
fn query(filter: &PanelFilter) -> Value {
    let all = |filters: &[PanelFilter]| filters.iter().map(query).collect::<Vec<_>>();
    match filter {
        PanelFilter::Any => json!({ "match_all": {} }),
        PanelFilter::Is(field, value) => json!({ "term": { *field: value } }),
        PanelFilter::Has(field) => json!({ "exists": { "field": field } }),
        PanelFilter::From(field, least) => json!({ "range": { *field: { "gte": least } } }),
        PanelFilter::Below(field, most) => json!({ "range": { *field: { "lt": most } } }),
        PanelFilter::Not(filter) => json!({ "bool": { "must_not": query(filter) } }),
        PanelFilter::All(filters) => json!({ "bool": { "filter": all(filters) } }),
        PanelFilter::AnyOf(filters) => json!({ "bool": { "should": all(filters), "minimum_should_match": 1 } }),
    }
}
