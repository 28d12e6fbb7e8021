//! Leaves exchanges out on purpose: IGNORE_… rules, ONLY_DIRECTION, SAMPLE, RATE_LIMIT. `flows` does so for connections.
//!
//! Gives the reason for every record it leaves out, and counts nothing itself: the caller has the ledger. It uses no
//! clock: the rate limit runs on the records' own times, so a replay leaves out the same records.

mod flows;
mod rate;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::flows::{FlowFilter, FlowRules, FlowSeen};
use self::rate::Bucket;
use self::rules::Rules;
use crate::flow::Timestamp;
use crate::glob::BadPattern;
use crate::ledger::LeftOut;
use crate::record::{Exchange, NetworkDirection, Outcome, Record, StreamClass};
use crate::settings::StatusPattern;

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
    pub cause: BadPattern,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.cause)
    }
}

impl std::error::Error for BadFilter {}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Offered to every sink.
    Keep,
    /// Left out, for this reason.
    LeftOut(LeftOut),
}

/// The rules, and the state of the rate limit.
#[derive(Clone, Debug)]
pub struct Filter {
    rules: Rules,
    /// Hashes of ids below this are kept; `None` keeps all.
    sample_below: Option<u64>,
    bucket: Option<Bucket>,
    slow_after: Option<u64>,
}

impl Filter {
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
        let rules = Rules::new(config, &mut bad);
        if !bad.is_empty() {
            return Err(bad);
        }
        let slow_after = config.slow_after_ms.map(|ms| ms.saturating_mul(1_000_000));
        Ok(Self { rules, sample_below, bucket: config.rate_limit.map(Bucket::new), slow_after })
    }

    /// Keep or leave out. IGNORE rules hold for every record; SAMPLE and RATE_LIMIT never leave out failures
    /// (status from 400), unanswered and slow exchanges.
    pub fn verdict(&mut self, record: &Record) -> Verdict {
        let Record::Http(exchange) = record else { return Verdict::Keep };
        if self.rules.ignore(exchange) {
            return Verdict::LeftOut(LeftOut::Ignored);
        }
        let always = exchange.outcome() == Outcome::Failure || self.is_slow(exchange);
        if !always && self.sample_below.is_some_and(|limit| sample_hash(&exchange.id) >= limit) {
            return Verdict::LeftOut(LeftOut::Sampled);
        }
        // What is kept always takes its token too, so that the limit is one for all records.
        let has_token = self.bucket.as_mut().is_none_or(|bucket| bucket.take(ended_at(exchange)));
        if has_token || always { Verdict::Keep } else { Verdict::LeftOut(LeftOut::RateLimited) }
    }

    /// A stream is long by nature: only the wait for its beginning makes it slow.
    fn is_slow(&self, exchange: &Exchange) -> bool {
        let Some(limit) = self.slow_after else { return false };
        let Some(response) = &exchange.response else { return false };
        let until = match exchange.class {
            StreamClass::Exchange => response.last,
            StreamClass::Stream | StreamClass::Tunnel | StreamClass::Upgrade => response.first,
        };
        until.since(exchange.start()) >= limit
    }
}

fn bad_number(setting: &'static str, number: f64, why: &'static str) -> BadFilter {
    BadFilter { setting, cause: BadPattern::new(&number.to_string(), why) }
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
