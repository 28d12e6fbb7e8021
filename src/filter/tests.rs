use std::sync::Arc;

use super::*;
use crate::record::sample::{self, exchange, record};
use crate::record::{NetworkDirection, StreamClass, UnansweredReason};
use crate::settings::{OnlyKind, StatusPattern};
use proptest::prelude::*;

const KEEP: FilterVerdict = FilterVerdict::Keep;
const IGNORED: FilterVerdict = FilterVerdict::LeftOut(LeftOut::Ignored);

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

fn verdict(config: &FilterConfig, exchange: Exchange) -> FilterVerdict {
    RecordFilter::new(config).unwrap().verdict(&record(exchange))
}

fn with_target(target: &str) -> Exchange {
    let mut it = exchange();
    it.request.as_mut().unwrap().target = target.into();
    it
}

fn with_host(host: Option<&str>) -> Exchange {
    let mut it = exchange();
    it.request.as_mut().unwrap().host = host.map(Into::into);
    it
}

fn with_status(status: u16) -> Exchange {
    let mut it = exchange();
    it.response.as_mut().unwrap().status = Some(status);
    it
}

fn unanswered() -> Exchange {
    let mut it = exchange();
    it.response = None;
    it.unanswered = Some(UnansweredReason::Timeout);
    it.gave_up = Some(sample::START.plus(10_000_000_000));
    it
}

#[test]
fn an_ignored_path_is_compared_without_its_query() {
    for (entry, target, expected) in [
        ("/health", "/health", IGNORED),
        ("/health", "/health?verbose=1", IGNORED),
        ("/health", "/healthz", KEEP),
        ("/health", "/health/", KEEP),
        ("/health", "http://shop.local/health", IGNORED),
        ("health", "/health", IGNORED),
        ("/health*", "/healthz/live", IGNORED),
        ("*.js", "/static/a.js?v=1", IGNORED),
        ("*.js", "/find?q=a.js", KEEP),
        (" /info ", "/info", IGNORED),
    ] {
        let config = FilterConfig { ignore_urls: list(&[entry]), ..FilterConfig::default() };
        assert_eq!(verdict(&config, with_target(target)), expected, "{entry} {target}");
    }
}

#[test]
fn an_ignored_host_may_name_a_port() {
    for (entry, host, expected) in [
        ("shop.local", Some("shop.local:8080"), IGNORED),
        ("SHOP.local", Some("shop.LOCAL"), IGNORED),
        ("shop.local:80", Some("shop.local:8080"), KEEP),
        ("shop.local:8080", Some("shop.local:8080"), IGNORED),
        ("shop.local:80", Some("shop.local"), KEEP),
        ("*.local", Some("shop.local:1"), IGNORED),
        ("[::1]", Some("[::1]:80"), IGNORED),
        ("[::1]:80", Some("[::1]:80"), IGNORED),
        ("*", None, KEEP),
    ] {
        let config = FilterConfig { ignore_hosts: list(&[entry]), ..FilterConfig::default() };
        assert_eq!(verdict(&config, with_host(host)), expected, "{entry} {host:?}");
    }
}

#[test]
fn methods_agents_and_status_are_ignored_by_list() {
    let methods = FilterConfig { ignore_methods: list(&["options", "get"]), ..FilterConfig::default() };
    assert_eq!(verdict(&methods, exchange()), IGNORED);
    let agents = FilterConfig { ignore_user_agents: list(&["Curl/*"]), ..FilterConfig::default() };
    assert_eq!(verdict(&agents, exchange()), IGNORED);
    let status = FilterConfig {
        ignore_status: vec![StatusPattern::Class(2), StatusPattern::Code(304)],
        ..FilterConfig::default()
    };
    assert_eq!(verdict(&status, with_status(204)), IGNORED);
    assert_eq!(verdict(&status, with_status(304)), IGNORED);
    assert_eq!(verdict(&status, with_status(301)), KEEP);
}

