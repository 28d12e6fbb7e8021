//! Headers and labels too long for OpenSearch's `flat_object`. Pure; touches nothing else of a record.
//!
//! A `flat_object` has no `ignore_above` (as of OpenSearch 3.8): one value of more than 32766 bytes rejects the whole
//! record. So anybody who can send such a header could keep requests out of the log. So such a value is shortened, and
//! the record says so (`podtap.shortened`), like a line that is too long for standard output.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::format::ecs::record_fields;
use crate::format::fields::{FieldType, RecordField};
use crate::record::Dataset;

/// Lucene's longest term is 32766 bytes; a term holds the value and the whole name of its field.
const MOST_BYTES: usize = 32_000;

/// The record, shortened where it must be. Costs nothing where it is shorter than one value may be.
pub(super) fn fitting(record: &[u8]) -> Cow<'_, [u8]> {
    if record.len() <= MOST_BYTES {
        return Cow::Borrowed(record);
    }
    // What is no JSON is for the server to say.
    let Ok(mut value) = serde_json::from_slice::<Value>(record) else { return Cow::Borrowed(record) };
    let mut shortened = false;
    let objects = |field: &RecordField| matches!(field.kind, FieldType::Object | FieldType::Flattened);
    for field in record_fields(Dataset::Http).iter().filter(|field| objects(field)) {
        let pointer = format!("/{}", field.name.replace('.', "/"));
        if let Some(Value::Object(names)) = value.pointer_mut(&pointer) {
            shortened |= shorten(names, field.name.len() + 2);
        }
    }
    let Some(Value::Object(podtap)) = value.get_mut("podtap").filter(|_| shortened) else {
        return Cow::Borrowed(record);
    };
    podtap.insert("shortened".to_owned(), true.into());
    serde_json::to_vec(&value).map_or(Cow::Borrowed(record), Cow::Owned)
}

/// Says whether anything had to be; `above` is what is before the name in a term.
fn shorten(names: &mut Map<String, Value>, above: usize) -> bool {
    let before = names.len();
    names.retain(|name, _| name.len() + above <= MOST_BYTES / 2);
    let mut shortened = names.len() < before;
    for (name, value) in names.iter_mut() {
        let room = MOST_BYTES - above - name.len();
        let values = match value {
            Value::Array(values) => values.as_mut_slice(),
            one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                std::slice::from_mut(one)
            }
        };
        for value in values {
            if let Value::String(text) = value
                && text.len() > room
            {
                let end = (0..=room).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
                text.truncate(end);
                shortened = true;
            }
        }
    }
    shortened
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(headers: Value) -> Vec<u8> {
        let long = "u".repeat(40_000);
        json!({ "url": { "original": long }, "http": { "request": { "headers": headers } }, "podtap": { "trust": "complete" } })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn only_values_too_long_are_shortened_and_the_record_says_so() {
        let long = "ü".repeat(20_000);
        let name = "n".repeat(20_000);
        let long = record(json!({ "x-a": long, "x-b": ["b", long, "c"], "x-c": "c", name: "x" }));
        let value: Value = serde_json::from_slice(&fitting(&long)).unwrap();
        let headers = &value["http"]["request"]["headers"];
        for text in [&headers["x-a"], &headers["x-b"][1]] {
            let bytes = text.as_str().unwrap().len();
            assert!((31_000..MOST_BYTES).contains(&bytes), "{bytes}");
        }
        assert_eq!((&headers["x-b"][0], &headers["x-b"][2], &headers["x-c"]), (&json!("b"), &json!("c"), &json!("c")));
        assert_eq!(headers.as_object().unwrap().len(), 3, "a name that is too long itself is left out");
        assert_eq!(value["podtap"]["shortened"], true);
        assert_eq!(value["url"]["original"].as_str().unwrap().len(), 40_000);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for record in [record(json!({ "x-a": "a" })), b"{}".to_vec(), vec![b'x'; 40_000], b"[]".repeat(20_000)] {
            assert!(matches!(fitting(&record), Cow::Borrowed(same) if same == record));
        }
    }
}
