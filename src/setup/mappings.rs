//! The mapping of every field of the record, from the one list (`format::ecs::all_fields`). Pure.

use serde_json::{Map, Value, json};

use crate::format::ecs::all_fields;
use crate::format::fields::{FieldType, RecordField};
use crate::sink::elasticsearch::{RecordFormat, ServerVersion};

/// Characters above which a keyword is stored but not indexed. Lucene refuses terms of more than 32766 bytes, and a
/// character has at most four: with this limit no URL can get a record rejected.
const LONG_TEXT: u32 = 8191;

/// The limit of the Elastic Common Schema, for everything that is short by nature.
const SHORT_TEXT: u32 = 1024;

/// For one value of many: its term holds the header's name as well.
const FLATTENED: u32 = 4096;

// Lucene's limit in bytes, a character taking at most four.
const _: () = assert!(LONG_TEXT * 4 <= 32_766 && (FLATTENED + SHORT_TEXT) * 4 <= 32_766);

/// `mappings` of the component template.
pub(super) fn mappings(server: ServerVersion, format: RecordFormat) -> Value {
    match format {
        RecordFormat::Ecs => ecs(server),
        RecordFormat::Classic => classic(),
    }
}

/// As kubernetes-internal-http-logger's records were guessed by a server. A text can be asked for by its name and by
/// `name.keyword`, so that searches and dashboards made for them go on working.
fn classic() -> Value {
    let text = |most: u32| {
        let keyword = json!({ "type": "keyword", "ignore_above": most });
        json!({ "type": "keyword", "ignore_above": most, "fields": { "keyword": keyword } })
    };
    json!({
        "dynamic": "false",
        "properties": {
            "@timestamp": { "type": "date_nanos" },
            "resTime": { "type": "double" },
            "type": text(SHORT_TEXT),
            "srcIP": { "type": "ip", "fields": { "keyword": { "type": "keyword" } } },
            "srcPort": { "type": "long" },
            "dstIP": { "type": "ip", "fields": { "keyword": { "type": "keyword" } } },
            "dstPort": { "type": "long" },
            "host": text(SHORT_TEXT),
            "url": text(LONG_TEXT),
            "method": text(SHORT_TEXT),
            "headers": text(LONG_TEXT),
            "resCode": { "type": "long", "fields": { "keyword": { "type": "keyword" } } },
            "HOSTNAME": text(SHORT_TEXT),
        },
    })
}

fn ecs(server: ServerVersion) -> Value {
    let mut properties = Map::new();
    for field in all_fields() {
        insert(&mut properties, field.name, of_field(&field, server));
    }
    // What a later version writes is stored, never guessed at: no type can turn out wrong, no number of fields too large.
    json!({ "dynamic": "false", "properties": properties })
}

fn of_field(field: &RecordField, server: ServerVersion) -> Value {
    match field.kind {
        // Milliseconds would not keep the order of exchanges.
        FieldType::Date => json!({ "type": "date_nanos" }),
        FieldType::Keyword => json!({ "type": "keyword", "ignore_above": SHORT_TEXT }),
        // Not `wildcard`, which not every server has: the same mapping everywhere, and quick aggregations.
        FieldType::Wildcard => json!({ "type": "keyword", "ignore_above": LONG_TEXT }),
        FieldType::Long => json!({ "type": "long" }),
        FieldType::Ip => json!({ "type": "ip" }),
        FieldType::Boolean => json!({ "type": "boolean" }),
        // Labels are named by their owners: over all pods of a cluster there is no limit to their number.
        FieldType::Object | FieldType::Flattened => match server.flattened_type() {
            Some("flattened") => json!({ "type": "flattened", "ignore_above": FLATTENED }),
            Some(other) => json!({ "type": other }),
            None => json!({ "type": "object", "enabled": false }),
        },
    }
}

/// `a.b.c` as objects within objects.
fn insert(properties: &mut Map<String, Value>, name: &str, mapping: Value) {
    let Some((head, rest)) = name.split_once('.') else {
        properties.insert(name.to_owned(), mapping);
        return;
    };
    let parent = properties.entry(head).or_insert_with(|| json!({ "properties": {} }));
    if let Some(Value::Object(below)) = parent.get_mut("properties") {
        insert(below, rest, mapping);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::elasticsearch::ServerFlavour;

    fn server(flavour: ServerFlavour, major: u16, minor: u16) -> ServerVersion {
        ServerVersion { flavour, major, minor: Some(minor) }
    }

    fn at<'a>(mappings: &'a Value, name: &str) -> &'a Value {
        mappings.pointer(&format!("/properties/{}", name.replace('.', "/properties/"))).unwrap()
    }

    #[test]
    fn every_field_of_the_record_has_a_mapping_of_its_type() {
        let mappings = ecs(server(ServerFlavour::Elasticsearch, 8, 7));
        for field in all_fields() {
            let kind = at(&mappings, field.name)["type"].as_str().unwrap();
            let expected = match field.kind {
                FieldType::Date => "date_nanos",
                FieldType::Wildcard => "keyword",
                FieldType::Object | FieldType::Flattened => "flattened",
                FieldType::Keyword | FieldType::Long | FieldType::Ip | FieldType::Boolean => field.kind.name(),
            };
            assert_eq!(kind, expected, "{}", field.name);
        }
        assert_eq!(mappings["dynamic"], "false");
    }

    #[test]
    fn every_key_of_a_classic_record_has_a_mapping() {
        let record = crate::record::sample::record(crate::record::sample::exchange());
        let mut line = Vec::new();
        crate::format::classic::write_json(&mut line, &record, &crate::format::Observer::default());
        let written: Map<String, Value> = serde_json::from_slice(&line).unwrap();
        let mappings = classic();
        let known = mappings["properties"].as_object().unwrap();
        assert!(written.len() > 8 && written.keys().all(|key| known.contains_key(key)), "{written:?}");
        assert!(known["host"].get("properties").is_none(), "a text, not the object of ecs");
    }

    #[test]
    fn any_number_of_names_is_one_field_as_far_as_the_server_can() {
        for (server, kind) in [
            (server(ServerFlavour::Elasticsearch, 7, 17), json!({ "type": "flattened", "ignore_above": 4096 })),
            (server(ServerFlavour::OpenSearch, 2, 19), json!({ "type": "flat_object" })),
            (server(ServerFlavour::OpenSearch, 1, 3), json!({ "type": "object", "enabled": false })),
        ] {
            let mappings = ecs(server);
            assert_eq!(at(&mappings, "http.request.headers"), &kind, "{server}");
            assert_eq!(at(&mappings, "labels"), &kind, "{server}");
        }
    }
}
