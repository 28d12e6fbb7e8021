//! Credentials known by their looks, by their labels and by their schemes, wherever they are; and what looks a little like them.

use super::*;

/// Credentials as services issue them.
fn issued() -> Vec<String> {
    let table = include_str!("../../../tests/credentials.txt");
    let values = table.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('\t'));
    values.map(|(_, value)| value.replace('|', "")).collect()
}

/// Targets that hold a credential at `{}`.
const TARGETS: &[&str] = &[
    "/{}",
    "/a/{}/b",
    "/a?x={}",
    "/a?x={}&b=1",
    "/a?b=1;x={};c=2",
    "/a?{}",
    "/a?x=y={}",
    "/a?x=(sent-{})",
    "/a#{}",
    "/a#x={}&b",
    "/a;v={}/b",
    "http://{}@h/p",
    "http://u:{}@h/",
    "http://h/{}?q",
    "/p?next=https://h/{}",
    "/p?v={\"a\":[\"{}\"]}",
    "/say {} please",
    "{}",
];

/// Texts that do.
const TEXTS: &[&str] = &[
    "{}",
    "me/1 ({})",
    "a=\"{}\"",
    "a=b, {}, c",
    "<https://h/{}>; rel=next",
    "no {} here",
    "{}.example.com",
    "a|{}|b",
    "x:{}",
    "it's {}.",
    "Bearer {}",
    "{\"id\":\"{}\"}",
];

/// Whether the end of a secret is readable in what is shown, encoded or not.
fn shows(shown: &str, secret: &str) -> bool {
    let mut decoded = shown.as_bytes().to_vec();
    for _ in 0..5 {
        let text = String::from_utf8_lossy(&decoded);
        let tail = secret.get(secret.len() - 12..).unwrap_or(secret);
        if text.contains(secret) || text.contains(tail) {
            return true;
        }
        decoded = super::super::names::percent_decode(&decoded);
    }
    false
}

fn shown_as_target(redactor: &Redactor, target: &str) -> [String; 2] {
    [redactor.target(target.as_bytes()), redactor.referrer(target.as_bytes())].map(Into::into)
}

fn shown_as_text(redactor: &Redactor, text: &str) -> [String; 4] {
    let bytes = text.as_bytes();
    [
        redactor.text(bytes),
        redactor.user_agent(bytes),
        redactor.request_id(bytes),
        redactor.header_value(b"x-any", bytes),
    ]
    .map(Into::into)
}

#[test]
fn a_credential_of_any_service_is_masked_wherever_it_is() {
    let redactor = Redactor::default();
    for secret in issued() {
        // Without an issuer's mark it may be an identifier, which is what X-Request-Id is for.
        let marked = Redactor::default().request_id(secret.as_bytes()) == MASK;
        for place in TARGETS {
            for shown in shown_as_target(&redactor, &place.replace("{}", &secret)) {
                assert!(!shows(&shown, &secret), "{place} {secret}: {shown}");
            }
        }
        for place in TEXTS {
            let shown = shown_as_text(&redactor, &place.replace("{}", &secret));
            for (n, shown) in shown.iter().enumerate().filter(|(n, _)| marked || *n != 2) {
                assert!(!shows(shown, &secret), "{place} {secret} {n}: {shown}");
            }
        }
    }
}

#[test]
fn what_names_a_secret_is_known_in_json_in_connection_strings_and_behind_schemes() {
    const SECRET: &str = "cnrySecret7f3e";
    let redactor = Redactor::default();
    for text in [
        "{\"user\":\"bob\",\"password\":\"{}\"}",
        "{ \"password\" : \"{}\" , \"a\": 1 }",
        "{\\\"password\\\":\\\"{}\\\"}",
        "{\"input\":{\"apiKey\":\"{}\"}}",
        "{\"credentials\":{\"a\":\"{}\"}}",
        "{\"keys\":[\"a\",\"{}\"]}",
        "{'token':'{}'}",
        "{password:\"{}\"}",
        "(password:{},a:b)",
        "mutation{login(user:\"bob\",password:\"{}\"){id}}",
        "{\"pin\":{}}",
        "{\"secret\":\"a\\\"b{}\"}",
        "x-api-key: {}",
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={}==;EndpointSuffix=core.windows.net",
        "Password={};Server=x",
        "c=Password={};Server=x",
        "SharedAccessSignature sr=h&sig={}&se=1",
        "Token {}",
        "see Token  {} there",
        "Bearer {}",
        "bearer+{}",
        "DPoP {}",
        "sso-key {}:x",
        "postgres://u:{}@db/x",
        "https:/u:{}@h/x",
        "a/u:{}@h/x",
        "session/token={}/x",
        "x=%7B%22password%22%3A%22{}%22%7D",
        "x=%257B%2522password%2522%253A%2522{}%2522%257D",
        "x=a%26token%3D{}",
        "x=Bearer%20{}",
        "tok%2565n={}",
        "x=%2525252525252574oken%2525252525253D{}",
        "oauth_consumer_key={}",
        "a[user_pass]={}",
    ] {
        let text = text.replace("{}", SECRET);
        for shown in shown_as_target(&redactor, &format!("/a?{text}")) {
            assert!(!shows(&shown, SECRET), "/a?{text}: {shown}");
        }
        for shown in shown_as_text(&redactor, &text) {
            assert!(!shows(&shown, SECRET), "{text}: {shown}");
        }
    }
}

