//! The PROXY protocol's header before the first request, versions 1 and 2 (haproxy's proxy-protocol.txt).

use std::net::IpAddr;

use super::detect::PROXY_V2_SIGNATURE;

/// What the header came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProxyHeader {
    /// This many bytes; the client it names, if it names one.
    Whole(usize, Option<IpAddr>),
    /// More bytes are needed.
    Partial,
    /// It does not parse.
    Bad,
}

/// Longest header of version 1, CR LF included (§2.1).
const MAX_V1: usize = 107;

/// Longest content of version 2 waited for: addresses, and more TLVs than anyone sends (§2.2).
const MAX_V2: usize = 4096;

/// Parses the header at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> ProxyHeader {
    if bytes.starts_with(b"PROXY ") { version_1(bytes) } else { version_2(bytes) }
}

fn version_1(bytes: &[u8]) -> ProxyHeader {
    let look = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(look, b"\r\n") else {
        return if bytes.len() < MAX_V1 { ProxyHeader::Partial } else { ProxyHeader::Bad };
    };
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).unwrap_or_default();
    let mut words = line.split(' ').skip(1);
    match (words.next(), words.next()) {
        (Some("UNKNOWN"), _) => ProxyHeader::Whole(end + 2, None),
        (Some("TCP4" | "TCP6"), Some(source)) => match source.parse() {
            Ok(ip) => ProxyHeader::Whole(end + 2, Some(ip)),
            Err(_) => ProxyHeader::Bad,
        },
        _ => ProxyHeader::Bad,
    }
}

fn version_2(bytes: &[u8]) -> ProxyHeader {
    let header = bytes.get(PROXY_V2_SIGNATURE.len()..).unwrap_or_default();
    let [command, family, high, low, rest @ ..] = header else { return ProxyHeader::Partial };
    if command >> 4 != 2 {
        return ProxyHeader::Bad;
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_V2 {
        return ProxyHeader::Bad;
    }
    let Some(addresses) = rest.get(..length) else { return ProxyHeader::Partial };
    let whole = PROXY_V2_SIGNATURE.len() + 4 + length;
    // LOCAL (health checks) and families other than TCP name no client.
    let client = match (command & 0x0f, family >> 4) {
        (1, 1) => addresses.first_chunk::<12>().and_then(|both| both.first_chunk::<4>()).map(|a| IpAddr::from(*a)),
        (1, 2) => addresses.first_chunk::<36>().and_then(|both| both.first_chunk::<16>()).map(|a| IpAddr::from(*a)),
        _ => return ProxyHeader::Whole(whole, None),
    };
    if client.is_none() {
        return ProxyHeader::Bad;
    }
    ProxyHeader::Whole(whole, client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_the_client() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(parse(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\nGET"), ProxyHeader::Whole(39, Some(ip)));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), ProxyHeader::Whole(15, None));
        assert_eq!(parse(b"PROXY TCP4 192."), ProxyHeader::Partial);
        assert_eq!(parse(b"PROXY TCP4 nobody x 1 2\r\n"), ProxyHeader::Bad);
        let v2 = [PROXY_V2_SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 0, 1, 0, 80]].concat();
        assert_eq!(parse(&v2), ProxyHeader::Whole(28, Some(ip)));
        for cut in 12..v2.len() {
            assert_eq!(parse(&v2[..cut]), ProxyHeader::Partial);
        }
        let short = [PROXY_V2_SIGNATURE, &[0x21, 0x11, 0, 4, 192, 0, 2, 7]].concat();
        assert_eq!(parse(&short), ProxyHeader::Bad);
        let local = [PROXY_V2_SIGNATURE, &[0x20, 0, 0, 0]].concat();
        assert_eq!(parse(&local), ProxyHeader::Whole(16, None));
    }
}
