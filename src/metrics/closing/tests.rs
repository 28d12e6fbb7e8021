use super::*;
use crate::ledger::PerDataset;

fn quiet_run() -> (Ledger, KernelCounters, RecordLedger, Vec<(String, SinkCounts)>) {
    let mut ledger = Ledger::default();
    (ledger.frames.frames, ledger.frames.segments) = (1_234_567, 1_234_500);
    ledger.frames.skipped.add(Skip::Icmp as usize, 7);
    ledger.frames.skipped.add(Skip::NotTcp as usize, 60);
    (ledger.streams.payload, ledger.streams.delivered, ledger.streams.duplicate) = (1000, 990, 10);
    ledger.streams.connections = 3;
    ledger.streams.connects_refused = 1;
    (ledger.http.bytes, ledger.http.heads, ledger.http.bodies) = (990, 900, 90);
    (ledger.http.requests, ledger.http.paired, ledger.http.responses) = (3, 2, 2);
    ledger.http.count_unanswered(UnansweredReason::Timeout);
    let records = RecordLedger { made: 3, offered: 3, ..RecordLedger::default() };
    let mut sink = SinkCounts::default();
    (sink.ledger.offered, sink.ledger.delivered) = (3, 3);
    let kernel = KernelCounters { received: 1_234_567, ..KernelCounters::default() };
    (ledger, kernel, records, vec![("stdout".to_owned(), sink)])
}

#[test]
fn a_quiet_run_ends_in_few_aligned_lines_without_zeros() {
    let (ledger, kernel, records, sinks) = quiet_run();
    let expected = "\
frames          1,234,567 = 1,234,500 segments + 67 skipped (not_tcp 60; icmp 7)
kernel packets  1,234,567
connections             3, 1 connect refused
payload bytes       1,000 = 990 in order + 10 duplicate
parsed bytes          990 = 900 heads + 90 bodies
requests                3 = 2 paired + 1 unanswered (timeout 1)
responses               2 = 2 paired
records                 3 = 3 offered
stdout                  3 = 3 delivered
Nothing lost; the ledger adds up.
";
    assert_eq!(closing_lines(&ledger, &kernel, &records, &sinks), expected);
}

#[test]
fn every_loss_has_one_line() {
    let (mut ledger, mut kernel, records, mut sinks) = quiet_run();
    kernel.dropped = 12;
    ledger.streams.gap_bytes = 4096;
    let sink = &mut sinks[0].1;
    (sink.ledger.delivered, sink.ledger.rejected, sink.ledger.dropped, sink.dropped) = (0, 1, 2, [1, 0, 1, 0, 0]);
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let losses: Vec<_> = text.lines().filter(|line| line.starts_with("LOST")).collect();
    let expected = [
        "LOST  12 packets: the capture buffer was full",
        "LOST  4,096 bytes of streams never seen",
        "LOST  3 records for stdout (queue_full 1; shutdown 1; rejected 1)",
    ];
    assert_eq!(losses, expected);
    assert!(text.ends_with("The ledger adds up.\n"), "{text}");
}

#[test]
fn a_capture_that_was_left_is_a_loss() {
    let kernel = KernelCounters { left: 1, ..KernelCounters::default() };
    let text = closing_lines(&Ledger::default(), &kernel, &RecordLedger::default(), &[]);
    let end = "\nLOST  what 1 capture had not processed when GRACE_PERIOD was over\nThe ledger adds up.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn an_input_that_could_not_be_read_is_a_loss_and_frames_that_no_one_asked_for_are_no_news() {
    let kernel = KernelCounters { unheard: 1, ..KernelCounters::default() };
    let text = closing_lines(&Ledger::default(), &kernel, &RecordLedger::default(), &[]);
    let end = "LOST  what 1 input had to say: unreadable from the start, or failed (the log says which)\nThe ledger adds up.\n";
    assert_eq!(text, format!("records  0\n{end}"));
}

#[test]
fn who_was_blind_does_not_say_that_nothing_was_lost() {
    let (ledger, mut kernel, records, sinks) = quiet_run();
    kernel.blind = std::time::Duration::from_millis(2940);
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let end = "\nLOST  2.9 seconds not captured: an interface could not be opened\nThe ledger adds up.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_a_reader_that_left_did_not_read_is_counted_but_no_loss() {
    let (ledger, kernel, records, mut sinks) = quiet_run();
    let sink = &mut sinks[0].1;
    (sink.ledger.delivered, sink.ledger.dropped, sink.dropped) = (1, 2, [0, 2, 0, 0, 0]);
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(text.contains("= 1 delivered + 2 dropped (gone 2)\n") && !text.contains("LOST"), "{text}");
    let end = "\nNothing lost, but 2 records for stdout came after its reader had left; the ledger adds up.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_came_behind_the_end_of_a_connection_was_not_read_and_that_is_said() {
    let (mut ledger, kernel, records, sinks) = quiet_run();
    ledger.streams.payload += 1378;
    ledger.streams.discarded.add(Discard::Closed as usize, 1378);
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let end = "\nLOST  1,378 bytes behind the end of their connection, not read\nThe ledger adds up.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_may_be_there_twice_is_not_nothing_lost() {
    let (mut ledger, kernel, records, sinks) = quiet_run();
    ledger.streams.connections_repeated = 2;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let end = "\nSEEN TWICE  2 connections in more than one VLAN or tunnel: their records may be there twice\n\
               The ledger adds up.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn ledger_records_are_not_counted_as_exchanges() {
    let (ledger, kernel, records, mut sinks) = quiet_run();
    let sink = &mut sinks[0].1.ledger;
    (sink.offered, sink.delivered, sink.offered_by) = (5, 5, PerDataset::of(Dataset::Ledger, 2));
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(text.contains("\nstdout                  5 = 5 delivered, 2 of them ledger records\n"), "{text}");
}

