//! What a declaration of settings expands to: the typed struct, the table, and the groups.
//!
//! Holds no setting itself (`variables` does).

use super::values::SinkName;

/// One setting, as declared.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// What it means, in one or two sentences.
    pub meaning: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// Its heading.
    pub group: &'static str,
    /// Old spelling that is still read.
    pub old: Option<&'static str>,
    /// The only sink it matters to.
    pub only: Option<SinkName>,
    /// Never shown.
    pub secret: bool,
    /// Can be read from a file named by `<name>_FILE`.
    pub in_file: bool,
    pub(super) allowed: Option<&'static str>,
    pub(super) allowed_by_type: fn() -> String,
}

impl Variable {
    /// What may be written, in words.
    pub fn allowed(&self) -> String {
        self.allowed.map_or_else(self.allowed_by_type, str::to_owned)
    }

    /// What it means, and that a file may hold it where that is so.
    pub fn explained(&self) -> String {
        let file = self.file().map(|file| format!(" Or {file} names a file that holds it."));
        format!("{}{}", self.meaning, file.unwrap_or_default())
    }

    /// Its long flag, without the dashes.
    pub fn flag(&self) -> String {
        flag(self.name)
    }

    /// The variable that names a file with its value, where there is one.
    pub fn file(&self) -> Option<String> {
        self.in_file.then(|| format!("{}_FILE", self.name))
    }
}

/// `FORMAT_STDOUT` as a flag: `format-stdout`.
pub fn flag(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Declares settings, each once: `NAME field: Type = "default", was "OLDNAME", only Sink, allowed "words";`.
macro_rules! settings {
    ($($title:literal {
        $($(#[doc = $doc:literal])+ $name:ident $field:ident: $type:ty = $default:literal
            $(, was $old:literal)? $(, only $sink:ident)? $(, allowed $allowed:literal)?;)*
    })*) => {
        /// The headings of the list of settings, in order.
        pub const GROUPS: &[&str] = &[$($title,)*];

        /// Every setting, valid.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($($(#[doc = $doc])+ pub $field: $type,)*)*
        }

        /// Every setting, as declared, in order.
        pub const VARIABLES: &[Variable] = &[$($(Variable {
            name: stringify!($name),
            meaning: concat!($($doc),+).trim_ascii(),
            default: $default,
            group: $title,
            old: settings!(@optional $($old)?),
            only: settings!(@optional $(SinkName::$sink)?),
            secret: <$type as SettingValue>::SECRET,
            in_file: <$type as SettingValue>::IN_FILE,
            allowed: settings!(@optional $($allowed)?),
            allowed_by_type: <$type as SettingValue>::allowed,
        },)*)*];

        impl Settings {
            /// Parses every text by itself. What is wrong is added to the texts' own list, and its default taken.
            pub(super) fn parse(texts: &mut SettingTexts) -> Option<Self> {
                // In one expression: with a variable for each, the compiler makes 300 KB of ways to give them up.
                Some(Self { $($($field: texts.parse::<$type>(stringify!($name))?,)*)* })
            }
        }
    };
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
}
pub(super) use settings;
