//! Leaves records out on purpose: INCLUDE, EXCLUDE, ONLY, IGNORE_… rules, ONLY_DIRECTION, SAMPLE, RATE_LIMIT. `flows` does so
//! for connections.
//!
//! Gives the reason for every record it leaves out, and counts nothing itself: the caller has the ledger. It uses no
//! clock: the rate limit runs on the records' own times, so a replay leaves out the same records.

pub mod expression;
mod flows;
mod rate;
mod rules;
#[cfg(test)]
mod tests;
mod wanted;

use std::fmt;

use self::expression::{FilterExpression, RecordSurroundings, is_of_kind};
pub use self::flows::{FlowFilter, FlowRules, FlowSeen};
use self::rate::TokenBucket;
use self::rules::HttpRules;
pub use self::wanted::Wanted;
use crate::flow::Timestamp;
use crate::glob::BadPattern;
use crate::ledger::LeftOut;
use crate::record::{EventOutcome, Exchange, NetworkDirection, Record};
use crate::settings::{OnlyKind, StatusPattern};

/// What the settings of the group "select" say; the default leaves nothing out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterConfig {
    /// IGNORE_URLS: paths (query ignored), with `*` and `?` as wildcards.
    pub ignore_urls: Vec<String>,
    /// IGNORE_HOSTS: hosts, with a port or for every port, with wildcards.
    pub ignore_hosts: Vec<String>,
    /// IGNORE_METHODS
    pub ignore_methods: Vec<String>,
    /// IGNORE_STATUS: codes and classes (`304`, `2xx`).
    pub ignore_status: Vec<StatusPattern>,
    /// IGNORE_USER_AGENTS: with wildcards.
    pub ignore_user_agents: Vec<String>,
    /// ONLY; empty means all.
    pub only: Vec<OnlyKind>,
    /// INCLUDE
    pub include: Option<String>,
    /// EXCLUDE
    pub exclude: Option<String>,
    /// POD_NAME, for expressions.
    pub pod: Option<String>,
    /// POD_NAMESPACE, for expressions.
    pub namespace: Option<String>,
    /// NODE_NAME, for expressions.
    pub node: Option<String>,
    /// ONLY_DIRECTION; empty means all.
    pub only_direction: Vec<NetworkDirection>,
    /// SAMPLE: the share to keep, 0 to 1.
    pub sample: Option<f64>,
    /// RATE_LIMIT: records a second.
    pub rate_limit: Option<f64>,
    /// SLOW_AFTER_MS: from when on an exchange is slow, which keeps it.
    pub slow_after_ms: Option<u64>,
}

/// A setting that cannot be used: the operator's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFilter {
    /// The setting's name.
    pub setting: &'static str,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.cause)
    }
}

impl std::error::Error for BadFilter {}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterVerdict {
    /// Offered to every sink.
    Keep,
    /// Left out, for this reason.
    LeftOut(LeftOut),
}

/// The rules, and the state of the rate limit: one for all capture threads, without a lock.
#[derive(Debug)]
pub struct RecordFilter {
    rules: HttpRules,
    include: Option<FilterExpression>,
    exclude: Option<FilterExpression>,
    only: Vec<OnlyKind>,
    pod: Option<String>,
    namespace: Option<String>,
    node: Option<String>,
    /// Hashes of ids below this are kept; `None` keeps all.
    sample_below: Option<u64>,
    bucket: Option<TokenBucket>,
    slow_after: Option<u64>,
}

