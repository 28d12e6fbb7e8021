//! The way of news about connections from the thread that tracks them to those that read logged packets.
//!
//! Neither waits for the other: what finds no room is counted, and then nothing is known to be absent for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::conntrack::Tracker;
use crate::flow::Timestamp;
use crate::record::FlowNews;
use crate::verdict::Verdicts;

/// News that wait for one reader.
const ROOM: usize = 16_384;

/// Where news go.
#[derive(Debug, Default)]
pub(super) struct NewsSender {
    readers: Vec<(SyncSender<FlowNews>, Arc<Shared>)>,
}

/// Where news come from.
#[derive(Debug)]
pub(super) struct NewsReader {
    news: Receiver<FlowNews>,
    shared: Arc<Shared>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    asks: AtomicBool,
}

impl NewsSender {
    /// One reader more.
    pub(super) fn reader(&mut self) -> NewsReader {
        let (sender, news) = sync_channel(ROOM);
        let shared = Arc::new(Shared::default());
        self.readers.push((sender, Arc::clone(&shared)));
        NewsReader { news, shared, lost: 0 }
    }

    /// Passes on what the tracker says, and asks it for what readers wait for.
    pub(super) fn serve(&self, tracker: &mut Tracker) {
        let news = tracker.news();
        for (reader, shared) in &self.readers {
            let lost = news.iter().filter(|news| reader.try_send(**news).is_err()).count();
            shared.lost.fetch_add(lost as u64, Ordering::Relaxed);
        }
        news.clear();
        if self.readers.iter().any(|(_, shared)| shared.asks.swap(false, Ordering::Relaxed)) {
            tracker.ask_for_dump();
        }
    }
}

impl NewsReader {
    /// Hands on what has come, and asks for what records wait for.
    pub(super) fn serve(&mut self, verdicts: &mut Verdicts, now: Timestamp) {
        self.news.try_iter().take(ROOM).for_each(|news| verdicts.handle_news(&news));
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost != std::mem::replace(&mut self.lost, lost) {
            verdicts.handle_lost_news(now);
        }
        if verdicts.wants_table(now) {
            self.shared.asks.store(true, Ordering::Relaxed);
        }
    }
}
