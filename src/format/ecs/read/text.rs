//! JsonTexts of a line, borrowed from it where they can be, and the objects that hold them. Knows no field.

use std::borrow::Cow;
use std::fmt;

use compact_str::CompactString;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// A string, borrowed where it has no escapes.
#[derive(Default)]
pub(super) struct JsonText<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = JsonText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Both)
    }
}

impl JsonText<'_> {
    pub(super) fn compact(&self) -> CompactString {
        CompactString::from(&*self.0)
    }
}

/// One string, or several: names are written so.
#[derive(Default)]
pub(super) struct JsonTexts<'a>(pub(super) Vec<JsonText<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonTexts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = JsonTexts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of strings")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(JsonTexts(vec![JsonText(Cow::Borrowed(text))]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(JsonTexts(vec![JsonText(Cow::Owned(text.to_owned()))]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(JsonTexts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Objects of the line: the members that hold text, then the others.
macro_rules! objects {
    ($($name:ident { $($(#[$meta:meta])* $text:ident: $text_type:ty,)* ; $($plain:ident: $plain_type:ty,)* })*) => {
        $(#[derive(Default, Deserialize)]
        #[serde(default)]
        struct $name<'a> {
            $(#[serde(borrow)] $(#[$meta])* $text: $text_type,)*
            $($plain: $plain_type,)*
        })*
    };
}

pub(super) use objects;
