//! REDACT_PATH: patterns of paths whose variable segments are secrets (`/reset/*`).
//!
//! Does not look at queries.

use std::ops::Range;

use super::names::percent_decode;
use crate::glob::{BadPattern, Glob};

/// More segments than any sensible pattern has.
const MAX_SEGMENTS: usize = 32;

/// One pattern: literal segments have to be there, segments with a wildcard are masked.
///
/// `/reset/*` masks all that follows `/reset/`; `/users/*/orders` masks one segment; `/files/tok-*/x` masks the
/// segment if it fits; `{name}` is one segment, whatever it is. Case, doubled slashes and percent-encoding do
/// not hide a segment. A pattern is a prefix: what follows the path it describes does not matter.
#[derive(Clone, Debug)]
pub(super) struct PathPattern {
    segments: Vec<PatternSegment>,
    masks_rest: bool,
}

#[derive(Clone, Debug)]
enum PatternSegment {
    Literal(Glob),
    Secret(Glob),
}

impl PathPattern {
    pub(super) fn new(pattern: &str) -> Result<Self, BadPattern> {
        let parts: Vec<&str> = pattern.trim().split('/').filter(|s| !s.is_empty()).collect();
        if !pattern.trim().starts_with('/') {
            return Err(BadPattern::new(pattern, "a path begins with /"));
        }
        if parts.len() > MAX_SEGMENTS {
            return Err(BadPattern::new(pattern, "has more than 32 segments"));
        }
        let segments = parts.iter().map(|part| segment(part)).collect::<Result<Vec<_>, _>>()?;
        if !segments.iter().any(|s| matches!(s, PatternSegment::Secret(_))) {
            return Err(BadPattern::new(pattern, "names no segment to mask (`*`, `{name}`)"));
        }
        Ok(Self { segments, masks_rest: parts.last().is_some_and(|part| matches!(*part, "*" | "**")) })
    }

    /// Adds the ranges to mask of the path at the start of `rest`, which begins at `offset` of the whole. Returns
    /// where the path ends, if all of its rest is masked.
    pub(super) fn find(
        &self,
        rest: &[u8],
        is_end: impl Fn(&u8) -> bool,
        offset: usize,
        found: &mut Vec<Range<usize>>,
    ) -> Option<usize> {
        let mut at = 0;
        let mut ranges = Vec::new();
        for segment in &self.segments {
            at += rest.iter().skip(at).take_while(|b| **b == b'/').count();
            let len = rest.iter().skip(at).take_while(|b| **b != b'/' && !is_end(b)).count();
            let text = rest.get(at..at + len).unwrap_or_default();
            let (glob, secret) = match segment {
                PatternSegment::Literal(glob) => (glob, false),
                PatternSegment::Secret(glob) => (glob, true),
            };
            if len == 0 || !fits(glob, text) {
                return None;
            }
            if secret {
                ranges.push(offset + at..offset + at + len);
            }
            at += len;
        }
        let mut end = None;
        if let (true, Some(last)) = (self.masks_rest, ranges.last_mut()) {
            last.end += rest.iter().skip(at).take_while(|b| !is_end(b)).count();
            end = Some(last.end);
        }
        found.append(&mut ranges);
        end
    }
}

fn segment(part: &str) -> Result<PatternSegment, BadPattern> {
    if part.starts_with('{') && part.ends_with('}') {
        return Ok(PatternSegment::Secret(Glob::new("*")?));
    }
    let glob = Glob::ignoring_case(part)?;
    Ok(if glob.is_literal() { PatternSegment::Literal(glob) } else { PatternSegment::Secret(glob) })
}

fn fits(glob: &Glob, text: &[u8]) -> bool {
    glob.matches(text) || (text.contains(&b'%') && glob.matches(&percent_decode(text)))
}
