use tokio::net::UdpSocket;

use super::super::super::RejectedRecord;
use super::*;

fn udp(max_datagram: usize) -> LogstashOptions {
    LogstashOptions { max_datagram, ..options(LogstashTransport::Udp, LONG) }
}

/// An address on loopback of this process and this test, with a port that the kernel gives to no one. As long as the test
/// does not listen there, no one does.
fn alone(test: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    ([127, high, low, test], 20_514).into()
}

async fn heard(server: &UdpSocket) -> Vec<u8> {
    let mut room = vec![0; 1 << 16];
    let length = server.recv(&mut room).await.unwrap();
    room.truncate(length);
    room
}

#[tokio::test]
async fn each_record_is_a_datagram_and_too_large_ones_are_rejected_by_name() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink_to(&[server.local_addr().unwrap()], udp(10));
    let result = sink.deliver(&batch(&["{\"a\":1}\n", "{\"long\":12}\n", "1234567890\n", "{}"])).await;
    let reason = "a record of 11 bytes is too large for a datagram (10 bytes)".to_owned();
    assert_eq!(result, Ok(Delivery { rejected: vec![RejectedRecord { index: 1, reason }], ..Delivery::default() }));
    for body in [&b"{\"a\":1}"[..], b"1234567890", b"{}"] {
        assert_eq!(heard(&server).await, body);
    }
}

#[tokio::test]
async fn a_record_that_only_the_kernel_finds_too_large_is_rejected_and_the_others_go() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink_to(&[server.local_addr().unwrap()], udp(1 << 20));
    let (fits, does_not) = ("x".repeat(MAX_DATAGRAM), "x".repeat(MAX_DATAGRAM + 1));
    let result = sink.deliver(&batch(&[&does_not, &fits])).await.unwrap();
    assert_eq!(result.rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [0]);
    assert!(result.rejected[0].reason.contains("65508 bytes is too large"), "{:?}", result.rejected);
    assert_eq!(heard(&server).await.len(), MAX_DATAGRAM);
}

#[tokio::test]
async fn where_no_one_listens_the_batch_goes_again_to_the_next_host() {
    let dead = dead(1);
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink_to(&[dead, server.local_addr().unwrap()], udp(MAX_DATAGRAM));
    let (why, ()) = fails(&mut sink, &batch(&["{}\n"]), async {}).await;
    assert_eq!(why, format!("{dead}: {dead}: connection refused"));
    assert_eq!(sink.deliver(&batch(&["{}\n", "[]"])).await, delivered());
    assert_eq!((heard(&server).await, heard(&server).await), (b"{}".to_vec(), b"[]".to_vec()));
}

#[tokio::test]
async fn a_refusal_that_comes_late_does_not_cost_the_next_batch() {
    let address = alone(1);
    let server = UdpSocket::bind(address).await.unwrap();
    let mut sink = sink_to(&[address], udp(MAX_DATAGRAM));
    assert_eq!(sink.deliver(&batch(&["{}"])).await, delivered());
    drop(server);
    fails(&mut sink, &batch(&["{}"]), async {}).await;
    let server = UdpSocket::bind(address).await.unwrap();
    assert_eq!(sink.deliver(&batch(&["[]"])).await, delivered());
    assert_eq!(heard(&server).await, b"[]");
}

#[tokio::test]
async fn the_check_knows_a_refusal_and_says_that_it_knows_nothing_else() {
    let address = alone(2);
    let server = UdpSocket::bind(address).await.unwrap();
    let found = check(&mut sink_to(&[address], udp(MAX_DATAGRAM)), async {}).await;
    assert!(found.fault.is_none() && found.to_string().contains("cannot be known"), "{found}");
    drop(server);
    let found = check(&mut sink_to(&[address], udp(MAX_DATAGRAM)), async {}).await;
    assert_eq!(found.fault, Some(format!("{address}: connection refused")));
}
