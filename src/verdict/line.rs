//! Reads a line of the kernel log that a LOG rule wrote, in whichever form it was handed on.
//!
//! Knows the heads that /dev/kmsg, /proc/kmsg, dmesg, journald and syslog put before it. The first `KEY=` of a line counts;
//! what is in brackets is a packet within the packet. Decides neither what a prefix means nor whose an address is.

use std::borrow::Cow;
use std::net::IpAddr;

use compact_str::CompactString;
use memchr::memmem;
use serde::Deserialize;

use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::record::{IcmpMessage, LoggedPacket};

/// Entries read of one line, where several were glued together.
const MAX_GLUED: usize = 16;

/// When an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineTime {
    /// By a clock on the wall.
    Wall(Timestamp),
    /// Microseconds since the machine started.
    SinceBoot(u64),
    /// The head has no time, or one without year or zone.
    Unknown,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedLine {
    /// When it was written.
    pub at: LineTime,
    /// The rule's prefix.
    pub prefix: CompactString,
    /// `IN=`
    pub interface_in: Option<CompactString>,
    /// `OUT=`
    pub interface_out: Option<CompactString>,
    /// `MARK=`
    pub mark: Option<u32>,
    /// `UID=`
    pub user: Option<u32>,
    /// The packet.
    pub packet: LoggedPacket,
}

/// Why a line, or a part of one, is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLogged {
    /// It was not written by a rule.
    Foreign,
    /// It is about no IP packet: ARP, another protocol of the link.
    NoIp,
    /// It ends before both addresses are whole.
    Cut,
    /// The kernel says that it left out this many lines.
    Suppressed(u64),
}

/// The entries of a line: mostly one; several where lines were glued together.
pub fn read(line: &[u8]) -> Vec<Result<LoggedLine, NotLogged>> {
    let text = String::from_utf8_lossy(line);
    let (at, text) = head(text.trim_end_matches(['\n', '\r']));
    let Some(mut begin) = entry(&text, 0) else { return vec![Err(suppressed(&text).unwrap_or(NotLogged::Foreign))] };
    let mut prefix = text.get(..begin).unwrap_or_default();
    let mut out = Vec::with_capacity(1);
    while out.len() < MAX_GLUED {
        let next = entry(&text, begin + 3);
        let fields = text.get(begin..next.unwrap_or(text.len())).unwrap_or_default();
        let (found, read) = fields_of(fields, next.is_some());
        out.push(found.map(|found| LoggedLine { at, prefix: prefix.into(), ..found }));
        let Some(next) = next else { break };
        // What follows the last field is the prefix of the entry that was glued on.
        prefix = fields.get(read..).unwrap_or_default().trim_start();
        begin = next;
    }
    out
}

/// Where an entry begins: at `IN=`, when `OUT=` is the next word. A prefix may hold anything else, also `IN=` at its end.
fn entry(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    memmem::find_iter(rest.as_bytes(), b"IN=").find_map(|at| {
        let begin = from + at;
        let value = text.get(begin + 3..).unwrap_or_default();
        let (value, behind) = value.split_at_checked(value.find(' ').unwrap_or(value.len()))?;
        let begin = value.rfind("IN=").map_or(begin, |at| begin + 3 + at);
        let is_bridge = text.get(..begin).is_some_and(|before| before.ends_with("PHYS"));
        (behind.starts_with(" OUT=") && !is_bridge).then_some(begin)
    })
}

/// `net_ratelimit: 12 callbacks suppressed`
fn suppressed(text: &str) -> Option<NotLogged> {
    let before = text.trim_end().strip_suffix(" callbacks suppressed")?;
    before.rsplit(' ').next()?.parse().ok().map(NotLogged::Suppressed)
}

