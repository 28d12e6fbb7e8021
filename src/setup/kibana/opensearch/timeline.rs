//! Lines over time, and rates, as OpenSearch Dashboards' time series (TSVB) have them. Each line has its own records, a
//! rate is a count divided by its seconds, and there are gaps where nothing was seen. Its other charts have none of
//! these. A click on a part of it narrows nothing down, though, so what they can say is theirs (`charts`).

use serde_json::{Value, json};

use crate::setup::kibana::declare::{Chart, Compute, GroupBy, Panel, PanelFilter, PanelMetric};

/// Colours of the parts, distinguished by those who see some colours alike.
const COLORS: [&str; 10] =
    ["#54B399", "#6092C0", "#9170B8", "#D6BF57", "#DA8B45", "#E7664C", "#D36086", "#CA8EAE", "#B9A888", "#AA6556"];

/// Whether the panel is drawn so.
pub(super) fn fits(panel: &Panel) -> bool {
    let over_time = matches!(panel.by, [GroupBy::Time] | [_, GroupBy::Time]);
    let rate = panel.metrics.iter().any(|metric| metric.what == Compute::PerSecond);
    // What is a part of something else has no words here.
    let part = |metric: &PanelMetric| matches!(metric.what, Compute::Share | Compute::Ratio(..));
    over_time && !panel.metrics.iter().any(part) && (rate || panel.chart == Chart::Lines)
}

/// The state of the visualization. The index is named, not referred to.
pub(super) fn state(panel: &Panel, title: &str, index_pattern: &str) -> Value {
    let series: Vec<_> =
        panel.metrics.iter().enumerate().map(|(number, metric)| series(panel, number, metric)).collect();
    let several = series.len() > 1 || panel.by.len() > 1;
    let params = json!({
        "id": panel.id,
        "type": "timeseries",
        "series": series,
        "index_pattern": index_pattern,
        "time_field": "@timestamp",
        "interval": "auto",
        // The last part of the time counts, too, though it is not over.
        "drop_last_bucket": 0,
        "filter": { "query": panel.about.kql(&panel.of), "language": "kuery" },
        "ignore_global_filter": 0,
        "axis_position": "left",
        "axis_formatter": "number",
        "axis_scale": "normal",
        "axis_min": 0,
        "show_legend": u8::from(several),
        "legend_position": "right",
        "show_grid": 1,
        "tooltip_mode": "show_all",
    });
    json!({ "title": title, "type": "metrics", "params": params, "aggs": [] })
}

fn query(filter: &PanelFilter) -> Value {
    json!({ "query": filter.kql(), "language": "kuery" })
}

fn color(number: usize) -> &'static str {
    COLORS.iter().cycle().nth(number).copied().unwrap_or_default()
}

fn series(panel: &Panel, number: usize, metric: &PanelMetric) -> Value {
    let line = panel.chart == Chart::Lines;
    let stacked = match panel.chart {
        Chart::Shares => "percent",
        Chart::Stack => "stacked",
        Chart::Number | Chart::Lines | Chart::Ranking | Chart::Table => "none",
    };
    let mut series = json!({
        "id": format!("series{number:02}"),
        "label": metric.label,
        "color": color(number),
        "metrics": metrics(metric),
        "formatter": formatter(metric),
        "chart_type": if line { "line" } else { "bar" },
        "stacked": stacked,
        "line_width": u8::from(line),
        "point_size": u8::from(line),
        "fill": if line { 0.0 } else { 0.8 },
        "separate_axis": 0,
        "axis_position": "left",
        "override_index_pattern": 0,
        "split_color_mode": "rainbow",
        "split_mode": "everything",
    });
    if let Value::Object(series) = &mut series {
        if metric.of != PanelFilter::Any {
            series.insert("filter".to_owned(), query(&metric.of));
        }
        if let [by, GroupBy::Time] = panel.by {
            split(by, series);
        }
    }
    series
}

fn split(by: &GroupBy, series: &mut serde_json::Map<String, Value>) {
    let mut set = |name: &str, value: Value| drop(series.insert(name.to_owned(), value));
    match by {
        GroupBy::Time => {}
        GroupBy::Top { field, size, .. } => {
            set("split_mode", json!("terms"));
            set("terms_field", json!(field));
            set("terms_size", json!(size.to_string()));
            set("terms_order_by", json!("_count"));
            set("terms_direction", json!("desc"));
        }
        GroupBy::Parts(parts) => {
            let parts = parts.iter().enumerate().map(|(number, (label, filter))| {
                json!({
                    "id": format!("part{number:02}"), "label": label, "color": color(number), "filter": query(filter),
                })
            });
            set("split_mode", json!("filters"));
            set("split_filters", Value::Array(parts.collect()));
        }
    }
}

/// The last one is drawn; the ones before are what it is computed of.
fn metrics(metric: &PanelMetric) -> Value {
    let simple = |kind: &str, field: &str| json!([{ "id": "value", "type": kind, "field": field }]);
    match metric.what {
        Compute::Count | Compute::Share | Compute::Ratio(..) => json!([{ "id": "count", "type": "count" }]),
        Compute::PerSecond => json!([
            { "id": "count", "type": "count" },
            {
                "id": "rate", "type": "calculation", "script": "params.count / (params._interval / 1000.0)",
                "variables": [{ "id": "variable", "name": "count", "field": "count" }],
            },
        ]),
        Compute::Distinct(field) => simple("cardinality", field),
        Compute::Sum(field) => simple("sum", field),
        Compute::Max(field) => simple("max", field),
        Compute::Percentile(field, percent) => json!([{
            "id": "value", "type": "percentile", "field": field,
            "percentiles": [{ "id": "percentile", "mode": "line", "shade": 0.2, "value": percent }],
        }]),
    }
}

fn formatter(metric: &PanelMetric) -> &'static str {
    match metric.what {
        Compute::PerSecond => "0,0.00",
        Compute::Count | Compute::Share | Compute::Ratio(..) | Compute::Distinct(_) => "number",
        Compute::Sum(field) | Compute::Max(field) | Compute::Percentile(field, _) => match field {
            "event.duration" => "ns,ms,2",
            _ if field.ends_with("_us") => "us,ms,2",
            _ if field.ends_with(".bytes") || field.ends_with("_bytes") => "bytes",
            _ => "number",
        },
    }
}
