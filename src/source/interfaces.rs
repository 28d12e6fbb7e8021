//! Which interfaces to capture on, and the addresses that are ours.
//!
//! The choice is a pure function of the kernel's tables, read once by `KernelTables::read`. Opens nothing and captures
//! nothing (`live`).

mod tables;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::net::IpAddr;

use crate::glob::Glob;

/// libpcap's pseudo interface that is all of them.
pub const ANY: &str = "any";

/// Ports on which Istio's proxy takes the pod's redirected traffic (outbound and inbound; ambient mode uses them too).
const ISTIO: [u16; 2] = [15001, 15006];
/// Those of Linkerd (inbound and outbound).
const LINKERD: [u16; 2] = [4143, 4140];

/// What a mesh puts on `lo`, and nothing else that passes there. One end at least is the pod's own address or a peer's
/// (Istio's ambient mode keeps the client's), the address that Istio's proxy calls the application from, or a port of
/// the proxies. What containers of a pod say to each other over 127.0.0.1 is not captured without a mesh either. The
/// proxies' own health checks are among it. In pcap-filter(7) `and` and `or` bind alike.
const MESH_ONLY: &str = "not ((src net 127.0.0.0/8 and dst net 127.0.0.0/8) or (src host ::1 and dst host ::1)) \
    or host 127.0.0.6 or host ::6 or tcp port 15001 or tcp port 15006 or tcp port 4140 or tcp port 4143";

/// One interface to capture on, and why; its `Display` is said at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceChoice {
    /// Name as libpcap takes it.
    pub interface: String,
    /// Half a sentence.
    pub reason: String,
    /// Whether the interface was there when the choice was made.
    pub exists: bool,
    /// What alone is wanted of it, in pcap-filter syntax.
    pub only: Option<&'static str>,
}

impl InterfaceChoice {
    /// The capture filter: what is wanted of this interface, as far as `filter` lets it pass.
    pub fn filter(&self, filter: &str) -> String {
        match (filter, self.only) {
            (filter, None) => filter.to_owned(),
            ("", Some(only)) => only.to_owned(),
            (filter, Some(only)) => format!("({filter}) and ({only})"),
        }
    }
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.reason)?;
        if !self.exists {
            write!(f, " (not there yet: waiting for it)")?;
        }
        Ok(())
    }
}

/// An interface as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedInterface {
    /// Name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
}

/// What the kernel says about this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTables {
    /// Interfaces, in the kernel's order.
    pub interfaces: Vec<ListedInterface>,
    /// /proc/net/route.
    pub route: String,
    /// /proc/net/ipv6_route.
    pub ipv6_route: String,
    /// Ports with a TCP listener.
    pub listeners: BTreeSet<u16>,
}

impl KernelTables {
    /// Reads them for this thread's network namespace. What cannot be read is empty: a choice is always possible.
    pub fn read() -> Self {
        let text = |table: &str| std::fs::read_to_string(path(table)).unwrap_or_default();
        let mut listeners = BTreeSet::new();
        for table in ["tcp", "tcp6"] {
            if let Ok(file) = File::open(path(table)) {
                tables::listeners(BufReader::new(file), &mut listeners);
            }
        }
        Self { interfaces: list(), route: text("route"), ipv6_route: text("ipv6_route"), listeners }
    }

    /// The same without the listeners: with many connections, or a large table for them, those are what takes time.
    pub fn read_interfaces() -> Self {
        Self { interfaces: list(), ..Self::default() }
    }

    /// The interfaces for a setting of IFACE: `auto` or empty, names separated by commas, or `any`.
    ///
    /// `auto` is the interface of the default route, and `lo` when a mesh proxy listens in the pod. Clear text passes
    /// there; the primary interface shows TLS. Never empty.
    pub fn choose(&self, setting: &str) -> Vec<InterfaceChoice> {
        let mut chosen: Vec<InterfaceChoice> = Vec::new();
        let mut add = |interface: &str, reason: String| {
            if !chosen.iter().any(|choice| choice.interface == interface) {
                let exists = is_pseudo(interface) || self.has(interface);
                chosen.push(InterfaceChoice { interface: interface.to_owned(), reason, exists, only: None });
            }
        };
        let named: Vec<&str> = setting.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        if named.contains(&ANY) {
            // The other interfaces would show each frame twice.
            add(ANY, "named by IFACE, all interfaces".to_owned());
            return chosen;
        }
        for name in &named {
            match *name {
                "auto" => self.automatic(&mut add),
                name => add(name, "named by IFACE".to_owned()),
            }
        }
        if named.is_empty() {
            self.automatic(&mut add);
        }
        let automatic = named.is_empty() || named.contains(&"auto");
        let mesh = self.mesh().filter(|lo| automatic && !chosen.iter().any(|choice| choice.interface == lo.interface));
        chosen.extend(mesh);
        chosen
    }

