//! Parses the files of the Downward API for labels and annotations: one `name="value"` per line, with the value quoted
//! as in Go (`strconv.Quote`).
//!
//! Opens no file. Skips a line that has another form.

/// Names and values, in the order of the file.
pub(super) type DownwardPairs = Vec<(String, String)>;

pub(super) fn parse(text: &str) -> DownwardPairs {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, String)> {
    let (name, quoted) = line.split_once('=')?;
    let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!name.is_empty()).then_some(())?;
    Some((name.to_owned(), unquoted(inside)?))
}

fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let plain = match c {
            '\\' => match rest.next()? {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                'x' => {
                    // A byte, not a character: Go quotes so what is not UTF-8.
                    bytes.push(u8::try_from(hex(&mut rest, 2)?).ok()?);
                    continue;
                }
                'u' => char::from_u32(hex(&mut rest, 4)?)?,
                'U' => char::from_u32(hex(&mut rest, 8)?)?,
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            '"' => return None,
            c => c,
        };
        bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |number, _| Some(number << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_quoted_as_go_quotes() {
        for (text, expected) in [
            (r#"app="cart""#, Some(("app", "cart"))),
            (r#"app.kubernetes.io/name="a=b""#, Some(("app.kubernetes.io/name", "a=b"))),
            (r#"empty="""#, Some(("empty", ""))),
            (r#"a="one\ntwo\t\"three\" \\ \a\b\f\r\v""#, Some(("a", "one\ntwo\t\"three\" \\ \x07\x08\x0c\r\x0b"))),
            (r#"a="é\u00e9\U0001f980\x41\xc3\xa9""#, Some(("a", "éé🦀Aé"))),
            (r#"a="\xff!""#, Some(("a", "\u{fffd}!"))),
            (r#"a="cut"#, None),
            (r#"a=""#, None),
            (r#"a="x\""#, None),
            (r#"a="\q""#, None),
            (r#"a="\x4""#, None),
            (r#"a="\ud800""#, None),
            (r#"a="b"c""#, None),
            (r#"="b""#, None),
            ("a=b", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn a_file_has_one_pair_a_line_and_what_is_none_is_passed_over() {
        let text = "app=\"cart\"\nnonsense\n\ntier=\"front\"";
        assert_eq!(parse(text), [("app", "cart"), ("tier", "front")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(value in any::<String>()) {
            // Rust's escapes of these are Go's, too.
            let quoted: String = value.chars().map(|c| match c {
                '"' | '\\' => format!("\\{c}"),
                '\n' => "\\n".to_owned(),
                c if c.is_control() => format!("\\U{:08x}", u32::from(c)),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(unquoted(&quoted), Some(value));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in any::<String>()) {
            parse(&text);
        }
    }
}
