//! The ledger record: what was seen and lost between two moments. Plain data; knows no counter by name.

use compact_str::CompactString;

use crate::flow::Timestamp;

/// An excerpt of the ledger: of the capture, or of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `event.id`: the same statement again has the same one, and no other has it.
    pub id: CompactString,
    /// `event.start`: the end of the one before, or the beginning of the run.
    pub from: Timestamp,
    /// `event.end`, `@timestamp`.
    pub to: Timestamp,
    /// `podtap.ledger.sink`: of which sink; `None` where it is of the capture.
    pub sink: Option<CompactString>,
    /// Names below `podtap.ledger`, and numbers; what is not known is not among them.
    pub numbers: Vec<(&'static str, u64)>,
    /// `podtap.ledger.imbalances`: the equations that do not hold.
    pub imbalances: Vec<&'static str>,
}
