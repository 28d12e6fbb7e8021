//! The newer format: sections of blocks (draft-ietf-opsawg-pcapng).
//!
//! Sections may differ in byte order, interfaces in link type, name and clock. Blocks without frames are skipped, and of
//! a frame's options none is read.

use std::io::Read;
use std::sync::Arc;

use super::window::FileWindow;
use super::{ByteOrder, CaptureFileError, Located, MAX_RECORD};
use crate::flow::Timestamp;
use crate::packet::LinkType;
use crate::redact::escape;

pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Interfaces of one section.
const MAX_INTERFACES: usize = 1 << 16;
/// Of an interface's name, in bytes; Linux allows 15, Windows writes a path.
const MAX_NAME: usize = 256;

pub(super) struct PcapngBlocks {
    order: ByteOrder,
    interfaces: Vec<PcapngInterface>,
    /// A simple packet has no time: it gets the last one seen.
    last: Timestamp,
    /// This many had none.
    untimed: u64,
}

struct PcapngInterface {
    link: LinkType,
    name: Option<Arc<str>>,
    clock: Clock,
    /// 0 is none.
    snaplen: u32,
}

/// Type and whole length of the block that begins here.
struct PcapngBlock {
    kind: u32,
    len: usize,
    offset: u64,
}

impl PcapngBlocks {
    pub(super) fn new() -> Self {
        Self { order: ByteOrder::Little, interfaces: Vec::new(), last: Timestamp(0), untimed: 0 }
    }

    /// The name of an interface, as a [`Located`] frame refers to it.
    #[inline]
    pub(super) fn name(&self, interface: usize) -> Option<&Arc<str>> {
        self.interfaces.get(interface)?.name.as_ref()
    }

    pub(super) fn untimed(&self) -> u64 {
        self.untimed
    }

    #[inline]
    pub(super) fn next<R: Read>(&mut self, window: &mut FileWindow<R>) -> Result<Option<Located>, CaptureFileError> {
        loop {
            let Some(block) = self.begin(window)? else { return Ok(None) };
            if !matches!(block.kind, INTERFACE | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                self.pass(window, &block)?;
                continue;
            }
            if block.len > MAX_RECORD {
                let what = format!("a block of {} bytes, where {MAX_RECORD} are the limit", block.len);
                return Err(CaptureFileError::corrupt(block.offset, what));
            }
            if !window.fill(block.len)? {
                return Err(window.cut(block.offset));
            }
            let body = self.body(window, &block)?;
            if block.kind == INTERFACE {
                let interface = PcapngInterface::parse(self.order, body);
                self.add(interface.map_err(|what| CaptureFileError::corrupt(block.offset, what))?, &block)?;
                window.consume(block.len);
                continue;
            }
            let located = self.frame(block.kind, body);
            let located = located.map_err(|what| CaptureFileError::corrupt(block.offset, what))?;
            self.last = located.at;
            self.untimed += u64::from(block.kind == SIMPLE_PACKET);
            window.consume(block.len);
            return Ok(Some(Located { back: block.len - located.back - located.len, ..located }));
        }
    }

