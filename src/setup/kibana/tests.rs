//! Whether the rendered objects hold together, by themselves and with the record's fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::declare::{Chart, Compute, GroupBy, Panel, PanelFilter};
use super::*;
use crate::format::ecs::{all_fields, record_fields};
use crate::format::fields::FieldType;
use crate::settings::VARIABLES;

fn default_index() -> &'static str {
    VARIABLES.iter().find(|variable| variable.name == "ELASTICSEARCH_INDEX").unwrap().default
}

fn objects(space: Option<&str>) -> Vec<Value> {
    ndjson("web-*", space).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

/// JSON that Kibana keeps in a string.
fn inner(value: &Value) -> Value {
    serde_json::from_str(text(value)).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == kind).collect()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn panels() -> impl Iterator<Item = &'static Panel> {
    DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels)
}

/// Every filter of a panel.
fn filters(panel: &Panel) -> Vec<PanelFilter> {
    let parts = panel.by.iter().flat_map(|by| match by {
        GroupBy::Parts(parts) => parts.iter().map(|(_, filter)| *filter).collect(),
        GroupBy::Time | GroupBy::Top { .. } => Vec::new(),
    });
    let metrics = panel.metrics.iter().map(|metric| metric.of);
    std::iter::once(panel.of).chain(parts).chain(metrics).collect()
}

#[test]
fn the_file_is_what_the_declarations_say() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kibana/podtap.ndjson");
    let rendered = ndjson(default_index(), None);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &rendered).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == rendered, "kibana/podtap.ndjson is out of date; run: UPDATE=1 cargo test --lib setup::kibana");
}

#[test]
fn every_field_is_one_of_the_record_and_of_a_type_that_fits() {
    let kind =
        |name: &str| all_fields().find(|field| field.name == name).unwrap_or_else(|| panic!("{name} is no field")).kind;
    let number = |name: &str| assert_eq!(kind(name), FieldType::Long, "{name}");
    fn look(filter: &PanelFilter, number: &impl Fn(&str)) {
        match filter {
            PanelFilter::From(field, _) | PanelFilter::Below(field, _) => number(field),
            PanelFilter::Not(filter) => look(filter, number),
            PanelFilter::All(filters) | PanelFilter::AnyOf(filters) => {
                filters.iter().for_each(|filter| look(filter, number))
            }
            PanelFilter::Any | PanelFilter::Is(..) | PanelFilter::Has(_) => {}
        }
    }
    for panel in panels() {
        for filter in filters(panel) {
            filter.fields().into_iter().for_each(|field| _ = kind(field));
            look(&filter, &number);
        }
        for metric in panel.metrics {
            match metric.what {
                Compute::Sum(field) | Compute::Max(field) | Compute::Percentile(field, _) => number(field),
                Compute::Ratio(some, all) => [some, all].into_iter().for_each(number),
                Compute::Distinct(field) => _ = kind(field),
                Compute::Count | Compute::PerSecond | Compute::Share => {}
            }
        }
        for by in panel.by {
            if let GroupBy::Top { field, .. } = by {
                assert!(!matches!(kind(field), FieldType::Object | FieldType::Flattened | FieldType::Date), "{field}");
            }
        }
    }
    for search in SEARCHES {
        search.columns.iter().for_each(|field| _ = kind(field));
        search.of.fields().into_iter().for_each(|field| _ = kind(field));
    }
    CONTROLS.iter().for_each(|(field, _)| assert_eq!(kind(field), FieldType::Keyword, "{field}"));
}

