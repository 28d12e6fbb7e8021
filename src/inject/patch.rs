//! A sidecar put into the spec of a pod as a value, and the JSON Patch (RFC 6902) that does the same.
//!
//! No text: that is `insert`.

use serde_json::Value;
#[cfg(feature = "webhook")]
use serde_json::json;

use super::predecessor::{self, LISTS, is_predecessor};
use super::sidecar::Sidecar;
use super::spec::{is_own_container, is_own_volume, items, own_place};
use super::tree::YamlTree;

/// Lists that may be absent, null or empty, which all mean the same.
const OPTIONAL: [&str; 2] = ["initContainers", "volumes"];

/// The spec with the sidecar in it.
pub(super) fn with(spec: &Value, sidecar: &Sidecar) -> Value {
    let mut spec = spec.clone();
    let container = vec![sidecar.container.value()];
    if sidecar.classic {
        extend(&mut spec, "containers", container, true);
    } else {
        extend(&mut spec, "initContainers", container, false);
    }
    extend(&mut spec, "volumes", sidecar.volumes.iter().map(YamlTree::value).collect(), false);
    spec
}

fn extend(spec: &mut Value, list: &str, new: Vec<Value>, at_end: bool) {
    let Some(spec) = spec.as_object_mut() else { return };
    let old = spec.remove(list).and_then(|old| if let Value::Array(old) = old { Some(old) } else { None });
    let old = old.unwrap_or_default();
    let both = if at_end { old.into_iter().chain(new).collect() } else { new.into_iter().chain(old).collect() };
    spec.insert(list.to_owned(), Value::Array(both));
}

/// The spec without our sidecar, and without lists that are empty.
pub(super) fn without(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let was_ours = own_place(&spec).is_some();
    for list in ["initContainers", "containers", "volumes"] {
        if let Some(Value::Array(items)) = spec.get_mut(list).filter(|_| was_ours) {
            items.retain(|item| if list == "volumes" { !is_own_volume(item) } else { !is_own_container(item) });
        }
    }
    without_empty(spec)
}

/// The same, and without the loggers that podtap replaces.
pub(super) fn without_predecessors(spec: &Value) -> Value {
    let mut spec = without(spec);
    for list in LISTS {
        if let Some(Value::Array(items)) = spec.get_mut(list) {
            items.retain(|item| !is_predecessor(item));
        }
    }
    without_empty(spec)
}

/// The variables and sources of our sidecar that another one has not.
pub(super) fn lost(spec: &Value, sidecar: &Sidecar) -> Vec<String> {
    let new = sidecar.container.value();
    let own = LISTS.into_iter().flat_map(|list| items(spec, list)).find(|container| is_own_container(container));
    let Some(own) = own else { return Vec::new() };
    let name = |item: &Value| {
        let source = ["configMapRef", "secretRef"].iter().find_map(|key| item.get(key)).unwrap_or(item);
        source.get("name").and_then(Value::as_str).map(str::to_owned)
    };
    let of = |container: &Value, list: &str| items(container, list).filter_map(name).collect::<Vec<_>>();
    let gone = |list: &'static str| {
        let new = of(&new, list);
        of(own, list).into_iter().filter(move |name| !new.contains(name))
    };
    gone("env").chain(gone("envFrom")).collect()
}

/// The spec without lists that are empty.
fn without_empty(mut spec: Value) -> Value {
    if let Some(spec) = spec.as_object_mut() {
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        spec.retain(|key, value| !(OPTIONAL.contains(&key.as_str()) && empty(value)));
    }
    spec
}

/// Whether the pod has this very sidecar, where it would be put.
pub(super) fn has(spec: &Value, sidecar: &Sidecar) -> bool {
    let replaced = !sidecar.replaces || predecessor::all(spec).next().is_none();
    replaced && with(&without(spec), sidecar) == without_empty(spec.clone())
}

/// The same as `with`, as a JSON Patch of the pod.
#[cfg(feature = "webhook")]
pub(crate) fn operations(spec: &Value, sidecar: &Sidecar) -> Vec<Value> {
    let list = if sidecar.classic { "containers" } else { "initContainers" };
    let mut operations = added(spec, list, vec![sidecar.container.value()], sidecar.classic);
    operations.extend(added(spec, "volumes", sidecar.volumes.iter().map(YamlTree::value).collect(), false));
    operations
}

#[cfg(feature = "webhook")]
fn added(spec: &Value, list: &str, new: Vec<Value>, at_end: bool) -> Vec<Value> {
    if !spec.get(list).is_some_and(Value::is_array) {
        return vec![json!({"op": "add", "path": format!("/spec/{list}"), "value": new})];
    }
    let path = |at: usize| if at_end { format!("/spec/{list}/-") } else { format!("/spec/{list}/{at}") };
    new.into_iter().enumerate().map(|(at, value)| json!({"op": "add", "path": path(at), "value": value})).collect()
}
