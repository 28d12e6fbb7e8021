//! HTTP/1.1 messages put together: start line, headers, body. What is given is what is sent, right or wrong.

/// A request. With a body, Content-Length is added.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    message(&[method, " ", target, " HTTP/1.1"], headers, body, !body.is_empty())
}

/// A response; `status` with its phrase: `"200 OK"`. Content-Length is added, 0 too.
pub fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    message(&["HTTP/1.1 ", status], headers, body, true)
}

/// The head of a response alone, without Content-Length.
pub fn response_head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    message(&["HTTP/1.1 ", status], headers, &[], false)
}

/// A chunked response, one chunk for each of `parts` (RFC 9112 §7.1).
pub fn chunked_response(status: &str, headers: &[(&str, &str)], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = response_head(status, &[headers, &[("Transfer-Encoding", "chunked")]].concat());
    parts.iter().for_each(|part| bytes.extend(chunk(part)));
    bytes.extend(chunk(b""));
    bytes
}

/// One chunk; an empty one is the last, with its empty trailer.
pub fn chunk(part: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", part.len()).into_bytes();
    bytes.extend(part);
    bytes.extend(b"\r\n");
    bytes
}

fn message(start: &[&str], headers: &[(&str, &str)], body: &[u8], length: bool) -> Vec<u8> {
    let mut bytes = start.concat().into_bytes();
    bytes.reserve(40 + 40 * headers.len() + body.len());
    bytes.extend(b"\r\n");
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            bytes.extend(part.as_bytes());
        }
    }
    if length {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_rfc_9112_writes_them() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let table = [
            (request("GET", "/a", &[("Host", "b")], b""), "GET /a HTTP/1.1\r\nHost: b\r\n\r\n"),
            (request("PUT", "/a", &[], b"xy"), "PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxy"),
            (response("200 OK", &[], b""), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (response_head("304 Not Modified", &[("ETag", "1")]), "HTTP/1.1 304 Not Modified\r\nETag: 1\r\n\r\n"),
            (
                chunked_response("200 OK", &[], &[b"0123456789abcdef", b"z"]),
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n1\r\nz\r\n0\r\n\r\n",
            ),
        ];
        for (bytes, expected) in table {
            assert_eq!(text(bytes), expected);
        }
    }
}
