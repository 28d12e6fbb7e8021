//! What becomes of one pod: whether it gets the sidecar, and how that has to be for it.
//!
//! Looks at values only: the same for manifests (`inject`) and for pods that the API server asks about (`webhook`).

use serde_json::Value;

use super::predecessor::{self, Inherited};
use super::sidecar::{NAME, Sidecar, SidecarOptions, VOLUMES, sidecar};
use super::spec::{check, is_named, is_own_container, items, own_place};
use crate::settings::{SettingPairs, VARIABLES};

/// Annotations (and a label) with this prefix are for podtap.
const PREFIX: &str = "podtap.io/";
/// Annotations that are no settings: the switch, and what the chart writes to roll pods.
const SWITCH: &str = "podtap.io/inject";
const CHECKSUM: &str = "podtap.io/config-checksum";
/// The grace time for which GRACE_PERIOD's default (25 s) is made, which is Kubernetes' own default.
const USUAL_GRACE: i64 = 30;
/// Annotations for podtap that are looked at; there are not as many settings. Each costs a look at all of those.
const MOST_ANNOTATIONS: usize = 256;
/// Kinds whose pods are to end by themselves.
const COMPLETING: [&str; 2] = ["Job", "CronJob"];

/// A pod, or the template of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodTemplate<'a> {
    /// Kind of the object that contains it.
    pub(crate) kind: &'a str,
    /// Its metadata.
    pub(crate) metadata: &'a Value,
    /// Its spec.
    pub(crate) spec: &'a Value,
}

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodPlan {
    /// It gets this sidecar.
    Add(Addition),
    /// It is left as it is, for this reason.
    Skip(String),
    /// It cannot have one, for this reason.
    Refuse(String),
}

/// A sidecar, and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The sidecar.
    pub(crate) sidecar: Sidecar,
    /// Annotations that were left out, since nothing can be made of them.
    pub(crate) complaints: Vec<String>,
    /// What is worth saying.
    pub(crate) notes: Vec<String>,
}

/// Decides about a pod, its own earlier sidecar not counted.
pub(crate) fn plan(pod: PodTemplate<'_>, options: &SidecarOptions) -> PodPlan {
    match switch(pod.metadata) {
        Ok(true) => {}
        Ok(false) => return PodPlan::Skip(format!("{SWITCH} says no")),
        Err(reason) => return PodPlan::Refuse(reason),
    }
    if !matches!(pod.spec.get("containers"), Some(Value::Array(containers)) if !containers.is_empty()) {
        return PodPlan::Skip("it has no containers: a patch of something else?".to_owned());
    }
    let obstacles = [no_own_network, windows, taken_names];
    if options.replace && predecessor::are_alone(pod.spec) {
        return PodPlan::Refuse("it has no container but the one that podtap replaces".to_owned());
    }
    if let Some(reason) = obstacles.iter().find_map(|obstacle| obstacle(pod.spec)).or_else(|| never_ends(pod, options))
    {
        return PodPlan::Refuse(reason);
    }
    let (overrides, mut complaints) = overrides(pod.metadata);
    let mut env = options.env.clone();
    env.extend(overrides);
    let mut inherited = if options.replace { predecessor::inherited(pod.spec, &env) } else { Inherited::default() };
    complaints.append(&mut inherited.complaints);
    env.append(&mut inherited.env);
    let mut notes = notes(pod.spec, &env, options);
    notes.append(&mut inherited.notes);
    grace_period(pod.spec, &mut env);
    PodPlan::Add(Addition { sidecar: sidecar(options, &env, inherited.borrowed), complaints, notes })
}

