//! The ledger record as nested objects: the parts it shares with the record of an exchange, and `podtap.ledger.*`.
//!
//! There are one or two per minute, so serde writes them, without the care that `line` takes.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ECS_VERSION;
use super::declare::parts;
use super::objects::{EcsPart, RecorderParts, below};
use crate::format::Observer;
use crate::format::fields::{FieldType, RecordField, field};
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Dataset, Statement};

parts! {
    struct StatementView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "As `event.end`";
        ecs: EcsPart => listed below(&["ecs."]);
        event: StatementEventPart<'a> => own;
        flat recorder: RecorderParts<'a> => own;
        podtap: StatementPodtapPart<'a> => [
            "podtap.ledger.sink" Keyword "Of which sink, as in SEND_LOGS_TO; absent where the record is of the capture",
            "podtap.ledger.adds_up" Boolean "Whether every equation holds; `false` is a bug in podtap",
            "podtap.ledger.imbalances" Keyword "The equations that do not",
        ] and counters();
    }

    struct StatementEventPart<'a> in "event." {
        kind: &'static str => Keyword "`metric`";
        dataset: &'static str => Keyword "`podtap.ledger`";
        id: &'a str => Keyword "Unique; the same record sent again has the same id";
        start: Rfc3339Stamp => Date "When the interval began: the `event.end` of the one before, or the start of podtap";
        end: Rfc3339Stamp => Date "When it ended";
        duration: u64 => Long "`event.end` − `event.start` in nanoseconds";
    }
}

#[derive(Serialize)]
pub(super) struct StatementPodtapPart<'a> {
    ledger: LedgerPart<'a>,
}

/// `podtap.ledger`: its numbers have their names from the ledger's columns.
pub(super) struct LedgerPart<'a>(&'a Statement);

/// The numbers of the ledger: their names are those of counters in `/metrics`.
fn counters() -> Vec<RecordField> {
    crate::ledger::ledger_fields().map(|(name, meaning)| field(name, FieldType::Long, meaning)).collect()
}

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
    use super::StatementView;
    use crate::flow::Timestamp;
    use crate::format::Observer;
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
    fn a_ledger_record_is_a_line_of_the_ledger_dataset() {
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
        assert_eq!(written, StatementView::fields().into_iter().map(|field| field.name.to_owned()).collect());
        of_listed_types(StatementView::fields().into_iter(), &whole);
    }
}
