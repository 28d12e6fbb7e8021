//! How long a message's body is, decided once from its head (RFC 9112 §6.3).

use crate::record::HttpVersion;

use super::body::BodyLength;
use super::head::{ContentLength, KnownFields};

/// What of the request decides about its response's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct AskedFraming {
    pub head: bool,
    pub connect: bool,
    pub upgrade: bool,
    /// Its answer may be a body and nothing else.
    pub http09: bool,
}

impl AskedFraming {
    pub(super) fn by(method: &[u8], version: HttpVersion, fields: &KnownFields<'_>) -> Self {
        Self {
            head: method == b"HEAD",
            connect: method == b"CONNECT",
            upgrade: fields.upgrade.is_some(),
            http09: version == HttpVersion::V09,
        }
    }
}

/// The request's body: only what a length or chunked coding announces.
pub(super) fn of_request(version: HttpVersion, fields: &KnownFields<'_>) -> BodyLength {
    match (version, fields.content_length) {
        (HttpVersion::V09, _) => BodyLength::None,
        _ if fields.chunked => BodyLength::Chunked,
        (_, ContentLength::Is(length)) => BodyLength::Fixed(length),
        (_, ContentLength::Absent | ContentLength::Bad) => BodyLength::None,
    }
}

/// What follows a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Body(BodyLength),
    /// The connection is a tunnel now.
    Tunnel,
    /// The connection speaks another protocol now.
    Upgraded,
}

/// The response's body, in the order of RFC 9112 §6.3.
pub(super) fn of_response(asked: AskedFraming, status: u16, fields: &KnownFields<'_>) -> After {
    match status {
        101 => return After::Upgraded,
        200..=299 if asked.connect => return After::Tunnel,
        100..=199 | 204 | 304 => return After::Body(BodyLength::None),
        _ if asked.head => return After::Body(BodyLength::None),
        _ => {}
    }
    After::Body(match fields.content_length {
        _ if fields.chunked => BodyLength::Chunked,
        // A transfer coding that is not chunked last ends with the connection.
        _ if fields.transfer_encoding => BodyLength::UntilClose,
        ContentLength::Is(length) => BodyLength::Fixed(length),
        ContentLength::Absent | ContentLength::Bad => BodyLength::UntilClose,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_decides_with_the_status() {
        let sized = KnownFields { content_length: ContentLength::Is(7), ..KnownFields::default() };
        let chunked = KnownFields {
            chunked: true,
            transfer_encoding: true,
            content_length: ContentLength::Is(7),
            ..KnownFields::default()
        };
        let plain = AskedFraming::default();
        let head = AskedFraming { head: true, ..plain };
        let connect = AskedFraming { connect: true, ..plain };
        let body = After::Body;
        assert_eq!(of_response(plain, 200, &sized), body(BodyLength::Fixed(7)));
        assert_eq!(of_response(plain, 200, &chunked), body(BodyLength::Chunked));
        assert_eq!(of_response(plain, 200, &KnownFields::default()), body(BodyLength::UntilClose));
        assert_eq!(of_response(head, 200, &sized), body(BodyLength::None));
        assert_eq!(of_response(plain, 304, &sized), body(BodyLength::None));
        assert_eq!(of_response(plain, 204, &chunked), body(BodyLength::None));
        assert_eq!(of_response(connect, 200, &sized), After::Tunnel);
        assert_eq!(of_response(connect, 407, &sized), body(BodyLength::Fixed(7)));
        assert_eq!(of_response(plain, 101, &sized), After::Upgraded);
        let gzip = KnownFields { transfer_encoding: true, ..sized };
        assert_eq!(of_response(plain, 200, &gzip), body(BodyLength::UntilClose));
    }
}
