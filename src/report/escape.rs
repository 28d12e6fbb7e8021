//! Text in HTML and SVG: what the network said stays text, whatever it said.

use std::fmt::{self, Write};

/// A text as the content of an element, or of an attribute in quotes. Control characters, and those that turn the direction of
/// text, become a replacement.
#[derive(Clone, Copy, Debug)]
pub(super) struct EscapedHtml<'a>(pub(super) &'a str);

impl fmt::Display for EscapedHtml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char('\u{fffd}')?
                }
                other if other.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let hostile = "</title><script>alert('1')</script>&amp; \" onload=x \u{202e}\u{1b}[2J\n";
        let expected = "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp; &quot; onload=x \u{fffd}\u{fffd}[2J\u{fffd}";
        assert_eq!(EscapedHtml(hostile).to_string(), expected);
    }
}