/// What the pod says itself: by an annotation, or by a label, which is what webhooks are selected by.
fn switch(metadata: &Value) -> Result<bool, String> {
    let said = ["annotations", "labels"].iter().find_map(|place| metadata.get(place)?.get(SWITCH));
    match said {
        None | Some(Value::Null | Value::Bool(true)) => Ok(true),
        Some(Value::Bool(false)) => Ok(false),
        Some(Value::String(word)) => match word.to_ascii_lowercase().as_str() {
            "true" | "enabled" | "yes" => Ok(true),
            "false" | "disabled" | "no" => Ok(false),
            _ => Err(format!("{SWITCH} is `{word}`, neither true nor false")),
        },
        Some(_) => Err(format!("{SWITCH} is neither true nor false")),
    }
}

fn no_own_network(spec: &Value) -> Option<String> {
    (spec.get("hostNetwork") == Some(&Value::Bool(true))).then(|| {
        "hostNetwork: the pod shares the network of its node, and podtap would record everything that passes the node".to_owned()
    })
}

fn windows(spec: &Value) -> Option<String> {
    let named = spec.pointer("/os/name").or_else(|| spec.pointer("/nodeSelector/kubernetes.io~1os"));
    (named? == "windows").then(|| "it runs on Windows, and podtap on Linux only".to_owned())
}

fn taken_names(spec: &Value) -> Option<String> {
    let foreign = |list| items(spec, list).any(|item| is_named(item, NAME) && !is_own_container(item));
    if ["initContainers", "containers"].into_iter().any(foreign) {
        return Some(format!("it has a container called {NAME} that `podtap inject` did not make"));
    }
    let own = own_place(spec).is_some();
    let taken = VOLUMES.into_iter().find(|name| items(spec, "volumes").any(|v| is_named(v, name)));
    let name = taken.filter(|_| !own)?;
    Some(format!("it has a volume called {name}, and no sidecar of ours"))
}

fn never_ends(pod: PodTemplate<'_>, options: &SidecarOptions) -> Option<String> {
    let completing = COMPLETING.contains(&pod.kind)
        || pod.spec.get("restartPolicy").and_then(Value::as_str).is_some_and(|policy| policy != "Always");
    (options.classic && completing).then(|| {
        "an ordinary container (--classic) would keep it from ever completing; a native sidecar (Kubernetes 1.29 or \
         newer) would not"
            .to_owned()
    })
}

/// The settings in the pod's annotations, and what is wrong with them.
fn overrides(metadata: &Value) -> (SettingPairs, Vec<String>) {
    let (mut pairs, mut complaints) = (SettingPairs::new(), Vec::new());
    let annotations = metadata.get("annotations").and_then(Value::as_object).into_iter().flatten();
    let own = annotations.filter(|(key, _)| key.starts_with(PREFIX) && *key != SWITCH && *key != CHECKSUM);
    for (count, (key, value)) in own.enumerate() {
        if count == MOST_ANNOTATIONS {
            complaints.push(format!("annotations {PREFIX}*: only the first {MOST_ANNOTATIONS} are read"));
            break;
        }
        let flag = key.strip_prefix(PREFIX).unwrap_or(key);
        let name = flag.to_ascii_uppercase().replace('-', "_");
        let checked = value.as_str().ok_or("is not a string: put quotes around it".to_owned());
        match checked.and_then(|text| check(&name, text).map(|known| known.then_some(text))) {
            Ok(Some(text)) => drop(pairs.insert(name, text.to_owned())),
            Ok(None) => complaints.push(format!("annotation {key}: {name} is not a setting")),
            Err(why) => complaints.push(format!("annotation {key}: {why}")),
        }
    }
    (pairs, complaints)
}

/// Leaves podtap time to stop, where the pod has less than usual.
fn grace_period(spec: &Value, env: &mut SettingPairs) {
    let given = spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64);
    if let Some(seconds) = given.filter(|seconds| (1..USUAL_GRACE).contains(seconds)) {
        let own = (seconds - 5).max(seconds / 2).max(1);
        env.entry("GRACE_PERIOD".to_owned()).or_insert_with(|| format!("{own}s"));
    }
}

