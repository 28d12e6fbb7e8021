//! The podtap binary: a table of contents.

use std::process::ExitCode;

use podtap::cli::{self, Command};
use podtap::{replay, report, run, view};

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(stop) => return cli::stop(&stop),
    };
    let flags = &invocation.flags;
    match invocation.command {
        Command::Run => run::run(flags),
        Command::Replay(files) => replay::replay(&files, flags),
        Command::Report(files) => report::report(&files, flags),
        Command::View(request) => view::view(&request, flags),
        Command::Status(view) => cli::status::run(view, flags),
        Command::Demo => run::demo(flags),
        #[cfg(feature = "setup")]
        Command::Setup(asked) => cli::setup::run(&asked, flags),
        Command::Check { deep } => cli::check::run(flags, |settings| run::check(settings, deep)),
        #[cfg(feature = "inject")]
        Command::Inject(request) => cli::inject::run(&request),
        #[cfg(feature = "webhook")]
        Command::Webhook(webhook) => cli::webhook::run(webhook),
        Command::Settings(listing) => cli::settings::run(listing, flags),
        #[cfg(feature = "top")]
        Command::Top(request) => podtap::top::top(&request, flags),
        #[cfg(feature = "manual")]
        Command::Manual(manual) => cli::manual::run(&manual, cli::grammar()),
        Command::LeftOut(feature) => cli::left_out(feature),
    }
}
