//! What holds for which record, what is refused and where, and that no text breaks the reader.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::record::sample::{conntrack, exchange, record, verdict};
use crate::record::{Exchange, ExchangeConnection, UnansweredReason, Workload, sample};

const AROUND: RecordSurroundings<'static> =
    RecordSurroundings { pod: Some("web-1"), namespace: Some("shop"), node: None, slow_after: Some(10_000_000) };

fn holds(text: &str, record: &Record) -> bool {
    FilterExpression::parse(text).unwrap_or_else(|bad| panic!("{text}: {bad}")).holds(record, &AROUND)
}

fn timed_out() -> Exchange {
    let gave_up = Some(sample::START.plus(10_000_000_000));
    Exchange { response: None, unanswered: Some(UnansweredReason::Timeout), gave_up, ..exchange() }
}

/// `GET shop.local:8080/cart?id=7`, 200 after 12.4 ms, from 10.1.2.3:51234 to 10.1.9.9:8080.
#[test]
fn every_key_compares_what_the_record_has() {
    let ok = record(exchange());
    for (text, expected) in [
        ("status=200", true),
        ("status=404,2xx", true),
        ("status!=200", false),
        ("status>=200", true),
        ("status<200", false),
        ("host=shop.local", true),
        ("host=SHOP.*", true),
        ("host=shop.local:8080", false),
        ("path=/cart", true),
        ("path=/CART", false),
        ("path=/c*", true),
        ("url~ID=7", true),
        ("url=shop.local:8080/cart?id=7", true),
        ("url~'id=7'", true),
        ("url=\"shop.local:8080/cart?id=7\"", true),
        ("route=/cart", true),
        ("method=get", true),
        ("agent=curl*", true),
        ("user_agent~CURL", true),
        ("sip=10.1.2.3", true),
        ("sip=10.1.9.9", false),
        ("dip=10.1.9.0/24", true),
        ("ip=192.168.0.0/16,10.0.0.0/8", true),
        ("sport=51234", true),
        ("dport=80,8080", true),
        ("dport>8079 and dport<=8080", true),
        ("port=443", false),
        ("direction=ingress", true),
        ("trust=complete", true),
        ("protocol=http", true),
        ("protocol=tcp", true),
        ("dataset=http", true),
        ("pod=web-*", true),
        ("namespace=shop", true),
        ("node=n1", false),
        ("keyword=cart", true),
        ("keyword='curl/8'", true),
        ("keyword=nginx", false),
        ("duration>12ms", true),
        ("took>=12.4ms", true),
        ("duration>12.5", false),
        ("duration<1s", true),
        ("bytes=1834", true),
        ("bytes>2k", false),
        ("bytes<1MiB", true),
        ("failed", false),
        ("slow", true),
        ("unanswered", false),
        ("connection=m3J0c5k2QmE", true),
    ] {
        assert_eq!(holds(text, &ok), expected, "{text}");
    }
}

#[test]
fn what_a_record_does_not_have_matches_nothing_and_its_negation_everything() {
    let lost = record(timed_out());
    for (text, expected) in [
        ("status=200", false),
        ("status!=200", true),
        ("!status=200", true),
        ("status>=100", false),
        ("grpc=OK", false),
        ("unanswered=timeout", true),
        ("unanswered", true),
        ("failed", true),
        ("slow", false),
        ("duration>=10s", true),
        ("state=new", false),
    ] {
        assert_eq!(holds(text, &lost), expected, "{text}");
    }
}

#[test]
fn connections_are_compared_by_both_their_ends_before_and_after_translation() {
    let event = Record::from(conntrack());
    for (text, expected) in [
        ("dip=10.96.61.10", true),
        ("dip=10.61.2.2 && dport=8080", true),
        ("sip=10.61.2.2", false),
        ("state=end", true),
        ("state=time_wait", true),
        ("protocol=tcp", true),
        ("dataset=conntrack", true),
        ("bytes=2812", true),
        ("duration=1s", true),
        ("status=200 or host=*", false),
    ] {
        assert_eq!(holds(text, &event), expected, "{text}");
    }
}

#[test]
fn exchanges_and_flows_are_compared_by_the_process_that_asked_and_without_one_by_none() {
    use crate::record::sample::{connection, everything_of_flow, opening};
    let mut asked = exchange();
    asked.connection =
        std::sync::Arc::new(crate::record::ExchangeConnection { opening: Some(opening()), ..connection() });
    let flow = everything_of_flow();
    let bare = crate::record::FlowRecord { opening: None, ..flow.clone() };
    for (text, expected) in [
        ("process=curl", true),
        ("process=/usr/bin/*", true),
        ("process=cur", false),
        ("keyword=/bin/cu", true),
        ("container=web", true),
        ("container=c0ffeec0ffee", true),
        ("user=1000 && user=www", true),
        ("user=0", false),
    ] {
        assert_eq!(holds(text, &record(asked.clone())), expected, "{text}");
        assert_eq!(holds(text, &Record::from(flow.clone())), expected, "{text}");
        assert!(!holds(text, &Record::from(bare.clone())), "{text}");
    }
}

