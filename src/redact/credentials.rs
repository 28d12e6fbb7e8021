//! Credentials known by their looks, wherever they are. Marks of issuers (`ghp_`, `AKIA`), JSON Web Tokens, keys in PEM,
//! places in a path where services put them, and long words that no one would write.
//!
//! Knows no names. Each byte is looked at a bounded number of times.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;

use super::seen::{ByteKinds, SeenBytes};

/// Shorter words are no credentials, or cannot be distinguished from others.
const MIN_WORD: usize = 16;
/// A word without any mark of an issuer is a credential from this length on, if it is mixed like one.
const MIN_MIXED: usize = 32;
/// How far before a word its path is looked at.
const MAX_LOOK_BACK: usize = 96;

/// How issuers mark what they issue: the first byte of the marks, and how long what follows is at least. A mark counts at the
/// beginning of a word, or of a part of it behind `-`, `_` or `.`.
const MARKS: &[(u8, usize, &str)] = &[
    (b'A', 16, "AKID"),
    (b'A', 20, "AIza ATATT3 ATCTT3 ATBB AGE-SECRET-KEY-"),
    (b'C', 16, "CCIPAT_"),
    (b'E', 20, "EZAK"),
    (b'E', 40, "EAA"),
    (b'F', 16, "FlyV1"),
    (b'G', 16, "GOCSPX-"),
    (b'L', 12, "LTAI"),
    (b'N', 16, "NRAK- NRII- NRRA-"),
    (b'P', 12, "PGT-"),
    (b'P', 16, "PMAK- PT-"),
    (b'S', 16, "ST-"),
    (b'S', 30, "SG."),
    (b'S', 32, "SK"),
    (b'T', 12, "TGT-"),
    (b'a', 16, "amzn.mws."),
    (b'd', 16, "dckr_pat_ duffel_"),
    (b'd', 20, "dp.pt. dp.st."),
    (b'd', 32, "dapi dop_v1_ doo_v1_ dor_v1_"),
    (b'f', 16, "figd_"),
    (b'f', 20, "fm1_ fm2_ fo1_"),
    (b'g', 16, "glpat- gldt- glrt- glcbt- glptt- glft- glsoat-"),
    (b'g', 20, "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glsa_ glc_ gsk_"),
    (b'h', 20, "hf_ hvs. hvb. hvr."),
    (b'k', 32, "key-"),
    (b'l', 16, "lin_api_ lsv2_pt_ lsv2_sk_"),
    (b'n', 20, "nfp_ ntn_"),
    (b'n', 30, "npm_"),
    (b'o', 40, "oy2"),
    (b'p', 16, "pat-na1- pat-eu1- pk_live_ pk_test_"),
    (b'p', 20, "phx_ pplx- pypi-"),
    (b'p', 24, "pscale_"),
    (b'p', 32, "pul-"),
    (b'r', 16, "rk_live_ rk_test_"),
    (b'r', 20, "rubygems_"),
    (b'r', 30, "r8_"),
    (b's', 12, "sk_live_ sk_test_"),
    (b's', 16, "sk-ant- sk-or- sk-proj- sk-svcacct- sntrys_ sq0atp- sq0csp-"),
    (b's', 20, "sbp_ sgp_ shpat_ shpca_ shppa_ shpss_"),
    (b's', 32, "sk-"),
    (b's', 60, "sl."),
    (b't', 12, "tskey-"),
    (b't', 20, "tfp_"),
    (b'w', 16, "whsec_"),
    (b'x', 16, "xapp- xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs-"),
    (b'x', 20, "xai- xkeysib- xsmtpsib-"),
    (b'y', 16, "ya29."),
];

/// For each first byte of a mark, one bit for each second byte, modulo 32: nearly no word passes.
#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
static BEGINNINGS: [u32; 256] = {
    let mut seconds = [0; 256];
    let mut group = 0;
    while group < MARKS.len() {
        let marks = MARKS[group].2.as_bytes();
        let mut i = 0;
        while i + 1 < marks.len() {
            if i == 0 || marks[i - 1] == b' ' {
                seconds[marks[i] as usize] |= 1 << (marks[i + 1] & 31);
            }
            i += 1;
        }
        group += 1;
    }
    seconds
};

/// The first word of at least `MIN_WORD` bytes from `from` on. Looks at a window of that length from its end. What ends a
/// word there passes over all before it, so that of most texts few bytes are looked at.
fn long_word(raw: &[u8], from: usize) -> Option<Range<usize>> {
    let ends = |b: &u8| ByteKinds::of(*b) == 0;
    // The first `known` bytes of the window are of one word.
    let (mut start, mut known) = (from, 0);
    while let Some(last) = raw.get(start + known..start + MIN_WORD)?.iter().rposition(ends) {
        let passed = known + last + 1;
        (start, known) = (start + passed, MIN_WORD - passed);
    }
    let behind = raw.get(start + MIN_WORD..).unwrap_or_default();
    let len = behind.iter().position(ends).unwrap_or(behind.len());
    Some(start..start + MIN_WORD + len)
}

