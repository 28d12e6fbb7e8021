//! A batch on its way. Owns that whatever becomes of its worker (a deadline, a panic), its records are somewhere: settled,
//! or back with the queue. It does not know how a batch is delivered.

use std::fmt;

use super::super::batch::Batch;
use super::super::spool::Ticket;
use super::{SinkQueue, shift};
use crate::ledger::PerDataset;

/// Records in flight; those that are not settled go back when it is dropped.
pub(in crate::sink) struct InFlight<'a> {
    queue: &'a SinkQueue,
    batch: Batch,
    /// Where it lies in the spool.
    ticket: Option<Ticket>,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(queue: &'a SinkQueue, batch: Batch, ticket: Option<Ticket>) -> Self {
        Self { queue, batch, ticket }
    }

    /// What is still to be delivered.
    pub(in crate::sink) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// `rest` is left to be tried again; of the others `rejected` were refused for good, and what remains was delivered.
    pub(in crate::sink) fn settle(&mut self, rest: Batch, rejected: &Batch) {
        let delivered = self.batch.datasets().without(rest.datasets()).without(rejected.datasets());
        self.batch = rest;
        self.queue.settle(delivered, rejected.datasets(), self.ticket.is_some());
    }

    /// Writes what is in flight to disk too, where it is not there yet, so that it survives this process.
    pub(in crate::sink) fn keep(&mut self) {
        if self.ticket.is_none() {
            self.ticket = self.queue.keep_in_flight(&self.batch);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        match (self.batch.is_empty(), self.ticket) {
            (true, Some(ticket)) => self.queue.done(ticket),
            (true, None) => {}
            (false, ticket) => self.queue.give_back(std::mem::take(&mut self.batch), ticket),
        }
    }
}

impl fmt::Debug for InFlight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("batch", &self.batch).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl SinkQueue {
    /// Moves records out of flight; what was already given up stays so.
    fn settle(&self, delivered: PerDataset, rejected: PerDataset, on_disk: bool) {
        let mut state = self.lock();
        let settled = delivered.total() + rejected.total();
        if on_disk {
            state.in_flight_on_disk = state.in_flight_on_disk.saturating_sub(settled);
        }
        state.failing &= settled == 0;
        let ledger = &mut state.counts.ledger;
        // Else they were given up meanwhile.
        if ledger.in_flight > 0 {
            // On disk they have counted as kept since they were written.
            if on_disk { ledger.kept_by -= rejected } else { ledger.kept_by += delivered }
        }
        shift(&mut ledger.in_flight, &mut ledger.delivered, delivered.total());
        shift(&mut ledger.in_flight, &mut ledger.rejected, rejected.total());
    }

    fn give_back(&self, batch: Batch, ticket: Option<Ticket>) {
        let mut state = self.lock();
        let n = batch.records() as u64;
        let ledger = &mut state.counts.ledger;
        if ticket.is_some() {
            shift(&mut ledger.in_flight, &mut ledger.spooled, n);
            state.in_flight_on_disk = state.in_flight_on_disk.saturating_sub(n);
        } else {
            shift(&mut ledger.in_flight, &mut ledger.queued, n);
            state.returned.extend(batch);
        }
    }
}
