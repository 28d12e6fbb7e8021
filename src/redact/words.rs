//! What makes a name secret: the word parts it is made of, and the harmless words that contain them.
//!
//! Most services invent names of their own (`AccountKey`, `X-Amzn-Oidc-Data`, `user_pass`), so a list of names would always
//! lack some. A harmless name that is taken for a secret one costs a masked value. Knows no settings.

use memchr::memmem;

/// A word part that makes a squeezed name secret wherever it occurs, but inside one of the harmless words.
struct Stem {
    text: &'static str,
    /// Apart by blanks.
    harmless: &'static str,
}

const fn stem(text: &'static str, harmless: &'static str) -> Stem {
    Stem { text, harmless }
}

const STEMS: &[Stem] = &[
    stem("token", "maxtokens tokencount tokenis tokeniz tokenlimit"),
    stem("secret", "secretary"),
    stem("pass", "bypass compass passage passed passeng passing passion passive passport passthrough surpass trespass"),
    stem("key", KEY_HARMLESS),
    stem("auth", "authenticated author"),
    stem("authoris", ""),
    stem("authoriz", ""),
    stem("code", CODE_HARMLESS),
    stem("cred", "accred allowcredentials credit incred sacred"),
    stem("session", "obsession possession sessions"),
    stem("sessid", ""),
    stem("cookie", ""),
    stem("signature", ""),
    stem("assertion", ""),
    stem("bearer", ""),
    stem("clientcert", ""),
    stem("csrf", ""),
    stem("xsrf", ""),
    stem("hmac", ""),
    stem("jwt", ""),
    stem("nonce", "annonce"),
    stem("oidc", ""),
    stem("pswd", ""),
    stem("pwd", ""),
    stem("saml", ""),
    stem("wsse", ""),
];

const KEY_HARMLESS: &str = "\
    cachekey donkey endkey foreignkey groupkey hockey hotkey idempotencykey indexkey issuekey jockey keyboard \
    keycloak keycount keydown keyframe keymap keymarker keynote keypad keypress keyset keyspace keystroke keyup \
    keyusage keyword langkey maxkeys mickey monkey objectkey partitionkey primarykey projectkey pubkey publickey \
    rangekey routingkey rowkey shardkey sortkey startkey surrogatekey turkey websocketkey whiskey";

const CODE_HARMLESS: &str = "\
    actioncode airportcode areacode bankcode barcode branchcode categorycode charcode citycode classcode codebase \
    codec codelist codename codeowner codepage codeset codetype colorcode colourcode companycode countrycode \
    countycode coursecode currencycode decode departmentcode deptcode dialcode encode errcode errorcode eventcode \
    exitcode geocode hashcode httpcode isocode itemcode langcode languagecode localecode locationcode lowcode \
    messagecode modelcode msgcode nocode opcode phonecode postalcode postcode productcode provincecode qrcode \
    reasoncode regioncode rescode responsecode resultcode retcode returncode shortcode sortcode sourcecode \
    statecode stationcode statuscode stockcode storecode taxcode transcode typecode unicode unitcode vscode \
    zipcode";

/// Words that make a name secret where they are a word in it, or all of it: inside others they mean nothing (`design`).
const WORDS: &[&str] =
    &["cvc", "cvv", "dpop", "mfa", "otp", "pin", "psw", "pw", "sas", "sess", "sid", "sig", "sign", "tok", "totp"];

/// Header names, squeezed, that are secret and have no word to show it.
const HEADERS: &[&str] = &[
    "secwebsocketprotocol", // browsers put bearer tokens there, having no other header to set
    "xhoneycombteam",
];

/// Parameter names, squeezed, of which the same is true.
const PARAMETERS: &[&str] = &["mac", "ticket"];

/// Whether a name is one that nearly every message has, and no secret: known by one comparison.
pub(super) fn is_usual_header(name: &[u8]) -> bool {
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    let same = |usual: &&str| usual.as_bytes().first() == Some(&first) && name.eq_ignore_ascii_case(usual.as_bytes());
    usual_headers(name.len()).iter().any(same)
}

/// Whether a parameter's name, as it is nearly always written, is a usual one and no secret: likewise.
pub(super) fn is_usual_parameter(name: &[u8]) -> bool {
    usual_parameters(name.len()).iter().any(|usual| usual.as_bytes() == name)
}

fn usual_parameters(len: usize) -> &'static [&'static str] {
    match len {
        1 => &["q", "v", "t"],
        2 => &["id", "to"],
        3 => &["url", "max", "min", "end"],
        4 => &["page", "sort", "lang", "size", "type", "from", "name", "user"],
        5 => &["limit", "order", "query", "start", "watch", "count"],
        6 => &["offset", "filter", "cursor", "status", "format", "fields", "search", "locale"],
        7 => &["version", "timeout"],
        8 => &["per_page", "category"],
        _ => &[],
    }
}

