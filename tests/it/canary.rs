//! Secrets in real traffic, searched for in everything that podtap puts out. That is records in every format, on every
//! sink, the log at its most talkative, metrics, closing lines.

use podtap::dissect::Dissector;
use podtap::exchange::KeepHeaders;
use podtap::flow::Endpoint;
use podtap::ledger::RecordLedger;
use podtap::metrics::{KernelCounters, Metrics, WaitingRequests, closing_lines};
use podtap::redact::Redactor;
use podtap::sink::Sinks;
use podtap::synth::{Conversation, SynthFrame, merge, message, pcap};
use podtap::tcp::CloseReason;

use crate::binary::replay;

/// Every secret begins so; its number follows.
const CANARY: &str = "cnry7f3e";

/// Requests, `@` standing for its own secret each time.
const REQUESTS: &[&str] = &[
    "GET /authorization HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer @\r\n\r\n",
    "GET /basic HTTP/1.1\r\nHost: a\r\nauthorization: Basic @\r\n\r\n",
    "GET /scheme HTTP/1.1\r\nHost: a\r\nAuthorization: @ @\r\n\r\n",
    "GET /bare HTTP/1.1\r\nHost: a\r\nAuthorization: @\r\n\r\n",
    "GET /proxy HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Digest username=\"u\", response=\"@\"\r\n\r\n",
    "GET /cookie HTTP/1.1\r\nHost: a\r\nCookie: a=@; b=@\r\nCookie2: @\r\n\r\n",
    "GET /key HTTP/1.1\r\nHost: a\r\nX-Api-Key: @\r\nX-API-KEY: @\r\nApiKey: @\r\nX-Auth-Token: @\r\n\r\n",
    "GET /more HTTP/1.1\r\nHost: a\r\nX-Amz-Security-Token: @\r\nX-CSRF-Token: @\r\nX-Vault-Token: @\r\nX-Session-Id: @\r\n\r\n",
    "GET http://user:@@absolute/ HTTP/1.1\r\nHost: absolute\r\n\r\n",
    "GET http://@:x@absolute/ HTTP/1.1\r\nHost: u:@@absolute\r\n\r\n",
    "GET /referer HTTP/1.1\r\nHost: a\r\nReferer: http://b/c?token=@&x=1\r\nOrigin: http://u:@@b\r\n\r\n",
    "GET /query?access_token=@&user=1&password=@&api_key=@#id_token=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /encoded?api%5Fkey=@&%74oken=@&to%6ben=@&x%5Btoken%5D=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /nested?next=http%3A%2F%2Fu%3A@%40b%2F%3Ftoken%3D@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /twice?next=%252Fa%253Ftoken%253D@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /matrix;jsessionid=@?a=b;token=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /case?TOKEN=@&Access-Token=@&accessToken=@&X-Amz-Signature=@&sig=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT user:@@db:5432 HTTP/1.1\r\nHost: user:@@db:5432\r\n\r\n",
    "GET /odd HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer @\r\nX: y\r\n\r\n",
    "GET /fold HTTP/1.1\r\nHost: a\r\nAuthorization:\r\n Bearer @\r\nX-A: b\r\n Authorization: @\r\n\r\n",
    "GET /lf HTTP/1.1\nHost: a\nAuthorization: Bearer @\n\n",
    "GET /rewritten HTTP/1.1\r\nHost: a\r\nX-Original-URL: /x?token=@\r\nX-Forwarded-Uri: /x?token=@\r\n\r\n",
    "GET /text HTTP/1.1\r\nHost: a\r\nX-Note: see http://u:@@b/?token=@ for more\r\nUser-Agent: me/1 (token=@)\r\n\r\n",
    "GET /spaces are here?token=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /older?token=@\r\n",
    "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\npassword=@",
    "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;token=@\r\nx\r\n0\r\nAuthorization: Bearer @\r\nX-Api-Key: @\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: bearer, @\r\n\r\n",
    "GET /trace HTTP/1.1\r\nHost: a\r\nX-Request-Id: token=@\r\n\r\n",
    "GET /forwarded HTTP/1.1\r\nHost: a\r\nForwarded: for=10.0.0.9;secret=@\r\nVia: 1.1 u:@@proxy\r\n\r\n",
    "GET /json?variables={\"password\":\"@\",\"a\":{\"apiKey\":\"@\"}} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /json?variables=%7B%22password%22%3A%22@%22%7D&q=login(password:%22@%22) HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /names?consumer_key=@&passkey=@&user_pass=@&AccountKey=@&promoCode=@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /chain?c=AccountName=x;AccountKey=@;Endpoint=y&d=Password=@;a=b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /thrice?to%2525%36ben=@&x=%25252574oken%2525253D@ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /fetch/https:/u:@@b/x HTTP/1.1\r\nHost: a\r\nContent-Type: x/token=@\r\n\r\n",
    "GET /headers HTTP/1.1\r\nHost: a\r\nX-Amzn-Oidc-Data: @\r\nDD-APPLICATION-KEY: @\r\nAuthentication: @\r\nX-Any: Token @\r\n\r\n",
    "GET /values HTTP/1.1\r\nHost: a\r\nX-Any: {\"token\":\"@\"}\r\nX-Say: the password: @\r\nUser-Agent: me (Basic @)\r\n\r\n",
    "@ not http at all\r\n",
];

