//! Questions and their answers in one capture. An answer counts only where its question was seen: no one else can put names
//! into the table by sending answers.

use std::collections::HashMap;
use std::sync::Arc;

use super::learnt::LearntNames;
use super::{PORT, parse};
use crate::flow::{Endpoint, FiveTuple, Timestamp};

/// Questions that wait for their answer at most.
const MAX_WAITING: usize = 4096;
/// How long one waits, nanoseconds: resolvers give up sooner.
const PATIENCE: u64 = 10_000_000_000;

/// Watches the datagrams of one capture.
#[derive(Debug)]
pub struct DnsWatch {
    learnt: Arc<LearntNames>,
    /// When each was asked: client, server, number.
    waiting: HashMap<(Endpoint, Endpoint, u16), Timestamp, foldhash::fast::RandomState>,
}

impl DnsWatch {
    /// What it learns goes there.
    pub fn new(learnt: Arc<LearntNames>) -> Self {
        Self { learnt, waiting: HashMap::default() }
    }

    /// Whether these could be questions or answers.
    pub fn concerns(tuple: &FiveTuple) -> bool {
        tuple.source.port == PORT || tuple.destination.port == PORT
    }

    /// A message between these two.
    pub fn take(&mut self, tuple: &FiveTuple, message: &[u8], at: Timestamp) {
        let Some([high, low, flags]) = message.first_chunk() else { return };
        let number = u16::from_be_bytes([*high, *low]);
        let is_answer = flags & 0x80 != 0;
        if is_answer && tuple.source.port == PORT {
            let asked = self.waiting.remove(&(tuple.destination, tuple.source, number));
            if asked.is_some_and(|asked| at.since(asked) <= PATIENCE)
                && let Some(answer) = parse(message)
            {
                self.learnt.learn(&answer, at);
            }
        } else if !is_answer && tuple.destination.port == PORT {
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.retain(|_, asked| at.since(*asked) <= PATIENCE);
            }
            // This many unanswered ones are a flood: it starts again.
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.clear();
            }
            self.waiting.insert((tuple.source, tuple.destination, number), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(back: bool) -> FiveTuple {
        let (client, server) = (Endpoint::new([10, 0, 0, 7], 40_000), Endpoint::new([10, 96, 0, 10], PORT));
        let (source, destination) = if back { (server, client) } else { (client, server) };
        FiveTuple { source, destination }
    }

    /// `a.lan` is 10.0.0.1.
    fn message(number: u8, answer: bool) -> Vec<u8> {
        let mut out = vec![0, number, if answer { 0x81 } else { 1 }, if answer { 0x80 } else { 0 }];
        out.extend([0, 1, 0, u8::from(answer), 0, 0, 0, 0, 1, b'a', 3, b'l', b'a', b'n', 0, 0, 1, 0, 1]);
        if answer {
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
        }
        out
    }

    fn known(watch: &DnsWatch, at: Timestamp) -> bool {
        watch.learnt.at([10, 0, 0, 1].into(), at).is_some()
    }

    #[test]
    fn an_answer_counts_where_its_question_was_asked_once_and_in_time() {
        let at = |second: u64| Timestamp(0).plus(second * 1_000_000_000);
        for (what, question, asked, answered, counts) in [
            ("as it should be", Some((7, false)), 0, 1, true),
            ("nobody asked", None, 0, 1, false),
            ("another number", Some((8, false)), 0, 1, false),
            ("the server's question", Some((7, true)), 0, 1, false),
            ("too late", Some((7, false)), 0, 11, false),
        ] {
            let mut watch = DnsWatch::new(Arc::default());
            if let Some((number, back)) = question {
                watch.take(&tuple(back), &message(number, false), at(asked));
            }
            watch.take(&tuple(true), &message(7, true), at(answered));
            assert_eq!(known(&watch, at(answered)), counts, "{what}");
        }
        let mut watch = DnsWatch::new(Arc::default());
        watch.take(&tuple(false), &message(7, false), at(0));
        watch.take(&tuple(false), &message(7, true), at(0));
        assert!(!known(&watch, at(0)), "a client answers nobody");
        assert!(DnsWatch::concerns(&tuple(true)) && DnsWatch::concerns(&tuple(false)));
    }

    #[test]
    fn questions_without_end_take_no_room_without_end() {
        let mut watch = DnsWatch::new(Arc::default());
        for n in 0..20_000u32 {
            let source = Endpoint::new(n.to_be_bytes(), 40_000);
            watch.take(&FiveTuple { source, ..tuple(false) }, &message(1, false), Timestamp(0));
        }
        assert!(watch.waiting.len() <= MAX_WAITING);
    }
}
