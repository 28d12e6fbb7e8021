//! Who had an address when. Owns the map and its limit; knows no source.
//!
//! Many threads read it for every record, few write. Addresses change hands within seconds, so each keeps who had it
//! before, too. Where two could have had it at a moment, it says nothing: a name is never a guess.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;

use super::Rank;
use super::containers::Containers;
use crate::flow::Timestamp;
use crate::ledger::{Lookup, WorkloadCounts};
use crate::record::Workload;

/// How many may be remembered that had one address.
const MAX_TENURES: usize = 8;
/// Sources and their kinds of which it is known whether they are up to date; others always are.
const MAX_SOURCES: usize = 8;
const MAX_KINDS: usize = 8;
/// The end of what has not ended.
const OPEN: Timestamp = Timestamp(i64::MAX);
/// The beginning of what no one knows the beginning of.
pub(super) const EVER: Timestamp = Timestamp(i64::MIN);
/// What an address costs in the map next to its tenures.
const ADDRESS_BYTES: usize = 64;

/// Who holds an address, as its source numbers them: a pod, a line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressHolder(pub(super) u64);

/// The table.
#[derive(Debug)]
pub(super) struct WorkloadTable {
    addresses: DashMap<IpAddr, Vec<AddressTenure>, foldhash::fast::RandomState>,
    max_bytes: usize,
    bytes: AtomicUsize,
    left_out: AtomicU64,
    lookups: [AtomicU64; Lookup::ALL.len()],
    /// Up to when each kind of each source is up to date.
    believed: [[AtomicI64; MAX_KINDS]; MAX_SOURCES],
    /// Containers by their id, where processes are recorded.
    pub(super) containers: Option<Containers>,
}

/// One workload at an address, for a time.
#[derive(Clone, Debug)]
struct AddressTenure {
    rank: Rank,
    holder: AddressHolder,
    from: Timestamp,
    until: Timestamp,
    workload: Arc<Workload>,
}

impl WorkloadTable {
    /// An empty one that takes about `max_bytes` at most.
    pub(super) fn new(max_bytes: usize) -> Self {
        let (addresses, bytes, left_out, lookups) = Default::default();
        let believed = std::array::from_fn(|_| std::array::from_fn(|_| AtomicI64::new(OPEN.0)));
        Self { addresses, max_bytes, bytes, left_out, lookups, believed, containers: None }
    }

    /// The same with names of containers.
    pub(super) fn with_containers(self, containers: Option<Containers>) -> Self {
        Self { containers, ..self }
    }

