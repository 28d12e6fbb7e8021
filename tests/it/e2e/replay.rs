//! A replayed capture gives the records that seeing it live gave: byte for byte.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use super::lab::{
    Directory, PEER, PEER_V6, POD, POD_V6, Process, answer, ask, at, connect, get, in_a_pod, listen, nginx, until,
};
use super::running::{PODTAP, Podtap};
use super::traffic::serve_one;
use super::wire::Wire;

const OBSERVER: (&str, &str) = ("OBSERVER_ID", "the-same");
const HEADERS: (&str, &str) = ("LOGHEADERS", "true");

#[test]
fn a_replay_of_what_tcpdump_wrote_gives_the_same_records_byte_for_byte() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let Some(_nginx) = nginx(directory.path()) else { return };
        let file = directory.join("capture.pcap");
        let Some(_wire) = Wire::between(&lab) else { return };
        let _stamped = one_time_for_all_captures();
        let Some(tcpdump) = tcpdump(&file) else { return };
        let mut podtap = Podtap::capturing(&[OBSERVER, HEADERS, ("IFACE", "wire")]);
        until("tcpdump captures", || std::fs::metadata(&file).ok().filter(|file| file.len() >= 24));
        let number = traffic(&lab);
        let mut live: Vec<String> = (0..number).map(|_| podtap.line()).collect();
        serve_one(&lab, "/last");
        until("tcpdump has written everything", || {
            let text = std::fs::read(&file).unwrap();
            text.windows(20).any(|window| window == b"HTTP/1.1 204 No Cont").then_some(())
        });
        live.push(podtap.line());
        tcpdump.signal("INT");
        assert!(live[number].contains("/last"), "{live:?}");
        podtap.interrupted();
        let named = directory.join("capture.pcapng");
        std::fs::write(&named, pcapng(&std::fs::read(&file).unwrap(), "wire")).unwrap();
        let replayed = replay(&named);
        assert_eq!(replayed.len(), live.len());
        for (live, replayed) in live.iter().zip(&replayed) {
            assert_eq!(live, replayed);
        }
        assert!(live.iter().all(|line| line.contains(r#""trust":"complete""#)), "{live:?}");
    });
}

/// Exchanges of many kinds, both ways and in both families; how many.
fn traffic(lab: &super::lab::Lab) -> usize {
    let large = "y".repeat(300_000);
    let post = format!("POST /echo/large HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let chunked = "PUT /echo/chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut number = 0;
    for server in [POD, POD_V6] {
        let mut open: Vec<_> = (0..8).map(|_| lab.peer(move || connect(at(server, 80)))).collect();
        for round in 0..5 {
            for (n, stream) in open.iter_mut().enumerate() {
                ask(stream, &get(&format!("/echo/{round}/{n}")));
                number += 1;
            }
        }
        let stream = &mut open[0];
        ask(stream, &post);
        ask(stream, chunked);
        stream.write_all([get("/none"), get("/fail/"), get("/echo/piped")].concat().as_bytes()).unwrap();
        for _ in 0..3 {
            answer(stream);
        }
        number += 5;
    }
    for peer in [PEER, PEER_V6] {
        let listener = lab.peer(move || listen(at(peer, 9090)));
        let mut client = connect(at(peer, 9090));
        let mut server = listener.accept().unwrap().0;
        client.write_all(get("/charge").as_bytes()).unwrap();
        server.read_exact(&mut vec![0; get("/charge").len()]).unwrap();
        let body = "z".repeat(100_000);
        write!(server, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        assert!(answer(&mut client).ends_with(&body));
        number += 1;
    }
    number
}

/// Without it each capture reads the clock again for a packet, and the times differ by some hundred nanoseconds. A socket
/// that wants timestamps makes the kernel stamp each packet once, for everybody. But not one that still carries its
/// sender's departure time, as on a pair of interfaces; therefore the `Wire`.
fn one_time_for_all_captures() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let on: libc::c_int = 1;
    let size = u32::try_from(size_of_val(&on)).unwrap();
    #[allow(unsafe_code, reason = "std has no such option")]
    // SAFETY: the descriptor is open, and the value an int that lives for the whole call, of the size given.
    let outcome = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), size)
    };
    assert_eq!(outcome, 0);
    socket
}

fn tcpdump(file: &str) -> Option<Process> {
    let mut command = Command::new("tcpdump");
    command.args("-i wire -U -Z root -B 16384 -s 262144 --time-stamp-precision=nano -w".split(' ')).arg(file);
    match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Some(Process(child)),
        Err(error) => {
            eprintln!("SKIPPED: needs tcpdump: {error}");
            None
        }
    }
}

fn replay(file: &str) -> Vec<String> {
    let own_ips = format!("{POD},{POD_V6}");
    let mut command = Command::new(PODTAP);
    command.args(["replay", file]).env_clear().envs([OBSERVER, HEADERS, ("OWN_IPS", &own_ips)]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("Nothing lost; the ledger adds up."), "{said}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A pcap file of this machine, in nanoseconds, as pcapng (draft-ietf-opsawg-pcapng), which names the interface as a
/// live capture does. tcpdump writes none.
fn pcapng(pcap: &[u8], interface: &str) -> Vec<u8> {
    fn word(from: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(from[at..at + 4].try_into().unwrap())
    }
    fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let length = u32::try_from(padded + 12).unwrap().to_ne_bytes();
        out.extend_from_slice(&[kind.to_ne_bytes(), length].concat());
        out.extend_from_slice(body);
        out.resize(out.len() + padded - body.len(), 0);
        out.extend_from_slice(&length);
    }
    assert_eq!(word(pcap, 0), 0xa1b2_3c4d, "nanoseconds");
    let mut out = Vec::new();
    block(&mut out, 0x0a0d_0d0a, &[&0x1a2b_3c4du32.to_ne_bytes()[..], &1u32.to_ne_bytes(), &[0xff; 8]].concat());
    // Link type and snap length, then the options if_name and if_tsresol.
    let mut description = [word(pcap, 20).to_ne_bytes(), word(pcap, 16).to_ne_bytes()].concat();
    assert_eq!(interface.len(), 4, "no padding");
    description.extend_from_slice(&[&2u16.to_ne_bytes()[..], &4u16.to_ne_bytes(), interface.as_bytes()].concat());
    description.extend_from_slice(&[&9u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), &[9, 0, 0, 0], &[0; 4]].concat());
    block(&mut out, 1, &description);
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let [seconds, nanos, captured, length] = [0, 4, 8, 12].map(|at| word(rest, at));
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
        let high = u32::try_from(time >> 32).unwrap();
        let low = u32::try_from(time & 0xffff_ffff).unwrap();
        let Some(data) = rest.get(16..16 + captured as usize) else { break };
        let header = [0, high, low, captured, length].map(u32::to_ne_bytes).concat();
        block(&mut out, 6, &[&header, data].concat());
        rest = &rest[16 + captured as usize..];
    }
    out
}
