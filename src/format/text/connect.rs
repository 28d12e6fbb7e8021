//! A line about a connect: who asked, for what, what came of it.

use std::fmt::{self, Write};

use super::events::{ENDS_WIDTH, PROTOCOL_WIDTH};
use super::{DIM, GREEN, RED, ShownDuration, TextLine};
use crate::record::{ConnectRecord, EventOutcome, Process};
use crate::redact::escape_into;

/// Most characters of a command line.
const LONGEST_COMMAND: usize = 200;

impl TextLine<'_> {
    pub(super) fn connect(&mut self, connect: &ConnectRecord) -> fmt::Result {
        self.time(connect.start)?;
        self.out.push(' ');
        let start = self.out.len();
        self.out.push_str(&connect.protocol.text());
        self.pad(start, PROTOCOL_WIDTH);
        let start = self.out.len();
        match (connect.source, connect.source_port) {
            (Some(ip), Some(port)) => write!(self.out, "{}", std::net::SocketAddr::new(ip, port))?,
            (Some(ip), None) => write!(self.out, "{ip}")?,
            (None, _) => self.out.push('-'),
        }
        write!(self.out, " → {}", connect.destination)?;
        self.pad(start, ENDS_WIDTH);
        self.out.push_str("  ");
        let colour = match connect.result.outcome() {
            EventOutcome::Failure => RED,
            EventOutcome::Success => GREEN,
            EventOutcome::Unknown => DIM,
        };
        self.painted(colour, connect.result.name())?;
        if let Some(end) = connect.end {
            write!(self.out, "  {}", ShownDuration(end.since(connect.start)))?;
        }
        if let Some(tries) = connect.tries {
            write!(self.out, "  {tries} {}", if tries == 1 { "try" } else { "tries" })?;
        }
        connect.process.as_deref().map_or(Ok(()), |process| self.process(process))
    }

    /// Its number, user, container and command line.
    fn process(&mut self, process: &Process) -> fmt::Result {
        write!(self.out, "  {} ", process.pid)?;
        match &process.user_name {
            Some(name) => escape_into(self.out, name.as_bytes()),
            None => write!(self.out, "{}", process.user)?,
        }
        if let Some(container) = &process.container {
            self.out.push_str(" [");
            escape_into(self.out, container.name.as_deref().unwrap_or(short(&container.id)).as_bytes());
            self.out.push(']');
        }
        self.out.push(' ');
        let start = self.out.len();
        let args = process.args.join(" ");
        let shown = if args.is_empty() { process.name.as_str() } else { &args };
        escape_into(self.out, shown.as_bytes());
        let end = self.out.char_indices().skip_while(|(at, _)| *at < start).nth(LONGEST_COMMAND);
        if let Some((end, _)) = end {
            self.out.truncate(end);
            self.out.push('…');
        }
        Ok(())
    }
}

impl TextLine<'_> {
    /// Which process asked for the connection of an exchange or a flow, in short.
    pub(super) fn asker(&mut self, process: Option<&Process>) -> fmt::Result {
        let Some(process) = process else { return Ok(()) };
        self.out.push_str(" by ");
        if let Some(container) = &process.container {
            escape_into(self.out, container.name.as_deref().unwrap_or(short(&container.id)).as_bytes());
            self.out.push('/');
        }
        escape_into(self.out, process.name.as_bytes());
        write!(self.out, "[{}]", process.pid)
    }
}

/// As programs for containers show an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::format::text::{TextStyle, write_line};
    use crate::record::sample::{connect, everything_of_connect};
    use crate::record::{ConnectRecord, ConnectResult, ExchangeConnection, FlowRecord};

    fn line(record: ConnectRecord) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &record.into(), &TextStyle::default());
        String::from_utf8(out).unwrap().split_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn a_connect_shows_both_ends_what_came_of_it_and_who_asked() {
        let expected =
            "tcp   10.61.1.2:51234 → 10.96.61.10:80                established  210 us  4711 1000 curl http://web/\n";
        assert_eq!(line(connect()), expected);
        let mut all = everything_of_connect();
        all.result = ConnectResult::Unreachable;
        assert!(line(all).ends_with("  unreachable  210 us  3 tries  4711 www [web] curl http://web/\n"));
        let mut alone = connect();
        (alone.source, alone.source_port, alone.end, alone.process) = (None, None, None, None);
        assert!(line(alone).starts_with("tcp   - → 10.96.61.10:80 "));
    }

    #[test]
    fn exchanges_and_flows_show_who_asked_in_short() {
        use crate::record::sample::{connection, everything_of_flow, exchange, opening, record};
        let line = |record| {
            let mut out = Vec::new();
            write_line(&mut out, &record, &TextStyle::default());
            String::from_utf8(out).unwrap()
        };
        let mut it = exchange();
        it.connection = Arc::new(ExchangeConnection { opening: Some(opening()), ..connection() });
        assert!(line(record(it)).contains(" 10.1.2.3:51234 by web/curl[4711]\n"));
        let flow = everything_of_flow();
        assert!(line(flow.clone().into()).ends_with(" by web/curl[4711]\n"));
        assert!(!line(FlowRecord { opening: None, ..flow }.into()).contains(" by "));
    }

    #[test]
    fn an_argument_moves_no_cursor_and_takes_no_more_than_its_room() {
        let mut record = connect();
        let mut process = (*record.process.clone().unwrap()).clone();
        process.args = vec!["\u{1b}[2J".into(), "x".repeat(5000).into()];
        record.process = Some(process.into());
        let line = line(record);
        assert!(line.contains(" \\x1b[2J xxx") && line.ends_with("x…\n") && line.len() < 400, "{line}");
    }
}
