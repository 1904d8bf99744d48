//! Fuzzing the parsers of untrusted bytes, and the writer of disks.
//!
//! cargo-fuzz is built below the target directory. Its sanitizers are unstable
//! compiler options, which `RUSTC_BOOTSTRAP` allows to the usual compiler.

use std::{fs, path::PathBuf};

use crate::{
    Result,
    paths::{failed_at, target, workspace},
    run::{command, run, step},
    tests::cargo,
};

const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// Inputs to start from, in a directory for each target.
const SEEDS: &str = "fuzz/seeds";

/// What threads free as they end, after whoever waited for them went on, is
/// taken for leaks. Those that grow are found by the limit on memory.
const NO_LEAKS: &str = "-detect_leaks=0";

/// The targets of `fuzz/`.
const TARGETS: [&str; 10] = [
    "answers",
    "archive",
    "bundle",
    "documents",
    "layer",
    "metrics",
    "sources",
    "transfer",
    "volume",
    "writer",
];

/// Runs one target, or each, for so many seconds.
pub(crate) fn fuzz(wanted: Option<&str>, seconds: u32) -> Result<()> {
    let targets: Vec<&str> = match wanted {
        Some(wanted) => vec![known(wanted)?],
        None => TARGETS.to_vec(),
    };
    let cargo_fuzz = cargo_fuzz()?;
    for target in targets {
        step(&format!("fuzzing {target}"), || {
            let limit = format!("-max_total_time={seconds}");
            run(command(&cargo_fuzz, workspace())
                .args(["run", target])
                .args(inputs(target)?)
                .args(["--", &limit, "-print_final_stats=1", NO_LEAKS])
                .env("RUSTC_BOOTSTRAP", "1"))
        })?;
    }
    Ok(())
}

/// Where a target finds inputs: what its runs found, which is added to, and its
/// seeds, if it has any.
fn inputs(target: &str) -> Result<Vec<PathBuf>> {
    let found = workspace().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found).map_err(failed_at(&found))?;
    let seeds = workspace().join(SEEDS).join(target);
    let seeds = seeds.exists().then_some(seeds);
    Ok(std::iter::once(found).chain(seeds).collect())
}

fn known(wanted: &str) -> Result<&str> {
    let all = TARGETS.join(", ");
    let refusal = || format!("there is no target {wanted}, only {all}");
    let is_known = TARGETS.contains(&wanted);
    is_known.then_some(wanted).ok_or_else(refusal)
}

fn cargo_fuzz() -> Result<PathBuf> {
    let root = target().join("tools");
    let program = root.join("bin/cargo-fuzz");
    if !program.exists() {
        step("building cargo-fuzz", || {
            run(cargo()
                .args(["install", CARGO_FUZZ, "--locked", "--quiet", "--root"])
                .arg(&root))
        })?;
    }
    Ok(program)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_targets_are_those_there_are() {
        let files = fs::read_dir(workspace().join("fuzz/fuzz_targets")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
            .collect();
        names.sort();
        assert_eq!(names, TARGETS);
        assert!(known("nothing").is_err());
    }

    #[test]
    fn seeds_are_of_targets() {
        for directory in fs::read_dir(workspace().join(SEEDS)).unwrap() {
            let name = directory.unwrap().file_name().into_string().unwrap();
            assert!(known(&name).is_ok(), "{name}");
        }
    }
}
