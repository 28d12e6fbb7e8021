//! Header blocks for one decoder: any bytes, with blocks missing between them.

use podtap::hpack::{HeaderBlock, HpackDecoder, MAX_FIELDS, MAX_TEXT};

use super::choices::Choices;

/// A length and this many bytes of a block, again and again; length 255: a block was lost.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut decoder, mut block) = (HpackDecoder::new(), HeaderBlock::default());
    while !choices.is_empty() {
        match choices.byte() {
            255 => decoder.forget(),
            len => {
                let epoch = decoder.epoch();
                let read = decoder.decode(choices.take(usize::from(len)), &mut block);
                assert_eq!(read.is_err(), decoder.epoch() > epoch, "an error leaves nothing known");
            }
        }
        let text = |field: podtap::hpack::HeaderField<'_>| {
            field.name.map_or(0, <[u8]>::len) + field.value.map_or(0, <[u8]>::len)
        };
        assert!(block.fields().count() <= MAX_FIELDS);
        assert!(block.fields().map(text).sum::<usize>() <= MAX_TEXT * 2 + MAX_FIELDS * 64, "a block grows without end");
        assert!(decoder.kept() < 128 << 10, "a table grows without end");
    }
}
