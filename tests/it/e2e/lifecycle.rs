//! Starting, stopping, and what goes wrong in between.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::lab::{Directory, Lab, POD, answer, at, connect, get, in_a_pod, listen, until};
use super::running::{METRICS_PORT, PODTAP, Podtap, metric, page_with, ready};
use super::traffic::serve_one;
use crate::namespace::ip;

/// A request from the peer that its server has read and not answered.
fn unanswered(lab: &Lab, target: &str) -> (TcpStream, TcpStream) {
    let listener = listen(at(POD, 8080));
    let mut client = lab.peer(|| connect(at(POD, 8080)));
    let mut server = listener.accept().unwrap().0;
    client.write_all(get(target).as_bytes()).unwrap();
    server.read_exact(&mut vec![0; get(target).len()]).unwrap();
    (client, server)
}

#[test]
fn what_is_open_at_the_end_is_recorded_as_unanswered_for_that_reason() {
    in_a_pod(|lab| {
        let podtap = Podtap::capturing(&[("LINGER", "0")]);
        let _open: Vec<_> = ["/one", "/two"].map(|target| unanswered(&lab, target)).into();
        podtap.signal("TERM");
        let (status, records, said) = podtap.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert_eq!(records.len(), 2, "{records:?} {said}");
        for record in &records {
            assert!(record.contains(r#""unanswered":"shutdown""#) && !record.contains(r#""response":"#), "{record}");
        }
        assert!(said.contains("2 = 2 unanswered (shutdown 2)") && said.contains("adds up."), "{said}");
    });
}

#[test]
fn after_sigterm_the_last_exchanges_of_the_app_are_still_recorded() {
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("LINGER", "20s")]);
        let (mut client, mut server) = unanswered(&lab, "/slow");
        page_with("podtap_requests_open", 1.0);
        podtap.signal("TERM");
        podtap.says("stopping when the traffic is quiet");
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast").unwrap();
        assert!(answer(&mut client).ends_with("last"));
        let (status, records, said) = podtap.end();
        assert_eq!((status.code(), records.len()), (Some(0), 1), "{said}");
        assert!(records[0].contains(r#""trust":"complete""#) && said.contains("1 = 1 paired"), "{records:?} {said}");
    });
}

#[test]
fn a_second_signal_ends_the_wait_for_quiet() {
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("GRACE_PERIOD", "3600s"), ("LINGER", "1800s")]);
        let _open = unanswered(&lab, "/never");
        page_with("podtap_requests_open", 1.0);
        podtap.signal("TERM");
        podtap.says("stopping when the traffic is quiet");
        podtap.signal("TERM");
        let (status, records, said) = podtap.end();
        assert_eq!((status.code(), records.len()), (Some(0), 1), "{said}");
    });
}

/// A thread of another process, held still as a debugger does it: it does nothing any more, whatever comes.
struct Held(libc::pid_t);

impl Held {
    /// Where it waits for frames: held elsewhere it might hold a lock that all need, the log's for one.
    fn new(thread: libc::pid_t) -> Self {
        until("podtap is ready", || (ready() == 200).then_some(()));
        let held = Self(thread);
        assert!(held.ask(libc::PTRACE_SEIZE), "{}", std::io::Error::last_os_error());
        until("the thread is held where it waits", || {
            assert!(held.ask(libc::PTRACE_INTERRUPT), "{}", std::io::Error::last_os_error());
            until("the thread is held", || held.changed().filter(|status| libc::WIFSTOPPED(*status)));
            // It stays held: what it did is certain now.
            let waits = is_polling(thread);
            (waits || !held.ask(libc::PTRACE_CONT)).then_some(())
        });
        assert!(is_polling(thread), "the thread goes on no more");
        held
    }

    fn ask(&self, request: libc::c_uint) -> bool {
        #[allow(unsafe_code, reason = "std cannot stop a thread of another process")]
        // SAFETY: no memory of ours is touched.
        let answer = unsafe { libc::ptrace(request, self.0, 0, 0) };
        answer == 0
    }

    /// Its process cannot be waited for before the thread was.
    fn end(self) {
        until("the thread ends", || self.changed().filter(|status| !libc::WIFSTOPPED(*status)));
    }

