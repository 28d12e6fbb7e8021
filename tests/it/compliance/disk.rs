//! A full disk, under the spool of each sink and under the file. It goes on in memory, counts, and begins again when
//! there is room.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use podtap::sink::{DropReason, UndeliveredPolicy};

use super::peers::{self, File};
use super::{Fault, Peer, assert_arrived, feel, finish, in_flight, offer, spool_in, watch};
use crate::feed::OPTIONS;
use crate::small_disk::on_a_small_disk;

#[test]
fn a_spool_on_a_full_disk_holds_what_it_took_and_the_next_run_delivers_that() {
    on_a_small_disk(|disk| {
        for make in peers::ALL {
            let mut peer = make();
            if !peer.retries() || !peer.faults().contains(&Fault::Refuses) {
                continue;
            }
            let (what, directory) = (peer.name(), disk.join(peer.name()));
            peer.be_patient();
            peer.set(Fault::Refuses);
            let sink = peer.spawn(1, OPTIONS, spool_in(&directory));
            fill(&*peer, what, &sink);
            let counts = finish(what, sink, Duration::from_millis(200));
            assert!(counts.dropped[DropReason::Shutdown as usize] > 0, "{what}: no room for memory's");
            let left = counts.ledger.spooled;
            assert!(left > 500, "{what}: {counts:?}");
            peer.set(Fault::Healthy);
            let sink = peer.spawn(1, OPTIONS, spool_in(&directory));
            let second = watch(what, &sink, |counts| counts.ledger.recovered > 0 && counts.ledger.delivered == left);
            assert_eq!(second.ledger.recovered, left, "{what}");
            if peer.acknowledges() {
                let got = peer.got();
                let distinct: BTreeSet<_> = got.iter().collect();
                assert_eq!(distinct.len() as u64, left, "{what}: {second:?}");
                assert!(got.len() <= distinct.len() + in_flight(&second), "{what}: {second:?}");
                assert!(second.failed_attempts() > 0 || got.is_sorted(), "{what}: oldest first");
            }
            finish(what, sink, Duration::from_secs(5));
            fs::remove_dir_all(&directory).unwrap();
        }
    });
}

/// Until neither the disk nor the queue takes any more.
fn fill(peer: &dyn Peer, what: &str, sink: &podtap::sink::SinkHandle) {
    let full = OPTIONS.queue.records as u64;
    for n in 0.. {
        offer(peer, sink, n * 500..(n + 1) * 500);
        // So that the disk is what is too slow, not the thread that writes.
        let counts = watch(what, sink, |counts| counts.ledger.queued < full * 3 / 4 || counts.ledger.spooled > 500);
        if counts.dropped[DropReason::QueueFull as usize] > 0 {
            return;
        }
    }
}

#[test]
fn a_file_on_a_full_disk_goes_on_where_it_was_when_there_is_room_again() {
    on_a_small_disk(|disk| {
        let mut file = File::at(&disk.join("logs"));
        let (what, ballast) = ("file on a full disk", disk.join("ballast"));
        let sink = file.spawn(1, OPTIONS, UndeliveredPolicy::default());
        offer(&file, &sink, 0..100);
        watch(what, &sink, |counts| counts.ledger.delivered == 100);
        fill_with(&ballast);
        offer(&file, &sink, 100..400);
        feel(what, &file, Fault::DiskFull, &sink);
        fs::remove_file(&ballast).unwrap();
        watch(what, &sink, |counts| counts.ledger.delivered == 400);
        assert_arrived(what, &file, 0..400, 0);
        fill_with(&ballast);
        offer(&file, &sink, 400..1000);
        feel(what, &file, Fault::DiskFull, &sink);
        let counts = finish(what, sink, Duration::from_millis(100));
        assert_eq!(counts.ledger.delivered + counts.dropped[DropReason::Shutdown as usize], 1000, "{what}");
        assert_eq!(file.got().len() as u64, counts.ledger.delivered, "{what}: delivered is written");
        file.set(Fault::Healthy);
    });
}

fn fill_with(ballast: &Path) {
    // Pages, then what is left of the last one's neighbours.
    let full = fs::write(ballast, vec![0; 1 << 20]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}
