//! The same dashboards for OpenSearch Dashboards, which has no Lens: saved objects of the kinds that its versions 1 to 3
//! know. Owns the objects and how they refer to each other; what a visualization asks is `aggs`' and `timeline`'s.
//!
//! Written after the published source of OpenSearch Dashboards. Where one metric of several has separate records, its
//! aggregations cannot say so: the index pattern then has a scripted field for it (`scripted`).

mod aggs;
mod charts;
mod index_pattern;
mod ratio;
mod scripted;
pub(super) mod tenant;
mod timeline;

use serde_json::{Value, json};

use super::dashboards::{CONTROLS, DASHBOARDS, SEARCHES};
use super::declare::{Chart, Dashboard, Panel, PanelPlace, SavedSearch, WIDTH};
use super::objects::{ObjectNames, reference, text};
use super::{lens, objects};

/// How far the types of objects had been migrated when OpenSearch Dashboards began; no version has migrated them since.
const DASHBOARD: &str = "7.9.3";
const SEARCH: &str = "7.9.3";
const VISUALIZATION: &str = "7.10.0";
const INDEX_PATTERN: &str = "7.6.0";

/// Height of the lists of values on top.
const CONTROLS_HEIGHT: u32 = 6;

const INDEX_NAME: &str = "kibanaSavedObjectMeta.searchSourceJSON.index";

/// All objects, each after those it refers to.
pub(super) fn all(index_pattern: &str) -> Vec<Value> {
    // Each tenant keeps its objects in a separate index: ids need not differ.
    let names = ObjectNames::of_space(None);
    let mut objects = vec![index_pattern::object(&names, index_pattern)];
    objects.extend(SEARCHES.iter().map(|one| search(&names, one)));
    objects.push(controls(&names));
    for dashboard in DASHBOARDS {
        objects.push(notes(&names, dashboard));
        objects.extend(dashboard.panels.iter().map(|panel| chart(&names, dashboard, panel, index_pattern)));
    }
    objects.extend(DASHBOARDS.iter().map(|one| self::dashboard(&names, one)));
    objects
}

fn object(kind: &str, id: &str, version: &str, attributes: Value, references: Vec<Value>) -> Value {
    json!({
        "type": kind,
        "id": id,
        "attributes": attributes,
        "references": references,
        "migrationVersion": { kind: version },
    })
}

fn to_index_pattern(names: &ObjectNames, name: String) -> Value {
    reference("index-pattern", &names.data_view(), name)
}

fn search(names: &ObjectNames, search: &SavedSearch) -> Value {
    let source = json!({
        "query": lens::query_of(search.about, &search.of), "filter": [], "highlightAll": true, "version": true,
        "indexRefName": INDEX_NAME,
    });
    let attributes = json!({
        "title": search.title,
        "description": search.description,
        "columns": search.columns,
        "sort": [["@timestamp", "desc"]],
        "hits": 0,
        "version": 1,
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    });
    let references = vec![to_index_pattern(names, INDEX_NAME.to_owned())];
    object("search", &names.object(search.id), SEARCH, attributes, references)
}

/// A visualization whose state is all there is of it.
fn visualization(id: &str, state: &Value, source: &Value, references: Vec<Value>) -> Value {
    let attributes = json!({
        "title": state.get("title"),
        "description": "",
        "version": 1,
        "visState": text(state),
        "uiStateJSON": "{}",
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(source) },
    });
    object("visualization", id, VISUALIZATION, attributes, references)
}

/// Each panel is a separate object.
fn id_of(dashboard: &Dashboard, panel: &str) -> String {
    format!("{}-{panel}", dashboard.id)
}

fn chart(names: &ObjectNames, dashboard: &Dashboard, panel: &Panel, index_pattern: &str) -> Value {
    let title = format!("{}: {}", dashboard.title, panel.title);
    let id = names.object(&id_of(dashboard, panel.id));
    if timeline::fits(panel) {
        let state = timeline::state(panel, &title, index_pattern);
        return visualization(&id, &state, &json!({}), Vec::new());
    }
    if let Some(fields) = ratio::fields(panel) {
        let state = ratio::state(panel, fields, &title, index_pattern);
        return visualization(&id, &state, &json!({}), Vec::new());
    }
    let state = charts::state(panel, &title);
    let query = json!({ "query": aggs::query(panel), "language": "kuery" });
    let source = json!({ "query": query, "filter": [], "indexRefName": INDEX_NAME });
    visualization(&id, &state, &source, vec![to_index_pattern(names, INDEX_NAME.to_owned())])
}

