use super::super::lumberjack::MAX_WINDOW;
use super::*;

const THREE: [&str; 3] = ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"];

fn sink(server: &TcpListener, timeout: Duration) -> LogstashSink {
    sink_to(&[server.local_addr().unwrap()], options(LogstashTransport::Beats, timeout))
}

impl Peer {
    /// A whole window without compression: its events.
    async fn hears_window(&mut self) -> Vec<String> {
        let head = self.hears(6).await;
        assert_eq!(&head[..2], b"2W");
        let count = u32::from_be_bytes(head[2..].try_into().unwrap());
        let mut events = Vec::new();
        for sequence in 1..=count {
            let head = self.hears(10).await;
            assert_eq!(&head[..6], &[b"2J".as_slice(), &sequence.to_be_bytes()].concat());
            let length = u32::from_be_bytes(head[6..].try_into().unwrap());
            events.push(String::from_utf8(self.hears(length as usize).await).unwrap());
        }
        events
    }

    async fn acks(&mut self, sequence: u32) {
        self.says(&[b"2A".as_slice(), &sequence.to_be_bytes()].concat()).await;
    }
}

#[tokio::test]
async fn keep_alives_between_two_batches_change_nothing_and_anything_else_ends_the_connection() {
    let server = listener().await;
    for (in_between, same) in [
        (&b""[..], true),
        (b"2A\0\0\0\0", true),
        (b"2A\0\0\0\x002A\0\0\0\0", true),
        (b"2A\0\0", false),
        (b"2A\0\0\0\x01", false),
        (b"oops", false),
    ] {
        let mut sink = sink(&server, LONG);
        let first = async {
            let mut peer = accept(&server).await;
            peer.hears_window().await;
            peer.acks(1).await;
            peer
        };
        let (result, mut peer) = deliver(&mut sink, &batch(&["{}"]), first).await;
        assert_eq!(result, delivered());
        peer.says(in_between).await;
        let second = async {
            if !same {
                peer = accept(&server).await;
            }
            peer.hears_window().await;
            peer.acks(1).await;
        };
        assert_eq!(deliver(&mut sink, &batch(&["{}"]), second).await.0, delivered(), "{in_between:?}");
    }
}

#[tokio::test]
async fn after_a_part_was_acknowledged_only_the_rest_goes_again() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let records = batch(&THREE);
    let half_way = async {
        let mut peer = accept(&server).await;
        peer.hears_window().await;
        peer.acks(1).await;
        peer.acks(2).await;
        peer.acks(0).await;
    };
    let (result, ()) = deliver(&mut sink, &records, half_way).await;
    assert_eq!(result, retry([2]));
    let rest = async {
        let mut peer = accept(&server).await;
        let events = peer.hears_window().await;
        peer.acks(1).await;
        events
    };
    let (result, events) = deliver(&mut sink, &records.select(&[2]), rest).await;
    assert_eq!((result, events), (delivered(), vec!["{\"c\":3}".to_owned()]));
}

#[tokio::test]
async fn what_was_acknowledged_before_a_fault_is_delivered_whatever_the_fault() {
    let server = listener().await;
    for after in [&b"2A\0\0\0\x09"[..], b"nonsense", b"2A\0", b""] {
        let mut sink = sink(&server, BOTH);
        let script = async {
            let mut peer = accept(&server).await;
            peer.hears_window().await;
            peer.acks(1).await;
            peer.says(after).await;
            peer
        };
        let (result, mut peer) = deliver(&mut sink, &batch(&THREE), script).await;
        assert_eq!(result, retry([1, 2]), "{after:?}");
        drop(sink);
        assert_eq!(peer.hears_the_rest().await, b"", "nothing more was sent");
    }
}

#[tokio::test]
async fn a_server_that_says_anything_but_the_right_number_is_left_and_the_reason_given() {
    let server = listener().await;
    for (answer, patience, words) in [
        (&b"2A\0\0\0\x04"[..], LONG, "acknowledged 4 of 3 records"),
        (b"2A\xff\xff\xff\xff", LONG, "acknowledged 4294967295 of 3 records"),
        (b"1A\0\0\0\x03", LONG, "not an acknowledgement: \"1A\\x00"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LONG, "is it LOGSTASH_TYPE=http?"),
        (b"\x15\x03\x01\x00\x02\x02\x16", LONG, "set LOGSTASH_TLS=true"),
        (b"", SHORT, "no acknowledgement within 80ms"),
        (b"2A\0\0", SHORT, "no acknowledgement within 80ms"),
    ] {
        let mut sink = sink(&server, patience);
        let script = async {
            let mut peer = accept(&server).await;
            peer.hears_window().await;
            peer.says(answer).await;
            peer
        };
        let (why, mut peer) = fails(&mut sink, &batch(&THREE), script).await;
        assert!(why.contains(words) && why.starts_with("127.0.0.1:"), "{why}");
        if patience == SHORT {
            // It may still acknowledge: such a connection is listened to.
            drop(sink);
        }
        assert_eq!(peer.hears_the_rest().await, b"", "closed");
    }
}

#[tokio::test]
async fn a_server_at_work_has_all_the_time_it_needs_as_long_as_it_says_so() {
    let server = listener().await;
    let patience = BOTH;
    let mut sink = sink(&server, patience);
    let script = async {
        let mut peer = accept(&server).await;
        peer.hears_window().await;
        for _ in 0..11 {
            tokio::time::sleep(patience / 10).await;
            peer.acks(0).await;
        }
        peer.acks(3).await;
    };
    let (result, ()) = deliver(&mut sink, &batch(&THREE), script).await;
    assert_eq!(result, delivered());
}

