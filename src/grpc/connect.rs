//! What the Connect protocol says in JSON: the end of a stream, the error of a unary call. Reads small objects only.

use std::borrow::Cow;

use serde::Deserialize;

use crate::record::grpc_status_name;

#[derive(Deserialize)]
struct EndOfStream<'a> {
    #[serde(borrow)]
    error: Option<CallError<'a>>,
}

#[derive(Deserialize)]
struct CallError<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// The status at the end of a stream, and its text: without an error it is 0.
pub(super) fn end_of_stream(json: &[u8]) -> Option<(u32, Option<Vec<u8>>)> {
    let end: EndOfStream<'_> = serde_json::from_slice(json).ok()?;
    end.error.map_or(Some((0, None)), |failure| status(&failure))
}

/// The status of an error, and its text.
pub(super) fn error(json: &[u8]) -> Option<(u32, Option<Vec<u8>>)> {
    status(&serde_json::from_slice(json).ok()?)
}

/// The codes are those of gRPC in lower case; one of them is spelt in another way.
fn status(failure: &CallError<'_>) -> Option<(u32, Option<Vec<u8>>)> {
    let code = failure.code.as_deref()?;
    let named = |number: &u32| grpc_status_name(*number).is_some_and(|name| name.eq_ignore_ascii_case(code));
    let number = if code == "canceled" { 1 } else { (1..17).find(named)? };
    let text = failure.message.as_ref().filter(|text| !text.is_empty());
    Some((number, text.map(|text| text.as_bytes().to_vec())))
}
