//! Server-sent events: counts those that are whole in a body.
//!
//! By the rules of the HTML standard (§9.2.6): an empty line ends an event, which is one if it has a `data` field. Keeps no
//! text.

use crate::flow::Timestamp;
use crate::record::EventStream;

/// The events of one body.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounter {
    /// Bytes of the line under way, as far as they may still be `data`.
    matched: u8,
    /// The line under way has a byte.
    in_line: bool,
    /// A line of the event under way is a `data` field.
    has_data: bool,
    after_cr: bool,
    told: EventStream,
    /// Bytes are missing.
    lost: bool,
}

const DATA: &[u8] = b"data";
/// The line under way is another field.
const OTHER: u8 = u8::MAX;

impl EventCounter {
    /// Takes the next bytes of the body, which came at `at`.
    pub(crate) fn take(&mut self, at: Timestamp, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    self.end_line(at);
                }
                _ => self.byte(*byte),
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        self.after_cr = false;
        self.in_line = true;
        let at = usize::from(self.matched);
        if self.matched == OTHER || at > DATA.len() {
            return;
        }
        let fits = DATA.get(at).map_or(byte == b':', |expected| *expected == byte);
        self.matched = if fits { self.matched + 1 } else { OTHER };
    }

    fn end_line(&mut self, at: Timestamp) {
        let (is_empty, matched) = (!self.in_line, self.matched);
        (self.in_line, self.matched) = (false, 0);
        // `data` alone, or with its colon.
        self.has_data |= matched != OTHER && usize::from(matched) >= DATA.len();
        if is_empty && std::mem::take(&mut self.has_data) {
            self.told.events += 1;
            self.told.first.get_or_insert(at);
        }
    }

    /// Bytes of the body are missing: what is counted from there on would be too little.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// What was counted; nothing where bytes were missing.
    pub(crate) fn told(&self) -> Option<EventStream> {
        (!self.lost).then_some(self.told)
    }
}

/// Whether a body of this media type holds events.
pub(crate) fn is_stream(mime_type: Option<&str>) -> bool {
    mime_type == Some("text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_their_lines_end_and_are_cut() {
        for (body, expected) in [
            ("data: a\n\ndata: b\n\n", 2),
            ("data: a\r\n\r\nevent: x\r\ndata\r\n\r\n", 2),
            ("data:a\r\rdata:b\r\r", 2),
            (": keep alive\n\n: again\n\n", 0),
            ("event: x\nid: 3\n\n", 0),
            ("data: one\ndata: two\n\n\n\n", 1),
            ("database: no\n\nxdata: no\n\n", 0),
            ("data: not whole\n", 0),
        ] {
            for cut in 1..=body.len() {
                let mut events = EventCounter::default();
                for (n, piece) in body.as_bytes().chunks(cut).enumerate() {
                    events.take(Timestamp(n as i64), piece);
                }
                assert_eq!(events.told().unwrap().events, expected, "{body:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn the_first_event_has_a_time_and_a_hole_leaves_no_count() {
        let mut events = EventCounter::default();
        events.take(Timestamp(1), b": hello\n\ndata: a");
        events.take(Timestamp(2), b"\n\n");
        events.take(Timestamp(3), b"data: b\n\n");
        assert_eq!(events.told(), Some(EventStream { events: 2, first: Some(Timestamp(2)) }));
        events.lose();
        assert_eq!(events.told(), None);
    }
}
