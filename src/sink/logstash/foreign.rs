//! Answers that are of another protocol. Owns only the recognition and the advice.

/// Whose language an unexpected answer is, with the advice; what no one knows is no one's.
pub(super) fn foreign(answer: &[u8]) -> Option<&'static str> {
    // A TLS alert (RFC 8446 §5.1: content type 21, version 3.x).
    if answer.starts_with(&[21, 3]) {
        return Some("the server answers in TLS: set LOGSTASH_TLS=true");
    }
    if answer.starts_with(b"HTTP/") {
        return Some("the server answers in HTTP: is it LOGSTASH_TYPE=http?");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_protocol_is_known_by_its_first_bytes() {
        for (answer, words) in [
            (&b"\x15\x03\x03\x00\x02\x02\x46"[..], Some("LOGSTASH_TLS=true")),
            (b"HTTP/1.1 400 Bad Request\r\n", Some("LOGSTASH_TYPE=http")),
            (b"-ERR unknown command", None),
            (b"\x15", None),
            (b"", None),
        ] {
            assert_eq!(foreign(answer).is_some(), words.is_some(), "{answer:?}");
            assert!(foreign(answer).unwrap_or_default().contains(words.unwrap_or_default()));
        }
    }
}
