//! A TCP connection described step by step, and the frames that a tap sees of it.
//!
//! It renders the description and checks nothing: a conversation may be as wrong as a test needs it.

mod end;
mod stage;

use std::time::Duration;

use super::SynthFrame;
use super::wire::{RawSegment, Wrap, render};
use crate::flow::{FiveTuple, Timestamp};
use crate::packet::TcpFlags;
use end::{SynthEnd, clock, options};

/// Time between two frames that nothing else separates.
const SPACING: u64 = 1_000;
/// Linux's delayed acknowledgement.
const DELAYED_ACK: u64 = 40_000_000;
/// Payload that fits an MTU of 1500 with timestamps.
const MSS: usize = 1448;

/// One end of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynthSide {
    /// Opens the connection.
    Client,
    /// Accepts it.
    Server,
}

impl SynthSide {
    /// The other one.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// When a receiver acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AckPolicy {
    /// As Linux does: every second segment, else with the next data, else after 40 ms.
    #[default]
    Delayed,
    /// Every segment at once.
    Every,
    /// Only with data.
    Piggyback,
}

/// A TCP connection under construction. Times: each frame comes 1 µs after the one before. The tap is next to the
/// client. So what the server answers comes one [`rtt`](Self::rtt) later, and what the client answers at once
/// ([`tap_at_server`](Self::tap_at_server) turns that round).
#[derive(Clone, Debug)]
pub struct Conversation {
    client: SynthEnd,
    server: SynthEnd,
    now: Timestamp,
    rtt: u64,
    tap: SynthSide,
    acks: AckPolicy,
    segment: usize,
    wrap: Wrap,
    last_sender: Option<SynthSide>,
    last_data: Timestamp,
    frames: Vec<SynthFrame>,
}

/// The play.
impl Conversation {
    /// SYN, SYN-ACK, ACK.
    #[must_use]
    pub fn handshake(self) -> Self {
        self.syn().syn_ack().client_ack()
    }

    /// SYN.
    #[must_use]
    pub fn syn(mut self) -> Self {
        self.turn(SynthSide::Client);
        self.emit(SynthSide::Client, TcpFlags::SYN, self.client.isn, &[], self.now);
        self
    }

    /// SYN-ACK.
    #[must_use]
    pub fn syn_ack(mut self) -> Self {
        self.turn(SynthSide::Server);
        self.emit(SynthSide::Server, TcpFlags::SYN | TcpFlags::ACK, self.server.isn, &[], self.now);
        self
    }

    /// The client sends `bytes`.
    #[must_use]
    pub fn client(self, bytes: impl AsRef<[u8]>) -> Self {
        self.send(SynthSide::Client, bytes)
    }

    /// The server sends `bytes`.
    #[must_use]
    pub fn server(self, bytes: impl AsRef<[u8]>) -> Self {
        self.send(SynthSide::Server, bytes)
    }

    /// `side` sends `bytes`, in as many segments as they need.
    #[must_use]
    pub fn send(mut self, side: SynthSide, bytes: impl AsRef<[u8]>) -> Self {
        self.turn(side);
        let mut segments = bytes.as_ref().chunks(self.segment).peekable();
        while let Some(payload) = segments.next() {
            let push = if segments.peek().is_none() { TcpFlags::PSH } else { 0 };
            let seq = self.end(side).next;
            self.emit(side, TcpFlags::ACK | push, seq, payload, self.now);
            self.end_mut(side).next = seq.wrapping_add(payload.len() as u32);
            self.delivered(side, payload.len());
        }
        self
    }

    /// `side` sends `bytes` (again) as one segment at `offset` of its stream; the stream's end stays where it was.
    #[must_use]
    pub fn send_at(mut self, side: SynthSide, offset: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.turn(side);
        let seq = self.end(side).isn.wrapping_add(1).wrapping_add(offset);
        self.emit(side, TcpFlags::ACK | TcpFlags::PSH, seq, bytes.as_ref(), self.now);
        self
    }

    /// `side` sends `len` bytes that reach the peer but not the tap.
    #[must_use]
    pub fn lose(mut self, side: SynthSide, len: u32) -> Self {
        self.turn(side);
        self.end_mut(side).next = self.end(side).next.wrapping_add(len);
        self.end_mut(side.peer()).expected = self.end(side).next;
        self
    }

