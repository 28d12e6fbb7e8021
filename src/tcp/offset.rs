//! Sequence numbers (32 bits, wrapping) to stream offsets (64 bits). Behind this door there is ordinary arithmetic.
//!
//! Does not judge whether an offset is plausible: that is `stream`.

/// Where the sequence number `seq` lies in a stream whose offset 0 has the number `origin`. Of all offsets with that
/// number it is the one nearest to `near`. Negative: before the origin.
pub(super) fn nearest(origin: u32, seq: u32, near: u64) -> i64 {
    // The lowest 32 bits are what the wire carries (RFC 9293 §3.4).
    let expected = origin.wrapping_add(near as u32);
    let distance = seq.wrapping_sub(expected).cast_signed();
    near.cast_signed().saturating_add(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_offset_nearest_to_the_expected_one() {
        const TURN: u64 = 1 << 32;
        for (origin, seq, near, offset) in [
            (100, 100, 0, 0),
            (100, 105, 0, 5),
            (100, 105, 50, 5),
            (100, 99, 0, -1),
            (0xffff_ff00, 0x0000_0010, 0, 0x110),
            (0xffff_ff00, 0xffff_feff, 0, -1),
            (0, 0, TURN, TURN.cast_signed()),
            (0, 5, TURN - 10, TURN.cast_signed() + 5),
            (7, 6, 3 * TURN, 3 * TURN.cast_signed() - 1),
            (0, 0x7fff_ffff, 0, 0x7fff_ffff),
            (0, 0x8000_0000, 0, -0x8000_0000),
        ] {
            assert_eq!(nearest(origin, seq, near), offset, "{seq:#x} from {origin:#x} near {near:#x}");
        }
    }
}