/// Whether a text of these bytes may hold what `find` finds: what has neither capitals nor digits is behind `/hooks/`.
pub(super) fn may_be_in(raw: &[u8], seen: SeenBytes) -> bool {
    let least = if seen.has(SeenBytes::CAPITAL | SeenBytes::DIGIT) { MIN_WORD } else { b"/hooks/".len() + MIN_WORD };
    raw.len() >= least
}

/// Adds what looks like a credential; `mixed`: also what nothing but its mixture gives away.
pub(super) fn find(raw: &[u8], seen: SeenBytes, mixed: bool, found: &mut Vec<Range<usize>>) {
    if seen.has(SeenBytes::CAPITAL) {
        find_pem(raw, found);
    }
    if !seen.has(SeenBytes::WORD_END) {
        // One word, whose bytes are known.
        return find_in_word(raw, 0..raw.len(), seen.kinds(), mixed, found);
    }
    let mut next = long_word(raw, 0);
    while let Some(word) = next {
        next = long_word(raw, word.end + 1);
        let text = raw.get(word.clone()).unwrap_or_default();
        let kinds = text.iter().fold(0, |all, b| all | ByteKinds::of(*b));
        find_in_word(raw, word, kinds, mixed, found);
    }
}

fn find_in_word(raw: &[u8], word: Range<usize>, kinds: u8, mixed: bool, found: &mut Vec<Range<usize>>) {
    let Some(text) = raw.get(word.clone()) else { return };
    if let Some(start) = issued(text, kinds) {
        found.push(word.start + start..word.end);
    } else if let Some(start) = behind_number(raw, word.start) {
        found.push(start..word.end);
    } else if is_hook(raw, &word, kinds) {
        found.push(word);
    } else if mixed && kinds & ByteKinds::MIXED == ByteKinds::MIXED {
        found.extend(mixed_parts(text).map(|part| word.start + part.start..word.start + part.end));
    }
}

/// Where in a word the credential begins. That is at an issuer's mark, a JSON object in base64 (each part of a JSON Web
/// Token begins with `{"`), or an identifier of a key of AWS.
fn issued(word: &[u8], kinds: u8) -> Option<usize> {
    if kinds & ByteKinds::UPPER != 0
        && let Some(at) = memchr::memchr3_iter(b'J', b'K', b'S', word).find_map(|at| unmistakable(word, at))
    {
        return Some(at);
    }
    if kinds & ByteKinds::DIGIT == 0 {
        return None;
    }
    if kinds & ByteKinds::JOINT == 0 {
        return is_marked(word).then_some(0);
    }
    let begins = |at: &usize| *at == 0 || word.get(at - 1).is_some_and(|b| ByteKinds::of(*b) == ByteKinds::JOINT);
    (0..word.len().saturating_sub(12)).filter(begins).find(|at| word.get(*at..).is_some_and(is_marked))
}

