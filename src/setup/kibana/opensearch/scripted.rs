//! What aggregations cannot say by themselves: a metric of some of the records, next to others. Then a field of the
//! index pattern says it, computed of each record by a script. It is 1 or 0 (added up, or as an average: a share), or
//! the value of another field where a filter holds. Draws nothing.

use serde_json::{Value, json};

use crate::format::ecs::all_fields;
use crate::format::fields::FieldType;
use crate::setup::kibana::declare::{Compute, PanelFilter, PanelMetric};
use crate::setup::kibana::objects;

/// A field that is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptedField {
    /// Unique for what it is.
    pub(super) name: String,
    /// What it is.
    pub(super) what: ScriptedValue,
    /// The script.
    pub(super) script: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptedValue {
    /// 1 or 0, to be added up.
    Counted,
    /// 1 or 0, of which the average is a share.
    Share,
    /// The value of another field.
    Value(&'static str),
}

impl ScriptedField {
    /// What the metric takes; none where a plain aggregation says it.
    pub(super) fn of(metric: &PanelMetric) -> Option<Self> {
        let (of, slug) = (&metric.of, slug(&metric.of));
        let truth = || format!("return {} ? 1 : 0", painless(of));
        match (metric.what, of) {
            (Compute::Share, _) => {
                Some(Self { name: format!("podtap.share.{slug}"), what: ScriptedValue::Share, script: truth() })
            }
            (_, PanelFilter::Any) | (Compute::Ratio(..), _) => None,
            (Compute::Count | Compute::PerSecond, _) => {
                Some(Self { name: format!("podtap.count.{slug}"), what: ScriptedValue::Counted, script: truth() })
            }
            (
                Compute::Distinct(field) | Compute::Sum(field) | Compute::Max(field) | Compute::Percentile(field, _),
                _,
            ) => {
                let there = painless(&PanelFilter::Has(field));
                let script = format!("if ({} && {there}) {{ return doc['{field}'] }} return null", painless(of));
                Some(Self { name: format!("{field}.of.{slug}"), what: ScriptedValue::Value(field), script })
            }
        }
    }

    /// How it is shown.
    pub(super) fn format(&self) -> Option<Value> {
        match self.what {
            ScriptedValue::Counted => Some(json!({ "id": "number", "params": { "pattern": "0,0" } })),
            ScriptedValue::Share => Some(json!({ "id": "percent", "params": { "pattern": "0,0.0%" } })),
            ScriptedValue::Value(field) => objects::format(field),
        }
    }

    /// As the index pattern keeps it.
    pub(super) fn field(&self) -> Value {
        let kind = match self.what {
            ScriptedValue::Counted | ScriptedValue::Share => "number",
            ScriptedValue::Value(field) => type_of(field),
        };
        json!({
            "name": self.name, "type": kind, "count": 0, "scripted": true, "script": self.script, "lang": "painless",
            "searchable": true, "aggregatable": true, "readFromDocValues": false,
        })
    }
}

/// What OpenSearch Dashboards calls the type of a field.
pub(super) fn type_of(field: &str) -> &'static str {
    match kind(field) {
        Some(FieldType::Long) => "number",
        Some(FieldType::Ip) => "ip",
        Some(FieldType::Boolean) => "boolean",
        Some(FieldType::Date) => "date",
        Some(FieldType::Keyword | FieldType::Wildcard) => "string",
        Some(FieldType::Object | FieldType::Flattened) | None => "unknown",
    }
}

fn kind(field: &str) -> Option<FieldType> {
    all_fields().find(|known| known.name == field).map(|known| known.kind)
}

