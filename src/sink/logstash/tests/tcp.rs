use super::*;

fn sink(server: &TcpListener, timeout: Duration) -> LogstashSink {
    sink_to(&[server.local_addr().unwrap()], options(LogstashTransport::Tcp, timeout))
}

#[tokio::test]
async fn lines_go_out_as_they_are_over_one_connection() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let mut second = batch(&["{\"b\":2}\n", "{\"c\":3}\n"]);
    second.push(piece(&["{\"d\":4}\n"]));
    let both = async { (sink.deliver(&batch(&["{\"a\":1}\n"])).await, sink.deliver(&second).await) };
    let script = async { accept(&server).await.hears(32).await };
    let (results, heard) = tokio::join!(both, script);
    assert_eq!(results, (delivered(), delivered()));
    assert_eq!(heard, b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n{\"d\":4}\n");
}

#[tokio::test]
async fn a_batch_that_a_reset_connection_may_have_lost_goes_again_before_the_next() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    // Accepted, in the server's kernel, and never read: the end of that connection is a reset.
    let unread = accept(&server);
    let (result, unread) = deliver(&mut sink, &batch(&["{\"a\":1}\n"]), unread).await;
    assert_eq!(result, delivered());
    drop(unread);
    let script = async { accept(&server).await.hears(16).await };
    let (result, heard) = deliver(&mut sink, &batch(&["{\"b\":2}\n"]), script).await;
    assert_eq!(result, delivered());
    assert_eq!(heard, b"{\"a\":1}\n{\"b\":2}\n");
}

#[tokio::test]
async fn it_goes_again_too_when_that_shows_only_in_the_next_batch_and_over_several_attempts() {
    let server = narrow_listener();
    let mut sink = sink(&server, LONG);
    let (result, mut first) = deliver(&mut sink, &batch(&["{\"a\":1}\n"]), accept(&server)).await;
    assert_eq!(result, delivered());
    let large = "x".repeat(24 << 20);
    fails(&mut sink, &batch(&[&large]), async move { first.hears(9).await }).await;
    let reset = async {
        let mut peer = accept(&server).await;
        assert_eq!(peer.hears(9).await, b"{\"a\":1}\nx");
    };
    fails(&mut sink, &batch(&[&large]), reset).await;
    let script = async { accept(&server).await.hears(16).await };
    let (result, heard) = deliver(&mut sink, &batch(&["{\"b\":2}\n"]), script).await;
    assert_eq!(result, delivered());
    assert_eq!(heard, b"{\"a\":1}\n{\"b\":2}\n");
}

#[tokio::test]
async fn a_server_that_ends_its_half_and_then_resets_costs_one_attempt() {
    let server = narrow_listener();
    let mut sink = sink(&server, LONG);
    // More than the server's kernel takes, and no more than ours does at once.
    let lines = "x".repeat(12 << 10);
    let script = async {
        let mut peer = accept(&server).await;
        peer.stream.readable().await.unwrap();
        // From here on reading shows only this end, whatever comes after it.
        peer.stream.shutdown().await.unwrap();
    };
    fails(&mut sink, &batch(&[&lines]), script).await;
    let script = async { accept(&server).await.hears(12 << 10).await.len() };
    assert_eq!(deliver(&mut sink, &batch(&[&lines]), script).await, (delivered(), 12 << 10));
}

#[tokio::test]
async fn what_was_read_before_the_connection_ended_does_not_go_again() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let once = async { accept(&server).await.hears(8).await };
    assert_eq!(deliver(&mut sink, &batch(&["{\"a\":1}\n"]), once).await.0, delivered());
    let script = async { accept(&server).await.hears(8).await };
    let (result, heard) = deliver(&mut sink, &batch(&["{\"b\":2}\n"]), script).await;
    assert_eq!((result, heard), (delivered(), b"{\"b\":2}\n".to_vec()));
}

#[tokio::test]
async fn the_only_host_is_waited_for_while_it_does_not_read() {
    let server = narrow_listener();
    let mut sink = sink(&server, SHORT);
    let large = "x".repeat(16 << 20);
    let script = async {
        let mut peer = accept(&server).await;
        tokio::time::sleep(SHORT * 4).await;
        peer.hears(16 << 20).await.len()
    };
    let (result, heard) = deliver(&mut sink, &batch(&[&large]), script).await;
    assert_eq!((result, heard), (delivered(), 16 << 20));
}

#[tokio::test]
async fn one_of_several_hosts_that_does_not_read_loses_its_turn() {
    let (bad, good) = (narrow_listener(), listener().await);
    let addresses = [bad.local_addr().unwrap(), good.local_addr().unwrap()];
    let mut sink = sink_to(&addresses, options(LogstashTransport::Tcp, BOTH));
    let large = batch(&[&"x".repeat(16 << 20)]);
    let (why, _open) = fails(&mut sink, &large, accept(&bad)).await;
    assert!(why.contains("no progress in sending within 2s"), "{why}");
    let script = async { accept(&good).await.hears(16 << 20).await.len() };
    assert_eq!(deliver(&mut sink, &large, script).await, (delivered(), 16 << 20));
}

#[tokio::test]
async fn a_connection_that_ends_while_a_batch_is_sent_costs_one_attempt() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let large = batch(&[&"x".repeat(24 << 20)]);
    for bytes in [0, 1, 100_000] {
        fails(&mut sink, &large, async { accept(&server).await.hears(bytes).await }).await;
    }
}

#[tokio::test]
async fn a_server_that_answers_in_another_language_is_recognised_and_small_talk_is_let_pass() {
    let server = listener().await;
    let large = "x".repeat(24 << 20);
    for (answer, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "LOGSTASH_TYPE=http"),
        (b"\x15\x03\x01\0\x02\x02\x16", "LOGSTASH_TLS"),
    ] {
        let mut sink = sink(&server, LONG);
        let script = async {
            let mut peer = accept(&server).await;
            peer.says(answer).await;
            peer
        };
        let (why, _peer) = fails(&mut sink, &batch(&[&large]), script).await;
        assert!(why.contains(words), "{why}");
    }
    let mut sink = sink(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        peer.says(b"220 welcome\r\n").await;
        peer.hears(24 << 20).await.len()
    };
    assert_eq!(deliver(&mut sink, &batch(&[&large]), script).await, (delivered(), 24 << 20));
}

#[tokio::test]
async fn the_check_says_what_can_be_known_and_what_cannot() {
    let server = listener().await;
    for (answer, words) in [
        (None, "whether records arrive cannot be known"),
        (Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]), "LOGSTASH_TYPE=http"),
        (Some(b""), "closed the connection"),
    ] {
        let mut sink = sink(&server, LONG);
        let script = async {
            let mut peer = accept(&server).await;
            match answer {
                Some(answer) => peer.says(answer).await,
                None => assert_eq!(peer.hears_the_rest().await, b""),
            }
        };
        let found = check(&mut sink, script).await;
        assert!(found.to_string().contains(words), "{found}");
        assert_eq!(found.fault.is_none(), answer.is_none());
    }
}
