//! A capture filter for frames that come from a file: libpcap's expressions, compiled for each link type in it.
//!
//! A live capture does not need it: there the kernel filters.

use std::fmt;

use pcap::{BpfProgram, Capture, Linktype};

use crate::packet::{Frame, LinkType};

/// A filter in pcap-filter syntax.
///
/// What the snap length cut away cannot match, and `len` means the captured length.
pub struct FrameFilter {
    expression: String,
    /// A file has one link type, rarely two.
    programs: Vec<(LinkType, BpfProgram)>,
}

/// An expression libpcap does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The expression.
    pub expression: String,
    /// The link type it was compiled for.
    pub link: LinkType,
    /// libpcap's own words.
    pub message: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expression, link, message } = self;
        write!(f, "filter {expression:?} does not compile for link type {}: {message}", link.0)
    }
}

impl std::error::Error for FilterError {}

impl FrameFilter {
    /// A filter that is compiled when the first frame comes, or by [`prepare`](Self::prepare).
    pub fn new(expression: impl Into<String>) -> Self {
        Self { expression: expression.into(), programs: Vec::new() }
    }

    /// Compiles for a link type, so that a bad expression is known before the first frame.
    pub fn prepare(&mut self, link: LinkType) -> Result<(), FilterError> {
        self.program(link).map(|_| ())
    }

    /// Whether the frame passes. Each link type is compiled once.
    pub fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, FilterError> {
        Ok(self.program(frame.link)?.filter(frame.data))
    }

    fn program(&mut self, link: LinkType) -> Result<&BpfProgram, FilterError> {
        let at = match self.programs.iter().position(|(known, _)| *known == link) {
            Some(at) => at,
            None => {
                let program = self.compile(link)?;
                self.programs.push((link, program));
                self.programs.len() - 1
            }
        };
        self.programs.get(at).map(|(_, program)| program).ok_or_else(|| self.error(link, "no program"))
    }

    fn compile(&self, link: LinkType) -> Result<BpfProgram, FilterError> {
        let program = Capture::dead(dlt(link)).and_then(|capture| capture.compile(&self.expression, true));
        program.map_err(|e| {
            // libpcap's message alone, without what the crate says around it.
            let message = if let pcap::Error::PcapError(message) = e { message } else { e.to_string() };
            self.error(link, message)
        })
    }

    fn error(&self, link: LinkType, message: impl Into<String>) -> FilterError {
        FilterError { expression: self.expression.clone(), link, message: message.into() }
    }
}

/// libpcap compiles for its DLT values; a file's LINKTYPE differs where systems disagreed on the DLT.
fn dlt(link: LinkType) -> Linktype {
    Linktype(match link.0 {
        101 | 14 => 12,
        100 => 11,
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Timestamp;

    /// A TCP segment to port 80.
    const PACKET: &[u8] = &[
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0x92, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2,
        0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ];

    fn frame(link: u16, data: &[u8]) -> Frame<'_> {
        Frame { at: Timestamp(0), link: LinkType(link), data, wire_len: data.len() as u32, interface: None }
    }

    #[test]
    fn the_same_expression_holds_behind_every_link_header() {
        let mut port_80 = FrameFilter::new("tcp port 80");
        let mut port_81 = FrameFilter::new("tcp port 81");
        let ethernet = [&[0; 12], [8, 0].as_slice(), PACKET].concat();
        let cooked = [&[0; 14], [8, 0].as_slice(), PACKET].concat();
        let cooked_2 = [&[8, 0], [0; 18].as_slice(), PACKET].concat();
        let null = [&[2, 0, 0, 0], PACKET].concat();
        let loopback = [&[0, 0, 0, 2], PACKET].concat();
        let links: [(u16, &[u8]); 9] = [
            (1, &ethernet),
            (113, &cooked),
            (276, &cooked_2),
            (0, &null),
            (108, &loopback),
            (101, PACKET),
            (12, PACKET),
            (14, PACKET),
            (228, PACKET),
        ];
        for (link, data) in links {
            assert_eq!(port_80.matches(&frame(link, data)), Ok(true), "{link}");
            assert_eq!(port_81.matches(&frame(link, data)), Ok(false), "{link}");
            assert_eq!(port_80.matches(&frame(link, &data[..data.len() - 30])), Ok(false), "{link}, cut");
            assert_eq!(port_80.matches(&frame(link, &[])), Ok(false), "{link}, empty");
        }
    }

    #[test]
    fn a_bad_expression_says_so_in_the_words_of_libpcap() {
        let mut filter = FrameFilter::new("tcp prot 80");
        let error = filter.prepare(LinkType(1)).unwrap_err();
        assert!(error.message.contains("syntax error"), "{error}");
        assert_eq!(filter.matches(&frame(1, PACKET)), Err(error));
        assert!(FrameFilter::new("tcp\0").prepare(LinkType(1)).is_err());
    }
}
