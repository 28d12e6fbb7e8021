//! The mapping check: every record of a directory of captures is accepted, twice, and stored once.
//!
//! `scripts/mapping-check DIR` names the directory; without it there is nothing to check.

use std::fs::File;
use std::path::{Path, PathBuf};

use podtap::setup::SetupOptions;
use podtap::sink::{Batch, Delivery};
use podtap::source::file::CaptureReader;

use super::{deliver, dissector, encoded, options, set_up, sink};
use crate::servers::{Kind, Search};

/// Records of one request.
const AT_ONCE: usize = 500;

#[test]
fn every_record_of_the_captures_is_accepted_twice_and_stored_once() {
    let Some(directory) = std::env::var_os("PODTAP_CAPTURES") else {
        eprintln!("SKIPPED: PODTAP_CAPTURES names no directory of captures");
        return;
    };
    let captures = captures(Path::new(&directory));
    for kind in Kind::BOTH {
        let Some(server) = Search::own(kind, None, &[]) else { return };
        let options = options(&server, "corpus");
        set_up(&options, &SetupOptions::default());
        let mut sink = sink(options);
        for round in 1..=2 {
            let mut records = 0;
            for capture in &captures {
                let batch = read(capture);
                records += batch.records() as u64;
                for from in (0..batch.records()).step_by(AT_ONCE) {
                    let part = batch.range(from, from + AT_ONCE);
                    let delivered = deliver(&mut sink, &part);
                    assert_eq!(delivered, Ok(Delivery::default()), "{kind:?}: {}", capture.display());
                }
            }
            assert_eq!(server.count("corpus"), records, "{kind:?}, round {round}");
            eprintln!("{kind:?}, round {round}: {records} records of {} captures accepted", captures.len());
        }
    }
}

/// An exchange is in several captures: the capture's name is the observer, so that each is its own record.
fn read(capture: &Path) -> Batch {
    let mut dissector = dissector(&capture.to_string_lossy());
    // A damaged end is read as far as it goes, as everywhere.
    if let Ok(mut reader) = CaptureReader::open(File::open(capture).unwrap()) {
        while let Ok(Some(frame)) = reader.next_frame() {
            dissector.handle_frame(&frame, |_| false);
        }
    }
    encoded(&mut dissector)
}

fn captures(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path
                .extension()
                .is_some_and(|end| ["pcap", "pcapng", "cap", "gz"].iter().any(|known| end == *known))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no capture in PODTAP_CAPTURES");
    found
}
