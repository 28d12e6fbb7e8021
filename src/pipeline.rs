//! From record to encoded bytes in the sinks' queues: select, encode once for each format in use, offer. Owns the
//! record ledger; knows neither filters nor formats (both are passed in) and has no thread.
//!
//! It runs where records are made, on the thread of the capture or the replay. Passing a few hundred bytes to another
//! thread costs more than encoding them, and so live capture and replay are one path. Only the sinks' `WhenFull`
//! differs: a capture drops and counts, a replay waits. Each capture thread has its own pipeline to the same sinks.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::Encoded;
use crate::ledger::{LeftOut, PerDataset, RecordLedger};
use crate::metrics::{MetricsProbe, WaitingRequests};
use crate::record::Record;
use crate::sink::{BlockPiece, RecordBlock, SinkHandle};

/// A block is handed over when it has grown to this size, or with `flush`. It is large enough that the hand-over costs
/// next to nothing for each record, and small enough to share a core's cache with the application.
pub const BLOCK_BYTES: usize = 128 << 10;

/// Blocks kept for reuse, per format.
const SPARE_BLOCKS: usize = 4;

/// One format and the sinks that take it.
#[derive(Debug)]
pub struct FormatOutlet<E> {
    /// Appends one record: a whole line with its newline for line formats.
    pub encode: E,
    /// Who gets it.
    pub sinks: Vec<SinkHandle>,
}

/// Select, encode, offer.
#[derive(Debug)]
pub struct Pipeline<S, E> {
    select: S,
    outlets: Vec<Filling<E>>,
    block_bytes: usize,
    ledger: RecordLedger,
    probe: Option<MetricsProbe>,
    /// For the probe, with the next `flush`.
    requests: WaitingRequests,
}

#[derive(Debug)]
struct Filling<E> {
    outlet: FormatOutlet<E>,
    block: RecordBlock,
    /// Records that the format cannot express, since the last hand-over.
    left_out: PerDataset,
    /// Handed over before; whichever no sink holds any more is filled again.
    sent: VecDeque<Arc<RecordBlock>>,
}

impl<S, E> Pipeline<S, E>
where
    S: FnMut(&mut Record) -> Option<LeftOut>,
    E: FnMut(&Record, &mut Vec<u8>) -> Encoded,
{
    /// `select` enriches a record (the route at least) and says why it is to be left out. `probe` is where requests are
    /// counted and the ledger is published.
    pub fn new(select: S, outlets: Vec<FormatOutlet<E>>, probe: Option<MetricsProbe>) -> Self {
        let outlets = outlets.into_iter().map(Filling::new).collect();
        Self {
            select,
            outlets,
            block_bytes: BLOCK_BYTES,
            ledger: RecordLedger::default(),
            probe,
            requests: WaitingRequests::default(),
        }
    }

    /// Hands over blocks of this size instead of [`BLOCK_BYTES`].
    #[must_use]
    pub fn with_blocks_of(self, block_bytes: usize) -> Self {
        Self { block_bytes, ..self }
    }

    /// Takes all of `records`. Without a `flush` they may wait here for others.
    pub fn push(&mut self, records: &mut Vec<Record>) {
        for mut record in records.drain(..) {
            self.ledger.made += 1;
            let left_out = (self.select)(&mut record);
            match left_out {
                Some(why) => self.ledger.left_out.add(why as usize, 1),
                None => {
                    self.ledger.offered += 1;
                    self.encode(&mut record);
                }
            }
            self.observe(record, left_out);
        }
    }

    /// Hands over what waits; call it whenever no more records are at hand, so that each is seen at once.
    pub fn flush(&mut self) {
        self.outlets.iter_mut().for_each(Filling::flush);
        if let Some(probe) = &self.probe {
            probe.count(&mut self.requests);
            probe.publish_records(&self.ledger);
        }
    }

    /// The record ledger; what waits for a `flush` counts as offered.
    pub fn ledger(&self) -> &RecordLedger {
        &self.ledger
    }

    /// Whether no sink is left of those there were: there is no point in going on.
    pub fn is_over(&self) -> bool {
        let mut sinks = self.outlets.iter().flat_map(|filling| &filling.outlet.sinks).peekable();
        sinks.peek().is_some() && sinks.all(SinkHandle::has_ended)
    }

    /// What is left out to see less is still traffic; what is ignored is not wanted in any number.
    fn observe(&mut self, record: Record, left_out: Option<LeftOut>) {
        match (&self.probe, left_out) {
            (None, _) | (_, Some(LeftOut::Ignored | LeftOut::OwnTraffic | LeftOut::SeenByProcess)) => {}
            (Some(probe), Some(LeftOut::NotSelected | LeftOut::Sampled | LeftOut::RateLimited) | None) => {
                self.requests.add(record, probe.is_watched());
                if self.requests.are_many() {
                    probe.count(&mut self.requests);
                }
            }
        }
    }

    fn encode(&mut self, record: &mut Record) {
        let mut formats = self.outlets.len();
        for filling in &mut self.outlets {
            formats -= 1;
            let dataset = record.dataset();
            let written = filling.block.push_if(dataset, |out| {
                if (filling.outlet.encode)(record, out) == Encoded::NotInThisFormat {
                    return None;
                }
                let at = record.meta().at;
                // The last format takes the id instead of copying it.
                Some((if formats == 0 { record.take_id() } else { record.meta().id.clone() }, at))
            });
            if !written {
                filling.left_out.add(dataset, 1);
            }
            if filling.block.bytes() >= self.block_bytes {
                filling.flush();
            }
        }
    }
}

