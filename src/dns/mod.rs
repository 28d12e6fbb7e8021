//! Answers of DNS, read off the wire: which names lead to which address, and for how long (RFC 1035 §4).
//!
//! Pure and bounded: a message is read once, names by pointers that only lead backwards. Reads answers to questions for
//! addresses, nothing else; believes nothing that was not asked in the same message.

mod learnt;
mod stream;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::CompactString;

pub use self::learnt::LearntNames;
pub use self::stream::DnsStream;
pub use self::watch::DnsWatch;

/// The port of DNS.
pub const PORT: u16 = 53;
/// Answers of one message that are looked at; a name rarely has more than 16 addresses.
const MAX_ANSWERS: usize = 64;
/// Steps of a chain of CNAMEs.
const MAX_CHAIN: usize = 16;
/// Longest name, in bytes of the wire (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// Questions in a message; more than one is against custom, and not read.
const QUESTIONS: u16 = 1;
/// Types of records (RFC 1035 §3.2.2, RFC 3596 §2.1).
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// The class of the Internet.
const IN: u16 = 1;

/// What an answer says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The name that was asked for, lower case, without its last dot.
    pub name: CompactString,
    /// Its addresses, at the end of the chain of CNAMEs.
    pub addresses: Vec<IpAddr>,
    /// Seconds that all of it holds: the shortest time in the chain.
    pub ttl: u32,
}

/// The answer in a message; nothing where it is a question, an error, about something else, or malformed.
pub fn parse(message: &[u8]) -> Option<DnsAnswer> {
    let header: &[u8; 12] = message.first_chunk()?;
    let [_, _, flags, code, q1, q2, a1, a2, ..] = *header;
    // QR, OPCODE 0; RCODE 0.
    let is_answer = flags & 0xf8 == 0x80 && code & 0x0f == 0;
    if !is_answer || u16::from_be_bytes([q1, q2]) != QUESTIONS {
        return None;
    }
    let mut reader = DnsReader { message, at: header.len() };
    let asked = reader.name()?;
    let (kind, class) = (reader.number()?, reader.number()?);
    if ![A, AAAA].contains(&kind) || class != IN {
        return None;
    }
    let count = usize::from(u16::from_be_bytes([a1, a2])).min(MAX_ANSWERS);
    // What is cut off is not believed to be all there is, but what is there is true.
    let records: Vec<_> = std::iter::from_fn(|| reader.record()).take(count).collect();
    follow(asked, kind, &records)
}

/// From the name that was asked for along CNAMEs to its addresses.
fn follow(asked: CompactString, kind: u16, records: &[DnsRecord]) -> Option<DnsAnswer> {
    let (mut name, mut ttl) = (asked.clone(), u32::MAX);
    for _ in 0..MAX_CHAIN {
        let alias = records.iter().find_map(|record| match &record.value {
            DnsValue::Name(alias) if record.name == name => Some((alias, record.ttl)),
            DnsValue::Name(_) | DnsValue::Address(_) | DnsValue::Other => None,
        });
        let Some((alias, holds)) = alias else { break };
        (name, ttl) = (alias.clone(), ttl.min(holds));
    }
    let mut addresses = Vec::new();
    for record in records.iter().filter(|record| record.name == name) {
        let DnsValue::Address(ip) = record.value else { continue };
        if ip.is_ipv4() == (kind == A) && !addresses.contains(&ip) {
            addresses.push(ip);
            ttl = ttl.min(record.ttl);
        }
    }
    (!addresses.is_empty() && !asked.is_empty()).then_some(DnsAnswer { name: asked, addresses, ttl })
}

struct DnsRecord {
    name: CompactString,
    ttl: u32,
    value: DnsValue,
}

enum DnsValue {
    Address(IpAddr),
    Name(CompactString),
    Other,
}

struct DnsReader<'a> {
    message: &'a [u8],
    at: usize,
}

impl DnsReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.message.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Option<CompactString> {
        let (name, end) = name(self.message, self.at)?;
        self.at = end;
        Some(name)
    }

    fn record(&mut self) -> Option<DnsRecord> {
        let name = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        let ttl = self.take().map(u32::from_be_bytes)?;
        let length = usize::from(self.number()?);
        let data = self.message.get(self.at..)?.get(..length)?;
        let value = match (kind, class, length) {
            (A, IN, 4) => DnsValue::Address(Ipv4Addr::from(*data.first_chunk::<4>()?).into()),
            (AAAA, IN, 16) => DnsValue::Address(Ipv6Addr::from(*data.first_chunk::<16>()?).into()),
            (CNAME, IN, _) => DnsValue::Name(self::name(self.message, self.at)?.0),
            _ => DnsValue::Other,
        };
        self.at += length;
        // The highest bit means 0 (RFC 2181 §8).
        Some(DnsRecord { name, ttl: if ttl > i32::MAX as u32 { 0 } else { ttl }, value })
    }
}

