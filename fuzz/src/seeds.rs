//! Inputs to start from, made by podtap's own synth: the same ones every time, so none need be kept.

use podtap::flow::{Endpoint, Timestamp};
use podtap::packet::LinkType;
use podtap::settings::VARIABLES;
use podtap::sink::batch::BatchItem;
use podtap::sink::spool::layout::segment;
use podtap::synth::{Conversation, LinkHeaders, PcapWriter, SynthFrame, SynthSide, TimeResolution, message, pcap};

use super::conversation::Script;
use super::frames::encode;

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "frames" => frames(),
        "conversation" => conversations(),
        "pairs" => pairs(),
        "hpack" => header_blocks(),
        "http2" => http2(),
        "http2_bytes" => http2_bytes(),
        "websocket" => websockets(),
        "conntrack" => conntrack(),
        "dns" => dns(),
        "netlink" => recorded(),
        "connects" => connects(),
        "nflog" => nflog(),
        "kernel_lines" => lines(),
        "verdicts" => verdicts(),
        "settings" => settings(),
        "expression" => expressions(),
        "capture_file" => capture_files(),
        "bulk_answer" => bulk_answers(),
        "forward_reply" => forward_replies(),
        "lumberjack_acks" => acknowledgements(),
        "spool" => spools(),
        _ => Vec::new(),
    }
}

/// Every operator, key and kind of value.
fn expressions() -> Vec<Vec<u8>> {
    [
        "status>=500 && !(host=*.local or sip=10.0.0.0/8,fd00::/8)",
        "dport=80; dip='1.2.3.0/24' && keyword=\"nginx\"",
        "not (failed and slow) || unanswered=timeout,reset || duration>1.5s",
        "url~token and agent!~curl and bytes<=1MiB and direction=ingress and trust!=complete",
        "port>1024 && status=2xx,404;method=GET;;",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A question, addresses of both kinds, a chain of names, and a message as it is over TCP.
fn dns() -> Vec<Vec<u8>> {
    let head = |kind: u8, answers: u8| {
        let asked = [0, 1, 0, answers, 0, 0, 0, 0, 4, b's', b'h', b'o', b'p', 3, b'l', b'a', b'n', 0, 0, kind, 0, 1];
        [&[7, 0x12, 0x34, 0x81, 0x80][..], &asked].concat()
    };
    let record = |name: &[u8], kind: u8, value: &[u8]| {
        [name, &[0, kind, 0, 1, 0, 0, 0, 30, 0, value.len() as u8], value].concat()
    };
    let (asked, alias) = ([0xc0, 12], [3, b'w', b'e', b'b', 0xc0, 17]);
    let four = [head(1, 2), record(&asked, 1, &[10, 0, 0, 1]), record(&asked, 1, &[10, 0, 0, 2])].concat();
    let chain = [head(1, 2), record(&asked, 5, &alias), record(&alias, 1, &[10, 0, 0, 1])].concat();
    let six = [head(28, 1), record(&asked, 28, &[0xfd; 16])].concat();
    let mut question = head(1, 0);
    question[3] = 1;
    let framed = [&[1, 0, four.len() as u8 - 1][..], &four[1..]].concat();
    vec![question, four, chain, six, framed]
}

/// Messages of connection tracking as a kernel sent them.
fn recorded() -> Vec<Vec<u8>> {
    let text = include_str!("../../src/conntrack/recorded.hex");
    let hex = |line: &str| -> Vec<u8> {
        let digits = line.split_once(' ').expect("a name and bytes").1.as_bytes();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("hex"), 16).expect("hex"))
            .collect()
    };
    text.lines().filter(|line| !line.starts_with('#')).map(hex).collect()
}

/// A connection to a Service, a flow of IPv6, an end that is repeated, dumps; as a kernel sent them.
fn conntrack() -> Vec<Vec<u8>> {
    let messages = recorded();
    let step = |what: u8, message: &[u8]| {
        [&[what, message.len().div_ceil(2) as u8], message, &[0][..message.len() % 2]].concat()
    };
    let events =
        |mode: u8| [&[mode][..], &messages.iter().flat_map(|bytes| step(5, bytes)).collect::<Vec<_>>()].concat();
    let dumped = messages.iter().flat_map(|bytes| step(3, bytes));
    let dump = [&[1u8, 0][..], &dumped.collect::<Vec<_>>(), &[1, 0, 1, 2]].concat();
    vec![events(0), events(1), events(2), dump]
}

