//! `podtap replay`, as its user runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;

use podtap::flow::{Endpoint, Timestamp};
use podtap::packet::LinkType;
use podtap::synth::{Conversation, SynthFrame, message, pcap};

use crate::binary::{podtap, replay, run};
use crate::fuzz_corpus::targets::seeds::pcapng;

fn conversation(exchanges: u32) -> Conversation {
    (0..exchanges).fold(Conversation::default().handshake(), |c, n| {
        c.client(message::request("GET", &format!("/{n}"), &[("Host", "shop")], b"")).server(message::response(
            "200 OK",
            &[],
            b"hello",
        ))
    })
}

fn capture(exchanges: u32) -> Vec<u8> {
    pcap(&conversation(exchanges).close().frames())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podtap-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_kind_of_capture_gives_the_same_records_and_twice_the_same() {
    let folder = Folder::new("kinds");
    let frames = conversation(5).close().frames();
    let (pcap, pcapng) = (pcap(&frames), pcapng(&frames));
    let expected = replay(&pcap, &[]);
    assert_eq!((expected.code, expected.lines().len()), (Some(0), 5), "{}", expected.stderr);
    assert!(expected.stderr.contains("Nothing lost; the ledger adds up."), "{}", expected.stderr);
    for (name, bytes) in [("a.pcap", pcap.clone()), ("a.pcap.gz", gzip(&pcap)), ("b.pcapng.gz", gzip(&pcapng))] {
        let file = folder.file(name, &bytes);
        let ran = run(&["replay", &file], &[], b"");
        assert_eq!((ran.code, &ran.stderr), (Some(0), &expected.stderr), "{name}");
        let names_interface = name.contains("pcapng");
        let lines = if names_interface { without_interface(&ran.stdout) } else { ran.stdout.clone() };
        assert_eq!(lines, expected.stdout, "{name}");
        assert_eq!(run(&["replay", "-"], &[], &bytes).stdout, ran.stdout, "{name} on standard input");
    }
}

/// pcapng names the interface.
fn without_interface(lines: &str) -> String {
    let part = r#""observer":{"ingress":{"interface":{"name":"eth0"}}},"#;
    assert_eq!(lines.matches(part).count(), lines.lines().count());
    lines.replace(part, "")
}

#[test]
fn several_files_are_one_capture() {
    let folder = Folder::new("several");
    let frames = conversation(4).close().frames();
    let (a, b) = frames.split_at(frames.len() / 2);
    let (a, b) = (folder.file("a.pcap", &pcap(a)), folder.file("b.pcap", &pcap(b)));
    let ran = run(&["replay", &a, &b], &[], b"");
    assert_eq!((ran.code, ran.stdout), (Some(0), replay(&pcap(&frames), &[]).stdout));
}

#[test]
fn a_cut_file_gives_the_records_up_to_the_cut_a_message_and_exit_code_1() {
    let folder = Folder::new("cut");
    let whole = capture(10);
    let all = replay(&whole, &[]);
    for (name, bytes) in [("cut.pcap", whole.clone()), ("cut.pcap.gz", gzip(&whole))] {
        let cut = folder.file(name, &bytes[..bytes.len() * 2 / 3]);
        let ran = run(&["replay", &cut], &[], b"");
        assert_eq!(ran.code, Some(1));
        let answered = ran.lines().into_iter().filter(|line| line.contains("\"status_code\"")).collect::<Vec<_>>();
        assert!((3..10).contains(&answered.len()), "{}", ran.stdout);
        assert_eq!(answered, all.lines()[..answered.len()]);
        let message = ran.stderr.lines().find(|line| line.starts_with("podtap: ")).unwrap_or_default();
        assert!(message.contains(name) && message.contains("cut"), "{}", ran.stderr);
        assert!(ran.stderr.contains("adds up"), "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_read_is_named_with_the_reason() {
    let folder = Folder::new("unreadable");
    let text = folder.file("notes.txt", b"no capture at all\n");
    let empty = folder.file("empty.pcap", b"");
    let bad_name = folder.file("bad\x1b[31m.pcap", b"x");
    let good = folder.file("good.pcap", &capture(1));
    for path in [&text, &empty, &folder.path("missing.pcap"), &bad_name, &folder.path("")] {
        let ran = run(&["replay", path], &[], b"");
        assert_eq!(ran.code, Some(1), "{path}");
        let first = ran.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("podtap: ") && first.len() > 20, "{path}: {}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b') && ran.stdout.is_empty());
    }
    // What can be read is read all the same.
    let ran = run(&["replay", &text, &good], &[], b"");
    assert_eq!((ran.code, ran.lines().len()), (Some(1), 1));
}

#[test]
fn wrong_settings_and_arguments_end_with_exit_code_2_before_anything_is_read() {
    let wrong = run(&["replay", "-"], &[("FORMAT", "xml"), ("SAMPLE", "7")], &capture(1));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("FORMAT") && wrong.stderr.contains("SAMPLE") && wrong.stdout.is_empty());
    assert_eq!(run(&["replay"], &[], b"").code, Some(2));
}

#[test]
fn a_reader_that_leaves_ends_the_replay_quietly_with_exit_code_0() {
    let capture = capture(20_000);
    let mut child = podtap(&["replay", "-"], &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(&capture));
    let mut first = [0; 100];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let _ = feed.join();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.to_lowercase().contains("broken pipe") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_signal_ends_the_replay_and_what_was_not_read_is_said_with_exit_code_1() {
    let folder = Folder::new("stopped");
    let second = folder.file("second.pcap", &capture(1));
    let mut child = podtap(&["replay", "-", &second], &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let frames = capture(5000);
    let writer = std::thread::spawn(move || {
        // It is not the end of the file that ends the replay.
        let mut goes_on = stdin.write_all(&frames).is_ok();
        while goes_on {
            goes_on = stdin.write_all(&frames[24..]).is_ok();
        }
    });
    stdout.read_line(&mut String::new()).unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("podtap: standard input: stopped by a signal after "), "{said}");
    assert!(said.contains("second.pcap: stopped by a signal; it was not read"), "{said}");
}

/// A replay into a full disk, read up to its first warning. Only a fault would make it wait for GRACE_PERIOD.
fn full_disk(folder: &Folder) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let capture = folder.file("big.pcap", &capture(60_000));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = podtap(&["replay", &capture], &[("GRACE_PERIOD", "3600s"), ("QUEUE_RECORDS", "100")])
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut warning = String::new();
    stderr.read_line(&mut warning).unwrap();
    assert!(warning.contains("No space left"), "{warning}");
    (child, stderr)
}

#[test]
fn a_replay_into_a_full_disk_gives_up_and_says_so() {
    let folder = Folder::new("full");
    let (mut child, mut stderr) = full_disk(&folder);
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("podtap: stdout has accepted nothing for ") && said.contains("\nLOST  "), "{said}");
}

#[test]
fn a_signal_ends_a_replay_into_a_full_disk_without_waiting_for_the_grace_period() {
    let folder = Folder::new("full-int");
    let (mut child, mut stderr) = full_disk(&folder);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("\nLOST  "), "{said}");
}

