//! Packets of NFLOG with any headers and prefixes, some of them lost: the losses are counted to the packet.

use podtap::flow::Timestamp;
use podtap::ledger::Ledger;
use podtap::netlink::NetlinkWriter;
use podtap::record::Record;
use podtap::verdict::{PrefixPatterns, VerdictConfig, VerdictEngine};

use super::choices::Choices;

/// For each packet: its group, how many were lost before it, its attributes.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut verdicts = VerdictEngine::new(VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats: None,
        patience: None,
        observer_id: String::new(),
        filter: Default::default(),
    });
    let (mut next, mut lost, mut sent, mut records) = ([0u32; 2], 0u64, 0u64, 0u64);
    while !choices.is_empty() {
        let group = choices.below(2);
        let missing = u32::from(choices.byte() % 4);
        let number = next[group].wrapping_add(missing);
        next[group] = number.wrapping_add(1);
        lost += u64::from(missing);
        sent += 1;
        let message = packet(&mut choices, u16::from(group != 0), number);
        verdicts.handle_nflog(&message, Timestamp(1), |index| Some(index.to_string().into()));
        let packets = |record| if let Record::Verdict(packet) = record { packet.packets } else { 0 };
        records += verdicts.records().drain(..).map(packets).sum::<u64>();
    }
    let ledger = Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() };
    assert!(ledger.imbalances().is_empty(), "{:?}", ledger.verdicts);
    assert_eq!((ledger.verdicts.entries, ledger.verdicts.lost, ledger.verdicts.recorded), (sent, lost, records));
}

fn packet(choices: &mut Choices<'_>, group: u16, number: u32) -> Vec<u8> {
    let flags = choices.byte();
    let mut message = NetlinkWriter::netfilter(4 << 8, 0, 0, 2, group).attribute(12, &number.to_be_bytes());
    for (bit, kind, most) in [(0, 1u16, 4), (1, 2, 4), (2, 3, 16), (3, 4, 4), (4, 5, 4), (5, 11, 4)] {
        if flags >> bit & 1 == 1 {
            message = message.attribute(kind, choices.take(most));
        }
    }
    let prefix =
        [if flags & 0x40 == 0 { &b"OK_"[..] } else { b"DENY_" }, choices.take(usize::from(flags >> 4))].concat();
    let length = usize::from(choices.byte());
    message.attribute(10, &prefix).attribute(9, choices.take(length)).finish()
}
