//! Running every test, with everything it needs.

use std::{fs, process::Command};

use crate::{
    Result, golden_image, guest, packages,
    paths::{environment, failed_at, workspace},
    run::{capture, command, run, say, step},
    testbed,
};

/// Where property tests start: a run can be repeated. Another seed, or more
/// cases (`PROPTEST_CASES`), look elsewhere.
const PROPERTY_SEED: &str = "1";

/// Installs, builds and makes what tests need, and runs them.
pub(crate) fn test(filters: &[String]) -> Result<()> {
    testbed::check_architecture()?;
    if !packages::is_root() {
        return Err("the tests mount disks and make device nodes: run them as root".to_owned());
    }
    packages::install(packages::Set::Test)?;
    let guest = guest::build()?;
    let testbed = testbed::make()?;
    golden_image::provide(&testbed)?;
    let seed = environment("PROPTEST_RNG_SEED").unwrap_or_else(|| PROPERTY_SEED.to_owned());
    let with_parts = |mut command: Command| {
        command
            .env("PROPTEST_RNG_SEED", &seed)
            .env("BANGER_TESTBED", &testbed)
            .env("BANGER_GUEST_PROGRAM", &guest);
        command
    };
    step("running the tests", || {
        run(with_parts(test_runner()).args(filters))
    })?;
    if !filters.is_empty() {
        return Ok(());
    }
    // nextest runs no documentation tests
    let documentation = ["test", "--workspace", "--all-features", "--doc", "--quiet"];
    step("running the documentation's tests", || {
        run(with_parts(cargo()).args(documentation))
    })
}

/// Writes the generated files anew.
pub(crate) fn generate() -> Result<()> {
    let protocols = [
        "test",
        "--quiet",
        "--package",
        "banger-proto",
        "--test",
        "generated",
    ];
    run(cargo().args(protocols).env("BANGER_CODEGEN", "write"))?;
    let reference = [
        "run",
        "--quiet",
        "--package",
        "banger-cli",
        "--example",
        "reference",
    ];
    let text = capture(cargo().args(reference))?;
    let path = workspace().join("docs/cli-reference.md");
    fs::write(&path, text).map_err(failed_at(&path))
}

/// cargo-nextest where it is installed, cargo's own runner elsewhere.
fn test_runner() -> Command {
    let mut runner = cargo();
    if capture(cargo().args(["nextest", "--version"])).is_ok() {
        runner.args(["nextest", "run", "--profile", "ci"]);
    } else {
        say("cargo-nextest is not installed: tests run one binary after the other");
        runner.args(["test", "--all-targets", "--no-fail-fast"]);
        // the tests that boot machines must take turns
        runner.env("RUST_TEST_THREADS", "1");
    }
    runner.args(["--workspace", "--all-features"]);
    runner
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let program = environment("CARGO").unwrap_or_else(|| "cargo".to_owned());
    command(program, workspace())
}
