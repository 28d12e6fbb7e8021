//! What is read of Kubernetes' objects: the few fields that names are made of. Everything else is skipped while parsing.
//!
//! One type for all kinds, as their fields do not collide: whole objects would take forty times the memory. Interprets
//! nothing (`cluster` does).

use std::collections::BTreeMap;
use std::fmt;

use compact_str::CompactString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct ObjectList {
    pub(super) metadata: ListMeta,
    pub(super) items: Option<Vec<ApiObject>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
    pub(super) resource_version: Option<String>,
}

/// A line of a watch. The object of an ERROR is a `ObjectStatus`.
#[derive(Debug, Deserialize)]
pub(super) struct WatchEvent {
    #[serde(rename = "type")]
    pub(super) kind: CompactString,
    pub(super) object: ApiObject,
}

/// A Pod, Service, EndpointSlice, Node, OvnFip or Status.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiObject {
    pub(super) metadata: Option<ObjectMeta>,
    pub(super) spec: Option<ObjectSpec>,
    #[serde(default, deserialize_with = "status")]
    pub(super) status: Option<ObjectStatus>,
    /// Of an EndpointSlice.
    pub(super) endpoints: Option<Vec<SliceEndpoint>>,
    /// Of a Status.
    pub(super) code: Option<u16>,
    /// Of a Status.
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectMeta {
    #[serde(default)]
    pub(super) uid: CompactString,
    #[serde(default)]
    pub(super) name: CompactString,
    pub(super) namespace: Option<CompactString>,
    pub(super) resource_version: Option<CompactString>,
    pub(super) creation_timestamp: Option<CompactString>,
    pub(super) labels: Option<BTreeMap<CompactString, CompactString>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectSpec {
    /// Of a Pod.
    pub(super) node_name: Option<CompactString>,
    /// Of a Pod.
    pub(super) host_network: Option<bool>,
    /// Of a Service.
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<CompactString>>,
    /// Of a Service.
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<CompactString>,
    /// Of a Service.
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<CompactString>>,
    /// Of an OvnFip: `pod.namespace`.
    pub(super) ip_name: Option<CompactString>,
    /// Of an OvnFip: the pod's address.
    #[serde(rename = "v4Ip")]
    pub(super) v4_ip: Option<CompactString>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectStatus {
    /// Of a Pod.
    pub(super) phase: Option<CompactString>,
    /// Of a Pod.
    pub(super) start_time: Option<CompactString>,
    /// Of a Pod.
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<CompactString>,
    /// Of a Pod.
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<PodIp>>,
    /// Of a Pod.
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    /// Of a Pod: sidecars are among them.
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    /// Of a Pod.
    pub(super) ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
    /// Of a Node.
    pub(super) addresses: Option<Vec<NodeAddress>>,
    /// Of a Service.
    pub(super) load_balancer: Option<LoadBalancer>,
    /// Of an OvnFip.
    #[serde(rename = "v4Eip")]
    pub(super) v4_eip: Option<CompactString>,
    /// Of an OvnFip.
    #[serde(rename = "v4Ip")]
    pub(super) v4_ip: Option<CompactString>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PodIp {
    pub(super) ip: Option<CompactString>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContainerStatus {
    #[serde(default)]
    pub(super) name: CompactString,
    /// `containerd://<id>`; once it runs.
    #[serde(rename = "containerID")]
    pub(super) id: Option<CompactString>,
    pub(super) state: Option<ContainerState>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) finished_at: Option<CompactString>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeAddress {
    pub(super) address: Option<CompactString>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadBalancer {
    pub(super) ingress: Option<Vec<PodIp>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SliceEndpoint {
    pub(super) addresses: Option<Vec<CompactString>>,
}

/// The status of a `ObjectStatus` is a word. (An untagged enum would keep all of a Pod's status in between.)
fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ObjectStatus>, D::Error> {
    struct StatusOrWord;

    impl<'de> Visitor<'de> for StatusOrWord {
        type Value = Option<ObjectStatus>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a status")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            ObjectStatus::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(StatusOrWord)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_watch_is_an_object_whose_status_is_a_word() {
        let text = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
            "message":"too old resource version: 1 (9)","reason":"Expired","code":410}}"#;
        let event: WatchEvent = serde_json::from_str(text).unwrap();
        assert_eq!((&*event.kind, event.object.code), ("ERROR", Some(410)));
        assert!(event.object.status.is_none());
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let text = r#"{"metadata":{"resourceVersion":"7","continue":""},"items":[{"metadata":{"name":"a","labels":null},
            "spec":{"externalIPs":null},"status":{"podIPs":null,"containerStatuses":[{"state":{"terminated":null}}]},"endpoints":null}]}"#;
        let list: ObjectList = serde_json::from_str(text).unwrap();
        assert_eq!(list.items.unwrap().len(), 1);
        let none: ObjectList = serde_json::from_str(r#"{"metadata":{},"items":null}"#).unwrap();
        assert!(none.items.is_none());
    }
}
