//! What the first bytes of a stream, or of a message, are: found by content, never by port.
//!
//! Looks only; consumes nothing and decides no framing.

use memchr::memchr;

/// What bytes at a possible message start are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetectedStart {
    /// A request line, or the beginning of one.
    Request,
    /// A status line, or the beginning of one.
    Response,
    /// A TLS record with a handshake in it.
    Tls,
    /// The connection preface of HTTP/2 (RFC 9113 §3.4).
    H2,
    /// The PROXY protocol's header, version 1 (text) or 2 (binary).
    ProxyHeader,
    /// Too few bytes to tell.
    NeedMore,
    /// None of these.
    Unknown,
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Signature of the PROXY protocol, version 2 (haproxy's proxy-protocol.txt §2.2).
pub(super) const PROXY_V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_V1_PREFIX: &[u8] = b"PROXY ";
/// Longest method looked for. The longest registered one is UPDATEREDIRECTREF, 17.
const MAX_METHOD: usize = 24;
/// Longest request line looked at to decide; longer ones with a known method count as a beginning.
const MAX_LOOK: usize = 8192;

/// Methods of the IANA registry that are seen on the wire, and PURGE, which caches use.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"NOTIFY",
    b"M-SEARCH",
    b"PURGE",
    b"LINK",
    b"UNLINK",
    b"MERGE",
    b"CHECKOUT",
    b"CHECKIN",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"ACL",
    b"BIND",
    b"REBIND",
    b"UNBIND",
    b"BASELINE-CONTROL",
    b"LABEL",
    b"MKWORKSPACE",
    b"MKREDIRECTREF",
    b"ORDERPATCH",
    b"UNCHECKOUT",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
    b"QUERY",
    b"BITS_POST",
    b"CCM_POST",
    b"RPC_CONNECT",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
    b"BPROPFIND",
    b"BPROPPATCH",
    b"BCOPY",
    b"BDELETE",
    b"BMOVE",
    b"POLL",
];

/// Whether an unknown method is rather the end of a known one, of which the rest was not seen.
fn ends_known_method(method: &[u8]) -> bool {
    METHODS.iter().any(|known| known.ends_with(method))
}

/// Whether a method is a registered or well-known one.
pub(super) fn is_known_method(method: &[u8]) -> bool {
    METHODS.contains(&method)
}

/// What `bytes`, at the start of a stream or message, are.
pub(super) fn classify(bytes: &[u8]) -> DetectedStart {
    match bytes {
        [] => DetectedStart::NeedMore,
        [0x16, 0x03, minor, ..] if *minor <= 4 => DetectedStart::Tls,
        [0x16] | [0x16, 0x03] => DetectedStart::NeedMore,
        [b'P', b'R', b'I', b' ', ..] | [b'P', b'R', b'I'] => prefix(bytes, H2_PREFACE, DetectedStart::H2),
        [b'\r', b'\n', b'\r', b'\n', 0, ..] => prefix(bytes, PROXY_V2_SIGNATURE, DetectedStart::ProxyHeader),
        [b'P', b'R', b'O', b'X', b'Y', ..] => prefix(bytes, PROXY_V1_PREFIX, DetectedStart::ProxyHeader),
        // What nearly every server sends.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', ..] => DetectedStart::Response,
        [b'H' | b'h', ..] if is_version_start(bytes) => status_line(bytes),
        [b'I', ..] if bytes.starts_with(b"ICY ") => DetectedStart::Response,
        _ => request_line(bytes),
    }
}

/// The same where a message may have begun before: lines of its body look like requests with any method.
pub(super) fn classify_in_doubt(bytes: &[u8]) -> DetectedStart {
    let start = classify(bytes);
    let method = bytes.iter().take(MAX_METHOD).take_while(|b| is_token(**b)).count();
    let known = bytes.get(..method).is_some_and(is_known_method);
    if start == DetectedStart::Request && !known { DetectedStart::Unknown } else { start }
}

