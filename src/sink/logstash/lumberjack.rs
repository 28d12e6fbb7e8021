//! Lumberjack v2, the protocol of Logstash's `beats` input: bytes of a window, and of its acknowledgements. No socket, no
//! clock.
//!
//! On the wire, numbers big-endian:
//! - a window: `2W` count:u32, then as many events;
//! - an event: `2J` sequence:u32 length:u32, and a JSON object of that length; sequences of a window begin with 1;
//! - compressed events: `2C` length:u32, and zlib data of that length with the events of the whole window. Elastic's own
//!   Go library reads no second compressed frame for a window;
//! - an acknowledgement: `2A` sequence:u32. 0 only says that the server is still at work (keep-alive). The window's last
//!   sequence says that all of it was taken; anything between, that the events up to there were.
//!
//! Nothing the server sends grows memory: an acknowledgement has six bytes.

use std::fmt;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::super::Batch;
use super::foreign::foreign;

/// Events of one window; a batch may take several. Elastic's own shippers send up to 2048 (`bulk_max_size`), and a server
/// may refuse much larger ones.
pub const MAX_WINDOW: usize = 4096;

/// Bytes of the bodies of one window: servers hold a window in memory, some of them twice.
const MAX_WINDOW_BYTES: usize = 4 << 20;

/// Bytes of an acknowledgement.
const ACK_LENGTH: usize = 6;

/// The cheapest level: in a pod the processor is scarcer than the network.
const LEVEL: u32 = 1;

/// Buffers larger than this are not kept from one window to the next.
const KEPT: usize = 2 << 20;

/// Makes windows; keeps its buffers.
#[derive(Debug)]
pub struct WindowEncoder {
    out: Vec<u8>,
    compressor: Option<ZlibEncoder<Vec<u8>>>,
}

impl WindowEncoder {
    /// With or without compression.
    pub fn new(compress: bool) -> Self {
        let compressor = || ZlibEncoder::new(Vec::new(), Compression::new(LEVEL));
        Self { out: Vec::new(), compressor: compress.then(compressor) }
    }

    /// How many leading records of `batch` one window takes: at least one, if there is one.
    pub fn fitting(batch: &Batch) -> usize {
        batch.fitting(MAX_WINDOW_BYTES).clamp(1, MAX_WINDOW).min(batch.records())
    }

    /// The bytes of a window with all records of `batch`.
    pub fn window(&mut self, batch: &Batch) -> io::Result<&[u8]> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out.shrink_to(KEPT);
        frame(&mut out, b'W', batch.records())?;
        self.out = match &mut self.compressor {
            None => {
                write_events(&mut out, batch)?;
                out
            }
            Some(compressor) => {
                frame(&mut out, b'C', 0)?;
                let begin = out.len();
                compressor.reset(out)?;
                write_events(compressor, batch)?;
                let mut out = compressor.reset(Vec::new())?;
                let length = length(out.len() - begin)?;
                if let Some(field) = out.get_mut(begin - 4..begin) {
                    field.copy_from_slice(&length);
                }
                out
            }
        };
        Ok(&self.out)
    }
}

fn write_events(out: &mut impl Write, batch: &Batch) -> io::Result<()> {
    for (index, item) in batch.iter().enumerate() {
        let body = item.body.strip_suffix(b"\n").unwrap_or(item.body);
        frame(out, b'J', index + 1)?;
        out.write_all(&length(body.len())?)?;
        out.write_all(body)?;
    }
    Ok(())
}

fn frame(out: &mut impl Write, kind: u8, number: usize) -> io::Result<()> {
    let [a, b, c, d] = length(number)?;
    out.write_all(&[b'2', kind, a, b, c, d])
}