impl<E> Filling<E> {
    fn new(outlet: FormatOutlet<E>) -> Self {
        Self { outlet, block: RecordBlock::default(), left_out: PerDataset::default(), sent: VecDeque::new() }
    }

    fn flush(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out.total() > 0 {
            self.outlet.sinks.iter().for_each(|sink| sink.leave_out(left_out));
        }
        if self.block.is_empty() {
            return;
        }
        let large = self.block.bytes() >= BLOCK_BYTES / 2;
        let block = if large { self.swap() } else { self.block.take_exact() };
        let block = Arc::new(block);
        for sink in &self.outlet.sinks {
            sink.offer(BlockPiece::whole(Arc::clone(&block)));
        }
        if large && self.sent.len() < SPARE_BLOCKS {
            self.sent.push_back(block);
        }
    }

    /// The full block, an empty one in its place: the oldest, if every sink is done with it.
    fn swap(&mut self) -> RecordBlock {
        let spare = match self.sent.pop_front().map(Arc::try_unwrap) {
            Some(Ok(mut block)) => {
                block.clear();
                block
            }
            Some(Err(busy)) => {
                self.sent.push_front(busy);
                RecordBlock::default()
            }
            None => RecordBlock::default(),
        };
        std::mem::replace(&mut self.block, spare)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;
    use crate::metrics::tests::exchange;
    use crate::record::sample::record;
    use crate::sink::{Batch, Delivery, Sink, SinkError, SinkOptions, Sinks, WhenFull, spawn};

    #[derive(Clone, Default)]
    struct Collect(Arc<Mutex<Vec<u8>>>);

    impl Sink for Collect {
        async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
            let mut got = self.0.lock().unwrap();
            batch.iter().for_each(|item| write!(got, "{}:", item.id).and_then(|()| got.write_all(item.body)).unwrap());
            Ok(Delivery::default())
        }
    }

    impl Collect {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const WAIT: SinkOptions = SinkOptions {
        queue: crate::sink::QueueLimits { records: 100, bytes: 1 << 20 },
        when_full: WhenFull::Wait,
        batch: crate::sink::BatchLimits { records: 7, bytes: 1 << 20, age: Duration::ZERO },
        backoff: crate::sink::RetryBackoff { first: Duration::ZERO, most: Duration::ZERO },
        hold_for: None,
    };

    type Encode = fn(&Record, &mut Vec<u8>) -> Encoded;

    fn short(record: &Record, out: &mut Vec<u8>) -> Encoded {
        let exchange = record.exchange().unwrap();
        out.extend_from_slice(format!("{}\n", exchange.number).as_bytes());
        Encoded::Written
    }

    fn long(record: &Record, out: &mut Vec<u8>) -> Encoded {
        out.extend_from_slice(&[b'.'; 1000]);
        short(record, out)
    }

    /// A format for odd numbers.
    fn odd(record: &Record, out: &mut Vec<u8>) -> Encoded {
        let written = long(record, out);
        if record.exchange().unwrap().number % 2 == 1 { written } else { Encoded::NotInThisFormat }
    }

    fn numbered(number: u32) -> Record {
        let one = exchange("GET", Some(200), "/", 5);
        record(crate::record::Exchange { number, id: compact_str::format_compact!("id-{number}"), ..one })
    }

    fn keep_all(_: &mut Record) -> Option<LeftOut> {
        None
    }

