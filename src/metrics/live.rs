//! Records as they happen, for `podtap top` in the same network namespace. Owns the bounds on what that costs the one that
//! runs. Records wait in one short queue, and one that finds it full is missed and counted. Delivers nothing: sinks do.
//!
//! Without a watcher a record costs one look at a counter. With one, a capture thread hands on records that it would drop
//! anyway, without their headers; another thread turns them into lines.

mod socket;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::socket::{LiveSocket, address};
use super::{StatusReport, lock};
use crate::format::Observer;
use crate::format::ecs::write_json_capped;
use crate::record::Record;
use crate::tally::kept::{bytes_of, strip};

/// Records that wait at most until the next block is made: with `socket::EVERY`, 5,000 a second.
const MOST_RECORDS: usize = 250;
/// What they may take.
const MOST_BYTES: usize = 256 << 10;
/// A record's line has at most this many bytes: a longer one is shortened.
const LONGEST_LINE: usize = 16 << 10;
/// A block of lines; what does not fit is missed.
const LONGEST_BLOCK: usize = 512 << 10;

/// A line between the records: how the one that runs does, and what this watcher missed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// Why there is nothing to watch; nothing follows.
    pub refused: Option<String>,
    /// Records that did not fit, since the watcher came.
    pub missed: u64,
    /// What `podtap status` shows.
    pub status: StatusReport,
}

/// A line with a notice. No record begins with its field.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoticeLine {
    /// What it says.
    pub watch: Notice,
}

/// Records on their way to watchers.
#[derive(Debug, Default)]
pub(super) struct Feed {
    watchers: AtomicUsize,
    waiting: Mutex<Waiting>,
    /// The first watcher came.
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    bytes: usize,
    /// Records that were offered so far, missed ones too.
    offered: u64,
}

/// Lines of records, and the places of those in all that was offered.
#[derive(Debug, Default)]
struct Block {
    text: Vec<u8>,
    /// Records in it.
    number: u64,
    /// Records offered before its first one, and up to its end: what lies between and is not in it was missed.
    from: u64,
    to: u64,
}

impl Feed {
    pub(super) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Takes the records; those that have no room are missed.
    pub(super) fn offer(&self, records: &mut Vec<Record>) {
        records.iter_mut().for_each(strip);
        let mut waiting = lock(&self.waiting);
        let Waiting { records: kept, bytes, offered } = &mut *waiting;
        let fits = |record: &&Record| {
            *bytes += bytes_of(record);
            *bytes <= MOST_BYTES
        };
        let fit = records.iter().take(MOST_RECORDS - kept.len().min(MOST_RECORDS)).take_while(fits).count();
        *offered += records.len() as u64;
        kept.extend(records.drain(..fit));
        drop(waiting);
        records.clear();
    }

    /// What has waited, as lines.
    fn take(&self, from: u64) -> Block {
        let (records, to) = {
            let mut waiting = lock(&self.waiting);
            waiting.bytes = 0;
            (std::mem::take(&mut waiting.records), waiting.offered)
        };
        let (mut text, mut number) = (Vec::new(), 0);
        for record in &records {
            let end = text.len();
            write_json_capped(&mut text, record, &Observer::default(), LONGEST_LINE);
            if text.len() > LONGEST_BLOCK {
                text.truncate(end);
                break;
            }
            number += 1;
        }
        Block { text, number, from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{connect, exchange, record};

    fn offer(feed: &Feed, number: usize, target: &str) {
        let mut one = exchange();
        one.request.as_mut().unwrap().target = target.into();
        feed.offer(&mut vec![record(one); number]);
    }

    #[test]
    fn what_finds_no_room_is_missed_and_counted_and_there_is_room_again_afterwards() {
        let feed = Feed::default();
        for (number, target, kept) in
            [(3, "/", 3), (2 * MOST_RECORDS, "/", MOST_RECORDS), (9, &"x".repeat(MOST_BYTES / 4)[..], 3), (1, "/", 1)]
        {
            let from = lock(&feed.waiting).offered;
            offer(&feed, number, target);
            let block = feed.take(from);
            assert_eq!((block.number, block.to - block.from), (kept as u64, number as u64), "{number}");
            assert_eq!(block.text.iter().filter(|byte| **byte == b'\n').count(), kept);
        }
    }

    #[test]
    fn a_queue_that_nothing_empties_grows_no_more() {
        let feed = Feed::default();
        (0..100).for_each(|_| offer(&feed, 100, "/"));
        feed.offer(&mut vec![connect().into()]);
        let waiting = lock(&feed.waiting);
        assert_eq!((waiting.records.len(), waiting.offered), (MOST_RECORDS, 10_001));
    }

    #[test]
    fn a_block_has_its_limit_whatever_is_escaped_in_it() {
        let feed = Feed::default();
        offer(&feed, 20, &"\\\"".repeat(6000));
        let block = feed.take(0);
        assert!(block.text.len() <= LONGEST_BLOCK && block.number > 10, "{} {}", block.text.len(), block.number);
    }
}
