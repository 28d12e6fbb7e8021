//! Makes a failing case smaller while it still fails.
//!
//! Any subset of what passed the tap is a capture that a tap could have made, so every step stays truthful.

use podtap::synth::SynthSide;

use super::capture::{Case, Shot};
use super::tcp::{Packet, Trace};

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

/// Lets the connection begin as late as it can, where everything before was over: the handshake, then the rest.
pub fn latest_begin(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let exchanges = case.conns.first().filter(|_| case.conns.len() == 1).map_or(0, |conn| conn.truths.len());
    (1..exchanges)
        .rev()
        .filter_map(|first| begun_at(case, first))
        .find(|case| fails(case))
        .unwrap_or_else(|| case.clone())
}

/// The same connection as if the exchange with this index had been its first.
fn begun_at(case: &Case, first: usize) -> Option<Case> {
    let mut case = case.clone();
    let conn = case.conns.first_mut()?;
    let truth = conn.truths.get(first)?;
    let cut = [truth.request.start, truth.interim];
    let begins = |packet: &Packet| packet.from == SynthSide::Client && packet.data.contains(&cut[0]);
    let start = case.packets.iter().position(|(_, packet)| begins(packet))?;
    let sides = |packet: &Packet| if packet.from == SynthSide::Client { cut } else { [cut[1], cut[0]] };
    for (index, (_, packet)) in case.packets.iter_mut().enumerate() {
        let [own, peer] = sides(packet);
        if packet.opens() {
            continue;
        }
        if index >= start && (packet.pos <= own || packet.ack <= peer) {
            return None;
        }
        packet.pos = packet.pos.saturating_sub(own);
        packet.ack = packet.ack.saturating_sub(peer);
        packet.data = packet.data.start.saturating_sub(own)..packet.data.end.saturating_sub(own);
    }
    case.shots.retain(|shot| shot.packet >= start || case.packets[shot.packet].1.opens());
    let Trace { isn, streams, .. } = &mut conn.trace;
    for ((isn, stream), cut) in isn.iter_mut().zip(streams).zip(cut) {
        *isn = isn.wrapping_add(cut as u32);
        stream.drain(..(cut as usize).min(stream.len()));
    }
    conn.truths.drain(..first);
    for truth in &mut conn.truths {
        truth.request = truth.request.start - cut[0]..truth.request.end - cut[0];
        truth.response = truth.response.start - cut[1]..truth.response.end - cut[1];
        truth.request_head -= cut[0];
        truth.response_head -= cut[1];
        truth.interim -= cut[1];
    }
    Some(case)
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
            // Without a handshake it would become the question of another case: which request comes first.
            let taken =
                tried.shots.drain(at..end).filter(|shot| case.packets[shot.packet].1.opens()).collect::<Vec<_>>();
            tried.shots.splice(at..at, taken);
            if tried.shots.len() < best.shots.len() && fails(&tried) {
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
