//! Cloud Foundry's store of containers by address, as `store.json` has it.
//!
//! Opens no file. What is no string in it counts as empty.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use serde_json::{Map, Value};

use crate::record::StoredContainer;

/// The containers of one version of the store.
#[derive(Clone, Debug, Default)]
pub struct ContainerStore {
    by_address: HashMap<IpAddr, Arc<StoredContainer>, RandomState>,
}

impl ContainerStore {
    /// Reads the file's text; the error says what it is instead.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let containers: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let entry = |(handle, value): (&String, &Value)| {
            let text = |of: &Value, name: &str| -> CompactString {
                of.get(name).and_then(Value::as_str).unwrap_or_default().into()
            };
            let ip = value.get("ip")?.as_str()?.parse().ok()?;
            let id = text(value, "handle");
            let metadata = value.get("metadata").unwrap_or(&Value::Null);
            let container = StoredContainer {
                id: if id.is_empty() { handle.as_str().into() } else { id },
                app: text(metadata, "app_id"),
                space: text(metadata, "space_id"),
                org: text(metadata, "org_id"),
                group: text(metadata, "policy_group_id"),
            };
            Some((ip, Arc::new(container)))
        };
        Ok(Self { by_address: containers.iter().filter_map(entry).collect() })
    }

    /// Who is behind an address.
    pub fn container(&self, ip: IpAddr) -> Option<Arc<StoredContainer>> {
        self.by_address.get(&ip).cloned()
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_its_address_and_what_is_no_string_is_empty() {
        let text = br#"{
            "one": {"handle": "one", "ip": "10.0.0.1", "metadata": {"app_id": "a", "space_id": 17, "org_id": "o"}},
            "six": {"ip": "fd00::10"},
            "bad": {"handle": "bad", "ip": "10.0.0.300"},
            "odd": 7
        }"#;
        let store = ContainerStore::parse(text).unwrap();
        let one = StoredContainer { id: "one".into(), app: "a".into(), org: "o".into(), ..StoredContainer::default() };
        assert_eq!(store.container([10, 0, 0, 1].into()).as_deref(), Some(&one));
        let six = store.container("fd00::10".parse().unwrap()).unwrap();
        assert_eq!((six.id.as_str(), six.app.as_str(), store.len()), ("six", "", 2));
        assert!(store.container([10, 0, 0, 2].into()).is_none());
        assert!(ContainerStore::parse(b"[]").is_err() && ContainerStore::parse(b"{").is_err());
    }
}
