//! Lines about connections: addresses before and after translation, counters, what came of it.

use std::fmt::{self, Write};

use super::{DIM, GREEN, RED, ShownDuration, ShownSize, TextLine};
use crate::flow::{Endpoint, IpProtocol};
use crate::record::{ConntrackAction, ConntrackRecord, EventOutcome, FlowRecord, VerdictRecord};
use crate::redact::escape_into;

/// Width of action and protocol together.
const WHAT_WIDTH: usize = 12;
/// Width of a protocol alone.
pub(super) const PROTOCOL_WIDTH: usize = 6;
/// Width of the two ends.
pub(super) const ENDS_WIDTH: usize = 46;

impl TextLine<'_> {
    pub(super) fn conntrack(&mut self, event: &ConntrackRecord) -> fmt::Result {
        self.time(event.at)?;
        self.out.push(' ');
        let start = self.out.len();
        let protocol = event.tuple.protocol;
        write!(self.out, "{} {}", event.action.name(), protocol.text())?;
        self.pad(start, WHAT_WIDTH);
        let start = self.out.len();
        self.end(event, event.tuple.source)?;
        self.out.push_str(" → ");
        self.end(event, event.tuple.destination)?;
        self.pad(start, ENDS_WIDTH);
        for (way, nat) in [("from", event.source_nat), ("to", event.destination_nat)] {
            if let Some(nat) = nat {
                write!(self.out, "  {way} ")?;
                self.end(event, nat)?;
            }
        }
        self.came_of(event)
    }

    pub(super) fn flow(&mut self, flow: &FlowRecord) -> fmt::Result {
        self.time(flow.end)?;
        self.out.push(' ');
        let start = self.out.len();
        self.out.push_str(&flow.protocol.text());
        self.pad(start, PROTOCOL_WIDTH);
        let start = self.out.len();
        for (before, end) in [("", flow.source), (" → ", flow.destination)] {
            self.out.push_str(before);
            if flow.protocol.has_ports() { write!(self.out, "{end}")? } else { write!(self.out, "{}", end.ip)? }
        }
        self.pad(start, ENDS_WIDTH);
        let [there, back] = flow.counts;
        write!(
            self.out,
            "  {}+{} packets {}+{}",
            there.packets,
            back.packets,
            ShownSize(there.bytes),
            ShownSize(back.bytes)
        )?;
        let resent = there.retransmitted_bytes + back.retransmitted_bytes;
        if resent > 0 {
            write!(self.out, "  {} sent again", ShownSize(resent))?;
        }
        self.out.push_str("  ");
        let colour = match flow.outcome {
            Some(EventOutcome::Failure) => RED,
            Some(EventOutcome::Success) => GREEN,
            Some(EventOutcome::Unknown) | None => DIM,
        };
        self.painted(colour, flow.status.name())?;
        write!(self.out, "  {}", ShownDuration(flow.duration))?;
        self.asker(flow.process())
    }

    pub(super) fn verdict(&mut self, record: &VerdictRecord) -> fmt::Result {
        self.time(record.at)?;
        self.out.push(' ');
        self.painted(if record.meaning.allowed { GREEN } else { RED }, record.action())?;
        self.out.push(' ');
        let packet = &record.packet;
        self.out.push_str(&packet.protocol.map_or("?".into(), IpProtocol::text));
        let ends = [(" ", packet.source), (" → ", packet.destination)];
        for ((before, end), has_port) in ends.into_iter().zip(packet.has_port) {
            self.out.push_str(before);
            if has_port {
                write!(self.out, "{end}")?;
            } else {
                write!(self.out, "{}", end.ip)?;
            }
        }
        if let Some(icmp) = packet.icmp {
            write!(self.out, "  type {} code {}", icmp.kind, icmp.code)?;
        }
        self.out.push_str("  ");
        escape_into(self.out, record.prefix.trim_end().as_bytes());
        if let Some(container) = record.subject().filter(|container| !container.id.is_empty()) {
            self.out.push_str("  container ");
            escape_into(self.out, container.id.as_bytes());
        }
        if record.packets > 1 {
            write!(self.out, "  {} packets", record.packets)?;
        }
        if let Some(followed) = record.followed_by {
            write!(self.out, "  {}", followed.name())?;
        }
        if record.lost_before > 0 {
            self.out.push_str("  ");
            self.painted(RED, format_args!("{} lost before", record.lost_before))?;
        }
        Ok(())
    }

    fn end(&mut self, event: &ConntrackRecord, end: Endpoint) -> fmt::Result {
        if event.tuple.protocol.has_ports() && end.port > 0 {
            write!(self.out, "{end}")
        } else {
            write!(self.out, "{}", end.ip)
        }
    }

    fn came_of(&mut self, event: &ConntrackRecord) -> fmt::Result {
        if let Some(state) = event.state {
            write!(self.out, "  {state}")?;
        }
        if let Some([there, back]) = event.counters {
            let packets = (there.packets, back.packets);
            write!(
                self.out,
                "  {}+{} packets {}+{}",
                packets.0,
                packets.1,
                ShownSize(there.bytes),
                ShownSize(back.bytes)
            )?;
        }
        if let Some(flows) = event.flows {
            write!(self.out, "  {} begun, {} ended, {} failed", flows.begun, flows.ended, flows.failed)?;
        }
        if event.action != ConntrackAction::End {
            return Ok(());
        }
        self.out.push_str("  ");
        match (event.outcome, event.tries) {
            (Some(EventOutcome::Failure), Some(tries)) => {
                self.painted(RED, format_args!("not answered, tried {tries} times"))
            }
            (Some(EventOutcome::Failure), None) => self.painted(RED, "not established"),
            (Some(EventOutcome::Success), _) => self.painted(GREEN, "ok"),
            (Some(EventOutcome::Unknown) | None, _) => self.painted(DIM, "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::IpProtocol;
    use crate::format::text::{TextStyle, write_line};
    use crate::record::sample::{conntrack, flow, verdict};
    use crate::record::{ConntrackRecord, EventOutcome};

    fn line(record: ConntrackRecord) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &record.into(), &TextStyle::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_logged_packet_shows_its_verdict_rule_and_container_and_nothing_moves_a_cursor() {
        let mut record = verdict();
        (record.packets, record.prefix) = (7, "DENY_\u{1b}[2J ".into());
        let mut out = Vec::new();
        write_line(&mut out, &record.into(), &TextStyle::default());
        let line = String::from_utf8(out).unwrap();
        let expected = "ingress-denied tcp 10.255.15.7:36004 → 10.255.15.13:723  DENY_\\x1b[2J  container cb40f81e-52ce-41c5-b00f-0d13  7 packets\n";
        assert_eq!(line.split_once(' ').unwrap().1, expected);
    }

    #[test]
    fn a_flow_shows_its_ends_what_each_sent_and_what_came_of_it() {
        let mut out = Vec::new();
        write_line(&mut out, &flow().into(), &TextStyle::default());
        let line = String::from_utf8(out).unwrap();
        let expected = "tcp   10.61.1.2:51234 → 10.61.2.2:8080                6+5 packets 512 B+2.3 kB  20 B sent again  closed  1.0 s\n";
        assert_eq!(line.split_once(' ').unwrap().1, expected);
    }

    #[test]
    fn a_line_shows_both_ends_the_translation_and_what_came_of_it() {
        let ok = "12:00:01.000Z end tcp     10.61.1.2:51234 → 10.96.61.10:80                to 10.61.2.2:8080  time_wait  6+5 packets 512 B+2.3 kB  ok\n";
        assert_eq!(line(conntrack()).split_once(' ').unwrap().1, ok.split_once(' ').unwrap().1);
        let mut failed = conntrack();
        (failed.outcome, failed.tries, failed.state, failed.counters) =
            (Some(EventOutcome::Failure), Some(4), None, None);
        assert!(line(failed).ends_with("to 10.61.2.2:8080  not answered, tried 4 times\n"));
        let mut other = conntrack();
        (other.tuple.protocol, other.destination_nat) = (IpProtocol(253), None);
        assert!(line(other).contains(" end 253     10.61.1.2 → 10.96.61.10 "));
    }
}
