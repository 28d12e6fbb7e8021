//! The IGNORE_… rules and ONLY_DIRECTION.
//!
//! A rule does not match a record that lacks the value it needs (no status, no host): what is unknown is kept.

use super::{BadFilter, FilterConfig};
use crate::glob::{BadPattern, Glob};
use crate::record::{Exchange, HttpRequest, NetworkDirection};
use crate::settings::StatusPattern;
use crate::shape::target::RequestUrl;

#[derive(Clone, Debug)]
pub(super) struct HttpRules {
    urls: Vec<Glob>,
    hosts: Vec<HostRule>,
    methods: Vec<Glob>,
    status: Vec<StatusPattern>,
    user_agents: Vec<Glob>,
    directions: Vec<NetworkDirection>,
}

#[derive(Clone, Debug)]
struct HostRule {
    host: Glob,
    with_port: bool,
}

impl HttpRules {
    /// The rules that can be used; `bad` gets the others.
    pub(super) fn new(config: &FilterConfig, bad: &mut Vec<BadFilter>) -> Self {
        Self {
            urls: parse_all("IGNORE_URLS", &config.ignore_urls, url_rule, bad),
            hosts: parse_all("IGNORE_HOSTS", &config.ignore_hosts, host_rule, bad),
            methods: parse_all("IGNORE_METHODS", &config.ignore_methods, Glob::ignoring_case, bad),
            status: config.ignore_status.clone(),
            user_agents: parse_all("IGNORE_USER_AGENTS", &config.ignore_user_agents, Glob::ignoring_case, bad),
            directions: config.only_direction.clone(),
        }
    }

    pub(super) fn ignore(&self, exchange: &Exchange) -> bool {
        let elsewhere =
            !self.directions.is_empty() && exchange.direction().is_some_and(|known| !self.directions.contains(&known));
        let status = exchange.response.as_ref().and_then(|r| r.status);
        elsewhere
            || status.is_some_and(|status| self.status.iter().any(|rule| rule.matches(status)))
            || exchange.request.as_ref().is_some_and(|request| self.ignore_request(request))
    }

    fn ignore_request(&self, request: &HttpRequest) -> bool {
        let fits_any = |globs: &[Glob], text: &str| globs.iter().any(|glob| glob.matches(text.as_bytes()));
        fits_any(&self.methods, &request.method)
            || request.user_agent.as_ref().is_some_and(|agent| fits_any(&self.user_agents, agent))
            || (!(self.urls.is_empty() && self.hosts.is_empty()) && self.ignore_url(&RequestUrl::of(request)))
    }

    fn ignore_url(&self, url: &RequestUrl<'_>) -> bool {
        let path = url.path.unwrap_or_default().as_bytes();
        self.urls.iter().any(|glob| glob.matches(path))
            || url.domain.is_some_and(|domain| self.hosts.iter().any(|rule| rule.fits(domain, url.port)))
    }
}

impl HostRule {
    fn fits(&self, domain: &str, port: Option<u16>) -> bool {
        match port {
            Some(port) if self.with_port => self.host.matches(format!("{domain}:{port}").as_bytes()),
            None if self.with_port => false,
            _ => self.host.matches(domain.as_bytes()),
        }
    }
}

fn parse_all<T>(
    setting: &'static str,
    entries: &[String],
    parse: impl Fn(&str) -> Result<T, BadPattern>,
    bad: &mut Vec<BadFilter>,
) -> Vec<T> {
    let entries = entries.iter().map(|e| e.trim()).filter(|e| !e.is_empty());
    let parsed: Result<_, _> = entries.map(parse).collect();
    parsed.unwrap_or_else(|cause| {
        bad.push(BadFilter { setting, cause: cause.to_string() });
        Vec::new()
    })
}

/// A path as in requests; `health` is meant to be `/health`.
fn url_rule(entry: &str) -> Result<Glob, BadPattern> {
    if entry.starts_with(['/', '*']) { Glob::new(entry) } else { Glob::new(&format!("/{entry}")) }
}

/// `shop.local`, `*.local:8080`, `[::1]`: with a port only what is asked for at this port.
fn host_rule(entry: &str) -> Result<HostRule, BadPattern> {
    let behind_literal = entry.rsplit(']').next().unwrap_or(entry);
    Ok(HostRule { host: Glob::ignoring_case(entry)?, with_port: behind_literal.contains(':') })
}
