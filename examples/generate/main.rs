//! Writes the captures of the benchmarks: `cargo run --release --example generate -- small OUT.pcap`.
//!
//! Streams them out, so memory stays small whatever the size; the same seed gives the same bytes.

mod heads;
mod http2;
mod plans;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use plans::{PLANS, Plan};
use podtap::synth::{LinkHeaders, PcapWriter, TimeResolution, merge};

fn main() -> ExitCode {
    let arguments = command().get_matches();
    let text = |name: &str| arguments.get_one::<String>(name).map_or("", |s| s.as_str());
    let Some(plan) = PLANS.iter().find(|plan| plan.name == text("plan")) else { return ExitCode::FAILURE };
    let seed = arguments.get_one("seed").copied().unwrap_or(1);
    let scale = arguments.get_one("scale").copied().unwrap_or(1.0);
    match write(plan, text("out"), seed, scale) {
        Ok(summary) => {
            eprintln!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("generate: {}: {error}", text("out"));
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let plans: Vec<String> = PLANS.iter().map(|plan| format!("  {:<14} {}", plan.name, plan.about)).collect();
    Command::new("generate")
        .about("Writes a capture of made-up HTTP traffic")
        .after_help(format!("Plans:\n{}", plans.join("\n")))
        .arg(Arg::new("plan").value_name("PLAN").required(true).value_parser(PLANS.map(|plan| plan.name)))
        .arg(Arg::new("out").value_name("OUT.pcap").required(true).help("- is standard output"))
        .arg(Arg::new("seed").long("seed").value_parser(value_parser!(u64)).help("default 1"))
        .arg(Arg::new("scale").long("scale").value_parser(value_parser!(f64)).help("times the size; default 1"))
}

fn write(plan: &Plan, path: &str, seed: u64, scale: f64) -> io::Result<String> {
    let out: Box<dyn Write> = if path == "-" { Box::new(io::stdout()) } else { Box::new(File::create(path)?) };
    let out = BufWriter::with_capacity(1 << 20, out);
    let mut file = PcapWriter::new(out, LinkHeaders::Ethernet.link_type(), TimeResolution::Micro)?;
    let size = (f64::from(plan.size) * scale).round() as u32;
    let (mut frames, mut bytes) = (0u64, 0u64);
    for frame in merge((plan.lanes)(size, seed)) {
        file.write(&frame)?;
        frames += 1;
        bytes += u64::from(frame.wire_len);
    }
    file.finish()?;
    Ok(format!("plan={} {}={size} frames={frames} bytes={bytes}", plan.name, plan.unit))
}
