//! Several conversations on one wire.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::SynthFrame;
use crate::flow::Timestamp;

/// Frames of all `lanes` in order of time; each lane must be in order itself. At equal times the earlier lane goes
/// first. Holds one frame of each lane, so lanes may be lazy and endless.
pub fn merge<L>(lanes: impl IntoIterator<Item = L>) -> impl Iterator<Item = SynthFrame>
where
    L: IntoIterator<Item = SynthFrame>,
{
    let mut lanes: Vec<(Option<SynthFrame>, L::IntoIter)> = lanes.into_iter().map(|l| (None, l.into_iter())).collect();
    let mut order: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::with_capacity(lanes.len());
    for (index, (head, lane)) in lanes.iter_mut().enumerate() {
        *head = lane.next();
        order.extend(head.as_ref().map(|frame| Reverse((frame.at, index))));
    }
    std::iter::from_fn(move || {
        let Reverse((_, index)) = order.pop()?;
        let (head, lane) = lanes.get_mut(index)?;
        let frame = std::mem::replace(head, lane.next());
        order.extend(head.as_ref().map(|frame| Reverse((frame.at, index))));
        frame
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;

    #[test]
    fn frames_come_by_time_and_then_by_lane() {
        let lane = |lane: u8, times: &[i64]| -> Vec<SynthFrame> {
            times.iter().map(|at| SynthFrame::new(Timestamp(*at), LinkType(1), vec![lane])).collect()
        };
        let merged = merge([lane(0, &[1, 4, 4, 9]), lane(1, &[]), lane(2, &[0, 4, 5])]);
        let seen: Vec<_> = merged.map(|frame| (frame.at.0, frame.bytes[0])).collect();
        assert_eq!(seen, [(0, 2), (1, 0), (4, 0), (4, 0), (4, 2), (5, 2), (9, 0)]);
    }
}
