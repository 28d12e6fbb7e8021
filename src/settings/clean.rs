//! Finds one text for each setting, from environment and flags, and its origin.
//!
//! Handles old spellings, service links, `<name>_FILE`, what MODE implies, and names that are no settings. Parses no
//! value: each type does that.

use std::collections::BTreeMap;

use super::declare::Variable;
use super::names::{is_link_value, is_service_link, judge, link_target};
use super::notes::{MASK, SettingNote, ValueOrigin, WrongValue, printable};
use super::values::{Mode, SettingValue};

/// Names and their values: of the environment, or of the flags (by the names of the settings).
pub type SettingPairs = BTreeMap<String, String>;

/// One setting as it was given.
#[derive(Clone, Debug)]
pub struct SettingRow {
    /// Its declaration.
    pub variable: &'static Variable,
    /// Where its value came from.
    pub origin: ValueOrigin,
    text: String,
    /// False when it is already known that the text cannot be used.
    usable: bool,
}

impl SettingRow {
    /// Its value, fit to be shown.
    pub fn shown(&self) -> String {
        let secret = self.variable.secret && self.origin != ValueOrigin::Default;
        if secret { MASK.to_owned() } else { printable(&self.text) }
    }

    /// What is wrong with it next to others, with its text and where that came from.
    pub(super) fn as_given(&self, wrong: WrongValue) -> WrongValue {
        if self.origin == ValueOrigin::Default {
            return wrong;
        }
        WrongValue { value: Some(self.shown()), origin: self.origin.clone(), ..wrong }
    }

    /// Its value as one that cannot be used.
    pub(super) fn refused(&self, why: &str) -> WrongValue {
        let given = (self.origin != ValueOrigin::Default).then_some(self.text.as_str());
        let wrong = wrong(self.variable, given, self.origin.clone(), printable(why));
        // The form is right: what may be written does not help.
        WrongValue { allowed: String::new(), ..wrong }
    }
}

/// Every setting's text, with what there is to say about them.
pub(super) struct SettingTexts {
    pub(super) rows: Vec<SettingRow>,
    pub(super) notes: Vec<SettingNote>,
    pub(super) wrong: Vec<WrongValue>,
}

impl SettingTexts {
    /// The value of one setting. What is wrong with it goes to the list, and the default takes its place.
    pub(super) fn parse<T: SettingValue>(&mut self, name: &str) -> Option<T> {
        let row = self.rows.iter().find(|row| row.variable.name == name)?;
        let given = if row.usable { T::parse(name, &row.text).map(Some) } else { Ok(None) };
        match given {
            Ok(Some(value)) => {
                return Some(if let ValueOrigin::File(path) = &row.origin { value.of_file(path) } else { value });
            }
            Ok(None) => {}
            Err(why) => self.wrong.push(wrong(row.variable, Some(&row.text), row.origin.clone(), why)),
        }
        T::parse(name, row.variable.default).ok()
    }
}

fn wrong(variable: &Variable, value: Option<&str>, origin: ValueOrigin, why: String) -> WrongValue {
    let value = value.map(|value| if variable.secret { MASK.to_owned() } else { printable(value) });
    WrongValue { name: variable.name.to_owned(), value, origin, why, allowed: variable.allowed() }
}

/// What was set for one setting, in the environment or by a flag.
enum FoundSetting {
    Text(String, ValueOrigin),
    Unusable(WrongValue),
}

/// One text for each of `variables`.
pub(super) fn clean(
    variables: &'static [Variable],
    env: &SettingPairs,
    flags: &SettingPairs,
    read_file: &impl Fn(&str) -> Result<String, String>,
) -> SettingTexts {
    let mut texts = SettingTexts { rows: Vec::new(), notes: Vec::new(), wrong: Vec::new() };
    let links = service_links(variables, env, flags, &mut texts.notes);
    for variable in variables {
        let found = by_flag(variable, flags, read_file)
            .or_else(|| by_environment(variable, env, read_file, &mut texts.notes).map(Some))
            .or_else(|| links.get(variable.name).cloned().map(|(text, origin)| Some(FoundSetting::Text(text, origin))))
            .flatten();
        let row = row(variable, found, &mut texts.wrong);
        texts.rows.push(row);
    }
    imply_by_mode(&mut texts.rows);
    imply_by_hosts(&mut texts);
    texts.notes.extend(strange_names(variables, env));
    texts
}