    #[test]
    fn each_format_goes_to_its_sinks_whole_and_in_order() {
        let (a, b, c) = (Collect::default(), Collect::default(), Collect::default());
        let handle = |name: &str, sink: &Collect| spawn(name, sink.clone(), WAIT).unwrap();
        let sinks = vec![handle("a", &a), handle("b", &b), handle("c", &c)];
        let outlets = vec![
            FormatOutlet { encode: short as Encode, sinks: vec![sinks[0].clone(), sinks[1].clone()] },
            FormatOutlet { encode: long as Encode, sinks: vec![sinks[2].clone()] },
        ];
        let mut pipeline = Pipeline::new(keep_all, outlets, None);
        for start in (0..2000).step_by(100) {
            pipeline.push(&mut (start..start + 100).map(numbered).collect());
        }
        pipeline.flush();
        for (_, counts) in Sinks::new(sinks).finish(Duration::from_secs(60)) {
            assert_eq!((counts.ledger.offered, counts.ledger.delivered), (2000, 2000));
        }
        let expected: String = (0..2000).map(|n| format!("id-{n}:{n}\n")).collect();
        assert_eq!((a.text(), b.text()), (expected.clone(), expected.clone()));
        assert_eq!(c.text().replace('.', ""), expected);
        assert_eq!((pipeline.ledger().made, pipeline.ledger().imbalance()), (2000, None));
    }

    #[test]
    fn what_a_format_cannot_express_is_counted_as_left_out_and_never_delivered_as_nothing() {
        let (all, some) = (Collect::default(), Collect::default());
        let handle = |name: &str, sink: &Collect| spawn(name, sink.clone(), WAIT).unwrap();
        let sinks = vec![handle("all", &all), handle("some", &some)];
        let outlets = vec![
            FormatOutlet { encode: short as Encode, sinks: vec![sinks[0].clone()] },
            FormatOutlet { encode: odd as Encode, sinks: vec![sinks[1].clone()] },
        ];
        let mut pipeline = Pipeline::new(keep_all, outlets, None);
        pipeline.push(&mut (0..5).map(numbered).collect());
        pipeline.flush();
        let counts = Sinks::new(sinks).finish(Duration::from_secs(60));
        let of = |n: usize| (counts[n].1.ledger.delivered, counts[n].1.left_out_by_format);
        assert_eq!(of(0), (5, PerDataset::default()));
        assert_eq!(of(1), (2, PerDataset::of(crate::record::Dataset::Http, 3)));
        assert_eq!(some.text().replace('.', ""), "id-1:1\nid-3:3\n");
    }

    #[test]
    fn what_is_left_out_is_counted_by_its_reason_and_only_ignored_ones_leave_the_metrics() {
        let metrics = Metrics::new(Sinks::default());
        let select = |record: &mut Record| {
            let Record::Http(exchange) = record else { unreachable!() };
            exchange.route = Some(compact_str::format_compact!("/{}", exchange.number));
            [None, Some(LeftOut::Ignored), Some(LeftOut::Sampled)][exchange.number as usize]
        };
        let mut pipeline = Pipeline::<_, Encode>::new(select, vec![], Some(metrics.probe()));
        pipeline.push(&mut vec![numbered(0), numbered(1), numbered(2)]);
        pipeline.flush();
        let page = metrics.page();
        let counted = ["/0", "/1", "/2"].map(|route| page.contains(&format!("route=\"{route}\"")));
        assert_eq!(counted, [true, false, true]);
        let records = metrics.snapshot().records;
        assert_eq!((records.made, records.offered, records.left_out.total(), records.imbalance()), (3, 1, 2, None));
        assert!(page.contains("podtap_records_left_out_total{reason=\"sampled\"} 1\n"));
    }

    #[test]
    fn a_record_is_on_its_way_with_the_next_flush_and_not_before() {
        let sink = spawn("a", Collect::default(), WAIT).unwrap();
        let outlet = FormatOutlet { encode: short as Encode, sinks: vec![sink.clone()] };
        let mut pipeline = Pipeline::new(keep_all, vec![outlet], None);
        pipeline.push(&mut vec![numbered(1)]);
        assert_eq!(sink.counts().ledger.offered, 0);
        pipeline.flush();
        assert_eq!(sink.counts().ledger.offered, 1);
        assert!(!pipeline.is_over());
        Sinks::new(vec![sink]).finish(Duration::from_secs(60));
        assert!(pipeline.is_over());
    }
}
