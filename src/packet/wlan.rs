//! 802.11 frames as a monitor sees them: the radio header in front of them, and what a data frame holds.
//!
//! It opens whole, unencrypted data frames; it joins no fragments, takes no aggregate apart and decrypts nothing.

use super::span::ByteSpan;
use crate::ledger::Skip;

/// Words in a radiotap header that say what it holds; a few are usual.
const MAX_PRESENT: usize = 16;

/// Behind a radiotap header (<https://www.radiotap.org>): the frame, and whether padding follows the 802.11 header.
pub(super) fn radiotap(frame: ByteSpan<'_>) -> Result<(ByteSpan<'_>, bool), Skip> {
    let &[version, _, l0, l1, ..] = frame.first::<8>()?;
    if version != 0 {
        return Err(Skip::Wlan);
    }
    let flags = flags(frame)?;
    const DATA_PAD: u8 = 0x20;
    const BAD_FCS: u8 = 0x40;
    if flags & BAD_FCS != 0 {
        return Err(Skip::Wlan);
    }
    Ok((frame.after(u16::from_le_bytes([l0, l1]).into())?, flags & DATA_PAD != 0))
}

/// The second field of radiotap, where there is one; the first takes eight bytes, aligned to eight.
fn flags(frame: ByteSpan<'_>) -> Result<u8, Skip> {
    const TIME: u8 = 1;
    const FLAGS: u8 = 2;
    const MORE: u8 = 0x80;
    let mut end = 4;
    let first: [u8; 4] = *frame.after(end)?.first()?;
    for _ in 0..MAX_PRESENT {
        let [.., last] = *frame.after(end)?.first::<4>()?;
        end += 4;
        if last & MORE == 0 {
            break;
        }
    }
    let [present, ..] = first;
    if present & FLAGS == 0 {
        return Ok(0);
    }
    let at = if present & TIME == 0 { end } else { end.next_multiple_of(8) + 8 };
    frame.after(at)?.first().map(|[flags]| *flags)
}

/// Behind the header of AVS, whose length is the second of its big-endian words.
pub(super) fn avs(frame: ByteSpan<'_>) -> Result<ByteSpan<'_>, Skip> {
    let &[_, _, _, _, l0, l1, l2, l3] = frame.first()?;
    behind(frame, u32::from_be_bytes([l0, l1, l2, l3]))
}

/// Behind the header of Prism, in the byte order of its host; that of AVS goes by this type too.
pub(super) fn prism(frame: ByteSpan<'_>) -> Result<ByteSpan<'_>, Skip> {
    let &[v0, v1, _, _, l0, l1, l2, l3] = frame.first()?;
    if [v0, v1] == [0x80, 0x21] {
        return avs(frame);
    }
    let len = [l0, l1, l2, l3];
    behind(frame, u32::from_le_bytes(len).min(u32::from_be_bytes(len)))
}

fn behind(frame: ByteSpan<'_>, len: u32) -> Result<ByteSpan<'_>, Skip> {
    frame.after(usize::try_from(len).map_err(|_| Skip::Malformed)?)
}

/// The LLC header of a data frame (IEEE 802.11 §9.2.4, §9.3.2).
pub(super) fn data(frame: ByteSpan<'_>, padded: bool) -> Result<ByteSpan<'_>, Skip> {
    const MORE_FRAGMENTS: u8 = 4;
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    let &[control, flags] = frame.first()?;
    let (is_qos, is_null) = (control & 0x80 != 0, control & 0x40 != 0);
    // Protocol version 0, type data; a null frame has no body.
    if control & 0x0f != 0x08 || is_null {
        return Err(Skip::Wlan);
    }
    if flags & PROTECTED != 0 {
        return Err(Skip::Encrypted);
    }
    let [.., sequence, _] = frame.first::<24>()?;
    if flags & MORE_FRAGMENTS != 0 || sequence & 0x0f != 0 {
        return Err(Skip::Wlan);
    }
    // From one access point to another there are four addresses.
    let mut len = if flags & 3 == 3 { 30 } else { 24 };
    if is_qos {
        let [qos] = frame.after(len)?.first()?;
        if qos & 0x80 != 0 {
            return Err(Skip::Wlan);
        }
        len += if flags & ORDER == 0 { 2 } else { 6 };
    }
    frame.after(if padded { len.next_multiple_of(4) } else { len })
}