#[test]
fn every_format_has_one_line_for_each_exchange() {
    let capture = capture(3);
    let ecs = replay(&capture, &[("FORMAT", "ecs")]);
    assert_eq!(replay(&capture, &[]).stdout, ecs.stdout, "ecs is the default where no eyes are");
    let classic = replay(&capture, &[("FORMAT", "classic")]);
    let text = replay(&capture, &[("FORMAT", "text")]);
    for ran in [&ecs, &classic, &text] {
        assert_eq!((ran.code, ran.lines().len()), (Some(0), 3), "{ran:?}");
    }
    assert!(ecs.stdout.contains("\"url\":{\"original\":\"/0\""));
    assert!(classic.stdout.contains("\"url\":\"/0\"") && classic.stdout.contains("\"resCode\":200"));
    assert!(text.stdout.contains("GET  shop/0") && !text.stdout.contains('\x1b'));
    assert_eq!(
        run(&["replay", "-", "--format", "text"], &[("FORMAT", "ecs")], &capture).stdout,
        text.stdout,
        "flags win"
    );
}

#[test]
fn every_sink_gets_the_same_lines() {
    let folder = Folder::new("sinks");
    let path = folder.path("records.json");
    let ran = replay(&capture(50), &[("SEND_LOGS_TO", "stdout, file"), ("FILE_PATH", &path)]);
    assert_eq!((ran.code, ran.lines().len()), (Some(0), 50), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ran.stdout);
}

#[test]
fn own_addresses_give_the_direction() {
    let direction = |own| {
        let line = replay(&capture(1), &[("OWN_IPS", own)]).stdout;
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        json["network"]["direction"].as_str().map(str::to_owned)
    };
    assert_eq!(direction("10.0.0.2").as_deref(), Some("ingress"));
    assert_eq!(direction("10.0.0.1").as_deref(), Some("egress"));
    assert_eq!(direction("10.0.0.1,10.0.0.2").as_deref(), Some("internal"));
    assert_eq!(direction("192.0.2.1"), None);
}

