//! Finds the pods in a document: the kinds that have one, and the path to it.
//!
//! Decides nothing about them. Objects of other kinds are passed over, also where they contain a pod's template: how to
//! tell is theirs to say.

use serde_json::Value;

use super::plan::Pod;
use crate::yaml::{Document, Entry, Node};

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
pub(super) struct Workload<'n, 'a> {
    /// Which object it is.
    pub(super) object: Object,
    /// The document that contains it.
    pub(super) document: &'n Document<'n, 'a>,
    /// Metadata of the pod.
    pub(super) metadata: Value,
    /// Spec of the pod, as value.
    pub(super) spec: Value,
    /// The entry whose value is that spec.
    pub(super) entry: &'n Entry<'a>,
}

impl Workload<'_, '_> {
    /// The pod, for those who decide about it.
    pub(super) fn pod(&self) -> Pod<'_> {
        Pod { kind: &self.object.kind, metadata: &self.metadata, spec: &self.spec }
    }
}

/// An object, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The line it begins in, from 1.
    pub line: usize,
}

/// An object with a pod that cannot be reached, and why.
pub(super) struct Unreachable {
    /// The object.
    pub(super) object: Object,
    /// Why; none where there simply is no spec of a pod.
    pub(super) why: Option<String>,
}

/// The workloads of a document, in order.
pub(super) fn find<'n, 'a>(document: &'n Document<'n, 'a>) -> Vec<Result<Workload<'n, 'a>, Unreachable>> {
    let mut found = Vec::new();
    find_in(document, document.root, &mut found);
    found
}

fn find_in<'n, 'a>(
    document: &'n Document<'n, 'a>,
    node: &'n Node<'a>,
    found: &mut Vec<Result<Workload<'n, 'a>, Unreachable>>,
) {
    let plain = |key| node.entries().iter().find(|entry| entry.is(key)).map(|entry| &entry.value);
    let text_of = |key| plain(key).and_then(Node::text).unwrap_or_default();
    let (version, kind) = (text_of("apiVersion"), text_of("kind"));
    if (version, kind) == ("v1", "List") {
        for item in plain("items").map(Node::items).unwrap_or_default() {
            find_in(document, item, found);
        }
        return;
    }
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let Some((_, _, way)) = KINDS.iter().find(|(groups, name, _)| *name == kind && groups.contains(&group)) else {
        return;
    };
    let name = plain("metadata").and_then(|metadata| metadata.entries().iter().find(|entry| entry.is("name")));
    let object = Object {
        kind: kind.to_owned(),
        name: name.and_then(|entry| entry.value.text()).unwrap_or_default().to_owned(),
        line: node.line,
    };
    found.push(match reach(document, node, way) {
        Ok(Some((metadata, spec, entry))) => Ok(Workload { object, document, metadata, spec, entry }),
        Ok(None) => Err(Unreachable { object, why: None }),
        Err(why) => Err(Unreachable { object, why: Some(why) }),
    });
}

type Reached<'n, 'a> = (Value, Value, &'n Entry<'a>);

fn reach<'n, 'a>(
    document: &Document<'_, 'a>,
    object: &'n Node<'a>,
    way: &[&str],
) -> Result<Option<Reached<'n, 'a>>, String> {
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
