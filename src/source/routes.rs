//! Which addresses lie behind which interface: the routes to single hosts in this network namespace. Many network plugins
//! (Calico, kindnet, AWS, ptp) make one for each pod.
//!
//! Reads two files of /proc, which needs no right. Does not look into other network namespaces: that needs SYS_ADMIN.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use compact_str::CompactString;

/// Where this thread's namespace shows its routes.
const ROUTES: &str = "/proc/thread-self/net";
/// Routes that are kept at most; a node rarely has more than 250 pods.
const MAX_HOSTS: usize = 16_384;

/// Flags of routes (linux/route.h, linux/ipv6_route.h).
const UP: u32 = 1;
const GATEWAY: u32 = 2;
const REJECT: u32 = 0x200;
const ANYCAST: u32 = 0x10_0000;
const LOCAL: u32 = 0x8000_0000;

/// Addresses that are routed to an interface each by itself, without a gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostRoutes(HashMap<CompactString, Vec<IpAddr>>);

impl HostRoutes {
    /// Those of this network namespace; none where they cannot be read.
    pub fn read() -> Self {
        Self::read_from(Path::new(ROUTES))
    }

    fn read_from(directory: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        Self::of(&text("route"), &text("ipv6_route"))
    }

    fn of(v4: &str, v6: &str) -> Self {
        let mut routes = Self::default();
        let hosts = v4.lines().filter_map(host_v4).chain(v6.lines().filter_map(host_v6));
        for (interface, ip) in hosts.filter(|(interface, _)| *interface != "lo").take(MAX_HOSTS) {
            routes.0.entry(interface.into()).or_default().push(ip);
        }
        routes
    }

    /// The addresses behind an interface.
    pub fn behind(&self, interface: &str) -> &[IpAddr] {
        self.0.get(interface).map(Vec::as_slice).unwrap_or_default()
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`: numbers are in hexadecimal, addresses as in memory.
fn host_v4(line: &str) -> Option<(&str, IpAddr)> {
    let words: Vec<&str> = line.split_whitespace().take(8).collect();
    let [interface, destination, _, flags, _, _, _, mask] = *words.first_chunk()?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_host = mask == "FFFFFFFF" && flags & (UP | GATEWAY | REJECT) == UP;
    let ip = Ipv4Addr::from(u32::from_str_radix(destination, 16).ok()?.to_ne_bytes());
    is_host.then_some((interface, ip.into()))
}

/// `destination length source length gateway metric references use flags interface`, all in hexadecimal.
fn host_v6(line: &str) -> Option<(&str, IpAddr)> {
    let words: Vec<&str> = line.split_whitespace().take(10).collect();
    let [destination, length, _, _, _, _, _, _, flags, interface] = *words.first_chunk()?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let is_host = length == "80" && flags & (UP | GATEWAY | REJECT | ANYCAST | LOCAL) == UP;
    let ip = Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?);
    (is_host && !ip.is_multicast()).then_some((interface, ip.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_to_single_hosts_say_who_is_behind_an_interface() {
        let word = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let line = |interface: &str, ip, gateway, flags: u32, mask| {
            format!("{interface}\t{}\t{}\t{flags:04X}\t0\t0\t0\t{mask}\t0\t0\t0\n", word(ip), word(gateway))
        };
        let (pod, none, host) = ([10, 244, 1, 5], [0; 4], "FFFFFFFF");
        let v4 = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n".to_owned(),
            line("eth0", none, [192, 168, 0, 1], 3, "00000000"),
            line("cali1", pod, none, 5, host),
            line("cni0", [10, 244, 1, 0], none, 1, "00FFFFFF"),
            line("eth0", [10, 0, 0, 9], [192, 168, 0, 1], 7, host),
            line("*", [10, 0, 0, 8], none, 0x205, host),
            line("lo", [10, 0, 0, 7], none, 5, host),
            "cut off".to_owned(),
        ]
        .concat();
        let line = |ip: &str, length, flags: u32, interface| {
            let zero = "0".repeat(32);
            let ip = ip.parse::<Ipv6Addr>().unwrap().to_bits();
            format!("{ip:032x} {length} {zero} 00 {zero} 00000400 00000001 00000000 {flags:08x}    {interface}\n")
        };
        let v6 = [
            line("fd00::5", "80", 1, "cali1"),
            line("fd00::", "40", 1, "eth0"),
            line("fe80::1", "80", 0x8020_0001, "cali1"),
            line("ff02::1", "80", 1, "cali1"),
        ]
        .concat();
        let routes = HostRoutes::of(&v4, &v6);
        assert_eq!(routes.behind("cali1"), [IpAddr::from(pod), "fd00::5".parse().unwrap()]);
        assert_eq!(routes.0.len(), 1, "{routes:?}");
        assert_eq!(routes.behind("eth0"), [] as [IpAddr; 0]);
        assert_eq!(HostRoutes::read_from(Path::new("/nowhere")), HostRoutes::default());
    }
}
