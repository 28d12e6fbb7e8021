//! Trace context of a request: W3C `traceparent`, else B3 in one header, else B3 in several.
//!
//! Reads identifiers, follows no sampling decision and knows no vendor's state.

use compact_str::CompactString;

use crate::record::TraceContext;

/// The header values that may carry a trace context, raw.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceCarriers<'a> {
    /// `traceparent`
    pub traceparent: Option<&'a [u8]>,
    /// `b3`
    pub b3: Option<&'a [u8]>,
    /// `x-b3-traceid`
    pub b3_trace_id: Option<&'a [u8]>,
    /// `x-b3-spanid`
    pub b3_span_id: Option<&'a [u8]>,
}

/// The first valid context: an invalid one counts as absent, as both specifications ask.
pub fn parse(carriers: &TraceCarriers<'_>) -> Option<TraceContext> {
    let w3c = carriers.traceparent.and_then(traceparent);
    let single = || carriers.b3.and_then(b3_single);
    let multi = || b3_ids(carriers.b3_trace_id?, carriers.b3_span_id?);
    w3c.or_else(single).or_else(multi)
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>: `00-<32 hex>-<16 hex>-<2 hex>`, lower case. A later
/// version may be longer, behind another dash.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let value = value.trim_ascii();
    let mut fields = value.splitn(5, |b| *b == b'-');
    let (version, trace_id) = (fields.next()?, fields.next()?);
    let (span_id, flags) = (fields.next()?, fields.next()?);
    let is_lower_hex = |field: &[u8]| field.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths_fit = (version.len(), trace_id.len(), span_id.len(), flags.len()) == (2, 32, 16, 2);
    let all_hex = [version, trace_id, span_id, flags].into_iter().all(is_lower_hex);
    let too_long = version == b"00" && fields.next().is_some();
    if !lengths_fit || !all_hex || too_long || version == b"ff" {
        return None;
    }
    ids(trace_id, span_id)
}

/// <https://github.com/openzipkin/b3-propagation>: `{trace}-{span}[-{sampled}[-{parent span}]]`; a lone sampling
/// state has no identifiers.
fn b3_single(value: &[u8]) -> Option<TraceContext> {
    let mut fields = value.trim_ascii().split(|b| *b == b'-');
    b3_ids(fields.next()?, fields.next()?)
}

fn b3_ids(trace_id: &[u8], span_id: &[u8]) -> Option<TraceContext> {
    let (trace_id, span_id) = (trace_id.trim_ascii(), span_id.trim_ascii());
    let all_hex = trace_id.iter().chain(span_id).all(u8::is_ascii_hexdigit);
    (matches!(trace_id.len(), 16 | 32) && span_id.len() == 16 && all_hex).then(|| ids(trace_id, span_id))?
}

/// Both identifiers in lower case, unless one is all zero, which means none.
fn ids(trace_id: &[u8], span_id: &[u8]) -> Option<TraceContext> {
    let text = |id: &[u8]| -> Option<CompactString> {
        let nonzero = id.iter().any(|b| *b != b'0');
        nonzero.then(|| id.iter().map(|b| char::from(b.to_ascii_lowercase())).collect())
    };
    Some(TraceContext { trace_id: text(trace_id)?, span_id: text(span_id)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn w3c(value: &str) -> Option<TraceContext> {
        parse(&TraceCarriers { traceparent: Some(value.as_bytes()), ..TraceCarriers::default() })
    }

    fn b3(value: &str) -> Option<TraceContext> {
        parse(&TraceCarriers { b3: Some(value.as_bytes()), ..TraceCarriers::default() })
    }

    fn trace(trace_id: &str, span_id: &str) -> Option<TraceContext> {
        Some(TraceContext { trace_id: trace_id.into(), span_id: span_id.into() })
    }

    #[test]
    fn a_valid_traceparent_gives_trace_and_span() {
        for value in [
            format!("00-{TRACE}-{SPAN}-01"),
            format!(" 00-{TRACE}-{SPAN}-00 "),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-holds"),
        ] {
            assert_eq!(w3c(&value), trace(TRACE, SPAN), "{value}");
        }
    }

    #[test]
    fn an_invalid_traceparent_counts_as_absent() {
        let zeros = "0".repeat(32);
        for value in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}g-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01x"),
        ] {
            assert_eq!(w3c(&value), None, "{value}");
        }
    }

    #[test]
    fn b3_is_read_from_one_header_or_several() {
        assert_eq!(b3(&format!("{TRACE}-{SPAN}")), trace(TRACE, SPAN));
        assert_eq!(b3(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90")), trace(TRACE, SPAN));
        assert_eq!(b3(&format!("a3ce929d0e0e4736-{SPAN}-d")), trace("a3ce929d0e0e4736", SPAN));
        assert_eq!(b3(&format!("{}-{SPAN}", TRACE.to_uppercase())), trace(TRACE, SPAN));
        for value in ["0", "d", "", "xyz-abc", &format!("{TRACE}-"), &format!("-{SPAN}"), &format!("{TRACE}-{SPAN}0")] {
            assert_eq!(b3(value), None, "{value}");
        }
        let (b3_trace_id, b3_span_id) = (Some(TRACE.as_bytes()), Some(SPAN.as_bytes()));
        assert_eq!(parse(&TraceCarriers { b3_trace_id, b3_span_id, ..TraceCarriers::default() }), trace(TRACE, SPAN));
        assert_eq!(parse(&TraceCarriers { b3_trace_id, ..TraceCarriers::default() }), None);
    }

    #[test]
    fn traceparent_comes_first_but_only_when_it_is_valid() {
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let other = "a3ce929d0e0e4736-05e3ac9a4f6e3b90";
        let both = |traceparent: &str| {
            parse(&TraceCarriers {
                traceparent: Some(traceparent.as_bytes()),
                b3: Some(other.as_bytes()),
                ..TraceCarriers::default()
            })
        };
        assert_eq!(both(&w3c), trace(TRACE, SPAN));
        assert_eq!(both("garbage"), trace("a3ce929d0e0e4736", "05e3ac9a4f6e3b90"));
    }
}