#[test]
fn a_half_is_judged_by_what_is_known_of_it() {
    let config = FilterConfig {
        ignore_urls: list(&["*"]),
        ignore_hosts: list(&["*"]),
        ignore_methods: list(&["*"]),
        ignore_user_agents: list(&["*"]),
        ..FilterConfig::default()
    };
    let orphan = Exchange { request: None, ..exchange() };
    assert_eq!(verdict(&config, orphan), KEEP);
    let status = FilterConfig { ignore_status: vec![StatusPattern::Class(2)], ..FilterConfig::default() };
    assert_eq!(verdict(&status, unanswered()), KEEP);
}

#[test]
fn only_one_direction_is_kept_when_asked_for() {
    let config = FilterConfig { only_direction: vec![NetworkDirection::Egress], ..FilterConfig::default() };
    for (direction, expected) in
        [(Some(NetworkDirection::Egress), KEEP), (Some(NetworkDirection::Ingress), IGNORED), (None, KEEP)]
    {
        let connection = Arc::new(crate::record::ExchangeConnection { direction, ..sample::connection() });
        assert_eq!(verdict(&config, Exchange { connection, ..exchange() }), expected, "{direction:?}");
    }
}

#[test]
fn a_wrong_setting_is_refused_by_name() {
    let default = FilterConfig::default;
    for (config, setting) in [
        (FilterConfig { sample: Some(1.5), ..default() }, "SAMPLE"),
        (FilterConfig { sample: Some(f64::NAN), ..default() }, "SAMPLE"),
        (FilterConfig { rate_limit: Some(0.0), ..default() }, "RATE_LIMIT"),
        (FilterConfig { ignore_urls: list(&[&"x".repeat(300)]), ..default() }, "IGNORE_URLS"),
    ] {
        let errors = RecordFilter::new(&config).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].setting, setting);
        assert!(errors[0].to_string().starts_with(setting));
    }
    let long = list(&[&"x".repeat(300)]);
    let all = FilterConfig {
        sample: Some(2.0),
        rate_limit: Some(-1.0),
        ignore_urls: long.clone(),
        ignore_hosts: long.clone(),
        ignore_methods: long.clone(),
        ignore_user_agents: long,
        ..default()
    };
    assert_eq!(RecordFilter::new(&all).unwrap_err().len(), 6, "one wrong setting hides no other");
}

#[test]
fn failures_unanswered_and_slow_ones_pass_sample_and_rate_limit() {
    let nothing = FilterConfig { sample: Some(0.0), slow_after_ms: Some(12), ..FilterConfig::default() };
    let mut fast = exchange();
    fast.response.as_mut().unwrap().last = sample::START.plus(11_999_999);
    assert_eq!(verdict(&nothing, fast.clone()), FilterVerdict::LeftOut(LeftOut::Sampled));
    assert_eq!(verdict(&nothing, exchange()), KEEP, "slow: 12.4 ms");
    assert_eq!(verdict(&nothing, with_status(404)), KEEP);
    assert_eq!(verdict(&nothing, unanswered()), KEEP);
    let stream = Exchange { class: StreamClass::Stream, ..exchange() };
    assert_eq!(verdict(&nothing, stream), FilterVerdict::LeftOut(LeftOut::Sampled), "a stream waits 11.9 ms");

    let one = FilterConfig { rate_limit: Some(1.0), ..FilterConfig::default() };
    let filter = RecordFilter::new(&one).unwrap();
    assert_eq!(filter.verdict(&record(with_status(500))), KEEP);
    assert_eq!(
        filter.verdict(&record(fast)),
        FilterVerdict::LeftOut(LeftOut::RateLimited),
        "the failure took the token"
    );
    assert_eq!(filter.verdict(&record(with_status(500))), KEEP);
}

