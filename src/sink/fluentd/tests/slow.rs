//! Servers that take their time, and credentials that change meanwhile.

use super::*;

#[tokio::test]
async fn an_acknowledgement_that_comes_late_over_an_earlier_connection_counts() {
    let server = listener().await;
    let mut sink = sink(&server, BOTH);
    let records = batch(&["a", "b"]);
    let slow = async {
        let mut peer = accept(&server).await;
        let chunk = peer.hears_chunk().await;
        (peer, chunk)
    };
    let (result, (mut first, chunk)) = tokio::join!(sink.deliver(&records), slow);
    assert!(matches!(result, Err(SinkError::Transient(_))), "{result:?}");
    let late = async {
        let mut second = accept(&server).await;
        assert_eq!(second.hears_chunk().await, chunk, "it goes again meanwhile");
        first.acks(&chunk).await;
        // Nothing is said here.
        second
    };
    let (result, _second) = deliver(&mut sink, &records, late).await;
    assert_eq!(result, Ok(Delivery::default()));
    let next = async { accept(&server).await.hears_and_acks().await };
    let (result, name) = deliver(&mut sink, &batch(&["c"]), next).await;
    assert_eq!((result, name == chunk), (Ok(Delivery::default()), false));
}

#[tokio::test]
async fn a_server_slower_than_the_time_limit_gets_longer_each_time_and_then_delivers() {
    let server = listener().await;
    let mut sink = sink(&server, SHORT);
    let records = batch(&["a"]);
    let mut connections = Vec::new();
    let mut attempts = 0;
    let chunk = loop {
        attempts += 1;
        let silent = async {
            let mut peer = accept(&server).await;
            let chunk = peer.hears_chunk().await;
            connections.push(peer);
            chunk
        };
        let before = sink.patience.limit();
        let (result, chunk) = tokio::join!(sink.deliver(&records), silent);
        assert!(matches!(result, Err(SinkError::Transient(_))) && sink.patience.limit() == before * 2, "{result:?}");
        if attempts == 3 {
            break chunk;
        }
    };
    connections[1].acks(&chunk).await;
    let again = async {
        if let Ok((stream, _)) = server.accept().await {
            connections.push(Peer { stream, arrived: Vec::new() });
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = sink.deliver(&records) => assert_eq!(result, Ok(Delivery::default())),
        () = again => {}
    }
}

#[tokio::test]
async fn credentials_that_were_renewed_are_used_for_the_next_connection() {
    let server = listener().await;
    let right =
        ForwardCredentials { shared_key: KEY.to_owned(), username: "me".to_owned(), password: PASSWORD.to_owned() };
    let old = ForwardCredentials { shared_key: "of yesterday".to_owned(), ..right.clone() };
    let options = FluentdOptions { timeout: BOTH, credentials: Some(old), ..FluentdOptions::default() };
    let mut sink = sink_to(&[server.local_addr().unwrap()], options).with_credentials_of(move || Some(right.clone()));
    let script = async {
        let mut peer = accept(&server).await;
        peer.shakes_hands(HELO, b"\xff\0").await;
        peer.hears_and_acks().await
    };
    assert_eq!(deliver(&mut sink, &batch(&["a"]), script).await.0, Ok(Delivery::default()));
}
