//! Header fields: those far behind, those not kept, those that name the client.

use super::*;

/// `count` fields that mean nothing.
fn fillers(count: usize) -> String {
    (0..count).map(|n| format!("X-{n}: y\r\n")).collect()
}

#[test]
fn framing_is_read_to_the_end_of_a_head_however_many_fields_it_has() {
    let forged = "GET /forged HTTP/1.1\r\nHost: a\r\n\r\n";
    let (length, size) = (forged.len(), format!("{:x}", forged.len()));
    for count in [0, 63, 64, 511, 512, 513, 2000] {
        for (field, body) in [
            (format!("Content-Length: {length}"), forged.to_owned()),
            ("Transfer-Encoding: chunked".to_owned(), format!("{size}\r\n{forged}\r\n0\r\n\r\n")),
        ] {
            let mut w = Wire::new();
            let fillers = fillers(count);
            w.client(&format!("POST /1 HTTP/1.1\r\nHost: a\r\n{fillers}{field}\r\n\r\n{body}")).server(OK);
            w.client(&get("/2")).server(&format!("HTTP/1.1 201 Created\r\n{fillers}{field}\r\n\r\n{body}"));
            w.client(&get("/3")).server(OK);
            let e = w.close(CloseReason::Closed);
            let lines: Vec<_> = e.iter().map(line).collect();
            assert_eq!(
                lines,
                ["POST /1 200 complete", "GET /2 201 complete", "GET /3 200 complete"],
                "{count} {field}"
            );
            assert_eq!(e[0].weird.contains(Weird::TooManyHeaders), count >= 511, "{count}");
            assert_eq!(e[0].request.as_ref().unwrap().body_bytes, length as u64);
        }
    }
    let mut w = Wire::new();
    let fillers = fillers(600);
    w.client(&format!("GET /ws HTTP/1.1\r\nHost: a\r\n{fillers}Upgrade: websocket\r\n\r\n"));
    w.server("HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02");
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!((e.class, e.weird.contains(Weird::UnexpectedUpgrade)), (StreamClass::Upgrade, false));
}

#[test]
fn header_fields_that_are_not_kept_are_named() {
    for (count, expected) in [(127, false), (128, true), (600, true)] {
        let mut w = Wire::new();
        w.cx.config.headers = KeepHeaders::All;
        w.client(&format!("GET /1 HTTP/1.1\r\nHost: a\r\n{}\r\n", fillers(count))).server(OK);
        let e = w.close(CloseReason::Closed).remove(0);
        assert_eq!(e.weird.contains(Weird::HeaderNotKept), expected, "{count}");
        assert_eq!(e.request.unwrap().headers.len(), (count + 1).min(128));
    }
    let mut w = Wire::new();
    w.cx.config.headers = KeepHeaders::Named(vec!["x-1".into()]);
    w.client(&format!("GET /1 HTTP/1.1\r\nHost: a\r\n{}\r\n", fillers(300))).server(OK);
    let e = w.close(CloseReason::Closed).remove(0);
    assert!(!e.weird.contains(Weird::HeaderNotKept), "what was not asked for is no loss");
}

#[test]
fn behind_a_proxy_header_other_headers_count_only_if_the_address_in_it_is_trusted() {
    for (named, expected) in [("203.0.113.7", "203.0.113.7"), ("10.9.9.9", "198.51.100.9")] {
        let mut w = Wire::new();
        w.client(&format!("PROXY TCP4 {named} 10.0.0.2 4711 80\r\n"));
        w.client("GET /1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n").server(OK);
        let e = w.close(CloseReason::Closed).remove(0);
        assert_eq!(e.client_ip, Some(expected.parse().unwrap()), "{named}");
    }
}

#[test]
fn a_cut_head_names_no_client_because_the_nearest_proxies_write_last() {
    let mut w = Wire::new();
    w.client("GET /1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\nX-").lose(FromLow, 100);
    w.server(OK);
    assert_eq!(w.close(CloseReason::Closed).remove(0).client_ip, None);
}

#[test]
fn a_method_is_a_token_of_one_character_or_more() {
    let mut w = Wire::new();
    w.client("X /1 HTTP/1.1\r\nHost: a\r\n\r\n").server("HTTP/1.1 405 N\r\nContent-Length: 0\r\n\r\n");
    w.client(&get("/2")).server(OK);
    assert_eq!(w.lines(CloseReason::Closed), ["X /1 405 complete", "GET /2 200 complete"]);
}