    /// Reads the head of the next block; a section's sets the byte order first.
    #[inline]
    fn begin<R: Read>(&mut self, window: &mut FileWindow<R>) -> Result<Option<PcapngBlock>, CaptureFileError> {
        let offset = window.offset();
        if !window.fill(8)? {
            return window.at_end().map(|()| None);
        }
        let Some(&[k0, k1, k2, k3, l0, l1, l2, l3]) = window.first() else { return Err(window.cut(offset)) };
        let is_section = [k0, k1, k2, k3] == SECTION;
        if is_section {
            self.section(window)?;
        }
        let len = usize::try_from(self.order.u32([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let least = if is_section { 28 } else { 12 };
        if len < least || !len.is_multiple_of(4) {
            return Err(CaptureFileError::corrupt(offset, format!("a block of {len} bytes")));
        }
        Ok(Some(PcapngBlock { kind: self.order.u32([k0, k1, k2, k3]), len, offset }))
    }

    #[cold]
    fn section<R: Read>(&mut self, window: &mut FileWindow<R>) -> Result<(), CaptureFileError> {
        let offset = window.offset();
        let whole = window.fill(16)?;
        let Some([.., b0, b1, b2, b3, v0, v1, _, _]) = window.first::<16>().filter(|_| whole) else {
            return Err(window.cut(offset));
        };
        self.order = match [*b0, *b1, *b2, *b3] {
            [0x4d, 0x3c, 0x2b, 0x1a] => ByteOrder::Little,
            [0x1a, 0x2b, 0x3c, 0x4d] => ByteOrder::Big,
            _ => return Err(CaptureFileError::corrupt(offset, "a section header without byte-order magic")),
        };
        let major = self.order.u16([*v0, *v1]);
        if major != 1 {
            return Err(CaptureFileError::corrupt(offset, format!("pcapng of version {major}")));
        }
        self.interfaces.clear();
        Ok(())
    }

    /// Goes past a block that has nothing for us, however long it is.
    fn pass<R: Read>(&self, window: &mut FileWindow<R>, block: &PcapngBlock) -> Result<(), CaptureFileError> {
        let whole = window.skip(block.len as u64 - 4)? && window.fill(4)?;
        match window.first().filter(|_| whole) {
            Some(trailer) => self.check_trailer(*trailer, block)?,
            None => return Err(window.cut(block.offset)),
        }
        window.consume(4);
        Ok(())
    }

    /// What lies between the block's two lengths.
    #[inline]
    fn body<'w, R: Read>(&self, window: &'w FileWindow<R>, block: &PcapngBlock) -> Result<&'w [u8], CaptureFileError> {
        let body = window.bytes().get(8..block.len).and_then(|rest| rest.split_last_chunk());
        let Some((body, trailer)) = body else { return Err(window.cut(block.offset)) };
        self.check_trailer(*trailer, block)?;
        Ok(body)
    }

    #[inline]
    fn check_trailer(&self, trailer: [u8; 4], block: &PcapngBlock) -> Result<(), CaptureFileError> {
        let again = usize::try_from(self.order.u32(trailer)).unwrap_or(usize::MAX);
        if again == block.len {
            return Ok(());
        }
        let what = format!("a block that begins with length {} and ends with {again}", block.len);
        Err(CaptureFileError::corrupt(block.offset, what))
    }

    fn add(&mut self, interface: PcapngInterface, block: &PcapngBlock) -> Result<(), CaptureFileError> {
        if self.interfaces.len() >= MAX_INTERFACES {
            let what = format!("more than {MAX_INTERFACES} interfaces");
            return Err(CaptureFileError::corrupt(block.offset, what));
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// A frame, with `back` counted from the block's begin for now.
    #[inline]
    fn frame(&self, kind: u32, body: &[u8]) -> Result<Located, String> {
        let simple = kind == SIMPLE_PACKET;
        let (fields, header) = if simple { (self.simple(body)?, 4) } else { (self.timed(kind, body)?, 20) };
        let BlockFields { interface, ticks, captured, wire_len } = fields;
        let known =
            self.interfaces.get(interface).ok_or_else(|| format!("a frame of unknown interface {interface}"))?;
        let len = usize::try_from(captured).unwrap_or(usize::MAX);
        if len > body.len() - header {
            return Err(format!("a frame of {len} bytes in a block with room for {}", body.len() - header));
        }
        let at = ticks.map_or(self.last, |ticks| known.clock.time(ticks));
        let wire_len = wire_len.max(captured);
        Ok(Located { at, link: known.link, wire_len, len, back: 8 + header, interface: Some(interface) })
    }

    #[inline]
    fn timed(&self, kind: u32, body: &[u8]) -> Result<BlockFields, String> {
        let Some(&[i0, i1, i2, i3, h0, h1, h2, h3, l0, l1, l2, l3, c0, c1, c2, c3, w0, w1, w2, w3]) =
            body.first_chunk()
        else {
            return Err(format!("a packet block of {} bytes", body.len() + 12));
        };
        let order = self.order;
        // The obsolete block has sixteen bits of interface, and a count of drops in the other half.
        let interface = match kind {
            OLD_PACKET => order.u16([i0, i1]).into(),
            _ => order.u32([i0, i1, i2, i3]),
        };
        Ok(BlockFields {
            interface: usize::try_from(interface).unwrap_or(usize::MAX),
            ticks: Some(u64::from(order.u32([h0, h1, h2, h3])) << 32 | u64::from(order.u32([l0, l1, l2, l3]))),
            captured: order.u32([c0, c1, c2, c3]),
            wire_len: order.u32([w0, w1, w2, w3]),
        })
    }

    /// No captured length either: the lower of length on the wire and snap length.
    fn simple(&self, body: &[u8]) -> Result<BlockFields, String> {
        let Some(wire_len) = body.first_chunk().map(|len| self.order.u32(*len)) else {
            return Err(format!("a packet block of {} bytes", body.len() + 12));
        };
        let captured = match self.interfaces.first().map_or(0, |interface| interface.snaplen) {
            0 => wire_len,
            snaplen => wire_len.min(snaplen),
        };
        Ok(BlockFields { interface: 0, ticks: None, captured, wire_len })
    }
}

struct BlockFields {
    interface: usize,
    ticks: Option<u64>,
    captured: u32,
    wire_len: u32,
}

impl PcapngInterface {
    fn parse(order: ByteOrder, body: &[u8]) -> Result<Self, String> {
        const NAME: u16 = 2;
        const RESOLUTION: u16 = 9;
        const OFFSET: u16 = 14;
        let Some((&[t0, t1, _, _, s0, s1, s2, s3], mut options)) = body.split_first_chunk() else {
            return Err(format!("an interface block of {} bytes", body.len() + 12));
        };
        let (link, snaplen) = (LinkType(order.u16([t0, t1])), order.u32([s0, s1, s2, s3]));
        let mut interface = Self { link, name: None, clock: Clock::default(), snaplen };
        while let Some((&[c0, c1, l0, l1], rest)) = options.split_first_chunk() {
            let (code, len) = (order.u16([c0, c1]), usize::from(order.u16([l0, l1])));
            let value =
                rest.get(..len).ok_or_else(|| format!("an interface option of {len} bytes in {}", rest.len()))?;
            match (code, value) {
                (0, _) => break,
                (NAME, name) => interface.name = text(name),
                (RESOLUTION, [resolution, ..]) => interface.clock.resolution = TickResolution::of(*resolution),
                (OFFSET, value) => {
                    let bytes = value.first_chunk().ok_or("an if_tsoffset that is too short")?;
                    interface.clock.offset = order.i64(*bytes);
                }
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(interface)
    }
}

/// A name as a record may carry it: what is not printable ASCII is escaped, as everywhere.
fn text(bytes: &[u8]) -> Option<Arc<str>> {
    let bytes = bytes.get(..MAX_NAME).unwrap_or(bytes);
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let name = escape(bytes.get(..end).unwrap_or_default());
    (!name.is_empty()).then(|| name.as_str().into())
}

/// How an interface counts time.
#[derive(Default)]
struct Clock {
    resolution: TickResolution,
    /// Seconds to add.
    offset: i64,
}

/// What a tick is, in nanoseconds.
#[derive(Clone, Copy)]
enum TickResolution {
    /// This many.
    Times(u64),
    /// The so-manieth part of one.
    Part(u64),
    /// 2^-n seconds.
    Binary(u8),
}

impl Default for TickResolution {
    fn default() -> Self {
        Self::Times(1000)
    }
}

impl TickResolution {
    /// Of if_tsresol: a negative power of 2 or 10.
    fn of(byte: u8) -> Self {
        match byte {
            0x80.. => Self::Binary(byte & 0x7f),
            0..=9 => Self::Times(10u64.pow(9 - u32::from(byte))),
            // Beyond 10^-28 a 64-bit count of ticks is no nanosecond at all.
            _ => Self::Part(10u64.checked_pow(u32::from(byte) - 9).unwrap_or(u64::MAX)),
        }
    }
}

impl Clock {
    #[inline]
    fn time(&self, ticks: u64) -> Timestamp {
        let nanos = match self.resolution {
            TickResolution::Times(n) => u128::from(ticks) * u128::from(n),
            TickResolution::Part(n) => u128::from(ticks / n),
            TickResolution::Binary(n) => (u128::from(ticks) * 1_000_000_000).checked_shr(n.into()).unwrap_or(0),
        };
        Timestamp::new(self.offset, i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}