fn row(variable: &'static Variable, found: Option<FoundSetting>, wrong_values: &mut Vec<WrongValue>) -> SettingRow {
    let default = variable.default.to_owned();
    match found {
        None => SettingRow { variable, origin: ValueOrigin::Default, text: default, usable: true },
        Some(FoundSetting::Unusable(wrong)) => {
            let origin = wrong.origin.clone();
            wrong_values.push(wrong);
            SettingRow { variable, origin, text: default, usable: false }
        }
        Some(FoundSetting::Text(text, origin)) => {
            // The edge reads the environment with what is no UTF-8 replaced.
            let usable = !text.contains('\u{fffd}');
            if !usable {
                wrong_values.push(wrong(variable, Some(&text), origin.clone(), "not UTF-8".to_owned()));
            }
            SettingRow { variable, origin, text, usable }
        }
    }
}

/// What a flag says: `Some(None)` is an empty flag, which means the default whatever the environment says.
fn by_flag(
    variable: &'static Variable,
    flags: &SettingPairs,
    read_file: &impl Fn(&str) -> Result<String, String>,
) -> Option<Option<FoundSetting>> {
    let direct = flags.get(variable.name).map(String::as_str);
    let file = variable.file().and_then(|name| flags.get(&name)).map(String::as_str);
    if direct.is_none() && file.is_none() {
        return None;
    }
    Some(one_of(variable, direct.map(|text| (text, ValueOrigin::Flag)), file, read_file))
}

fn by_environment(
    variable: &'static Variable,
    env: &SettingPairs,
    read_file: &impl Fn(&str) -> Result<String, String>,
    notes: &mut Vec<SettingNote>,
) -> Option<FoundSetting> {
    let new = nonblank(env, variable.name).filter(|text| !(variable.name.ends_with("_PORT") && is_link_value(text)));
    let old = variable.old.and_then(|old| nonblank(env, old).map(|text| (text, old)));
    let file = variable.file().and_then(|name| nonblank(env, &name));
    let direct = match (new, old) {
        (Some(text), None) => Some((text, ValueOrigin::Environment)),
        (Some(text), Some((_, old))) => {
            // Both spellings of HTTP_PROXY are usual, and often both are set.
            if !old.eq_ignore_ascii_case(variable.name) {
                notes.push(SettingNote::OldSpellingIgnored { old, new: variable.name });
            }
            Some((text, ValueOrigin::Environment))
        }
        (None, Some((text, old))) => {
            if !old.eq_ignore_ascii_case(variable.name) {
                notes.push(SettingNote::OldSpelling { old, new: variable.name });
            }
            Some((text, ValueOrigin::OldSpelling(old)))
        }
        (None, None) => None,
    };
    let direct = direct.map(|(text, origin)| (without_line_feed(variable, text, notes), origin));
    one_of(variable, direct, file, read_file)
}

/// A secret that was written into the environment with `echo`: the line feed is hardly meant, and shows nowhere.
fn without_line_feed<'a>(variable: &'static Variable, text: &'a str, notes: &mut Vec<SettingNote>) -> &'a str {
    let Some(cut) = text.strip_suffix('\n').filter(|_| variable.secret) else { return text };
    // Of PEM it is a part.
    if !text.contains("-----BEGIN") {
        notes.push(SettingNote::LineFeedCut { name: variable.name });
    }
    cut.strip_suffix('\r').unwrap_or(cut)
}

fn nonblank<'a>(env: &'a SettingPairs, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|text| !text.trim().is_empty())
}

/// The value itself or a file with it, but not both.
fn one_of(
    variable: &'static Variable,
    direct: Option<(&str, ValueOrigin)>,
    file: Option<&str>,
    read_file: &impl Fn(&str) -> Result<String, String>,
) -> Option<FoundSetting> {
    let direct = direct.filter(|(text, _)| !text.trim().is_empty());
    let file = file.map(str::trim).filter(|path| !path.is_empty());
    match (direct, file) {
        (None, None) => None,
        (Some((text, origin)), None) => {
            let text = if variable.secret { text } else { text.trim() };
            Some(FoundSetting::Text(text.to_owned(), origin))
        }
        (Some((_, origin)), Some(_)) => {
            let why = format!("{0} and {0}_FILE are both set", variable.name);
            Some(FoundSetting::Unusable(wrong(variable, None, origin, why)))
        }
        (None, Some(path)) => Some(from_file(variable, path, read_file)),
    }
}

