//! A pod's spec as it is: its lists, which of their items are ours, and which names are settings. Changes nothing.

use serde_json::Value;

use super::sidecar::{NAME, POD_VOLUME, VOLUMES};
use crate::settings::{SettingNote, SettingPairs, VARIABLES, Variable, resolve};

/// The items of a list of the spec.
pub(crate) fn items<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec.get(list).and_then(Value::as_array).into_iter().flatten()
}

/// In which list, and where in it, the sidecar is that was added earlier.
pub(crate) fn own_place(spec: &Value) -> Option<(&'static str, usize)> {
    ["initContainers", "containers"]
        .into_iter()
        .find_map(|list| items(spec, list).position(is_own_container).map(|at| (list, at)))
}

/// Whether this is our container.
pub(crate) fn is_own_container(container: &Value) -> bool {
    is_named(container, NAME) && items(container, "volumeMounts").any(|mount| is_named(mount, POD_VOLUME))
}

/// Whether this is one of our volumes.
pub(crate) fn is_own_volume(volume: &Value) -> bool {
    VOLUMES.iter().any(|name| is_named(volume, name))
}

pub(super) fn is_named(item: &Value, name: &str) -> bool {
    item.get("name").is_some_and(|found| found == name)
}

/// Whether `name` is a setting of podtap's; the error says what is wrong with its value, or with a name nearly right.
pub(crate) fn check(name: &str, text: &str) -> Result<bool, String> {
    let alone = SettingPairs::from([(name.to_owned(), text.to_owned())]);
    let resolution = resolve(&alone, &SettingPairs::new(), |_| Ok("unread".to_owned()));
    let note = resolution
        .notes
        .iter()
        .find(|note| matches!(note, SettingNote::Misspelt { .. } | SettingNote::NotFromFile { .. }));
    if let Some(note) = note {
        return Err(note.to_string());
    }
    // Another setting may be missing now, and come from the ConfigMap.
    let mut wrong = resolution.outcome.err().into_iter().flat_map(|wrong| wrong.values);
    if let Some(wrong) = wrong.find(|wrong| wrong.value.is_some()) {
        // It is in a flag, an annotation, --env: the sidecar's environment is not where anybody wrote it.
        return Err(wrong.to_string().replacen(&format!(" ({})", wrong.origin), "", 1));
    }
    let reserved = resolution.notes.iter().any(|note| matches!(note, SettingNote::Unused { .. }));
    let read = |variable: &Variable| variable.name == name || variable.file().as_deref() == Some(name);
    Ok(reserved || VARIABLES.iter().any(read))
}
