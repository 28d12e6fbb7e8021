//! The fields of every record: the source of docs/record.md and of the index templates.

use std::collections::HashSet;
use std::fmt::Write;

use super::connect::ConnectView;
use super::conntrack::ConntrackView;
use super::flow::FlowView;
use super::objects::ExchangeView;
use super::statement::StatementView;
use super::verdict::VerdictView;
use crate::format::fields::FieldType::{Flattened, Object};
use crate::format::fields::RecordField;
use crate::record::Dataset;

/// The fields of records of this kind.
pub fn record_fields(dataset: Dataset) -> Vec<RecordField> {
    match dataset {
        Dataset::Http => ExchangeView::fields(),
        Dataset::Flow => FlowView::fields(),
        Dataset::Conntrack => ConntrackView::fields(),
        Dataset::Connect => ConnectView::fields(),
        Dataset::Verdict => VerdictView::fields(),
        Dataset::Ledger => StatementView::fields(),
    }
}

/// Every field of every record that there may be in an index, each once: as the first kind that has it means it.
pub fn all_fields() -> impl Iterator<Item = RecordField> {
    let mut seen = HashSet::new();
    Dataset::ALL.into_iter().flat_map(record_fields).filter(move |field| seen.insert(field.name))
}

/// The table of docs/record.md.
pub fn markdown_table(fields: impl Iterator<Item = RecordField>) -> String {
    let mut out = String::from("| field | type | meaning |\n|---|---|---|\n");
    for field in fields {
        let below = if matches!(field.kind, Object | Flattened) { ".*" } else { "" };
        let meaning = field.meaning.replace('|', "\\|");
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "| `{}{below}` | {} | {meaning} |", field.name, field.kind.name());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/record.md");
    const BEGIN: &str = "made by `UPDATE=1 cargo test --lib format::ecs::listed` -->\n";
    const END: &str = "<!-- end of";

    /// The text between the marks of `part`.
    fn with(text: &str, part: &str, table: &str) -> String {
        let (before, rest) = text.split_once(&format!("<!-- {part}: {BEGIN}")).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        format!("{before}<!-- {part}: {BEGIN}{table}{END}{after}")
    }

    #[test]
    fn the_document_shows_the_fields_as_they_are() {
        let text = std::fs::read_to_string(DOCUMENT).unwrap();
        let mut expected = text.clone();
        for dataset in Dataset::ALL {
            let kind = dataset.name().trim_start_matches("podtap.");
            let part = if kind == "http" { "fields".to_owned() } else { format!("fields of the {kind} record") };
            expected = with(&expected, &part, &markdown_table(record_fields(dataset).into_iter()));
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(DOCUMENT, &expected).unwrap();
            return;
        }
        assert!(text == expected, "docs/record.md is stale: UPDATE=1 cargo test --lib format::ecs::listed");
    }

    #[test]
    fn no_field_is_listed_twice_and_each_has_one_type_in_all_records() {
        let mut types = std::collections::HashMap::new();
        for dataset in Dataset::ALL {
            let mut names = HashSet::new();
            for field in record_fields(dataset) {
                assert!(names.insert(field.name), "{dataset:?}: {}", field.name);
                assert_eq!(*types.entry(field.name).or_insert(field.kind), field.kind, "{dataset:?}: {}", field.name);
            }
        }
        assert_eq!(all_fields().count(), types.len());
    }
}
