//! Reads messages of NFLOG, and writes the requests that set a group up. Owns the numbers of its attributes.

use compact_str::CompactString;

use super::packet;
use crate::flow::Timestamp;
use crate::netlink::{ACK, NetlinkMessage, NetlinkWriter, REQUEST};
use crate::record::LoggedPacket;

/// `NFNL_SUBSYS_ULOG`
const SUBSYSTEM: u16 = 4;
/// `NFULNL_MSG_PACKET`
const PACKET: u16 = 0;
/// `NFULNL_MSG_CONFIG`
const CONFIG: u16 = 1;

/// Bytes of each packet that are copied: all headers, with the longest options and some extension headers.
const COPIED: u32 = 256;
/// How long packets wait in the kernel for others, in hundredths of a second.
const TIMEOUT: u32 = 1;
/// How many of them.
const THRESHOLD: u32 = 32;

/// A packet that a rule logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NflogPacket {
    /// Its group.
    pub group: u16,
    /// Number of the packet in its group.
    pub sequence: Option<u32>,
    /// The rule's prefix.
    pub prefix: CompactString,
    /// Mark.
    pub mark: Option<u32>,
    /// Index of the interface that it came in by.
    pub interface_in: Option<u32>,
    /// Index of the interface that it goes out by.
    pub interface_out: Option<u32>,
    /// User of the sending process.
    pub user: Option<u32>,
    /// When it came, where the kernel says so: packets from this machine have no time.
    pub at: Option<Timestamp>,
    /// Its headers; none where it is no IP packet.
    pub packet: Option<LoggedPacket>,
}

/// Reads a message; none where it is of another kind.
pub fn read(message: &NetlinkMessage<'_>) -> Option<NflogPacket> {
    if (message.kind >> 8, message.kind & 0xff) != (SUBSYSTEM, PACKET) {
        return None;
    }
    let (_, group, attributes) = message.netfilter()?;
    let mut logged = NflogPacket {
        group,
        sequence: None,
        prefix: CompactString::default(),
        mark: None,
        interface_in: None,
        interface_out: None,
        user: None,
        at: None,
        packet: None,
    };
    for attribute in attributes {
        match attribute.kind {
            2 => logged.mark = attribute.u32().filter(|mark| *mark != 0),
            3 => logged.at = time(attribute.value),
            4 => logged.interface_in = attribute.u32(),
            5 => logged.interface_out = attribute.u32(),
            9 => logged.packet = packet::read(attribute.value),
            10 => logged.prefix = prefix(attribute.value),
            11 => logged.user = attribute.u32(),
            12 => logged.sequence = attribute.u32(),
            _ => {}
        }
    }
    Some(logged)
}

/// Ends with a zero, which is no part of it.
fn prefix(bytes: &[u8]) -> CompactString {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CompactString::from_utf8_lossy(bytes.get(..end).unwrap_or_default())
}

/// Seconds and microseconds.
fn time(bytes: &[u8]) -> Option<Timestamp> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, u0, u1, u2, u3, u4, u5, u6, u7] = *bytes.first_chunk::<16>()?;
    let seconds = i64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let micros = i64::from_be_bytes([u0, u1, u2, u3, u4, u5, u6, u7]);
    (seconds > 0).then(|| Timestamp::new(seconds, micros.saturating_mul(1000)))
}

/// The request that lets go of a group; packets that wait in the kernel for others come at once then.
pub fn unbind(group: u16) -> Vec<u8> {
    /// `NFULNL_CFG_CMD_UNBIND`
    const UNBIND: u8 = 2;
    NetlinkWriter::netfilter(SUBSYSTEM << 8 | CONFIG, REQUEST, 3, 0, group).attribute(1, &[UNBIND]).finish()
}

/// The requests that bind a group to a socket: bind, copy headers, number packets, do not hold them for long. Each is
/// acknowledged under its own number.
pub fn bind(group: u16) -> [Vec<u8>; 2] {
    /// `NFULNL_CFG_CMD_BIND`
    const BIND: u8 = 1;
    /// `NFULNL_COPY_PACKET`
    const COPY_PACKET: u8 = 2;
    /// `NFULNL_CFG_F_SEQ`
    const NUMBERED: u16 = 1;
    let config = |sequence| NetlinkWriter::netfilter(SUBSYSTEM << 8 | CONFIG, REQUEST | ACK, sequence, 0, group);
    let mode = [&COPIED.to_be_bytes()[..], &[COPY_PACKET, 0]].concat();
    [
        config(1).attribute(1, &[BIND]).finish(),
        config(2)
            .attribute(2, &mode)
            .attribute(4, &TIMEOUT.to_be_bytes())
            .attribute(5, &THRESHOLD.to_be_bytes())
            .attribute(6, &NUMBERED.to_be_bytes())
            .finish(),
    ]
}