/// Takes the head off.
fn head(line: &str) -> (LineTime, Cow<'_, str>) {
    if line.starts_with('{') {
        return journal(line).unwrap_or((LineTime::Unknown, Cow::Borrowed(line)));
    }
    if let Some((micros, text)) = kmsg(line) {
        return (LineTime::SinceBoot(micros), unescaped(text));
    }
    let (mut at, mut text) = (LineTime::Unknown, line);
    text = priority(text);
    if let Some((time, rest)) = bracket(text) {
        (at, text) = (time, rest);
    }
    let fields = text.find("IN=").unwrap_or(text.len());
    // The program's name in a head of syslog or journald; it is no prefix.
    let program = ["kernel: ", "kernel - - - "].into_iter().find_map(|name| {
        let found = text.get(..fields)?.find(name)?;
        let alone = found == 0 || text.get(..found)?.ends_with(' ');
        alone.then_some((found, found + name.len()))
    });
    if let Some((start, end)) = program {
        let before = text.get(..start).unwrap_or_default();
        at = wall_clock(before).unwrap_or(at);
        text = text.get(end..).unwrap_or_default();
    } else if let Some((time, rest)) = text.split_once(' ').and_then(|(word, rest)| Some((wall_clock(word)?, rest))) {
        (at, text) = (time, rest);
    }
    if let Some((time, rest)) = bracket(text) {
        at = if at == LineTime::Unknown { time } else { at };
        text = rest;
    }
    (at, Cow::Borrowed(text))
}

/// `4,2047,6595922467,-;text`: priority, number, microseconds, flags.
fn kmsg(line: &str) -> Option<(u64, &str)> {
    let (head, text) = line.split_once(';').filter(|(head, _)| !head.contains(' '))?;
    let mut parts = head.split(',');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (_, _, micros) = (number()?, number()?, number()?);
    parts.next()?;
    Some((micros, text))
}

/// The number of a record of /dev/kmsg.
pub fn kmsg_sequence(line: &[u8]) -> Option<u64> {
    let mut parts = line.split(|byte| *byte == b',');
    std::str::from_utf8(parts.nth(1)?).ok()?.parse().ok()
}

/// /dev/kmsg writes what is not printable as `\xNN`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("\\x") {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        match behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.extend(b"\\x");
                rest = behind;
            }
        }
    }
    bytes.extend(rest.as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// `journalctl -o json`. A message that is no UTF-8 is a list of bytes there.
fn journal(line: &str) -> Option<(LineTime, Cow<'_, str>)> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum LineText {
        Text(String),
        Bytes(Vec<u8>),
    }
    #[derive(Deserialize)]
    struct LineEntry {
        #[serde(rename = "MESSAGE")]
        message: LineText,
        #[serde(rename = "__REALTIME_TIMESTAMP")]
        at: Option<String>,
    }
    let entry: LineEntry = serde_json::from_str(line).ok()?;
    let micros = entry.at.and_then(|at| at.parse::<i64>().ok());
    let at = micros.map_or(LineTime::Unknown, |at| LineTime::Wall(Timestamp(at.saturating_mul(1000))));
    let message = match entry.message {
        LineText::Text(text) => text,
        LineText::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    Some((at, Cow::Owned(message)))
}

/// `<4>`, and the version behind it of RFC 5424; `kern  :warn  : ` of `dmesg -x`.
fn priority(text: &str) -> &str {
    let behind_number = || {
        let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
        number.parse::<u16>().ok()?;
        Some(rest.strip_prefix("1 ").unwrap_or(rest))
    };
    let behind_words = || {
        let mut parts = text.splitn(3, ':');
        let (facility, level) = (parts.next()?, parts.next()?);
        let word =
            |text: &str| text.trim_end().bytes().all(|byte| byte.is_ascii_lowercase()) && !text.trim().is_empty();
        (word(facility) && word(level)).then(|| parts.next().map(|rest| rest.strip_prefix(' ').unwrap_or(rest)))?
    };
    behind_number().or_else(behind_words).unwrap_or(text)
}

/// `[ 6595.922467] `, `[  +0.0246] `, `[Sun Nov 29 22:04:50 2026] `; a prefix in brackets is none of these.
fn bracket(text: &str) -> Option<(LineTime, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once("] ")?;
    let number = inside.trim_start();
    if number.starts_with('+') && number.bytes().skip(1).all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Some((LineTime::Unknown, rest));
    }
    if let Some((seconds, micros)) = number.split_once('.')
        && micros.len() == 6
        && let (Ok(seconds), Ok(micros)) = (seconds.parse::<u64>(), micros.parse::<u64>())
    {
        return Some((LineTime::SinceBoot(seconds.saturating_mul(1_000_000).saturating_add(micros)), rest));
    }
    let words: Vec<_> = inside.split_ascii_whitespace().collect();
    let is_date = matches!(words[..], [day, month, _, clock, year]
        if day.len() == 3 && month.len() == 3 && clock.len() == 8 && year.parse::<u16>().is_ok());
    // It says no zone.
    is_date.then_some((LineTime::Unknown, rest))
}

