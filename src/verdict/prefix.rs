//! What a rule's prefix says, by patterns from the settings.

use compact_str::CompactString;

use crate::glob::{BadPattern, Glob};
use crate::record::VerdictMeaning;

/// Cloud Foundry's: container to container, outbound rate limits, application security groups. A container's handle does
/// not have an underscore as its fifth character.
const CLOUD_FOUNDRY: [&str; 5] = [
    "DENY_C2C_*=denied:c2c",
    "DENY_ORL_*=denied:orl",
    "DENY_*=denied:asg",
    "OK_????_*=allowed:c2c",
    "OK_*=allowed:asg",
];

/// The patterns, in order: the first that fits counts.
#[derive(Clone, Debug)]
pub struct PrefixPatterns(Vec<(Glob, VerdictMeaning)>);

impl PrefixPatterns {
    /// Of entries like `DENY_C2C_*=denied:c2c`.
    pub fn new(entries: &[String]) -> Result<Self, BadPattern> {
        entries.iter().map(|entry| one(entry)).collect::<Result<_, _>>().map(Self)
    }

    /// Those of Cloud Foundry.
    pub fn cloud_foundry() -> Self {
        Self(CLOUD_FOUNDRY.iter().filter_map(|entry| one(entry).ok()).collect())
    }

    /// What it says; none where no pattern fits.
    pub fn meaning(&self, prefix: &str) -> Option<&VerdictMeaning> {
        let fits = |glob: &Glob| glob.matches(prefix.as_bytes());
        self.0.iter().find(|(glob, _)| fits(glob)).map(|(_, meaning)| meaning)
    }
}

fn one(entry: &str) -> Result<(Glob, VerdictMeaning), BadPattern> {
    let (pattern, meaning) =
        entry.rsplit_once('=').ok_or_else(|| BadPattern::new(entry, "needs a pattern, =, and allowed or denied"))?;
    let (verdict, kind) = meaning.split_once(':').map_or((meaning, None), |(verdict, kind)| (verdict, Some(kind)));
    let allowed = match verdict.trim().to_ascii_lowercase().as_str() {
        "allowed" => true,
        "denied" => false,
        _ => return Err(BadPattern::new(entry, "says neither allowed nor denied")),
    };
    let kind = kind.map(str::trim).filter(|kind| !kind.is_empty()).map(CompactString::from);
    Ok((Glob::new(pattern)?, VerdictMeaning { allowed, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(entries: &[&str]) -> PrefixPatterns {
        PrefixPatterns::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn said(by: &PrefixPatterns, prefix: &str) -> Option<(bool, Option<String>)> {
        by.meaning(prefix).map(|meaning| (meaning.allowed, meaning.kind.as_ref().map(ToString::to_string)))
    }

    #[test]
    fn the_first_pattern_that_fits_decides() {
        let by = PrefixPatterns::cloud_foundry();
        assert_eq!(by.0.len(), CLOUD_FOUNDRY.len());
        let kind = |kind: &str| Some(kind.to_owned());
        for (prefix, expected) in [
            ("DENY_C2C_cb40 ", Some((false, kind("c2c")))),
            ("DENY_ORL_cb40 ", Some((false, kind("orl")))),
            ("DENY_x", Some((false, kind("asg")))),
            ("OK_0002_e9e8959f-3828-4136-8 ", Some((true, kind("c2c")))),
            ("OK_d538d169-f2f6-4587-77b1-f ", Some((true, kind("asg")))),
            ("[UFW BLOCK] ", None),
            ("", None),
        ] {
            assert_eq!(said(&by, prefix), expected, "{prefix:?}");
        }
    }

    /// As these firewalls write them.
    #[test]
    fn patterns_for_other_firewalls() {
        let by = prefixes(&[
            "[UFW BLOCK]*=denied",
            "[UFW ALLOW]*=allowed",
            "filter_*_REJECT: *=denied:firewalld",
            "FINAL_REJECT: *=denied:firewalld",
            "calico-drop: *=denied:calico",
            "nft#drop=denied",
        ]);
        for (prefix, allowed) in [
            ("[UFW BLOCK] ", false),
            ("[UFW ALLOW] ", true),
            ("filter_IN_public_REJECT: ", false),
            ("FINAL_REJECT: ", false),
            ("calico-drop: ", false),
            ("nft#drop", false),
        ] {
            assert_eq!(said(&by, prefix).map(|(allowed, _)| allowed), Some(allowed), "{prefix}");
        }
    }

    #[test]
    fn an_entry_that_says_nothing_is_refused() {
        for entry in ["OK_*", "OK_*=yes", "=x"] {
            assert!(PrefixPatterns::new(&[entry.to_owned()]).is_err(), "{entry}");
        }
    }
}