#[test]
fn of_lost_records_it_is_said_how_many_were_ledger_records() {
    let (ledger, kernel, records, mut sinks) = quiet_run();
    let sink = &mut sinks[0].1;
    (sink.ledger.offered, sink.ledger.delivered) = (13, 2);
    sink.ledger.offered_by = PerDataset::of(Dataset::Ledger, 4);
    (sink.ledger.dropped, sink.dropped) = (11, [0, 0, 11, 0, 0]);
    for (kept, said) in [(4, ""), (1, ", 3 of them ledger records"), (0, ", 4 of them ledger records")] {
        sinks[0].1.ledger.kept_by = PerDataset::of(Dataset::Ledger, kept);
        let text = closing_lines(&ledger, &kernel, &records, &sinks);
        assert!(text.contains(&format!("LOST  11 records for stdout (shutdown 11){said}\n")), "{text}");
    }
}

#[test]
fn damage_in_the_spool_is_a_loss_also_where_the_number_of_records_is_unknown() {
    let (ledger, kernel, records, mut sinks) = quiet_run();
    sinks[0].1.spool_damaged_bytes = 1234;
    assert!(closing_lines(&ledger, &kernel, &records, &sinks).contains("Nothing lost"), "a torn write");
    sinks[0].1.spool_unknown_bytes = 1200;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(
        text.contains("LOST  an unknown number of records for stdout: 1,200 damaged bytes in the spool\n"),
        "{text}"
    );
    assert!(text.ends_with("The ledger adds up.\n"), "{text}");
}

#[test]
fn a_missing_segment_is_a_loss_and_a_spool_that_could_not_be_opened_is_named() {
    let (ledger, kernel, records, mut sinks) = quiet_run();
    sinks[0].1.spool_unopened = true;
    let but = "Nothing lost, but the spool for stdout could not be opened: records of earlier runs may wait there; the \
        ledger adds up.\n";
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(text.ends_with(but), "{text}");
    sinks[0].1.spool_missing_segments = 1;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let lost = "LOST  an unknown number of records for stdout: 1 segment of the spool missing\n";
    assert!(text.contains(lost) && !text.contains("Nothing lost"), "{text}");
}

#[test]
fn lost_beginnings_are_a_loss_and_what_the_kernel_sends_again_is_none() {
    let (mut ledger, kernel, records, sinks) = quiet_run();
    (ledger.conntrack.opens, ledger.conntrack.events, ledger.conntrack.recorded) = (1, 40_000, 40_000);
    ledger.conntrack.dropped = 21;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(text.contains(" 40,021 = 40,000 read + 21 dropped and sent again\n"), "{text}");
    let but = "Nothing lost, but 21 tries to send changes and ends of tracked connections failed (the kernel sends them again); \
        the ledger adds up.\n";
    assert!(text.ends_with(but), "{text}");
    ledger.conntrack.lost_beginnings = 52;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    assert!(text.contains("LOST  52 beginnings of tracked connections: the receive buffer was full\n"), "{text}");
    assert!(!text.contains("Nothing lost"), "{text}");
}

#[test]
fn an_equation_that_does_not_hold_is_named_with_both_sides() {
    let (mut ledger, kernel, records, mut sinks) = quiet_run();
    ledger.frames.frames += 1;
    sinks[0].1.ledger.delivered = 2;
    let text = closing_lines(&ledger, &kernel, &records, &sinks);
    let frames = "DOES NOT ADD UP  frames = segments + fragments + skipped (1,234,568 against 1,234,567)\n";
    assert!(text.contains(frames), "{text}");
    assert!(text.contains("DOES NOT ADD UP  stdout: offered = "), "{text}");
    assert!(!text.contains("adds up"), "{text}");
}

#[test]
fn nothing_at_all_makes_no_noise() {
    let text = closing_lines(&Ledger::default(), &KernelCounters::default(), &RecordLedger::default(), &[]);
    assert_eq!(text, "frames    0\nrequests  0\nrecords   0\nNothing lost; the ledger adds up.\n");
}