    fn changed(&self) -> Option<i32> {
        let mut status = 0;
        #[allow(unsafe_code, reason = "std waits for whole processes only")]
        // SAFETY: `status` is valid for the call.
        let changed = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG | libc::__WALL) };
        (changed == self.0).then_some(status)
    }
}

/// Whether a thread that is held was in poll(2), or in what the C library makes of it.
fn is_polling(thread: libc::pid_t) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{thread}/syscall")).unwrap();
    #[cfg(target_arch = "x86_64")]
    let calls = [libc::SYS_poll, libc::SYS_ppoll];
    #[cfg(not(target_arch = "x86_64"))]
    let calls = [libc::SYS_ppoll];
    let call = call.split(' ').next().and_then(|number| number.parse().ok());
    call.is_some_and(|call: libc::c_long| calls.contains(&call))
}

/// The thread of a process that captures.
fn capture_thread(process: u32) -> libc::pid_t {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
    let captures = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().starts_with("cap-");
    let task = tasks.into_iter().find(captures).expect("a capture thread");
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn it_ends_within_the_grace_period_whatever_the_capture_does() {
    in_a_pod(|_| {
        let mut podtap = Podtap::capturing(&[("GRACE_PERIOD", "4s")]);
        let held = Held::new(capture_thread(podtap.id()));
        podtap.signal("TERM");
        podtap.says("too far behind to wait for");
        held.end();
        let (status, _, said) = podtap.end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("LOST  what 1 capture had not processed") && said.contains("adds up."), "{said}");
    });
}

#[test]
fn a_second_signal_ends_it_at_once_whatever_hangs() {
    in_a_pod(|_| {
        // A server that accepts and says nothing, which fluentd never does.
        let dead = listen(at(POD, 24_224));
        let fluentd =
            [("SEND_LOGS_TO", "fluentd"), ("FLUENTD_HOST", POD), ("GRACE_PERIOD", "3600s"), ("LINGER", "3600s")];
        for (stuck, code) in [(false, [0, 130]), (true, [130, 130])] {
            let mut podtap = Podtap::capturing(&fluentd);
            let held = stuck.then(|| Held::new(capture_thread(podtap.id())));
            podtap.signal("TERM");
            podtap.says("stopping when the traffic is quiet");
            podtap.signal("TERM");
            held.into_iter().for_each(Held::end);
            let (status, _, said) = podtap.end();
            assert!(status.code().is_some_and(|ended| code.contains(&ended)), "{status}: {said}");
        }
        drop(dead);
    });
}

#[test]
fn a_further_signal_gives_up_what_a_blocked_output_holds_and_counts_it() {
    in_a_pod(|lab| {
        let mut command = Command::new(PODTAP);
        command.env_clear().env("GRACE_PERIOD", "3600s");
        let (mut podtap, output) = Podtap::spawn_with_output(command);
        podtap.says("capturing");
        // More than a pipe holds.
        let listener = listen(at(POD, 8080));
        let mut client = lab.peer(|| connect(at(POD, 8080)));
        let mut server = listener.accept().unwrap().0;
        for n in 0..200 {
            let request = get(&format!("/{n}/{}", "x".repeat(2000)));
            client.write_all(request.as_bytes()).unwrap();
            server.read_exact(&mut vec![0; request.len()]).unwrap();
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            answer(&mut client);
        }
        page_with("podtap_records_offered_total", 200.0);
        podtap.signal("INT");
        // Stopped captures say so; the output goes on blocking.
        until("the capture has stopped", || (ready() == 503).then_some(()));
        podtap.signal("INT");
        let (status, _, said) = podtap.end();
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("LOST  ") && said.contains("The ledger adds up."), "{said}");
        drop(output);
    });
}

