//! The sidecar as a value: the container and the volumes that `podtap inject` and `podtap webhook` add.
//!
//! The chart's `podtap.sidecar` gives the same (a test of the chart's compares them). Decides nothing about the pod.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::YamlTree;
use crate::settings::SettingPairs;

/// Name of the container, and how ours is known: it mounts `POD_VOLUME`, too.
pub(crate) const NAME: &str = "podtap";
/// The volume with the pod's labels and annotations.
pub(crate) const POD_VOLUME: &str = "podtap-pod";
/// The volume for records that wait, where there is a SPOOL_DIR.
pub(crate) const SPOOL_VOLUME: &str = "podtap-spool";
/// The volume for files, where there is a FILE_PATH or a DEAD_LETTER_PATH.
pub(crate) const FILES_VOLUME: &str = "podtap-files";
/// The names of all volumes that are ours.
pub(crate) const VOLUMES: [&str; 3] = [POD_VOLUME, SPOOL_VOLUME, FILES_VOLUME];
/// Where podtap looks for its pod's labels and annotations.
const POD_DIR: &str = "/etc/podtap/pod";
/// Where Kubernetes mounts the token of the pod's service account into every container in which nothing else is mounted.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The user of the image; it needs no name.
const USER: i64 = 65_532;
/// The port of METRICS_ADDR's default.
const METRICS_PORT: i64 = 19_199;
/// The pod's identity: variables, and the fields they come from.
pub(super) const IDENTITY: [(&str, &str); 6] = [
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("POD_UID", "metadata.uid"),
    ("POD_IP", "status.podIP"),
    ("POD_IPS", "status.podIPs"),
    ("NODE_NAME", "spec.nodeName"),
];

/// How the sidecar is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarOptions {
    /// Its image.
    pub image: String,
    /// When the image is fetched; none leaves that to Kubernetes.
    pub pull_policy: Option<String>,
    /// The ConfigMap with its settings.
    pub config_map: Option<String>,
    /// A Secret with further settings.
    pub secret: Option<String>,
    /// An ordinary container instead of a native sidecar.
    pub classic: bool,
    /// What it may use.
    pub resources: SidecarResources,
    /// Settings and other variables that win over ConfigMap and Secret.
    pub env: SettingPairs,
    /// Takes out the loggers that podtap replaces, and their settings over.
    pub replace: bool,
}

/// Quantities of CPU and memory, as Kubernetes writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarResources {
    /// CPU that is kept for it.
    pub cpu_request: Option<String>,
    /// CPU that it may use at most: where that is too little, frames are lost.
    pub cpu_limit: Option<String>,
    /// Memory that is kept for it.
    pub memory_request: Option<String>,
    /// Memory that it may use at most; its tables and queues take their bounds from it.
    pub memory_limit: Option<String>,
}

impl Default for SidecarOptions {
    fn default() -> Self {
        Self {
            image: concat!("ghcr.io/podtap/podtap:", env!("CARGO_PKG_VERSION")).to_owned(),
            pull_policy: None,
            config_map: Some("podtap".to_owned()),
            secret: None,
            classic: false,
            resources: SidecarResources::default(),
            env: SettingPairs::new(),
            replace: false,
        }
    }
}

impl Default for SidecarResources {
    fn default() -> Self {
        let quantity = |text: &str| Some(text.to_owned());
        Self {
            cpu_request: quantity("10m"),
            cpu_limit: None,
            memory_request: quantity("32Mi"),
            memory_limit: quantity("64Mi"),
        }
    }
}

/// What is added to one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// The container.
    pub(crate) container: YamlTree,
    /// Its volumes.
    pub(crate) volumes: Vec<YamlTree>,
    /// Whether it is an ordinary container.
    pub(crate) classic: bool,
    /// Whether the loggers that podtap replaces go.
    pub(crate) replaces: bool,
}

/// Variables from places that the manifest only names: taken over from another container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Borrowed {
    /// Items of `env`.
    pub(crate) variables: Vec<YamlTree>,
    /// Items of `envFrom`.
    pub(crate) sources: Vec<YamlTree>,
}

