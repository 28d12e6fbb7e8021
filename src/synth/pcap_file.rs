//! Frames to a capture file: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>, little-endian.
//!
//! Does not read any, and does not write pcapng.

use std::io::{self, Write};

use super::SynthFrame;
use crate::packet::LinkType;

/// Unit of a file's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeResolution {
    /// Microseconds: what every tool reads.
    #[default]
    Micro,
    /// Nanoseconds.
    Nano,
}

/// Writes frames one by one. Buffers nothing: give it a `BufWriter`.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
    resolution: TimeResolution,
}

/// Largest frame a file may hold, as its header says; what tcpdump writes.
const SNAPLEN: u32 = 262_144;

impl<W: Write> PcapWriter<W> {
    /// Writes the file header; all frames must be of `link`.
    pub fn new(mut out: W, link: LinkType, resolution: TimeResolution) -> io::Result<Self> {
        let magic: u32 = match resolution {
            TimeResolution::Micro => 0xA1B2_C3D4,
            TimeResolution::Nano => 0xA1B2_3C4D,
        };
        out.write_all(&magic.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0])?; // version 2.4
        out.write_all(&[0; 8])?;
        out.write_all(&SNAPLEN.to_le_bytes())?;
        out.write_all(&u32::from(link.0).to_le_bytes())?;
        Ok(Self { out, resolution })
    }

    /// Writes one frame.
    pub fn write(&mut self, frame: &SynthFrame) -> io::Result<()> {
        let (seconds, nanos) = (frame.at.0.div_euclid(1_000_000_000), frame.at.0.rem_euclid(1_000_000_000));
        let fraction = match self.resolution {
            TimeResolution::Micro => nanos / 1_000,
            TimeResolution::Nano => nanos,
        };
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&(seconds as u32).to_le_bytes());
        header[4..8].copy_from_slice(&(fraction as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(frame.bytes.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&frame.wire_len.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(&frame.bytes)
    }

    /// Flushes, and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A whole file, with nanoseconds; of Ethernet when there are no frames.
pub fn pcap(frames: &[SynthFrame]) -> Vec<u8> {
    let link = frames.first().map_or(LinkType(1), |frame| frame.link);
    let write = || {
        let mut file = PcapWriter::new(Vec::new(), link, TimeResolution::Nano)?;
        frames.iter().try_for_each(|frame| file.write(frame))?;
        file.finish()
    };
    let written: io::Result<Vec<u8>> = write();
    written.unwrap_or_default() // a Vec takes everything
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Timestamp;
    use crate::synth::{Conversation, LineImpairments, LinkHeaders};

    type ReadBack = (i32, Vec<(i64, i64, u32, Vec<u8>)>);

    fn read_back(file: &[u8]) -> ReadBack {
        let path = std::env::temp_dir().join(format!("podtap-synth-{}-{:p}.pcap", std::process::id(), file));
        std::fs::write(&path, file).unwrap();
        let mut capture = pcap::Capture::from_file_with_precision(&path, pcap::Precision::Nano).unwrap();
        let link = capture.get_datalink().0;
        let mut frames = Vec::new();
        while let Ok(packet) = capture.next_packet() {
            let time = packet.header.ts;
            frames.push((time.tv_sec, time.tv_usec, packet.header.len, packet.data.to_vec()));
        }
        std::fs::remove_file(&path).unwrap();
        (link, frames)
    }

    #[test]
    fn libpcap_reads_back_what_was_written() {
        let frames =
            Conversation::default().at(Timestamp(1_500_000_123)).link(LinkHeaders::Sll2(2)).handshake().frames();
        let frames = LineImpairments::new(1).cut(60).apply(frames);
        let (link, read) = read_back(&pcap(&frames));
        assert_eq!(link, 276);
        assert_eq!(read.len(), 3);
        assert_eq!(read[0], (1, 500_000_123, frames[0].wire_len, frames[0].bytes.clone()));
        assert!(read[0].2 > 60 && read[0].3.len() == 60);
    }

    #[test]
    fn microseconds_are_rounded_down() {
        let frames = Conversation::default().at(Timestamp(1_500_000_999)).syn().frames();
        let mut file = PcapWriter::new(Vec::new(), frames[0].link, TimeResolution::Micro).unwrap();
        file.write(&frames[0]).unwrap();
        assert_eq!(read_back(&file.finish().unwrap()).1[0].1, 500_000_000);
    }
}