/// Two packets with all attributes, some lost between them.
/// An entry of each kind of address, and what came of it.
fn connects() -> Vec<Vec<u8>> {
    let entry = |version: u8, outcome: u8, error: u8| {
        let (text, args) = (&b"curl\0web-1\0docker-0\0curl\0bin\0"[..], &b"curl\0--token\0abc\0"[..]);
        let mut header = [0u8; 112];
        (header[0], header[8], header[24], header[40]) = (5, 9, 10, 10);
        (header[64], header[88], header[92], header[94]) = (7, error, 99, 80);
        (header[96], header[97], header[98]) = (version, 6, outcome);
        (header[100], header[102], header[104], header[105]) = (text.len() as u8, args.len() as u8, 2, 1);
        let length = (header.len() + text.len() + args.len()) as u16;
        [&length.to_le_bytes()[..], &header, text, args].concat()
    };
    vec![entry(4, 0, 0), entry(6, 1, 111), entry(4, 2, 0), [entry(4, 0, 0), entry(6, 0, 0)].concat()]
}

fn nflog() -> Vec<Vec<u8>> {
    let head = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 53, 0, 8, 0, 0];
    let packet = |lost: u8| {
        let attributes =
            [8, 0, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2];
        [&[0, lost, 0x3f][..], &attributes, &[0, 0, 3, 232], b"abc", &[head.len() as u8], &head].concat()
    };
    vec![packet(0), packet(1), packet(2), [packet(0), packet(3)].concat()]
}

const TCP_LINE: &str = "DENY_C2C_cb40 IN=s-1 OUT=s-2 SRC=10.255.15.7 DST=10.255.15.13 LEN=60 DF PROTO=TCP SPT=36004 DPT=723 WINDOW=1 SYN MARK=0x2 ";
const ICMP_LINE: &str = "OK_x IN=a OUT=b SRC=fd00::2 DST=fd00::7 LEN=56 PROTO=ICMPv6 TYPE=1 CODE=4 [SRC=fd00::7 DST=fd00::2 LEN=37 PROTO=UDP SPT=53 DPT=1 ] ";

/// A line behind each head, and two glued together, cut somewhere.
fn lines() -> Vec<Vec<u8>> {
    let heads = [
        "",
        "4,2047,6595922467,-;",
        "<4>[ 6595.922467] ",
        "[Sun Nov 29 22:04:50 2026] ",
        "kern  :warn  : [ 6595.922467] ",
        "<4>Nov 29 22:04:57 vm kernel: [ 6595.922467] ",
        "<4>1 2026-11-29T22:04:57.937066+00:00 vm kernel - - - [ 6595.922467] ",
        "1795989894.754359 vm kernel: ",
    ];
    let line = |head: &&str| [&[0, 90], head.as_bytes(), TCP_LINE.as_bytes()].concat();
    let glued = [&[0, 200], TCP_LINE.as_bytes(), ICMP_LINE.as_bytes()].concat();
    heads.iter().map(line).chain([glued]).collect()
}