/// The sidecar with these options; `env` are its variables besides the pod's identity and those that are borrowed.
pub(crate) fn sidecar(options: &SidecarOptions, env: &SettingPairs, borrowed: Borrowed) -> Sidecar {
    let folders = folders(env);
    let mut container = vec![("name", NAME.into()), ("image", options.image.as_str().into())];
    container.extend(options.pull_policy.as_deref().map(|policy| ("imagePullPolicy", policy.into())));
    if !options.classic {
        container.push(("restartPolicy", "Always".into()));
    }
    container.extend(metrics_port(env).map(|port| ("ports", YamlTree::List(vec![port]))));
    let Borrowed { variables: others, mut sources } = borrowed;
    sources.retain(|other| !self::sources(options).iter().any(|own| is_same(own, other)));
    // The last one wins.
    sources.extend(self::sources(options));
    if !sources.is_empty() {
        container.push(("envFrom", YamlTree::List(sources)));
    }
    container.push(("env", YamlTree::List(variables(env).into_iter().chain(others).collect())));
    container.extend(resources(&options.resources).map(|resources| ("resources", resources)));
    // Where it ends in spite of all, its last words are seen by `kubectl describe pod`.
    container.push(("terminationMessagePolicy", "FallbackToLogsOnError".into()));
    container.push(("securityContext", security_context(env)));
    container.push(("volumeMounts", YamlTree::List(mounts(&folders))));
    let empty = |name: &str| YamlTree::Map(vec![("name", name.into()), ("emptyDir", YamlTree::Map(Vec::new()))]);
    let names: BTreeSet<_> = folders.values().copied().collect();
    let volumes = std::iter::once(pod_volume()).chain(names.into_iter().rev().map(empty)).collect();
    Sidecar { container: YamlTree::Map(container), volumes, classic: options.classic, replaces: options.replace }
}

/// The port of METRICS_ADDR, under the name that the chart's PodMonitor looks for.
fn metrics_port(env: &SettingPairs) -> Option<YamlTree> {
    let port = match env.get("METRICS_ADDR").map(|address| address.trim()) {
        None | Some("") => METRICS_PORT,
        Some(address) => address.rsplit(':').next()?.parse::<u16>().ok().filter(|port| *port > 0)?.into(),
    };
    Some(YamlTree::Map(vec![("name", "podtap-metrics".into()), ("containerPort", YamlTree::Number(port))]))
}

/// Whether two sources name the same ConfigMap or Secret, optional or not.
fn is_same(one: &YamlTree, other: &YamlTree) -> bool {
    let (one, other) = (one.value(), other.value());
    let name = |source: &serde_json::Value, key: &str| Some(source.get(key)?.get("name")?.as_str()?.to_owned());
    other.get("prefix").is_none()
        && ["configMapRef", "secretRef"]
            .iter()
            .any(|key| name(&one, key).is_some() && name(&one, key) == name(&other, key))
}

/// Optional, both: a pod waits for ever for what is not there.
fn sources(options: &SidecarOptions) -> Vec<YamlTree> {
    let source = |kind, name: &String| {
        let reference = vec![("name", name.as_str().into()), ("optional", YamlTree::Bool(true))];
        YamlTree::Map(vec![(kind, YamlTree::Map(reference))])
    };
    let config_map = options.config_map.iter().map(|name| source("configMapRef", name));
    config_map.chain(options.secret.iter().map(|name| source("secretRef", name))).collect()
}

fn variables(env: &SettingPairs) -> Vec<YamlTree> {
    let identity = IDENTITY.into_iter().filter(|(name, _)| !env.contains_key(*name)).map(|(name, field)| {
        let field = YamlTree::Map(vec![("fieldRef", YamlTree::Map(vec![("fieldPath", field.into())]))]).short();
        YamlTree::Map(vec![("name", name.into()), ("valueFrom", field)])
    });
    let given = env.iter();
    let given = given
        .map(|(name, value)| YamlTree::Map(vec![("name", name.as_str().into()), ("value", value.as_str().into())]));
    identity.chain(given).collect()
}

fn resources(resources: &SidecarResources) -> Option<YamlTree> {
    let amounts = |cpu: &Option<String>, memory: &Option<String>| {
        let cpu = cpu.as_deref().map(|cpu| ("cpu", cpu.into()));
        let amounts: Vec<_> =
            cpu.into_iter().chain(memory.as_deref().map(|memory| ("memory", memory.into()))).collect();
        (!amounts.is_empty()).then_some(YamlTree::Map(amounts))
    };
    let requests = amounts(&resources.cpu_request, &resources.memory_request).map(|amounts| ("requests", amounts));
    let limits = amounts(&resources.cpu_limit, &resources.memory_limit).map(|amounts| ("limits", amounts));
    let both: Vec<_> = requests.into_iter().chain(limits).collect();
    (!both.is_empty()).then_some(YamlTree::Map(both))
}