fn notes(spec: &Value, env: &SettingPairs, options: &SidecarOptions) -> Vec<String> {
    let secret = |name: &&String| VARIABLES.iter().any(|variable| variable.secret && variable.name == **name);
    let mut notes: Vec<_> = env
        .keys()
        .filter(secret)
        .map(|name| format!("anybody who can read the pod can read {name}: put it into a Secret (--secret)"))
        .collect();
    let resources = &options.resources;
    let whole = resources.cpu_limit.is_some() && resources.cpu_limit == resources.cpu_request;
    let whole = whole && resources.memory_limit.is_some() && resources.memory_limit == resources.memory_request;
    if !whole && is_guaranteed(spec) {
        notes.push(
            "its quality of service drops from Guaranteed to Burstable; equal requests and limits (--cpu, --cpu-limit, \
             --memory, --memory-request) keep it"
                .to_owned(),
        );
    }
    if !options.replace {
        notes.extend(predecessor::warnings(spec));
    }
    notes
}

/// Whether every other container has what it asks for as its limit, of CPU and memory.
fn is_guaranteed(spec: &Value) -> bool {
    let equal = |container: &Value, what: &str| {
        let limit = container.pointer(&format!("/resources/limits/{what}")).filter(|limit| !limit.is_null());
        let request = container.pointer(&format!("/resources/requests/{what}"));
        limit.is_some() && request.is_none_or(|request| Some(request) == limit)
    };
    let mut others = ["initContainers", "containers"].into_iter().flat_map(|list| items(spec, list));
    others.all(|container| is_own_container(container) || (equal(container, "cpu") && equal(container, "memory")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn planned(kind: &str, metadata: &Value, spec: &Value, classic: bool) -> PodPlan {
        plan(PodTemplate { kind, metadata, spec }, &SidecarOptions { classic, ..SidecarOptions::default() })
    }

    fn addition(metadata: &Value, spec: &Value) -> Addition {
        match planned("Pod", metadata, spec, false) {
            PodPlan::Add(addition) => addition,
            other @ (PodPlan::Skip(_) | PodPlan::Refuse(_)) => panic!("{other:?}"),
        }
    }

    fn spec() -> Value {
        json!({"containers": [{"name": "app"}]})
    }

    fn env(addition: &Addition, name: &str) -> Option<String> {
        let container = addition.sidecar.container.value();
        let entry = items(&container, "env").find(|entry| entry["name"] == name)?.clone();
        entry["value"].as_str().map(str::to_owned)
    }

    #[test]
    fn a_pod_says_itself_whether_it_wants_the_sidecar() {
        for (metadata, skipped) in [
            (json!({}), false),
            (json!({"annotations": {"podtap.io/inject": "true"}}), false),
            (json!({"annotations": {"podtap.io/inject": "false"}}), true),
            (json!({"annotations": {"podtap.io/inject": "Disabled"}}), true),
            (json!({"labels": {"podtap.io/inject": "false"}}), true),
            (json!({"annotations": {"podtap.io/inject": "true"}, "labels": {"podtap.io/inject": "false"}}), false),
        ] {
            assert_eq!(matches!(planned("Pod", &metadata, &spec(), false), PodPlan::Skip(_)), skipped, "{metadata}");
        }
        let odd = json!({"annotations": {"podtap.io/inject": "maybe"}});
        assert!(matches!(planned("Pod", &odd, &spec(), false), PodPlan::Refuse(_)));
    }

    #[test]
    fn what_cannot_have_a_sidecar_is_refused_with_the_reason() {
        for (kind, change, classic, reason) in [
            ("Pod", json!({"hostNetwork": true}), false, "hostNetwork"),
            ("Pod", json!({"os": {"name": "windows"}}), false, "Windows"),
            ("Pod", json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), false, "Windows"),
            ("Pod", json!({"containers": [{"name": "podtap"}]}), false, "did not make"),
            ("Pod", json!({"initContainers": [{"name": "podtap"}]}), false, "did not make"),
            ("Pod", json!({"volumes": [{"name": "podtap-pod"}]}), false, "volume"),
            ("Job", json!({}), true, "completing"),
            ("CronJob", json!({}), true, "completing"),
            ("Pod", json!({"restartPolicy": "Never"}), true, "completing"),
        ] {
            let mut spec = spec();
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            match planned(kind, &json!({}), &spec, classic) {
                PodPlan::Refuse(why) => assert!(why.contains(reason), "{why}"),
                other @ (PodPlan::Add(_) | PodPlan::Skip(_)) => panic!("{spec}: {other:?}"),
            }
        }
        assert!(matches!(planned("Job", &json!({}), &spec(), false), PodPlan::Add(_)));
        assert!(matches!(planned("Deployment", &json!({}), &json!({"replicas": 1}), false), PodPlan::Skip(_)));
    }

    #[test]
    fn annotations_are_settings_and_a_wrong_one_is_an_error() {
        let metadata = json!({"annotations": {
            "podtap.io/send-logs-to": "stdout", "podtap.io/config-checksum": "x", "other.io/format": "y",
            "podtap.io/fromat": "text", "podtap.io/nonsense-of-mine": "1", "podtap.io/snaplen": "many",
            "podtap.io/queue-records": 5,
        }});
        let addition = addition(&metadata, &spec());
        assert_eq!(env(&addition, "SEND_LOGS_TO").as_deref(), Some("stdout"));
        let said = addition.complaints.join("\n");
        for (key, why) in [
            ("fromat", "did you mean FORMAT?"),
            ("nonsense-of-mine", "not a setting"),
            ("snaplen", "many"),
            ("queue-records", "quotes"),
        ] {
            assert!(said.lines().any(|line| line.contains(key) && line.contains(why)), "{key}: {said}");
        }
        assert_eq!(addition.complaints.len(), 4);
        assert!(env(&addition, "SNAPLEN").is_none());
    }

    #[test]
    fn a_setting_may_lack_another_that_the_config_map_can_bring() {
        assert_eq!(check("SEND_LOGS_TO", "file"), Ok(true));
        let wrong = check("SEND_LOGS_TO", "nowhere").unwrap_err();
        assert!(wrong.starts_with("SEND_LOGS_TO = \"nowhere\": none of the allowed words"), "{wrong}");
        assert_eq!(check("ELASTICSEARCH_API_KEY_FILE", "/var/run/key"), Ok(true));
        assert_eq!(check("SOMETHING_ELSE", "x"), Ok(false));
    }

    #[test]
    fn podtap_gets_time_to_stop_within_the_pods() {
        for (seconds, own) in
            [(None, None), (Some(30), None), (Some(10), Some("5s")), (Some(20), Some("15s")), (Some(1), Some("1s"))]
        {
            let mut spec = spec();
            spec["terminationGracePeriodSeconds"] = json!(seconds);
            assert_eq!(env(&addition(&json!({}), &spec), "GRACE_PERIOD").as_deref(), own, "{seconds:?}");
        }
        let spec = json!({"containers": [{"name": "app"}], "terminationGracePeriodSeconds": 10});
        let metadata = json!({"annotations": {"podtap.io/grace-period": "8s"}});
        assert_eq!(env(&addition(&metadata, &spec), "GRACE_PERIOD").as_deref(), Some("8s"));
    }

    #[test]
    fn a_pod_that_would_be_guaranteed_no_longer_is_reported() {
        let resources = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}});
        let spec = json!({"containers": [{"name": "app", "resources": resources}]});
        assert!(addition(&json!({}), &spec).notes.concat().contains("Guaranteed"));
        assert!(addition(&json!({}), &self::spec()).notes.is_empty());
    }

    #[test]
    fn a_secret_in_the_open_is_reported() {
        let Some(name) = VARIABLES.iter().find(|variable| variable.secret).map(|variable| variable.name) else {
            return;
        };
        let metadata = json!({"annotations": {format!("podtap.io/{}", crate::settings::flag(name)): "x"}});
        assert!(addition(&metadata, &spec()).notes.concat().contains(name));
    }
}
