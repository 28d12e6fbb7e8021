//! Settings: one declaration for each variable, and everything that follows from it.
//!
//! `variables` declares, `values` has the types, `clean` finds the text that counts, `notes` has the messages, `table`
//! shows the declarations. Touches neither the environment nor files: both are arguments (`config` reads them).

mod bounds;
mod clean;
mod declare;
mod names;
mod notes;
mod table;
mod values;
mod variables;

use std::time::Duration;

pub use bounds::MemoryBounds;
pub(crate) use clean::without_end;
pub use clean::{SettingPairs, SettingRow};
pub use declare::{Variable, flag};
pub use notes::{MASK, SettingFault, SettingNote, ValueOrigin, WrongValue, WrongValues, printable, printable_up_to};
pub use table::{counted, markdown, thousands, wrapped};
pub use values::*;
pub use variables::{GROUPS, Settings, VARIABLES};

/// Everything that is known about the settings of one start.
pub struct ResolvedSettings {
    /// Every setting in order, with its text and where that came from.
    pub rows: Vec<SettingRow>,
    /// What is worth saying.
    pub notes: Vec<SettingNote>,
    /// The settings, or all that is wrong with them.
    pub outcome: Result<Settings, WrongValues>,
    /// The settings with the default in place of each wrong value, so that the rest can be checked too.
    pub usable: Option<Settings>,
}

impl ResolvedSettings {
    /// Refuses values that only those who use them can judge: each setting's name, and what is wrong. A setting that
    /// is wrong already keeps its first reason.
    pub fn refuse(&mut self, found: impl IntoIterator<Item = (String, String)>) {
        let mut wrong = match &self.outcome {
            Ok(_) => WrongValues { values: Vec::new(), warnings: warnings(&self.notes) },
            Err(wrong) => wrong.clone(),
        };
        for (name, why) in found {
            if wrong.of(&name).is_none() {
                let row = self.rows.iter().find(|row| row.variable.name == name);
                wrong.values.push(row.map_or_else(|| WrongValue::without_setting(name, &why), |row| row.refused(&why)));
            }
        }
        if !wrong.values.is_empty() {
            self.outcome = Err(wrong);
        }
    }

    /// What is wrong with a setting, if anything is.
    pub fn wrong_with(&self, name: &str) -> Option<&WrongValue> {
        self.outcome.as_ref().err().and_then(|wrong| wrong.of(name))
    }
}

fn warnings(notes: &[SettingNote]) -> Vec<SettingNote> {
    notes.iter().filter(|note| note.is_warning()).cloned().collect()
}

/// Finds every setting's value: a flag wins over the environment, which wins over what MODE implies, which wins over
/// the default.
///
/// `flags` are named as the settings are. `read_file` reads what `<name>_FILE` of a secret names.
pub fn resolve(
    env: &SettingPairs,
    flags: &SettingPairs,
    read_file: impl Fn(&str) -> Result<String, String>,
) -> ResolvedSettings {
    let mut texts = clean::clean(VARIABLES, env, flags, &read_file);
    let settings = Settings::parse(&mut texts);
    let targets_known = texts.wrong.iter().all(|wrong| wrong.name != "SEND_LOGS_TO");
    if let Some(settings) = settings.as_ref().filter(|_| targets_known) {
        let found = settings.contradictions().into_iter();
        texts.wrong.extend(found.map(|wrong| match texts.rows.iter().find(|row| row.variable.name == wrong.name) {
            Some(row) => row.as_given(wrong),
            None => wrong,
        }));
        texts.notes.retain(|note| !matches!(note, SettingNote::ServiceLink { name, .. } if !settings.uses(name)));
        texts.notes.extend(settings.without_sink(&texts.rows));
    }
    let outcome = match &settings {
        Some(settings) if texts.wrong.is_empty() => Ok(settings.clone()),
        _ => Err(WrongValues { values: texts.wrong, warnings: warnings(&texts.notes) }),
    };
    ResolvedSettings { rows: texts.rows, notes: texts.notes, outcome, usable: settings }
}

/// The default of TIMEOUT_INTERVAL_CHECK, which is fine next to every TIMEOUT_AFTER_MS.
const LONGEST_DEFAULT_CHECK: Duration = Duration::from_secs(2);

/// Where an HTTP archive fits, for those who ask for it elsewhere.
pub const HAR_IS_ONE_DOCUMENT: &str =
    "har is one JSON document with an end: only `podtap replay` writes it, to standard output";

impl Settings {
    /// The settings of an environment and flags, for tests and fuzzing; any strings will do.
    pub fn from_pairs(
        env: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
        read_file: impl Fn(&str) -> Result<String, String>,
    ) -> Result<(Self, Vec<SettingNote>), WrongValues> {
        let resolution = resolve(&env.into_iter().collect(), &flags.into_iter().collect(), read_file);
        resolution.outcome.map(|settings| (settings, resolution.notes))
    }

    /// Whether records of this kind are wanted.
    pub fn records(&self, kind: RecordKind) -> bool {
        self.record.contains(&kind)
    }

    /// Whether a whole node is observed.
    pub fn of_node(&self) -> bool {
        self.observe == Observe::Node
    }

    /// Whether packets are captured.
    pub fn captures(&self) -> bool {
        self.records(RecordKind::Http) || self.records(RecordKind::Flows)
    }

    /// CAP_FILTER of a live capture. Flows are of all protocols, so `auto` excludes nothing then; nor DNS where names come
    /// from it.
    pub fn live_filter(&self) -> &str {
        let auto = self.cap_filter == CaptureFilter::Auto;
        if auto && self.records(RecordKind::Flows) {
            ""
        } else if auto && self.workloads.contains(&WorkloadSource::Dns) {
            CAPTURE_FILTER_WITH_DNS
        } else {
            self.cap_filter.live().unwrap_or_default()
        }
    }

