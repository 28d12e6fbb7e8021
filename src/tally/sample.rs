//! What one record adds to a row, worked out once however many rows it goes to. Keeps nothing of the record.

use crate::flow::Timestamp;
use crate::record::{ConnectRecord, ConnectResult, EventOutcome, Exchange, FlowRecord, StreamClass, Trust};

/// What is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// One; a flow counts with its first report alone.
    pub(super) number: u64,
    pub(super) failed: bool,
    /// No answer.
    pub(super) unanswered: bool,
    pub(super) bytes: u64,
    /// How long it took, where that says something about the other end.
    pub(super) took: Option<u64>,
    pub(super) trust: Trust,
    pub(super) end: Timestamp,
}

impl From<&Exchange> for Sample {
    fn from(exchange: &Exchange) -> Self {
        let request = exchange.request.as_ref().map_or(0, |request| request.bytes);
        Self {
            number: 1,
            failed: exchange.outcome() == EventOutcome::Failure,
            unanswered: exchange.unanswered.is_some(),
            bytes: request + exchange.response.as_ref().map_or(0, |response| response.bytes),
            took: duration(exchange),
            trust: exchange.trust,
            end: exchange.end().unwrap_or(exchange.start()),
        }
    }
}

impl From<&ConnectRecord> for Sample {
    /// A time-out's duration is the patience of who asked: it says nothing about the other end.
    fn from(connect: &ConnectRecord) -> Self {
        let unanswered = connect.result == ConnectResult::TimedOut;
        Self {
            number: 1,
            failed: connect.result.outcome() == EventOutcome::Failure,
            unanswered,
            bytes: 0,
            took: connect.end.filter(|_| !unanswered).map(|end| end.since(connect.start)),
            trust: Trust::Complete,
            end: connect.end.unwrap_or(connect.start),
        }
    }
}

impl From<&FlowRecord> for Sample {
    fn from(flow: &FlowRecord) -> Self {
        Self {
            number: u64::from(flow.report == 1),
            failed: flow.outcome == Some(EventOutcome::Failure),
            unanswered: false,
            bytes: flow.counts.iter().map(|counts| counts.bytes).sum(),
            took: None,
            trust: flow.trust,
            end: flow.end,
        }
    }
}

/// Where it means a time to respond.
pub(super) fn duration(exchange: &Exchange) -> Option<u64> {
    let timed = exchange.class == StreamClass::Exchange && exchange.trust != Trust::Midstream;
    exchange.timing().total.filter(|_| timed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FlowStatus;
    use crate::record::sample::{connect, exchange, flow};

    #[test]
    fn every_kind_of_record_says_what_it_adds() {
        let of = |sample: Sample| (sample.number, sample.failed, sample.unanswered, sample.bytes, sample.took);
        assert_eq!(of((&exchange()).into()), (1, false, false, 143 + 1834, Some(12_400_000)));
        let mut refused = connect();
        assert_eq!(of((&refused).into()), (1, false, false, 0, Some(210_000)));
        refused.result = ConnectResult::Refused;
        assert_eq!(of((&refused).into()), (1, true, false, 0, Some(210_000)));
        refused.result = ConnectResult::TimedOut;
        assert_eq!(of((&refused).into()), (1, true, true, 0, None));
        let mut flow = flow();
        let bytes = flow.counts[0].bytes + flow.counts[1].bytes;
        (flow.report, flow.status, flow.outcome) = (1, FlowStatus::Reset, Some(EventOutcome::Failure));
        assert_eq!(of((&flow).into()), (1, true, false, bytes, None));
        flow.report = 2;
        assert_eq!(of((&flow).into()), (0, true, false, bytes, None));
    }
}