impl RecordFilter {
    /// Checks the settings, so that a wrong one neither widens nor narrows anything silently; names all wrong ones.
    pub fn new(config: &FilterConfig) -> Result<Self, Vec<BadFilter>> {
        let mut bad = Vec::new();
        let sample_below = config.sample.filter(|share| *share < 1.0).map(|share| (share * 2f64.powi(64)) as u64);
        bad.extend(
            config
                .sample
                .filter(|share| !(0.0..=1.0).contains(share))
                .map(|share| bad_number("SAMPLE", share, "is not between 0 and 1")),
        );
        bad.extend(
            config
                .rate_limit
                .filter(|rate| !(rate.is_finite() && *rate > 0.0))
                .map(|rate| bad_number("RATE_LIMIT", rate, "is not a positive number")),
        );
        let rules = HttpRules::new(config, &mut bad);
        let mut expression = |setting: &'static str, text: &Option<String>| {
            let parsed = text.as_deref().map(FilterExpression::parse).transpose();
            parsed.map_err(|why| bad.push(BadFilter { setting, cause: why.to_string() })).ok().flatten()
        };
        let include = expression("INCLUDE", &config.include);
        let exclude = expression("EXCLUDE", &config.exclude);
        if !bad.is_empty() {
            return Err(bad);
        }
        let slow_after = config.slow_after_ms.map(|ms| ms.saturating_mul(1_000_000));
        let (only, bucket) = (config.only.clone(), config.rate_limit.map(TokenBucket::new));
        let (pod, namespace, node) = (config.pod.clone(), config.namespace.clone(), config.node.clone());
        Ok(Self { rules, include, exclude, only, pod, namespace, node, sample_below, bucket, slow_after })
    }

    /// Keep or leave out. Rules about the record itself hold for every one. SAMPLE and RATE_LIMIT never leave out failures
    /// (status from 400), unanswered and slow exchanges, and are for exchanges only.
    pub fn verdict(&self, record: &Record) -> FilterVerdict {
        if self.is_ignored(record) {
            return FilterVerdict::LeftOut(LeftOut::Ignored);
        }
        if !self.only.is_empty() && !self.only.iter().any(|kind| is_of_kind(record, *kind, self.slow_after)) {
            return FilterVerdict::LeftOut(LeftOut::NotSelected);
        }
        let Record::Http(exchange) = record else { return FilterVerdict::Keep };
        let is_slow = self.slow_after.is_some_and(|limit| exchange.is_slow(limit));
        let always = exchange.outcome() == EventOutcome::Failure || is_slow;
        if !always && self.sample_below.is_some_and(|limit| sample_hash(&exchange.id) >= limit) {
            return FilterVerdict::LeftOut(LeftOut::Sampled);
        }
        // What is kept always takes its token too, so that the limit is one for all records.
        let has_token = self.bucket.as_ref().is_none_or(|bucket| bucket.take(ended_at(exchange)));
        if has_token || always { FilterVerdict::Keep } else { FilterVerdict::LeftOut(LeftOut::RateLimited) }
    }

    /// Whether a rule may ask for the names of workloads: INCLUDE and EXCLUDE may.
    pub fn may_ask_for_names(&self) -> bool {
        self.include.is_some() || self.exclude.is_some()
    }

    fn is_ignored(&self, record: &Record) -> bool {
        let around = RecordSurroundings {
            pod: self.pod.as_deref(),
            namespace: self.namespace.as_deref(),
            node: self.node.as_deref(),
            slow_after: self.slow_after,
        };
        self.include.as_ref().is_some_and(|wanted| !wanted.holds(record, &around))
            || self.exclude.as_ref().is_some_and(|unwanted| unwanted.holds(record, &around))
            || record.exchange().is_some_and(|exchange| self.rules.ignore(exchange))
    }
}

fn bad_number(setting: &'static str, number: f64, why: &'static str) -> BadFilter {
    BadFilter { setting, cause: BadPattern::new(&number.to_string(), why).to_string() }
}

/// When the record was complete, on the capture's clock.
fn ended_at(exchange: &Exchange) -> Timestamp {
    exchange.end().or(exchange.gave_up).unwrap_or_else(|| exchange.start())
}

/// FNV-1a with a final mix: the same on every machine and in every version, so that replays agree. A late response
/// shares the fate of its request.
fn sample_hash(id: &str) -> u64 {
    let id = id.strip_suffix(".late").unwrap_or(id);
    let fnv = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}
