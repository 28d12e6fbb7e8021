//! A panel as Kibana's Lens stores it: the columns of the query. `charts` has how they are drawn.
//!
//! Written after the published types of Kibana 8.8 (`FormBasedPersistedState` and the columns below it); later versions
//! migrate them.

use serde_json::{Map, Value, json};

use super::charts::{self, LAYER, division, measure};
use super::declare::{Chart, Compute, GroupBy, Panel, PanelDataset, PanelFilter, PanelMetric};
use crate::format::ecs::all_fields;
use crate::format::fields::FieldType;

/// How a reference to the layer's data view is named.
pub(super) fn reference_name() -> String {
    format!("indexpattern-datasource-layer-{LAYER}")
}

/// The panel's attributes, as for a separate visualization.
pub(super) fn attributes(panel: &Panel, data_view: &str) -> Value {
    let (kind, visualization) = charts::visualization(panel);
    let layer = layer(panel);
    json!({
        "title": "",
        "type": "lens",
        "visualizationType": kind,
        "references": [{ "type": "index-pattern", "id": data_view, "name": reference_name() }],
        "state": {
            "datasourceStates": { "formBased": { "layers": { LAYER: layer } } },
            "visualization": visualization,
            "query": query_of(panel.about, &panel.of),
            "filters": [],
            "internalReferences": [],
            "adHocDataViews": {},
        },
    })
}

/// The query of a whole panel or search.
pub(super) fn query_of(about: PanelDataset, filter: &PanelFilter) -> Value {
    json!({ "query": about.kql(filter), "language": "kuery" })
}

/// A query as Kibana keeps it.
fn query(filter: &PanelFilter) -> Value {
    json!({ "query": filter.kql(), "language": "kuery" })
}

fn layer(panel: &Panel) -> Value {
    let mut columns = LensColumns::default();
    for (number, by) in panel.by.iter().enumerate() {
        columns.add(division(number), divided(by));
    }
    for (number, metric) in panel.metrics.iter().enumerate() {
        // Lens shows a number under its column's title.
        let label = if panel.chart == Chart::Number { panel.title } else { metric.label };
        columns.metric(&measure(number), metric, label);
    }
    json!({ "columns": columns.columns, "columnOrder": columns.order, "incompleteColumns": {}, "sampling": 1 })
}

#[derive(Default)]
struct LensColumns {
    columns: Map<String, Value>,
    order: Vec<String>,
}

impl LensColumns {
    fn add(&mut self, id: String, column: Value) {
        self.columns.insert(id.clone(), column);
        self.order.push(id);
    }

    fn metric(&mut self, id: &str, metric: &PanelMetric, label: &str) {
        let whole = |what| PanelMetric { what, of: PanelFilter::Any, ..*metric };
        match metric.what {
            Compute::Share => {
                let formula = format!("count(kql='{}') / count()", metric.of.kql());
                let some = PanelMetric { what: Compute::Count, ..*metric };
                self.quotient(id, label, (&formula, 1), [some, whole(Compute::Count)]);
            }
            Compute::Ratio(some, all) => {
                let formula = format!("sum({some}) / sum({all})");
                // One packet of a million is a loss, too.
                self.quotient(id, label, (&formula, 4), [some, all].map(|field| whole(Compute::Sum(field))));
            }
            Compute::Count
            | Compute::PerSecond
            | Compute::Distinct(_)
            | Compute::Sum(_)
            | Compute::Max(_)
            | Compute::Percentile(..) => self.add(id.to_owned(), measured(metric, label)),
        }
    }

