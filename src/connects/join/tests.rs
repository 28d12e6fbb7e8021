use std::sync::Arc;

use super::*;
use crate::connects::askers::{AskerBook, AskerNamespaces};
use crate::record::sample::{self, START};
use crate::record::{ExchangeConnection, Process};

/// The connect of this process, as the kernel reports it: 210 µs from START on.
fn asked(pid: u32) -> Record {
    let process = Some(Arc::new(Process { pid, ..Process::default() }));
    ConnectRecord { process, ..sample::connect() }.into()
}

fn opening(after: u64) -> ConnectionOpening {
    ConnectionOpening::new(START.plus(after))
}

/// An exchange in the connection of that connect, whose SYN was captured that number of nanoseconds after START.
fn exchange(syn: Option<u64>, direction: Option<NetworkDirection>) -> Record {
    let connect = sample::connect();
    let connection = ExchangeConnection {
        direction,
        opening: syn.map(opening),
        client: Endpoint::new([10, 61, 1, 2], 51234),
        server: connect.destination,
        ..sample::connection()
    };
    sample::record(Exchange { connection: Arc::new(connection), ..sample::exchange() })
}

fn flow(status: FlowStatus) -> Record {
    let destination = sample::connect().destination;
    FlowRecord { opening: Some(Arc::new(opening(1000))), destination, status, ..sample::flow() }.into()
}

fn refused() -> Record {
    ConnectRecord { seen_by: SeenBy::Packets, process: None, ..sample::connect() }.into()
}

fn pid(record: &Record) -> Option<u32> {
    let process = if let Record::Http(exchange) = record {
        exchange.process()
    } else if let Record::Flow(flow) = record {
        flow.process()
    } else if let Record::Connect(connect) = record {
        connect.process.as_deref()
    } else {
        None
    };
    process.map(|process| process.pid)
}

fn book() -> (AskerBook, ProcessJoiner) {
    let book = AskerBook::new(AskerNamespaces { own: Some(1), all: false });
    let join = ProcessJoiner::new(book.askers());
    (book, join)
}

/// Takes one record; its process where it went on.
fn took(join: &mut ProcessJoiner, record: Record) -> Option<Option<u32>> {
    let mut records = vec![record];
    join.take(&mut records);
    records.first().map(pid)
}

fn ticked(join: &mut ProcessJoiner) -> Vec<Option<u32>> {
    let mut records = Vec::new();
    join.tick(&mut records);
    records.iter().map(pid).collect()
}

fn counted(join: &ProcessJoiner) -> Vec<(&'static str, u64)> {
    let all = ProcessJoin::ALL.iter().map(|why| (why.name(), join.joins().at(*why as usize)));
    all.filter(|(_, n)| *n > 0).collect()
}

#[test]
fn exchanges_flows_and_failed_connects_get_the_process_that_was_read_before_them() {
    for record in [exchange(Some(1000), None), flow(FlowStatus::Closed), refused()] {
        let (mut book, mut join) = book();
        book.note(&[asked(4711)], 0);
        assert_eq!(took(&mut join, record), Some(Some(4711)));
        assert_eq!(counted(&join), [("joined", 1)]);
    }
}

#[test]
fn one_whose_connect_is_read_later_waits_for_it() {
    for record in [exchange(Some(1000), None), flow(FlowStatus::Closed), refused()] {
        let (mut book, mut join) = book();
        assert_eq!((took(&mut join, record), join.is_waiting()), (None, true));
        assert_eq!(ticked(&mut join), []);
        book.note(&[asked(4711)], 0);
        assert_eq!(ticked(&mut join), [Some(4711)]);
        assert_eq!((counted(&join), join.bytes), (vec![("joined", 1)], 0));
    }
}

