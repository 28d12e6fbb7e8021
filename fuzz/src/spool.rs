//! A spool's segment in any state: what can be read is what was written, in order, and no byte goes unaccounted for.

use podtap::flow::Timestamp;
use podtap::record::Dataset;
use podtap::sink::batch::BatchItem;
use podtap::sink::spool::layout::{HEADER, segment, survey};

const MARKER: [u8; 4] = [0xf0, 0, 0x9f, 0x31];

/// First byte even: the rest is a segment's bytes. Odd: a script. It has offset (2 bytes), length and value of the
/// damage, then bodies up to a zero byte each. The segment is made of them, and damaged.
pub fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((kind, rest)) if kind % 2 == 0 => {
            accounted(rest, false);
            // The same behind a header that is right.
            let mut whole = segment(MARKER, "ecs", []);
            whole.truncate(HEADER);
            whole.extend_from_slice(rest);
            accounted(&whole, true);
        }
        Some((_, [high, low, length, value, bodies @ ..])) => {
            damage(usize::from(u16::from_be_bytes([*high, *low])), usize::from(*length), *value, bodies);
        }
        _ => {}
    }
}

fn accounted(bytes: &[u8], has_header: bool) {
    let Some(found) = survey(bytes) else { return assert!(!has_header, "a right header was refused") };
    assert_eq!(found.whole + found.damaged, bytes.len() as u64, "bytes neither read nor counted");
    assert!(found.unknown <= found.damaged);
}

fn damage(offset: usize, length: usize, value: u8, bodies: &[u8]) {
    let bodies: Vec<&[u8]> = bodies.split(|byte| *byte == 0).collect();
    let ids: Vec<String> = (0..bodies.len()).map(|n| format!("{n:05}")).collect();
    let item = |(id, body)| BatchItem { id, at: Timestamp(0), dataset: Dataset::Http, body };
    let mut bytes = segment(MARKER, "ecs", ids.iter().map(String::as_str).zip(bodies.iter().copied()).map(item));
    let before = survey(&bytes).expect("a segment just made");
    assert_eq!((before.ids, before.lost, before.damaged), (ids.clone(), 0, 0));
    let offset = offset % bytes.len();
    let end = (offset + length).min(bytes.len());
    bytes.get_mut(offset..end).unwrap_or_default().fill(value);
    let Some(after) = survey(&bytes) else { return };
    assert!(after.ids.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert!(after.ids.iter().all(|id| ids.contains(id)), "a record that was never written");
    // This many records the damage may touch, at 36 bytes each at least.
    let touched = length / 36 + 2;
    assert!(after.ids.len() + touched >= ids.len(), "{} of {} left after {length} bytes", after.ids.len(), ids.len());
    let known = after.lost as usize + after.ids.len();
    assert!(known == ids.len() || after.unknown > 0 && known < ids.len(), "a loss that nobody knows of");
}