/// The line feed at a file's end is no part of what it holds.
pub(crate) fn without_end(content: &str) -> &str {
    content.strip_suffix('\n').map_or(content, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn from_file(
    variable: &'static Variable,
    path: &str,
    read_file: &impl Fn(&str) -> Result<String, String>,
) -> FoundSetting {
    let origin = ValueOrigin::File(path.to_owned());
    let unusable = |why: String| {
        let name = format!("{}_FILE", variable.name);
        let value = Some(printable(path));
        FoundSetting::Unusable(WrongValue { name, value, origin: origin.clone(), why, allowed: String::new() })
    };
    match read_file(path) {
        Err(why) => unusable(format!("the file cannot be read: {}", printable(&why))),
        Ok(content) => {
            let text = without_end(&content);
            if text.is_empty() {
                return unusable("the file is empty".to_owned());
            }
            FoundSetting::Text(text.to_owned(), origin)
        }
    }
}

/// `X_HOST` and `X_PORT` out of `X_PORT=tcp://host:port`, where `X_HOST` is not set and `X_PORT` no flag.
fn service_links(
    variables: &'static [Variable],
    env: &SettingPairs,
    flags: &SettingPairs,
    notes: &mut Vec<SettingNote>,
) -> BTreeMap<&'static str, (String, ValueOrigin)> {
    let mut links = BTreeMap::new();
    for port in variables {
        let Some(prefix) = port.name.strip_suffix("_PORT") else { continue };
        let Some(host) = variables.iter().find(|v| v.name.strip_suffix("_HOST") == Some(prefix)) else { continue };
        let is_set = |v: &Variable| {
            let old = v.old.is_some_and(|old| nonblank(env, old).is_some());
            flags.contains_key(v.name) || old
        };
        if is_set(host) || is_set(port) || nonblank(env, host.name).is_some() {
            continue;
        }
        if let Some((address, number)) = nonblank(env, port.name).and_then(|text| link_target(text.trim())) {
            let origin = ValueOrigin::ServiceLink(port.name.to_owned());
            links.insert(host.name, (address.clone(), origin.clone()));
            links.insert(port.name, (number.to_string(), origin));
            notes.push(SettingNote::ServiceLink { name: port.name, host: address, port: number });
        }
    }
    links
}

/// What a mode implies for settings that are not set.
fn implied(mode: Mode) -> &'static [(&'static str, &'static str)] {
    match mode {
        Mode::Prod => &[],
        Mode::Debug => &[("LOG_LEVEL", "debug")],
        Mode::Development => &[("IFACE", "lo"), ("FORMAT", "text")],
    }
}

fn imply_by_mode(rows: &mut [SettingRow]) {
    let mode = rows.iter().find(|row| row.variable.name == "MODE" && row.usable);
    let mode = mode.and_then(|row| Mode::parse("MODE", &row.text).ok()).unwrap_or(Mode::Prod);
    for (name, text) in implied(mode) {
        let unset = rows.iter_mut().filter(|row| row.variable.name == *name && row.origin == ValueOrigin::Default);
        for row in unset {
            row.text = (*text).to_owned();
            row.origin = ValueOrigin::Mode;
        }
    }
}

/// A host that somebody gave, and no SEND_LOGS_TO: records go there too. So did the logger that podtap replaces.
fn imply_by_hosts(texts: &mut SettingTexts) {
    let named = |row: &SettingRow| match &row.origin {
        ValueOrigin::OldSpelling(old) => Some((*old).to_owned()),
        ValueOrigin::Environment | ValueOrigin::Flag | ValueOrigin::File(_) => Some(row.variable.name.to_owned()),
        ValueOrigin::Default | ValueOrigin::Mode | ValueOrigin::ServiceLink(_) | ValueOrigin::Hosts(_) => None,
    };
    let hosts = texts.rows.iter().filter(|row| row.variable.name.ends_with("_HOST") && row.text != "none");
    let hosts = hosts.filter_map(|row| Some((row.variable.only?, named(row)?)));
    let (sinks, names): (Vec<_>, Vec<_>) = hosts.map(|(sink, name)| (sink.word(), name)).unzip();
    let unset =
        texts.rows.iter_mut().find(|row| row.variable.name == "SEND_LOGS_TO" && row.origin == ValueOrigin::Default);
    let Some(row) = unset.filter(|_| !names.is_empty()) else { return };
    row.text = format!("{},{}", row.text, sinks.join(","));
    row.origin = ValueOrigin::Hosts(names.join(", "));
    texts.notes.push(SettingNote::ImpliedByHosts { names: names.join(", "), to: row.text.clone() });
}

fn strange_names(variables: &'static [Variable], env: &SettingPairs) -> Vec<SettingNote> {
    let read = |name: &str| {
        variables.iter().any(|v| v.name == name || v.old == Some(name) || v.file().as_deref() == Some(name))
    };
    let strange = env.iter().filter(|(name, value)| !read(name) && !is_service_link(name, value.trim()));
    strange.filter_map(|(name, _)| judge(variables, name)).collect()
}

#[cfg(test)]
mod tests;