    /// Whether records go to `sink`.
    pub fn sends_to(&self, sink: SinkName) -> bool {
        self.send_logs_to.contains(&sink)
    }

    /// What records look like at `sink`.
    pub fn format_at(&self, sink: SinkName, stdout_is_terminal: bool) -> Format {
        let fields = |own: &Auto<FieldFormat>| own.given().map(|format| Format::from(*format));
        let own = match sink {
            SinkName::Stdout => self.format_stdout.given().copied(),
            SinkName::File => self.format_file.given().copied(),
            SinkName::Fluentd => fields(&self.format_fluentd),
            SinkName::Logstash => fields(&self.format_logstash),
            SinkName::Elasticsearch => fields(&self.format_elasticsearch),
        };
        let eyes = sink == SinkName::Stdout && stdout_is_terminal;
        // Lines are for eyes and files; servers want fields.
        let common = self.format.given().copied().filter(|format| !format.is_for_lines() || !sink.is_server());
        own.or(common).unwrap_or(if eyes { Format::Text } else { Format::Ecs })
    }

    /// Whether standard output is to get one document, with an end that only a replay has.
    pub fn writes_document(&self) -> bool {
        self.sends_to(SinkName::Stdout) && self.format_at(SinkName::Stdout, false) == Format::Har
    }

    /// How long to go on capturing after the signal to stop, never longer than the grace period.
    pub fn linger(&self) -> Duration {
        let grace = self.grace_period.0;
        self.linger.given().map_or(grace / 2, |linger| linger.0.min(grace))
    }

    /// Settings that are valid by themselves but not together.
    fn contradictions(&self) -> Vec<WrongValue> {
        let mut out = Vec::new();
        if self.record.is_empty() {
            out.push(WrongValue {
                name: "RECORD".to_owned(),
                value: Some("none".to_owned()),
                origin: ValueOrigin::Default,
                why: "nothing would be recorded".to_owned(),
                allowed: RecordKind::WORDS.join(", "),
            });
        }
        let no_input = self.verdict_groups.is_empty() && !self.verdict_kmsg && self.verdict_file.is_none();
        if self.records(RecordKind::Verdicts) && no_input {
            out.push(WrongValue {
                name: "VERDICT_GROUPS".to_owned(),
                value: None,
                origin: ValueOrigin::Default,
                why: "not set, nor VERDICT_KMSG or VERDICT_FILE, but RECORD names verdicts".to_owned(),
                allowed: "comma list of groups".to_owned(),
            });
        }
        if self.sends_to(SinkName::File) && self.file_path.is_none() {
            out.push(WrongValue {
                name: "FILE_PATH".to_owned(),
                value: None,
                origin: ValueOrigin::Default,
                why: "not set, but SEND_LOGS_TO names file".to_owned(),
                allowed: "a path".to_owned(),
            });
        }
        if self.sends_to(SinkName::File) && self.format_at(SinkName::File, false) == Format::Har {
            out.push(WrongValue {
                name: "FORMAT_FILE".to_owned(),
                value: Some(Format::Har.word().to_owned()),
                origin: ValueOrigin::Default,
                why: format!("{HAR_IS_ONE_DOCUMENT} (> FILE.har)"),
                allowed: "another format".to_owned(),
            });
        }
        out.extend(self.spans_that_contradict());
        out
    }

    /// Spans of time that cannot be kept next to each other.
    fn spans_that_contradict(&self) -> Vec<WrongValue> {
        let words = |span: Duration| format!("{} s", span.as_secs_f64());
        let wrong = |name: &str, value: Duration, why: &str, most: Duration| WrongValue {
            name: name.to_owned(),
            value: Some(words(value)),
            origin: ValueOrigin::Default,
            why: why.to_owned(),
            allowed: format!("up to {}", words(most)),
        };
        let mut out = Vec::new();
        let grace = self.grace_period.0;
        if let Some(linger) = self.linger.given().filter(|linger| linger.0 > grace) {
            out.push(wrong("LINGER", linger.0, "longer than GRACE_PERIOD, which ends it", grace));
        }
        // Of the default it is not said that it is wrong: another setting is short.
        let (every, after) = (self.timeout_interval_check.0, self.timeout_after.0.max(LONGEST_DEFAULT_CHECK));
        if every > after {
            let why = "longer than TIMEOUT_AFTER_MS: time-outs would be noticed far too late";
            out.push(wrong("TIMEOUT_INTERVAL_CHECK", every, why, after));
        }
        out
    }

    fn without_sink(&self, rows: &[SettingRow]) -> Vec<SettingNote> {
        let nobody = |origin: &ValueOrigin| {
            matches!(
                origin,
                ValueOrigin::Default | ValueOrigin::Mode | ValueOrigin::ServiceLink(_) | ValueOrigin::Hosts(_)
            )
        };
        let set = rows.iter().filter(|row| !nobody(&row.origin));
        let for_other = set.filter_map(|row| row.variable.only.map(|sink| (row.variable.name, sink)));
        let unsent = for_other.filter(|(_, sink)| !self.sends_to(*sink));
        unsent.map(|(name, sink)| SettingNote::NoSuchSink { name, sink }).collect()
    }

    /// Whether the setting matters to any sink in use.
    fn uses(&self, name: &str) -> bool {
        let variable = VARIABLES.iter().find(|variable| variable.name == name);
        variable.and_then(|variable| variable.only).is_none_or(|sink| self.sends_to(sink))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Settings;

    /// The settings of these environment variables.
    pub(crate) fn settings(env: &[(&str, &str)]) -> Settings {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_pairs(env, [], |_| Err("no files here".to_owned())).unwrap().0
    }
}

#[cfg(test)]
mod tests;
