//! Decides whether a resource on a server is ours, and whether a user changed it. Pure.
//!
//! A resource is marked with a hash of what we wrote. Servers store it in their own spelling (numbers as strings,
//! defaults written out), so both sides are normalised before they are compared.

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

/// What a found resource is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Holds what it shall, perhaps more.
    UpToDate,
    /// Ours, as another version or other settings wrote it.
    Outdated,
    /// Was ours, and somebody changed it.
    Changed,
    /// Never was ours.
    Foreign,
}

/// Compares what was found with what shall be.
pub(super) fn standing(found: &Value, shall: &Value) -> Standing {
    let Some(written) = mark(found) else { return Standing::Foreign };
    let (found, shall) = (normal(found), normal(shall));
    if contains(&found, &shall) {
        Standing::UpToDate
    } else if written == digest(&found) {
        Standing::Outdated
    } else {
        Standing::Changed
    }
}

/// A short name for a content.
pub(super) fn hash(content: &Value) -> String {
    digest(&normal(content))
}

pub(super) fn meta(hash: &str) -> Value {
    json!({ "managed_by": "podtap", "version": env!("CARGO_PKG_VERSION"), "hash": hash })
}

pub(super) fn description(hash: &str) -> String {
    format!("Made by podtap {}, hash {hash}", env!("CARGO_PKG_VERSION"))
}

/// The hash we left, wherever there was room for it.
fn mark(found: &Value) -> Option<&str> {
    let meta = found.get("_meta").filter(|meta| meta.get("managed_by").is_some_and(|by| by == "podtap"));
    let of_meta = meta.and_then(|meta| meta.get("hash")).and_then(Value::as_str);
    let description = found.get("description").and_then(Value::as_str);
    let of_description = || description.filter(|text| text.starts_with("Made by podtap "))?.rsplit_once(" hash ");
    of_meta.or_else(|| of_description().map(|(_, hash)| hash))
}

/// What servers add: a name, and the value where only that one is theirs.
const ADDED: &[(&str, Option<&str>)] = &[
    ("_meta", None),
    ("description", None),
    // data_stream
    ("hidden", Some("false")),
    ("allow_custom_routing", Some("false")),
    ("timestamp_field", None),
    // lifecycle
    ("enabled", Some("true")),
    // ILM
    ("min_age", Some("0ms")),
    ("delete_searchable_snapshot", Some("true")),
    // ISM
    ("policy_id", None),
    ("last_updated_time", None),
    ("schema_version", None),
    ("error_notification", None),
    ("retry", None),
    ("copy_alias", Some("false")),
    ("user", None),
    // When it was made, in newer versions
    ("created_date", None),
    ("created_date_millis", None),
    ("modified_date", None),
    ("modified_date_millis", None),
];

/// Scalars as strings, without what servers add.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().map(|(name, value)| (name, normal(value))).filter(|(name, value)| {
                !value.is_null()
                    && !ADDED.iter().any(|(added, only)| added == name && only.is_none_or(|only| value == only))
            });
            Value::Object(kept.map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>())
        }
        Value::Array(values) => values.iter().map(normal).collect(),
        Value::Null => Value::Null,
        Value::String(text) => text.clone().into(),
        Value::Bool(_) | Value::Number(_) => value.to_string().into(),
    }
}

