//! podtap's metrics: every ledger, the kernel's drops, and RED of the traffic. Owns the meeting point of capture
//! threads, pipelines and scrapes; counts nothing that a ledger counts already.
//!
//! Capture threads publish copies of their ledgers about once a second, never per packet. A scrape takes a `MetricsSnapshot`
//! under short locks and encodes it without any.

mod closing;
mod collect;
pub mod endpoint;
mod interval;
pub mod live;
mod netlog;
mod red;
mod status;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::registry::Registry;

pub use self::closing::closing_lines;
pub(crate) use self::closing::losses;
use self::collect::FlowMetrics;
pub use self::interval::Intervals;
use self::live::Feed;
use self::netlog::NetLog;
pub use self::red::MAX_SERIES;
use self::red::{RedMetrics, Series};
use self::status::AboutProcess;
pub use self::status::{FailingRoute, InterfaceStatus, SinkState, StatusRates, StatusReport, StatusTotals};
pub use crate::ledger::KernelCounters;
use crate::ledger::{Imbalance, Ledger, RecordLedger, WorkloadCounts};
use crate::record::{FlowRecord, Record};
use crate::settings::{counted, printable_up_to};
use crate::sink::{SinkCounts, SinkStatus, Sinks};
use crate::workload::Workloads;

/// One capture thread's last published counters.
#[derive(Debug, Default)]
struct ThreadSlot {
    ledger: Ledger,
    kernel: KernelCounters,
    records: RecordLedger,
    /// Where it captures.
    interface: Option<InterfaceStatus>,
}

/// Where everything that is counted meets.
#[derive(Debug, Default)]
pub struct Metrics {
    slots: Mutex<Vec<ThreadSlot>>,
    red: Mutex<RedMetrics>,
    /// Where flows are recorded.
    netlog: Mutex<Option<NetLog>>,
    sinks: Sinks,
    workloads: Workloads,
    capturing: AtomicBool,
    about: Mutex<AboutProcess>,
    feed: Feed,
}

impl Metrics {
    /// For these sinks.
    pub fn new(sinks: Sinks) -> Arc<Self> {
        Self::naming(sinks, Workloads::default())
    }

    /// For these sinks, and this table of workloads.
    pub fn naming(sinks: Sinks, workloads: Workloads) -> Arc<Self> {
        Arc::new(Self { sinks, workloads, ..Self::default() })
    }

    /// Counts flows too; with NetLog's literal labels, ports of openers among them, where that is wanted.
    pub fn count_flows(&self, literal: bool, most: usize) {
        *lock(&self.netlog) = Some(NetLog::new(literal, most));
    }

    /// The way in for one capture thread and its pipeline.
    pub fn probe(self: &Arc<Self>) -> MetricsProbe {
        let mut slots = lock(&self.slots);
        slots.push(ThreadSlot::default());
        MetricsProbe { metrics: Arc::clone(self), slot: slots.len() - 1 }
    }

    /// Whether traffic is being captured: what `/readyz` says.
    pub fn set_capturing(&self, capturing: bool) {
        self.capturing.store(capturing, Ordering::Relaxed);
    }

    /// What `/readyz` says.
    pub fn is_capturing(&self) -> bool {
        self.capturing.load(Ordering::Relaxed)
    }

    /// How each sink does, a line each: what `/readyz?verbose` adds.
    pub fn sinks_in_words(&self) -> String {
        self.sinks.status().iter().map(|sink| sink_in_words(sink) + "\n").collect()
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let (mut ledger, mut kernel, mut records) = Default::default();
        for slot in lock(&self.slots).iter() {
            Ledger::merge(&mut ledger, &slot.ledger);
            KernelCounters::merge(&mut kernel, &slot.kernel);
            merge_records(&mut records, &slot.records);
        }
        let (sinks, workloads, red) = (self.sinks.counts(), self.workloads.counts(), lock(&self.red).series());
        let netlog = lock(&self.netlog).clone();
        MetricsSnapshot { ledger, kernel, records, sinks, workloads, red, netlog }
    }