#[test]
fn a_table_of_workloads_names_both_ends_and_one_of_no_use_is_refused() {
    let folder = Folder::new("workloads");
    let table = folder.file("table", b"10.0.0.2: {name: cart, namespace: shop}\n10.0.0.1: asks\n");
    let lines = replay(&capture(2), &[("WORKLOADS", &format!("file:{table}"))]).stdout;
    let records: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for record in records {
        let named = ["source", "destination"].map(|end| record["podtap"][end]["workload"]["name"].clone());
        assert_eq!(named, ["asks", "cart"]);
        assert_eq!(record["destination"]["domain"], "shop");
        assert_eq!(record["podtap"]["destination"]["domain_source"], "host");
    }
    let wrong = folder.file("wrong", b"10.0.0.2: {nmae: cart}\n");
    let refused = replay(&capture(1), &[("WORKLOADS", &format!("file:{wrong}"))]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains("line 1: unknown field `nmae`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("WORKLOADS"), "{}", refused.stderr);
}

/// A message of DNS about `name`: a question, or its answer with an address.
fn dns(number: u8, name: &str, address: Option<[u8; 4]>) -> Vec<u8> {
    let flags = if address.is_some() { [0x81, 0x80] } else { [1, 0] };
    let mut out = [&[0, number][..], &flags, &[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.extend([0, 0, 1, 0, 1]);
    if let Some(address) = address {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend(address);
    }
    out
}

/// A datagram from the pod to its resolver, or back.
fn datagram(at: Timestamp, back: bool, payload: &[u8]) -> SynthFrame {
    let (pod, resolver) = (([10, 0, 0, 1], 40_000u16), ([10, 96, 0, 10], 53u16));
    let (from, to) = if back { (resolver, pod) } else { (pod, resolver) };
    let size = |n: usize| (n as u16).to_be_bytes();
    let mut bytes =
        [&[0; 12][..], &[8, 0], &[0x45, 0], &size(28 + payload.len()), &[0, 0, 0x40, 0, 64, 17, 0, 0]].concat();
    bytes.extend([from.0, to.0].concat());
    bytes.extend([from.1.to_be_bytes(), to.1.to_be_bytes(), size(8 + payload.len()), [0, 0]].concat());
    bytes.extend(payload);
    SynthFrame::new(at, LinkType(1), bytes)
}

#[test]
fn names_are_learnt_from_answers_of_dns_to_questions_that_were_asked() {
    let begin = conversation(0).frames()[0].at;
    let ask = |number, name| datagram(begin, false, &dns(number, name, None));
    let answer = |number, name| datagram(begin, true, &dns(number, name, Some([10, 0, 0, 2])));
    let over_tcp = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let resolver = Conversation::new(Endpoint::new([10, 0, 0, 1], 40_001), Endpoint::new([10, 96, 0, 10], 53));
    let resolver = resolver.at(Timestamp(begin.0 - 1_000_000_000)).handshake();
    let resolver = resolver.client(over_tcp(dns(3, "tcp.lan", None)));
    let resolver = resolver.server(over_tcp(dns(3, "tcp.lan", Some([10, 0, 0, 2])))).close();
    for (frames, domain, source) in [
        (resolver.frames(), "\"tcp.lan\"", "dns"),
        (vec![ask(1, "cart.shop"), answer(1, "Cart.Shop")], "\"cart.shop\"", "dns"),
        (
            vec![ask(1, "a.lan"), ask(2, "b.lan"), answer(2, "b.lan"), answer(1, "a.lan")],
            "[\"a.lan\",\"b.lan\"]",
            "dns",
        ),
        (vec![answer(1, "evil.lan")], "\"shop\"", "host"),
        (vec![ask(1, "a.lan"), answer(2, "evil.lan")], "\"shop\"", "host"),
    ] {
        let capture = pcap(&[frames, conversation(2).close().frames()].concat());
        let lines = replay(&capture, &[("WORKLOADS", "dns")]).stdout;
        assert_eq!(lines.lines().count(), 2);
        for line in lines.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["destination"]["domain"].to_string(), domain);
            assert_eq!(record["podtap"]["destination"]["domain_source"], source);
        }
    }
}

/// A ClientHello that asks for a server.
fn client_hello(name: &str) -> Vec<u8> {
    let size = |n: usize| (n as u16).to_be_bytes();
    let sni = [&[0, 0][..], &size(name.len() + 5), &size(name.len() + 3), &[0], &size(name.len()), name.as_bytes()];
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &size(sni.concat().len()), &sni.concat()].concat();
    let handshake = [&[1, 0][..], &size(body.len()), &body].concat();
    [&[0x16, 3, 1][..], &size(handshake.len()), &handshake].concat()
}

/// What a flow's record has for names: of the source, of the destination, and who says so.
#[test]
fn a_flow_is_named_by_dns_then_by_the_hello_of_tls_then_by_its_exchanges() {
    let begin = conversation(0).frames()[0].at;
    let ends = || Conversation::new(Endpoint::new([10, 0, 0, 1], 40_002), Endpoint::new([10, 0, 0, 2], 443));
    let hello = |name| ends().at(begin).handshake().client(client_hello(name)).server("\x16").close().frames();
    let address = |number, name, ip| {
        [datagram(begin, false, &dns(number, name, None)), datagram(begin, true, &dns(number, name, Some(ip)))].to_vec()
    };
    let plain = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let two_hosts = || {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let first = ends().at(begin).handshake().client(plain("b.lan")).server(answer);
        first.client(plain("a.lan")).server(answer).close().frames()
    };
    for (record, before, frames, names) in [
        ("flows", vec![], hello("Shop.Lan"), ["null", "\"shop.lan\"", "\"sni\""]),
        ("http,flows", vec![], hello("shop.lan"), ["null", "\"shop.lan\"", "\"sni\""]),
        ("flows", address(1, "cdn.lan", [10, 0, 0, 2]), hello("shop.lan"), ["null", "\"cdn.lan\"", "\"dns\""]),
        ("flows", address(1, "pod.lan", [10, 0, 0, 1]), hello("10.0.0.2"), ["\"pod.lan\"", "null", "null"]),
        ("http,flows", vec![], two_hosts(), ["null", "[\"a.lan\",\"b.lan\"]", "\"host\""]),
        ("flows", vec![], two_hosts(), ["null", "null", "null"]),
    ] {
        let ran = replay(&pcap(&[before, frames].concat()), &[("WORKLOADS", "dns"), ("RECORD", record)]);
        let lines = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let flow =
            lines.filter(|line| line["event"]["dataset"] == "podtap.flow").find(|it| it["destination"]["port"] == 443);
        let flow = flow.unwrap_or_else(|| panic!("{}", ran.stderr));
        let podtap = &flow["podtap"];
        let found =
            [&flow["source"]["domain"], &flow["destination"]["domain"], &podtap["destination"]["domain_source"]];
        assert_eq!(found.map(ToString::to_string), names, "{record}");
        let has_source = podtap["source"]["domain_source"] == "dns";
        assert_eq!(has_source, names[0] != "null", "{podtap}");
    }
}

/// A capture of simple packet blocks, which have no time.
fn simple_packets(frames: &[podtap::synth::SynthFrame]) -> Vec<u8> {
    let word = |n: usize| (n as u32).to_le_bytes();
    let mut out =
        [&[0x0a, 0x0d, 0x0d, 0x0a][..], &word(28), &word(0x1a2b_3c4d), &[1, 0, 0, 0], &[0xff; 8], &word(28)].concat();
    out.extend([word(1), word(20), word(1), word(0), word(20)].concat());
    for frame in frames {
        let data = frame.as_frame().data;
        let len = 16 + data.len().next_multiple_of(4);
        out.extend([word(3), word(len), word(data.len())].concat());
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(word(len));
    }
    out
}

#[test]
fn frames_without_a_time_are_named() {
    let frames = conversation(2).close().frames();
    assert_eq!(frames[0].as_frame().link.0, 1, "Ethernet");
    let ran = replay(&simple_packets(&frames), &[]);
    assert_eq!((ran.code, ran.lines().len()), (Some(0), 2), "{}", ran.stderr);
    let expected = format!("{} frames have no time (simple packet blocks)", frames.len());
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    assert!(!replay(&pcap(&frames), &[]).stderr.contains("no time"));
}

/// The others say who has an address now.
#[test]
fn a_replay_says_which_sources_of_names_it_does_not_ask() {
    let ran = replay(&capture(1), &[("WORKLOADS", "redis,dns")]);
    assert!(
        ran.stderr.contains("WORKLOADS=redis is not asked") && !ran.stderr.contains("WORKLOADS=dns"),
        "{}",
        ran.stderr
    );
}
