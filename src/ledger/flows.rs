//! The ledger of flows: every frame is a packet of one flow, or of none for a reason; every packet is reported once.

use super::sum::summed;
use super::{ByReason, FrameLedger, Imbalance, Skip, check};

summed! {
    /// frames = frames in flows + without flow + waiting; packets = reported + open; bytes = reported + open.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct FlowLedger {
        /// Whether flows are recorded at all.
        pub enabled: bool,
        /// Frames that are packets of flows, or parts of such packets.
        pub frames: u64,
        /// Frames that are no flow's, by `Skip`.
        pub without_flow: ByReason<{ Skip::COUNT }>,
        /// Gauge: frames held until it is known whose they are: fragments, and SYNs that a mesh redirects.
        pub waiting: u64,
        /// Packets of flows.
        pub packets: u64,
        /// Their bytes, from the IP header on.
        pub bytes: u64,
        /// Packets in records.
        pub reported_packets: u64,
        /// Bytes in records.
        pub reported_bytes: u64,
        /// Gauge: packets not yet in a record.
        pub open_packets: u64,
        /// Gauge: bytes not yet in a record.
        pub open_bytes: u64,
        /// Outside: flows seen.
        pub flows: u64,
        /// Gauge: flows in the table.
        pub open: u64,
        /// Outside: flows given up to make room.
        pub evicted: u64,
        /// Outside: records made.
        pub records: u64,
    }
}

impl FlowLedger {
    pub(super) fn check(&self, frames: &FrameLedger, out: &mut Vec<Imbalance>) {
        if !self.enabled {
            return;
        }
        let apart = self.without_flow.total() + self.waiting;
        check(out, "frames = frames of flows + without flow + waiting", frames.frames, self.frames + apart);
        let packets = self.reported_packets + self.open_packets;
        check(out, "packets of flows = reported + open", self.packets, packets);
        check(out, "bytes of flows = reported + open", self.bytes, self.reported_bytes + self.open_bytes);
    }
}
