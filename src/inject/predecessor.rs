//! The loggers that podtap replaces: how their containers are known, and which of their settings a sidecar takes over.
//!
//! Takes nothing out of a manifest: `remove` does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sidecar::{Borrowed, IDENTITY};
use super::spec::{check, is_own_container, items};
use super::tree::YamlTree;
use crate::settings::{SettingPairs, VARIABLES, printable};

/// Their images, without registry and tag.
const IMAGES: [&str; 2] = ["kubernetes-internal-http-logger", "kubernetes-pod2pod-log"];
/// Where containers are.
pub(super) const LISTS: [&str; 2] = ["initContainers", "containers"];
/// Keys of variables that come from elsewhere, and of what `envFrom` names.
const KEYS: [&str; 17] = [
    "name",
    "value",
    "valueFrom",
    "prefix",
    "configMapRef",
    "secretRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "key",
    "optional",
    "fieldPath",
    "apiVersion",
    "containerName",
    "resource",
    "divisor",
];

/// The image of such a container, without registry and tag.
fn image(container: &Value) -> Option<&str> {
    let image = container.get("image")?.as_str()?;
    let repository = image.rsplit('/').next()?.split([':', '@']).next()?;
    IMAGES.contains(&repository).then_some(repository)
}

/// Whether this is a logger that podtap replaces.
pub(super) fn is_predecessor(container: &Value) -> bool {
    image(container).is_some()
}

/// All of them in a pod.
pub(super) fn all(spec: &Value) -> impl Iterator<Item = &Value> {
    LISTS.into_iter().flat_map(|list| items(spec, list)).filter(|container| is_predecessor(container))
}

/// Whether nothing would be left without them.
pub(super) fn are_alone(spec: &Value) -> bool {
    items(spec, "containers").all(is_predecessor)
}

/// What there is to say where they stay: both would record everything.
pub(super) fn warnings(spec: &Value) -> impl Iterator<Item = String> {
    all(spec).map(|container| {
        format!(
            "its container {} runs {}, which podtap replaces: both record everything. --replace takes it out and its \
             settings over; see docs/migration.md",
            name(container),
            image(container).unwrap_or_default(),
        )
    })
}

/// What a sidecar takes over.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// Settings whose values are in the manifest.
    pub(super) env: SettingPairs,
    /// Settings from elsewhere, and whole ConfigMaps and Secrets.
    pub(super) borrowed: Borrowed,
    /// What cannot be taken over.
    pub(super) complaints: Vec<String>,
    /// What was done.
    pub(super) notes: Vec<String>,
}

/// The settings of these loggers, and those that the sidecar took over earlier; what is `given` wins.
pub(super) fn inherited(spec: &Value, given: &SettingPairs) -> Inherited {
    let mut inherited = Inherited::default();
    let mut taken: BTreeSet<&str> = given.keys().filter_map(|name| setting(name)).collect();
    for container in all(spec) {
        let settings = inherited.take(container, &mut taken);
        let settings = if settings.is_empty() { "none".to_owned() } else { settings.join(", ") };
        let (name, image) = (name(container), image(container).unwrap_or_default());
        inherited.notes.push(format!("its container {name} ({image}) is taken out; settings taken over: {settings}"));
    }
    let own = LISTS.into_iter().flat_map(|list| items(spec, list)).find(|container| is_own_container(container));
    // Follows from the pod, which may have changed.
    taken.insert("GRACE_PERIOD");
    own.map(|own| inherited.take(own, &mut taken));
    inherited
}

impl Inherited {
    /// Names what it took.
    fn take(&mut self, container: &Value, taken: &mut BTreeSet<&'static str>) -> Vec<String> {
        let mut settings = Vec::new();
        for variable in items(container, "env") {
            let Some(name) = variable.get("name").and_then(Value::as_str) else { continue };
            if VARIABLES.iter().any(|known| known.file().as_deref() == Some(name)) {
                self.notes.push(format!("{name} names a file: its volume is not taken over"));
            }
            let Some(setting) = setting(name).filter(|setting| !taken.contains(setting)) else { continue };
            match (variable.get("value").and_then(Value::as_str), tree(variable)) {
                (Some(text), _) => match check(name, text) {
                    Ok(_) => drop(self.env.insert(name.to_owned(), text.to_owned())),
                    Err(why) => self.complaints.push(format!("container {}: {why}", self::name(container))),
                },
                (None, Some(tree)) if variable.get("valueFrom").is_some() => self.borrowed.variables.push(tree),
                (None, Some(_)) => continue,
                (None, None) => {
                    self.complaints
                        .push(format!("container {}: {name} has a source that is not known", self::name(container)));
                }
            }
            taken.insert(setting);
            settings.push(name.to_owned());
        }
        for source in items(container, "envFrom") {
            let Some(tree) = tree(source).filter(|tree| !self.borrowed.sources.contains(tree)) else { continue };
            let kind = if source.get("secretRef").is_some() { "Secret" } else { "ConfigMap" };
            let name = ["configMapRef", "secretRef"].iter().find_map(|key| source.get(key)?.get("name")?.as_str());
            settings.push(format!("{kind} {}", printable(name.unwrap_or_default())));
            self.borrowed.sources.push(tree);
        }
        settings
    }
}

