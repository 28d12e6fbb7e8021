//! Parsers of the kernel's text tables under /proc/net.
//!
//! Lines that do not parse are passed over: these tables decide a default, never a record.

use std::collections::BTreeSet;
use std::io::BufRead;

/// RTF_UP and RTF_REJECT of `linux/route.h`.
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// The interface of the IPv4 default route with the lowest metric; the first of equals, as the kernel takes it.
pub(super) fn default_route(table: &str) -> Option<&str> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let interface = fields.next()?;
        let (destination, _gateway) = (hex(fields.next()?)?, fields.next()?);
        let flags = hex(fields.next()?)?;
        let metric: u32 = fields.nth(2)?.parse().ok()?;
        let mask = hex(fields.next()?)?;
        (destination == 0 && mask == 0 && usable(flags)).then_some((metric, interface))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface)
}

/// The same of IPv6. An unreachable entry on `lo` is in every table without a default route.
pub(super) fn default_route_v6(table: &str) -> Option<&str> {
    let routes = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, _, _, _, metric, _, _, flags, interface] = fields.try_into().ok()?;
        let default = destination.bytes().all(|digit| digit == b'0') && hex(length)? == 0;
        (default && usable(hex(flags)?) && interface != "lo").then_some((hex(metric)?, interface))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface)
}

/// Adds the ports of the listening sockets of /proc/net/tcp or tcp6.
///
/// The kernel lists listeners first: reading ends at the first other socket, so a pod with 50,000 connections costs
/// no more than one with none.
pub(super) fn listeners(table: impl BufRead, ports: &mut BTreeSet<u16>) {
    const LISTEN: &str = "0A";
    for line in table.lines().skip(1).map_while(Result::ok) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        if state != Some(LISTEN) {
            return;
        }
        let port = local.and_then(|local| local.rsplit_once(':')).and_then(|(_, port)| hex(port));
        ports.extend(port.and_then(|port| u16::try_from(port).ok()));
    }
}

fn usable(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

fn hex(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_the_usable_one_with_the_lowest_metric() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT   \n";
        let net = "eth9\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let eth0 = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let eth1 = "eth1\t00000000\t010200C0\t0003\t0\t0\t50\t00000000\t0\t0\t0\n";
        let down = "eth2\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n";
        let reject = "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n";
        let half = "tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
        for (lines, expected) in [
            (vec![], None),
            (vec![net], None),
            (vec![net, eth0], Some("eth0")),
            (vec![eth0, eth1], Some("eth1")),
            (vec![down, reject, half, eth0], Some("eth0")),
            (vec!["junk\n", "eth3\tzz\n", eth1], Some("eth1")),
        ] {
            let table = format!("{head}{}", lines.concat());
            assert_eq!(default_route(&table), expected, "{table}");
        }
    }

    #[test]
    fn the_unreachable_entry_of_ipv6_on_loopback_is_no_default_route() {
        let zero = "00000000000000000000000000000000";
        let unreachable = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        let net =
            format!("fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth0\n");
        let route = |metric: &str, name: &str| {
            format!("{zero} 00 {zero} 00 fd000000000000000000000000000001 {metric} 00000002 00000000 00000003 {name}\n")
        };
        assert_eq!(default_route_v6(&format!("{unreachable}{net}")), None);
        assert_eq!(
            default_route_v6(&format!("{unreachable}{}{}", route("00000400", "eth0"), route("00000010", "eth1"))),
            Some("eth1")
        );
        assert_eq!(default_route_v6("short line\n"), None);
    }

    #[test]
    fn listeners_are_read_up_to_the_first_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     \x20  0: 00000000:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1161\n\
                     \x20  1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1162\n\
                     \x20  2: 0100007F:1F90 0100007F:9000 01 00000000:00000000 00:00000000 00000000     0        0 1163\n\
                     \x20  3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1164\n";
        let v6 = "  sl  local_address                         remote_address                        st\n\
                  \x20  0: 00000000000000000000000000000000:102F 00000000000000000000000000000000:0000 0A\n";
        let mut ports = BTreeSet::new();
        listeners(table.as_bytes(), &mut ports);
        listeners(v6.as_bytes(), &mut ports);
        listeners(&b""[..], &mut ports);
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [80, 4143, 15001]);
    }
}
