//! Running every test, with everything it needs.

use std::process::Command;

use crate::{
    Result, guest, packages,
    paths::{environment, testbed, workspace},
    run::{capture, command, run, say},
    testbed as bed,
};

/// Installs, builds and makes what tests need, and runs them.
pub(crate) fn test(filters: &[String]) -> Result<()> {
    bed::check_architecture()?;
    if !packages::is_root() {
        return Err("the tests mount disks and make device nodes: run them as root".to_owned());
    }
    packages::install(packages::Set::Test)?;
    let guest = guest::build()?;
    bed::make()?;
    say("running the tests");
    let with_parts = |mut command: Command| {
        command
            .env("BANGER_TESTBED", testbed())
            .env("BANGER_GUEST_PROGRAM", &guest)
            .env("INSTA_UPDATE", "no");
        command
    };
    run(with_parts(test_runner()).args(filters))?;
    // nextest runs no documentation tests
    if filters.is_empty() {
        run(with_parts(cargo()).args([
            "test",
            "--workspace",
            "--all-features",
            "--doc",
            "--quiet",
        ]))?;
    }
    Ok(())
}

/// Writes the generated files anew.
pub(crate) fn generate() -> Result<()> {
    let codegen = [
        "test",
        "--quiet",
        "--package",
        "banger-proto",
        "--test",
        "generated",
    ];
    run(cargo().args(codegen).env("BANGER_CODEGEN", "write"))?;
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
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// cargo-nextest where it is installed, cargo's own runner elsewhere.
fn test_runner() -> Command {
    let mut runner = cargo();
    if capture(cargo().args(["nextest", "--version"])).is_ok() {
        runner.args(["nextest", "run", "--profile", "ci"]);
    } else {
        say("cargo-nextest is not installed: tests run one binary after the other");
        runner.args(["test", "--all-targets", "--no-fail-fast"]);
    }
    runner.args(["--workspace", "--all-features"]);
    runner
}

pub(crate) fn cargo() -> Command {
    command(
        environment("CARGO").unwrap_or_else(|| "cargo".to_owned()),
        workspace(),
    )
}
