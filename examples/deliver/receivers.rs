//! Receivers that do as little as their protocol allows: each takes one connection, finds where a batch ends, answers.

use std::convert::Infallible;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Of what `forward` takes.
pub(crate) const TAG: &str = "null";
/// Of what `bulk` takes.
pub(crate) const STREAM: &str = "null";

/// Serves one connection.
pub(crate) fn start(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

fn skip(from: &mut impl Read, room: &mut [u8], mut left: usize) {
    while left > 0 {
        let most = left.min(room.len());
        left -= from.read(&mut room[..most]).unwrap();
    }
}

fn number(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes.try_into().unwrap()) as usize
}

/// Whatever comes, and not a word back.
pub(crate) fn bytes(mut stream: TcpStream) {
    let mut room = vec![0; 1 << 20];
    while stream.read(&mut room).is_ok_and(|n| n > 0) {}
}

/// Fluentd's forward: an array of three, the tag, a binary of this many bytes, options with the chunk's name.
pub(crate) fn forward(mut stream: TcpStream) {
    let (mut room, mut head) = (vec![0; 1 << 20], [0; 11]);
    while stream.read_exact(&mut head).is_ok() {
        skip(&mut stream, &mut room, number(&head[7..]));
        let (mut options, mut at) = ([0; 128], 0);
        // A map's marker, `chunk` and its 28 characters; of a compressed one 16 more bytes.
        let chunk = loop {
            at += stream.read(&mut options[at..]).unwrap();
            let behind = options[..at].windows(6).position(|window| window == b"chunk\xbc").map(|found| found + 6);
            let end = if options[0] == 0x83 { 16 } else { 0 };
            if let Some(behind) = behind.filter(|behind| at >= behind + 28 + end) {
                break options[behind..behind + 28].to_vec();
            }
        };
        stream.write_all(&[b"\x81\xa3ack\xbc", chunk.as_slice()].concat()).unwrap();
    }
}

/// Lumberjack: a frame an event.
pub(crate) fn windows(stream: TcpStream) {
    let (mut head, mut event, mut room) = ([0; 6], [0; 10], vec![0; 1 << 20]);
    let mut answers = stream.try_clone().unwrap();
    let mut stream = BufReader::with_capacity(1 << 20, stream);
    while stream.read_exact(&mut head).is_ok() {
        for _ in 0..number(&head[2..]) {
            stream.read_exact(&mut event).unwrap();
            skip(&mut stream, &mut room, number(&event[6..]));
        }
        answers.write_all(&[b"2A", &head[2..]].concat()).unwrap();
    }
}

/// Lumberjack: one compressed frame a window.
pub(crate) fn compressed_windows(mut stream: TcpStream) {
    let (mut head, mut frame, mut room) = ([0; 6], [0; 6], vec![0; 1 << 20]);
    while stream.read_exact(&mut head).is_ok() {
        stream.read_exact(&mut frame).unwrap();
        skip(&mut stream, &mut room, number(&frame[2..]));
        stream.write_all(&[b"2A", &head[2..]].concat()).unwrap();
    }
}

/// HTTP requests with a length.
pub(crate) fn requests(mut stream: TcpStream) {
    let (mut head, mut byte, mut room) = (Vec::new(), [0], vec![0; 1 << 20]);
    while stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            skip(&mut stream, &mut room, length.parse().unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    }
}

/// Answers every `_bulk` with as many successes as it has records, everything else as a data stream that exists.
pub(crate) fn bulk() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request| async {
                    Ok::<_, Infallible>(hyper::Response::new(Whole(Some(answer(request).await.into()))))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    address
}

async fn answer(request: hyper::Request<Incoming>) -> String {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    match head.uri.path() {
        "/" => r#"{"version":{"number":"9.1.0"}}"#.to_owned(),
        "/null" => r#"{".ds-null-000001":{"data_stream":"null"}}"#.to_owned(),
        path if path.ends_with("/_bulk") => {
            if head.headers.contains_key("content-encoding") {
                let mut unzipped = Vec::new();
                flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unzipped).unwrap();
                bytes = unzipped;
            }
            let records = memchr::memchr_iter(b'\n', &bytes).count() / 2;
            let items = vec![r#"{"create":{"status":201}}"#; records];
            format!(r#"{{"items":[{}]}}"#, items.join(","))
        }
        _ => "{}".to_owned(),
    }
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
