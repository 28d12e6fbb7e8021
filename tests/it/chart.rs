//! What the chart says of settings and values is what is declared: `values.yaml`, its schema, the table of its README.
//!
//! Renders nothing: `scripts/charts` does, with Helm.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use podtap::settings::{GROUPS, Settings, VARIABLES, Variable, wrapped};
use serde_json::{Map, Value, json};

/// What the sidecar's own template sets, by the Downward API: it is no configuration.
const GIVEN: [&str; 8] = [
    "POD_NAME",
    "POD_NAMESPACE",
    "POD_UID",
    "POD_IP",
    "POD_IPS",
    "NODE_NAME",
    "POD_LABELS_PATH",
    "POD_ANNOTATIONS_PATH",
];

/// Width of the comments in `values.yaml`.
const WIDTH: usize = 116;

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = read("charts/podtap/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nappVersion: \"{version}\"\n")), "{chart}");
}

#[test]
fn values_and_readme_list_every_setting_with_its_meaning() {
    let mut text = String::new();
    for group in GROUPS {
        let mut variables = configured().filter(|variable| variable.group == *group && !variable.secret).peekable();
        if variables.peek().is_some() {
            let _ = write!(text, "\n  ## {group}\n\n");
        }
        for variable in variables {
            for line in wrapped(&said(variable), WIDTH) {
                let _ = writeln!(text, "  # {line}");
            }
            let _ = writeln!(text, "  {}: \"\"", variable.name);
        }
    }
    between("charts/podtap/values.yaml", "  # <settings>\n", "  # </settings>\n", &text);
    between(
        "charts/podtap/README.md",
        "<!-- values -->\n",
        "<!-- /values -->",
        &table(&read("charts/podtap/values.yaml")),
    );
}

#[test]
fn the_schema_knows_every_setting_and_no_other_name() {
    let path = "charts/podtap/values.schema.json";
    let mut schema: Value = serde_json::from_str(&read(path)).unwrap();
    let mut properties = Map::new();
    for variable in configured() {
        let names = [Some(variable.name.to_owned()), variable.file(), variable.old.map(str::to_owned)];
        for name in names.into_iter().flatten() {
            let types = json!(["string", "number", "boolean", "array", "null"]);
            properties.insert(name, json!({"description": variable.meaning, "type": types}));
        }
    }
    schema["properties"]["config"]["properties"] = Value::Object(properties);
    whole(path, &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
}

#[test]
fn the_chart_knows_which_settings_are_secrets() {
    let secrets: Vec<_> = configured().filter(|variable| variable.secret).map(|variable| variable.name).collect();
    let text = format!(
        "{{{{/* Made by `UPDATE=1 cargo test --test it chart`: the settings that no ConfigMap may hold. */}}}}\n\
         {{{{- define \"podtap.secrets\" -}}}}\n{}\n{{{{- end -}}}}\n",
        secrets.join(" ")
    );
    whole("charts/podtap/templates/_secrets.tpl", &text);
}

#[test]
fn what_is_not_configured_the_sidecar_gets_from_its_pod() {
    let template = read("charts/podtap/templates/_podtap.tpl");
    for variable in VARIABLES.iter().filter(|variable| GIVEN.contains(&variable.name)) {
        let set = template.contains(&format!("- name: {}\n", variable.name));
        let mounted = variable.default.rsplit_once('/').is_some_and(|(folder, file)| {
            template.contains(&format!("mountPath: {folder}\n")) && template.contains(&format!("path: {file}\n"))
        });
        assert!(set || mounted, "{} is neither set nor a file", variable.name);
    }
}

#[test]
fn the_settings_of_every_example_are_valid_and_nothing_about_them_is_strange() {
    let files = found(&root().join("examples"), "env");
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("{}: {line}", file.display())));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        match Settings::from_pairs(pairs, [], |_| Err("no files here".to_owned())) {
            Ok((_, notes)) => assert!(notes.is_empty(), "{}: {notes:?}", file.display()),
            Err(wrong) => panic!("{}: {wrong}", file.display()),
        }
    }
}

#[test]
fn chart_and_examples_demonstrate_the_same() {
    for file in ["nginx.conf", "client.sh"] {
        let (chart, example) = (format!("charts/podtap/files/demo/{file}"), format!("examples/kubernetes/demo/{file}"));
        assert!(read(&chart) == read(&example), "{chart} and {example} differ");
    }
}

/// The table of the chart's README.
fn table(values: &str) -> String {
    let rows = rows(values);
    assert!(rows.len() > VARIABLES.len(), "values.yaml was not understood");
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for row in rows {
        let setting = VARIABLES.iter().find(|variable| row.path == format!("config.{}", variable.name));
        let (default, meaning) = match setting {
            Some(variable) => (variable.default, format!("{} Allowed: {}.", variable.meaning, variable.allowed())),
            None => (&*row.default, row.meaning),
        };
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let _ = writeln!(table, "| `{}` | {default} | {} |", row.path, cell(&meaning));
    }
    table
}

/// Text for a cell: without what Markdown takes for the end of it, or for emphasis.
fn cell(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(n, part)| if n % 2 == 0 { part.replace('*', "\\*") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`").replace('|', "\\|")
}

/// One value of the chart.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    default: String,
    meaning: String,
}

/// The values of a `values.yaml` as this project writes it: each key on its own line, what it means in the comment right
/// above. Keys that hold others have a row only where they have a comment.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut above, mut comment) = (Vec::new(), Vec::<(usize, &str)>::new(), Vec::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(said) = trimmed.strip_prefix("# ") {
            comment.push(said);
        } else if let Some((key, default)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('#')) {
            above.retain(|(depth, _)| *depth < indent);
            above.push((indent, key));
            let path = above.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
            let (default, meaning) = (default.trim().to_owned(), comment.join(" "));
            if !(default.is_empty() && meaning.is_empty()) {
                rows.push(Row { path, default, meaning });
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    rows
}

#[test]
fn values_are_read_with_their_comments() {
    let text = "# Of the file.\n\n# One.\n# More.\na: 1\nb:\n  # Two.\n  c: \"\"\n  ## Heading\n  d: []\n# Three.\ne:\n  f: x:1\n";
    let row = |path: &str, default: &str, meaning: &str| Row {
        path: path.to_owned(),
        default: default.to_owned(),
        meaning: meaning.to_owned(),
    };
    let expected = [
        row("a", "1", "One. More."),
        row("b.c", "\"\"", "Two."),
        row("b.d", "[]", ""),
        row("e", "", "Three."),
        row("e.f", "x:1", ""),
    ];
    assert_eq!(rows(text), expected);
}

/// What users set.
fn configured() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().filter(|variable| !GIVEN.contains(&variable.name))
}

fn said(variable: &Variable) -> String {
    format!("{} Allowed: {}. Default: {}.", variable.meaning, variable.allowed(), variable.default)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files under `folder` whose names end so.
fn found(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(found(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            files.push(path);
        }
    }
    files
}

/// The part of a file between two lines is `expected`; with UPDATE it becomes so.
fn between(path: &str, begin: &str, end: &str, expected: &str) {
    let text = read(path);
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{path} has no line {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("{path} has no line {end}"));
    whole(path, &format!("{before}{begin}{expected}{end}{after}"));
}

/// A file is `expected`; with UPDATE it becomes so.
fn whole(path: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(path), expected).unwrap();
    } else {
        assert!(read(path) == expected, "{path} is out of date: UPDATE=1 cargo test --test it chart");
    }
}
