//! How fast, and for how much CPU: to a receiver that does nothing, beside writing the same bytes to a file.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use podtap::sink::{Batch, Delivery, Sink};

use super::*;

const RECORDS: usize = 1_000_000;

/// Nanoseconds this thread has been on a CPU.
fn on_cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// 500 records a batch, as BATCH_RECORDS has it, out of real ones.
fn batch() -> Batch {
    let mut block = Block::default();
    for (n, line) in printed().iter().cycle().take(500).enumerate() {
        block.push(|out| {
            out.extend_from_slice(line.replace("for-", &format!("for-{n}-")).as_bytes());
            out.push(b'\n');
            (format!("id-{n}").as_str().into(), Timestamp::new(1, 0))
        });
    }
    let mut batch = Batch::default();
    batch.push(Piece::whole(Arc::new(block)));
    batch
}

/// Takes a batch after the other, looks at nothing but where it ends, and answers.
fn null_receiver(listener: &TcpListener, transport: Transport, compress: bool) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut room = vec![0; 1 << 20];
    let mut skip = |stream: &mut std::net::TcpStream, mut left: usize| {
        while left > 0 {
            let most = left.min(room.len());
            left -= stream.read(&mut room[..most]).unwrap();
        }
    };
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    match transport {
        Transport::Beats => {
            let mut head = [0; 6];
            while stream.read_exact(&mut head).is_ok() {
                let ack = [b"2A", &head[2..]].concat();
                if compress {
                    stream.read_exact(&mut head).unwrap();
                    skip(&mut stream, number(&head[2..]));
                } else {
                    let mut event = [0; 10];
                    let mut buffered = std::io::BufReader::with_capacity(1 << 20, &stream);
                    for _ in 0..number(&ack[2..]) {
                        buffered.read_exact(&mut event).unwrap();
                        let length = number(&event[6..]) as u64;
                        std::io::copy(&mut (&mut buffered).take(length), &mut std::io::sink()).unwrap();
                    }
                }
                stream.write_all(&ack).unwrap();
            }
        }
        Transport::Http => {
            let mut head = Vec::new();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
                if head.ends_with(b"\r\n\r\n") {
                    let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                    skip(&mut stream, length.parse().unwrap());
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
            }
        }
        Transport::Tcp | Transport::Udp => while stream.read(&mut room).is_ok_and(|n| n > 0) {},
    }
}

#[test]
#[ignore = "a measurement: cargo test --release --test it logstash::throughput -- --ignored --nocapture"]
fn throughput_to_a_receiver_that_does_nothing() {
    let batch = batch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = |what: &str, start: (Instant, u64), records: usize| {
        let (wall, cpu) = (start.0.elapsed(), on_cpu() - start.1);
        let a_second = records as f64 / wall.as_secs_f64();
        println!("{what}: {a_second:.0} records/s, {} ns CPU a record", cpu / records as u64);
    };
    #[allow(clippy::disallowed_methods, reason = "a measurement")]
    let now = || (Instant::now(), on_cpu());
    println!("{} records of {} bytes a batch", batch.records(), batch.bytes() / batch.records());
    for (transport, compress) in [
        (Transport::Beats, false),
        (Transport::Beats, true),
        (Transport::Http, false),
        (Transport::Http, true),
        (Transport::Tcp, false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = std::thread::spawn(move || null_receiver(&listener, transport, compress));
        let mut sink = logstash(port, None, LogstashOptions { compress, ..options(transport) });
        let start = now();
        for _ in 0..RECORDS / batch.records() {
            assert_eq!(runtime.block_on(sink.deliver(&batch)), Ok(Delivery::default()));
        }
        report(&format!("{transport:?}{}", if compress { ", compressed" } else { "" }), start, RECORDS);
        drop(sink);
        receiver.join().unwrap();
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("throughput.jsonl");
    let mut file = fs::File::create(&scratch).unwrap();
    let start = now();
    for _ in 0..RECORDS / batch.records() {
        batch.slices().for_each(|slice| file.write_all(&slice).unwrap());
    }
    report("file", start, RECORDS);
    fs::remove_file(&scratch).unwrap();
}