/// The way to the other dashboards, and how to read this one.
fn notes(names: &ObjectNames, dashboard: &Dashboard) -> Value {
    let state = json!({
        "title": format!("{}: notes", dashboard.title),
        "type": "markdown",
        "params": {
            "fontSize": 12, "openLinksInNewTab": false, "markdown": objects::notes_markdown(names, dashboard),
        },
        "aggs": [],
    });
    let source = json!({ "query": { "query": "", "language": "kuery" }, "filter": [] });
    visualization(&names.object(&id_of(dashboard, "notes")), &state, &source, Vec::new())
}

/// Lists of values on top, by which to narrow down a whole dashboard; all dashboards share them.
fn controls(names: &ObjectNames) -> Value {
    let mut references = Vec::new();
    let list = CONTROLS.iter().enumerate().map(|(number, (field, title))| {
        let name = format!("control_{number}_index_pattern");
        references.push(to_index_pattern(names, name.clone()));
        json!({
            "id": title.to_lowercase(), "fieldName": field, "label": title, "type": "list", "parent": "",
            "indexPatternRefName": name,
            "options": { "type": "terms", "multiselect": true, "dynamicOptions": true, "size": 20, "order": "desc" },
        })
    });
    let list: Vec<_> = list.collect();
    let state = json!({
        "title": "[podtap] Narrow down",
        "type": "input_control_vis",
        "params": { "controls": list, "updateFiltersOnChange": true, "useTimeFilter": true, "pinFilters": false },
        "aggs": [],
    });
    visualization(&names.object("controls"), &state, &json!({}), references)
}

fn dashboard(names: &ObjectNames, dashboard: &Dashboard) -> Value {
    let mut panels = Panels::default();
    let (notes, places, records) = dashboard.places();
    let lower = |place: PanelPlace| PanelPlace { y: place.y + CONTROLS_HEIGHT, ..place };
    let top = PanelPlace { x: 0, y: notes.height, width: WIDTH, height: CONTROLS_HEIGHT };
    panels.add(ShownPanel::unnamed("visualization", names.object(&id_of(dashboard, "notes"))), notes);
    panels.add(ShownPanel::unnamed("visualization", names.object("controls")), top);
    for (panel, place) in dashboard.panels.iter().zip(places) {
        let id = names.object(&id_of(dashboard, panel.id));
        panels.add(ShownPanel { kind: "visualization", id, title: Some(panel.title) }, lower(place));
    }
    let title = dashboard.records.title.trim_start_matches("[podtap] ");
    let id = names.object(dashboard.records.id);
    panels.add(ShownPanel { kind: "search", id, title: Some(title) }, lower(records));
    let source = json!({ "query": { "query": "", "language": "kuery" }, "filter": [] });
    let attributes = json!({
        "title": dashboard.title,
        "description": dashboard.question,
        "hits": 0,
        "version": 1,
        "timeRestore": true,
        "timeFrom": "now-1h",
        "timeTo": "now",
        "refreshInterval": { "pause": false, "value": 60_000 },
        "optionsJSON": text(&json!({ "useMargins": true, "hidePanelTitles": false })),
        "panelsJSON": text(&Value::Array(panels.panels)),
        "kibanaSavedObjectMeta": { "searchSourceJSON": text(&source) },
    });
    object("dashboard", &names.object(dashboard.id), DASHBOARD, attributes, panels.references)
}

/// What a panel shows.
struct ShownPanel {
    kind: &'static str,
    id: String,
    /// None: it has none.
    title: Option<&'static str>,
}

impl ShownPanel {
    fn unnamed(kind: &'static str, id: String) -> Self {
        Self { kind, id, title: None }
    }
}

#[derive(Default)]
struct Panels {
    panels: Vec<Value>,
    references: Vec<Value>,
}

impl Panels {
    fn add(&mut self, shown: ShownPanel, place: PanelPlace) {
        let index = self.panels.len().to_string();
        let name = format!("panel_{index}");
        let PanelPlace { x, y, width, height } = place;
        let mut panel = json!({
            "version": VISUALIZATION,
            "panelIndex": index,
            "gridData": { "x": x, "y": y, "w": width, "h": height, "i": index },
            "panelRefName": name,
            "embeddableConfig": { "hidePanelTitles": shown.title.is_none() },
        });
        if let (Some(title), Value::Object(panel)) = (shown.title, &mut panel) {
            panel.insert("title".to_owned(), json!(title));
        }
        self.panels.push(panel);
        self.references.push(reference(shown.kind, &shown.id, name));
    }
}

/// The kind of visualization that draws it, where aggregations say it.
fn kind(chart: Chart) -> &'static str {
    match chart {
        Chart::Number => "metric",
        Chart::Lines => "line",
        Chart::Stack | Chart::Shares => "histogram",
        Chart::Ranking => "horizontal_bar",
        Chart::Table => "table",
    }
}

#[cfg(test)]
mod tests;
