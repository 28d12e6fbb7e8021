//! How OpenSearch Dashboards draws a panel: the parameters of its visualizations (`metric`, `table`, `line`, `histogram`,
//! `horizontal_bar`). What they draw is `aggs`'.

use serde_json::{Value, json};

use super::aggs;
use crate::setup::kibana::declare::{Chart, Panel};

/// Rows of a page of a table.
const PAGE: u32 = 10;

/// The state of the visualization.
pub(super) fn state(panel: &Panel, title: &str) -> Value {
    let params = match panel.chart {
        Chart::Number => number(),
        Chart::Table => table(),
        Chart::Lines | Chart::Stack | Chart::Shares | Chart::Ranking => xy(panel),
    };
    json!({ "title": title, "type": super::kind(panel.chart), "params": params, "aggs": aggs::all(panel) })
}

/// The panel's title says what it is; a label would say it again.
fn number() -> Value {
    json!({
        "type": "metric",
        "addTooltip": true,
        "addLegend": false,
        "metric": {
            "percentageMode": false, "useRanges": false, "colorSchema": "Green to Red", "metricColorMode": "None",
            "colorsRange": [{ "from": 0, "to": 10000 }], "labels": { "show": false }, "invertColors": false,
            "style": { "bgFill": "#000", "bgColor": false, "labelColor": false, "subText": "", "fontSize": 36 },
        },
    })
}

fn table() -> Value {
    json!({
        "perPage": PAGE, "showPartialRows": false, "showMetricsAtAllLevels": false, "showTotal": false,
        "totalFunc": "sum", "percentageCol": "",
    })
}

fn xy(panel: &Panel) -> Value {
    let lying = panel.chart == Chart::Ranking;
    let (below, beside) = if lying { ("left", "bottom") } else { ("bottom", "left") };
    let several = panel.metrics.len() > 1 || panel.by.len() > 1;
    let scale = if panel.chart == Chart::Shares { "percentage" } else { "normal" };
    json!({
        "type": if panel.chart == Chart::Lines { "line" } else { "histogram" },
        "grid": { "categoryLines": false },
        "categoryAxes": [{
            "id": "CategoryAxis-1", "type": "category", "position": below, "show": true, "style": {},
            "scale": { "type": "linear" }, "title": {},
            "labels": { "show": true, "rotate": 0, "filter": !lying, "truncate": 200 },
        }],
        "valueAxes": [{
            "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": beside, "show": true, "style": {},
            "scale": { "type": "linear", "mode": scale }, "title": { "text": "" },
            "labels": { "show": true, "rotate": 0, "filter": lying, "truncate": 100 },
        }],
        "seriesParams": series(panel),
        "addTooltip": true,
        "addLegend": several,
        "legendPosition": "right",
        "times": [],
        "addTimeMarker": false,
        "labels": { "show": false },
        "thresholdLine": { "show": false, "value": 10, "width": 1, "style": "full", "color": "#E7664C" },
    })
}

fn series(panel: &Panel) -> Vec<Value> {
    let (kind, mode) = match panel.chart {
        Chart::Lines => ("line", "normal"),
        Chart::Stack | Chart::Shares => ("histogram", "stacked"),
        Chart::Ranking | Chart::Table | Chart::Number => ("histogram", "normal"),
    };
    let series = aggs::metrics(panel).into_iter().map(|asked| {
        json!({
            "show": true, "type": kind, "mode": mode, "valueAxis": "ValueAxis-1",
            "data": { "id": asked.id, "label": asked.label },
            "drawLinesBetweenPoints": true, "showCircles": true, "interpolate": "linear", "lineWidth": 2,
        })
    });
    series.collect()
}
