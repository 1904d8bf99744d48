//! Fuzzing the parsers of untrusted bytes, and the writer of disks.
//!
//! cargo-fuzz is built below the target directory. Its sanitizers are unstable
//! compiler options, which `RUSTC_BOOTSTRAP` allows to the usual compiler.

use std::path::PathBuf;

use crate::{
    Result,
    paths::{target, workspace},
    run::{command, run, step},
    tests::cargo,
};

const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// The targets of `fuzz/`.
const TARGETS: [&str; 5] = ["archive", "layer", "sources", "volume", "writer"];

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
                .args(["run", target, "--", &limit, "-print_final_stats=1"])
                .env("RUSTC_BOOTSTRAP", "1"))
        })?;
    }
    Ok(())
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
        let files = std::fs::read_dir(workspace().join("fuzz/fuzz_targets")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
            .collect();
        names.sort();
        assert_eq!(names, TARGETS);
        assert!(known("nothing").is_err());
    }
}
