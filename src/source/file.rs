//! Capture files, read as a stream: pcap and pcapng, plain or in gzip.
//!
//! Not through libpcap, which refuses pcapng with several link types. Frames are lent out of one buffer, and every whole
//! frame comes before an error does. It opens no file: give it anything that reads.

mod error;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;
mod window;

use std::io::Read;

pub use error::CaptureFileError;
use window::FileWindow;

use crate::flow::Timestamp;
use crate::packet::{Frame, LinkType};

/// Bytes of one record or block; a longer one is an error, since no link has such frames.
pub const MAX_RECORD: usize = 256 << 20;
/// Bytes shown of a file that is no capture.
const SHOWN: usize = 8;

/// Reads the frames of a capture file.
pub struct CaptureReader<R: Read> {
    window: FileWindow<R>,
    format: CaptureFormat,
    frames: u64,
    finished: bool,
}

enum CaptureFormat {
    Pcap(pcap::PcapRecords),
    Pcapng(pcapng::PcapngBlocks),
}

/// Where in the window the frame just consumed lies.
struct Located {
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    len: usize,
    /// Bytes behind it that were consumed too.
    back: usize,
    interface: Option<usize>,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the file's first bytes and says what is wrong with them.
    pub fn open(read: R) -> Result<Self, CaptureFileError> {
        let mut window = FileWindow::open(read)?;
        window.fill(SHOWN)?;
        let format = match window.first::<4>() {
            Some(&pcapng::SECTION) => CaptureFormat::Pcapng(pcapng::PcapngBlocks::new()),
            Some(first) => match pcap::Magic::of(*first) {
                Some(magic) => CaptureFormat::Pcap(pcap::PcapRecords::open(&mut window, magic)?),
                None => return Err(not_a_capture(&window)),
            },
            None => return Err(not_a_capture(&window)),
        };
        Ok(Self { window, format, frames: 0, finished: false })
    }

    /// The next frame, or `None` at the file's end. After an error there is no more.
    #[inline(always)]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureFileError> {
        if self.finished {
            return Ok(None);
        }
        let located = match &mut self.format {
            CaptureFormat::Pcap(records) => records.next(&mut self.window),
            CaptureFormat::Pcapng(blocks) => blocks.next(&mut self.window),
        };
        let Some(Located { at, link, wire_len, len, back, interface }) = self.settle(located)? else {
            return Ok(None);
        };
        let interface = match (&self.format, interface) {
            (CaptureFormat::Pcapng(blocks), Some(interface)) => blocks.name(interface),
            _ => None,
        };
        Ok(Some(Frame { at, link, data: self.window.consumed(back, len), wire_len, interface }))
    }

    /// Frames so far that had no time of their own (simple packets of pcapng): each has the time of the one before it.
    pub fn frames_without_time(&self) -> u64 {
        match &self.format {
            CaptureFormat::Pcap(_) => 0,
            CaptureFormat::Pcapng(blocks) => blocks.untimed(),
        }
    }

    /// Bytes taken from the file so far, packed as they are: its size minus this is still to come.
    pub fn bytes_read(&self) -> u64 {
        self.window.bytes_read()
    }

    #[inline]
    fn settle(
        &mut self,
        located: Result<Option<Located>, CaptureFileError>,
    ) -> Result<Option<Located>, CaptureFileError> {
        match located {
            Ok(Some(located)) => {
                self.frames += 1;
                Ok(Some(located))
            }
            Ok(None) => {
                self.finished = true;
                Ok(None)
            }
            Err(error) => {
                self.finished = true;
                Err(error.after(self.frames))
            }
        }
    }
}

fn not_a_capture<R: Read>(window: &FileWindow<R>) -> CaptureFileError {
    let first: Vec<u8> = window.bytes().iter().take(SHOWN).copied().collect();
    match window.at_end() {
        // A packed file that breaks off before its first byte.
        Err(cut) if first.is_empty() => cut,
        Ok(()) => CaptureFileError::Empty,
        Err(_) => CaptureFileError::NotACapture { first },
    }
}

/// Byte order of a file or section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    #[inline]
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    #[inline]
    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }

    /// The lower and the upper half of a 32-bit number.
    fn halves(self, [a, b, c, d]: [u8; 4]) -> [u16; 2] {
        match self {
            Self::Little => [self.u16([a, b]), self.u16([c, d])],
            Self::Big => [self.u16([c, d]), self.u16([a, b])],
        }
    }
}