/// The setting that a variable means, also in its old spelling; not the pod's identity, which a sidecar has anyway.
fn setting(name: &str) -> Option<&'static str> {
    let found = VARIABLES.iter().find(|variable| variable.name == name || variable.old == Some(name))?;
    (!IDENTITY.iter().any(|(own, _)| *own == found.name)).then_some(found.name)
}

fn name(container: &Value) -> String {
    printable(container.get("name").and_then(Value::as_str).unwrap_or_default())
}

/// The same as something to write; `None` where a key is not known.
fn tree(value: &Value) -> Option<YamlTree> {
    Some(match value {
        Value::String(text) => YamlTree::Text(text.clone()),
        Value::Bool(yes) => YamlTree::Bool(*yes),
        Value::Number(number) => YamlTree::Number(number.as_i64()?),
        Value::Object(entries) => {
            let known = KEYS.into_iter().filter_map(|key| Some((key, entries.get(key)?)));
            let known: Vec<_> = known.map(|(key, value)| Some((key, tree(value)?))).collect::<Option<_>>()?;
            (known.len() == entries.len()).then_some(YamlTree::Map(known))?
        }
        Value::Null | Value::Array(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_logger_that_podtap_replaces_is_pointed_out_by_its_image() {
        for (image, known) in [
            ("kubernetes-internal-http-logger", true),
            ("registry.example:5000/team/kubernetes-pod2pod-log:1.2@sha256:00", true),
            ("kubernetes-internal-http-logger-ui:1", false),
            ("kubernetes-internal-http-logger/other", false),
            ("", false),
        ] {
            for list in LISTS {
                let mut spec = json!({"containers": [{"name": "app"}]});
                spec[list] = json!([{"name": "old", "image": image}]);
                let said = warnings(&spec).collect::<String>();
                assert_eq!(said.contains("its container old runs kubernetes-"), known, "{list} {image}: {said}");
            }
        }
    }

    #[test]
    fn its_settings_are_taken_over_unless_they_are_given_and_nothing_else() {
        let old = json!({
            "name": "old", "image": "x/kubernetes-internal-http-logger",
            "env": [
                {"name": "FLUENTHOST", "value": "fluentd"},
                {"name": "IGNOREURLS", "value": "/health"},
                {"name": "LOGSTASH_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pw"}}},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOGSTASH_PASSWORD_FILE", "value": "/x"},
                {"name": "SOMETHING", "value": "else"},
                {"name": "LOGHEADERS"},
            ],
            "envFrom": [{"configMapRef": {"name": "logger"}}, {"prefix": "A_", "secretRef": {"name": "s", "optional": true}}],
        });
        let spec = json!({"containers": [{"name": "app"}, old]});
        let given = SettingPairs::from([("IGNORE_URLS".to_owned(), "/x".to_owned())]);
        let found = inherited(&spec, &given);
        assert_eq!(found.env, SettingPairs::from([("FLUENTHOST".to_owned(), "fluentd".to_owned())]));
        let values = |trees: &[YamlTree]| trees.iter().map(YamlTree::value).collect::<Vec<_>>();
        assert_eq!(values(&found.borrowed.variables), [old["env"][2].clone()]);
        assert_eq!(&Value::Array(values(&found.borrowed.sources)), &old["envFrom"]);
        assert_eq!(found.complaints, [""; 0]);
        let said = "its container old (kubernetes-internal-http-logger) is taken out; settings taken over: FLUENTHOST, \
                    LOGSTASH_PASSWORD, ConfigMap logger, Secret s";
        assert!(found.notes.contains(&said.to_owned()), "{:?}", found.notes);
        assert!(found.notes.iter().any(|note| note.contains("LOGSTASH_PASSWORD_FILE names a file")));
    }

    #[test]
    fn what_cannot_be_taken_over_is_named() {
        for (variable, why) in [
            (json!({"name": "TIMEOUTAFTERMS", "value": "soon"}), "TIMEOUT_AFTER_MS"),
            (json!({"name": "LOGHEADERS", "valueFrom": {"fileKeyRef": {"path": "x"}}}), "not known"),
        ] {
            let old = json!({"name": "old", "image": "kubernetes-pod2pod-log", "env": [variable]});
            let found = inherited(&json!({"containers": [old]}), &SettingPairs::new());
            assert!(found.complaints.concat().contains(why), "{:?}", found.complaints);
        }
    }
}