/// What it needs for what it records, and nothing else.
pub(crate) fn capabilities(env: &SettingPairs) -> Vec<&'static str> {
    let lower = |name: &str| env.get(name).map(|text| text.to_ascii_lowercase()).unwrap_or_default();
    let record = lower("RECORD");
    let records = |kind: &str| record.split(',').any(|entry| entry.trim() == kind);
    let is_on = |name: &str| ["true", "1", "yes", "on"].contains(&lower(name).trim());
    let groups = !["", "none"].contains(&lower("VERDICT_GROUPS").trim());
    [
        (record.trim().is_empty() || records("http") || records("flows"), "NET_RAW"),
        (records("conntrack") || (records("verdicts") && groups), "NET_ADMIN"),
        (records("conntrack") && is_on("CONNTRACK_ALL_NAMESPACES"), "NET_BROADCAST"),
        (records("verdicts") && is_on("VERDICT_KMSG"), "SYSLOG"),
        (records("connects"), "BPF"),
        (records("connects"), "PERFMON"),
    ]
    .into_iter()
    .filter_map(|(needed, name)| needed.then_some(name))
    .collect()
}

fn security_context(env: &SettingPairs) -> YamlTree {
    let names = |names: &[&str]| YamlTree::List(names.iter().map(|name| (*name).into()).collect()).short();
    YamlTree::Map(vec![
        ("runAsNonRoot", YamlTree::Bool(true)),
        ("runAsUser", YamlTree::Number(USER)),
        ("runAsGroup", YamlTree::Number(USER)),
        ("readOnlyRootFilesystem", YamlTree::Bool(true)),
        ("allowPrivilegeEscalation", YamlTree::Bool(false)),
        ("capabilities", YamlTree::Map(vec![("drop", names(&["ALL"])), ("add", names(&capabilities(env)))])),
        ("seccompProfile", YamlTree::Map(vec![("type", "RuntimeDefault".into())])),
    ])
}

/// What is written to, each with the name of its volume: the root file system is read-only.
fn folders(env: &SettingPairs) -> BTreeMap<&str, &'static str> {
    let path = |name| env.get(name).map(|path| path.trim()).filter(|path| path.starts_with('/'));
    let files = ["FILE_PATH", "DEAD_LETTER_PATH"].into_iter().filter_map(|name| parent(path(name)?));
    let spool = path("SPOOL_DIR").map(|folder| (folder, SPOOL_VOLUME));
    files.map(|folder| (folder, FILES_VOLUME)).chain(spool).collect()
}

/// Of a file, where a volume can be: not the root, nor what every container has.
fn parent(file: &str) -> Option<&str> {
    let (folder, _) = file.rsplit_once('/')?;
    (!["", "/dev", "/proc/self/fd"].contains(&folder)).then_some(folder)
}

/// The pod's volume twice: the second time it keeps out the application's token, which is no business of podtap's.
fn mounts(folders: &BTreeMap<&str, &str>) -> Vec<YamlTree> {
    let pod =
        |path: &str| vec![("name", POD_VOLUME.into()), ("mountPath", path.into()), ("readOnly", YamlTree::Bool(true))];
    let others =
        folders.iter().map(|(folder, volume)| vec![("name", (*volume).into()), ("mountPath", (*folder).into())]);
    [pod(POD_DIR), pod(TOKEN_DIR)].into_iter().chain(others).map(YamlTree::Map).collect()
}

