//! The client behind proxies: Forwarded (RFC 7239), X-Forwarded-For, and whom to believe.
//!
//! Anyone can send these headers, so an entry counts only if a trusted hop wrote it. Reads no PROXY protocol
//! header; its address is given as `peer`.

use std::net::IpAddr;

use ipnet::IpNet;

/// More hops than this are no chain of proxies.
const MAX_HOPS: usize = 32;

/// Addresses that no client on the internet has: private, shared (RFC 6598), link-local, loopback.
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// The networks whose proxies are believed (TRUSTED_PROXIES).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// The private ranges: in a cluster the last proxies before a pod have addresses of these.
impl Default for TrustedProxies {
    fn default() -> Self {
        Self(PRIVATE.iter().filter_map(|net| net.parse().ok()).collect())
    }
}

impl TrustedProxies {
    /// Exactly these networks; none of them: nobody is believed.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        Self(nets.into_iter().collect())
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }
}

/// The client's address, where trusted proxies vouch for one other than `peer`.
///
/// Goes from the peer to the left as long as the hop is trusted: the first untrusted address is the client, or the
/// leftmost where all are trusted. A hop that is hidden (`_x`, `unknown`) or no address ends the search without an
/// answer. Where both headers stand and disagree there is none either: one of them passed a proxy that does not
/// know it, and may be the client's invention. Repeated header lines are given in order.
pub fn client_ip(
    forwarded: &[&[u8]],
    x_forwarded_for: &[&[u8]],
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if (forwarded.is_empty() && x_forwarded_for.is_empty()) || !trusted.contains(peer) {
        return None;
    }
    let by_standard = || walk(forwarded.iter().rev().flat_map(|line| elements(line)).map(forwarded_for), trusted);
    let by_custom = || walk(x_forwarded_for.iter().rev().flat_map(|line| elements(line)).map(address), trusted);
    let client = match (forwarded.is_empty(), x_forwarded_for.is_empty()) {
        (false, true) => by_standard()?,
        (true, _) => by_custom()?,
        (false, false) => by_standard().filter(|ip| by_custom() == Some(*ip))?,
    };
    (client != peer).then_some(client)
}

fn walk(hops: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut client = None;
    for hop in hops.take(MAX_HOPS) {
        let ip = hop?;
        client = Some(ip);
        if !trusted.contains(ip) {
            break;
        }
    }
    client
}

/// The elements of a comma-separated list from the right, commas in quotes not counted.
fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.rsplit(move |b| {
        quoted ^= *b == b'"';
        *b == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|element| !element.is_empty())
}

/// The `for` parameter of one forwarded-element.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut quoted = false;
    let is_end = |b: &u8| {
        quoted ^= *b == b'"';
        *b == b';' && !quoted
    };
    element.split(is_end).find_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|b| *b == b'=')?)?;
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| address(value.get(1..)?))?
    })
}

/// An address with or without quotes, brackets and port.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?.trim();
    let node = node.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(node);
    let host = match node.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        // One colon is before a port, more are inside an IPv6 address.
        None if node.matches(':').count() == 1 => node.split_once(':')?.0,
        None => node,
    };
    host.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn lines<'a>(text: &'a [&'a str]) -> Vec<&'a [u8]> {
        text.iter().map(|l| l.as_bytes()).collect()
    }

    fn client(forwarded: &[&str], custom: &[&str]) -> Option<IpAddr> {
        client_ip(&lines(forwarded), &lines(custom), ip("10.0.0.1"), &TrustedProxies::default())
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        for (line, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("198.51.100.1, 203.0.113.7, 10.1.1.1", Some("203.0.113.7")),
            ("203.0.113.7:4711", Some("203.0.113.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:4711,10.0.0.9", Some("2001:db8::1")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("10.0.0.7, 10.0.0.8", Some("10.0.0.7")),
            ("10.0.0.1", None),
            ("203.0.113.7, unknown", None),
            ("unknown, 203.0.113.7", Some("203.0.113.7")),
            ("nonsense", None),
            ("", None),
            (", ,203.0.113.7,", Some("203.0.113.7")),
        ] {
            assert_eq!(client(&[], &[line]), expected.map(ip), "{line}");
        }
        assert_eq!(client(&[], &["198.51.100.1", "203.0.113.7"]), Some(ip("203.0.113.7")));
    }

    #[test]
    fn forwarded_is_read_with_quotes_brackets_ports_and_other_parameters() {
        for (line, expected) in [
            ("for=203.0.113.7", Some("203.0.113.7")),
            ("For=\"[2001:db8::1]:4711\"", Some("2001:db8::1")),
            ("proto=http;by=10.0.0.9; for=203.0.113.7;host=\"a,b;c\"", Some("203.0.113.7")),
            ("for=198.51.100.1, for=203.0.113.7;proto=https, for=10.0.0.2", Some("203.0.113.7")),
            ("for=203.0.113.7, for=_hidden", None),
            ("for=unknown", None),
            ("proto=http", None),
        ] {
            assert_eq!(client(&[line], &[]), expected.map(ip), "{line}");
        }
    }

    #[test]
    fn headers_that_disagree_give_no_client() {
        assert_eq!(client(&["for=203.0.113.7"], &["203.0.113.7"]), Some(ip("203.0.113.7")));
        assert_eq!(client(&["for=198.51.100.66"], &["203.0.113.7"]), None);
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let custom = lines(&["203.0.113.7"]);
        let public = ip("198.51.100.9");
        assert_eq!(client_ip(&[], &custom, public, &TrustedProxies::default()), None);
        let nobody = TrustedProxies::new([]);
        assert_eq!(client_ip(&[], &custom, ip("10.0.0.1"), &nobody), None);
        let own = TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "198.51.100.0/24".parse().unwrap()]);
        assert_eq!(client_ip(&[], &custom, public, &own), Some(ip("203.0.113.7")));
    }
}
