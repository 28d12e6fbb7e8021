//! Traffic made up: TCP conversations rendered to frames, without any network.
//!
//! Pure and seeded: the same calls give the same bytes, for ever. Used by tests, by the generator of the
//! benchmarks (`examples/generate.rs`) and by `podtap demo`. Knows nothing of HTTP beyond [`message`] and [`http2`], which
//! only put together; it does not parse.
//!
//! ```
//! use podtap::synth::{Conversation, pcap};
//! let frames = Conversation::default()
//!     .handshake()
//!     .client("GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
//!     .server("HTTP/1.1 204 No Content\r\n\r\n")
//!     .close()
//!     .frames();
//! assert_eq!(frames.len(), 8);
//! let file: Vec<u8> = pcap(&frames);
//! # assert!(file.len() > 400);
//! ```

mod conversation;
pub mod http2;
mod impair;
mod merge;
pub mod message;
mod pcap_file;
mod rng;
mod wire;

pub use conversation::{AckPolicy, Conversation, SynthSide};
pub use impair::LineImpairments;
pub use merge::merge;
pub use pcap_file::{PcapWriter, TimeResolution, pcap};
pub use rng::Rng;
pub use wire::{LinkHeaders, RawSegment};

use crate::flow::Timestamp;
use crate::packet::{Frame, LinkType};

/// One frame as a tap would have captured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SynthFrame {
    /// Capture time.
    pub at: Timestamp,
    /// What its first bytes are.
    pub link: LinkType,
    /// Its length before any cut; `bytes.len()` unless [`LineImpairments::cut`] shortened it.
    pub wire_len: u32,
    /// What was captured.
    pub bytes: Vec<u8>,
}

impl SynthFrame {
    /// A whole frame.
    pub fn new(at: Timestamp, link: LinkType, bytes: Vec<u8>) -> Self {
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { at, link, wire_len, bytes }
    }

    /// The same as the core sees it.
    pub fn as_frame(&self) -> Frame<'_> {
        Frame { at: self.at, link: self.link, data: &self.bytes, wire_len: self.wire_len, interface: None }
    }
}
