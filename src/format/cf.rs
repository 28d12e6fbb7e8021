//! `FORMAT=cf`, `FORMAT=cf-rfc3339`: the lines of Cloud Foundry's iptables-logger for logged packets.
//!
//! What comes in has the destination's container, what goes out the source's; a container that the store does not know has
//! empty names, as there. Repeats that were folded are one line. Knows no record of another kind.

use std::net::IpAddr;

use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::stamp::Rfc3339Stamp;
use crate::flow::{IpProtocol, Timestamp};
use crate::record::{LoggedPacket, Record, StoredContainer, VerdictDirection, VerdictRecord};

/// How the time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CfTime {
    /// Seconds since 1970 with nine digits behind the point, as a string; `log_level` is a number.
    Seconds,
    /// RFC 3339 with nine digits behind the point; `level` is a word.
    Rfc3339,
}

/// `source` of every line.
const SOURCE: &str = "cfnetworking.iptables";

#[derive(Serialize)]
struct Deprecated<'a> {
    timestamp: CfSeconds,
    source: &'static str,
    message: &'static str,
    log_level: u8,
    data: CfData<'a>,
}

#[derive(Serialize)]
struct Rfc3339<'a> {
    timestamp: Rfc3339Stamp,
    level: &'static str,
    source: &'static str,
    message: &'static str,
    data: CfData<'a>,
}

struct CfSeconds(Timestamp);

impl Serialize for CfSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seconds, nanos) = (self.0.0.div_euclid(1_000_000_000), self.0.0.rem_euclid(1_000_000_000));
        serializer.collect_str(&format_args!("{seconds}.{nanos:09}"))
    }
}

#[derive(Serialize)]
struct CfData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<CfNames<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<CfNames<'a>>,
    packet: CfPacket,
}

#[derive(Serialize)]
struct CfNames<'a> {
    container_id: &'a str,
    app_guid: &'a str,
    space_guid: &'a str,
    organization_guid: &'a str,
}

#[derive(Serialize)]
struct CfPacket {
    src_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    dst_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
    protocol: CompactString,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

/// Appends a logged packet as one line of JSON.
pub fn write_json(out: &mut Vec<u8>, record: &Record, time: CfTime) {
    let Record::Verdict(packet) = record else { return };
    let (message, data) = (packet.action(), CfData::new(packet));
    // A `Vec` takes every write.
    drop(match time {
        CfTime::Seconds => {
            let timestamp = CfSeconds(packet.at);
            serde_json::to_writer(&mut *out, &Deprecated { timestamp, source: SOURCE, message, log_level: 1, data })
        }
        CfTime::Rfc3339 => {
            let timestamp = Rfc3339Stamp::nanoseconds(packet.at);
            serde_json::to_writer(&mut *out, &Rfc3339 { timestamp, level: "info", source: SOURCE, message, data })
        }
    });
    out.push(b'\n');
}

impl<'a> CfData<'a> {
    fn new(record: &'a VerdictRecord) -> Self {
        let names = CfNames::new(record.subject());
        let (destination, source) = match record.direction {
            VerdictDirection::Ingress => (Some(names), None),
            VerdictDirection::Egress => (None, Some(names)),
        };
        Self { destination, source, packet: CfPacket::new(&record.packet, record.mark) }
    }
}

impl<'a> CfNames<'a> {
    fn new(container: Option<&'a StoredContainer>) -> Self {
        let name = |of: fn(&'a StoredContainer) -> &'a str| container.map(of).unwrap_or_default();
        Self {
            container_id: name(|it| &it.id),
            app_guid: name(|it| &it.app),
            space_guid: name(|it| &it.space),
            organization_guid: name(|it| &it.org),
        }
    }
}

impl CfPacket {
    fn new(packet: &LoggedPacket, mark: Option<u32>) -> Self {
        let [src_port, dst_port] = packet.ports();
        let protocol = packet.protocol.map(IpProtocol::text).unwrap_or_default();
        Self {
            src_ip: packet.source.ip,
            src_port,
            dst_ip: packet.destination.ip,
            dst_port,
            protocol,
            mark: mark.map(|mark| format!("{mark:#x}")),
            r#type: packet.icmp.map(|icmp| icmp.kind),
            code: packet.icmp.map(|icmp| icmp.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{logged_echo, verdict};

    fn line(record: VerdictRecord, time: CfTime) -> String {
        let mut out = Vec::new();
        write_json(&mut out, &record.into(), time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_keys_are_those_of_the_origin_in_its_order() {
        let data = concat!(
            r#""data":{"destination":{"container_id":"cb40f81e-52ce-41c5-b00f-0d13","app_guid":"app-13","space_guid":"space-7","organization_guid":"org-7"},"#,
            r#""packet":{"src_ip":"10.255.15.7","src_port":36004,"dst_ip":"10.255.15.13","dst_port":723,"protocol":"tcp","mark":"0x2"}}}"#,
            "\n"
        );
        let seconds = r#"{"timestamp":"1772366400.000123000","source":"cfnetworking.iptables","message":"ingress-denied","log_level":1,"#;
        assert_eq!(line(verdict(), CfTime::Seconds), format!("{seconds}{data}"));
        let rfc = r#"{"timestamp":"2026-03-01T12:00:00.000123000Z","level":"info","source":"cfnetworking.iptables","message":"ingress-denied","#;
        assert_eq!(line(verdict(), CfTime::Rfc3339), format!("{rfc}{data}"));
    }

    #[test]
    fn what_goes_out_has_the_source_and_icmp_has_type_and_code() {
        let data = concat!(
            r#""message":"egress-allowed","log_level":1,"data":{"source":{"container_id":"","app_guid":"","space_guid":"","organization_guid":""},"#,
            r#""packet":{"src_ip":"10.255.15.7","dst_ip":"10.0.0.1","protocol":"icmp","type":8,"code":0}}}"#
        );
        let line = line(logged_echo(), CfTime::Seconds);
        assert!(line.contains(data), "{line}");
    }
}