/// Lines with several heads, glued and cut, an error of ICMP, packets of NFLOG.
fn verdicts() -> Vec<Vec<u8>> {
    use podtap::netlink::NetlinkWriter;
    let (tcp, icmp) = (TCP_LINE, ICMP_LINE);
    let step =
        |what: u8, bytes: &[u8]| [&[what, bytes.len().div_ceil(2) as u8], bytes, &b" "[..bytes.len() % 2]].concat();
    let udp = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 53, 0, 8, 0, 0];
    let logged = |number: u32| {
        let message = NetlinkWriter::netfilter(4 << 8, 0, 0, 2, 5).attribute(2, &[0, 0, 0, 7]).attribute(9, &udp);
        message.attribute(10, b"OK_0002_e9\0").attribute(12, &number.to_be_bytes()).finish()
    };
    let journal = format!(r#"{{"__REALTIME_TIMESTAMP":"1795989894754359","MESSAGE":"{}"}}"#, &tcp[..90]);
    vec![
        [vec![0, 1], step(5, tcp.as_bytes()), step(5, tcp.as_bytes()), vec![0, 0, 0, 0]].concat(),
        [vec![1, 0], step(4, format!("4,7,200,-;{icmp}").as_bytes()), step(5, format!("{tcp}{icmp}").as_bytes())]
            .concat(),
        [
            vec![1, 0],
            step(5, format!("Nov 29 22:04:57 vm kernel: [ 6595.922467] {tcp}").as_bytes()),
            step(5, journal.as_bytes()),
        ]
        .concat(),
        [vec![0, 1], step(2, &[logged(0), logged(1), logged(5)].concat()), step(1, &udp)].concat(),
    ]
}

/// Blocks of RFC 7541's examples, sizes of the table, lost blocks, blocks that grow.
fn header_blocks() -> Vec<Vec<u8>> {
    let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    let block = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let long = [&[0x40, 1, b'n', 0x7f, 0x21][..], &[b'v'; 160]].concat();
    vec![
        [block(first), block(second)].concat(),
        [block(first), vec![255], block(second), block(second)].concat(),
        [block(b"\x20\x3f\xe1\x1f"), block(first), block(b"\x3f\xff\xff\xff\x7f\xbe")].concat(),
        [block(&long), block(&[0xbe; 200]), block(&[0x7e, 0].repeat(90))].concat(),
        block(b"\x0f\x2f\x03abc\x1f\x30\x81\x07"),
    ]
}