#[test]
fn a_sample_keeps_its_share_and_the_same_one_each_time() {
    let config = FilterConfig { sample: Some(0.25), ..FilterConfig::default() };
    let kept = |suffix: &str| -> Vec<usize> {
        let filter = RecordFilter::new(&config).unwrap();
        let ids = (0..4000).map(|n| (n, format!("m3J0c5k2QmE.{n:x}{suffix}")));
        let kept = ids.filter(|(_, id)| filter.verdict(&record(Exchange { id: id.into(), ..exchange() })) == KEEP);
        kept.map(|(n, _)| n).collect()
    };
    let first = kept("");
    assert!((800..1200).contains(&first.len()), "{}", first.len());
    assert_eq!(first, kept(""));
    assert_eq!(first, kept(".late"));
}

proptest! {
    #[test]
    fn without_settings_everything_is_kept(target in "[ -~]{0,40}", status in 0u16..1000) {
        let mut it = with_target(&target);
        it.response.as_mut().unwrap().status = Some(status);
        prop_assert_eq!(verdict(&FilterConfig::default(), it), KEEP);
    }
}

#[test]
fn only_keeps_what_is_of_one_of_its_kinds_and_of_any_dataset() {
    const OTHER: FilterVerdict = FilterVerdict::LeftOut(LeftOut::NotSelected);
    let config =
        |only: &[OnlyKind]| FilterConfig { only: only.to_vec(), slow_after_ms: Some(12), ..Default::default() };
    let (failed, slow, lost) = (OnlyKind::Failed, OnlyKind::Slow, OnlyKind::Unanswered);
    let mut quick = exchange();
    quick.response.as_mut().unwrap().last = sample::START.plus(11_900_000);
    for (it, of_failed, of_slow, of_lost) in [
        (quick, OTHER, OTHER, OTHER),
        (exchange(), OTHER, KEEP, OTHER),
        (with_status(500), KEEP, KEEP, OTHER),
        (unanswered(), KEEP, OTHER, KEEP),
    ] {
        for (only, expected) in [(failed, of_failed), (slow, of_slow), (lost, of_lost)] {
            assert_eq!(verdict(&config(&[only]), it.clone()), expected, "{only}");
        }
        let any = [of_failed, of_slow, of_lost].contains(&KEEP);
        assert_eq!(verdict(&config(&[failed, slow, lost]), it) == KEEP, any);
    }
    let mut refused = sample::conntrack();
    for (outcome, expected) in [(EventOutcome::Success, OTHER), (EventOutcome::Failure, KEEP)] {
        refused.outcome = Some(outcome);
        assert_eq!(RecordFilter::new(&config(&[failed])).unwrap().verdict(&refused.clone().into()), expected);
    }
}

#[test]
fn include_must_hold_and_exclude_must_not_for_records_of_any_dataset() {
    let config = |include: Option<&str>, exclude: Option<&str>| FilterConfig {
        include: include.map(str::to_owned),
        exclude: exclude.map(str::to_owned),
        namespace: Some("shop".to_owned()),
        ..FilterConfig::default()
    };
    for (include, exclude, expected) in [
        (Some("host=shop.local"), None, KEEP),
        (Some("host=other"), None, IGNORED),
        (None, Some("host=other"), KEEP),
        (None, Some("path=/cart"), IGNORED),
        (Some("host=shop.local"), Some("status=2xx"), IGNORED),
        (Some("namespace=shop"), Some("namespace=other"), KEEP),
    ] {
        assert_eq!(verdict(&config(include, exclude), exchange()), expected, "{include:?} {exclude:?}");
    }
    let filter = RecordFilter::new(&config(None, Some("dport=80"))).unwrap();
    assert_eq!(filter.verdict(&sample::conntrack().into()), IGNORED);
    let bad = RecordFilter::new(&config(Some("status=abc"), Some("("))).unwrap_err();
    let named: Vec<_> = bad.iter().map(ToString::to_string).collect();
    assert_eq!(named[0], "INCLUDE: character 8: status: \"abc\": not a status code");
    assert!(named[1].starts_with("EXCLUDE: character 2: expected a name"), "{named:?}");
}
