//! Runs captures made up by the thousand through the dissector and says what it got wrong, in a table by kind.
//!
//! The model is in `model`; this is its command line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool for developers ends where something is wrong")]

mod model;

use std::process::ExitCode;

use model::{Case, KINDS, Kind, Verdict, judge, shrink, story};
use podtap::synth::pcap;

const HELP: &str = "\
Usage: campaign [options]
  --kind NAMES       only these kinds, separated by commas (default: all)
  --loss SHARES      only these shares of frames lost, in percent: 1,5
  --exchanges N      about so many exchanges for each kind and loss (default: 3000)
  --seed N           begin with this seed (default: 1)
  --one SEED         only the case with this seed: needs --kind and --loss
  --about FAILURE    which seeds to print, and what to shrink: lies (default), wrong,
                     forged, twice, sizes, time, ledger, blamed, blind, alone, missed
  --show N           failing seeds to print for each line of the table (default: 3)
  --shrink           with --one: the fewest losses, then the fewest packets that still fail
  --dump FILE        with --one: write the capture (shrunk with --shrink) as pcap
  --list             the kinds
";

struct Options {
    kinds: Vec<&'static Kind>,
    losses: Option<Vec<f64>>,
    exchanges: u64,
    seed: u64,
    one: Option<u64>,
    about: String,
    show: usize,
    shrink: bool,
    dump: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    match options.one {
        Some(seed) => one(&options, seed),
        None => all(&options),
    }
}

fn options() -> Option<Options> {
    let mut options = Options {
        kinds: KINDS.iter().collect(),
        losses: None,
        exchanges: 3000,
        seed: 1,
        one: None,
        about: "lies".to_owned(),
        show: 3,
        shrink: false,
        dump: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--shrink" => options.shrink = true,
            "--list" => {
                KINDS.iter().for_each(|kind| println!("{:12} {}", kind.name, kind.about));
                std::process::exit(0);
            }
            "--kind" => {
                let names = words.next()?;
                let find = |name: &str| KINDS.iter().find(|kind| kind.name == name);
                options.kinds = names.split(',').map(find).collect::<Option<_>>()?;
            }
            "--loss" => {
                let share = |text: &str| text.parse::<f64>().ok().map(|percent| percent / 100.0);
                options.losses = Some(words.next()?.split(',').map(share).collect::<Option<_>>()?);
            }
            "--exchanges" => options.exchanges = words.next()?.parse().ok()?,
            "--seed" => options.seed = words.next()?.parse().ok()?,
            "--one" => options.one = Some(words.next()?.parse().ok()?),
            "--about" => options.about = words.next().filter(|about| Verdict::default().count(about).is_some())?,
            "--show" => options.show = words.next()?.parse().ok()?,
            "--dump" => options.dump = Some(words.next()?),
            _ => return None,
        }
    }
    Some(options)
}

/// The fault to shrink: of several lies the first, lest one becomes another on the way.
fn fault(options: &Options, case: &Case) -> String {
    let verdict = judge::judge(case);
    let lies = ["wrong", "forged", "twice", "sizes", "time", "ledger"];
    let first = lies.into_iter().find(|about| verdict.count(about).unwrap_or(0) > 0);
    if options.about == "lies" { first.unwrap_or("lies").to_owned() } else { options.about.clone() }
}

fn all(options: &Options) -> ExitCode {
    println!(
        "{:12} {:>6} {:>9} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}  seeds",
        "kind",
        "loss%",
        "exchanges",
        "seen",
        "paired",
        "WRONG",
        "(cmpl)",
        "FORGED",
        "twice",
        "sizes",
        "time",
        "ledger",
        "blamed",
        "blind",
        "alone"
    );
    let mut sum = Verdict::default();
    for kind in &options.kinds {
        let losses = options.losses.clone().unwrap_or_else(|| kind.losses.to_vec());
        for loss in losses {
            sum += line(options, kind, loss);
        }
    }
    println!("{} exchanges, {} records, {} lies", sum.exchanges, sum.records, sum.lies());
    ExitCode::from(u8::from(sum.lies() > 0))
}

fn line(options: &Options, kind: &Kind, loss: f64) -> Verdict {
    let (mut sum, mut seeds, mut seed) = (Verdict::default(), Vec::new(), options.seed);
    while sum.exchanges < options.exchanges {
        let verdict = judge::judge(&kind.case(seed, loss));
        if seeds.len() < options.show && verdict.count(&options.about).unwrap_or(0) > 0 {
            seeds.push(seed.to_string());
        }
        sum += verdict;
        seed += 1;
    }
    let share = if sum.seen == 0 { 100.0 } else { 100.0 * sum.paired as f64 / sum.seen as f64 };
    println!(
        "{:12} {:>6} {:>9} {:>8} {:>6.2}% {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}  {}",
        kind.name,
        loss * 100.0,
        sum.exchanges,
        sum.seen,
        share,
        sum.wrong,
        sum.wrong_complete,
        sum.forged,
        sum.twice,
        sum.not_complete,
        sum.bad_time,
        sum.imbalances,
        sum.blamed,
        sum.blamed_blindly,
        sum.forged_alone,
        seeds.join(" ")
    );
    sum
}

fn one(options: &Options, seed: u64) -> ExitCode {
    let (&[kind], Some(&[loss])) = (options.kinds.as_slice(), options.losses.as_deref()) else {
        eprintln!("--one needs one --kind and one --loss");
        return ExitCode::from(2);
    };
    let mut case = kind.case(seed, loss);
    let about = fault(options, &case);
    let fails = |case: &Case| judge::judge(case).count(&about).unwrap_or(0) > 0;
    if options.shrink && fails(&case) {
        case = shrink::fewest_losses(&case, fails);
        println!("The fewest losses:\n{}", story::story(&case, true));
        case = shrink::latest_begin(&case, fails);
        println!("The latest begin:\n{}", story::story(&case, true));
        if about != "missed" {
            case = shrink::fewest_packets(&case, fails);
            println!("The fewest packets:\n{}", story::story(&case, false));
        }
    } else {
        println!("{}", story::story(&case, true));
    }
    if let Some(path) = &options.dump {
        std::fs::write(path, pcap(&case.frames())).unwrap();
    }
    ExitCode::SUCCESS
}
