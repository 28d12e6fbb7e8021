//! WebSocket (RFC 6455): counts frames and messages of both ends, finds the close.
//!
//! Reads what lies behind an upgrade, over HTTP/1.1 or in a stream of HTTP/2. Keeps no payload and undoes no compression.
//! Where bytes are missing outside a payload it stops counting that end, for nothing marks the next frame's beginning. What
//! was counted is not recorded then.

use crate::record::{ConnectionSide, SocketCounts, WebSocket};

/// Longest frame header: 2 bytes, an 8-byte length, a 4-byte mask.
const MAX_HEADER: usize = 14;

/// Both ends of one socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketEnds {
    client: SocketEnd,
    server: SocketEnd,
    close: Option<(ConnectionSide, Option<u16>)>,
    compressed: bool,
}

/// One end's stream of frames.
#[derive(Clone, Debug, Default)]
struct SocketEnd {
    header: [u8; MAX_HEADER],
    have: u8,
    left: u64,
    frame: FrameKind,
    counts: SocketCounts,
    /// Payload bytes of the close frame seen so far, unmasked.
    code: u16,
    code_bytes: u8,
    mask: [u8; 4],
    /// Where frames begin is not known any more.
    lost: bool,
    in_frame: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FrameKind {
    opcode: u8,
    is_final: bool,
}

impl SocketEnds {
    /// The next bytes that `from` sent.
    pub(crate) fn take(&mut self, from: ConnectionSide, bytes: &[u8]) {
        let end = match from {
            ConnectionSide::Client => &mut self.client,
            ConnectionSide::Server => &mut self.server,
        };
        let mut rest = bytes;
        while !rest.is_empty() && !end.lost {
            rest = if end.in_frame { end.payload(rest) } else { end.gather(rest) };
            self.compressed |=
                end.header.first().is_some_and(|first| end.have == 0 && first & 0x40 != 0 && first & 0xf < 8);
            if end.in_frame && end.left == 0 && end.finish() && self.close.is_none() {
                self.close = Some((from, (end.code_bytes == 2).then_some(end.code)));
            }
        }
    }

    /// The next `len` bytes that `from` sent are missing.
    pub(crate) fn skip(&mut self, from: ConnectionSide, len: u64) {
        let end = match from {
            ConnectionSide::Client => &mut self.client,
            ConnectionSide::Server => &mut self.server,
        };
        // A close frame is short and says what matters.
        if end.in_frame && end.left >= len && end.frame.opcode != 8 {
            end.left -= len;
            if end.left == 0 {
                end.finish();
            }
        } else {
            end.lost = true;
        }
    }

    /// Bytes of an unknown number are missing.
    pub(crate) fn lose(&mut self, from: ConnectionSide) {
        match from {
            ConnectionSide::Client => self.client.lost = true,
            ConnectionSide::Server => self.server.lost = true,
        }
    }

    /// A close frame was seen, or may have been in what was not.
    pub(crate) fn is_closed(&self) -> bool {
        self.close.is_some() || self.client.lost || self.server.lost
    }

    /// What is known by now. Who closed first is only known while both ends are.
    pub(crate) fn told(&self) -> WebSocket {
        let known = |end: &SocketEnd| (!end.lost).then_some(end.counts);
        let close = self.close.filter(|_| !self.client.lost && !self.server.lost);
        WebSocket {
            client: known(&self.client),
            server: known(&self.server),
            close_code: close.and_then(|(_, code)| code),
            closed_by: close.map(|(by, _)| by),
            compressed: self.compressed,
            lasted_us: None,
        }
    }
}

impl SocketEnd {
    /// Gathers a header; the rest is behind it.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if let Some(place) = self.header.get_mut(usize::from(self.have)) {
                *place = *byte;
            }
            self.have += 1;
            rest = behind;
            if usize::from(self.have) == header_len(&self.header, self.have) {
                self.begin();
                break;
            }
        }
        rest
    }

    fn begin(&mut self) {
        let [first, second, rest @ ..] = self.header;
        let (left, behind) = match second & 0x7f {
            126 => (rest.first_chunk::<2>().map_or(0, |len| u64::from(u16::from_be_bytes(*len))), 2),
            127 => (rest.first_chunk::<8>().map_or(0, |len| u64::from_be_bytes(*len)), 8),
            len => (u64::from(len), 0),
        };
        let masked = second & 0x80 != 0;
        let key = rest.get(behind..).and_then(<[u8]>::first_chunk::<4>).filter(|_| masked);
        self.mask = key.copied().unwrap_or_default();
        self.frame = FrameKind { opcode: first & 0xf, is_final: first & 0x80 != 0 };
        self.left = left;
        (self.in_frame, self.have) = (true, 0);
        let control = self.frame.opcode >= 8;
        let known = matches!(self.frame.opcode, 0..=2 | 8..=10);
        // What cannot be a frame shows that we do not read frames.
        if !known || (control && (left > 125 || !self.frame.is_final)) || left >> 63 == 1 {
            self.lost = true;
            return;
        }
        self.counts.frames += 1;
        if !control {
            self.counts.bytes = self.counts.bytes.saturating_add(left);
        }
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at_checked(n).unwrap_or_default();
        if self.frame.opcode == 8 {
            for byte in payload.iter().take(2 - usize::from(self.code_bytes.min(2))) {
                let key = self.mask.get(usize::from(self.code_bytes)).copied().unwrap_or_default();
                self.code = self.code << 8 | u16::from(byte ^ key);
                self.code_bytes += 1;
            }
        }
        self.left -= n as u64;
        rest
    }

    /// The frame under way is whole. True for a close.
    fn finish(&mut self) -> bool {
        self.in_frame = false;
        let counts = &mut self.counts;
        match self.frame.opcode {
            1 => counts.text += 1,
            2 => counts.binary += 1,
            9 => counts.pings += 1,
            10 => counts.pongs += 1,
            _ => {}
        }
        if self.frame.opcode < 8 && self.frame.is_final {
            counts.messages += 1;
        }
        self.frame.opcode == 8
    }
}

