//! The podtap binary: a table of contents.

use std::process::ExitCode;

use podtap::cli::{self, Command};

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(stop) => return cli::stop(&stop),
    };
    let flags = &invocation.flags;
    match invocation.command {
        Command::Settings(listing) => cli::settings::run(listing, flags),
        Command::Check => cli::check::run(flags, |_| Vec::new()),
        Command::Run | Command::Replay(_) | Command::Demo => not_yet(flags),
    }
}

/// Stands where capture, replay and demo are wired in.
fn not_yet(flags: &podtap::settings::Pairs) -> ExitCode {
    match podtap::config::load(flags) {
        Ok(_) => {
            eprintln!("podtap: not wired in yet");
            ExitCode::FAILURE
        }
        Err(wrong) => cli::refuse(&wrong),
    }
}