/// Responses; those without a body of their own have none.
const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nSet-Cookie: sid=@; Path=/\r\nSet-Cookie: other=@\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: /cb?code=@&state=1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: https://u:@@b/#access_token=@\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest nonce=\"@\"\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"@\"\r\nProxy-Authentication-Info: @\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 400 see http://u:@@b/?token=@ please\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 token=@\r\nLink: <https://b/?sig=@>; rel=next\r\nRefresh: 0; url=/?token=@\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Api-Key: @\r\nX-Refresh-Token: @\r\nContent-Location: /x?token=@\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;token=@\r\nx\r\n0\r\nSet-Cookie: a=@\r\n\r\n",
    "HTTP/1.1 401 Token @ refused\r\nX-Any: secret=@\r\nLocation: /x?data={\"token\":\"@\"}\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok@@",
    "HTTP/1.1 103 Early Hints\r\nLink: </a?token=@>\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie : a=@\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: @\r\n\r\n\x01@",
];

/// Puts a new secret in place of every `@` that means one.
fn with_secrets(text: &str, next: &mut u32) -> Vec<u8> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        rest = &behind[1..];
        // The `@` of an authority is behind a secret, or behind a password that is none.
        if out.ends_with(":x") || out.ends_with(&format!("{CANARY}{:03}z", next.wrapping_sub(1))) {
            out.push('@');
        } else {
            out.push_str(&format!("{CANARY}{next:03}z"));
            *next += 1;
        }
    }
    (out + rest).into_bytes()
}

/// Each message on its own connection: answered, unanswered, late, cut in its head, seen from the middle.
fn traffic() -> (Vec<SynthFrame>, u32) {
    let (mut lanes, mut next, mut port) = (Vec::new(), 0, 40_000);
    let plain = || message::request("GET", "/plain", &[("Host", "a")], b"");
    let ok = || message::response("200 OK", &[], b"");
    let mut lane = |play: &mut dyn FnMut(Conversation) -> Conversation| {
        port += 1;
        let ends = (Endpoint::new([10, 0, 0, 1], port), Endpoint::new([10, 0, 0, 2], 80));
        lanes.push(play(Conversation::new(ends.0, ends.1).handshake()).frames());
    };
    for text in REQUESTS {
        let mut request = || with_secrets(text, &mut next);
        lane(&mut |c| c.client(request()).server(ok()).close());
        lane(&mut |c| c.client(plain()).server(ok()).client(request()).server_rst());
        lane(&mut |c| c.client(request()).after(std::time::Duration::from_secs(15)).server(ok()));
        lane(&mut |c| {
            let request = request();
            c.client(&request[..request.len() - 3]).client_fin().server_fin()
        });
    }
    for text in RESPONSES {
        let mut response = || with_secrets(text, &mut next);
        lane(&mut |c| c.client(plain()).server(response()).close());
        lane(&mut |c| c.server(response()).close());
        lane(&mut |c| c.client(plain()).after(std::time::Duration::from_secs(15)).server(response()).close());
        lane(&mut |c| {
            let response = response();
            c.client(plain()).server(&response[..response.len() - 3]).close()
        });
    }
    (merge(lanes).collect(), next)
}