/// What the start of a stream is if it is a PROXY header or the beginning of one; an empty line may be either.
pub(super) fn classify_proxy(bytes: &[u8]) -> DetectedStart {
    match bytes.first() {
        Some(b'\r') => prefix(bytes, PROXY_V2_SIGNATURE, DetectedStart::ProxyHeader),
        Some(b'P') => prefix(bytes, PROXY_V1_PREFIX, DetectedStart::ProxyHeader),
        _ => DetectedStart::Unknown,
    }
}

/// `HTTP/` or a beginning of it; there are servers that write it small.
pub(super) fn is_version_start(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/").all(|(byte, upper)| byte.to_ascii_uppercase() == *upper)
}

/// `found` when `bytes` start with `pattern`, `NeedMore` when they are a beginning of it.
fn prefix(bytes: &[u8], pattern: &[u8], found: DetectedStart) -> DetectedStart {
    if bytes.starts_with(pattern) {
        found
    } else if pattern.starts_with(bytes) {
        DetectedStart::NeedMore
    } else {
        DetectedStart::Unknown
    }
}

/// `HTTP/` digits, then a space: what servers send, with room for odd versions.
fn status_line(bytes: &[u8]) -> DetectedStart {
    let Some(rest) = bytes.get(5..) else { return DetectedStart::NeedMore };
    let version = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    match rest.get(version) {
        None if version < 8 => DetectedStart::NeedMore,
        Some(b' ' | b'\t') if version > 0 => DetectedStart::Response,
        _ => DetectedStart::Unknown,
    }
}

/// A token, a space, and a line that ends in a version. With a known method its beginning is enough.
fn request_line(bytes: &[u8]) -> DetectedStart {
    let method_len = bytes.iter().take(MAX_METHOD + 1).take_while(|b| is_token(**b)).count();
    if method_len == 0 || method_len > MAX_METHOD {
        return DetectedStart::Unknown;
    }
    let (method, rest) = bytes.split_at(method_len);
    match rest.first() {
        None if METHODS.iter().any(|known| known.starts_with(method)) => return DetectedStart::NeedMore,
        Some(b' ' | b'\t') => {}
        _ => return DetectedStart::Unknown,
    }
    let known = is_known_method(method);
    if !known && ends_known_method(method) {
        return DetectedStart::Unknown;
    }
    match memchr(b'\n', rest.get(..MAX_LOOK).unwrap_or(rest)) {
        Some(end) => line_end(known, rest.get(..end).unwrap_or_default()),
        None if known && rest.get(1..).is_none_or(is_target_start) => DetectedStart::Request,
        None => DetectedStart::Unknown,
    }
}

/// A whole line behind the method: its version decides, or HTTP/0.9's lack of one.
fn line_end(known: bool, line: &[u8]) -> DetectedStart {
    if known && line.ends_with(b" HTTP/1.1\r") {
        return DetectedStart::Request;
    }
    let line = line.trim_ascii();
    let (target, last) = match line.iter().rposition(|b| matches!(b, b' ' | b'\t')) {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
        None => (line, &b""[..]),
    };
    if is_version(last) && (known || !last.eq_ignore_ascii_case(b"HTTP/2.0")) {
        return DetectedStart::Request;
    }
    let local = target.first() == Some(&b'/');
    if last.is_empty() {
        // HTTP/0.9 (RFC 1945 §4.1) is `GET /path` and nothing else; servers answer such a line of other methods too, and
        // also `GET HTTP/1.1`.
        return if known && (local || is_version(target)) { DetectedStart::Request } else { DetectedStart::Unknown };
    }
    if known && local && is_foreign_version(last) { DetectedStart::Request } else { DetectedStart::Unknown }
}

/// `HTTP/` and something behind it.
pub(super) fn is_version(word: &[u8]) -> bool {
    word.len() > 5 && word.get(..5).is_some_and(|v| v.eq_ignore_ascii_case(b"HTTP/"))
}

