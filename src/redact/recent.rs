//! Short texts in which there was no secret a moment ago: nearly all requests of a client have the same host, the same User-Agent
//! and the same media type, and to look through them again would find nothing again.
//!
//! Keeps no text that was masked or escaped, and never more than a fixed number of them.

use compact_str::CompactString;

use super::Redactor;

/// Texts kept of one kind.
const PLACES: usize = 128;
/// A longer text is not kept.
const LONGEST: usize = 192;

/// What a [`Redactor`] left as it was, of the texts that came last.
#[derive(Debug, Default)]
pub(crate) struct RecentTexts {
    texts: PlainTexts,
    user_agents: PlainTexts,
}

impl RecentTexts {
    /// What [`Redactor::text`] says, which is the same one at each call.
    pub(crate) fn text(&mut self, bytes: &[u8], redactor: &Redactor) -> CompactString {
        self.texts.of(bytes, |bytes| redactor.text(bytes))
    }

    /// What [`Redactor::user_agent`] says, likewise.
    pub(crate) fn user_agent(&mut self, bytes: &[u8], redactor: &Redactor) -> CompactString {
        self.user_agents.of(bytes, |bytes| redactor.user_agent(bytes))
    }
}

/// Texts that one function gives back as they are, each in its place until another one takes that.
#[derive(Debug)]
struct PlainTexts(Box<[CompactString]>);

impl Default for PlainTexts {
    fn default() -> Self {
        Self(vec![CompactString::default(); PLACES].into())
    }
}

impl PlainTexts {
    fn of(&mut self, raw: &[u8], masked: impl FnOnce(&[u8]) -> CompactString) -> CompactString {
        let Some(known) = self.0.get_mut(place(raw)) else { return masked(raw) };
        if known.as_bytes() == raw {
            return known.clone();
        }
        let text = masked(raw);
        if text.as_bytes() == raw && raw.len() <= LONGEST {
            known.clone_from(&text);
        }
        text
    }
}

/// Where a text is kept: by its beginning, its middle and its end. Who knows how to give two texts one place gains nothing by it.
fn place(raw: &[u8]) -> usize {
    let middle = raw.get(raw.len() / 2..).unwrap_or_default();
    let mixed = match (raw.first_chunk(), middle.first_chunk(), raw.last_chunk()) {
        (Some(first), middle, Some(last)) => {
            let [first, middle, last] = [first, middle.unwrap_or(last), last].map(|word| u64::from_le_bytes(*word));
            first ^ middle.rotate_left(21) ^ last.rotate_left(42)
        }
        _ => raw.iter().fold(raw.len() as u64, |word, byte| word << 8 | u64::from(*byte)),
    };
    // The upper bits of a product with an odd number depend on all of its bits.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOT: &str = "bot/1 ghp_0123456789abcdefghijABCDEFGHIJ012345";
    const LONG: [u8; LONGEST + 1] = [b'a'; LONGEST + 1];

    fn kept(texts: &PlainTexts) -> Vec<&str> {
        texts.0.iter().filter(|text| !text.is_empty()).map(CompactString::as_str).collect()
    }

    #[test]
    fn what_was_masked_or_escaped_or_is_long_is_kept_nowhere() {
        let (mut recent, redactor) = (RecentTexts::default(), Redactor::default());
        for bytes in [&b"shop.example:8080"[..], b"user@host", BOT.as_bytes(), b"caf\xe9", b"", &LONG] {
            recent.text(bytes, &redactor);
            recent.user_agent(bytes, &redactor);
        }
        assert_eq!(kept(&recent.texts), ["shop.example:8080"]);
        // Only a host may be `user@host`.
        let mut agents = kept(&recent.user_agents);
        agents.sort_unstable();
        assert_eq!(agents, ["shop.example:8080", "user@host"]);
    }

    #[test]
    fn a_text_is_looked_through_once_while_no_other_takes_its_place() {
        let (mut texts, mut looks) = (PlainTexts::default(), 0);
        for _ in 0..10 {
            for text in ["GET", "POST", "application/json", "shop.example", "Mozilla/5.0 (X11; Linux x86_64)"] {
                let mut look = |raw: &[u8]| {
                    looks += 1;
                    CompactString::from_utf8(raw).unwrap()
                };
                assert_eq!(texts.of(text.as_bytes(), &mut look), text);
            }
        }
        assert_eq!(looks, 5);
    }

    #[test]
    fn any_number_of_texts_take_no_more_places() {
        let mut texts = PlainTexts::default();
        for n in 0..10 * PLACES {
            texts.of(n.to_string().as_bytes(), |raw| CompactString::from_utf8(raw).unwrap());
        }
        assert_eq!(texts.0.len(), PLACES);
    }

    proptest! {
        #[test]
        fn a_known_text_is_what_the_redactor_says(
            texts in prop::collection::vec("(user@)?[a-c]{0,2}(ghp_0123456789abcdefghijABCDEFGHIJ012345)?é?[a-b ]{0,20}", 1..40)
        ) {
            let (mut recent, redactor) = (RecentTexts::default(), Redactor::default());
            for text in texts.iter().chain(&texts) {
                prop_assert_eq!(recent.text(text.as_bytes(), &redactor), redactor.text(text.as_bytes()));
                prop_assert_eq!(recent.user_agent(text.as_bytes(), &redactor), redactor.user_agent(text.as_bytes()));
            }
        }
    }
}
