//! The client behind proxies: Forwarded (RFC 7239), X-Forwarded-For, and whom to believe.
//!
//! Anyone can send these headers, so an entry counts only if a trusted hop wrote it. Reads no PROXY protocol header: the
//! address that it names is one of the claims.

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
    /// Exactly these networks; none of them: no one is believed.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        Self(nets.into_iter().collect())
    }

    /// Whether a proxy at this address is believed.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

/// What a connection and a request say of the hops before the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopClaims<'a> {
    /// The address that a PROXY protocol header names.
    pub proxy_header: Option<IpAddr>,
    /// Lines of Forwarded, in order.
    pub forwarded: &'a [&'a [u8]],
    /// Lines of X-Forwarded-For, in order.
    pub x_forwarded_for: &'a [&'a [u8]],
    /// Lines before these are missing, so that the leftmost entry is not the first hop.
    pub first_lines_missing: bool,
}

/// The client's address, where trusted proxies vouch for one other than `peer`.
///
/// Goes from the peer to the left as long as the hop is trusted. First comes the address that a PROXY header names,
/// then the entries of the headers from right to left. The first untrusted address is the client, or the leftmost where
/// all are trusted. A hop that is hidden (`_x`, `unknown`) or no address ends the search without an answer. Where both
/// headers are there and disagree there is none either. One of them passed a proxy that does not know it, and may be
/// the client's invention.
pub fn client_ip(claims: &HopClaims<'_>, peer: IpAddr, trusted: &TrustedProxies) -> Option<IpAddr> {
    let HopClaims { proxy_header, forwarded, x_forwarded_for, first_lines_missing } = *claims;
    let no_header = forwarded.is_empty() && x_forwarded_for.is_empty();
    if no_header && proxy_header.is_none() {
        return None;
    }
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return None;
    }
    let named = proxy_header.map(|ip| ip.to_canonical());
    let nearest_client = named.filter(|ip| no_header || !trusted.contains(*ip));
    let walk = |hops: &mut dyn Iterator<Item = Option<IpAddr>>| walk(hops, trusted, first_lines_missing);
    let by_standard = || walk(&mut forwarded.iter().rev().flat_map(|line| elements(line)).map(forwarded_for));
    let by_custom = || walk(&mut x_forwarded_for.iter().rev().flat_map(|line| elements(line)).map(address));
    let client = match (nearest_client, forwarded.is_empty(), x_forwarded_for.is_empty()) {
        (Some(client), ..) => client,
        (None, false, true) => by_standard()?,
        (None, true, _) => by_custom()?,
        (None, false, false) => by_standard().filter(|ip| by_custom() == Some(*ip))?,
    };
    (client != peer).then_some(client)
}

/// The first hop that is not trusted; else the last one, if it is known to be the last.
fn walk(hops: &mut dyn Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies, more_follow: bool) -> Option<IpAddr> {
    let mut last = None;
    for hop in (&mut *hops).take(MAX_HOPS) {
        let ip = hop?;
        if !trusted.contains(ip) {
            return Some(ip);
        }
        last = Some(ip);
    }
    last.filter(|_| !more_follow && hops.next().is_none())
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
        let (forwarded, custom) = (lines(forwarded), lines(custom));
        let claims = HopClaims { forwarded: &forwarded, x_forwarded_for: &custom, ..HopClaims::default() };
        client_ip(&claims, ip("10.0.0.1"), &TrustedProxies::default())
    }

    #[test]
    fn each_hop_counts_only_if_the_one_behind_it_is_trusted() {
        for (peer, proxy_header, custom, expected) in [
            ("10.0.0.1", Some("203.0.113.7"), None, Some("203.0.113.7")),
            ("10.0.0.1", Some("203.0.113.7"), Some("198.51.100.9"), Some("203.0.113.7")),
            ("10.0.0.1", Some("203.0.113.7"), Some("unknown"), Some("203.0.113.7")),
            ("10.0.0.1", Some("10.0.0.9"), Some("198.51.100.9"), Some("198.51.100.9")),
            ("10.0.0.1", Some("::ffff:10.0.0.9"), Some("198.51.100.9, 10.0.0.8"), Some("198.51.100.9")),
            ("10.0.0.1", Some("10.0.0.9"), None, Some("10.0.0.9")),
            ("10.0.0.1", Some("10.0.0.9"), Some("unknown"), None),
            ("10.0.0.1", Some("10.0.0.1"), None, None),
            ("192.0.2.1", Some("203.0.113.7"), Some("198.51.100.9"), None),
            ("192.0.2.1", Some("10.0.0.9"), None, None),
            ("10.0.0.1", None, None, None),
        ] {
            let custom = custom.map(|line| line.as_bytes());
            let claims = HopClaims {
                proxy_header: proxy_header.map(ip),
                x_forwarded_for: custom.as_slice(),
                ..HopClaims::default()
            };
            let told = client_ip(&claims, ip(peer), &TrustedProxies::default());
            assert_eq!(told, expected.map(ip), "{peer} {proxy_header:?} {custom:?}");
        }
    }

    #[test]
    fn the_leftmost_of_a_chain_that_is_not_whole_is_no_client() {
        let long = vec!["10.0.0.9"; MAX_HOPS + 1].join(",");
        assert_eq!(client(&[], &[&long]), None);
        assert_eq!(client(&[], &[&format!("10.0.0.8{}", &long[8..long.len() - 9])]), Some(ip("10.0.0.8")));
        let line: [&[u8]; 1] = [b"10.0.0.9"];
        for (first_lines_missing, expected) in [(false, Some("10.0.0.9")), (true, None)] {
            let claims = HopClaims { x_forwarded_for: &line, first_lines_missing, ..HopClaims::default() };
            assert_eq!(client_ip(&claims, ip("10.0.0.1"), &TrustedProxies::default()), expected.map(ip));
        }
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
        let claims = HopClaims { x_forwarded_for: &custom, ..HopClaims::default() };
        assert_eq!(client_ip(&claims, public, &TrustedProxies::default()), None);
        let nobody = TrustedProxies::new([]);
        assert_eq!(client_ip(&claims, ip("10.0.0.1"), &nobody), None);
        let own = TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "198.51.100.0/24".parse().unwrap()]);
        assert_eq!(client_ip(&claims, public, &own), Some(ip("203.0.113.7")));
    }
}
