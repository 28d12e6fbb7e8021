//! Whether the objects for OpenSearch Dashboards hold together, and say nothing that it does not know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::format::ecs::all_fields;
use crate::settings::VARIABLES;
use crate::setup::kibana::declare::{Chart, Compute, WIDTH};
use crate::setup::kibana::{CONTROLS, DASHBOARDS, SEARCHES, opensearch_ndjson};

fn objects() -> Vec<Value> {
    opensearch_ndjson("web-*").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

/// JSON that is kept in a string.
fn inner(value: &Value) -> Value {
    serde_json::from_str(text(value)).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value}"))
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == kind).collect()
}

/// Every visualization's id and state.
fn states(objects: &[Value]) -> Vec<(&str, Value)> {
    let all = of_kind(objects, "visualization").into_iter();
    all.map(|object| (text(&object["id"]), inner(&object["attributes"]["visState"]))).collect()
}

/// The fields of the index pattern, by name.
fn fields(objects: &[Value]) -> BTreeMap<String, Value> {
    let all = inner(&of_kind(objects, "index-pattern")[0]["attributes"]["fields"]);
    let by_name: BTreeMap<_, _> =
        list(&all).iter().map(|field| (text(&field["name"]).to_owned(), field.clone())).collect();
    assert_eq!(by_name.len(), list(&all).len(), "names are unique");
    by_name
}

#[test]
fn the_file_is_what_the_declarations_say() {
    let default = VARIABLES.iter().find(|variable| variable.name == "ELASTICSEARCH_INDEX").unwrap().default;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kibana/podtap-opensearch.ndjson");
    let rendered = opensearch_ndjson(default);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == rendered,
        "kibana/podtap-opensearch.ndjson is out of date; run: UPDATE=1 cargo test --lib setup::kibana"
    );
}

