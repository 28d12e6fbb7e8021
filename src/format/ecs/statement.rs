//! The ledger record as nested objects: what it shares with an exchange's record, and `podtap.ledger.*`.
//!
//! One or two a minute: written by serde, without the care that `line` takes.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ECS_VERSION;
use super::fit::Fit;
use super::objects::{Agent, Ecs, Kubernetes, Name, Orchestrator};
use crate::format::Observer;
use crate::format::stamp::Stamp;
use crate::record::{Labels, Statement};

#[derive(Serialize)]
pub(super) struct StatementView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Stamp,
    ecs: Ecs,
    event: Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Kubernetes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<Orchestrator<'a>>,
    agent: Agent,
    podtap: Podtap<'a>,
}

#[derive(Serialize)]
struct Event<'a> {
    kind: &'static str,
    dataset: &'static str,
    id: &'a str,
    start: Stamp,
    end: Stamp,
    duration: u64,
}

#[derive(Serialize)]
struct Podtap<'a> {
    ledger: Ledger<'a>,
}

/// `podtap.ledger`: its numbers have their names from the ledger's columns.
struct Ledger<'a>(&'a Statement);

impl Serialize for Ledger<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Statement { sink, numbers, imbalances, .. } = self.0;
        let entries = usize::from(sink.is_some()) + 1 + usize::from(!imbalances.is_empty()) + numbers.len();
        let mut map = serializer.serialize_map(Some(entries))?;
        if let Some(sink) = sink {
            map.serialize_entry("sink", sink.as_str())?;
        }
        map.serialize_entry("adds_up", &imbalances.is_empty())?;
        if !imbalances.is_empty() {
            map.serialize_entry("imbalances", imbalances)?;
        }
        numbers.iter().try_for_each(|(name, number)| map.serialize_entry(name, number))?;
        map.end()
    }
}

impl<'a> StatementView<'a> {
    pub(super) fn new(statement: &'a Statement, observer: &'a Observer) -> Self {
        let (start, end) = (Stamp::new(statement.from), Stamp::new(statement.to));
        let name = |name: &'a str| Name { name };
        Self {
            timestamp: end,
            ecs: Ecs { version: ECS_VERSION },
            event: Event {
                kind: "metric",
                dataset: "podtap.ledger",
                id: &statement.id,
                start,
                end,
                duration: statement.to.since(statement.from),
            },
            service: observer.service_name.as_deref().map(name),
            labels: Fit::WHOLE.labels(&observer.labels),
            host: observer.host_name.as_deref().map(name),
            kubernetes: Kubernetes::new(observer, &Fit::WHOLE),
            orchestrator: observer.cluster_name.as_deref().map(|n| Orchestrator { cluster: name(n) }),
            agent: Agent { r#type: "podtap", version: env!("CARGO_PKG_VERSION") },
            podtap: Podtap { ledger: Ledger(statement) },
        }
    }
}
