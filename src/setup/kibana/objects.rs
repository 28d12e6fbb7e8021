//! Kibana's saved objects: data view, searches, dashboards, and how they refer to each other.
//!
//! Written as Kibana 8.8 would export them; a later Kibana migrates what has changed since.

use serde_json::{Map, Value, json};

use super::dashboards::{CONTROLS, DASHBOARDS, SEARCHES};
use super::declare::{Chart, Dashboard, Panel, PanelPlace, SavedSearch};
use super::lens;
use crate::format::ecs::all_fields;

/// What the objects are written for, and how far their types had been migrated then.
const CORE: &str = "8.8.0";
const DASHBOARD: &str = "8.7.0";
const SEARCH: &str = "8.0.0";
const DATA_VIEW: &str = "8.0.0";

/// The names of all objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectNames {
    prefix: String,
}

impl ObjectNames {
    /// Ids are unique over all spaces: objects in another space have others.
    pub(super) fn of_space(space: Option<&str>) -> Self {
        Self { prefix: space.map_or("podtap".to_owned(), |space| format!("podtap-{space}")) }
    }

    pub(super) fn data_view(&self) -> String {
        format!("{}-http", self.prefix)
    }

    pub(super) fn object(&self, id: &str) -> String {
        format!("{}-{id}", self.prefix)
    }
}

/// All objects, each after those it refers to, but for dashboards, which lead to each other.
pub(super) fn all(names: &ObjectNames, index_pattern: &str) -> Vec<Value> {
    let mut objects = vec![data_view(names, index_pattern)];
    objects.extend(SEARCHES.iter().map(|one| search(names, one)));
    objects.extend(DASHBOARDS.iter().map(|one| dashboard(names, one)));
    objects
}

fn object(kind: &str, id: &str, version: &str, attributes: Value, references: Vec<Value>) -> Value {
    json!({
        "type": kind,
        "id": id,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": CORE,
        "typeMigrationVersion": version,
    })
}

pub(super) fn reference(kind: &str, id: &str, name: String) -> Value {
    json!({ "type": kind, "id": id, "name": name })
}

/// JSON in a string, as Kibana keeps much of it.
pub(super) fn text(value: &Value) -> String {
    value.to_string()
}

fn data_view(names: &ObjectNames, index_pattern: &str) -> Value {
    let formats: Map<_, _> =
        all_fields().filter_map(|field| Some((field.name.to_owned(), format(field.name)?))).collect();
    let attributes = json!({
        "title": index_pattern,
        "name": "podtap: records",
        "timeFieldName": "@timestamp",
        "fieldFormatMap": text(&Value::Object(formats)),
        "fields": "[]",
        "fieldAttrs": "{}",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
        // It is made before the first record.
        "allowNoIndex": true,
    });
    object("index-pattern", &names.data_view(), DATA_VIEW, attributes, Vec::new())
}

/// How Kibana shows a number.
pub(super) fn format(field: &str) -> Option<Value> {
    let duration = |unit: &str| {
        json!({ "id": "duration", "params": {
            "inputFormat": unit, "outputFormat": "asMilliseconds", "outputPrecision": 2,
            "showSuffix": true, "useShortSuffix": true, "includeSpaceWithSuffix": true,
        } })
    };
    match field {
        "event.duration" => Some(duration("nanoseconds")),
        _ if field.ends_with("_us") => Some(duration("microseconds")),
        _ if field.ends_with(".bytes") || field.ends_with("_bytes") => Some(json!({ "id": "bytes" })),
        // Numbers that are names: no thousands are marked in them.
        "http.response.status_code" | "podtap.informational" | "podtap.connection.exchange" => Some(plain()),
        "podtap.http2.stream_id" | "podtap.websocket.close_code" | "podtap.sse.events" => Some(plain()),
        _ if field.starts_with("podtap.websocket.client.") || field.starts_with("podtap.websocket.server.") => {
            Some(plain())
        }
        _ if field.ends_with("_messages") => Some(plain()),
        _ if [".port", ".pid", ".vpid", ".thread.id", ".netns"].iter().any(|end| field.ends_with(end)) => Some(plain()),
        _ => None,
    }
}

fn plain() -> Value {
    json!({ "id": "number", "params": { "pattern": "0" } })
}

fn search(names: &ObjectNames, search: &SavedSearch) -> Value {
    let index = "kibanaSavedObjectMeta.searchSourceJSON.index";
    let source = json!({ "query": lens::query_of(search.about, &search.of), "filter": [], "indexRefName": index });
    let attributes = json!({
        "title": search.title,
        "description": search.description,
        "columns": search.columns,
        "sort": [["@timestamp", "desc"]],
        "grid": {},
        "hideChart": false,
        "isTextBasedQuery": false,
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    });
    let references = vec![reference("index-pattern", &names.data_view(), index.to_owned())];
    object("search", &names.object(search.id), SEARCH, attributes, references)
}

fn dashboard(names: &ObjectNames, dashboard: &Dashboard) -> Value {
    let (notes_place, places, records_place) = dashboard.places();
    let mut references = Vec::new();
    let mut panels = vec![notes(names, dashboard, notes_place)];
    for (panel, place) in dashboard.panels.iter().zip(places) {
        panels.push(chart(names, panel, place, &mut references));
    }
    panels.push(records(names, dashboard.records, records_place, &mut references));
    let controls = controls(names, &mut references);
    let source = json!({ "query": { "query": "", "language": "kuery" }, "filter": [] });
    let options = json!({
        "useMargins": true, "syncColors": true, "syncCursor": true, "syncTooltips": false, "hidePanelTitles": false,
    });
    let attributes = json!({
        "title": dashboard.title,
        "description": dashboard.question,
        "version": 1,
        "timeRestore": true,
        "timeFrom": "now-1h",
        "timeTo": "now",
        "refreshInterval": { "pause": false, "value": 60_000 },
        "optionsJSON": text(&options),
        "panelsJSON": text(&Value::Array(panels)),
        "controlGroupInput": controls,
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    });
    object("dashboard", &names.object(dashboard.id), DASHBOARD, attributes, references)
}