#[test]
fn a_reader_that_leaves_ends_podtap_quietly() {
    in_a_pod(|lab| {
        for stderr_too in [false, true] {
            let redirection = if stderr_too { "2>&1" } else { "" };
            // By descriptor 3 the test hears how it ended, also where standard error goes elsewhere.
            let script = format!("exec 3>&2; {PODTAP} {redirection}; echo it ended with $? >&3");
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            let (mut podtap, output) = Podtap::spawn_with_output(command);
            until("podtap captures", || TcpStream::connect(at("127.0.0.1", METRICS_PORT)).ok());
            until("podtap is ready", || (ready() == 200).then_some(()));
            drop(output);
            // The first is written into a closed pipe, and that ends it. But for a moment, a child that another test has
            // just forked may hold the pipe open.
            until("podtap to end", || {
                serve_one(&lab, "/gone");
                podtap.has_said("it ended with 0").then_some(())
            });
            let (_, _, said) = podtap.end();
            assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
        }
    });
}

#[test]
fn without_any_standard_stream_it_works_all_the_same() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let file = directory.join("records");
        let script = format!("{PODTAP} --send-logs-to file --file-path {file} <&- >&- 2>&-; echo it ended with $?");
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let mut shell = Podtap::spawn(command);
        until("podtap is ready", || TcpStream::connect(at("127.0.0.1", METRICS_PORT)).ok().filter(|_| ready() == 200));
        serve_one(&lab, "/cart");
        until("the record is filed", || std::fs::read_to_string(&file).ok().filter(|text| text.contains("/cart")));
        let podtap = until("podtap is found", || child_of_shell(&directory));
        assert!(Command::new("kill").args(["-INT", &podtap]).status().unwrap().success());
        assert_eq!(shell.line(), "it ended with 0");
    });
}

/// The process that writes to this directory, by its command line.
fn child_of_shell(directory: &Directory) -> Option<String> {
    let wanted = directory.join("records").into_bytes();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0);
        (words.next()? == PODTAP.as_bytes() && words.any(|word| word == wanted))
            .then(|| entry.file_name().to_str().unwrap().to_owned())
    })
}

#[test]
fn sighup_reopens_the_file_that_others_moved_away() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let (file, moved) = (directory.join("records"), directory.join("moved"));
        let mut podtap = Podtap::capturing(&[("SEND_LOGS_TO", "file"), ("FILE_PATH", &file)]);
        let filed = |path: &str, target: &str| {
            until(target, || std::fs::read_to_string(path).ok().filter(|text| text.contains(target)).map(drop));
        };
        serve_one(&lab, "/before");
        filed(&file, "/before");
        std::fs::rename(&file, &moved).unwrap();
        podtap.signal("HUP");
        podtap.says("reopening files");
        until("the file is there again", || std::fs::metadata(&file).ok());
        serve_one(&lab, "/after");
        filed(&file, "/after");
        assert!(!std::fs::read_to_string(&moved).unwrap().contains("/after"));
        podtap.interrupted();
    });
}

#[test]
fn an_interface_that_vanishes_makes_podtap_unready_until_it_returns() {
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("IFACE", "pod0")]);
        assert_eq!(ready(), 200);
        serve_one(&lab, "/before");
        assert_eq!(podtap.record()["url"]["path"], "/before");
        ip("link del pod0");
        podtap.says("not capturing; retrying until the interface can be opened");
        until("it is not ready", || (ready() == 503).then_some(()));
        lab.join_with_a_pair();
        podtap.says("capturing");
        until("it is ready", || (ready() == 200).then_some(()));
        serve_one(&lab, "/after");
        let record = podtap.record();
        assert_eq!((&record["url"]["path"], &record["podtap"]["trust"]), (&"/after".into(), &"complete".into()));
        let (rest, said) = podtap.interrupted();
        assert!(rest.is_empty() && said.contains("seconds not captured"), "{said}");
    });
}

#[test]
fn an_interface_that_comes_later_brings_its_addresses_and_so_the_direction() {
    in_a_pod(|lab| {
        ip("link del pod0");
        let mut podtap = Podtap::start(&[("IFACE", "pod0")]);
        podtap.says("there is no such interface");
        lab.join_with_a_pair();
        podtap.says("capturing");
        // Addresses are looked at every few seconds.
        let direction = until("a direction", || {
            serve_one(&lab, "/later");
            podtap.record()["network"].get("direction").cloned()
        });
        assert_eq!(direction, "ingress");
        podtap.interrupted();
    });
}

