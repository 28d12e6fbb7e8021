//! Makes a failing case smaller while it still fails.
//!
//! Any subset of what passed the tap is a capture that a tap could have made, so every step stays truthful.

use super::capture::{Case, Shot};

/// Gives back packets that the capture missed, as long as the case still fails: what is left is what it takes to lose.
pub fn fewest_losses(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let missing: Vec<usize> =
        (0..case.packets.len()).filter(|index| !case.shots.iter().any(|shot| shot.packet == *index)).collect();
    let mut size = missing.len().div_ceil(2).max(1);
    let mut missing = missing;
    while !missing.is_empty() {
        for part in missing.clone().chunks(size) {
            let mut tried = best.clone();
            part.iter().for_each(|index| give_back(&mut tried, *index));
            if fails(&tried) {
                best = tried;
                missing.retain(|index| !part.contains(index));
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    best
}

fn give_back(case: &mut Case, index: usize) {
    let packet = &case.packets[index].1;
    let shot = Shot { packet: index, at: packet.at, kept: packet.data.end - packet.data.start };
    let place = case.shots.iter().position(|other| other.at > shot.at).unwrap_or(case.shots.len());
    case.shots.insert(place, shot);
}

/// Takes packets away as long as the case still fails.
pub fn fewest_packets(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let mut size = best.shots.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut smaller = false;
        while at < best.shots.len() {
            let mut tried = best.clone();
            let end = (at + size).min(tried.shots.len());
            tried.shots.drain(at..end);
            if fails(&tried) {
                best = tried;
                smaller = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !smaller {
            return best;
        }
        size = size.div_ceil(2).max(1);
    }
}
