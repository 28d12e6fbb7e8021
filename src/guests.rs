//! Who may be connected to a port of ours: places for connections, and bytes of requests under way, both bounded. Where
//! there is none left for the next one, the one that has kept it longest without a whole request goes. So those that are
//! slow, or say nothing, keep no one else out.
//!
//! Accepts and answers nothing, and knows no protocol: that is the servers' (`metrics::endpoint`, `webhook`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The connections of one port.
#[derive(Debug)]
pub(crate) struct Guests {
    limits: GuestLimits,
    state: Mutex<GuestState>,
    /// One went.
    went: Notify,
}

/// How many, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestLimits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Bytes of all requests under way together.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct GuestState {
    /// Counts what happens; what happened earlier has the smaller number.
    clock: u64,
    guests: BTreeMap<u64, GuestEntry>,
    bytes: usize,
}

#[derive(Debug)]
struct GuestEntry {
    /// It has sent a whole request before.
    served: bool,
    /// Since its last whole request, or since it came.
    since: u64,
    /// Of the request under way.
    bytes: usize,
    leave: Arc<Notify>,
}

/// A place for one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    id: u64,
    leave: Arc<Notify>,
}

impl Guests {
    /// None yet.
    pub(crate) fn new(limits: GuestLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), went: Notify::new() })
    }

    /// A place for one more. Half of the places are for those that have not asked for anything yet, half for those that
    /// have. Neither sort can push out the other.
    pub(crate) fn admit(self: &Arc<Self>) -> Guest {
        let mut state = self.lock();
        while state.guests.len() >= self.limits.connections.max(1) {
            let fresh = state.guests.values().filter(|guest| !guest.served).count();
            let first_served = fresh <= self.limits.connections / 2;
            state.send_away(|guest| (guest.served != first_served, guest.since));
        }
        let (id, leave) = (state.now(), Arc::new(Notify::new()));
        state.guests.insert(id, GuestEntry { served: false, since: id, bytes: 0, leave: Arc::clone(&leave) });
        drop(state);
        Guest { guests: Arc::clone(self), id, leave }
    }

    /// Waits until all of them went.
    pub(crate) async fn gone(&self) {
        loop {
            let went = self.went.notified();
            if self.lock().guests.is_empty() {
                return;
            }
            went.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, GuestState> {
        // Each change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestState {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The one with the least `rank` has to go. Its place is free at once.
    fn send_away<R: Ord>(&mut self, rank: impl Fn(&GuestEntry) -> R) {
        let first = self.guests.iter().min_by_key(|(_, guest)| rank(guest)).map(|(id, _)| *id);
        if let Some(guest) = first.and_then(|id| self.guests.remove(&id)) {
            self.bytes -= guest.bytes;
            guest.leave.notify_one();
        }
    }
}

impl Guest {
    /// Completes when others need the place: the connection is to be dropped then.
    pub(crate) async fn sent_away(&self) {
        self.leave.notified().await;
    }

    /// This many more bytes of its request came. Where all have too many together, the one that has waited longest for its
    /// whole request goes; false when that is this one.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        let mut state = self.guests.lock();
        let Some(guest) = state.guests.get_mut(&self.id) else { return false };
        guest.bytes += bytes;
        state.bytes += bytes;
        while state.bytes > self.guests.limits.bytes {
            state.send_away(|guest| (guest.bytes == 0, guest.since));
        }
        state.guests.contains_key(&self.id)
    }

    /// Its request is whole, and answered.
    pub(crate) fn is_served(&self) {
        let mut state = self.guests.lock();
        let now = state.now();
        if let Some(guest) = state.guests.get_mut(&self.id) {
            (guest.served, guest.since) = (true, now);
            let bytes = std::mem::take(&mut guest.bytes);
            state.bytes -= bytes;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.lock();
        if let Some(guest) = state.guests.remove(&self.id) {
            state.bytes -= guest.bytes;
        }
        drop(state);
        self.guests.went.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(connections: usize, bytes: usize) -> Arc<Guests> {
        Guests::new(GuestLimits { connections, bytes })
    }

    fn here(guests: &[&Guest]) -> Vec<bool> {
        guests.iter().map(|guest| guest.guests.lock().guests.contains_key(&guest.id)).collect()
    }

    #[test]
    fn who_has_waited_longest_without_a_whole_request_makes_room() {
        let guests = guests(4, 1);
        let [a, b, c, d] = [(); 4].map(|()| guests.admit());
        a.is_served();
        let e = guests.admit();
        assert_eq!(here(&[&a, &b, &c, &d, &e]), [true, false, true, true, true]);
        let f = guests.admit();
        assert_eq!(here(&[&a, &c, &d, &e, &f]), [true, false, true, true, true]);
    }

    #[test]
    fn those_that_were_served_do_not_keep_the_others_out() {
        let guests = guests(4, 1);
        let served = [(); 4].map(|()| guests.admit());
        served.iter().for_each(Guest::is_served);
        served[0].is_served();
        let [a, b] = [(); 2].map(|()| guests.admit());
        let [s0, s1, s2, s3] = &served;
        assert_eq!(here(&[s0, s1, s2, s3, &a, &b]), [true, false, false, true, true, true]);
        let c = guests.admit();
        assert_eq!(here(&[s0, s3, &a, &b, &c]), [true, false, true, true, true]);
        let d = guests.admit();
        assert_eq!(here(&[s0, &a, &b, &c, &d]), [true, false, true, true, true]);
    }

    #[test]
    fn the_oldest_request_under_way_makes_room_for_bytes() {
        let guests = guests(9, 10);
        let [idle, a, b] = [(); 3].map(|()| guests.admit());
        assert!(a.takes(4) && b.takes(4) && b.takes(4));
        assert_eq!(here(&[&idle, &a, &b]), [true, false, true]);
        assert!(!a.takes(1), "it went");
        b.is_served();
        assert!(b.takes(10));
        assert!(!b.takes(1), "alone it is too much");
        drop((idle, a, b));
        let left = guests.lock();
        assert_eq!((left.bytes, left.guests.len()), (0, 0));
    }

    #[tokio::test]
    async fn connections_that_must_go_are_announced_and_the_end_waits_for_the_last_one() {
        let guests = guests(1, 1);
        let first = guests.admit();
        let second = guests.admit();
        first.sent_away().await;
        drop(first);
        let gone = tokio::spawn({
            let guests = Arc::clone(&guests);
            async move { guests.gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!gone.is_finished());
        drop(second);
        gone.await.unwrap();
    }
}