fn usual_headers(len: usize) -> &'static [&'static str] {
    match len {
        3 => &["via", "age"],
        4 => &["host", "date", "etag", "vary"],
        5 => &["allow", "range"],
        6 => &["accept", "origin", "server", "expect"],
        7 => &["referer", "upgrade", "expires", "alt-svc"],
        8 => &["location", "if-match"],
        9 => &["forwarded"],
        10 => &["user-agent", "connection", "keep-alive"],
        11 => &["traceparent", "retry-after", "x-b3-spanid"],
        12 => &["content-type", "x-request-id", "x-powered-by", "x-b3-traceid", "x-b3-sampled"],
        13 => &["cache-control", "accept-ranges", "last-modified", "if-none-match", "content-range"],
        14 => &["content-length", "accept-charset", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"],
        15 => &["accept-encoding", "accept-language", "x-forwarded-for", "x-frame-options"],
        16 => &["content-encoding", "content-language", "x-correlation-id", "x-forwarded-host", "x-forwarded-port"],
        17 => &["transfer-encoding", "if-modified-since", "x-forwarded-proto", "x-b3-parentspanid"],
        19 => &["content-disposition"],
        22 => &["x-content-type-options"],
        23 => &["content-security-policy"],
        25 => &["upgrade-insecure-requests", "strict-transport-security"],
        27 => &["access-control-allow-origin"],
        _ => &[],
    }
}

/// Which of the two lists of whole names goes with the word parts.
#[derive(Clone, Copy)]
pub(super) enum WordList {
    Header,
    Parameter,
}

/// Whether `name` is secret: as written, for its words, and `squeezed` to lower case, letters and digits.
pub(super) fn is_secret(name: &[u8], squeezed: &[u8], of: WordList) -> bool {
    let lacks = !letter_set(squeezed);
    let whole = match of {
        WordList::Header => HEADERS,
        WordList::Parameter => PARAMETERS,
    };
    let possible = |sets: &[u32]| sets.iter().fold(false, |any, set| any | (set & lacks == 0));
    (possible(&STEM_LETTERS) && has_stem(squeezed, lacks))
        || (possible(&WORD_LETTERS) && has_word(name, squeezed, lacks))
        || whole.iter().any(|known| known.as_bytes() == squeezed)
}

fn has_stem(squeezed: &[u8], lacks: u32) -> bool {
    let mut stems = STEMS.iter().zip(&STEM_LETTERS).filter(|(_, set)| *set & lacks == 0);
    stems.any(|(stem, _)| memmem::find_iter(squeezed, stem.text).any(|at| !stem.is_harmless(squeezed, at)))
}

impl Stem {
    /// Whether its occurrence at `at` is a part of a harmless word.
    fn is_harmless(&self, squeezed: &[u8], at: usize) -> bool {
        self.harmless.split(' ').filter(|word| (1..=squeezed.len()).contains(&word.len())).any(|word| {
            let inside = memmem::find(word.as_bytes(), self.text.as_bytes()).unwrap_or_default();
            at.checked_sub(inside)
                .and_then(|start| squeezed.get(start..))
                .is_some_and(|rest| rest.starts_with(word.as_bytes()))
        })
    }
}

fn has_word(name: &[u8], squeezed: &[u8], lacks: u32) -> bool {
    let mut likely =
        WORDS.iter().zip(&WORD_LETTERS).filter(|(_, set)| *set & lacks == 0).map(|(word, _)| word.as_bytes());
    likely.any(|word| {
        squeezed == word
            || (memmem::find(squeezed, word).is_some() && words(name).any(|w| w.eq_ignore_ascii_case(word)))
    })
}

/// The words of a name: apart at case changes, at digits, and at what is neither letter nor digit.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let goes_on = |a: &u8, b: &u8| {
        a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && !(a.is_ascii_lowercase() && b.is_ascii_uppercase())
    };
    name.chunk_by(goes_on).flat_map(|run| {
        // `JWTToken`: the last capital before small letters begins a word.
        let capitals = run.iter().take_while(|b| b.is_ascii_uppercase()).count();
        let cut = if capitals < run.len() { capitals.saturating_sub(1) } else { run.len() };
        let (first, second) = run.split_at_checked(cut).unwrap_or((run, &[]));
        [first, second].into_iter().filter(|word| !word.is_empty())
    })
}

/// The letters of each: a name that lacks one of them is not searched for it.
#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
const STEM_LETTERS: [u32; STEMS.len()] = {
    let mut sets = [0; STEMS.len()];
    let mut i = 0;
    while i < STEMS.len() {
        sets[i] = letter_set(STEMS[i].text.as_bytes());
        i += 1;
    }
    sets
};

#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
const WORD_LETTERS: [u32; WORDS.len()] = {
    let mut sets = [0; WORDS.len()];
    let mut i = 0;
    while i < WORDS.len() {
        sets[i] = letter_set(WORDS[i].as_bytes());
        i += 1;
    }
    sets
};

/// One bit for each letter that occurs.
const fn letter_set(name: &[u8]) -> u32 {
    let mut set = 0;
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        set |= if byte.is_ascii_lowercase() { 1 << (*byte - b'a') } else { 0 };
        rest = tail;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_into_its_words() {
        for (name, expected) in [
            ("AccountKey", &["Account", "Key"][..]),
            ("JWTToken", &["JWT", "Token"]),
            ("DD-APPLICATION-KEY", &["DD", "-", "APPLICATION", "-", "KEY"]),
            ("user_pass2x", &["user", "_", "pass", "2", "x"]),
            ("", &[]),
        ] {
            let found: Vec<_> = words(name.as_bytes()).map(|w| std::str::from_utf8(w).unwrap()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_harmless_word_contains_its_stem_and_no_usual_name_is_secret() {
        for stem in STEMS {
            for word in stem.harmless.split(' ').filter(|w| !w.is_empty()) {
                assert!(word.contains(stem.text), "{word} is not about {}", stem.text);
            }
        }
        for len in 0..40 {
            for name in usual_headers(len) {
                let squeezed: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
                assert!(!is_secret(name.as_bytes(), &squeezed, WordList::Header) && name.len() == len, "{name}");
            }
            for name in usual_parameters(len) {
                let squeezed: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
                assert!(!is_secret(name.as_bytes(), &squeezed, WordList::Parameter) && name.len() == len, "{name}");
            }
        }
    }
}