/// A time with year and zone, or the seconds since 1970, at the head's beginning.
fn wall_clock(head: &str) -> Option<LineTime> {
    let word = head.split(' ').next()?;
    if let Some((seconds, micros)) = word.split_once('.')
        && seconds.len() >= 9
        && micros.len() == 6
        && let (Ok(seconds), Ok(micros)) = (seconds.parse::<i64>(), micros.parse::<i64>())
    {
        return Some(LineTime::Wall(Timestamp::new(seconds, micros * 1000)));
    }
    let is_date = word.len() > 19 && word.get(10..11) == Some("T");
    let time = word.replace(',', ".").parse::<jiff::Timestamp>().ok().filter(|_| is_date)?;
    Some(LineTime::Wall(Timestamp(i64::try_from(time.as_nanosecond()).ok()?)))
}

/// The keys that are read.
const KEYS: [&str; 13] = ["IN", "OUT", "SRC", "DST", "LEN", "PROTO", "SPT", "DPT", "TYPE", "CODE", "ID", "MARK", "UID"];

/// Everything from `IN=` on, as it is found.
#[derive(Default)]
struct LineFields<'a> {
    interface_in: Option<&'a str>,
    interface_out: Option<&'a str>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    length: Option<u32>,
    protocol: Option<IpProtocol>,
    ports: [Option<u16>; 2],
    icmp: [Option<u8>; 2],
    id: Option<u16>,
    mark: Option<u32>,
    user: Option<u32>,
    fragment: bool,
    incomplete: bool,
    no_ip: bool,
    /// Keys that came: the first of each counts, also where it cannot be read.
    came: Vec<&'a str>,
}

/// Reads the fields of one entry, and how far they reach. `whole`: another entry follows, so the last word is whole too.
fn fields_of(text: &str, whole: bool) -> (Result<LoggedLine, NotLogged>, usize) {
    let mut found = LineFields::default();
    let (mut at, mut read, mut depth) = (0, 0, 0usize);
    for word in text.split(' ') {
        let end = at + word.len();
        if depth == 0 && word.starts_with("SRC=") && found.came.contains(&"SRC") {
            // From here on it is about another packet, whose head is missing.
            found.incomplete = true;
            break;
        }
        let is_last = end == text.len() && !whole;
        let opens = word.starts_with('[');
        if opens || depth > 0 {
            depth += usize::from(opens);
            depth -= usize::from(word.ends_with(']') && depth > 0);
            read = end;
        } else if !word.is_empty() && found.take(word, is_last) {
            read = end;
        }
        at = end + 1;
    }
    found.incomplete |= depth > 0;
    (found.finish(), read)
}