    /// The page of `/metrics`, in the OpenMetrics text format.
    pub fn page(&self) -> String {
        let (mut registry, snapshot) = (Registry::default(), self.snapshot());
        registry.sub_registry_with_prefix("netlog").register_collector(Box::new(FlowMetrics(snapshot.netlog.clone())));
        registry.sub_registry_with_prefix("podtap").register_collector(Box::new(snapshot));
        let mut page = String::new();
        match prometheus_client::encoding::text::encode(&mut page, &registry) {
            Ok(()) => page,
            // Writing to a string does not fail; half a page would be worse than none.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

/// Longest error quoted: it may quote a server.
const LONGEST_ERROR: usize = 600;

fn sink_in_words(SinkStatus { name, waiting, trouble }: &SinkStatus) -> String {
    let Some((error, lasting)) = trouble else {
        return format!("sink {name}: delivering, {} waiting", counted(*waiting, "records"));
    };
    let (reason, seconds) = (error.reason(), lasting.as_secs());
    let error = printable_up_to(LONGEST_ERROR, &error.to_string());
    let waiting = counted(*waiting, "records");
    format!("sink {name}: not delivering for {seconds} s, {waiting} waiting, reason {reason}: {error}")
}

/// One capture thread's way into the metrics.
#[derive(Clone, Debug)]
pub struct MetricsProbe {
    metrics: Arc<Metrics>,
    slot: usize,
}

impl MetricsProbe {
    /// Publishes a copy; about once a second is enough.
    pub fn publish(&self, ledger: &Ledger, kernel: &KernelCounters) {
        if let Some(slot) = lock(&self.metrics.slots).get_mut(self.slot) {
            slot.ledger.clone_from(ledger);
            slot.kernel.clone_from(kernel);
        }
    }

    /// Says which interface it is that is captured, once it is open.
    pub fn watch(&self, interface: &str) {
        if let Some(slot) = lock(&self.metrics.slots).get_mut(self.slot) {
            let waiting = Some("not open yet".to_owned());
            slot.interface = Some(InterfaceStatus { name: interface.to_owned(), waiting });
        }
    }

    /// Says why the interface is not captured, or that it is.
    pub fn set_waiting(&self, why: Option<&str>) {
        if let Some(slot) = lock(&self.metrics.slots).get_mut(self.slot)
            && let Some(interface) = &mut slot.interface
        {
            interface.waiting = why.map(|why| printable_up_to(LONGEST_ERROR, why));
        }
    }

    /// Publishes the pipeline's part.
    pub fn publish_records(&self, records: &RecordLedger) {
        if let Some(slot) = lock(&self.metrics.slots).get_mut(self.slot) {
            slot.records.clone_from(records);
        }
    }

    /// Whether records are wanted as they happen.
    pub fn is_watched(&self) -> bool {
        self.metrics.feed.is_watched()
    }

    /// Counts requests and their latency, and the series of flows; hands on what is watched.
    pub fn count(&self, requests: &mut WaitingRequests) {
        if !requests.watched.is_empty() {
            self.metrics.feed.offer(&mut requests.watched);
        }
        if !requests.http.is_empty() {
            let mut red = lock(&self.metrics.red);
            requests.http.drain(..).for_each(|request| red.count(&request));
        }
        if !requests.flows.is_empty() {
            let mut netlog = lock(&self.metrics.netlog);
            requests.flows.drain(..).for_each(|flow| netlog.iter_mut().for_each(|netlog| netlog.observe(&flow)));
        }
    }
}

/// Requests and flows are counted at the latest when this many wait for it.
const MOST_REQUESTS: usize = 64;

/// Requests, flows and watched records that wait to be handed on together: no capture thread waits for another one for each of them.
#[derive(Debug, Default)]
pub struct WaitingRequests {
    http: Vec<red::RedRequest>,
    flows: Vec<FlowRecord>,
    /// Exchanges and connects that someone watches.
    watched: Vec<Record>,
}

impl WaitingRequests {
    /// Adds what there is to count of a record that was written already, and the record itself where it is watched.
    pub fn add(&mut self, record: Record, is_watched: bool) {
        if let Record::Http(mut exchange) = record {
            let route = is_watched.then(|| exchange.route.clone()).flatten();
            self.http.extend(red::RedRequest::of(&mut exchange));
            if is_watched {
                exchange.route = route;
                self.watched.push(Record::Http(exchange));
            }
        } else if let Record::Flow(flow) = record {
            self.flows.push(*flow);
        } else if is_watched && matches!(record, Record::Connect(_)) {
            self.watched.push(record);
        }
    }

    /// Whether it is time to count them.
    pub fn are_many(&self) -> bool {
        self.http.len() + self.flows.len() + self.watched.len() >= MOST_REQUESTS
    }
}

/// Everything that is counted, at one moment.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    /// Frames to records, of all capture threads.
    pub ledger: Ledger,
    /// The kernel's counters, of all captures.
    pub kernel: KernelCounters,
    /// Records, of all pipelines.
    pub records: RecordLedger,
    /// Each sink.
    pub sinks: Vec<(String, SinkCounts)>,
    /// Of the table of workloads, where there is one.
    pub workloads: Option<WorkloadCounts>,
    red: Vec<Series>,
    netlog: Option<NetLog>,
}

impl MetricsSnapshot {
    /// Every equation that does not hold, and where.
    pub fn imbalances(&self) -> Vec<(&str, Imbalance)> {
        imbalances(&self.ledger, &self.records, &self.sinks)
    }
}

fn imbalances<'a>(
    ledger: &Ledger,
    records: &RecordLedger,
    sinks: &'a [(String, SinkCounts)],
) -> Vec<(&'a str, Imbalance)> {
    let mut out: Vec<_> = ledger.imbalances().into_iter().map(|imbalance| ("", imbalance)).collect();
    out.extend(records.imbalance().map(|imbalance| ("records", imbalance)));
    out.extend(sinks.iter().filter_map(|(name, sink)| Some((name.as_str(), sink.ledger.imbalance()?))));
    out
}

fn merge_records(into: &mut RecordLedger, other: &RecordLedger) {
    into.made += other.made;
    into.offered += other.offered;
    for reason in crate::ledger::LeftOut::ALL {
        into.left_out.add(*reason as usize, other.left_out.at(*reason as usize));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain counters: a panic while holding it leaves nothing half done that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests;
