//! A paced HTTP client: this many requests a second over this many keep-alive connections, and an exact count of answers.
//!
//! `cargo run --release --example load -- 127.0.0.1:8080 --rate 500 --seconds 10 --connections 20`. Each request goes out
//! at its own time, whether or not others are still waiting. So a slow server cannot slow the load down unnoticed.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use podtap::synth::message::request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = command().get_matches();
    match run(&arguments).await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(u32).range(1..)).default_value(default)
    };
    Command::new("load")
        .about("Sends GET requests at a fixed rate and counts the answers")
        .arg(Arg::new("server").value_name("ADDRESS:PORT").required(true).value_parser(value_parser!(SocketAddr)))
        .arg(number("rate", "500").help("requests a second, all connections together"))
        .arg(number("seconds", "10"))
        .arg(number("connections", "20"))
}

async fn run(arguments: &ArgMatches) -> io::Result<String> {
    let number = |name| arguments.get_one::<u32>(name).copied().unwrap_or(1);
    let (rate, seconds, connections) = (number("rate"), number("seconds"), number("connections"));
    let server = *arguments.get_one::<SocketAddr>("server").ok_or(io::ErrorKind::InvalidInput)?;
    let total = rate * seconds;
    let begun = clock() + Duration::from_millis(100);
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..connections.min(total) {
        // Connection n sends requests n, n + connections, …: times spread evenly over all.
        let times = (first..total).step_by(connections as usize);
        let times: Vec<Instant> = times.map(|n| begun + Duration::from_secs(1) * n / rate).collect();
        tasks.spawn(connection(server, times));
    }
    let mut latencies = Vec::with_capacity(total as usize);
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let wall = begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |p: usize| latencies.get(latencies.len().saturating_sub(1) * p / 100).copied().unwrap_or_default();
    let answered = latencies.len();
    Ok(format!(
        "sent={total} answered={answered} seconds={wall:.3} p50_us={} p99_us={}",
        percentile(50).as_micros(),
        percentile(99).as_micros()
    ))
}

#[allow(clippy::disallowed_methods, reason = "a client on the real clock")]
fn clock() -> Instant {
    Instant::now()
}

/// One request at each of `times`, or as soon after it as the connection is free. Gives how long each took: from when it
/// went out, or from when it was due if the connection was not free then. A late timer is not the server's fault.
async fn connection(server: SocketAddr, times: Vec<Instant>) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let host = server.to_string();
    let mut buffer = Vec::with_capacity(8192);
    let mut latencies = Vec::with_capacity(times.len());
    for (number, due) in times.into_iter().enumerate() {
        let overdue = clock() > due;
        sleep_until(due).await;
        let begun = if overdue { due } else { clock() };
        let target = format!("/items/{number}?page={}", number % 7);
        let headers = [("Host", host.as_str()), ("User-Agent", "podtap-load"), ("Accept", "*/*")];
        stream.write_all(&request("GET", &target, &headers, b"")).await?;
        answer(&mut stream, &mut buffer).await?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

/// Reads one response with a Content-Length, which is all that the server of the benchmark sends.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    loop {
        match message_length(buffer) {
            Some(length) if buffer.len() == length => return Ok(()),
            Some(length) if buffer.len() > length => return Err(io::ErrorKind::InvalidData.into()),
            Some(_) | None => {}
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Length of head and body, once the head is whole.
fn message_length(buffer: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(buffer) else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    Some(head + std::str::from_utf8(length.value).ok()?.parse::<usize>().ok()?)
}