/// Every canary that is in `output`, with what is around it.
fn found(output: &str) -> Vec<String> {
    output.match_indices(CANARY).map(|(at, _)| around(output, at)).collect()
}

fn around(text: &str, at: usize) -> String {
    let from = (at.saturating_sub(80)..=at).find(|i| text.is_char_boundary(*i)).unwrap_or(at);
    text[from..].chars().take(110).collect()
}

fn assert_clean(output: &str, what: &str) {
    let found = found(output);
    assert!(found.is_empty(), "{} secrets in {what}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_secret_is_in_any_record_on_any_sink_or_in_the_log_at_its_most_talkative() {
    let (frames, secrets) = traffic();
    let capture = pcap(&frames);
    assert!(secrets > 250);
    let path = std::env::temp_dir().join(format!("podtap-canary-{}.json", std::process::id()));
    for format in ["ecs", "classic", "text"] {
        for logs in ["text", "json"] {
            let _ = std::fs::remove_file(&path);
            let env = [
                ("FORMAT", format),
                ("SEND_LOGS_TO", "stdout,file"),
                ("FILE_PATH", path.to_str().unwrap()),
                ("LOGHEADERS", "true"),
                ("LOG_LEVEL", "trace"),
                ("LOG_FORMAT", logs),
            ];
            let ran = replay(&capture, &env);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            let file = std::fs::read_to_string(&path).unwrap();
            assert!(ran.lines().len() >= 4 * RESPONSES.len() && ran.stdout.contains("****"));
            assert_clean(&ran.stdout, &format!("{format} on stdout"));
            assert_clean(&file, &format!("{format} in the file"));
            assert_clean(&ran.stderr, &format!("{logs} log"));
        }
    }
    let _ = std::fs::remove_file(&path);
}

/// A credential of each service in each place from which a text gets into a record, with the ends that must not be readable.
fn issued_credentials() -> (Vec<SynthFrame>, Vec<String>) {
    let table = include_str!("../credentials.txt").lines().filter(|line| !line.starts_with('#'));
    let values: Vec<String> =
        table.filter_map(|line| line.split_once('\t')).map(|(_, value)| value.replace('|', "")).collect();
    let mut lanes = Vec::new();
    for (number, it) in values.iter().enumerate() {
        let ends = (Endpoint::new([10, 0, 0, 1], 40_000 + number as u16), Endpoint::new([10, 0, 0, 2], 80));
        let mut c = Conversation::new(ends.0, ends.1).handshake();
        let fields = format!(
            "User-Agent: me ({it})\r\nReferer: http://h/{it}/x?y={it}#{it}\r\nX-{it}: y\r\nX-Any: a=\"{it}\", {it}\r\nContent-Type: x/{it}\r\n"
        );
        for target in [
            format!("/{it}"),
            format!("/a/{it}/b?x={it};y=1&z={it}#{it}"),
            format!("http://u:{it}@h/{it}"),
            format!("/p?next=https%3A%2F%2Fh%2F{it}&v={{\"a\":\"{it}\"}}"),
            it.clone(),
        ] {
            c = c.client(format!("GET {target} HTTP/1.1\r\nHost: {it}.example\r\n{fields}\r\n").into_bytes());
            let answer =
                format!("HTTP/1.1 302 to {it}\r\nLocation: /x/{it}?y={it}\r\n{fields}Content-Length: 0\r\n\r\n");
            c = c.server(answer.into_bytes());
        }
        if it.len() <= 24 {
            let request = format!("{it} / HTTP/1.1\r\nHost: h\r\n\r\n");
            c = c.client(request.into_bytes()).server(message::response("405 No", &[], b""));
        }
        lanes.push(c.close().frames());
    }
    let tails = values.iter().map(|value| value[value.len() - 12..].to_owned()).collect();
    (merge(lanes).collect(), tails)
}

#[test]
fn no_credential_of_any_service_is_readable_in_any_format() {
    let (frames, tails) = issued_credentials();
    let capture = pcap(&frames);
    for format in ["ecs", "classic", "text"] {
        let ran = replay(&capture, &[("FORMAT", format), ("LOGHEADERS", "true"), ("LOG_LEVEL", "trace")]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.lines().len() >= 5 * tails.len(), "{}", ran.lines().len());
        for tail in &tails {
            let found = ran.stdout.find(tail.as_str()).map(|at| around(&ran.stdout, at));
            assert!(found.is_none() && !ran.stderr.contains(tail.as_str()), "{tail} in {format}: {found:?}");
        }
    }
    let env = [("LOGHEADERS", "true"), ("REDACT_HEADERS", "none"), ("REDACT_QUERY", "none")];
    let plain = replay(&capture, &env).stdout;
    assert!(tails.iter().all(|tail| plain.contains(tail.as_str())), "without masking they are readable");
}

/// The test itself can fail: without redaction nearly every secret is there.
#[test]
fn without_redaction_the_secrets_are_found() {
    let (frames, _) = traffic();
    let env = [("LOGHEADERS", "true"), ("REDACT_HEADERS", "none"), ("REDACT_QUERY", "none")];
    assert!(found(&replay(&pcap(&frames), &env).stdout).len() > 150);
}

#[test]
fn no_secret_is_in_a_metric_or_a_closing_line() {
    let (frames, _) = traffic();
    let mut config = podtap::dissect::DissectorConfig::default();
    config.http.headers = KeepHeaders::All;
    let mut dissector = Dissector::new(config, Redactor::default());
    frames.iter().for_each(|frame| dissector.handle_frame(&frame.as_frame(), |_| false));
    dissector.finish(CloseReason::EndOfCapture);
    let metrics = Metrics::new(Sinks::default());
    let probe = metrics.probe();
    let routes = podtap::shape::route::RouteRules::default();
    let mut requests = WaitingRequests::default();
    for record in dissector.records() {
        let podtap::record::Record::Http(exchange) = record else { unreachable!() };
        exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
        requests.add(record.clone(), false);
    }
    probe.count(&mut requests);
    probe.publish(&dissector.ledger(), &KernelCounters::default());
    let page = metrics.page();
    assert!(page.contains("route=\"/encoded\""), "{page}");
    assert_clean(&page, "the metrics page");
    let lines = closing_lines(&dissector.ledger(), &KernelCounters::default(), &RecordLedger::default(), &[]);
    assert_clean(&lines, "the closing lines");
    dissector.protocols().iter().for_each(|(name, _)| assert_clean(name, "the protocols"));
    // Whatever may be printed while looking for a bug.
    assert_clean(&format!("{:?}", dissector.records()), "the records themselves");
}

/// The demo's own secrets, in the traffic that it renders.
#[test]
fn no_secret_of_the_demo_is_in_any_of_its_records() {
    use podtap::demo::{SECRET_MARK, rendered};
    let frames = rendered(podtap::flow::Timestamp::new(1_772_366_400, 0));
    for format in ["ecs", "classic", "text"] {
        let env = [("FORMAT", format), ("LOGHEADERS", "true"), ("LOG_LEVEL", "trace")];
        let ran = replay(&pcap(&frames), &env);
        assert_eq!(ran.lines().len() as u32, podtap::demo::exchanges());
        assert!(!ran.stdout.contains(SECRET_MARK) && !ran.stderr.contains(SECRET_MARK), "{format}");
    }
}
