//! Whole lines as the firewalls of docs/verdicts.md write them (addresses are those for documentation), read with the patterns
//! that the table there recommends.

use super::*;
use crate::filter::FlowFilter;
use crate::flow::Timestamp;
use crate::glob::Glob;
use crate::record::{Record, VerdictInput, VerdictRecord};

const DOCS: &str = include_str!("../../docs/verdicts.md");

/// The patterns of the table's row for one firewall.
fn documented(firewall: &str) -> PrefixPatterns {
    let row = DOCS.lines().find(|line| line.starts_with(&format!("| {firewall}"))).unwrap();
    let patterns = row.rsplit('`').nth(1).unwrap();
    PrefixPatterns::new(&patterns.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
}

fn read(firewall: &str, line: &str) -> VerdictRecord {
    let mut verdicts = VerdictEngine::new(VerdictConfig {
        prefixes: documented(firewall),
        container_interfaces: vec![Glob::new("cali*").unwrap()],
        repeats: None,
        patience: None,
        observer_id: String::new(),
        filter: FlowFilter::default(),
    });
    verdicts.handle_line(line.as_bytes(), VerdictInput::File, Timestamp(0), None);
    match verdicts.records().pop() {
        Some(Record::Verdict(record)) => *record,
        other => panic!("{line}: {other:?} {:?}", verdicts.ledger()),
    }
}

/// Action, prefix, interfaces, what went where, length, mark, user.
fn said(record: &VerdictRecord) -> String {
    let packet = &record.packet;
    let [from, to] = [(packet.source, packet.has_port[0]), (packet.destination, packet.has_port[1])]
        .map(|(end, has_port)| if has_port { end.to_string() } else { end.ip.to_string() });
    let interface = |name: &Option<compact_str::CompactString>| name.as_deref().unwrap_or("-").to_owned();
    let icmp = packet.icmp.map(|icmp| format!(" {}/{}", icmp.kind, icmp.code)).unwrap_or_default();
    let rest = [("mark", record.mark), ("user", record.user)];
    let rest: String = rest.iter().filter_map(|(name, value)| Some(format!(" {name} {}", (*value)?))).collect();
    format!(
        "{} {:?} {} {} {} {from} {to}{icmp} {}{rest}",
        record.action(),
        record.prefix.as_str(),
        interface(&record.interface_in),
        interface(&record.interface_out),
        packet.protocol.map(crate::flow::IpProtocol::text).unwrap_or_default(),
        packet.length.unwrap_or_default()
    )
}

const LINES: &[(&str, &str, &str)] = &[
    (
        "ufw",
        "Feb  6 16:27:08 web-1 kernel: [71910.873115] [UFW BLOCK] IN=eth0 OUT= MAC=02:42:c0:00:02:b4:02:42:c0:00:02:01:08:00 \
         SRC=203.0.113.26 DST=192.0.2.180 LEN=40 TOS=0x00 PREC=0x00 TTL=251 ID=62215 PROTO=TCP SPT=42772 DPT=3194 WINDOW=1024 \
         RES=0x00 SYN URGP=0 ",
        r#"ingress-denied "[UFW BLOCK] " eth0 - tcp 203.0.113.26:42772 192.0.2.180:3194 40"#,
    ),
    (
        "ufw",
        "2026-02-06T16:27:08.123456+00:00 web-1 kernel: [UFW LIMIT BLOCK] IN=ens3 OUT= \
         MAC=02:42:c0:00:02:b4:02:42:c0:00:02:01:08:00 SRC=198.51.100.7 DST=192.0.2.180 LEN=60 TOS=0x00 PREC=0x00 TTL=52 ID=4125 DF \
         PROTO=TCP SPT=51234 DPT=22 WINDOW=29200 RES=0x00 SYN URGP=0 ",
        r#"ingress-denied "[UFW LIMIT BLOCK] " ens3 - tcp 198.51.100.7:51234 192.0.2.180:22 60"#,
    ),
    (
        "ufw",
        "Feb  6 16:27:09 web-1 kernel: [71911.200001] [UFW ALLOW] IN= OUT=eth0 SRC=192.0.2.180 DST=198.51.100.53 LEN=60 TOS=0x00 \
         PREC=0x00 TTL=64 ID=1312 DF PROTO=UDP SPT=40404 DPT=53 LEN=40 ",
        r#"egress-allowed "[UFW ALLOW] " - eth0 udp 192.0.2.180:40404 198.51.100.53:53 60"#,
    ),
    (
        "ufw",
        "Feb  6 16:27:10 web-1 kernel: [71912.000002] [UFW BLOCK] IN=eth0 OUT= MAC=33:33:00:00:00:01:02:42:c0:00:02:01:86:dd \
         SRC=fe80:0000:0000:0000:0042:c0ff:fe00:0201 DST=ff02:0000:0000:0000:0000:0000:0000:0001 LEN=72 TC=0 HOPLIMIT=255 FLOWLBL=0 \
         PROTO=ICMPv6 TYPE=134 CODE=0 ",
        r#"ingress-denied "[UFW BLOCK] " eth0 - ipv6-icmp fe80::42:c0ff:fe00:201 ff02::1 134/0 72"#,
    ),
    (
        "firewalld",
        "Jul 19 19:21:07 web-1 kernel: filter_IN_public_REJECT: IN=enp0s8 OUT= MAC=02:42:c0:00:02:6c:02:42:c0:00:02:73:08:00 \
         SRC=192.0.2.115 DST=192.0.2.108 LEN=64 TOS=0x00 PREC=0x00 TTL=64 ID=0 DF PROTO=TCP SPT=62290 DPT=80 WINDOW=65535 RES=0x00 \
         CWR ECE SYN URGP=0",
        r#"ingress-denied "filter_IN_public_REJECT: " enp0s8 - tcp 192.0.2.115:62290 192.0.2.108:80 64"#,
    ),
    (
        "firewalld",
        "Aug 20 15:06:15 web-1 kernel: STATE_INVALID_DROP: IN=enp0s3 OUT= MAC=02:42:c0:00:02:08:02:42:c0:00:02:e1:08:00 \
         SRC=192.0.2.225 DST=192.0.2.8 LEN=40 TOS=0x00 PREC=0x00 TTL=42 ID=27451 PROTO=TCP SPT=46294 DPT=23 WINDOW=1024 RES=0x00 \
         URGP=0",
        r#"ingress-denied "STATE_INVALID_DROP: " enp0s3 - tcp 192.0.2.225:46294 192.0.2.8:23 40"#,
    ),
    (
        "firewalld",
        "[  301.000417] FINAL_REJECT: IN=eth0 OUT= MAC=ff:ff:ff:ff:ff:ff:02:42:c0:00:02:01:08:00 SRC=192.0.2.1 DST=255.255.255.255 \
         LEN=328 TOS=0x00 PREC=0x00 TTL=64 ID=9 PROTO=UDP SPT=67 DPT=68 LEN=308 ",
        r#"ingress-denied "FINAL_REJECT: " eth0 - udp 192.0.2.1:67 255.255.255.255:68 328"#,
    ),
    (
        "firewalld",
        "Jul 19 19:22:00 web-1 kernel: filter_FWD_internal_DROP: IN=eth1 OUT=eth0 MAC=02:42:c0:00:02:6c:02:42:c0:00:02:73:08:00 \
         SRC=198.51.100.4 DST=203.0.113.9 LEN=84 TOS=0x00 PREC=0x00 TTL=63 ID=50401 DF PROTO=ICMP TYPE=8 CODE=0 ID=17 SEQ=1 ",
        r#"egress-denied "filter_FWD_internal_DROP: " eth1 eth0 icmp 198.51.100.4 203.0.113.9 8/0 84"#,
    ),
    (
        "Calico",
        "Sep 25 03:36:35 node-a kernel: calico-packet: IN=calibb6007ff7fc OUT=eth0 MAC=ee:ee:ee:ee:ee:ee:02:42:0a:2c:02:04:08:00 \
         SRC=10.44.2.4 DST=10.44.0.6 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=12442 DF PROTO=TCP SPT=51813 DPT=12865 WINDOW=42600 \
         RES=0x00 SYN URGP=0 MARK=0x10000 ",
        r#"egress-denied "calico-packet: " calibb6007ff7fc eth0 tcp 10.44.2.4:51813 10.44.0.6:12865 60 mark 65536"#,
    ),
    (
        "Calico",
        "Dec  4 01:30:07 node-b kernel: [307753.360525] calico-packet: IN=vxlan.calico OUT=cali854fbe58c09 \
         MAC=02:42:e0:c4:da:01:02:42:8d:70:51:02:08:00 SRC=10.233.116.128 DST=10.233.71.8 LEN=60 TOS=0x00 PREC=0x00 TTL=62 ID=35584 \
         DF PROTO=TCP SPT=10275 DPT=8080 WINDOW=64240 RES=0x00 SYN URGP=0",
        r#"ingress-denied "calico-packet: " vxlan.calico cali854fbe58c09 tcp 10.233.116.128:10275 10.233.71.8:8080 60"#,
    ),
    (
        "Calico",
        "Dec  4 01:30:08 node-b kernel: [307754.000001] calico-packet: IN=cali854fbe58c09 OUT=eth0 \
         MAC=ee:ee:ee:ee:ee:ee:02:42:0a:e9:47:08:08:00 SRC=10.233.71.8 DST=198.51.100.23 LEN=93 TOS=0x04 PREC=0x00 TTL=63 ID=14229 \
         PROTO=UDP SPT=50000 DPT=17488 LEN=73 ",
        r#"egress-denied "calico-packet: " cali854fbe58c09 eth0 udp 10.233.71.8:50000 198.51.100.23:17488 93"#,
    ),
    // `log prefix "in-drop " flags all`: link addresses by themselves, numbers of TCP, its options, the user.
    (
        "nftables",
        "[   12.345678] in-drop IN=eth0 OUT= MACSRC=02:42:c0:00:02:01 MACDST=02:42:c0:00:02:b4 MACPROTO=0800 SRC=203.0.113.26 \
         DST=192.0.2.180 LEN=60 TOS=0x00 PREC=0x00 TTL=52 ID=40005 DF PROTO=TCP SPT=38472 DPT=8443 SEQ=1184297391 ACK=0 \
         WINDOW=64240 RES=0x00 SYN URGP=0 OPT (020405B40402080A3B9ACA000000000001030307) ",
        r#"ingress-denied "in-drop " eth0 - tcp 203.0.113.26:38472 192.0.2.180:8443 60"#,
    ),
    (
        "nftables",
        "Mar  1 12:00:00 web-1 kernel: in-drop IN= OUT=lo SRC=127.0.0.1 DST=127.0.0.1 LEN=29 TOS=0x00 PREC=0x00 TTL=64 ID=2 DF \
         PROTO=UDP SPT=40001 DPT=9 LEN=9 UID=1000 GID=1000 ",
        r#"egress-denied "in-drop " - lo udp 127.0.0.1:40001 127.0.0.1:9 29 user 1000"#,
    ),
    (
        "iptables",
        "<4>[ 6595.922467] in-drop IN=br0 OUT=br0 PHYSIN=veth1 PHYSOUT=veth2 MAC=02:42:c0:00:02:b4:02:42:c0:00:02:01:08:00 \
         SRC=192.0.2.1 DST=192.0.2.180 LEN=56 TOS=0x00 PREC=0x00 TTL=64 ID=4660 PROTO=ICMP TYPE=3 CODE=3 [SRC=192.0.2.180 \
         DST=192.0.2.1 LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=UDP SPT=53 DPT=40404 LEN=8 ] MARK=0x2a ",
        r#"egress-denied "in-drop " br0 br0 icmp 192.0.2.1 192.0.2.180 3/3 56 mark 42"#,
    ),
];

#[test]
fn whole_lines_of_each_documented_firewall_are_read_with_the_documented_patterns() {
    for (firewall, line, expected) in LINES {
        assert_eq!(said(&read(firewall, line)), *expected, "{line}");
    }
    for firewall in ["ufw", "firewalld", "Calico", "nftables", "iptables"] {
        assert!(LINES.iter().any(|(of, ..)| *of == firewall), "{firewall}");
    }
}
