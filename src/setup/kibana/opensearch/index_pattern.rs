//! The index pattern: every field of the record, and the computed ones. So nothing must be fetched from an index that
//! may not be there yet.

use serde_json::{Map, Value, json};

use super::scripted::{ScriptedField, type_of};
use super::{INDEX_PATTERN, aggs};
use crate::format::ecs::all_fields;
use crate::format::fields::FieldType;
use crate::setup::kibana::dashboards::DASHBOARDS;
use crate::setup::kibana::objects::{ObjectNames, format, text};

/// Fields that every hit has.
const META: &[(&str, &str, bool)] =
    &[("_id", "string", true), ("_index", "string", true), ("_score", "number", false), ("_source", "_source", false)];

pub(super) fn object(names: &ObjectNames, index_pattern: &str) -> Value {
    let scripted = scripted();
    let meta = META.iter().map(|(name, kind, of_index)| {
        field(name, kind, *name == "_source" || *of_index, &[name]).searchable(*of_index, false)
    });
    let known = all_fields().map(|known| {
        let groups = !matches!(known.kind, FieldType::Object | FieldType::Flattened);
        field(known.name, type_of(known.name), true, &[stored_as(known.kind)]).searchable(true, groups)
    });
    let fields: Vec<_> =
        meta.chain(known).map(|field| field.0).chain(scripted.iter().map(ScriptedField::field)).collect();
    let plain = all_fields().filter_map(|field| Some((field.name.to_owned(), format(field.name)?)));
    let computed = scripted.iter().filter_map(|field| Some((field.name.clone(), field.format()?)));
    let formats: Map<_, _> = plain.chain(computed).collect();
    let attributes = json!({
        "title": index_pattern,
        "timeFieldName": "@timestamp",
        "fields": text(&Value::Array(fields)),
        "fieldFormatMap": text(&Value::Object(formats)),
    });
    super::object("index-pattern", &names.data_view(), INDEX_PATTERN, attributes, Vec::new())
}

struct PatternField(Value);

fn field(name: &str, kind: &str, has_types: bool, stored: &[&str]) -> PatternField {
    let mut field = json!({ "name": name, "type": kind, "count": 0, "scripted": false });
    if let (true, Value::Object(field)) = (has_types, &mut field) {
        field.insert("esTypes".to_owned(), json!(stored));
    }
    PatternField(field)
}

impl PatternField {
    fn searchable(mut self, searchable: bool, groups: bool) -> Self {
        if let Value::Object(field) = &mut self.0 {
            field.insert("searchable".to_owned(), json!(searchable));
            field.insert("aggregatable".to_owned(), json!(groups || field.get("name") == Some(&json!("_id"))));
            field.insert("readFromDocValues".to_owned(), json!(groups));
        }
        self
    }
}

/// The type in the mapping that `podtap setup` makes in OpenSearch.
fn stored_as(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Date => "date_nanos",
        FieldType::Keyword | FieldType::Wildcard => "keyword",
        FieldType::Long => "long",
        FieldType::Ip => "ip",
        FieldType::Boolean => "boolean",
        FieldType::Object | FieldType::Flattened => "flat_object",
    }
}

/// All computed fields that a panel asks for, each once, in the order of the panels.
fn scripted() -> Vec<ScriptedField> {
    let mut all: Vec<ScriptedField> = Vec::new();
    for panel in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
        for scripted in aggs::scripted(panel) {
            if !all.contains(&scripted) {
                all.push(scripted);
            }
        }
    }
    all
}