    /// Time passes; an acknowledgement that was held back comes when its timer runs out.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        let pause = nanos(pause);
        if self.acks == AckPolicy::Delayed && pause > DELAYED_ACK {
            for side in [SynthSide::Client, SynthSide::Server] {
                if self.end(side).unacked > 0 {
                    let at = self.last_data.plus(DELAYED_ACK + self.distance(side));
                    self.emit(side, TcpFlags::ACK, self.end(side).next, &[], at);
                }
            }
        }
        self.now = self.now.plus(pause);
        self
    }

    /// A pure ACK of the client.
    #[must_use]
    pub fn client_ack(self) -> Self {
        self.flags(SynthSide::Client, TcpFlags::ACK)
    }

    /// A pure ACK of the server.
    #[must_use]
    pub fn server_ack(self) -> Self {
        self.flags(SynthSide::Server, TcpFlags::ACK)
    }

    /// The client sends no more.
    #[must_use]
    pub fn client_fin(self) -> Self {
        self.flags(SynthSide::Client, TcpFlags::FIN | TcpFlags::ACK)
    }

    /// The server sends no more.
    #[must_use]
    pub fn server_fin(self) -> Self {
        self.flags(SynthSide::Server, TcpFlags::FIN | TcpFlags::ACK)
    }

    /// The client resets the connection.
    #[must_use]
    pub fn client_rst(self) -> Self {
        self.flags(SynthSide::Client, TcpFlags::RST | TcpFlags::ACK)
    }

    /// The server resets the connection.
    #[must_use]
    pub fn server_rst(self) -> Self {
        self.flags(SynthSide::Server, TcpFlags::RST | TcpFlags::ACK)
    }

    /// FIN of the client, FIN of the server, last ACK.
    #[must_use]
    pub fn close(self) -> Self {
        self.client_fin().server_fin().client_ack()
    }

    /// A segment without payload, with these flags of [`TcpFlags`].
    #[must_use]
    pub fn flags(mut self, side: SynthSide, flags: u8) -> Self {
        self.turn(side);
        let seq = self.end(side).next;
        self.emit(side, flags, seq, &[], self.now);
        if TcpFlags(flags).fin() {
            self.end_mut(side).next = seq.wrapping_add(1);
            self.end_mut(side.peer()).expected = seq.wrapping_add(1);
        }
        self
    }

    /// All frames, in order of time.
    pub fn frames(mut self) -> Vec<SynthFrame> {
        self.frames.sort_by_key(|frame| frame.at);
        self.frames
    }

    /// Takes the frames up to now, in order of time, and lets the conversation go on: for long ones.
    pub fn drain(&mut self) -> Vec<SynthFrame> {
        self.frames.sort_by_key(|frame| frame.at);
        let later = self.frames.partition_point(|frame| frame.at <= self.now);
        let rest = self.frames.split_off(later);
        std::mem::replace(&mut self.frames, rest)
    }

    /// The time of the next frame.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

impl Conversation {
    fn end(&self, side: SynthSide) -> &SynthEnd {
        match side {
            SynthSide::Client => &self.client,
            SynthSide::Server => &self.server,
        }
    }

    fn end_mut(&mut self, side: SynthSide) -> &mut SynthEnd {
        match side {
            SynthSide::Client => &mut self.client,
            SynthSide::Server => &mut self.server,
        }
    }

    /// How long after the tap saw something the answer of `side` to it passes the tap.
    fn distance(&self, side: SynthSide) -> u64 {
        if side == self.tap { SPACING } else { self.rtt.max(SPACING) }
    }

    /// `side` speaks next: when it answers the other, the way there and back takes its time.
    fn turn(&mut self, side: SynthSide) {
        if self.last_sender == Some(side.peer()) {
            self.now = self.now.plus(self.distance(side) - SPACING);
        }
        self.last_sender = Some(side);
    }

    /// Payload of `sender` has arrived: acknowledge it as the policy says.
    fn delivered(&mut self, sender: SynthSide, len: usize) {
        let receiver = sender.peer();
        let (expected, acks) = (self.end(sender).next, self.acks);
        let end = self.end_mut(receiver);
        end.expected = expected;
        end.unacked += len.div_ceil(MSS);
        let due = match acks {
            AckPolicy::Every => true,
            AckPolicy::Delayed => end.unacked >= 2,
            AckPolicy::Piggyback => false,
        };
        if due {
            let seq = end.next;
            let at = self.last_data.plus(self.distance(receiver));
            self.emit(receiver, TcpFlags::ACK, seq, &[], at);
        }
    }

    fn emit(&mut self, side: SynthSide, flags: u8, seq: u32, payload: &[u8], at: Timestamp) {
        let flags = TcpFlags(flags);
        let outgoing = side == self.tap;
        let end = self.end_mut(side);
        end.unacked = 0;
        end.ip_id = end.ip_id.wrapping_add(1);
        let (source, ip_id, ack) = (end.endpoint, end.ip_id, if flags.ack() { end.expected } else { 0 });
        let options = options(flags, clock(at), end.echo);
        let peer = self.end_mut(side.peer());
        peer.echo = clock(at);
        let tuple = FiveTuple { source, destination: peer.endpoint };
        let options = options.get(if flags.syn() { 0.. } else { 8.. }).unwrap_or_default();
        let segment = RawSegment { tuple, seq, ack, flags, window: None, options, payload, ip_id, outgoing };
        let bytes = render(&self.wrap, &segment);
        self.frames.push(SynthFrame::new(at, self.wrap.link.link_type(), bytes));
        if !payload.is_empty() {
            self.last_data = at;
        }
        // An acknowledgement that passes later than the sender goes on does not hold it up.
        if at == self.now {
            self.now = self.now.plus(SPACING);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