#[tokio::test]
async fn a_server_that_does_not_read_is_waited_for_while_it_says_that_it_is_at_work_and_no_longer() {
    let server = narrow_listener();
    let large = batch(&[&"x".repeat(24 << 20)]);
    let patience = BOTH;
    let mut patient = sink(&server, patience);
    let script = async {
        let mut peer = accept(&server).await;
        for _ in 0..12 {
            peer.acks(0).await;
            tokio::time::sleep(patience / 10).await;
        }
        peer
    };
    let (why, _peer) = fails(&mut patient, &large, script).await;
    assert!(why.contains("no acknowledgement within 2s"), "{why}");
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_not_sent_yet_is_not_believed() {
    let server = narrow_listener();
    let mut sink = sink(&server, LONG);
    let large = "x".repeat(24 << 20);
    let script = async {
        let mut peer = accept(&server).await;
        peer.acks(1).await;
        peer
    };
    let (why, _peer) = fails(&mut sink, &batch(&[&large]), script).await;
    assert!(why.contains("acknowledged records that it has not got yet"), "{why}");
}

#[tokio::test]
async fn a_connection_that_ends_at_any_point_costs_one_attempt_and_nothing_is_taken_as_delivered() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let large = batch(&[&"x".repeat(8 << 20), "{}"]);
    for bytes in [0, 3, 20, 100_000] {
        let script = async { accept(&server).await.hears(bytes).await };
        fails(&mut sink, &large, script).await;
    }
    let (why, _) = fails(&mut sink, &batch(&["{}"]), async { accept(&server).await.hears_window().await }).await;
    assert!(why.contains("closed the connection, acknowledgement was expected"), "{why}");
}

#[tokio::test]
async fn a_batch_larger_than_a_window_goes_in_several_and_the_acknowledged_ones_stay_so() {
    let server = listener().await;
    let bodies = vec!["{}"; MAX_WINDOW + 5];
    let records = batch(&bodies);
    for (acked, result) in [(5, delivered()), (3, retry(MAX_WINDOW + 3..MAX_WINDOW + 5))] {
        let mut sink = sink(&server, BOTH);
        let script = async {
            let mut peer = accept(&server).await;
            assert_eq!(peer.hears_window().await.len(), MAX_WINDOW);
            peer.acks(MAX_WINDOW as u32).await;
            assert_eq!(peer.hears_window().await.len(), 5);
            peer.acks(acked).await;
            peer
        };
        assert_eq!(deliver(&mut sink, &records, script).await.0, result);
    }
}

#[tokio::test]
async fn a_host_that_accepts_and_does_not_answer_loses_its_turn() {
    let (bad, good) = (listener().await, listener().await);
    let addresses = [bad.local_addr().unwrap(), good.local_addr().unwrap()];
    let mut sink = sink_to(&addresses, options(LogstashTransport::Beats, BOTH));
    let (_, _open) = fails(&mut sink, &batch(&["{}\n"]), accept(&bad)).await;
    let script = async { takes_one(&mut accept(&good).await, LogstashTransport::Beats).await };
    assert_eq!(deliver(&mut sink, &batch(&["{}\n"]), script).await.0, delivered());
}

#[tokio::test]
async fn the_check_knows_a_beats_input_from_other_servers_and_leaves_no_event() {
    let server = listener().await;
    for (to_empty, to_wrong, words, fine) in [
        (Some(&b"2A\0\0\0\0"[..]), None, "acknowledged an empty window", true),
        (None, Some(&b""[..]), "closed the connection on a wrong frame", true),
        (None, None, "LOGSTASH_TYPE=tcp?", false),
        (None, Some(b"2A\0\0\0\0"), "acknowledged a wrong frame", false),
        (Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None, "LOGSTASH_TYPE=http?", false),
        (Some(b"\x15\x03\x01\x00\x02\x02\x16"), None, "LOGSTASH_TLS=true", false),
        (Some(b""), None, "closed the connection, acknowledgement was expected", false),
    ] {
        let mut sink = sink(&server, LONG);
        let script = async {
            let mut peer = accept(&server).await;
            assert_eq!(peer.hears(6).await, b"2W\0\0\0\0");
            if let Some(answer) = to_empty {
                return peer.says(answer).await;
            }
            assert_eq!(peer.hears(8).await, b"2W\0\0\0\x012?");
            match to_wrong {
                Some(answer) => peer.says(answer).await,
                None => assert_eq!(peer.hears_the_rest().await, b""),
            }
        };
        let found = check(&mut sink, script).await;
        assert_eq!(found.fault.is_none(), fine, "{found}");
        assert!(found.to_string().contains(words), "{found}");
        assert!(found.steps[0].contains("in the clear"), "{found}");
    }
}

#[tokio::test]
async fn an_acknowledgement_that_comes_late_over_an_earlier_connection_counts() {
    let server = listener().await;
    let mut sink = sink(&server, BOTH);
    let records = batch(&THREE);
    let slow = async {
        let mut peer = accept(&server).await;
        peer.hears_window().await;
        peer.acks(1).await;
        peer
    };
    let (result, mut first) = tokio::join!(sink.deliver(&records), slow);
    let delivery = result.unwrap();
    assert_eq!(delivery.retry, [1, 2], "the first was acknowledged in time");
    let late = async {
        let mut second = accept(&server).await;
        assert_eq!(second.hears_window().await.len(), 2, "the others go again meanwhile");
        first.acks(3).await;
        second
    };
    let (result, _second) = deliver(&mut sink, &records.range(1, 3), late).await;
    assert_eq!(result, delivered());
}
