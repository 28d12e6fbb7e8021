//! Timestamps as text without allocation: what `Timestamp`'s `Display` prints, made for the hot path.

use serde::{Serialize, Serializer};

use crate::flow::Timestamp;

/// RFC 3339, UTC, microseconds, or nanoseconds where there are any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339Stamp {
    text: [u8; 30],
    len: usize,
}

/// A second in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// The time of day, and the days since 1970-01-01.
fn split(at: Timestamp) -> (i64, u32, u32) {
    let (seconds, nanos) = (at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000));
    let of_day = seconds.rem_euclid(86_400);
    // Both are in range by their modulus.
    (seconds.div_euclid(86_400), u32::try_from(of_day).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
}

/// Year, month and day, proleptic Gregorian: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: i64) -> (u32, u32, u32) {
    // The whole range of `Timestamp` is years 1677 to 2262, so that these are positive and small.
    let shifted = u32::try_from(days + 719_468).unwrap_or(0);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

/// The two decimal digits of each number below 100.
#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// The last two decimal digits of `n`.
fn two(n: u32) -> [u8; 2] {
    PAIRS.get((n % 100) as usize).copied().unwrap_or_default()
}

/// What is behind the point, and the length of the stamp with it: six digits, or nine where there are nanoseconds.
fn fraction(nanos: u32) -> ([u8; 10], usize) {
    let (micros, nanos) = (nanos / 1000, nanos % 1000);
    let ([f0, f1], [f2, f3], [f4, f5]) = (two(micros / 10_000), two(micros / 100), two(micros));
    // Three digits, or the end.
    let ([p0, p1], [p2, z]) = if nanos == 0 { ([b'Z', 0], [0, 0]) } else { (two(nanos / 10), [two(nanos)[1], b'Z']) };
    ([f0, f1, f2, f3, f4, f5, p0, p1, p2, z], if nanos == 0 { 27 } else { 30 })
}

impl Rfc3339Stamp {
    pub(super) fn new(at: Timestamp) -> Self {
        let (days, s, n) = split(at);
        let (year, month, day) = civil(days);
        let ([y0, y1], [y2, y3], [m0, m1], [d0, d1]) = (two(year / 100), two(year), two(month), two(day));
        let ([h0, h1], [i0, i1], [s0, s1]) = (two(s / 3600), two(s / 60 % 60), two(s % 60));
        let ([f0, f1, f2, f3, f4, f5, p0, p1, p2, z], len) = fraction(n);
        let text = [
            y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1, b'.', f0, f1, f2, f3,
            f4, f5, p0, p1, p2, z,
        ];
        Self { text, len }
    }

    /// That of `at`; cheaper where it lies in the same second as `known`, of which this is the stamp.
    pub(super) fn near(&self, known: Timestamp, at: Timestamp) -> Self {
        let (before, rest) = (known.0.div_euclid(SECOND), at.0.div_euclid(SECOND));
        let mut stamp = *self;
        let nanos = u32::try_from(at.0 - rest * SECOND);
        match (stamp.text.last_chunk_mut::<10>(), nanos) {
            (Some(end), Ok(nanos)) if before == rest => (*end, stamp.len) = fraction(nanos),
            _ => stamp = Self::new(at),
        }
        stamp
    }

    /// With nine digits behind the point, whatever they are.
    pub(super) fn nanoseconds(at: Timestamp) -> Self {
        let mut stamp = Self::new(at);
        if let Some(end) = stamp.text.get_mut(stamp.len - 1..).filter(|end| end.len() == 4) {
            end.copy_from_slice(b"000Z");
            stamp.len += 3;
        }
        stamp
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// `12:34:56.789012`, microseconds.
    pub(super) fn time_of_day(&self) -> &str {
        self.as_str().get(11..26).unwrap_or_default()
    }
}

/// The way back, of a text in one of the two shapes above. What needs a calendar to judge (the 29th and later) is left to the
/// caller.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.as_bytes().split_at_checked(19)?;
    let (point, rest) = rest.split_first()?;
    let (z, fraction) = rest.split_last()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1] = *date else {
        return None;
    };
    if (*point, *z) != (b'.', b'Z') || ![6, 9].contains(&fraction.len()) {
        return None;
    }
    let year = number(&[y0, y1, y2, y3])?;
    let [month, day, hour, minute, second] = [[m0, m1], [d0, d1], [h0, h1], [i0, i1], [s0, s1]].map(|two| number(&two));
    let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, second?);
    let in_range = (1680..2260).contains(&year) && (1..=12).contains(&month) && (1..=28).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = number(fraction)? * if fraction.len() == 6 { 1000 } else { 1 };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000_000 + nanos))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
}

/// Days since 1970-01-01: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Serialize for Rfc3339Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_of_day_has_microseconds() {
        assert_eq!(Rfc3339Stamp::new(Timestamp::new(1_772_366_400, 123_456)).time_of_day(), "12:00:00.000123");
    }

    #[test]
    fn another_shape_or_a_time_that_no_clock_shows_is_not_parsed() {
        for text in [
            "",
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00.123Z",
            "2026-03-01T12:00:00.123456+",
            "2026-03-01 12:00:00.123456Z",
            "2026-03-01T24:00:00.123456Z",
            "2026-13-01T12:00:00.123456Z",
            "2026-02-30T12:00:00.123456Z",
            "2026-03-01T12:00:00.12345xZ",
            "2026-03-01T12:00:00,123456Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_stamp_near_another_is_that_of_its_time(nanos in any::<i64>(), apart in -2_000_000_000i64..2_000_000_000) {
            let (known, at) = (Timestamp(nanos), Timestamp(nanos.saturating_add(apart)));
            let (near, plain) = (Rfc3339Stamp::new(known).near(known, at), Rfc3339Stamp::new(at));
            prop_assert_eq!(near.as_str(), plain.as_str());
        }

        #[test]
        fn a_stamp_prints_what_the_timestamp_prints(nanos in any::<i64>(), micros in any::<bool>()) {
            let at = Timestamp(if micros { nanos / 1000 * 1000 } else { nanos });
            let stamp = Rfc3339Stamp::new(at);
            prop_assert_eq!(stamp.as_str(), at.to_string());
            let nine = Rfc3339Stamp::nanoseconds(at);
            let plain = at.to_string();
            let back = parse(stamp.as_str());
            prop_assert!(back == Some(at) || (back.is_none() && !(1680..2260).contains(&plain[..4].parse::<u32>().unwrap()))
                || (back.is_none() && plain[8..10].parse::<u32>().unwrap() > 28), "{}", plain);
            let expected = if plain.len() == 27 { plain.replace('Z', "000Z") } else { plain };
            prop_assert_eq!(nine.as_str(), expected);
        }
    }
}
