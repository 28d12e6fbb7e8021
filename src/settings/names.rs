//! Names in the environment that are not settings: Kubernetes' service links, and near misses.
//!
//! Reads no values, except to recognise links.

use super::declare::Variable;
use super::notes::SettingNote;

/// Reserved names that this version does not use. When set, they are reported as unused, not as misspelt. Remove a name
/// here once it is declared.
pub(super) const UNUSED: &str = "
    ELASTICSEARCH_TLS_NAME
";

/// Names that begin so are meant for podtap, however far they are from a setting.
const OWN_PREFIXES: [&str; 5] = ["FLUENTD_", "LOGSTASH_", "ELASTICSEARCH_", "IGNORE_", "REDACT_"];

/// Names near a setting that other software uses.
const ORDINARY: [&str; 7] = ["POD_ID", "POD_IDS", "LOG_FORMATS", "FTP_PROXY", "ftp_proxy", "ALL_PROXY", "all_proxy"];

/// Longer names are never compared: no setting is near.
const LONGEST_COMPARED: usize = 40;

/// Host and port of `tcp://10.0.0.1:24224`.
pub(super) fn link_target(value: &str) -> Option<(String, u16)> {
    let (host, port) = value.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Whether the value of `<NAME>_PORT` is one that Kubernetes makes.
pub(super) fn is_link_value(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// Whether Kubernetes made this variable for a Service.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_link_value(value))
        || name.match_indices('_').any(|(at, _)| name.get(at..).is_some_and(is_port_part))
}

/// `_PORT_80_TCP`, `_PORT_80_TCP_ADDR`: how the name of a service link ends.
fn is_port_part(end: &str) -> bool {
    let Some((number, protocol)) = end.strip_prefix("_PORT_").and_then(|end| end.split_once('_')) else { return false };
    let protocol = ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|end| protocol.strip_suffix(end)).unwrap_or(protocol);
    number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&protocol)
}

/// What there is to say about a name that is neither a setting nor a service link.
pub(super) fn judge(variables: &'static [Variable], name: &str) -> Option<SettingNote> {
    if UNUSED.split_ascii_whitespace().any(|unused| unused == name) {
        return Some(SettingNote::Unused { name: name.to_owned() });
    }
    if name.len() > LONGEST_COMPARED || ORDINARY.contains(&name) {
        return None;
    }
    let setting = name.strip_suffix("_FILE").and_then(|name| variables.iter().find(|v| v.name == name));
    if let Some(variable) = setting {
        return Some(SettingNote::NotFromFile { name: name.to_owned(), setting: variable.name });
    }
    let known = known(variables);
    let meant = respelt(&known, name).or_else(|| nearest(&known, name)).or_else(|| cut_short(&known, name));
    let ours = OWN_PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
    (meant.is_some() || ours.is_some()).then(|| SettingNote::Misspelt { name: name.to_owned(), meant })
}

/// Every name that is read or reserved.
fn known(variables: &'static [Variable]) -> Vec<String> {
    let declared = variables.iter().flat_map(|v| [Some(v.name.to_owned()), v.file()]).flatten();
    declared.chain(UNUSED.split_ascii_whitespace().map(str::to_owned)).collect()
}

/// The setting that is meant by `format`, `PODTAP_FORMAT`, `LOG-LEVEL`.
fn respelt(known: &[String], name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase().replace(['-', '.'], "_");
    let bare = upper.strip_prefix("PODTAP_").unwrap_or(&upper);
    known.iter().find(|candidate| *candidate == bare).cloned()
}

/// How many slips of the finger still mean a name of this length.
fn slips(length: usize) -> usize {
    match length {
        0..=4 => 0,
        5..=9 => 1,
        _ => 2,
    }
}

fn nearest(known: &[String], name: &str) -> Option<String> {
    let length = name.chars().count();
    // Each extra or missing letter counts as one slip.
    let may_be = |candidate: &&String| candidate.len().abs_diff(length) <= slips(candidate.len());
    let distances = known.iter().filter(may_be).filter_map(|candidate| {
        let distance = strsim::damerau_levenshtein(candidate, name);
        (distance <= slips(candidate.len())).then_some((distance, candidate))
    });
    distances.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate.clone())
}

