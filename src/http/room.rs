//! What a queue of HTTP/1 may keep: its part of the room that all sessions share (`exchange`).
//!
//! Decides nothing about pairs.

use crate::exchange::room::of_exchange;
use crate::record::Exchange;

use super::HttpContext;
use super::pairing::RequestSlot;
use super::session::HttpSession;

/// What a queue may hold even when nothing is free, bytes: an ordinary request or two.
const LEAST_QUEUE: usize = 2048;
/// What a place in a queue costs, also one whose record was made already.
const PLACE: usize = size_of::<RequestSlot>() + size_of::<Exchange>();

impl HttpSession {
    /// Runs `act` on the queue, keeps account of its places, and makes room where it takes too much.
    pub(super) fn within_room(&mut self, cx: &mut HttpContext, act: impl FnOnce(&mut Self, &mut HttpContext)) {
        cx.let_go(self.pairing.len() * PLACE);
        act(self, cx);
        cx.keep(self.pairing.len() * PLACE);
        if cx.is_half_full() {
            self.make_room(cx);
        }
        cx.publish_use();
    }

    /// What waits longest is recorded first, without what it waits for.
    fn make_room(&mut self, cx: &mut HttpContext) {
        let (limit, before) = (cx.free_share().max(LEAST_QUEUE), self.pairing.len());
        self.pairing.shrink_to(limit, |exchange| PLACE + exchange.map_or(0, of_exchange), &mut cx.left);
        cx.let_go((before - self.pairing.len()) * PLACE);
        self.emit_left(cx);
    }
}
