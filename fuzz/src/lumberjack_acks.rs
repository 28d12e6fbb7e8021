//! Any acknowledgements of a lumberjack server: never more than the window, never less than before, and the same
//! however they are cut.

use podtap::sink::logstash::lumberjack::{WindowAcks, decode_ack};

/// The window's events, the bytes that arrive at once, what arrives.
pub fn run(bytes: &[u8]) {
    let Some(([window, at_once], said)) = bytes.split_first_chunk() else { return };
    let (window, at_once) = (usize::from(*window), usize::from(*at_once % 16) + 1);
    let (mut whole, mut cut) = (WindowAcks::new(window), WindowAcks::new(window));
    let outcome = whole.feed(said);
    let mut before = 0;
    let pieces = said.chunks(at_once).try_for_each(|piece| {
        let fed = cut.feed(piece);
        assert!(cut.acknowledged() >= before && cut.acknowledged() <= window, "{cut:?}");
        before = cut.acknowledged();
        fed
    });
    assert_eq!(outcome.is_err(), pieces.is_err(), "{outcome:?}, in pieces {pieces:?}");
    assert_eq!(whole.acknowledged(), cut.acknowledged());
    if outcome.is_ok() {
        assert_eq!(whole, cut);
        assert_eq!(whole.is_complete(), whole.is_all() && said.len().is_multiple_of(6));
    }
    if let Ok(Some(_)) = decode_ack(said) {
        assert!(said.len() >= 6 && said.starts_with(b"2A"));
    }
    if let Err(nonsense) = outcome {
        assert!(nonsense.to_string().len() < 500);
    }
}
