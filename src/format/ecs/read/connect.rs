//! A connect from its line. Leaves out what neither the text line nor a filter nor `top` shows.

use std::sync::Arc;

use super::text::JsonText;
use super::{Kubernetes, Line, Observer, ReadRecord, SidePart, direction, domain, named, process, time};
use crate::flow::IpProtocol;
use crate::record::{ConnectRecord, ConnectResult, Record, SeenBy};

/// The connect, where the line has what every connect has.
pub(super) fn read(line: Line<'_>) -> Option<ReadRecord> {
    let (podtap, destination) = (line.podtap, line.destination?);
    let connect = podtap.connect?;
    let compact = |text: &Option<JsonText<'_>>| text.as_ref().map(JsonText::compact);
    let source = line.source.unwrap_or_default();
    let process = line.process.map(|part| Arc::new(process(&part, line.user.as_ref(), line.container.as_ref())));
    let result = named(ConnectResult::ALL, ConnectResult::name, &connect.result)?;
    let seen_by = named([SeenBy::Process, SeenBy::Packets], SeenBy::name, &connect.seen_by)?;
    let at = destination.endpoint()?;
    let (id, start) = (line.event.id.compact(), time(&line.timestamp)?);
    let record = ConnectRecord {
        end: line.event.end.as_ref().and_then(time),
        protocol: line.network.transport.as_ref().and_then(|name| IpProtocol::parse(&name.0))?,
        source: source.ip,
        source_port: source.port,
        errno: compact(&connect.errno),
        process,
        tries: connect.tries,
        connection_id: Some(podtap.connection.id.compact()).filter(|id| !id.is_empty()),
        interface: line.observer.and_then(Observer::interface),
        direction: line.network.direction.as_ref().and_then(direction),
        source_workload: podtap.source.as_ref().and_then(SidePart::workload),
        destination_workload: podtap.destination.as_ref().and_then(SidePart::workload),
        source_domain: domain(source.domain, podtap.source.as_ref()),
        destination_domain: domain(destination.domain, podtap.destination.as_ref()),
        ..ConnectRecord::new(id, start, at, seen_by, result)
    };
    Some(Kubernetes::around(line.kubernetes, Record::from(record)))
}

#[cfg(test)]
mod tests {
    use crate::format::Observer;
    use crate::format::ecs::{NotRead, read_json, write_json};
    use crate::format::text::{TextStyle, write_line};
    use crate::record::sample::{connect, everything_of_connect};
    use crate::record::{ConnectRecord, ConnectResult, Record};

    fn json(record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        write_json(&mut out, record, &Observer::default());
        out
    }

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        write_line(&mut out, record, &TextStyle::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_line_of_what_was_read_is_the_line_of_what_was_written() {
        let mut bare = connect();
        (bare.source, bare.source_port, bare.end, bare.process) = (None, None, None, None);
        let of = |result| ConnectRecord { result, ..everything_of_connect() };
        for it in [connect(), bare].into_iter().chain(ConnectResult::ALL.map(of)) {
            let record = Record::from(it);
            let read = read_json(&json(&record)).unwrap().record;
            assert_eq!(line(&read), line(&record));
            let Record::Connect(read) = read else { panic!("a connect") };
            let Record::Connect(given) = record else { panic!("a connect") };
            assert_eq!((read.result, read.errno, read.direction), (given.result, given.errno, given.direction));
            assert_eq!(read.source_domain, given.source_domain);
            assert_eq!(read.destination_domain, given.destination_domain);
        }
    }

    #[test]
    fn a_line_without_its_result_is_no_record() {
        let line = String::from_utf8(json(&connect().into())).unwrap();
        let line = line.replace("\"result\":\"established\"", "\"result\":\"new\"");
        assert_eq!(read_json(line.as_bytes()), Err(NotRead::NoRecord));
    }
}
