//! What `podtap top` knows: exchanges added up by every key at once, connects, and the last of both. Its memory is bounded,
//! whatever the traffic. Draws nothing, and has no clock but the one it is given.

use compact_str::CompactString;

use super::order::{By, RowOrder};
use super::recent::Recent;
use crate::filter::expression::{FilterExpression, RecordSurroundings};
use crate::flow::Timestamp;
use crate::record::Record;
use crate::tally::{LeadingRows, Sample, TallyRow};

/// Rows for each key; more keys share one.
const MOST_ROWS: usize = 128;
/// Records that are shown at once, of those that are remembered.
const MOST_SHOWN: usize = 200;
/// Seconds of a sparkline.
pub(super) const SPARK: usize = 16;

/// Sums and the last records.
#[derive(Debug)]
pub(super) struct TopBoard {
    tables: Vec<(By, LeadingRows)>,
    all: TallyRow,
    recent: Recent,
    filter: Option<FilterExpression>,
    slow_after: Option<u64>,
    /// Nanoseconds since 1970, on the clock of what is seen.
    now: i64,
}

/// One row, ready to be drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownRow {
    pub(super) key: CompactString,
    pub(super) rate: f64,
    pub(super) exchanges: u64,
    pub(super) failed: u64,
    pub(super) unanswered: u64,
    pub(super) percentiles: [Option<u64>; 3],
    pub(super) bytes: u64,
    pub(super) doubtful: u64,
    pub(super) spark: Vec<u32>,
}

/// Everything that is drawn of a board.
#[derive(Clone, Debug, Default)]
pub(super) struct ShownBoard {
    pub(super) now: i64,
    pub(super) all: ShownRow,
    pub(super) rows: Vec<ShownRow>,
    /// How often a key took over the row of another.
    pub(super) replaced: u64,
    /// Of the row that is looked into, the newest first.
    pub(super) records: Vec<Record>,
}

impl TopBoard {
    pub(super) fn new(slow_after: Option<u64>) -> Self {
        let (tables, all, recent) = (tables(), TallyRow::default(), Recent::default());
        Self { tables, all, recent, filter: None, slow_after, now: 0 }
    }

    /// Counts a record, where it is an exchange or a connect.
    pub(super) fn add(&mut self, record: &Record) {
        let Some(end) = end(record) else { return };
        self.now = self.now.max(end.0);
        self.recent.push(record);
        self.count(record);
    }

    fn count(&mut self, record: &Record) {
        let around = RecordSurroundings { slow_after: self.slow_after, ..RecordSurroundings::default() };
        if self.filter.as_ref().is_some_and(|filter| !filter.holds(record, &around)) {
            return;
        }
        let Some(sample) = sample(record) else { return };
        if record.exchange().is_some() {
            self.all.add(sample);
        }
        for (by, table) in &mut self.tables {
            if let Some(key) = by.row_of(record) {
                table.add(&key, sample);
            }
        }
    }

    /// Says how late it is.
    pub(super) fn tick(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    /// Counts again only what this holds for; of the past, what is remembered.
    pub(super) fn set_filter(&mut self, filter: Option<FilterExpression>) {
        (self.filter, self.tables, self.all) = (filter, tables(), TallyRow::default());
        let recent = std::mem::take(&mut self.recent);
        recent.oldest_first().for_each(|record| self.count(record));
        self.recent = recent;
    }

    /// The rows of a table in an order, and the records of the one that is looked into.
    pub(super) fn shown(&self, by: By, order: RowOrder, looks_into: Option<&str>) -> ShownBoard {
        let Some((_, table)) = self.tables.iter().find(|(other, _)| *other == by) else { return ShownBoard::default() };
        let mut rows: Vec<_> = table.rows().map(|(key, row)| self.row(key, row)).collect();
        rows.sort_by(|a, b| compare(order, a, b).then_with(|| a.key.cmp(&b.key)));
        if table.others().exchanges > 0 {
            rows.push(self.row("(others)", table.others()));
        }
        let records = looks_into.map_or_else(Vec::new, |wanted| self.with(by, wanted));
        ShownBoard { now: self.now, all: self.row("all", &self.all), rows, replaced: table.replaced(), records }
    }

    fn with(&self, by: By, wanted: &str) -> Vec<Record> {
        let around = RecordSurroundings { slow_after: self.slow_after, ..RecordSurroundings::default() };
        let passes = |record: &&Record| self.filter.as_ref().is_none_or(|filter| filter.holds(record, &around));
        let newest = self.recent.newest_first().filter(|record| by.row_of(record).is_some_and(|key| key == wanted));
        newest.filter(passes).take(MOST_SHOWN).cloned().collect()
    }

    fn row(&self, key: &str, row: &TallyRow) -> ShownRow {
        ShownRow {
            key: key.into(),
            rate: row.rate(self.now),
            exchanges: row.exchanges,
            failed: row.failed,
            unanswered: row.unanswered,
            percentiles: [50, 95, 99].map(|percent| row.durations.at(percent)),
            bytes: row.bytes,
            doubtful: row.doubtful(),
            spark: row.recent(self.now, SPARK).collect(),
        }
    }
}

fn tables() -> Vec<(By, LeadingRows)> {
    By::all().map(|by| (by, LeadingRows::new(MOST_ROWS))).collect()
}

/// When it ended, of what is counted.
fn end(record: &Record) -> Option<Timestamp> {
    if let Record::Http(exchange) = record {
        Some(exchange.end().unwrap_or(exchange.start()))
    } else if let Record::Connect(connect) = record {
        Some(connect.end.unwrap_or(connect.start))
    } else {
        None
    }
}

fn sample(record: &Record) -> Option<Sample> {
    if let Record::Http(exchange) = record {
        Some(Sample::from(&**exchange))
    } else if let Record::Connect(connect) = record {
        Some(Sample::from(&**connect))
    } else {
        None
    }
}

/// The larger number first.
fn compare(order: RowOrder, a: &ShownRow, b: &ShownRow) -> std::cmp::Ordering {
    let share = |row: &ShownRow| row.failed as f64 / row.exchanges.max(1) as f64;
    let percentile = |row: &ShownRow, index: usize| row.percentiles.get(index).copied().flatten();
    match order {
        RowOrder::Rate => b.rate.total_cmp(&a.rate).then_with(|| b.exchanges.cmp(&a.exchanges)),
        RowOrder::Failed => share(b).total_cmp(&share(a)).then_with(|| b.failed.cmp(&a.failed)),
        RowOrder::Unanswered => b.unanswered.cmp(&a.unanswered),
        RowOrder::P50 => percentile(b, 0).cmp(&percentile(a, 0)),
        RowOrder::P95 => percentile(b, 1).cmp(&percentile(a, 1)),
        RowOrder::P99 => percentile(b, 2).cmp(&percentile(a, 2)),
        RowOrder::Bytes => b.bytes.cmp(&a.bytes),
        RowOrder::Total => b.exchanges.cmp(&a.exchanges),
    }
}
