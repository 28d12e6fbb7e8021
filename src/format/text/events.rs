//! Lines about connections: addresses before and after translation, counters, what came of it.

use std::fmt::{self, Write};

use super::{DIM, GREEN, Line, RED, Size};
use crate::flow::Endpoint;
use crate::format::stamp::Stamp;
use crate::record::{ConntrackAction, ConntrackRecord, Outcome};

/// Width of action and protocol together.
const WHAT_WIDTH: usize = 12;
/// Width of the two ends.
const ENDS_WIDTH: usize = 46;

impl Line<'_> {
    pub(super) fn conntrack(&mut self, event: &ConntrackRecord) -> fmt::Result {
        self.painted(DIM, Stamp::new(event.at).time_of_day())?;
        self.out.push(' ');
        let start = self.out.len();
        let protocol = event.tuple.protocol;
        match protocol.name() {
            Some(name) => write!(self.out, "{} {name}", event.action.name())?,
            None => write!(self.out, "{} {}", event.action.name(), protocol.0)?,
        }
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
            write!(self.out, "  {}+{} packets {}+{}", packets.0, packets.1, Size(there.bytes), Size(back.bytes))?;
        }
        if let Some(flows) = event.flows {
            write!(self.out, "  {} begun, {} ended, {} failed", flows.begun, flows.ended, flows.failed)?;
        }
        if event.action != ConntrackAction::End {
            return Ok(());
        }
        self.out.push_str("  ");
        match (event.outcome, event.tries) {
            (Some(Outcome::Failure), Some(tries)) => self.painted(RED, &format!("not answered, tried {tries} times")),
            (Some(Outcome::Failure), None) => self.painted(RED, "not established"),
            (Some(Outcome::Success), _) => self.painted(GREEN, "ok"),
            (Some(Outcome::Unknown) | None, _) => self.painted(DIM, "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::Protocol;
    use crate::format::text::write_line;
    use crate::record::sample::conntrack;
    use crate::record::{ConntrackRecord, Outcome};

    fn line(record: ConntrackRecord) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &record.into(), false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_shows_both_ends_the_translation_and_what_came_of_it() {
        let ok = "12:00:01.000 end tcp     10.61.1.2:51234 → 10.96.61.10:80              to 10.61.2.2:8080  time_wait  6+5 packets 512 B+2.3 kB  ok\n";
        assert_eq!(line(conntrack()).split_once(' ').unwrap().1, ok.split_once(' ').unwrap().1);
        let mut failed = conntrack();
        (failed.outcome, failed.tries, failed.state, failed.counters) = (Some(Outcome::Failure), Some(4), None, None);
        assert!(line(failed).ends_with("to 10.61.2.2:8080  not answered, tried 4 times\n"));
        let mut other = conntrack();
        (other.tuple.protocol, other.destination_nat) = (Protocol(253), None);
        assert!(line(other).contains(" end 253     10.61.1.2 → 10.96.61.10 "));
    }
}