#[test]
fn a_key_in_pem_is_masked_to_its_last_line() {
    let redactor = Redactor::default();
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ/a+b/c+d/secretKeyBits01";
    for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        for between in [" ", "\\n", "\n", "+", "%0A"] {
            for end in [format!("-----END {kind}-----"), String::new()] {
                let key = format!("-----BEGIN {kind}-----{between}{body}{between}{end}");
                for shown in shown_as_text(&redactor, &format!("a {key} b")) {
                    assert!(!shows(&shown, "secretKeyBits01"), "{key}: {shown}");
                }
                for shown in shown_as_target(&redactor, &format!("/a?x={}", key.replace(' ', "%20"))) {
                    assert!(!shows(&shown, "secretKeyBits01"), "{key}: {shown}");
                }
            }
        }
    }
}

#[test]
fn a_key_in_pem_is_masked_too_where_all_of_it_is_one_word_or_short_words() {
    for joint in ["_", " "] {
        let key = format!("-----BEGIN KEY----- {} secretBits", "MIIEvQ ".repeat(10)).replace(' ', joint);
        assert_eq!(Redactor::default().text(key.as_bytes()), MASK);
        assert_eq!(Redactor::default().request_id(key.as_bytes()), MASK);
    }
}

#[test]
fn the_secret_part_of_a_path_is_masked_where_services_put_it() {
    for (hook, expected) in [
        ("/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "/services/T00000000/B00000000/****"),
        ("/api/webhooks/123456789012345678/abcdefghijklmnopqrst", "/api/webhooks/123456789012345678/****"),
        ("/bot1234567890:AAmadeUpMadeUpMadeUpMadeUpMadeUp01234/sendMessage", "/bot****/sendMessage"),
        ("/services/overview-of-everything", "/services/overview-of-everything"),
        ("/repos/a/hooks/12345", "/repos/a/hooks/12345"),
    ] {
        assert_eq!(Redactor::default().target(hook.as_bytes()), hook.replace(hook, expected));
        let url = format!("/p?to=https%3A%2F%2Fh{}", hook.replace('/', "%2F").replace(':', "%3A"));
        let shown = Redactor::default().target(url.as_bytes());
        assert_eq!(shown == "/p?to=****", hook != expected, "{shown}");
    }
}

#[test]
fn what_is_no_secret_stays_readable() {
    let redactor = Redactor::default();
    for target in [
        "/cart/945576?page=1&limit=50&keyword=monkey",
        "/orders/6bd284f7-f0cc-584b-dbec-6cea479dd852",
        "/objects/6bd284f7f0cc584bdbec6cea479dd852cbb0c58a",
        "/static/js/MainPageComponent2VeryLongNameOfSomething.min.js",
        "/assets/index-DiwrgTda.js",
        "/blog/2024/01/01/how-we-made-token-counting-in-2-days-and-what-came-of-it",
        "/api/v1/namespaces/kube-system/pods/coredns-7d4b9c6f5d-abcde/log",
        "/apis/apps/v1/watch/deployments?timeoutSeconds=512&watch=true",
        "/search?q=passenger+author+of+the+key+word&country_code=DE&status_code=200",
        "/v2/library/image@sha256:0123456789abcdef",
        "/mail/me@example.com",
        "/@scope/package/-/package-1.2.3.tgz",
        "/My-App-2024-Release-10-Candidate-Build-For-Review",
        "/task-list-disk-space-sk-SK-translations-of-everything",
        "http://[::1]:80/x@y",
        "/time/12:30:45",
        "/filter?range=[1:2],from:now-15m,to:now",
        "/sessions/overview",
        "auth-service:8080",
    ] {
        assert_eq!(redactor.target(target.as_bytes()), target);
    }
    for text in [
        "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0 Safari/537.36",
        "kube-probe/1.27",
        "Basic auth required",
        "Token expired, sorry",
        "Bearer realm=\"api\"",
        "auth-service.default.svc.cluster.local:8080",
        "key:443",
        "ec2-52-1-2-3.compute-1.amazonaws.com",
        "6bd284f7f0cc584bdbec6cea479dd852",
        "text/html; charset=utf-8",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "max-age=31536000; includeSubDomains",
        "Mon, 30 Nov 2026 00:09:51 GMT",
        "Root=1-67891233-abcdef012345678912345678",
        "gzip, deflate, br",
        "timeout=5, max=100",
    ] {
        for shown in shown_as_text(&redactor, text) {
            assert_eq!(shown, text);
        }
    }
    assert_eq!(
        redactor.request_id(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
}

#[test]
fn looks_are_switched_off_with_their_list_and_for_names_that_are_taken_out() {
    let token = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let target = format!("/{token}?id={token}");
    let no_query = Redactor::new(NameList::default(), NameList::none(), &[]).unwrap();
    assert_eq!(no_query.target(target.as_bytes()), target);
    assert_eq!(no_query.text(token.as_bytes()), MASK);
    let no_headers = Redactor::new(NameList::none(), NameList::default(), &[]).unwrap();
    assert_eq!(no_headers.target(target.as_bytes()), "/****?id=****");
    assert_eq!(no_headers.user_agent(token.as_bytes()), token);
    let spared = Redactor::new("-etag".parse().unwrap(), "-id".parse().unwrap(), &[]).unwrap();
    assert_eq!(spared.header_value(b"ETag", token.as_bytes()), token);
    assert_eq!(spared.target(format!("/a?id={token}&other={token}").as_bytes()), format!("/a?id={token}&other=****"));
    let encoded = token.replace('_', "%5F");
    assert_eq!(spared.target(format!("/a?id={encoded}&x={encoded}").as_bytes()), format!("/a?id={encoded}&x=****"));
}

/// `text` with some of its bytes percent-encoded, some twice or three times.
fn encoded(text: &str, how: &[u8]) -> String {
    let mut how = how.iter().cycle();
    text.bytes()
        .map(|byte| {
            let must = !(byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
            match how.next().copied().unwrap_or_default() {
                0 if !must => char::from(byte).to_string(),
                0 | 1 => format!("%{byte:02X}"),
                2 => format!("%25{byte:02x}"),
                _ => format!("%2525{byte:02X}"),
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn no_encoding_hides_a_credential(secret in proptest::sample::select(issued()), how in proptest::collection::vec(0u8..4, 1..60),
                                      place in proptest::sample::select(&TARGETS[..16]), before in "([a-z/=&;.?-]{0,8}[/=&;.?-])?", after in "([/=&;?#][a-z0-9=&]{0,8})?") {
        let hidden = encoded(&secret, &how);
        let redactor = Redactor::default();
        for target in [place.replace("{}", &hidden), format!("/{before}{hidden}{after}")] {
            for shown in shown_as_target(&redactor, &target) {
                prop_assert!(!shows(&shown, &secret), "{} -> {}", target, shown);
            }
        }
        let text = format!("a, {hidden}");
        let shown = redactor.header_value(b"x-any", text.as_bytes());
        prop_assert!(!shows(&shown, &secret), "{} -> {}", text, shown);
    }

    #[test]
    fn what_is_masked_for_its_looks_stays_masked(secret in proptest::sample::select(issued()), place in proptest::sample::select(TARGETS), other in proptest::sample::select(issued())) {
        let redactor = Redactor::default();
        let raw = format!("{}&y={other}", place.replace("{}", &secret));
        let once = redactor.target(raw.as_bytes());
        prop_assert_eq!(redactor.target(once.as_bytes()), once);
    }
}

/// A colon ends the name of a header: what is behind it must not be readable as the value.
#[test]
fn a_bots_token_is_masked_also_where_its_colon_ends_a_headers_name() {
    let (token, redactor) = ("AAmadeUpMadeUpMadeUpMadeUpMadeUp01234", Redactor::default());
    for name in ["X-1234567890", "123456", "x_999999999"] {
        for rest in ["", ": y", " y"] {
            assert_eq!(redactor.header_value(name.as_bytes(), format!("{token}{rest}").as_bytes()), MASK, "{name}");
        }
    }
    for (name, value) in
        [("X-12345", "aaaaaaaaaaaaaaaaaaaaaaaa"), ("X-20240101", "short words only"), ("X-1234567", "7")]
    {
        assert_eq!(redactor.header_value(name.as_bytes(), value.as_bytes()), value, "{name}");
    }
    let off = Redactor::off();
    assert_eq!(off.header_value(b"X-1234567890", token.as_bytes()), token);
}
