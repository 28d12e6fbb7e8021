//! What is believed behind a hole or after a late join, where answers come slowly, in another order or in pieces.

use super::*;

/// A hole that may have held a request.
fn behind_a_hole() -> Bench {
    Bench::opened().send(CLIENT, get(1, "/a")).send(SERVER, answer(1, END, "200")).lose(CLIENT, 40)
}

/// A request whose block is cut into frames of `piece` bytes.
fn cut_request(stream: u32, path: &str, piece: usize) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "shop")];
    let filling = "x".repeat(120);
    let block = [block(&fields), block(&[("x-filling", &filling)]).repeat(130)].concat();
    let (first, rest) = block.split_at(piece);
    let count = rest.chunks(piece).count();
    let goes_on = rest.chunks(piece).enumerate().map(|(n, bytes)| {
        let flags = if n + 1 == count { frame::END_HEADERS } else { 0 };
        wire(frame::CONTINUATION, flags, stream, bytes)
    });
    [wire(frame::HEADERS, END, stream, first), goes_on.collect::<Vec<_>>().concat()].concat()
}

#[test]
fn requests_behind_a_hole_are_answered_in_any_order() {
    let ask = |bench: Bench| [5, 7, 9].iter().fold(bench, |bench, n| bench.send(CLIENT, get(*n, "/b")));
    let answered = |order: &[u32]| {
        let bench = order.iter().fold(ask(behind_a_hole()), |bench, n| bench.send(SERVER, answer(*n, END, "200")));
        let mut lines = lines(&bench.records());
        lines.sort();
        lines
    };
    for order in [[5, 7, 9], [9, 7, 5], [7, 9, 5], [9, 5, 7]] {
        assert_eq!(answered(&order), ["1 GET /a 200", "5 GET /b 200", "7 GET /b 200", "9 GET /b 200"], "{order:?}");
    }
    // What no one answers, in front of what is answered, may be part of a body.
    assert_eq!(answered(&[9]), ["1 GET /a 200", "9 GET /b 200"]);
}

#[test]
fn a_slow_answer_behind_a_hole_keeps_no_other_one_waiting_for_long() {
    let bench = behind_a_hole().send(CLIENT, get(5, "/slow")).send(CLIENT, get(7, "/fast"));
    let bench = bench.send(SERVER, answer(7, END, "200"));
    assert_eq!(bench.cx.out.len(), 1);
    let bench = bench.later(600);
    assert_eq!(bench.cx.out.len(), 2);
    let records = bench.send(SERVER, answer(5, END, "204")).records();
    assert_eq!(lines(&records)[1..], ["7 GET /fast 200", "5 - 204"]);
}

#[test]
fn a_long_head_behind_a_hole_or_after_a_late_join_waits_for_its_answer() {
    // The rest of a body is longer than the longest frame, so what follows is believed before the answer comes.
    let upload = data(3, 0, &[7; 9_000]);
    for stream in [5, 7] {
        let asked = [upload.clone(), cut_request(stream, "/long", 15_000), upload.clone()].concat();
        let bench = asked.chunks(1448).fold(behind_a_hole(), |bench, piece| bench.send(CLIENT, piece));
        let records = bench.later(2_000).send(SERVER, answer(stream, END, "200")).records();
        assert_eq!(lines(&records), ["1 GET /a 200", &format!("{stream} POST /long 200")], "{stream}");
    }
}

#[test]
fn heads_of_many_streams_are_remembered_while_their_bodies_go_on() {
    let streams = || (0..100).map(|n| 2 * n + 101);
    let asked: Vec<u8> = streams().flat_map(|stream| get(stream, "/drip")).collect();
    let heads: Vec<u8> = streams().flat_map(|stream| answer(stream, 0, "200")).collect();
    let round = |flags| streams().flat_map(|stream| data(stream, flags, b"a drop\n")).collect::<Vec<u8>>();
    let bench = (0..8).fold(behind_a_hole().send(CLIENT, asked).lose(SERVER, 20).send(SERVER, heads), |bench, _| {
        bench.send(SERVER, round(0))
    });
    let records = bench.send(SERVER, round(END)).records();
    let paired = records.iter().filter(|record| record.request.is_some() && record.response.is_some());
    assert_eq!(paired.count(), 101);
    let last = records.last().and_then(|record| record.response.as_ref()).unwrap();
    assert_eq!((last.status, last.body_bytes), (Some(200), 9 * 7));
}

#[test]
fn behind_a_preface_whose_upgrade_was_not_seen_the_first_stream_answers_it() {
    let mut bench = Bench::opened();
    bench.connection.lose_beginning();
    let settings = wire(frame::SETTINGS, 0, 0, b"");
    let records = bench
        .send(CLIENT, [settings.clone(), get(13, "/a"), get(15, "/b")].concat())
        .send(SERVER, [settings, answer(1, 0, "200"), data(1, END, b"upgraded")].concat())
        .send(SERVER, [answer(15, END, "404"), answer(13, END, "200")].concat())
        .records();
    assert_eq!(lines(&records), ["15 GET /b 404", "13 GET /a 200"]);
}

#[test]
fn a_socket_whose_answer_is_read_before_its_request_counts_nothing_of_its_server() {
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let asked = || behind_a_hole().send(CLIENT, headers(5, 0, &fields));
    let records = asked()
        .send(SERVER, [answer(5, 0, "200"), data(5, 0, &[0x81, 1, b'a'])].concat())
        .send(SERVER, data(5, 0, &[0x81, 1, b'b']))
        .send(CLIENT, data(5, END, &[0x88, 0x80, 0, 0, 0, 0]))
        .send(SERVER, data(5, END, &[0x88, 0]))
        .records();
    let socket = records.last().and_then(|record| record.websocket.clone()).unwrap();
    assert_eq!((socket.client.map(|client| client.frames), socket.server), (Some(1), None));
    assert_eq!(lines(&records), ["1 GET /a 200", "5 CONNECT /chat 200"]);
    let records = asked().send(SERVER, answer(5, END, "403")).send(CLIENT, data(5, END, b"")).records();
    assert!(records[1].websocket.is_none() && records[1].response.is_some(), "{records:?}");
}

#[test]
fn a_call_whose_answer_is_read_before_its_request_counts_no_part_of_its_messages() {
    let message = |bytes: &[u8]| [&[0, 0, 0, 0, bytes.len() as u8], bytes].concat();
    let records = behind_a_hole()
        .send(CLIENT, call(5))
        .send(CLIENT, data(5, END, &message(b"ask")))
        .send(SERVER, [answer(5, 0, "200"), data(5, 0, &message(b"one"))].concat())
        .send(SERVER, data(5, 0, &message(b"two")))
        .send(SERVER, headers(5, END, &[("grpc-status", "0")]))
        .records();
    let call = records.last().and_then(|record| record.grpc.clone()).unwrap();
    assert_eq!((call.status, call.request_messages, call.response_messages), (Some(0), Some(1), None));
}
