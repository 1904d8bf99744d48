//! The `banger` that is measured: a release build, with nothing of the user's.

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

/// A program that was built.
pub(super) fn release(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// banger, with all it keeps below `directory`.
pub(super) fn banger(directory: &Path) -> Command {
    let mut banger = command(release("banger"), workspace());
    banger
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env("BANGER_STATE_DIR", directory.join("state"))
        .env("BANGER_CACHE_DIR", directory.join("cache"))
        .env("BANGER_RUNTIME_DIR", directory.join("runtime"));
    banger
}
