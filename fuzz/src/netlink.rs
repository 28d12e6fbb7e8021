//! The walk over messages and attributes: any bytes, and every reader that is on it.

use podtap::conntrack;
use podtap::netlink::{NetlinkAttribute, NetlinkAttributes, NetlinkMessage, NetlinkMessages, NetlinkWriter, nest};
use podtap::verdict::nflog;

/// How deep attributes are looked into.
const DEPTH: usize = 4;

/// A datagram.
pub fn run(bytes: &[u8]) {
    let mut messages = NetlinkMessages::new(bytes);
    let (mut count, mut read) = (0, 0);
    for message in &mut messages {
        count += 1;
        read += message.body.len();
        let _ = (conntrack::read(&message), nflog::read(&message), message.error());
        if let Some((family, number, attributes)) = message.netfilter() {
            walk(attributes, DEPTH);
            comes_back(&message, family, number, attributes);
        }
    }
    assert!(count * 16 + read + messages.rest.len() <= bytes.len(), "bytes are read twice");
}

fn walk(attributes: NetlinkAttributes<'_>, depth: usize) {
    let all = attributes.0.len();
    let mut read = 0;
    for attribute in attributes {
        read += 4 + attribute.value.len();
        let numbers = (attribute.u8(), attribute.u16(), attribute.u32(), attribute.u64());
        assert!(attribute.value.len() < 9 || numbers == (None, None, None, None), "a number of no size");
        if depth > 0 {
            walk(attribute.nested(), depth - 1);
        }
    }
    assert!(read <= all, "bytes are read twice");
}

/// What was read is written, and read again.
fn comes_back(message: &NetlinkMessage<'_>, family: u8, number: u16, attributes: NetlinkAttributes<'_>) {
    let pair = |attribute: NetlinkAttribute<'_>| (attribute.kind, attribute.value.to_vec());
    let read: Vec<_> = attributes.map(pair).collect();
    assert_eq!(NetlinkAttributes(&nest(&read)).map(pair).collect::<Vec<_>>(), read);
    let head = NetlinkWriter::netfilter(message.kind, message.flags, message.sequence, family, number);
    let written = read.iter().fold(head, |writer, (kind, value)| writer.attribute(*kind, value)).finish();
    let again: Vec<_> = NetlinkMessages::new(&written).collect();
    let [again] = &again[..] else { panic!("one message is not one") };
    assert_eq!((again.kind, again.flags, again.sequence), (message.kind, message.flags, message.sequence));
    assert_eq!(conntrack::read(again), conntrack::read(message));
    assert_eq!(nflog::read(again), nflog::read(message));
}
