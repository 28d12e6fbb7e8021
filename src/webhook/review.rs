//! From an AdmissionReview to its answer. Bytes in, text out: no socket.
//!
//! Answers about pods that are being made; everything else is admitted as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::inject::{Addition, PodPlan, PodTemplate, SidecarOptions, operations, own_place, plan};
use crate::settings::printable;

const VERSION: &str = "admission.k8s.io/v1";
/// Longer warnings are cut by the API server.
const LONGEST_WARNING: usize = 200;
/// More would be dropped by it.
const MOST_WARNINGS: usize = 8;
const FORBIDDEN: &str = "Pod Security forbids NET_RAW here (the namespace's label pod-security.kubernetes.io/enforce)";

/// What the API server asks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview {
    api_version: String,
    kind: String,
    request: Option<AdmissionRequest>,
}

#[derive(Deserialize)]
struct AdmissionRequest {
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: String,
    kind: ObjectKind,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct ObjectKind {
    group: String,
    kind: String,
}

/// Whether pods of the namespace can have a sidecar at all. Only the API server knows: it asks by another path where not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamespacePolicy {
    /// Nothing is known against it.
    Open,
    /// Pod Security enforces a level that forbids NET_RAW: with the sidecar, the pod itself would be refused.
    Forbidden,
}

/// What becomes of one request.
struct ReviewVerdict {
    patch: Vec<Value>,
    warnings: Vec<String>,
}

