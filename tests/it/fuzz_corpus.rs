//! The fuzz targets with the stable compiler: seeds, inputs that once found something, and a little chance.

#[allow(unreachable_pub, reason = "public in the crate of the fuzz targets, which shares it")]
#[path = "../../fuzz/src/lib.rs"]
pub(crate) mod targets;

use std::path::Path;

use podtap::synth::Rng;
use targets::{TARGETS, seeds};

/// Changes tried on each seed.
const CHANGES: u64 = 40;

#[test]
fn every_target_takes_its_seeds() {
    for (name, target) in TARGETS {
        let seeds = seeds::of(name);
        assert!(seeds.len() >= 4, "{name}");
        seeds.iter().for_each(|seed| target(seed));
    }
}

#[test]
fn every_target_takes_what_once_found_something() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for (name, target) in TARGETS {
        for entry in std::fs::read_dir(folder.join(name)).into_iter().flatten() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }
}

/// These clients can be found out: it would be too little to label their pairs.
#[test]
fn pairs_that_once_were_wrong_are_right_now_and_not_only_labelled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions/pairs");
    for entry in std::fs::read_dir(folder).unwrap() {
        targets::pairs::run_strictly(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}

/// What a fuzzer would do first, with fixed dice.
#[test]
fn every_target_takes_its_seeds_with_some_bytes_changed() {
    let mut rng = Rng::new(1);
    for (name, target) in TARGETS {
        for (number, seed) in seeds::of(name).into_iter().enumerate() {
            for change in 0..CHANGES {
                let changed = changed(&seed, &mut rng);
                eprintln!("{name} seed {number} change {change}: {changed:02x?}");
                target(&changed);
            }
        }
    }
}

fn changed(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.between(1, 8) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(4) {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, rng.number() as u8),
            _ => bytes[at] = rng.number() as u8,
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}