/// The name at an offset, and where it ends there. Only letters, digits, `-` and `_` are a host's: others are no name.
fn name(message: &[u8], start: usize) -> Option<(CompactString, usize)> {
    let mut out = CompactString::default();
    let (mut at, mut end, mut lowest, mut length) = (start, None, start, 0);
    loop {
        let size = *message.get(at)?;
        match size & 0xc0 {
            0x00 if size == 0 => return Some((out, end.unwrap_or(at + 1))),
            0x00 => {
                let label = message.get(at + 1..)?.get(..usize::from(size))?;
                length += label.len() + 1;
                if length > MAX_NAME || !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
                    return None;
                }
                if !out.is_empty() {
                    out.push('.');
                }
                out.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                at += label.len() + 1;
            }
            0xc0 => {
                let to = (usize::from(size & 0x3f) << 8) | usize::from(*message.get(at + 1)?);
                // Backwards only, so that it ends.
                if to >= lowest {
                    return None;
                }
                end.get_or_insert(at + 2);
                (at, lowest) = (to, to);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message: flags, question and answers in a notation of `name type ttl value`.
    fn message(flags: u16, question: &str, kind: u16, answers: &[(&str, u16, u32, &[u8])]) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        out.extend(flags.to_be_bytes());
        out.extend([0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
        out.extend(wire(question));
        out.extend([kind.to_be_bytes(), [0, 1]].concat());
        for (name, kind, ttl, value) in answers {
            // `@` is the question's name, by a pointer.
            out.extend(if *name == "@" { vec![0xc0, 12] } else { wire(name) });
            out.extend([kind.to_be_bytes(), [0, 1]].concat());
            out.extend(ttl.to_be_bytes());
            out.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            out.extend(*value);
        }
        out
    }

    fn wire(name: &str) -> Vec<u8> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        let mut out: Vec<u8> =
            labels.flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap()).chain(label.bytes())).collect();
        out.push(0);
        out
    }

    const ANSWER: u16 = 0x8180;

    fn shown(message: &[u8]) -> String {
        let Some(DnsAnswer { name, addresses, ttl }) = parse(message) else { return String::new() };
        format!("{name} {addresses:?} {ttl}")
    }

    #[test]
    fn the_name_that_was_asked_for_has_the_addresses_at_the_end_of_its_chain() {
        let (to_b, to_c) = (wire("b.lan"), wire("c.lan"));
        for (answers, expected) in [
            (&[("@", A, 60, &[10, 0, 0, 1][..]), ("@", A, 30, &[10, 0, 0, 2])][..], "a.lan [10.0.0.1, 10.0.0.2] 30"),
            (
                &[("@", CNAME, 20, &to_b), ("b.lan", CNAME, 5, &to_c), ("C.lan", A, 60, &[10, 0, 0, 3])],
                "a.lan [10.0.0.3] 5",
            ),
            // In any order; the same address once.
            (
                &[("b.lan", A, 9, &[10, 0, 0, 1]), ("@", CNAME, 20, &to_b), ("b.lan", A, 9, &[10, 0, 0, 1])],
                "a.lan [10.0.0.1] 9",
            ),
            // Of somebody else, which no one asked for.
            (&[("evil.lan", A, 60, &[10, 0, 0, 9])], ""),
            (&[("@", CNAME, 60, &to_b), ("@", A, 60, &[10, 0, 0, 9])], ""),
            (&[("@", AAAA, 60, &[0; 16])], ""),
            (&[("@", A, 60, &[10, 0, 0])], ""),
            (&[("@", A, u32::MAX, &[10, 0, 0, 1])], "a.lan [10.0.0.1] 0"),
            (&[("@", 16, 60, b"\x01x"), ("@", A, 60, &[10, 0, 0, 1])], "a.lan [10.0.0.1] 60"),
            (&[], ""),
        ] {
            assert_eq!(shown(&message(ANSWER, "A.lan.", A, answers)), expected, "{answers:?}");
        }
        let six = message(ANSWER, "a.lan", AAAA, &[("@", AAAA, 7, &Ipv6Addr::LOCALHOST.octets())]);
        assert_eq!(shown(&six), "a.lan [::1] 7");
    }

    #[test]
    fn questions_errors_and_what_is_no_host_say_nothing() {
        let answers = [("@", A, 60, &[10, 0, 0, 1][..])];
        let good = message(ANSWER, "a.lan", A, &answers);
        assert_eq!(shown(&good), "a.lan [10.0.0.1] 60");
        for flags in [0x0100, 0x8183, 0x8182, 0xa180] {
            assert_eq!(shown(&message(flags, "a.lan", A, &answers)), "", "{flags:x}");
        }
        assert_eq!(shown(&message(ANSWER, "a.lan", 16, &answers)), "", "TXT");
        for name in ["", "a b.lan", "a\u{1b}[2J.lan", "*.lan", "a@lan"] {
            assert_eq!(shown(&message(ANSWER, name, A, &answers)), "", "{name:?}");
        }
        let mut chaos = good.clone();
        chaos[22] = 3;
        assert_eq!(shown(&chaos), "", "another class");
        for cut in 0..good.len() {
            assert_eq!(shown(&good[..cut]), "", "{cut}");
        }
    }

    #[test]
    fn pointers_lead_backwards_only() {
        let good = message(ANSWER, "a.lan", A, &[("@", A, 60, &[10, 0, 0, 1])]);
        let pointer = 12 + wire("a.lan").len() + 4;
        for to in 0..=255u8 {
            let mut bytes = good.clone();
            bytes[pointer + 1] = to;
            // Whatever it leads to, it ends.
            assert_eq!(shown(&bytes).is_empty(), to != 12, "{to}");
        }
        // Each pointer to the one before: as long as the message, and no longer.
        let mut chain = vec![0; 12];
        chain.extend((5..100u8).flat_map(|n| [0xc0, n * 2]));
        assert_eq!(name(&chain, chain.len() - 2), Some(("".into(), chain.len())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_names_are_those_of_hosts(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..200, byte in any::<u8>()) {
            let to = wire("b.lan");
            let mut good = message(ANSWER, "a.lan", A, &[("@", CNAME, 5, &to), ("b.lan", A, 60, &[10, 0, 0, 1])]);
            let place = at % good.len();
            good[place] = byte;
            for message in [bytes, good] {
                if let Some(answer) = parse(&message) {
                    prop_assert!(!answer.name.is_empty() && answer.name.len() < MAX_NAME);
                    prop_assert!(answer.name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
                    prop_assert!((1..=MAX_ANSWERS).contains(&answer.addresses.len()));
                }
            }
        }
    }
}