#[test]
fn one_that_no_connect_is_behind_waits_until_that_is_certain() {
    let end = START.plus(1_000_000_000);
    for record in [exchange(Some(1000), None), flow(FlowStatus::Closed), refused()] {
        let (mut book, mut join) = book();
        assert_eq!(took(&mut join, record), None);
        book.has_read_up_to(START);
        assert_eq!(ticked(&mut join), []);
        book.has_read_up_to(end.plus(BEHIND_PACKET));
        assert!(!join.is_waiting());
        assert_eq!((ticked(&mut join), counted(&join)), (vec![None], vec![("unknown", 1)]));
    }
}

#[test]
fn what_comes_in_and_what_began_before_the_capture_waits_for_nothing() {
    let ingress = Some(NetworkDirection::Ingress);
    for (record, why) in [
        (exchange(Some(1000), ingress), "incoming"),
        (exchange(None, ingress), "incoming"),
        (exchange(None, None), "midstream"),
        (flow(FlowStatus::TimedOut), "unknown"),
        (FlowRecord { opening: None, ..sample::flow() }.into(), "midstream"),
    ] {
        let (_book, mut join) = book();
        assert_eq!(took(&mut join, record), Some(None), "{why}");
        assert_eq!(counted(&join), [(why, 1)]);
    }
    // On a node the client may be a process of this machine, whatever the direction.
    let book = AskerBook::new(AskerNamespaces { own: Some(1), all: true });
    assert_eq!(took(&mut ProcessJoiner::new(book.askers()), exchange(Some(1000), ingress)), None);
}

#[test]
fn records_of_other_kinds_pass_untouched() {
    let (_book, mut join) = book();
    let mut udp = sample::flow();
    udp.protocol = IpProtocol::UDP;
    for record in [udp.into(), sample::connect().into(), sample::conntrack().into(), sample::verdict().into()] {
        let mut records = vec![Record::clone(&record)];
        join.take(&mut records);
        assert_eq!((records, counted(&join)), (vec![record], vec![]));
    }
}

#[test]
fn the_process_of_an_earlier_connect_with_the_same_ends_is_never_given() {
    let (mut book, mut join) = book();
    book.note(&[asked(4711)], 0);
    // Its port is used again a second later, by a connect that the ring lost.
    book.has_read_up_to(START.plus(60_000_000_000));
    assert_eq!(took(&mut join, exchange(Some(1_000_000_000), None)), Some(None));
    assert_eq!(counted(&join), [("unknown", 1)]);
}

#[test]
fn a_flow_whose_connect_goes_on_is_asked_again_with_its_next_record() {
    let (mut book, mut join) = book();
    let Record::Flow(first) = flow(FlowStatus::TimedOut) else { unreachable!() };
    let mut later = (*first).clone();
    later.status = FlowStatus::Established;
    assert_eq!(took(&mut join, Record::Flow(first)), Some(None));
    book.note(&[asked(4711)], 0);
    assert_eq!(took(&mut join, later.into()), Some(Some(4711)));
}

#[test]
fn a_reader_that_hangs_holds_no_record_for_long_and_no_more_than_the_limit() {
    let (_book, mut join) = book();
    let mut records: Vec<_> = (0..MAX_WAITING + 10).map(|_| exchange(Some(1000), None)).collect();
    join.take(&mut records);
    let waiting = MAX_WAITING + 10 - records.len();
    assert_eq!(waiting, MAX_WAITING.min(MAX_WAITING_BYTES / bytes_of(&exchange(None, None))));
    let ticks = (1..=PATIENCE).map(|_| ticked(&mut join).len()).collect::<Vec<_>>();
    assert_eq!((ticks.last(), ticks.iter().sum::<usize>()), (Some(&waiting), waiting));
    assert_eq!((counted(&join), join.bytes), (vec![("late", MAX_WAITING as u64 + 10)], 0));
}

#[test]
fn at_the_end_none_is_left() {
    let (book, mut join) = book();
    assert_eq!(took(&mut join, exchange(Some(1000), None)), None);
    drop(book);
    assert!(!join.is_waiting());
    let mut records = Vec::new();
    join.finish(&mut records);
    assert_eq!((records.len(), counted(&join)), (1, vec![("unknown", 1)]));
}
