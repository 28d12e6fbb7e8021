//! Numbers with units and bounds.
//!
//! Does not know the bounds of a setting: its type in `variables` has them.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::{SettingValue, by_envy, plain_values};

/// Longest span of time that may be written; keeps every sum of capture times far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Splits `10MB` into 10 and `mb`.
fn number_and_unit(text: &str) -> Result<(u64, String), String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    if number.is_empty() {
        return Err("not a number".to_owned());
    }
    let number = number.parse().map_err(|_| "too large".to_owned())?;
    Ok((number, unit.trim().to_ascii_lowercase()))
}

fn within(value: u64, min: u64, max: u64) -> Result<u64, String> {
    if value < min {
        Err("too small".to_owned())
    } else if value > max {
        Err("too large".to_owned())
    } else {
        Ok(value)
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<String> for Count<MIN, MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match number_and_unit(&text)? {
            (number, unit) if unit.is_empty() => within(number, MIN, MAX).map(Self),
            _ => Err("not a whole number".to_owned()),
        }
    }
}

impl<const MIN: u64, const MAX: u64> SettingValue for Count<MIN, MAX> {
    fn allowed() -> String {
        format!("{MIN} to {MAX}")
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        by_envy(name, text)
    }
}

/// A number of bytes from `MIN` to `MAX`: `1048576`, `1MiB`, `64k`; `k` is 1000, `Ki` is 1024, as in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bytes<MIN, MAX> {
    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, of something in memory.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> TryFrom<String> for Bytes<MIN, MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (number, unit) = number_and_unit(&text)?;
        let factor: u64 = match unit.as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "ki" | "kib" => 1 << 10,
            "mi" | "mib" => 1 << 20,
            "gi" | "gib" => 1 << 30,
            "ti" | "tib" => 1 << 40,
            _ => return Err("unknown unit".to_owned()),
        };
        within(number.saturating_mul(factor), MIN, MAX).map(Self)
    }
}

/// `8MiB`: the largest binary unit that divides the number.
pub fn bytes_in_words(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Bytes<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes_in_words(self.0))
    }
}

impl<const MIN: u64, const MAX: u64> SettingValue for Bytes<MIN, MAX> {
    fn allowed() -> String {
        format!("bytes, {} to {} (units k, M, G, Ki, Mi, Gi)", bytes_in_words(MIN), bytes_in_words(MAX))
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        by_envy(name, text)
    }
}

fn span(text: &str, bare: Duration) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text)?;
    let one = match unit.as_str() {
        "" => bare,
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" | "min" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        "d" => Duration::from_secs(86_400),
        _ => return Err("unknown unit".to_owned()),
    };
    let total = u32::try_from(number).ok().and_then(|number| one.checked_mul(number));
    total.filter(|total| *total <= LONGEST).ok_or("too large".to_owned())
}

/// A span of time, at least a millisecond; a bare number counts milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Millis(pub Duration);

impl TryFrom<String> for Millis {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let span = span(&text, Duration::from_millis(1))?;
        if span.is_zero() { Err("too small".to_owned()) } else { Ok(Self(span)) }
    }
}

/// A span of time, zero allowed; a bare number counts seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Seconds(pub Duration);

impl TryFrom<String> for Seconds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        span(&text, Duration::from_secs(1)).map(Self)
    }
}

/// A share of the whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub struct Fraction(pub f64);

impl TryFrom<String> for Fraction {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (text, scale) = text.strip_suffix('%').map_or((text.as_str(), 1.0), |percent| (percent, 100.0));
        let share = text.trim().parse::<f64>().map_err(|_| "not a number".to_owned())? / scale;
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err("not between 0 and 1".to_owned()) }
    }
}

/// A number per second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub f64);

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.strip_suffix("/s").unwrap_or(&text).trim();
        let rate = text.parse::<f64>().map_err(|_| "not a number".to_owned())?;
        if (0.0..=1e9).contains(&rate) { Ok(Self(rate)) } else { Err("not between 0 and 1000000000".to_owned()) }
    }
}

plain_values! {
    Millis => "milliseconds, 1 or more (or with a unit: 500ms, 10s, 5m)";
    Seconds => "seconds (or with a unit: 500ms, 10s, 5m, 24h, 7d)";
    Fraction => "0 to 1";
    Rate => "a number a second";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_units_of_kubernetes_and_the_usual_ones() {
        type B = Bytes<1, { 8 << 30 }>;
        for (text, bytes) in [
            ("17", 17),
            ("17B", 17),
            ("64KiB", 65_536),
            ("64Ki", 65_536),
            ("64k", 64_000),
            ("10MB", 10_000_000),
            ("10 MiB", 10 << 20),
            ("1Gi", 1 << 30),
        ] {
            assert_eq!(B::parse("X", text).map(B::bytes), Ok(bytes), "{text}");
        }
        for (text, why) in [
            ("", "not a number"),
            ("-1", "not a number"),
            ("1.5MiB", "unknown unit"),
            ("5q", "unknown unit"),
            ("0", "too small"),
            ("9Gi", "too large"),
            ("99999999999999999999", "too large"),
            ("18446744073709551615G", "too large"),
        ] {
            assert_eq!(B::parse("X", text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (bytes, text) in [(0, "0B"), (1000, "1000B"), (1 << 16, "64KiB"), (8 << 20, "8MiB"), (1 << 30, "1GiB")] {
            assert_eq!(bytes_in_words(bytes), text);
        }
    }

    #[test]
    fn a_bare_number_of_time_counts_what_the_type_says() {
        for (text, millis) in [("10000", 10_000), ("10s", 10_000), ("250ms", 250), ("2m", 120_000)] {
            assert_eq!(Millis::parse("X", text), Ok(Millis(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(Seconds::parse("X", "25"), Ok(Seconds(Duration::from_secs(25))));
        assert_eq!(Seconds::parse("X", "0"), Ok(Seconds(Duration::ZERO)));
        assert_eq!(Millis::parse("X", "0").unwrap_err(), "too small");
        assert_eq!(Seconds::parse("X", "4000000000d").unwrap_err(), "too large");
        assert_eq!(Seconds::parse("X", "soon").unwrap_err(), "not a number");
    }

    #[test]
    fn counts_have_bounds() {
        type C = Count<2, 5>;
        assert_eq!(C::parse("X", "2").map(C::count), Ok(2));
        for (text, why) in [("1", "too small"), ("6", "too large"), ("3k", "not a whole number"), ("x", "not a number")]
        {
            assert_eq!(C::parse("X", text).unwrap_err(), why);
        }
    }

    #[test]
    fn shares_and_rates_are_finite() {
        assert_eq!(Fraction::parse("X", "0.25"), Ok(Fraction(0.25)));
        assert_eq!(Fraction::parse("X", "25%"), Ok(Fraction(0.25)));
        assert_eq!(Rate::parse("X", "100/s"), Ok(Rate(100.0)));
        for text in ["NaN", "inf", "-0.1", "1.1", "101%", "many"] {
            assert!(Fraction::parse("X", text).is_err(), "{text}");
        }
        for text in ["NaN", "inf", "-1", "fast"] {
            assert!(Rate::parse("X", text).is_err(), "{text}");
        }
    }
}
