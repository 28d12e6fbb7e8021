//! Lines of the kernel log and datagrams of NFLOG: any bytes, glued and cut, with time going on between them.

use podtap::flow::{Endpoint, IpProtocol, Timestamp};
use podtap::ledger::Ledger;
use podtap::record::{FlowNews, FlowProgress, Record, VerdictInput};
use podtap::verdict::{PrefixPatterns, VerdictConfig, VerdictEngine, read_packet};

use super::choices::Choices;

/// What comes next (a line, a datagram, a packet alone, time), a length, and this many bytes, again and again.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let repeats = choices.byte().is_multiple_of(2).then_some(1000);
    let mut verdicts = VerdictEngine::new(VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats,
        patience: choices.byte().is_multiple_of(2).then_some(1500),
        observer_id: String::new(),
        filter: Default::default(),
    });
    let (mut now, mut packets) = (0i64, 0u64);
    while !choices.is_empty() {
        now += 300;
        let at = Timestamp(now);
        match choices.byte() % 9 {
            0 => verdicts.handle_timeout(at),
            8 => verdicts.handle_news(&news(&mut choices, at)),
            1 => _ = read_packet(piece(&mut choices)),
            2 | 3 => verdicts.handle_nflog(piece(&mut choices), at, |_| None),
            4 => verdicts.handle_line(piece(&mut choices), VerdictInput::Kmsg, at, Some(at)),
            _ => verdicts.handle_line(piece(&mut choices), VerdictInput::File, at, None),
        }
        packets += taken(&mut verdicts);
    }
    verdicts.finish();
    packets += taken(&mut verdicts);
    let ledger = verdicts.ledger();
    assert_eq!(packets, ledger.recorded + ledger.folded, "every entry is in one record");
}

/// The packets of the records so far.
fn taken(verdicts: &mut VerdictEngine) -> u64 {
    let ledger = Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() };
    assert!(ledger.imbalances().is_empty(), "{:?}", ledger.verdicts);
    let packets = |record| if let Record::Verdict(packet) = record { packet.packets } else { 0 };
    verdicts.records().drain(..).map(packets).sum()
}

/// Of a connection that the seeds' packets belong to, or of another one.
fn news(choices: &mut Choices<'_>, at: Timestamp) -> FlowNews {
    let progress = [FlowProgress::Begun, FlowProgress::Unanswered, FlowProgress::Answered, FlowProgress::Established];
    let what = choices.byte();
    FlowNews {
        protocol: IpProtocol::UDP,
        source: Endpoint::new([10, 0, 0, 1], 40_000),
        destination: Endpoint::new([10, 0, 0, 2], u16::from(what >> 3)),
        source_nat: None,
        destination_nat: Some(Endpoint::new([10, 0, 0, 2], 53)),
        progress: progress[usize::from(what % 4)],
        ended: what & 4 != 0,
        at,
    }
}

fn piece<'a>(choices: &mut Choices<'a>) -> &'a [u8] {
    let length = usize::from(choices.byte()) * 2;
    choices.take(length)
}
