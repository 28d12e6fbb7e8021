mod looks;

use super::escape::is_printable;
use super::*;
use proptest::prelude::*;

fn with_paths(paths: &[&str]) -> Redactor {
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    Redactor::new(NameList::default(), NameList::default(), &paths).unwrap()
}

fn check_targets(redactor: &Redactor, cases: &[(&str, &str)]) {
    for (target, expected) in cases {
        assert_eq!(redactor.target(target.as_bytes()), *expected, "{target}");
    }
}

#[test]
fn a_target_without_secrets_stays_as_sent() {
    let redactor = with_paths(&["/reset/*"]);
    for target in [
        "/",
        "*",
        "/cart?id=7",
        "/a/b.html?q=x%20y&page=2#top",
        "shop.local:443",
        "http://shop.local:8080/x?y=z",
        "/mail/me@example.com",
        "/search?mail=me@example.com",
        "/a;v=1/b",
        "/back\\slash",
        "/?tokens",
        "/?token=",
        "http://[::1]:80/x@y",
        "/next?to=http%3A%2F%2Fh%2Fp%3Fq%3D1",
        "/p%C3%A9",
        "",
    ] {
        assert_eq!(redactor.target(target.as_bytes()), target);
    }
}

#[test]
fn secret_parameters_are_masked_wherever_they_stand() {
    check_targets(
        &Redactor::default(),
        &[
            ("/p?token=CANARY", "/p?token=****"),
            ("/p?a=1&ToKeN=CANARY&b=2", "/p?a=1&ToKeN=****&b=2"),
            ("/p?a=1;token=CANARY", "/p?a=1;token=****"),
            ("/p?password=CAN;ARY&b=2", "/p?password=****&b=2"),
            ("/p?%74oken=CANARY", "/p?%74oken=****"),
            ("/p?user%5Bpassword%5D=CANARY", "/p?user%5Bpassword%5D=****"),
            ("/p#access_token=CANARY&x=1", "/p#access_token=****&x=1"),
            ("/p?a=1&amp;token=CANARY", "/p?a=1&amp;token=****"),
            ("/p;jsessionid=CANARY/q?x=1", "/p;jsessionid=****/q?x=1"),
            ("/p?next=/reset?token=CANARY", "/p?next=/reset?token=****"),
            ("/p?token=CAN=ARY", "/p?token=****"),
            ("/p?token=CAN ARY", "/p?token=****"),
            ("/p?token=a&token=b", "/p?token=****&token=****"),
            ("http://h/p?api_key=CANARY", "http://h/p?api_key=****"),
            ("?token=CANARY", "?token=****"),
        ],
    );
}

#[test]
fn user_information_is_masked_in_every_form_of_target() {
    check_targets(
        &Redactor::default(),
        &[
            ("http://user:CANARY@host:80/p", "http://****@host:80/p"),
            ("http://CANARY@host/p@q", "http://****@host/p@q"),
            ("http://user:CAN@ARY@host/", "http://****@host/"),
            ("http://user:CAN/ARY@host/", "http://****@host/"),
            ("user:CANARY@host:443", "****@host:443"),
            ("//user:CANARY@host/p", "//****@host/p"),
            ("/proxy/http://user:CANARY@host/p", "/proxy/http://****@host/p"),
            ("/p?next=https://u:CANARY@h/", "/p?next=https://****@h/"),
        ],
    );
}

#[test]
fn encoded_secrets_are_masked_with_the_whole_value() {
    check_targets(
        &Redactor::default(),
        &[
            ("/p?next=https%3A%2F%2Fu%3ACANARY%40h&x=1", "/p?next=****&x=1"),
            ("/p?next=https://u%3ACANARY%40h/", "/p?next=****"),
            ("/p?next=%2Fr%3Ftoken%3DCANARY", "/p?next=****"),
            ("/p?next=%252Fr%253Ftoken%253DCANARY", "/p?next=****"),
            ("/go/https%3A%2F%2Fu%3ACANARY%40h/x", "/go/****/x"),
        ],
    );
}