impl<'a> LineFields<'a> {
    /// Takes a word; false where it belongs to no entry. A last word may be cut. An address or a port that is shorter than
    /// it was would be another one, so these are not believed then. Only a mark is: lines often end with it.
    fn take(&mut self, word: &'a str, is_last: bool) -> bool {
        let Some((key, value)) = word.split_once('=') else { return self.take_flag(word) };
        let text = (!value.is_empty()).then_some(value);
        let sure = text.filter(|_| !is_last);
        let is_icmp = self.protocol.is_some_and(IpProtocol::is_icmp);
        // The packet's own ID comes before the protocol, that of an echo behind it.
        if ["TYPE", "CODE", "ID"].contains(&key) && !is_icmp {
            return true;
        }
        let is_key = KEYS.contains(&key);
        if !is_key || self.came.contains(&key) {
            return is_key || key.bytes().all(|byte| byte.is_ascii_uppercase()) && !key.is_empty();
        }
        self.came.push(key);
        match key {
            "IN" => self.interface_in = text,
            "OUT" => self.interface_out = text,
            "SRC" => self.source = parsed(sure),
            "DST" => self.destination = parsed(sure),
            "LEN" => self.length = parsed(sure),
            "PROTO" => self.protocol = sure.and_then(IpProtocol::parse),
            "SPT" => self.ports[0] = parsed(sure),
            "DPT" => self.ports[1] = parsed(sure),
            "TYPE" => self.icmp[0] = parsed(sure),
            "CODE" => self.icmp[1] = parsed(sure),
            "ID" => self.id = parsed(sure),
            "MARK" => self.mark = text.and_then(number),
            _ => self.user = parsed(sure),
        }
        true
    }

    fn take_flag(&mut self, word: &str) -> bool {
        match word {
            "INCOMPLETE" => self.incomplete = true,
            "ARP" => self.no_ip = true,
            "DF" | "MF" | "CE" | "OPT" | "CWR" | "ECE" | "URG" | "ACK" | "PSH" | "RST" | "SYN" | "FIN"
            | "TRUNCATED" => {}
            _ if word.starts_with('(') || word.ends_with(')') => {}
            _ => match word.split_once(':') {
                Some(("FRAG", offset)) => self.fragment |= offset.parse::<u32>().is_ok_and(|offset| offset > 0),
                Some(("ID", _)) => {}
                _ => return false,
            },
        }
        true
    }

    fn finish(self) -> Result<LoggedLine, NotLogged> {
        let (Some(source), Some(destination)) = (self.source, self.destination) else {
            let cut =
                self.source.is_some() || !self.no_ip && self.interface_in.is_none() && self.interface_out.is_none();
            return Err(if cut { NotLogged::Cut } else { NotLogged::NoIp });
        };
        if source.is_ipv4() != destination.is_ipv4() {
            // Of two packets: what was between them is missing.
            return Err(NotLogged::Cut);
        }
        let [source_port, destination_port] = self.ports.map(Option::unwrap_or_default);
        let icmp = self.icmp[0].zip(self.icmp[1]).map(|(kind, code)| IcmpMessage { kind, code, id: self.id });
        let ports_missing = self.ports[1].is_none() && self.protocol.is_some_and(has_ports_in_lines);
        let icmp_missing = icmp.is_none() && self.protocol.is_some_and(IpProtocol::is_icmp);
        let packet = LoggedPacket {
            protocol: self.protocol,
            source: Endpoint::new(source, source_port),
            destination: Endpoint::new(destination, destination_port),
            has_port: self.ports.map(|port| port.is_some()),
            icmp,
            length: self.length,
            fragment: self.fragment,
            truncated: self.incomplete || !self.fragment && (ports_missing || icmp_missing),
        };
        Ok(LoggedLine {
            at: LineTime::Unknown,
            prefix: CompactString::default(),
            interface_in: self.interface_in.map(Into::into),
            interface_out: self.interface_out.map(Into::into),
            mark: self.mark.filter(|mark| *mark != 0),
            user: self.user,
            packet,
        })
    }
}

/// The kernel writes no ports of SCTP and DCCP.
fn has_ports_in_lines(protocol: IpProtocol) -> bool {
    [6, 17, 136].contains(&protocol.0)
}

fn parsed<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

/// Decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u32> {
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}
