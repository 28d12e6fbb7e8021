//! `podtap status`: asks the podtap that runs here how it does, and shows the answer in twenty lines. Trusts nothing of
//! what it gets: every text is made printable.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{StatusRequest, USAGE, refuse, say, tell};
use crate::config;
use crate::format::text::ShownDuration;
use crate::metrics::{FailingRoute, InterfaceStatus, SinkState, StatusReport};
use crate::settings::{ListenAddress, SettingPairs, counted, printable_up_to, thousands};
use crate::terminal;

/// To connect to a port of this machine.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// For the answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// What an answer has at most.
const LONGEST_ANSWER: u64 = 1 << 20;
/// With `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// What is shown of a text.
const LONGEST_TEXT: usize = 200;
/// What was lost, and sinks, get this many lines.
const MOST_LINES: usize = 5;

/// Runs `podtap status`.
pub fn run(view: StatusRequest, flags: &SettingPairs) -> ExitCode {
    let settings = match config::look(flags).outcome {
        Ok(settings) => settings,
        Err(wrong) => return refuse(&wrong),
    };
    let Some(listen) = settings.metrics_addr else {
        tell(
            "podtap: METRICS_ADDR is none, so a running podtap cannot be asked: give its address with --metrics-addr\n",
        );
        return ExitCode::from(USAGE);
    };
    let clears = view.watch && !view.json && io::stdout().is_terminal() && terminal::colours(true);
    let mut between = "";
    loop {
        let shown = ask(&listen).and_then(|answer| if view.json { Ok(answer) } else { shown(&answer) });
        let shown = match shown {
            Ok(shown) => shown,
            Err(why) => {
                tell(&format!("podtap: {why}\n"));
                return ExitCode::FAILURE;
            }
        };
        if !say(&format!("{}{shown}", if clears { "\x1b[H\x1b[2J" } else { between })) {
            return ExitCode::FAILURE;
        }
        between = if view.json { "" } else { "\n" };
        if !view.watch || has_no_reader() {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(EVERY);
    }
}

/// Whether standard output is a pipe that nothing reads any more: an empty write does not say so.
fn has_no_reader() -> bool {
    let mut polled = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    #[allow(unsafe_code, reason = "std does not ask whether a pipe has a reader")]
    // SAFETY: the kernel writes one `pollfd` to where it is.
    let found = unsafe { libc::poll(&raw mut polled, 1, 0) };
    found > 0 && polled.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// The answer of the podtap that listens there.
fn ask(listen: &ListenAddress) -> Result<String, String> {
    let mut stream = connect(listen)?;
    let place =
        listen.ip.map_or_else(|| format!("port {}", listen.port), |ip| SocketAddr::new(ip, listen.port).to_string());
    let mut answer = Vec::new();
    let asked = stream
        .set_read_timeout(Some(ANSWER_PATIENCE))
        .and_then(|()| stream.write_all(b"GET /status HTTP/1.1\r\nHost: podtap\r\nConnection: close\r\n\r\n"))
        .and_then(|()| stream.take(LONGEST_ANSWER).read_to_end(&mut answer));
    asked.map_err(|why| format!("{place} (METRICS_ADDR) accepts connections and does not answer: {why}"))?;
    let foreign = || format!("what listens on {place} (METRICS_ADDR) is not a podtap of this version");
    let answer = String::from_utf8(answer).map_err(|_| foreign())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(foreign)?;
    let is_json = head.to_ascii_lowercase().contains("content-type: application/json");
    if head.starts_with("HTTP/1.1 200 ") && is_json { Ok(body.to_owned()) } else { Err(foreign()) }
}

fn connect(listen: &ListenAddress) -> Result<TcpStream, String> {
    let anywhere = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses = listen.ip.filter(|ip| !ip.is_unspecified()).map_or_else(|| anywhere.to_vec(), |ip| vec![ip]);
    let mut why = None;
    for ip in addresses {
        match TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port), CONNECT_PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => _ = why.get_or_insert(error),
        }
    }
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    Err(format!(
        "no podtap runs here: port {} (METRICS_ADDR) does not answer{why}. It may have another port (--metrics-addr), or \
         run in another network namespace: kubectl exec POD -c podtap -- podtap status",
        listen.port
    ))
}