/// Its mapping is strict: an object with an attribute that it does not know cannot be stored.
#[test]
fn no_object_has_an_attribute_that_is_not_in_the_mapping() {
    let objects = objects();
    for (kind, version, known) in [
        ("index-pattern", "7.6.0", "title timeFieldName fields fieldFormatMap"),
        ("search", "7.9.3", "columns description hits kibanaSavedObjectMeta sort title version"),
        ("visualization", "7.10.0", "description kibanaSavedObjectMeta title uiStateJSON version visState"),
        (
            "dashboard",
            "7.9.3",
            "description hits kibanaSavedObjectMeta optionsJSON panelsJSON refreshInterval timeFrom timeRestore timeTo \
             title version",
        ),
    ] {
        let all = of_kind(&objects, kind);
        assert!(!all.is_empty(), "{kind}");
        for object in all {
            assert_eq!(names(&object["attributes"]), known.split(' ').collect(), "{kind}");
            assert_eq!(object["migrationVersion"], serde_json::json!({ kind: version }));
            assert_eq!(names(object), BTreeSet::from(["attributes", "id", "migrationVersion", "references", "type"]));
            if let Some(meta) = object["attributes"].get("kibanaSavedObjectMeta") {
                assert_eq!(names(meta), BTreeSet::from(["searchSourceJSON"]));
                assert!(inner(&meta["searchSourceJSON"]).is_object());
            }
        }
    }
    let kinds: BTreeSet<_> = objects.iter().map(|object| text(&object["type"])).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

#[test]
fn every_reference_leads_to_an_object_of_the_file_and_is_used_by_its_name() {
    let objects = objects();
    let key = |of: &Value| (text(&of["type"]).to_owned(), text(&of["id"]).to_owned());
    let ids: BTreeSet<_> = objects.iter().map(key).collect();
    assert_eq!(ids.len(), objects.len(), "ids are unique");
    for object in &objects {
        let references = list(&object["references"]);
        let found: BTreeSet<_> = references.iter().map(|reference| text(&reference["name"]).to_owned()).collect();
        assert_eq!(found.len(), references.len(), "names are unique");
        assert!(references.iter().all(|reference| ids.contains(&key(reference))), "{references:?}");
        let mut wanted = BTreeSet::new();
        let attributes = &object["attributes"];
        if let Some(meta) = attributes.get("kibanaSavedObjectMeta") {
            let source = inner(&meta["searchSourceJSON"]);
            wanted.extend(source.get("indexRefName").map(|name| text(name).to_owned()));
        }
        let state = attributes.get("visState").map(inner).unwrap_or_default();
        let controls = state["params"]["controls"].as_array().into_iter().flatten();
        wanted.extend(controls.map(|control| text(&control["indexPatternRefName"]).to_owned()));
        if let Some(panels) = attributes.get("panelsJSON") {
            wanted.extend(list(&inner(panels)).iter().map(|panel| text(&panel["panelRefName"]).to_owned()));
        }
        assert_eq!(found, wanted, "{}", object["id"]);
        for link in object.to_string().split("#/view/").skip(1) {
            let id = link.split(')').next().unwrap();
            assert!(ids.contains(&("dashboard".to_owned(), id.to_owned())), "{id}");
        }
    }
}

/// Each panel of a declaration is one of its dashboard; nothing lies upon another.
#[test]
fn every_panel_is_on_its_dashboard() {
    let objects = objects();
    for declared in DASHBOARDS {
        let id = format!("podtap-{}", declared.id);
        let dashboard = of_kind(&objects, "dashboard").into_iter().find(|object| object["id"] == id.as_str()).unwrap();
        let panels = inner(&dashboard["attributes"]["panelsJSON"]);
        let shown: Vec<_> = list(&dashboard["references"]).iter().map(|reference| text(&reference["id"])).collect();
        let wanted: Vec<_> = declared.panels.iter().map(|panel| format!("{id}-{}", panel.id)).collect();
        let own = shown.get(2..shown.len() - 1).unwrap();
        assert_eq!(own, wanted);
        assert_eq!(shown[0], format!("{id}-notes"));
        assert_eq!(shown[1], "podtap-controls");
        let mut taken = BTreeSet::new();
        for panel in list(&panels) {
            let at = |name: &str| panel["gridData"][name].as_u64().unwrap();
            assert_eq!(panel["gridData"]["i"], panel["panelIndex"]);
            assert!(at("x") + at("w") <= u64::from(WIDTH));
            for x in at("x")..at("x") + at("w") {
                (at("y")..at("y") + at("h")).for_each(|y| assert!(taken.insert((x, y)), "{id}: {panel}"));
            }
        }
    }
}

#[test]
fn every_field_is_one_of_the_record_or_computed_of_them() {
    let objects = objects();
    let fields = fields(&objects);
    let known = |name: &str| all_fields().any(|field| field.name == name);
    all_fields().for_each(|field| assert!(fields.contains_key(field.name), "{}", field.name));
    for (name, field) in &fields {
        let scripted = field["scripted"] == true;
        assert_eq!(!scripted && !name.starts_with('_'), known(name), "{name}");
        // Without all three it is fetched again, from an index that may not be there.
        ["searchable", "aggregatable", "readFromDocValues"].iter().for_each(|flag| assert!(field[flag].is_boolean()));
        if scripted {
            for part in text(&field["script"]).split("doc['").skip(1) {
                let of = part.split('\'').next().unwrap();
                assert!(known(of) && fields[of]["readFromDocValues"] == true, "{name}: {of}");
            }
        }
    }
    let mut used = BTreeSet::new();
    for (id, state) in states(&objects) {
        for agg in list(&state["aggs"]) {
            let Some(name) = agg["params"].get("field").map(text) else { continue };
            let field = fields.get(name).unwrap_or_else(|| panic!("{id}: {name} is no field"));
            assert_eq!(field["aggregatable"], true, "{id}: {name}");
            let kind = text(&field["type"]);
            let fits: &[&str] = match text(&agg["type"]) {
                "sum" | "avg" | "max" | "percentiles" => &["number"],
                "date_histogram" => &["date"],
                "terms" => &["string", "number", "ip", "boolean", "date"],
                "cardinality" => &["string", "number", "ip", "boolean"],
                other => panic!("{id}: {other}"),
            };
            assert!(fits.contains(&kind), "{id}: {name} is {kind}");
            used.insert(name.to_owned());
        }
        if let Some(spec) = state["params"].get("spec") {
            let aggs = &inner(spec)["data"][0]["url"]["body"]["aggs"]["of"]["aggs"];
            ["some", "all"].into_iter().for_each(|sum| assert!(known(text(&aggs[sum]["sum"]["field"])), "{id}"));
        }
        for series in state["params"]["series"].as_array().into_iter().flatten() {
            let metrics = list(&series["metrics"]).iter().filter(|metric| metric["type"] != "calculation");
            let of = metrics.filter_map(|metric| metric.get("field")).chain(series.get("terms_field"));
            of.for_each(|field| assert!(known(text(field)), "{id}: {field}"));
        }
    }
    let unused = fields.iter().find(|(name, field)| field["scripted"] == true && !used.contains(*name));
    assert_eq!(unused, None, "a computed field that nothing asks for");
    SEARCHES.iter().flat_map(|search| search.columns).for_each(|column| assert!(known(column)));
    CONTROLS.iter().for_each(|(field, _)| assert_eq!(fields[*field]["aggregatable"], true));
}

/// What its visualizations take: aggregations in their order, by ids of which none begins with another one.
#[test]
fn every_visualization_is_one_that_can_be_drawn() {
    for (id, state) in states(&objects()) {
        let aggs = list(&state["aggs"]);
        let of = |schema: &str| aggs.iter().filter(|agg| agg["schema"] == schema).count();
        let (metrics, segments, groups, buckets) = (of("metric"), of("segment"), of("group"), of("bucket"));
        assert_eq!(metrics + segments + groups + buckets, aggs.len(), "{id}");
        match text(&state["type"]) {
            "metric" => assert_eq!((metrics, aggs.len()), (1, 1), "{id}"),
            "table" => assert!(buckets > 0 && metrics > 0 && segments + groups == 0, "{id}"),
            "histogram" | "horizontal_bar" | "line" => {
                assert!(segments == 1 && groups <= 3 && metrics > 0 && buckets == 0, "{id}");
                // The last division lies along the axis: those before it are of the whole.
                assert_eq!(aggs.last().unwrap()["schema"], "segment", "{id}");
                let drawn: Vec<_> =
                    list(&state["params"]["seriesParams"]).iter().map(|one| &one["data"]["id"]).collect();
                assert_eq!(drawn, aggs[..metrics].iter().map(|agg| &agg["id"]).collect::<Vec<_>>(), "{id}");
            }
            "markdown" | "input_control_vis" | "vega" => assert!(aggs.is_empty()),
            "metrics" => time_series(id, &state["params"]),
            other => panic!("{id}: {other}"),
        }
        let ids: BTreeSet<_> = aggs.iter().map(|agg| text(&agg["id"])).collect();
        assert!(ids.len() == aggs.len() && ids.iter().all(|id| id.len() == 2), "{id}");
        for agg in aggs {
            let order = agg["params"].get("orderBy").map(text);
            assert!(order.is_none_or(|order| ids.contains(order.split('.').next().unwrap())), "{id}");
        }
    }
}

/// A ratio is a number, or two columns of a table; along an axis it has no words yet.
#[test]
fn every_ratio_has_words() {
    for panel in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
        let ratio = panel.metrics.iter().any(|metric| matches!(metric.what, Compute::Ratio(..)));
        assert!(!ratio || matches!(panel.chart, Chart::Number | Chart::Table), "{}", panel.id);
    }
}