/// The answer to a review; the error says why that is none.
pub(super) fn review(body: &[u8], options: &SidecarOptions, ground: NamespacePolicy) -> Result<String, String> {
    let review: AdmissionReview = serde_json::from_slice(body).map_err(|why| format!("no AdmissionReview: {why}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != (VERSION, "AdmissionReview") {
        return Err(format!("not an AdmissionReview of {VERSION}"));
    }
    let request = review.request.ok_or("an AdmissionReview without request")?;
    let verdict = judge(&request, options, ground);
    let mut response = Map::from_iter([("uid".to_owned(), json!(request.uid)), ("allowed".to_owned(), json!(true))]);
    if !verdict.patch.is_empty() {
        let patch = STANDARD.encode(Value::Array(verdict.patch).to_string());
        response.extend([("patchType".to_owned(), json!("JSONPatch")), ("patch".to_owned(), json!(patch))]);
    }
    if !verdict.warnings.is_empty() {
        let warnings: Vec<_> = verdict.warnings.iter().take(MOST_WARNINGS).map(|text| warning(text)).collect();
        response.insert("warnings".to_owned(), json!(warnings));
    }
    Ok(json!({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}).to_string())
}

fn judge(request: &AdmissionRequest, options: &SidecarOptions, ground: NamespacePolicy) -> ReviewVerdict {
    let nothing = |warnings| ReviewVerdict { patch: Vec::new(), warnings };
    let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod" && request.operation == "CREATE";
    let (Some(spec), metadata) = (request.object.get("spec").filter(|_| is_pod), request.object.get("metadata")) else {
        return nothing(Vec::new());
    };
    let metadata = metadata.unwrap_or(&Value::Null);
    let name = ["name", "generateName"].iter().find_map(|key| metadata.get(key)?.as_str()).unwrap_or_default();
    let (namespace, name) = (printable(&request.namespace), printable(name));
    if own_place(spec).is_some() {
        tracing::debug!(namespace, name, "has a sidecar already");
        return nothing(Vec::new());
    }
    let plan = match (plan(PodTemplate { kind: "Pod", metadata, spec }, options), ground) {
        (PodPlan::Add(_), NamespacePolicy::Forbidden) => PodPlan::Refuse(FORBIDDEN.to_owned()),
        (plan, NamespacePolicy::Open | NamespacePolicy::Forbidden) => plan,
    };
    match plan {
        PodPlan::Add(Addition { sidecar, complaints, notes }) => {
            tracing::info!(namespace, name, "sidecar added");
            let left_out = complaints.into_iter().map(|complaint| format!("left out: {complaint}"));
            ReviewVerdict { patch: operations(spec, &sidecar), warnings: left_out.chain(notes).collect() }
        }
        PodPlan::Skip(reason) => {
            tracing::debug!(namespace, name, reason = printable(&reason), "no sidecar");
            nothing(Vec::new())
        }
        PodPlan::Refuse(reason) => {
            tracing::warn!(namespace, name, reason = printable(&reason), "no sidecar");
            nothing(vec![format!("no sidecar: {reason}")])
        }
    }
}

/// As it goes into a header of the API server's answer.
fn warning(text: &str) -> String {
    let text = printable(&format!("podtap: {text}"));
    text.chars().take(LONGEST_WARNING).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::inject;

    /// A review as the API server sends it.
    fn asked(pod: &Value) -> Value {
        let pods = json!({"group": "", "version": "v1", "resource": "pods"});
        json!({"kind": "AdmissionReview", "apiVersion": VERSION, "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": pods, "requestKind": {"group": "", "version": "v1", "kind": "Pod"}, "requestResource": pods,
            "namespace": "shop", "operation": "CREATE", "userInfo": {"username": "system:serviceaccount:kube-system:x"},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions"},
        }})
    }

    fn answered(review: &Value, options: &SidecarOptions) -> Value {
        answered_on(review, options, NamespacePolicy::Open)
    }

    fn answered_on(review: &Value, options: &SidecarOptions, ground: NamespacePolicy) -> Value {
        let text = super::review(review.to_string().as_bytes(), options, ground).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!(VERSION), &json!("AdmissionReview")));
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        assert_eq!(answer["response"]["allowed"], true);
        answer["response"].clone()
    }

    fn patch(response: &Value) -> Vec<Value> {
        let Some(patch) = response["patch"].as_str() else { return Vec::new() };
        assert_eq!(response["patchType"], "JSONPatch");
        serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
    }

    /// RFC 6902, as far as we use it.
    fn patched(pod: &Value, operations: &[Value]) -> Value {
        let mut pod = pod.clone();
        for operation in operations {
            assert_eq!(operation["op"], "add");
            let (parent, key) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
            let value = operation["value"].clone();
            match pod.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}")) {
                Value::Array(items) if key == "-" => items.push(value),
                Value::Array(items) => items.insert(key.parse().unwrap(), value),
                Value::Object(entries) => drop(entries.insert(key.to_owned(), value)),
                scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => panic!("{scalar}"),
            }
        }
        pod
    }

    fn pod(spec: &Value) -> Value {
        let token = json!({"name": "kube-api-access-x", "projected": {"sources": []}});
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "cart-", "annotations": {
            "podtap.io/format": "ecs"}}, "spec": {"containers": [{"name": "app"}], "volumes": [token]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    }

    #[test]
    fn a_pod_gets_what_inject_would_give_it() {
        for classic in [false, true] {
            let env = [("SPOOL_DIR".to_owned(), "/spool".to_owned())].into();
            let options = SidecarOptions { classic, env, ..SidecarOptions::default() };
            for spec in [
                json!({}),
                json!({"volumes": null}),
                json!({"volumes": [], "initContainers": []}),
                json!({"initContainers": [{"name": "init"}], "terminationGracePeriodSeconds": 10}),
            ] {
                let pod = pod(&spec);
                let response = answered(&asked(&pod), &options);
                let after = patched(&pod, &patch(&response));
                let injected = inject(&pod.to_string(), &options).unwrap().text;
                assert_eq!(after, serde_json::from_str::<Value>(&injected).unwrap(), "{spec}");
                assert_eq!(response.get("warnings"), None);
                // Once is enough, however often it is asked.
                assert!(patch(&answered(&asked(&after), &options)).is_empty());
            }
        }
    }

    #[test]
    fn what_cannot_have_a_sidecar_is_admitted_without_and_reported() {
        for (change, warned) in [
            (json!({"hostNetwork": true}), true),
            (json!({"containers": [{"name": "podtap"}]}), true),
            (json!({"containers": []}), false),
        ] {
            let response = answered(&asked(&pod(&change)), &SidecarOptions::default());
            assert!(patch(&response).is_empty(), "{change}");
            assert_eq!(response.get("warnings").is_some(), warned, "{change}");
        }
        let mut unwilling = pod(&json!({}));
        unwilling["metadata"]["labels"] = json!({"podtap.io/inject": "false"});
        assert!(patch(&answered(&asked(&unwilling), &SidecarOptions::default())).is_empty());
    }

    #[test]
    fn where_pod_security_forbids_it_a_pod_without_is_better_than_no_pod() {
        let response = answered_on(&asked(&pod(&json!({}))), &SidecarOptions::default(), NamespacePolicy::Forbidden);
        assert!(patch(&response).is_empty());
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.contains("no sidecar: Pod Security") && warning.ends_with(')'), "{warning}");
        // A pod that wants none gets no warning, and who has one is left to Pod Security.
        let mut unwilling = pod(&json!({}));
        unwilling["metadata"]["labels"] = json!({"podtap.io/inject": "false"});
        let injected = inject(&pod(&json!({})).to_string(), &SidecarOptions::default()).unwrap().text;
        for other in [unwilling, serde_json::from_str(&injected).unwrap()] {
            let response = answered_on(&asked(&other), &SidecarOptions::default(), NamespacePolicy::Forbidden);
            assert_eq!((patch(&response).len(), response.get("warnings")), (0, None));
        }
    }

    #[test]
    fn a_wrong_annotation_is_left_out_and_reported() {
        let mut wrong = pod(&json!({}));
        wrong["metadata"]["annotations"] = json!({"podtap.io/snaplen": "m\u{1b}any", "podtap.io/format": "ecs"});
        let response = answered(&asked(&wrong), &SidecarOptions::default());
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("podtap: left out: annotation podtap.io/snaplen"), "{warning}");
        assert!(warning.chars().all(|c| !c.is_control()));
        let env = patch(&response)[0]["value"][0]["env"].to_string();
        assert!(env.contains("FORMAT") && !env.contains("SNAPLEN"), "{env}");
    }

    #[test]
    fn nothing_but_new_pods_is_touched() {
        for change in [
            json!({"operation": "UPDATE"}),
            json!({"operation": "DELETE", "object": null}),
            json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
            json!({"kind": {"group": "metrics.k8s.io", "version": "v1", "kind": "Pod"}}),
            json!({"object": {"metadata": {}}}),
            json!({"object": {"spec": 1}}),
        ] {
            let mut review = asked(&pod(&json!({})));
            review["request"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert!(patch(&answered(&review, &SidecarOptions::default())).is_empty(), "{change}");
        }
    }

    #[test]
    fn what_is_no_review_is_reported_and_no_more() {
        let deep = "[".repeat(1 << 16);
        let old = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}).to_string();
        let empty = json!({"apiVersion": VERSION, "kind": "AdmissionReview"}).to_string();
        for body in ["", "{}", "null", "\u{ff}", &deep, &old, &empty] {
            assert!(review(body.as_bytes(), &SidecarOptions::default(), NamespacePolicy::Open).is_err(), "{body:.40}");
        }
    }
}
