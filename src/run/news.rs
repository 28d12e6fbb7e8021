//! The way of news about connections from the threads that see them (connection tracking, flows) to those that read logged
//! packets.
//!
//! Neither waits for the other: what finds no room is counted, and then nothing is known to be absent for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::flow::Timestamp;
use crate::record::FlowNews;
use crate::verdict::VerdictEngine;

/// News that wait for one reader.
const ROOM: usize = 16_384;

/// Where news go: a clone for each thread that has some.
#[derive(Clone, Debug, Default)]
pub(super) struct NewsSender {
    readers: Vec<NewsLine>,
}

#[derive(Clone, Debug)]
struct NewsLine {
    sender: SyncSender<FlowNews>,
    shared: Arc<NewsQueue>,
    /// What its reader has asked for, as far as this sender has seen.
    seen: u64,
}

/// Where news come from.
#[derive(Debug)]
pub(super) struct NewsReader {
    news: Receiver<FlowNews>,
    shared: Arc<NewsQueue>,
    lost: u64,
}

#[derive(Debug, Default)]
struct NewsQueue {
    lost: AtomicU64,
    /// How often the reader has asked for what it waits for.
    asks: AtomicU64,
}

impl NewsSender {
    /// One reader more.
    pub(super) fn reader(&mut self) -> NewsReader {
        let (sender, news) = sync_channel(ROOM);
        let shared = Arc::new(NewsQueue::default());
        self.readers.push(NewsLine { sender, shared: Arc::clone(&shared), seen: 0 });
        NewsReader { news, shared, lost: 0 }
    }

    /// Passes on news; whether readers have asked for more since.
    pub(super) fn serve(&mut self, news: &mut Vec<FlowNews>) -> bool {
        let mut asked = false;
        for line in &mut self.readers {
            let lost = news.iter().filter(|news| line.sender.try_send(**news).is_err()).count();
            line.shared.lost.fetch_add(lost as u64, Ordering::Relaxed);
            let asks = line.shared.asks.load(Ordering::Relaxed);
            asked |= asks != std::mem::replace(&mut line.seen, asks);
        }
        news.clear();
        asked
    }

    /// Something was lost before it could become news.
    pub(super) fn note_lost(&self) {
        for line in &self.readers {
            line.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl NewsReader {
    /// Hands on what has come, and asks for what records wait for.
    pub(super) fn serve(&mut self, verdicts: &mut VerdictEngine, now: Timestamp) {
        self.news.try_iter().take(ROOM).for_each(|news| verdicts.handle_news(&news));
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost != std::mem::replace(&mut self.lost, lost) {
            verdicts.handle_lost_news(now);
        }
        if verdicts.wants_table(now) {
            self.shared.asks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, IpProtocol};
    use crate::record::FlowProgress;

    #[test]
    fn each_reader_hears_all_senders_and_each_sender_hears_what_was_asked_for() {
        let [source, destination] = [1, 2].map(|port| Endpoint::new([10, 0, 0, 1], port));
        let (progress, at) = (FlowProgress::Begun, Timestamp(0));
        let of = |ended| {
            let protocol = IpProtocol::TCP;
            FlowNews { protocol, source, destination, source_nat: None, destination_nat: None, progress, ended, at }
        };
        let mut sender = NewsSender::default();
        let readers = [sender.reader(), sender.reader()];
        let mut other = sender.clone();
        assert!(!sender.serve(&mut vec![of(false)]) && !other.serve(&mut vec![of(true)]));
        for reader in &readers {
            assert_eq!(reader.news.try_iter().map(|news| news.ended).collect::<Vec<_>>(), [false, true]);
        }
        readers[1].shared.asks.fetch_add(1, Ordering::Relaxed);
        for sender in [&mut sender, &mut other] {
            assert_eq!([sender.serve(&mut Vec::new()), sender.serve(&mut Vec::new())], [true, false]);
        }
        sender.serve(&mut vec![of(false); ROOM + 3]);
        sender.note_lost();
        assert_eq!(readers[0].shared.lost.load(Ordering::Relaxed), 4);
    }
}