/// The names that the published schema of time series knows (others are refused by it), and the ones it needs.
fn time_series(id: &str, params: &Value) {
    const PANEL: &str = "id type series index_pattern time_field interval drop_last_bucket filter ignore_global_filter \
                         axis_position axis_formatter axis_scale axis_min show_legend legend_position show_grid tooltip_mode";
    const SERIES: &str = "id label color metrics formatter chart_type stacked line_width point_size fill separate_axis \
                          axis_position override_index_pattern split_color_mode split_mode";
    const SPLIT: &str = "split_filters terms_field terms_size terms_order_by terms_direction filter";
    let words = |list: &'static str| list.split_whitespace().collect::<BTreeSet<_>>();
    assert_eq!(names(params), words(PANEL), "{id}");
    for series in list(&params["series"]) {
        let more = names(series).difference(&words(SERIES)).copied().collect::<BTreeSet<_>>();
        assert!(names(series).is_superset(&words(SERIES)) && more.is_subset(&words(SPLIT)), "{id}: {more:?}");
        let ids: BTreeSet<_> = list(&series["metrics"]).iter().map(|metric| text(&metric["id"])).collect();
        for variable in list(&series["metrics"]).iter().filter_map(|metric| metric.get("variables")).flat_map(list) {
            assert!(ids.contains(text(&variable["field"])), "{id}");
        }
    }
}
