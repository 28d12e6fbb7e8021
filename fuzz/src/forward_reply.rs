//! Any answer of a forward server: whole and of the protocol, not whole yet, or nonsense. The result is the same
//! however much of it, and whatever behind it, has arrived.

use podtap::sink::fluentd::protocol::{ForwardReply, MAX_REPLY, decode_reply};

/// What has arrived.
pub fn run(bytes: &[u8]) {
    match decode_reply(bytes) {
        Ok(Some((reply, length))) => whole(bytes, &reply, length),
        Ok(None) => assert!(bytes.len() < MAX_REPLY, "waits for ever for {} bytes", bytes.len()),
        Err(nonsense) => assert!(nonsense.to_string().len() < 200),
    }
}

fn whole(bytes: &[u8], reply: &ForwardReply, length: usize) {
    assert!(length > 0 && length <= bytes.len().min(MAX_REPLY), "{length} of {}", bytes.len());
    let (front, behind) = bytes.split_at(length);
    let again = decode_reply(front).expect("what was whole");
    assert_eq!(again.as_ref(), Some(&(reply.clone(), length)), "{} bytes behind it matter", behind.len());
    for cut in [length - 1, length / 2, 0] {
        assert_eq!(decode_reply(&front[..cut]), Ok(None), "cut at {cut} of {length}");
    }
    if let ForwardReply::Pong(pong) = reply {
        assert!(pong.reason.len() < 2000 && !pong.reason.contains(char::is_control), "{:?}", pong.reason);
    }
}