/// Labels and annotations, kept up to date by the kubelet.
fn pod_volume() -> YamlTree {
    let item = |path: &str| {
        let field = YamlTree::Map(vec![("fieldPath", format!("metadata.{path}").as_str().into())]);
        YamlTree::Map(vec![("path", path.into()), ("fieldRef", field.short())])
    };
    let items = YamlTree::List(vec![item("labels"), item("annotations")]);
    YamlTree::Map(vec![("name", POD_VOLUME.into()), ("downwardAPI", YamlTree::Map(vec![("items", items)]))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(env: &[(&str, &str)], change: impl Fn(&mut SidecarOptions)) -> serde_json::Value {
        let mut options = SidecarOptions::default();
        change(&mut options);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        sidecar(&options, &env, Borrowed::default()).container.value()
    }

    #[test]
    fn every_variable_of_the_identity_is_a_setting() {
        for (name, _) in IDENTITY {
            assert!(crate::settings::VARIABLES.iter().any(|variable| variable.name == name), "{name}");
        }
    }

    #[test]
    fn a_native_sidecar_restarts_always_and_a_classic_one_says_nothing_of_it() {
        assert_eq!(container(&[], |_| {})["restartPolicy"], "Always");
        assert!(container(&[], |options| options.classic = true).get("restartPolicy").is_none());
    }

    #[test]
    fn what_is_given_wins_over_the_identity() {
        let env = container(&[("NODE_NAME", "n"), ("FORMAT", "text")], |_| {})["env"].clone();
        let names: Vec<_> = env.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["POD_NAME", "POD_NAMESPACE", "POD_UID", "POD_IP", "POD_IPS", "FORMAT", "NODE_NAME"]);
        assert_eq!(env[6]["value"], "n");
    }

    #[test]
    fn the_metrics_port_follows_its_setting() {
        for (address, port) in
            [("", Some(19_199)), (":8080", Some(8080)), ("[::1]:90", Some(90)), ("none", None), (":0", None)]
        {
            let ports = container(&[("METRICS_ADDR", address)], |_| {}).get("ports").cloned();
            assert_eq!(ports.map(|ports| ports[0]["containerPort"].as_i64().unwrap()), port, "{address}");
        }
    }

    #[test]
    fn what_is_not_wanted_leaves_nothing_behind() {
        let bare = container(&[], |options| {
            options.config_map = None;
            options.resources =
                SidecarResources { cpu_request: None, cpu_limit: None, memory_request: None, memory_limit: None };
        });
        assert!(bare.get("envFrom").is_none() && bare.get("resources").is_none());
    }

    #[test]
    fn files_get_a_volume_once_for_each_folder_and_none_where_there_can_be_none() {
        let mounts = |pairs: &[(&str, &str)]| {
            let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let made = sidecar(&SidecarOptions::default(), &env, Borrowed::default());
            let mounts = made.container.value()["volumeMounts"].as_array().unwrap().clone();
            let mounts = mounts.iter().skip(2).map(|mount| format!("{} {}", mount["name"], mount["mountPath"]));
            (mounts.collect::<Vec<_>>().join(", ").replace('"', ""), made.volumes.len())
        };
        let both = [("FILE_PATH", "/out/records.json"), ("DEAD_LETTER_PATH", "/out/refused.json")];
        assert_eq!(mounts(&both), ("podtap-files /out".to_owned(), 2));
        let apart = [("FILE_PATH", "/out/records.json"), ("DEAD_LETTER_PATH", "/dead/refused.json")];
        assert_eq!(mounts(&apart), ("podtap-files /dead, podtap-files /out".to_owned(), 2));
        let in_spool = [("SPOOL_DIR", "/out"), ("DEAD_LETTER_PATH", "/out/refused.json")];
        assert_eq!(mounts(&in_spool), ("podtap-spool /out".to_owned(), 2));
        for nowhere in ["none", "records.json", "/records.json", "/dev/stdout"] {
            assert_eq!(mounts(&[("FILE_PATH", nowhere)]), (String::new(), 1), "{nowhere}");
        }
    }

    #[test]
    fn each_capability_is_added_only_for_what_is_recorded() {
        for (pairs, added) in [
            (&[][..], &["NET_RAW"][..]),
            (&[("RECORD", "")], &["NET_RAW"]),
            (&[("RECORD", "HTTP, conntrack")], &["NET_RAW", "NET_ADMIN"]),
            (&[("RECORD", "flows")], &["NET_RAW"]),
            (&[("RECORD", "conntrack")], &["NET_ADMIN"]),
            (&[("CONNTRACK_ALL_NAMESPACES", "true")], &["NET_RAW"]),
            (&[("RECORD", "verdicts"), ("VERDICT_GROUPS", "5,6")], &["NET_ADMIN"]),
            (&[("RECORD", "verdicts"), ("VERDICT_GROUPS", "none"), ("VERDICT_KMSG", "true")], &["SYSLOG"]),
            (&[("VERDICT_GROUPS", "5"), ("VERDICT_KMSG", "true")], &["NET_RAW"]),
            (&[("RECORD", "connects")], &["BPF", "PERFMON"]),
            (&[("RECORD", "conntrack"), ("CONNTRACK_ALL_NAMESPACES", "Yes")], &["NET_ADMIN", "NET_BROADCAST"]),
        ] {
            let context = container(pairs, |_| {})["securityContext"].clone();
            assert_eq!(context["capabilities"]["add"], serde_json::json!(added), "{pairs:?}");
        }
    }

    #[test]
    fn the_application_s_token_is_kept_out() {
        // By a mount at the very place where the API server would add one.
        let mounts = container(&[], |_| {})["volumeMounts"].clone();
        let place = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert!(mounts.as_array().unwrap().iter().any(|mount| mount["mountPath"] == place), "{mounts}");
    }

    #[test]
    fn a_spool_directory_gets_a_volume() {
        let env = SettingPairs::from([("SPOOL_DIR".to_owned(), "/var/spool/podtap".to_owned())]);
        let spooling = sidecar(&SidecarOptions::default(), &env, Borrowed::default());
        assert_eq!(spooling.volumes[1].value()["name"], SPOOL_VOLUME);
        assert_eq!(spooling.container.value()["volumeMounts"][2]["mountPath"], "/var/spool/podtap");
        let none = SettingPairs::from([("SPOOL_DIR".to_owned(), "none".to_owned())]);
        assert_eq!(sidecar(&SidecarOptions::default(), &none, Borrowed::default()).volumes.len(), 1);
    }
}