/// The beginning of what is known inside a word too, by its rare capital at `at`.
fn unmistakable(word: &[u8], at: usize) -> Option<usize> {
    let is_object =
        |start: usize| word.get(start..).is_some_and(|rest| rest.starts_with(b"eyJ") && rest.len() >= MIN_WORD);
    let is_key_id = |start: usize| {
        let rest = word.get(start..start + 20);
        rest.is_some_and(|id| {
            (id.starts_with(b"AKIA") || id.starts_with(b"ASIA"))
                && id.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
    };
    match word.get(at)? {
        b'J' => at.checked_sub(2).filter(|start| is_object(*start)),
        _ => at.checked_sub(1).filter(|start| is_key_id(*start)),
    }
}

fn is_marked(part: &[u8]) -> bool {
    let [first, second, ..] = part else { return false };
    let seconds = BEGINNINGS.get(usize::from(*first)).copied().unwrap_or_default();
    seconds & (1 << (second & 31)) != 0
        && MARKS
            .iter()
            .filter(|(of, ..)| of == first)
            .any(|(_, least, marks)| part.len() > *least && marks.split(' ').any(|mark| is_behind(mark, *least, part)))
}

/// Whether `part` begins with the mark, and goes on as issuers do: a word that is written with hyphens has no digit.
fn is_behind(mark: &str, least: usize, part: &[u8]) -> bool {
    let rest = part.strip_prefix(mark.as_bytes()).unwrap_or_default();
    rest.len() >= least && rest.iter().take(MIN_MIXED * 2).any(u8::is_ascii_digit)
}

/// What no one named: all parts between dots together, but those of small letters alone at both ends (`.example.com`);
/// else single ones.
fn mixed_parts(word: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let is_plain = |part: &[u8]| !part.iter().any(|b| ByteKinds::of(*b) & (ByteKinds::UPPER | ByteKinds::DIGIT) != 0);
    let (mut start, mut end) = (0, word.len());
    while let Some(dot) = word
        .get(start..end)
        .and_then(|rest| memchr::memchr(b'.', rest))
        .filter(|dot| word.get(start..start + dot).is_some_and(is_plain))
    {
        start += dot + 1;
    }
    while let Some(dot) = word
        .get(start..end)
        .and_then(|rest| memchr::memrchr(b'.', rest))
        .filter(|dot| word.get(start + dot + 1..end).is_some_and(is_plain))
    {
        end = start + dot;
    }
    let whole = word.get(start..end).is_some_and(is_mixed).then_some(start..end);
    let mut from = 0;
    let parts = word.split(|b| *b == b'.').filter_map(move |part| {
        let range = from..from + part.len();
        from = range.end + 1;
        is_mixed(part).then_some(range)
    });
    let parts = whole.is_none().then_some(parts).into_iter().flatten();
    whole.into_iter().chain(parts)
}

/// Long, capitals, small letters and digits in no order. Hexadecimal is left alone: so are most identifiers and checksums.
fn is_mixed(word: &[u8]) -> bool {
    if word.len() < MIN_MIXED {
        return false;
    }
    let (mut changes, mut numbers, mut dots, mut last, mut seen) = (0, 0, 0, 0, 0);
    for byte in word {
        // 0 of a joint.
        let kind = ByteKinds::of(*byte) & ByteKinds::MIXED;
        dots += usize::from(*byte == b'.');
        numbers += usize::from(kind == ByteKinds::DIGIT && last != ByteKinds::DIGIT);
        changes += usize::from(kind != last && kind != 0 && last != 0);
        (last, seen) = (kind, seen | kind);
    }
    seen & ByteKinds::MIXED == ByteKinds::MIXED && numbers >= 2 && dots <= 2 && changes * 5 >= word.len() * 2
}

/// Digits of the number of a bot, at least.
const MIN_NUMBER: usize = 6;

/// Whether a header is the token of a bot whose colon ends its name: `X-123456789:AA…`.
pub(super) fn is_cut_by_colon(name: &[u8], value: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    digits >= MIN_NUMBER && long_word(value, 0).is_some_and(|word| word.start == 0)
}

/// Where the number before a word begins, if it is one of a bot and its token: `123456789:AA…` (Telegram).
fn behind_number(raw: &[u8], word: usize) -> Option<usize> {
    let colon = word.checked_sub(1).filter(|at| raw.get(*at) == Some(&b':'))?;
    let before = raw.get(colon.saturating_sub(20)..colon)?;
    let digits = before.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    (digits >= MIN_NUMBER).then_some(colon - digits)
}

/// Whether the word is the secret part of a webhook's path: `/services/T…/B…/…` (Slack), `/api/webhooks/123/…` (Discord),
/// `/webhookb2/…/IncomingWebhook/…` (Teams).
fn is_hook(raw: &[u8], word: &Range<usize>, kinds: u8) -> bool {
    let Some(before) = raw.get(word.start.saturating_sub(MAX_LOOK_BACK)..word.start).filter(|b| b.ends_with(b"/"))
    else {
        return false;
    };
    let named = || memmem::find(before, b"/webhook").is_some() || memmem::find(before, b"/hooks/").is_some();
    let mut parts = before.rsplit(|b| *b == b'/').skip(1);
    let mut is_id = |first: u8| {
        let part = parts.next().unwrap_or_default();
        part.len() >= 8
            && part.first() == Some(&first)
            && part.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    kinds & (ByteKinds::LOWER | ByteKinds::UPPER) != 0 && ((is_id(b'B') && is_id(b'T')) || named())
}

/// Blocks of PEM, from their line `-----BEGIN …` to behind `-----END …`, or to the end.
fn find_pem(raw: &[u8], found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    while raw.len() - done >= MIN_PEM
        && let Some(at) = raw.get(done..).and_then(|rest| PEM_BEGIN.find(rest))
    {
        let start = done + at;
        let behind = raw.get(start..).unwrap_or_default();
        let last_line = memmem::find(behind, b"-----END").map(|at| at + 8);
        let len = last_line.and_then(|from| Some(from + memmem::find(behind.get(from..)?, b"-----")? + 5));
        done = start + len.unwrap_or(behind.len());
        found.push(start..done);
    }
}

/// A shorter text holds no key in PEM.
const MIN_PEM: usize = 64;

/// Made once: to make it takes longer than to search a text.
static PEM_BEGIN: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"-----BEGIN"));
