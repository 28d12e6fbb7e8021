//! What a flow has come to, for those who wait for it. Owns what is known, and what is not; who waits is no business of it.

use super::{FlowEntry, FlowPhase};
use crate::flow::Timestamp;
use crate::record::{FlowNews, FlowProgress};

impl FlowEntry {
    /// How far it has come. That nothing came back to TCP is certain: who had an answer would go on.
    fn progress(&self) -> FlowProgress {
        match (self.phase, self.tcp.is_some()) {
            (FlowPhase::Established | FlowPhase::Closed, true) => FlowProgress::Established,
            (FlowPhase::Refused | FlowPhase::Unreachable, _) => FlowProgress::Answered,
            _ if self.heard == [true; 2] => FlowProgress::Answered,
            _ => FlowProgress::Begun,
        }
    }

    /// What those who wait for news do not know yet.
    pub(in crate::flows) fn news(&mut self, at: Timestamp) -> Option<FlowNews> {
        let progress = self.progress();
        if self.told >= Some(progress) {
            return None;
        }
        self.told = Some(progress);
        self.news_of(progress, false, at)
    }

    /// A connection that no one has answered so far. Whether a datagram was answered elsewhere is not known.
    pub(in crate::flows) fn unanswered(&self, now: Timestamp) -> Option<FlowNews> {
        let waits = self.tcp.is_some() && self.phase == FlowPhase::Attempt;
        if waits { self.news_of(FlowProgress::Unanswered, false, now) } else { None }
    }

    /// It is over.
    pub(in crate::flows) fn last_news(&self) -> Option<FlowNews> {
        let progress = self.told.max(Some(self.progress()))?;
        let is_known = self.tcp.is_some() && self.phase != FlowPhase::Reset || progress > FlowProgress::Begun;
        if is_known { self.news_of(progress, true, self.over.unwrap_or(self.last)) } else { None }
    }

    fn news_of(&self, progress: FlowProgress, ended: bool, at: Timestamp) -> Option<FlowNews> {
        let [low, high] = [self.key.ends.low, self.key.ends.high];
        let (mut source, mut destination) = self.source.pick((low, high), (high, low));
        if self.key.protocol.is_icmp() {
            source.port = self.icmp.and_then(|icmp| icmp.id)?;
            destination.port = 0;
        }
        let protocol = self.key.protocol;
        Some(FlowNews { protocol, source, destination, source_nat: None, destination_nat: None, progress, ended, at })
    }
}