#[test]
fn a_port_of_the_metrics_that_is_taken_is_a_warning() {
    in_a_pod(|lab| {
        let _taken = TcpListener::bind(at("0.0.0.0", METRICS_PORT)).unwrap();
        let mut podtap = Podtap::start(&[]);
        podtap.says("no metrics endpoint");
        podtap.says("capturing");
        serve_one(&lab, "/cart");
        assert_eq!(podtap.record()["url"]["path"], "/cart");
        podtap.interrupted();
    });
}

#[test]
fn a_wrong_filter_ends_the_start_with_libpcaps_words() {
    in_a_pod(|_lab| {
        for (filter, interface, words) in [
            ("tcp prot 80", "pod0", "syntax error"),
            ("ether host 02:00:00:00:00:01", "any", "ethernet addresses supported only on ethernet"),
        ] {
            let (status, records, said) = Podtap::start(&[("CAP_FILTER", filter), ("IFACE", interface)]).end();
            assert_eq!((status.code(), records.len()), (Some(2), 0), "{said}");
            let expected = format!("podtap: CAP_FILTER {filter:?} is not a capture filter: ");
            assert!(said.starts_with(&expected) && said.contains(words), "{said}");
        }
        // What a tunnel's frames begin with is known only when it is open.
        ip("tuntap add dev pod2 mode tun");
        ip("link set pod2 up");
        let environment = [("CAP_FILTER", "ether host 02:00:00:00:00:01"), ("IFACE", "pod2")];
        let (status, _, said) = Podtap::start(&environment).end();
        assert!(status.code() == Some(2) && said.contains("cannot capture on pod2"), "{status} {said}");
    });
}

#[test]
fn a_mesh_proxy_that_starts_later_is_noticed() {
    in_a_pod(|_lab| {
        let mut podtap = Podtap::capturing(&[]);
        let _istio = TcpListener::bind(at("127.0.0.1", 15001)).unwrap();
        podtap.says("lo: a mesh proxy listens on 15001 (Istio)");
        podtap.says("capturing");
        podtap.interrupted();
    });
}

#[test]
fn check_says_what_is_there_and_its_exit_code_agrees() {
    in_a_pod(|_lab| {
        for (interface, filter, code, lines) in [
            (
                "auto",
                "tcp port 80",
                0,
                ["ok    interface pod0: the default route goes there", "ok    CAP_FILTER compiles"],
            ),
            ("lo,pod7", "tcp", 0, ["ok    interface lo", "warn  interface pod7 does not exist"]),
            ("any", "tcp prot", 1, ["ok    interface any", "FAIL  CAP_FILTER \"tcp prot\" is not"]),
        ] {
            let mut command = Command::new(PODTAP);
            command.arg("check").env_clear().envs([("IFACE", interface), ("CAP_FILTER", filter)]).stdin(Stdio::null());
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(lines.iter().all(|line| said.contains(line)), "{said}");
        }
    });
}

#[test]
fn frames_the_kernel_drops_are_counted_and_shown() {
    in_a_pod(|lab| {
        // One record that never leaves a stopped process: its ring fills.
        let podtap = Podtap::capturing(&[("CAPTURE_BUFFER", "256KiB")]);
        podtap.signal("STOP");
        let listener = listen(at(POD, 8080));
        let mut client = lab.peer(|| connect(at(POD, 8080)));
        let mut server = listener.accept().unwrap().0;
        let reading = std::thread::spawn(move || std::io::copy(&mut server, &mut std::io::sink()).unwrap());
        client.write_all(&vec![b'x'; 8 << 20]).unwrap();
        drop(client);
        assert_eq!(reading.join().unwrap(), 8 << 20);
        podtap.signal("CONT");
        until("drops are shown", || {
            let page = super::lab::fetch(at("127.0.0.1", METRICS_PORT), "/metrics").1;
            metric(&page, "podtap_kernel_dropped_packets_total").filter(|dropped| *dropped > 0.0)
        });
        let (_, said) = podtap.interrupted();
        assert!(said.contains("packets: the capture buffer was full"), "{said}");
    });
}
