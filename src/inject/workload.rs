//! Finds the pods in a document: the kinds that have one, and the path to it.
//!
//! Decides nothing about them. Objects of other kinds are passed over, also where they contain a pod's template: how to
//! tell is theirs to say.

use serde_json::Value;

use super::plan::PodTemplate;
use crate::yaml::{MappingEntry, YamlDocument, YamlNode};

/// Kinds with a pod in them: API groups, kind, the way to the template.
const KINDS: [(&[&str], &str, &[&str]); 8] = [
    (&[""], "Pod", &[]),
    (&[""], "ReplicationController", &["spec", "template"]),
    (&["apps", "extensions"], "Deployment", &["spec", "template"]),
    (&["apps"], "StatefulSet", &["spec", "template"]),
    (&["apps", "extensions"], "DaemonSet", &["spec", "template"]),
    (&["apps", "extensions"], "ReplicaSet", &["spec", "template"]),
    (&["batch"], "Job", &["spec", "template"]),
    (&["batch"], "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// An object with a pod in it.
pub(super) struct PodManifest<'n, 'a> {
    /// Which object it is.
    pub(super) object: NamedObject,
    /// The document that contains it.
    pub(super) document: &'n YamlDocument<'n, 'a>,
    /// Metadata of the pod.
    pub(super) metadata: Value,
    /// Spec of the pod, as value.
    pub(super) spec: Value,
    /// The entry whose value is that spec.
    pub(super) entry: &'n MappingEntry<'a>,
}

impl PodManifest<'_, '_> {
    /// The pod, for those who decide about it.
    pub(super) fn pod(&self) -> PodTemplate<'_> {
        PodTemplate { kind: &self.object.kind, metadata: &self.metadata, spec: &self.spec }
    }
}

/// An object, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The line it begins in, from 1.
    pub line: usize,
}

/// An object with a pod that cannot be reached, and why.
pub(super) struct UnreachablePod {
    /// The object.
    pub(super) object: NamedObject,
    /// Why; none where there simply is no spec of a pod.
    pub(super) why: Option<String>,
}

/// The workloads of a document, in order.
pub(super) fn find<'n, 'a>(document: &'n YamlDocument<'n, 'a>) -> Vec<Result<PodManifest<'n, 'a>, UnreachablePod>> {
    let mut found = Vec::new();
    find_in(document, document.root, &mut found);
    found
}

fn find_in<'n, 'a>(
    document: &'n YamlDocument<'n, 'a>,
    node: &'n YamlNode<'a>,
    found: &mut Vec<Result<PodManifest<'n, 'a>, UnreachablePod>>,
) {
    let plain = |key| node.entries().iter().find(|entry| entry.is(key)).map(|entry| &entry.value);
    let text_of = |key| plain(key).and_then(YamlNode::text).unwrap_or_default();
    let (version, kind) = (text_of("apiVersion"), text_of("kind"));
    if (version, kind) == ("v1", "List") {
        for item in plain("items").map(YamlNode::items).unwrap_or_default() {
            find_in(document, item, found);
        }
        return;
    }
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let Some((_, _, way)) = KINDS.iter().find(|(groups, name, _)| *name == kind && groups.contains(&group)) else {
        return;
    };
    let name = plain("metadata").and_then(|metadata| metadata.entries().iter().find(|entry| entry.is("name")));
    let object = NamedObject {
        kind: kind.to_owned(),
        name: name.and_then(|entry| entry.value.text()).unwrap_or_default().to_owned(),
        line: node.line,
    };
    found.push(match reach(document, node, way) {
        Ok(Some((metadata, spec, entry))) => Ok(PodManifest { object, document, metadata, spec, entry }),
        Ok(None) => Err(UnreachablePod { object, why: None }),
        Err(why) => Err(UnreachablePod { object, why: Some(why) }),
    });
}

type ReachedSpec<'n, 'a> = (Value, Value, &'n MappingEntry<'a>);

fn reach<'n, 'a>(
    document: &YamlDocument<'_, 'a>,
    object: &'n YamlNode<'a>,
    way: &[&str],
) -> Result<Option<ReachedSpec<'n, 'a>>, String> {
    let mut template = object;
    for key in way {
        let Some(entry) = document.entry(template, key)? else { return Ok(None) };
        template = &entry.value;
    }
    let Some(entry) = document.entry(template, "spec")? else { return Ok(None) };
    let metadata = template.entries().iter().find(|entry| entry.is("metadata"));
    let metadata = metadata.map(|entry| document.value(&entry.value)).transpose()?;
    Ok(Some((metadata.unwrap_or_default(), document.value(&entry.value)?, entry)))
}