    fn automatic(&self, add: &mut impl FnMut(&str, String)) {
        let v4 = tables::default_route(&self.route);
        let v6 = tables::default_route_v6(&self.ipv6_route);
        let up = self.interfaces.iter().find(|interface| interface.up && !interface.loopback);
        match (v4, v6, up) {
            (None, None, Some(up)) => add(&up.name, "the first interface that is up; there is no default route".into()),
            (None, None, None) => add("lo", "there is no other interface".into()),
            (v4, v6, _) => {
                v4.into_iter().for_each(|name| add(name, "the default route goes there".into()));
                v6.into_iter().for_each(|name| add(name, "the default route of IPv6 goes there".into()));
            }
        }
    }

    /// What of `lo` is worth capturing, when a mesh proxy listens. Ask again after the start: the proxy may start later
    /// than podtap.
    pub fn mesh(&self) -> Option<InterfaceChoice> {
        let on = |ports: &[u16]| ports.iter().copied().filter(|port| self.listeners.contains(port)).collect::<Vec<_>>();
        let (istio, linkerd) = (on(&ISTIO), on(&LINKERD));
        let (mesh, ports) = match (istio.is_empty(), linkerd.is_empty()) {
            (false, _) => ("Istio", istio),
            (true, false) => ("Linkerd", linkerd),
            (true, true) => return None,
        };
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let reason = format!(
            "a mesh proxy listens on {} ({mesh}): clear text passes between it and the application; nothing else of lo",
            ports.join(" and ")
        );
        Some(InterfaceChoice { interface: "lo".to_owned(), reason, exists: true, only: Some(MESH_ONLY) })
    }

    /// Every address of this network namespace and those of the setting OWN_IPS, each once, in order.
    pub fn own_ips(&self, setting: &[IpAddr]) -> Vec<IpAddr> {
        let found = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        found.chain(setting).map(IpAddr::to_canonical).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is said where none of the interfaces that are captured fits any of NODE_INTERFACES: then nothing is recorded.
    pub fn fit_none(&self, patterns: &[Glob], choices: &[InterfaceChoice]) -> Option<String> {
        let all = choices.iter().any(|choice| choice.interface == ANY);
        let listed = self.interfaces.iter().map(|interface| &interface.name);
        let captured = choices.iter().map(|choice| &choice.interface);
        let names: Vec<&str> =
            if all { listed.map(String::as_str).collect() } else { captured.map(String::as_str).collect() };
        let fits = |name: &&str| patterns.iter().any(|pattern| pattern.matches(name.as_bytes()));
        let none = !names.iter().any(fits);
        none.then(|| format!("NODE_INTERFACES fits no interface that is captured ({})", names.join(", ")))
    }

    fn has(&self, name: &str) -> bool {
        self.interfaces.iter().any(|interface| interface.name == name)
    }
}

/// /proc/thread-self: a network namespace belongs to a thread.
fn path(table: &str) -> String {
    format!("/proc/thread-self/net/{table}")
}

/// Whether a capture can be opened by that name, now and in this thread's network namespace. libpcap's own inventions
/// (`any`, `nflog:1`) count as there.
pub fn exists(name: &str) -> bool {
    is_pseudo(name) || index(name).is_some()
}

/// The number of the interface of that name in this thread's network namespace; one made again under the same name has
/// another.
pub(super) fn index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    #[allow(unsafe_code, reason = "std cannot look up an interface, and sysfs may show another network namespace")]
    // SAFETY: `name` is a string that ends in NUL and lives for the whole call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn is_pseudo(name: &str) -> bool {
    name == ANY || name.contains(':')
}