fn length(n: usize) -> io::Result<[u8; 4]> {
    u32::try_from(n).map(u32::to_be_bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// What no lumberjack server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLumberjack {
    /// Not an acknowledgement; the first bytes.
    NotAnAck(Vec<u8>),
    /// It acknowledges more than the window has.
    Beyond {
        /// What it acknowledged.
        sequence: u32,
        /// Events of the window.
        window: u32,
    },
}

impl fmt::Display for NotLumberjack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAck(bytes) => match foreign(bytes) {
                Some(advice) => f.write_str(advice),
                None => write!(f, "the answer is not an acknowledgement: \"{}\"", bytes.escape_ascii()),
            },
            Self::Beyond { sequence, window } => {
                write!(f, "the server acknowledged {sequence} of {window} records")
            }
        }
    }
}

/// The acknowledgement that `bytes` begin with; `None`: more bytes are needed.
pub fn decode_ack(bytes: &[u8]) -> Result<Option<u32>, NotLumberjack> {
    let expected = b"2A";
    let same = bytes.iter().zip(expected).take_while(|(a, b)| a == b).count();
    if same < expected.len().min(bytes.len()) {
        return Err(NotLumberjack::NotAnAck(bytes.get(..bytes.len().min(32)).unwrap_or_default().to_vec()));
    }
    let sequence = bytes.get(2..ACK_LENGTH).and_then(|number| <[u8; 4]>::try_from(number).ok());
    Ok(sequence.map(u32::from_be_bytes))
}

/// How far a window has been acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowAcks {
    window: u32,
    acknowledged: u32,
    /// The beginning of an acknowledgement; shorter than one.
    rest: Vec<u8>,
}

impl WindowAcks {
    /// Nothing of a window of this many events.
    pub fn new(window: usize) -> Self {
        // A window is at most `MAX_WINDOW`.
        Self { window: u32::try_from(window).unwrap_or(u32::MAX), ..Self::default() }
    }