#[test]
fn path_patterns_mask_segments() {
    check_targets(
        &with_paths(&["/reset/*", "/users/{name}/orders", "/f/tok-*/x"]),
        &[
            ("/reset/CANARY", "/reset/****"),
            ("/reset/CAN/ARY?x=1", "/reset/****?x=1"),
            ("//reset//CANARY", "//reset//****"),
            ("/RESET/CANARY/", "/RESET/****"),
            ("/%72eset/CANARY", "/%72eset/****"),
            ("http://h/reset/CANARY", "http://h/reset/****"),
            ("/users/CANARY/orders/7", "/users/****/orders/7"),
            ("/users/bob/carts", "/users/bob/carts"),
            ("/f/tok-CANARY/x", "/f/****/x"),
            ("/f/other/x", "/f/other/x"),
            ("/reset", "/reset"),
        ],
    );
}

#[test]
fn a_path_pattern_that_masks_nothing_is_refused() {
    for pattern in ["reset/*", "/reset", "/", "", &"/a".repeat(40)] {
        let refused = Redactor::new(NameList::default(), NameList::default(), &[pattern.to_owned()]);
        assert!(refused.is_err(), "{pattern}");
    }
}

#[test]
fn headers_are_masked_by_name_and_by_the_urls_in_them() {
    let redactor = with_paths(&["/reset/*"]);
    for (name, value, expected) in [
        ("Authorization", "Bearer CANARY", "Bearer ****"),
        ("authorization", "CANARY", "****"),
        ("Proxy-Authorization", "Basic CANARY", "Basic ****"),
        ("Authorization", "CANARY CANARY", "****"),
        ("WWW-Authenticate", "Negotiate CANARY", "Negotiate ****"),
        ("Cookie", "a=1; session=CANARY", "****"),
        ("Set-Cookie", "id=CANARY; Path=/", "****"),
        ("X-Api-Key", "CANARY", "****"),
        ("Referer", "http://u:CANARY@h/p?q=1", "http://****@h/p?q=1"),
        ("Referer", "http://h/reset/CANARY?q=1", "http://h/reset/****?q=1"),
        ("Location", "/p?code=CANARY&state=7", "/p?code=****&state=7"),
        ("Link", "<http://h/p?token=CANARY>; rel=\"next\"", "<http://h/p?token=****>; rel=\"next\""),
        ("Refresh", "5; url=/p?sid=CANARY", "5; url=/p?sid=****"),
        ("X-Original-URL", "/p?key=CANARY", "/p?key=****"),
        ("X-Custom", "password=\"CAN ARY\", a=b", "password=\"****\", a=b"),
        ("Host", "CANARY@shop.local", "****@shop.local"),
        ("X-Note", "Bearer CANARYCANARYCANARY", "Bearer ****"),
        ("From", "me@example.com", "me@example.com"),
        ("Content-Type", "text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("User-Agent", "curl/8.5.0 \x1b[31m", "curl/8.5.0 \\x1b[31m"),
    ] {
        assert_eq!(redactor.header_value(name.as_bytes(), value.as_bytes()), expected, "{name}: {value}");
    }
}

#[test]
fn a_text_loses_user_information_and_control_bytes() {
    let redactor = Redactor::default();
    for (text, expected) in [
        ("OK", "OK"),
        ("Not\x07 Found", "Not\\x07 Found"),
        ("u:CANARY@shop.local:80", "****@shop.local:80"),
        ("bad token=CANARY here", "bad token=**** here"),
        ("refused Basic CANARYCANARYCANARY", "refused Basic ****"),
        ("Basic auth required", "Basic auth required"),
        ("bot (admin@example.com)", "bot (admin@example.com)"),
    ] {
        assert_eq!(redactor.text(text.as_bytes()), expected);
    }
}

#[test]
fn switching_headers_off_alone_still_masks_urls() {
    let redactor = Redactor::new(NameList::none(), NameList::default(), &[]).unwrap();
    assert_eq!(redactor.header_value(b"Cookie", b"a=1"), "a=1");
    assert_eq!(redactor.header_value(b"Referer", b"http://u:p@h/?sig=x"), "http://****@h/?sig=****");
    let redactor = Redactor::new(NameList::default(), NameList::none(), &[]).unwrap();
    assert_eq!(redactor.target(b"http://u:p@h/?sig=x"), "http://****@h/?sig=x");
}

/// A place where a secret may be, `{}` in it.
const PLACES: &[&str] = &[
    "/{pre}?token={}",
    "/{pre}?a={pre}&password={}&b=1",
    "/{pre};jsessionid={}",
    "http://u:{}@h/{pre}",
    "http://{}@h/{pre}?x=1",
    "/p?next=http%3A%2F%2Fh%2F%3Fsecret%3D{}",
    "/{pre}#id_token={}",
    "/{pre}?x={pre}&sig={}",
    "//u:{}@h/{pre}",
    "/reset/{}?{pre}",
    "/x?u=https%3A%2F%2F{}%40h%3A1",
];

proptest! {
    #[test]
    fn a_canary_never_survives(place in proptest::sample::select(PLACES), pre in "[a-z0-9=&;%.]{0,12}",
                               before in "[!-~]{0,3}", after in "[ -~]{0,3}") {
        // What ends a userinfo, a value or an escape ends the secret, too.
        let clean = |s: &str| s.replace(['&', '/', '?', '#', '%', '\\', '@', ':'], "");
        let canary = format!("{}CANARY{}", clean(&before), clean(&after));
        let target = place.replace("{}", &canary).replace("{pre}", &pre.replace('%', ""));
        let redactor = with_paths(&["/reset/*"]);
        for shown in [redactor.target(target.as_bytes()), redactor.header_value(b"referer", target.replace(' ', "").as_bytes())] {
            prop_assert!(!shown.contains("CANARY"), "{} -> {}", target, shown);
        }
    }

    #[test]
    fn masking_twice_is_masking_once(authority in "|https?://(u:p@w@)?h(:80)?|//u@h",
                                     path in "(/[a-z0-9%.;=]{0,6}|/reset|/a|/http://u:p@h|/%3Ftoken%3Dx){0,4}",
                                     query in "([?&;#](a|token|p%77d)=([a-z0-9%=;+]{0,6}|x%3Dy|%3Fkey%3Dk|\\xff\t| )){0,4}") {
        let redactor = with_paths(&["/reset/*", "/a/*/b"]);
        let raw = format!("{authority}{path}{query}");
        for once in [redactor.target(raw.as_bytes()), redactor.header_value(b"referer", raw.as_bytes())] {
            prop_assert_eq!(redactor.target(once.as_bytes()), once);
        }
        let redactor = Redactor::default();
        let once = redactor.header_value(b"link", format!("<{raw}>; rel=\"next\"").as_bytes());
        prop_assert_eq!(redactor.header_value(b"link", once.as_bytes()), once);
    }

    #[test]
    fn without_lists_printable_text_stays_as_sent(raw in "[ -~]{0,60}") {
        let redactor = Redactor::new(NameList::none(), NameList::none(), &[]).unwrap();
        prop_assert_eq!(redactor.target(raw.as_bytes()), raw.as_str());
        prop_assert_eq!(redactor.header_value(b"authorization", raw.as_bytes()), raw.as_str());
        prop_assert_eq!(redactor.text(raw.as_bytes()), raw.as_str());
    }

    #[test]
    fn any_bytes_come_out_printable(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
        let redactor = with_paths(&["/reset/*"]);
        for shown in [redactor.target(&raw), redactor.text(&raw), redactor.header_value(b"referer", &raw)] {
            prop_assert!(shown.bytes().all(is_printable));
        }
    }
}