/// `JUNK/1.0`, as clients send that are broken or want to see what happens; not the protocols whose requests look like
/// HTTP's.
pub(super) fn is_foreign_version(word: &[u8]) -> bool {
    let Some(slash) = memchr(b'/', word) else { return false };
    let (name, number) = word.split_at(slash);
    let relative = [&b"RTSP"[..], b"SIP", b"ICAP", b"MSRP"].iter().any(|other| name.eq_ignore_ascii_case(other));
    let numbered = number.get(1).is_some_and(u8::is_ascii_digit)
        && number.iter().skip(1).all(|b| b.is_ascii_digit() || *b == b'.');
    !relative && numbered && !name.is_empty() && name.iter().all(|b| is_token(*b))
}

fn is_target_start(rest: &[u8]) -> bool {
    rest.first().is_none_or(|b| b.is_ascii_graphic())
}

/// tchar of RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let table: &[(&[u8], DetectedStart)] = &[
            (b"GET / HTTP/1.1\r\n", DetectedStart::Request),
            (b"GET /very/long", DetectedStart::Request),
            (b"GE", DetectedStart::NeedMore),
            (b"GET", DetectedStart::NeedMore),
            (b"GET /old\r\n", DetectedStart::Request),
            (b"FOO /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"FOO /x", DetectedStart::Unknown),
            (b"X /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"XY /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"X /x\r\n", DetectedStart::Unknown),
            (b"T /x HTTP/1.1\r\n", DetectedStart::Unknown),
            (b"OST /x HTTP/1.1\r\n", DetectedStart::Unknown),
            (b"LETE /x HTTP/1.1\r\n", DetectedStart::Unknown),
            (b"POST /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"MOVE /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"POST /x\r\n", DetectedStart::Request),
            (b"get /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"OPTIONS sip:a@b SIP/2.0\r\n", DetectedStart::Unknown),
            (b"OPTIONS rtsp://a/ RTSP/1.0\r\n", DetectedStart::Unknown),
            (b"OPTIONS /a RTSP/1.0\r\n", DetectedStart::Unknown),
            (b"GET / JUNK/1.0\r\n", DetectedStart::Request),
            (b"GET / JUNK\r\n", DetectedStart::Unknown),
            (b"FOO / JUNK/1.0\r\n", DetectedStart::Unknown),
            (b"GET HTTP/1.1\r\n", DetectedStart::Request),
            (b"FOO HTTP/1.1\r\n", DetectedStart::Unknown),
            (b"GET\r\n", DetectedStart::Unknown),
            (b"EHLO mail.example\r\n", DetectedStart::Unknown),
            (b"USER anonymous\r\n", DetectedStart::Unknown),
            (b"SSH-2.0-OpenSSH\r\n", DetectedStart::Unknown),
            (b"HTTP/1.1 200 OK", DetectedStart::Response),
            (b"HTTP/1.1 ", DetectedStart::Response),
            (b"HTTP/1.", DetectedStart::NeedMore),
            (b"HT", DetectedStart::NeedMore),
            (b"HTTP/x", DetectedStart::Unknown),
            (b"http/1.1 200 OK\r\n", DetectedStart::Response),
            (b"head /x HTTP/1.1\r\n", DetectedStart::Request),
            (b"h", DetectedStart::NeedMore),
            (b"ICY 200 OK\r\n", DetectedStart::Response),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", DetectedStart::H2),
            (b"PRI * HT", DetectedStart::NeedMore),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", DetectedStart::ProxyHeader),
            (b"PROPFIND / HTTP/1.1\r\n", DetectedStart::Request),
            (PROXY_V2_SIGNATURE, DetectedStart::ProxyHeader),
            (&[0x16, 3, 1, 2, 0], DetectedStart::Tls),
            (&[0x16], DetectedStart::NeedMore),
            (&[0, 1, 2, 3], DetectedStart::Unknown),
            (b"\xff\xff GET", DetectedStart::Unknown),
        ];
        for (bytes, expected) in table {
            assert_eq!(classify(bytes), *expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