fn shown(answer: &str) -> Result<String, String> {
    let status: StatusReport =
        serde_json::from_str(answer).map_err(|why| format!("the answer is not a status: {why}"))?;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_status(&mut out, &status);
    Ok(out)
}

fn clean(text: &str) -> String {
    printable_up_to(LONGEST_TEXT, text)
}

fn write_status(out: &mut String, status: &StatusReport) -> std::fmt::Result {
    let (total, recent) = (&status.total, &status.recent);
    write!(
        out,
        "podtap {}, up {} (since {})",
        clean(&status.version),
        long(status.uptime_seconds),
        clean(&status.since)
    )?;
    writeln!(
        out,
        "{}",
        status.observing.as_ref().map_or(String::new(), |whom| format!(", observing {}", clean(whom)))
    )?;
    let interfaces: Vec<_> = status.interfaces.iter().take(8).map(interface).collect();
    let interfaces = if interfaces.is_empty() { "nothing".to_owned() } else { interfaces.join(", ") };
    writeln!(out, "capturing   {interfaces}")?;
    writeln!(
        out,
        "last {:<6} {:.1} requests/s, {:.1} failed/s, {:.1} packets/s",
        format!("{} s", recent.seconds),
        recent.requests,
        recent.failed,
        recent.frames
    )?;
    writeln!(
        out,
        "so far      {}, {} unanswered; {}, {} left out; {}",
        counted(total.requests, "requests"),
        thousands(total.unanswered),
        counted(total.records, "records"),
        thousands(total.left_out),
        counted(total.frames, "packets"),
    )?;
    writeln!(
        out,
        "connections {}, {} open; connects: {} refused, {} timed out",
        thousands(total.connections),
        thousands(total.connections_open),
        thousands(total.connects_refused),
        thousands(total.connects_timed_out),
    )?;
    labelled(out, "failing", status.failing.iter().map(failing), "nothing so far")?;
    labelled(out, "sinks", status.sinks.iter().map(sink), "none: records go nowhere")?;
    let wrong = status.imbalances.iter().map(|which| format!("DOES NOT ADD UP, a bug in podtap: {}", clean(which)));
    let lost = status.lost.iter().map(|what| format!("LOST {}", clean(what)));
    labelled(out, "ledger", wrong.chain(lost), "nothing lost; it adds up")
}

/// A few lines behind one label, and how many there are besides.
fn labelled(out: &mut String, label: &str, lines: impl Iterator<Item = String>, none: &str) -> std::fmt::Result {
    let mut lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        lines.push(none.to_owned());
    }
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    if let (Some(last), 1..) = (lines.last_mut(), more) {
        let _ = write!(last, " (and {more} more)");
    }
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels.zip(lines).try_for_each(|(label, line)| writeln!(out, "{label:<11} {line}"))
}

fn interface(interface: &InterfaceStatus) -> String {
    let name = clean(&interface.name);
    interface.waiting.as_ref().map_or_else(|| name.clone(), |why| format!("{name} (not now: {})", clean(why)))
}

fn failing(route: &FailingRoute) -> String {
    let p95 = route
        .p95_at_most_ms
        .map_or_else(|| "p95 > 10 s".to_owned(), |ms| format!("p95 <= {}", ShownDuration((ms * 1e6) as u64)));
    let (direction, method) = (clean(&route.direction), clean(&route.method));
    let (failed, of) = (thousands(route.failed), thousands(route.requests));
    format!("{failed} of {of} {direction} {method} {}  {p95}", clean(&route.route))
}

fn sink(sink: &SinkState) -> String {
    let name = clean(&sink.name);
    let state = sink.error.as_ref().map_or_else(
        || "delivering".to_owned(),
        |why| format!("NOT DELIVERING for {}: {}", long(sink.failing_seconds.unwrap_or_default()), clean(why)),
    );
    let (waiting, delivered) = (thousands(sink.waiting), thousands(sink.delivered));
    let lost = if sink.lost > 0 { format!(", {} LOST", thousands(sink.lost)) } else { String::new() };
    format!("{name}: {waiting} waiting, {delivered} delivered{lost}; {state}")
}

