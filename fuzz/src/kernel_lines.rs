//! Lines of the kernel log: any bytes, and any of them cut at any byte. A cut line says less, and nothing wrong.

use podtap::record::LoggedPacket;
use podtap::verdict::{LoggedLine, NotLogged, read_line};

use super::choices::Choices;

/// Where the line is cut, and the line.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let cut = usize::from(choices.word());
    let line = choices.take(usize::MAX);
    let whole = read_line(line);
    assert!((1..=16).contains(&whole.len()), "{} entries", whole.len());
    let text = String::from_utf8_lossy(line);
    for entry in whole.iter().flatten() {
        let packet = &entry.packet;
        assert_eq!(packet.source.ip.is_ipv4(), packet.destination.ip.is_ipv4(), "{text}");
        assert!(packet.has_port[0] || packet.source.port == 0, "{text}");
        assert!(packet.has_port[1] || packet.destination.port == 0, "{text}");
    }
    // Heads of these forms hold the text in another notation, which a cut makes another text.
    let other_notation = text.starts_with('{') || text.contains("\\x") || text.contains('\u{fffd}');
    if let (Some(part), false) = (line.get(..cut.min(line.len())), other_notation) {
        says_nothing_else(&read_line(part), &whole, &text);
    }
}

fn says_nothing_else(cut: &[Result<LoggedLine, NotLogged>], whole: &[Result<LoggedLine, NotLogged>], text: &str) {
    assert!(cut.len() <= whole.len(), "{text}");
    let Some((Ok(last), Ok(was))) = cut.last().zip(whole.get(cut.len().saturating_sub(1))) else { return };
    let (is, was) = (&last.packet, &was.packet);
    assert_eq!((is.source.ip, is.destination.ip), (was.source.ip, was.destination.ip), "{text}");
    for (side, (is, was)) in numbers(is).into_iter().zip(numbers(was)).enumerate() {
        assert!(is.is_none() || is == was, "number {side} is {is:?} in a cut line, {was:?} in the whole: {text}");
    }
}

fn numbers(packet: &LoggedPacket) -> [Option<u32>; 4] {
    let [source, destination] = packet.ports().map(|port| port.map(u32::from));
    [source, destination, packet.length, packet.icmp.map(|icmp| u32::from(icmp.kind))]
}
