//! The ledgers of what the kernel reports besides packets: events of connection tracking, entries of logged packets, connects
//! of processes.

use super::sum::summed;
use super::{ByReason, Imbalance, ProcessJoin, check};

summed! {
    /// events = recorded + folded + left out + repeated + unreadable. Sent by the kernel = events + lost beginnings + dropped.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ConntrackLedger {
        /// Sockets opened.
        pub opens: u64,
        /// Messages read.
        pub events: u64,
        /// Outside: beginnings that found our buffer full, as the kernel counts them: it does not send them again.
        pub lost_beginnings: u64,
        /// Outside: changes and ends that found our buffer full, as the kernel counts them: tries, since it sends them again.
        pub dropped: u64,
        /// Events that became a record each.
        pub recorded: u64,
        /// Events that only add to the record of others.
        pub folded: u64,
        /// Events left out by INCLUDE_… and EXCLUDE_….
        pub left_out: u64,
        /// Ends that the kernel repeated.
        pub repeated: u64,
        /// Messages of another kind, or not readable.
        pub unreadable: u64,
        /// Outside: of the events, those that begin a flow.
        pub begun: u64,
        /// Outside: of the events, changes.
        pub updates: u64,
        /// Outside: of the events, ends.
        pub ended: u64,
        /// Outside: records about several flows.
        pub sums: u64,
        /// Outside: times the buffer was full.
        pub overruns: u64,
        /// Outside: dumps of the table asked for.
        pub dumps: u64,
        /// Outside: dumps that failed.
        pub dumps_failed: u64,
        /// Outside: entries that dumps showed.
        pub dump_entries: u64,
        /// Outside: records of ends that only a dump showed.
        pub ended_by_dump: u64,
        /// Outside: times a flow had no room in the table.
        pub untracked: u64,
        /// Gauge: flows in the table.
        pub flows: u64,
        /// Gauge: of those, flows that never had an event.
        pub silent: u64,
        /// Gauge: of those, flows that were not in the last dump.
        pub missing: u64,
    }
}

summed! {
    /// entries = recorded + waiting + folded + left out + unmatched + no IP + cut + foreign.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct VerdictLedger {
        /// Inputs opened.
        pub opens: u64,
        /// Entries of NFLOG and lines read.
        pub entries: u64,
        /// Entries that became a record each.
        pub recorded: u64,
        /// Gauge: entries whose record waits for what follows.
        pub waiting: u64,
        /// Entries that only add to the record of others.
        pub folded: u64,
        /// Entries left out by INCLUDE_… and EXCLUDE_….
        pub left_out: u64,
        /// Entries whose prefix fits no pattern.
        pub unmatched: u64,
        /// Entries about no IP packet.
        pub no_ip: u64,
        /// Lines that end before both addresses are whole.
        pub cut: u64,
        /// Lines that no rule wrote.
        pub foreign: u64,
        /// Outside: records of repeated entries.
        pub repeats: u64,
        /// Outside: records that had no room to wait for what follows.
        pub unjoined: u64,
        /// Outside: packets that NFLOG numbered and that never came.
        pub lost: u64,
        /// Outside: messages of NFLOG that found our buffer full.
        pub dropped: u64,
        /// Outside: lines of /dev/kmsg that were overwritten before they were read.
        pub lines_missed: u64,
        /// Outside: lines that the kernel says it left out.
        pub suppressed: u64,
        /// Outside: entries on a line with another one.
        pub glued: u64,
        /// Outside: of the entries, packets whose headers were not whole.
        pub cut_headers: u64,
        /// Outside: of the entries, later fragments.
        pub fragments: u64,
        /// Outside: times that a file was another one, or shorter than before.
        pub rotations: u64,
        /// Outside: versions of the store read.
        pub stores: u64,
    }
}

summed! {
    /// events = read + dropped; read = recorded + unreadable.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct ConnectLedger {
        /// Programs loaded.
        pub opens: u64,
        /// Connects whose result the program reported, by its own count.
        pub events: u64,
        /// Entries of its ring that were read.
        pub read: u64,
        /// Entries that found no room in the ring, as the program counts them.
        pub dropped: u64,
        /// Entries that became a record each.
        pub recorded: u64,
        /// Entries that are none.
        pub unreadable: u64,
        /// Outside: connects that found no room to wait for their result.
        pub untracked: u64,
        /// Outside: connects whose result the program missed.
        pub unended: u64,
        /// Outside: connects of podtap itself.
        pub own: u64,
        /// Outside: runs of the program that the kernel left out, because it was running on that CPU.
        pub missed: u64,
        /// Outside: connects forgotten to keep the limit, before a record may have asked for them.
        pub forgotten: u64,
        /// Outside: records of exchanges, flows and failed connects for which a process was looked for.
        pub joins: ByReason<{ ProcessJoin::COUNT }>,
    }
}

impl ConntrackLedger {
    pub(super) fn check(&self, out: &mut Vec<Imbalance>) {
        let became = self.recorded + self.folded + self.left_out + self.repeated + self.unreadable;
        check(out, "conntrack events = recorded + folded + left out + repeated + unreadable", self.events, became);
    }
}

impl VerdictLedger {
    /// Entries that are known to be missing.
    pub(crate) fn losses(&self) -> u64 {
        self.lost + self.dropped + self.lines_missed + self.suppressed
    }

    pub(super) fn check(&self, out: &mut Vec<Imbalance>) {
        let records = self.recorded + self.waiting + self.folded + self.left_out + self.unmatched;
        check(
            out,
            "verdict entries = recorded + waiting + folded + left out + unmatched + no ip + cut + foreign",
            self.entries,
            records + self.no_ip + self.cut + self.foreign,
        );
    }
}

impl ConnectLedger {
    pub(super) fn check(&self, out: &mut Vec<Imbalance>) {
        check(out, "connects = read + dropped", self.events, self.read + self.dropped);
        check(out, "connects read = recorded + unreadable", self.read, self.recorded + self.unreadable);
    }
}
