//! The programs that are measured: release builds, with nothing of the user's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Result,
    paths::{target, workspace},
    run::{command, run},
    tests::cargo,
};

/// Builds it.
pub(super) fn build_banger() -> Result<()> {
    let release = ["build", "--release", "--quiet", "--package", "banger-cli"];
    run(cargo().args(release).args(["--bin", "banger"]))
}

/// Builds it, the service, and the client that measures that.
pub(super) fn build_service() -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--bins"]);
    for package in ["banger-cli", "bangerd", "banger-bench"] {
        build.args(["--package", package]);
    }
    run(&mut build)
}

/// A program that was built.
pub(super) fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// banger, with all it keeps below `directory`.
pub(super) fn banger(directory: &Path) -> Command {
    program("banger", directory)
}

/// The service, with all it keeps below `directory`.
pub(super) fn bangerd(directory: &Path) -> Command {
    program("bangerd", directory)
}

fn program(name: &str, directory: &Path) -> Command {
    let mut program = command(release(name), workspace());
    program
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env("BANGER_STATE_DIR", directory.join("state"))
        .env("BANGER_CACHE_DIR", directory.join("cache"))
        .env("BANGER_RUNTIME_DIR", directory.join("runtime"));
    program
}
