//! Entries of the ring of connects: any bytes, cut anywhere. The ledger adds up, and text takes no more room than it came in.

use podtap::connects::{ConnectConfig, ConnectEngine, KernelClocks, KernelCounts};
use podtap::ledger::Ledger;
use podtap::record::Record;

/// Each entry has its length in front, in two bytes.
pub fn run(data: &[u8]) {
    let mut connects = ConnectEngine::new(ConnectConfig::default(), vec![[10, 0, 0, 1].into()]);
    connects.set_clocks(KernelClocks { monotonic: i64::MAX, boot: i64::MIN, error: 0 });
    let (mut rest, mut entries) = (data, 0);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (entry, next) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
        connects.handle_entry(entry);
        (rest, entries) = (next, entries + 1);
        for record in connects.records().drain(..) {
            let Record::Connect(connect) = record else { panic!("{record:?}") };
            let process = connect.process.expect("its process");
            let text: usize = process.args.iter().map(|arg| arg.len()).sum();
            // A byte that is no text becomes four, and a mask is four too.
            assert!(text <= 4 * entry.len() + 8, "{text} of {}", entry.len());
        }
    }
    assert_eq!(connects.ledger().read, entries);
    let counted = |sent| [KernelCounts { sent, dropped: 3, ..KernelCounts::default() }];
    let imbalances = |connects: &ConnectEngine| {
        Ledger { connects: connects.ledger().clone(), ..Ledger::default() }.imbalances().len()
    };
    connects.handle_counts(&counted(entries), true);
    let ledger = connects.ledger();
    assert_eq!((ledger.events, ledger.read), (entries + 3, ledger.recorded + ledger.unreadable));
    assert_eq!(imbalances(&connects), 0);
    // What was sent and never came is for the kernel to have done, and for us to say.
    connects.handle_counts(&counted(entries + 1), true);
    assert_eq!(imbalances(&connects), 1);
}
