//! `FORMAT=lightmon`, `lightmon-json`, `lightmon-table`: the lines of lightmon for connects, with its own spelling of
//! `conatiner`.
//!
//! Ports are in the right order here, and there is a line for what failed, too. Knows no record of another kind.

use std::io::Write;
use std::net::IpAddr;

use compact_str::{CompactString, ToCompactString};
use serde::Serialize;

use super::stamp::Rfc3339Stamp;
use crate::record::{ConnectRecord, Process, Record};
use crate::redact::escape_into;

/// Its log file: keys in the order of the alphabet, numbers as strings.
#[derive(Serialize)]
struct LogLine<'a> {
    conatiner: &'a str,
    dip: IpAddr,
    dport: String,
    ipv6: u8,
    level: &'static str,
    msg: &'static str,
    pid: String,
    #[serde(rename = "procArgs")]
    process_args: String,
    #[serde(rename = "procPath")]
    process_path: &'a str,
    sip: CompactString,
    sport: String,
    time: Rfc3339Stamp,
    user: CompactString,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonLine<'a> {
    u_time: Rfc3339Stamp,
    address_family: &'static str,
    pid: u32,
    process_path: &'a str,
    process_args: String,
    user: CompactString,
    comm: &'a str,
    host: &'a str,
    dip: IpAddr,
    dport: u16,
    sip: CompactString,
    sport: u16,
    state: &'static str,
    conatiner_name: &'a str,
}

/// What all three lines say; of a connect that only packets showed, the process is empty.
struct ConnectSummary<'a> {
    connect: &'a ConnectRecord,
    process: Option<&'a Process>,
}

/// Appends a connect as a line of the log file.
pub fn write_log(out: &mut Vec<u8>, record: &Record) {
    let Record::Connect(connect) = record else { return };
    let seen = ConnectSummary::new(connect);
    let line = LogLine {
        conatiner: seen.container(),
        dip: connect.destination.ip,
        dport: connect.destination.port.to_string(),
        ipv6: u8::from(connect.destination.ip.is_ipv6()),
        level: "info",
        msg: "ebpf",
        pid: seen.pid().to_string(),
        process_args: seen.args(),
        process_path: seen.path(),
        sip: seen.source(),
        sport: connect.source_port.unwrap_or_default().to_string(),
        time: Rfc3339Stamp::new(connect.start),
        user: seen.user(),
    };
    // A `Vec` takes every write.
    drop(serde_json::to_writer(&mut *out, &line));
    out.push(b'\n');
}

/// Appends a connect as a line of JSON.
pub fn write_json(out: &mut Vec<u8>, record: &Record) {
    let Record::Connect(connect) = record else { return };
    let seen = ConnectSummary::new(connect);
    let line = JsonLine {
        u_time: Rfc3339Stamp::new(connect.start),
        address_family: if connect.destination.ip.is_ipv6() { "AF_INET6" } else { "AF_INET" },
        pid: seen.pid(),
        process_path: seen.path(),
        process_args: seen.args(),
        user: seen.user(),
        comm: seen.process.map(|process| process.name.as_str()).unwrap_or_default(),
        host: seen.process.and_then(|process| process.hostname.as_deref()).unwrap_or_default(),
        dip: connect.destination.ip,
        dport: connect.destination.port,
        sip: seen.source(),
        sport: connect.source_port.unwrap_or_default(),
        state: connect.result.name(),
        conatiner_name: seen.container(),
    };
    // A `Vec` takes every write.
    drop(serde_json::to_writer(&mut *out, &line));
    out.push(b'\n');
}

