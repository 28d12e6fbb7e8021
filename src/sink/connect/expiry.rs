//! When a certificate ends. Owns the little DER that takes (RFC 5280 §4.1); verifies nothing, and trusts no length.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity, from its DER.
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, whole, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, signed, _) = element(whole).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (first, _, behind) = element(signed)?;
    // The version is left out where it is the first.
    let mut rest = if first == VERSION { element(behind)?.2 } else { behind };
    // Algorithm and issuer.
    for _ in 0..2 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, end) = element(validity)?;
    let (tag, text, _) = element(end)?;
    time(tag, text)
}

/// Tag, content and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, of 1950 to 2049, or the same with a whole year (RFC 5280 §4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate as far as it is read: with or without its version.
    fn certificate(version: bool, end: &[u8]) -> Vec<u8> {
        let tlv = |tag: u8, content: &[u8]| {
            let mut out = vec![tag, 0x82];
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            out.extend(content);
            out
        };
        let validity = [&tlv(UTC_TIME, b"260101000000Z"), end].concat();
        let version = if version { tlv(VERSION, &[2, 1, 2]) } else { Vec::new() };
        let signed =
            [version, tlv(2, &[7]), tlv(SEQUENCE, &[]), tlv(SEQUENCE, &[1]), tlv(SEQUENCE, &validity)].concat();
        tlv(SEQUENCE, &tlv(SEQUENCE, &signed))
    }

    #[test]
    fn the_end_is_found_in_either_form_of_time_and_with_or_without_a_version() {
        for (end, expected) in [
            (&b"\x17\x0d271231235959Z"[..], Some("2027-12-31T23:59:59Z")),
            (b"\x17\x0d491231235959Z", Some("2049-12-31T23:59:59Z")),
            (b"\x17\x0d500101000000Z", Some("1950-01-01T00:00:00Z")),
            (b"\x18\x0f20991231235959Z", Some("2099-12-31T23:59:59Z")),
            (b"\x17\x0d271331235959Z", None),
            (b"\x02\x0d271231235959Z", None),
            (b"\x17\x7f271231235959Z", None),
        ] {
            for version in [true, false] {
                let found = not_after(&certificate(version, end)).map(|time| time.to_string());
                assert_eq!(found.as_deref(), expected, "{end:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_shows_nothing_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            cut in 0usize..80,
            flip in 0usize..80,
        ) {
            not_after(&bytes);
            let mut certificate = certificate(true, b"\x17\x0d271231235959Z");
            not_after(certificate.get(..cut).unwrap_or_default());
            if let Some(byte) = certificate.get_mut(flip) {
                *byte ^= 0xff;
            }
            not_after(&certificate);
        }
    }
}
