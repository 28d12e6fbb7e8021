//! Netlink as bytes: messages, attributes, and how they are written. Owns the two notations that conntrack and NFLOG share.
//!
//! Opens no socket, and knows no subsystem. Headers have the byte order of the machine, numbers of netfilter that of the
//! network. Lengths are believed only as far as there are bytes.

/// `NLMSG_ERROR`: an acknowledgement, or an error.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 1;
/// `NLM_F_ACK`
pub const ACK: u16 = 4;
/// `NLM_F_DUMP_INTR`: the table changed under the dump, which may lack entries.
pub const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_DUMP`
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL` and `NLM_F_CREATE`, which mark what is new.
pub const CREATED: u16 = 0x600;

/// Bytes of a message's header.
const HEADER: usize = 16;
/// Bytes of an attribute's header.
const ATTRIBUTE: usize = 4;
/// Bytes of netfilter's own header behind it.
pub const FAMILY: usize = 4;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetlinkMessage<'a> {
    /// Its type: for netfilter the subsystem in the high byte.
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// Of the request that it answers.
    pub sequence: u32,
    /// What is behind the header.
    pub body: &'a [u8],
}

impl<'a> NetlinkMessage<'a> {
    /// Netfilter's header: address family and the 16-bit number, and the attributes behind it.
    pub fn netfilter(&self) -> Option<(u8, u16, NetlinkAttributes<'a>)> {
        let (head, rest) = self.body.split_at_checked(FAMILY)?;
        let [family, _version, high, low] = head.try_into().ok()?;
        Some((family, u16::from_be_bytes([high, low]), NetlinkAttributes(rest)))
    }

    /// Of an `ERROR`: its number, 0 for an acknowledgement.
    pub fn error(&self) -> Option<i32> {
        let code = self.body.first_chunk::<4>().filter(|_| self.kind == ERROR)?;
        Some(i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The messages of a datagram. Ends at the first that does not fit; `rest` is what was not read then.
#[derive(Clone, Debug)]
pub struct NetlinkMessages<'a> {
    /// Bytes not read.
    pub rest: &'a [u8],
}

impl<'a> NetlinkMessages<'a> {
    /// All of `datagram`.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for NetlinkMessages<'a> {
    type Item = NetlinkMessage<'a>;

    fn next(&mut self) -> Option<NetlinkMessage<'a>> {
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *self.rest.first_chunk::<HEADER>()?;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let body = self.rest.get(HEADER..length)?;
        let message = NetlinkMessage {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        };
        self.rest = self.rest.get(aligned(length)..).unwrap_or_default();
        Some(message)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetlinkAttribute<'a> {
    /// Its number, without the two flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> NetlinkAttribute<'a> {
    /// The attributes inside.
    pub fn nested(&self) -> NetlinkAttributes<'a> {
        NetlinkAttributes(self.value)
    }

    /// One byte.
    pub fn u8(&self) -> Option<u8> {
        self.value.first().copied().filter(|_| self.value.len() == 1)
    }

    /// Two bytes in the order of the network.
    pub fn u16(&self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_be_bytes)
    }

    /// Four bytes in the order of the network.
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// Eight bytes in the order of the network.
    pub fn u64(&self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }
}

/// Attributes, one behind the other. Ends at the first that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetlinkAttributes<'a>(pub &'a [u8]);

impl<'a> Iterator for NetlinkAttributes<'a> {
    type Item = NetlinkAttribute<'a>;

    fn next(&mut self) -> Option<NetlinkAttribute<'a>> {
        let [l0, l1, k0, k1] = *self.0.first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(NetlinkAttribute { kind: u16::from_ne_bytes([k0, k1]) & 0x3fff, value })
    }
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Writes messages: requests, and what tests say in the kernel's place.
#[derive(Clone, Debug, Default)]
pub struct NetlinkWriter(Vec<u8>);

impl NetlinkWriter {
    /// A message of netfilter; `family` and `number` are its own header.
    #[must_use]
    pub fn netfilter(kind: u16, flags: u16, sequence: u32, family: u8, number: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend([family, 0]);
        bytes.extend(number.to_be_bytes());
        Self(bytes)
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    /// The bytes, the length set.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.0.first_chunk_mut::<4>() {
            *field = length.to_ne_bytes();
        }
        self.0
    }
}

/// Attributes as the value of another one.
pub fn nest(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let empty = NetlinkWriter(Vec::new());
    attributes.iter().fold(empty, |writer, (kind, value)| writer.attribute(*kind, value)).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let inner = nest(&[(1, vec![7]), (2, vec![1, 2, 3])]);
        let one = NetlinkWriter::netfilter(0x0102, 3, 9, 2, 513).attribute(5, &inner).attribute(6, &[]).finish();
        let two = NetlinkWriter::netfilter(0x0100, 0, 10, 10, 0).finish();
        let both = [one, two].concat();
        let messages: Vec<_> = NetlinkMessages::new(&both).collect();
        assert_eq!(
            messages.iter().map(|m| (m.kind, m.flags, m.sequence)).collect::<Vec<_>>(),
            [(0x0102, 3, 9), (0x0100, 0, 10)]
        );
        let (family, number, attributes) = messages[0].netfilter().unwrap();
        let read: Vec<_> = attributes.collect();
        assert_eq!((family, number, read.len()), (2, 513, 2));
        let nested: Vec<_> = read[0].nested().map(|a| (a.kind, a.value.to_vec())).collect();
        assert_eq!(nested, [(1, vec![7]), (2, vec![1, 2, 3])]);
        assert_eq!((read[1].kind, read[1].value), (6, &[][..]));
    }

    #[test]
    fn a_length_that_is_too_large_or_too_small_ends_the_walk() {
        for length in [0u32, 1, 15, 17, 400, u32::MAX] {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let mut messages = NetlinkMessages::new(&bytes);
            assert_eq!((messages.next(), messages.rest.len()), (None, 16), "{length}");
        }
        for length in [0u16, 3, 9, u16::MAX] {
            let bytes = [&length.to_ne_bytes()[..], &[1, 0, 0xaa, 0xbb, 0xcc, 0xdd]].concat();
            assert_eq!(NetlinkAttributes(&bytes).next(), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_in_at_most_a_fourth_as_many_steps(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(NetlinkAttributes(&bytes).count() <= bytes.len() / 4 + 1);
            prop_assert!(NetlinkMessages::new(&bytes).count() <= bytes.len() / 16 + 1);
        }
    }
}