fn panel(kind: &str, id: &str, place: PanelPlace, config: Value) -> Map<String, Value> {
    let PanelPlace { x, y, width, height } = place;
    let grid = json!({ "x": x, "y": y, "w": width, "h": height, "i": id });
    [
        ("type", json!(kind)),
        ("panelIndex", json!(id)),
        ("gridData", grid),
        ("embeddableConfig", config),
        ("version", json!(DASHBOARD)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The way to the other dashboards, and how to read this one, in Markdown.
pub(super) fn notes_markdown(names: &ObjectNames, dashboard: &Dashboard) -> String {
    let links = DASHBOARDS.iter().map(|other| {
        let title = other.title.trim_start_matches("[podtap] ");
        if other.id == dashboard.id {
            format!("**{title}**")
        } else {
            format!("[{title}](#/view/{})", names.object(other.id))
        }
    });
    format!("{}\n\n{}", links.collect::<Vec<_>>().join(" | "), dashboard.notes)
}

fn notes(names: &ObjectNames, dashboard: &Dashboard, place: PanelPlace) -> Value {
    let markdown = notes_markdown(names, dashboard);
    let source = json!({ "query": { "query": "", "language": "kuery" }, "filter": [] });
    let vis = json!({
        "id": "", "title": "", "description": "", "type": "markdown", "uiState": {},
        "params": { "fontSize": 12, "markdown": markdown, "openLinksInNewTab": false },
        "data": { "aggs": [], "searchSource": source },
    });
    let config = json!({ "savedVis": vis, "hidePanelTitles": true, "enhancements": {} });
    Value::Object(panel("visualization", "notes", place, config))
}

fn chart(names: &ObjectNames, declared: &Panel, place: PanelPlace, references: &mut Vec<Value>) -> Value {
    let id = declared.id;
    let events = drilldowns(names, declared, references);
    references.push(reference("index-pattern", &names.data_view(), format!("{id}:{}", lens::reference_name())));
    let config = json!({
        "attributes": lens::attributes(declared, &names.data_view()),
        "hidePanelTitles": declared.chart == Chart::Number,
        "enhancements": { "dynamicActions": { "events": events } },
    });
    let mut panel = panel("lens", id, place, config);
    panel.insert("title".to_owned(), json!(declared.title));
    Value::Object(panel)
}

/// What a click on a part of a chart offers: the records behind it, and another dashboard narrowed down to it.
fn drilldowns(names: &ObjectNames, panel: &Panel, references: &mut Vec<Value>) -> Vec<Value> {
    // A number has no parts.
    if panel.chart == Chart::Number {
        return Vec::new();
    }
    let event = |id: &str, factory: &str, name: &str, config: Value| {
        json!({
            "eventId": id,
            "triggers": ["FILTER_TRIGGER"],
            "action": { "factoryId": factory, "name": name, "config": config },
        })
    };
    let own = format!("{}-records", panel.id);
    let mut events = vec![event(&own, "OPEN_IN_DISCOVER_DRILLDOWN", "The records", json!({ "openInNewTab": false }))];
    let to = panel.leads_to.and_then(|id| DASHBOARDS.iter().find(|other| other.id == id));
    if let Some(to) = to {
        let factory = "DASHBOARD_TO_DASHBOARD_DRILLDOWN";
        let own = format!("{}-{}", panel.id, to.id);
        references.push(reference(
            "dashboard",
            &names.object(to.id),
            format!("{}:drilldown:{factory}:{own}:dashboardId", panel.id),
        ));
        let config = json!({ "useCurrentFilters": true, "useCurrentDateRange": true, "openInNewTab": false });
        events.push(event(&own, factory, to.title.trim_start_matches("[podtap] "), config));
    }
    events
}

fn records(names: &ObjectNames, search: &SavedSearch, place: PanelPlace, references: &mut Vec<Value>) -> Value {
    let id = "records";
    references.push(reference("search", &names.object(search.id), format!("{id}:panel_{id}")));
    let mut panel = panel("search", id, place, json!({ "enhancements": {} }));
    panel.insert("panelRefName".to_owned(), json!(format!("panel_{id}")));
    panel.insert("title".to_owned(), json!(search.title.trim_start_matches("[podtap] ")));
    Value::Object(panel)
}

/// Lists of values on top, by which to narrow down a whole dashboard.
fn controls(names: &ObjectNames, references: &mut Vec<Value>) -> Value {
    let mut panels = Map::new();
    for (order, (field, title)) in CONTROLS.iter().enumerate() {
        let id = title.to_lowercase();
        references.push(reference(
            "index-pattern",
            &names.data_view(),
            format!("controlGroup_{id}:optionsListDataView"),
        ));
        let input = json!({
            "id": id, "fieldName": field, "title": title, "selectedOptions": [], "enhancements": {},
        });
        panels.insert(
            id,
            json!({ "order": order, "width": "medium", "grow": true, "type": "optionsListControl", "explicitInput": input }),
        );
    }
    let ignore = json!({
        "ignoreFilters": false, "ignoreQuery": false, "ignoreTimerange": false, "ignoreValidations": false,
    });
    json!({
        "chainingSystem": "HIERARCHICAL",
        "controlStyle": "oneLine",
        "ignoreParentSettingsJSON": text(&ignore),
        "panelsJSON": text(&Value::Object(panels)),
    })
}
