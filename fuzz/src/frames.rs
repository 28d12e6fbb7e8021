//! Any bytes as frames of any link type, to records in every format.

use std::sync::Arc;

use podtap::flow::Timestamp;
use podtap::packet::{Frame, LinkType};

use super::choices::Choices;
use super::watch::Watch;

/// Link types that `packet` knows, and some that it only names.
pub const LINKS: &[u16] = &[1, 101, 113, 276, 0, 12, 108, 228, 229, 127, 105, 9, 51, 147, 7, 119];
/// When the first frame comes: time may go back from here.
pub const START: Timestamp = Timestamp(1_772_366_400_000_000_000);

/// Frames until the bytes are over: link type, time since the one before, bytes that were cut off, length, content.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut watch = Watch::new(&mut choices);
    let interface: Arc<str> = Arc::from("eth0");
    let mut at = START;
    while !choices.is_empty() {
        let link = choices.byte();
        let elapsed = choices.nanos();
        at = if link & 0x40 == 0 { at.plus(elapsed) } else { Timestamp(at.0.saturating_sub_unsigned(elapsed)) };
        if link == 0x3f {
            watch.pause(at);
            continue;
        }
        let cut = choices.byte();
        let len = usize::from(choices.word());
        let data = choices.take(len);
        let wire_len = u32::try_from(data.len()).unwrap_or(u32::MAX) + u32::from(cut).pow(2);
        let link = LINKS.get(usize::from(link & 0x3f)).map_or(LinkType(u16::from(link)), |l| LinkType(*l));
        let interface = (cut & 1 == 1).then_some(&interface);
        watch.frame(&Frame { at, link, data, wire_len, interface });
    }
    watch.finish();
}

/// The bytes that [`run`] reads as these frames, a microsecond apart.
pub fn encode<'a>(config: u8, frames: impl IntoIterator<Item = (LinkType, &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![config];
    for (link, data) in frames {
        let link = LINKS.iter().position(|l| *l == link.0).unwrap_or(0);
        bytes.extend([u8::try_from(link).unwrap_or(0), 10, 0]);
        bytes.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}
