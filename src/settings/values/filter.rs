//! CAP_FILTER: which frames the kernel hands over.
//!
//! Compiles no expression: the code that opens the capture does.

use serde::Deserialize;

use super::{SettingValue, by_envy, plain_values};

/// Leaves out what cannot carry TCP: ARP, ICMP, IGMP, and UDP but for the ports of tunnels. These are VXLAN 4789 (8472
/// as Linux had it first), VXLAN-GPE 4790, GENEVE 6081, GTP-U 2152 and MPLS 6635.
///
/// A bare `tcp` would pass no tag, no tunnel and no IPv6 extension header. Naming those instead passes hardly less (0.3
/// % of the frames of all captures tried), and hides what was not thought of. Said this way round, an encapsulation that
/// podtap does not open is counted under its name. Fragments of UDP all pass, since only the first has ports.
///
/// `vlan`, `mpls` and the like are not in it. They do not compile for Linux cooked and raw IP links, and shift the
/// offsets of all that follows. A TCP segment over plain IPv4 leaves the compiled program after seven instructions.
pub const DEFAULT_CAPTURE_FILTER: &str = "not (arp or icmp or icmp6 or igmp \
    or ((ip[6:2] & 0x3fff = 0 or ip6[6] = 17) and udp \
    and not (port 4789 or port 4790 or port 8472 or port 6081 or port 2152 or port 6635)))";

/// The same, with DNS over UDP.
pub const CAPTURE_FILTER_WITH_DNS: &str = "not (arp or icmp or icmp6 or igmp \
    or ((ip[6:2] & 0x3fff = 0 or ip6[6] = 17) and udp \
    and not (port 53 or port 4789 or port 4790 or port 8472 or port 6081 or port 2152 or port 6635)))";

/// CAP_FILTER.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum CaptureFilter {
    /// [`DEFAULT_CAPTURE_FILTER`] live, nothing in a replay.
    Auto,
    /// Every frame.
    Off,
    /// As given, in pcap-filter syntax.
    Given(String),
}

impl CaptureFilter {
    /// The expression for a live capture.
    pub fn live(&self) -> Option<&str> {
        match self {
            Self::Auto => Some(DEFAULT_CAPTURE_FILTER),
            Self::Off => None,
            Self::Given(expression) => Some(expression),
        }
    }

    /// The expression for a replay: only an explicit one.
    pub fn replay(&self) -> Option<&str> {
        match self {
            Self::Auto | Self::Off => None,
            Self::Given(expression) => Some(expression),
        }
    }
}

impl From<String> for CaptureFilter {
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "none" => Self::Off,
            _ => Self::Given(text),
        }
    }
}

plain_values! {
    CaptureFilter => "auto, none, or an expression in pcap-filter syntax";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_capture_filter_is_for_live_captures_only() {
        let filter = |text| CaptureFilter::parse("X", text).unwrap();
        assert_eq!((filter("auto").live(), filter("auto").replay()), (Some(DEFAULT_CAPTURE_FILTER), None));
        assert_eq!((filter("none").live(), filter("none").replay()), (None, None));
        assert_eq!((filter("port 80").live(), filter("port 80").replay()), (Some("port 80"), Some("port 80")));
    }

    #[test]
    fn the_default_capture_filter_compiles_for_every_link_a_pod_may_have() {
        for link in [1, 113, 276, 12, 0, 108] {
            let capture = pcap::Capture::dead(pcap::Linktype(link)).unwrap();
            for filter in [DEFAULT_CAPTURE_FILTER, CAPTURE_FILTER_WITH_DNS] {
                assert!(capture.compile(filter, true).is_ok(), "link type {link}");
            }
        }
    }

    /// An Ethernet frame with an IPv4 packet: protocol, the fragment field, and the ports.
    fn ipv4(protocol: u8, fragment: u16, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame.extend([0; 26]);
        frame
    }

    /// An Ethernet frame with an IPv6 packet: next header, and the first byte behind the header.
    fn ipv6(next: u8, first: u8, port: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, next, 64]);
        frame.extend([0; 32]);
        frame.extend([first, 0]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 12]);
        frame
    }

    fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
        frame.splice(12..12, [0x81, 0, 0, 5]);
        frame
    }

    #[test]
    fn dns_passes_where_names_come_from_it_and_other_datagrams_do_not() {
        let capture = pcap::Capture::dead(pcap::Linktype(1)).unwrap();
        let program = capture.compile(CAPTURE_FILTER_WITH_DNS, true).unwrap();
        for (frame, passes) in [
            (ipv4(17, 0, [50_000, 53]), true),
            (ipv4(17, 0x4000, [53, 50_000]), true),
            (ipv4(6, 0, [50_000, 80]), true),
            (ipv4(17, 0, [50_000, 123]), false),
            (ipv4(1, 0, [50_000, 53]), false),
        ] {
            assert_eq!(program.filter(&frame), passes, "{frame:?}");
        }
    }

    #[test]
    fn the_default_capture_filter_leaves_out_only_what_cannot_carry_tcp() {
        let capture = pcap::Capture::dead(pcap::Linktype(1)).unwrap();
        let program = capture.compile(DEFAULT_CAPTURE_FILTER, true).unwrap();
        for (what, frame, passes) in [
            ("tcp", ipv4(6, 0, [50_000, 80]), true),
            ("first fragment of tcp", ipv4(6, 0x2000, [50_000, 80]), true),
            ("later fragment of tcp", ipv4(6, 0x00b9, [0, 0]), true),
            ("dns", ipv4(17, 0, [50_000, 53]), false),
            ("dns, don't fragment", ipv4(17, 0x4000, [50_000, 53]), false),
            ("vxlan", ipv4(17, 0, [50_000, 4789]), true),
            ("later fragment of vxlan", ipv4(17, 0x00b9, [1, 2]), true),
            ("gre", ipv4(47, 0, [0, 0x800]), true),
            ("icmp", ipv4(1, 0, [0, 0]), false),
            ("tcp over ipv6", ipv6(6, 0xc3, 80), true),
            ("dns over ipv6", ipv6(17, 0xc3, 53), false),
            ("vxlan over ipv6", ipv6(17, 0xc3, 4789), true),
            ("hop-by-hop options, then tcp", ipv6(0, 6, 0), true),
            ("fragment of tcp over ipv6", ipv6(44, 6, 0), true),
            ("icmp over ipv6", ipv6(58, 135, 0), false),
            ("tagged tcp", tagged(ipv4(6, 0, [50_000, 80])), true),
            ("arp", [&[0; 12], &[8, 6][..], &[0; 28]].concat(), false),
            ("mpls", [&[0; 12], &[0x88, 0x47][..], &[0; 40]].concat(), true),
        ] {
            assert_eq!(program.filter(&frame), passes, "{what}");
        }
    }
}