#[test]
fn logged_packets_are_compared_by_ends_verdict_and_container() {
    let logged = Record::from(verdict());
    for (text, expected) in [
        ("sip=10.255.15.7 && dport=723", true),
        ("state=denied && failed", true),
        ("state=allowed", false),
        ("container=cb40*", true),
        ("direction=ingress", true),
        ("protocol=tcp", true),
        ("keyword=deny", true),
        ("user=0 or status=200", false),
    ] {
        assert_eq!(holds(text, &logged), expected, "{text}");
    }
}

#[test]
fn the_workloads_of_both_ends_count_too() {
    let pod = Workload {
        namespace: Some("billing".into()),
        name: Some("pay-7".into()),
        kind: Some("Pod".into()),
        ..Workload::default()
    };
    let it = Exchange { destination_workload: Some(Arc::new(pod)), ..exchange() };
    for text in ["pod=pay-7", "workload=pay-*", "namespace=billing", "namespace=shop"] {
        assert!(holds(text, &record(it.clone())), "{text}");
    }
}

#[test]
fn negation_binds_closest_then_and_then_or_then_the_semicolon() {
    let ok = record(exchange());
    for (text, expected) in [
        ("status=200 || status=1xx && status=404", true),
        ("(status=200 || status=1xx) && status=404", false),
        ("!status=404 && status=200", true),
        ("!(status=404 or status=200)", false),
        ("not not status=200", true),
        ("status=404; status=200", true),
        ("status=404 && failed; host=shop.local && dport=8080;", true),
        ("dport=80 ; dip='10.2.0.0/16' && dport=8080", false),
        ("  ((status=200))  ", true),
        ("NOT failed AND method!=POST", true),
    ] {
        assert_eq!(holds(text, &ok), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_where_it_is() {
    for (text, column, part) in [
        ("", 1, "expected a name"),
        ("stauts=500", 1, "did you mean status?"),
        ("status=200 && hots=a", 15, "did you mean host?"),
        ("proces=redis", 1, "is not a key"),
        ("status=20x", 8, "\"20x\": not a status code"),
        ("status=2xx,oops", 8, "oops"),
        ("dport=http", 7, "not a port"),
        ("dport=0", 7, "not a port"),
        ("dport=70000", 7, "not a port"),
        ("sip=10.0.0.0/33", 5, "not an IP address or network"),
        ("sip~10", 5, "`~` is for texts"),
        ("host>a", 6, "for numbers"),
        ("direction=in", 11, "none of ingress"),
        ("trust=compleet", 7, "none of complete"),
        ("duration>5 parsecs", 12, "expected `&&`"),
        ("duration>5parsecs", 10, "unknown unit"),
        ("duration>fast", 10, "not a number"),
        ("status", 7, "expected `=`"),
        ("status=", 8, "expected a value, found the end"),
        ("status=200 failed", 12, "expected `&&`, `||`, `;` or the end, found \"failed\""),
        ("(status=200", 12, "expected `)`, found the end"),
        ("status=200)", 11, "expected `&&`"),
        ("host='a", 6, "not closed"),
        ("host=''", 8, "empty"),
        ("é && x", 1, "is not a key"),
        ("dport=80 & dport=81", 10, "expected `&&`"),
    ] {
        let bad = FilterExpression::parse(text).expect_err(text);
        assert!(bad.column == column && bad.to_string().contains(part), "{text}: {bad}");
    }
}

#[test]
fn depth_and_length_have_limits() {
    let nested = |depth: usize| format!("{}failed{}", "(".repeat(depth), ")".repeat(depth));
    assert!(FilterExpression::parse(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(FilterExpression::parse(&nested(MAX_DEPTH)).unwrap_err().to_string().contains("nested deeper"));
    assert!(FilterExpression::parse(&"!".repeat(MAX_LENGTH)).unwrap_err().to_string().contains("nested deeper"));
    assert!(FilterExpression::parse(&"failed;".repeat(MAX_LENGTH)).unwrap_err().to_string().contains("longer than"));
}

fn tree() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![
        Just(("status=200".to_owned(), true)),
        Just(("host=other".to_owned(), false)),
        Just(("duration > 1ms".to_owned(), true)),
        Just(("failed".to_owned(), false)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a} && {b})"), x && y)),
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a} or {b})"), x || y)),
            (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| (format!("({a};{b})"), x || y)),
            inner.prop_map(|(a, x)| (format!("!{a}"), !x)),
        ]
    })
}

proptest! {
    #[test]
    fn a_tree_means_what_its_parts_mean((text, expected) in tree()) {
        prop_assert_eq!(holds(&text, &record(exchange())), expected, "{}", text);
    }

    #[test]
    fn any_text_is_an_expression_or_an_error_within_it(text in "\\PC{0,60}|[a-z0-9 =!<>~()&|;,'*.]{0,60}") {
        match FilterExpression::parse(&text) {
            Ok(expression) => { expression.holds(&record(exchange()), &AROUND); }
            Err(bad) => prop_assert!(bad.column <= text.chars().count() + 1),
        }
    }
}

#[test]
fn a_mapped_address_is_the_address_it_maps() {
    let mapped: std::net::IpAddr = "::ffff:10.1.2.3".parse().unwrap();
    let connection = ExchangeConnection { client: crate::flow::Endpoint::new(mapped, 1), ..sample::connection() };
    assert!(holds("sip=10.1.2.0/24", &record(Exchange { connection: Arc::new(connection), ..exchange() })));
}
