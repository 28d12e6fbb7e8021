//! One five-tuple in several VLANs or tunnels: which of them are one connection.
//!
//! Each scope is a connection, with two exceptions. The two directions may have different scopes. The mirror of a router
//! shows each in its VLAN, and of a server that answers past its load balancer one is in a tunnel. And the same packets may
//! be captured twice, before and behind a router. Then the second scope shows what the first one does, until a byte
//! differs. Indexes nothing (`index`).

use super::super::Analyzer;
use super::super::recent::RecentBytes;
use super::super::stream::SegmentPlace;
use super::{ConnectionPhase, TcpConnection, split, wire_len};
use crate::flow::{Direction, Scope};
use crate::packet::{Checksum, Segment};

/// Scopes that one connection may be seen in besides its own.
const MOST: usize = 8;

/// The other scopes of a connection.
#[derive(Default)]
pub(in crate::tcp) struct Aliases {
    seen: Vec<Alias>,
    /// Whether its own scope brought or repeated bytes.
    own_paid: bool,
    /// In which scope the last bytes of each stream came first.
    brought: [Scope; 2],
}

struct Alias {
    scope: Scope,
    /// It brought or repeated bytes.
    paid: bool,
}

impl Aliases {
    pub(in crate::tcp) fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.seen.iter().map(|alias| alias.scope)
    }
}

impl<A: Analyzer> TcpConnection<A> {
    pub(in crate::tcp) fn aliases(&self) -> Option<&Aliases> {
        self.odd.as_ref()?.aliases.as_ref()
    }

    fn aliases_mut(&mut self) -> Option<&mut Aliases> {
        self.odd.as_mut()?.aliases.as_mut()
    }

    /// Whether a segment of another scope is this connection's all the same; then that scope is its own from now on.
    pub(in crate::tcp) fn takes_scope(&mut self, from: Direction, segment: &Segment<'_>, recent: &RecentBytes) -> bool {
        let few = self.aliases().is_none_or(|aliases| aliases.seen.len() < MOST);
        let belongs = few && (self.misses(from, segment) || self.has_shown(from, segment, recent));
        if belongs {
            let own = self.conn.key.scope;
            let paid = self.phase == ConnectionPhase::Settled;
            let odd = self.odd.get_or_insert_default();
            let new = || Aliases { seen: Vec::new(), own_paid: paid, brought: [own; 2] };
            let aliases = odd.aliases.get_or_insert_with(new);
            aliases.seen.push(Alias { scope: segment.scope, paid: false });
        }
        belongs
    }

    /// Whether a segment is the first of its direction, and answers what the other one sent.
    fn misses(&mut self, from: Direction, segment: &Segment<'_>) -> bool {
        let open = self.phase != ConnectionPhase::Closed;
        let (own, opposite) = split(&mut self.streams, from);
        open && !own.seen() && segment.flags.ack() && opposite.has_sent(segment.ack)
    }

    /// Whether a segment was seen here: the SYN with its number, or bytes that are remembered.
    fn has_shown(&mut self, from: Direction, segment: &Segment<'_>, recent: &RecentBytes) -> bool {
        let (own, _) = split(&mut self.streams, from);
        if segment.flags.syn() {
            return own.starts_at(segment.seq.wrapping_add(1));
        }
        own.is_known() && own.offset_of(segment.seq).is_some_and(|at| recent.holds(own.recent(), at, segment.payload))
    }

    /// Whether the segment's number is one of this connection: then it may be a copy of one that was seen.
    pub(in crate::tcp) fn has_number_of(&mut self, from: Direction, segment: &Segment<'_>) -> bool {
        let (own, _) = split(&mut self.streams, from);
        match segment.flags.syn() {
            true => own.starts_at(segment.seq.wrapping_add(1)),
            false => own.is_near(segment.seq),
        }
    }

    /// Whether a segment shows that its scope is another connection: its bytes differ from those that another scope brought.
    pub(in crate::tcp) fn is_contradicted(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        recent: &RecentBytes,
    ) -> bool {
        let brought = self.aliases().and_then(|aliases| aliases.brought.get(from as usize).copied());
        if brought.is_none_or(|scope| scope == segment.scope) || segment.payload.is_empty() {
            return false;
        }
        let (own, _) = split(&mut self.streams, from);
        let Some(at) = own.offset_of(segment.seq) else { return false };
        recent.differing(own.recent(), at, segment.payload) > 0 && segment.checksum() != Checksum::Wrong
    }

    /// Notes in which scope bytes came, before they are taken.
    pub(in crate::tcp) fn note_scope(&mut self, from: Direction, segment: &Segment<'_>) {
        let Some(aliases) = self.odd.as_mut().and_then(|odd| odd.aliases.as_mut()) else { return };
        if segment.payload.is_empty() {
            return;
        }
        match aliases.seen.iter_mut().find(|alias| alias.scope == segment.scope) {
            Some(alias) => alias.paid = true,
            None => aliases.own_paid = true,
        }
        let (own, _) = split(&mut self.streams, from);
        let wire = wire_len(segment).cast_signed();
        if let SegmentPlace::At(offset) = own.place(segment.seq, wire)
            && own.is_fresh(offset + wire)
            && let Some(brought) = aliases.brought.get_mut(from as usize)
        {
            *brought = segment.scope;
        }
    }

    /// Lets a scope go. `true`: it brought nothing yet, so the whole of it is another connection.
    pub(in crate::tcp) fn release_scope(&mut self, scope: Scope) -> bool {
        let Some(aliases) = self.aliases_mut() else { return false };
        match aliases.seen.iter().position(|alias| alias.scope == scope) {
            Some(place) => !aliases.seen.remove(place).paid,
            None => !aliases.own_paid,
        }
    }

    /// Another scope becomes the connection's own.
    pub(in crate::tcp) fn promote_scope(&mut self) -> Option<Scope> {
        let aliases = self.aliases_mut()?;
        let alias = aliases.seen.pop()?;
        aliases.own_paid = alias.paid;
        self.conn.key.scope = alias.scope;
        Some(alias.scope)
    }

    /// Begins as the connection did that it was taken for.
    pub(in crate::tcp) fn begin_as(&mut self, twin: &Self) {
        let key = self.conn.key;
        self.conn = twin.conn.clone();
        self.conn.key = key;
        self.conn.conflicts = [0; 2];
        for (own, other) in self.streams.iter_mut().zip(&twin.streams) {
            own.begin_as(other);
        }
    }
}
