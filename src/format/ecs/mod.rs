//! `FORMAT=ecs`: the record as nested objects of the Elastic Common Schema. Fields without a name there are under
//! `podtap.*`.
//!
//! The field names are a contract: [`record_fields`] lists them, docs/record.md explains them. [`EcsRecord`] is plain serde (structs,
//! maps of known length), so other encodings than JSON can be made of it.

/// The version as a literal, for `concat!`.
macro_rules! ecs_version {
    () => {
        "9.0.0"
    };
}

mod connect;
mod conntrack;
mod declare;
#[cfg(test)]
mod equality;
mod fit;
mod flow;
mod line;
mod listed;
mod objects;
mod parts;
mod process;
mod protocols;
mod read;
mod statement;
#[cfg(test)]
mod tests;
mod verdict;
mod view;

use serde::{Serialize, Serializer};

use self::connect::ConnectView;
use self::conntrack::ConntrackView;
use self::fit::LineFit;
use self::flow::FlowView;
pub use self::listed::{all_fields, markdown_table, record_fields};
use self::objects::ExchangeView;
pub use self::read::{NotRead, ReadRecord, read_json};
use self::statement::StatementView;
use self::verdict::VerdictView;
use super::Observer;
use crate::record::Record;

/// The version of the schema that the field names were checked against.
pub const ECS_VERSION: &str = ecs_version!();

/// A record as it is serialized.
#[derive(Clone, Copy, Debug)]
pub struct EcsRecord<'a> {
    /// What happened.
    pub record: &'a Record,
    /// Who saw it.
    pub observer: &'a Observer,
}

impl Serialize for EcsRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.record {
            Record::Http(exchange) => ExchangeView::new(exchange, self.observer, &LineFit::WHOLE).serialize(serializer),
            Record::Flow(flow) => FlowView::new(flow, self.observer, &LineFit::WHOLE).serialize(serializer),
            Record::Conntrack(event) => ConntrackView::new(event, self.observer).serialize(serializer),
            Record::Verdict(packet) => VerdictView::new(packet, self.observer).serialize(serializer),
            Record::Connect(connect) => ConnectView::new(connect, self.observer, &LineFit::WHOLE).serialize(serializer),
            Record::Ledger(statement) => StatementView::new(statement, self.observer).serialize(serializer),
        }
    }
}

/// Appends the record as one line of JSON.
pub fn write_json(out: &mut Vec<u8>, record: &Record, observer: &Observer) {
    write_fit(out, record, observer, &LineFit::WHOLE);
}

/// Appends the record as one line of JSON of at most `max` bytes, line feed included. To be shorter it goes first without
/// what repeats parts of `url.original`, then without headers, then with its longest strings shortened, at last without
/// labels and annotations. `podtap.shortened` says so.
///
/// Returns whether it was shortened. A `max` below 4 KiB may not be kept: a record without its names is none.
pub fn write_json_capped(out: &mut Vec<u8>, record: &Record, observer: &Observer, max: usize) -> bool {
    let start = out.len();
    for fit in &LineFit::STEPS {
        out.truncate(start);
        write_fit(out, record, observer, fit);
        if out.len() - start <= max {
            return fit.shortened;
        }
    }
    true
}

fn write_fit(out: &mut Vec<u8>, record: &Record, observer: &Observer, fit: &LineFit) {
    match record {
        Record::Http(exchange) => line::append(out, exchange, observer, fit),
        Record::Flow(flow) => line::flow::append(out, flow, observer, fit),
        // A `Vec` takes every write.
        Record::Conntrack(event) => drop(serde_json::to_writer(&mut *out, &ConntrackView::new(event, observer))),
        Record::Verdict(packet) => drop(serde_json::to_writer(&mut *out, &VerdictView::new(packet, observer))),
        Record::Connect(connect) => drop(serde_json::to_writer(&mut *out, &ConnectView::new(connect, observer, fit))),
        Record::Ledger(statement) => drop(serde_json::to_writer(&mut *out, &StatementView::new(statement, observer))),
    }
    out.push(b'\n');
}