/// Appends a connect as a row: TIME USER PID AF SRC DEST CONTAINER PROCESS. The time is in UTC.
pub fn write_table(out: &mut Vec<u8>, record: &Record) {
    let Record::Connect(connect) = record else { return };
    let seen = ConnectSummary::new(connect);
    let stamp = Rfc3339Stamp::new(connect.start);
    let time = stamp.time_of_day().get(..8).unwrap_or_default();
    let family = if connect.destination.ip.is_ipv6() { "ipv6" } else { "v4" };
    let source = format!("{} {}", seen.source(), connect.source_port.unwrap_or_default());
    let destination = format!("{} {}", connect.destination.ip, connect.destination.port);
    let [user, container, process] = [&*seen.user(), seen.container(), &format!("{} {}", seen.path(), seen.args())]
        .map(|text| {
            let mut safe = CompactString::default();
            escape_into(&mut safe, text.as_bytes());
            safe
        });
    let pid = seen.pid();
    // A `Vec` takes every write.
    drop(writeln!(
        out,
        "{time:<9} {user:<10} {pid:<9} {family:<6} {source:<20} {destination:<20} {container:<15} {process}"
    ));
}

impl<'a> ConnectSummary<'a> {
    fn new(connect: &'a ConnectRecord) -> Self {
        Self { connect, process: connect.process.as_deref() }
    }

    fn pid(&self) -> u32 {
        self.process.map_or(0, |process| process.pid)
    }

    fn path(&self) -> &'a str {
        self.process.and_then(|process| process.executable.as_deref()).unwrap_or_default()
    }

    /// As lightmon has them: without the name of the program.
    fn args(&self) -> String {
        self.process.and_then(|process| process.args.get(1..)).unwrap_or_default().join(" ")
    }

    fn user(&self) -> CompactString {
        let Some(process) = self.process else { return CompactString::default() };
        process.user_name.clone().unwrap_or_else(|| process.user.to_compact_string())
    }

    /// Its name, else the beginning of its id.
    fn container(&self) -> &'a str {
        let container = self.process.and_then(|process| process.container.as_ref());
        container.map(|it| it.name.as_deref().or_else(|| it.id.get(..12)).unwrap_or(&it.id)).unwrap_or_default()
    }

    fn source(&self) -> CompactString {
        self.connect.source.map(|ip| ip.to_compact_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{connect, everything_of_connect};

    fn line(record: ConnectRecord, write: fn(&mut Vec<u8>, &Record)) -> String {
        let mut out = Vec::new();
        write(&mut out, &record.into());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_lines_have_the_keys_and_columns_of_the_origin() {
        let log = r#"{"conatiner":"web","dip":"10.96.61.10","dport":"80","ipv6":0,"level":"info","msg":"ebpf","pid":"4711","procArgs":"http://web/","procPath":"/usr/bin/curl","sip":"10.61.1.2","sport":"51234","time":"2026-03-01T12:00:00.000123Z","user":"www"}"#;
        assert_eq!(line(everything_of_connect(), write_log), format!("{log}\n"));
        let json = r#"{"uTime":"2026-03-01T12:00:00.000123Z","addressFamily":"AF_INET","pid":4711,"processPath":"/usr/bin/curl","processArgs":"http://web/","user":"1000","comm":"curl","host":"","dip":"10.96.61.10","dport":80,"sip":"10.61.1.2","sport":51234,"state":"established","conatinerName":""}"#;
        assert_eq!(line(connect(), write_json), format!("{json}\n"));
        let table = "12:00:00  www        4711      v4     10.61.1.2 51234      10.96.61.10 80       web             /usr/bin/curl http://web/\n";
        assert_eq!(line(everything_of_connect(), write_table), table);
    }

    #[test]
    fn what_is_not_known_is_empty_and_nothing_moves_a_cursor() {
        let mut alone = connect();
        (alone.process, alone.source, alone.source_port) = (None, None, None);
        assert!(
            line(alone.clone(), write_log).contains(r#""pid":"0","procArgs":"","procPath":"","sip":"","sport":"0""#)
        );
        assert!(line(alone, write_table).starts_with("12:00:00             0         v4      0"));
        let mut odd = connect();
        let mut process = (*odd.process.clone().unwrap()).clone();
        process.args.push("\u{1b}[2J\n".into());
        odd.process = Some(process.into());
        assert!(line(odd, write_table).ends_with(" \\x1b[2J\\x0a\n"));
    }
}