/// Whether `whole` contains everything in `part`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            // An empty object that a server leaves out says nothing.
            let nothing = |value: &Value| value.as_object().is_some_and(Map::is_empty);
            part.iter().all(|(name, value)| whole.get(name).map_or(nothing(value), |found| contains(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

/// Of the normal form, its names sorted whatever the map's own order is.
fn digest(normal: &Value) -> String {
    fn feed(hash: &mut Sha1, value: &Value) {
        match value {
            Value::Object(object) => {
                let mut names: Vec<_> = object.iter().filter(|(_, value)| !is_empty(value)).collect();
                names.sort_by_key(|(name, _)| *name);
                hash.update(b"{");
                for (name, value) in names {
                    hash.update(name);
                    hash.update(b":");
                    feed(hash, value);
                }
                hash.update(b"}");
            }
            Value::Array(values) => {
                hash.update(b"[");
                values.iter().for_each(|value| feed(hash, value));
                hash.update(b"]");
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                hash.update(value.as_str().unwrap_or_default());
                hash.update(b";");
            }
        }
    }
    fn is_empty(value: &Value) -> bool {
        value.as_object().is_some_and(|object| object.values().all(is_empty))
    }
    let mut hash = Sha1::new();
    feed(&mut hash, normal);
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As we write it.
    fn marked(mut content: Value) -> Value {
        let hash = hash(&content);
        content["_meta"] = meta(&hash);
        content
    }

    fn template(priority: u32) -> Value {
        json!({
            "index_patterns": ["web"],
            "priority": priority,
            "data_stream": {},
            "template": { "settings": { "index": { "codec": "best_compression" } }, "lifecycle": { "data_retention": "30d" } },
        })
    }

    /// As a server gives it back.
    fn stored(priority: u32) -> Value {
        let mut stored = marked(template(priority));
        stored["data_stream"] = json!({ "hidden": false, "allow_custom_routing": false });
        stored["template"]["lifecycle"]["enabled"] = true.into();
        stored["created_date_millis"] = 1.into();
        stored
    }

    #[test]
    fn a_servers_own_spelling_is_no_change() {
        assert_eq!(standing(&stored(500), &template(500)), Standing::UpToDate);
        let mut strings = stored(500);
        strings["priority"] = "500".into();
        strings["data_stream"] = json!({ "timestamp_field": { "name": "@timestamp" } });
        assert_eq!(standing(&strings, &template(500)), Standing::UpToDate);
        assert_eq!(standing(&stored(400), &template(500)), Standing::Outdated, "as another version wrote it");
    }

    #[test]
    fn what_somebody_changed_differs_from_what_we_wrote() {
        let mut changed = stored(400);
        changed["template"]["lifecycle"]["data_retention"] = "90d".into();
        assert_eq!(standing(&changed, &template(500)), Standing::Changed);
        let mut more = stored(500);
        more["template"]["settings"]["index"]["number_of_shards"] = "3".into();
        assert_eq!(standing(&more, &template(500)), Standing::UpToDate, "an addition is left alone");
        let mut older = stored(400);
        older["template"]["settings"]["index"]["number_of_shards"] = "3".into();
        assert_eq!(standing(&older, &template(500)), Standing::Changed);
        let mut foreign = stored(500);
        foreign["_meta"] = json!({ "managed_by": "somebody" });
        assert_eq!(standing(&foreign, &template(500)), Standing::Foreign);
        assert_eq!(standing(&template(500), &template(500)), Standing::Foreign);
    }

    #[test]
    fn a_policy_without_room_for_marks_is_known_by_its_description() {
        let content = json!({ "default_state": "hot", "states": [{ "name": "hot", "actions": [{ "rollover": { "min_size": "50gb" } }] }] });
        let mut stored = content.clone();
        stored["description"] = description(&hash(&content)).into();
        stored["schema_version"] = 17.into();
        stored["error_notification"] = Value::Null;
        stored["states"][0]["actions"][0]["retry"] = json!({ "count": 3 });
        stored["states"][0]["actions"][0]["rollover"]["copy_alias"] = false.into();
        assert_eq!(standing(&stored, &content), Standing::UpToDate);
        let mut other = content.clone();
        other["default_state"] = "cold".into();
        assert_eq!(standing(&stored, &other), Standing::Outdated);
        stored["default_state"] = "warm".into();
        assert_eq!(standing(&stored, &other), Standing::Changed);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<u8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_we_wrote_is_up_to_date_and_outdated_only_for_something_else(
            a in prop::collection::btree_map("[a-c]{1,2}", any_json(), 1..4),
            b in any_json(),
        ) {
            let a = Value::Object(a.into_iter().collect());
            let stored = marked(a.clone());
            prop_assert_eq!(standing(&stored, &a), Standing::UpToDate);
            let other = json!({ "other": b, "more": 1 });
            prop_assert_eq!(standing(&stored, &other), Standing::Outdated);
        }
    }
}
