//! How Lens draws a panel: the state of its visualizations (`lnsMetric`, `lnsXY`, `lnsDatatable`). `lens` has the
//! columns.

use serde_json::{Value, json};

use super::declare::{Chart, GroupBy, Panel};

/// Every panel has one layer.
pub(super) const LAYER: &str = "layer";
/// Rows of a page of a table.
const PAGE: u32 = 10;

/// The id of the column of a division. No id may begin with another one: Lens takes such columns for parts of a formula.
pub(super) fn division(number: usize) -> String {
    format!("by{number:02}")
}

/// The id of the column of a metric.
pub(super) fn measure(number: usize) -> String {
    format!("metric{number:02}")
}

/// The visualization's type and state.
pub(super) fn visualization(panel: &Panel) -> (&'static str, Value) {
    match panel.chart {
        Chart::Number => ("lnsMetric", json!({ "layerId": LAYER, "layerType": "data", "metricAccessor": measure(0) })),
        Chart::Table => ("lnsDatatable", table(panel)),
        Chart::Lines => ("lnsXY", xy(panel, "line")),
        Chart::Stack => ("lnsXY", xy(panel, "bar_stacked")),
        Chart::Shares => ("lnsXY", xy(panel, "bar_percentage_stacked")),
        Chart::Ranking => ("lnsXY", xy(panel, "bar_horizontal")),
    }
}

fn table(panel: &Panel) -> Value {
    let divisions = (0..panel.by.len()).map(|number| json!({ "columnId": division(number) }));
    let metrics = (0..panel.metrics.len()).map(|number| json!({ "columnId": measure(number) }));
    let mut state = json!({
        "layerId": LAYER,
        "layerType": "data",
        "columns": divisions.chain(metrics).collect::<Vec<_>>(),
        "paging": { "size": PAGE, "enabled": true },
    });
    // Named parts keep the order in which they were named.
    if let (Some(GroupBy::Top { .. }), Value::Object(state)) = (panel.by.first(), &mut state) {
        state.insert("sorting".to_owned(), json!({ "columnId": measure(0), "direction": "desc" }));
    }
    state
}

fn xy(panel: &Panel, series: &str) -> Value {
    let accessors: Vec<_> = (0..panel.metrics.len()).map(measure).collect();
    let mut layer = json!({
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "accessors": accessors,
        "xAccessor": division(panel.by.len().saturating_sub(1)),
    });
    if let (2.., Value::Object(layer)) = (panel.by.len(), &mut layer) {
        layer.insert("splitAccessor".to_owned(), json!(division(0)));
    }
    let several = panel.metrics.len() > 1 || panel.by.len() > 1;
    json!({
        "preferredSeriesType": series,
        "legend": { "isVisible": several, "position": "right" },
        "valueLabels": "hide",
        // A line between what was seen and what was seen would claim what was not.
        "fittingFunction": "None",
        "axisTitlesVisibilitySettings": { "x": false, "yLeft": false, "yRight": false },
        "tickLabelsVisibilitySettings": { "x": true, "yLeft": true, "yRight": true },
        "gridlinesVisibilitySettings": { "x": true, "yLeft": true, "yRight": true },
        "labelsOrientation": { "x": 0, "yLeft": 0, "yRight": 0 },
        "layers": [layer],
    })
}