    /// A formula with as many decimals of a per cent, and the columns that Lens makes of one.
    fn quotient(&mut self, id: &str, label: &str, (formula, decimals): (&str, u32), of: [PanelMetric; 2]) {
        let parts = [format!("{id}X0"), format!("{id}X1"), format!("{id}X2")];
        let part = format!("Part of {label}");
        let [some, all, quotient] = &parts;
        let format = json!({ "id": "percent", "params": { "decimals": decimals } });
        let whole = json!({
            "label": label, "customLabel": true, "dataType": "number", "isBucketed": false, "scale": "ratio",
            "operationType": "formula", "references": [quotient],
            "params": { "formula": formula, "isFormulaBroken": false, "format": format },
        });
        let math = json!({
            "label": part, "customLabel": true, "dataType": "number", "isBucketed": false, "scale": "ratio",
            "operationType": "math", "references": [some, all],
            "params": { "tinymathAst": {
                "type": "function", "name": "divide", "args": [some, all],
                "location": { "min": 0, "max": formula.len() }, "text": formula,
            } },
        });
        let [some, all] = of.map(|metric| {
            let mut column = measured(&metric, &part);
            if let Some(params) = column.get_mut("params") {
                // In a formula nothing is 0.
                set(params, "emptyAsNull", json!(false));
            }
            column
        });
        self.add(id.to_owned(), whole);
        for (id, column) in parts.into_iter().zip([some, all, math]) {
            self.add(id, column);
        }
    }
}

/// A column that is computed of the records.
fn measured(metric: &PanelMetric, label: &str) -> Value {
    let (operation, field, params) = match metric.what {
        Compute::Count | Compute::Share | Compute::Ratio(..) => {
            ("count", "___records___", json!({ "emptyAsNull": false }))
        }
        Compute::PerSecond => {
            let format = json!({ "id": "number", "params": { "decimals": 2 } });
            ("count", "___records___", json!({ "emptyAsNull": false, "format": format }))
        }
        Compute::Distinct(field) => ("unique_count", field, json!({ "emptyAsNull": false })),
        Compute::Sum(field) => ("sum", field, json!({ "emptyAsNull": true })),
        Compute::Max(field) => ("max", field, json!({ "emptyAsNull": true })),
        Compute::Percentile(field, percent) => ("percentile", field, json!({ "percentile": percent })),
    };
    let mut column = json!({
        "label": label, "customLabel": true, "dataType": "number", "isBucketed": false, "scale": "ratio",
        "operationType": operation, "sourceField": field, "params": params,
    });
    if metric.what == Compute::PerSecond {
        set(&mut column, "timeScale", json!("s"));
    }
    if metric.of != PanelFilter::Any {
        set(&mut column, "filter", query(&metric.of));
    }
    column
}

/// A column that divides the records.
fn divided(by: &GroupBy) -> Value {
    match by {
        GroupBy::Time => json!({
            "label": "@timestamp", "dataType": "date", "isBucketed": true, "scale": "interval",
            "operationType": "date_histogram", "sourceField": "@timestamp",
            "params": { "interval": "auto", "includeEmptyRows": true, "dropPartials": false },
        }),
        GroupBy::Top { field, label, size } => json!({
            "label": label, "customLabel": true, "dataType": data_type(field), "isBucketed": true, "scale": "ordinal",
            "operationType": "terms", "sourceField": field,
            "params": {
                "size": size,
                "orderBy": { "type": "column", "columnId": measure(0) },
                "orderDirection": "desc",
                "otherBucket": false,
                "missingBucket": false,
                "parentFormat": { "id": "terms" },
                "include": [], "exclude": [], "includeIsRegex": false, "excludeIsRegex": false,
            },
        }),
        GroupBy::Parts(parts) => {
            let filters: Vec<_> =
                parts.iter().map(|(label, filter)| json!({ "label": label, "input": query(filter) })).collect();
            json!({
                "label": "Filters", "dataType": "string", "isBucketed": true, "scale": "ordinal",
                "operationType": "filters", "params": { "filters": filters },
            })
        }
    }
}

/// What Lens calls the type of a field.
fn data_type(field: &str) -> &'static str {
    match all_fields().find(|known| known.name == field).map(|known| known.kind) {
        Some(FieldType::Long) => "number",
        Some(FieldType::Ip) => "ip",
        Some(FieldType::Boolean) => "boolean",
        Some(FieldType::Date) => "date",
        Some(FieldType::Keyword | FieldType::Wildcard | FieldType::Object | FieldType::Flattened) | None => "string",
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}
