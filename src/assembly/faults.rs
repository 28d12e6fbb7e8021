//! Settings that only the parts can judge: collects every fault under the name of its setting.
//!
//! Judges no value itself: the parts do.

use std::fmt;

use crate::settings::SettingFault;

/// Settings that are well-formed but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableSettings {
    /// At least one.
    pub faults: Vec<SettingFault>,
}

impl UnusableSettings {
    pub(super) fn new(setting: &str, why: impl fmt::Display) -> Self {
        SettingFault::new(setting, why).into()
    }
}

impl From<SettingFault> for UnusableSettings {
    fn from(fault: SettingFault) -> Self {
        Self { faults: vec![fault] }
    }
}

impl fmt::Display for UnusableSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for UnusableSettings {}

/// Collects faults, so that one wrong setting hides no other.
#[derive(Debug, Default)]
pub(super) struct FaultList(Vec<SettingFault>);

impl FaultList {
    /// The part, or nothing and its faults are kept.
    pub(super) fn keep<T>(&mut self, part: Result<T, UnusableSettings>) -> Option<T> {
        part.map_err(|unusable| self.0.extend(unusable.faults)).ok()
    }

    /// What was made of the parts, if none of them was at fault.
    pub(super) fn finish<T>(self, made: Option<T>) -> Result<T, UnusableSettings> {
        made.filter(|_| self.0.is_empty()).ok_or(UnusableSettings { faults: self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{SettingPairs, resolve};

    /// What `checked` finds wrong, as `SETTING: why`.
    fn wrong(env: &[(&str, &str)]) -> Vec<String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let resolution = super::super::checked(resolve(&env, &SettingPairs::new(), |_| Err(String::new())));
        let wrong = resolution.outcome.err().into_iter().flat_map(|wrong| wrong.values);
        wrong.map(|wrong| format!("{}: {}", wrong.name, wrong.why)).collect()
    }

    #[test]
    fn what_a_type_refuses_hides_nothing_that_a_part_refuses() {
        assert_eq!(wrong(&[]), [""; 0]);
        let found = wrong(&[
            ("SAMPLE", "7"),
            ("ROUTES", "x"),
            ("REDACT_PATH", "y"),
            ("IGNORE_METHODS", &"m".repeat(300)),
            ("ANNOTATIONS", &"a".repeat(300)),
            ("SEND_LOGS_TO", "stdout,fluentd,logstash"),
            ("FLUENTD_HOST", "a:b:c:d/"),
            ("FLUENTD_TAG", "{nothing}"),
            ("FLUENTD_USERNAME", "u"),
            ("FLUENTD_TLS_CA", "/nowhere/ca.pem"),
            ("LOGSTASH_PASSWORD", "p"),
        ]);
        let names: Vec<_> = found.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        let expected = [
            "SAMPLE",
            "IGNORE_METHODS",
            "ROUTES",
            "ANNOTATIONS",
            "REDACT_PATH",
            "FLUENTD_HOST",
            "FLUENTD_TLS_CA",
            "FLUENTD_TAG",
            "FLUENTD_USERNAME",
            "LOGSTASH_PASSWORD",
        ];
        assert_eq!(names, expected, "{found:#?}");
    }

    #[test]
    #[cfg(feature = "es")]
    fn the_settings_of_elasticsearch_are_checked_only_where_records_go_there() {
        let given =
            [("ELASTICSEARCH_INDEX", "Web"), ("ELASTICSEARCH_API_VERSION", "old"), ("ELASTICSEARCH_HOST", "ftp://h")];
        assert_eq!(wrong(&[&given[..], &[("SEND_LOGS_TO", "stdout")]].concat()), [""; 0]);
        let found = wrong(&[&given[..], &[("SEND_LOGS_TO", "elasticsearch")]].concat());
        let names: Vec<_> = found.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(names, ["ELASTICSEARCH_HOST", "ELASTICSEARCH_INDEX", "ELASTICSEARCH_API_VERSION"], "{found:#?}");
    }

    #[test]
    fn every_fault_is_collected_and_one_is_enough_to_refuse_the_whole() {
        let mut faults = FaultList::default();
        assert_eq!(faults.keep(Ok(1)), Some(1));
        assert_eq!(faults.keep::<()>(Err(UnusableSettings::new("ROUTES", "a"))), None);
        assert_eq!(faults.keep::<()>(Err(UnusableSettings::new("ANNOTATIONS", "b"))), None);
        assert_eq!(faults.finish(Some(1)).unwrap_err().to_string(), "ROUTES: a\nANNOTATIONS: b");
        assert_eq!(FaultList::default().finish(Some(1)), Ok(1));
    }
}