/// A configuration byte, how it begins, then frames: calls, resets, sockets, lost segments.
fn http2() -> Vec<Vec<u8>> {
    use super::http2::step;
    let (client, server) = (SynthSide::Client, SynthSide::Server);
    let literal = |fields: &[(&str, &str)]| -> Vec<u8> {
        let one = |(name, value): &(&str, &str)| {
            [&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
        };
        fields.iter().flat_map(one).collect()
    };
    let get = |stream| step(client, 1, 5, stream, b"\x82\x86\x84\x41\x04shop");
    let call = literal(&[(":path", "/a.B/C"), ("content-type", "application/grpc")]);
    let call = step(client, 1, 4, 3, &[&[0x83, 0x86], &call[..]].concat());
    let trailers = step(server, 1, 5, 3, &literal(&[("grpc-status", "14"), ("grpc-message", "a%20b")]));
    let message = [&[0, 0, 0, 0, 3], &b"abc"[..]].concat();
    let called = |content_type: &str, asked: &[u8], answered: &[u8]| {
        let fields = literal(&[(":path", "/a.B/C"), ("content-type", content_type), ("connect-timeout-ms", "5")]);
        let typed = [&[0x88], &literal(&[("content-type", content_type)])[..]].concat();
        [
            step(client, 1, 4, 1, &[&[0x83, 0x86], &fields[..]].concat()),
            step(client, 0, 1, 1, asked),
            step(server, 1, 4, 1, &typed),
            step(server, 0, 1, 1, answered),
        ]
    };
    let socket = literal(&[(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/ws")]);
    let close = step(client, 0, 1, 5, &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]);
    let lost = vec![0x0b, 0, 20];
    let answer = |stream| step(server, 1, 5, stream, &[0x88]);
    let settings = [step(client, 4, 0, 0, &[0, 5, 0, 0, 0x40, 0]), step(server, 4, 1, 0, &[])].concat();
    let with = |begin: u8, steps: &[Vec<u8>]| [vec![0, begin], steps.concat()].concat();
    vec![
        with(0, &[settings, get(1), answer(1), get(7), step(server, 3, 0, 7, &[0, 0, 0, 8])]),
        with(0, &[call.clone(), step(client, 0, 1, 3, &message), answer(1), step(server, 0, 0, 3, &message), trailers]),
        with(0, &[step(client, 1, 4, 5, &socket), step(server, 1, 4, 5, &[0x88]), close, answer(5)]),
        // Beyond the last words of a server; behind a hole that held no block.
        with(0, &[get(1), step(server, 7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), get(3), answer(1)]),
        with(0, &[call.clone(), lost.clone(), step(client, 0, 0, 3, &message), get(5), answer(5)]),
        with(3, &[get(9), answer(9), get(11), answer(11), get(13), lost.clone(), answer(13)]),
        with(
            0,
            &[get(1), lost, get(3), answer(3), get(5), answer(5), step(server, 7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])],
        ),
        with(
            0,
            &[
                step(server, 5, 4, 1, b"\0\0\0\x02\x82\x86\x84"),
                step(client, 1, 1, 1, &[0x82]),
                step(client, 9, 4, 1, &[0x86]),
            ],
        ),
        with(0, &called("application/grpc-web-text", b"AAAAAAJhYg==", b"AAAAAAJhYg==gAAAAA5ncnBjLXN0YXR1czogNQ==")),
        with(0, &called("application/connect+json", &message, b"\x02\0\0\0\x1c{\"error\":{\"code\":\"aborted\"}}")),
    ]
}

/// A configuration byte, how it begins, then segments: whole frames, cut ones, and what is none.
fn http2_bytes() -> Vec<Vec<u8>> {
    use super::http2_bytes::step;
    use podtap::synth::http2::{self, HpackEncoder};
    let (client, server) = (SynthSide::Client, SynthSide::Server);
    let (mut asks, mut answers) = (HpackEncoder::default(), HpackEncoder::default());
    let get =
        [(":method", "GET"), (":scheme", "http"), (":path", "/cart?id=7"), (":authority", "shop"), ("x-any", "1")];
    let mut ask = |stream| step(client, &asks.headers(stream, &get, true));
    let mut answer = |stream, body: &[u8]| {
        let head = answers.headers(stream, &[(":status", "200"), ("content-type", "application/grpc")], false);
        step(server, &[head, http2::data(stream, body, true)].concat())
    };
    let settings = [step(client, &http2::settings()), step(server, &http2::settings())].concat();
    let message = http2::grpc_message(b"abc");
    let whole = [ask(1), ask(3), answer(3, &message), answer(1, b"body"), ask(5), answer(5, &[7; 300])].concat();
    let lost = vec![0x00, 40, 0x80, 90];
    vec![
        [vec![0, 0], settings.clone(), whole.clone()].concat(),
        [vec![1, 3], whole.clone()].concat(),
        [vec![0, 0], settings, whole.clone(), lost, whole.clone()].concat(),
        [vec![0, 3], step(client, b"the rest of a payload"), whole.clone()].concat(),
        [vec![0, 0], step(client, &[0, 0, 0x40, 9, 0, 0, 0, 0, 1]), step(server, &[0xff; 90]), whole].concat(),
    ]
}

/// A configuration byte, then frames of both ends.
fn websockets() -> Vec<Vec<u8>> {
    use super::websocket::step;
    let (client, server) = (SynthSide::Client, SynthSide::Server);
    let close = |side| step(side, 0x88, &[3, 0xe8, b'b', b'y', b'e']);
    let text = [step(client, 0x01, b"hel"), step(client, 0x89, b"?"), step(client, 0x80, b"lo")].concat();
    let lost = vec![0x85, 3];
    vec![
        [vec![0], text.clone(), step(server, 0xc1, b"zipped"), close(server), close(client)].concat(),
        [vec![1], step(server, 0x82, &[9; 60]), lost.clone(), step(server, 0x82, &[9; 60]), close(client)].concat(),
        [vec![0], text.clone(), lost, text.clone(), vec![7, 0]].concat(),
        [vec![0], vec![4, 2], text, step(client, 0x83, b""), step(server, 0x8a, b"pong")].concat(),
    ]
}

/// How many records, the status, the body.
fn bulk_answers() -> Vec<Vec<u8>> {
    let error = r#"{"type":"document_parsing_exception","reason":"[1:5] failed to parse"}"#;
    let item = |status: u16, error: &str| format!(r#"{{"create":{{"status":{status},"error":{error}}}}}"#);
    let items = |items: &[String]| format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
    let main = r#"{"version":{"number":"8.7.1","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
    [
        (1, 200, items(&[item(201, "null")])),
        (3, 200, items(&[item(409, error), item(429, error), item(400, error)])),
        (2, 200, items(&[item(503, "\"busy\""), item(404, error)])),
        (2, 401, format!(r#"{{"error":{error},"status":401}}"#)),
        (1, 413, String::new()),
        (0, 200, main.to_owned()),
    ]
    .map(|(records, status, body): (u8, u16, String)| [&[records], &status.to_be_bytes()[..], body.as_bytes()].concat())
    .to_vec()
}

/// Fluentd's and Fluent Bit's, whole, cut and followed by more.
fn forward_replies() -> Vec<Vec<u8>> {
    let helo = b"\x92\xa4HELO\x83\xa5nonce\xc4\x04\xff\0\x01\x02\xa4auth\xa0\xa9keepalive\xc3";
    let raw = b"\x92\xa4HELO\x83\xa5nonce\xb0\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3\xf2\xf1\xf0\xa4auth\xa1s\xa9keepalive\xc2";
    let pong = b"\x95\xa4PONG\xc2\xb3shared key mismatch\xa0\xa0";
    let ack = b"\x81\xa3ack\xd9\x1cAAECAwQFBgcICQoLDA0ODxAREhM=";
    [
        &helo[..],
        raw,
        pong,
        ack,
        &helo[..9],
        &[&ack[..], pong].concat(),
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x15\x03\x03\0\x02\x02\x46",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// How many events, how many bytes at once, what is said.
fn acknowledgements() -> Vec<Vec<u8>> {
    let ack = |sequence: u32| [b"2A", &sequence.to_be_bytes()[..]].concat();
    let said = |window: u8, at_once: u8, acks: &[u32]| {
        [vec![window, at_once], acks.iter().flat_map(|sequence| ack(*sequence)).collect()].concat()
    };
    let mut cut = said(9, 3, &[4, 9]);
    cut.pop();
    vec![
        said(3, 0, &[3]),
        said(200, 6, &[0, 0, 50, 50, 200]),
        said(2, 1, &[3]),
        cut,
        [&[5, 4][..], &ack(5), b"HTTP/1.1 400 Bad Request"].concat(),
    ]
}

fn spools() -> Vec<Vec<u8>> {
    let item = |id, body| BatchItem { id, at: Timestamp(1), dataset: podtap::record::Dataset::Http, body };
    let whole = segment([1, 2, 3, 4], "ecs", [item("a", &b"{}"[..]), item("b", b"{\"n\":1}"), item("c", b"")]);
    let behind = |first: &[u8], rest: &[u8]| [first, rest].concat();
    vec![
        behind(&[0], &whole),
        behind(&[0], &whole[..whole.len() - 3]),
        behind(&[1, 0, 40, 1, 0], b"{}\0{\"a\":1}\0\0last"),
        behind(&[1, 0, 9, 60, 0xff], b"one\0two\0three\0four"),
    ]
}

fn play(c: Conversation) -> Conversation {
    let get = message::request("GET", "/cart?id=7&token=x", &[("Host", "shop.local:8080"), ("Cookie", "a=b")], b"");
    c.handshake()
        .client(get)
        .server(message::response("200 OK", &[("Content-Type", "application/json")], b"{\"a\":1}"))
        .client(message::request("POST", "/orders", &[("Host", "shop"), ("Expect", "100-continue")], b"0123456789"))
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .server(message::chunked_response("201 Created", &[], &[b"one", b"two"]))
        .close()
}

fn stages() -> Vec<Conversation> {
    let v6 = |n: u16, port| Endpoint::new(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), port);
    vec![
        Conversation::default(),
        Conversation::default().vlans(&[100, 7]),
        Conversation::default().link(LinkHeaders::Sll),
        Conversation::default().link(LinkHeaders::Sll2(3)).segments_of(20),
        Conversation::new(v6(1, 40_000), v6(2, 8080)).link(LinkHeaders::Raw),
    ]
}

fn frames() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (n, stage) in stages().into_iter().enumerate() {
        let frames = play(stage).frames();
        let encoded = |frames: &[SynthFrame]| encode(n as u8, frames.iter().map(|f| (f.link, f.bytes.as_slice())));
        seeds.push(encoded(&frames));
        let mut turned = frames;
        turned.swap(3, 4);
        seeds.push(encoded(&turned));
    }
    let inner = play(Conversation::default().link(LinkHeaders::Raw)).frames();
    for wrap in [fragmented as fn(&SynthFrame) -> Vec<Vec<u8>>, six_in_four, vxlan] {
        let wrapped: Vec<Vec<u8>> = inner.iter().flat_map(wrap).collect();
        seeds.push(encode(0, wrapped.iter().map(|bytes| (LinkType(101), bytes.as_slice()))));
    }
    seeds
}

/// An IPv4 header by hand: what a tunnel or a fragment needs.
fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len() as u16).to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut bytes = vec![0x45, 0, len[0], len[1], 0, 9, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes.extend(payload);
    bytes
}

fn fragmented(frame: &SynthFrame) -> Vec<Vec<u8>> {
    let (first, second) = frame.bytes[20..].split_at(24);
    vec![ipv4(6, 0x2000, first), ipv4(6, 3, second)]
}

fn six_in_four(frame: &SynthFrame) -> Vec<Vec<u8>> {
    vec![ipv4(4, 0, &frame.bytes)]
}

fn vxlan(frame: &SynthFrame) -> Vec<Vec<u8>> {
    let mut udp = vec![0x30, 0x39, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0];
    udp.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    udp.extend(&frame.bytes);
    let len = (udp.len() as u16).to_be_bytes();
    udp[4..6].copy_from_slice(&len);
    vec![ipv4(17, 0, &udp)]
}

fn conversations() -> Vec<Vec<u8>> {
    use SynthSide::{Client, Server};
    let get: &[&[u8]] = &[b"GET / HTTP/1.1\r\n", b"Host: shop.local:8080\r\n", b"\r\n"];
    let post: &[&[u8]] =
        &[b"POST /a?token=x HTTP/1.1\r\n", b"Expect: 100-continue\r\n", b"Content-Length: 5\r\n", b"\r\n"];
    let sized: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"\r\n", b"hello"];
    let chunked: &[&[u8]] =
        &[b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"];
    let until_close: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n", b"\r\n", b"hello"];
    let upgrade: &[&[u8]] = &[b"GET / HTTP/1.1\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"\r\n"];
    let open = |n: u8| Script::new(n);
    [
        open(0).send(Client, get).send(Server, sized).send(Client, get).send(Server, chunked),
        open(1).send(Client, get).send(Client, get).send(Client, get).send(Server, sized).send(Server, chunked),
        open(2)
            .send(Client, post)
            .send(Server, &[b"HTTP/1.1 100 Continue\r\n\r\n"])
            .send(Client, &[b"hello"])
            .send(Server, sized),
        open(3).send(Client, get).send(Server, until_close).raw(&[0x8a, 0x11, 0x0a, 0x11]),
        open(4).send(Client, upgrade).send(Server, &[WORD_101]).send(Client, &[b"\0\x01\x02\x03"]),
        open(5)
            .send(Client, &[b"CONNECT db:5432 HTTP/1.1\r\n", b"\r\n"])
            .send(Server, sized)
            .send(Client, &[b"\0\x01\x02\x03"]),
        open(6)
            .send(Client, get)
            .raw(&[0x87, 0, 200])
            .send(Server, sized)
            .raw(&[8, 37])
            .send(Client, get)
            .send(Server, sized),
        open(7).send(Client, get).send(Server, sized).raw(&[11, 0]).send(Client, get).send(Server, sized).raw(&[14, 3]),
        open(0).send(Client, &[b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n"]).send(Client, get).send(Server, sized),
        open(0).raw(&[5]).raw(&[1, 21, 43, 0, 30]).raw(&[0x85]).raw(&[9, 22, 43, 46, 0, 3]),
        open(0)
            .send(Client, &[b"POST /a.B/C HTTP/1.1\r\nContent-Type: application/json\r\n", b"Content-Length: 5\r\n"])
            .send(Client, &[b"Connect-Protocol-Version: 1\r\n", b"\r\n", b"hello"])
            .send(Server, &[b"HTTP/1.1 409 X\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"])
            .send(Server, &[b"{\"code\":\"aborted\"}"]),
        open(0)
            .send(Client, &[b"HEAD /h HTTP/1.1\r\n", b"\r\n"])
            .send(Server, &[b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"\r\n"]),
    ]
    .map(Script::bytes)
    .to_vec()
}

const WORD_101: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn pairs() -> Vec<Vec<u8>> {
    let steps = |n: u8| (0..60u8).map(move |i| i.wrapping_mul(n).wrapping_add(n >> 3));
    (0..12u8).map(|n| [n % 5].into_iter().chain(steps(7 * n + 3)).collect()).collect()
}

fn settings() -> Vec<Vec<u8>> {
    // The first have a number, all have a name.
    let name = |n: usize, name: &str| {
        u8::try_from(0x80 + n).map_or_else(|_| format!("{name}=").into_bytes(), |byte| vec![byte])
    };
    let all = |value: fn(&'static str) -> &'static str| -> Vec<u8> {
        let line = |(n, v): (usize, &podtap::settings::Variable)| {
            [&name(n, v.name)[..], value(v.default).as_bytes(), b"\n"].concat()
        };
        VARIABLES.iter().enumerate().flat_map(line).collect()
    };
    vec![
        all(|default| default),
        all(|_| "none"),
        all(|_| "-1, x"),
        b"FLUENTD_HSOT=x\nFORMAT=text\nSHOP_SERVICE_HOST=10.0.0.1\nSEND_LOGS_TO=stdout, file\nFILE_PATH=/tmp/x"
            .to_vec(),
        b"SAMPLE=0.5\nTAGS=a=b,c=d\nREDACT_PATH=/reset/*\nROUTES=/a/{id}\0FORMAT=ecs\nRATE_LIMIT=10/s".to_vec(),
        b"IGNORE_STATUS=4xx,200\nTIMEOUT_AFTER_MS=1s\nOWN_IPS=10.0.0.1,::1\nTRUSTED_PROXIES=10.0.0.0/8".to_vec(),
    ]
}

fn capture_files() -> Vec<Vec<u8>> {
    let frames = play(Conversation::default()).frames();
    let mut micro = PcapWriter::new(Vec::new(), LinkType(1), TimeResolution::Micro).expect("memory");
    frames.iter().for_each(|frame| micro.write(frame).expect("memory"));
    let whole = pcap(&frames);
    let cut = whole[..whole.len() - 7].to_vec();
    vec![whole, cut, micro.finish().expect("memory"), pcapng(&frames)]
}

/// pcapng by hand: a section, an interface with a name, enhanced packets.
pub fn pcapng(frames: &[SynthFrame]) -> Vec<u8> {
    let mut file = Vec::new();
    block(&mut file, 0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    let link = frames.first().map_or(1, |frame| frame.link.0);
    let name = [2, 0, 4, 0, b'e', b't', b'h', b'0', 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    block(&mut file, 1, &[&link.to_le_bytes()[..], &[0; 6], &name].concat());
    for frame in frames {
        let at = frame.at.0 as u64;
        let len = frame.bytes.len() as u32;
        let numbers = [0, (at >> 32) as u32, at as u32, len, frame.wire_len].map(u32::to_le_bytes).concat();
        let padding = vec![0; frame.bytes.len().next_multiple_of(4) - frame.bytes.len()];
        block(&mut file, 6, &[&numbers[..], &frame.bytes, &padding].concat());
    }
    file
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (12 + body.len() as u32).to_le_bytes();
    file.extend([&kind.to_le_bytes()[..], &len, body, &len].concat());
}