/// What Lens expects of each kind of chart, and what it cannot do.
#[test]
fn every_panel_is_one_that_lens_can_draw() {
    for panel in panels() {
        let id = panel.id;
        let time = panel.by.iter().filter(|by| matches!(by, GroupBy::Time)).count();
        let last_is_time = matches!(panel.by.last(), Some(GroupBy::Time));
        match panel.chart {
            Chart::Number => {
                assert!(panel.by.is_empty() && panel.metrics.len() == 1 && panel.leads_to.is_none(), "{id}")
            }
            Chart::Lines | Chart::Stack | Chart::Shares => {
                assert!(last_is_time && time == 1 && panel.by.len() <= 2, "{id}");
                assert!(panel.by.len() == 1 || panel.metrics.len() == 1, "{id}: two divisions of colour");
            }
            Chart::Ranking => assert!(time == 0 && panel.by.len() == 1 && panel.metrics.len() == 1, "{id}"),
            Chart::Table => assert!(time == 0 && !panel.by.is_empty(), "{id}"),
        }
        // Top values are ordered by the first metric: no formula, and no number of some records (Elasticsearch answers 500).
        let first = &panel.metrics[0];
        let is_formula = matches!(first.what, Compute::Share | Compute::Ratio(..));
        assert!(panel.chart == Chart::Number || !is_formula, "{id}");
        let of_some = first.what == Compute::Count && first.of != PanelFilter::Any;
        assert!(!of_some || !panel.by.iter().any(|by| matches!(by, GroupBy::Top { .. })), "{id}");
        let a_second = panel.metrics.iter().any(|metric| metric.what == Compute::PerSecond);
        assert!(!a_second || time == 1, "{id}: a rate needs time");
        assert!((1..=super::declare::WIDTH).contains(&panel.width), "{id}");
        assert!(panel.leads_to.is_none_or(|to| DASHBOARDS.iter().any(|other| other.id == to)), "{id}");
    }
}

#[test]
fn every_reference_leads_to_an_object_of_the_file() {
    for space in [None, Some("shop")] {
        let objects = objects(space);
        let key = |of: &Value| (text(&of["type"]).to_owned(), text(&of["id"]).to_owned());
        let ids: BTreeSet<_> = objects.iter().map(key).collect();
        assert_eq!(ids.len(), objects.len(), "ids are unique");
        let prefix = if space.is_some() { "podtap-shop-" } else { "podtap-" };
        assert!(ids.iter().all(|(_, id)| id.starts_with(prefix)));
        for object in &objects {
            for reference in object["references"].as_array().unwrap() {
                assert!(ids.contains(&key(reference)), "{reference}");
            }
        }
        for dashboard in of_kind(&objects, "dashboard") {
            let rendered = dashboard.to_string();
            for link in rendered.split("#/view/").skip(1) {
                let id = link.split(')').next().unwrap();
                assert!(ids.contains(&("dashboard".to_owned(), id.to_owned())), "{id}");
            }
        }
    }
}

/// Kibana finds what a panel refers to by the reference's name: the panel's id before the name in the panel.
#[test]
fn everything_a_panel_names_is_a_reference_of_its_dashboard_and_the_other_way_round() {
    for dashboard in of_kind(&objects(None), "dashboard") {
        let mut wanted = BTreeSet::new();
        for panel in inner(&dashboard["attributes"]["panelsJSON"]).as_array().unwrap() {
            let id = text(&panel["panelIndex"]);
            assert_eq!(panel["gridData"]["i"], panel["panelIndex"]);
            if let Some(name) = panel.get("panelRefName") {
                wanted.insert(format!("{id}:{}", text(name)));
            }
            for reference in panel["embeddableConfig"]["attributes"]["references"].as_array().into_iter().flatten() {
                wanted.insert(format!("{id}:{}", text(&reference["name"])));
            }
            let events = &panel["embeddableConfig"]["enhancements"]["dynamicActions"]["events"];
            for event in events.as_array().into_iter().flatten() {
                if event["action"]["factoryId"] == "DASHBOARD_TO_DASHBOARD_DRILLDOWN" {
                    let event = text(&event["eventId"]);
                    wanted.insert(format!("{id}:drilldown:DASHBOARD_TO_DASHBOARD_DRILLDOWN:{event}:dashboardId"));
                }
            }
        }
        for id in names(&inner(&dashboard["attributes"]["controlGroupInput"]["panelsJSON"])) {
            wanted.insert(format!("controlGroup_{id}:optionsListDataView"));
        }
        let references = dashboard["references"].as_array().unwrap();
        let found: BTreeSet<_> = references.iter().map(|reference| text(&reference["name"]).to_owned()).collect();
        assert_eq!(found, wanted);
        assert_eq!(found.len(), references.len(), "names are unique");
    }
}

