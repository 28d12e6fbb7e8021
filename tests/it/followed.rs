//! What follows a logged packet, for real: rules of iptables, connection tracking and NFLOG in one network namespace, read by
//! one podtap.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;

use crate::namespace::in_a_namespace;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a pipe, as they come.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(1 << 12);
    std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn podtap(record: &str) -> (Child, Receiver<String>) {
    let arguments = ["run", "--record", record, "--verdict-groups", "5", "--verdict-outcome", "3s"];
    let mut podtap = Command::new(env!("CARGO_BIN_EXE_podtap"))
        .args(arguments)
        .args(["--format", "ecs", "--metrics-addr", "none"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = lines(podtap.stderr.take().unwrap());
    let mut begun = 0;
    while begun < 2 {
        let line = told.recv_timeout(PATIENCE).unwrap();
        begun += usize::from(line.contains("INFO recording") || line.contains("INFO capturing"));
    }
    let out = lines(podtap.stdout.take().unwrap());
    (podtap, out)
}

fn iptables(rule: &str) -> bool {
    Command::new("iptables").args(rule.split(' ')).status().is_ok_and(|status| status.success())
}

type Followed = BTreeMap<String, Vec<String>>;

/// What followed, by the name of the rule, until it is enough.
fn followed(out: &Receiver<String>, enough: impl Fn(&Followed) -> bool) -> Followed {
    let mut followed = Followed::new();
    while !enough(&followed) {
        let record: Value = serde_json::from_str(&out.recv_timeout(PATIENCE).unwrap()).unwrap();
        if let Some(rule) = record["rule"]["name"].as_str() {
            let by = record["podtap"]["verdict"]["followed_by"].as_str().unwrap_or("?");
            followed.entry(rule.to_owned()).or_default().push(by.to_owned());
        }
    }
    followed
}

#[test]
fn a_logged_packet_says_whether_it_was_answered_or_tried_again() {
    in_a_namespace(|| {
        let log = |rule: &str, prefix: &str| {
            iptables(&format!("-A OUTPUT {rule} -j NFLOG --nflog-group 5 --nflog-prefix {prefix}"))
        };
        let (quiet, echo) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let served = server.local_addr().unwrap().port();
        let (quiet_at, echo_at, refused_at, held_back_at) = (port(&quiet), port(&echo), 9, 10);
        let tracked = iptables("-A OUTPUT -m conntrack --ctstate INVALID -j ACCEPT");
        if !tracked || !log(&format!("-p udp --dport {quiet_at}"), "OK_quiet") {
            return eprintln!("SKIPPED: needs iptables(8) with its match conntrack and its target NFLOG");
        }
        // Of a connection that was refused only its counters say that something came back.
        std::fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "1").unwrap();
        assert!(log(&format!("-p udp --dport {echo_at}"), "OK_echo"));
        assert!(log(&format!("-p tcp --syn --dport {served}"), "OK_served"));
        assert!(log(&format!("-p tcp --syn --dport {refused_at}"), "OK_refused"));
        assert!(log(&format!("-p udp --dport {held_back_at}"), "DENY_held_back"));
        assert!(iptables(&format!("-A OUTPUT -p udp --dport {held_back_at} -j DROP")));
        let (mut podtap, out) = podtap("conntrack,verdicts");

        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"question", ("127.0.0.1", echo_at)).unwrap();
        let (_, from) = echo.recv_from(&mut [0; 16]).unwrap();
        echo.send_to(b"answer", from).unwrap();
        client.send_to(b"question", ("127.0.0.1", quiet_at)).unwrap();
        for _ in 0..2 {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"question", ("127.0.0.1", held_back_at)).unwrap_err();
        }
        let stream = TcpStream::connect(("127.0.0.1", served)).unwrap();
        TcpStream::connect(("127.0.0.1", refused_at)).unwrap_err();

        let followed = followed(&out, |followed| followed.values().flatten().count() == 6);
        let expected = [
            ("DENY_held_back", vec!["retried", "nothing"]),
            ("OK_echo", vec!["answered"]),
            ("OK_quiet", vec!["nothing"]),
            ("OK_refused", vec!["answered"]),
            ("OK_served", vec!["established"]),
        ];
        let expected = expected.map(|(rule, by)| (rule.to_owned(), by.into_iter().map(str::to_owned).collect()));
        assert_eq!(followed, expected.into());
        drop(stream);
        podtap.kill().unwrap();
        podtap.wait().unwrap();
    });
}

/// Without connection tracking, what is captured on the interface says it.
#[test]
fn flows_say_what_followed_a_logged_packet_as_far_as_they_can_know() {
    in_a_namespace(|| {
        let log = |rule: &str, prefix: &str| {
            iptables(&format!("-A OUTPUT {rule} -j NFLOG --nflog-group 5 --nflog-prefix {prefix}"))
        };
        let [quiet, echo] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let served = server.local_addr().unwrap().port();
        if !log(&format!("-p udp --dport {}", port(&quiet)), "OK_quiet") {
            return eprintln!("SKIPPED: needs iptables(8) with its target NFLOG");
        }
        assert!(log(&format!("-p udp --dport {}", port(&echo)), "OK_echo"));
        for (to, prefix) in [(served, "OK_served"), (9, "OK_refused"), (10, "OK_unanswered")] {
            assert!(log(&format!("-p tcp --syn --dport {to}"), prefix));
        }
        assert!(iptables("-A INPUT -p tcp --dport 10 -j DROP"));
        let (mut podtap, out) = podtap("flows,verdicts");

        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"question", echo.local_addr().unwrap()).unwrap();
        let (_, from) = echo.recv_from(&mut [0; 16]).unwrap();
        echo.send_to(b"answer", from).unwrap();
        client.send_to(b"question", quiet.local_addr().unwrap()).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", served)).unwrap();
        TcpStream::connect(("127.0.0.1", 9)).unwrap_err();
        let waiting = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        waiting.set_nonblocking(true).unwrap();
        waiting.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], 10)).into()).unwrap_err();

        let mut followed = followed(&out, |followed| followed.len() == 5);
        // Its SYN is sent again, and logged again.
        followed.get_mut("OK_unanswered").unwrap().truncate(1);
        let expected = [
            ("OK_echo", "answered"),
            ("OK_quiet", "?"),
            ("OK_refused", "answered"),
            ("OK_served", "established"),
            ("OK_unanswered", "nothing"),
        ];
        assert_eq!(followed, expected.map(|(rule, by)| (rule.to_owned(), vec![by.to_owned()])).into());
        drop(stream);
        podtap.kill().unwrap();
        podtap.wait().unwrap();
    });
}