/// libpcap's list, which is getifaddrs(3) with its pseudo devices (`any`, `nflog`, …) behind.
fn list() -> Vec<ListedInterface> {
    let devices = pcap::Device::list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the interfaces cannot be listed");
        Vec::new()
    });
    devices
        .into_iter()
        .filter(|device| !is_pseudo(&device.name) && exists(&device.name))
        .map(|device| ListedInterface {
            up: device.flags.is_up(),
            loopback: device.flags.is_loopback(),
            addresses: device.addresses.iter().map(|address| address.addr).collect(),
            name: device.name,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::flow::Timestamp;
    use crate::packet::{Frame, LinkType};
    use crate::source::filter::FrameFilter;

    const V4: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    const V6_ETH1: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                           fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth1\n";

    fn interface(name: &str, up: bool) -> ListedInterface {
        ListedInterface { name: name.into(), addresses: vec![], up, loopback: name == "lo" }
    }

    fn tables(interfaces: &[ListedInterface], route: &str, ipv6_route: &str, listeners: &[u16]) -> KernelTables {
        KernelTables {
            interfaces: interfaces.to_vec(),
            route: route.into(),
            ipv6_route: ipv6_route.into(),
            listeners: listeners.iter().copied().collect(),
        }
    }

    fn said(tables: &KernelTables, setting: &str) -> Vec<String> {
        tables.choose(setting).iter().map(InterfaceChoice::to_string).collect()
    }

    #[test]
    fn auto_follows_the_default_route_and_adds_loopback_under_a_mesh() {
        let all = [interface("lo", true), interface("eth1", true), interface("eth0", true)];
        let by_route = "eth0: the default route goes there";
        let cases = [
            (tables(&all, V4, "", &[80]), vec![by_route]),
            (tables(&all, "", V6_ETH1, &[]), vec!["eth1: the default route of IPv6 goes there"]),
            (tables(&all, V4, V6_ETH1, &[]), vec![by_route, "eth1: the default route of IPv6 goes there"]),
            (
                tables(&all, V4, "", &[80, 15001, 15006]),
                vec![
                    by_route,
                    "lo: a mesh proxy listens on 15001 and 15006 (Istio): clear text passes between it and the application; nothing else of lo",
                ],
            ),
            (
                tables(&all, V4, "", &[4143]),
                vec![
                    by_route,
                    "lo: a mesh proxy listens on 4143 (Linkerd): clear text passes between it and the application; nothing else of lo",
                ],
            ),
        ];
        for (tables, expected) in cases {
            assert_eq!(said(&tables, "auto"), expected);
            assert_eq!(said(&tables, " "), expected);
        }
    }

    #[test]
    fn of_loopback_only_what_a_mesh_puts_there_is_captured_unless_it_was_named() {
        let there = tables(&[interface("lo", true), interface("eth0", true)], V4, "", &[15001]);
        let filters =
            |setting, filter| there.choose(setting).iter().map(|choice| choice.filter(filter)).collect::<Vec<_>>();
        assert_eq!(filters("auto", "tcp"), ["tcp".to_owned(), format!("(tcp) and ({MESH_ONLY})")]);
        assert_eq!(filters("", ""), ["", MESH_ONLY]);
        assert_eq!(filters("lo,auto", "tcp"), ["tcp", "tcp"]);
        assert_eq!(filters("any", "tcp"), ["tcp"]);
        assert_eq!(filters("eth0", "tcp"), ["tcp"]);
    }

    /// As captures under the meshes show them; Linkerd's proxy asks the application from the pod's own address, that of
    /// Istio's ambient mode from the client's.
    #[test]
    fn the_mesh_filter_passes_what_proxies_and_applications_say_to_each_other() {
        for (from, to, expected) in [
            ("10.1.2.3:40000", "127.0.0.1:15001", true),
            ("127.0.0.1:15001", "10.1.2.3:40000", true),
            ("127.0.0.6:51000", "10.1.2.3:8080", true),
            ("127.0.0.6:51000", "127.0.0.1:8080", true),
            ("10.1.2.3:40000", "127.0.0.1:4140", true),
            ("10.1.2.3:40001", "10.1.2.3:8080", true),
            ("10.9.9.9:40001", "10.1.2.3:8080", true),
            ("[fd00::3]:40000", "[::1]:15001", true),
            ("[::6]:40000", "[fd00::3]:8080", true),
            ("127.0.0.1:40000", "127.0.0.1:6379", false),
            ("127.0.0.1:15000", "127.0.0.1:40000", false),
            ("[::1]:40000", "[::1]:15020", false),
        ] {
            let data = segment(from.parse().unwrap(), to.parse().unwrap());
            let (at, wire_len) = (Timestamp::default(), data.len() as u32);
            let frame = Frame { at, link: LinkType(1), data: &data, wire_len, interface: None };
            assert_eq!(FrameFilter::new(MESH_ONLY).matches(&frame), Ok(expected), "{from} {to}");
        }
    }

    fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
            mixed => panic!("{mixed:?}"),
        };
        let mut bytes = Vec::new();
        ip.tcp(from.port(), to.port(), 1, 1000).ack(1).write(&mut bytes, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        bytes
    }

    #[test]
    fn without_a_default_route_the_first_interface_that_is_up_is_taken_and_else_loopback() {
        let down = [interface("lo", true), interface("eth0", false), interface("net1", true)];
        assert_eq!(
            said(&tables(&down, "", "", &[]), "auto"),
            ["net1: the first interface that is up; there is no default route"]
        );
        assert_eq!(said(&tables(&down[..2], "", "", &[]), "auto"), ["lo: there is no other interface"]);
        assert_eq!(
            said(&KernelTables::default(), "auto"),
            ["lo: there is no other interface (not there yet: waiting for it)"]
        );
    }

    #[test]
    fn names_are_taken_as_they_stand_each_once_and_absent_ones_are_said() {
        let there = tables(&[interface("lo", true), interface("eth0", true)], V4, "", &[15001]);
        assert_eq!(
            said(&there, "eth0, net1,eth0 ,,lo"),
            ["eth0: named by IFACE", "net1: named by IFACE (not there yet: waiting for it)", "lo: named by IFACE",]
        );
        for with_any in ["any", "eth0,any", "any,auto"] {
            assert_eq!(said(&there, with_any), ["any: named by IFACE, all interfaces"]);
        }
        assert_eq!(said(&there, "lo,auto"), ["lo: named by IFACE", "eth0: the default route goes there"]);
    }

    #[test]
    fn patterns_of_a_nodes_interfaces_that_fit_none_are_said_with_what_there_is() {
        let there = tables(&[interface("lo", true), interface("eth0", true)], V4, "", &[]);
        let patterns = |texts: &[&str]| texts.iter().map(|text| Glob::new(text).unwrap()).collect::<Vec<_>>();
        for (iface, texts, expected) in [
            ("any", &["veth*", "cali*"][..], Some("lo, eth0")),
            ("any", &["veth*", "eth?"], None),
            ("any", &["*"], None),
            ("eth0", &["lo"], Some("eth0")),
            ("net1,eth0", &["eth*"], None),
        ] {
            let said = there.fit_none(&patterns(texts), &there.choose(iface));
            let expected =
                expected.map(|names| format!("NODE_INTERFACES fits no interface that is captured ({names})"));
            assert_eq!(said, expected, "{iface} {texts:?}");
        }
    }

    #[test]
    fn own_addresses_are_those_of_all_interfaces_and_of_the_setting_without_repeats() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut lo = interface("lo", true);
        lo.addresses = vec![ip("127.0.0.1"), ip("::1")];
        let mut eth0 = interface("eth0", true);
        eth0.addresses = vec![ip("10.0.0.7"), ip("fe80::1")];
        let tables = tables(&[lo, eth0], "", "", &[]);
        assert_eq!(
            tables.own_ips(&[ip("192.0.2.1"), ip("::ffff:10.0.0.7")]),
            ["10.0.0.7", "127.0.0.1", "192.0.2.1", "::1", "fe80::1"].map(ip)
        );
    }

    #[test]
    fn an_interface_exists_or_not() {
        for (name, expected) in
            [("lo", true), ("no-such-if0", false), ("l\0o", false), ("any", true), ("nflog:5", true)]
        {
            assert_eq!(exists(name), expected, "{name}");
        }
    }

    #[test]
    fn the_tables_of_this_machine_can_be_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tables = KernelTables::read();
        assert!(tables.interfaces.iter().any(|interface| interface.name == "lo" && interface.loopback));
        assert!(!tables.interfaces.iter().any(|interface| interface.name == "any" || interface.name == "nflog"));
        assert!(tables.listeners.contains(&listener.local_addr().unwrap().port()));
        assert!(tables.own_ips(&[]).contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