/// `3 d 4 h`, `12 min`, `7 s`.
fn long(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{StatusRates, StatusTotals};

    fn full() -> StatusReport {
        let route = |route: &str| FailingRoute {
            method: "GET".to_owned(),
            route: route.to_owned(),
            direction: "ingress".to_owned(),
            requests: 3400,
            failed: 12,
            p95_at_most_ms: Some(250.0),
        };
        let sink = |name: &str, error: Option<&str>| SinkState {
            name: name.to_owned(),
            waiting: 3,
            delivered: 1234,
            lost: u64::from(error.is_some()),
            error: error.map(str::to_owned),
            failing_seconds: error.map(|_| 75),
        };
        let waiting = Some("no such interface".to_owned());
        StatusReport {
            version: "0.1.0".to_owned(),
            since: "2026-03-01T12:00:00Z".to_owned(),
            uptime_seconds: 11_520,
            observing: Some("shop/web-1".to_owned()),
            interfaces: vec![
                InterfaceStatus { name: "eth0".to_owned(), waiting: None },
                InterfaceStatus { name: "lo".to_owned(), waiting },
            ],
            recent: StatusRates { seconds: 60, frames: 1000.0, requests: 12.34, failed: 0.5 },
            total: StatusTotals {
                frames: 1,
                requests: 1_234_567,
                connections: 12,
                connects_refused: 4,
                ..StatusTotals::default()
            },
            failing: (0..5).map(|n| route(&format!("/orders/{n}"))).collect(),
            sinks: vec![sink("stdout", None), sink("fluentd", Some("refused\x1b[2J"))],
            lost: (0..9).map(|n| format!("{n} packets")).collect(),
            imbalances: Vec::new(),
        }
    }

    #[test]
    fn the_fullest_status_fits_into_twenty_lines_and_has_nothing_that_moves_a_cursor() {
        let text = shown(&serde_json::to_string(&full()).unwrap()).unwrap();
        assert!(text.lines().count() <= 20, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        for part in [
            "podtap 0.1.0, up 3 h 12 min (since 2026-03-01T12:00:00Z), observing shop/web-1\n",
            "capturing   eth0, lo (not now: no such interface)\n",
            "last 60 s   12.3 requests/s, 0.5 failed/s, 1000.0 packets/s\n",
            "so far      1,234,567 requests, 0 unanswered; 0 records, 0 left out; 1 packet\n",
            "connections 12, 0 open; connects: 4 refused, 0 timed out\n",
            "failing     12 of 3,400 ingress GET /orders/0  p95 <= 250.0 ms\n            12 of",
            "sinks       stdout: 3 waiting, 1,234 delivered; delivering\n",
            "            fluentd: 3 waiting, 1,234 delivered, 1 LOST; NOT DELIVERING for 1 min: refused\\u{1b}[2J\n",
            "ledger      LOST 0 packets\n",
            "            LOST 4 packets (and 4 more)\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_idle_one_says_so() {
        let text = shown("{}").unwrap();
        for part in ["capturing   nothing\n", "failing     nothing so far\n", "ledger      nothing lost; it adds up\n"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(shown("<html>").unwrap_err().starts_with("the answer is not a status"));
    }

    #[test]
    fn where_no_podtap_listens_the_error_says_what_to_try() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = ListenAddress { ip: Some(free.ip()), port: free.port() };
        let why = ask(&listen).unwrap_err();
        assert!(why.starts_with("no podtap runs here: port ") && why.contains("--metrics-addr"), "{why}");
    }

    #[test]
    fn what_answers_otherwise_is_no_podtap() {
        for answer in ["HTTP/1.1 404 Not Found\r\n\r\nno", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\n\r\n{}"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 512]);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let why = ask(&ListenAddress { ip: Some(address.ip()), port: address.port() }).unwrap_err();
            assert!(why.ends_with("is not a podtap of this version"), "{why}");
            server.join().unwrap();
        }
    }
}