    /// Takes what the server sent, however it was cut. What was acknowledged before nonsense stays so.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), NotLumberjack> {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut left = bytes.as_slice();
        while let Some(sequence) = decode_ack(left)? {
            if sequence > self.window {
                return Err(NotLumberjack::Beyond { sequence, window: self.window });
            }
            // 0 is a keep-alive; some servers repeat the last number for that.
            self.acknowledged = self.acknowledged.max(sequence);
            left = left.get(ACK_LENGTH..).unwrap_or_default();
        }
        self.rest.extend_from_slice(left);
        Ok(())
    }

    /// Leading events that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged as usize
    }

    /// Whether all were.
    pub fn is_all(&self) -> bool {
        self.acknowledged == self.window
    }

    /// Whether all were, and nothing is left half said.
    pub fn is_complete(&self) -> bool {
        self.is_all() && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;
    use proptest::prelude::*;

    use super::super::super::batch::tests::batch;
    use super::*;

    #[test]
    fn a_window_is_laid_out_as_the_protocol_has_it() {
        let mut encoder = WindowEncoder::new(false);
        let expected = b"2W\0\0\0\x022J\0\0\0\x01\0\0\0\x07{\"a\":1}2J\0\0\0\x02\0\0\0\x02{}";
        assert_eq!(encoder.window(&batch(&["{\"a\":1}\n", "{}"])).unwrap(), expected);
        assert_eq!(encoder.window(&batch(&["{}\n"])).unwrap(), b"2W\0\0\0\x012J\0\0\0\x01\0\0\0\x02{}");
    }

    #[test]
    fn a_compressed_window_holds_one_frame_with_the_same_events_each_time() {
        let (mut plain, mut packed) = (WindowEncoder::new(false), WindowEncoder::new(true));
        for bodies in [&["{\"a\":1}\n", "{}\n"][..], &["{\"b\":[]}\n"], &["{}"; 300]] {
            let batch = batch(bodies);
            let plain = plain.window(&batch).unwrap();
            let packed = packed.window(&batch).unwrap();
            assert_eq!(packed[..6], plain[..6], "the window itself is not compressed");
            let length = u32::from_be_bytes(packed[8..12].try_into().unwrap()) as usize;
            assert_eq!((&packed[6..8], length), (&b"2C"[..], packed.len() - 12));
            let mut events = Vec::new();
            ZlibDecoder::new(&packed[12..]).read_to_end(&mut events).unwrap();
            assert_eq!(events, plain[6..]);
        }
    }

    #[test]
    fn a_batch_is_cut_into_windows_by_count_and_by_bytes_and_a_huge_record_has_its_own() {
        let long = "x".repeat(MAX_WINDOW_BYTES / 2);
        for (batch, first) in [
            (batch(&[]), 0),
            (batch(&["{}"]), 1),
            (batch(&vec!["{}"; MAX_WINDOW + 1]), MAX_WINDOW),
            (batch(&[&long, &long, "{}"]), 2),
            (batch(&[&long.repeat(3), "{}"]), 1),
        ] {
            assert_eq!(WindowEncoder::fitting(&batch), first);
        }
    }

    #[test]
    fn acknowledgements_are_read_however_they_come() {
        for (sent, outcome) in [
            (&b"2A\0\0\0\x03"[..], Ok((3, true))),
            (b"2A\0\0\0\0", Ok((0, false))),
            (b"2A\0\0\0\x022A\0\0\0\0", Ok((2, false))),
            (b"2A\0\0\0\x022A\0\0\0\x01", Ok((2, false))),
            (b"2A\0\0\0\x012A\0\0\0\x032A\0\0\0\0", Ok((3, true))),
            (b"2A\0\0\0\x032A", Ok((3, false))),
            (b"2A\0\0\0\x04", Err(NotLumberjack::Beyond { sequence: 4, window: 3 })),
            (b"1A\0\0\0\x03", Err(NotLumberjack::NotAnAck(b"1A\0\0\0\x03".to_vec()))),
            (b"2W\0\0\0\x03", Err(NotLumberjack::NotAnAck(b"2W\0\0\0\x03".to_vec()))),
        ] {
            for cut in 0..=sent.len() {
                let mut acks = WindowAcks::new(3);
                let fed = acks.feed(&sent[..cut]).and_then(|()| acks.feed(&sent[cut..]));
                match &outcome {
                    Ok(expected) => assert_eq!((fed, (acks.acknowledged(), acks.is_complete())), (Ok(()), *expected)),
                    Err(_) => assert!(fed.is_err(), "{sent:?}"),
                }
            }
        }
    }

    #[test]
    fn what_was_acknowledged_before_nonsense_counts() {
        let mut acks = WindowAcks::new(3);
        assert!(acks.feed(b"2A\0\0\0\x02oops").is_err());
        assert_eq!(acks.acknowledged(), 2);
    }

    #[test]
    fn nonsense_is_printed_so_that_a_terminal_survives_it_and_with_the_advice() {
        let told = |bytes: &[u8]| decode_ack(bytes).unwrap_err().to_string();
        assert_eq!(told(b"\x1b[2J"), "the answer is not an acknowledgement: \"\\x1b[2J\"");
        assert!(told(b"HTTP/1.1 400").contains("LOGSTASH_TYPE=http"));
        assert!(told(b"\x15\x03\x03\0\x02").contains("LOGSTASH_TLS=true"));
        assert!(told(&[0; 9000]).len() < 200);
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_nothing_panics_and_nothing_beyond_the_window_is_believed(
            window in 0usize..5,
            chunks in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..20),
                    (0u8..7).prop_map(|n| vec![b'2', b'A', 0, 0, 0, n]),
                ],
                0..8,
            ),
        ) {
            let mut acks = WindowAcks::new(window);
            for chunk in chunks {
                let before = acks.acknowledged();
                let fed = acks.feed(&chunk);
                prop_assert!(before <= acks.acknowledged() && acks.acknowledged() <= window);
                prop_assert!(acks.rest.len() < ACK_LENGTH);
                if fed.is_err() {
                    break;
                }
            }
        }
    }
}
