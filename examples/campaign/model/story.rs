//! A case as text: every packet in order, what of it was captured, what it says, and the records.
//!
//! Decides nothing.

use std::fmt::Write as _;

use podtap::packet::TcpFlags;
use podtap::record::Exchange;
use podtap::synth::SynthSide;

use super::capture::{BEGIN, Case};
use super::judge;
use super::tcp::Packet;

/// What a person reads of a case. With `all` also the packets that were not captured.
pub fn story(case: &Case, all: bool) -> String {
    let mut out = String::new();
    let order: Vec<(usize, Option<u64>)> = if all {
        let shot = |index| case.shots.iter().find(|shot| shot.packet == index).map(|shot| shot.kept);
        let mut order: Vec<_> = case.shots.iter().map(|shot| (shot.packet, Some(shot.kept))).collect();
        for index in (0..case.packets.len()).filter(|index| shot(*index).is_none()) {
            let place = order.iter().position(|(other, _)| *other > index).unwrap_or(order.len());
            order.insert(place, (index, None));
        }
        order
    } else {
        case.shots.iter().map(|shot| (shot.packet, Some(shot.kept))).collect()
    };
    for (index, kept) in order {
        let (conn, packet) = &case.packets[index];
        let mark = if kept.is_some() { ' ' } else { 'x' };
        let text = case.text(index);
        let cut = kept.map_or(text.len(), |kept| text.len().min(kept as usize));
        let _ = writeln!(out, "{mark} {conn} {}  {}", line(packet), said(&text[..cut]));
    }
    let (records, imbalances) = judge::records(case);
    for record in &records {
        let _ = writeln!(out, "  => {}", told(record));
    }
    let _ = writeln!(out, "  {:?}", judge::verdict_on(case, &records, imbalances));
    let missed = judge::missed(case, &records);
    if !missed.is_empty() {
        let _ = writeln!(out, "  both heads captured, not paired: {missed:?}");
    }
    out
}

/// Offsets in the stream; `ack` is how many bytes the sender had received.
fn line(packet: &Packet) -> String {
    let flags: String =
        [(TcpFlags::SYN, 'S'), (TcpFlags::FIN, 'F'), (TcpFlags::RST, 'R'), (TcpFlags::PSH, 'P'), (TcpFlags::ACK, 'A')]
            .iter()
            .filter_map(|(bit, letter)| (packet.flags & bit != 0).then_some(*letter))
            .collect();
    let (side, pad) = if packet.from == SynthSide::Client { ("C>", "") } else { ("<S", "      ") };
    let seq = packet.pos.saturating_sub(1);
    let len = packet.data.end - packet.data.start;
    let ack = packet.ack.saturating_sub(1);
    let odd = match (packet.bad_checksum, packet.forged) {
        (true, _) => " BAD-CHECKSUM",
        (_, true) => " INJECTED",
        _ => "",
    };
    let ms = packet.at.saturating_sub(BEGIN) as f64 / 1e6;
    format!("{ms:>10.3} {pad}{side} {flags:<3} {seq}..{} ack {ack}{odd}", seq + len)
}

/// The start lines in a payload, with their places.
fn said(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let starts = ["GET ", "HEAD ", "POST ", "PUT ", "CONNECT ", "HTTP/1."];
    let mut found: Vec<String> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        for start in starts {
            if let Some(within) = line.find(start) {
                let end = line.trim_end();
                let short: String = end.get(within..).unwrap_or_default().chars().take(40).collect();
                found.push(format!(
                    "{}{short}",
                    if at + within > 0 { format!("+{} ", at + within) } else { String::new() }
                ));
                break;
            }
        }
        at += line.len();
    }
    if found.len() > 4 {
        let more = found.len() - 4;
        found.truncate(4);
        found.push(format!("… {more} more"));
    }
    found.join(" | ")
}

fn told(record: &Exchange) -> String {
    let request =
        record.request.as_ref().map_or("-".to_owned(), |r| format!("{} {} ({})", r.method, r.target, r.bytes));
    let response = record.response.as_ref().map_or("-".to_owned(), |r| {
        format!("{} {} ({})", r.status.unwrap_or(0), r.phrase.as_deref().unwrap_or("-"), r.bytes)
    });
    let unanswered = record.unanswered.map_or("", |why| why.name());
    let missing: Vec<_> = record.missing.names().collect();
    format!(
        "{request} -> {response} [{}] {unanswered} {} {}{}",
        record.trust.name(),
        record.outcome().name(),
        missing.join(","),
        if record.late { " late" } else { "" }
    )
}