    /// Who had the address then, and who says so.
    pub(super) fn at(&self, ip: IpAddr, at: Timestamp) -> Option<(Rank, Arc<Workload>)> {
        let (lookup, found) = match self.addresses.get(&ip.to_canonical()) {
            None => (Lookup::Unknown, None),
            Some(tenures) => who(tenures.iter().filter(|tenure| tenure.covers(at) && self.believes(tenure.rank, at))),
        };
        if let Some(count) = self.lookups.get(lookup as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// What a kind of a source says of times after `until` is not believed: it cannot be asked. `None`: it is up to date.
    pub(super) fn believe(&self, rank: Rank, until: Option<Timestamp>) {
        if let Some(believed) = self.believed(rank) {
            believed.store(until.unwrap_or(OPEN).0, Ordering::Relaxed);
        }
    }

    fn believes(&self, rank: Rank, at: Timestamp) -> bool {
        self.believed(rank).is_none_or(|until| at.0 <= until.load(Ordering::Relaxed))
    }

    fn believed(&self, rank: Rank) -> Option<&AtomicI64> {
        self.believed.get(usize::from(rank.source))?.get(usize::from(rank.kind))
    }

    /// `holder` has the address since `from`; `seen` is when that was learnt. Who had it before has lost it by then.
    pub(super) fn hold(
        &self,
        rank: Rank,
        ip: IpAddr,
        holder: AddressHolder,
        [from, seen]: [Timestamp; 2],
        workload: &Arc<Workload>,
    ) {
        let new = AddressTenure { rank, holder, from, until: OPEN, workload: Arc::clone(workload) };
        let mut tenures = self.addresses.entry(ip.to_canonical()).or_default();
        let before = room(&tenures);
        if let Some(same) = tenures.iter_mut().find(|tenure| tenure.is_held_by(rank, holder)) {
            same.workload = new.workload;
            self.count(before, room(&tenures));
            return;
        }
        if !rank.shared {
            tenures.iter_mut().filter(|tenure| tenure.rank == rank).for_each(|tenure| tenure.end(seen));
        }
        if self.bytes.load(Ordering::Relaxed) + new.room() > self.max_bytes {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        } else {
            tenures.push(new);
        }
        if tenures.len() > MAX_TENURES {
            let oldest = tenures.iter().enumerate().min_by_key(|(_, tenure)| tenure.until).map(|(n, _)| n);
            oldest.map(|oldest| tenures.remove(oldest));
        }
        self.count(before, room(&tenures));
        let nothing = tenures.is_empty();
        drop(tenures);
        if nothing {
            self.addresses.remove_if(&ip.to_canonical(), |_, tenures| tenures.is_empty());
        }
    }

    /// A source that is asked says who has the address, and that holds for a time. The same answer again makes it longer.
    pub(super) fn lease(&self, rank: Rank, ip: IpAddr, [from, until]: [Timestamp; 2], workload: &Arc<Workload>) {
        if let Some(mut tenures) = self.addresses.get_mut(&ip.to_canonical()) {
            let mut of = tenures.iter_mut().filter(|tenure| tenure.rank == rank && tenure.covers(from));
            if let Some(same) = of.find(|tenure| tenure.workload == *workload) {
                same.until = same.until.max(until);
                return;
            }
        }
        let holder = AddressHolder(u64::MAX);
        self.end(rank, ip, from);
        self.hold(rank, ip, holder, [from, from], workload);
        self.release(rank, ip, holder, until);
    }

    /// No one has the address from then on, as this source says.
    pub(super) fn end(&self, rank: Rank, ip: IpAddr, from: Timestamp) {
        if let Some(mut tenures) = self.addresses.get_mut(&ip.to_canonical()) {
            tenures.iter_mut().filter(|tenure| tenure.rank == rank).for_each(|tenure| tenure.end(from));
        }
    }

    /// Who holds the address now has become another workload: the same one with other Services, say.
    pub(super) fn revise(&self, rank: Rank, ip: IpAddr, change: impl Fn(&Workload) -> Option<Workload>) {
        let Some(mut tenures) = self.addresses.get_mut(&ip.to_canonical()) else { return };
        let before = room(&tenures);
        for tenure in tenures.iter_mut().filter(|tenure| tenure.rank == rank && tenure.until == OPEN) {
            if let Some(changed) = change(&tenure.workload) {
                tenure.workload = Arc::new(changed);
            }
        }
        self.count(before, room(&tenures));
    }

    /// Who holds the address now, as this source says.
    pub(super) fn holds(&self, rank: Rank, ip: IpAddr) -> Option<Arc<Workload>> {
        let tenures = self.addresses.get(&ip.to_canonical())?;
        let mut open = tenures.iter().filter(|tenure| tenure.rank == rank && tenure.until == OPEN);
        let found = open.next().map(|tenure| Arc::clone(&tenure.workload));
        found.filter(|_| open.next().is_none())
    }

    /// `holder` has lost the address by `until`.
    pub(super) fn release(&self, rank: Rank, ip: IpAddr, holder: AddressHolder, until: Timestamp) {
        if let Some(mut tenures) = self.addresses.get_mut(&ip.to_canonical()) {
            let held = tenures.iter_mut().filter(|tenure| tenure.is_held_by(rank, holder));
            held.for_each(|tenure| tenure.end(until));
        }
    }

    /// Forgets what ended before that time.
    pub(super) fn forget(&self, before: Timestamp) {
        self.addresses.retain(|_, tenures| {
            let room_before = room(tenures);
            tenures.retain(|tenure| tenure.until >= before);
            self.count(room_before, room(tenures));
            !tenures.is_empty()
        });
    }

    pub(super) fn counts(&self) -> WorkloadCounts {
        let mut counts = WorkloadCounts {
            addresses: self.addresses.len() as u64,
            bytes: self.bytes.load(Ordering::Relaxed) as u64,
            left_out: self.left_out.load(Ordering::Relaxed),
            lookups: self.lookups.each_ref().map(|count| count.load(Ordering::Relaxed)),
            ..WorkloadCounts::default()
        };
        if let Some(containers) = &self.containers {
            containers.put(&mut counts);
        }
        counts
    }

    fn count(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl AddressTenure {
    fn is_held_by(&self, rank: Rank, holder: AddressHolder) -> bool {
        (self.rank, self.holder, self.until) == (rank, holder, OPEN)
    }

    fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    fn end(&mut self, until: Timestamp) {
        self.until = self.until.min(until);
    }

    /// What it takes, reckoned as if nothing were shared.
    fn room(&self) -> usize {
        let Workload { namespace, name, kind, services, node, labels } = &*self.workload;
        let long = |text: &compact_str::CompactString| if text.is_heap_allocated() { text.capacity() } else { 0 };
        let own = [namespace, name, kind, node].into_iter().flatten().map(long).sum::<usize>();
        let names = services.iter().map(|name| size_of_val(name) + long(name)).sum::<usize>();
        size_of::<Self>() + size_of::<Workload>() + own + names + labels.room()
    }
}

fn room(tenures: &[AddressTenure]) -> usize {
    if tenures.is_empty() { 0 } else { ADDRESS_BYTES + tenures.iter().map(AddressTenure::room).sum::<usize>() }
}

/// The source that comes first in WORKLOADS counts; where it has two for one moment, no one knows.
fn who<'a>(tenures: impl Iterator<Item = &'a AddressTenure>) -> (Lookup, Option<(Rank, Arc<Workload>)>) {
    let mut found: Option<&AddressTenure> = None;
    let mut doubtful = false;
    for tenure in tenures {
        match found {
            Some(known) if known.rank < tenure.rank => {}
            Some(known) if known.rank == tenure.rank => doubtful |= known.workload != tenure.workload,
            Some(_) | None => (found, doubtful) = (Some(tenure), false),
        }
    }
    match found {
        None => (Lookup::Unknown, None),
        Some(_) if doubtful => (Lookup::Doubtful, None),
        Some(tenure) => (Lookup::Named, Some((tenure.rank, Arc::clone(&tenure.workload)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Rank = Rank::of(0, 0);
    const SECOND: Rank = Rank::of(1, 0);

    fn named(name: &str) -> Arc<Workload> {
        Arc::new(Workload { name: Some(name.into()), ..Workload::default() })
    }

    fn ip() -> IpAddr {
        [10, 0, 0, 1].into()
    }

    fn name_at(table: &WorkloadTable, at: i64) -> Option<String> {
        table.at(ip(), Timestamp(at))?.1.name.as_ref().map(ToString::to_string)
    }

    /// Who has the address at 0, 10, 20, …; `-` for no one.
    fn over_time(table: &WorkloadTable, upto: i64) -> String {
        (0..=upto).step_by(10).map(|at| name_at(table, at).unwrap_or("-".to_owned())).collect()
    }

    fn hold(table: &WorkloadTable, rank: Rank, holder: u64, name: &str, from: i64, seen: i64) {
        table.hold(rank, ip(), AddressHolder(holder), [Timestamp(from), Timestamp(seen)], &named(name));
    }

    #[test]
    fn an_address_that_changes_hands_is_named_by_who_had_it_then() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, FIRST, 1, "a", 10, 15);
        table.release(FIRST, ip(), AddressHolder(1), Timestamp(30));
        hold(&table, FIRST, 2, "b", 50, 55);
        assert_eq!(over_time(&table, 60), "-aa--bb");
        assert_eq!(
            table.at("::ffff:10.0.0.1".parse().unwrap(), Timestamp(60)),
            Some((FIRST, named("b"))),
            "IPv4 within IPv6"
        );
    }

    #[test]
    fn while_two_could_have_it_none_is_named() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, FIRST, 1, "a", 10, 10);
        // It began at 30, and was seen at 50: somewhere between it got the address.
        hold(&table, FIRST, 2, "b", 30, 50);
        assert_eq!(over_time(&table, 60), "-aa--bb");
        assert_eq!(table.counts().lookups, [4, 1, 2]);
    }

    #[test]
    fn an_address_that_several_may_share_has_a_name_while_one_has_it() {
        let table = WorkloadTable::new(1 << 20);
        let shared = Rank { shared: true, ..FIRST };
        hold(&table, shared, 1, "a", 10, 10);
        hold(&table, shared, 2, "b", 30, 30);
        table.release(shared, ip(), AddressHolder(1), Timestamp(50));
        assert_eq!(over_time(&table, 60), "-aa--bb");
        assert_eq!(table.holds(shared, ip()), Some(named("b")));
    }

    #[test]
    fn an_answer_holds_for_its_time_longer_with_the_same_one_and_ends_with_another() {
        let table = WorkloadTable::new(1 << 20);
        let lease =
            |name: &str, from, until| table.lease(FIRST, ip(), [Timestamp(from), Timestamp(until)], &named(name));
        lease("a", 10, 30);
        assert_eq!(over_time(&table, 40), "-aa--");
        lease("a", 20, 50);
        assert_eq!(over_time(&table, 60), "-aaaa--");
        lease("b", 40, 70);
        assert_eq!(over_time(&table, 80), "-aaabbb--");
        table.end(FIRST, ip(), Timestamp(60));
        assert_eq!(over_time(&table, 80), "-aaabb---");
    }

    #[test]
    fn what_cannot_be_asked_is_believed_up_to_a_time_and_again_when_it_can() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, FIRST, 1, "a", 0, 0);
        hold(&table, SECOND, 1, "z", 0, 0);
        table.believe(FIRST, Some(Timestamp(20)));
        assert_eq!(over_time(&table, 40), "aaazz");
        table.believe(FIRST, None);
        assert_eq!(over_time(&table, 40), "aaaaa");
    }

    #[test]
    fn a_revision_changes_who_holds_it_now_and_none_before() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, FIRST, 1, "a", 0, 0);
        hold(&table, FIRST, 2, "b", 30, 30);
        table.revise(FIRST, ip(), |_| Some(Workload::clone(&named("c"))));
        table.revise(SECOND, ip(), |_| Some(Workload::clone(&named("z"))));
        table.revise(FIRST, ip(), |_| None);
        assert_eq!(over_time(&table, 40), "aaacc");
    }

    #[test]
    fn the_first_source_counts_and_the_next_one_where_it_knows_nothing() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, SECOND, 1, "z", 0, 0);
        hold(&table, FIRST, 1, "a", 20, 20);
        table.release(FIRST, ip(), AddressHolder(1), Timestamp(40));
        assert_eq!(over_time(&table, 50), "zzaazz");
    }

    #[test]
    fn a_holder_that_changes_keeps_its_time_and_takes_its_new_name() {
        let table = WorkloadTable::new(1 << 20);
        hold(&table, FIRST, 1, "a", 10, 10);
        hold(&table, FIRST, 1, "b", 30, 30);
        assert_eq!(over_time(&table, 40), "-bbbb");
    }

    #[test]
    fn what_has_ended_is_forgotten_in_time_and_takes_no_room_then() {
        let table = WorkloadTable::new(1 << 20);
        for n in 0..5 {
            hold(&table, FIRST, n, "a", 0, 0);
            table.release(FIRST, ip(), AddressHolder(n), Timestamp(10));
        }
        table.forget(Timestamp(10));
        assert_eq!(table.counts().addresses, 1);
        table.forget(Timestamp(11));
        let counts = table.counts();
        assert_eq!((counts.addresses, counts.bytes), (0, 0));
    }

    #[test]
    fn one_address_remembers_some_holders_and_the_table_a_number_of_bytes() {
        let table = WorkloadTable::new(100_000);
        for n in 0..100u8 {
            hold(&table, FIRST, n.into(), &n.to_string(), n.into(), n.into());
        }
        let one = table.counts();
        assert!(one.bytes < 4096, "{one:?}");
        assert_eq!(name_at(&table, 99).as_deref(), Some("99"));
        for n in 0..10_000u32 {
            table.hold(FIRST, IpAddr::V4(n.into()), AddressHolder(0), [EVER, EVER], &named(&"long".repeat(20)));
        }
        let full = table.counts();
        assert!((90_000..=100_000).contains(&full.bytes), "{full:?}");
        assert_eq!(full.addresses + full.left_out, 10_001);
    }
}
