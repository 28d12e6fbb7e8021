//! The Grafana dashboards against what podtap exposes. Every metric and label of its queries is one of docs/metrics.md,
//! which another test keeps equal to the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// What Prometheus itself adds, or the scrape configuration.
const ADDED: [&str; 2] = ["job", "instance"];

/// What must not be missed.
const LOSSES: &[&str] = &[
    "podtap_kernel_dropped_packets_total",
    "podtap_gap_bytes_total",
    "podtap_sink_dropped_records_total",
    "podtap_sink_rejected_records_total",
    "podtap_ledger_imbalances",
];

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Each with the variables that it has.
const DASHBOARDS: [(&str, &[&str]); 2] = [
    ("grafana/network.json", &["datasource", "instance", "job"]),
    ("grafana/podtap.json", &["datasource", "direction", "instance", "job"]),
];

/// NetLog's metrics, as docs/flows.md lists them, and whether each is a histogram.
const NETLOG: [(&str, bool); 4] = [
    ("netlog_network_bytes_total", false),
    ("netlog_network_packets_total", false),
    ("netlog_network_connections_active", false),
    ("netlog_network_connection_duration_seconds", true),
];
const NETLOG_LABELS: [&str; 7] = ["namespace", "name", "source", "destination", "protocol", "port", "direction"];

fn dashboard(path: &str) -> Value {
    serde_json::from_str(&file(path)).unwrap()
}

fn dashboards() -> impl Iterator<Item = Value> {
    DASHBOARDS.iter().map(|(path, _)| dashboard(path))
}

/// Labels of each metric; of a histogram all three series.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    for row in file("docs/metrics.md").lines().filter(|line| line.starts_with("| `podtap_")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let labels: BTreeSet<String> = cells[3].split(", ").filter(|label| !label.is_empty()).map(Into::into).collect();
        if cells[2] == "histogram" {
            let with_le = labels.iter().cloned().chain(["le".to_owned()]).collect();
            metrics.insert(format!("{name}_bucket"), with_le);
            metrics.insert(format!("{name}_sum"), labels.clone());
            metrics.insert(format!("{name}_count"), labels);
        } else {
            metrics.insert(name.to_owned(), labels);
        }
    }
    for (name, histogram) in NETLOG {
        assert!(file("docs/flows.md").contains(name), "{name}");
        let labels: BTreeSet<String> = NETLOG_LABELS.map(Into::into).into();
        if histogram {
            metrics.insert(format!("{name}_bucket"), labels.into_iter().chain(["le".to_owned()]).collect());
        } else {
            metrics.insert(name.to_owned(), labels);
        }
    }
    metrics
}

/// Every query: panels', and variables'.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| variable["query"]["query"].as_str().map(str::to_owned));
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).chain(variables).collect()
}

/// Words of a query, each with the text right behind it.
fn words(query: &str) -> Vec<(&str, &str)> {
    let mut words = Vec::new();
    let mut quoted = false;
    let mut begin = None;
    for (at, letter) in query.char_indices().chain([(query.len(), ' ')]) {
        quoted ^= letter == '"';
        let part = !quoted && (letter.is_ascii_alphanumeric() || letter == '_');
        match (part, begin) {
            (true, None) => begin = Some(at),
            (false, Some(from)) => {
                words.push((&query[from..at], &query[at..]));
                begin = None;
            }
            _ => {}
        }
    }
    words
}

/// What a query wants of a metric: selectors, and labels to group by.
fn check(query: &str, metrics: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, String> {
    let named: Vec<_> = words(query)
        .into_iter()
        .filter(|(word, _)| word.starts_with("podtap_") || word.starts_with("netlog_"))
        .collect();
    let mut all = BTreeSet::new();
    for (name, behind) in &named {
        let labels = metrics.get(*name).ok_or(format!("{name} is not exposed"))?;
        all.extend(labels.iter().map(String::as_str));
        let selector = behind.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        for label in words(selector).into_iter().filter(|(_, behind)| behind.starts_with('=')).map(|(label, _)| label) {
            if !labels.contains(label) && !ADDED.contains(&label) {
                return Err(format!("{name} has no label {label}"));
            }
        }
    }
    for group in query.split(" by (").skip(1) {
        for label in group.split(')').next().unwrap_or_default().split(',').map(str::trim) {
            if !all.contains(label) {
                return Err(format!("nothing has the label {label}"));
            }
        }
    }
    Ok(named.into_iter().map(|(name, _)| name.to_owned()).collect())
}

#[test]
fn every_metric_and_label_of_the_dashboard_is_exposed_and_no_loss_is_left_out() {
    let metrics = metrics();
    assert!(metrics.len() > 50);
    let mut shown = BTreeSet::new();
    for query in dashboards().flat_map(|dashboard| queries(&dashboard)) {
        let names = check(&query, &metrics).unwrap_or_else(|why| panic!("{query}: {why}"));
        assert!(!names.is_empty(), "{query}: asks for nothing");
        shown.extend(names);
    }
    LOSSES.iter().for_each(|name| assert!(shown.contains(*name), "{name} is not shown"));
}

#[test]
fn names_in_legends_are_labels_that_the_query_leaves() {
    let panels = dashboards().flat_map(|dashboard| dashboard["panels"].as_array().unwrap().clone());
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (query, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            for name in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
                let groups = query.split(" by (").skip(1).map(|group| group.split(')').next().unwrap());
                assert!(groups.flat_map(|group| group.split(", ")).any(|label| label == name), "{legend}: {query}");
            }
        }
    }
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_overlap() {
    for (path, variables) in DASHBOARDS {
        let dashboard = dashboard(path);
        panels_are_apart(&dashboard);
        let declared: BTreeSet<_> =
            dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(declared, variables.iter().copied().collect(), "{path}");
    }
}

fn panels_are_apart(dashboard: &Value) {
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} stands on another one", panel["title"]);
            }
        }
    }
}

#[test]
fn what_is_not_exposed_is_found() {
    let metrics = metrics();
    for (query, right) in [
        ("sum by (sink) (rate(podtap_sink_delivered_records_total{job=~\"x\",sink=\"a\"}[5m]))", true),
        ("histogram_quantile(0.9, sum by (le) (rate(podtap_http_request_duration_seconds_bucket[5m])))", true),
        ("podtap_no_such_thing", false),
        ("podtap_gaps_total{sink=\"a\"}", false),
        ("sum by (le) (podtap_gaps_total)", false),
    ] {
        assert_eq!(check(query, &metrics).is_ok(), right, "{query}");
    }
}
