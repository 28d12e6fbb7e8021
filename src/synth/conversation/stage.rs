//! How a conversation is set: who, when, where the tap is, how segments are cut and wrapped.
//!
//! What is said is in the parent module.

use std::time::Duration;

use super::super::wire::{LinkHeaders, Wrap};
use super::end::SynthEnd;
use super::{AckPolicy, Conversation, MSS, SynthSide, nanos};
use crate::flow::{Endpoint, Timestamp};

/// 10.0.0.1:40000 with 10.0.0.2:80.
impl Default for Conversation {
    fn default() -> Self {
        Self::new(Endpoint::new([10, 0, 0, 1], 40000), Endpoint::new([10, 0, 0, 2], 80))
    }
}

/// The stage: all of these before the first frame, except `at` and `segments_of`, which may come at any time.
impl Conversation {
    /// A conversation that starts on 2026-03-01 at noon, with a round trip of 200 µs.
    pub fn new(client: Endpoint, server: Endpoint) -> Self {
        let start = Timestamp::new(1_772_366_400, 0);
        let (client, server) = (SynthEnd::new(client, server), SynthEnd::new(server, client));
        Self {
            client: SynthEnd { expected: server.next, ..client },
            server: SynthEnd { expected: client.next, ..server },
            now: start,
            rtt: 200_000,
            tap: SynthSide::Client,
            acks: AckPolicy::default(),
            segment: MSS,
            wrap: Wrap::default(),
            last_sender: None,
            last_data: start,
            frames: Vec::new(),
        }
    }

    /// The next frame comes at `now` (or later); back in time, if wanted.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The round trip between tap and far end.
    #[must_use]
    pub fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = nanos(rtt);
        self
    }

    /// The tap is at the server, as a sidecar is.
    #[must_use]
    pub fn tap_at_server(mut self) -> Self {
        self.tap = SynthSide::Server;
        self
    }

    /// When receivers acknowledge.
    #[must_use]
    pub fn acks(mut self, acks: AckPolicy) -> Self {
        self.acks = acks;
        self
    }

    /// Payload of a full segment: 1448 at first; up to 65483 are what segmentation offload shows, more is BIG TCP.
    #[must_use]
    pub fn segments_of(mut self, payload: usize) -> Self {
        self.segment = payload.max(1);
        self
    }

    /// The headers before the IP header.
    #[must_use]
    pub fn link(mut self, link: LinkHeaders) -> Self {
        self.wrap.link = link;
        self
    }

    /// 802.1Q tags, outermost first; only Ethernet has them.
    #[must_use]
    pub fn vlans(mut self, tags: &[u16]) -> Self {
        self.wrap.vlans = tags.to_vec();
        self
    }

    /// TCP checksums as on `lo` and veth: unfinished.
    #[must_use]
    pub fn offloaded_checksums(mut self) -> Self {
        self.wrap.offload = true;
        self
    }

    /// Initial sequence numbers; else they are made of the endpoints.
    #[must_use]
    pub fn initial_seqs(mut self, client: u32, server: u32) -> Self {
        for (end, isn) in [(&mut self.client, client), (&mut self.server, server)] {
            end.isn = isn;
            end.next = isn.wrapping_add(1);
        }
        self.client.expected = self.server.next;
        self.server.expected = self.client.next;
        self
    }
}