/// The filter as an expression. An index that does not know a field has no record of which anything holds; numbers of a
/// record come in order, the least first.
fn painless(filter: &PanelFilter) -> String {
    let known = |field: &str, holds: &str| format!("(doc.containsKey('{field}') && {holds})");
    let there = |field: &str, more: &str| known(field, &format!("doc['{field}'].size() > 0{more}"));
    match filter {
        PanelFilter::Any => "true".to_owned(),
        PanelFilter::Is(field, value) => known(field, &format!("doc['{field}'].contains({})", literal(field, value))),
        PanelFilter::Has(field) => there(field, ""),
        PanelFilter::From(field, least) => {
            there(field, &format!(" && doc['{field}'].get(doc['{field}'].size() - 1) >= {least}L"))
        }
        PanelFilter::Below(field, most) => there(field, &format!(" && doc['{field}'].get(0) < {most}L")),
        PanelFilter::Not(filter) => format!("!{}", painless(filter)),
        PanelFilter::All(filters) => joined(filters, " && ", "true"),
        PanelFilter::AnyOf(filters) => joined(filters, " || ", "false"),
    }
}

fn joined(filters: &[PanelFilter], with: &str, none: &str) -> String {
    let parts: Vec<_> = filters.iter().map(painless).collect();
    if parts.is_empty() { none.to_owned() } else { format!("({})", parts.join(with)) }
}

fn literal(field: &str, value: &str) -> String {
    match kind(field) {
        Some(FieldType::Boolean) => value.to_owned(),
        Some(FieldType::Long) => format!("{value}L"),
        _ => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
    }
}

/// A name for the filter, of letters that a field's name may have.
fn slug(filter: &PanelFilter) -> String {
    let last = |field: &'static str| field.rsplit('.').next().unwrap_or(field);
    let plain = |text: &str| text.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let all = |filters: &[PanelFilter], with: &str| filters.iter().map(slug).collect::<Vec<_>>().join(with);
    match filter {
        PanelFilter::Any => "all".to_owned(),
        PanelFilter::Is(field, value) => format!("{}_{}", last(field), plain(value)),
        PanelFilter::Has(field) => last(field).to_owned(),
        PanelFilter::From(field, least) => format!("{}_from_{least}", last(field)),
        PanelFilter::Below(field, most) => format!("{}_below_{most}", last(field)),
        PanelFilter::Not(filter) => format!("not_{}", slug(filter)),
        PanelFilter::All(filters) => all(filters, "_and_"),
        PanelFilter::AnyOf(filters) => all(filters, "_or_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_as_scripts() {
        const ODD: PanelFilter = PanelFilter::Has("podtap.weird");
        let weird = "(doc.containsKey('podtap.weird') && doc['podtap.weird'].size() > 0)";
        for (filter, script) in [
            (PanelFilter::Any, "true".to_owned()),
            (ODD, weird.to_owned()),
            (PanelFilter::Not(&ODD), format!("!{weird}")),
            (PanelFilter::AnyOf(&[ODD, ODD]), format!("({weird} || {weird})")),
            (
                PanelFilter::Is("podtap.late", "true"),
                "(doc.containsKey('podtap.late') && doc['podtap.late'].contains(true))".to_owned(),
            ),
        ] {
            assert_eq!(painless(&filter), script);
        }
        assert_eq!(literal("url.path", "a'b\\"), "'a\\'b\\\\'");
        assert_eq!(literal("destination.port", "80"), "80L");
    }

    #[test]
    fn only_what_an_aggregation_cannot_say_takes_a_field() {
        const FAILED: PanelFilter = PanelFilter::Is("event.outcome", "failure");
        let of = |what, of| ScriptedField::of(&PanelMetric { label: "", what, of }).map(|field| field.name);
        assert_eq!(of(Compute::Count, PanelFilter::Any), None);
        assert_eq!(of(Compute::Sum("source.bytes"), PanelFilter::Any), None);
        assert_eq!(of(Compute::Count, FAILED).as_deref(), Some("podtap.count.outcome_failure"));
        assert_eq!(of(Compute::Share, FAILED).as_deref(), Some("podtap.share.outcome_failure"));
        assert_eq!(of(Compute::Max("source.bytes"), FAILED).as_deref(), Some("source.bytes.of.outcome_failure"));
    }
}
