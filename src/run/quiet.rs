//! What there is to say where no HTTP is seen for a while: better a line than ten minutes of silence. Counts nothing.

use crate::ledger::{Ledger, NotHttp};
use crate::settings::counted;

/// When it is looked at, in seconds after the start.
pub(super) const LOOK_AT: [u32; 2] = [10, 60];

/// What was seen instead of HTTP; nothing where there was some.
pub(super) fn instead_of_http(ledger: &Ledger) -> Option<String> {
    let http = &ledger.http;
    if http.requests + http.responses > 0 {
        return None;
    }
    let frames = ledger.frames.frames;
    if frames == 0 {
        return Some("no packets: is it the right interface (IFACE), in the right network namespace?".to_owned());
    }
    let others: Vec<_> = NotHttp::ALL
        .iter()
        .map(|kind| (kind.name(), http.not_http.at(*kind as usize)))
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{} of {name}", counted(bytes, "bytes")))
        .collect();
    let connections = counted(ledger.streams.connections, "connections");
    let others = if others.is_empty() { String::new() } else { format!(", {}", others.join(", ")) };
    let tls = if http.not_http.at(NotHttp::Tls as usize) > 0 { "; TLS is counted, not decoded" } else { "" };
    Some(format!("{}, {connections}{others}{tls}", counted(frames, "frames")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_there_is_instead_and_nothing_where_there_is_http() {
        let mut ledger = Ledger::default();
        assert!(instead_of_http(&ledger).unwrap().starts_with("no packets"));
        ledger.frames.frames = 1;
        assert_eq!(instead_of_http(&ledger).unwrap(), "1 frame, 0 connections");
        (ledger.frames.frames, ledger.streams.connections) = (1200, 1);
        ledger.http.not_http.add(NotHttp::Tls as usize, 5000);
        let said = "1,200 frames, 1 connection, 5,000 bytes of tls; TLS is counted, not decoded";
        assert_eq!(instead_of_http(&ledger).unwrap(), said);
        ledger.http.responses = 1;
        assert_eq!(instead_of_http(&ledger), None);
    }
}
