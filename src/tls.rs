//! The names in a TLS ClientHello: SNI and ALPN. Decodes nothing else and decrypts nothing.

use std::net::IpAddr;

use compact_str::{CompactString, format_compact};

/// `tls NAME (ALPN,…)` of the ClientHello at the start of `bytes`, as far as it is there.
pub fn name(bytes: &[u8]) -> CompactString {
    let (sni, alpn) = client_hello(bytes).unwrap_or_default();
    let sni = sni.map(printable).filter(|s| !s.is_empty());
    let alpn = alpn.iter().map(|a| printable(a)).collect::<Vec<_>>().join(",");
    match (sni, alpn.is_empty()) {
        (Some(sni), true) => format_compact!("tls {sni}"),
        (Some(sni), false) => format_compact!("tls {sni} ({alpn})"),
        (None, true) => CompactString::const_new("tls"),
        (None, false) => format_compact!("tls ({alpn})"),
    }
}

/// The server's name in the ClientHello at the start of `bytes` (SNI, RFC 6066 §3): a host's name in lower case.
pub fn server_name(bytes: &[u8]) -> Option<CompactString> {
    let name = client_hello(bytes)?.0?;
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let name = std::str::from_utf8(name).ok()?.trim_end_matches('.');
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| is_host(&byte));
    // RFC 6066 allows no addresses, which some clients send.
    (is_name && name.parse::<IpAddr>().is_err()).then(|| name.chars().map(|c| c.to_ascii_lowercase()).collect())
}

/// Whether the record at the start of `bytes` holds a ClientHello.
fn is_client_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, _, _, _, 0x01, ..])
}

const MAX_NAME: usize = 253;
const MAX_ALPN: usize = 8;

fn printable(bytes: &[u8]) -> CompactString {
    bytes.iter().take(MAX_NAME).filter(|b| b.is_ascii_graphic()).map(|b| char::from(b.to_ascii_lowercase())).collect()
}

type HelloNames<'a> = (Option<&'a [u8]>, Vec<&'a [u8]>);

/// RFC 8446 §4.1.2, within the first record.
fn client_hello(bytes: &[u8]) -> Option<HelloNames<'_>> {
    if !is_client_hello(bytes) {
        return None;
    }
    // record header 5, handshake header 4, legacy_version 2, random 32
    let mut rest = bytes.get(43..)?;
    prefixed(&mut rest, 1)?; // session id
    prefixed(&mut rest, 2)?; // cipher suites
    prefixed(&mut rest, 1)?; // compression methods
    rest = rest.get(2..)?; // length of all extensions: a cut hello is read as far as it goes
    let mut names: HelloNames<'_> = (None, Vec::new());
    while let Some((kind, after)) = rest.split_at_checked(2) {
        rest = after;
        let Some(extension) = prefixed(&mut rest, 2) else { break };
        match kind {
            [0, 0] => names.0 = host_name(extension),
            [0, 16] => names.1 = protocols(extension),
            _ => {}
        }
    }
    Some(names)
}

/// Takes a vector with a length of `width` bytes in front.
fn prefixed<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (length, after) = rest.split_at_checked(width)?;
    let length = length.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

/// RFC 6066 §3: a list of one host name.
fn host_name(mut extension: &[u8]) -> Option<&[u8]> {
    let mut list = prefixed(&mut extension, 2)?;
    let (kind, after) = list.split_at_checked(1)?;
    list = after;
    let name = prefixed(&mut list, 2)?;
    (kind == [0]).then_some(name)
}

/// RFC 7301 §3.1.
fn protocols(mut extension: &[u8]) -> Vec<&[u8]> {
    let mut list = prefixed(&mut extension, 2).unwrap_or_default();
    let mut names = Vec::new();
    while names.len() < MAX_ALPN
        && let Some(name) = prefixed(&mut list, 1)
    {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut bytes = vec![0x16, 3, 1, 0, 0, 1, 0, 0, 0];
        bytes.extend(body);
        bytes
    }

    #[test]
    fn sni_and_alpn_are_named_and_any_cut_is_harmless() {
        let sni = [&[0, 0, 0, 13, 0, 11, 0, 0, 8][..], b"Shop.Lan"].concat();
        let alpn = [&[0, 16, 0, 14, 0, 12, 2][..], b"h2", &[8], b"http/1.1"].concat();
        let bytes = hello(&[sni, alpn].concat());
        assert_eq!(name(&bytes), "tls shop.lan (h2,http/1.1)");
        for cut in 0..bytes.len() {
            assert!(name(&bytes[..cut]).starts_with("tls"));
        }
        assert_eq!(name(&hello(&[])), "tls");
    }

    #[test]
    fn a_server_name_is_that_of_a_host_and_nothing_else() {
        for (sent, name) in [
            ("Shop.Lan", Some("shop.lan")),
            ("shop.lan.", Some("shop.lan")),
            ("_grpc.shop", Some("_grpc.shop")),
            ("10.0.0.1", None),
            ("", None),
            (".", None),
            ("a b", None),
            ("a\u{1b}[0m", None),
            ("é.lan", None),
            (&"a".repeat(254), None),
        ] {
            let size = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
            let len = sent.len();
            let sni = [&[0, 0][..], &size(len + 5), &size(len + 3), &[0], &size(len), sent.as_bytes()].concat();
            assert_eq!(server_name(&hello(&sni)).as_deref(), name, "{sent:?}");
        }
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n"), None);
    }
}
