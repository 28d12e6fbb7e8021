//! Why a capture file ends early, or is none: whose fault, and where.
//!
//! The words only; the decisions are the readers'.

use std::fmt;

/// What is wrong with a capture file. Offsets count the bytes of the file, once unpacked where it was packed.
#[derive(Debug)]
pub enum CaptureFileError {
    /// It has no bytes.
    Empty,
    /// It does not begin as a capture file does.
    NotACapture {
        /// How it begins.
        first: Vec<u8>,
    },
    /// It ends inside a header, record or block. All frames before have been given.
    Cut {
        /// Frames given.
        frames: u64,
        /// Where what is cut begins.
        offset: u64,
    },
    /// It is written wrongly. All frames before have been given.
    Corrupt {
        /// Frames given.
        frames: u64,
        /// Where what is wrong begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It cannot be read, or not be unpacked. All frames before have been given.
    Io {
        /// Frames given.
        frames: u64,
        /// How far it was read.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
}

impl CaptureFileError {
    pub(super) fn corrupt(offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { frames: 0, offset, what: what.into() }
    }

    /// The same, after this number of frames.
    pub(super) fn after(mut self, given: u64) -> Self {
        match &mut self {
            Self::Cut { frames, .. } | Self::Corrupt { frames, .. } | Self::Io { frames, .. } => *frames = given,
            Self::Empty | Self::NotACapture { .. } => {}
        }
        self
    }
}

impl fmt::Display for CaptureFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the file is empty"),
            Self::NotACapture { first } => {
                write!(f, "not a pcap or pcapng file: it begins with")?;
                first.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
                known(first).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            Self::Cut { frames, offset } => {
                write!(f, "the file is cut: what begins at byte {offset}, after {}, is not whole", FrameNumber(*frames))
            }
            Self::Corrupt { frames, offset, what } => {
                write!(f, "the file is corrupt at byte {offset}, after {}: {what}", FrameNumber(*frames))
            }
            Self::Io { frames, offset, source } => {
                write!(f, "cannot read on at byte {offset}, after {}: {source}", FrameNumber(*frames))
            }
        }
    }
}

impl std::error::Error for CaptureFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Empty | Self::NotACapture { .. } | Self::Cut { .. } | Self::Corrupt { .. } => None,
        }
    }
}

struct FrameNumber(u64);

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frame{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// What people take for a capture file, by its first bytes.
fn known(first: &[u8]) -> Option<&'static str> {
    let table: [(&[u8], &'static str); 8] = [
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd: unpack it first"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz: unpack it first"),
        (b"BZh", "bzip2: unpack it first"),
        (b"PK\x03\x04", "zip: unpack it first"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4: unpack it first"),
        (b"snoop\0\0\0", "snoop, Solaris: convert it to pcap"),
        (b"GMBU", "Microsoft Network Monitor: convert it to pcap"),
        (b"{", "JSON"),
    ];
    table.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, name)| *name)
}
