//! Names as they were learnt from answers: by address, each for its time. Owns the limits; reads no message.
//!
//! Several captures write, every record reads. Time is that of the packets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use compact_str::CompactString;
use dashmap::DashMap;

use super::DnsAnswer;
use crate::flow::Timestamp;
use crate::record::{DomainNames, DomainSource};

/// Addresses with names at most: the network fills this.
const MAX_ADDRESSES: usize = 16_384;
/// Names of one address at most.
const MAX_NAMES: usize = 8;
/// An answer holds at least so long, since programs keep it beyond its time, nanoseconds.
const LEAST: u64 = 30_000_000_000;
/// What has ended is remembered for a while, as records come late.
const MEMORY: u64 = 120_000_000_000;
/// How often room is looked for where there is none.
const SWEEP_EVERY: u64 = 1_000_000_000;

/// Which names lead to which address.
#[derive(Debug, Default)]
pub struct LearntNames {
    addresses: DashMap<IpAddr, Vec<LearntName>, foldhash::fast::RandomState>,
    swept: AtomicI64,
    answers: AtomicU64,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct LearntName {
    name: CompactString,
    from: Timestamp,
    until: Timestamp,
}

impl LearntNames {
    /// Takes an answer that came at that time.
    pub fn learn(&self, answer: &DnsAnswer, at: Timestamp) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let until = at.plus((u64::from(answer.ttl) * 1_000_000_000).max(LEAST));
        for ip in &answer.addresses {
            self.put(*ip, &answer.name, at, until);
        }
    }

    fn put(&self, ip: IpAddr, name: &CompactString, from: Timestamp, until: Timestamp) {
        let ip = ip.to_canonical();
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&ip) && !self.makes_room(from) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut names = self.addresses.entry(ip).or_default();
        if let Some(known) = names.iter_mut().find(|known| known.name == *name && known.until >= from) {
            known.until = known.until.max(until);
            return;
        }
        if names.len() >= MAX_NAMES {
            names.retain(|known| known.until >= from);
        }
        if names.len() < MAX_NAMES {
            names.push(LearntName { name: name.clone(), from, until });
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets what has ended; not more often than now and then, so that a flood pays for no scan each time.
    fn makes_room(&self, now: Timestamp) -> bool {
        let swept = Timestamp(self.swept.load(Ordering::Relaxed));
        if now < swept.plus(SWEEP_EVERY) && now >= swept {
            return false;
        }
        self.swept.store(now.0, Ordering::Relaxed);
        self.addresses.retain(|_, names| {
            names.retain(|name| name.until.plus(MEMORY) >= now);
            !names.is_empty()
        });
        self.addresses.len() < MAX_ADDRESSES
    }

    /// The names that led to an address at that time: all of them.
    pub fn at(&self, ip: IpAddr, at: Timestamp) -> Option<Arc<DomainNames>> {
        let names = self.addresses.get(&ip.to_canonical())?;
        let valid = names.iter().filter(|name| name.from <= at && at <= name.until);
        let names: crate::record::NameSet = valid.map(|name| name.name.clone()).collect();
        (!names.is_empty()).then(|| Arc::new(DomainNames { names, source: DomainSource::Dns }))
    }

    /// Addresses with names, answers read, and names that had no room.
    pub fn counts(&self) -> [u64; 3] {
        let at = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [self.addresses.len() as u64, at(&self.answers), at(&self.left_out)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp(0).plus(second * 1_000_000_000)
    }

    fn answer(name: &str, last: u8, ttl: u32) -> DnsAnswer {
        DnsAnswer { name: name.into(), addresses: vec![[10, 0, 0, last].into()], ttl }
    }

    fn names(learnt: &LearntNames, second: u64) -> String {
        let found = learnt.at([10, 0, 0, 1].into(), at(second));
        found
            .map(|domain| domain.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    }

    #[test]
    fn a_name_holds_for_its_time_and_two_names_are_both_given() {
        let learnt = LearntNames::default();
        learnt.learn(&answer("a.lan", 1, 100), at(10));
        learnt.learn(&answer("b.lan", 1, 5), at(50));
        for (second, expected) in
            [(9, ""), (10, "a.lan"), (50, "a.lan b.lan"), (80, "a.lan b.lan"), (81, "a.lan"), (110, "a.lan"), (111, "")]
        {
            assert_eq!(names(&learnt, second), expected, "{second}");
        }
        learnt.learn(&answer("a.lan", 1, 60), at(100));
        assert_eq!(names(&learnt, 160), "a.lan", "the same answer again makes it longer");
        // Between two times of the same name it had none.
        learnt.learn(&answer("a.lan", 1, 60), at(300));
        assert_eq!([200, 300].map(|second| names(&learnt, second)), ["", "a.lan"]);
    }

    #[test]
    fn a_flood_of_answers_has_a_limit_and_what_has_no_room_is_counted() {
        let learnt = LearntNames::default();
        for n in 0..40_000u32 {
            let addresses = vec![IpAddr::V4((0x0b00_0000 + n).into())];
            learnt.learn(&DnsAnswer { name: "a.lan".into(), addresses, ttl: 60 }, at(10));
        }
        assert_eq!(learnt.counts(), [16_384, 40_000, 40_000 - 16_384]);
        for n in 0..100 {
            learnt.learn(&answer(&format!("n{n}.lan"), 1, 60), at(500));
        }
        assert_eq!(names(&learnt, 500).split(' ').count(), MAX_NAMES, "what was old made room");
        assert_eq!(learnt.counts()[0], 1);
    }
}