#[test]
fn every_column_that_is_drawn_is_computed_and_the_other_way_round() {
    for dashboard in of_kind(&objects(None), "dashboard") {
        for panel in inner(&dashboard["attributes"]["panelsJSON"]).as_array().unwrap() {
            let Some(state) = panel["embeddableConfig"]["attributes"].get("state") else { continue };
            let layer = &state["datasourceStates"]["formBased"]["layers"][super::charts::LAYER];
            let columns: BTreeSet<_> = names(&layer["columns"]).into_iter().collect();
            let order: BTreeSet<_> = layer["columnOrder"].as_array().unwrap().iter().map(text).collect();
            assert_eq!(columns, order);
            let mut used = BTreeSet::new();
            drawn(&state["visualization"], &mut used);
            for column in layer["columns"].as_object().unwrap().values() {
                used.extend(column["references"].as_array().into_iter().flatten().map(text));
                assert!(column["params"]["orderBy"]["columnId"].as_str().is_none_or(|id| columns.contains(id)));
            }
            assert_eq!(columns, used, "{panel}");
            // Lens takes a column whose id begins with a formula's for a part of it.
            for (id, column) in layer["columns"].as_object().unwrap() {
                let parts = columns.iter().filter(|other| other.starts_with(id.as_str())).count();
                assert_eq!(parts, if column["operationType"] == "formula" { 4 } else { 1 }, "{id}");
            }
        }
    }
}

/// Every column that the state of a visualization names.
fn drawn<'a>(visualization: &'a Value, used: &mut BTreeSet<&'a str>) {
    match visualization {
        Value::Object(object) => {
            for (name, value) in object {
                match (name.as_str(), value) {
                    ("columnId" | "metricAccessor" | "xAccessor" | "splitAccessor", id) => drop(used.insert(text(id))),
                    ("accessors", ids) => used.extend(ids.as_array().unwrap().iter().map(text)),
                    (_, value) => drawn(value, used),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| drawn(value, used)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The attributes that Kibana 8.8's schemas of saved objects know; unknown ones are refused.
#[test]
fn no_object_has_an_attribute_that_kibana_does_not_know() {
    const DASHBOARD: &[&str] = &[
        "title",
        "description",
        "kibanaSavedObjectMeta",
        "timeRestore",
        "timeFrom",
        "timeTo",
        "refreshInterval",
        "controlGroupInput",
        "panelsJSON",
        "optionsJSON",
        "hits",
        "version",
    ];
    const SEARCH: &[&str] = &[
        "title",
        "description",
        "columns",
        "sort",
        "grid",
        "rowHeight",
        "rowsPerPage",
        "hideChart",
        "breakdownField",
        "kibanaSavedObjectMeta",
        "isTextBasedQuery",
        "usesAdHocDataView",
        "timeRestore",
        "timeRange",
        "refreshInterval",
        "viewMode",
        "hideAggregatedPreview",
        "hits",
        "version",
    ];
    const DATA_VIEW: &[&str] = &[
        "fields",
        "title",
        "type",
        "typeMeta",
        "timeFieldName",
        "sourceFilters",
        "fieldFormatMap",
        "fieldAttrs",
        "runtimeFieldMap",
        "allowNoIndex",
        "name",
    ];
    let objects = objects(None);
    for (kind, known) in [("dashboard", DASHBOARD), ("search", SEARCH), ("index-pattern", DATA_VIEW)] {
        let all = of_kind(&objects, kind);
        assert!(!all.is_empty());
        for object in all {
            names(&object["attributes"]).iter().for_each(|name| assert!(known.contains(name), "{kind}: {name}"));
        }
    }
    let control = ["chainingSystem", "controlStyle", "ignoreParentSettingsJSON", "panelsJSON"];
    assert_eq!(names(&of_kind(&objects, "dashboard")[0]["attributes"]["controlGroupInput"]), control);
}

#[test]
fn panels_do_not_overlap_and_fill_the_width_of_a_row() {
    for dashboard in DASHBOARDS {
        let (_, places, records) = dashboard.places();
        let mut rows: std::collections::BTreeMap<u32, u32> = Default::default();
        places.iter().for_each(|place| *rows.entry(place.y).or_default() += place.width);
        assert!(rows.values().all(|width| *width == super::declare::WIDTH), "{}: {rows:?}", dashboard.id);
        assert!(places.iter().all(|place| place.y + place.height <= records.y));
        let ids: BTreeSet<_> = dashboard.panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), dashboard.panels.len(), "{}", dashboard.id);
    }
}

#[test]
fn numbers_are_shown_in_their_units() {
    let formats = inner(&objects(None)[0]["attributes"]["fieldFormatMap"]);
    for field in record_fields(crate::record::Dataset::Http).iter().filter(|field| field.kind == FieldType::Long) {
        assert!(formats.get(field.name).is_some(), "{}", field.name);
    }
    assert_eq!(formats["event.duration"]["params"]["inputFormat"], "nanoseconds");
    assert_eq!(formats["podtap.timing.wait_us"]["params"]["inputFormat"], "microseconds");
}