/// How long the header is, of which `have` bytes are there.
fn header_len(header: &[u8; MAX_HEADER], have: u8) -> usize {
    let [_, second, ..] = *header;
    if have < 2 {
        return 2;
    }
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(masked | len as u8),
            len @ 126..=0xffff => {
                out.push(masked | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(masked | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend(mask.into_iter().flatten());
        let key = mask.unwrap_or_default();
        out.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]));
        out
    }

    /// A conversation of the client: text in two pieces with a ping between, a long binary, a close.
    fn client() -> Vec<u8> {
        let mask = Some([1, 2, 3, 4]);
        [
            frame(0x01, mask, b"hel"),
            frame(0x89, mask, b"?"),
            frame(0x80, mask, b"lo"),
            frame(0x82, mask, &[9; 300]),
            frame(0x88, mask, &[0x03, 0xe8, b'b', b'y', b'e']),
        ]
        .concat()
    }

    #[test]
    fn both_ends_are_counted_and_the_first_close_names_who_closed() {
        let mut socket = SocketEnds::default();
        socket.take(ConnectionSide::Server, &frame(0xc1, None, b"zipped"));
        socket.take(ConnectionSide::Client, &client());
        socket.take(ConnectionSide::Server, &frame(0x88, None, &[0x03, 0xe9]));
        let told = socket.told();
        let expected = SocketCounts { messages: 2, frames: 5, text: 1, binary: 1, pings: 1, pongs: 0, bytes: 305 };
        assert_eq!(told.client, Some(expected));
        assert_eq!(
            (told.close_code, told.closed_by, told.compressed),
            (Some(1000), Some(ConnectionSide::Client), true)
        );
    }

    #[test]
    fn a_close_without_code_has_none() {
        let mut socket = SocketEnds::default();
        socket.take(ConnectionSide::Server, &frame(0x88, None, b""));
        assert_eq!((socket.told().close_code, socket.told().closed_by), (None, Some(ConnectionSide::Server)));
    }

    #[test]
    fn what_is_no_frame_stops_the_count() {
        for bad in [frame(0x83, None, b""), frame(0x89, None, &[0; 200]), frame(0x09, None, b"")] {
            let mut socket = SocketEnds::default();
            socket.take(ConnectionSide::Client, &bad);
            assert!(socket.told().client.is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_and_any_hole_the_same_or_nothing(cut in 1usize..40, hole in 0usize..340, len in 0usize..40) {
            let bytes = client();
            let mut whole = SocketEnds::default();
            whole.take(ConnectionSide::Client, &bytes);
            let mut pieces = SocketEnds::default();
            bytes.chunks(cut).for_each(|piece| pieces.take(ConnectionSide::Client, piece));
            prop_assert_eq!(pieces.told(), whole.told());
            let (begin, end) = (hole.min(bytes.len()), (hole + len).min(bytes.len()));
            let mut holed = SocketEnds::default();
            holed.take(ConnectionSide::Client, &bytes[..begin]);
            if end > begin {
                holed.skip(ConnectionSide::Client, (end - begin) as u64);
            }
            holed.take(ConnectionSide::Client, &bytes[end..]);
            prop_assert!(holed.told() == whole.told() || holed.told().client.is_none());
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut socket = SocketEnds::default();
            socket.take(ConnectionSide::Server, &bytes);
            socket.skip(ConnectionSide::Server, 3);
            socket.take(ConnectionSide::Server, &bytes);
        }
    }
}