/// The setting whose first words these are: `SEND_LOGS`. One word alone may be anything.
fn cut_short(known: &[String], name: &str) -> Option<String> {
    let begins = |candidate: &&String| candidate.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
    known.iter().find(|candidate| name.contains('_') && begins(candidate)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::VARIABLES;

    fn said(name: &str) -> Option<String> {
        judge(VARIABLES, name).map(|note| note.to_string())
    }

    #[test]
    fn a_near_miss_gets_a_hint_at_what_was_probably_meant() {
        for (name, meant) in [
            ("FLUENTD_HSOT", "FLUENTD_HOST"),
            ("FROMAT", "FORMAT"),
            ("IFCAE", "IFACE"),
            ("SEND_LOGS", "SEND_LOGS_TO"),
            ("LOGLEVEL", "LOG_LEVEL"),
            ("SNAP_LEN", "SNAPLEN"),
            ("IGNORE_URL", "IGNORE_URLS"),
            ("IGNORE_URI", "IGNORE_URLS"),
            ("REDACT_HEADER", "REDACT_HEADERS"),
            ("ELASTICSEARCH_PASWORD", "ELASTICSEARCH_PASSWORD"),
            ("POD_NAMSPACE", "POD_NAMESPACE"),
            ("PODTAP_FORMAT", "FORMAT"),
            ("format", "FORMAT"),
        ] {
            assert_eq!(said(name).unwrap_or_default(), format!("{name} is not a setting; did you mean {meant}?"));
        }
        assert_eq!(said("IGNORE_PATHS").unwrap(), "IGNORE_PATHS is not a setting");
        assert_eq!(said("ELASTICSEARCH_FAVOURITE_COLOUR").unwrap(), "ELASTICSEARCH_FAVOURITE_COLOUR is not a setting");
    }

    #[test]
    fn a_known_name_without_use_here_is_not_called_misspelt() {
        let known = "ELASTICSEARCH_TLS_NAME";
        assert_eq!(said(known).unwrap(), format!("{known} is known, but this version does not use it"));
    }

    #[test]
    fn only_secrets_and_user_names_come_from_files() {
        assert!(said("CAP_FILTER_FILE").unwrap().contains("only secrets and user names are read from files"));
    }

    #[test]
    fn ordinary_environment_is_left_alone() {
        let ordinary = "
            PATH HOME HOSTNAME TERM LANG LC_ALL PWD OLDPWD SHLVL LOGNAME USER SHELL TZ MAIL EDITOR PAGER DISPLAY
            LS_COLORS FTP_PROXY ALL_PROXY RSYNC_PROXY ftp_proxy all_proxy rsync_proxy _ SSL_CERT_FILE SSL_CERT_DIR RUST_LOG RUST_BACKTRACE JAVA_OPTS
            NODE_ENV NODE_IP NODE HOST_IP HOST_NAME POD_ID POD_SERVICE_ACCOUNT MY_POD_NAME NAMESPACE CODE TAG MODEL
            DEBUG VERSION PORT HOST GODEBUG GOMAXPROCS MALLOC_ARENA_MAX INVOCATION_ID container CONTAINER_NAME
            APP_NAME SERVICE_ACCOUNT CLUSTER_DOMAIN FILE LIMITS POD POD_ MEMORY_LIMIT CPU_LIMIT DATABASE_URL
        ";
        for name in ordinary.split_ascii_whitespace().chain([""]) {
            assert_eq!(said(name), None, "{name}");
        }
    }

    #[test]
    fn service_links_are_recognised_by_name_or_value() {
        for (name, value, link) in [
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1", true),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443", true),
            ("KUBERNETES_PORT", "tcp://10.96.0.1:443", true),
            ("FLUENTD_PORT_24224_TCP", "tcp://10.0.0.1:24224", true),
            ("FLUENTD_PORT_24224_TCP_ADDR", "10.0.0.1", true),
            ("FLUENTD_PORT_24224_UDP_PROTO", "udp", true),
            ("MY_PORT_PORT_80_TCP_PORT", "80", true),
            ("FLUENTD_PORT", "24224", false),
            ("FLUENTD_HSOT", "tcp://10.0.0.1:1", false),
            ("X_PORT_NUMBER_TCP", "", false),
        ] {
            assert_eq!(is_service_link(name, value), link, "{name}");
        }
    }

    #[test]
    fn a_link_gives_host_and_port() {
        for (value, target) in [
            ("tcp://10.0.0.1:24224", Some(("10.0.0.1", 24224))),
            ("tcp://[fd00::1]:9200", Some(("fd00::1", 9200))),
            ("udp://10.0.0.1:53", None),
            ("tcp://10.0.0.1", None),
            ("tcp://:1", None),
            ("tcp://h:0", None),
            ("tcp://h:99999", None),
            ("24224", None),
        ] {
            assert_eq!(link_target(value), target.map(|(host, port)| (host.to_owned(), port)), "{value}");
        }
    }
}
