//! The ledger record as nested objects: the parts it shares with the record of an exchange, and `podtap.ledger.*`.
//!
//! There are one or two per minute, so serde writes them, without the care that `line` takes.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ECS_VERSION;
use super::objects::{EcsPart, RecorderParts};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Dataset, Statement};

#[derive(Serialize)]
pub(super) struct StatementView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Rfc3339Stamp,
    ecs: EcsPart,
    event: StatementEventPart<'a>,
    #[serde(flatten)]
    recorder: RecorderParts<'a>,
    podtap: StatementPodtapPart<'a>,
}

#[derive(Serialize)]
struct StatementEventPart<'a> {
    kind: &'static str,
    dataset: &'static str,
    id: &'a str,
    start: Rfc3339Stamp,
    end: Rfc3339Stamp,
    duration: u64,
}

#[derive(Serialize)]
struct StatementPodtapPart<'a> {
    ledger: LedgerPart<'a>,
}

/// `podtap.ledger`: its numbers have their names from the ledger's columns.
struct LedgerPart<'a>(&'a Statement);

impl Serialize for LedgerPart<'_> {
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
        let (start, end) = (Rfc3339Stamp::new(statement.from), Rfc3339Stamp::new(statement.to));
        Self {
            timestamp: end,
            ecs: EcsPart { version: ECS_VERSION },
            event: StatementEventPart {
                kind: "metric",
                dataset: Dataset::Ledger.name(),
                id: &statement.id,
                start,
                end,
                duration: statement.to.since(statement.from),
            },
            recorder: RecorderParts::new(observer),
            podtap: StatementPodtapPart { ledger: LedgerPart(statement) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::write_json;
    use crate::flow::Timestamp;
    use crate::format::Observer;
    use crate::format::fields::ledger_record_fields;
    use crate::ledger::ledger_fields;
    use crate::record::Statement;

    fn statement() -> Statement {
        let name = |(field, _): (&'static str, _)| field.strip_prefix("podtap.ledger.").unwrap();
        Statement {
            id: "run.ledger.1.fluentd".into(),
            from: Timestamp(1_000_000_000),
            to: Timestamp(61_000_000_000),
            sink: Some("fluentd".into()),
            numbers: ledger_fields().map(name).zip(0..).collect(),
            imbalances: vec!["a = b"],
        }
    }

    fn line(statement: Statement, observer: &Observer) -> String {
        let mut out = Vec::new();
        write_json(&mut out, &statement.into(), observer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_ledger_record_is_a_line_of_its_own_dataset() {
        let sparse = Statement { sink: None, numbers: vec![("gaps", 0)], imbalances: Vec::new(), ..statement() };
        let expected = concat!(
            r#"{"@timestamp":"1970-01-01T00:01:01.000000Z","ecs":{"version":"9.0.0"},"event":{"kind":"metric","dataset":"podtap.ledger","id":"run.ledger.1.fluentd","#,
            r#""start":"1970-01-01T00:00:01.000000Z","end":"1970-01-01T00:01:01.000000Z","duration":60000000000},"agent":{"type":"podtap","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""},"podtap":{"ledger":{"adds_up":true,"gaps":0}}}"#,
            "\n"
        );
        assert_eq!(line(sparse, &Observer::default()), expected);
    }

    #[test]
    fn the_listed_fields_are_the_written_fields_with_their_types() {
        let whole: Value = serde_json::from_str(&line(statement(), &everything().1)).unwrap();
        let mut written = BTreeSet::new();
        leaves("", &whole, &mut written);
        assert_eq!(written, ledger_record_fields().map(|field| field.name.to_owned()).collect());
        of_listed_types(ledger_record_fields(), &whole);
    }
}
